// SPDX-License-Identifier: Apache-2.0
/* restore.c - "vireo restore": which machine, and what is different about it; see clone.h */
#include "clone/clone.h"

#include "clone/clone_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define LEARN_MAX_S 3600

struct restore {
	const char *dir, *name, *serial, *parent;
	char fds[256]; /* of a fork: "STATE,MEMORY,LAYER,..." */
	int ready_fd, over_fd;
	u32 learn_s;
	bool paused, keep_clocks, verify, json, track_dirty, fork;
	u32 jail, engine; /* enum cfg_jail, cfg_engine */
	unsigned verbose;
};

/* -- options ---------------------------------------------------------------------------- */

static int set_name(struct restore *r, const char *val, struct err *e)
{
	if (!*val || strlen(val) >= CFG_NAME || strpbrk(val, "/\"\\ \n"))
		return err_set(e, EINVAL, "--name: \"%.80s\": want up to %d letters", val,
			       CFG_NAME - 1);
	r->name = val;
	return 0;
}

static int set_serial(struct restore *r, const char *val, struct err *e)
{
	if (strlen(val) >= CFG_PATH)
		return err_set(e, EINVAL, "--serial: name too long");
	r->serial = val;
	return 0;
}

static int set_jail(struct restore *r, const char *val, struct err *e)
{
	return cfg_parse_jail(val, &r->jail, e);
}

static int set_engine(struct restore *r, const char *val, struct err *e)
{
	return cfg_parse_engine(val, &r->engine, e);
}

static int set_paused(struct restore *r, const char *val UNUSED, struct err *e UNUSED)
{
	r->paused = true;
	return 0;
}

static int set_keep_clocks(struct restore *r, const char *val UNUSED, struct err *e UNUSED)
{
	r->keep_clocks = true;
	return 0;
}

static int set_verify(struct restore *r, const char *val UNUSED, struct err *e UNUSED)
{
	r->verify = true;
	return 0;
}

static int set_track(struct restore *r, const char *val UNUSED, struct err *e UNUSED)
{
	r->track_dirty = true;
	return 0;
}

static int set_learn(struct restore *r, const char *val, struct err *e)
{
	char *end;
	unsigned long n = strtoul(val, &end, 10);

	if (*val < '0' || *val > '9' || *end || n < 1 || n > LEARN_MAX_S)
		return err_set(e, EINVAL, "--learn: \"%.40s\": want seconds, 1..%d", val, LEARN_MAX_S);
	r->learn_s = (u32)n;
	return 0;
}

static int set_json(struct restore *r, const char *val UNUSED, struct err *e UNUSED)
{
	r->json = true;
	return 0;
}

static int set_verbose(struct restore *r, const char *val UNUSED, struct err *e UNUSED)
{
	r->verbose++;
	return 0;
}

static int set_fds(struct restore *r, const char *val, struct err *e)
{
	if (strlen(val) >= sizeof r->fds)
		return err_set(e, EINVAL, "--fds: too long");
	strcpy(r->fds, val);
	r->fork = true;
	return 0;
}

static int set_parent(struct restore *r, const char *val, struct err *e UNUSED)
{
	r->parent = val;
	return 0;
}

static int set_ready_fd(struct restore *r, const char *val, struct err *e UNUSED)
{
	r->ready_fd = atoi(val);
	return 0;
}

static int set_over_fd(struct restore *r, const char *val, struct err *e UNUSED)
{
	r->over_fd = atoi(val);
	return 0;
}

static const struct {
	const char *name, *arg, *help; /* no help: between our own programs */
	int (*set)(struct restore *r, const char *val, struct err *e);
} options[] = {
	{ "--name", "NAME", "name of the VM", set_name },
	{ "--engine", "auto|soft|kvm", "what runs the CPUs, whatever did (auto)", set_engine },
	{ "--serial", "WHERE", "first serial port, as for vireo run (stdio)", set_serial },
	{ "--paused", NULL, "do not let the CPUs run: see vireo resume", set_paused },
	{ "--keep-clocks", NULL, "the guest's clocks go on where they stood", set_keep_clocks },
	{ "--verify", NULL, "compare the memory file with its checksum first", set_verify },
	{ "--track-dirty", NULL, "so that differences can be saved: vireo snapshot --diff",
	  set_track },
	{ "--learn", "SECONDS", "after so long note which pages it used: restores then bring them early",
	  set_learn },
	{ "--jail", "on|off|report", "confine the monitor (on); say what is in force", set_jail },
	{ "--json", NULL, "events as JSON lines on standard error", set_json },
	{ "-v", NULL, "say more", set_verbose },
	{ "--fds", "FDS", NULL, set_fds },
	{ "--parent", "NAME", NULL, set_parent },
	{ "--ready-fd", "FD", NULL, set_ready_fd },
	{ "--over-fd", "FD", NULL, set_over_fd },
};

void clone_restore_help(void)
{
	fputs("usage: vireo restore DIRECTORY [OPTION]...\n\n"
	      "Runs the machine that \"vireo snapshot\" saved in the directory, from where it was.\n"
	      "The snapshot stays as it is, and may be run again. It names the disks, network and\n"
	      "shared directories of the machine: restore only what you trust to name them.\n\n",
	      stdout);
	for (size_t i = 0; i < array_len(options); i++)
		if (options[i].help)
			printf("  %-14s %-14s %s\n", options[i].name,
			       options[i].arg ? options[i].arg : "", options[i].help);
}

static int parse_word(struct restore *r, int argc, char **argv, int *at, struct err *e)
{
	const char *word = argv[*at], *val = strchr(word, '=');
	size_t n = strcspn(word, "=");

	if (word[0] != '-' && !r->dir) {
		r->dir = word;
		return 0;
	}
	for (size_t i = 0; i < array_len(options); i++) {
		if (strlen(options[i].name) != n || strncmp(options[i].name, word, n) != 0)
			continue;
		if (!options[i].arg)
			return val ? err_set(e, EINVAL, "%s: want no value", options[i].name) :
				     options[i].set(r, NULL, e);
		if (!val && *at + 1 == argc)
			return err_set(e, EINVAL, "%s: want %s after it", options[i].name,
				       options[i].arg);
		return options[i].set(r, val ? val + 1 : argv[++*at], e);
	}
	return err_set(e, EINVAL, "\"%.80s\": want one directory, or an option: see vireo restore "
		       "--help", word);
}

static int parse(struct restore *r, int argc, char **argv, struct err *e)
{
	*r = (struct restore){ .ready_fd = -1, .over_fd = -1 };
	for (int i = 0; i < argc; i++)
		TRY(parse_word(r, argc, argv, &i, e));
	if (!r->dir && !r->fork)
		return err_set(e, EINVAL, "want the directory of a snapshot");
	return 0;
}

/* -- files ------------------------------------------------------------------------------- */

static int inherited(struct snapshot_files *f, char *list, struct err *e)
{
	f->nr = 0;
	for (char *save, *w = strtok_r(list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		if (f->nr == SNAPSHOT_FILES)
			return err_set(e, E2BIG, "--fds: too many");
		f->fd[f->nr++] = atoi(w);
	}
	return f->nr < 2 ? err_set(e, EINVAL, "--fds: want two or more") : 0;
}

static int open_files(struct restore *r, struct clone_names *n, struct snapshot_files *f,
		      struct err *e)
{
	for (unsigned i = 0; i < SNAPSHOT_FILES; i++)
		f->fd[i] = -1;
	if (r->fork)
		return inherited(f, r->fds, e);
	TRY(clone_names(n, r->dir, SNAPSHOT_FILES, f, e));
	return snapshot_open(f, e);
}

/* Which pages the machine uses first: to be read, if that is known, or to be written. */
static int open_pages(const struct restore *r, struct vm_config *c, struct err *e)
{
	int how = r->learn_s ? O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW : O_RDONLY | O_NONBLOCK;
	char path[PATH_MAX];

	if (r->fork)
		return 0;
	if (snprintf(path, sizeof path, "%s/pages", r->dir) >= (int)sizeof path)
		return err_set(e, ENAMETOOLONG, "%.100s: name too long", r->dir);
	c->restore.pages_fd = open(path, how | O_CLOEXEC, 0600);
	c->restore.learn_s = r->learn_s;
	if (r->learn_s && c->restore.pages_fd < 0)
		return err_set(e, errno, "%.150s: %s", path, strerror(errno));
	return 0;
}

/* Layers go to the disks in snapshot mode, in their order. */
static void give_layers(struct vm_config *c, struct snapshot_files *f)
{
	unsigned n = 2;

	for (u32 i = 0; i < c->nr_disks && n < SNAPSHOT_FILES; i++) {
		if (!c->disk[i].snapshot)
			continue;
		c->disk[i].layer_fd = f->fd[n];
		f->fd[n++] = -1;
	}
}

/* -- identity ------------------------------------------------------------------------------ */

/* A locally administered address of its own for each interface. */
static void new_addresses(struct vm_config *c)
{
	u8 b[6];

	for (u32 i = 0; i < c->nr_nets; i++) {
		if (getrandom(b, sizeof b, 0) != sizeof b)
			continue;
		snprintf(c->net[i].mac, sizeof c->net[i].mac, "%02x:%02x:%02x:%02x:%02x:%02x",
			 (b[0] & 0xfc) | 2, b[1], b[2], b[3], b[4], b[5]);
		c->net[i].nr_forwards = 0; /* the parent has the host's ports */
	}
}

static void apply(struct vm_config *c, const struct restore *r, struct snapshot_files *f)
{
	c->restore = (struct restore_config){
		.state_fd = f->fd[0],
		.mem_fd = f->fd[1],
		.over_fd = r->over_fd,
		.paused = r->paused,
		.keep_clocks = r->keep_clocks,
		.verify = r->verify,
		.pages_fd = -1,
	};
	f->fd[0] = f->fd[1] = -1;
	c->track_dirty = r->track_dirty;
	c->ready_fd = r->ready_fd;
	c->jail = r->jail;
	if (!r->fork) /* a fork's is its parent's */
		c->engine = r->engine;
	c->json = r->json;
	c->verbose = r->verbose;
	snprintf(c->serial, sizeof c->serial, "%s", r->serial ? r->serial : "");
	snprintf(c->name, sizeof c->name, "%s", r->name ? r->name : "");
	snprintf(c->parent, sizeof c->parent, "%s", r->parent ? r->parent : "");
	if (r->fork)
		new_addresses(c);
}

int clone_parse_restore(struct vm_config *c, int argc, char **argv, struct err *e)
{
	struct snapshot_files f = { .nr = 0 };
	struct clone_names names;
	struct restore r;
	int err;

	TRY(parse(&r, argc, argv, e));
	err = open_files(&r, &names, &f, e);
	if (!err)
		err = snapshot_read_config(f.fd[0], c, e);
	if (!err) {
		apply(c, &r, &f);
		give_layers(c, &f);
		err = open_pages(&r, c, e);
	}
	snapshot_close(&f);
	return err == -EINVAL ? -EBADF : err;
}
