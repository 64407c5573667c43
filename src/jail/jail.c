// SPDX-License-Identifier: Apache-2.0
/*
 * jail.c - entering, in order, and the report; see jail.h
 *
 * Each step needs what the steps after it take away: namespaces need the right to make
 * them, the root needs the mount namespace, the user namespace of root is made by the
 * user it became, and Landlock and the filter would refuse all of it.
 */
#include "jail/jail_int.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* The run-time libraries of the sanitizers open files and trace themselves. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static struct {
	bool active, files, filters;
} state; /* the process's */

static const char *const names[JAIL_LAYERS] = {
	[JAIL_L_PRIVS] = "no-new-privileges",
	[JAIL_L_USER_NS] = "user-namespace",
	[JAIL_L_MOUNT_NS] = "mount-namespace",
	[JAIL_L_NET_NS] = "net-namespace",
	[JAIL_L_IPC_NS] = "ipc-namespace",
	[JAIL_L_UTS_NS] = "uts-namespace",
	[JAIL_L_CGROUP_NS] = "cgroup-namespace",
	[JAIL_L_ROOT] = "empty-root",
	[JAIL_L_UID] = "user",
	[JAIL_L_CAPS] = "capabilities",
	[JAIL_L_LIMITS] = "limits",
	[JAIL_L_CGROUP] = "control-group",
	[JAIL_L_LANDLOCK] = "landlock",
	[JAIL_L_SECCOMP] = "seccomp",
};

const char *jail_layer_name(enum jail_layer l)
{
	return names[l];
}

const char *jail_report_line(const struct jail_report *r, enum jail_layer l, char *buf, size_t len)
{
	const char *text = r->layer[l].text;

	snprintf(buf, len, "jail: %s: %s%s%s", names[l],
		 r->layer[l].in_force ? "in force" : "not in force", *text ? ": " : "", text);
	return buf;
}

void jail_note(struct jail_entry *j, enum jail_layer l, bool in_force, const char *fmt, ...)
{
	va_list ap;

	j->report->layer[l].in_force = in_force;
	va_start(ap, fmt);
	vsnprintf(j->report->layer[l].text, sizeof j->report->layer[l].text, fmt, ap);
	va_end(ap);
}

static u64 cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static void no_new_privs(struct jail_entry *j)
{
	int r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);

	jail_note(j, JAIL_L_PRIVS, !r, "%s", r ? strerror(errno) : "");
}

static void filter(struct jail_entry *j)
{
	int r = jail_install(j->spec->role, j->spec->nr_dirs > 0);

	state.filters = !r;
	if (r)
		jail_note(j, JAIL_L_SECCOMP, false, "%s", strerror(-r));
	else
		jail_note(j, JAIL_L_SECCOMP, true, "%s",
			  j->spec->role == JAIL_SETUP ? "per thread" : "");
}

static void take_away(struct jail_entry *j)
{
	jail_namespaces(j);
	jail_empty_root(j);
	jail_drop_user(j);
	jail_user_ns(j);
	jail_drop_caps(j);
	jail_landlock(j);
}

int jail_enter(const struct jail_spec *s, struct jail_report *ret, struct err *e)
{
	const u64 start = cpu_ns();
	struct jail_entry j = { .spec = s, .report = ret };
	const pid_t parent = getppid();
	int death = 0;

	if (state.active || s->role == JAIL_NONE || s->role >= JAIL_ROLES || s->nr_dirs > JAIL_DIRS)
		return err_set(e, EINVAL, "jail: entered twice, or with a wrong request");
	memset(ret, 0, sizeof *ret);
	if (SANITIZED) {
		for (unsigned l = 0; l < JAIL_LAYERS; l++)
			jail_note(&j, l, false, "sanitizer build");
		return 0;
	}
	prctl(PR_GET_PDEATHSIG, &death);
	j.proc = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	no_new_privs(&j);
	if (!s->bare)
		jail_cgroup(&j);
	if (s->in_place)
		jail_landlock(&j);
	else if (!s->bare)
		take_away(&j);
	jail_limits(&j);
	if (j.proc >= 0)
		close(j.proc);
	prctl(PR_SET_DUMPABLE, 0);      /* no trace, no core, /proc/PID for root only */
	prctl(PR_SET_PDEATHSIG, death); /* a change of user has cleared it */
	if (death && getppid() != parent)
		raise(death); /* meanwhile */
	state.active = true;
	state.files = s->nr_dirs > 0;
	filter(&j);
	ret->cpu_ns = cpu_ns() - start;
	return 0;
}

bool jail_active(void)
{
	return state.active;
}

int jail_thread(enum jail_role role, struct err *e)
{
	static _Thread_local enum jail_role now;
	int r;

	if (!state.filters || role == JAIL_NONE || role == now)
		return 0;
	r = jail_install(role, state.files);
	if (!r)
		now = role;
	return r ? err_set(e, -r, "jail: system call filter: %s", strerror(-r)) : 0;
}
