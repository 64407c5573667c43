// SPDX-License-Identifier: Apache-2.0
/*
 * report.c - comparing results; printing a stream, its input and what differs
 */
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <string.h>

#include "cpu/soft/xstate.h"
#include "nd.h"

static const char *const gpr_name[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					  "r8",	 "r9",	"r10", "r11", "r12", "r13", "r14", "r15" };

static const char *vector_name(u8 v, char *buf, size_t len)
{
	static const char *const names[20] = { [0] = "#DE", [1] = "#DB", [3] = "#BP", [6] = "#UD",
					       [7] = "#NM", [12] = "#SS", [13] = "#GP",
					       [14] = "#PF", [16] = "#MF", [17] = "#AC",
					       [19] = "#XM" };

	if (v < 20 && names[v])
		return names[v];
	snprintf(buf, len, v == ND_TIMEOUT ? "no end" : v == ND_SYSCALL ? "system call" : "vector %u",
		 v);
	return buf;
}

static bool differ(bool show, const char *what, u64 nat, u64 got)
{
	if (nat == got)
		return false;
	if (show)
		printf("    %-10s native %016llx  got %016llx\n", what, (unsigned long long)nat,
		       (unsigned long long)got);
	return true;
}

static bool differ_bytes(bool show, const char *what, const u8 *nat, const u8 *got, unsigned len)
{
	if (!memcmp(nat, got, len))
		return false;
	if (!show)
		return true;
	printf("    %-10s native ", what);
	for (unsigned k = len; k-- > 0;)
		printf("%02x", nat[k]);
	printf("\n    %-10s    got ", "");
	for (unsigned k = len; k-- > 0;)
		printf("%02x", got[k]);
	printf("\n");
	return true;
}

static bool compare_fp(const u8 *n, const u8 *g, bool show)
{
	const struct xs_layout *l = xs_layout();
	char name[16];
	bool bad = false;

	bad |= differ(show, "fcw", *(u16 *)(n + XS_FCW), *(u16 *)(g + XS_FCW));
	bad |= differ(show, "fsw", *(u16 *)(n + XS_FSW), *(u16 *)(g + XS_FSW));
	bad |= differ(show, "ftw", n[XS_FTW], g[XS_FTW]);
	bad |= differ(show, "mxcsr", *(u32 *)(n + XS_MXCSR), *(u32 *)(g + XS_MXCSR));
	for (unsigned k = 0; k < 8; k++) {
		snprintf(name, sizeof(name), "st%u", k);
		bad |= differ_bytes(show, name, n + XS_ST + 16 * k, g + XS_ST + 16 * k, 10);
	}
	for (unsigned k = 0; k < 16; k++) {
		snprintf(name, sizeof(name), "xmm%u", k);
		bad |= differ_bytes(show, name, n + XS_XMM + 16 * k, g + XS_XMM + 16 * k, 16);
	}
	for (unsigned c = XC_AVX; c < NR_XC; c++) {
		static const u8 unit[NR_XC] = { [XC_AVX] = 16, [XC_OPMASK] = 8, [XC_ZMM_HI256] = 32,
						[XC_HI16_ZMM] = 64 };
		static const char *const names[NR_XC] = { [XC_AVX] = "ymm_h", [XC_OPMASK] = "k",
							  [XC_ZMM_HI256] = "zmm_h",
							  [XC_HI16_ZMM] = "zmm16+" };

		for (unsigned k = 0; unit[c] && k < l->comp[c].size / unit[c]; k++) {
			unsigned off = l->comp[c].off + unit[c] * k;

			snprintf(name, sizeof(name), "%s%u", names[c], k);
			bad |= differ_bytes(show, name, n + off, g + off, unit[c]);
		}
	}
	return bad;
}

const struct insn *nd_faulting(const struct nd_case *c, const struct nd_result *nat)
{
	for (unsigned k = 0; k < c->nr; k++)
		if (c->la + c->off[k] == nat->st.rip)
			return &c->insn[k];
	return NULL;
}

static bool is_maskmov(const struct insn *i)
{
	return i->cls == CLS_VEC && i->enc != ENC_EVEX && i->map == MAP_0F && i->op == 0xf7;
}

/*
 * Differences in faults that no document defines and we do not imitate: the host
 * may check the far end of a large operand first; AMD finds an effective address
 * non-canonical before adding an FS or GS base; operands that wrap at 4 GiB, in
 * compatibility mode (stack and strings too) or made of several accesses with a 32-bit
 * address, fault in an order of their own, and may or may not exceed the segment's limit
 * [SDM 3A 5.3]. What wraps may also be at 4 GiB.
 */
static bool same_fault(const struct nd_case *c, const struct nd_result *nat,
		       const struct nd_result *got)
{
	const struct insn *i = nd_faulting(c, nat);
	bool large = i && (i->cls == CLS_XSAVE || i->cls == CLS_X87), wraps;

	if (nat->vector == got->vector && nat->error == got->error && nat->addr == got->addr)
		return true;
	if (!i)
		return false;
	wraps = nat->addr > 0xfffff000 || (is_maskmov(i) && (u32)nat->st.gpr[RDI] > 0xfffff000) ||
		(i->is_mem && nd_operand_la(&nat->st, i, nat->st.rip) > 0xfffff000);
	if (wraps && (c->mode == 4 || (i->is_mem && large && i->adsize == 4)))
		return got->vector == EX_GP || got->vector == EX_SS || got->vector == EX_PF;
	if (nat->vector == EX_PF && got->vector == EX_PF && i->adsize == 4 &&
	    (u32)nat->addr == (u32)got->addr)
		return true;
	if (nat->vector == EX_PF && got->vector == EX_PF)
		return large && nat->addr - got->addr + 4096 < 2 * 4096;
	return i->is_mem && (i->mem_seg == SEG_FS || i->mem_seg == SEG_GS) &&
	       nat->vector == EX_GP && got->vector == EX_PF;
}

/* The selectors beside FIP and FDP in saved areas are deprecated: what is there is not compared. */
static void blank_selectors(const struct nd_case *c)
{
	static const u8 zero[4];

	for (unsigned k = 0; k < c->nr; k++) {
		const struct insn *i = &c->insn[k];
		u64 la = nd_operand_la(&c->in, i, c->la + c->off[k]);

		if (i->cls != CLS_XSAVE || i->rm_acc != OP_W)
			continue;
		nd_poke(la + XS_FIP + 4, zero, 4);
		nd_poke(la + XS_FDP + 4, zero, 4);
	}
}

bool nd_compare(const struct nd_case *c, const struct nd_result *nat, const struct nd_result *got,
		const char *tier, bool show)
{
	u64 dead = got->flags_known ? 0 : FL_ARITH;
	u8 n = 0, g = 0;
	u64 mask = c->mode == 8 ? ~0ull : 0xffffffff, at;
	bool bad = false;
	char b1[16], b2[16];

	blank_selectors(c);
	at = nd_memory_diff(&n, &g);

	if (show)
		printf("  native ends with %s error %x cr2 %llx; %s with %s error %x cr2 %llx\n",
		       vector_name(nat->vector, b1, sizeof(b1)), nat->error,
		       (unsigned long long)nat->addr, tier, vector_name(got->vector, b2, sizeof(b2)),
		       got->error, (unsigned long long)got->addr);
	bad |= !same_fault(c, nat, got);
	bad |= differ(show, "rip", nat->st.rip, got->st.rip);
	bad |= differ(show, "rflags", nat->st.rflags & ~dead, got->st.rflags & ~dead);
	for (unsigned k = 0; k < 16; k++)
		bad |= differ(show, gpr_name[k], nat->st.gpr[k] & mask, got->st.gpr[k] & mask);
	bad |= compare_fp(nat->st.xsave, got->st.xsave, show);
	if (at) {
		bad = true;
		if (show)
			printf("    memory %llx: native %02x, got %02x\n", (unsigned long long)at, n, g);
	}
	return !bad;
}

void nd_print_case(const struct nd_case *c)
{
	ZydisDisassembledInstruction d;

	printf("seed %llu, %u-bit, %u instructions at %llx:\n", (unsigned long long)c->seed,
	       8u * c->mode, c->nr, (unsigned long long)c->la);
	for (unsigned k = 0; k < c->nr; k++) {
		unsigned len = c->off[k + 1] - c->off[k];

		printf("  %llx  ", (unsigned long long)(c->la + c->off[k]));
		for (unsigned b = 0; b < len; b++)
			printf("%02x ", c->code[c->off[k] + b]);
		if (ZYAN_SUCCESS(ZydisDisassembleIntel(c->mode == 8 ? ZYDIS_MACHINE_MODE_LONG_64 :
								      ZYDIS_MACHINE_MODE_LONG_COMPAT_32, c->la + c->off[k],
						       c->code + c->off[k], len, &d)))
			printf("%*s%s", 3 * (11 - (int)len), "", d.text);
		printf("\n");
	}
	for (unsigned k = 0; k < 16; k++)
		printf("  %-3s %016llx%s", gpr_name[k], (unsigned long long)c->in.gpr[k],
		       k % 4 == 3 ? "\n" : "");
	printf("  rflags %llx  fcw %04x fsw %04x ftw %02x mxcsr %04x\n",
	       (unsigned long long)c->in.rflags, *(u16 *)(c->in.xsave + XS_FCW),
	       *(u16 *)(c->in.xsave + XS_FSW), c->in.xsave[XS_FTW], *(u32 *)(c->in.xsave + XS_MXCSR));
}
