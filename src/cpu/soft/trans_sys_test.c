// SPDX-License-Identifier: Apache-2.0
/* trans_sys_test.c - system instructions inside translated code behave as interpreted */
#include <signal.h> /* first: insn.h has a REG_RIP of its own */

#include "cpu/soft/guestvm.h"

#include "base/test.h"
#include "cpu/soft/gsbase.h"
#include "cpu/soft/jit_int.h"

#include <stdlib.h>
#include <sys/time.h>

#define USER 0x40000000ull /* linear; at GV_FREE */
#define ENTRY (GV_DATA + 0x800)

/* What the kernel sees goes into rbx, so does what user mode sees of its own flags. */
GUEST(ts_start, "mov %r14, %rcx; mov %r13, %r11; sysretq");
GUEST(ts_user, "1: pushf; pop %rdx; add %rdx, %rbx; rol $7, %rbx; mov %cs, %edx; add %rdx, %rbx\n"
	       "mov %ss, %edx; add %rdx, %rbx; imul $0x41c64e6d, %eax; add $12345, %eax; syscall\n"
	       "lea 0(%rbx), %rbx; jmp 1b");
GUEST(ts_entry, "mov %rcx, %r14; lea (%rbx,%rcx), %rbx; rol $3, %rbx; add %r11, %rbx; pushf; pop %rdx\n"
		"rol $9, %rbx; add %rdx, %rbx; mov %cs, %edx; add %rdx, %rbx; mov %ss, %edx; add %rdx, %rbx\n"
		"mov %gs:0, %rdx; add %rdx, %rbx; dec %ebp; jz 1f; mov %r13, %r11; btc $0, %r13; sysretq\n"
		"1: out %al, $0xf4; hlt");

struct variant {
	const char *name;
	u64 sfmask, r11, rcx;
	bool no_sce;
};

#define ALL_MASK 0x257fd5ull /* as Linux sets it */

static const struct variant variants[] = {
	{ "linux", ALL_MASK, FL_IF | FL_CF | FL_OF, USER, false },
	{ "flags stay", FL_IF, FL_CF | FL_ZF | FL_SF, USER, false },
	{ "AC stays", ALL_MASK & ~(u64)FL_AC, FL_AC, USER, false },
	{ "AC", ALL_MASK, FL_AC | FL_PF, USER, false },
	{ "NT, ID, DF", ALL_MASK, FL_NT | FL_ID | FL_DF, USER, false },
	{ "RF, VM", ALL_MASK, FL_RF | FL_VM | FL_AF, USER, false },
	{ "not canonical", ALL_MASK, 0, 0x800000000000, false },
	{ "not mapped", ALL_MASK, 0, 0x123450000, false },
	{ "no SCE", ALL_MASK, 0, USER, true },
};

static void run_variant(struct gv *g, const struct x86_state *start, const struct variant *x, u64 rounds)
{
	g->s = *start;
	gv_map(g, USER, GV_FREE, PTE_P | PTE_W | PTE_U);
	gv_map(g, USER + 4096, GV_FREE + 4096, PTE_P | PTE_W | PTE_U);
	GV_LOAD(g, ts_start);
	gv_code(g, GV_FREE, ts_user, ts_user_end);
	gv_code(g, ENTRY, ts_entry, ts_entry_end);
	g->s.star = 0x1bull << 48 | (u64)GV_CS << 32;
	g->s.lstar = ENTRY;
	g->s.sfmask = x->sfmask;
	g->s.efer = x->no_sce ? g->s.efer & ~(u64)EFER_SCE : g->s.efer | EFER_SCE;
	g->s.seg[SEG_GS].base = GV_DATA;
	g->s.gpr[R13] = x->r11;
	g->s.gpr[R14] = x->rcx;
	g->s.gpr[RBP] = rounds;
	g->s.gpr[RSP] = USER + 8192; /* nobody switches stacks */
	gv_run(g);
}

TEST(syscalls_and_their_returns_are_the_same_interpreted_and_translated)
{
	struct gv *ref = gv_new(GV_T0);
	struct x86_state start;

	if (!ref)
		return;
	start = ref->s;
	for (unsigned k = 0; k < array_len(variants); k++) {
		run_variant(ref, &start, &variants[k], 1000);
		EACH_TIER(g) {
			struct x86_state mine = g->s;

			run_variant(g, &mine, &variants[k], 1000);
			if (g->vector != ref->vector || g->s.gpr[RBX] != ref->s.gpr[RBX] ||
			    g->rip != ref->rip || g->cs != ref->cs || g->s.gpr[RBP] != ref->s.gpr[RBP])
				test_fail(__FILE__, __LINE__, "%s, tier %u: vector %d/%d rbx %llx/%llx",
					  variants[k].name, t_g, g->vector, ref->vector,
					  (unsigned long long)g->s.gpr[RBX],
					  (unsigned long long)ref->s.gpr[RBX]);
		}
	}
	gv_free(ref);
}

static const void *home;

static void lose_base(int sig UNUSED)
{
	gsbase_write(home);
}

/* As a kernel that does not know of WRGSBASE does when it schedules the thread again. */
TEST(pitfall_72_gs_base_may_be_lost_at_any_instruction)
{
	enum { ROUNDS = 100000 };
	struct gv *ref = gv_new(GV_T0), *g;
	struct x86_state start;
	struct itimerval tick = { { 0, 100 }, { 0, 100 } }, never = { 0 };
	struct sigaction sa = { .sa_handler = lose_base, .sa_flags = SA_ONSTACK | SA_RESTART }, old;

	g = ref ? gv_new_config(&(struct cpu_config){ .model = CPU_MODEL_MAX, .off = CPU_OFF_GSBASE,
						      .code_cache_bytes = 1u << 20 }) : NULL;
	if (!g) {
		gv_free(ref);
		return;
	}
	home = g->v->jit->home->e;
	start = ref->s;
	run_variant(ref, &start, &variants[0], ROUNDS);
	sigaction(SIGALRM, &sa, &old);
	setitimer(ITIMER_REAL, &tick, NULL);
	start = g->s;
	run_variant(g, &start, &variants[0], ROUNDS);
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &old, NULL);
	CHECK_EQ(g->vector, ref->vector);
	CHECK_EQ(g->s.gpr[RBX], ref->s.gpr[RBX]);
	CHECK_EQ(g->s.gpr[RBP], ref->s.gpr[RBP]);
	CHECK(gv_stat(g, "slow_accesses") > 20);
	gv_free(g);
	gv_free(ref);
}

/* An interrupt that waits is taken by the return that sets IF. */
GUEST(ts_irq_entry, "add $1, %ebx; mov $0x200, %r11d; sysretq");
GUEST(ts_irq_user, "1: syscall; jmp 1b");

TEST(an_interrupt_that_waits_is_taken_when_sysret_sets_the_flag)
{
	static const u8 end_code[] = { 0xe6, GV_END, 0xf4 };

	EACH_TIER(g) {
		gv_map(g, USER, GV_FREE, PTE_P | PTE_W | PTE_U);
		GV_LOAD(g, ts_start);
		gv_code(g, GV_FREE, ts_irq_user, ts_irq_user_end);
		gv_code(g, ENTRY, ts_irq_entry, ts_irq_entry_end);
		gv_code(g, GV_DATA + 0x900, end_code, end_code + sizeof end_code);
		gv_gate(g, 0x40, GV_DATA + 0x900);
		g->s.star = 0x1bull << 48 | (u64)GV_CS << 32;
		g->s.lstar = ENTRY;
		g->s.sfmask = ALL_MASK;
		g->s.efer |= EFER_SCE;
		g->s.gpr[R14] = USER;
		g->irq = 0x40;
		cpu_soft.signal(g->v, CPU_SIG_IRQ, 0);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RBX], 1);
	}
}

/* -- REP ---------------------------------------------------------------------------------- */

/* Into a page that is not there after 0x60 bytes: registers stop exactly at it. */
GUEST(ts_rep_fault, "mov $0x20000, %esi; mov $0x40000fa0, %rdi; mov $100, %ecx; stc; rep movsq; hlt");
GUEST(ts_rep_down, "mov $0x20fff, %esi; mov $0x21fff, %rdi; mov $0x1000, %ecx; std; rep movsb; cld; adc $0, %ecx" GV_FINISH);
GUEST(ts_rep_overlap, "mov $0x20000, %esi; mov $0x20001, %rdi; mov $0x1234, %ecx; rep movsb" GV_FINISH);
GUEST(ts_rep_odd, "mov $0x20003, %esi; mov $0x40000005, %rdi; mov $0x300, %ecx; stc; rep movsq; adc $0, %ecx" GV_FINISH);
GUEST(ts_rep_none, "xor %ecx, %ecx; mov $-8, %rdi; stc; rep stosq; adc $0, %ecx" GV_FINISH);

TEST(rep_movs_and_stos_stop_where_the_interpreter_does)
{
	static const struct {
		const u8 *code, *end;
	} t[] = {
		{ ts_rep_fault, ts_rep_fault_end },	{ ts_rep_down, ts_rep_down_end },
		{ ts_rep_overlap, ts_rep_overlap_end }, { ts_rep_odd, ts_rep_odd_end },
		{ ts_rep_none, ts_rep_none_end },
	};
	u64 sum[array_len(t)] = { 0 };

	EACH_TIER(g) {
		struct x86_state start = g->s;

		gv_map(g, USER, GV_FREE, PTE_P | PTE_W);
		for (unsigned k = 0; k < array_len(t); k++) {
			u64 s = 1;

			g->s = start;
			for (u64 at = 0; at < 0x4000; at += 8)
				gv_put(g, GV_DATA + at, 8, at * 0x9e3779b97f4a7c15ull);
			for (u64 at = 0; at < 8192; at += 8)
				gv_put(g, GV_FREE + at, 8, at);
			gv_code(g, GV_CODE, t[k].code, t[k].end);
			gv_run(g);
			for (u64 at = 0; at < 0x4000; at += 8)
				s = s * 31 + gv_get(g, GV_DATA + at, 8);
			for (u64 at = 0; at < 8192; at += 8)
				s = s * 31 + gv_get(g, GV_FREE + at, 8);
			s = s * 31 + g->s.gpr[RCX] + g->s.gpr[RSI] * 7 + g->s.gpr[RDI] * 13;
			s = s * 31 + (u64)g->vector + g->s.cr2;
			if (t_g == GV_T0)
				sum[k] = s;
			if (s != sum[k])
				test_fail(__FILE__, __LINE__, "tier %u, code %u differs", t_g, k);
		}
	}
}
