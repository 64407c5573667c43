// SPDX-License-Identifier: Apache-2.0
/*
 * quirks.c - finding out what this host does: see quirks.h
 */
#include "cpu/soft/quirks.h"

#include <pthread.h>

#include "cpu/cpu.h"
#include "cpu/soft/native.h"
#include "cpu/soft/xstate.h"

struct quirks quirks_found;

/* ROL by 2 with OF clear: of a value for which ROL by CL = 2 sets it. */
static bool rotate_imm_keeps_of(void)
{
	for (u32 top = 0; top < 8; top++) {
		u32 val = top << 29;
		u64 fl = 0;
		u8 of = 0;

		native_ops[NAT_ROL][2](val, 0, 2, &fl);
		if (!(fl & FL_OF))
			continue;
		__asm__("testl %0, %0\n\troll $2, %0\n\tseto %1" : "+r"(val), "=r"(of) : : "cc");
		return !of;
	}
	return false;
}

static bool rep_zero_extends(void)
{
	u64 count = BIT_ULL(40), to = 0;

	__asm__ volatile("addr32 rep stosl" : "+c"(count), "+D"(to) : "a"(0) : "memory");
	return !count;
}

static bool pause_ignores_rex(void)
{
	register u64 r8 __asm__("r8") = 1;
	u64 rax = 0;

	__asm__(".byte 0xf3, 0x49, 0x90" : "+r"(r8), "+a"(rax));
	return !rax;
}

static void probe_once(void)
{
	bool amd = cpu_model_is_amd();

	quirks_found = (struct quirks){
		.rotate_imm_keeps_of = rotate_imm_keeps_of(),
		.rep_zero_extends = rep_zero_extends(),
		.pause_ignores_rex = pause_ignores_rex(),
		.rep_fault_restores_flags = !amd,
		.cmps_reads_dst_first = !amd,
		.sha_must_align = !amd,
		.mmx_store_fault_clears_top = !amd,
		.x87_exceptions_before_faults = !amd,
		.x87_stores_80_in_parts = !amd,
		.x87_pointers_kept = xs_host_keeps_pointers(),
		.xrstor_checks_unused = !amd,
		.xrstor_loads_before_gp = !amd,
		.xsave_skips_legacy = !amd,
		.gather_widens_mask = !amd,
		.cvtps2ph_fault_sets_mxcsr = !amd,
		.call_fault_writes_stack = !amd,
		.adjust_flags_of_al = !amd,
		.compat_xsave_skips_hi16 = !amd,
		.lock_mov_cr8 = amd,
	};
}

void quirks_probe(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, probe_once);
}
