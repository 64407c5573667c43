// SPDX-License-Identifier: Apache-2.0
/*
 * pitfall_event_test.c - interrupts, exceptions and the host around running
 * code (docs/pitfalls.md, 28..30 and 59..73); every test on every tier
 */
#include "cpu/soft/guestvm.h"

#include "base/test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ALIAS 0x40000000ull
#define RW (PTE_P | PTE_W)
#define VEC 0x40 /* its handler, GV_DATA + 0x800: ends the run */

static const u8 end_code[] = { 0xe6, GV_END, 0xf4 };
static const u8 iretq[] = { 0x48, 0xff, 0xc5, 0x48, 0xcf }; /* inc rbp; iretq */

static void handler(struct gv *g, const u8 *code, const u8 *end)
{
	gv_code(g, GV_DATA + 0x800, code, end);
	gv_gate(g, VEC, GV_DATA + 0x800);
}

static void *irq_later(void *arg)
{
	struct gv *g = arg;

	usleep(3000);
	__atomic_store_n(&g->irq, VEC, __ATOMIC_SEQ_CST);
	cpu_soft.signal(g->v, CPU_SIG_IRQ, 0);
	return NULL;
}

/* Run with an interrupt that arrives 3 ms later from another thread. */
static void run_with_irq(struct gv *g)
{
	pthread_t t;

	pthread_create(&t, NULL, irq_later, g);
	gv_run(g);
	pthread_join(t, NULL);
}

/* -- 28: loops ------------------------------------------------------------------------------ */

GUEST(g_self, "sti; nop; 1: jmp 1b");
GUEST(g_pair, "sti; nop; 1: cmp $1, %eax; je 2f; 2: jmp 1b");
GUEST(g_carry, "sti; stc; 1: jc 1b; hlt"); /* flags always live */
GUEST(g_indirect, "sti; lea 1f(%rip), %rax; 1: jmp *%rax");
GUEST(g_loopne, "sti; nop; 1: mov $9, %ecx; 2: loop 2b; jmp 1b");
GUEST(g_memory, "sti; nop; 1: cmpl $0, 0x20000; je 1b");
GUEST(g_farpage, "sti; mov $0x40000000, %rax; call *%rax; jmp .");

TEST(pitfall_28_every_loop_is_interrupted)
{
	static const struct {
		const u8 *code, *end;
	} loop[] = {
		{ g_self, g_self_end },		{ g_pair, g_pair_end },	    { g_carry, g_carry_end },
		{ g_indirect, g_indirect_end }, { g_loopne, g_loopne_end }, { g_memory, g_memory_end },
		{ g_farpage, g_farpage_end },
	};

	EACH_TIER(g) {
		struct x86_state start = g->s;

		gv_map(g, ALIAS, GV_FREE, RW);
		gv_map(g, ALIAS + 4096, GV_FREE + 4096, RW);
		gv_put(g, GV_FREE, 5, 0x000ffbe9); /* jmp to ALIAS + 0x1000, and back */
		gv_put(g, GV_FREE + 4096, 5, 0xffffeffbe9);
		for (unsigned k = 0; k < array_len(loop); k++) {
			gv_code(g, GV_CODE, loop[k].code, loop[k].end);
			handler(g, end_code, end_code + sizeof end_code);
			g->s = start;
			run_with_irq(g);
			if (g->vector != -1)
				test_fail(__FILE__, __LINE__, "tier %u loop %u: vector %d", t_g, k, g->vector);
		}
	}
}

/* The flags of an interrupted loop come back. */
GUEST(g_flags_back, "mov $2000000, %ecx; sti; stc; 1: dec %ecx; jc 2f; out %al, $0xf4\n"
		    "2: jnz 1b; mov $1, %eax" GV_FINISH);

static void *many_irqs(void *arg)
{
	struct gv *g = arg;

	for (unsigned k = 0; k < 40; k++) {
		usleep(100);
		__atomic_store_n(&g->irq, VEC, __ATOMIC_SEQ_CST);
		cpu_soft.signal(g->v, CPU_SIG_IRQ, 0);
	}
	return NULL;
}

TEST(pitfall_01_flags_survive_polls_and_interrupts_in_a_loop)
{
	EACH_TIER(g) {
		pthread_t t;

		GV_LOAD(g, g_flags_back);
		handler(g, iretq, iretq + sizeof iretq);
		if (t_g == GV_T0)
			g->s.rip = GV_CODE;
		pthread_create(&t, NULL, many_irqs, g);
		gv_run(g);
		pthread_join(t, NULL);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RAX], 1);
	}
}

/* -- 29, 30: shadows ----------------------------------------------------------------------------- */

/* The interrupt is pending when STI runs: it comes behind HLT, which it ends. */
GUEST(g_sti_hlt, "mov $1, %eax; sti; hlt; mov $2, %eax" GV_FINISH);
GUEST(g_sti_nop, "sti; mov $3, %ecx; mov $4, %ecx; nop; jmp ." );
GUEST(g_popf_if, "pushf; orl $0x200, (%rsp); popf; mov $3, %ecx; 1: jmp 1b");
GUEST(g_mov_ss, "mov $0x10, %edx; sti; mov %edx, %ss; mov $7, %ecx; jmp .");

static void pend(struct gv *g)
{
	g->irq = VEC;
	cpu_soft.signal(g->v, CPU_SIG_IRQ, 0);
}

TEST(pitfall_29_an_interrupt_pending_at_sti_hlt_ends_the_hlt)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_sti_hlt);
		handler(g, iretq, iretq + sizeof iretq);
		pend(g);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RAX], 2);
		CHECK_EQ(g->s.gpr[RBP], 1);
	}
}

TEST(pitfall_29_sti_takes_effect_after_one_instruction_and_popf_at_once)
{
	EACH_TIER(g) {
		struct x86_state start = g->s;

		GV_LOAD(g, g_sti_nop);
		handler(g, end_code, end_code + sizeof end_code);
		pend(g);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RCX], 3);
		GV_LOAD(g, g_popf_if);
		g->s = start;
		pend(g);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RCX], 0);
	}
}

TEST(pitfall_30_mov_ss_holds_an_interrupt_for_one_instruction)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_mov_ss);
		handler(g, end_code, end_code + sizeof end_code);
		pend(g);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RCX], 7); /* sti, mov ss: one shadow, then another */
	}
}

GUEST(g_tf, "pushf; orl $0x100, (%rsp); popf; mov $1, %ecx; mov $2, %ecx; nop");

TEST(pitfall_30_popf_that_sets_tf_traps_after_the_next_instruction)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_tf);
		gv_run(g);
		CHECK_EQ(g->vector, EX_DB);
		CHECK_EQ(g->s.gpr[RCX], 1);
	}
}

/* A data breakpoint set in the middle of a block. */
GUEST(g_watch, "mov $0x20000, %eax; mov %rax, %dr0; mov $0xd0003, %eax; mov %rax, %dr7\n"
	       "mov $1, %ecx; mov %ecx, 0x20000; mov $2, %ecx" GV_FINISH);

TEST(pitfall_30_a_breakpoint_set_by_running_code_works_at_once)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_watch);
		gv_run(g);
		CHECK_EQ(g->vector, EX_DB);
		CHECK_EQ(g->s.gpr[RCX], 1);
		CHECK_EQ(g->s.dr6 & 1, 1);
	}
}

/* -- 59..63 -------------------------------------------------------------------------------------- */

GUEST(g_bad_stack, "mov $0x60000004, %esp; push %rax" GV_FINISH);

TEST(pitfall_59_a_fault_on_a_bad_stack_is_a_double_fault_then_shutdown)
{
	EACH_TIER(g) {
		struct x86_state start = g->s;

		GV_LOAD(g, g_bad_stack);
		/* no stack of their own for these but #DF: pushing the frame faults again */
		gv_put(g, GV_IDT + 16 * EX_PF + 4, 1, 0);
		gv_put(g, GV_IDT + 16 * EX_GP + 4, 1, 0);
		gv_run(g);
		CHECK_EQ(g->vector, EX_DF);
		CHECK_EQ(g->error, 0);
		CHECK_EQ(g->s.cr2, 0x60000000 - 8); /* the frame's, not the first fault's */
		g->s = start;
		gv_put(g, GV_IDT + 16 * EX_DF + 4, 1, 0);
		gv_run(g);
		CHECK_EQ(g->vector, -2);
	}
}

GUEST(g_align, "lea 0x3fff9, %rsp; int $0x40");

TEST(pitfall_60_the_frame_is_aligned)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_align);
		handler(g, end_code, end_code + sizeof end_code);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSP], 0x3fff0 - 40);
		CHECK_EQ(gv_get(g, 0x3fff0 - 40 + 24, 8), 0x3fff9);
	}
}

GUEST(g_iret_bad, "push $0x10; push $0x40000; pushf; push $8; mov $0x800000000000, %rax; push %rax; iretq");
GUEST(g_sysret_bad, "mov $0x800000000000, %rcx; mov $2, %r11d; sysretq");
GUEST(g_end_of_half, "mov $0x7ffffffff000, %rax; jmp *%rax");
GUEST(g_jump_out, "mov $0x7fffffffff00, %rax; jmp *%rax");

TEST(pitfall_61_addresses_past_the_canonical_end_fault_where_they_should)
{
	static const u8 nops[] = { 0x90, 0x90, 0x90, 0x90 }, jmp[] = { 0xe9, 0, 2, 0, 0 };

	EACH_TIER(g) {
		struct x86_state start = g->s;
		bool amd = cpu_model_is_amd();

		GV_LOAD(g, g_iret_bad);
		gv_run(g);
		CHECK_EQ(g->vector, EX_GP);
		CHECK_EQ(g->cs, GV_CS);
		GV_LOAD(g, g_sysret_bad);
		g->s = start;
		g->s.star = 0x18ull << 48;
		gv_run(g);
		CHECK_EQ(g->vector, EX_GP);
		CHECK_EQ(g->cs & 3, amd ? 3 : 0);
		/* straight on off the lower half: the address beyond is the one that faults */
		GV_LOAD(g, g_end_of_half);
		g->s = start;
		gv_map(g, 0x7ffffffff000, GV_FREE, RW);
		memset(mem_ptr(g->mem, GV_FREE, 4096), 0x90, 4096);
		gv_code(g, GV_FREE + 4092, nops, nops + 4);
		gv_run(g);
		CHECK_EQ(g->vector, EX_GP);
		CHECK_EQ(g->rip, 0x800000000000);
		/* a direct jump out: the jump faults */
		GV_LOAD(g, g_jump_out);
		g->s = start;
		gv_code(g, GV_FREE + 0xf00, jmp, jmp + sizeof jmp);
		gv_run(g);
		CHECK_EQ(g->vector, EX_GP);
		CHECK_EQ(g->rip, 0x7fffffffff00);
	}
}

/* FS base by selector, by MSR, by WRFSBASE: the next access uses it. */
static bool amd_null_keeps_base(struct gv *g)
{
	(void)g;
	return cpu_model_is_amd(); /* a null selector leaves the base as it is */
}

GUEST(g_bases, "mov $0x20000, %eax; wrfsbase %rax; mov %fs:0, %rsi\n"
	       "mov $0xc0000100, %ecx; mov $0x20010, %eax; xor %edx, %edx; wrmsr; mov %fs:0, %rdi\n"
	       "xor %eax, %eax; mov %eax, %fs; mov %fs:0x20020, %r8\n"
	       "mov $0xc0000102, %ecx; mov $0x20030, %eax; wrmsr; swapgs; mov %gs:0, %r9\n"
	       "swapgs; mov %gs:0x20038, %r10; mov %cl, %ah\n"
	       "mov $0xc0000100, %ecx; mov $0x8000, %edx; wrmsr");

TEST(pitfall_63_segment_bases_count_from_the_next_instruction_on)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_bases);
		for (unsigned k = 0; k < 8; k++)
			gv_put(g, GV_DATA + 8 * k, 8, 100 + k);
		gv_run(g);
		CHECK_EQ(g->s.gpr[RSI], 100);
		CHECK_EQ(g->s.gpr[RDI], 102);
		CHECK(g->s.gpr[R8] == 104 || amd_null_keeps_base(g));
		CHECK_EQ(g->s.gpr[R9], 106);
		CHECK_EQ(g->s.gpr[R10], 107);
		CHECK_EQ(g->vector, EX_GP); /* the last: not canonical */
	}
}

/* -- 67: long instructions ------------------------------------------------------------------------- */

GUEST(g_long_rep, "mov $0x40000000, %rsi; mov $0xf00000000, %rcx; sti; rep lodsb; jmp .");

TEST(pitfall_67_a_sixty_gigabyte_string_instruction_is_interrupted)
{
	EACH_TIER(g) {
		u64 pd = 0x702000;

		GV_LOAD(g, g_long_rep);
		gv_map(g, ALIAS, GV_FREE, RW);
		for (unsigned k = 1; k < 62; k++)
			gv_put(g, (gv_get(g, GV_PML4, 8) & ~0xfffull) + 8 * k, 8, pd | RW);
		for (unsigned k = 0; k < 512; k++) /* the same 2 MiB everywhere */
			gv_put(g, pd + 8 * k, 8, 0x400000 | RW | PTE_PS);
		handler(g, end_code, end_code + sizeof end_code);
		run_with_irq(g);
		CHECK_EQ(g->vector, -1);
		CHECK(g->s.gpr[RCX] > 0);
		CHECK_EQ(g->s.gpr[RSI] + g->s.gpr[RCX], ALIAS + 0xf00000000);
	}
}

/* -- 69, 70: signals ------------------------------------------------------------------------------- */

static _Atomic unsigned nr_signals;

static void on_usr1(int sig)
{
	volatile double x = sig; /* the handler may use vector registers */

	x = x * 1.5;
	atomic_fetch_add(&nr_signals, 1);
}

struct storm {
	pthread_t target;
	_Atomic bool stop;
};

static void *storm(void *arg)
{
	struct storm *s = arg;

	while (!s->stop) {
		pthread_kill(s->target, SIGUSR1);
		nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
	}
	return NULL;
}

/* rsp in the range of the signal stack too: it is data like any other register. */
GUEST(g_storm, "mov $300000, %ecx; xor %eax, %eax; xor %esi, %esi; pcmpeqd %xmm1, %xmm1; pxor %xmm0, %xmm0\n"
	       "1: push %rcx; add %rcx, %rax; paddd %xmm1, %xmm0; pop %rdx; adc %rdx, %rsi\n"
	       "dec %ecx; jnz 1b; movd %xmm0, %edi" GV_FINISH);

TEST(pitfall_69_a_storm_of_signals_changes_nothing)
{
	EACH_TIER(g) {
		for (unsigned flags = 0; flags < 2; flags++) {
			struct sigaction sa = { .sa_handler = on_usr1, .sa_flags = flags ? SA_ONSTACK : SA_RESTART };
			struct sigaction old;
			struct storm s = { .target = pthread_self() };
			pthread_t t;

			GV_LOAD(g, g_storm);
			g->s.rip = GV_CODE;
			sigaction(SIGUSR1, &sa, &old);
			pthread_create(&t, NULL, storm, &s);
			gv_run(g);
			s.stop = true;
			pthread_join(t, NULL);
			sigaction(SIGUSR1, &old, NULL);
			CHECK_EQ(g->vector, -1);
			CHECK_EQ(g->s.gpr[RAX], 300000ull * 300001 / 2);
			CHECK_EQ(g->s.gpr[RSI], 300000ull * 300001 / 2);
			CHECK_EQ(g->s.gpr[RDI], (u32)-300000);
		}
	}
	CHECK(nr_signals > 0);
}

TEST(pitfall_70_the_signal_stack_holds_the_largest_frame)
{
	struct gv *g = gv_new(GV_T1);
	stack_t st = { 0 };
	size_t need = getauxval(AT_MINSIGSTKSZ);

	if (!g)
		return;
	GV_LOAD(g, g_storm);
	gv_run(g);
	sigaltstack(NULL, &st);
	gv_free(g);
	CHECK(!(st.ss_flags & SS_DISABLE));
	CHECK(st.ss_size >= need + (16u << 10));
}

/* -- 73: limits ------------------------------------------------------------------------------------- */

/* With little address space creation fails with a sentence, or works; it never crashes. */
TEST(pitfall_73_without_address_space_creation_fails_cleanly)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		for (u64 gib = 1; gib <= 64; gib *= 2) {
			struct rlimit r = { gib << 30, gib << 30 };
			struct err e = { 0 };
			struct mem *m;

			if (fork() == 0) {
				setrlimit(RLIMIT_AS, &r);
				m = mem_new(GV_RAM, &e);
				if (!m)
					_exit(e.msg[0] ? 0 : 1);
				struct cpu_config c = { .mem = m, .nr_vcpus = 1 };
				struct cpu_vm *vm = cpu_soft.vm_new(&c, &e);
				struct cpu_io io = { 0 };
				struct vcpu *v = vm ? cpu_soft.vcpu_new(vm, 0, &io, &e) : NULL;

				_exit(v || e.msg[0] ? 0 : 1);
			}
			wait(&status);
			if (status)
				_exit(2);
		}
		_exit(0);
	}
	waitpid(pid, &status, 0);
	CHECK_EQ(status, 0);
}
