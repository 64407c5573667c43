// SPDX-License-Identifier: Apache-2.0
/* fd_test.c - descriptor passing, whole transfers, child processes */
#include "base/test.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static struct err err;

TEST(passed_descriptors_arrive_open_and_close_on_exec)
{
	int s[2], p[2], got[4];
	unsigned nr = 4;
	char buf[8] = "", c = 0;

	CHECK(!fd_pair(SOCK_STREAM, s) && !fd_pipe(p));
	CHECK(!fd_send(s[0], "hello", 6, p, 2));
	CHECK_EQ(fd_recv(s[1], buf, sizeof buf, got, &nr), 6);
	CHECK_EQ(nr, 2);
	CHECK_STR(buf, "hello");
	CHECK(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	CHECK(!fd_write_full(got[1], "z", 1));
	CHECK(!fd_read_full(p[0], &c, 1));
	CHECK_EQ(c, 'z');
	nr = 1; /* the second is closed, not leaked */
	CHECK(!fd_send(s[0], "x", 1, p, 2));
	CHECK_EQ(fd_recv(s[1], buf, sizeof buf, got + 2, &nr), 1);
	CHECK_EQ(nr, 1);
	close(s[0]);
	nr = 4;
	CHECK_EQ(fd_recv(s[1], buf, sizeof buf, got + 3, &nr), 0);
	for (int i = 0; i < 2; i++)
		close(p[i]);
	for (int i = 0; i < 3; i++)
		close(got[i]);
	close(s[1]);
}

TEST(full_reads_say_when_the_file_is_too_short)
{
	int fd = fd_memfd("t", 100);
	char buf[128];

	CHECK_EQ(fd_pread_full(fd, buf, 128, 0), -ENODATA);
	CHECK_EQ(fd_pread_full(fd, buf, 100, 0), 0);
	CHECK_EQ(fd_pread_full(fd, buf, 0, 100), 0);
	close(fd);
}

TEST(a_child_gets_swapped_descriptors_and_no_others)
{
	int a[2], b[2];
	char buf[3] = "";
	struct proc p;
	struct err e;

	CHECK(!fd_pipe(a) && !fd_pipe(b));
	{
		/* Each target is the other's source. */
		struct proc_fd map[] = { { a[1], b[1] }, { b[1], a[1] } };
		char script[100];
		const char *argv[] = { "sh", "-c", script, NULL };

		snprintf(script, sizeof script,
			 "printf b >&%d; printf a >&%d; test -e /proc/self/fd/%d && exit 3; exit 7",
			 a[1], b[1], a[0]);
		CHECK(!proc_spawn(&p, &(struct proc_spec){ .path = "sh", .argv = argv, .fd = map,
							   .nr_fd = 2 },
				  &e));
	}
	CHECK_EQ(proc_wait(&p), 7);
	CHECK(!fd_read_full(a[0], buf, 1));
	CHECK(!fd_read_full(b[0], buf + 1, 1));
	CHECK_STR(buf, "ab");
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

TEST(a_program_that_does_not_exist_is_an_error)
{
	const char *argv[] = { "x", NULL };
	struct proc p;

	CHECK_EQ(proc_spawn(&p, &(struct proc_spec){ .path = "/no/such/program", .argv = argv },
			    &err),
		 -ENOENT);
	CHECK(strstr(err.msg, "/no/such/program: cannot be started"));
}

TEST(a_killed_child_reports_its_signal)
{
	const char *argv[] = { "sleep", "100", NULL };
	struct proc p;

	CHECK(!proc_spawn(&p, &(struct proc_spec){ .path = "sleep", .argv = argv }, &err));
	proc_kill(&p, SIGTERM);
	CHECK_EQ(proc_wait(&p), 128 + SIGTERM);
}
