// SPDX-License-Identifier: Apache-2.0
/*
 * pvsteal.c - steal time: how long the host ran others while the guest wanted the CPU
 * [Linux Documentation/virt/kvm/x86/msr.rst]
 *
 * What has passed, less the thread's CPU time, less what it slept in HLT. Looked at every
 * few milliseconds on the way to an interrupt, which costs one system call.
 */
#include "cpu/soft/pvsteal.h"

#include "cpu/soft/op_sys.h"
#include "cpu/soft/pvclock.h"
#include "cpu/soft/walk.h"

#include <sys/syscall.h>
#include <time.h>

#define STEAL_RESERVED 0x3eull
#define STEAL_ENABLE   1
#define PERIOD_MS      4

/* As in guest memory; little-endian, like the host. */
struct steal_time {
	u64 steal;
	u32 version, flags;
	u8 preempted, pad0[3];
	u32 pad1[11];
} PACKED;

static u64 thread_cpu_ns(void)
{
	struct timespec ts = { 0 };

	syscall(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &ts);
	return (u64)ts.tv_sec * 1000000000 + (u64)ts.tv_nsec;
}

/* @v's thread begins to be watched. */
static void look(struct vcpu *v)
{
	v->steal.tsc = __builtin_ia32_rdtsc();
	v->steal.cpu_ns = thread_cpu_ns();
	v->steal.slept = 0;
}

static void publish(struct vcpu *v)
{
	gpa_t at = v->s.kvm_steal_time & ~(STEAL_RESERVED | STEAL_ENABLE);
	struct steal_time t = { .steal = v->steal.total };
	u8 *page = mmu_ram(v, at);

	if (!page)
		return;
	__builtin_memcpy(&t.version, page + (at & 0xfff) + offsetof(struct steal_time, version), 4);
	t.version = (t.version | 1) + 1; /* even: whole */
	pv_write_guest(v, at, &t, sizeof t);
}

bool pvsteal_set(struct vcpu *v, u64 val)
{
	if (val & STEAL_RESERVED)
		return false;
	v->s.kvm_steal_time = val;
	if (val & STEAL_ENABLE) {
		look(v);
		publish(v);
	}
	return true;
}

void pvsteal_slept(struct vcpu *v, u64 cycles)
{
	v->steal.slept += cycles;
}

void pvsteal_update(struct vcpu *v)
{
	u64 khz = cpu_tsc_khz(), passed, ran, wanted;

	if (!(v->s.kvm_steal_time & STEAL_ENABLE))
		return;
	passed = __builtin_ia32_rdtsc() - v->steal.tsc;
	if (passed < PERIOD_MS * khz)
		return;
	passed -= v->steal.slept < passed ? v->steal.slept : passed;
	wanted = (u64)((unsigned __int128)passed * 1000000 / khz);
	ran = v->steal.cpu_ns;
	look(v);
	ran = v->steal.cpu_ns - ran;
	if (wanted <= ran)
		return;
	v->steal.total += wanted - ran;
	publish(v);
}
