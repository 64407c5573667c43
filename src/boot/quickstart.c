// SPDX-License-Identifier: Apache-2.0
/*
 * quickstart.c - find the quick-start guest in its cache, or have it made
 *
 * Follows docs/quickstart.md. The work of making it is tools/quickstart's; here is
 * only what every start needs: comparing the stamp, without starting a process.
 */
#include "boot/boot_int.h"

#include "base/compiler.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int boot_tool(const char *name, char *path, size_t size, struct err *e)
{
	/* build/vireo, build/MODE/vireo, PREFIX/bin/vireo */
	static const char *const dirs[] = { "guest", "../tools", "../../tools", "../lib/vireo" };
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n < 0)
		return err_set(e, errno, "/proc/self/exe: %m");
	self[n] = 0;
	slash = strrchr(self, '/');
	*slash = 0;
	for (size_t i = 0; i < array_len(dirs); i++) {
		int len = snprintf(path, size, "%s/%s/%s", self, dirs[i], name);
		struct stat st;

		if (len > 0 && (size_t)len < size && !stat(path, &st) && S_ISREG(st.st_mode))
			return 0;
	}
	return err_set(e, ENOENT, "%s: not found beside %s (is the installation complete?)", name,
		       self);
}

int boot_exec(const char *name, char *const *args, struct err *e)
{
	char path[PATH_MAX];
	char *argv[258] = { path };
	size_t n = 0;

	TRY(boot_tool(name, path, sizeof(path), e));
	while (args[n] && n < array_len(argv) - 2) {
		argv[n + 1] = args[n];
		n++;
	}
	if (args[n])
		return err_set(e, E2BIG, "%s: more than %zu arguments", name, array_len(argv) - 2);
	execv(path, argv);
	return err_set(e, errno, "%s: %m", path);
}

/* One "SIZE MTIME PATH" line of the stamp still describes its file. */
static bool input_unchanged(char *line)
{
	unsigned long long size;
	long long mtime;
	struct stat st;
	int at = 0;

	if (sscanf(line, "%llu %lld %n", &size, &mtime, &at) != 2 || !at)
		return false;
	return !stat(line + at, &st) && (unsigned long long)st.st_size == size &&
	       st.st_mtime == mtime;
}

/* The stamp's first line is for the agent of this installation, and all lines hold. */
static bool stamp_holds(char *stamp, const char *agent)
{
	char *save = NULL, *line = strtok_r(stamp, "\n", &save);
	size_t n = strlen(agent), len = line ? strlen(line) : 0;

	if (len < n || strcmp(line + len - n, agent))
		return false;
	for (; line; line = strtok_r(NULL, "\n", &save)) {
		if (!input_unchanged(line))
			return false;
	}
	return true;
}

/*
 * Prefer the unpacked kernel, kernels/VERSION/vmlinux; unpack it if nobody has.
 * Appears by rename; failing (disk full, another packing) leaves the bzImage in use.
 */
static void prefer_vmlinux(const char *cache, const char *version, size_t len,
			   struct quickstart *q)
{
	char elf[PATH_MAX], tmp[PATH_MAX];
	struct err e;
	int in, out;

	snprintf(elf, sizeof(elf), "%.3000s/kernels/%.*s/vmlinux", cache, (int)len, version);
	if (access(elf, R_OK)) {
		snprintf(tmp, sizeof(tmp), "%.4000s.XXXXXX", elf);
		in = open(q->kernel, O_RDONLY | O_CLOEXEC);
		out = mkostemp(tmp, O_CLOEXEC);
		if (out < 0 || vmlinux_extract(in, out, &e) || rename(tmp, elf) < 0)
			unlink(tmp);
		fd_close(&in);
		fd_close(&out);
	}
	if (!access(elf, R_OK))
		strcpy(q->kernel, elf);
}

static bool cached(const char *cache, const char *agent, struct quickstart *q)
{
	char path[PATH_MAX], link[NAME_MAX + 1], stamp[4 * PATH_MAX];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%.3000s/current", cache);
	n = readlink(path, link, sizeof(link) - 1);
	if (n <= 0)
		return false;
	link[n] = 0;
	/* By its own name: `current` may change under a start, what it names does not. */
	snprintf(path, sizeof(path), "%.3000s/%s/stamp", cache, link);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, stamp, sizeof(stamp) - 1);
	fd_close(&fd);
	if (n <= 0)
		return false;
	stamp[n] = 0;
	if (!stamp_holds(stamp, agent))
		return false;
	snprintf(q->kernel, sizeof(q->kernel), "%.3000s/%s/vmlinuz", cache, link);
	snprintf(q->initrd, sizeof(q->initrd), "%.3000s/%s/initrd", cache, link);
	if (access(q->kernel, R_OK) || access(q->initrd, R_OK))
		return false;
	if (strrchr(link, '-')) /* VERSION-HASH */
		prefer_vmlinux(cache, link, (size_t)(strrchr(link, '-') - link), q);
	return true;
}

static int cache_dir(char *dir, size_t size, struct err *e)
{
	const char *base = getenv("XDG_CACHE_HOME"), *below = "";

	if (!base || base[0] != '/') {
		base = getenv("HOME");
		below = "/.cache";
	}
	if (!base || base[0] != '/')
		return err_set(e, ENOENT, "quick-start guest: neither XDG_CACHE_HOME nor HOME is set");
	if ((size_t)snprintf(dir, size, "%s%s/vireo/quickstart", base, below) >= size)
		return err_set(e, ENAMETOOLONG, "quick-start guest: %s: path too long", base);
	return 0;
}

/* Run tools/quickstart; it tells the user itself what it does and what went wrong. */
static int make_guest(const char *agent, struct err *e)
{
	char tool[PATH_MAX];
	const char *argv[] = { tool, "--init", agent, NULL };
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), status;
	struct proc_fd fds[] = { { .src = null, .dst = 1 } };
	struct proc_spec spec = { .path = tool, .argv = argv, .fd = fds, .nr_fd = 1 };
	struct proc p;

	if (null < 0)
		return err_set(e, errno, "/dev/null: %m");
	if (boot_tool("quickstart", tool, sizeof(tool), e) || proc_spawn(&p, &spec, e)) {
		fd_close(&null);
		return -e->code;
	}
	fd_close(&null);
	status = proc_wait(&p);
	if (status)
		return err_set(e, ENOENT, "quick-start guest: not ready (see above); "
					  "--kernel and --initrd name other files");
	return 0;
}

int quickstart_get(struct quickstart *q, bool make, struct err *e)
{
	char cache[3000], agent[PATH_MAX], real[PATH_MAX];

	TRY(cache_dir(cache, sizeof(cache), e));
	TRY(boot_tool("vireo-init", agent, sizeof(agent), e));
	if (!realpath(agent, real))
		return err_set(e, errno, "%s: %m", agent);
	if (cached(cache, real, q))
		return 0;
	if (!make)
		return err_set(e, ENOENT, "quick-start guest: not made yet");
	TRY(make_guest(real, e));
	if (!cached(cache, real, q))
		return err_set(e, EIO, "quick-start guest: %s is incomplete; remove it", cache);
	return 0;
}
