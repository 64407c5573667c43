// SPDX-License-Identifier: Apache-2.0
/*
 * pitfall_code_test.c - code that changes: modified, moved, remapped, evicted
 * (docs/pitfalls.md, 46..58); every test on every tier
 */
#include "cpu/soft/guestvm.h"

#include "base/test.h"

#include <pthread.h>
#include <unistd.h>

#define ALIAS 0x40000000ull /* linear, mapped by tests */
#define RW (PTE_P | PTE_W)

/* -- 47, 48: stores into code --------------------------------------------------------- */

GUEST(g_patch_next, "xor %esi, %esi; mov $100, %ecx\n"
		    "2: mov %cl, 1f+1(%rip)\n"
		    "1: mov $1, %eax; add %eax, %esi; dec %ecx; jnz 2b" GV_FINISH);

TEST(pitfall_48_a_store_changes_the_very_next_instruction)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_patch_next);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 5050);
	}
}

/* The instruction patched lies ahead behind some others, and the store is a push. */
GUEST(g_patch_push, "xor %esi, %esi; mov $50, %ecx; mov %rsp, %rbp\n"
		    "2: lea 1f+7(%rip), %rsp; mov 1f-1(%rip), %rax; mov %rax, %rdx\n"
		    "shr $16, %rdx; mov %cl, %dl; shl $16, %rdx; mov %ax, %dx; push %rdx\n"
		    "nop\n1: mov $0x11223300, %eax; nop; nop\n"
		    "movzbl %al, %eax; add %eax, %esi; dec %ecx; jnz 2b; mov %rbp, %rsp" GV_FINISH);

TEST(pitfall_48_a_push_changes_code_ahead_in_its_block)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_patch_push);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 50 * 51 / 2);
	}
}

GUEST(g_patch_alias, "xor %esi, %esi; mov $100, %ecx\n"
		     "2: call 3f; add %eax, %esi\n"
		     "lea 3f+1(%rip), %rbx; add $0x3fff0000, %rbx\n" /* GV_CODE -> ALIAS */
		     "mov %cl, (%rbx); dec %ecx; jnz 2b" GV_FINISH "3: mov $0, %eax; ret");

TEST(pitfall_47_code_patched_through_another_linear_address_is_seen)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_patch_alias);
		gv_map(g, ALIAS, GV_CODE, RW);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 5050 - 1);
	}
}

/* int3 poke: first byte to CC, tail, first byte back; a breakpoint in between is taken. */
GUEST(g_poke, "call 3f; mov %eax, %esi; movb $0xcc, 3f(%rip); movl $9, 3f+1(%rip)\n"
	      "cmp $1, %edi; je 4f\nmovb $0xb8, 3f(%rip)\n4: call 3f; add %eax, %esi" GV_FINISH
	      "3: mov $5, %eax; ret");

TEST(pitfall_47_an_int3_poke_is_taken_or_completed)
{
	EACH_TIER(g) {
		struct x86_state start = g->s;

		GV_LOAD(g, g_poke);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 14);
		GV_LOAD(g, g_poke);
		g->s = start;
		g->s.gpr[RDI] = 1;
		gv_run(g);
		CHECK_EQ(g->vector, EX_BP);
		CHECK_EQ(g->s.gpr[RSI], 5);
	}
}

/* -- 3: liveness seen at translation time is only as good as the code behind the jump ---- */

/* The jump's target first overwrites every flag, later (patched) reads them. */
GUEST(g_late_reader, "xor %esi, %esi; mov $4, %ecx; lea 0x20000, %rbx\n"
		     "2: cmp $3, %ecx; mov (%rbx), %eax; jmp 3f\n"
		     "nop\n3: xor %edx, %edx; nop; nop\n" /* -> setb dl */
		     "lea (%rsi,%rsi), %esi; lea (%rsi,%rdx), %esi\n"
		     "movl $0x90c2920f, 3b(%rip)\n"
		     "dec %ecx; jnz 2b" GV_FINISH);

TEST(pitfall_03_flags_a_patched_jump_target_begins_to_read_are_there)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_late_reader);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 3); /* ecx 4, 3: no; 2, 1: below 3 */
	}
}

/* The same with the target in another page that is remapped in between. */
GUEST(g_far_flags, "xor %esi, %esi; xor %edx, %edx; mov $4, %ecx\n"
		   "2: mov $0x40000000, %r8; lea 4f(%rip), %r9\n"
		   "cmp $3, %ecx; mov 0x20000, %eax\n"
		   "jmp . + 0x3fff0000\n" /* into ALIAS, same offset */
		   "4: add %esi, %esi; add %edx, %esi; mov 0x20008, %rax; mov 0x20010, %rbx\n"
		   "mov %rbx, (%rax); invlpg 0x40000000; dec %ecx; jnz 2b" GV_FINISH);

TEST(pitfall_03_flags_a_remapped_jump_target_begins_to_read_are_there)
{
	static const u8 clears[] = { 0x31, 0xd2, 0x41, 0xff, 0xe1 }; /* xor edx, edx; jmp r9 */
	static const u8 reads[] = { 0x0f, 0x92, 0xc2, 0x41, 0xff, 0xe1 }; /* setb dl; jmp r9 */

	EACH_TIER(g) {
		unsigned at = 0;

		for (const u8 *p = g_far_flags; p < g_far_flags_end; p++)
			if (p[0] == 0xe9)
				at = (unsigned)(p - g_far_flags);
		GV_LOAD(g, g_far_flags);
		gv_map(g, ALIAS, GV_FREE, RW);
		gv_code(g, GV_FREE + at, clears, clears + sizeof clears);
		gv_code(g, GV_FREE + 4096 + at, reads, reads + sizeof reads);
		/* the table entry's own linear address: map its page */
		u64 *e = gv_pte(g, GV_PML4, ALIAS);
		gpa_t gpa = (gpa_t)((u8 *)e - mem_ptr(g->mem, 0, 1));

		gv_map(g, 0x50000000, gpa & ~0xfffull, RW);
		gv_put(g, GV_DATA + 8, 8, 0x50000000 + (gpa & 0xfff));
		gv_put(g, GV_DATA + 16, 8, (GV_FREE + 4096) | RW);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 3);
	}
}

/* -- 49, 50, 51: frames with code --------------------------------------------------------- */

static void patch_by_dma(struct gv *g, u16 port, u64 val)
{
	(void)port;
	gv_put(g, GV_CODE + 0x801, 1, val);
}

GUEST(g_dma, "xor %esi, %esi; mov $100, %ecx\n"
	     "2: mov %ecx, %eax; out %al, $0xe0; call . + 0x800 - (. - g_dma)\n"
	     "add %eax, %esi; dec %ecx; jnz 2b" GV_FINISH);

TEST(pitfall_50_code_written_by_a_device_is_seen)
{
	static const u8 fn[] = { 0xb8, 0, 0, 0, 0, 0xc3 };

	EACH_TIER(g) {
		GV_LOAD(g, g_dma);
		gv_code(g, GV_CODE + 0x800, fn, fn + sizeof fn);
		g->hook = patch_by_dma;
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 5050);
	}
}

GUEST(g_spin, "1: jmp 1b; mov $7, %eax" GV_FINISH);

static void *patch_later(void *arg)
{
	static const u8 nops[] = { 0x90, 0x90 };
	struct gv *g = arg;

	usleep(5000);
	gv_code(g, GV_CODE, nops, nops + sizeof nops);
	return NULL;
}

TEST(pitfall_50_a_device_thread_patches_the_loop_that_runs)
{
	EACH_TIER(g) {
		pthread_t t;

		GV_LOAD(g, g_spin);
		pthread_create(&t, NULL, patch_later, g);
		gv_run(g);
		pthread_join(t, NULL);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RAX], 7);
	}
}

/* Code at GV_FREE, then the same page as data for many stores, then code again. */
GUEST(g_reuse, "mov $0x40000000, %rbx; mov 0x20000, %rax; mov %rax, (%rbx); call *%rbx\n"
	       "mov %eax, %esi; mov $100000, %ecx\n"
	       "2: mov %ecx, (%rbx); mov %rcx, 64(%rbx); dec %ecx; jnz 2b\n"
	       "mov 0x20008, %rax; mov %rax, (%rbx); call *%rbx; add %eax, %esi" GV_FINISH);

TEST(pitfall_49_a_code_page_reused_as_data_is_fast_again_and_then_code_again)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_reuse);
		gv_map(g, ALIAS, GV_FREE, RW);
		gv_put(g, GV_DATA, 8, 0xc300000005b8);
		gv_put(g, GV_DATA + 8, 8, 0xc300000007b8);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 12);
		CHECK(gv_stat(g, "slow_accesses ") < 1000);
		CHECK(gv_stat(g, "blocks_invalidated ") < 20);
	}
}

/* Data 256 bytes behind the loop that counts in it. */
GUEST(g_mixed, "mov $20000, %ecx\n2: addq $3, g_mixed + 0x400(%rip); dec %ecx; jnz 2b\n"
	       "mov g_mixed + 0x400(%rip), %rax" GV_FINISH);

TEST(pitfall_51_data_in_a_code_page_does_not_retranslate_the_code)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_mixed);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RAX], 60000);
		CHECK(gv_stat(g, "blocks_invalidated ") < 20000 / 32);
	}
}

/* -- 52: remapped second page ------------------------------------------------------------- */

/* Falls from ALIAS + 0xffb into ALIAS + 0x1000, whose frame alternates. */
GUEST(g_cross, "xor %esi, %esi; mov $100, %ecx; mov 0x20008, %rdi\n"
	       "2: mov 0x20010, %rax; mov %rax, (%rdi); invlpg 0x40001000\n"
	       "mov $0x40000ffb, %rbx; call *%rbx; add %eax, %esi\n"
	       "mov 0x20018, %rax; mov %rax, (%rdi); invlpg 0x40001000\n"
	       "call *%rbx; add %eax, %esi; dec %ecx; jnz 2b" GV_FINISH);

static u64 pte_window(struct gv *g, u64 la)
{
	gpa_t gpa = (gpa_t)((u8 *)gv_pte(g, GV_PML4, la) - mem_ptr(g->mem, 0, 1));

	gv_map(g, 0x50000000, gpa & ~0xfffull, RW);
	return 0x50000000 + (gpa & 0xfff);
}

static void two_frames(struct gv *g, u64 first, unsigned len)
{
	gv_map(g, ALIAS, GV_FREE, RW);
	gv_map(g, ALIAS + 4096, GV_FREE + 4096, RW);
	gv_put(g, GV_DATA + 8, 8, pte_window(g, ALIAS + 4096));
	gv_put(g, GV_DATA + 16, 8, (GV_FREE + 4096) | RW);
	gv_put(g, GV_DATA + 24, 8, (GV_FREE + 8192) | RW);
	gv_put(g, GV_FREE + 4096 - len, len, first);
}

TEST(pitfall_52_falling_into_a_remapped_page_runs_the_new_one)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_cross);
		two_frames(g, 0x00000001b8, 5);		 /* mov eax, 1 */
		gv_put(g, GV_FREE + 4096, 4, 0xc301c083); /* add eax, 1; ret */
		gv_put(g, GV_FREE + 8192, 4, 0xc302c083); /* add eax, 2; ret */
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 500);
	}
}

/* -- 27: an instruction across two pages ---------------------------------------------------- */

TEST(pitfall_27_the_second_half_of_an_instruction_follows_its_page)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_cross);
		two_frames(g, 0xb8909090, 4);			  /* nop * 3, mov eax, ... */
		gv_put(g, GV_FREE + 4091, 1, 0x90);
		gv_put(g, GV_FREE + 4096, 5, 0xc300000001);
		gv_put(g, GV_FREE + 8192, 5, 0xc300000002);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 300);
	}
}

GUEST(g_cross_patch, "xor %esi, %esi; mov $100, %ecx; mov $0x40000ffb, %rbx\n"
		     "2: call *%rbx; add %eax, %esi; mov %cl, 0x40001000; dec %ecx; jnz 2b" GV_FINISH);

TEST(pitfall_27_a_store_to_the_second_half_of_an_instruction_is_seen)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_cross_patch);
		two_frames(g, 0xb8909090, 4);
		gv_put(g, GV_FREE + 4091, 1, 0x90);
		gv_put(g, GV_FREE + 4096, 5, 0xc300000000);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 5050 - 1);
	}
}

GUEST(g_cross_missing, "mov $0x40000ffb, %rbx; call *%rbx" GV_FINISH);

TEST(pitfall_27_a_missing_second_page_faults_there_and_only_if_needed)
{
	EACH_TIER(g) {
		struct x86_state start = g->s;

		GV_LOAD(g, g_cross_missing);
		two_frames(g, 0xb8909090, 4);
		gv_put(g, GV_FREE + 4091, 1, 0x90);
		gv_map(g, ALIAS + 4096, 0, 0);
		gv_run(g);
		CHECK_EQ(g->vector, EX_PF);
		CHECK_EQ(g->rip, ALIAS + 0xfff);
		CHECK_EQ(g->s.cr2, ALIAS + 0x1000);
		gv_put(g, GV_FREE + 4095, 1, 0xc3);
		g->s = start;
		gv_run(g);
		CHECK_EQ(g->vector, -1);
	}
}

/* -- 53: one address, two address spaces ------------------------------------------------------ */

/* Two roots; ALIAS is another frame in each. */
static u64 second_space(struct gv *g, u64 flags)
{
	u64 root = 0x700000, pdpt = 0x701000;

	/* the low gigabyte is shared, ALIAS has its own PDPT entry */
	for (unsigned k = 0; k < 512; k++)
		gv_put(g, root + 8 * k, 8, gv_get(g, GV_PML4 + 8 * k, 8));
	u64 old = gv_get(g, GV_PML4, 8) & ~0xfffull;

	gv_put(g, pdpt, 8, gv_get(g, old, 8));
	gv_put(g, root, 8, pdpt | RW | PTE_U);
	gv_map(g, ALIAS, GV_FREE, flags);
	*gv_pte(g, root, ALIAS) = (GV_FREE + 4096) | flags;
	gv_put(g, GV_FREE, 6, 0xc300000001b8);	      /* mov eax, 1; ret */
	gv_put(g, GV_FREE + 4096, 6, 0xc300000002b8); /* mov eax, 2; ret */
	return root;
}

GUEST(g_spaces, "xor %esi, %esi; mov $50, %ecx; mov $0x40000000, %rbx\n"
		"2: mov %r12, %cr3; call *%rbx; add %eax, %esi; add 1(%rbx), %esi\n"
		"mov %r13, %cr3; call *%rbx; add %eax, %esi; add 1(%rbx), %esi; dec %ecx; jnz 2b" GV_FINISH);

TEST(pitfall_53_the_same_address_in_two_address_spaces_runs_two_codes)
{
	EACH_TIER(g) {
		GV_LOAD(g, g_spaces);
		g->s.gpr[R12] = GV_PML4;
		g->s.gpr[R13] = second_space(g, RW);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 300);
	}
}

TEST(pitfall_53_the_same_address_under_two_pcids_runs_two_codes)
{
	EACH_TIER(g) {
		for (unsigned keep = 0; keep < 2; keep++) {
			GV_LOAD(g, g_spaces);
			g->s.rip = GV_CODE;
			g->s.cr4 |= CR4_PCIDE;
			g->s.cr3 = GV_PML4;
			g->s.gpr[R12] = GV_PML4 | 1 | (u64)keep << 63;
			g->s.gpr[R13] = second_space(g, RW) | 2 | (u64)keep << 63;
			gv_run(g);
			CHECK_EQ(g->vector, -1);
			CHECK_EQ(g->s.gpr[RSI], 300);
		}
	}
}

/* User code at ALIAS; vector 0x80 brings the kernel back, which switches and returns. */
GUEST(g_user_spaces, "xor %esi, %esi; mov $50, %ecx; mov %rsp, %rbp\n"
		     "2: mov %r12, %cr3; call 5f; mov %r13, %cr3; call 5f; dec %ecx; jnz 2b" GV_FINISH
		     "5: mov $0x40000000, %rbx\n"
		     "push $0x23; push $0x50000; push $2; push $0x2b; push %rbx; iretq\n"
		     ".balign 64\n"
		     "add %eax, %esi; add $48, %rsp; ret\n"); /* the handler: drops the frame */

TEST(pitfall_53_user_code_at_the_same_address_in_two_spaces)
{
	EACH_TIER(g) {
		for (unsigned pcid = 0; pcid < 3; pcid++) {
			u64 len = (u64)(g_user_spaces_end - g_user_spaces), root;

			GV_LOAD(g, g_user_spaces);
			root = second_space(g, RW | PTE_U);
			for (unsigned k = 0; k < 2; k++) /* mov eax, n; int 0x80 */
				gv_put(g, GV_FREE + 4096 * k, 7, 0x80cd00000000b8 | (k + 1) << 8);
			gv_gate(g, 0x80, GV_CODE + ((len - 7) & ~63ull));
			g->s.rip = GV_CODE;
			g->s.gpr[RSP] = GV_STACK;
			g->s.cr3 = GV_PML4;
			g->s.cr4 = (g->s.cr4 & ~(u64)CR4_PCIDE) | (pcid ? CR4_PCIDE : 0);
			/* entered through RSP0: the kernel's stack goes on there */
			gv_put(g, GV_TSS + 4, 8, GV_STACK - 8);
			g->s.gpr[R12] = GV_PML4 | (pcid ? 1 | (u64)(pcid == 2) << 63 : 0);
			g->s.gpr[R13] = root | (pcid ? 2 | (u64)(pcid == 2) << 63 : 0);
			gv_run(g);
			CHECK_EQ(g->vector, -1);
			CHECK_EQ(g->s.gpr[RSI], 150);
		}
	}
}

/* -- 55: the code cache is full --------------------------------------------------------------- */

GUEST(g_many, "mov $3, %ebp; xor %esi, %esi\n"
	      "2: mov $0x40000000, %rbx; mov $2000, %ecx\n"
	      "3: call *%rbx; add %eax, %esi; add $32, %rbx; dec %ecx; jnz 3b\n"
	      "dec %ebp; jnz 2b" GV_FINISH);

/* 2000 functions called three times over, through caches of one, two and four regions. */
TEST(pitfall_55_a_small_code_cache_gives_up_its_oldest_code)
{
	static const u32 kib[] = { 256, 1024, 2048 };

	for (unsigned t = 0; t < 2 * array_len(kib); t++) {
		struct gv *g = gv_new_config(&(struct cpu_config){
			.model = CPU_MODEL_MAX, .code_cache_bytes = kib[t / 2] << 10, .exact_flags = t % 2 });

		if (!g)
			return;
		GV_LOAD(g, g_many);
		for (unsigned k = 0; k < 2000; k++) {
			/* mov eax, k; cmp eax, [rbx]; jmp +0; ret */
			gv_put(g, GV_FREE + 32 * k, 8, 0x3b00000000b8 | (u64)k << 8 | 0x03ull << 48 | 0xebull << 56);
			gv_put(g, GV_FREE + 32 * k + 8, 2, 0xc300);
		}
		for (unsigned k = 0; k < 16; k++)
			gv_map(g, ALIAS + 4096 * k, GV_FREE + 4096 * k, RW);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RSI], 3 * (1999 * 2000 / 2));
		CHECK_EQ(gv_stat(g, "code_flushes "), 0);
		if (kib[t / 2] <= 1024)
			CHECK(gv_stat(g, "code_evictions ") >= 1);
		CHECK(gv_stat(g, "blocks ") <= 5000);
		gv_free(g);
	}
}
