// SPDX-License-Identifier: Apache-2.0
/* sysvm_test.c - the vCPU that tests of system behaviour share; see sysvm.h */
#include "cpu/soft/sysvm.h"

#include "cpu/soft/desc.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/seg.h"

#include <stdlib.h>
#include <string.h>

#define MEMSIZE (16u << 20)

u64 sysvm_log[16];
unsigned sysvm_nr_log;

static void note(gpa_t gpa, bool write, unsigned size)
{
	sysvm_log[sysvm_nr_log++ % 16] = gpa << 8 | (u64)write << 7 | size;
}

static u64 io_load_fake(void *io, gpa_t gpa, unsigned size)
{
	(void)io;
	note(gpa, false, size);
	return 0x8877665544332211ull;
}

static void io_store_fake(void *io, gpa_t gpa, unsigned size, u64 val)
{
	(void)io, (void)val;
	note(gpa, true, size);
}

static u64 io_in_fake(void *io, u16 port, unsigned size)
{
	(void)io, (void)port;
	return mask_bytes(size);
}

static void io_out_fake(void *io, u16 port, unsigned size, u64 val)
{
	(void)io, (void)port, (void)size, (void)val;
}

void sysvm_put(struct vcpu *v, gpa_t gpa, unsigned size, u64 val)
{
	if (!mem_write(v->mem, gpa, &val, size))
		abort();
}

u64 sysvm_get(struct vcpu *v, gpa_t gpa, unsigned size)
{
	u64 val = 0;

	if (!mem_read(v->mem, gpa, &val, size))
		abort();
	return val;
}

void sysvm_pte(struct vcpu *v, u64 la, u64 val)
{
	sysvm_put(v, SV_PT + (la >> 12) * 8, 8, val);
}

u64 sysvm_get_pte(struct vcpu *v, u64 la)
{
	return sysvm_get(v, SV_PT + (la >> 12) * 8, 8);
}

void sysvm_desc(struct vcpu *v, u16 sel, u64 desc)
{
	sysvm_put(v, SV_GDT + (sel & 0xfff8), 8, desc);
}

void sysvm_gate(struct vcpu *v, u8 vector, u8 type, u8 dpl, u8 ist, u16 sel)
{
	u64 off = SV_HANDLER + 16u * vector;
	u64 raw = (off & 0xffff) | (u64)sel << 16 | (u64)ist << 32 | (u64)type << 40 |
		  (u64)dpl << 45 | 1ull << 47 | (off >> 16) << 48;
	unsigned size = v->s.efer & EFER_LMA ? 16 : 8;

	sysvm_put(v, SV_IDT + size * vector, 8, raw);
	if (size == 16)
		sysvm_put(v, SV_IDT + 16u * vector + 8, 8, 0);
}

static void build_gdt(struct vcpu *v)
{
	sysvm_desc(v, SV_CS, 0x00af9b000000ffff);
	sysvm_desc(v, SV_DS, 0x00cf93000000ffff);
	sysvm_desc(v, SV_UCS32, 0x00cffb000000ffff);
	sysvm_desc(v, SV_UDS, 0x00cff3000000ffff);
	sysvm_desc(v, SV_UCS, 0x00affb000000ffff);
	sysvm_desc(v, SV_TR, 0x00008b000000ffff | (u64)SV_TSS << 16);
	sysvm_desc(v, SV_TR + 8, 0);
	sysvm_desc(v, SV_CS32, 0x00cf9b000000ffff);
	sysvm_desc(v, SV_CS16, 0x00009b000000ffff);
}

static void build_tables(struct vcpu *v)
{
	sysvm_put(v, SV_PML4, 8, SV_PDPT | PTE_P | PTE_W | PTE_U);
	sysvm_put(v, SV_PDPT, 8, SV_PD | PTE_P | PTE_W | PTE_U);
	sysvm_put(v, SV_PD, 8, SV_PT | PTE_P | PTE_W | PTE_U);
	for (u64 la = 0; la < 512 * 4096; la += 4096)
		sysvm_pte(v, la, la | PTE_P | PTE_W | (la == SV_USER ? PTE_U : 0));
	build_gdt(v);
	sysvm_put(v, SV_TSS + 4, 8, SV_RSP0);
	sysvm_put(v, SV_TSS + 36, 8, SV_IST1);
}

static void set_seg(struct vcpu *v, unsigned seg, u16 sel)
{
	u64 raw = sysvm_get(v, SV_GDT + (sel & 0xfff8), 8);
	struct desc d = { .lo = (u32)raw, .hi = raw >> 32 };

	seg_from_desc(&v->s.seg[seg], sel, &d);
}

static void set_segs(struct vcpu *v, u16 cs, u16 ds)
{
	for (unsigned n = 0; n < NR_SEGS; n++)
		set_seg(v, n, ds);
	set_seg(v, SEG_CS, cs);
	update_cpl(v);
}

struct vcpu *sysvm_new(void)
{
	struct err e = { 0 };
	struct mem *m = mem_new(MEMSIZE, &e);
	struct vcpu *v = m ? aligned_alloc(64, (sizeof *v + 63) & ~63ull) : NULL;

	if (!v) /* sanitizers leave no room for guest memory */
		return NULL;
	memset(v, 0, sizeof *v);
	v->mem = m;
	v->io = (struct cpu_io){ .load = io_load_fake, .store = io_store_fake,
				 .in = io_in_fake, .out = io_out_fake };
	v->cfg = (struct cpu_config){ .mem = m, .nr_vcpus = 1, .model = CPU_MODEL_MAX };
	v->mmu = mmu_new();
	v->icache = icache_new();
	x86_state_reset(&v->s, true);
	build_tables(v);
	v->s.gdtr = (struct x86_dtr){ SV_GDT, SV_GDT_SIZE - 1 };
	v->s.idtr = (struct x86_dtr){ SV_IDT, 0xfff };
	v->s.tr = (struct x86_seg){ .base = SV_TSS, .limit = 0xffff, .attr = 0x8b, .sel = SV_TR };
	v->s.cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET | CR0_NE;
	v->s.cr3 = SV_PML4;
	v->s.cr4 = CR4_PAE | CR4_PGE;
	v->s.efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	v->s.rip = SV_CODE;
	v->s.gpr[RSP] = SV_STACK;
	set_segs(v, SV_CS, SV_DS);
	mmu_mode_changed(v);
	sysvm_nr_log = 0;
	return v;
}

void sysvm_free(struct vcpu *v)
{
	icache_free(v->icache);
	mmu_free(v->mmu);
	mem_free(v->mem);
	free(v);
}

void sysvm_legacy(struct vcpu *v, bool paging)
{
	v->s.efer = 0;
	v->s.cr4 = 0;
	v->s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | (paging ? CR0_PG : 0);
	set_segs(v, SV_CS32, SV_DS);
	mmu_mode_changed(v);
}

void sysvm_real(struct vcpu *v)
{
	v->s.efer = 0;
	v->s.cr4 = 0;
	v->s.cr0 = CR0_ET;
	for (unsigned n = 0; n < NR_SEGS; n++)
		v->s.seg[n] = (struct x86_seg){ .limit = 0xffff, .attr = 0x93 };
	v->s.seg[SEG_CS].attr = 0x9b;
	v->s.idtr = (struct x86_dtr){ 0, 0x3ff };
	update_cpl(v);
	mmu_mode_changed(v);
}

void sysvm_cpl3(struct vcpu *v)
{
	set_segs(v, SV_UCS | 3, SV_UDS | 3);
	v->s.rip = SV_USER;
	v->s.gpr[RSP] = SV_USER + 0x1000;
}

int sysvm_exec(struct vcpu *v, const void *code, unsigned len)
{
	if (!mem_write(v->mem, v->s.seg[SEG_CS].base + v->s.rip, code, len))
		abort();
	return interp_step(v);
}
