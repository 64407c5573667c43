// SPDX-License-Identifier: Apache-2.0
/*
 * disk_fuzz.c - hostile images: every parser, then requests through what it accepted
 *
 *   disk-fuzz [SECONDS [SEED]]  images of every format, damaged in a way that depends
 *			       only on the seed, used for SECONDS in all
 *   disk-fuzz replay DIR	       the images in DIR/FORMAT/
 *   disk-fuzz seeds DIR	       write good images there
 *
 * Images are in the sparse form of mem_file.h. With libFuzzer (make fuzz) the input is one of the format that the environment
 * variable DISK_FUZZ_FORMAT names.
 */
#include "blk/blk_int.h"
#include "blk/dirty.h"
#include "blk/image.h"
#include "mem_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_IMAGE = 256 << 10, REQUESTS = 12 };

static struct loop *loop;
static u64 rng = 1;

static u64 next_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
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
	unsigned nr = next_random() % 8 ? 2 : REQUESTS;
	struct blk_info i;
	struct blk_extent x;

	blk_get_info(b, &i);
	if (i.size < i.block_size)
		return;
	for (unsigned k = 0; k < nr; k++) {
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
	for (u64 off = 0, k = 0; off < i.size && k < 16; off += x.len, k++)
		if (blk_status(b, off, i.size - off < 1 << 24 ? i.size - off : 1 << 24, &x))
			break;
}

static void bitmaps(struct blk *b)
{
	struct image_bitmap i;
	struct dirty d;
	struct err e;

	for (unsigned k = 0; k < 4 && !image_bitmap_get(b, k, &i, &e); k++) {
		if (image_bitmap_load(b, i.name, &d, &e))
			continue;
		if (d.size)
			dirty_set(&d, next_random() % d.size, 4096);
		if (image_bitmap_store(b, i.name, k % 2 ? NULL : &d, true, &e)) {
			/* Read-only, or damaged. */
		}
		dirty_fini(&d);
	}
	if (b->info.size < 64 << 20 && !dirty_init(&d, b->info.size, 16)) {
		if (image_bitmap_store(b, "new", &d, true, &e)) {
			/* As above. */
		}
		dirty_fini(&d);
	}
}

static void maintain(struct blk *b)
{
	struct image_check c = { 0 };
	struct err e;

	switch (next_random() % 8) {
	case 6:
	case 7:
		bitmaps(b);
		break;
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

/* The larger files are, the longer an input takes; some formats begin with megabytes. */
static u64 file_max(enum image_format f)
{
	return f == IMAGE_VHDX ? MEM_FILE_MAX : 4 << 20;
}

/* Deriving a key takes long: most images are tried without the passphrase. */
static const char *secret_for(enum image_format f)
{
	return f != IMAGE_LUKS || next_random() % 64 == 0 ? "sesame" : NULL;
}

static void try_image(const u8 *p, size_t n, enum image_format f)
{
	struct image_opts o = { .no_backing = true, .read_only = next_random() % 2,
				.no_repair = next_random() % 4 == 0, .secret = secret_for(f) };
	static struct image_info info;
	char name[IMAGE_NAME_MAX];
	struct err e = { 0 };
	struct blk *b = mem_file_open(loop, p, n, file_max(f), next_random);

	if (!image_peek(b, f, &info, &e))
		for (unsigned i = 0; i < info.nr_extent && i < 2; i++)
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
	if (next_random() % 4 == 0) {
		maintain(b);
		use(b);
	}
	blk_close(b);
}

/* The same input is always used in the same way. */
static void seed_by(const u8 *p, size_t n)
{
	rng = 0xcbf29ce484222325ull + n;
	for (size_t i = 0; i < n && i < 4096; i++)
		rng = (rng ^ p[i]) * 0x100000001b3ull;
	rng |= 1;
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

	for (u64 k = 1 + next_random() % 6; k && *n; k--) {
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

#ifdef LIBFUZZER
static enum image_format format;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *name = getenv("DISK_FUZZ_FORMAT");
	struct err e;

	(void)argc;
	(void)argv;
	if (!name || !image_format_parse(name, &format) || format == IMAGE_RAW) {
		fputs("disk-fuzz: DISK_FUZZ_FORMAT: want a format\n", stderr);
		exit(1);
	}
	loop = loop_new(&e);
	return 0;
}

size_t LLVMFuzzerMutate(u8 *p, size_t n, size_t max);
size_t LLVMFuzzerCustomMutator(u8 *p, size_t n, size_t max, unsigned seed);
size_t LLVMFuzzerCustomMutator(u8 *p, size_t n, size_t max, unsigned seed)
{
	if (seed % 2)
		return LLVMFuzzerMutate(p, n, max);
	rng = seed * 0x9e3779b97f4a7c15ull | 1;
	damage(p, &n);
	return n;
}

int LLVMFuzzerTestOneInput(const u8 *p, size_t n);
int LLVMFuzzerTestOneInput(const u8 *p, size_t n)
{
	if (n > MAX_IMAGE)
		return 0;
	seed_by(p, n);
	try_image(p, n, format);
	return 0;
}
#else
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

/* Few bytes that are not zero: a small input is a fast one. */
static void fill(struct blk *b)
{
	static u8 data[65536];
	u32 unit = image_compressed_unit(b);
	struct err e;

	for (unsigned i = 0; i < 6; i++) {
		struct image_packer *p;
		u64 off = (u64)i * 65536 * 3;
		u32 len = unit;

		data[0] = data[100] = (u8)(i + 1);
		if (unit && unit <= sizeof data && i % 2) {
			p = image_packer_new(b, &e);
			if (!p || image_packer_put(p, off, data, len, &e) ||
			    image_packer_finish(p, &e))
				exit(1);
			image_packer_free(p);
		}
		if ((!unit || i % 2 == 0) && off + sizeof data <= b->info.size &&
		    blk_write_now(b, off, data, 512))
			continue;
	}
	bitmaps(b);
	if (image_snapshot_create(b, "one", &e) || image_finish(b, &e))
		return;
}

/* A good image of this kind. Return: its size. */
static size_t make_seed(const struct seed *s, u8 *image)
{
	struct image_opts o = { .no_backing = true, .secret = "sesame" };
	struct err e = { 0 };
	struct blk *b = mem_file_open(loop, NULL, 0, file_max(s->f), next_random);
	size_t n;

	if (image_create(b, s->f, &s->c, &e) || !(b = image_open(b, s->f, &o, &e))) {
		fprintf(stderr, "disk-fuzz: %s\n", e.msg);
		exit(1);
	}
	fill(b);
	blk_close(b);
	n = mem_file_pack(image, MAX_IMAGE);
	if (!n) {
		fputs("disk-fuzz: the seed is too large\n", stderr);
		exit(1);
	}
	return n;
}

static int write_seeds(const char *dir, u8 *const *good, const size_t *n)
{
	char path[4096];

	for (unsigned i = 0; i < array_len(seeds); i++) {
		int fd;

		snprintf(path, sizeof path, "%s/%s", dir, image_format_name(seeds[i].f));
		mkdir(path, 0777);
		snprintf(path, sizeof path, "%s/%s/seed-%u", dir, image_format_name(seeds[i].f),
			 i);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		if (fd < 0 || fd_write_full(fd, good[i], n[i])) {
			perror(path);
			return 1;
		}
		close(fd);
	}
	return 0;
}

static bool timed_try(const u8 *p, size_t n, enum image_format f, const char *what)
{
	u64 t = os_now_ns();

	try_image(p, n, f);
	t = os_now_ns() - t;
	if (t < 60000000000u)
		return true;
	printf("%s: took %llu s\n", what, (unsigned long long)(t / 1000000000u));
	return false;
}

static bool replay_file(const char *path, u8 *work, enum image_format f)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	bool ok;

	if (fd < 0 || fstat(fd, &st) || st.st_size > MAX_IMAGE ||
	    fd_read_full(fd, work, (size_t)st.st_size)) {
		perror(path);
		return false;
	}
	close(fd);
	seed_by(work, (size_t)st.st_size);
	ok = timed_try(work, (size_t)st.st_size, f, path);
	return ok;
}

static int replay(const char *dir, u8 *work)
{
	unsigned long long n = 0;
	bool ok = true;

	for (enum image_format f = IMAGE_QCOW2; f < IMAGE_NR; f++) {
		char path[4096];
		struct dirent *d;
		DIR *o;

		snprintf(path, sizeof path, "%s/%s", dir, image_format_name(f));
		o = opendir(path);
		while (o && (d = readdir(o))) {
			if (d->d_name[0] == '.')
				continue;
			snprintf(path, sizeof path, "%s/%s/%s", dir, image_format_name(f),
				 d->d_name);
			ok = replay_file(path, work, f) && ok;
			n++;
		}
		if (o)
			closedir(o);
	}
	printf("%llu images replayed\n", n);
	return ok && n ? 0 : 1;
}

static bool run(u64 seconds, u64 seed, u8 *const *good, const size_t *n, u8 *work)
{
	u64 end = os_now_ns() + seconds * 1000000000u, runs = 0;
	bool ok = true;

	for (; ok && os_now_ns() < end; seed++, runs++) {
		unsigned i = (unsigned)(seed % array_len(seeds));
		size_t len = n[i];
		char what[40];

		snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
		rng = seed * 0x9e3779b97f4a7c15ull | 1;
		memcpy(work, good[i], len);
		damage(work, &len);
		ok = timed_try(work, len, seeds[i].f, what);
	}
	printf("%llu damaged images\n", (unsigned long long)runs);
	return ok;
}

int main(int argc, char **argv)
{
	u8 *image = malloc(MAX_IMAGE), *good[array_len(seeds)];
	size_t n[array_len(seeds)];
	struct err e;
	int status;

	loop = loop_new(&e);
	for (unsigned i = 0; i < array_len(seeds); i++) {
		n[i] = make_seed(&seeds[i], image);
		good[i] = malloc(n[i]);
		memcpy(good[i], image, n[i]);
	}
	if (argc == 3 && !strcmp(argv[1], "seeds"))
		status = write_seeds(argv[2], good, n);
	else if (argc == 3 && !strcmp(argv[1], "replay"))
		status = replay(argv[2], image);
	else
		status = !run(argc > 1 ? strtoull(argv[1], NULL, 10) : 5,
			      argc > 2 ? strtoull(argv[2], NULL, 10) : 1, good, n, image);
	for (unsigned i = 0; i < array_len(seeds); i++)
		free(good[i]);
	free(image);
	loop_free(loop);
	return status;
}
#endif
