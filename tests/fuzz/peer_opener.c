// SPDX-License-Identifier: Apache-2.0
/*
 * peer_opener.c - a hostile monitor that asks its broker for names (os/opener.h)
 *
 * The input is requests; a name is words, some of which lead out, or bytes. No descriptor of
 * anything beside the policy's directory may come back.
 */
#include "peer.h"

#include "os/opener_int.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define REQUESTS 24

static char top[] = "/dev/shm/vireo-opener-fuzz.XXXXXX", inside[64];
static struct opener_rules rules;
static int home; /* where we were: sockets move us */

static int remove_entry(const char *path, const struct stat *st UNUSED, int flag UNUSED,
			struct FTW *f)
{
	return f->level ? remove(path) : 0;
}

static void remove_top(void)
{
	if (chdir("/") < 0)
		return;
	nftw(top, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	rmdir(top);
}

/* top/dir, to which the policy leads, and top/secret beside it. */
static void start(void)
{
	int fd;

	home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (!mkdtemp(top) || atexit(remove_top))
		fuzz_broken("opener: no directory");
	snprintf(inside, sizeof inside, "%s/dir", top);
	if (mkdir(inside, 0700) || chdir(top) ||
	    (fd = open("secret", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) < 0)
		fuzz_broken("opener: no directory");
	close(fd);
	rules.start = AT_FDCWD;
	rules.nr_dirs = 1;
	rules.name[0] = inside;
	rules.dir[0] = open(inside, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void refill(void)
{
	int dir = rules.dir[0], fd;

	nftw(inside, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	mkdirat(dir, "sub", 0700);
	fd = openat(dir, "file.tmp", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0 || symlinkat("../secret", dir, "out") || symlinkat("..", dir, "up") ||
	    symlinkat("sub", dir, "in"))
		fuzz_broken("opener: no files");
	close(fd);
}

static void add_word(struct fuzz_in *in, char *path, size_t *n)
{
	static const char *const words[] = {
		"file", "sub",    "out", "up", "in",   "..",   ".",
		"sock", "secret", "/",   "//", ".tmp", ".new", "/proc/self/fd/0"
	};
	unsigned w = (unsigned)fuzz_take(in, 1);
	const char *word = w % 16 < array_len(words) ? words[w % 16] : inside;
	size_t len = strlen(word);

	if (w >= 0xe0) { /* bytes */
		*n += fuzz_bytes(in, path + *n, w & 15);
		return;
	}
	memcpy(path + *n, word, len);
	*n += len;
	if (w & 0x10)
		path[(*n)++] = '/';
}

static void check(int fd)
{
	char link[32], path[256] = "";
	struct stat st;

	if (fstat(fd, &st))
		fuzz_broken("opener: no descriptor");
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	if (!S_ISSOCK(st.st_mode) && (readlink(link, path, sizeof path - 1) < 0 ||
				      strncmp(path, inside, strlen(inside)) != 0))
		fuzz_broken("opener: something outside was opened");
	close(fd);
}

static void request(struct fuzz_in *in)
{
	static struct opener_request r;
	unsigned how = (unsigned)fuzz_take(in, 1);
	size_t n = 0;
	int fd;

	r.op = how & 7;
	r.flags = r.op == OPENER_OPEN ? (u32)fuzz_take(in, 3) : how >> 3 & 7;
	r.mode = (u32)fuzz_take(in, 1) * 0x101;
	for (unsigned k = 0; k < 1 + (how >> 6); k++)
		add_word(in, r.path, &n);
	r.path[n] = '\0';
	rules.own_only = how >> 5 & 1;
	fd = opener_do(&rules, &r);
	if (fd > 0)
		check(fd);
	else if (fd == 0 && r.op != OPENER_UNLINK && r.op != OPENER_REPLACE)
		fuzz_broken("opener: a success without a descriptor");
}

int opener_run(const u8 *p, size_t len, struct err *e UNUSED)
{
	struct fuzz_in in = { p, len };
	static unsigned nr;
	struct stat st;

	if (!rules.nr_dirs)
		start();
	if (nr++ % 16 == 0)
		refill();
	for (unsigned i = 0; i < REQUESTS && in.len; i++)
		request(&in);
	rules.nr_made = 0;
	if (chdir(top) || stat("secret", &st))
		fuzz_broken("opener: a file outside was removed");
	if (fchdir(home))
		fuzz_broken("opener: no way back");
	return 0;
}

size_t opener_seed(unsigned n, u8 *buf, size_t max UNUSED)
{
	static const u8 talk[][24] = {
		/* make, open, replace and drop a file; a socket made, reached, removed */
		{ 0x40, 0x42, 0,    0, 1, 0,    11, 0x05, 1,    0, 0x0d,
		  1,    0,    0x01, 1, 7, 0x02, 1,  7,    0x03, 1, 7 },
		/* ways out */
		{
			0xc0, 0, 0, 0,    1, 0x13, 0x13, 8, 0,    0,    0,
			0,    1, 2, 0x80, 0, 0,    0,    1, 0x15, 0x15, 8 },
	};

	if (n >= array_len(talk))
		return 0;
	memcpy(buf, talk[n], sizeof talk[n]);
	return sizeof talk[n];
}
