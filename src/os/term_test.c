// SPDX-License-Identifier: Apache-2.0
/* term_test.c - the terminal comes back whatever happens to the process */
#include "base/test.h"
#include "os/os.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static struct err err;

static int open_pty(int *slave)
{
	int m = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (m < 0 || grantpt(m) || unlockpt(m))
		return -1;
	*slave = open(ptsname(m), O_RDWR | O_NOCTTY | O_CLOEXEC);
	return *slave < 0 ? -1 : m;
}

static bool is_raw(int fd)
{
	struct termios t;

	return !tcgetattr(fd, &t) && !(t.c_lflag & ICANON);
}

static bool becomes(int fd, bool raw)
{
	for (int i = 0; i < 2000 && is_raw(fd) != raw; i++)
		usleep(1000);
	return is_raw(fd) == raw;
}

static pid_t raw_child(int tty, bool leave)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	setpgid(0, 0); /* not orphaned, so that it can be stopped */
	signal(SIGINT, SIG_DFL); /* ignored in what a shell runs in the background */
	signal(SIGHUP, SIG_DFL);
	if (term_raw(tty, &err))
		_exit(1);
	if (leave)
		exit(5);
	for (;;)
		pause();
}

static void ends_by(int sig)
{
	int tty, st, m = open_pty(&tty);
	pid_t pid;

	CHECK(m >= 0);
	pid = raw_child(tty, false);
	CHECK(becomes(tty, true));
	kill(pid, sig);
	CHECK_EQ(waitpid(pid, &st, 0), pid);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == sig);
	CHECK(!is_raw(tty));
	close(tty);
	close(m);
}

TEST(terminal_is_restored_by_fatal_signals)
{
	ends_by(SIGTERM);
	ends_by(SIGINT);
	ends_by(SIGHUP);
}

TEST(terminal_is_restored_by_exit)
{
	int tty, st, m = open_pty(&tty);
	pid_t pid;

	CHECK(m >= 0);
	pid = raw_child(tty, true);
	CHECK_EQ(waitpid(pid, &st, 0), pid);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 5);
	CHECK(!is_raw(tty));
	close(tty);
	close(m);
}

TEST(terminal_is_lent_back_while_stopped)
{
	int tty, st, m = open_pty(&tty);
	pid_t pid;

	CHECK(m >= 0);
	pid = raw_child(tty, false);
	CHECK(becomes(tty, true));
	for (int i = 0; i < 2; i++) {
		kill(pid, SIGTSTP);
		CHECK_EQ(waitpid(pid, &st, WUNTRACED), pid);
		CHECK(WIFSTOPPED(st));
		CHECK(!is_raw(tty));
		kill(pid, SIGCONT);
		CHECK(becomes(tty, true));
	}
	kill(pid, SIGTERM);
	waitpid(pid, &st, 0);
	CHECK(!is_raw(tty));
	close(tty);
	close(m);
}
