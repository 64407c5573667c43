// SPDX-License-Identifier: Apache-2.0
/*
 * codebuf.c - memory for generated code: see codebuf.h
 */
#include "cpu/soft/codebuf.h"

#include "base/populate.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u /* Linux 6.3 */
#endif

static int open_memfd(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_EXEC);

	if (fd < 0 && errno == EINVAL) /* older than MFD_EXEC: executable by default */
		fd = memfd_create(name, MFD_CLOEXEC);
	return fd;
}

/* Where memfd is refused, or may not be executed: a file without a name. */
static int open_tmp(const char *dir)
{
	return open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
}

/* Map @fd twice; false if the system refuses. Closes fd. */
static bool map_twice(struct codebuf *ret, int fd, size_t size)
{
	void *rw, *rx;

	if (fd < 0)
		return false;
	if (ftruncate(fd, (off_t)size) < 0) {
		close(fd);
		return false;
	}
	rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	close(fd);
	if (rw != MAP_FAILED && rx != MAP_FAILED) {
		*ret = (struct codebuf){ .rw = rw, .rx = rx, .size = size };
		return true;
	}
	if (rw != MAP_FAILED)
		munmap(rw, size);
	if (rx != MAP_FAILED)
		munmap(rx, size);
	return false;
}

static const char *const dirs[] = { "/dev/shm", "/var/tmp", "/tmp" };

int codebuf_file(const char *name)
{
	int fd = open_memfd(name);

	for (size_t i = 0; i < array_len(dirs) && fd < 0; i++)
		fd = open_tmp(dirs[i]);
	return fd < 0 ? -errno : fd;
}

int codebuf_new(struct codebuf *ret, size_t size, struct err *e)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	size = (size + page - 1) & ~(page - 1);
	if (map_twice(ret, open_memfd("vireo-code"), size))
		return 0;
	for (size_t i = 0; i < array_len(dirs); i++)
		if (map_twice(ret, open_tmp(dirs[i]), size))
			return 0;
	return err_set(e, errno, "code buffer: cannot get %zu KiB of executable memory: %s",
		       size >> 10, strerror(errno));
}

void codebuf_free(struct codebuf *b)
{
	if (!b->rw)
		return;
	munmap(b->rw, b->size);
	if (b->rx != b->rw)
		munmap(b->rx, b->size);
	*b = (struct codebuf){ 0 };
}

void codebuf_populate(const struct codebuf *b, size_t from, size_t to)
{
	from &= ~(size_t)4095;
	to = (to + 4095) & ~(size_t)4095;
	if (to > b->size)
		to = b->size;
	madvise(b->rw + from, to - from, MADV_POPULATE_WRITE); /* before Linux 5.14 there are faults */
	madvise(b->rx + from, to - from, MADV_POPULATE_READ);
}
