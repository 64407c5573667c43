// SPDX-License-Identifier: Apache-2.0
/*
 * linux.c - boots a Linux bzImage through its 64-bit or its 32-bit entry point
 *
 * Follows Documentation/arch/x86/boot.rst of Linux, protocol 2.12 and later, as
 * [boot], sections 1.2 (header), 1.11 and 1.12 (32-bit and 64-bit protocol), and
 * zero-page.rst.
 */
#include "base/bits.h"
#include "cpu/x86_state.h"
#include "fw/fw_int.h"
#include "mem/mem.h"

#include <errno.h>
#include <string.h>

/* clang-format off */
/* Offsets in the first sectors of the file and, equally, in boot_params. */
#define BP_ACPI_RSDP		0x070
#define BP_EXT_RAMDISK_IMAGE	0x0c0
#define BP_EXT_RAMDISK_SIZE	0x0c4
#define BP_E820_ENTRIES		0x1e8
#define BP_SETUP_SECTS		0x1f1
#define BP_SYSSIZE		0x1f4	/* 16-byte paragraphs of protected-mode code */
#define BP_BOOT_FLAG		0x1fe
#define BP_JUMP_LEN		0x201	/* the header ends at 0x202 + this byte */
#define BP_MAGIC		0x202
#define BP_VERSION		0x206
#define BP_TYPE_OF_LOADER	0x210
#define BP_LOADFLAGS		0x211
#define BP_RAMDISK_IMAGE	0x218
#define BP_RAMDISK_SIZE		0x21c
#define BP_CMD_LINE_PTR		0x228
#define BP_INITRD_ADDR_MAX	0x22c
#define BP_XLOADFLAGS		0x236
#define BP_CMDLINE_SIZE		0x238
#define BP_SETUP_DATA		0x250
#define BP_PREF_ADDRESS		0x258
#define BP_INIT_SIZE		0x260
#define BP_HDR_END		0x280	/* largest header this copies */
#define BP_E820_TABLE		0x2d0
#define BP_SIZE			0x1000
/* clang-format on */

#define MAGIC_HDRS       0x53726448u /* "HdrS" */
#define PROTOCOL_MIN     0x20c
#define LOADFLAG_HIGH    BIT(0)
#define XLF_KERNEL_64    BIT(0)
#define LOADER_UNDEFINED 0xff
#define ENTRY64          0x200 /* from the load address */
#define SETUP_RNG_SEED   9
#define E820_ENTRY_SIZE  20

struct image {
	u8 head[BP_HDR_END]; /* the file's first bytes */
	u64 code_off, code_len;
	gpa_t load, end; /* [load, end): memory the kernel uses before it manages memory */
	bool entry64;
};

bool fw_is_linux(const struct fw_file *f)
{
	u8 h[BP_VERSION];
	struct err e;

	return !fw_read(f, 0, h, sizeof h, &e) && fw_get16(h + BP_BOOT_FLAG) == 0xaa55 &&
	       fw_get32(h + BP_MAGIC) == MAGIC_HDRS;
}

static int check_header(const struct fw_file *f, struct image *im, struct err *e)
{
	unsigned sects;

	TRY(fw_read(f, 0, im->head, sizeof im->head, e));
	if (fw_get16(im->head + BP_VERSION) < PROTOCOL_MIN ||
	    !(im->head[BP_LOADFLAGS] & LOADFLAG_HIGH))
		return err_set(e, ENOEXEC, "%s: a Linux kernel before boot protocol 2.12", f->name);
	im->entry64 = fw_get16(im->head + BP_XLOADFLAGS) & XLF_KERNEL_64;
	sects = im->head[BP_SETUP_SECTS] ? im->head[BP_SETUP_SECTS] : 4;
	im->code_off = (sects + 1) * 512ull;
	im->code_len = (u64)fw_get32(im->head + BP_SYSSIZE) * 16;
	if (f->size > im->code_off && im->code_len > f->size - im->code_off &&
	    im->code_len - (f->size - im->code_off) < 16)
		im->code_len = f->size - im->code_off; /* a last paragraph in part */
	if (!im->code_len || !range_ok(im->code_off, im->code_len, f->size))
		return err_set(e, EINVAL, "%s: truncated: %llu bytes of %llu", f->name,
			       (unsigned long long)f->size,
			       (unsigned long long)(im->code_off + im->code_len));
	return 0;
}

static int place_kernel(const struct mem *m, const struct fw_file *f, struct image *im,
			struct err *e)
{
	u64 init = fw_get32(im->head + BP_INIT_SIZE), pref = fw_get64(im->head + BP_PREF_ADDRESS);

	im->load = FW_HIGH_START;
	if (pref < im->load)
		pref = im->load;
	if (init < im->code_len)
		init = im->code_len;
	if (pref > mem_low_size(m) || init > mem_low_size(m) - pref)
		return err_set(e, ENOMEM, "%s: needs %llu MiB of memory, and the VM has %llu MiB",
			       f->name, (unsigned long long)((pref >> 20) + (init >> 20) + 1),
			       (unsigned long long)(mem_size(m) >> 20));
	im->end = pref + init;
	return 0;
}

static void put_e820(u8 *bp, const struct fw_map *map)
{
	for (unsigned i = 0; i < map->nr; i++) {
		u8 *entry = bp + BP_E820_TABLE + (size_t)i * E820_ENTRY_SIZE;

		fw_put64(entry, map->r[i].start);
		fw_put64(entry + 8, map->r[i].len);
		fw_put32(entry + 16, map->r[i].type);
	}
	bp[BP_E820_ENTRIES] = (u8)map->nr;
}

static int put_seed(struct mem *m, const struct fw_boot *b, struct err *e)
{
	u8 data[16 + sizeof b->seed] = { 0 }; /* next, type, length, payload */

	fw_put32(data + 8, SETUP_RNG_SEED);
	fw_put32(data + 12, sizeof b->seed);
	memcpy(data + 16, b->seed, sizeof b->seed);
	return fw_put(m, FW_SETUP_DATA, data, sizeof data, e);
}

static int put_boot_params(struct mem *m, const struct fw_boot *b, const struct image *im,
			   const struct fw_placed *mod, struct err *e)
{
	u8 bp[BP_SIZE] = { 0 };
	size_t end = BP_MAGIC + im->head[BP_JUMP_LEN];

	if (end > BP_HDR_END)
		end = BP_HDR_END;
	memcpy(bp + BP_SETUP_SECTS, im->head + BP_SETUP_SECTS, end - BP_SETUP_SECTS);
	bp[BP_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	fw_put32(bp + BP_CMD_LINE_PTR, FW_CMDLINE);
	fw_put64(bp + BP_SETUP_DATA, FW_SETUP_DATA);
	fw_put64(bp + BP_ACPI_RSDP, FW_RSDP);
	if (b->nr_modules) {
		const struct fw_placed *last = &mod[b->nr_modules - 1];

		fw_put32(bp + BP_RAMDISK_IMAGE, (u32)mod[0].start);
		fw_put32(bp + BP_RAMDISK_SIZE, (u32)(last->start + last->len - mod[0].start));
	}
	put_e820(bp, b->map);
	return fw_put(m, FW_BOOT_PARAMS, bp, sizeof bp, e);
}

int fw_load_linux(struct mem *m, const struct fw_boot *b, struct x86_state *s, struct err *e)
{
	struct fw_placed mod[FW_MODULES_MAX] = { 0 };
	struct image im;

	TRY(check_header(b->kernel, &im, e));
	TRY(place_kernel(m, b->kernel, &im, e));
	TRY(fw_put_cmdline(m, b->cmdline, fw_get32(im.head + BP_CMDLINE_SIZE), e));
	TRY(fw_copy(m, im.load, b->kernel, im.code_off, im.code_len, e));
	TRY(fw_place_modules(m, b, im.end, (gpa_t)fw_get32(im.head + BP_INITRD_ADDR_MAX) + 1, true,
			     mod, e));
	TRY(put_seed(m, b, e));
	TRY(put_boot_params(m, b, &im, mod, e));
	if (im.entry64)
		TRY(fw_start64(m, im.load + ENTRY64, s, e));
	else
		TRY(fw_start32(m, (u32)im.load, s, e));
	s->gpr[RSI] = FW_BOOT_PARAMS;
	return 0;
}
