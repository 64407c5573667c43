// SPDX-License-Identifier: Apache-2.0
/* disk.c - "vireo disk": options, help, dispatch (docs/man/vireo-disk.1) */
#include "disk/disk_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct disk_command disk_commands[] = {
	{ "create", "[OPTION]... FILE [SIZE]", "make an empty image",
	  "format backing backing-format allow-backing cluster-size refcount-bits compat subformat "
	  "lazy subclusters zstd encrypt secret-file iter-time force quiet", 1, 2, cmd_create },
	{ "convert", "[OPTION]... SOURCE TARGET", "copy an image into another format",
	  "format output backing backing-format allow-backing cluster-size refcount-bits compat "
	  "subformat lazy subclusters zstd encrypt secret-file iter-time compress force quiet sync "
	  "snapshot", 2, 2, cmd_convert },
	{ "info", "[OPTION]... FILE", "say what an image is", "format json vm", 1, 1, cmd_info },
	{ "check", "[OPTION]... FILE", "look for errors; mend them",
	  "format json repair secret-file quiet", 1, 1, cmd_check },
	{ "resize", "[OPTION]... FILE [+|-]SIZE", "change the size of the disk",
	  "format shrink allow-backing secret-file vm disk quiet", 2, 2, cmd_resize },
	{ "snapshot", "[OPTION]... list|create|apply|delete FILE [NAME]", "snapshots in an image",
	  "format json allow-backing secret-file vm disk quiet", 2, 3, cmd_snapshot },
	{ "bitmap", "[OPTION]... list|add|remove|clear|enable|disable|merge FILE [NAME [FROM]]",
	  "dirty bitmaps in an image", "format json granularity secret-file vm disk persistent", 2, 4, cmd_bitmap },
	{ "rebase", "[OPTION]... FILE", "change what an image stands on",
	  "format backing backing-format allow-backing unsafe secret-file quiet", 1, 1,
	  cmd_rebase },
	{ "commit", "[OPTION]... FILE", "write an image's data into what it stands on",
	  "format allow-backing secret-file quiet vm disk between above rate", 1, 1, cmd_commit },
	{ "mirror", "--vm NAME [OPTION]... FILE", "copy the disk of a running machine",
	  "format vm disk existing pivot bitmap rate quiet", 1, 1, cmd_mirror },
	{ "map", "[OPTION]... FILE", "where the data is",
	  "format json allow-backing secret-file", 1, 1, cmd_map },
	{ "bench", "[OPTION]... FILE", "measure an image's speed",
	  "format json allow-backing secret-file write depth block seconds pattern cache", 1, 1, cmd_bench },
	{ "mount", "[OPTION]... FILE DIRECTORY", "show a disk as the file DIRECTORY/disk",
	  "format allow-backing secret-file write", 2, 2, cmd_mount },
	{ "serve", "[OPTION]... FILE", "offer a disk to NBD clients",
	  "format allow-backing secret-file socket tcp read-only", 1, 1, cmd_serve },
};

const unsigned disk_nr_commands = array_len(disk_commands);

/* -- options ---------------------------------------------------------------------------------- */

struct option {
	const char *name, *short_name, *arg, *help;
	int (*set)(struct disk_args *a, const char *val, struct err *e);
};

static int want(struct err *e, const char *opt, const char *val, const char *wanted)
{
	return err_set(e, EINVAL, "--%s: \"%.60s\": want %s", opt, val, wanted);
}

#define SET_TEXT(fn, member)                                                                       \
	static int fn(struct disk_args *a, const char *val, struct err *e UNUSED)                  \
	{                                                                                          \
		a->member = val;                                                                   \
		return 0;                                                                          \
	}
#define SET_FLAG(fn, member)                                                                       \
	static int fn(struct disk_args *a, const char *val UNUSED, struct err *e UNUSED)           \
	{                                                                                          \
		a->member = true;                                                                  \
		return 0;                                                                          \
	}

SET_TEXT(set_format, format)
SET_TEXT(set_output, out_format)
SET_TEXT(set_backing, backing)
SET_TEXT(set_backing_format, backing_format)
SET_TEXT(set_subformat, create.subformat)
SET_TEXT(set_secret_file, secret_file)
SET_TEXT(set_socket, socket)
SET_TEXT(set_tcp, tcp)
SET_TEXT(set_snapshot, snapshot)
SET_TEXT(set_vm, vm)
SET_TEXT(set_disk, disk)
SET_TEXT(set_bitmap, bitmap)
SET_TEXT(set_above, above)
SET_FLAG(set_between, between)
SET_FLAG(set_existing, existing)
SET_FLAG(set_pivot, pivot)
SET_FLAG(set_persistent, persistent)
SET_FLAG(set_json, json)
SET_FLAG(set_quiet, quiet)
SET_FLAG(set_compress, compress)
SET_FLAG(set_force, force)
SET_FLAG(set_shrink, shrink)
SET_FLAG(set_sync, sync)
SET_FLAG(set_unsafe, force)
SET_FLAG(set_write, write)
SET_FLAG(set_read_only, read_only)
SET_FLAG(set_lazy, create.lazy_refcounts)
SET_FLAG(set_subclusters, create.extended_l2)
SET_FLAG(set_zstd, create.zstd)
SET_FLAG(set_encrypt, has_secret)

static int set_allow(struct disk_args *a, const char *val, struct err *e)
{
	if (a->policy.nr_allow == array_len(a->policy.allow))
		return err_set(e, EINVAL, "--allow-backing: want it at most %zu times",
			       array_len(a->policy.allow));
	a->policy.allow[a->policy.nr_allow++] = val;
	return 0;
}

static int set_u32(const char *opt, const char *val, u32 *ret, const char *wanted, struct err *e)
{
	u64 n;

	if (!disk_parse_size(val, &n) || !n || n > UINT32_MAX)
		return want(e, opt, val, wanted);
	*ret = (u32)n;
	return 0;
}

static int set_cluster(struct disk_args *a, const char *val, struct err *e)
{
	return set_u32("cluster-size", val, &a->create.cluster_size, "a size such as 64K", e);
}

static int set_refcount(struct disk_args *a, const char *val, struct err *e)
{
	return set_u32("refcount-bits", val, &a->create.refcount_bits, "1 to 64", e);
}

static int set_iter(struct disk_args *a, const char *val, struct err *e)
{
	return set_u32("iter-time", val, &a->create.luks_iter_ms, "milliseconds", e);
}

static int set_depth(struct disk_args *a, const char *val, struct err *e)
{
	return disk_parse_size(val, &a->depth) && a->depth && a->depth <= 256 ?
		       0 :
		       want(e, "depth", val, "1 to 256");
}

static int set_block(struct disk_args *a, const char *val, struct err *e)
{
	return disk_parse_size(val, &a->block) && a->block >= 512 && a->block <= 16u << 20 &&
			       a->block % 512 == 0 ?
		       0 :
		       want(e, "block", val, "512 to 16M, a multiple of 512");
}

static int set_rate(struct disk_args *a, const char *val, struct err *e)
{
	return disk_parse_size(val, &a->rate) && a->rate ?
		       0 :
		       want(e, "rate", val, "bytes per second, such as 50M");
}

static int set_pattern(struct disk_args *a, const char *val, struct err *e)
{
	a->pattern = !strcmp(val, "random")	? BENCH_RANDOM :
		     !strcmp(val, "sequential") ? BENCH_SEQUENTIAL :
						  BENCH_BOTH;
	return a->pattern ? 0 : want(e, "pattern", val, "random or sequential");
}

static int set_cache(struct disk_args *a, const char *val, struct err *e)
{
	a->direct = !strcmp(val, "none") || !strcmp(val, "directsync");
	a->write_through = !strcmp(val, "writethrough") || !strcmp(val, "directsync");
	a->no_flush = !strcmp(val, "unsafe");
	return a->direct || a->write_through || a->no_flush || !strcmp(val, "writeback") ?
		       0 :
		       want(e, "cache", val, "none, writeback, writethrough, directsync or unsafe");
}

static int set_granularity(struct disk_args *a, const char *val, struct err *e)
{
	return disk_parse_size(val, &a->granularity) && a->granularity >= 512 &&
			       a->granularity <= 1u << 31 &&
			       !(a->granularity & (a->granularity - 1)) ?
		       0 :
		       want(e, "granularity", val, "a power of two from 512 to 2G");
}

static int set_seconds(struct disk_args *a, const char *val, struct err *e)
{
	return disk_parse_size(val, &a->seconds) && a->seconds && a->seconds <= 3600 ?
		       0 :
		       want(e, "seconds", val, "1 to 3600");
}

static int set_compat(struct disk_args *a, const char *val, struct err *e)
{
	a->create.compat_v2 = !strcmp(val, "2");
	return a->create.compat_v2 || !strcmp(val, "3") ? 0 : want(e, "compat", val, "2 or 3");
}

static int set_repair(struct disk_args *a, const char *val, struct err *e)
{
	a->repair = val;
	return !strcmp(val, "leaks") || !strcmp(val, "all") ? 0 :
							      want(e, "repair", val, "leaks or all");
}

static const struct option options[] = {
	{ "format", "-f", "FORMAT", "raw, qcow2, vpc, vhdx, vdi, vmdk or luks", set_format },
	{ "output", "-O", "FORMAT", "the target's format (raw)", set_output },
	{ "backing", "-b", "FILE", "what the image stands on", set_backing },
	{ "backing-format", "-F", "FORMAT", "the format of that", set_backing_format },
	{ "allow-backing", NULL, "PATH|any", "other files an image may name; may repeat",
	  set_allow },
	{ "cluster-size", NULL, "SIZE", "unit of allocation", set_cluster },
	{ "refcount-bits", NULL, "N", "qcow2: width of refcounts (16)", set_refcount },
	{ "compat", NULL, "2|3", "qcow2: version (3)", set_compat },
	{ "subformat", NULL, "NAME",
	  "vpc, vdi, vhdx: dynamic, fixed; vmdk: monolithicSparse, streamOptimized, monolithicFlat",
	  set_subformat },
	{ "lazy", NULL, NULL, "qcow2: lazy refcounts", set_lazy },
	{ "subclusters", NULL, NULL, "qcow2: extended L2 entries", set_subclusters },
	{ "zstd", NULL, NULL, "qcow2: compress with Zstandard", set_zstd },
	{ "encrypt", NULL, NULL, "qcow2, luks: encrypt (want --secret-file)", set_encrypt },
	{ "secret-file", NULL, "FILE", "file that holds the passphrase; - = standard input",
	  set_secret_file },
	{ "iter-time", NULL, "MS", "time to spend on deriving the key (1000)", set_iter },
	{ "compress", "-c", NULL, "compress the target", set_compress },
	{ "snapshot", "-l", "NAME", "copy this snapshot instead of the present state",
	  set_snapshot },
	{ "force", NULL, NULL, "replace an existing file", set_force },
	{ "quiet", "-q", NULL, "no progress, no findings", set_quiet },
	{ "sync", NULL, NULL, "wait until the target is on the disk", set_sync },
	{ "json", NULL, NULL, "print JSON", set_json },
	{ "repair", "-r", "leaks|all", "mend what is found", set_repair },
	{ "shrink", NULL, NULL, "allow the disk to lose its end", set_shrink },
	{ "unsafe", "-u", NULL, "change the name only; the data is known to be the same",
	  set_unsafe },
	{ "write", "-w", NULL, "allow writing; bench: destroy the data", set_write },
	{ "depth", "-d", "N", "requests in flight (32)", set_depth },
	{ "block", "-s", "SIZE", "bytes of a request (4K)", set_block },
	{ "vm", NULL, "NAME", "of a running machine: no FILE", set_vm },
	{ "disk", NULL, "ID", "with --vm: which of its disks (disk0)", set_disk },
	{ "between", NULL, NULL, "commit the image below the machine's one", set_between },
	{ "above", NULL, "FILE", "commit the image that this one of the chain stands on", set_above },
	{ "existing", NULL, NULL, "the target is there: write it, do not make it", set_existing },
	{ "pivot", NULL, NULL, "let the machine go on there", set_pivot },
	{ "bitmap", NULL, "NAME", "copy only what this bitmap marks, and clear it", set_bitmap },
	{ "persistent", NULL, NULL, "with --vm: keep it in the image", set_persistent },
	{ "rate", NULL, "SIZE", "at most so many bytes per second", set_rate },
	{ "granularity", "-g", "SIZE", "what one bit stands for (64K)", set_granularity },
	{ "seconds", NULL, "N", "how long (5)", set_seconds },
	{ "pattern", NULL, "WORD", "random or sequential (both)", set_pattern },
	{ "cache", NULL, "MODE", "none, writeback, writethrough, directsync or unsafe", set_cache },
	{ "socket", NULL, "PATH", "listen on a Unix socket", set_socket },
	{ "tcp", NULL, "[ADDRESS:]PORT", "listen on TCP (127.0.0.1)", set_tcp },
	{ "read-only", NULL, NULL, "refuse writes", set_read_only },
};

static bool takes(const struct disk_command *c, const struct option *o)
{
	size_t n = strlen(o->name);

	for (const char *p = c->options; (p = strstr(p, o->name)); p += n)
		if ((p == c->options || p[-1] == ' ') && (!p[n] || p[n] == ' '))
			return true;
	return false;
}

static const struct option *find_option(const struct disk_command *c, const char *word)
{
	size_t n = strcspn(word, "=");

	for (size_t i = 0; i < array_len(options); i++) {
		const struct option *o = &options[i];

		if (!takes(c, o))
			continue;
		if (o->short_name && !strcmp(o->short_name, word))
			return o;
		if (!strncmp(word, "--", 2) && strlen(o->name) == n - 2 &&
		    !strncmp(o->name, word + 2, n - 2))
			return o;
	}
	return NULL;
}

static int parse(const struct disk_command *c, int argc, char **argv, struct disk_args *a,
		 struct err *e)
{
	for (int i = 0; i < argc; i++) {
		const struct option *o;
		const char *val;

		if (argv[i][0] != '-' || !argv[i][1] ||
		    (argv[i][1] >= '0' && argv[i][1] <= '9')) {
			if (a->nr_word == c->max_words)
				return err_set(e, EINVAL, "%s: \"%.80s\": one word too many",
					       c->name, argv[i]);
			a->word[a->nr_word++] = argv[i];
			continue;
		}
		o = find_option(c, argv[i]);
		if (!o)
			return err_set(e, EINVAL, "%s: %.80s: unknown option: see --help", c->name,
				       argv[i]);
		val = argv[i][1] == '-' ? strchr(argv[i], '=') : NULL;
		if (!o->arg && val)
			return err_set(e, EINVAL, "--%s: want no value", o->name);
		if (o->arg && !val && i + 1 == argc)
			return err_set(e, EINVAL, "--%s: want %s after it", o->name, o->arg);
		if (o->arg)
			val = val ? val + 1 : argv[++i];
		TRY(o->set(a, val, e));
	}
	if (a->nr_word < c->min_words - (a->vm && c->fn != cmd_mirror))
		return err_set(e, EINVAL, "%s: want %s", c->name, c->usage);
	return 0;
}

static int read_secret(struct disk_args *a, struct err *e)
{
	FILE *f;
	size_t n;

	if (!a->secret_file)
		return a->has_secret ? err_set(e, EINVAL, "--encrypt: want --secret-file") : 0;
	f = strcmp(a->secret_file, "-") != 0 ? fopen(a->secret_file, "re") : stdin;
	if (!f)
		return err_set(e, errno, "--secret-file: %.150s: %s", a->secret_file,
			       strerror(errno));
	n = fread(a->secret, 1, sizeof a->secret - 1, f);
	if (f != stdin)
		fclose(f);
	while (n && (a->secret[n - 1] == '\n' || a->secret[n - 1] == '\r'))
		n--;
	a->secret[n] = '\0';
	if (!n || strlen(a->secret) != n)
		return err_set(e, EINVAL, "--secret-file: want a passphrase of 1 to 511 bytes");
	if (a->has_secret)
		a->create.secret = a->secret;
	return 0;
}

/* -- help, dispatch --------------------------------------------------------------------- */

static void help(void)
{
	puts("usage: vireo disk COMMAND [OPTION]... FILE...\n");
	for (unsigned i = 0; i < disk_nr_commands; i++)
		printf("  %-10s %s\n", disk_commands[i].name, disk_commands[i].help);
	puts("\nvireo disk COMMAND --help lists a command's options. The manual is vireo-disk(1).");
}

static void help_on(const struct disk_command *c)
{
	printf("usage: vireo disk %s %s\n\n%s\n\n", c->name, c->usage, c->help);
	for (size_t i = 0; i < array_len(options); i++) {
		const struct option *o = &options[i];
		char left[60];

		if (!takes(c, o))
			continue;
		snprintf(left, sizeof left, "%s%s--%s%s%s", o->short_name ? o->short_name : "",
			 o->short_name ? ", " : "    ", o->name, o->arg ? " " : "",
			 o->arg ? o->arg : "");
		printf("  %-32s %s\n", left, o->help);
	}
}

int disk_main(int argc, char **argv)
{
	const struct disk_command *c = NULL;
	static struct disk_args a;
	struct err e = { 0 };

	if (argc < 1 || !strcmp(argv[0], "--help") || !strcmp(argv[0], "-h") ||
	    !strcmp(argv[0], "help")) {
		help();
		return argc < 1 ? DISK_USAGE : DISK_OK;
	}
	for (unsigned i = 0; i < disk_nr_commands; i++)
		if (!strcmp(disk_commands[i].name, argv[0]))
			c = &disk_commands[i];
	if (!c) {
		fprintf(stderr, "vireo: disk: \"%.80s\": unknown command: see vireo disk --help\n",
			argv[0]);
		return DISK_USAGE;
	}
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			help_on(c);
			return DISK_OK;
		}
	}
	if (parse(c, argc - 1, argv + 1, &a, &e) || read_secret(&a, &e)) {
		fprintf(stderr, "vireo: disk: %s\n", e.msg);
		return DISK_USAGE;
	}
	disk_catch_signals();
	if (a.vm)
		return disk_remote(c->name, &a);
	if (c->fn == cmd_serve && !a.socket == !a.tcp)
		return disk_usage("serve: want --socket PATH or --tcp [ADDRESS:]PORT");
	if (disk_open_sockets(&a, c->fn == cmd_serve, &e))
		return disk_fail(&e);
	if (c->fn != cmd_mount && /* which does it itself */
	    disk_confine(&a, c->fn == cmd_snapshot || c->fn == cmd_bitmap,
			 c->fn == cmd_convert ? 2 : 1, false, &e))
		return disk_fail(&e);
	return c->fn(&a);
}
