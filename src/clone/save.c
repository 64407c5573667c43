// SPDX-License-Identifier: Apache-2.0
/* save.c - have a running machine save itself into our files; "vireo snapshot"; see clone.h */
#include "clone/clone.h"
#include "clone/clone_int.h"
#include "ctl/ctl.h"
#include "os/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAVE_TIMEOUT_MS 600000 /* a large machine on a slow disk */

int clone_names(struct clone_names *n, const char *dir, unsigned nr, struct snapshot_files *f,
		struct err *e)
{
	for (unsigned i = 0; i < nr; i++) {
		int len = i > 1 ? snprintf(n->name[i], PATH_MAX, "%s/disk-%u.layer", dir, i - 2) :
				  snprintf(n->name[i], PATH_MAX, "%s/%s", dir,
					   i ? "memory" : "state");

		if (len >= PATH_MAX)
			return err_set(e, ENAMETOOLONG, "%.100s: name too long", dir);
		f->path[i] = n->name[i];
	}
	f->nr = nr;
	return 0;
}

int clone_nr_files(const char *name, unsigned *ret, struct err *e)
{
	struct ctl_reply reply;
	json_int_t disks;

	TRY(ctl_ask(name, "GET", "/vireo/v1/vm", NULL, &reply, e));
	disks = json_integer_value(json_object_get(reply.body, "disks"));
	json_decref(reply.body);
	if (disks < 0 || disks + 2 > SNAPSHOT_FILES)
		return err_set(e, E2BIG, "%.63s: has %lld disks: want at most %d", name,
			       (long long)disks, SNAPSHOT_FILES - 2);
	*ret = 2 + (unsigned)disks;
	return 0;
}

static int ask_save(const char *name, const int *fd, unsigned nr, struct clone_save *s,
		    struct err *e)
{
	struct ctl_reply reply = { 0 };
	json_t *body = json_pack("{s:b, s:b}", "freeze", s->freeze, "diff", s->diff);
	int r = body ? ctl_ask_with(name, "POST", "/vireo/v1/vm/actions/save", body, fd, nr,
				    SAVE_TIMEOUT_MS, &reply, e) :
		       err_set(e, ENOMEM, "out of memory");

	json_decref(body);
	if (!r) {
		s->stopped_us = (u64)json_integer_value(json_object_get(reply.body, "stopped_us"));
		s->base = json_is_true(json_object_get(reply.body, "over")) ? 0 : -1;
	}
	json_decref(reply.body);
	return r;
}

/* The file below is sent by a socket of its own, before the reply. */
static int freeze(const char *name, const int *fd, unsigned nr, struct clone_save *s, struct err *e)
{
	int all[SNAPSHOT_FILES + 1], pair[2], r;
	unsigned got = 1;
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_set(e, errno, "socket: %s", strerror(errno));
	memcpy(all, fd, nr * sizeof *fd);
	all[nr] = pair[1];
	r = ask_save(name, all, nr + 1, s, e);
	close(pair[1]);
	if (!r && s->base >= 0 && (fd_recv(pair[0], &byte, 1, &s->base, &got) != 1 || !got))
		r = err_set(e, EPROTO, "%.63s: the memory file below did not come", name);
	close(pair[0]);
	return r;
}

int clone_save(const char *name, const int *fd, unsigned nr, struct clone_save *s, struct err *e)
{
	return s->freeze ? freeze(name, fd, nr, s, e) : ask_save(name, fd, nr, s, e);
}

/* -- "vireo snapshot" ------------------------------------------------------------------------ */

struct args {
	const char *name, *dir;
	bool diff, json, help;
};

static void help(void)
{
	fputs("usage: vireo snapshot NAME -o DIRECTORY [OPTION]...\n\n"
	      "Saves the running machine NAME, which stands still meanwhile and then goes on. A\n"
	      "snapshot that is in the directory is replaced when the new one is complete.\n\n"
	      "  -o DIRECTORY   where to (made if it is not there)\n"
	      "  --diff         write only what changed since the last snapshot or restore\n"
	      "  --json         say the outcome as JSON\n",
	      stdout);
}

static int parse(struct args *a, int argc, char **argv, struct err *e)
{
	for (int i = 0; i < argc; i++) {
		const char *w = argv[i];

		if (!strcmp(w, "--help") || !strcmp(w, "-h"))
			a->help = true;
		else if (!strcmp(w, "--diff"))
			a->diff = true;
		else if (!strcmp(w, "--json"))
			a->json = true;
		else if (!strcmp(w, "-o") && i + 1 < argc)
			a->dir = argv[++i];
		else if (*w == '-' || a->name)
			return err_set(e, EINVAL, "\"%.80s\": want NAME -o DIRECTORY", w);
		else
			a->name = w;
	}
	if (!a->help && (!a->name || !a->dir || !*a->dir))
		return err_set(e, EINVAL, "want NAME -o DIRECTORY");
	return 0;
}

static int snapshot(const struct args *a, u64 *ret_us, struct err *e)
{
	struct clone_save s = { .diff = a->diff };
	struct snapshot_files f = { .nr = 0 };
	static struct clone_names names;
	unsigned nr;
	int r;

	TRY(clone_nr_files(a->name, &nr, e));
	if (mkdir(a->dir, 0700) < 0 && errno != EEXIST)
		return err_set(e, errno, "%.150s: %s", a->dir, strerror(errno));
	TRY(clone_names(&names, a->dir, nr, &f, e));
	TRY(snapshot_create(&f, a->diff, e));
	r = clone_save(a->name, f.fd, nr, &s, e);
	*ret_us = s.stopped_us;
	if (r) {
		snapshot_abandon(&f);
		return r;
	}
	return snapshot_commit(&f, e);
}

int clone_snapshot_main(int argc, char **argv)
{
	struct args a = { 0 };
	struct err e = { 0 };
	u64 us = 0;

	if (parse(&a, argc, argv, &e)) {
		fprintf(stderr, "vireo: snapshot: %s\n", e.msg);
		return CTL_USAGE;
	}
	if (a.help) {
		help();
		return 0;
	}
	if (snapshot(&a, &us, &e)) {
		fprintf(stderr, "vireo: snapshot: %s\n", e.msg);
		return ctl_exit_status(&e);
	}
	if (a.json)
		printf("{\"vm\":\"%s\",\"stopped_us\":%llu}\n", a.name, (unsigned long long)us);
	return 0;
}
