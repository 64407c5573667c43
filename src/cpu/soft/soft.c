// SPDX-License-Identifier: Apache-2.0
/*
 * soft.c - the software engine: vCPU life, run loop, events
 *
 * The loop takes events at instruction boundaries (INIT, SIPI, NMI, interrupts;
 * [SDM 3A 6.9]), sleeps in HLT, and otherwise runs translated code where that is
 * possible (jit.h) and the interpreter everywhere else. Other threads only set
 * bits in exit_req and wake the futex behind it.
 */
#include "cpu/soft/jit.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/pvsteal.h"
#include "cpu/soft/quirks.h"
#include "cpu/soft/op_sys.h"
#include "cpu/soft/seg.h"
#include "cpu/soft/smp.h"
#include "cpu/soft/stub.h"
#include "cpu/soft/tlb.h"
#include "cpu/soft/vcpu.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VCPU_STACK (256u << 10) /* translated code and its helpers run on it, below struct vcpu */
#define VCPU_GUARD 4096u

/* -- creation ----------------------------------------------------------------- */

/* A device or another vCPU wrote to frames with translated code. */
static void on_code_write(void *ctx, gpa_t gpa, u64 len)
{
	struct cpu_vm *vm = ctx;

	atomic_thread_fence(memory_order_seq_cst); /* pairs with claim() in jit.c */
	for (unsigned k = 0; k < vm->cfg.nr_vcpus && k < array_len(vm->vcpu); k++)
		if (vm->vcpu[k])
			jit_post_code_write(vm->vcpu[k], gpa, len);
}

/* What helps, by measurement: docs/decisions/0081. */
static u32 paravirtual(const struct cpu_vm *vm)
{
	u32 features = KVM_PV_EOI | KVM_STEAL_TIME;

	if (vm->cfg.virt || vm->cfg.off & CPU_OFF_PV)
		return 0;
	if (vm->cfg.nr_vcpus > vm->host_cpus)
		features |= KVM_PV_UNHALT;
	return features;
}

static struct cpu_vm *soft_vm_new(const struct cpu_config *c, struct err *e)
{
	struct cpu_vm *vm;

	if (c->nr_vcpus < 1 || c->nr_vcpus > array_len(vm->vcpu)) {
		err_set(e, EINVAL, "cpus: %u: want 1..%zu", c->nr_vcpus, array_len(vm->vcpu));
		return NULL;
	}
	vm = calloc(1, sizeof *vm);
	if (!vm) {
		err_set(e, ENOMEM, "cpu: out of memory");
		return NULL;
	}
	vm->cfg = *c;
	vm->tsc_base = c->virt ? c->virt->tsc : __builtin_ia32_rdtsc();
	if (smp_init(vm, e) < 0) {
		free(vm);
		return NULL;
	}
	vm->cfg.kvm_features = paravirtual(vm);
	mem_set_code_hook(c->mem, on_code_write, vm);
	return vm;
}

static void soft_vm_free(struct cpu_vm *vm)
{
	if (!vm)
		return;
	mem_set_code_hook(vm->cfg.mem, NULL, NULL);
	free(vm);
}

static size_t vcpu_span(void)
{
	return VCPU_GUARD + VCPU_STACK + align_up(sizeof(struct vcpu), 4096);
}

struct vcpu *vcpu_alloc(void)
{
	u8 *p = mmap(NULL, vcpu_span(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	quirks_probe();
	if (p == MAP_FAILED)
		return NULL;
	mprotect(p, VCPU_GUARD, PROT_NONE);
	return (void *)(p + VCPU_GUARD + VCPU_STACK);
}

void vcpu_release(struct vcpu *v)
{
	munmap((u8 *)v - VCPU_STACK - VCPU_GUARD, vcpu_span());
}

static void soft_vcpu_free(struct vcpu *v)
{
	if (!v)
		return;
	v->vm->vcpu[v->index] = NULL;
	jit_free(v);
	mmu_free(v->mmu);
	icache_free(v->icache);
	vec_free(v->vec);
	vcpu_release(v);
}

static struct vcpu *soft_vcpu_new(struct cpu_vm *vm, unsigned index, const struct cpu_io *io,
				  struct err *e)
{
	struct vcpu *v = vcpu_alloc();

	if (!v) {
		err_set(e, ENOMEM, "cpu%u: out of memory", index);
		return NULL;
	}
	v->index = index;
	v->vm = vm;
	v->mem = vm->cfg.mem;
	v->io = *io;
	v->cfg = vm->cfg;
	v->tsc_base = vm->tsc_base;
	v->idle = true;
	v->mmu = mmu_new();
	v->icache = icache_new();
	v->vec = vec_new(e);
	x86_state_reset(&v->s, index == 0);
	if (!v->mmu || !v->icache)
		err_set(e, ENOMEM, "cpu%u: out of memory", index);
	if (!v->mmu || !v->icache || !v->vec || (!vm->cfg.interpret_only && jit_new(v, e) < 0)) {
		soft_vcpu_free(v);
		return NULL;
	}
	update_cpl(v);
	vm->vcpu[index] = v;
	return v;
}

/* -- signals from other threads -------------------------------------------------- */

static void futex_wait(_Atomic u32 *word, u32 val)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, NULL, NULL, 0);
}

void soft_request(struct vcpu *v, u32 req)
{
	/* pairs with wait_for_event(): asleep is set before exit_req is read again */
	atomic_fetch_or_explicit(&v->exit_req, req, memory_order_seq_cst);
	if (atomic_load_explicit(&v->asleep, memory_order_seq_cst))
		syscall(SYS_futex, &v->exit_req, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void soft_signal(struct vcpu *v, enum cpu_signal sig, u8 arg)
{
	static const u8 req[] = {
		[CPU_SIG_IRQ] = REQ_IRQ,   [CPU_SIG_NMI] = REQ_NMI,   [CPU_SIG_INIT] = REQ_INIT,
		[CPU_SIG_SIPI] = REQ_SIPI, [CPU_SIG_KICK] = REQ_KICK,
	};

	if (sig == CPU_SIG_SIPI)
		__atomic_store_n(&v->sipi_vector, arg, __ATOMIC_SEQ_CST);
	soft_request(v, req[sig]);
}

/* -- events ------------------------------------------------------------------------ */

/* INIT leaves the time-stamp counter, MSRs, XCR0 and the vector registers [SDM 3A table 10-1]. */
static void do_init(struct vcpu *v)
{
	fp_park(v);
	x86_state_init(&v->s, v->index == 0);
	v->irq_waiting = false;
	update_cpl(v);
	mmu_flush_all(v);
}

/* [SDM 3A 8.4.3]: real mode at vector << 12. */
static void do_sipi(struct vcpu *v)
{
	u8 vec = __atomic_load_n(&v->sipi_vector, __ATOMIC_SEQ_CST);

	if (v->s.activity != ACT_WAIT_SIPI)
		return;
	load_seg_real(v, SEG_CS, (u16)(vec << 8));
	v->s.rip = 0;
	v->s.activity = ACT_RUNNING;
	update_cpl(v);
}

static bool events_blocked(const struct vcpu *v)
{
	return v->s.shadow_ss || v->s.shadow_sti;
}

static int take_nmi(struct vcpu *v)
{
	if (!v->s.nmi_pending || v->s.nmi_blocked || v->s.shadow_ss ||
	    v->s.activity == ACT_WAIT_SIPI)
		return X_OK;
	v->s.nmi_pending = false;
	v->s.activity = ACT_RUNNING;
	return deliver_interrupt(v, EX_NMI);
}

static int take_irq(struct vcpu *v)
{
	int vec;

	if (!v->irq_waiting || !(v->s.rflags & FL_IF) || events_blocked(v) ||
	    v->s.activity == ACT_WAIT_SIPI)
		return X_OK;
	pvsteal_update(v);
	vec = io_ack_irq(v);
	if (vec < 0) {
		v->irq_waiting = false;
		return X_OK;
	}
	v->s.activity = ACT_RUNNING;
	v->nr_irqs++;
	return deliver_interrupt(v, (u8)vec);
}

#define REQ_EVENTS (REQ_INIT | REQ_SIPI | REQ_NMI)

static void latch_events(struct vcpu *v, u32 req)
{
	if (req & REQ_INIT)
		do_init(v);
	if (req & REQ_SIPI)
		do_sipi(v);
	v->unhalt |= !!(req & REQ_UNHALT);
	v->s.nmi_pending |= !!(req & REQ_NMI);
}

/* Latch what other threads asked for. Returns true if run() must return (kick). */
static bool latch_requests(struct vcpu *v)
{
	u32 req = atomic_exchange_explicit(&v->exit_req, 0, memory_order_seq_cst);

	if (req & REQ_HOLD)
		smp_held(v);
	if (req & REQ_CODE)
		jit_take_code_writes(v);
	latch_events(v, req);
	v->irq_waiting |= !!(req & REQ_IRQ);
	return req & REQ_KICK;
}

/*
 * CPUs that wait for each other sleep for microseconds, and waking a thread takes longer. So a
 * wait that ended soon makes the next one poll first; a long one stops that. Only where the host
 * has a CPU for each of ours.
 */
#define POLL_MAX_US 100
#define POLL_MIN_US 10

static bool poll_requests(struct vcpu *v, u64 start)
{
	while (__builtin_ia32_rdtsc() - start < v->halt_poll) {
		if (atomic_load_explicit(&v->exit_req, memory_order_acquire))
			return true;
		__builtin_ia32_pause();
	}
	return false;
}

static void adapt_poll(struct vcpu *v, u64 waited)
{
	u64 us = cpu_tsc_khz() / 1000, max = POLL_MAX_US * us;

	if (v->cfg.nr_vcpus == 1 || v->cfg.nr_vcpus > v->vm->host_cpus || waited > max)
		v->halt_poll = 0;
	else if (waited > v->halt_poll)
		v->halt_poll = v->halt_poll ? v->halt_poll * 2 : POLL_MIN_US * us;
	if (v->halt_poll > max)
		v->halt_poll = max;
}

/* HLT or waiting for SIPI: sleep until some request arrives. */
static void wait_for_event(struct vcpu *v)
{
	u64 start;

	fp_park(v);
	if (v->jit)
		perfmap_flush(v);
	smp_run_end(v);
	v->nr_halts++;
	start = __builtin_ia32_rdtsc();
	if (!poll_requests(v, start)) {
		atomic_store_explicit(&v->asleep, true, memory_order_seq_cst);
		while (!atomic_load_explicit(&v->exit_req, memory_order_seq_cst))
			futex_wait(&v->exit_req, 0);
		atomic_store_explicit(&v->asleep, false, memory_order_seq_cst);
	}
	pvsteal_slept(v, __builtin_ia32_rdtsc() - start);
	adapt_poll(v, __builtin_ia32_rdtsc() - start);
	smp_run_begin(v);
}

/* -- the loop ------------------------------------------------------------------------ */

static int step(struct vcpu *v)
{
	int r;

	if (v->jit && jit_usable(v))
		return jit_run(v);
	r = interp_step(v);
	return r == X_FAULT ? deliver_exception(v) : r;
}

enum soft_turn soft_take_events(struct vcpu *v)
{
	int r = X_OK;

	if (atomic_load_explicit(&v->exit_req, memory_order_acquire) && latch_requests(v))
		return TURN_KICKED;
	if (v->s.nmi_pending)
		r = take_nmi(v);
	if (r == X_OK && v->irq_waiting)
		r = take_irq(v);
	if (r == X_FAULT)
		r = deliver_exception(v);
	if (r == X_SHUTDOWN)
		return TURN_SHUTDOWN;
	if (v->unhalt && v->s.activity == ACT_HALTED) {
		v->unhalt = false;
		v->s.activity = ACT_RUNNING;
	}
	return v->s.activity != ACT_RUNNING ? TURN_WAIT : TURN_STEP;
}

static enum cpu_exit run_loop(struct vcpu *v)
{
	for (;;) {
		enum soft_turn turn = soft_take_events(v);

		if (turn == TURN_KICKED)
			return CPU_EXIT_KICKED;
		if (turn == TURN_WAIT) {
			wait_for_event(v);
			continue;
		}
		if (turn == TURN_SHUTDOWN || step(v) == X_SHUTDOWN)
			return CPU_EXIT_SHUTDOWN;
		if (unlikely(v->error[0]))
			return CPU_EXIT_ERROR;
	}
}

static enum cpu_exit soft_run(struct vcpu *v)
{
	enum cpu_exit x;

	jit_thread_enter(v);
	smp_run_begin(v);
	x = run_loop(v);
	if (v->jit)
		perfmap_flush(v);
	smp_run_end(v);
	fp_park(v);
	return x;
}

static void soft_get_state(struct vcpu *v, struct x86_state *ret)
{
	fp_park(v);
	latch_events(v, atomic_fetch_and(&v->exit_req, ~REQ_EVENTS) & REQ_EVENTS);
	*ret = v->s;
}

static u64 soft_get_clock(struct cpu_vm *vm, u64 tsc)
{
	return pvclock_ns(tsc - vm->tsc_base);
}

/* The records the guest has stay right: they say which guest TSC is time 0. */
static int soft_set_clock(struct cpu_vm *vm, u64 tsc, u64 ns, struct err *e UNUSED)
{
	vm->tsc_base = tsc - (u64)((unsigned __int128)ns * cpu_tsc_khz() / 1000000);
	for (unsigned k = 0; k < vm->cfg.nr_vcpus; k++)
		if (vm->vcpu[k])
			vm->vcpu[k]->tsc_base = vm->tsc_base;
	return 0;
}

static int soft_set_state(struct vcpu *v, const struct x86_state *s, struct err *e UNUSED)
{
	fp_park(v);
	v->s = *s;
	update_cpl(v);
	mmu_mode_changed(v);
	mmu_flush_all(v);
	v->irq_waiting = true; /* ask the interrupt controller once */
	return 0;
}

static const char *soft_error_text(const struct vcpu *v)
{
	return v->error;
}

static void soft_cpuid(struct cpu_vm *vm, u32 leaf, u32 subleaf, struct cpuid_out *ret)
{
	cpu_model_cpuid(&vm->cfg, NULL, 0, leaf, subleaf, ret);
}

const struct cpu_engine cpu_soft = {
	.name = "soft",
	.vm_new = soft_vm_new,
	.vm_free = soft_vm_free,
	.vcpu_new = soft_vcpu_new,
	.vcpu_free = soft_vcpu_free,
	.run = soft_run,
	.signal = soft_signal,
	.get_state = soft_get_state,
	.set_state = soft_set_state,
	.get_clock = soft_get_clock,
	.set_clock = soft_set_clock,
	.cpuid = soft_cpuid,
	.error_text = soft_error_text,
	.stats = soft_stats,
};
