// SPDX-License-Identifier: Apache-2.0
/* root.c - see root.h */
#include "jail/root.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static int failed(struct err *e, const char *what, const char *dir)
{
	return err_set(e, errno, "root directory %.120s: %s: %s", dir, what, strerror(errno));
}

int jail_enter_root(const char *dir, struct err *e)
{
	if (unshare(CLONE_NEWNS) < 0)
		return failed(e, "mount namespace", dir);
	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return failed(e, "mounts", dir);
	if (mount(dir, dir, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(dir) < 0)
		return failed(e, "bind mount", dir);
	/* The old root ends up under the new one, and goes [pivot_root(2)]. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return failed(e, "pivot_root", dir);
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return failed(e, "unmounting the old one", dir);
	return 0;
}

int jail_become(uid_t uid, gid_t gid, struct err *e)
{
	if (geteuid() == 0 && setgroups(0, NULL) < 0)
		return err_set(e, errno, "groups: %s", strerror(errno));
	if (setresgid(gid, gid, gid) < 0)
		return err_set(e, errno, "--gid %u: %s", (unsigned)gid, strerror(errno));
	if (setresuid(uid, uid, uid) < 0)
		return err_set(e, errno, "--uid %u: %s", (unsigned)uid, strerror(errno));
	return 0;
}
