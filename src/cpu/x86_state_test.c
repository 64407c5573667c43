// SPDX-License-Identifier: Apache-2.0
/* x86_state_test.c - the table of a vCPU's state, and states no processor can be in */
#include "base/test.h"
#include "cpu/x86_state.h"

static struct err e;

TEST(every_member_of_the_cpu_state_is_saved)
{
	CHECK_EQ(field_first_gap(x86_state_fields, sizeof(struct x86_state)),
		 sizeof(struct x86_state));
}

TEST(reset_states_are_possible_states)
{
	static struct x86_state s;

	for (unsigned bsp = 0; bsp < 2; bsp++) {
		x86_state_reset(&s, bsp);
		CHECK_EQ(x86_state_check(&s, XCR0_X87 | XCR0_SSE, &e), 0);
	}
}

TEST(impossible_cpu_states_are_refused)
{
	static struct x86_state s;
	const u64 all = XCR0_X87 | XCR0_SSE;

	x86_state_reset(&s, true);
	s.cr0 |= CR0_PG;
	CHECK(x86_state_check(&s, all, &e) < 0);
	x86_state_reset(&s, true);
	s.efer = EFER_LMA;
	CHECK(x86_state_check(&s, all, &e) < 0);
	x86_state_reset(&s, true);
	s.kernel_gs_base = 1ull << 60;
	CHECK(x86_state_check(&s, all, &e) < 0);
	x86_state_reset(&s, true);
	s.xcr0 |= XCR0_AVX;
	CHECK(x86_state_check(&s, all, &e) < 0);
	x86_state_reset(&s, true);
	s.xsave[520] = 1; /* XCOMP_BV */
	CHECK(x86_state_check(&s, all, &e) < 0);
	x86_state_reset(&s, true);
	s.rflags = 0;
	CHECK(x86_state_check(&s, all, &e) < 0);
}
