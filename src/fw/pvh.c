// SPDX-License-Identifier: Apache-2.0
/*
 * pvh.c - boots an ELF kernel through its PVH entry point
 *
 * Follows Xen's "x86/HVM direct boot ABI" (docs/misc/pvh.pandoc) and
 * public/arch-x86/hvm/start_info.h as [PVH].
 */
#include "base/bits.h"
#include "cpu/x86_state.h"
#include "fw/fw_int.h"
#include "mem/mem.h"

#include <errno.h>

#define START_MAGIC 0x336ec578u /* "xEn3", high bit of the E set */

struct start_info { /* version 1 */
	le32 magic, version, flags, nr_modules;
	le64 modlist, cmdline, rsdp, memmap;
	le32 memmap_entries, reserved;
};

struct modlist_entry {
	le64 paddr, size, cmdline, reserved;
};

struct memmap_entry {
	le64 addr, size;
	le32 type, reserved;
};

#define MODLIST_AT (FW_INFO + 0x100)
#define MEMMAP_AT  (FW_INFO + 0x400)

static int put_modules(struct mem *m, const struct fw_boot *b, const struct fw_placed *mod,
		       struct err *e)
{
	struct modlist_entry list[FW_MODULES_MAX] = { 0 };

	for (unsigned i = 0; i < b->nr_modules; i++) {
		list[i].paddr = le64_of(mod[i].start);
		list[i].size = le64_of(mod[i].len);
	}
	return fw_put(m, MODLIST_AT, list, sizeof list, e);
}

static int put_memmap(struct mem *m, const struct fw_map *map, struct err *e)
{
	struct memmap_entry list[FW_MAP_MAX] = { 0 };

	for (unsigned i = 0; i < map->nr; i++) {
		list[i].addr = le64_of(map->r[i].start);
		list[i].size = le64_of(map->r[i].len);
		list[i].type = le32_of(map->r[i].type);
	}
	return fw_put(m, MEMMAP_AT, list, sizeof list, e);
}

int fw_load_pvh(struct mem *m, const struct fw_boot *b, const struct fw_elf *elf,
		struct x86_state *s, struct err *e)
{
	const struct start_info info = {
		.magic = le32_of(START_MAGIC),
		.version = le32_of(1),
		.nr_modules = le32_of(b->nr_modules),
		.modlist = le64_of(b->nr_modules ? MODLIST_AT : 0),
		.cmdline = le64_of(FW_CMDLINE),
		.rsdp = le64_of(FW_RSDP),
		.memmap = le64_of(MEMMAP_AT),
		.memmap_entries = le32_of(b->map->nr),
	};
	struct fw_placed mod[FW_MODULES_MAX] = { 0 };
	gpa_t end;

	if (elf->pvh_entry < FW_HIGH_START || elf->pvh_entry >= mem_low_size(m))
		return err_set(e, ENOEXEC, "%s: PVH entry point 0x%llx is outside memory",
			       b->kernel->name, (unsigned long long)elf->pvh_entry);
	TRY(fw_elf_load(m, b->kernel, elf, &end, e));
	TRY(fw_put_cmdline(m, b->cmdline, FW_CMDLINE_MAX, e));
	TRY(fw_place_modules(m, b, end, mem_low_size(m), false, mod, e));
	TRY(put_modules(m, b, mod, e));
	TRY(put_memmap(m, b->map, e));
	TRY(fw_put(m, FW_INFO, &info, sizeof info, e));
	TRY(fw_start32(m, (u32)elf->pvh_entry, s, e));
	s->gpr[RBX] = FW_INFO;
	return 0;
}
