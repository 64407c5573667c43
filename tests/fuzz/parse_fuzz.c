// SPDX-License-Identifier: Apache-2.0
/*
 * parse_fuzz.c - hostile bytes for every parser that takes a file or text from outside: fuzz
 * targets (target.h). Disk images have a program of their own (disk_fuzz.c).
 */
#include "target.h"

#include "boot/boot.h"
#include "boot/boot_int.h"
#include "cfg/cfg.h"
#include "cpu/x86_state.h"
#include "fw/fw.h"
#include "mem/mem.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* The same file every time, with other contents. */
static int file_of(const u8 *p, size_t len)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("input", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, p, len, 0) != (ssize_t)len)
		abort();
	return fd;
}

static int parse_gzip(const u8 *p, size_t len, struct err *e)
{
	i32 fd = fcntl(file_of(p, len), F_DUPFD_CLOEXEC, 0); /* it is closed and replaced */
	int r = boot_gunzip(&fd, "kernel", e);

	close(fd);
	return r;
}

static int parse_bzimage(const u8 *p, size_t len, struct err *e)
{
	static int out = -1;

	if (out < 0)
		out = memfd_create("out", MFD_CLOEXEC);
	if (ftruncate(out, 0) || lseek(out, 0, SEEK_SET))
		abort();
	return vmlinux_extract(file_of(p, len), out, e);
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

const struct fuzz_target fuzz_targets[] = {
	{ .name = "kernel", .run = parse_kernel },
	{ .name = "config", .run = parse_config },
	{ .name = "options", .run = parse_options },
	{ .name = "gzip", .run = parse_gzip },
	{ .name = "bzimage", .run = parse_bzimage },
	{ .name = "disk-kernel", .run = parse_disk_kernel },
	{ 0 },
};
