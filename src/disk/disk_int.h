// SPDX-License-Identifier: Apache-2.0
/* disk_int.h - inside disk/: what the subcommands share */
#ifndef DISK_DISK_INT_H
#define DISK_DISK_INT_H

#include "disk/disk.h"
#include "os/os.h"

#include <signal.h>

enum { DISK_OK, DISK_FAILED, DISK_USAGE, DISK_LEAKS, DISK_ERRORS, DISK_INTERRUPTED = 130 };

/* The options of all subcommands; each accepts some of them. */
enum { BENCH_BOTH, BENCH_RANDOM, BENCH_SEQUENTIAL };

struct disk_args {
	const char *word[4]; /* what is no option */
	int nr_word;
	const char *format, *out_format, *backing, *backing_format, *snapshot;
	const char *subformat, *secret_file, *socket, *repair, *tcp;
	struct disk_policy policy;
	struct image_create create;
	char secret[512];
	bool json, quiet, compress, force, shrink, sync, read_only, has_secret, raw_map;
	u64 depth, seconds, block, granularity;
	int pattern;
	bool list, make, apply, remove;
	bool write;
	bool direct, write_through, no_flush; /* --cache */

	/* What is open before the jail is entered; -1: nothing. */
	int nbd_fd[4]; /* to the server that word[i] names */
	char nbd_export[4][DISK_PATH];
	int listen_fd; /* serve */

	/* Of a running machine. */
	const char *vm, *disk, *bitmap, *above; /* vm NULL: of files */
	bool between, existing, pivot, persistent;
	u64 rate;
};

struct disk_command {
	const char *name, *usage, *help, *options; /* names of options, space-separated */
	int min_words, max_words;
	int (*fn)(struct disk_args *a);
};

extern const struct disk_command disk_commands[];
extern const unsigned disk_nr_commands;

extern volatile sig_atomic_t disk_interrupted; /* a signal asked us to stop */
void disk_catch_signals(void);

int disk_usage(const char *what); /* prints; returns DISK_USAGE */
void disk_print_safe(const char *s); /* on stdout, without control characters */
int disk_fail(const struct err *e); /* prints; returns DISK_FAILED or DISK_INTERRUPTED */
bool disk_parse_size(const char *s, u64 *ret) MUST_CHECK;
const char *disk_size_text(u64 n, char buf[32]); /* "1.5 GiB" */

/* Open @path with all it stands on. The loop is the caller's. */
struct blk *disk_open(struct loop *l, struct disk_args *a, const char *path, const char *format,
		      bool write, bool alone, struct err *e) MUST_CHECK;

/* nbd:// and nbd+unix:// addresses instead of paths. Connect: a socket or -errno. */
bool disk_is_nbd(const char *path);
/* Connect to the servers that words name, listen for serve: into @a. */
int disk_open_sockets(struct disk_args *a, bool serve, struct err *e) MUST_CHECK;
int disk_connect_nbd(const char *path, char ret_export[DISK_PATH], struct err *e) MUST_CHECK;

/* -- progress on a terminal ---------------------------------------------------------- */

struct progress {
	bool on;
	u64 total, done, last_ns, start_ns;
};

void progress_begin(struct progress *p, u64 total, bool quiet);
void progress_add(struct progress *p, u64 n);
void progress_end(struct progress *p);

/* -- a new file: written under another name, renamed when complete ------------------------ */

struct new_file {
	char path[DISK_PATH], temp[DISK_PATH + 16];
	int fd;
};

int new_file_begin(struct new_file *f, const char *path, bool force, struct err *e) MUST_CHECK;
int new_file_commit(struct new_file *f, bool sync, struct err *e) MUST_CHECK;
void new_file_drop(struct new_file *f);

/* -- copying ---------------------------------------------------------------------------------- */

/* The state of bytes through the whole chain: BLK_DATA or BLK_ZERO. */
int copy_status(struct blk *b, u64 off, u64 len, struct blk_extent *ret) MUST_CHECK;
/* All of @src into @dst, which reads as zeroes. */
int copy_image(struct loop *l, struct blk *src, struct blk *dst, struct progress *p,
	       struct err *e) MUST_CHECK;
int copy_compressed(struct loop *l, struct blk *src, struct blk *dst, struct progress *p,
		    struct err *e) MUST_CHECK;
/* What @b itself holds (zeroes too) into the node below, @to. */
int copy_down(struct blk *b, struct blk *to, struct progress *p, struct err *e) MUST_CHECK;
/* Where @old and @new differ as backing of @b, give @b its own copy of @old's. */
int copy_up_difference(struct blk *b, struct blk *old, struct blk *newer, struct progress *p,
		       struct err *e) MUST_CHECK;

/* -- subcommands ------------------------------------------------------------------------------- */

int cmd_create(struct disk_args *a);
int cmd_convert(struct disk_args *a);
int cmd_info(struct disk_args *a);
int cmd_check(struct disk_args *a);
int cmd_resize(struct disk_args *a);
int cmd_snapshot(struct disk_args *a);
int cmd_bitmap(struct disk_args *a);
int cmd_rebase(struct disk_args *a);
int cmd_commit(struct disk_args *a);
int cmd_map(struct disk_args *a);
int cmd_bench(struct disk_args *a);
int cmd_serve(struct disk_args *a);
int cmd_mirror(struct disk_args *a);
int cmd_mount(struct disk_args *a);

/*
 * Before a command looks at an image: words @first and, @nr in all, behind it are the
 * files it works on. @fuse: a FUSE device will come.
 */
int disk_confine(const struct disk_args *a, unsigned first, unsigned nr, bool fuse,
		 struct err *e) MUST_CHECK;

/* Any of them with --vm. */
int disk_remote(const char *command, struct disk_args *a);

#endif
