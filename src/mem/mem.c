// SPDX-License-Identifier: Apache-2.0
/* mem.c - guest RAM and its placement; see mem.h */
#include "mem/mem.h"

#include "base/bits.h"
#include "mem/mem_int.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALIAS_SHIFT 41			  /* the translation table ignores address bits 63:41 */
#define ALIAS_SPAN  (1ull << ALIAS_SHIFT)
#define USER_END    ((1ull << 47) - 4096) /* end of the user half of the host address space */
#define PLACE_STEP  (64ull << 30)
#define NR_WINDOWS  64
#define RAM_WINDOW  7ull

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif

/* Sanitizer shadows lie where alias windows would go: then RAM is put anywhere, without them. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ANYWHERE 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ANYWHERE 1
#endif
#ifndef ANYWHERE
#define ANYWHERE 0
#endif

struct mem {
	int file;    /* RAM is a private mapping of it; -1 = anonymous */
	int shared;  /* the memfd RAM is; -1 = it is no such */
	bool huge;   /* and it is of 2 MiB pages */
	u64 *own;    /* over a file: bit per page, set = not the file's (mem_int.h) */
	int tracker; /* userfaultfd that notes writes, -1 = none */
	u8 *base;
	u64 low, high;	/* RAM bytes below and above the hole */
	u64 span;	/* bytes of guest-physical space covered, hole included */
	gpa_t room;	/* where memory above RAM may be; all ones if nowhere */
	struct mem_region region[MEM_REGIONS];
	unsigned nr_regions;
	struct mem_region anon; /* the one in the room that is saved with RAM; length 0 = none */
	u64 offset;	/* base modulo ALIAS_SPAN */
	u8 *code_map;
	void (*code_fn)(void *ctx, gpa_t gpa, u64 len);
	void *code_ctx;
};

/*
 * Where nothing else ever is, windows are reserved in one piece with all between them, once for the
 * process. Left out are a position-independent program and its heap (at 2/3 of the user half, moved by
 * up to 1 TiB), and 16 TiB at the top for what the kernel places.
 */
static const struct {
	unsigned from, to; /* windows, @to excluded */
} wide[] = { { 0, 41 }, { 44, 56 } };

static bool wide_reserved[array_len(wide)];

static void reserve_wide(void)
{
	for (unsigned i = 0; i < array_len(wide); i++) {
		u64 at = ((u64)wide[i].from << ALIAS_SHIFT) + PLACE_STEP;
		u64 end = (u64)wide[i].to << ALIAS_SHIFT;
		void *p = mmap((void *)at, end - at, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

		wide_reserved[i] = p == (void *)at;
		if (p != MAP_FAILED && p != (void *)at) /* before Linux 4.17 */
			munmap(p, end - at);
	}
}

/* Window @k is a part of such a piece. */
static bool is_wide(unsigned k)
{
	for (unsigned i = 0; i < array_len(wide); i++)
		if (wide_reserved[i] && k >= wide[i].from && k < wide[i].to)
			return true;
	return false;
}

static void *reserve_none(u64 at, u64 span, int how)
{
	return mmap((void *)at, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | how, -1, 0);
}

static void release_windows(u64 offset, u64 span, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		u64 at = ((u64)k << ALIAS_SHIFT) + offset;

		if (!is_wide(k) && at + span <= USER_END)
			munmap((void *)at, span);
	}
}

/* Reserve all windows at @offset; true if every one was free: those that are not wide tell. */
static bool reserve_windows(u64 offset, u64 span)
{
	for (unsigned k = 0; k < NR_WINDOWS; k++) {
		u64 at = ((u64)k << ALIAS_SHIFT) + offset;
		void *p;

		if (is_wide(k) || at + span > USER_END)
			continue;
		p = reserve_none(at, span, MAP_FIXED_NOREPLACE);
		if (p == (void *)at)
			continue;
		if (p != MAP_FAILED)
			munmap(p, span);
		release_windows(offset, span, k);
		return false;
	}
	return true;
}

static int place_anywhere(struct mem *m, struct err *e)
{
	void *p = mmap(NULL, m->span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return err_set(e, ENOMEM, "memory: no address range for %llu MiB of guest RAM",
			       (unsigned long long)(m->span >> 20));
	m->base = p;
	m->offset = (u64)p % ALIAS_SPAN;
	return 0;
}

static int place(struct mem *m, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	u64 offset;

	if (ANYWHERE)
		return place_anywhere(m, e);
	pthread_once(&once, reserve_wide);
	for (offset = PLACE_STEP; offset + m->span < ALIAS_SPAN; offset += PLACE_STEP)
		if (reserve_windows(offset, m->span))
			break;
	if (offset + m->span >= ALIAS_SPAN)
		return err_set(e, ENOMEM, "memory: no free address range for %llu MiB of guest RAM",
			       (unsigned long long)(m->span >> 20));
	m->offset = offset;
	m->base = (u8 *)((RAM_WINDOW << ALIAS_SHIFT) + offset);
	return 0;
}

void mem_parts(const struct mem *m, struct mem_part ret[MEM_PARTS])
{
	ret[0] = (struct mem_part){ .len = m->low, .host = m->base };
	ret[1] = (struct mem_part){
		.gpa = MEM_HIGH_BASE, .len = m->high, .file = m->low, .host = m->base + MEM_HIGH_BASE
	};
	ret[2] = (struct mem_part){ .gpa = m->anon.gpa,
				    .len = m->anon.len,
				    .file = m->low + m->high,
				    .host = m->base + m->anon.gpa };
}

/* Anonymous, not a memfd: only that gets huge pages on hosts as Debian sets them up. */
static int map_ram(struct mem *m, int fd)
{
	int flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);
	struct mem_part part[MEM_PARTS];

	mem_parts(m, part);
	for (unsigned i = 0; i < MEM_PARTS; i++) {
		const struct mem_part *p = &part[i];

		if (!p->len)
			continue;
		if (mmap(p->host, p->len, PROT_READ | PROT_WRITE, flags, fd, (off_t)p->file) ==
		    MAP_FAILED)
			return -errno;
		madvise(p->host, p->len, MADV_HUGEPAGE);
	}
	return 0;
}

#define OWN_BYTES(m) (align_up(mem_file_size(m) / MEM_PAGE, 64) / 8)

int mem_refile(struct mem *m, int fd)
{
	u64 *own = m->own ? m->own : calloc(1, OWN_BYTES(m));
	int dup = own ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1, r;

	m->own = own;
	if (dup < 0)
		return own ? -errno : -ENOMEM;
	r = map_ram(m, fd);
	if (r) {
		close(dup);
		return r;
	}
	memset(own, 0, OWN_BYTES(m));
	if (m->file >= 0)
		close(m->file);
	m->file = dup;
	mem_set_tracker(m, -1); /* it noted writes to what was mapped there */
	return 0;
}

bool mem_is_own(const struct mem *m, u64 page)
{
	return m->own && m->own[page / 64] >> page % 64 & 1;
}

void mem_own(struct mem *m, u64 page, u64 nr)
{
	for (u64 i = page; i < page + nr && m->own; i++)
		m->own[i / 64] |= 1ull << i % 64;
}

u64 *mem_own_pages(const struct mem *m)
{
	u64 *p = malloc(OWN_BYTES(m));

	return p ? memcpy(p, m->own, OWN_BYTES(m)) : NULL;
}

int mem_file(const struct mem *m)
{
	return m->file;
}

void mem_set_tracker(struct mem *m, int fd)
{
	if (m->tracker >= 0)
		close(m->tracker);
	m->tracker = fd;
}

bool mem_is_tracked(const struct mem *m)
{
	return m->tracker >= 0;
}

static int pagemap = -1; /* of this process; opened once, by mem_prepare() */

void mem_prepare(void)
{
	if (pagemap < 0)
		pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

int mem_pagemap(void)
{
	return pagemap;
}

/* Firmware's memory is the guest's own: what it writes there is lost at reset. */
static int map_rom(struct mem *m, u64 rom, struct err *e)
{
	if (!rom)
		return 0;
	m->region[m->nr_regions++] = (struct mem_region){ MEM_HIGH_BASE - rom, rom, false };
	if (mmap(m->base + MEM_HIGH_BASE - rom, rom, PROT_READ | PROT_WRITE,
		 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		return err_set(e, errno, "memory: %s", strerror(errno));
	return 0;
}

static struct mem *new_from(u64 size, u64 room, u64 rom, int fd, struct err *e)
{
	struct mem *m = calloc(1, sizeof *m);
	int r;

	if (!m) {
		err_set(e, ENOMEM, "memory: out of host memory");
		return NULL;
	}
	m->file = m->shared = m->tracker = -1;
	mem_prepare();
	m->low = size < MEM_LOW_MAX ? size : MEM_LOW_MAX;
	m->high = size - m->low;
	m->room = ~0ull;
	m->span = m->high ? MEM_HIGH_BASE + m->high : rom ? MEM_HIGH_BASE : m->low;
	if (room) {
		m->room = align_up(m->high ? m->span : MEM_HIGH_BASE, MEM_ROOM_ALIGN);
		m->span = m->room + room;
	}
	if (place(m, e) < 0)
		goto fail;
	r = fd < 0 ? map_ram(m, fd) : mem_refile(m, fd);
	if (r) {
		err_set(e, -r, "memory: cannot map %llu MiB: %s", (unsigned long long)(size >> 20),
			strerror(-r));
		goto fail;
	}
	if (map_rom(m, rom, e))
		goto fail;
	m->code_map = mmap(NULL, mem_nr_frames(m), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->code_map == MAP_FAILED) {
		m->code_map = NULL;
		err_set(e, ENOMEM, "memory: out of host memory");
		goto fail;
	}
	return m;
fail:
	mem_free(m);
	return NULL;
}

/* RAM is a memfd from now on. Return: 0 or a negative errno. */
static int share_ram(struct mem *m, unsigned memfd_flags, int map_flags)
{
	struct mem_part part[MEM_PARTS];
	void *p;

	m->shared = memfd_create("guest-ram", MFD_CLOEXEC | memfd_flags);
	if (m->shared < 0 || ftruncate(m->shared, (off_t)mem_size(m)) < 0)
		return -errno;
	mem_parts(m, part);
	for (unsigned i = 0; i < MEM_PARTS; i++) {
		if (!part[i].len)
			continue;
		p = mmap(part[i].host, part[i].len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | map_flags, m->shared, (off_t)part[i].file);
		if (p == MAP_FAILED)
			return -errno;
	}
	return 0;
}

int mem_share(struct mem *m, struct err *e)
{
	int r = share_ram(m, 0, MAP_NORESERVE);

	return r ? err_set(e, -r, "memory: cannot be shared: %s", strerror(-r)) : 0;
}

int mem_use_huge(struct mem *m, struct err *e)
{
	int r = mem_size(m) % MEM_HUGE ? -EINVAL : share_ram(m, MFD_HUGETLB | MFD_HUGE_2MB, 0);

	m->huge = true;
	if (r == -ENOMEM)
		return err_set(e, ENOMEM, "huge pages: the host's pool has fewer than %llu free pages of "
			       "2 MiB: see /proc/sys/vm/nr_hugepages",
			       (unsigned long long)(mem_size(m) / MEM_HUGE));
	return r ? err_set(e, -r, "huge pages: %s", strerror(-r)) : 0;
}

bool mem_is_huge(const struct mem *m)
{
	return m->huge;
}

int mem_shared_fd(const struct mem *m)
{
	return m->shared;
}

struct mem *mem_new(u64 size, struct err *e)
{
	return new_from(size, 0, 0, -1, e);
}

struct mem *mem_new_room(u64 size, u64 room, u64 rom, struct err *e)
{
	return new_from(size, room, rom, -1, e);
}

struct mem *mem_new_file(u64 size, u64 room, int fd, struct err *e)
{
	return new_from(size, room, 0, fd, e);
}

void mem_free(struct mem *m)
{
	if (!m)
		return;
	if (m->code_map)
		munmap(m->code_map, mem_nr_frames(m));
	if (m->base && ANYWHERE)
		munmap(m->base, m->span);
	else if (m->base) {
		if (is_wide(RAM_WINDOW))
			reserve_none((u64)m->base, m->span, MAP_FIXED);
		release_windows(m->offset, m->span, NR_WINDOWS);
	}
	if (m->file >= 0)
		close(m->file);
	if (m->shared >= 0)
		close(m->shared);
	mem_set_tracker(m, -1);
	free(m->own);
	free(m);
}

u64 mem_size(const struct mem *m)
{
	return m->low + m->high;
}

u64 mem_file_size(const struct mem *m)
{
	return m->low + m->high + m->anon.len;
}

u64 mem_low_size(const struct mem *m)
{
	return m->low;
}

u64 mem_high_size(const struct mem *m)
{
	return m->high;
}

u8 *mem_base(const struct mem *m)
{
	return m->base;
}

u8 *mem_code_map(const struct mem *m)
{
	return m->code_map;
}

u64 mem_nr_frames(const struct mem *m)
{
	return m->span / MEM_PAGE;
}

gpa_t mem_room(const struct mem *m)
{
	return m->room;
}

gpa_t mem_regions_from(const struct mem *m)
{
	return m->nr_regions && m->region[0].gpa < m->room ? m->region[0].gpa : m->room;
}

const struct mem_region *mem_region(const struct mem *m, unsigned n)
{
	return n < m->nr_regions ? &m->region[n] : NULL;
}

/* The region that holds all of [gpa, gpa+len), or NULL. */
static const struct mem_region *find_region(const struct mem *m, gpa_t gpa, u64 len)
{
	for (unsigned i = 0; i < m->nr_regions; i++) {
		const struct mem_region *r = &m->region[i];

		if (gpa >= r->gpa && range_ok(gpa - r->gpa, len, r->len))
			return r;
	}
	return NULL;
}

/* Anonymous memory in the room is a part of the memory file, if there is one below. */
static int map_anon(struct mem *m, gpa_t gpa, u64 len, struct err *e)
{
	u64 *own;

	if (m->anon.len)
		return err_set(e, ENOSPC, "memory: can be added in one place only");
	m->anon = (struct mem_region){ gpa, len, false };
	if (m->file < 0)
		return 0;
	own = realloc(m->own, OWN_BYTES(m));
	if (!own)
		return err_set(e, ENOMEM, "memory: out of host memory");
	memset(own, 0, OWN_BYTES(m));
	m->own = own;
	if (mmap(m->base + gpa, len, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_NORESERVE | MAP_PRIVATE,
		 m->file, (off_t)mem_size(m)) == MAP_FAILED)
		return err_set(e, errno, "memory: %s", strerror(errno));
	return 0;
}

int mem_map(struct mem *m, gpa_t gpa, u64 len, int fd, bool shared, struct err *e)
{
	int how = MAP_FIXED | MAP_NORESERVE;
	struct stat st = { 0 };
	u64 bytes;

	if (m->nr_regions == MEM_REGIONS || gpa < m->room || !range_ok(gpa, len, m->span))
		return err_set(e, ENOSPC, "memory: no room for %llu MiB more",
			       (unsigned long long)(len >> 20));
	if (fd >= 0 && fstat(fd, &st) < 0)
		return err_set(e, errno, "memory: %s", strerror(errno));
	if (mmap(m->base + gpa, len, PROT_READ | PROT_WRITE, how | MAP_PRIVATE | MAP_ANONYMOUS, -1,
		 0) == MAP_FAILED)
		return err_set(e, errno, "memory: %s", strerror(errno));
	madvise(m->base + gpa, len, MADV_HUGEPAGE);
	if (fd < 0)
		TRY(map_anon(m, gpa, len, e));
	bytes = align_up((u64)st.st_size, MEM_PAGE);
	bytes = bytes < len ? bytes : len;
	if (bytes && mmap(m->base + gpa, bytes, PROT_READ | PROT_WRITE,
			  how | (shared ? MAP_SHARED : MAP_PRIVATE), fd, 0) == MAP_FAILED)
		return err_set(e, errno, "memory: cannot map the file: %s", strerror(errno));
	m->region[m->nr_regions++] = (struct mem_region){ gpa, len, fd >= 0 };
	return 0;
}

u8 *mem_ptr(const struct mem *m, gpa_t gpa, u64 len)
{
	if (range_ok(gpa, len, m->low))
		return m->base + gpa;
	if (gpa >= MEM_HIGH_BASE && range_ok(gpa - MEM_HIGH_BASE, len, m->high))
		return m->base + gpa;
	if (gpa >= mem_regions_from(m) && find_region(m, gpa, len))
		return m->base + gpa;
	return NULL;
}

bool mem_read(const struct mem *m, gpa_t gpa, void *dst, size_t len)
{
	const u8 *p = mem_ptr(m, gpa, len);

	if (!p)
		return false;
	memcpy(dst, p, len);
	return true;
}

bool mem_write(struct mem *m, gpa_t gpa, const void *src, size_t len)
{
	u8 *p = mem_ptr(m, gpa, len);

	if (!p)
		return false;
	memcpy(p, src, len);
	mem_wrote(m, gpa, len);
	return true;
}

void mem_wrote(struct mem *m, gpa_t gpa, u64 len)
{
	if (!len || !m->code_fn)
		return;
	/*
	 * An engine counts a frame, then reads the code in it; we have written, and now look at the
	 * count. One of us sees the other (pairs with count_frame() in cpu/soft/jit.c).
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (u64 f = gpa / MEM_PAGE; f <= (gpa + len - 1) / MEM_PAGE; f++) {
		if (!__atomic_load_n(&m->code_map[f], __ATOMIC_RELAXED))
			continue;
		m->code_fn(m->code_ctx, gpa, len);
		return;
	}
}

static bool is_rom(const struct mem *m, gpa_t gpa)
{
	return gpa < MEM_HIGH_BASE && gpa >= m->low;
}

/* [gpa, gpa+len) is in one part or in none. */
static void own_part(struct mem *m, gpa_t gpa, u64 len)
{
	struct mem_part part[MEM_PARTS];

	mem_parts(m, part);
	for (unsigned i = 0; i < MEM_PARTS; i++)
		if (gpa >= part[i].gpa && gpa - part[i].gpa < part[i].len)
			mem_own(m, (part[i].file + gpa - part[i].gpa) / MEM_PAGE, len / MEM_PAGE);
}

bool mem_discard(struct mem *m, gpa_t gpa, u64 len)
{
	const struct mem_region *r = find_region(m, gpa, len);
	u8 *p = r && r->file ? NULL : mem_ptr(m, gpa, len);

	if (!p)
		return false;
	/* Over a file, dropping the copy would bring the file's page back: cover it. */
	own_part(m, gpa, len);
	if (m->shared >= 0)
		madvise(p, len, MADV_REMOVE);
	else if (m->file < 0 || is_rom(m, gpa) || mmap(p, len, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
				0) == MAP_FAILED)
		madvise(p, len, MADV_DONTNEED);
	mem_wrote(m, gpa, len);
	return true;
}

void mem_set_code_hook(struct mem *m, void (*fn)(void *ctx, gpa_t gpa, u64 len), void *ctx)
{
	m->code_fn = fn;
	m->code_ctx = ctx;
}
