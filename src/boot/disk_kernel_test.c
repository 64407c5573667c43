// SPDX-License-Identifier: Apache-2.0
/*
 * disk_kernel_test.c - images made here, with mke2fs, and hostile ones
 */
#include "boot/boot.h"

#include "base/test.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static bool sh(const char *cmd)
{
	char line[1024];

	snprintf(line, sizeof(line), "cd %s && { %s; } >/dev/null 2>&1", dir, cmd);
	return system(line) == 0;
}

/* A file system image "fs" of 4 MiB with the given shell commands' files. */
static bool make_fs(const char *files)
{
	snprintf(dir, sizeof(dir), "/tmp/vireo-disk-XXXXXX");
	return mkdtemp(dir) && sh("mkdir -p t/boot t/etc") && sh(files) &&
	       sh("PATH=$PATH:/sbin:/usr/sbin mke2fs -q -t ext4 -U "
		  "11111111-2222-3333-4444-555555555555 -d t fs 4M");
}

static int open_image(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool content_is(int fd, const char *want)
{
	char buf[64] = "";

	return read(fd, buf, sizeof(buf) - 1) == (ssize_t)strlen(want) && !strcmp(buf, want);
}

static void done(int a, int b, int c)
{
	char cmd[80];

	fd_close(&a);
	fd_close(&b);
	fd_close(&c);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	if (system(cmd))
		test_skip("cannot clean up");
}

TEST(disk_kernel_is_the_newest_version_with_its_initrd)
{
	char root[DISK_ROOT_MAX];
	struct err e;
	int fd, k = -1, i = -1;

	if (!make_fs("echo old >t/boot/vmlinuz-6.1.9; echo new >t/boot/vmlinuz-6.1.10;"
		     "echo ird >t/boot/initrd.img-6.1.10")) {
		test_skip("no mke2fs");
		return;
	}
	fd = open_image("fs");
	CHECK_EQ(disk_find_kernel(fd, &k, &i, root, &e), 0);
	CHECK(content_is(k, "new\n"));
	CHECK(content_is(i, "ird\n"));
	CHECK_STR(root, "root=UUID=11111111-2222-3333-4444-555555555555");
	done(fd, k, i);
}

TEST(disk_kernel_is_found_in_an_mbr_partition)
{
	char root[DISK_ROOT_MAX];
	struct err e;
	int fd, k = -1, i = -1;

	/* One Linux partition from sector 2048: entry 1 at 446, type at +4, start at +8. */
	if (!make_fs("echo kernel >t/boot/vmlinuz-1") ||
	    !sh("truncate -s 5M disk && dd if=fs of=disk bs=1M seek=1 conv=notrunc && "
		"printf '\\203\\0\\0\\0\\0\\10\\0\\0\\0\\40\\0\\0' | "
		"dd of=disk bs=1 seek=450 conv=notrunc && "
		"printf '\\125\\252' | dd of=disk bs=1 seek=510 conv=notrunc")) {
		test_skip("no mke2fs");
		return;
	}
	fd = open_image("disk");
	CHECK_EQ(disk_find_kernel(fd, &k, &i, root, &e), 0);
	CHECK(content_is(k, "kernel\n"));
	CHECK_EQ(i, -1);
	done(fd, k, i);
}

TEST(disk_without_a_kernel_says_what_to_give)
{
	char root[DISK_ROOT_MAX];
	struct err e;
	int fd = fd_memfd("empty", 1 << 20), k = -1, i = -1;

	CHECK_EQ(disk_find_kernel(fd, &k, &i, root, &e), -ENOENT);
	CHECK(strstr(e.msg, "--kernel"));
	fd_close(&fd);
}

/* Every 64-byte piece of the metadata blocks replaced by ones: no crash, no hang. */
TEST(disk_kernel_survives_damaged_file_systems)
{
	char root[DISK_ROOT_MAX], ones[64], keep[64];
	struct err e;
	int fd, mem;
	static char image[4 << 20];

	if (!make_fs("echo kernel >t/boot/vmlinuz-1")) {
		test_skip("no mke2fs");
		return;
	}
	fd = open_image("fs");
	mem = fd_memfd("image", 0);
	CHECK_EQ(fd_read_full(fd, image, sizeof(image)), 0);
	CHECK_EQ(fd_write_full(mem, image, sizeof(image)), 0);
	memset(ones, 0xff, sizeof(ones));
	for (size_t at = 1024; at < 64 << 10; at += at < 8192 ? 64 : 1024) {
		int k = -1, i = -1;

		memcpy(keep, image + at, sizeof(keep));
		CHECK_EQ(fd_pwrite_full(mem, ones, sizeof(ones), at), 0);
		(void)!disk_find_kernel(mem, &k, &i, root, &e);
		fd_close(&k);
		fd_close(&i);
		CHECK_EQ(fd_pwrite_full(mem, keep, sizeof(keep), at), 0);
	}
	done(fd, mem, -1);
}

TEST(disk_kernel_takes_no_file_that_claims_more_than_the_disk_has)
{
	char root[DISK_ROOT_MAX];
	struct err e = { 0 };
	int fd, k = -1, i = -1;

	if (!make_fs("echo kernel >t/boot/vmlinuz-1; truncate -s 1G t/boot/initrd.img-1")) {
		test_skip("no mke2fs");
		return;
	}
	fd = open_image("fs");
	CHECK_EQ(disk_find_kernel(fd, &k, &i, root, &e), -EINVAL);
	CHECK(strstr(e.msg, "/boot/initrd.img-1"));
	CHECK(k == -1 && i == -1);
	done(fd, k, i);
}

TEST(disk_kernel_keeps_holes_as_holes)
{
	char root[DISK_ROOT_MAX];
	struct stat st = { 0 };
	struct err e;
	int fd, k = -1, i = -1;

	if (!make_fs("echo kernel >t/boot/vmlinuz-1; truncate -s 3M t/boot/initrd.img-1")) {
		test_skip("no mke2fs");
		return;
	}
	fd = open_image("fs");
	CHECK_EQ(disk_find_kernel(fd, &k, &i, root, &e), 0);
	CHECK_EQ(fstat(i, &st), 0);
	CHECK_EQ(st.st_size, 3 << 20);
	CHECK_EQ(st.st_blocks, 0);
	done(fd, k, i);
}

TEST(disk_kernel_follows_symbolic_links)
{
	char root[DISK_ROOT_MAX];
	struct err e;
	int fd, k = -1, i = -1;

	/* a short one, in the inode, relative; a long one, in a block, from the root */
	if (!make_fs("mkdir t/k && echo linked >t/k/image && echo ird >t/k/initrd &&"
		     "ln -s ../k/image t/boot/vmlinuz-7 &&"
		     "ln -s /k/./././././././././././././././././././././././././././././././initrd"
		     " t/boot/initrd.img-7")) {
		test_skip("no mke2fs");
		return;
	}
	fd = open_image("fs");
	CHECK_EQ(disk_find_kernel(fd, &k, &i, root, &e), 0);
	CHECK(content_is(k, "linked\n"));
	CHECK(content_is(i, "ird\n"));
	done(fd, k, i);
}

/* libext2fs would read so many bytes from the one block it has of it. */
TEST(disk_kernel_takes_no_symbolic_link_that_claims_to_be_long)
{
	char root[DISK_ROOT_MAX];
	struct err e = { 0 };
	int fd, k = -1, i = -1;

	if (!make_fs("ln -s /k/././././././././././././././././././././././././././././././image"
		     " t/boot/vmlinuz-7") ||
	    !sh("PATH=$PATH:/sbin:/usr/sbin debugfs -w -R 'sif /boot/vmlinuz-7 size 900000000' fs")) {
		test_skip("no mke2fs or debugfs");
		return;
	}
	fd = open_image("fs");
	CHECK_EQ(disk_find_kernel(fd, &k, &i, root, &e), -ENOENT);
	CHECK(strstr(e.msg, "/boot/vmlinuz-7"));
	done(fd, k, i);
}
