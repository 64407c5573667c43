// SPDX-License-Identifier: Apache-2.0
/*
 * term.c - the controlling terminal in raw mode, and always back (see os.h)
 *
 * Restoring uses only async-signal-safe calls. The one state is process-wide,
 * because the terminal is.
 */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct {
	int fd;
	struct termios cooked, raw;
	volatile sig_atomic_t active;
	bool hooked;
} term = { .fd = -1 };

static void set_mode(const struct termios *t)
{
	sigset_t ttou, old;

	/* From the background, tcsetattr() would stop us: do it anyway. */
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &old);
	tcsetattr(term.fd, TCSANOW, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void term_restore(void)
{
	int err = errno;

	if (term.active) {
		term.active = 0;
		set_mode(&term.cooked);
	}
	errno = err;
}

/* Restore, then let the signal do what it would have done. */
static void on_fatal(int sig)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t one;

	term_restore();
	sigaction(sig, &dfl, NULL);
	sigemptyset(&one);
	sigaddset(&one, sig);
	raise(sig);
	pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}

static void on_stop(int sig)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL }, old;
	int err = errno, was_active = term.active;
	sigset_t one;

	term_restore();
	sigaction(sig, &dfl, &old);
	sigemptyset(&one);
	sigaddset(&one, sig);
	raise(sig);
	pthread_sigmask(SIG_UNBLOCK, &one, NULL); /* stops here */
	pthread_sigmask(SIG_BLOCK, &one, NULL);
	sigaction(sig, &old, NULL);
	if (was_active) {
		set_mode(&term.raw);
		term.active = 1;
	}
	errno = err;
}

/* Stopped by SIGSTOP and continued: somebody may have changed the terminal. */
static void on_cont(int sig UNUSED)
{
	int err = errno;

	if (term.active)
		set_mode(&term.raw);
	errno = err;
}

static void hook(int sig, void (*fn)(int sig))
{
	struct sigaction sa, old;

	if (sigaction(sig, NULL, &old) || old.sa_handler != SIG_DFL)
		return;
	sa = (struct sigaction){ .sa_handler = fn, .sa_flags = SA_RESTART };
	sigfillset(&sa.sa_mask);
	sigaction(sig, &sa, NULL);
}

static void hook_all(void)
{
	static const int fatal[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGPIPE };

	if (term.hooked)
		return;
	term.hooked = true;
	atexit(term_restore);
	for (size_t i = 0; i < array_len(fatal); i++)
		hook(fatal[i], on_fatal);
	hook(SIGTSTP, on_stop);
	hook(SIGCONT, on_cont);
}

int term_raw(int fd, struct err *e)
{
	if (!isatty(fd))
		return 0;
	if (term.active)
		return term.fd == fd ? 0 : err_set(e, EBUSY, "terminal: already in use");
	if (term.fd < 0)
		term.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (term.fd < 0 || tcgetattr(term.fd, &term.cooked))
		return err_set(e, errno, "terminal: %s", strerror(errno));
	term.raw = term.cooked;
	cfmakeraw(&term.raw);
	term.raw.c_cc[VMIN] = 1;
	term.raw.c_cc[VTIME] = 0;
	hook_all();
	term.active = 1;
	set_mode(&term.raw);
	return 0;
}

bool term_size(int fd, u16 *cols, u16 *rows)
{
	struct winsize ws;

	if (ioctl(fd, TIOCGWINSZ, &ws) || !ws.ws_col || !ws.ws_row)
		return false;
	*cols = ws.ws_col;
	*rows = ws.ws_row;
	return true;
}
