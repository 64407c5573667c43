// SPDX-License-Identifier: Apache-2.0
/*
 * ns.c - namespaces of our own, and a root directory with nothing in it
 *
 * Who may make namespaces (root) does so as it is, and makes the user namespace last,
 * as the user it becomes; everybody else makes a user namespace first, whose owner may
 * make the others. No process namespace: a process enters one only by forking, and
 * what it would hide, the system call filter refuses.
 */
#include "jail/jail_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x04
#endif

static const struct {
	int flag;
	enum jail_layer layer;
} kinds[] = {
	{ CLONE_NEWNS, JAIL_L_MOUNT_NS },      { CLONE_NEWIPC, JAIL_L_IPC_NS },
	{ CLONE_NEWUTS, JAIL_L_UTS_NS },       { CLONE_NEWNET, JAIL_L_NET_NS },
	{ CLONE_NEWCGROUP, JAIL_L_CGROUP_NS },
};

/* -- the user namespace ------------------------------------------------------------------- */

static int write_proc(const struct jail_entry *j, const char *name, const char *text)
{
	int fd = openat(j->proc, name, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
	int err = n < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	return -err;
}

/* Every other user is nobody there. */
static int map_self(const struct jail_entry *j, uid_t uid, gid_t gid)
{
	char map[40];
	int r = write_proc(j, "setgroups", "deny");

	if (r && r != -ENOENT)
		return r;
	snprintf(map, sizeof map, "%u %u 1", gid, gid);
	r = write_proc(j, "gid_map", map);
	snprintf(map, sizeof map, "%u %u 1", uid, uid);
	return r ? r : write_proc(j, "uid_map", map);
}

void jail_user_ns(struct jail_entry *j)
{
	const uid_t uid = geteuid();
	const gid_t gid = getegid();
	int r;

	if (j->user_ns)
		return;
	if (uid == 0 && j->spec->nr_dirs && j->spec->role == JAIL_SETUP) {
		jail_note(j, JAIL_L_USER_NS, false, "serves directories as root");
		return;
	}
	prctl(PR_SET_DUMPABLE, 1); /* or the maps belong to root */
	if (unshare(CLONE_NEWUSER)) {
		jail_note(j, JAIL_L_USER_NS, false, "%s", strerror(errno));
		return;
	}
	j->user_ns = true;
	r = map_self(j, uid, gid);
	if (r)
		jail_note(j, JAIL_L_USER_NS, true, "no user in it: %s", strerror(-r));
	else
		jail_note(j, JAIL_L_USER_NS, true, "only uid %u in it", uid);
}

/* -- the others --------------------------------------------------------------------------- */

static int wanted(const struct jail_entry *j)
{
	int flags = 0;

	for (size_t i = 0; i < array_len(kinds); i++)
		flags |= kinds[i].flag;
	return j->spec->network ? flags & ~CLONE_NEWNET : flags;
}

static void one_by_one(struct jail_entry *j, int flags)
{
	for (size_t i = 0; i < array_len(kinds); i++)
		if (flags & kinds[i].flag) {
			bool ok = !unshare(kinds[i].flag);

			jail_note(j, kinds[i].layer, ok, "%s", ok ? "" : strerror(errno));
		}
}

void jail_namespaces(struct jail_entry *j)
{
	int flags = wanted(j), r = unshare(flags);

	if (r && errno == EPERM) {
		jail_user_ns(j);
		r = unshare(flags);
	}
	if (r)
		one_by_one(j, flags);
	for (size_t i = 0; i < array_len(kinds) && !r; i++)
		if (flags & kinds[i].flag)
			jail_note(j, kinds[i].layer, true, "%s", "");
	if (j->spec->network)
		jail_note(j, JAIL_L_NET_NS, false, "uses the host's network");
}

/* -- the root ----------------------------------------------------------------------------- */

/* A detached copy of the mounts below a directory, which was opened outside our namespace. */
static int copy_tree(int dir)
{
	char link[40], path[4096];
	struct stat a, b;
	int fd, tree = -1;
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
	n = readlink(link, path, sizeof path - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	errno = ESTALE;
	if (!fstat(dir, &a) && !fstat(fd, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		tree = (int)syscall(SYS_open_tree, fd, "",
				    OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE | O_CLOEXEC);
	if (tree < 0)
		tree = -errno;
	close(fd);
	return tree;
}

/* Make the directory @at of the new root, which is the working directory. */
static int make_path(const char *at)
{
	char path[256];

	if (strlen(at) >= sizeof path)
		return -ENAMETOOLONG;
	strcpy(path, at);
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0755) && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(path, 0755) && errno != EEXIST ? -errno : 0;
}

/* Put a directory into the new root and open it there. */
static int move_dir(struct jail_dir *d, unsigned i, int tree)
{
	const unsigned flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV;
	char name[256];
	int fd, r;

	r = d->at ? snprintf(name, sizeof name, "%s", d->at + 1) :
		    snprintf(name, sizeof name, "%u", i);
	if (r >= (int)sizeof name)
		return -ENAMETOOLONG;
	TRY(make_path(name));
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, name, MOVE_MOUNT_F_EMPTY_PATH))
		return -errno;
	if (d->read_only && mount(NULL, name, NULL, flags, NULL))
		errno = 0; /* a second guard only: nothing is opened for writing anyway */
	fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = dup3(fd, d->fd, O_CLOEXEC) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static int mount_empty(void)
{
	/* Somewhere to mount on: any directory will do, none of them is seen again. */
	static const char *const places[] = { "/tmp", "/var", "/usr", "/proc" };
	int r = -ENOENT;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	for (size_t i = 0; i < array_len(places) && r; i++) {
		r = mount("none", places[i], "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
			  "size=4k,nr_inodes=32,mode=755");
		r = r || chdir(places[i]) ? -errno : 0;
	}
	return r;
}

static int change_root(void)
{
	if (!syscall(SYS_pivot_root, ".", "."))
		return umount2(".", MNT_DETACH) || chdir("/") ? -errno : 0;
	/* The first root of a system is no mount that could be put aside. */
	if (mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		return -errno;
	return 0;
}

static int make_root(struct jail_entry *j)
{
	int tree[JAIL_DIRS], r = 0;
	unsigned n = 0;

	while (n < j->spec->nr_dirs) {
		tree[n] = copy_tree(j->spec->dir[n].fd);
		if (tree[n++] < 0)
			r = tree[n - 1];
	}
	if (!r)
		r = mount_empty();
	for (unsigned i = 0; i < n; i++) {
		if (!r)
			r = move_dir(&j->spec->dir[i], i, tree[i]);
		if (tree[i] >= 0)
			close(tree[i]);
	}
	if (!r)
		r = change_root();
	if (!r && mount(NULL, "/", NULL,
			MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		r = -errno;
	return r;
}

void jail_empty_root(struct jail_entry *j)
{
	int r;

	if (!j->report->layer[JAIL_L_MOUNT_NS].in_force) {
		jail_note(j, JAIL_L_ROOT, false, "no mount namespace");
		return;
	}
	r = make_root(j);
	if (r)
		jail_note(j, JAIL_L_ROOT, false, "%s", strerror(-r));
	else if (j->spec->nr_dirs)
		jail_note(j, JAIL_L_ROOT, true, "%u directories in it", j->spec->nr_dirs);
	else
		jail_note(j, JAIL_L_ROOT, true, "%s", "");
}
