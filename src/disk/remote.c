// SPDX-License-Identifier: Apache-2.0
/*
 * remote.c - vireo disk COMMAND --vm NAME: the same on the disk of a running machine
 *
 * Files are opened here and passed to the machine, which opens nothing by name. A
 * command waits for the job it has started; interrupting it cancels the job.
 */
#include "ctl/ctl.h"
#include "disk/disk_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#define POLL_MS	   100
#define TIMEOUT_MS 30000

struct remote {
	struct disk_args *a;
	const char *disk;
	json_t *body;
	const char *file, *above; /* to pass, or NULL */
	bool make;	  /* it is a new one, which goes if the job fails */
};

static void path_of(const struct remote *r, const char *what, char ret[128])
{
	snprintf(ret, 128, "/vireo/v1/disks/%.60s%s%s", r->disk, *what ? "/" : "", what);
}

static int get_disk(const struct remote *r, json_t **ret, struct err *e)
{
	struct ctl_reply reply = { 0 };
	char path[128];

	path_of(r, "", path);
	TRY(ctl_ask(r->a->vm, "GET", path, NULL, &reply, e));
	*ret = reply.body;
	return 0;
}

static u64 number(json_t *o, const char *key)
{
	return (u64)json_integer_value(json_object_get(o, key));
}

static void cancel(const struct remote *r)
{
	struct ctl_reply reply = { 0 };
	struct err e;
	char path[128];

	path_of(r, "cancel", path);
	if (!ctl_ask(r->a->vm, "POST", path, NULL, &reply, &e))
		json_decref(reply.body);
}

/* Until one job more than @before has ended. */
static int wait_job(const struct remote *r, u64 before, struct err *e)
{
	struct progress p = { 0 };
	bool cancelled = false;
	int err = 0;

	progress_begin(&p, 0, r->a->quiet);
	for (bool ended = false; !ended && !err; usleep(POLL_MS * 1000)) {
		json_t *disk = NULL, *job;
		const char *text;

		err = get_disk(r, &disk, e);
		job = json_object_get(disk, "job");
		p.total = number(job, "total");
		progress_add(&p, number(job, "done") - p.done);
		ended = number(job, "jobs_ended") > before;
		text = json_string_value(json_object_get(job, "error"));
		if (!err && ended && text)
			err = err_set(e, EIO, "%.200s", text);
		json_decref(disk);
		if (disk_interrupted && !cancelled)
			cancel(r);
		cancelled = disk_interrupted;
	}
	progress_end(&p);
	return err;
}

struct passed {
	int fd[2];
	unsigned nr;
};

/* NULL: nothing to pass. @key: what the request calls it. */
static int pass_file(const struct remote *r, const char *file, bool make, const char *key,
		     struct passed *p, struct err *e)
{
	int fd, flags = O_RDWR | O_CLOEXEC | (make ? O_CREAT | O_EXCL : 0);
	char full[PATH_MAX];

	if (!file)
		return 0;
	fd = open(file, flags, 0666);
	if (fd < 0)
		return err_set(e, errno, "%.200s: %s", file, strerror(errno));
	p->fd[p->nr++] = fd;
	if (!realpath(file, full))
		return err_set(e, errno, "%.200s: %s", file, strerror(errno));
	json_object_set_new(r->body, key, json_string(full));
	return 0;
}

static int start(const struct remote *r, const char *what, const struct passed *p, struct err *e)
{
	struct ctl_reply reply = { 0 };
	char path[128];
	int err;

	path_of(r, what, path);
	err = ctl_ask_with(r->a->vm, "POST", path, r->body, p->fd, p->nr, TIMEOUT_MS, &reply, e);
	json_decref(reply.body);
	return err;
}

/* POST, and wait if that starts a job. */
static int post(struct remote *r, const char *what, bool job)
{
	struct err e = { 0 };
	struct passed p = { 0 };
	json_t *disk = NULL;
	u64 before;
	int err;

	err = get_disk(r, &disk, &e);
	before = number(json_object_get(disk, "job"), "jobs_ended");
	json_decref(disk);
	if (!err)
		err = pass_file(r, r->file, r->make, "path", &p, &e);
	if (!err)
		err = pass_file(r, r->above, false, "above", &p, &e);
	if (!err) {
		err = start(r, what, &p, &e);
		if (!err && job)
			err = wait_job(r, before, &e);
		if (err && r->make)
			unlink(r->file);
	}
	while (p.nr)
		close(p.fd[--p.nr]);
	json_decref(r->body);
	return err ? disk_fail(&e) : DISK_OK;
}

static int remote_snapshot(struct remote *r)
{
	const char *verb = r->a->word[0], *name = r->a->word[1];

	if (r->a->nr_word != 2)
		return disk_usage("snapshot --vm: want overlay FILE, create NAME or delete NAME");
	r->body = json_object();
	if (!strcmp(verb, "overlay")) {
		r->file = name;
		r->make = true;
	} else if (!strcmp(verb, "create") || !strcmp(verb, "delete")) {
		json_object_set_new(r->body, "name", json_string(name));
		json_object_set_new(r->body, "remove", json_boolean(*verb == 'd'));
	} else {
		return disk_usage("snapshot --vm: want overlay, create or delete first");
	}
	return post(r, "snapshot", true);
}

static int remote_commit(struct remote *r)
{
	if (r->a->nr_word != 1)
		return disk_usage("commit --vm: want the file to commit into");
	r->body = json_pack("{s:b, s:I}", "between", r->a->between, "rate",
			    (json_int_t)r->a->rate);
	r->file = r->a->word[0];
	r->above = r->a->above;
	return post(r, "commit", true);
}

static int remote_mirror(struct remote *r)
{
	const struct disk_args *a = r->a;

	r->body = json_pack("{s:s, s:b, s:b, s:I}", "format", a->format ? a->format : "qcow2",
			    "existing", a->existing, "pivot", a->pivot, "rate",
			    (json_int_t)a->rate);
	if (a->bitmap)
		json_object_set_new(r->body, "bitmap", json_string(a->bitmap));
	r->file = a->word[0];
	r->make = !a->existing;
	return post(r, "mirror", true);
}

static int remote_resize(struct remote *r)
{
	u64 size;

	if (r->a->nr_word != 1 || !disk_parse_size(r->a->word[0], &size))
		return disk_usage("resize --vm: want a size, such as 20G");
	r->body = json_pack("{s:I}", "size", (json_int_t)size);
	return post(r, "resize", true);
}

static int remote_info(struct remote *r)
{
	struct ctl_reply reply = { 0 };
	struct err e = { 0 };

	if (ctl_ask(r->a->vm, "GET", "/vireo/v1/disks", NULL, &reply, &e))
		return disk_fail(&e);
	json_dumpf(reply.body, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(reply.body);
	return DISK_OK;
}

static int remote_bitmap(struct remote *r)
{
	static const char *const verbs[][2] = { { "add", "add" },	{ "remove", "remove" },
						{ "clear", "clear" },	{ "enable", "record" },
						{ "disable", "stop" }, { "merge", "merge" } };
	struct disk_args *a = r->a;

	if (!strcmp(a->word[0], "list"))
		return remote_info(r);
	for (unsigned i = 0; i < array_len(verbs); i++) {
		if (strcmp(verbs[i][0], a->word[0]) != 0)
			continue;
		if (a->nr_word != (i == 5 ? 3 : 2))
			return disk_usage("bitmap --vm: want a name, for merge two");
		r->body = json_pack("{s:s, s:s, s:b}", "action", verbs[i][1], "name", a->word[1],
				    "persistent", a->persistent);
		if (a->granularity)
			json_object_set_new(r->body, "granularity",
					    json_integer((json_int_t)a->granularity));
		if (i == 5)
			json_object_set_new(r->body, "from", json_string(a->word[2]));
		return post(r, "bitmaps", false);
	}
	return disk_usage("bitmap --vm: want list, add, remove, clear, enable, disable or merge "
			  "first");
}

static const struct {
	const char *name;
	int (*fn)(struct remote *r);
} commands[] = {
	{ "snapshot", remote_snapshot }, { "commit", remote_commit }, { "mirror", remote_mirror },
	{ "resize", remote_resize },	 { "bitmap", remote_bitmap }, { "info", remote_info },
};

int disk_remote(const char *command, struct disk_args *a)
{
	struct remote r = { .a = a, .disk = a->disk ? a->disk : "disk0" };

	for (unsigned i = 0; i < array_len(commands); i++)
		if (!strcmp(commands[i].name, command))
			return commands[i].fn(&r);
	return disk_usage("--vm: this command works on files only");
}

int cmd_mirror(struct disk_args *a UNUSED)
{
	return disk_usage("mirror: want --vm; vireo disk convert copies images");
}
