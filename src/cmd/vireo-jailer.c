// SPDX-License-Identifier: Apache-2.0
/*
 * vireo-jailer.c - start vireo-vm as root's servant: Firecracker's jailer by options and effects
 *
 * usage: vireo-jailer --id ID --exec-file FILE --uid UID --gid GID [OPTIONS] [-- ARGS]
 *
 * What needs root is done here: control groups, resource limits, the network namespace,
 * devices and directories below BASE/EXEC-NAME/ID/root. The monitor enters that directory
 * and becomes the user itself (--chroot, --uid, --gid), then its own jail: nothing is
 * copied, and all VMs share the program's pages. docs/man/vireo-jailer.1.
 */
#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CGROUPS_MAX 64
#define EXIT_USAGE  1

struct jailer {
	const char *id, *exec_file, *base, *netns, *parent_cgroup, *cgroup_version, *uid_text,
		*gid_text;
	const char *cgroup[CGROUPS_MAX], *limit[8];
	unsigned nr_cgroups, nr_limits;
	bool daemonize, new_pid_ns, help, version;
	char **args; /* behind "--" */
	uid_t uid;
	gid_t gid;
	char exec_path[PATH_MAX], root[PATH_MAX];
	u64 start_us, start_cpu_us;
};

static int failed(struct err *e, const char *what, const char *name)
{
	return err_set(e, errno, "%s: %.150s: %s", what, name, strerror(errno));
}

static u64 clock_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (u64)t.tv_sec * 1000000 + (u64)t.tv_nsec / 1000;
}

/* -- options ------------------------------------------------------------------------------------ */

static const struct option_def {
	const char *name, *help;
	size_t offset, nr_offset; /* of a string, or (nr_offset not 0) of a list */
	unsigned max;		  /* of the list; 0 and no offset of a list: a string */
	bool flag;
} options[] = {
#define TEXT(n, m, h) { .name = n, .help = h, .offset = offsetof(struct jailer, m) }
#define LIST(n, m, nr, h) { .name = n, .help = h, .offset = offsetof(struct jailer, m), \
			    .nr_offset = offsetof(struct jailer, nr), \
			    .max = array_len(((struct jailer *)0)->m) }
#define FLAG(n, m, h) { .name = n, .help = h, .offset = offsetof(struct jailer, m), .flag = true }
	TEXT("--id", id, "name of the VM: up to 64 letters, digits and '-'"),
	TEXT("--exec-file", exec_file, "the monitor: a path of vireo-vm"),
	TEXT("--uid", uid_text, "user the monitor becomes"),
	TEXT("--gid", gid_text, "group it becomes"),
	TEXT("--chroot-base-dir", base, "directory of all jails (/srv/jailer)"),
	TEXT("--netns", netns, "network namespace to join: a path, as of ip netns"),
	FLAG("--daemonize", daemonize, "a session of its own, without the terminal"),
	FLAG("--new-pid-ns", new_pid_ns, "in a process namespace of its own; its pid goes to a file"),
	LIST("--cgroup", cgroup, nr_cgroups, "FILE=VALUE of the VM's control group; may repeat"),
	TEXT("--cgroup-version", cgroup_version, "1 (default) or 2"),
	TEXT("--parent-cgroup", parent_cgroup, "control group above the VM's (the program's name)"),
	LIST("--resource-limit", limit, nr_limits, "fsize=BYTES or no-file=N (2048); may repeat"),
	FLAG("--version", version, "print the version"),
	FLAG("--help", help, "this text"),
};

static const struct option_def *find_option(const char *word)
{
	size_t n = strcspn(word, "=");

	for (size_t i = 0; i < array_len(options); i++)
		if (strlen(options[i].name) == n && !strncmp(options[i].name, word, n))
			return &options[i];
	return NULL;
}

static int set_option(struct jailer *j, const struct option_def *o, const char *val, struct err *e)
{
	char *p = (char *)j + o->offset;
	unsigned *nr = (unsigned *)((char *)j + o->nr_offset);

	if (o->flag) {
		*(bool *)p = true;
		return 0;
	}
	if (!o->max) {
		*(const char **)p = val;
		return 0;
	}
	if (*nr == o->max)
		return err_set(e, E2BIG, "%s: want it at most %u times", o->name, o->max);
	((const char **)p)[(*nr)++] = val;
	return 0;
}

static int parse(struct jailer *j, int argc, char **argv, struct err *e)
{
	for (int i = 1; i < argc; i++) {
		const struct option_def *o = find_option(argv[i]);
		const char *val = strchr(argv[i], '=');

		if (!strcmp(argv[i], "--")) {
			j->args = argv + i + 1;
			return 0;
		}
		if (!o || (o->flag && val))
			return err_set(e, EINVAL, "%.80s: unknown option: see --help", argv[i]);
		if (!o->flag && !val && i + 1 == argc)
			return err_set(e, EINVAL, "%s: want a value", o->name);
		if (!o->flag)
			val = val ? val + 1 : argv[++i];
		TRY(set_option(j, o, val, e));
	}
	return 0;
}

static int parse_id(const char *opt, const char *s, u32 *ret, struct err *e)
{
	char *end;
	unsigned long n;

	if (!s)
		return err_set(e, EINVAL, "%s: want it", opt);
	errno = 0;
	n = strtoul(s, &end, 10);
	if (errno || *end || *s < '0' || *s > '9' || n >= UINT32_MAX)
		return err_set(e, EINVAL, "%s: \"%.40s\": want a number", opt, s);
	*ret = (u32)n;
	return 0;
}

static int check(struct jailer *j, struct err *e)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-";
	struct stat st;

	if (!j->id || !*j->id || strlen(j->id) > 64 || j->id[strspn(j->id, allowed)])
		return err_set(e, EINVAL, "--id: want 1 to 64 letters, digits and '-'");
	if (!j->exec_file)
		return err_set(e, EINVAL, "--exec-file: want it");
	TRY(parse_id("--uid", j->uid_text, &j->uid, e));
	TRY(parse_id("--gid", j->gid_text, &j->gid, e));
	if (!realpath(j->exec_file, j->exec_path) || stat(j->exec_path, &st) < 0)
		return failed(e, "--exec-file", j->exec_file);
	if (!S_ISREG(st.st_mode) || access(j->exec_path, X_OK) < 0)
		return err_set(e, EINVAL, "--exec-file: %.150s: want a program", j->exec_file);
	if (strcmp(j->cgroup_version, "1") && strcmp(j->cgroup_version, "2"))
		return err_set(e, EINVAL, "--cgroup-version: \"%.20s\": want 1 or 2",
			       j->cgroup_version);
	if (j->parent_cgroup && strstr(j->parent_cgroup, ".."))
		return err_set(e, EINVAL, "--parent-cgroup: want no \"..\"");
	return 0;
}

static const char *exec_name(const struct jailer *j)
{
	return strrchr(j->exec_path, '/') + 1;
}

/* -- limits and groups ---------------------------------------------------------------------------- */

static int set_limits(const struct jailer *j, struct err *e)
{
	struct rlimit files = { 2048, 2048 };

	for (unsigned i = 0; i < j->nr_limits; i++) {
		const char *val = strchr(j->limit[i], '='), *s = j->limit[i];
		char *end;
		rlim_t n = val ? strtoul(val + 1, &end, 10) : 0;
		struct rlimit r = { n, n };

		if (!val || !val[1] || *end)
			return err_set(e, EINVAL, "--resource-limit: \"%.60s\": want fsize=BYTES or "
						  "no-file=N", s);
		if (!strncmp(s, "no-file=", 8))
			files = r;
		else if (strncmp(s, "fsize=", 6) != 0)
			return err_set(e, EINVAL, "--resource-limit: \"%.60s\": want fsize or "
						  "no-file", s);
		else if (setrlimit(RLIMIT_FSIZE, &r) < 0)
			return failed(e, "--resource-limit", s);
	}
	return setrlimit(RLIMIT_NOFILE, &files) < 0 ? failed(e, "--resource-limit", "no-file") : 0;
}

static int write_file(const char *path, const char *text, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return failed(e, "control group", path);
	if (write(fd, text, strlen(text)) < 0)
		r = failed(e, "control group", path);
	close(fd);
	return r;
}

static int make_dirs(const char *path, mode_t mode, struct err *e)
{
	char buf[PATH_MAX];

	snprintf(buf, sizeof buf, "%s", path);
	for (char *p = buf + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdir(buf, 0755) < 0 && errno != EEXIST)
			return failed(e, "directory", buf);
		*p = '/';
	}
	return mkdir(buf, mode) < 0 && errno != EEXIST ? failed(e, "directory", buf) : 0;
}

/* Version 2: a controller serves a group if every group above passes it on. */
static int pass_on(const char *dir, const char *controller, struct err *e)
{
	char buf[PATH_MAX], file[PATH_MAX + 32], word[64];

	snprintf(buf, sizeof buf, "%s", dir);
	snprintf(word, sizeof word, "+%.60s", controller);
	for (char *p = buf + strlen("/sys/fs/cgroup"); (p = strchr(p, '/')); p++) {
		*p = '\0';
		snprintf(file, sizeof file, "%s/cgroup.subtree_control", buf);
		TRY(write_file(file, word, e));
		*p = '/';
	}
	return 0;
}

static int set_cgroup(const struct jailer *j, const char *setting, struct err *e)
{
	const char *eq = strchr(setting, '='), *dot = strchr(setting, '.');
	char controller[32], dir[PATH_MAX], file[PATH_MAX + 300], pid[32];
	bool v2 = *j->cgroup_version == '2';

	if (!eq || !dot || dot > eq || dot - setting >= (long)sizeof controller ||
	    memchr(setting, '/', (size_t)(eq - setting)))
		return err_set(e, EINVAL, "--cgroup: \"%.60s\": want CONTROLLER.FILE=VALUE", setting);
	snprintf(controller, sizeof controller, "%.*s", (int)(dot - setting), setting);
	snprintf(dir, sizeof dir, "/sys/fs/cgroup/%s%s%.200s/%s", v2 ? "" : controller,
		 v2 ? "" : "/", j->parent_cgroup ? j->parent_cgroup : exec_name(j), j->id);
	TRY(make_dirs(dir, 0755, e));
	if (v2)
		TRY(pass_on(dir, controller, e));
	snprintf(file, sizeof file, "%s/%.*s", dir, (int)(eq - setting), setting);
	TRY(write_file(file, eq + 1, e));
	snprintf(file, sizeof file, "%s/cgroup.procs", dir);
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	return write_file(file, pid, e);
}

static int join_netns(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;

	if (fd < 0)
		return failed(e, "--netns", path);
	r = setns(fd, CLONE_NEWNET) < 0 ? failed(e, "--netns", path) : 0;
	close(fd);
	return r;
}

/* -- the directory that will be the root -------------------------------------------------------------- */

static int give(const struct jailer *j, const char *path, struct err *e)
{
	return lchown(path, j->uid, j->gid) < 0 ? failed(e, "owner", path) : 0;
}

static int make_node(const struct jailer *j, const char *name, unsigned major, unsigned minor,
		     struct err *e)
{
	char path[PATH_MAX + 32], host[32];

	snprintf(host, sizeof host, "/dev/%s", name);
	if (access(host, F_OK) < 0)
		return 0; /* the host has no such device */
	snprintf(path, sizeof path, "%s/dev/%s", j->root, name);
	if (mknod(path, S_IFCHR | 0600, makedev(major, minor)) < 0 && errno != EEXIST)
		return failed(e, "device", path);
	return give(j, path, e);
}

static int make_root(struct jailer *j, struct err *e)
{
	static const char *const dirs[] = { "", "/run", "/dev", "/dev/net" };
	char path[PATH_MAX + 16];
	int n = snprintf(j->root, sizeof j->root, "%s/%s/%s/root", j->base, exec_name(j), j->id);

	if (n < 0 || (size_t)n >= sizeof j->root)
		return err_set(e, ENAMETOOLONG, "--chroot-base-dir: too long");
	for (size_t i = 0; i < array_len(dirs); i++) {
		snprintf(path, sizeof path, "%s%s", j->root, dirs[i]);
		TRY(make_dirs(path, 0700, e));
		TRY(give(j, path, e));
	}
	TRY(make_node(j, "net/tun", 10, 200, e));
	return make_node(j, "kvm", 10, 232, e);
}

/* -- the program ------------------------------------------------------------------------------------------ */

static int write_pid(const struct jailer *j, pid_t pid, struct err *e)
{
	char path[PATH_MAX + 300];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s.pid", j->root, exec_name(j));
	f = fopen(path, "we");
	if (!f)
		return failed(e, "pid file", path);
	fprintf(f, "%d", (int)pid);
	return fclose(f) ? failed(e, "pid file", path) : 0;
}

static int detach(struct err *e)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0 || setsid() < 0)
		return failed(e, "--daemonize", "/dev/null");
	for (int i = 0; i < 3; i++)
		if (dup2(fd, i) < 0)
			return failed(e, "--daemonize", "/dev/null");
	return 0;
}

/* Only this process's CPU time; what a parent spent comes by option. */
static int run(const struct jailer *j, u64 parent_cpu_us, struct err *e)
{
	char opt[3][48], uid[16], gid[16];
	const char *argv[32 + 128] = { exec_name(j), "--id", j->id, "--chroot", j->root };
	char *const no_env[] = { NULL };
	unsigned n = 5;

	snprintf(uid, sizeof uid, "%u", (unsigned)j->uid);
	snprintf(gid, sizeof gid, "%u", (unsigned)j->gid);
	snprintf(opt[0], sizeof opt[0], "--start-time-us=%llu", (unsigned long long)j->start_us);
	snprintf(opt[1], sizeof opt[1], "--start-time-cpu-us=%llu",
		 (unsigned long long)(parent_cpu_us ? 0 : j->start_cpu_us));
	snprintf(opt[2], sizeof opt[2], "--parent-cpu-time-us=%llu",
		 (unsigned long long)parent_cpu_us);
	argv[n++] = "--uid";
	argv[n++] = uid;
	argv[n++] = "--gid";
	argv[n++] = gid;
	for (unsigned i = 0; i < 3; i++)
		argv[n++] = opt[i];
	for (char **p = j->args; p && *p; p++) {
		if (n + 1 >= array_len(argv))
			return err_set(e, E2BIG, "--: want at most 128 arguments");
		argv[n++] = *p;
	}
	if (j->daemonize)
		TRY(detach(e));
	if (close_range(3, ~0u, 0) < 0)
		return failed(e, "descriptors", "close_range");
	execve(j->exec_path, (char *const *)argv, no_env);
	return failed(e, "--exec-file", j->exec_path);
}

/* The monitor as the first process of its namespace; we say its number and go. */
static int run_in_pid_ns(const struct jailer *j, struct err *e)
{
	pid_t pid;
	u64 cpu;

	if (unshare(CLONE_NEWPID) < 0)
		return failed(e, "--new-pid-ns", "unshare");
	cpu = clock_us(CLOCK_PROCESS_CPUTIME_ID) - j->start_cpu_us;
	pid = fork();
	if (pid < 0)
		return failed(e, "--new-pid-ns", "fork");
	if (pid == 0)
		return run(j, cpu ? cpu : 1, e);
	TRY(write_pid(j, pid, e));
	_exit(0);
}

static int jail(struct jailer *j, struct err *e)
{
	TRY(check(j, e));
	if (geteuid() != 0)
		return err_set(e, EPERM, "want root");
	umask(022);
	TRY(make_root(j, e));
	for (unsigned i = 0; i < j->nr_cgroups; i++)
		TRY(set_cgroup(j, j->cgroup[i], e));
	TRY(set_limits(j, e));
	if (j->netns)
		TRY(join_netns(j->netns, e));
	if (j->new_pid_ns)
		return run_in_pid_ns(j, e);
	TRY(write_pid(j, getpid(), e));
	return run(j, 0, e);
}

static void help(void)
{
	puts("usage: vireo-jailer --id ID --exec-file FILE --uid UID --gid GID [OPTIONS] [-- ARGS]\n\n"
	     "Starts vireo-vm with the API in BASE/EXEC-NAME/ID/root as its root directory, as another\n"
	     "user. ARGS are options of vireo-vm; its socket is run/firecracker.socket there.\n");
	for (size_t i = 0; i < array_len(options); i++)
		printf("  %-20s %s\n", options[i].name, options[i].help);
}

int main(int argc, char **argv)
{
	static struct jailer j = { .base = "/srv/jailer", .cgroup_version = "1" };
	struct err e = { 0 };

	j.start_us = clock_us(CLOCK_MONOTONIC);
	j.start_cpu_us = clock_us(CLOCK_PROCESS_CPUTIME_ID);
	if (!parse(&j, argc, argv, &e)) {
		if (j.help)
			return help(), 0;
		if (j.version)
			return puts("Jailer v1.17.0 (Vireo)"), 0;
		if (!jail(&j, &e))
			return 0;
	}
	fprintf(stderr, "vireo-jailer: %s\n", e.msg);
	return EXIT_USAGE;
}
