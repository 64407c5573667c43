// SPDX-License-Identifier: Apache-2.0
/*
 * kvm.c - the KVM engine: VM, memory, vCPUs, run loop
 *
 * Follows [KVM] (Documentation/virt/kvm/api.rst). Guest RAM is given to KVM as it
 * lies in struct mem; everything else a guest touches comes back as an exit and goes
 * through struct cpu_io.
 *
 * Requests. Other threads set a bit in .requests, then kvm_run.immediate_exit, then
 * send CPU_KVM_SIGNAL; the loop clears immediate_exit before it takes the bits. So a
 * request is seen before KVM_RUN, or makes it return.
 */
#include "cpu/kvm/kvm_int.h"

#include "base/bits.h"
#include "mem/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Pages KVM wants on Intel hosts; outside RAM and every device. [KVM 4.14, 4.50] */
#define IDENTITY_MAP_ADDR 0xfeffc000ull
#define TSS_ADDR          0xfeffd000ull

int kvm_ctl(int fd, unsigned long nr, const void *arg, const char *what, struct err *e)
{
	int r = ioctl(fd, nr, arg);

	return r < 0 ? err_set(e, errno, "kvm: %s: %s", what, strerror(errno)) : r;
}

/* -- the VM ------------------------------------------------------------------------------ */

static int add_slot(struct cpu_vm *vm, gpa_t gpa, u64 size, struct err *e)
{
	struct kvm_userspace_memory_region r = {
		.slot = vm->nr_slots,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (u64)mem_base(vm->cfg.mem) + gpa,
	};

	if (!size)
		return 0;
	TRY(kvm_ctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r, "guest memory", e));
	vm->slot[vm->nr_slots++] = (struct kvm_slot){ gpa, size };
	return 0;
}

static void on_signal(int sig UNUSED)
{
	/* KVM_RUN has returned: that was the purpose */
}

static int take_signal(struct err *e)
{
	const struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	return sigaction(CPU_KVM_SIGNAL, &a, NULL) ? err_set(e, errno, "kvm: signal") : 0;
}

static int setup(struct cpu_vm *vm, struct err *e)
{
	const u64 identity = IDENTITY_MAP_ADDR;
	int n = kvm_ctl(vm->cfg.kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL, "run area", e);

	if (n < (int)sizeof(struct kvm_run))
		return n < 0 ? n : err_set(e, EINVAL, "kvm: run area of %d bytes", n);
	vm->run_size = (size_t)n;
	vm->tsc_attr = ioctl(vm->cfg.kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_VCPU_ATTRIBUTES) > 0;
	TRY(kvm_ctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity, "identity map", e));
	TRY(kvm_ctl(vm->fd, KVM_SET_TSS_ADDR, (void *)TSS_ADDR, "task state segment", e));
	TRY(kvm_chips_new(vm, e));
	TRY(add_slot(vm, 0, mem_low_size(vm->cfg.mem), e));
	TRY(add_slot(vm, MEM_HIGH_BASE, mem_high_size(vm->cfg.mem), e));
	for (unsigned i = 0; mem_region(vm->cfg.mem, i); i++)
		TRY(add_slot(vm, mem_region(vm->cfg.mem, i)->gpa, mem_region(vm->cfg.mem, i)->len, e));
	return take_signal(e);
}

static void vm_free(struct cpu_vm *vm)
{
	if (!vm)
		return;
	if (vm->fd >= 0)
		close(vm->fd);
	free(vm->cpuid);
	free(vm);
}

static struct cpu_vm *vm_new(const struct cpu_config *c, struct err *e)
{
	struct cpu_vm *vm;

	if (c->nr_vcpus < 1 || c->nr_vcpus > KVM_CPUS_MAX) {
		err_set(e, EINVAL, "cpus: %u: want 1..%d", c->nr_vcpus, KVM_CPUS_MAX);
		return NULL;
	}
	vm = calloc(1, sizeof *vm);
	if (!vm) {
		err_set(e, ENOMEM, "kvm: out of memory");
		return NULL;
	}
	vm->cfg = *c;
	vm->fd = kvm_ctl(c->kvm_fd, KVM_CREATE_VM, NULL, "a new VM", e);
	if (vm->fd < 0 || setup(vm, e) < 0) {
		vm_free(vm);
		return NULL;
	}
	return vm;
}

/* -- vCPUs ------------------------------------------------------------------------------- */

static void vcpu_free(struct vcpu *v)
{
	if (!v)
		return;
	v->vm->vcpu[v->index] = NULL;
	if (v->run)
		munmap(v->run, v->vm->run_size);
	if (v->fd >= 0)
		close(v->fd);
	free(v);
}

static int vcpu_setup(struct vcpu *v, struct err *e)
{
	void *p;

	v->fd = kvm_ctl(v->vm->fd, KVM_CREATE_VCPU, (void *)(u64)v->index, "a new vCPU", e);
	if (v->fd < 0)
		return v->fd;
	p = mmap(NULL, v->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (p == MAP_FAILED)
		return err_set(e, errno, "kvm: run area: %s", strerror(errno));
	v->run = p;
	return kvm_set_cpuid(v, v->vm->cfg.kvm_fd, e);
}

static struct vcpu *vcpu_new(struct cpu_vm *vm, unsigned index, const struct cpu_io *io,
			     struct err *e)
{
	struct vcpu *v = calloc(1, sizeof *v);

	if (!v) {
		err_set(e, ENOMEM, "cpu%u: out of memory", index);
		return NULL;
	}
	v->vm = vm;
	v->index = index;
	v->io = *io;
	v->fd = -1;
	if (vcpu_setup(v, e) < 0) {
		vcpu_free(v);
		return NULL;
	}
	vm->vcpu[index] = v;
	return v;
}

/* -- requests ---------------------------------------------------------------------------- */

static void request(struct vcpu *v, enum cpu_signal sig)
{
	atomic_fetch_or_explicit(&v->requests, BIT(sig), memory_order_seq_cst);
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (atomic_load_explicit(&v->running, memory_order_seq_cst))
		pthread_kill(atomic_load_explicit(&v->thread, memory_order_relaxed),
			     CPU_KVM_SIGNAL);
}

/* INIT and SIPI are messages to the local APIC, like any other. [SDM 3A 11.11.2] */
static void send_message(struct vcpu *v, unsigned mode, u8 vector)
{
	kvm_chips.msi(v->vm, 0xfee00000ull | v->index << 12, mode << 8 | vector);
}

static void kvm_signal(struct vcpu *v, enum cpu_signal sig, u8 arg)
{
	if (sig == CPU_SIG_INIT)
		send_message(v, 5, 0);
	else if (sig == CPU_SIG_SIPI)
		send_message(v, 6, arg);
	else
		request(v, sig);
}

static void take_requests(struct vcpu *v)
{
	u32 r;

	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	r = atomic_exchange_explicit(&v->requests, 0, memory_order_seq_cst);
	if (r & BIT(CPU_SIG_NMI))
		(void)ioctl(v->fd, KVM_NMI);
	if (r & BIT(CPU_SIG_IRQ))
		v->extint = !kvm_has_board(v->vm);
	if (r & BIT(CPU_SIG_KICK))
		v->kicked = true;
	if (v->kicked)
		v->run->immediate_exit = 1;
}

/* The PIC's interrupt: as soon as the vCPU takes one, or when KVM says that it would. */
static void offer_extint(struct vcpu *v)
{
	struct kvm_interrupt irq;
	int vector;

	v->run->request_interrupt_window = 0;
	if (!v->io.has_irq(v->io.io)) {
		v->extint = false;
		return;
	}
	if (v->run->ready_for_interrupt_injection) {
		vector = v->io.ack_irq(v->io.io);
		irq.irq = (u32)vector;
		if (vector >= 0)
			(void)ioctl(v->fd, KVM_INTERRUPT, &irq);
		v->run->ready_for_interrupt_injection = 0;
	}
	v->run->request_interrupt_window = v->io.has_irq(v->io.io);
}

/* -- exits ------------------------------------------------------------------------------- */

static u64 get_le(const u8 *p, unsigned size)
{
	u64 v = 0;

	memcpy(&v, p, size < 8 ? size : 8);
	return v;
}

static void port_io(struct vcpu *v)
{
	const struct kvm_run *r = v->run;
	u8 *p = (u8 *)v->run + r->io.data_offset;
	unsigned size = r->io.size;

	v->nr_io++;
	for (u32 n = 0; n < r->io.count; n++, p += size) {
		if (r->io.direction == KVM_EXIT_IO_OUT) {
			v->io.out(v->io.io, r->io.port, size, get_le(p, size));
		} else {
			u64 val = v->io.in(v->io.io, r->io.port, size);

			memcpy(p, &val, size);
		}
	}
}

/* The bus takes 1, 2, 4 or 8 bytes; an access that crosses a page comes as odd pieces. */
static void mmio_piece(struct vcpu *v, gpa_t gpa, u8 *p, unsigned size, bool write)
{
	u64 val;

	if (write) {
		v->io.store(v->io.io, gpa, size, get_le(p, size));
	} else {
		val = v->io.load(v->io.io, gpa, size);
		memcpy(p, &val, size);
	}
}

static void mmio(struct vcpu *v)
{
	struct kvm_run *r = v->run;
	unsigned len = r->mmio.len < 8 ? r->mmio.len : 8;
	unsigned step;

	v->nr_mmio++;
	for (unsigned off = 0; off < len; off += step) {
		step = len - off;
		while (step & (step - 1))
			step &= step - 1;
		mmio_piece(v, r->mmio.phys_addr + off, r->mmio.data + off, step, r->mmio.is_write);
	}
}

static enum cpu_exit failed(struct vcpu *v)
{
	const struct kvm_run *r = v->run;
	struct kvm_regs regs = { 0 };

	(void)ioctl(v->fd, KVM_GET_REGS, &regs);
	if (r->exit_reason == KVM_EXIT_FAIL_ENTRY)
		snprintf(v->error, sizeof v->error,
			 "kvm: the processor refused to enter the guest at %#llx, reason %#llx",
			 (unsigned long long)regs.rip,
			 (unsigned long long)r->fail_entry.hardware_entry_failure_reason);
	else if (r->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		snprintf(v->error, sizeof v->error, "kvm: %s at %#llx",
			 r->internal.suberror == KVM_INTERNAL_ERROR_EMULATION
				 ? "cannot emulate the instruction"
				 : "internal error",
			 (unsigned long long)regs.rip);
	else
		snprintf(v->error, sizeof v->error, "kvm: unexpected exit %u at %#llx",
			 r->exit_reason, (unsigned long long)regs.rip);
	return CPU_EXIT_ERROR;
}

#define GO_ON CPU_EXIT_KICKED /* handle_exit(): nothing to report */

static enum cpu_exit handle_exit(struct vcpu *v)
{
	v->nr_exits++;
	switch (v->run->exit_reason) {
	case KVM_EXIT_IO: port_io(v); return GO_ON;
	case KVM_EXIT_MMIO: mmio(v); return GO_ON;
	case KVM_EXIT_IRQ_WINDOW_OPEN: return GO_ON;
	case KVM_EXIT_INTR: return GO_ON;
	case KVM_EXIT_IOAPIC_EOI:
		v->nr_eoi++;
		v->io.eoi(v->io.io, v->run->eoi.vector);
		return GO_ON;
	case KVM_EXIT_SHUTDOWN: return CPU_EXIT_SHUTDOWN;
	default: return failed(v);
	}
}

static enum cpu_exit run_loop(struct vcpu *v)
{
	enum cpu_exit x;

	for (;;) {
		take_requests(v);
		if (v->extint)
			offer_extint(v);
		if (ioctl(v->fd, KVM_RUN, NULL) < 0) {
			if (errno != EINTR && errno != EAGAIN) {
				snprintf(v->error, sizeof v->error, "kvm: run: %s",
					 strerror(errno));
				return CPU_EXIT_ERROR;
			}
			if (!v->kicked)
				continue;
			v->kicked = false;
			return CPU_EXIT_KICKED;
		}
		x = handle_exit(v);
		if (x != GO_ON)
			return x;
	}
}

static enum cpu_exit run(struct vcpu *v)
{
	enum cpu_exit x;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, CPU_KVM_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	atomic_store_explicit(&v->thread, pthread_self(), memory_order_relaxed);
	atomic_store_explicit(&v->running, true, memory_order_seq_cst);
	x = run_loop(v);
	atomic_store_explicit(&v->running, false, memory_order_seq_cst);
	return x;
}

static const char *error_text(const struct vcpu *v)
{
	return v->error;
}

static size_t stats(const struct vcpu *v, char *buf, size_t len)
{
	int n = snprintf(buf, len,
			 "kvm_user_exits %llu\nkvm_port_exits %llu\nkvm_mmio_exits %llu\n"
			 "kvm_eoi_exits %llu\n",
			 (unsigned long long)v->nr_exits, (unsigned long long)v->nr_io,
			 (unsigned long long)v->nr_mmio, (unsigned long long)v->nr_eoi);

	return n > 0 ? (size_t)n : 0;
}

/* -- the clock and the log of writes ----------------------------------------------------- */

static u64 get_clock(struct cpu_vm *vm, u64 tsc UNUSED)
{
	struct kvm_clock_data d = { 0 };

	return ioctl(vm->fd, KVM_GET_CLOCK, &d) < 0 ? 0 : d.clock;
}

static int set_clock(struct cpu_vm *vm, u64 tsc UNUSED, u64 ns, struct err *e)
{
	const struct kvm_clock_data d = { .clock = ns };

	return kvm_ctl(vm->fd, KVM_SET_CLOCK, &d, "clock", e);
}

static int log_writes(struct cpu_vm *vm, bool on, struct err *e)
{
	for (unsigned n = 0; n < vm->nr_slots; n++) {
		const struct kvm_userspace_memory_region r = {
			.slot = n,
			.flags = on ? KVM_MEM_LOG_DIRTY_PAGES : 0,
			.guest_phys_addr = vm->slot[n].gpa,
			.memory_size = vm->slot[n].size,
			.userspace_addr = (u64)mem_base(vm->cfg.mem) + vm->slot[n].gpa,
		};

		TRY(kvm_ctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r, "log of writes", e));
	}
	return 0;
}

static int take_writes(struct cpu_vm *vm, void (*fn)(void *ctx, u64 first, u64 mask), void *ctx,
		       struct err *e)
{
	for (unsigned n = 0; n < vm->nr_slots; n++) {
		u64 frames = vm->slot[n].size / MEM_PAGE, first = vm->slot[n].gpa / MEM_PAGE;
		u64 *bits = calloc(align_up(frames, 64) / 64, 8);
		struct kvm_dirty_log log = { .slot = n, .dirty_bitmap = bits };
		int r;

		if (!bits)
			return err_set(e, ENOMEM, "kvm: log of writes: out of memory");
		r = kvm_ctl(vm->fd, KVM_GET_DIRTY_LOG, &log, "log of writes", e);
		for (u64 k = 0; !r && k < frames; k += 64)
			if (bits[k / 64])
				fn(ctx, first + k, bits[k / 64]);
		free(bits);
		if (r)
			return r;
	}
	return 0;
}

const struct cpu_engine cpu_kvm = {
	.name = "kvm",
	.vm_new = vm_new,
	.vm_free = vm_free,
	.vcpu_new = vcpu_new,
	.vcpu_free = vcpu_free,
	.run = run,
	.signal = kvm_signal,
	.get_state = kvm_get_state,
	.set_state = kvm_set_state,
	.cpuid = kvm_get_cpuid,
	.error_text = error_text,
	.stats = stats,
	.chips = &kvm_chips,
	.get_clock = get_clock,
	.set_clock = set_clock,
	.log_writes = log_writes,
	.take_writes = take_writes,
};
