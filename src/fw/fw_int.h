// SPDX-License-Identifier: Apache-2.0
/*
 * fw_int.h - shared by the kernel loaders
 */
#ifndef FW_FW_INT_H
#define FW_FW_INT_H

#include "fw/fw.h"

/* Little-endian fields of a byte image. The caller has checked the bounds. */
u16 fw_get16(const u8 *p);
u32 fw_get32(const u8 *p);
u64 fw_get64(const u8 *p);
void fw_put16(u8 *p, u16 v);
void fw_put32(u8 *p, u32 v);
void fw_put64(u8 *p, u64 v);

/* Read exactly; past the end of the file is "truncated". */
int fw_read(const struct fw_file *f, u64 off, void *dst, u64 len, struct err *e) MUST_CHECK;

/* Copy from the file, or from a buffer, into guest RAM; not RAM is an error that names @f. */
int fw_copy(struct mem *m, gpa_t gpa, const struct fw_file *f, u64 off, u64 len,
	    struct err *e) MUST_CHECK;
int fw_put(struct mem *m, gpa_t gpa, const void *src, u64 len, struct err *e) MUST_CHECK;
int fw_zero(struct mem *m, gpa_t gpa, u64 len, const struct fw_file *f, struct err *e) MUST_CHECK;

/* Write the command line at FW_CMDLINE; @max: bytes the kernel takes, terminator excluded. */
int fw_put_cmdline(struct mem *m, const char *cmdline, u64 max, struct err *e) MUST_CHECK;

struct fw_placed {
	gpa_t start;
	u64 len;
};

/*
 * Place every module, each page-aligned (or, for Linux, @packed: one after the
 * other on 4-byte boundaries), as high as fits below @top and above @bottom.
 */
int fw_place_modules(struct mem *m, const struct fw_boot *b, gpa_t bottom, gpa_t top, bool packed,
		     struct fw_placed ret[FW_MODULES_MAX], struct err *e) MUST_CHECK;

/* Start states: a GDT is written, segments are flat, interrupts are off. */
int fw_start64(struct mem *m, gpa_t entry, struct x86_state *s, struct err *e) MUST_CHECK;
int fw_start32(struct mem *m, u32 entry, struct x86_state *s, struct err *e) MUST_CHECK;

/* -- ELF -------------------------------------------------------------------- */

struct fw_elf {
	bool is64;
	u64 entry, phoff;
	u16 phentsize, phnum;
	u64 pvh_entry; /* of the Xen note */
	bool has_pvh;
};

bool fw_is_elf(const struct fw_file *f);
int fw_elf_parse(const struct fw_file *f, struct fw_elf *ret, struct err *e) MUST_CHECK;
/* Load all segments at their physical addresses; *ret_end: first address after the last. */
int fw_elf_load(struct mem *m, const struct fw_file *f, const struct fw_elf *elf, gpa_t *ret_end,
		struct err *e) MUST_CHECK;

/* -- formats: probe, then load ------------------------------------------------ */

bool fw_is_linux(const struct fw_file *f);
int fw_load_linux(struct mem *m, const struct fw_boot *b, struct x86_state *s,
		  struct err *e) MUST_CHECK;
int fw_load_pvh(struct mem *m, const struct fw_boot *b, const struct fw_elf *elf,
		struct x86_state *s, struct err *e) MUST_CHECK;
bool fw_is_multiboot(const struct fw_file *f);
int fw_load_multiboot(struct mem *m, const struct fw_boot *b, struct x86_state *s,
		      struct err *e) MUST_CHECK;

#endif
