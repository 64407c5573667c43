// SPDX-License-Identifier: Apache-2.0
/*
 * elf.c - ELF executables as kernels use them: segments at physical addresses
 *
 * Follows the System V gABI chapters 4 and 5 as [ELF], and the Xen ELF notes for
 * the PVH entry point as [PVH].
 */
#include "base/bits.h"
#include "cpu/x86_state.h"
#include "fw/fw_int.h"
#include "mem/mem.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#define PHNUM_MAX   128      /* program headers; real kernels have under ten */
#define NOTES_MAX   0x10000u /* bytes of one note segment that are searched */
#define NOTE_PHYS32 18       /* XEN_ELFNOTE_PHYS32_ENTRY */

struct segment {
	u32 type;
	u64 off, paddr, filesz, memsz, align;
};

bool fw_is_elf(const struct fw_file *f)
{
	u8 magic[SELFMAG];
	struct err e;

	return !fw_read(f, 0, magic, sizeof magic, &e) && !memcmp(magic, ELFMAG, SELFMAG);
}

static int malformed(const struct fw_file *f, const char *what, struct err *e)
{
	return err_set(e, ENOEXEC, "%s: malformed ELF file: %s", f->name, what);
}

static int get_segment(const struct fw_file *f, const struct fw_elf *elf, unsigned i,
		       struct segment *ret, struct err *e)
{
	u64 off;

	if (!add_ok(elf->phoff, (u64)i * elf->phentsize, &off))
		return malformed(f, "program headers out of range", e);
	if (elf->is64) {
		Elf64_Phdr p;

		TRY(fw_read(f, off, &p, sizeof p, e));
		*ret = (struct segment){ p.p_type,   p.p_offset, p.p_paddr,
					 p.p_filesz, p.p_memsz,  p.p_align };
	} else {
		Elf32_Phdr p;

		TRY(fw_read(f, off, &p, sizeof p, e));
		*ret = (struct segment){ p.p_type,   p.p_offset, p.p_paddr,
					 p.p_filesz, p.p_memsz,  p.p_align };
	}
	return 0;
}

/* Look for the PVH entry among the notes of one segment; malformed notes end the search. */
static int find_pvh_note(const struct fw_file *f, const struct segment *seg, struct fw_elf *elf,
			 struct err *e)
{
	u64 unit = seg->align == 8 ? 8 : 4, left = seg->filesz, off = seg->off;

	if (left > NOTES_MAX)
		left = NOTES_MAX;
	while (left >= sizeof(Elf64_Nhdr)) {
		u8 body[16] = { 0 };
		Elf64_Nhdr h;
		u64 name_len, size;

		TRY(fw_read(f, off, &h, sizeof h, e));
		name_len = align_up(h.n_namesz, unit);
		size = sizeof h + name_len + align_up(h.n_descsz, unit);
		if (size > left)
			return 0;
		if (h.n_type == NOTE_PHYS32 && h.n_namesz == 4 && h.n_descsz >= 4) {
			TRY(fw_read(f, off + sizeof h, body, 4, e));
			TRY(fw_read(f, off + sizeof h + name_len, body + 4, h.n_descsz < 8 ? 4 : 8,
				    e));
			if (!memcmp(body, "Xen", 4)) {
				elf->pvh_entry = fw_get64(body + 4);
				elf->has_pvh = true;
				return 0;
			}
		}
		off += size;
		left -= size;
	}
	return 0;
}

static int parse_header(const struct fw_file *f, struct fw_elf *ret, struct err *e)
{
	u8 ident[EI_NIDENT];

	TRY(fw_read(f, 0, ident, sizeof ident, e));
	ret->is64 = ident[EI_CLASS] == ELFCLASS64;
	if (ident[EI_DATA] != ELFDATA2LSB)
		return malformed(f, "not little-endian", e);
	if (ret->is64) {
		Elf64_Ehdr h;

		TRY(fw_read(f, 0, &h, sizeof h, e));
		ret->entry = h.e_entry;
		ret->phoff = h.e_phoff;
		ret->phentsize = h.e_phentsize;
		ret->phnum = h.e_phnum;
		if (h.e_machine != EM_X86_64)
			return malformed(f, "not for x86", e);
	} else {
		Elf32_Ehdr h;

		TRY(fw_read(f, 0, &h, sizeof h, e));
		ret->entry = h.e_entry;
		ret->phoff = h.e_phoff;
		ret->phentsize = h.e_phentsize;
		ret->phnum = h.e_phnum;
		if (h.e_machine != EM_386 && h.e_machine != EM_X86_64)
			return malformed(f, "not for x86", e);
	}
	if (ret->phentsize != (ret->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return malformed(f, "unexpected program header size", e);
	if (!ret->phnum || ret->phnum > PHNUM_MAX)
		return malformed(f, "no program headers, or too many", e);
	return 0;
}

int fw_elf_parse(const struct fw_file *f, struct fw_elf *ret, struct err *e)
{
	struct fw_elf elf = { 0 };
	struct segment seg;

	TRY(parse_header(f, &elf, e));
	for (unsigned i = 0; i < elf.phnum && !elf.has_pvh; i++) {
		TRY(get_segment(f, &elf, i, &seg, e));
		if (seg.type == PT_NOTE)
			TRY(find_pvh_note(f, &seg, &elf, e));
	}
	*ret = elf;
	return 0;
}

int fw_elf_load(struct mem *m, const struct fw_file *f, const struct fw_elf *elf, gpa_t *ret_end,
		struct err *e)
{
	struct segment seg;
	gpa_t end = 0;

	for (unsigned i = 0; i < elf->phnum; i++) {
		TRY(get_segment(f, elf, i, &seg, e));
		if (seg.type != PT_LOAD || !seg.memsz)
			continue;
		if (seg.filesz > seg.memsz)
			return malformed(f, "segment larger in the file than in memory", e);
		if (seg.paddr < FW_LOAD_MIN || seg.paddr > ~0ull - seg.memsz)
			return malformed(f, "segment outside 1 MiB and up", e);
		TRY(fw_copy(m, seg.paddr, f, seg.off, seg.filesz, e));
		TRY(fw_zero(m, seg.paddr + seg.filesz, seg.memsz - seg.filesz, f, e));
		if (seg.paddr + seg.memsz > end)
			end = seg.paddr + seg.memsz;
	}
	if (!end)
		return malformed(f, "nothing to load", e);
	*ret_end = end;
	return 0;
}
