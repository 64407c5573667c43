// SPDX-License-Identifier: Apache-2.0
/* x86_state.c - power-on and INIT state of a vCPU [SDM 3A table 9-1] */
#include "cpu/x86_state.h"

#include <string.h>

#define ATTR_CODE (SA_P | SA_S | SA_CODE | SA_RW | SA_ACCESSED)
#define ATTR_DATA (SA_P | SA_S | SA_RW | SA_ACCESSED)
#define ATTR_TSS  (SA_P | 11)
#define ATTR_LDT  (SA_P | 2)

#define PAT_RESET	  0x0007040600070406ull
#define MISC_ENABLE_RESET 1 /* fast strings */

void x86_state_reset(struct x86_state *s, bool bsp)
{
	*s = (struct x86_state){
		.rip = 0xfff0,
		.rflags = FL_ONE,
		.ldtr = { .limit = 0xffff, .attr = ATTR_LDT },
		.tr = { .limit = 0xffff, .attr = ATTR_TSS },
		.gdtr.limit = 0xffff,
		.idtr.limit = 0xffff,
		.cr0 = CR0_CD | CR0_NW | CR0_ET,
		.xcr0 = XCR0_X87,
		.dr6 = 0xffff0ff0,
		.dr7 = 0x400,
		.pat = PAT_RESET,
		.misc_enable = MISC_ENABLE_RESET,
		.activity = bsp ? ACT_RUNNING : ACT_WAIT_SIPI,
	};
	for (unsigned n = 0; n < NR_SEGS; n++)
		s->seg[n] = (struct x86_seg){ .limit = 0xffff, .attr = ATTR_DATA };
	s->seg[SEG_CS] = (struct x86_seg){
		.base = 0xffff0000, .limit = 0xffff, .attr = ATTR_CODE, .sel = 0xf000
	};
	s->gpr[RDX] = 0x00000600;
	/* XSAVE image: FCW 040h at reset, MXCSR 1F80h; all components but x87 initial. */
	s->xsave[0] = 0x40;
	s->xsave[24] = 0x80;
	s->xsave[25] = 0x1f;
	s->xsave[512] = XCR0_X87 | XCR0_SSE;
}

/* The MSRs, which INIT leaves alone: star to kvm_wall_clock. */
#define KEPT_FIRST offsetof(struct x86_state, star)
#define KEPT_END   offsetof(struct x86_state, pdpte)

void x86_state_init(struct x86_state *s, bool bsp)
{
	struct x86_state old = *s;

	x86_state_reset(s, bsp);
	memcpy((u8 *)s + KEPT_FIRST, (u8 *)&old + KEPT_FIRST, KEPT_END - KEPT_FIRST);
	memcpy(s->xsave, old.xsave, sizeof(s->xsave));
	s->xcr0 = old.xcr0;
	s->cr0 |= old.cr0 & (CR0_CD | CR0_NW);
	s->cr0 &= old.cr0 | ~(u64)(CR0_CD | CR0_NW);
}
