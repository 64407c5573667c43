// SPDX-License-Identifier: Apache-2.0
/*
 * pitfall_fuzz_test.c - random kernel code, interpreted and translated: the
 * same registers, flags, exception and memory
 *
 * Blocks mix moves, arithmetic, stack and string instructions on every register
 * with system instructions (which translated code leaves for the interpreter),
 * jumps and stores that may hit the code itself; now and then an interrupt waits.
 */
#include "cpu/soft/guestvm.h"

#include "base/test.h"

#include <stdlib.h>

#define ROUNDS 1000 /* FUZZ_ROUNDS and FUZZ_SEED in the environment: another number, other code */
#define PIECES 24

static u64 seed;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull >> 16;
}

static u8 *put(u8 *p, unsigned n, u64 bytes)
{
	memcpy(p, &bytes, n);
	return p + n;
}

/* ModRM with a register, or memory near a register that points to data: [base + disp8]. */
static u8 *put_modrm(u8 *p, unsigned reg)
{
	unsigned base = rnd() % 8;

	if (rnd() % 2)
		return put(p, 1, 0xc0 | (reg & 7) << 3 | base);
	p = put(p, 1, 0x40 | (reg & 7) << 3 | base);
	if (base == 4)
		p = put(p, 1, rnd() % 3 ? 0x24 : (rnd() & 0xff));
	return put(p, 1, rnd() & 0xff);
}

static u8 *put_alu(u8 *p)
{
	static const u8 op[] = { 0x00, 0x01, 0x02, 0x03, 0x10, 0x11, 0x13, 0x18, 0x1b, 0x21, 0x29, 0x2b, 0x31,
				 0x33, 0x38, 0x39, 0x3b, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x63 };

	if (rnd() % 8 == 0)
		p = put(p, 1, 0x66);
	if (rnd() % 3)
		p = put(p, 1, 0x40 | rnd() % 16);
	p = put(p, 1, op[rnd() % array_len(op)]);
	return put_modrm(p, (unsigned)rnd());
}

static u8 *put_group(u8 *p)
{
	static const u8 op[] = { 0xd1, 0xd3, 0xf7, 0xff, 0xfe, 0xd0, 0xd2, 0xf6 };
	u8 o = op[rnd() % array_len(op)];
	unsigned ext = (unsigned)(o >= 0xfe ? rnd() % 2 : o >= 0xf6 ? 2 + rnd() % 6 : rnd() % 8);

	if (rnd() % 2)
		p = put(p, 1, 0x40 | rnd() % 16);
	return put_modrm(put(p, 1, o), ext);
}

static u8 *put_0f(u8 *p)
{
	static const u8 op[] = { 0x40, 0x42, 0x4f, 0x90, 0x92, 0x9e, 0xaf, 0xb6, 0xb7, 0xbe, 0xbf, 0xa3, 0xab,
				 0xb3, 0xbc, 0xbd, 0xb0, 0xb1, 0xc0, 0xc1, 0xa5, 0xad };

	if (rnd() % 2)
		p = put(p, 1, 0x40 | rnd() % 16);
	p = put(put(p, 1, 0x0f), 1, op[rnd() % array_len(op)]);
	return put_modrm(p, (unsigned)rnd());
}

static u8 *put_stack(u8 *p)
{
	switch (rnd() % 6) {
	case 0: return put(put(p, 1, 0x40 | rnd() % 2), 1, 0x50 | rnd() % 8);
	case 1: return put(put(p, 1, 0x40 | rnd() % 2), 1, 0x58 | rnd() % 8);
	case 2: return put(p, 2, 0x006a | (rnd() & 0xff) << 8);
	case 3: return put(p, 1, 0x9c);			 /* pushf */
	case 4: return put(p, 5, 0x00000000e8);		 /* call the next */
	default: return put_modrm(put(p, 1, 0xff), 6);	 /* push r/m */
	}
}

static u8 *put_system(u8 *p)
{
	static const struct {
		u8 n;
		u64 bytes;
	} c[] = {
		{ 1, 0xfa },		    /* cli */
		{ 1, 0xfb },		    /* sti */
		{ 3, 0xc0200f },	    /* mov rax, cr0 */
		{ 3, 0xdb200f },	    /* mov rbx, cr3 */
		{ 6, 0xd8220fd8200f },	    /* mov rax, cr3; mov cr3, rax */
		{ 3, 0x38010f },	    /* invlpg [rax] */
		{ 2, 0x060f },		    /* clts */
		{ 2, 0x60e4 },		    /* in al, 60h */
		{ 2, 0xd08e },		    /* mov ss, eax: faults mostly */
		{ 4, 0xd08ed08c },	    /* mov eax, ss; mov ss, eax */
		{ 2, 0xd88c },		    /* mov eax, ds */
		{ 6, 0xf8010ff8010f },	    /* swapgs twice */
		{ 1, 0xf5 }, { 1, 0xf8 }, { 1, 0xf9 }, { 1, 0xfc },
		{ 2, 0x9d9c },		    /* pushf; popf */
		{ 3, 0xf88c45 }, { 3, 0xd08c4d }, /* mov r8d, ds; mov r8, ss */
		{ 5, 0xc0ae0f48f3 }, { 5, 0xcaae0f48f3 }, { 5, 0xc2ae0f49f3 }, /* rdfsbase, rdgsbase */
		{ 5, 0xd0ae0f48f3 }, { 5, 0xd3ae0f48f3 }, { 5, 0xd8ae0f49f3 }, /* wrfsbase, wrgsbase */
		{ 3, 0xa448f3 }, { 3, 0xa548f3 }, { 3, 0xa566f3 }, { 2, 0xa5f3 }, { 2, 0xaaf3 },
		{ 3, 0xab48f3 }, { 2, 0xabf2 }, { 3, 0xab66f3 },
		{ 2, 0xa448 }, { 2, 0xa548 }, { 2, 0xab48 }, { 2, 0xad48 }, { 2, 0xa648 },
		{ 1, 0xc9 }, { 2, 0x9848 }, { 2, 0x9948 }, { 1, 0x9e }, { 1, 0x9f },
		{ 3, 0xc80148 },
		{ 5, 0xcae0010fb9 },
		{ 3, 0xca010f }, { 3, 0xcb010f }, /* clac, stac */
		{ 2, 0xa20f },		    /* cpuid */
	};
	unsigned k = (unsigned)(rnd() % array_len(c));

	return put(p, c[k].n, c[k].bytes);
}

static u8 *put_piece(u8 *p)
{
	switch (rnd() % 12) {
	case 0 ... 3: return put_alu(p);
	case 4: return put_group(p);
	case 5: case 6: return put_0f(p);
	case 7: case 8: return put_stack(p);
	case 9: return put(p, 4, 0x90900070 | (rnd() % 16) | (rnd() % 3) << 8); /* jcc over some */
	case 10: return put(put(p, 2, 0xb848 | (rnd() % 8) << 8), 8, GV_DATA + rnd() % 0x3000);
	default: return put_system(p);
	}
}

struct input {
	u8 code[512];
	unsigned len;
	u64 gpr[16], rflags;
	bool irq;
};

static void make_input(struct input *in)
{
	u8 *p = in->code;

	memset(in, 0, sizeof *in);
	for (unsigned k = 0; k < PIECES; k++)
		p = put_piece(p);
	for (unsigned k = 0; k < 6; k++)
		p = put(p, 2, 0xf4e6); /* out f4: wherever the last jump went */
	in->len = (unsigned)(p - in->code);
	for (unsigned k = 0; k < 16; k++)
		in->gpr[k] = rnd() % 8 ? GV_DATA + 0x100 + rnd() % 0x2e00 : rnd() << (rnd() % 32);
	if (rnd() % 16 == 0)
		in->gpr[rnd() % 16] = GV_CODE + rnd() % in->len; /* stores into the code */
	in->gpr[RSP] = GV_STACK - 64;
	in->gpr[RCX] &= rnd() % 4 ? 0xff : ~0ull;
	in->rflags = 2 | (rnd() & (FL_ARITH | FL_IF));
	in->irq = rnd() % 8 == 0;
}

static void run_input(struct gv *g, const struct x86_state *start, const struct input *in)
{
	g->s = *start;
	memset(mem_ptr(g->mem, GV_CODE, 4096), 0xf4, 4096);
	for (u64 k = 0; k < 0x3000; k += 8)
		*(u64 *)(void *)mem_ptr(g->mem, GV_DATA + k, 8) = k * 0x9e3779b97f4a7c15ull;
	memset(mem_ptr(g->mem, GV_STACK - 4096, 8192), 0x5a, 8192);
	mem_wrote(g->mem, GV_CODE, 4096);
	gv_code(g, GV_CODE, in->code, in->code + in->len);
	mem_wrote(g->mem, GV_DATA, 0x3000);
	mem_wrote(g->mem, GV_STACK - 4096, 8192);
	memcpy(g->s.gpr, in->gpr, sizeof in->gpr);
	g->s.rflags = in->rflags;
	g->irq = in->irq ? 0x40 : -1;
	gv_run(g);
	g->irq = -1;
}

/* Arithmetic flags in an interrupt's frame are not promised where the code overwrites them. */
static void forgive_frame(struct gv *a, struct gv *b)
{
	u8 *p = mem_ptr(a->mem, a->s.gpr[RSP] + 16, 8), *q = mem_ptr(b->mem, a->s.gpr[RSP] + 16, 8);
	u64 x, y;

	if (a->vector != -2 || !p)
		return;
	memcpy(&x, p, sizeof x);
	memcpy(&y, q, sizeof y);
	if (!((x ^ y) & ~(u64)FL_ARITH))
		memcpy(q, p, sizeof x);
}

static bool same(struct gv *a, struct gv *b, bool flags)
{
	static const struct {
		gpa_t at;
		u64 len;
	} area[] = { { GV_CODE, 4096 }, { GV_DATA, 0x3000 }, { GV_STACK - 4096, 4096 } };
	u64 mask = flags ? ~0ull : ~(u64)FL_ARITH;

	for (unsigned k = 0; k < array_len(area); k++)
		if (memcmp(mem_ptr(a->mem, area[k].at, area[k].len),
			   mem_ptr(b->mem, area[k].at, area[k].len), area[k].len))
			return false;
	return a->vector == b->vector && !memcmp(a->s.gpr, b->s.gpr, sizeof a->s.gpr) &&
	       a->s.rip == b->s.rip && a->rip == b->rip && a->error == b->error &&
	       a->s.cr2 == b->s.cr2 && !((a->rflags ^ b->rflags) & mask);
}

static void show(const struct input *in, struct gv *a, struct gv *b, unsigned tier, u64 from)
{
	fprintf(stderr, "seed %llx tier %u:", (unsigned long long)from, tier);
	for (unsigned k = 0; k < in->len; k++)
		fprintf(stderr, " %02x", in->code[k]);
	fprintf(stderr, "\nvector %d/%d rip %llx/%llx cr2 %llx/%llx flags %llx/%llx\n", a->vector, b->vector,
		(unsigned long long)a->rip, (unsigned long long)b->rip, (unsigned long long)a->s.cr2,
		(unsigned long long)b->s.cr2, (unsigned long long)a->rflags, (unsigned long long)b->rflags);
	for (gpa_t at = GV_CODE; at < GV_STACK; at += 8)
		if (gv_get(a, at, 8) != gv_get(b, at, 8))
			fprintf(stderr, "[%llx]: %llx/%llx\n", (unsigned long long)at,
				(unsigned long long)gv_get(a, at, 8), (unsigned long long)gv_get(b, at, 8));
	for (unsigned k = 0; k < 16; k++)
		if (a->s.gpr[k] != b->s.gpr[k])
			fprintf(stderr, "r%u in %llx: %llx/%llx\n", k, (unsigned long long)in->gpr[k],
				(unsigned long long)a->s.gpr[k], (unsigned long long)b->s.gpr[k]);
}

static u64 env_or(const char *name, u64 otherwise)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 0) : otherwise;
}

TEST(random_kernel_code_is_the_same_interpreted_and_translated)
{
	struct gv *g[NR_GV_TIERS];
	struct x86_state start;
	static struct input in;

	for (unsigned t = 0; t < NR_GV_TIERS; t++) {
		g[t] = gv_new(t);
		if (!g[t])
			return;
	}
	start = g[0]->s;
	seed = env_or("FUZZ_SEED", 0x1234567);
	for (u64 n = env_or("FUZZ_ROUNDS", ROUNDS); n; n--) {
		u64 from = seed;

		make_input(&in);
		for (unsigned t = 0; t < NR_GV_TIERS; t++)
			run_input(g[t], &start, &in);
		for (unsigned t = 1; t < NR_GV_TIERS; t++) {
			if (t == GV_T1)
				forgive_frame(g[0], g[t]);
			if (same(g[0], g[t], t != GV_T1))
				continue;
			show(&in, g[0], g[t], t, from);
			test_fail(__FILE__, __LINE__, "tier %u differs", t);
			n = 1;
		}
	}
	for (unsigned t = 0; t < NR_GV_TIERS; t++)
		gv_free(g[t]);
}
