// SPDX-License-Identifier: Apache-2.0
/*
 * hostile.c - state files that are not what was saved
 *
 * Flipped and cut ones must be refused, or load into the machine that was saved: the
 * checksum sees to it. So that what is behind the checksum is tried too, mutated
 * sections get a right one, and machines that load run for a moment.
 */
#include "snap.h"

#include "base/compiler.h"
#include "base/crc32c.h"
#include "hostile.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct image {
	u8 *buf;
	size_t len;
};

static struct image read_image(int fd)
{
	struct stat st;
	struct image i = { 0 };

	if (fstat(fd, &st) < 0)
		abort();
	i.len = (size_t)st.st_size;
	i.buf = malloc(i.len);
	if (!i.buf || fd_pread_full(fd, i.buf, i.len, 0))
		abort();
	return i;
}

static void put(int fd, const u8 *buf, size_t len)
{
	if (ftruncate(fd, 0) < 0 || fd_pwrite_full(fd, buf, len, 0))
		abort();
}

/* Refused with a sentence? */
static bool refused(int fd, int mem)
{
	struct snapshot_load o = { .state_fd = fd, .mem_fd = mem, .over_fd = -1, .pages_fd = -1 };
	struct vm_config c;
	struct err e = { 0 };
	struct vm *vm;
	int r;

	cfg_init(&c);
	r = snapshot_read_config(fd, &c, &e);
	c.jail = CFG_JAIL_OFF;
	strcpy(c.serial, "none");
	vm = r ? NULL : vm_new_from_snapshot(&c, &o, &e);
	if (vm)
		vm_free(vm);
	cfg_fini(&c);
	return !vm && e.code && *e.msg;
}

unsigned hostile_flips(int state, int mem)
{
	struct image i = read_image(state);
	int fd = memfd_create("flipped", 0);
	unsigned bad = 0;

	put(fd, i.buf, i.len);
	for (size_t k = 0; k < i.len; k++) {
		u8 b = (u8)(i.buf[k] ^ 1u << (k * 5 % 8));

		if (pwrite(fd, &b, 1, (off_t)k) != 1 || !refused(fd, mem) ||
		    pwrite(fd, i.buf + k, 1, (off_t)k) != 1)
			bad++;
	}
	close(fd);
	free(i.buf);
	return bad;
}

unsigned hostile_cuts(int state, int mem)
{
	struct image i = read_image(state);
	int fd = memfd_create("cut", 0);
	unsigned bad = 0;

	put(fd, i.buf, i.len);
	for (size_t len = i.len; len-- > 0;)
		if (ftruncate(fd, (off_t)len) < 0 || !refused(fd, mem))
			bad++;
	close(fd);
	free(i.buf);
	return bad;
}

unsigned hostile_memory_sizes(int state, int mem)
{
	static const i64 by[] = { -1, 1, -4096, 4096 };
	int fd = memfd_create("memory", 0);
	struct stat st;
	unsigned bad = 0;

	if (fstat(mem, &st) < 0)
		abort();
	for (unsigned k = 0; k < array_len(by); k++)
		if (ftruncate(fd, st.st_size + by[k]) < 0 || !refused(state, fd))
			bad++;
	if (ftruncate(fd, 0) < 0 || !refused(state, fd))
		bad++;
	close(fd);
	fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	bad += !refused(state, fd);
	close(fd);
	return bad;
}

/* -- behind the checksum -------------------------------------------------------------------- */

static u64 rng;

static u32 rnd(u32 below)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(rng >> 33) % below;
}

static void mutate(u8 *buf, size_t len)
{
	static const u8 edge[] = { 0, 1, 0x7f, 0x80, 0xff };
	unsigned n = 1 + rnd(4);

	while (n--) {
		size_t at = 24 + rnd((u32)len - 28);

		switch (rnd(4)) {
		case 0: buf[at] = (u8)rnd(256); break;
		case 1: buf[at] = edge[rnd(array_len(edge))]; break;
		case 2: buf[at] ^= (u8)(1u << rnd(8)); break;
		case 3:
			for (size_t k = at; k < at + 8 && k < len - 4; k++)
				buf[k] = edge[rnd(array_len(edge))];
			break;
		}
	}
	buf[len - 4] = 0;
}

static void seal(u8 *buf, size_t len)
{
	u32 crc = crc32c(0, buf, len - 4);

	memcpy(buf + len - 4, &crc, sizeof crc);
}

/* Load it; what loads runs for some milliseconds and is freed. */
static bool try_run(int fd, int mem)
{
	static struct guest g;
	struct snapshot_load o = { .state_fd = fd, .mem_fd = mem, .over_fd = -1, .pages_fd = -1 };
	struct err e = { 0 };

	g.may_end = true;
	if (!guest_load(&g, &o, &e)) {
		guest_close(&g);
		return false;
	}
	if (guest_start(&g, &e))
		usleep(3000);
	guest_stop(&g);
	return true;
}

unsigned hostile_mutants(int state, int mem, unsigned count, u64 seed, unsigned *ret_loaded)
{
	struct image i = read_image(state);
	u8 *copy = malloc(i.len);
	int fd = memfd_create("mutant", 0);

	*ret_loaded = 0;
	for (unsigned n = 0; n < count; n++) {
		rng = seed + n;
		memcpy(copy, i.buf, i.len);
		mutate(copy, i.len);
		seal(copy, i.len);
		put(fd, copy, i.len);
		*ret_loaded += try_run(fd, mem);
	}
	close(fd);
	free(copy);
	free(i.buf);
	return 0;
}
