// SPDX-License-Identifier: Apache-2.0
/* chr_test.c - streams: back-pressure, end of file, all kinds of descriptors, the escape key */
#include "base/test.h"
#include "os/os.h"
#include "ui/ui.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct err err;

/* A device that takes at most @room bytes and checks that bytes count up from 0. */
struct fake {
	size_t room, got;
	unsigned opened, closed, writables;
	bool wrong;
};

static size_t fake_receive(void *dev, const void *buf, size_t len)
{
	struct fake *f = dev;
	size_t n = len < f->room ? len : f->room;

	for (size_t i = 0; i < n; i++)
		f->wrong |= ((const u8 *)buf)[i] != (u8)((f->got + i) * 7 + ((f->got + i) >> 8));
	f->got += n;
	f->room -= n;
	return n;
}

static void fake_writable(void *dev)
{
	((struct fake *)dev)->writables++;
}

static void fake_open(void *dev, bool open)
{
	struct fake *f = dev;

	f->opened += open;
	f->closed += !open;
}

static void attach(struct chr *c, struct fake *f)
{
	c->receive = fake_receive;
	c->writable = fake_writable;
	c->host_open = fake_open;
	c->dev = f;
	chr_start(c);
}

static void fill(u8 *p, size_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (u8)((from + i) * 7 + ((from + i) >> 8));
}

TEST(input_waits_for_the_device_and_loses_nothing)
{
	enum { TOTAL = 500000 };
	struct loop *l = loop_new(&err);
	struct fake f = { .room = 10 };
	static u8 data[TOTAL];
	struct chr *c;
	int p[2];
	size_t sent = 0;
	ssize_t n;

	fill(data, 0, TOTAL);
	CHECK(!fd_pipe(p) && !fd_nonblock(p[1], true));
	c = chr_open_fds(l, p[0], -1, &err);
	CHECK(c);
	attach(c, &f);
	CHECK_EQ(f.opened, 1);
	for (int i = 0; i < 20; i++) {
		n = write(p[1], data + sent, TOTAL - sent);
		sent += n > 0 ? (size_t)n : 0;
		loop_once(l, 0);
	}
	CHECK_EQ(f.got, 10);
	CHECK(sent < 300000); /* the pipe and one buffer: the writer is held back */
	srandom(2);
	for (int i = 0; f.got < TOTAL && i < 100000; i++) {
		n = write(p[1], data + sent, TOTAL - sent);
		sent += n > 0 ? (size_t)n : 0;
		f.room = (size_t)(random() % 5000);
		c->can_receive(c);
		loop_once(l, 0);
	}
	CHECK_EQ(f.got, TOTAL);
	CHECK(!f.wrong);
	CHECK_EQ(f.closed, 0);
	f.room = 100;
	close(p[1]);
	for (int i = 0; i < 3; i++)
		loop_once(l, 0);
	CHECK_EQ(f.closed, 1);
	chr_close(c);
	loop_free(l);
}

TEST(end_of_file_comes_after_the_last_byte_was_taken)
{
	struct loop *l = loop_new(&err);
	struct fake f = { .room = 3 };
	u8 data[8];
	struct chr *c;
	int p[2];

	fill(data, 0, 8);
	CHECK(!fd_pipe(p) && !fd_write_full(p[1], data, 8));
	close(p[1]);
	c = chr_open_fds(l, p[0], -1, &err);
	attach(c, &f);
	for (int i = 0; i < 4; i++)
		loop_once(l, 0);
	CHECK_EQ(f.closed, 0);
	f.room = 100;
	c->can_receive(c);
	for (int i = 0; i < 4; i++)
		loop_once(l, 0);
	CHECK_EQ(f.got, 8);
	CHECK_EQ(f.closed, 1);
	chr_close(c);
	loop_free(l);
}

/* Write TOTAL bytes in mixed sizes while a reader drains now and then. */
static void pump_out(struct loop *l, struct chr *c, int rd, struct fake *f)
{
	enum { TOTAL = 600000 };
	static u8 data[TOTAL], back[TOTAL];
	size_t sent = 0, got = 0;
	unsigned refused = 0;

	fill(data, 0, TOTAL);
	srandom(3);
	for (int i = 0; got < TOTAL && i < 200000; i++) {
		size_t k = random() % 3 ? (size_t)(random() % 9000) : 1;
		ssize_t n;

		k = k < TOTAL - sent ? k : TOTAL - sent;
		n = (ssize_t)c->write(c, data + sent, k);
		refused += (size_t)n < k;
		sent += (size_t)n;
		if (random() % 4 == 0) {
			loop_once(l, 0);
			n = read(rd, back + got, (size_t)(random() % 20000));
			got += n > 0 ? (size_t)n : 0;
		}
	}
	CHECK_EQ(got, TOTAL);
	CHECK(!memcmp(data, back, TOTAL));
	CHECK(refused > 0);
	CHECK(f->writables > 0);
}

TEST(output_to_a_slow_pipe_is_refused_not_lost)
{
	struct loop *l = loop_new(&err);
	struct fake f = { 0 };
	struct chr *c;
	int p[2];

	CHECK(!fd_pipe(p) && !fd_nonblock(p[0], true));
	c = chr_open_fds(l, -1, p[1], &err);
	attach(c, &f);
	pump_out(l, c, p[0], &f);
	chr_close(c);
	close(p[0]);
	loop_free(l);
}

TEST(output_to_a_slow_socket_is_refused_not_lost)
{
	struct loop *l = loop_new(&err);
	struct fake f = { 0 };
	struct chr *c;
	int p[2];

	CHECK(!fd_pair(SOCK_STREAM, p) && !fd_nonblock(p[0], true));
	c = chr_open_fds(l, -1, p[1], &err);
	attach(c, &f);
	pump_out(l, c, p[0], &f);
	chr_close(c);
	close(p[0]);
	loop_free(l);
}

TEST(the_other_users_of_an_inherited_pipe_stay_blocking)
{
	struct loop *l = loop_new(&err);
	struct chr *c;
	int p[2], shared;

	CHECK(!fd_pipe(p));
	shared = dup(p[1]);
	c = chr_open_fds(l, -1, p[1], &err);
	CHECK(c);
	CHECK(!(fcntl(shared, F_GETFL) & O_NONBLOCK));
	chr_close(c);
	close(shared);
	close(p[0]);
	loop_free(l);
}

TEST(close_writes_what_was_taken)
{
	struct loop *l = loop_new(&err);
	struct chr *c;
	char buf[8] = "";
	int p[2];

	CHECK(!fd_pipe(p));
	c = chr_open_fds(l, -1, p[1], &err);
	CHECK_EQ(c->write(c, "abc", 3), 3);
	chr_close(c);
	CHECK_EQ(read(p[0], buf, 8), 3);
	CHECK_STR(buf, "abc");
	CHECK_EQ(read(p[0], buf, 8), 0);
	close(p[0]);
	loop_free(l);
}

TEST(regular_files_and_dev_null_are_always_ready)
{
	enum { TOTAL = 200000 };
	struct loop *l = loop_new(&err);
	struct fake f = { .room = TOTAL }, g = { .room = 1 };
	static u8 data[TOTAL];
	int in = fd_tmpfile(0), out = fd_tmpfile(0);
	struct chr *c, *z;

	fill(data, 0, TOTAL);
	CHECK(!fd_pwrite_full(in, data, TOTAL, 0));
	c = chr_open_fds(l, in, dup(out), &err);
	CHECK(c);
	attach(c, &f);
	CHECK_EQ(c->write(c, data, TOTAL), TOTAL);
	CHECK_EQ(c->write(c, data, 10), 10);
	for (int i = 0; i < 10; i++)
		loop_once(l, 0);
	CHECK_EQ(f.got, TOTAL);
	CHECK(!f.wrong);
	CHECK_EQ(f.closed, 1);
	CHECK_EQ(lseek(out, 0, SEEK_END), TOTAL + 10);
	chr_close(c);
	close(out);
	z = chr_open_fds(l, open("/dev/null", O_RDONLY | O_CLOEXEC),
			 open("/dev/null", O_WRONLY | O_CLOEXEC), &err);
	CHECK(z);
	attach(z, &g);
	loop_once(l, 0);
	CHECK_EQ(g.closed, 1);
	CHECK_EQ(z->write(z, data, TOTAL), TOTAL);
	chr_close(z);
	loop_free(l);
}

TEST(a_full_disk_and_a_closed_pipe_are_reported)
{
	struct loop *l = loop_new(&err);
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC), p[2];
	struct chr *c = chr_open_fds(l, -1, fd, &err), *d;

	CHECK_EQ(c->write(c, "x", 1), 1);
	loop_once(l, 0);
	CHECK_EQ(chr_error(c), ENOSPC);
	chr_close(c);
	CHECK(!fd_pipe(p));
	close(p[0]);
	d = chr_open_fds(l, -1, p[1], &err);
	CHECK_EQ(d->write(d, "x", 1), 1);
	loop_once(l, 0);
	CHECK_EQ(chr_error(d), EPIPE);
	CHECK_EQ(d->write(d, "x", 1), 1);
	chr_close(d);
	loop_free(l);
}

TEST(shut_out_passes_end_of_file_after_the_data)
{
	struct loop *l = loop_new(&err);
	struct chr *c;
	char buf[8];
	int p[2];

	CHECK(!fd_pair(SOCK_STREAM, p));
	c = chr_open_fds(l, dup(p[1]), p[1], &err);
	CHECK_EQ(c->write(c, "bye", 3), 3);
	chr_shut_out(c);
	loop_once(l, 100);
	CHECK_EQ(read(p[0], buf, 8), 3);
	CHECK_EQ(read(p[0], buf, 8), 0);
	chr_close(c);
	close(p[0]);
	loop_free(l);
}

static int dial(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	if (!connect(fd, (struct sockaddr *)&a, sizeof a))
		return fd;
	close(fd);
	return -1;
}

TEST(a_unix_socket_serves_one_client_at_a_time_and_is_removed)
{
	struct loop *l = loop_new(&err);
	struct fake f = { .room = 100 };
	char path[64], buf[8];
	struct chr *c;
	int a, b;

	snprintf(path, sizeof path, "/tmp/vireo-chr-test-%d", getpid());
	c = chr_open_unix(l, path, &err);
	CHECK(c);
	attach(c, &f);
	CHECK_EQ(f.opened, 0);
	CHECK_EQ(c->write(c, "lost", 4), 4);
	CHECK(!chr_open_unix(l, path, &err));
	CHECK(strstr(err.msg, "in use"));
	a = dial(path);
	loop_once(l, 100);
	CHECK_EQ(f.opened, 1);
	b = dial(path);
	loop_once(l, 100);
	CHECK_EQ(read(b, buf, 8), 0);
	CHECK_EQ(c->write(c, "hi", 2), 2);
	loop_once(l, 100);
	CHECK_EQ(read(a, buf, 8), 2);
	close(a);
	close(b);
	loop_once(l, 100);
	CHECK_EQ(f.closed, 1);
	a = dial(path);
	loop_once(l, 100);
	CHECK_EQ(f.opened, 2);
	close(a);
	chr_close(c);
	CHECK(access(path, F_OK));
	loop_free(l);
}

TEST(a_client_that_does_not_read_cannot_hold_up_the_end)
{
	static char text[4096];
	struct loop *l = loop_new(&err);
	struct fake f = { .room = 0 };
	unsigned sent = 0;
	char path[64];
	struct chr *c;
	int fd;

	snprintf(path, sizeof path, "/tmp/vireo-chr-slow-%d", getpid());
	c = chr_open_unix(l, path, &err);
	CHECK(c);
	attach(c, &f);
	fd = dial(path);
	loop_once(l, 100);
	CHECK_EQ(f.opened, 1);
	for (int i = 0; i < 10000 && c->write(c, text, sizeof text); i++)
		sent++;
	CHECK(sent > 0 && sent < 10000); /* the socket is full: the rest stays with us */
	CHECK_EQ(c->write(c, "last words", 10), 10);
	chr_close(c); /* returns, although nobody reads */
	CHECK(access(path, F_OK));
	close(fd);
	loop_free(l);
}

TEST(a_socket_left_by_a_dead_process_is_replaced)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct loop *l = loop_new(&err);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct chr *c;

	snprintf(a.sun_path, sizeof a.sun_path, "/tmp/vireo-chr-stale-%d", getpid());
	CHECK(!bind(fd, (struct sockaddr *)&a, sizeof a));
	close(fd);
	c = chr_open_unix(l, a.sun_path, &err);
	CHECK(c);
	chr_close(c);
	loop_free(l);
}

TEST(a_pty_notices_who_opens_and_who_leaves)
{
	struct loop *l = loop_new(&err);
	struct fake f = { .room = 100 };
	struct chr_opts o = { 0 };
	struct chr *c = chr_open_pty(l, &o, &err);
	char buf[8];
	int fd;

	CHECK(c);
	attach(c, &f);
	fd = open(o.path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	CHECK(fd >= 0);
	for (int i = 0; i < 10 && !f.opened; i++)
		loop_once(l, 300);
	CHECK_EQ(f.opened, 1);
	CHECK_EQ(c->write(c, "a\n", 2), 2);
	loop_once(l, 100);
	CHECK_EQ(read(fd, buf, 8), 2);
	close(fd);
	loop_once(l, 300);
	CHECK_EQ(f.closed, 1);
	chr_close(c);
	loop_free(l);
}

static void escape(struct escape *s, const char *in, char *out, enum escape_event want)
{
	size_t used, n;

	CHECK_EQ(escape_filter(s, (const u8 *)in, strlen(in), &used, (u8 *)out, &n), want);
	out[n] = '\0';
}

TEST(escape_key_leaves_helps_or_passes_literally)
{
	struct escape s = { 0 };
	char out[32];

	escape(&s, "ab\x1d\x1d" "cd", out, ESCAPE_NONE);
	CHECK_STR(out, "ab\x1d" "cd");
	escape(&s, "x\x1d", out, ESCAPE_NONE);
	CHECK_STR(out, "x");
	escape(&s, "zq", out, ESCAPE_NONE);
	CHECK_STR(out, "\x1dzq");
	escape(&s, "a\x1d", out, ESCAPE_NONE);
	escape(&s, "qb", out, ESCAPE_QUIT);
	CHECK_STR(out, "");
	escape(&s, "\x1d?", out, ESCAPE_HELP);
}
