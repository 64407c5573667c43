// SPDX-License-Identifier: Apache-2.0
/*
 * disk_fuzz.c - hostile images: every parser, then requests through what it accepted
 *
 * By itself: disk-fuzz [SECONDS [SEED]] makes images of every format, damages them in
 * a way that depends only on the seed, and uses them; disk-fuzz seeds DIR writes them. With libFuzzer (make fuzz) the
 * input is the image: its first byte chooses the format.
 */
#include "blk/blk_int.h"
#include "blk/image.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_IMAGE = 8 << 20, REQUESTS = 12 };

static struct loop *loop;
static u64 rng = 1;

static u64 next_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static int file_of(const u8 *p, size_t n)
{
	int fd = fd_memfd("image", 0);

	if (fd < 0 || fd_pwrite_full(fd, p, n, 0)) {
		fputs("disk-fuzz: no memory for images\n", stderr);
		exit(1);
	}
	return fd;
}

static void ignore(struct blk_req *r)
{
	(void)r;
}

/* A few requests at the same time. */
static void use(struct blk *b)
{
	static u8 data[65536];
	struct blk_req r[REQUESTS];
	struct iovec iov[REQUESTS];
	struct blk_info i;
	struct blk_extent x;

	blk_get_info(b, &i);
	if (i.size < i.block_size)
		return;
	for (unsigned k = 0; k < REQUESTS; k++) {
		u64 blocks = i.size / i.block_size, n = 1 + next_random() % 16;
		u64 at = next_random() % (k & 1 ? blocks : blocks < 4096 ? blocks : 4096);

		n = n < blocks - at ? n : blocks - at;
		n = n * i.block_size > sizeof data ? sizeof data / i.block_size : n;
		iov[k] = (struct iovec){ data, n * i.block_size };
		r[k] = (struct blk_req){ .op = next_random() % 5, .offset = at * i.block_size,
					 .len = n * i.block_size, .iov = &iov[k], .nr_iov = 1,
					 .done = ignore };
		blk_submit(b, &r[k]);
	}
	blk_drain(b);
	for (u64 off = 0, k = 0; off < i.size && k < 64; off += x.len, k++)
		if (blk_status(b, off, i.size - off, &x))
			break;
}

static void maintain(struct blk *b)
{
	struct image_check c = { 0 };
	struct err e;

	switch (next_random() % 6) {
	case 0:
		if (image_snapshot_create(b, "s", &e) || image_snapshot_apply(b, "1", &e))
			break;
		break;
	case 1:
		if (image_snapshot_delete(b, "1", &e))
			break;
		break;
	case 2:
		if (image_check(b, IMAGE_FIX_ALL, &c, &e))
			break;
		break;
	case 3:
		if (blk_resize(b, 512 * (next_random() % 65536), &e))
			break;
		break;
	default:
		if (image_check(b, IMAGE_CHECK_ONLY, &c, &e))
			break;
	}
}

static void try_image(const u8 *p, size_t n, enum image_format f)
{
	struct image_opts o = { .no_backing = true, .read_only = next_random() % 4 == 0,
				.no_repair = next_random() % 4 == 0, .secret = "sesame" };
	static struct image_info info;
	char name[IMAGE_NAME_MAX];
	struct err e = { 0 };
	struct blk *b = image_open_file(loop, file_of(p, n), false, &e);

	if (!b)
		return;
	if (!image_peek(b, f, &info, &e))
		for (unsigned i = 0; i < info.nr_extent; i++)
			if (image_peek_extent(b, i, name, &e))
				break;
	b = image_open(b, f, &o, &e);
	if (!b) {
		if (!e.code || !*e.msg) {
			fputs("disk-fuzz: refused without a reason\n", stderr);
			abort();
		}
		return;
	}
	use(b);
	maintain(b);
	use(b);
	blk_close(b);
}

int LLVMFuzzerTestOneInput(const u8 *p, size_t n);
int LLVMFuzzerTestOneInput(const u8 *p, size_t n)
{
	struct err e;

	if (!loop)
		loop = loop_new(&e);
	if (!n || n > MAX_IMAGE)
		return 0;
	rng = 88172645463325252ull;
	try_image(p + 1, n - 1, IMAGE_QCOW2 + p[0] % (IMAGE_NR - IMAGE_QCOW2));
	return 0;
}

#ifndef LIBFUZZER
static const struct seed {
	enum image_format f;
	struct image_create c;
} seeds[] = {
	{ IMAGE_QCOW2, { .size = 4 << 20, .cluster_size = 512 } },
	{ IMAGE_QCOW2, { .size = 8 << 20, .cluster_size = 4096, .backing = "base" } },
	{ IMAGE_QCOW2, { .size = 8 << 20, .cluster_size = 16384, .extended_l2 = true } },
	{ IMAGE_QCOW2, { .size = 64 << 20, .zstd = true, .lazy_refcounts = true } },
	{ IMAGE_VPC, { .size = 8 << 20 } },
	{ IMAGE_VHDX, { .size = 8 << 20, .cluster_size = 1 << 20 } },
	{ IMAGE_VDI, { .size = 8 << 20 } },
	{ IMAGE_VMDK, { .size = 8 << 20 } },
	{ IMAGE_VMDK, { .size = 8 << 20, .subformat = "streamOptimized" } },
	{ IMAGE_LUKS, { .size = 1 << 20, .secret = "sesame", .luks_iter_ms = 1 } },
};

static void fill(struct blk *b)
{
	static u8 data[65536];
	u32 unit = image_compressed_unit(b);
	struct err e;

	for (unsigned i = 0; i < 8; i++) {
		const void *buf = data;
		u64 off = (u64)i * 65536 * 3;
		u32 len = unit;

		memset(data, (int)i + 1, sizeof data);
		if (unit && unit <= sizeof data && i % 2 &&
		    image_write_compressed_many(b, &off, &buf, &len, 1, &e))
			continue;
		if ((!unit || i % 2 == 0) && off + sizeof data <= b->info.size &&
		    blk_write_now(b, off, data, sizeof data))
			continue;
	}
	if (image_snapshot_create(b, "one", &e) || image_finish(b, &e))
		return;
}

/* A good image of this kind. Return: its size. */
static size_t make_seed(const struct seed *s, u8 *image)
{
	struct image_opts o = { .no_backing = true, .secret = "sesame" };
	struct err e = { 0 };
	int fd = fd_memfd("image", 0), keep = dup(fd);
	struct blk *b = image_open_file(loop, fd, false, &e);
	off_t n;

	if (!b || image_create(b, s->f, &s->c, &e) || !(b = image_open(b, s->f, &o, &e))) {
		fprintf(stderr, "disk-fuzz: %s\n", e.msg);
		exit(1);
	}
	fill(b);
	blk_close(b);
	n = lseek(keep, 0, SEEK_END);
	n = n > MAX_IMAGE ? MAX_IMAGE : n;
	if (fd_pread_full(keep, image, (size_t)n, 0))
		exit(1);
	close(keep);
	return (size_t)n;
}

/* Where headers and tables are: mostly near the start. */
static size_t place(size_t n)
{
	u64 limit[] = { 128, 1024, 8192, 262144, n, n };
	u64 m = limit[next_random() % 6];

	return next_random() % (m < n ? m : n);
}

static void damage(u8 *p, size_t *n)
{
	static const u64 odd[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 512, 65536, ~0ull,
				   1ull << 63, 0x00fffffffffffe00ull };

	for (u64 k = 1 + next_random() % 6; k; k--) {
		size_t at = place(*n);
		u64 v = odd[next_random() % 10];

		switch (next_random() % 5) {
		case 0:
			p[at] ^= (u8)(1 << next_random() % 8);
			break;
		case 1:
			p[at] = (u8)next_random();
			break;
		case 2:
			v = next_random() % 2 ? __builtin_bswap64(v) : v;
			memcpy(p + at, &v, *n - at < 8 ? *n - at : 8);
			break;
		case 3: {
			size_t from = place(*n), len = 1 + next_random() % 64;

			len = len < *n - at ? len : *n - at;
			len = len < *n - from ? len : *n - from;
			memmove(p + at, p + from, len);
			break;
		}
		default:
			if (next_random() % 8 == 0)
				*n = at + 1;
		}
	}
}

/* The images as inputs for libFuzzer, those that are small. */
static int write_seeds(const char *dir, u8 *const *good, const size_t *n)
{
	char path[4096];

	for (unsigned i = 0; i < array_len(seeds); i++) {
		u8 kind = (u8)(seeds[i].f - IMAGE_QCOW2);
		int fd;

		if (n[i] > 1 << 20)
			continue;
		snprintf(path, sizeof path, "%s/seed-%u", dir, i);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		if (fd < 0 || fd_write_full(fd, &kind, 1) || fd_write_full(fd, good[i], n[i])) {
			perror(path);
			return 1;
		}
		close(fd);
	}
	return 0;
}

int main(int argc, char **argv)
{
	u64 seconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 5, runs = 0;
	u8 *image = malloc(MAX_IMAGE), *work = malloc(MAX_IMAGE);
	size_t n[array_len(seeds)];
	u8 *good[array_len(seeds)];
	struct err e;
	u64 end;

	loop = loop_new(&e);
	for (unsigned i = 0; i < array_len(seeds); i++) {
		n[i] = make_seed(&seeds[i], image);
		good[i] = malloc(n[i]);
		memcpy(good[i], image, n[i]);
	}
	if (argc == 3 && !strcmp(argv[1], "seeds"))
		return write_seeds(argv[2], good, n);
	end = os_now_ns() + seconds * 1000000000u;
	for (u64 seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1; os_now_ns() < end; seed++) {
		unsigned i = (unsigned)(seed % array_len(seeds));
		size_t len = n[i];
		u64 t = os_now_ns();

		rng = seed * 0x9e3779b97f4a7c15ull | 1;
		memcpy(work, good[i], len);
		damage(work, &len);
		try_image(work, len, seeds[i].f);
		t = os_now_ns() - t;
		if (t > 60000000000u) {
			printf("seed %llu: took %llu s\n", (unsigned long long)seed,
			       (unsigned long long)(t / 1000000000u));
			return 1;
		}
		runs++;
		if (argc > 2 && argc == 4)
			break;
	}
	printf("%llu damaged images\n", (unsigned long long)runs);
	for (unsigned i = 0; i < array_len(seeds); i++)
		free(good[i]);
	free(image);
	free(work);
	loop_free(loop);
	return 0;
}
#endif
