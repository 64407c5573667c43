// SPDX-License-Identifier: Apache-2.0
/* snap_files_test.c - killed at any moment, the names lead to one whole snapshot */
#include "base/test.h"
#include "os/os.h"
#include "vmm/snapshot.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct err e;
static char dir[64], state[96], mem[96];

static struct snapshot_files files(void)
{
	struct snapshot_files f = { .path = { state, mem }, .nr = 2 };

	return f;
}

static void enter(void)
{
	strcpy(dir, "/tmp/snap-files-XXXXXX");
	if (!mkdtemp(dir))
		abort();
	snprintf(state, sizeof state, "%s/state", dir);
	snprintf(mem, sizeof mem, "%s/memory", dir);
}

static void leave(void)
{
	char cmd[128];

	snprintf(cmd, sizeof cmd, "rm -r %s", dir);
	if (system(cmd))
		abort();
}

static bool write_pair(char c)
{
	struct snapshot_files f = files();

	if (snapshot_create(&f, false, &e))
		return false;
	return !fd_write_full(f.fd[0], &c, 1) && !fd_write_full(f.fd[1], &c, 1) &&
	       !snapshot_commit(&f, &e);
}

/* What a load would see: the same letter from both files, or 0. */
static char read_pair(void)
{
	struct snapshot_files f = files();
	char a = 0, b = 0;

	if (snapshot_open(&f, &e))
		return 0;
	if (fd_pread_full(f.fd[0], &a, 1, 0) || fd_pread_full(f.fd[1], &b, 1, 0))
		a = b = 0;
	snapshot_close(&f);
	return a == b ? a : 0;
}

TEST(a_snapshot_replaces_another_as_a_whole)
{
	struct snapshot_files f = files();

	enter();
	f = files();
	CHECK_EQ(read_pair(), 0);
	CHECK(write_pair('a'));
	CHECK_EQ(read_pair(), 'a');
	CHECK(write_pair('b'));
	CHECK_EQ(read_pair(), 'b');
	CHECK_EQ(snapshot_create(&f, false, &e), 0);
	CHECK_EQ(read_pair(), 'b');
	snapshot_abandon(&f);
	CHECK_EQ(read_pair(), 'b');
	leave();
}

/* The states of the directory between the steps of a commit, made by hand. */
TEST(a_commit_cut_short_anywhere_leaves_one_whole_snapshot)
{
	static const char *const steps[] = {
		"echo b > state.tmp",
		"echo b > memory.new",
		"mv state.tmp state.new", /* from here on the new one */
		"mv memory.new memory",
		"mv state.new state",
	};

	for (unsigned n = 0; n <= array_len(steps); n++) {
		enter();
		CHECK(write_pair('a'));
		for (unsigned i = 0; i < n; i++) {
			char cmd[200];

			snprintf(cmd, sizeof cmd, "cd %s && %s", dir, steps[i]);
			CHECK(!system(cmd));
		}
		CHECK_EQ(read_pair(), n < 3 ? 'a' : 'b');
		CHECK(write_pair('c')); /* and the next snapshot finds its way */
		CHECK_EQ(read_pair(), 'c');
		leave();
	}
}

TEST(a_difference_may_start_as_a_copy)
{
	struct snapshot_files f = files();
	char buf[8] = "";
	struct stat st;

	enter();
	f = files();
	CHECK(write_pair('a'));
	CHECK(!truncate(mem, 1 << 20));
	CHECK_EQ(snapshot_create(&f, true, &e), 0);
	CHECK(!fstat(f.fd[1], &st));
	CHECK_EQ(st.st_size, 1 << 20);
	CHECK(st.st_blocks * 512 < 1 << 18); /* with its holes */
	CHECK(!fd_pread_full(f.fd[1], buf, 1, 0));
	CHECK_EQ(buf[0], 'a');
	snapshot_abandon(&f);
	leave();
}
