// SPDX-License-Identifier: Apache-2.0
/*
 * parse_fuzz.c - hostile bytes for every parser that takes a file or text from outside
 *
 *	parse-fuzz list				names of the parsers
 *	parse-fuzz PARSER FILE...		inputs from files
 *	parse-fuzz PARSER --mutate SEED COUNT FILE...	COUNT changed copies of the files
 *
 * Ends with "N passed, N failed, 0 skipped". A failure is a refusal without a sentence; a
 * crash, hang or sanitizer report ends the program. With -DLIBFUZZER it is a libFuzzer target
 * for the parser that the environment variable PARSER names (make fuzz). Disk images have a
 * fuzzer of their own (disk_fuzz.c).
 */
#include "boot/boot.h"
#include "boot/boot_int.h"
#include "cfg/cfg.h"
#include "cpu/x86_state.h"
#include "fw/fw.h"
#include "mem/mem.h"
#include "os/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define INPUT_MAX (1u << 20)
#define RAM	  (16ull << 20)
#define WORDS_MAX 64

/* Each returns 0 (taken) or negative with a sentence in *e (refused). */

static int parse_kernel(const u8 *p, size_t len, struct err *e)
{
	static struct mem *m;
	static const struct fw_board board = { .nr_cpus = 1, .ecam_base = 0xe0000000,
					       .nr_buses = 1, .mem_size = RAM };
	struct fw_file kernel = fw_file_of("kernel", p, len);
	struct fw_file module = fw_file_of("module", p, len < 64 ? len : 64);
	struct x86_state s;
	struct fw_map map;
	struct fw_boot b = { .kernel = &kernel, .module = &module, .nr_modules = len & 1,
			     .cmdline = "quiet", .map = &map };

	if (!m)
		m = mem_new(RAM, e);
	if (!m)
		abort();
	fw_memory_map(m, &board, &map);
	x86_state_reset(&s, true);
	return fw_load_kernel(m, &b, &s, e);
}

static int parse_config(const u8 *p, size_t len, struct err *e)
{
	static struct vm_config c;
	char *text;
	int r;

	cfg_init(&c);
	r = cfg_from_json(&c, (const char *)p, len, e);
	if (!r) { /* what was taken can be said again, and is taken again */
		text = cfg_to_json(&c);
		cfg_fini(&c);
		cfg_init(&c);
		if (!text || cfg_from_json(&c, text, strlen(text), e))
			abort();
		free(text);
	}
	cfg_fini(&c);
	return r;
}

static int parse_options(const u8 *p, size_t len, struct err *e)
{
	static struct vm_config c;
	char *text = malloc(len + 1), *argv[WORDS_MAX + 1];
	int argc = 0, r;

	if (!text)
		abort();
	memcpy(text, p, len);
	text[len] = 0;
	for (char *w = text; w <= text + len && argc < WORDS_MAX; w += strlen(w) + 1)
		argv[argc++] = w;
	argv[argc] = NULL;
	cfg_init(&c);
	r = cfg_parse_args(&c, argc, argv, e);
	if (!r)
		r = cfg_check(&c, e);
	free(text);
	return r;
}

static int file_of(const u8 *p, size_t len)
{
	int fd = memfd_create("input", MFD_CLOEXEC);

	if (fd < 0 || write(fd, p, len) != (ssize_t)len)
		abort();
	return fd;
}

static int parse_gzip(const u8 *p, size_t len, struct err *e)
{
	i32 fd = file_of(p, len);
	int r = boot_gunzip(&fd, "kernel", e);

	close(fd);
	return r;
}

static int parse_bzimage(const u8 *p, size_t len, struct err *e)
{
	int fd = file_of(p, len), out = memfd_create("out", MFD_CLOEXEC);
	int r = vmlinux_extract(fd, out, e);

	close(fd);
	close(out);
	return r;
}

struct bytes {
	const u8 *p;
	size_t len;
};

static int read_bytes(const struct disk_reader *d, u64 off, void *buf, size_t len)
{
	const struct bytes *b = d->ctx;

	if (off > b->len || len > b->len - off)
		return -EIO;
	memcpy(buf, b->p + off, len);
	return 0;
}

static int parse_disk_kernel(const u8 *p, size_t len, struct err *e)
{
	struct bytes b = { p, len };
	struct disk_reader d = { .size = len, .read = read_bytes, .ctx = &b };
	char root[DISK_ROOT_MAX];
	int kernel = -1, initrd = -1;
	int r = disk_find_kernel_in(&d, &kernel, &initrd, root, e);

	fd_close(&kernel);
	fd_close(&initrd);
	return r;
}

static const struct parser {
	const char *name;
	int (*parse)(const u8 *p, size_t len, struct err *e);
} parsers[] = {
	{ "kernel", parse_kernel },   { "config", parse_config },
	{ "options", parse_options }, { "gzip", parse_gzip },
	{ "bzimage", parse_bzimage }, { "disk-kernel", parse_disk_kernel },
};

static const struct parser *find(const char *name)
{
	for (unsigned i = 0; name && i < array_len(parsers); i++)
		if (!strcmp(parsers[i].name, name))
			return &parsers[i];
	fprintf(stderr, "parse-fuzz: %s: no such parser: see parse-fuzz list\n", name ? name : "");
	exit(2);
}

/* false: refused without a sentence. */
static bool feed(const struct parser *q, const u8 *p, size_t len, bool say)
{
	struct err e = { 0 };
	int r = q->parse(p, len, &e);

	if (say)
		printf("%s: %s\n", q->name, r < 0 ? e.msg : "taken");
	return r >= 0 || strlen(e.msg) > 5;
}

#ifdef LIBFUZZER

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	static const struct parser *q;

	if (!q)
		q = find(getenv("PARSER"));
	if (!feed(q, data, len, false))
		abort();
	return 0;
}

#else

static u8 input[INPUT_MAX], changed[INPUT_MAX];
static unsigned long passed, failed;

static u64 rnd(u64 *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* A few bytes of @input changed, repeated or cut off. Return: the new length. */
static size_t mutate(size_t len, u64 *x)
{
	static const u8 edge[] = { 0, 1, 0x7f, 0x80, 0xff };
	size_t n = len;

	memcpy(changed, input, len);
	for (unsigned k = 1 + rnd(x) % 6; k && n; k--) {
		size_t at = rnd(x) % n;

		switch (rnd(x) % 8) {
		case 0: n = at + 1; break;
		case 1: memmove(changed + at, changed + rnd(x) % n / 2, (n - at) / 2); break;
		case 2: memset(changed + at, edge[rnd(x) % sizeof edge], n - at < 4 ? n - at : 4); break;
		case 3: changed[at] = edge[rnd(x) % sizeof edge]; break;
		case 4: changed[at] ^= (u8)(1 << rnd(x) % 8); break;
		default: changed[at] = (u8)rnd(x);
		}
	}
	return n;
}

static void run_one(const struct parser *q, const u8 *p, size_t len, bool say)
{
	/* its own allocation, so that the sanitizers see every overread */
	u8 *copy = malloc(len ? len : 1);

	memcpy(copy, p, len);
	if (feed(q, copy, len, say))
		passed++;
	else
		failed++;
	free(copy);
}

int main(int argc, char **argv)
{
	const struct parser *q;
	unsigned long count = 0;
	u64 x = 88172645463325252ull;
	int first = 2;

	if (argc == 2 && !strcmp(argv[1], "list")) {
		for (unsigned i = 0; i < array_len(parsers); i++)
			puts(parsers[i].name);
		return 0;
	}
	q = find(argc > 1 ? argv[1] : NULL);
	if (argc > 5 && !strcmp(argv[2], "--mutate")) {
		x ^= strtoull(argv[3], NULL, 0) * 0x9e3779b97f4a7c15ull;
		count = strtoul(argv[4], NULL, 0);
		first = 5;
	}
	for (int i = first; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		size_t len = f ? fread(input, 1, sizeof input, f) : 0;

		if (f)
			fclose(f);
		run_one(q, input, len, !count);
		for (unsigned long n = 0; n < count; n++)
			run_one(q, changed, mutate(len, &x), false);
	}
	printf("%lu passed, %lu failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}

#endif
