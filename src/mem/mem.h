// SPDX-License-Identifier: Apache-2.0
/*
 * mem.h - guest-physical memory
 *
 * RAM is anonymous memory (huge pages where the host has them), if not told otherwise, mapped so that host address = mem_base() + guest-physical
 * address for every RAM byte. It occupies [0, low) and [4 GiB, 4 GiB + rest)
 * where low = min(size, 3 GiB); the hole between is PROT_NONE. There may be room
 * above it for more memory, put there before the engine is made. Only this module
 * and the CPU engines turn a guest address into a pointer.
 *
 * The mapping is placed for the software engine's translation table: its offset
 * range modulo 2 TiB is unique in the process, and the other alias windows
 * (base + k * 2 TiB, all k that stay in the user half) are PROT_NONE
 * reservations. See docs/decisions/ and cpu/soft/tlb.h.
 *
 * Code pages. The software engine marks 4 KiB frames that hold translated code.
 * Every writer outside the engine goes through mem_write() or, for bulk data
 * placed by the kernel (preadv into mem_ptr()), calls mem_wrote() afterwards and
 * before the guest can learn of the data; both report marked frames to the
 * engine's hook.
 */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#define MEM_PAGE	4096ull
#define MEM_HUGE	(2ull << 20)
#define MEM_LOW_MAX	(3ull << 30) /* RAM below 4 GiB ends here at the latest */
#define MEM_HIGH_BASE	(4ull << 30)

struct mem;

/* Open what saving and tracking need of the host: before the process enters its jail. */
void mem_prepare(void);

/* size: bytes, multiple of 4 KiB. Fails with one sentence (too large, no address space). */
struct mem *mem_new(u64 size, struct err *e) MUST_CHECK;
/*
 * RAM that begins as the contents of @fd (low RAM, then high RAM, then what mem_map() makes of
 * anonymous memory), mapped copy-on-write: the file is never written, and must not change while the
 * memory lives. @room as for mem_new_room().
 */
struct mem *mem_new_file(u64 size, u64 room, int fd, struct err *e) MUST_CHECK;
/*
 * mem_new() with @room bytes of guest-physical space for mem_map(), from mem_room() on, and
 * @rom bytes that end at 4 GiB, for firmware (a multiple of 4 KiB, at most MEM_ROM_MAX).
 */
struct mem *mem_new_room(u64 size, u64 room, u64 rom, struct err *e) MUST_CHECK;
/*
 * Make fresh RAM a file that other processes can map (mem_parts() says where): no huge pages.
 * On failure only mem_free() may follow.
 */
int mem_share(struct mem *m, struct err *e) MUST_CHECK;
/*
 * Make fresh RAM 2 MiB pages of the host's pool (hugetlbfs), reserved here, which other processes can map
 * likewise; its size is a multiple of MEM_HUGE. -ENOMEM: the pool has too few. On failure only
 * mem_free() may follow.
 */
int mem_use_huge(struct mem *m, struct err *e) MUST_CHECK;
bool mem_is_huge(const struct mem *m);
int mem_shared_fd(const struct mem *m); /* of either; -1 if it is another kind */
void mem_free(struct mem *m);

/* -- memory above RAM: hot-plugged, or files ---------------------------------------------- */

#define MEM_REGIONS    16
#define MEM_ROOM_ALIGN (1ull << 30)
#define MEM_ROM_MAX    (16ull << 20)

gpa_t mem_room(const struct mem *m); /* where it begins, a multiple of MEM_ROOM_ALIGN */
/* Every region is here or above; all ones if there can be none. */
gpa_t mem_regions_from(const struct mem *m);

/*
 * Map @len bytes of the room at @gpa, both multiples of 4 KiB: anonymous memory with @fd -1, at
 * most once, or the file @fd, which may be shorter (zeroes behind it; the descriptor is not kept).
 * @shared: the guest's writes go to the file; otherwise they are the guest's own.
 */
int mem_map(struct mem *m, gpa_t gpa, u64 len, int fd, bool shared, struct err *e) MUST_CHECK;

struct mem_region {
	gpa_t gpa;
	u64 len;
	bool file;
};
/* The @n-th of them, or NULL. */
const struct mem_region *mem_region(const struct mem *m, unsigned n);

u64 mem_size(const struct mem *m);	/* RAM bytes */
u64 mem_low_size(const struct mem *m);	/* bytes below the hole */
u64 mem_high_size(const struct mem *m); /* bytes from 4 GiB up */

/*
 * mem_read() / mem_write() - copy between guest RAM and a host buffer
 * @gpa:	guest-physical start, any alignment
 * @len:	bytes; the whole range must be RAM
 *
 * Copies, so what was checked is what is used: the guest cannot change it in
 * between. Return: true, or false with nothing copied if any byte is not RAM.
 * Context: any thread.
 */
bool mem_read(const struct mem *m, gpa_t gpa, void *dst, size_t len) MUST_CHECK;
bool mem_write(struct mem *m, gpa_t gpa, const void *src, size_t len) MUST_CHECK;

/* Host pointer to [gpa, gpa+len), or NULL unless every byte is RAM. */
u8 *mem_ptr(const struct mem *m, gpa_t gpa, u64 len) MUST_CHECK;

/* Bulk data was put into [gpa, gpa+len) behind mem_write()'s back. */
void mem_wrote(struct mem *m, gpa_t gpa, u64 len);

/* -- RAM as a file (mem_file.c): nothing may write to RAM meanwhile --------------------- */

/* The pieces of RAM and of anonymous memory above it, in the order of a memory file. */
struct mem_part {
	gpa_t gpa;
	u64 len;  /* bytes; 0 = there is none */
	u64 file; /* offset in the file */
	u8 *host;
};
#define MEM_PARTS 3 /* low RAM, high RAM, anonymous memory in the room */
void mem_parts(const struct mem *m, struct mem_part ret[MEM_PARTS]);
u64 mem_file_size(const struct mem *m); /* all of them together */

/*
 * Make @fd, an empty file, a copy of RAM with holes for zero pages. *ret_sum: mem_sum() of
 * it; may be NULL. Return: 0 or a negative errno.
 */
int mem_save(const struct mem *m, int fd, u64 *ret_sum) MUST_CHECK;

/* Checksum: the sum over pages that are not zero of the CRC-32C of their number and bytes. */
u64 mem_sum(const struct mem *m);

/*
 * Put RAM on top of @fd, an empty file: other machines may then be made of it, and it must not
 * change any more. Afterwards @fd is a memory file, with *ret_base -1; or, if RAM was on top of a
 * whole file and has changed little, it holds the pages that differ from that file, *ret_base, a
 * descriptor for the caller. No I/O of the host's may be under way in RAM. Return: 0, or a
 * negative errno with RAM's contents as before.
 */
int mem_freeze(struct mem *m, int fd, int *ret_base) MUST_CHECK;
/* mem_new_file() made @m of *ret_base, nothing was written: lay @fd, as mem_freeze() left it, over it. */
int mem_overlay(struct mem *m, int fd) MUST_CHECK;

/* -- the working set (mem_touched.c) ------------------------------------------------------ */

#define MEM_ID 16 /* bytes that name a memory file's contents */
struct mem_touched;

/*
 * Write to @fd, an empty file, which pages of its memory file RAM has used so far, to read or to
 * write. -ENOTSUP: it lies on none, or the host does not say; -E2BIG: too scattered.
 */
int mem_save_touched(const struct mem *m, int fd, const u8 id[MEM_ID]) MUST_CHECK;
/* What such a file says, from malloc. NULL: it is not of this memory file, or malformed. */
struct mem_touched *mem_read_touched(const struct mem *m, int fd, const u8 id[MEM_ID]);
/*
 * Have the host bring those pages, until *@stop: those that were written as copies of RAM's own. Their
 * contents stay. Any thread, while the guest runs.
 */
void mem_touch(const struct mem *m, const struct mem_touched *t, const volatile bool *stop);

/*
 * Give [gpa, gpa+len), whole pages, back to the host: what was in them is lost. Return:
 * false with nothing done unless every byte is RAM, and none of a file.
 */
bool mem_discard(struct mem *m, gpa_t gpa, u64 len) MUST_CHECK;

/*
 * From now on it is known which pages are written, by anybody; none is so far. Negative
 * errno where the host has no means: then all count as written.
 */
int mem_track(struct mem *m) MUST_CHECK;
/*
 * Write the pages written since mem_track(), mem_forget_dirty() or the last call to @fd,
 * which has RAM's size from then on, and count them as clean. After a failure all pages
 * count as written. Return: 0 or a negative errno.
 */
int mem_save_dirty(struct mem *m, int fd) MUST_CHECK;
int mem_forget_dirty(const struct mem *m) MUST_CHECK; /* only while mem_is_tracked() */
bool mem_is_tracked(const struct mem *m);

/*
 * Pages that were never touched come from outside: *ret_fd, the caller's, is the
 * userfaultfd to serve. @dev: /dev/userfaultfd, -1 = to be opened here. -EPERM: it needs a
 * privilege that is not there. mem_page_end(): nobody serves any more, the pages are zeroes.
 */
int mem_page_from(struct mem *m, int dev, int *ret_fd) MUST_CHECK;
void mem_page_end(const struct mem *m, int fd);

/* -- for the CPU engines ---------------------------------------------------- */

u8 *mem_base(const struct mem *m);

/* One byte per 4 KiB frame of guest-physical space [0, high end): non-zero = holds code. */
u8 *mem_code_map(const struct mem *m);
u64 mem_nr_frames(const struct mem *m); /* length of the code map */

/* Called (any thread) after a frame with a non-zero code byte was written. */
void mem_set_code_hook(struct mem *m, void (*fn)(void *ctx, gpa_t gpa, u64 len), void *ctx);

#endif
