// SPDX-License-Identifier: Apache-2.0
/* mem_int.h - between mem.c and mem_file.c */
#ifndef MEM_MEM_INT_H
#define MEM_MEM_INT_H

#include "base/bits.h"
#include "mem/mem.h"

/* The file RAM is a private mapping of, -1 if it is anonymous. */
int mem_file(const struct mem *m);

/* The descriptor that keeps the notes of what was written; -1 = all pages count as written. */
void mem_set_tracker(struct mem *m, int fd);

/*
 * Page number @page of a memory file: RAM's page is not that of mem_file(), but of another file, or was
 * discarded. mem_own() says so of @nr of them.
 */
bool mem_is_own(const struct mem *m, u64 page);
void mem_own(struct mem *m, u64 page, u64 nr);
u64 *mem_own_pages(const struct mem *m); /* bit per page: a copy from malloc; over a file only */

/* All of [p, p + len) at offset @at of @fd. */
int mem_write_file(int fd, const u8 *p, u64 len, u64 at) MUST_CHECK;

/* /proc/self/pagemap, -1 if it is not to be had. */
int mem_pagemap(void);

/*
 * Put RAM on top of @fd, which holds the same bytes, as mem_new_file() does. Return: 0 or a
 * negative errno; if the first piece cannot be mapped, RAM is as before.
 */
int mem_refile(struct mem *m, int fd) MUST_CHECK;

/* -- what the host's page map says (mem_file.c) ------------------------------------------ */

#define MEM_SCAN_PAGES 2048 /* entries read at once */

struct mem_scan {
	const struct mem *mem;
	int pagemap;	    /* -1 = not to be had: every page may be there */
	int file;	    /* under RAM, -1 = none */
	u64 data, data_end; /* the file's next run of data, offsets */
	u64 first, nr;	    /* pages of the part that map[] describes */
	u64 map[MEM_SCAN_PAGES];
};

/* Asked of the page map as a whole [Linux admin-guide/mm/pagemap.rst, PAGEMAP_SCAN]; Linux 6.7. */
#define PM_IS_WRITTEN BIT_ULL(1)
#define PM_IS_FILE    BIT_ULL(2)
#define PM_IS_PRESENT BIT_ULL(3)
#define PM_IS_SWAPPED BIT_ULL(4)

struct pm_query {
	u64 inverted, mask, any_of, ret; /* of PM_IS_* */
	bool protect; /* pages that match count as not written from now on */
};

/*
 * Call @fn, if any, for the runs of pages of @p that match, ascending: their offset in the part and
 * length in bytes. Return: what fn returned, if not 0, or a negative errno where the host cannot.
 */
int mem_query(const struct mem_part *p, const struct pm_query *q,
	      int (*fn)(void *ctx, const struct mem_part *p, u64 off, u64 len), void *ctx) MUST_CHECK;

void mem_scan_begin(struct mem_scan *s, const struct mem *m);
void mem_scan_part(struct mem_scan *s); /* at the start of each part; then pages in their order */
bool mem_scan_present(struct mem_scan *s, const struct mem_part *p, u64 page); /* in some way */
/* The host made a copy of page @page of the part: it was written, or is anonymous. */
bool mem_scan_copied(struct mem_scan *s, const struct mem_part *p, u64 page);

#endif
