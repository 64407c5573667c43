// SPDX-License-Identifier: Apache-2.0
/*
 * privs.c - user, capabilities, limits
 *
 * Root becomes a user of its own per process: two monitors share no identity, and
 * no file on the host belongs to it. A monitor of root that serves a directory keeps
 * root's identity, and of root's capabilities those that concern files; its empty root
 * directory and Landlock leave it only the directories served.
 */
#include "jail/jail_int.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define USER_BASE 0x70000000u /* above every user, container and dynamic user of a distribution */
#define NOBODY    65534u

#define SECUREBITS                                                                                 \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |                           \
	 SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |   \
	 SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

static bool serves_files_as_root(const struct jail_entry *j)
{
	return j->spec->nr_dirs && j->spec->role == JAIL_SETUP;
}

static bool become(uid_t id)
{
	return !setgroups(0, NULL) && !setresgid(id, id, id) && !setresuid(id, id, id);
}

void jail_drop_user(struct jail_entry *j)
{
	const uid_t before = geteuid(), own = USER_BASE + (uid_t)getpid();

	if (before != 0)
		jail_note(j, JAIL_L_UID, true, "uid %u, as started", before);
	else if (serves_files_as_root(j))
		jail_note(j, JAIL_L_UID, false, "uid 0: serves directories as root");
	else if (become(own) || become(NOBODY))
		jail_note(j, JAIL_L_UID, true, "uid %u, was 0", geteuid());
	else
		jail_note(j, JAIL_L_UID, false, "uid 0: %s", strerror(errno));
}

/* -- capabilities ------------------------------------------------------------------------- */

static int set_caps(u64 keep)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { { (u32)keep, (u32)keep, 0 },
					       { (u32)(keep >> 32), (u32)(keep >> 32), 0 } };

	/* The bounding set and the secure bits need a capability that goes with the rest. */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (unsigned c = 0; keep >> c & 1 || !prctl(PR_CAPBSET_DROP, c, 0, 0, 0); c++)
		; /* until there is no such, or we may not */
	prctl(PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0);
	return syscall(SYS_capset, &h, d) ? -errno : 0;
}

void jail_drop_caps(struct jail_entry *j)
{
	bool root = geteuid() == 0 && serves_files_as_root(j);
	u64 keep = 0;
	int r;

	if (root)
		keep = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH |
		       1u << CAP_FOWNER;
	r = set_caps(keep);
	if (r)
		jail_note(j, JAIL_L_CAPS, false, "%s", strerror(-r));
	else
		jail_note(j, JAIL_L_CAPS, true, "%s",
			  keep ? "chown, dac_override, dac_read_search, fowner" : "none");
}

/* -- limits ------------------------------------------------------------------------------- */

static bool lower(int what, u64 to)
{
	struct rlimit r;

	if (getrlimit(what, &r))
		return false;
	if (r.rlim_max > to)
		r.rlim_max = to;
	if (r.rlim_cur > r.rlim_max || what == RLIMIT_NOFILE)
		r.rlim_cur = r.rlim_max;
	return !setrlimit(what, &r);
}

void jail_limits(struct jail_entry *j)
{
	const u64 files = j->spec->max_files;
	bool ok = lower(RLIMIT_CORE, 0) & lower(RLIMIT_MSGQUEUE, 0);
	struct rlimit now = { 0 };

	if (files)
		ok &= lower(RLIMIT_NOFILE, files);
	if (j->spec->role == JAIL_NET) /* it writes no files */
		ok &= lower(RLIMIT_FSIZE, 0);
	getrlimit(RLIMIT_NOFILE, &now);
	jail_note(j, JAIL_L_LIMITS, ok, "%s%llu open files, no core, no message queues",
		  ok ? "" : strerror(errno), (unsigned long long)now.rlim_cur);
}
