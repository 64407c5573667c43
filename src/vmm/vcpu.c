// SPDX-License-Identifier: Apache-2.0
/*
 * vcpu.c - vCPU threads: how the engine reaches the board, and how they stop
 *
 * Parking. vcpus_pause() counts up .pausing and kicks; each thread leaves the engine,
 * counts itself in .nr_parked and waits for .resumed. The pauser waits for
 * .parked, which releases the board lock, so that an access in progress ends.
 */
#include "base/bits.h"
#include "cpu/x86_state.h"
#include "vmm/vmm_int.h"

#include <stdio.h>
#include <string.h>
#include <x86intrin.h>

/* -- struct cpu_io -------------------------------------------------------------------- */

static void lock(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
}

static void unlock(struct vm *vm)
{
	pthread_mutex_unlock(&vm->lock);
}

static u64 io_in(void *io, u16 port, unsigned size)
{
	struct vm *vm = ((struct vm_cpu *)io)->vm;
	u64 v;

	lock(vm);
	v = bus_read(vm->pio, port, size);
	unlock(vm);
	return v;
}

static void io_out(void *io, u16 port, unsigned size, u64 val)
{
	struct vm *vm = ((struct vm_cpu *)io)->vm;

	lock(vm);
	bus_write(vm->pio, port, size, val);
	unlock(vm);
}

static u64 io_load(void *io, gpa_t gpa, unsigned size)
{
	struct vm_cpu *c = io;
	u64 v;

	lock(c->vm);
	if (lapic_mmio_hit(c->lapic, gpa))
		v = lapic_mmio_read(c->lapic, gpa, size);
	else
		v = bus_read(c->vm->mmio, gpa, size);
	unlock(c->vm);
	return v;
}

static void io_store(void *io, gpa_t gpa, unsigned size, u64 val)
{
	struct vm_cpu *c = io;

	lock(c->vm);
	if (lapic_mmio_hit(c->lapic, gpa))
		lapic_mmio_write(c->lapic, gpa, size, val);
	else
		bus_write(c->vm->mmio, gpa, size, val);
	unlock(c->vm);
}

/* The same where the engine has the local APICs: every address is the bus's. */
static u64 io_load_bus(void *io, gpa_t gpa, unsigned size)
{
	struct vm_cpu *c = io;
	u64 v;

	lock(c->vm);
	v = bus_read(c->vm->mmio, gpa, size);
	unlock(c->vm);
	return v;
}

static void io_store_bus(void *io, gpa_t gpa, unsigned size, u64 val)
{
	struct vm_cpu *c = io;

	lock(c->vm);
	bus_write(c->vm->mmio, gpa, size, val);
	unlock(c->vm);
}

static bool io_has_pic(void *io)
{
	struct vm_cpu *c = io;
	bool yes;

	lock(c->vm);
	yes = c->index == 0 && pic_pending(c->vm->irqs.pic);
	unlock(c->vm);
	return yes;
}

static int io_ack_pic(void *io)
{
	struct vm_cpu *c = io;
	int vector = -1;

	lock(c->vm);
	if (pic_pending(c->vm->irqs.pic))
		vector = pic_ack(c->vm->irqs.pic);
	unlock(c->vm);
	return vector;
}

static void io_eoi(void *io, u8 vector)
{
	struct vm_cpu *c = io;

	lock(c->vm);
	ioapic_eoi(c->vm->irqs.ioapic, vector);
	unlock(c->vm);
}

static int io_ack_irq(void *io)
{
	struct vm_cpu *c = io;
	int vector;

	lock(c->vm);
	vector = lapic_ack_irq(c->lapic);
	unlock(c->vm);
	return vector;
}

static bool io_has_irq(void *io)
{
	return lapic_has_irq(((struct vm_cpu *)io)->lapic);
}

static bool io_apic_rdmsr(void *io, u32 msr, u64 *ret)
{
	struct vm_cpu *c = io;
	bool ok;

	lock(c->vm);
	ok = lapic_rdmsr(c->lapic, msr, ret);
	unlock(c->vm);
	return ok;
}

static bool io_apic_wrmsr(void *io, u32 msr, u64 val)
{
	struct vm_cpu *c = io;
	bool ok;

	lock(c->vm);
	ok = lapic_wrmsr(c->lapic, msr, val);
	unlock(c->vm);
	return ok;
}

static u8 io_get_cr8(void *io)
{
	struct vm_cpu *c = io;
	u8 v;

	lock(c->vm);
	v = lapic_get_cr8(c->lapic);
	unlock(c->vm);
	return v;
}

static void io_set_cr8(void *io, u8 val)
{
	struct vm_cpu *c = io;

	lock(c->vm);
	lapic_set_cr8(c->lapic, val);
	unlock(c->vm);
}

static void io_tsc_moved(void *io, u64 offset)
{
	struct vm_cpu *c = io;

	lock(c->vm);
	c->tsc_offset = offset;
	lapic_tsc_changed(c->lapic);
	unlock(c->vm);
}

static u64 io_wall_ns(void *io)
{
	return clock_wall_ns(((struct vm_cpu *)io)->vm->clock);
}

void vcpus_signal(void *vm_cpu, enum lapic_signal what, u8 arg)
{
	static const enum cpu_signal sig[] = {
		[LAPIC_SIG_IRQ] = CPU_SIG_IRQ,
		[LAPIC_SIG_NMI] = CPU_SIG_NMI,
		[LAPIC_SIG_INIT] = CPU_SIG_INIT,
		[LAPIC_SIG_SIPI] = CPU_SIG_SIPI,
	};
	struct vm_cpu *c = vm_cpu;

	if (c->v)
		c->vm->engine->signal(c->v, sig[what], arg);
}

u64 vcpus_tsc(void *vm_cpu)
{
	struct vm_cpu *c = vm_cpu;

	return (c->vm->virt ? c->vm->virt->tsc : __rdtsc()) + c->tsc_offset;
}

/* -- threads --------------------------------------------------------------------------- */

/* Wait here while the VM is paused. Return: false when the thread should end. */
static bool park(struct vm *vm)
{
	bool go_on;

	lock(vm);
	if (vm->pausing) {
		vm->nr_parked++;
		pthread_cond_broadcast(&vm->parked);
		while (vm->pausing && !vm->quitting)
			pthread_cond_wait(&vm->resumed, &vm->lock);
		vm->nr_parked--;
	}
	go_on = !vm->quitting;
	unlock(vm);
	return go_on;
}

/* Where it happened, for -v. Not while run() executes. */
static void say_state(struct vm_cpu *c, u32 level)
{
	static const char *const activity[] = {
		[ACT_RUNNING] = "", [ACT_HALTED] = "halted ", [ACT_WAIT_SIPI] = "waiting for SIPI ",
	};
	struct x86_state s;

	if (c->vm->cfg->verbose < level)
		return;
	c->vm->engine->get_state(c->v, &s);
	vm_say(c->vm, 1, "vCPU %u: %s%s%scs %x rip %llx rsp %llx rflags %llx cr0 %llx cr2 %llx cr3 %llx "
	       "cr4 %llx efer %llx idt %llx/%x tsc %llx",
	       c->index, activity[s.activity % 3], s.shadow_sti || s.shadow_ss ? "interrupt shadow " : "",
	       s.nmi_blocked ? "NMI blocked " : "", s.seg[SEG_CS].sel, (unsigned long long)s.rip,
	       (unsigned long long)s.gpr[RSP], (unsigned long long)s.rflags,
	       (unsigned long long)s.cr0, (unsigned long long)s.cr2, (unsigned long long)s.cr3,
	       (unsigned long long)s.cr4, (unsigned long long)s.efer,
	       (unsigned long long)s.idtr.base, s.idtr.limit,
	       (unsigned long long)(__rdtsc() + s.tsc_offset));
}

/* The vCPU is dead: end the VM, and wait for what follows. */
static void ended(struct vm_cpu *c, enum cpu_exit why)
{
	struct vm *vm = c->vm;
	struct err e = { 0 };

	say_state(c, 1);
	lock(vm);
	if (why == CPU_EXIT_SHUTDOWN) {
		vm_end(vm, VM_SHUTDOWN, VM_STATUS_SHUTDOWN);
	} else {
		err_set(&e, 5, "vCPU %u: %s", c->index, vm->engine->error_text(c->v));
		vm_fail(vm, &e);
	}
	vm->nr_parked++;
	pthread_cond_broadcast(&vm->parked);
	while (!vm->quitting)
		pthread_cond_wait(&vm->resumed, &vm->lock);
	vm->nr_parked--;
	unlock(vm);
}

static void *vcpu_main(void *arg)
{
	struct vm_cpu *c = arg;
	enum cpu_exit why;

	while (park(c->vm)) {
		why = c->vm->engine->run(c->v);
		if (why != CPU_EXIT_KICKED) {
			ended(c, why);
			break;
		}
	}
	return NULL;
}

int vcpus_new(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->cfg->nr_cpus; i++) {
		const bool chips = vm->engine->chips;
		const struct cpu_io io = {
			.in = io_in,
			.out = io_out,
			.load = chips ? io_load_bus : io_load,
			.store = chips ? io_store_bus : io_store,
			.ack_irq = chips ? io_ack_pic : io_ack_irq,
			.has_irq = chips ? io_has_pic : io_has_irq,
			.eoi = io_eoi,
			.apic_rdmsr = io_apic_rdmsr,
			.apic_wrmsr = io_apic_wrmsr,
			.get_cr8 = io_get_cr8,
			.set_cr8 = io_set_cr8,
			.tsc_moved = io_tsc_moved,
			.wall_ns = io_wall_ns,
			.io = &vm->cpu[i],
		};

		vm->cpu[i].v = vm->engine->vcpu_new(vm->cpu_vm, i, &io, e);
		if (!vm->cpu[i].v)
			return -e->code;
	}
	return 0;
}

int vcpus_start(struct vm *vm, struct err *e)
{
	enum jail_role role = vm->engine == &cpu_soft ? JAIL_VCPU_SOFT : JAIL_VCPU_KVM;

	for (unsigned i = 0; i < vm->cfg->nr_cpus; i++) {
		char name[16];

		snprintf(name, sizeof name, "vcpu/%u", i);
		TRY(thread_start(&vm->cpu[i].thread, name, role, vcpu_main, &vm->cpu[i], e));
		vm->cpu[i].started = true;
	}
	return 0;
}

static void kick_all(struct vm *vm)
{
	for (unsigned i = 0; i < vm->cfg->nr_cpus; i++)
		if (vm->cpu[i].v)
			vm->engine->signal(vm->cpu[i].v, CPU_SIG_KICK, 0);
}

static unsigned nr_started(const struct vm *vm)
{
	unsigned n = 0;

	for (unsigned i = 0; i < vm->cfg->nr_cpus; i++)
		n += vm->cpu[i].started;
	return n;
}

void vcpus_pause(struct vm *vm)
{
	vm->pausing++;
	kick_all(vm);
	while (vm->nr_parked < nr_started(vm))
		pthread_cond_wait(&vm->parked, &vm->lock);
	doorbells_drain(vm);
}

bool vcpus_pause_by(struct vm *vm, u64 deadline)
{
	const struct timespec t = { .tv_sec = (time_t)(deadline / 1000000000),
				    .tv_nsec = (long)(deadline % 1000000000) };
	int r = 0;

	vm->pausing++;
	kick_all(vm);
	while (vm->nr_parked < nr_started(vm) && !vm->quitting && r == 0)
		r = pthread_cond_clockwait(&vm->parked, &vm->lock, CLOCK_MONOTONIC, &t);
	if (vm->nr_parked >= nr_started(vm) && !vm->quitting) {
		doorbells_drain(vm);
		return true;
	}
	vcpus_resume(vm);
	return false;
}

void vcpus_resume(struct vm *vm)
{
	if (--vm->pausing == 0)
		pthread_cond_broadcast(&vm->resumed);
}

void vcpus_stop(struct vm *vm)
{
	lock(vm);
	vm->quitting = true;
	pthread_cond_broadcast(&vm->resumed);
	pthread_cond_broadcast(&vm->parked);
	unlock(vm);
	kick_all(vm);
	for (unsigned i = 0; i < vm->cfg->nr_cpus; i++)
		if (vm->cpu[i].started)
			thread_join(&vm->cpu[i].thread);
	for (unsigned i = 0; i < vm->cfg->nr_cpus; i++)
		if (vm->cpu[i].v)
			say_state(&vm->cpu[i], 2);
	chips_say(vm);
}

void vcpus_free(struct vm *vm)
{
	for (unsigned i = 0; i < vm->cfg->nr_cpus; i++) {
		if (vm->cpu[i].v)
			vm->engine->vcpu_free(vm->cpu[i].v);
		vm->cpu[i].v = NULL;
	}
}
