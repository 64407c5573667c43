// SPDX-License-Identifier: Apache-2.0
/*
 * confine.c - a command gives up what an image could abuse, before it looks at one
 *
 * From here on only the directories of the files named on the command line (their own,
 * and where their links lead) and those of --allow-backing are within reach; no program
 * can be started, no socket made (jail/jail.h): those to NBD servers and clients are open
 * before. A host without Landlock still filters system calls.
 */
#include "disk/disk_int.h"
#include "jail/jail.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct reach {
	struct jail_dir dir[JAIL_DIRS];
	unsigned nr;
	bool all; /* more, or other things, than rules can say */
};

static void add(struct reach *r, const char *dir, bool read_only)
{
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return; /* the command will say so */
	if (r->nr == JAIL_DIRS) {
		r->all = true;
		close(fd);
		return;
	}
	r->dir[r->nr++] = (struct jail_dir){ .fd = fd, .read_only = read_only };
}

static void add_file(struct reach *r, const char *path)
{
	char copy[PATH_MAX], real[PATH_MAX];
	struct stat st;

	if (!path || strlen(path) >= sizeof copy)
		return;
	add(r, dirname(strcpy(copy, path)), false);
	if (!realpath(path, real))
		return;
	add(r, dirname(real), false);
	if (!stat(path, &st) && !S_ISREG(st.st_mode))
		r->all = true; /* a device, whose ioctls rules would take away */
}

static void add_allowed(struct reach *r, const struct disk_policy *p)
{
	struct stat st;
	char copy[PATH_MAX];

	for (unsigned i = 0; i < p->nr_allow; i++) {
		r->all |= !strcmp(p->allow[i], "any");
		if (stat(p->allow[i], &st) || strlen(p->allow[i]) >= sizeof copy)
			continue;
		strcpy(copy, p->allow[i]);
		add(r, S_ISDIR(st.st_mode) ? copy : dirname(copy), false);
	}
}

/* A backing file may be named as the new image will name it: from its directory. */
static void add_backing(struct reach *r, const char *image, const char *backing)
{
	const char *slash = strrchr(image, '/');
	char path[PATH_MAX];

	add_file(r, backing);
	if (backing && *backing != '/' && slash &&
	    snprintf(path, sizeof path, "%.*s%s", (int)(slash - image + 1), image, backing) <
		    (int)sizeof path)
		add_file(r, path);
}

int disk_confine(const struct disk_args *a, unsigned first, unsigned nr, bool fuse,
		 struct err *e)
{
	struct reach r = { 0 };
	struct jail_spec s = { .role = JAIL_DISK, .dir = r.dir, .in_place = true };
	struct jail_report report;
	int err;

	for (unsigned i = first; i < first + nr; i++) {
		if (disk_is_nbd(a->word[i]))
			s.role = JAIL_DISK_NET;
		else
			add_file(&r, a->word[i]);
	}
	if (a->listen_fd >= 0 || fuse)
		s.role = JAIL_DISK_NET;
	add_file(&r, a->socket); /* its name goes at the end */
	add_backing(&r, a->word[first], a->backing);
	add_allowed(&r, &a->policy);
	tzset();
	if (r.all) {
		while (r.nr)
			close(r.dir[--r.nr].fd);
		add(&r, "/", false);
	}
	s.nr_dirs = r.nr;
	err = jail_enter(&s, &report, e);
	while (r.nr)
		close(r.dir[--r.nr].fd);
	return err;
}
