// SPDX-License-Identifier: Apache-2.0
/*
 * pitfall_mmu_test.c - address translation as running code sees it
 * (docs/pitfalls.md, 31..45); every test on every tier
 */
#include "cpu/soft/guestvm.h"

#include "base/test.h"

#define ALIAS 0x40000000ull /* linear, mapped by tests */
#define WINDOW 0x50000000ull
#define RW (PTE_P | PTE_W)
#define AD (PTE_A | PTE_D)

/* The guest's own way to a leaf entry: its linear address. */
static u64 pte_window(struct gv *g, u64 la)
{
	gpa_t gpa = (gpa_t)((u8 *)gv_pte(g, GV_PML4, la) - mem_ptr(g->mem, 0, 1));

	gv_map(g, WINDOW, gpa & ~0xfffull, RW);
	return WINDOW + (gpa & 0xfff);
}

/* -- 31..34: accessed, dirty, writable ------------------------------------------------------ */

/* rdi = the entry; its value after a read, after a write */
GUEST(g_dirty, "mov $0x40000000, %rbx; mov (%rdi), %rsi; and $0x60, %esi\n"
	       "mov (%rbx), %eax; mov (%rbx), %eax; mov (%rdi), %r8; and $0x60, %r8d\n"
	       "xor %ecx, %ecx; test %ecx, %ecx; jz 1f; mov %eax, (%rbx)\n"
	       "1: mov (%rdi), %r9; and $0x60, %r9d\n"
	       "mov %eax, (%rbx); mov (%rdi), %r10; and $0x60, %r10d\n"
	       "andq $~0x40, (%rdi); invlpg (%rbx)\n"
	       "cmpxchg %ecx, 8(%rbx); mov (%rdi), %r11; and $0x60, %r11d" GV_FINISH);

TEST(pitfall_31_dirty_is_set_by_the_first_write_and_by_nothing_else)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_dirty);
		gv_map(g, ALIAS, GV_FREE, RW);
		g->s.gpr[RDI] = pte_window(g, ALIAS);
		g->s.gpr[RAX] = 5;
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 0);
		CHECK_EQ(g->s.gpr[R8], PTE_A);
		CHECK_EQ(g->s.gpr[R9], PTE_A); /* a write jumped over */
		CHECK_EQ(g->s.gpr[R10], AD);
		CHECK_EQ(g->s.gpr[R11], AD);
	}
}

/* A write that faults on its second page leaves both pages clean. */
GUEST(g_split, "mov $0x40000ffc, %rbx; mov (%rbx), %eax; mov %rsi, (%rbx)" GV_FINISH);

TEST(pitfall_39_a_split_write_faults_on_the_second_page_and_writes_nothing)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_split);
		gv_map(g, ALIAS, GV_FREE, RW);
		gv_map(g, ALIAS + 4096, GV_FREE + 4096, PTE_P);
		g->s.gpr[RSI] = ~0ull;
		gv_run(g);
		CHECK_EQ(g->vector, EX_PF);
		CHECK_EQ(g->s.cr2, ALIAS + 4096);
		CHECK_EQ(g->error, PF_P | PF_W);
		CHECK_EQ(gv_get(g, GV_FREE + 4092, 4), 0);
		CHECK(!(*gv_pte(g, GV_PML4, ALIAS + 4096) & PTE_D));
	}
}

/* Read-only in the table; made writable by a store, no INVLPG; then written. */
GUEST(g_upgrade, "mov $0x40000000, %rbx; mov (%rbx), %eax; orq $2, (%rdi); movl $7, (%rbx)" GV_FINISH);

TEST(pitfall_33_wider_rights_need_no_invlpg)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_upgrade);
		gv_map(g, ALIAS, GV_FREE, PTE_P);
		g->s.gpr[RDI] = pte_window(g, ALIAS);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(gv_get(g, GV_FREE, 4), 7);
	}
}

/* The page holds code that ran, is clean, or is read-only: only the last is a fault. */
GUEST(g_reasons, "mov $0x40000000, %rbx; call *%rbx; mov (%rbx), %eax; movl $7, 64(%rbx)\n"
		 "mov $0x40001000, %rbx; mov (%rbx), %eax; movl $8, 64(%rbx); movl $9, (%rbx)" GV_FINISH);

TEST(pitfall_34_a_store_to_a_code_page_is_no_fault_and_to_a_read_only_page_is)
{
	EACH_TIER(g) {
		struct x86_state start = g->s;

		GV_LOAD(g, g_reasons);
		gv_put(g, GV_FREE, 1, 0xc3);
		gv_map(g, ALIAS, GV_FREE, RW);
		gv_map(g, ALIAS + 4096, GV_FREE + 4096, RW);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(gv_get(g, GV_FREE + 64, 4), 7);
		CHECK_EQ(gv_get(g, GV_FREE + 4096 + 64, 4), 8);
		gv_map(g, ALIAS + 4096, GV_FREE + 4096, PTE_P);
		g->s = start;
		gv_run(g);
		CHECK_EQ(g->vector, EX_PF);
		CHECK_EQ(g->error, PF_P | PF_W);
		CHECK_EQ(g->s.cr2, ALIAS + 4096 + 64);
	}
}

/* -- 35: global pages and PCIDs --------------------------------------------------------------- */

/* Change what the page maps to (rdi: entry, rsi: new value), do r8's flush, read again. */
#define FLUSH_TEST(name, flush)                                                                    \
	GUEST(name, "mov $0x40000000, %rbx; mov (%rbx), %eax; mov %rsi, (%rdi)\n" flush          \
		    "\nmov (%rbx), %ecx" GV_FINISH)

FLUSH_TEST(g_cr3, "mov %cr3, %rdx; mov %rdx, %cr3");
FLUSH_TEST(g_pge, "mov %cr4, %rdx; xor $0x80, %rdx; mov %rdx, %cr4; xor $0x80, %rdx; mov %rdx, %cr4");
FLUSH_TEST(g_invlpg, "invlpg (%rbx)");
FLUSH_TEST(g_invpcid, "push $0; push $0; mov $2, %edx; invpcid (%rsp), %rdx; pop %rdx; pop %rdx");
FLUSH_TEST(g_wp, "mov %cr0, %rdx; xor $0x10000, %rdx; mov %rdx, %cr0; mov %cr3, %rax; mov %rax, %cr3");

static u32 flushed(struct gv *g, const u8 *code, const u8 *end, u64 flags)
{
	gv_code(g, GV_CODE, code, end);
	g->s.rip = GV_CODE;
	gv_map(g, ALIAS, GV_FREE, flags);
	g->s.gpr[RDI] = pte_window(g, ALIAS);
	g->s.gpr[RSI] = (GV_FREE + 4096) | flags;
	gv_put(g, GV_FREE, 4, 1);
	gv_put(g, GV_FREE + 4096, 4, 2);
	gv_run(g);
	return g->vector == -1 ? (u32)g->s.gpr[RCX] : 99;
}

TEST(pitfall_35_every_flush_reaches_the_pages_it_should)
{
	EACH_TIER(g) {
		CHECK_EQ(flushed(g, g_cr3, g_cr3_end, RW), 2);
		CHECK_EQ(flushed(g, g_pge, g_pge_end, RW | PTE_G), 2);
		CHECK_EQ(flushed(g, g_invlpg, g_invlpg_end, RW | PTE_G), 2);
		CHECK_EQ(flushed(g, g_invpcid, g_invpcid_end, RW | PTE_G), 2);
		CHECK_EQ(flushed(g, g_wp, g_wp_end, RW), 2);
	}
}

/* -- 36: one piece of a large page ------------------------------------------------------------- */

/* 2 MiB page at ALIAS; touch three pieces; make rsi the new directory entry; INVLPG one piece. */
GUEST(g_pieces, "mov $0x40000000, %rbx; mov (%rbx), %eax; mov 0x5000(%rbx), %eax\n"
		"movl $1, 0x1ff000(%rbx); mov %rsi, (%rdi); invlpg 0x7000(%rbx)\n"
		"mov (%rbx), %eax; mov 0x5000(%rbx), %ecx; mov 0x1ff000(%rbx), %edx" GV_FINISH);

TEST(pitfall_36_invlpg_of_one_piece_drops_the_whole_large_page)
{
	EACH_TIER(g) {
		u64 *leaf = gv_pte(g, GV_PML4, ALIAS), pt = g->next_table - 4096, pd = pt - 4096;

		GV_LOAD(g, g_pieces);
		(void)leaf;
		gv_put(g, pd, 8, 0x400000 | RW | PTE_PS);
		for (u64 k = 0; k < 512; k++)
			gv_put(g, pt + 8 * k, 8, (0x600000 + 4096 * k) | RW);
		gv_map(g, WINDOW, pd, RW);
		g->s.gpr[RDI] = WINDOW;
		g->s.gpr[RSI] = pt | RW;
		gv_put(g, 0x600000, 4, 11);
		gv_put(g, 0x605000, 4, 12);
		gv_put(g, 0x7ff000, 4, 13);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RAX], 11);
		CHECK_EQ(g->s.gpr[RCX], 12);
		CHECK_EQ(g->s.gpr[RDX], 13);
	}
}

GUEST(g_pieces_global, "mov $0x40000000, %rbx; mov 0x5000(%rbx), %eax\n"
		       "mov $0x7fffffff, %ecx; 1: mov %rsi, (%rdi); invlpg (%rdx)\n"
		       "mov 0x5000(%rbx), %eax" GV_FINISH);

TEST(pitfall_37_invlpg_of_a_non_canonical_address_does_nothing)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_pieces_global);
		gv_map(g, ALIAS + 0x5000, GV_FREE, RW);
		g->s.gpr[RDI] = pte_window(g, ALIAS + 0x5000);
		g->s.gpr[RSI] = 0; /* unmapped, but for the old entry */
		g->s.gpr[RDX] = (ALIAS + 0x5000) | 1ull << 47;
		gv_put(g, GV_FREE, 4, 21);
		gv_run(g);
		CHECK(g->vector == -1 || g->vector == EX_PF); /* the entry may be dropped any time */
		if (g->vector == -1)
			CHECK_EQ(g->s.gpr[RAX], 21);
	}
}

/* -- 38: WP, SMAP, SMEP, NX ---------------------------------------------------------------------- */

/* STAC; touch; CLAC; touch again: the second faults even though the entry was filled. */
GUEST(g_smap, "mov $0x40000000, %rbx; stac; mov (%rbx), %eax; mov %eax, 8(%rbx); inc %edx; clac\n"
	      "mov $1, %ecx; mov (%rbx), %eax" GV_FINISH);
/* AC by POPF in the middle of a block */
GUEST(g_smap_popf, "mov $0x40000000, %rbx; pushf; pushf; orl $0x40000, (%rsp); popf\n"
		   "mov (%rbx), %eax; popf; mov $1, %ecx; mov %eax, (%rbx)" GV_FINISH);

TEST(pitfall_38_smap_counts_again_at_once_after_clac)
{
	static const struct {
		const u8 *code, *end;
	} c[] = { { g_smap, g_smap_end }, { g_smap_popf, g_smap_popf_end } };

	EACH_TIER(g) {
		struct x86_state start = g->s;

		for (unsigned k = 0; k < array_len(c); k++) {
			gv_code(g, GV_CODE, c[k].code, c[k].end);
			g->s = start;
			g->s.cr4 |= CR4_SMAP;
			gv_map(g, ALIAS, GV_FREE, RW | PTE_U);
			gv_run(g);
			CHECK_EQ(g->vector, EX_PF);
			CHECK_EQ(g->s.gpr[RCX], 1);
			CHECK_EQ(g->s.cr2, ALIAS);
			CHECK_EQ(g->error, PF_P | (k ? PF_W : 0));
		}
	}
}

GUEST(g_wp_off, "mov $0x40000000, %rbx; mov %cr0, %rax; btr $16, %rax; mov %rax, %cr0\n"
		"movl $1, (%rbx); bts $16, %rax; mov %rax, %cr0; mov $1, %ecx; movl $2, (%rbx)" GV_FINISH);

TEST(pitfall_38_write_protection_follows_wp_in_the_next_instruction)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_wp_off);
		gv_map(g, ALIAS, GV_FREE, PTE_P);
		gv_run(g);
		CHECK_EQ(g->vector, EX_PF);
		CHECK_EQ(g->s.gpr[RCX], 1);
		CHECK_EQ(gv_get(g, GV_FREE, 4), 1);
	}
}

GUEST(g_fetch, "mov $0x40000000, %rbx; call *%rbx; mov %rsi, (%rdi); invlpg (%rbx); mov $1, %ecx\n"
	       "call *%rbx" GV_FINISH);

static void fetch_faults(struct gv *g, u64 new_flags, u64 error)
{
	GV_LOAD(g, g_fetch);
	g->s.cr4 |= CR4_SMEP;
	gv_put(g, GV_FREE, 1, 0xc3);
	gv_map(g, ALIAS, GV_FREE, RW);
	g->s.gpr[RDI] = pte_window(g, ALIAS);
	g->s.gpr[RSI] = GV_FREE | new_flags;
	gv_run(g);
	CHECK_EQ(g->vector, EX_PF);
	CHECK_EQ(g->s.gpr[RCX], 1);
	CHECK_EQ(g->rip, ALIAS);
	CHECK_EQ(g->s.cr2, ALIAS);
	CHECK_EQ(g->error, error);
}

TEST(pitfall_38_fetching_stops_when_a_page_becomes_nx_or_a_user_page)
{
	EACH_TIER(g) {
		struct x86_state start = g->s;

		fetch_faults(g, RW | PTE_NX, PF_P | PF_I);
		g->s = start;
		fetch_faults(g, RW | PTE_U, PF_P | PF_I);
		g->s = start;
		fetch_faults(g, 0, PF_I);
	}
}

/* -- 44: two pages 2 TiB apart ---------------------------------------------------------------------- */

GUEST(g_pingpong, "mov $0x40000000, %rbx; mov $0x20040000000, %rdx; mov $20000, %ecx\n"
		  "1: addq $1, (%rbx); addq $2, (%rdx); mov (%rbx), %rax; mov (%rdx), %rsi\n"
		  "push %rcx; mov %rdx, %rsp; pop %r8; mov $0x40000, %esp; sub $8, %rsp; pop %rcx\n"
		  "dec %ecx; jnz 1b" GV_FINISH);

TEST(pitfall_44_pages_two_tib_apart_keep_their_data_and_do_not_storm)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_pingpong);
		gv_map(g, ALIAS, GV_FREE, RW);
		gv_map(g, ALIAS + (2ull << 40), GV_FREE + 4096, RW);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RAX], 20000);
		CHECK_EQ(g->s.gpr[RSI], 40000);
		CHECK_EQ(g->s.gpr[R8], 40000);
		CHECK(gv_stat(g, "host_faults ") < 20);
	}
}

/* -- 45: non-canonical pointers ----------------------------------------------------------------------- */

/* Every form with rbx (or rsp) as its pointer, on a page whose table entry is filled. */
#define FORMS(X)                                                                                   \
	X(load, "mov (%rbx), %rax") X(load8, "mov 1(%rbx), %ah") X(store, "mov %rax, (%rbx)")      \
	X(storeb, "mov %ah, (%rbx)") X(imm, "movq $-1, (%rbx)") X(rmw, "addq $1, (%rbx)")          \
	X(lock, "lock addq $1, (%rbx)") X(xchg, "xchg %rax, (%rbx)") X(cx, "cmpxchg %rcx, (%rbx)") \
	X(cx16, "cmpxchg16b (%rbx)") X(sib, "mov (%rbx,%rcx,8), %r10") X(r15, "mov (%rbx), %r15")  \
	X(movaps, "movaps (%rbx), %xmm0") X(movups, "movups %xmm0, (%rbx)")                        \
	X(unal, "mov 3(%rbx), %rax") X(cross, "mov 0xffd(%rbx), %rax") X(fld, "fldl (%rbx)")       \
	X(fst, "fninit; fstpt (%rbx)") X(jmp, "jmp *(%rbx)") X(call, "call *(%rbx)") X(pushm, "push (%rbx)") \
	X(popm, "pop (%rbx)") X(bts, "bts %rcx, (%rbx)") X(setc, "setc (%rbx)")                    \
	X(movs, "mov %rbx, %rsi; lea 0x20000, %rdi; mov $4, %ecx; rep movsq")                      \
	X(stos, "mov %rbx, %rdi; mov $4, %ecx; rep stosq")                                         \
	X(lods, "mov %rbx, %rsi; lodsb") X(cmps, "mov %rbx, %rsi; mov %rbx, %rdi; cmpsq")          \
	X(mul, "mulq (%rbx)") X(cmov, "cmovc (%rbx), %r11") X(bmi, "shlx %rcx, (%rbx), %rax")      \
	X(vmov, "vmovups (%rbx), %ymm0") X(fxs, "fxsave (%rbx)") X(leave, "mov %rbx, %rbp; leave") \
	X(push, "mov %rbx, %rsp; push %rax") X(pop, "mov %rbx, %rsp; pop %rax")                    \
	X(ret, "mov %rbx, %rsp; ret") X(calls, "mov %rbx, %rsp; call .+5")                         \
	X(jmpr, "jmp *%rbx") X(callr, "call *%rbx") X(pushret, "push %rbx; ret")                   \
	X(jmpsp, "mov %rbx, %rsp; jmp *%rsp")
#define X(n, text) GUEST(g_form_##n, text GV_FINISH);
FORMS(X)
#undef X

static const struct {
	const char *name;
	const u8 *code, *end;
} forms[] = {
#define X(n, text) { #n, g_form_##n, g_form_##n##_end },
	FORMS(X)
#undef X
};

static bool is_segment_fault(int vector)
{
	return vector == EX_GP || vector == EX_SS;
}

TEST(pitfall_45_non_canonical_pointers_never_read_host_memory)
{
	static const u64 flip[] = { 1ull << 47, 1ull << 63, 1ull << 52, 0xffffull << 48,
				    0x7fffull << 48, 3ull << 46 | 1ull << 55, 0xff7full << 48 };

	EACH_TIER(g) {
		struct x86_state start = g->s;

		gv_map(g, ALIAS, GV_FREE, RW);
		gv_map(g, ALIAS + 4096, GV_FREE + 4096, RW);
		for (unsigned f = 0; f < array_len(forms); f++) {
			gv_code(g, GV_CODE, forms[f].code, forms[f].end);
			for (unsigned k = 0; k < array_len(flip) + 1; k++) {
				g->s = start;
				g->s.gpr[RBX] = (ALIAS + 64) ^ (k ? flip[k - 1] : 0);
				gv_put(g, GV_FREE + 64, 8, 0xf4e6f4e6f4e6f4e6 /* out f4 */);
				gv_run(g);
				if (k && !is_segment_fault(g->vector))
					test_fail(__FILE__, __LINE__, "tier %u: %s at %llx: vector %d", t_g,
						  forms[f].name,
						  (unsigned long long)((ALIAS + 64) ^ flip[k - 1]), g->vector);
			}
		}
	}
}

/* Canonical, not mapped, but with the same table index as a mapped page: a page fault there. */
TEST(pitfall_45_canonical_aliases_of_a_mapped_page_fault_as_themselves)
{
	EACH_TIER(g) {
		struct x86_state start = g->s;

		gv_map(g, ALIAS, GV_FREE, RW);
		for (unsigned f = 0; f < array_len(forms); f++) {
			gv_code(g, GV_CODE, forms[f].code, forms[f].end);
			for (u64 k = 0; k < 64; k += 21) {
				u64 at = (ALIAS + 64) + (k << 41);

				g->s = start;
				g->s.gpr[RBX] = at;
				gv_put(g, GV_FREE + 64, 8, 0xf4e6f4e6f4e6f4e6 /* out f4 */);
				gv_run(g);
				if (k && (g->vector != EX_PF || g->s.cr2 - at + 64 > 0x1100) &&
				    g->vector != EX_DF)
					test_fail(__FILE__, __LINE__, "tier %u: %s at %llx: vector %d cr2 %llx",
						  t_g, forms[f].name, (unsigned long long)at, g->vector,
						  (unsigned long long)g->s.cr2);
			}
		}
	}
}
