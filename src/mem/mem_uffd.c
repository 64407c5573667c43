// SPDX-License-Identifier: Apache-2.0
/*
 * mem_uffd.c - RAM and userfaultfd [Linux admin-guide/mm/userfaultfd.rst]: which pages were
 * written, and pages that somebody else brings
 *
 * Dirty pages. RAM is registered for asynchronous write protection: the host's kernel
 * notes the first write to a page itself, whoever writes, and PAGEMAP_SCAN reads and
 * clears the notes in one go. Linux 6.7.
 */
#include "mem/mem_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers of Debian 12. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

/* -- descriptors ------------------------------------------------------------------------ */

static int open_uffd(int flags, u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

/* For faults of the kernel's too; by the device where the system call is for root only. */
static int open_uffd_kernel(int dev, u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = dev < 0 ? open_uffd(0, features) : -EPERM, own = -1;

	if (fd != -EPERM)
		return fd;
	if (dev < 0)
		dev = own = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	fd = dev < 0 ? -errno : ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	if (own >= 0)
		close(own);
	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) < 0) {
		close(fd);
		return -EPERM;
	}
	return fd < 0 ? -EPERM : fd;
}

static int register_ram(const struct mem *m, int fd, u64 mode)
{
	struct mem_part part[MEM_PARTS];

	mem_parts(m, part);
	for (unsigned i = 0; i < MEM_PARTS; i++) {
		struct uffdio_register r = { .range = { (u64)part[i].host, part[i].len },
					     .mode = mode };

		if (part[i].len && ioctl(fd, UFFDIO_REGISTER, &r) < 0)
			return -errno;
	}
	return 0;
}

/* -- dirty pages -------------------------------------------------------------------------- */

/*
 * Call @fn, if any, for runs of pages written; they count as clean from then on. Where mem_discard()
 * has put new memory nothing is noted: what is there counts as written each time.
 */
static int take_dirty(const struct mem_part *p,
		      int (*fn)(void *ctx, const struct mem_part *p, u64 off, u64 len), void *ctx)
{
	const struct pm_query q = { .protect = true, .mask = PM_IS_WRITTEN, .ret = PM_IS_WRITTEN };

	return mem_query(p, &q, fn, ctx);
}

static int take_all(const struct mem *m,
		    int (*fn)(void *ctx, const struct mem_part *p, u64 off, u64 len), void *ctx)
{
	struct mem_part part[MEM_PARTS];
	int r = 0;

	mem_parts(m, part);
	for (unsigned i = 0; i < MEM_PARTS && !r; i++)
		if (part[i].len)
			r = take_dirty(&part[i], fn, ctx);
	return r;
}

int mem_track(struct mem *m)
{
	const u64 features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
			     (mem_is_huge(m) ? UFFD_FEATURE_WP_HUGETLBFS_SHMEM : 0);
	struct mem_part part[MEM_PARTS];
	int fd = mem_pagemap() < 0 ? -ENOENT : open_uffd(UFFD_USER_MODE_ONLY, features);
	int r = fd < 0 ? fd : 0;

	mem_parts(m, part);
	for (unsigned i = 0; i < MEM_PARTS && !r; i++)
		if (part[i].len) /* or one write would be two megabytes of difference */
			madvise(part[i].host, part[i].len, MADV_NOHUGEPAGE);
	if (!r)
		r = register_ram(m, fd, UFFDIO_REGISTER_MODE_WP);
	if (!r)
		r = take_all(m, NULL, NULL);
	if (r && fd >= 0)
		close(fd);
	mem_set_tracker(m, r ? -1 : fd);
	return r;
}

int mem_forget_dirty(const struct mem *m)
{
	return take_all(m, NULL, NULL);
}

static int write_run(void *ctx, const struct mem_part *p, u64 off, u64 len)
{
	return mem_write_file(*(int *)ctx, p->host + off, len, p->file + off);
}

int mem_save_dirty(struct mem *m, int fd)
{
	struct mem_part part[MEM_PARTS];
	int r = 0;

	if (ftruncate(fd, (off_t)mem_file_size(m)) < 0)
		return -errno;
	if (mem_is_tracked(m)) {
		r = take_all(m, write_run, &fd);
		if (r) /* what was taken is lost: the next one has everything */
			mem_set_tracker(m, -1);
		return r;
	}
	mem_parts(m, part);
	for (unsigned i = 0; i < MEM_PARTS && !r; i++)
		r = write_run(&fd, &part[i], 0, part[i].len);
	return r;
}

/* -- pages from outside ----------------------------------------------------------------------- */

int mem_page_from(struct mem *m, int dev, int *ret_fd)
{
	int fd = open_uffd_kernel(dev, UFFD_FEATURE_EVENT_REMOVE), r;

	if (fd < 0)
		return fd;
	r = register_ram(m, fd, UFFDIO_REGISTER_MODE_MISSING);
	if (r)
		close(fd);
	*ret_fd = r ? -1 : fd;
	return r;
}

void mem_page_end(const struct mem *m, int fd)
{
	struct mem_part part[MEM_PARTS];

	mem_parts(m, part);
	for (unsigned i = 0; i < MEM_PARTS; i++) {
		struct uffdio_range r = { (u64)part[i].host, part[i].len };

		if (part[i].len && ioctl(fd, UFFDIO_UNREGISTER, &r) < 0)
			continue; /* it is closed next, which ends waiting too */
	}
}
