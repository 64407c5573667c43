// SPDX-License-Identifier: Apache-2.0
/*
 * sysfuzz_test.c - random code with random system state, in the kernel: the
 * engine must survive what no sane guest does
 */
#include "base/test.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/seg.h"
#include "cpu/soft/stub.h"
#include "cpu/soft/sysvm.h"

#include <stdlib.h>

#define ROUNDS 1500
#define STEPS  24

static u64 seed;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Mostly small, near RAM or at the edges of the address space. */
static u64 rnd_value(void)
{
	static const u64 edges[] = { 0, 1, 0x7fffffff, 0xffffffff, 0x100000000,
				     0x7fffffffffff, 0x800000000000, ~0ull, 1ull << 63 };

	switch (rnd() % 6) {
	case 0: return edges[rnd() % array_len(edges)];
	case 1: return rnd();
	case 2: return (u32)rnd();
	case 3: return rnd() % 0x80;
	default: return rnd() % 0x200000;
	}
}

static void rnd_code(struct vcpu *v)
{
	static const u8 sys[] = { 0x0f, 0x0f, 0x0f, 0x8e, 0xcf, 0xcb, 0xff, 0xcd, 0x9d, 0x66, 0x48,
				  0xea, 0x9a, 0x07, 0x17, 0xc5, 0x6c, 0x6f, 0xf3, 0xe4, 0xee };

	for (unsigned n = 0; n < 64; n++) {
		u8 b = rnd() % 3 ? (u8)rnd() : sys[rnd() % sizeof(sys)];

		sysvm_put(v, (SV_CODE + rnd() % 4 * 0x800 + n) & 0x1ffff, 1, b);
	}
}

static void rnd_tables(struct vcpu *v)
{
	for (unsigned n = 0; n < 8; n++)
		sysvm_put(v, SV_GDT + rnd() % SV_GDT_SIZE, 1, rnd() & 0xff);
	for (unsigned n = 0; n < 4; n++)
		sysvm_put(v, SV_PML4 + rnd() % 0x4000, 8, rnd_value() | (rnd() & 0xfff));
	for (unsigned n = 0; n < 16; n++)
		sysvm_put(v, SV_IDT + rnd() % 0x400, 1, rnd() & 0xff);
}

static void rnd_state(struct vcpu *v)
{
	for (unsigned n = 0; n < 16; n++)
		v->s.gpr[n] = rnd_value();
	switch (rnd() % 6) {
	case 0: sysvm_legacy(v, false); break;
	case 1: sysvm_legacy(v, true); break;
	case 2: sysvm_real(v); break;
	case 3: sysvm_cpl3(v); break;
	}
	v->s.rip = SV_CODE + rnd() % 64;
	if (rnd() % 4 == 0)
		v->s.rflags ^= rnd() & (FL_TF | FL_NT | FL_AC | FL_IOPL | FL_DF | FL_IF);
	if (rnd() % 4 == 0)
		v->s.cr4 ^= rnd() & (CR4_SMAP | CR4_SMEP | CR4_PSE | CR4_PCIDE | CR4_OSFXSR |
				     CR4_OSXSAVE | CR4_FSGSBASE | CR4_UMIP | CR4_TSD | CR4_DE);
	if (rnd() % 8 == 0)
		v->s.dr7 = rnd() & 0xffff27ff;
	if (rnd() % 8 == 0)
		v->s.tr.limit = rnd() % 0x100;
	mmu_mode_changed(v);
}

static bool no_rdmsr(void *io, u32 msr, u64 *ret)
{
	(void)io, (void)msr, (void)ret;
	return false;
}

static bool no_wrmsr(void *io, u32 msr, u64 val)
{
	(void)io, (void)msr, (void)val;
	return false;
}

static u8 cr8(void *io)
{
	(void)io;
	return 0;
}

static void no_cr8(void *io, u8 val)
{
	(void)io, (void)val;
}

static u64 no_time(void *io)
{
	(void)io;
	return 0;
}

TEST(random_kernel_code_and_state_do_not_harm_the_host)
{
	struct err e;

	seed = 0x9e3779b97f4a7c15;
	if (getenv("VIREO_FUZZ_SEED"))
		seed = strtoull(getenv("VIREO_FUZZ_SEED"), NULL, 0) | 1;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct vcpu *v = sysvm_new();

		if (!v) {
			test_skip("no room for guest memory");
			return;
		}
		v->vec = vec_new(&e);
		CHECK(v->vec);
		v->io.apic_rdmsr = no_rdmsr;
		v->io.apic_wrmsr = no_wrmsr;
		v->io.get_cr8 = cr8;
		v->io.set_cr8 = no_cr8;
		v->io.wall_ns = no_time;
		rnd_code(v);
		rnd_tables(v);
		rnd_state(v);
		for (unsigned n = 0; n < STEPS; n++) {
			int r = interp_step(v);

			if (r == X_FAULT)
				r = deliver_exception(v);
			if (r == X_SHUTDOWN)
				break;
			if (rnd() % 16 == 0 && deliver_interrupt(v, (u8)rnd()) != X_OK)
				break;
			CHECK(v->cpl <= 3);
		}
		fp_park(v);
		vec_free(v->vec);
		sysvm_free(v);
	}
}
