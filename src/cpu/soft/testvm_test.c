// SPDX-License-Identifier: Apache-2.0
/*
 * testvm_test.c - the vCPU that unit tests of the interpreter share
 */
#include "cpu/soft/testvm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu/soft/mmu.h"

#define PML4	0x1000
#define PDPT	0x2000
#define PD	0x3000
#define PT	0x4000
#define MEMSIZE (4u << 20)

static void put64(struct vcpu *v, gpa_t gpa, u64 val)
{
	if (!mem_write(v->mem, gpa, &val, 8))
		abort();
}

static void build_tables(struct vcpu *v)
{
	u64 rights = PTE_P | PTE_W | PTE_U;

	put64(v, PML4, PDPT | rights);
	put64(v, PDPT, PD | rights);
	put64(v, PD + 8 * (TV_BASE >> 21), PT | rights);
	for (unsigned n = 0; n < TV_PAGES; n++)
		put64(v, PT + 8ull * n, TV_GPA(n) | rights);
	put64(v, PT + 8 * TV_RO, TV_GPA(TV_RO) | PTE_P | PTE_U);
	put64(v, PT + 8 * TV_HOLE, 0);
}

static bool map_window(void)
{
	static bool done;

	if (!done)
		done = mmap((void *)TV_BASE, TV_PAGES * 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			    0) != MAP_FAILED;
	return done;
}

void testvm_reset(struct vcpu *v)
{
	struct x86_seg data = { .limit = ~0u, .sel = 0x2b,
				.attr = SA_P | SA_S | SA_RW | SA_ACCESSED | SA_DPL | SA_DB | SA_G };

	memset(&v->s, 0, sizeof v->s);
	for (unsigned n = 0; n < NR_SEGS; n++)
		v->s.seg[n] = data;
	v->s.seg[SEG_CS].attr =
		SA_P | SA_S | SA_CODE | SA_RW | SA_ACCESSED | SA_DPL | SA_L | SA_G;
	v->s.seg[SEG_CS].sel = 0x33;
	v->s.cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET | CR0_NE;
	v->s.cr3 = PML4;
	v->s.cr4 = CR4_PAE;
	v->s.efer = EFER_LME | EFER_LMA;
	v->s.rflags = FL_ONE | FL_IF;
	v->s.gpr[RSP] = TV_VA(TV_STACK) + 0x800;
	v->cpl = 3;
	v->in_rep = false;
	v->db_hits = 0;
	mmu_flush_all(v);
	mmu_mode_changed(v);
}

void testvm_set_mode(struct vcpu *v, unsigned bits, bool protect)
{
	for (unsigned n = 0; n < NR_SEGS; n++) {
		v->s.seg[n].attr &= ~(SA_L | SA_DB | SA_DPL);
		if (bits == 32)
			v->s.seg[n].attr |= SA_DB;
	}
	v->s.cr0 = CR0_ET | (protect ? CR0_PE : 0);
	v->s.cr4 = 0;
	v->s.efer = 0;
	v->cpl = 0;
	mmu_flush_all(v);
	mmu_mode_changed(v);
}

struct vcpu *testvm_new(void)
{
	struct err e = { 0 };
	struct mem *m = map_window() ? mem_new(MEMSIZE, &e) : NULL;
	struct vcpu *v = m ? aligned_alloc(64, (sizeof *v + 63) & ~63ull) : NULL;

	if (!v) /* sanitizers leave no room for guest memory */
		return NULL;
	memset(v, 0, sizeof *v);
	v->mem = m;
	v->mmu = mmu_new();
	v->icache = icache_new();
	if (!v->mmu)
		abort();
	build_tables(v);
	testvm_reset(v);
	return v;
}

void testvm_free(struct vcpu *v)
{
	icache_free(v->icache);
	mmu_free(v->mmu);
	mem_free(v->mem);
	free(v);
}

u8 *testvm_ptr(struct vcpu *v, u64 va)
{
	u8 *p = mem_ptr(v->mem, va - TV_BASE + TV_GPA(0), 1);

	if (!p)
		abort();
	return p;
}

u8 *testvm_host(unsigned page)
{
	return (u8 *)TV_VA(page);
}

void testvm_code(struct vcpu *v, u64 va, const void *code, unsigned len)
{
	memcpy(testvm_ptr(v, va), code, len);
	v->s.rip = va;
}

int testvm_run(struct vcpu *v, u64 end, unsigned max)
{
	while (v->s.rip != end && max--) {
		int r = interp_step(v);

		if (r)
			return r;
	}
	return X_OK;
}
