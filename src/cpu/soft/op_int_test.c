// SPDX-License-Identifier: Apache-2.0
/*
 * op_int_test.c - integer instructions: the same bytes run on the host and
 * interpreted, registers, flags and memory compared; then faults, one by one
 *
 * Tests are named after the pitfalls of interpreting x86; the native runs use
 * random registers with many corner values.
 */
#include "base/test.h"

#include <pthread.h>
#include <stdlib.h>

#include "cpu/soft/mmu.h"
#include "cpu/soft/testvm.h"

#define NR_RUNS 150
#define CODE_AT (TV_VA(TV_CODE) + 0x200)

static struct vcpu *vm;

static bool have_vm(void)
{
	if (!vm)
		vm = testvm_new();
	else
		testvm_reset(vm);
	if (!vm)
		test_skip("no address space for the test window");
	return vm;
}

static bool host_has_32bit(void)
{
	if (testvm_host_has_32bit())
		return true;
	test_skip("the host runs no 32-bit code");
	return false;
}

/* -- random states -------------------------------------------------------------------- */

static u64 rng = 0x9e3779b97f4a7c15;

static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1d;
}

static u64 rnd_value(void)
{
	static const u64 corner[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff,
				      0x7fffffff, 0x80000000, 0xffffffff, ~0ull, 1ull << 63,
				      ~0ull >> 1, 31, 32, 33, 63, 64, 16, 8, 9, 17 };
	u64 r = rnd();

	switch (r & 7) {
	case 0:
	case 1:
		return corner[(r >> 8) % (sizeof corner / sizeof *corner)];
	case 2:
		return (r >> 8) & 0xff;
	case 3:
		return (rnd() & ~0xffffffffull) | corner[(r >> 8) % 24];
	default:
		return rnd();
	}
}

/* -- the native side -------------------------------------------------------------------- */

struct nctx {
	u64 gpr[16]; /* r15 holds this context while running */
	u64 flags;
	u64 host_rsp;
};

struct emit {
	u8 *p;
};

static void put(struct emit *e, const void *bytes, unsigned n)
{
	memcpy(e->p, bytes, n);
	e->p += n;
}

#define PUT(e, ...) put(e, (const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }))

/* mov gpr <-> [r15 + disp32] */
static void put_mov(struct emit *e, u8 op, unsigned r, u32 disp)
{
	PUT(e, 0x49 | (r >> 3) << 2, op, 0x87 | (r & 7) << 3);
	put(e, &disp, 4);
}

#define CS64 0x33 /* Linux's segment of 64-bit user code */

/* jmp far [rip]: to 32-bit code at CODE_AT; DS and ES are null in 64-bit processes. */
static void put_enter32(struct emit *e)
{
	u32 to = CODE_AT;

	PUT(e, 0xff, 0x2d, 0, 0, 0, 0);
	put(e, &to, 4);
	PUT(e, TV_CS32, 0);
}

static void put_leave32(struct emit *e)
{
	u32 to = (u32)(uintptr_t)e->p + 7;

	PUT(e, 0xea);
	put(e, &to, 4);
	PUT(e, CS64, 0);
}

static void put_data_segs(struct emit *e, u8 sel)
{
	PUT(e, 0xb8, sel, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0); /* mov eax, sel; mov ds, eax; es */
}

/* @len bytes of snippet at CODE_AT of the window, with code around it that loads and saves. */
static void (*build_native(const u8 *s, unsigned len, unsigned bits))(struct nctx *)
{
	static const u8 saves[] = { 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57,
				    0x49, 0x89, 0xff }; /* push rbx rbp r12..r15; mov r15, rdi */
	static const u8 rests[] = { 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41,
				    0x5c, 0x5d, 0x5b, 0xc3 };
	u32 at_flags = offsetof(struct nctx, flags), at_rsp = offsetof(struct nctx, host_rsp);
	struct emit e = { (u8 *)CODE_AT - 0x100 };
	u8 *start = e.p;

	put(&e, saves, sizeof saves);
	put_mov(&e, 0x89, RSP, at_rsp);
	if (bits == 32)
		put_data_segs(&e, 0x2b);
	PUT(&e, 0x41, 0xff, 0xb7); /* push [r15 + flags]; popfq */
	put(&e, &at_flags, 4);
	PUT(&e, 0x9d);
	for (unsigned r = 0; r < 15; r++)
		put_mov(&e, 0x8b, r, 8 * r);
	if (bits == 32)
		put_enter32(&e);
	memset(e.p, 0x90, (u8 *)CODE_AT - e.p);
	e.p = (u8 *)CODE_AT;
	put(&e, s, len);
	if (bits == 32)
		put_leave32(&e);
	for (unsigned r = 0; r < 15; r++)
		put_mov(&e, 0x89, r, 8 * r);
	put_mov(&e, 0x8b, RSP, at_rsp);
	PUT(&e, 0x9c, 0x41, 0x8f, 0x87); /* pushfq; pop [r15 + flags] */
	put(&e, &at_flags, 4);
	PUT(&e, 0xfc); /* cld */
	if (bits == 32)
		put_data_segs(&e, 0);
	put(&e, rests, sizeof rests);
	return (void (*)(struct nctx *))(void *)start;
}

static void random_state(struct nctx *c, unsigned bits)
{
	for (unsigned r = 0; r < 15; r++)
		c->gpr[r] = bits == 64 ? rnd_value() : r < 8 ? (u32)rnd_value() : 0;
	c->gpr[RSI] = TV_VA(TV_DATA) + 0x400 + rnd() % 0x1000; /* may cross into DATA2 */
	c->gpr[RDI] = TV_VA(TV_DATA) + 0x400 + rnd() % 0x1000;
	c->gpr[RSP] = TV_VA(TV_STACK) + 0x800 + rnd() % 64;
	c->gpr[RBP] = TV_VA(TV_STACK) + 0xa00 + rnd() % 64;
	c->flags = FL_ONE | FL_IF | (rnd() & FL_ARITH);
	for (unsigned n = 0; n < 2 * 4096; n += 8) {
		u64 val = n & 64 ? rnd() : rnd_value();

		memcpy(testvm_host(TV_DATA) + n, &val, 8);
	}
}

static void load_vm(const struct nctx *c, const u8 *s, unsigned len, unsigned bits)
{
	testvm_reset(vm);
	if (bits == 32) { /* compatibility mode, same page tables */
		vm->s.seg[SEG_CS].attr &= ~SA_L;
		vm->s.seg[SEG_CS].attr |= SA_DB;
	}
	memcpy(vm->s.gpr, c->gpr, 15 * 8);
	vm->s.rflags = c->flags;
	memcpy(testvm_ptr(vm, TV_VA(TV_DATA)), testvm_host(TV_DATA), 2 * 4096);
	memcpy(testvm_ptr(vm, TV_VA(TV_STACK)), testvm_host(TV_STACK), 4096);
	testvm_code(vm, CODE_AT, s, len);
}

static void explain(const char *text, const struct nctx *in, const struct nctx *want)
{
	printf("%s: flags in %llx\n", text, (unsigned long long)in->flags);
	for (unsigned r = 0; r < 15; r++)
		printf("  r%-2u in %016llx native %016llx interpreted %016llx%s\n", r,
		       (unsigned long long)in->gpr[r], (unsigned long long)want->gpr[r],
		       (unsigned long long)vm->s.gpr[r],
		       want->gpr[r] == vm->s.gpr[r] ? "" : " <<<");
	printf("  flags native %llx interpreted %llx\n", (unsigned long long)want->flags,
	       (unsigned long long)vm->s.rflags);
}

static bool same_state(const struct nctx *want)
{
	for (unsigned r = 0; r < 15; r++)
		if (want->gpr[r] != vm->s.gpr[r])
			return false;
	if ((want->flags ^ vm->s.rflags) & (FL_ARITH | FL_DF))
		return false;
	return !memcmp(testvm_ptr(vm, TV_VA(TV_DATA)), testvm_host(TV_DATA), 2 * 4096) &&
	       !memcmp(testvm_ptr(vm, TV_VA(TV_STACK)), testvm_host(TV_STACK), 4096);
}

static bool run_both(const char *text, const u8 *s, const u8 *e, unsigned bits)
{
	unsigned len = e - s;
	void (*native)(struct nctx *) = build_native(s, len, bits);

	for (unsigned n = 0; n < NR_RUNS; n++) {
		struct nctx in, c;
		int r;

		random_state(&in, bits);
		c = in;
		load_vm(&in, s, len, bits);
		native(&c);
		r = testvm_run(vm, CODE_AT + len, 100000);
		if (r || vm->s.rip != CODE_AT + len || !same_state(&c)) {
			printf("result %d rip %llx exception %u\n", r,
			       (unsigned long long)vm->s.rip, vm->exc.vector);
			explain(text, &in, &c);
			return false;
		}
	}
	return true;
}

/* Assemble @text (Intel syntax; %% for %), run it natively and interpreted, many times. */
#define ND(text)   ND_BITS(text, 64)
#define ND32(text) ND_BITS(text, 32)

#define ND_BITS(text, bits)                                                                        \
	do {                                                                                       \
		const u8 *s_, *e_;                                                                 \
                                                                                                   \
		__asm__(".pushsection .rodata\n71:\n.code" #bits "\n.intel_syntax noprefix\n" text \
			"\n.att_syntax\n.code64\n72:\n.popsection\n"                                        \
			"\tlea 71b(%%rip), %0\n\tlea 72b(%%rip), %1"                               \
			: "=&r"(s_), "=r"(e_));                                                    \
		CHECK(run_both(text, s_, e_, bits));                                                     \
	} while (0)

#define ND_SIZES(op, args8, args16, args32, args64)                                                \
	ND(op " " args8);                                                                          \
	ND(op " " args16);                                                                         \
	ND(op " " args32);                                                                         \
	ND(op " " args64)

#define ND_ALU(op)                                                                                 \
	ND_SIZES(op, "al, cl", "ax, cx", "eax, ecx", "rax, rcx");                                  \
	ND_SIZES(op, "ah, bh", "r9w, r10w", "r9d, r10d", "r9, r10");                               \
	ND_SIZES(op, "[rsi], cl", "[rsi], cx", "[rsi], ecx", "[rsi], rcx");                        \
	ND_SIZES(op, "cl, [rsi+1]", "cx, [rsi+1]", "ecx, [rsi+1]", "rcx, [rsi+1]");                \
	ND_SIZES(op, "al, 0x81", "ax, 0x8123", "eax, 0x81234567", "rax, -0x7654321");              \
	ND_SIZES(op, "byte ptr [rsi], 0x81", "word ptr [rsi], 0x8123",                             \
		 "dword ptr [rsi], 0x81234567", "qword ptr [rsi], -0x7654321");                    \
	ND_SIZES(op, "bh, 0x7f", "cx, -3", "ecx, -3", "rcx, -3")

TEST(alu_results_and_flags_equal_the_hosts)
{
	if (!have_vm())
		return;
	ND_ALU("add");
	ND_ALU("or");
	ND_ALU("adc");
	ND_ALU("sbb");
	ND_ALU("and");
	ND_ALU("sub");
	ND_ALU("xor");
	ND_ALU("cmp");
	ND_SIZES("test", "al, ch", "ax, cx", "[rsi], ecx", "rax, rcx");
	ND_SIZES("test", "byte ptr [rsi], 0x80", "ax, 0x8000", "ecx, 0x80000000", "rcx, -2");
	ND_SIZES("not", "bh", "cx", "ecx", "qword ptr [rsi]");
	ND_SIZES("neg", "bh", "cx", "ecx", "qword ptr [rsi]");
}

TEST(inc_and_dec_keep_carry)
{
	if (!have_vm())
		return;
	ND_SIZES("inc", "bh", "cx", "ecx", "qword ptr [rsi]");
	ND_SIZES("dec", "bh", "cx", "ecx", "qword ptr [rsi]");
}

#define ND_SHIFT(op)                                                                               \
	ND_SIZES(op, "bh, cl", "bx, cl", "ebx, cl", "rbx, cl");                                    \
	ND_SIZES(op, "byte ptr [rsi], cl", "word ptr [rsi], cl", "dword ptr [rsi], cl",            \
		 "qword ptr [rsi], cl");                                                           \
	ND_SIZES(op, "bl, 1", "bx, 1", "ebx, 1", "qword ptr [rsi], 1");                            \
	ND_SIZES(op, "bl, 9", "bx, 17", "ebx, 32", "qword ptr [rsi], 64");                         \
	ND_SIZES(op, "bl, 7", "bx, 15", "ebx, 31", "rbx, 63")

TEST(shifts_by_zero_and_beyond_the_width_leave_flags_as_the_host_does)
{
	if (!have_vm())
		return;
	ND_SHIFT("rol");
	ND_SHIFT("ror");
	ND_SHIFT("rcl");
	ND_SHIFT("rcr");
	ND_SHIFT("shl");
	ND_SHIFT("shr");
	ND_SHIFT("sar");
	ND_SIZES("rol", "bh, 255", "r9w, 33", "dword ptr [rsi], 5", "r9, 33");
	ND_SIZES("ror", "byte ptr [rsi], 3", "bx, 1", "r9d, 2", "qword ptr [rsi], 65");
	ND("shld bx, r9w, cl");
	ND("shld ebx, r9d, cl");
	ND("shld rbx, r9, cl");
	ND("shld [rsi], r9, 0");
	ND("shrd bx, r9w, cl");
	ND("shrd [rsi], r9d, cl");
	ND("shrd rbx, r9, 63");
}

TEST(bit_string_offsets_reach_before_and_after_the_operand)
{
	if (!have_vm())
		return;
#define ND_BT(op)                                                                                  \
	ND(op " bx, r9w");                                                                         \
	ND(op " ebx, r9d");                                                                        \
	ND(op " rbx, r9");                                                                         \
	ND(op " dword ptr [rsi], 33");                                                             \
	ND(op " rbx, 65");                                                                         \
	ND("movsx r9, r9b\n" op " [rsi], r9");                                                     \
	ND("movsx r9d, r9b\n" op " [rsi], r9d");                                                   \
	ND("movsx r9w, r9b\n" op " [rsi], r9w")
	ND_BT("bt");
	ND_BT("bts");
	ND_BT("btr");
	ND_BT("btc");
	ND("lock bts dword ptr [rsi], 3");
}

TEST(bit_scans_of_zero_keep_the_destination)
{
	if (!have_vm())
		return;
	ND("xor ecx, ecx\nbsf eax, ecx");
	ND("xor ecx, ecx\nbsr rax, rcx");
	ND("xor ecx, ecx\nbsr ax, cx");
	ND("bsf ax, cx");
	ND("bsf eax, [rsi]");
	ND("bsr rax, rcx");
	ND("tzcnt ax, cx");
	ND("tzcnt eax, ecx");
	ND("lzcnt rax, rcx");
	ND("lzcnt ax, [rsi]");
	ND("popcnt eax, ecx");
	ND("popcnt ax, cx");
	ND("popcnt rax, [rsi]");
	ND("bswap r9d");
	ND("bswap rax");
}

TEST(multiply_and_divide_equal_the_hosts)
{
	if (!have_vm())
		return;
	ND_SIZES("mul", "bh", "cx", "ecx", "qword ptr [rsi]");
	ND_SIZES("imul", "bh", "cx", "dword ptr [rsi]", "rcx");
	ND("imul ax, cx");
	ND("imul eax, [rsi]");
	ND("imul rax, rcx");
	ND("imul ax, cx, -3");
	ND("imul eax, ecx, 0x12345");
	ND("imul rax, [rsi], -0x12345");
	ND("or bl, 1\nmov ah, 0\ndiv bl");
	ND("or bx, 1\nxor edx, edx\ndiv bx");
	ND("or ebx, 1\nxor edx, edx\ndiv ebx");
	ND("or rbx, 1\nmov rdx, rbx\ndec rdx\ndiv rbx");
	ND("and al, 0x3f\nor bl, 1\ncbw\nidiv bl");
	ND("and ax, 0x3fff\nor bx, 1\ncwd\nidiv bx");
	ND("sar eax, 1\nor ebx, 1\ncdq\nidiv ebx");
	ND("sar rax, 1\nor rbx, 1\ncqo\nidiv rbx");
}

TEST(moves_extend_and_keep_as_the_host_does)
{
	if (!have_vm())
		return;
	ND("mov ah, bl\nmov r9b, cl\nmov sil, dil\nmov bh, 5");
	ND("mov ax, cx\nmov r9w, [rsi]\nmov ecx, r9d\nmov r11d, [rsi]");
	ND("mov eax, 0x80000000\nmov rcx, -1\nmovabs r9, 0x123456789abcdef0");
	ND("mov dword ptr [rsi], -1\nmov qword ptr [rdi], -2\nmov byte ptr [rsi+9], 3");
	ND("movzx eax, bh\nmovzx cx, bl\nmovzx r9, word ptr [rsi]\nmovzx rbx, dl");
	ND("movsx eax, bh\nmovsx cx, bl\nmovsx r9, word ptr [rsi]\nmovsxd rbx, edx");
	ND("cmovc eax, ecx\ncmovbe r9, [rsi]\ncmovl bx, dx\ncmovp r10d, [rsi]");
	ND("seto al\nsetg bh\nsetbe [rsi]\nsetnp r9b");
	ND("cbw\ncwde\ncdqe\ncwd");
	ND("cdq");
	ND("cqo");
	ND("lahf\nadd bl, cl\nsahf");
	ND("cmc\nsetc al\nstc\nsetc bl\nclc\nsetc cl");
	ND("std\ncld");
	ND("lea eax, [rbx+rcx*8+0x12]\nlea r9, [rbp-8]\nlea cx, [rsi+rdi]\nlea r11d, [r13+r12]");
	ND("lea rax, [ebx+ecx*4]\nlea rbx, [rip+0x123]");
	ND("movbe eax, [rsi]\nmovbe [rdi], r9\nmovbe cx, [rsi+3]");
	ND("movnti [rsi], eax\nmovnti [rdi], r9");
	ND("movzx eax, al\nlea rbx, [rsi]\nxlatb");
	ND("crc32 eax, bl\ncrc32 eax, bh\ncrc32 eax, cx\ncrc32 ecx, word ptr [rsi]\ncrc32 r9, rdx");
	ND("adcx eax, ecx\nadox r9, [rsi]");
	ND("cmp byte ptr [rip+1f], 3\ncmp dword ptr [rip+1f], 0x1234567\n1: nop");
}

TEST(exchange_and_compare_exchange_equal_the_hosts)
{
	if (!have_vm())
		return;
	ND("xchg al, bh\nxchg cx, [rsi]\nxchg r9d, ecx\nxchg rax, r10\nxchg eax, eax");
	ND(".byte 0xf3, 0x49, 0x90, 0xf3, 0x44, 0x90, 0x49, 0x90"); /* PAUSE or XCHG with r8 */
	ND("xchg [rdi], bh\nxchg eax, r8d\nxchg ax, r12w\n.byte 0x87, 0xc0");
	ND("xadd al, bh\nxadd ecx, ecx\nxadd [rsi], r9\nlock xadd [rdi], bx");
	ND("cmpxchg ebx, ecx");
	ND("mov eax, ebx\ncmpxchg ebx, ecx");
	ND("cmpxchg [rsi], rcx");
	ND("mov ax, [rsi]\nlock cmpxchg [rsi], cx");
	ND("mov al, [rsi]\nlock cmpxchg [rsi], bh");
	ND("mov eax, [rsi]\ncmpxchg [rsi], ecx\nmov eax, ebx\nlock cmpxchg [rdi], ecx");
	ND("cmpxchg8b [rsi]");
	ND("mov eax, [rsi]\nmov edx, [rsi+4]\nlock cmpxchg8b [rsi]");
	ND("and rsi, -16\ncmpxchg16b [rsi]");
	ND("and rsi, -16\nmov rax, [rsi]\nmov rdx, [rsi+8]\nlock cmpxchg16b [rsi]");
	ND("lock add [rsi], cl\nlock sub word ptr [rdi], 3\nlock inc qword ptr [rsi]");
	ND("lock not dword ptr [rsi]\nlock neg qword ptr [rdi]\nlock adc [rsi], rax");
}

TEST(vex_integer_instructions_equal_the_hosts)
{
	if (!have_vm())
		return;
	ND("andn eax, ebx, ecx\nandn r9, rbx, [rsi]");
	ND("blsr eax, ebx\nblsmsk r9, [rsi]");
	ND("blsi rax, rbx");
	ND("bzhi eax, ebx, ecx");
	ND("bzhi rax, [rsi], rcx");
	ND("bextr eax, ebx, ecx");
	ND("bextr rax, [rsi], rcx");
	ND("pdep eax, ebx, ecx\npdep r9, rbx, [rsi]\npext rcx, r9, rax\npext edx, eax, r9d");
	ND("mulx eax, ebx, ecx\nmulx r9, r10, [rsi]\nmulx rax, rax, rcx");
	ND("shlx eax, ebx, ecx\nshrx r9, [rsi], rcx\nsarx edx, ebx, ecx\nsarx r10, rbx, rcx");
	ND("rorx eax, ebx, 5\nrorx r9, [rsi], 63\nrorx ecx, ecx, 0");
}

TEST(stack_instructions_handle_rsp_operands)
{
	if (!have_vm())
		return;
	ND("push rsp\npop rax\npush rax\npop rsp");
	ND("push rax\npush rbx\npop [rsp+8]\npop rcx");
	ND("push [rsp+8]\npop [rsi]");
	ND("push 5\npush -5\npush 0x12345678\npop rax\npop rbx\npop rcx");
	ND("pushw 5\npush ax\npop bx\npop cx");
	ND("xchg rsp, [rsp]\nxchg rsp, [rsi]\nmov rsp, rbp");
	ND("enter 16, 0\nleave");
	ND("enter 0x20, 3\nmov rax, rsp");
	ND("mov rbp, rsp\npush rax\nleave\npush rsp");
	ND("add rsp, 8\nsub rsp, 16\nlea rsp, [rsp+8]");
}

TEST(near_branches_equal_the_hosts)
{
	if (!have_vm())
		return;
	ND("jz 1f\ninc rax\n1: jnle 2f\ninc rbx\n2: jo 3f\ninc rcx\n3: jp 4f\ninc rdx\n4:");
	ND("call 1f\nadd rax, 2\njmp 2f\n1: inc rbx\nret\n2:");
	ND("call 1f\nnop\njmp 2f\n1: push [rsp]\nret 8\n2:");
	ND("lea rax, [rip+1f]\njmp rax\nnop\n1:nop");
	ND("mov ecx, 5\n1: inc rax\nloop 1b");
	ND("mov ecx, 5\n1: dec al\nloopne 1b\nmov ecx, 9\n1: cmp al, bl\nloope 1b");
	ND("mov rcx, -1\nxor ecx, ecx\njrcxz 1f\ninc rax\n1: bts rcx, 40\njecxz 1f\ninc rbx\n1:");
	ND("bts rcx, 40\nmov cl, 2\nmov ch, 0\n1: inc rax\naddr32 loop 2f\n2: nop");
}

TEST(string_instructions_equal_the_hosts)
{
	if (!have_vm())
		return;
	ND("movsb\nmovsw\nmovsd\nmovsq");
	ND("stosb\nstosw\nstosd\nstosq");
	ND("lodsb\nlodsw\nlodsd\nlodsq");
	ND("cmpsb\nseta bl\ncmpsq");
	ND("scasb\nseta bl\nscasd");
	ND("movzx ecx, cl\nrep movsb");
	ND("movzx ecx, cl\nrep stosq");
	ND("and ecx, 0x7f\nrep stosw");
	ND("and ecx, 0x7f\nrep lodsd");
	ND("movzx ecx, cl\nstd\nrep movsb\ncld");
	ND("and ecx, 0x3f\nstd\nrep stosd\ncld");
	ND("movzx ecx, cl\nlea rdi, [rsi+1]\nrep movsb");
	ND("movzx ecx, cl\nlea rdi, [rsi+3]\nrep movsd");
	ND("movzx ecx, cl\nmov rdi, rsi\nrepe cmpsb");
	ND("movzx ecx, cl\nmov rdi, rsi\nxor byte ptr [rsi+20], 1\nlea rsi, [rsi]\nrepe cmpsb");
	ND("movzx ecx, cl\nrepne scasb");
	ND("and ecx, 0x3f\nmov eax, [rdi]\nrepe scasd");
	ND("movzx ecx, cl\nrepne cmpsw");
	ND("xor ecx, ecx\nrepe cmpsb\nrep movsb");
	ND("bts rcx, 40\nmovzx ecx, cl\nbts rcx, 40\naddr32 rep movsb");
	ND("mov rcx, -1\nxor ecx, ecx\nbts rcx, 40\naddr32 rep stosb");
#define ND_NOTHING(op) ND("xor ecx, ecx\nbts rcx, 40\nbts rsi, 41\nbts rdi, 42\n.byte 0x67\n" op)
	ND_NOTHING("rep movsq");
	ND_NOTHING("rep stosd");
	ND_NOTHING("rep lodsw");
	ND_NOTHING("repe cmpsb");
	ND_NOTHING("repne scasd");
	ND("mov ecx, 0x700\nmov rsi, 0x10002100\nmov rdi, 0x10002880\nrep movsb");
}

TEST(decimal_and_ascii_adjust_equal_the_hosts)
{
	if (!have_vm() || !host_has_32bit())
		return;
	ND32("daa");
	ND32("das");
	ND32("aaa");
	ND32("aas");
	ND32("aam");
	ND32("aam 7");
	ND32("aad");
	ND32("aad 3");
	ND32("add al, cl\ndaa\nsub al, dl\ndas");
	ND32(".byte 0xd6"); /* salc */
}

TEST(instructions_of_32_bit_code_equal_the_hosts)
{
	if (!have_vm() || !host_has_32bit())
		return;
	ND32("inc eax\ndec cx\ninc edi\nadd [esi], eax\nadc ah, [esi+1]");
	ND32("pusha\npop eax\npop eax\npushaw\npopaw\npush eax\npush eax\npopa");
	ND32("push esp\npop eax\npush 5\npushw 6\npop cx\npop edx\npush [esi]\npop [edi]");
	ND32("enter 16, 2\nleave\ncall 1f\njmp 2f\n1: inc eax\nret\n2:");
	ND32("movzx ebx, bl\nlea eax, [bx+si+5]\nlea cx, [bp+di]\nlea edx, [ebp+ebx*4+1000]");
	ND32("mov ecx, 5\n1: inc eax\nloop 1b\njcxz 2f\ninc eax\n2: jecxz 3f\ninc eax\n3:");
	ND32("mov dword ptr [esi], 5\nmov dword ptr [esi+4], 9\nmov eax, 7\nbound eax, [esi]");
	ND32("movzx ecx, cl\nrep movsb\nmov ecx, 9\nrepne scasd\nlodsw\nstosd");
	ND32("xchg eax, ecx\ncwde\ncdq\nmovsx eax, dl\nbswap eax\nimul eax, ecx, 77");
	ND32("mov eax, [0x10002800]\nmov [0x10002900], al\nandn eax, ecx, edx\nrorx ebx, [esi], 3");
	ND32("cmpxchg8b [esi]\nxadd [edi], ecx\nmovsx edx, dl\nbts [esi], edx\nsetg al");
}

/* -- faults ------------------------------------------------------------------------------- */

static int run_code(u64 va, const void *code, unsigned len)
{
	testvm_code(vm, va, code, len);
	return testvm_run(vm, va + len, 1000);
}

#define RUN(...)                                                                                   \
	run_code(CODE_AT, (const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }))

#define CHECK_EXC(run, vec)                                                                        \
	do {                                                                                       \
		CHECK_EQ(run, X_FAULT);                                                            \
		CHECK_EQ(vm->exc.vector, vec);                                                     \
	} while (0)

TEST(divide_overflow_and_zero_raise_de_at_the_instruction)
{
	if (!have_vm())
		return;
	vm->s.gpr[RAX] = 1ull << 63;
	vm->s.gpr[RDX] = ~0ull;
	vm->s.gpr[RCX] = ~0ull;
	CHECK_EXC(RUN(0x48, 0xf7, 0xf9), EX_DE); /* idiv rcx: INT64_MIN / -1 */
	CHECK_EQ(vm->s.rip, CODE_AT);
	CHECK_EQ(vm->s.gpr[RAX], 1ull << 63);
	vm->s.gpr[RCX] = 0;
	CHECK_EXC(RUN(0xf7, 0xf1), EX_DE); /* div ecx */
	vm->s.gpr[RAX] = 0xff80;
	vm->s.gpr[RCX] = 0xff;
	CHECK_EXC(RUN(0xf6, 0xf9), EX_DE); /* idiv cl: -128 / -1 */
	vm->s.gpr[RDX] = 5;
	vm->s.gpr[RCX] = 5;
	CHECK_EXC(RUN(0x48, 0xf7, 0xf1), EX_DE); /* div rcx with rdx >= rcx */
	vm->s.gpr[RAX] = 0xff80;
	vm->s.gpr[RCX] = 1;
	CHECK_EQ(RUN(0xf6, 0xf9), X_OK); /* -128 / 1 fits */
	CHECK_EQ(vm->s.gpr[RAX] & 0xffff, 0x0080);
}

TEST(lock_on_anything_but_a_memory_destination_is_ud)
{
	if (!have_vm())
		return;
	vm->s.gpr[RSI] = TV_VA(TV_DATA);
	CHECK_EXC(RUN(0xf0, 0x01, 0xc1), EX_UD); /* lock add ecx, eax */
	CHECK_EXC(RUN(0xf0, 0x03, 0x06), EX_UD); /* lock add eax, [rsi] */
	CHECK_EXC(RUN(0xf0, 0x39, 0x06), EX_UD); /* lock cmp [rsi], eax */
	CHECK_EXC(RUN(0xf0, 0x0f, 0xba, 0x26, 1), EX_UD); /* lock bt [rsi], 1 */
	CHECK_EXC(RUN(0xf0, 0x89, 0x06), EX_UD); /* lock mov */
	CHECK_EXC(RUN(0xf0, 0x90), EX_UD);
	CHECK_EQ(RUN(0xf0, 0x01, 0x06), X_OK);
}

TEST(read_modify_write_faults_as_a_write_even_when_nothing_changes)
{
	if (!have_vm())
		return;
	vm->s.gpr[RSI] = TV_VA(TV_RO);
	vm->s.gpr[RAX] = 1;
	CHECK_EXC(RUN(0x0f, 0xb1, 0x0e), EX_PF); /* cmpxchg [rsi], ecx */
	CHECK_EQ(vm->exc.error, PF_P | PF_W | PF_U);
	CHECK_EQ(vm->exc.addr, TV_VA(TV_RO));
	CHECK_EXC(RUN(0x09, 0x06), EX_PF); /* or [rsi], eax */
	CHECK_EQ(vm->exc.error, PF_P | PF_W | PF_U);
	vm->s.gpr[RSI] = TV_VA(TV_HOLE);
	CHECK_EXC(RUN(0x0f, 0xc7, 0x0e), EX_PF); /* cmpxchg8b [rsi] */
	CHECK_EQ(vm->exc.error, PF_W | PF_U);
	CHECK_EXC(RUN(0xd3, 0x26), EX_PF); /* shl [rsi], cl with cl = 0 */
	CHECK_EQ(vm->exc.error, PF_W | PF_U);
	CHECK_EXC(RUN(0x87, 0x06), EX_PF); /* xchg */
	CHECK_EQ(vm->s.gpr[RAX], 1);
}

TEST(cmpxchg16b_unaligned_is_gp)
{
	if (!have_vm())
		return;
	vm->s.gpr[RSI] = TV_VA(TV_DATA) + 8;
	CHECK_EXC(RUN(0x48, 0x0f, 0xc7, 0x0e), EX_GP);
}

TEST(cmov_reads_its_source_even_when_false)
{
	if (!have_vm())
		return;
	vm->s.gpr[RSI] = TV_VA(TV_HOLE);
	vm->s.rflags &= ~(u64)FL_ZF;
	CHECK_EXC(RUN(0x0f, 0x44, 0x06), EX_PF);
}

TEST(a_fault_inside_rep_leaves_counts_exact)
{
	if (!have_vm())
		return;
	vm->s.gpr[RSI] = TV_VA(TV_HOLE) - 24;
	vm->s.gpr[RDI] = TV_VA(TV_DATA) + 1;
	vm->s.gpr[RCX] = 1000;
	CHECK_EXC(RUN(0xf3, 0x48, 0xa5), EX_PF); /* rep movsq, 3 elements to go */
	CHECK_EQ(vm->s.gpr[RCX], 997);
	CHECK_EQ(vm->s.gpr[RSI], TV_VA(TV_HOLE));
	CHECK_EQ(vm->s.gpr[RDI], TV_VA(TV_DATA) + 25);
	CHECK_EQ(vm->s.rip, CODE_AT);
	CHECK_EQ(vm->exc.addr, TV_VA(TV_HOLE));
	CHECK_EQ(vm->exc.error, PF_U);
	vm->s.gpr[RDI] = TV_VA(TV_RO) - 3; /* the element across the page edge faults whole */
	CHECK_EXC(RUN(0xf3, 0xab), EX_PF);
	CHECK_EQ(vm->s.gpr[RCX], 997);
	CHECK_EQ(vm->exc.addr, TV_VA(TV_RO));
	CHECK_EQ(vm->exc.error, PF_P | PF_W | PF_U);
}

TEST(pushes_and_pops_that_fault_leave_rsp_alone)
{
	u64 rsp = TV_VA(TV_RO);

	if (!have_vm())
		return;
	vm->s.gpr[RSP] = rsp + 8;
	CHECK_EXC(RUN(0x50), EX_PF); /* push rax */
	CHECK_EQ(vm->s.gpr[RSP], rsp + 8);
	CHECK_EXC(RUN(0xe8, 0, 0, 0, 0), EX_PF); /* call */
	CHECK_EQ(vm->s.gpr[RSP], rsp + 8);
	CHECK_EQ(vm->s.rip, CODE_AT);
	vm->s.gpr[RSI] = TV_VA(TV_HOLE);
	CHECK_EXC(RUN(0x8f, 0x06), EX_PF); /* pop [rsi] */
	CHECK_EQ(vm->s.gpr[RSP], rsp + 8);
	CHECK_EXC(RUN(0xc8, 0x10, 0, 0), EX_PF); /* enter */
	CHECK_EQ(vm->s.gpr[RSP], rsp + 8);
	vm->s.gpr[RBP] = TV_VA(TV_HOLE);
	CHECK_EXC(RUN(0xc9), EX_PF); /* leave */
	CHECK_EQ(vm->s.gpr[RSP], rsp + 8);
}

TEST(a_non_canonical_branch_target_faults_at_the_branch)
{
	if (!have_vm())
		return;
	vm->s.gpr[RAX] = 1ull << 47;
	CHECK_EXC(RUN(0xff, 0xe0), EX_GP); /* jmp rax */
	CHECK_EQ(vm->s.rip, CODE_AT);
	CHECK_EXC(RUN(0xff, 0xd0), EX_GP); /* call rax */
	CHECK_EQ(vm->s.gpr[RSP], TV_VA(TV_STACK) + 0x800);
}

TEST(an_instruction_across_pages_faults_on_the_second_only_if_needed)
{
	u64 edge = TV_VA(TV_HOLE);

	if (!have_vm())
		return;
	CHECK_EQ(run_code(edge - 1, (const u8[]){ 0x90 }, 1), X_OK);
	CHECK_EQ(run_code(edge - 3, (const u8[]){ 0x0f, 0x1f, 0x00 }, 3), X_OK);
	testvm_code(vm, edge - 2, (const u8[]){ 0x0f, 0x1f }, 2);
	CHECK_EXC(interp_step(vm), EX_PF);
	CHECK_EQ(vm->exc.addr, edge);
	CHECK_EQ(vm->s.rip, edge - 2);
	/* across two mapped pages */
	vm->s.gpr[RAX] = 0;
	CHECK_EQ(run_code(TV_VA(TV_CODE2) - 2, (const u8[]){ 0xb8, 1, 2, 3, 4 }, 5), X_OK);
	CHECK_EQ(vm->s.gpr[RAX], 0x04030201);
}

TEST(sixteen_bytes_of_instruction_are_gp)
{
	u8 code[16];

	if (!have_vm())
		return;
	memset(code, 0x66, sizeof code);
	code[14] = 0x90;
	CHECK_EQ(run_code(CODE_AT, code, 15), X_OK);
	code[14] = 0x66;
	code[15] = 0x90;
	CHECK_EXC(run_code(CODE_AT, code, 16), EX_GP);
}

TEST(hints_are_nops)
{
	if (!have_vm())
		return;
	CHECK_EQ(RUN(0xf3, 0x0f, 0x1e, 0xfa), X_OK);		   /* endbr64 */
	CHECK_EQ(RUN(0xf3, 0x90, 0x0f, 0x18, 0x0e), X_OK);	   /* pause, prefetcht0 */
	CHECK_EQ(RUN(0x0f, 0x0d, 0x0e, 0x0f, 0x1f, 0x44, 0, 0), X_OK);
	CHECK_EQ(RUN(0xf2, 0xeb, 0x00, 0x0f, 0xae, 0xe8), X_OK); /* bnd jmp, lfence */
	CHECK_EXC(RUN(0x0f, 0x0b), EX_UD);
	vm->s.gpr[RSI] = TV_VA(TV_HOLE);
	CHECK_EQ(RUN(0x0f, 0x18, 0x0e), X_OK);			   /* prefetch never faults */
	CHECK_EXC(RUN(0x0f, 0xae, 0x3e), EX_PF);		   /* clflush does */
}

TEST(single_step_traps_after_each_instruction_and_each_repetition)
{
	if (!have_vm())
		return;
	vm->s.rflags |= FL_TF;
	CHECK_EXC(RUN(0x90, 0x90), EX_DB);
	CHECK_EQ(vm->s.rip, CODE_AT + 1);
	CHECK_EQ(vm->exc.dr6, BIT(14));
	vm->s.gpr[RCX] = 2;
	vm->s.gpr[RDI] = TV_VA(TV_DATA);
	CHECK_EXC(RUN(0xf3, 0xaa), EX_DB);
	CHECK_EQ(vm->s.rip, CODE_AT);
	CHECK_EQ(vm->s.gpr[RCX], 1);
	CHECK_EXC(interp_step(vm), EX_DB);
	CHECK_EQ(vm->s.rip, CODE_AT + 2);
}

TEST(breakpoints_fault_before_code_and_trap_after_data)
{
	if (!have_vm())
		return;
	vm->s.dr[0] = CODE_AT;
	vm->s.dr7 = 1;
	CHECK_EXC(RUN(0x90), EX_DB);
	CHECK_EQ(vm->s.rip, CODE_AT);
	CHECK_EQ(vm->exc.dr6, 1);
	vm->s.rflags |= FL_RF;
	CHECK_EQ(RUN(0x90), X_OK);
	CHECK_EQ(vm->s.rflags & FL_RF, 0);
	vm->s.dr[1] = TV_VA(TV_DATA) + 4;
	vm->s.dr7 = 2u << 1 | 0xdu << 20; /* DR1: 4 bytes, writes */
	vm->s.gpr[RSI] = TV_VA(TV_DATA) + 1;
	CHECK_EQ(RUN(0x8b, 0x06), X_OK);	  /* a read */
	CHECK_EXC(RUN(0x89, 0x06, 0x90), EX_DB); /* a write that overlaps */
	CHECK_EQ(vm->s.rip, CODE_AT + 2);
	CHECK_EQ(vm->exc.dr6, 2);
}

TEST(modified_code_is_seen_at_once)
{
	if (!have_vm())
		return;
	CHECK_EQ(RUN(0xb8, 1, 0, 0, 0), X_OK);
	CHECK_EQ(RUN(0xb8, 2, 0, 0, 0), X_OK);
	CHECK_EQ(vm->s.gpr[RAX], 2);
	CHECK_EQ(RUN(0x90, 0x90, 0xb0, 7, 0x90), X_OK);
	CHECK_EQ(vm->s.gpr[RAX], 7);
}

/* Real mode, every segment over the window's memory, code at 200h. */
static void real_mode_code(const void *code, unsigned len)
{
	testvm_set_mode(vm, 16, false);
	for (unsigned n = 0; n < NR_SEGS; n++)
		vm->s.seg[n] = (struct x86_seg){ .base = TV_GPA(0), .limit = 0xffff,
						 .attr = SA_P | SA_S | SA_RW };
	testvm_code(vm, CODE_AT, code, len);
	vm->s.rip = 0x200;
}

TEST(real_mode_ip_and_sp_stay_16_bits_wide)
{
	if (!have_vm())
		return;
	real_mode_code((const u8[]){ 0x50, 0x58, 0xe9, 0x00, 0x80, 0x40 }, 6);
	vm->s.gpr[RSP] = 0x12340002;
	vm->s.gpr[RAX] = 0xaaaabbbb;
	CHECK_EQ(interp_step(vm), X_OK); /* push ax */
	CHECK_EQ(vm->s.gpr[RSP], 0x12340000);
	CHECK_EQ(interp_step(vm), X_OK);
	CHECK_EQ(vm->s.gpr[RSP], 0x12340002);
	CHECK_EQ(interp_step(vm), X_OK); /* jmp -8000h */
	CHECK_EQ(vm->s.rip, 0x8205);
	vm->s.rip = 0x205;
	CHECK_EQ(interp_step(vm), X_OK); /* inc ax */
	CHECK_EQ(vm->s.gpr[RAX], 0xaaaabbbc);
}

TEST(the_address_size_prefix_truncates_before_the_segment_base)
{
	if (!have_vm())
		return;
	vm->s.seg[SEG_FS].base = TV_VA(TV_DATA);
	vm->s.gpr[RBX] = 0xffffffff00000020;
	memcpy(testvm_ptr(vm, TV_VA(TV_DATA) + 0x18), "\x78\x56\x34\x12", 4);
	CHECK_EQ(RUN(0x64, 0x67, 0x8b, 0x43, 0xf8), X_OK); /* mov eax, fs:[ebx-8] */
	CHECK_EQ(vm->s.gpr[RAX], 0x12345678);
}

TEST(counting_scans_are_plain_scans_where_cpuid_hides_them)
{
	if (!have_vm())
		return;
	vm->cfg.model = CPU_MODEL_V2;
	vm->s.gpr[RCX] = 0x10;
	CHECK_EQ(RUN(0xf3, 0x0f, 0xbd, 0xc1), X_OK); /* lzcnt eax, ecx */
	CHECK_EQ(vm->s.gpr[RAX], 4);
	CHECK_EXC(RUN(0xc4, 0xe2, 0x70, 0xf2, 0xc2), EX_UD); /* andn */
	CHECK_EXC(RUN(0x0f, 0x38, 0xf0, 0x06), EX_UD);	     /* movbe */
	vm->cfg.model = CPU_MODEL_V3;
	CHECK_EQ(RUN(0xf3, 0x0f, 0xbd, 0xc1), X_OK);
	CHECK_EQ(vm->s.gpr[RAX], 27);
	CHECK_EQ(RUN(0xc4, 0xe2, 0x70, 0xf2, 0xc2), X_OK);
}

TEST(string_indexes_wrap_at_the_address_size)
{
	if (!have_vm())
		return;
	real_mode_code((const u8[]){ 0xf3, 0xaa }, 2);
	vm->s.gpr[RDI] = 0xabcdfffe;
	vm->s.gpr[RCX] = 0x12340004;
	vm->s.gpr[RAX] = 'x';
	for (unsigned n = 0; n < 4 && vm->s.rip == 0x200; n++)
		CHECK_EQ(interp_step(vm), X_OK);
	CHECK_EQ(vm->s.rip, 0x202);
	CHECK_EQ(vm->s.gpr[RDI], 0xabcd0002);
	CHECK_EQ(vm->s.gpr[RCX], 0x12340000);
	CHECK_EQ(*testvm_ptr(vm, TV_BASE + 1), 'x');
	CHECK_EQ(*testvm_ptr(vm, TV_BASE + 0xffff), 'x');
	/* a 16-bit word at ffffh crosses the limit */
	vm->s.gpr[RDI] = 0xffff;
	vm->s.gpr[RCX] = 2;
	real_mode_code((const u8[]){ 0xf3, 0xab }, 2);
	CHECK_EXC(interp_step(vm), EX_GP);
	CHECK_EQ(vm->s.gpr[RCX], 2);
}

#define NR_LOCKED 20000

/* 1: lock inc qword [rsi]; lock add dword [rsi+9], 3; xchg [rsi+16], eax; dec ecx; jnz 1b */
static const u8 locked[] = { 0xf0, 0x48, 0xff, 0x06, 0xf0, 0x83, 0x46, 0x09, 0x03,
			     0x87, 0x46, 0x10, 0xff, 0xc9, 0x75, 0xf0 };

static void *count_locked(void *arg)
{
	struct vcpu *v = arg;

	v->s.gpr[RSI] = TV_VA(TV_DATA);
	v->s.gpr[RCX] = NR_LOCKED;
	testvm_run(v, CODE_AT + sizeof locked, 10 * NR_LOCKED);
	return NULL;
}

TEST(locked_updates_of_two_vcpus_are_all_counted)
{
	struct vcpu *b;
	pthread_t t;
	u32 odd;

	if (!have_vm())
		return;
	testvm_code(vm, CODE_AT, locked, sizeof locked);
	b = aligned_alloc(64, (sizeof *b + 63) & ~63ull);
	memcpy(b, vm, sizeof *b);
	b->mmu = mmu_new();
	b->icache = NULL;
	mmu_mode_changed(b);
	memset(testvm_ptr(vm, TV_VA(TV_DATA)), 0, 64);
	CHECK(!pthread_create(&t, NULL, count_locked, b));
	count_locked(vm);
	pthread_join(t, NULL);
	CHECK_EQ(*(u64 *)(void *)testvm_ptr(vm, TV_VA(TV_DATA)), 2 * NR_LOCKED);
	memcpy(&odd, testvm_ptr(vm, TV_VA(TV_DATA) + 9), 4);
	CHECK_EQ(odd, 6 * NR_LOCKED);
	mmu_free(b->mmu);
	free(b);
}

TEST(loading_ss_holds_back_the_single_step_trap_for_one_instruction)
{
	if (!have_vm())
		return;
	real_mode_code((const u8[]){ 0x8e, 0xd0, 0x90, 0x90 }, 4); /* mov ss, ax; nop; nop */
	vm->s.gpr[RAX] = 0x1234;
	vm->s.rflags |= FL_TF;
	CHECK_EQ(interp_step(vm), X_OK);
	CHECK(vm->s.shadow_ss);
	CHECK_EXC(interp_step(vm), EX_DB);
	CHECK_EQ(vm->s.rip, 0x203);
	CHECK(!vm->s.shadow_ss);
}

TEST(sti_shadows_exactly_one_instruction)
{
	if (!have_vm())
		return;
	real_mode_code((const u8[]){ 0xfa, 0xfb, 0x90, 0x90 }, 4); /* cli; sti; nop; nop */
	CHECK_EQ(interp_step(vm), X_OK);
	CHECK_EQ(interp_step(vm), X_OK);
	CHECK(vm->s.shadow_sti);
	CHECK_EQ(interp_step(vm), X_OK);
	CHECK(!vm->s.shadow_sti);
}

TEST(popf_that_sets_tf_traps_after_the_next_instruction)
{
	if (!have_vm())
		return;
	vm->s.gpr[RAX] = FL_ONE | FL_IF | FL_TF;
	CHECK_EXC(RUN(0x50, 0x9d, 0x90, 0x90), EX_DB); /* push rax; popfq; nop; nop */
	CHECK_EQ(vm->s.rip, CODE_AT + 3);
}
