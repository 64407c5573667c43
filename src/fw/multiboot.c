// SPDX-License-Identifier: Apache-2.0
/*
 * multiboot.c - boots a Multiboot 1 image, ELF or with load addresses in its header
 *
 * Follows "Multiboot Specification version 0.6.96" as [multiboot].
 */
#include "base/bits.h"
#include "cpu/x86_state.h"
#include "fw/fw_int.h"
#include "mem/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HEADER_SEARCH 8192 /* the header lies within these first bytes [multiboot 3.1] */
#define HEADER_MAGIC  0x1badb002u
#define LOADER_MAGIC  0x2badb002u
#define FLAG_ADDRS    BIT(16)
#define FLAGS_UNKNOWN 0xfff8u /* required features (bits 0-15) beyond align, memory, video */

#define INFO_MEM     BIT(0)
#define INFO_CMDLINE BIT(2)
#define INFO_MODS    BIT(3)
#define INFO_MMAP    BIT(6)
#define INFO_NAME    BIT(9)

struct header {
	u64 file_off; /* where in the file it was found */
	u32 flags, header_addr, load_addr, load_end, bss_end, entry;
};

struct info { /* [multiboot 3.3], up to the boot loader's name */
	le32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	le32 mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name;
};

struct module_entry {
	le32 start, end, string, reserved;
};

struct mmap_entry { /* size does not count itself */
	le32 size;
	u8 addr[8], len[8];
	le32 type;
};

#define MODS_AT    (FW_INFO + 0x100)
#define NAME_AT    (FW_INFO + 0x200)
#define MMAP_AT    (FW_INFO + 0x400)
#define STRINGS_AT  FW_BOOT_PARAMS /* free here: nothing boots by both protocols */
#define STRING_SIZE 512
#define NAME_MAX_LEN 60
#define LOADER_STR "vireo"

static bool find_header(const struct fw_file *f, struct header *ret)
{
	u8 buf[HEADER_SEARCH];
	u64 len = f->size < sizeof buf ? f->size : sizeof buf;
	struct err e;

	if (fw_read(f, 0, buf, len, &e))
		return false;
	for (u64 off = 0; off + 12 <= len; off += 4) {
		const u8 *p = buf + off;

		if (fw_get32(p) != HEADER_MAGIC ||
		    fw_get32(p + 4) + fw_get32(p + 8) != 0u - HEADER_MAGIC)
			continue;
		*ret = (struct header){ .file_off = off, .flags = fw_get32(p + 4) };
		if (!(ret->flags & FLAG_ADDRS))
			return true;
		if (off + 32 > len)
			return false;
		ret->header_addr = fw_get32(p + 12);
		ret->load_addr = fw_get32(p + 16);
		ret->load_end = fw_get32(p + 20);
		ret->bss_end = fw_get32(p + 24);
		ret->entry = fw_get32(p + 28);
		return true;
	}
	return false;
}

bool fw_is_multiboot(const struct fw_file *f)
{
	struct header h;

	return find_header(f, &h);
}

/* The header says itself what goes where [multiboot 3.1.3]. */
static int load_by_addresses(struct mem *m, const struct fw_file *f, const struct header *h,
			     gpa_t *ret_end, struct err *e)
{
	u64 off = h->file_off - (h->header_addr - h->load_addr), len;

	if (h->load_addr > h->header_addr || h->header_addr - h->load_addr > h->file_off)
		return err_set(e, ENOEXEC, "%s: Multiboot load address after its header", f->name);
	if (h->load_addr < FW_HIGH_START)
		return err_set(e, ENOEXEC, "%s: Multiboot load address 0x%x: want 1 MiB or above",
			       f->name, h->load_addr);
	len = h->load_end ? (u64)h->load_end - h->load_addr : f->size - off;
	if (h->load_end && h->load_end < h->load_addr)
		return err_set(e, ENOEXEC, "%s: Multiboot load end before its start", f->name);
	TRY(fw_copy(m, h->load_addr, f, off, len, e));
	*ret_end = h->load_addr + len;
	if (h->bss_end > *ret_end) {
		TRY(fw_zero(m, *ret_end, h->bss_end - *ret_end, f, e));
		*ret_end = h->bss_end;
	}
	return 0;
}

static int load_image(struct mem *m, const struct fw_file *f, const struct header *h,
		      u32 *ret_entry, gpa_t *ret_end, struct err *e)
{
	struct fw_elf elf;

	if (h->flags & FLAGS_UNKNOWN)
		return err_set(e, ENOTSUP, "%s: Multiboot flags 0x%x ask for unknown features",
			       f->name, h->flags);
	if (h->flags & FLAG_ADDRS) {
		*ret_entry = h->entry;
		return load_by_addresses(m, f, h, ret_end, e);
	}
	if (!fw_is_elf(f))
		return err_set(e, ENOEXEC,
			       "%s: a Multiboot image that is neither ELF nor says "
			       "where to load it",
			       f->name);
	TRY(fw_elf_parse(f, &elf, e));
	TRY(fw_elf_load(m, f, &elf, ret_end, e));
	*ret_entry = (u32)elf.entry;
	return 0;
}

/* "name args", as boot loaders pass it: the first word is not an argument. */
static void name_and_args(const char *path, const char *args, char *ret, size_t size)
{
	const char *base = strrchr(path, '/');

	snprintf(ret, size, "%.*s%s%s", NAME_MAX_LEN, base ? base + 1 : path, *args ? " " : "",
		 args);
}

static int put_cmdline(struct mem *m, const struct fw_boot *b, struct err *e)
{
	char text[FW_CMDLINE_MAX];

	name_and_args(b->kernel->name, b->cmdline, text, sizeof text);
	return fw_put_cmdline(m, text, FW_CMDLINE_MAX, e);
}

static int put_modules(struct mem *m, const struct fw_boot *b, const struct fw_placed *mod,
		       struct err *e)
{
	struct module_entry list[FW_MODULES_MAX] = { 0 };
	gpa_t str = STRINGS_AT;

	for (unsigned i = 0; i < b->nr_modules; i++) {
		const struct fw_file *f = &b->module[i];
		const char *args = f->args ? f->args : "";
		char text[STRING_SIZE] = { 0 };

		if (strlen(args) > STRING_SIZE - NAME_MAX_LEN - 2)
			return err_set(e, E2BIG, "%s: arguments: want at most %d bytes", f->name,
				       STRING_SIZE - NAME_MAX_LEN - 2);
		name_and_args(f->name, args, text, sizeof text);
		TRY(fw_put(m, str, text, sizeof text, e));
		list[i].start = le32_of((u32)mod[i].start);
		list[i].end = le32_of((u32)(mod[i].start + mod[i].len));
		list[i].string = le32_of((u32)str);
		str += sizeof text;
	}
	return fw_put(m, MODS_AT, list, sizeof list, e);
}

static int put_mmap(struct mem *m, const struct fw_map *map, struct err *e)
{
	struct mmap_entry list[FW_MAP_MAX];

	for (unsigned i = 0; i < map->nr; i++) {
		list[i].size = le32_of(sizeof list[i] - sizeof list[i].size);
		fw_put64(list[i].addr, map->r[i].start);
		fw_put64(list[i].len, map->r[i].len);
		list[i].type = le32_of(map->r[i].type);
	}
	return fw_put(m, MMAP_AT, list, map->nr * sizeof list[0], e);
}

static int put_info(struct mem *m, const struct fw_boot *b, struct err *e)
{
	const struct info info = {
		.flags = le32_of(INFO_MEM | INFO_CMDLINE | (b->nr_modules ? INFO_MODS : 0) |
				 INFO_MMAP | INFO_NAME),
		.mem_lower = le32_of(FW_LOW_END >> 10), /* KiB below 640 KiB, KiB from 1 MiB */
		.mem_upper = le32_of((u32)((mem_low_size(m) - FW_HIGH_START) >> 10)),
		.cmdline = le32_of(FW_CMDLINE),
		.mods_count = le32_of(b->nr_modules),
		.mods_addr = le32_of(MODS_AT),
		.mmap_length = le32_of((u32)(b->map->nr * sizeof(struct mmap_entry))),
		.mmap_addr = le32_of(MMAP_AT),
		.loader_name = le32_of(NAME_AT),
	};

	TRY(fw_put(m, NAME_AT, LOADER_STR, sizeof LOADER_STR, e));
	return fw_put(m, FW_INFO, &info, sizeof info, e);
}

int fw_load_multiboot(struct mem *m, const struct fw_boot *b, struct x86_state *s, struct err *e)
{
	struct fw_placed mod[FW_MODULES_MAX] = { 0 };
	struct header h;
	gpa_t end = 0;
	u32 entry = 0;

	if (!find_header(b->kernel, &h))
		return err_set(e, ENOEXEC, "%s: no Multiboot header", b->kernel->name);
	TRY(load_image(m, b->kernel, &h, &entry, &end, e));
	TRY(put_cmdline(m, b, e));
	TRY(fw_place_modules(m, b, end, mem_low_size(m), false, mod, e));
	TRY(put_modules(m, b, mod, e));
	TRY(put_mmap(m, b->map, e));
	TRY(put_info(m, b, e));
	TRY(fw_start32(m, entry, s, e));
	s->gpr[RAX] = LOADER_MAGIC;
	s->gpr[RBX] = FW_INFO;
	return 0;
}
