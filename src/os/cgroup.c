// SPDX-License-Identifier: Apache-2.0
/* cgroup.c - see cgroup.h */
#include "os/cgroup.h"

#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* -- where ------------------------------------------------------------------------------- */

static bool find_mount(char *ret, size_t len)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	bool found = false;

	while (f && !found && (m = getmntent(f)))
		if (!strcmp(m->mnt_type, "cgroup2"))
			found = (size_t)snprintf(ret, len, "%s", m->mnt_dir) < len;
	if (f)
		endmntent(f);
	return found;
}

/* The path of our own group: the line "0::PATH". */
static bool own_path(char *ret, size_t len)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX];
	bool found = false;

	while (f && !found && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "0::/", 4))
			found = (size_t)snprintf(ret, len, "%s", line + 3) < len;
	}
	if (f)
		fclose(f);
	return found;
}

static int put(const char *dir, const char *file, const char *text)
{
	char path[PATH_MAX + 80];
	int fd, r = 0;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		r = -errno;
	close(fd);
	return r;
}

/* -- controllers: a group has those that the one above passes on ------------------------------ */

static bool has(const char *dir, const char *file)
{
	char path[PATH_MAX + 80];

	snprintf(path, sizeof path, "%s/%s", dir, file);
	return access(path, W_OK) == 0;
}

/* A group that passes controllers on has no processes: if all of @dir is this one, it moves down. */
static bool move_down(const char *dir)
{
	char path[PATH_MAX + 80], pids[64];
	FILE *f;
	bool alone;

	snprintf(path, sizeof path, "%s/cgroup.procs", dir);
	f = fopen(path, "re");
	alone = f && fgets(pids, sizeof pids, f) && atoi(pids) == getpid() && !fgets(pids, sizeof pids, f);
	if (f)
		fclose(f);
	snprintf(path, sizeof path, "%s/vireo-%d.main", dir, (int)getpid());
	return alone && !mkdir(path, 0755) && !put(path, "cgroup.procs", "0");
}

/* No process may be in a group below one that has processes and passes on threaded controllers. */
static bool is_invalid(const char *dir)
{
	char path[PATH_MAX + 80], type[32] = "";
	FILE *f;

	snprintf(path, sizeof path, "%s/cgroup.type", dir);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(type, sizeof type, f))
		type[0] = '\0';
	fclose(f);
	return !strncmp(type, "domain invalid", 14);
}

/* @parent gives @dir, which is below it, the controller of the file @file: 0 or -errno. */
static int pass_on(const char *parent, const char *dir, const char *file)
{
	char word[80];
	int r;

	snprintf(word, sizeof word, "+%.*s", (int)strcspn(file, "."), file);
	r = put(parent, "cgroup.subtree_control", word);
	if (!r && is_invalid(dir)) {
		word[0] = '-';
		(void)put(parent, "cgroup.subtree_control", word);
		word[0] = '+';
		r = -EBUSY;
	}
	if (r == -EBUSY && move_down(parent))
		r = put(parent, "cgroup.subtree_control", word);
	return r;
}

static int set(const char *parent, const char *dir, const struct cgroup_setting *s, struct err *e)
{
	int r = 0;

	if (!has(dir, s->file))
		r = pass_on(parent, dir, s->file);
	if (!r)
		r = put(dir, s->file, s->value);
	switch (-r) {
	case 0: return 0;
	case EBUSY:
		return err_set(e, EBUSY, "%s: other processes are in the group above", s->file);
	case ENOENT:
		return err_set(e, ENOENT, "%s: no such controller here", s->file);
	case EINVAL:
	case ERANGE:
		return err_set(e, EINVAL, "%s: the kernel takes no \"%s\"", s->file, s->value);
	default: return err_set(e, -r, "%s: %s", s->file, strerror(-r));
	}
}

/* -- the whole --------------------------------------------------------------------------- */

static int find_parent(const char *parent, char ret[PATH_MAX], struct err *e)
{
	char mount[PATH_MAX], own[PATH_MAX];

	if (!find_mount(mount, sizeof mount))
		return err_set(e, ENOENT, "no hierarchy of version 2 is mounted");
	if (!parent && !own_path(own, sizeof own))
		return err_set(e, ENOENT, "this process has no group");
	if (snprintf(ret, PATH_MAX, "%s/%s", mount, parent ? parent : own) >= PATH_MAX)
		return err_set(e, ENAMETOOLONG, "name too long");
	return 0;
}

static bool any_wanted(const struct cgroup_setting *s, unsigned nr)
{
	for (unsigned n = 0; n < nr; n++)
		if (s[n].wanted)
			return true;
	return false;
}

/* All settings that can be; 0 if one is there, or the reason of the last that is not. */
static int set_all(struct cgroup *g, const char *parent, const struct cgroup_setting *s, unsigned nr,
		   struct err *e)
{
	unsigned done = 0;

	for (unsigned n = 0; n < nr; n++) {
		if (!set(parent, g->dir, &s[n], e))
			done++;
		else if (s[n].wanted)
			return -e->code;
	}
	return done ? 0 : -e->code;
}

static int make(struct cgroup *g, const char *parent, const char *name,
		const struct cgroup_setting *s, unsigned nr, struct err *e)
{
	char above[PATH_MAX], path[PATH_MAX + 20];
	int r;

	TRY(find_parent(parent, above, e));
	if (snprintf(g->dir, sizeof g->dir, "%s/%s", above, name) >= (int)sizeof g->dir)
		return err_set(e, ENAMETOOLONG, "name too long");
	if (mkdir(g->dir, 0755)) {
		r = err_set(e, errno, "%s: %s", g->dir, strerror(errno));
		g->dir[0] = '\0';
		return r;
	}
	r = set_all(g, above, s, nr, e);
	snprintf(path, sizeof path, "%s/cgroup.procs", g->dir);
	if (!r)
		g->procs_fd = open(path, O_WRONLY | O_CLOEXEC);
	if (!r && g->procs_fd < 0)
		r = err_set(e, errno, "%s: %s", path, strerror(errno));
	return r;
}

int cgroup_new(struct cgroup *ret, const char *parent, const char *name,
	       const struct cgroup_setting *s, unsigned nr, struct err *e)
{
	int r;

	*ret = (struct cgroup){ .procs_fd = 0 };
	if (!nr)
		return 0;
	r = make(ret, parent, name, s, nr, e);
	if (!r)
		return 0;
	if (ret->procs_fd < 0)
		ret->procs_fd = 0;
	cgroup_free(ret);
	return any_wanted(s, nr) || parent ? r : 0;
}

void cgroup_free(struct cgroup *g)
{
	if (g->procs_fd > 0)
		close(g->procs_fd);
	/* A process that has just ended may count for a moment more. */
	for (unsigned n = 0; *g->dir && rmdir(g->dir) && errno == EBUSY && n < 100; n++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	*g = (struct cgroup){ .procs_fd = 0 };
}
