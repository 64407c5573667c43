// SPDX-License-Identifier: Apache-2.0
/*
 * quickstart_test.c - the cache as docs/quickstart.md describes it
 */
#include "boot/boot.h"

#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64];

static void put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/vireo/quickstart/%s", top, name);
	f = fopen(path, "w");
	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

/* A cache for kernel 1-a made from this program's agent; false if there is none. */
static bool make_cache(off_t lie)
{
	char agent[PATH_MAX], real[PATH_MAX], cmd[256], stamp[PATH_MAX + 64];
	struct stat st;
	struct err e;

	if (boot_tool("vireo-init", agent, sizeof(agent), &e) || !realpath(agent, real) ||
	    stat(real, &st))
		return false;
	snprintf(top, sizeof(top), "/tmp/vireo-cache-XXXXXX");
	if (!mkdtemp(top))
		return false;
	setenv("XDG_CACHE_HOME", top, 1);
	snprintf(cmd, sizeof(cmd),
		 "cd %s && mkdir -p vireo/quickstart/1-a vireo/quickstart/kernels/1 && "
		 "ln -s 1-a vireo/quickstart/current", top);
	if (system(cmd))
		return false;
	snprintf(stamp, sizeof(stamp), "%lld %lld %s\n", (long long)(st.st_size + lie),
		 (long long)st.st_mtime, real);
	put("1-a/stamp", stamp);
	put("1-a/vmlinuz", "no bzImage\n");
	put("1-a/initrd", "initrd\n");
	return true;
}

static void clean(void)
{
	char cmd[128];

	unsetenv("XDG_CACHE_HOME");
	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	if (system(cmd))
		test_skip("cannot clean up");
}

TEST(quickstart_uses_a_cache_whose_stamp_holds)
{
	char want[128];
	struct quickstart q;
	struct err e;

	if (!make_cache(0)) {
		test_skip("no agent built");
		return;
	}
	CHECK_EQ(quickstart_get(&q, false, &e), 0);
	snprintf(want, sizeof(want), "%s/vireo/quickstart/1-a/vmlinuz", top);
	CHECK_STR(q.kernel, want);
	put("kernels/1/vmlinux", "ELF\n");
	CHECK_EQ(quickstart_get(&q, false, &e), 0);
	snprintf(want, sizeof(want), "%s/vireo/quickstart/kernels/1/vmlinux", top);
	CHECK_STR(q.kernel, want);
	clean();
}

TEST(quickstart_refuses_a_cache_of_another_agent)
{
	struct quickstart q;
	struct err e;

	if (!make_cache(1)) {
		test_skip("no agent built");
		return;
	}
	CHECK_EQ(quickstart_get(&q, false, &e), -ENOENT);
	clean();
}
