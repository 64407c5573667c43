// SPDX-License-Identifier: Apache-2.0
/*
 * load.c - recognise a kernel; what all loaders share
 */
#include "base/bits.h"
#include "cpu/x86_state.h"
#include "fw/fw_int.h"
#include "mem/mem.h"

#include <errno.h>
#include <string.h>

#define FW_ISA_BIOS 0x20000ull /* bytes of a ROM that also end at 1 MiB */

u16 fw_get16(const u8 *p)
{
	return (u16)(p[0] | p[1] << 8);
}

u32 fw_get32(const u8 *p)
{
	return fw_get16(p) | (u32)fw_get16(p + 2) << 16;
}

u64 fw_get64(const u8 *p)
{
	return fw_get32(p) | (u64)fw_get32(p + 4) << 32;
}

void fw_put16(u8 *p, u16 v)
{
	p[0] = (u8)v;
	p[1] = (u8)(v >> 8);
}

void fw_put32(u8 *p, u32 v)
{
	fw_put16(p, (u16)v);
	fw_put16(p + 2, (u16)(v >> 16));
}

void fw_put64(u8 *p, u64 v)
{
	fw_put32(p, (u32)v);
	fw_put32(p + 4, (u32)(v >> 32));
}

static bool read_bytes(const struct fw_file *f, u64 off, void *dst, size_t len)
{
	memcpy(dst, (const u8 *)f->data + off, len);
	return true;
}

struct fw_file fw_file_of(const char *name, const void *data, u64 size)
{
	return (struct fw_file){ .name = name, .size = size, .read = read_bytes, .data = data };
}

static int check_file_range(const struct fw_file *f, u64 off, u64 len, struct err *e)
{
	if (range_ok(off, len, f->size))
		return 0;
	return err_set(e, EINVAL, "%s: truncated: %llu bytes, but its headers promise more",
		       f->name, (unsigned long long)f->size);
}

static int read_failed(const struct fw_file *f, struct err *e)
{
	return err_set(e, EIO, "%s: cannot read it", f->name);
}

int fw_read(const struct fw_file *f, u64 off, void *dst, u64 len, struct err *e)
{
	TRY(check_file_range(f, off, len, e));
	return f->read(f, off, dst, len) ? 0 : read_failed(f, e);
}

static int not_ram(const struct mem *m, gpa_t gpa, u64 len, const char *name, struct err *e)
{
	return err_set(e, EINVAL,
		       "%s: needs memory at 0x%llx..0x%llx, and the VM has only %llu MiB", name,
		       (unsigned long long)gpa, (unsigned long long)(gpa + len),
		       (unsigned long long)(mem_size(m) >> 20));
}

int fw_copy(struct mem *m, gpa_t gpa, const struct fw_file *f, u64 off, u64 len, struct err *e)
{
	u8 *p = mem_ptr(m, gpa, len);

	TRY(check_file_range(f, off, len, e));
	if (!p)
		return not_ram(m, gpa, len, f->name, e);
	if (!f->read(f, off, p, len))
		return read_failed(f, e);
	mem_wrote(m, gpa, len);
	return 0;
}

int fw_put(struct mem *m, gpa_t gpa, const void *src, u64 len, struct err *e)
{
	return mem_write(m, gpa, src, len) ? 0 : not_ram(m, gpa, len, "boot data", e);
}

int fw_zero(struct mem *m, gpa_t gpa, u64 len, const struct fw_file *f, struct err *e)
{
	u8 *p = mem_ptr(m, gpa, len);

	if (!p)
		return not_ram(m, gpa, len, f->name, e);
	memset(p, 0, len);
	mem_wrote(m, gpa, len);
	return 0;
}

int fw_put_cmdline(struct mem *m, const char *cmdline, u64 max, struct err *e)
{
	u64 len = strlen(cmdline);

	if (max > FW_CMDLINE_MAX - 1)
		max = FW_CMDLINE_MAX - 1;
	if (len > max)
		return err_set(e, E2BIG, "command line: %llu bytes, but the kernel takes %llu",
			       (unsigned long long)len, (unsigned long long)max);
	return fw_put(m, FW_CMDLINE, cmdline, len + 1, e);
}

int fw_place_modules(struct mem *m, const struct fw_boot *b, gpa_t bottom, gpa_t top, bool packed,
		     struct fw_placed ret[FW_MODULES_MAX], struct err *e)
{
	u64 unit = packed ? 4 : MEM_PAGE, total = 0;
	gpa_t at;

	if (top > mem_low_size(m))
		top = mem_low_size(m);
	bottom = align_up(bottom, MEM_PAGE);
	for (unsigned i = 0; i < b->nr_modules; i++) {
		const struct fw_file *f = &b->module[i];
		u64 room = top > bottom ? top - bottom : 0;

		if (!f->size)
			return err_set(e, EINVAL, "%s: empty file", f->name);
		if (f->size > room || total > room - align_up(f->size, unit))
			return err_set(e, ENOMEM,
				       "%s: %llu MiB do not fit beside the kernel in %llu MiB of "
				       "memory",
				       f->name, (unsigned long long)((f->size + 0xfffff) >> 20),
				       (unsigned long long)(mem_size(m) >> 20));
		total += align_up(f->size, unit);
	}
	at = align_down(top - total, MEM_PAGE);
	if (b->nr_modules && at < bottom)
		return err_set(e, ENOMEM, "%s: does not fit beside the kernel in memory",
			       b->module[0].name);
	for (unsigned i = 0; i < b->nr_modules; i++) {
		ret[i] = (struct fw_placed){ .start = at, .len = b->module[i].size };
		TRY(fw_copy(m, at, &b->module[i], 0, b->module[i].size, e));
		at += align_up(b->module[i].size, unit);
	}
	return 0;
}

/* -- start states ----------------------------------------------------------- */

#define ATTR_CODE   (SA_P | SA_S | SA_CODE | SA_RW | SA_ACCESSED | SA_G)
#define ATTR_DATA   (SA_P | SA_S | SA_RW | SA_ACCESSED | SA_G | SA_DB)
#define ATTR_TSS    (SA_P | 0xb) /* busy 32- or 64-bit TSS [SDM 3A 3.5] */
#define SEL_CODE    0x10         /* the selectors Linux calls __BOOT_CS and __BOOT_DS */
#define SEL_DATA    0x18
#define SEL_TSS     0x20
#define TSS_LIMIT   0x67
#define GDT_ENTRIES 6 /* a 64-bit TSS takes two */

static u64 descriptor(u32 limit_pages, u32 attr)
{
	return (limit_pages & 0xffff) | (u64)(limit_pages >> 16) << 48 | (u64)(attr & 0xff) << 40 |
	       (u64)((attr >> 12) & 0xf) << 52;
}

static int set_flat(struct mem *m, struct x86_state *s, u32 code_attr, struct err *e)
{
	const u64 gdt[GDT_ENTRIES] = {
		[SEL_CODE / 8] = descriptor(0xfffff, code_attr),
		[SEL_DATA / 8] = descriptor(0xfffff, ATTR_DATA),
		[SEL_TSS / 8] = descriptor(TSS_LIMIT, ATTR_TSS),
	};
	const struct x86_seg data = { .sel = SEL_DATA, .limit = 0xffffffff, .attr = ATTR_DATA };

	TRY(fw_put(m, FW_GDT, gdt, sizeof gdt, e));
	for (unsigned i = 0; i < NR_SEGS; i++)
		s->seg[i] = data;
	s->seg[SEG_CS] =
		(struct x86_seg){ .sel = SEL_CODE, .limit = 0xffffffff, .attr = code_attr };
	s->tr = (struct x86_seg){ .sel = SEL_TSS, .limit = TSS_LIMIT, .attr = ATTR_TSS };
	s->ldtr = (struct x86_seg){ .attr = SA_UNUSABLE };
	s->gdtr = (struct x86_dtr){ .base = FW_GDT, .limit = sizeof gdt - 1 };
	s->idtr = (struct x86_dtr){ .base = 0, .limit = 0 };
	s->rflags = FL_ONE;
	return 0;
}

int fw_start32(struct mem *m, u32 entry, struct x86_state *s, struct err *e)
{
	TRY(set_flat(m, s, ATTR_CODE | SA_DB, e));
	s->cr0 = CR0_PE | CR0_ET;
	s->cr4 = 0;
	s->efer = 0;
	s->rip = entry;
	return 0;
}

/* Identity map of the first 4 GiB with 2 MiB pages: PML4, PDPT, four page directories. */
static int put_page_tables(struct mem *m, struct err *e)
{
	static const u64 flags = PTE_P | PTE_W | PTE_A | PTE_D;
	u64 page[MEM_PAGE / 8] = { FW_PAGE_TABLES + MEM_PAGE + (PTE_P | PTE_W) };

	TRY(fw_put(m, FW_PAGE_TABLES, page, sizeof page, e));
	for (unsigned i = 0; i < 4; i++)
		page[i] = (FW_PAGE_TABLES + (2 + i) * MEM_PAGE) | PTE_P | PTE_W;
	TRY(fw_put(m, FW_PAGE_TABLES + MEM_PAGE, page, sizeof page, e));
	for (u64 i = 0; i < 4; i++) {
		for (u64 j = 0; j < array_len(page); j++)
			page[j] = (i << 30 | j << 21) | flags | PTE_PS;
		TRY(fw_put(m, FW_PAGE_TABLES + (2 + i) * MEM_PAGE, page, sizeof page, e));
	}
	return 0;
}

int fw_start64(struct mem *m, gpa_t entry, struct x86_state *s, struct err *e)
{
	TRY(put_page_tables(m, e));
	TRY(set_flat(m, s, ATTR_CODE | SA_L, e));
	s->cr0 = CR0_PE | CR0_PG | CR0_ET;
	s->cr3 = FW_PAGE_TABLES;
	s->cr4 = CR4_PAE;
	s->efer = EFER_LME | EFER_LMA;
	s->rip = entry;
	return 0;
}

/* -- recognition ------------------------------------------------------------ */

int fw_load_kernel(struct mem *m, const struct fw_boot *b, struct x86_state *s, struct err *e)
{
	const struct fw_file *k = b->kernel;
	struct fw_elf elf;

	if (!k->size)
		return err_set(e, EINVAL, "%s: empty file", k->name);
	if (mem_low_size(m) < FW_MEM_MIN)
		return err_set(e, EINVAL, "memory: %llu MiB: want at least %llu MiB",
			       (unsigned long long)(mem_size(m) >> 20),
			       (unsigned long long)(FW_MEM_MIN >> 20));
	if (fw_is_linux(k))
		return fw_load_linux(m, b, s, e);
	if (fw_is_elf(k)) {
		TRY(fw_elf_parse(k, &elf, e));
		if (elf.has_pvh)
			return fw_load_pvh(m, b, &elf, s, e);
	}
	if (fw_is_multiboot(k))
		return fw_load_multiboot(m, b, s, e);
	if (fw_is_elf(k))
		return err_set(
			e, ENOEXEC,
			"%s: an ELF file with neither a PVH entry note nor a Multiboot header",
			k->name);
	return err_set(e, ENOEXEC,
		       "%s: not a kernel: want a Linux bzImage, a PVH ELF or a Multiboot image",
		       k->name);
}

int fw_load_firmware(struct mem *m, const struct fw_file *f, struct err *e)
{
	u64 low = f->size < FW_ISA_BIOS ? f->size : FW_ISA_BIOS;

	TRY(fw_copy(m, MEM_HIGH_BASE - f->size, f, 0, f->size, e));
	return fw_copy(m, FW_HIGH_START - low, f, f->size - low, low, e);
}
