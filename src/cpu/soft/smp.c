// SPDX-License-Identifier: Apache-2.0
/* smp.c - vCPUs of one VM among each other; see smp.h */
#include "cpu/soft/smp.h"

#include "cpu/soft/jit.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS  64 /* turns between offers of the host CPU to others */
#define PAUSES 32 /* the guest's, likewise */
#define HELD_SPINS 2000 /* turns before a held vCPU sleeps */
#define STOP_PAUSE_US 20 /* between two stops of everybody */

/* Every thread of the process passes a full memory barrier. */
static void barrier_everywhere(void)
{
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

static int register_barrier(void)
{
	return (int)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

void cpu_soft_prepare(void)
{
	register_barrier(); /* where that fails, smp_init() says so */
}

int smp_init(struct cpu_vm *vm, struct err *e)
{
	cpu_set_t set;

	vm->host_cpus = sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : (unsigned)CPU_COUNT(&set);
	if (vm->cfg.nr_vcpus <= 1)
		return 0;
	if (register_barrier() < 0)
		return err_set(e, ENOSYS, "cpus: %u: more than one needs membarrier from the host's "
			       "kernel", vm->cfg.nr_vcpus);
	return 0;
}

void smp_relax(unsigned *n)
{
	if (++*n % SPINS)
		__builtin_ia32_pause();
	else
		sched_yield();
}

/* -- idle and held ----------------------------------------------------------------- */

void smp_run_end(struct vcpu *v)
{
	atomic_store(&v->idle, true);
}

/* Held for long: the host's CPU to somebody else, perhaps the one we all wait for. */
static void sleep_held(struct vcpu *v)
{
	u32 yes = HOLD_YES;

	if (atomic_compare_exchange_strong(&v->hold, &yes, HOLD_SLEEPS) || yes == HOLD_SLEEPS)
		syscall(SYS_futex, &v->hold, FUTEX_WAIT_PRIVATE, HOLD_SLEEPS, NULL, NULL, 0);
}

void smp_run_begin(struct vcpu *v)
{
	for (;;) {
		atomic_store(&v->idle, false); /* pairs with hold(): store, then look */
		if (!atomic_load(&v->hold))
			return;
		atomic_store(&v->idle, true);
		for (unsigned n = 0; n < HELD_SPINS && atomic_load(&v->hold); n++)
			__builtin_ia32_pause();
		while (atomic_load(&v->hold))
			sleep_held(v);
	}
}

void smp_held(struct vcpu *v)
{
	smp_run_end(v);
	smp_run_begin(v);
}

/* -- the holder ----------------------------------------------------------------------- */

static void become_holder(struct vcpu *v)
{
	u32 nobody = 0;
	unsigned n = 0;

	atomic_store(&v->idle, true);
	while (!atomic_compare_exchange_weak(&v->vm->holder, &nobody, v->index + 1)) {
		nobody = 0;
		smp_relax(&n);
	}
	atomic_store(&v->idle, false); /* only the holder holds: nobody holds @v now */
}

static void hold(struct vcpu *o)
{
	atomic_store(&o->hold, HOLD_YES);
	if (!atomic_load(&o->idle))
		atomic_fetch_or(&o->exit_req, REQ_HOLD);
}

static void let_go(struct vcpu *o)
{
	if (atomic_exchange(&o->hold, HOLD_NOT) == HOLD_SLEEPS)
		syscall(SYS_futex, &o->hold, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void await_idle(struct vcpu *o)
{
	unsigned n = 0;

	while (!atomic_load(&o->idle))
		smp_relax(&n);
}

static struct vcpu *other(struct vcpu *v, unsigned k)
{
	return k == v->index ? NULL : v->vm->vcpu[k];
}

/* Who stops the others again and again leaves them no time: not before they had some. */
static void let_others_run(struct vcpu *v)
{
	u64 us = cpu_tsc_khz() / 1000;
	unsigned n = 0;

	atomic_store(&v->idle, true);
	while (__builtin_ia32_rdtsc() - atomic_load(&v->vm->stopped) < STOP_PAUSE_US * us)
		smp_relax(&n);
	smp_run_begin(v);
}

void smp_stop_others(struct vcpu *v)
{
	if (v->cfg.nr_vcpus <= 1)
		return;
	let_others_run(v);
	become_holder(v);
	for (unsigned k = 0; k < v->cfg.nr_vcpus; k++)
		if (other(v, k))
			hold(other(v, k));
	for (unsigned k = 0; k < v->cfg.nr_vcpus; k++)
		if (other(v, k))
			await_idle(other(v, k));
}

void smp_go_others(struct vcpu *v)
{
	if (v->cfg.nr_vcpus <= 1)
		return;
	for (unsigned k = 0; k < v->cfg.nr_vcpus; k++)
		if (other(v, k))
			let_go(other(v, k));
	atomic_store(&v->vm->stopped, __builtin_ia32_rdtsc());
	atomic_store(&v->vm->holder, 0);
}

/* -- code ------------------------------------------------------------------------------- */

static bool may_write(struct vcpu *o, u64 frame)
{
	return jit_may_write(o, frame) || atomic_load(&o->writing) == frame + 1;
}

void smp_claim_frame(struct vcpu *v, u64 frame)
{
	bool any = false;

	if (v->cfg.nr_vcpus <= 1)
		return;
	barrier_everywhere();
	for (unsigned k = 0; k < v->cfg.nr_vcpus; k++)
		any |= other(v, k) && may_write(other(v, k), frame);
	if (!any)
		return;
	become_holder(v);
	for (unsigned k = 0; k < v->cfg.nr_vcpus; k++) {
		struct vcpu *o = other(v, k);

		if (!o || !may_write(o, frame))
			continue;
		hold(o);
		await_idle(o);
		jit_protect_frame(o, frame);
	}
	smp_go_others(v);
}

void smp_code_written(struct vcpu *v, gpa_t gpa, u64 len)
{
	if (v->cfg.nr_vcpus <= 1)
		return;
	atomic_thread_fence(memory_order_seq_cst); /* pairs with claim() in jit.c */
	for (unsigned k = 0; k < v->cfg.nr_vcpus; k++)
		if (other(v, k))
			jit_post_code_write(other(v, k), gpa, len);
}

/* -- waiting loops of the guest --------------------------------------------------------- */

void smp_unhalt(struct vcpu *v, u64 index)
{
	if (index < v->cfg.nr_vcpus && v->vm->vcpu[index])
		soft_request(v->vm->vcpu[index], REQ_UNHALT);
}

void smp_pause(struct vcpu *v)
{
	if (v->cfg.nr_vcpus > 1 && ++v->pauses % PAUSES == 0)
		sched_yield();
	else
		__builtin_ia32_pause();
}
