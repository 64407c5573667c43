// SPDX-License-Identifier: Apache-2.0
/* opener_test.c - what the opener opens, and what it refuses a hostile caller */
#include "base/test.h"
#include "os/opener.h"
#include "os/opener_int.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct err err;

/* A directory with: file "f", link "out" to /etc/passwd, link "in" to f, fifo "p". */
static const char *make_dir(char *dir)
{
	char path[200];
	int fd;

	strcpy(dir, "/tmp/vireo-opener-XXXXXX");
	if (!mkdtemp(dir))
		return NULL;
	snprintf(path, sizeof path, "%s/f", dir);
	fd = open(path, O_CREAT | O_WRONLY, 0644);
	if (fd < 0 || write(fd, "data", 4) != 4)
		return NULL;
	close(fd);
	snprintf(path, sizeof path, "%s/out", dir);
	if (symlink("/etc/passwd", path))
		return NULL;
	snprintf(path, sizeof path, "%s/in", dir);
	if (symlink("f", path))
		return NULL;
	snprintf(path, sizeof path, "%s/p", dir);
	return mkfifo(path, 0600) ? NULL : dir;
}

static void remove_dir(const char *dir)
{
	static const char *const names[] = { "f", "out", "in", "p", "new", "s" };
	char path[200];

	for (size_t i = 0; i < array_len(names); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static const char *in(const char *dir, const char *name)
{
	static char path[300];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

TEST(opener_opens_beneath_its_directories_and_nothing_else)
{
	char dir[40], c[5] = "";
	struct opener_policy p = { .dir = { make_dir(dir) }, .nr_dirs = 1 };
	struct opener *o = opener_start(&p, &err);
	int fd;

	CHECK(o);
	fd = opener_open(o, in(dir, "f"), O_RDONLY, 0, &err);
	CHECK(fd >= 0 && read(fd, c, 4) == 4);
	CHECK_STR(c, "data");
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC && !(fcntl(fd, F_GETFL) & O_NONBLOCK));
	close(fd);
	fd = opener_open(o, "in", O_RDWR, 0, &err); /* relative, a link that stays inside */
	CHECK(fd >= 0);
	close(fd);
	CHECK_EQ(opener_open(o, in(dir, "out"), O_RDONLY, 0, &err), -EXDEV);
	CHECK(strstr(err.msg, "/out: leads out of the directories"));
	CHECK_EQ(opener_open(o, in(dir, "../../etc/passwd"), O_RDONLY, 0, &err), -EXDEV);
	CHECK_EQ(opener_open(o, "../x", O_RDONLY, 0, &err), -EXDEV);
	CHECK_EQ(opener_open(o, "/etc/passwd", O_RDONLY, 0, &err), -EACCES);
	strcat(dir, "x"); /* a name that only begins like the directory */
	CHECK_EQ(opener_open(o, in(dir, "f"), O_RDONLY, 0, &err), -EACCES);
	dir[strlen(dir) - 1] = '\0';
	CHECK_EQ(opener_tap(o, "tap0", false, &err), -EACCES);
	opener_stop(o);
	remove_dir(dir);
}

TEST(opener_creates_files_only_where_it_may)
{
	char dir[40];
	struct opener_policy p = { .dir = { make_dir(dir) }, .nr_dirs = 1 };
	struct opener *o = opener_start(&p, &err);
	struct stat st;
	int fd;

	CHECK(o);
	fd = opener_open(o, in(dir, "new"), O_WRONLY | O_CREAT | O_EXCL, 04666, &err);
	CHECK(fd >= 0 && !fstat(fd, &st));
	CHECK_EQ(st.st_mode & 07133, 0);
	close(fd);
	fd = opener_open(o, "f", O_WRONLY | O_TRUNC, 0, &err);
	CHECK(fd >= 0 && !fstat(fd, &st));
	CHECK_EQ(st.st_size, 0);
	close(fd);
	CHECK_EQ(opener_open(o, "f", O_PATH, 0, &err), -EINVAL);
	CHECK_EQ(opener_open(o, "f", O_TMPFILE | O_RDWR, 0600, &err), -EINVAL);
	CHECK_EQ(opener_open(o, "", O_RDONLY, 0, &err), -ENOENT);
	opener_stop(o);
	p.read_only = true;
	o = opener_start(&p, &err);
	CHECK(o);
	CHECK_EQ(opener_open(o, "f", O_RDWR, 0, &err), -EROFS);
	CHECK_EQ(opener_open(o, "f", O_RDONLY | O_TRUNC, 0, &err), -EROFS);
	CHECK_EQ(opener_listen(o, "s", &err), -EROFS);
	opener_stop(o);
	remove_dir(dir);
}

TEST(opener_never_waits_for_a_fifo_and_never_opens_proc)
{
	struct opener_policy p = { .nr_dirs = 0 };
	char dir[40], path[60];
	struct opener *o = opener_start(&p, &err);
	int fd;

	CHECK(make_dir(dir) && o);
	CHECK_EQ(opener_open(o, in(dir, "p"), O_WRONLY, 0, &err), -ENXIO);
	fd = opener_open(o, in(dir, "p"), O_RDONLY, 0, &err);
	CHECK(fd >= 0);
	close(fd);
	snprintf(path, sizeof path, "/proc/%d/mem", getpid());
	CHECK_EQ(opener_open(o, path, O_RDWR, 0, &err), -EACCES);
	CHECK_EQ(opener_open(o, "/proc/self/root/etc/passwd", O_RDONLY, 0, &err), -ELOOP);
	CHECK_EQ(opener_open(NULL, path, O_RDWR, 0, &err), -EACCES);
	opener_stop(o);
	remove_dir(dir);
}

TEST(opener_makes_finds_and_removes_its_sockets)
{
	char dir[40], cwd[200], now[200];
	struct opener_policy p = { .dir = { make_dir(dir) }, .nr_dirs = 1 };
	struct opener *o = opener_start(&p, &err);
	int l, c;

	CHECK(o && getcwd(cwd, sizeof cwd));
	l = opener_listen(o, in(dir, "s"), &err);
	CHECK(l >= 0);
	c = opener_connect(o, "s", &err);
	CHECK(c >= 0);
	close(c);
	CHECK_EQ(opener_listen(o, "s", &err), -EADDRINUSE);
	CHECK_EQ(opener_unlink(o, "f", &err), -ENOTSOCK);
	CHECK_EQ(opener_connect(o, "f", &err), -ENOTSOCK);
	close(l);
	l = opener_listen(o, "s", &err); /* nobody listens there any more */
	CHECK(l >= 0);
	CHECK_EQ(opener_unlink(o, "s", &err), 0);
	close(l);
	l = opener_listen(NULL, in(dir, "s"), &err); /* another's */
	CHECK(l >= 0);
	CHECK_EQ(opener_unlink(o, "s", &err), -EPERM);
	CHECK_EQ(opener_unlink(NULL, in(dir, "s"), &err), 0);
	close(l);
	CHECK(getcwd(now, sizeof now));
	CHECK_STR(now, cwd);
	opener_stop(o);
	remove_dir(dir);
}

/* The broker's side of a request, whatever its bytes are. */
TEST(opener_refuses_requests_that_make_no_sense)
{
	struct opener_rules rules = { .start = AT_FDCWD };
	struct opener_request r = { .op = OPENER_NR, .path = "/tmp" };

	CHECK_EQ(opener_do(&rules, &r), -EINVAL);
	r.op = ~0u;
	CHECK_EQ(opener_do(&rules, &r), -EINVAL);
	r.op = OPENER_OPEN;
	r.flags = ~0u;
	CHECK_EQ(opener_do(&rules, &r), -EINVAL);
	rules.taps = true;
	r.op = OPENER_TAP;
	memset(r.path, 'a', 16);
	r.path[16] = '\0';
	CHECK_EQ(opener_do(&rules, &r), -EINVAL);
	strcpy(r.path, "t%d");
	CHECK_EQ(opener_do(&rules, &r), -EINVAL);
	r.op = OPENER_LISTEN;
	memset(r.path, 'a', OPENER_PATH - 1);
	CHECK_EQ(opener_do(&rules, &r), -ENAMETOOLONG);
	strcpy(r.path, "/tmp/");
	CHECK_EQ(opener_do(&rules, &r), -EISDIR);
}
