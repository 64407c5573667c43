// SPDX-License-Identifier: Apache-2.0
/*
 * landlock.c - no access to files by name, none to TCP, to other processes' signals and
 * abstract sockets: what the kernel's Landlock ABI knows of it [landlock(7)]
 *
 * Descriptors that are already open keep working. Directories that are served get
 * rules of their own; nothing is ever executed.
 */
#include "jail/jail_int.h"

#include <errno.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By ABI version; the header of the build may know fewer. */
#define FS_ABI1      ((1ull << 13) - 1)
#define FS_REFER     (1ull << 13) /* 2 */
#define FS_TRUNCATE  (1ull << 14) /* 3 */
#define FS_IOCTL_DEV (1ull << 15) /* 5 */
#define FS_READ      (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define NET_TCP      3ull /* 4: bind, connect */
#define SCOPES       3ull /* 6: abstract sockets, signals */

struct ruleset_attr {
	u64 fs, net, scoped;
};

static u64 fs_rights(long abi)
{
	u64 r = FS_ABI1;

	if (abi >= 2)
		r |= FS_REFER;
	if (abi >= 3)
		r |= FS_TRUNCATE;
	if (abi >= 5)
		r |= FS_IOCTL_DEV;
	return r;
}

static int allow_dirs(const struct jail_spec *s, int ruleset, u64 rights)
{
	for (unsigned i = 0; i < s->nr_dirs; i++) {
		struct landlock_path_beneath_attr a = {
			.parent_fd = s->dir[i].fd,
			.allowed_access =
				s->dir[i].read_only
					? FS_READ
					: rights & ~(LANDLOCK_ACCESS_FS_EXECUTE | FS_IOCTL_DEV |
						     LANDLOCK_ACCESS_FS_MAKE_CHAR |
						     LANDLOCK_ACCESS_FS_MAKE_BLOCK),
		};

		if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &a, 0))
			return -errno;
	}
	return 0;
}

static int restrict_self(struct jail_entry *j, long abi)
{
	struct ruleset_attr a = { .fs = fs_rights(abi) };
	size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
	int fd, r;

	if (abi >= 4 && !j->spec->network)
		a.net = NET_TCP;
	if (abi >= 6)
		a.scoped = SCOPES;
	fd = (int)syscall(SYS_landlock_create_ruleset, &a, size, 0);
	if (fd < 0)
		return -errno;
	r = allow_dirs(j->spec, fd, a.fs);
	if (!r && syscall(SYS_landlock_restrict_self, fd, 0))
		r = -errno;
	close(fd);
	return r;
}

void jail_landlock(struct jail_entry *j)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int r = abi < 0 ? -errno : restrict_self(j, abi);

	if (r)
		jail_note(j, JAIL_L_LANDLOCK, false, "%s", strerror(-r));
	else
		jail_note(j, JAIL_L_LANDLOCK, true, "ABI %ld", abi);
}
