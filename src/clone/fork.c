// SPDX-License-Identifier: Apache-2.0
/*
 * fork.c - "vireo fork": copies of a running machine; see clone.h
 *
 * The machine saves itself into memory files and goes on above them. They are sealed, and
 * each copy is a process that does what "vireo restore" does, with the descriptors, and a monitor
 * in a jail of its own: what nobody writes to is in memory once. docs/decisions/0110-fork-by-sealed-memory.md.
 */
#include "clone/clone.h"
#include "clone/clone_int.h"
#include "ctl/ctl.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COPIES_MAX 1000
#define AT_ONCE	   16	 /* copies that are starting */
#define START_MS   60000 /* until one runs */

enum { FD_READY = 3, FD_FILES = 4 };

struct copy {
	char name[CFG_NAME], serial[CFG_PATH];
	int ready, errors; /* our ends of its pipes */
	struct proc proc;
	bool runs;
	u64 us; /* from spawning it to its guest's going on */
};

struct fork {
	const char *parent, *pattern, *serial;
	unsigned nr;
	bool json, help;
	int fd[SNAPSHOT_FILES];
	unsigned nr_fd;
	int over; /* pages that lie over fd[1], -1 = none */
	struct clone_save save;
	u64 total_us;
	struct copy *copy;
	int (*restore)(int argc, char **argv);
};

static void help(void)
{
	fputs("usage: vireo fork NAME [-n N] [OPTION]...\n\n"
	      "Makes N copies of the running machine NAME, which goes on. RAM and disks are shared\n"
	      "until somebody writes to them; what a copy writes to a disk ends with it. Each copy\n"
	      "has a name, network addresses and a VM generation ID of its own.\n\n"
	      "  -n N             how many (1)\n"
	      "  --name PATTERN   their names, with % for the number (NAME-%)\n"
	      "  --serial WHERE   their first serial port, with % for the number (none)\n"
	      "  --json           say the outcome as JSON\n",
	      stdout);
}

/* -- words ---------------------------------------------------------------------------------- */

static int parse_nr(const char *s, unsigned *ret, struct err *e)
{
	char *end;
	unsigned long n = strtoul(s, &end, 10);

	if (*s < '0' || *s > '9' || *end || n < 1 || n > COPIES_MAX)
		return err_set(e, EINVAL, "-n: \"%.40s\": want 1..%d", s, COPIES_MAX);
	*ret = (unsigned)n;
	return 0;
}

static int parse(struct fork *f, int argc, char **argv, struct err *e)
{
	f->nr = 1;
	for (int i = 0; i < argc; i++) {
		const char *w = argv[i];

		if (!strcmp(w, "--help") || !strcmp(w, "-h"))
			f->help = true;
		else if (!strcmp(w, "--json"))
			f->json = true;
		else if (!strcmp(w, "-n") && i + 1 < argc)
			TRY(parse_nr(argv[++i], &f->nr, e));
		else if (!strcmp(w, "--name") && i + 1 < argc)
			f->pattern = argv[++i];
		else if (!strcmp(w, "--serial") && i + 1 < argc)
			f->serial = argv[++i];
		else if (*w == '-' || f->parent)
			return err_set(e, EINVAL, "\"%.80s\": want NAME, -n N or --name PATTERN", w);
		else
			f->parent = w;
	}
	if (f->help)
		return 0;
	if (!f->parent)
		return err_set(e, EINVAL, "want the name of a running machine");
	if (f->pattern && !strchr(f->pattern, '%') && f->nr > 1)
		return err_set(e, EINVAL, "--name: \"%.60s\": want %% where the number goes",
			       f->pattern);
	return 0;
}

/* -- names: the first numbers that are free --------------------------------------------------- */

struct taken {
	char (*name)[CFG_NAME];
	unsigned nr;
};

static int note_name(const char *name, void *ctx)
{
	struct taken *t = ctx;
	void *p = realloc(t->name, (t->nr + 1) * sizeof *t->name);

	if (!p)
		return -ENOMEM;
	t->name = p;
	snprintf(t->name[t->nr++], CFG_NAME, "%s", name);
	return 0;
}

static bool is_taken(const struct taken *t, const char *name)
{
	for (unsigned i = 0; i < t->nr; i++)
		if (!strcmp(t->name[i], name))
			return true;
	return false;
}

/* The pattern with the number for its first %. */
static int put_number(const char *what, const char *pattern, unsigned number, char *ret, int size,
		      struct err *e)
{
	const char *at = strchr(pattern, '%');
	int n;

	if (at)
		n = snprintf(ret, (size_t)size, "%.*s%u%s", (int)(at - pattern), pattern, number,
			     at + 1);
	else
		n = snprintf(ret, (size_t)size, "%s", pattern);
	return n >= size ? err_set(e, ENAMETOOLONG, "%s: want up to %d letters", what, size - 1) : 0;
}

static int make_name(const struct fork *f, unsigned number, struct copy *c, struct err *e)
{
	char pattern[CFG_NAME + 4];

	if (!f->pattern)
		snprintf(pattern, sizeof pattern, "%.63s-%%", f->parent);
	TRY(put_number("--name", f->pattern ? f->pattern : pattern, number, c->name, CFG_NAME, e));
	return put_number("--serial", f->serial ? f->serial : "none", number, c->serial, CFG_PATH, e);
}

static int choose_names(struct fork *f, struct err *e)
{
	struct taken t = { 0 };
	unsigned number = 1;
	int r = ctl_each(note_name, &t, e);

	for (unsigned i = 0; i < f->nr && !r; i++) {
		do
			r = make_name(f, number++, &f->copy[i], e);
		while (!r && is_taken(&t, f->copy[i].name) && number < 100000);
	}
	free(t.name);
	return r;
}

/* -- what copies start from ---------------------------------------------------------------------- */

static int open_files(struct fork *f, struct err *e)
{
	static const char *const names[] = { "vireo-state", "vireo-ram" };

	for (unsigned i = 0; i < f->nr_fd; i++) {
		f->fd[i] = i < 2 ? memfd_create(names[i], MFD_CLOEXEC | MFD_ALLOW_SEALING) :
				   fd_tmpfile(0);
		if (f->fd[i] < 0)
			return err_set(e, errno, "memory file: %s", strerror(errno));
	}
	return 0;
}

static int save_parent(struct fork *f, struct err *e)
{
	TRY(clone_nr_files(f->parent, &f->nr_fd, e));
	TRY(open_files(f, e));
	f->save.freeze = true;
	TRY(clone_save(f->parent, f->fd, f->nr_fd, &f->save, e));
	for (unsigned i = 0; i < 2; i++)
		if (fcntl(f->fd[i], F_ADD_SEALS,
			  F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
			return err_set(e, errno, "memory file: cannot be sealed: %s",
				       strerror(errno));
	f->over = f->save.base < 0 ? -1 : f->fd[1];
	if (f->over >= 0)
		f->fd[1] = f->save.base;
	return 0;
}

/* -- starting them --------------------------------------------------------------------------------- */

struct start {
	const struct fork *f;
	const struct copy *c;
};

/* In the new process. */
static int be_copy(void *ctx)
{
	const struct start *x = ctx;
	char fds[128] = "", over[12], ready[12];
	const char *argv[] = { "--fds", fds, "--parent", x->f->parent, "--name", x->c->name,
			       "--serial", x->c->serial, "--ready-fd", ready, "--over-fd", over };
	int argc = array_len(argv);

	for (unsigned i = 0; i < x->f->nr_fd; i++)
		snprintf(fds + strlen(fds), sizeof fds - strlen(fds), "%s%u", i ? "," : "",
			 FD_FILES + i);
	snprintf(ready, sizeof ready, "%d", FD_READY);
	snprintf(over, sizeof over, "%u", FD_FILES + x->f->nr_fd);
	return x->f->restore(x->f->over < 0 ? argc - 2 : argc, (char **)argv);
}

static int spawn(const struct fork *f, struct copy *c, struct err *e)
{
	struct start x = { f, c };
	int ready[2], errors[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), r;
	struct proc_fd map[5 + SNAPSHOT_FILES] = { { null, 0 }, { null, 1 } };
	struct proc_spec spec = { .path = "copy", .fn = be_copy, .ctx = &x, .fd = map,
				  .new_group = true };

	if (null < 0 || fd_pipe(ready) || fd_pipe(errors))
		return err_set(e, errno, "%s: %s", c->name, strerror(errno));
	map[2] = (struct proc_fd){ errors[1], 2 };
	map[3] = (struct proc_fd){ ready[1], FD_READY };
	for (unsigned i = 0; i < f->nr_fd; i++)
		map[4 + i] = (struct proc_fd){ f->fd[i], FD_FILES + (int)i };
	spec.nr_fd = 4 + f->nr_fd;
	if (f->over >= 0)
		map[spec.nr_fd++] = (struct proc_fd){ f->over, FD_FILES + (int)f->nr_fd };
	r = proc_spawn(&c->proc, &spec, e);
	close(null);
	close(ready[1]);
	close(errors[1]);
	c->ready = ready[0];
	c->errors = errors[0];
	return r;
}

/* Until it runs, or has said why not. */
static int wait_for(struct copy *c, u64 start, struct err *e)
{
	struct pollfd p = { .fd = c->ready, .events = POLLIN };
	char text[200] = "";
	ssize_t n;
	char byte;

	if (poll(&p, 1, START_MS) == 0)
		return err_set(e, ETIMEDOUT, "%s: does not start", c->name);
	c->runs = read(c->ready, &byte, 1) == 1;
	c->us = (os_now_ns() - start) / 1000;
	if (c->runs)
		return 0;
	n = read(c->errors, text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return err_set(e, EIO, "%s: %s", c->name, *text ? text : "ended before it ran");
}

static int start_copies(struct fork *f, struct err *e)
{
	u64 start[AT_ONCE];
	unsigned begun = 0;
	int r = 0;

	for (unsigned i = 0; i < f->nr && !r; i++) {
		for (; begun < f->nr && begun - i < AT_ONCE && !r; begun++) {
			start[begun % AT_ONCE] = os_now_ns();
			r = spawn(f, &f->copy[begun], e);
		}
		if (i < begun && !r)
			r = wait_for(&f->copy[i], start[i % AT_ONCE], e);
	}
	return r;
}

static int fork_all(struct fork *f, struct err *e)
{
	u64 start = os_now_ns();

	f->copy = calloc(f->nr, sizeof *f->copy);
	if (!f->copy)
		return err_set(e, ENOMEM, "out of memory");
	TRY(choose_names(f, e));
	TRY(save_parent(f, e));
	TRY(start_copies(f, e));
	f->total_us = (os_now_ns() - start) / 1000;
	return 0;
}

/* -- the command -------------------------------------------------------------------------------------- */

static void say(const struct fork *f)
{
	if (!f->json) {
		for (unsigned i = 0; i < f->nr; i++)
			puts(f->copy[i].name);
		return;
	}
	printf("{\"parent\":\"%s\",\"stopped_us\":%llu,\"total_us\":%llu,\"copies\":[", f->parent,
	       (unsigned long long)f->save.stopped_us, (unsigned long long)f->total_us);
	for (unsigned i = 0; i < f->nr; i++)
		printf("%s{\"name\":\"%s\",\"start_us\":%llu}", i ? "," : "", f->copy[i].name,
		       (unsigned long long)f->copy[i].us);
	puts("]}");
}

/* All or none. */
static void undo(struct fork *f)
{
	for (unsigned i = 0; i < f->nr && f->copy; i++)
		if (f->copy[i].proc.pid > 0)
			proc_kill(&f->copy[i].proc, SIGTERM);
}

int clone_fork_main(int argc, char **argv, int (*restore)(int argc, char **argv))
{
	struct fork f = { .restore = restore };
	struct err e = { 0 };

	if (parse(&f, argc, argv, &e)) {
		fprintf(stderr, "vireo: fork: %s\n", e.msg);
		return CTL_USAGE;
	}
	if (f.help) {
		help();
		return 0;
	}
	if (fork_all(&f, &e)) {
		undo(&f);
		fprintf(stderr, "vireo: fork: %s\n", e.msg);
		return ctl_exit_status(&e);
	}
	say(&f);
	return 0;
}
