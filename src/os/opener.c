// SPDX-License-Identifier: Apache-2.0
/*
 * opener.c - the broker process and the calls to it; see opener.h
 */
#include "os/opener.h"

#include "jail/jail.h"
#include "os/opener_int.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct opener {
	int sock;
	pid_t pid;
	pthread_mutex_t lock; /* one request at a time */
};

/* -- the broker --------------------------------------------------------------------------- */

/* No descriptor comes back. */
static bool gives_nothing(u32 op)
{
	return op == OPENER_UNLINK || op == OPENER_REPLACE;
}

static int open_dirs(struct opener_rules *ret, const struct opener_policy *p, struct err *e)
{
	*ret = (struct opener_rules){
		.read_only = p->read_only, .taps = p->taps, .own_only = true, .start = -1
	};
	for (unsigned i = 0; i < p->nr_dirs; i++) {
		char *name = realpath(p->dir[i], NULL);
		int fd = name ? open(name, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

		if (fd < 0) {
			free(name);
			return err_set(e, errno, "%.150s: %s", p->dir[i], strerror(errno));
		}
		ret->name[i] = strcmp(name, "/") ? name : "";
		ret->dir[i] = fd;
		ret->nr_dirs++;
	}
	ret->start = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return ret->start < 0 ? err_set(e, errno, "working directory: %s", strerror(errno)) : 0;
}

static void close_dirs(struct opener_rules *p)
{
	for (unsigned i = 0; i < p->nr_dirs; i++) {
		close(p->dir[i]);
		if (*p->name[i])
			free((char *)p->name[i]);
	}
	fd_close(&p->start);
}

/* Close every descriptor but these; 0 to 2 lead nowhere. */
static void keep_only(int sock, const struct opener_rules *p)
{
	int keep[2 + OPENER_DIRS] = { sock, p->start },
		     null = open("/dev/null", O_RDWR | O_CLOEXEC);
	unsigned n = 2, from = 3;

	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	for (unsigned i = 0; i < p->nr_dirs; i++)
		keep[n++] = p->dir[i];
	for (unsigned i = 1; i < n; i++) /* in order */
		for (unsigned k = i; k && keep[k - 1] > keep[k]; k--) {
			int t = keep[k];

			keep[k] = keep[k - 1];
			keep[k - 1] = t;
		}
	for (unsigned i = 0; i < n; from = (unsigned)keep[i++] + 1)
		if ((unsigned)keep[i] > from)
			syscall(SYS_close_range, from, keep[i] - 1, 0);
	syscall(SYS_close_range, from, ~0u, 0);
}

/* One request. false: the other end is gone. */
static bool serve_one(int sock, struct opener_rules *p)
{
	static struct opener_request r;
	const size_t fixed = offsetof(struct opener_request, path);
	ssize_t n = recv(sock, &r, sizeof r, 0);
	i32 result;
	int sent;

	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0)
		return false;
	if ((size_t)n <= fixed || memchr(r.path, '\0', (size_t)n - fixed) != (char *)&r + n - 1)
		result = -EBADMSG; /* no end, or more after it */
	else
		result = opener_do(p, &r);
	n = result < 0 || gives_nothing(r.op) ? 0 : 1;
	sent = fd_send(sock, &(i32){ n ? 0 : result }, sizeof result, &result, (unsigned)n);
	if (n)
		close(result);
	return !sent;
}

static void NORETURN broker(int sock, struct opener_rules *p)
{
	const struct jail_spec jail = { .role = JAIL_OPENER, .bare = true, .max_files = 64 };
	struct jail_report ignored;
	struct err e;

	/* The terminal's keys are the monitor's business; we end after it. */
	setpgid(0, 0);
	proc_default_signals();
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "vireo-opener");
	keep_only(sock, p);
	if (jail_enter(&jail, &ignored, &e))
		_exit(EXIT_FAILURE);
	while (serve_one(sock, p))
		;
	_exit(0);
}

struct opener *opener_start(const struct opener_policy *p, struct err *e)
{
	struct opener *o = calloc(1, sizeof *o);
	struct opener_rules rules = { .start = -1 };
	int pair[2] = { -1, -1 }, r = o ? 0 : err_set(e, ENOMEM, "opener: out of memory");

	if (!r && p->nr_dirs > OPENER_DIRS)
		r = err_set(e, E2BIG, "opener: want at most %d directories", OPENER_DIRS);
	if (!r && (r = open_dirs(&rules, p, e)))
		err_wrap(e, "opener");
	if (!r && fd_pair(SOCK_SEQPACKET, pair))
		r = err_set(e, errno, "opener: %s", strerror(errno));
	if (!r) {
		o->pid = fork();
		if (!o->pid)
			broker(pair[1], &rules);
		if (o->pid < 0)
			r = err_set(e, errno, "opener: cannot be started: %s", strerror(errno));
	}
	close_dirs(&rules);
	fd_close(&pair[1]);
	if (!r) {
		o->sock = pair[0];
		pthread_mutex_init(&o->lock, NULL);
		return o;
	}
	fd_close(&pair[0]);
	free(o);
	return NULL;
}

void opener_stop(struct opener *o)
{
	if (!o)
		return;
	close(o->sock);
	while (waitpid(o->pid, NULL, 0) < 0 && errno == EINTR)
		;
	pthread_mutex_destroy(&o->lock);
	free(o);
}

/* -- requests ----------------------------------------------------------------------------- */

/* The broker holds no lock and answers every request: a broken line is its end. */
static int call(struct opener *o, const struct opener_request *r, size_t len)
{
	i32 result;
	unsigned nr = 1;
	int fd = -1, err;
	ssize_t n;

	pthread_mutex_lock(&o->lock);
	err = fd_send(o->sock, r, len, NULL, 0);
	n = err ? 0 : fd_recv(o->sock, &result, sizeof result, &fd, &nr);
	pthread_mutex_unlock(&o->lock);
	if (n == sizeof result && result < 0 && !nr)
		return result;
	if (n == sizeof result && (nr == 1) == !gives_nothing(r->op))
		return nr ? fd : 0;
	fd_close(&fd);
	return -EPIPE;
}

static const char *reason(int err)
{
	switch (err) {
	case EXDEV: return "leads out of the directories that may be used";
	case EPIPE: return "the process that opens files has ended";
	case ENOTSOCK: return "not a socket";
	default: return strerror(err);
	}
}

/* In this process: sockets are reached through the working directory, which is put back. */
static int do_here(const struct opener_request *r)
{
	struct opener_rules anything = { .start = AT_FDCWD, .taps = true };
	int cwd, ret;

	if (r->op == OPENER_OPEN || r->op == OPENER_TAP)
		return opener_do(&anything, r);
	cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cwd < 0)
		return -errno;
	ret = opener_do(&anything, r);
	if (fchdir(cwd) < 0 && ret > 0) {
		close(ret);
		ret = -errno;
	}
	close(cwd);
	return ret;
}

static int ask(struct opener *o, enum opener_op op, const char *path, u32 flags, u32 mode,
	       struct err *e)
{
	struct opener_request r = { .op = op, .flags = flags, .mode = mode };
	size_t n = strlen(path);
	int ret;

	if (n >= sizeof r.path)
		return err_set(e, ENAMETOOLONG, "%.100s...: want a name of less than %d bytes",
			       path, OPENER_PATH);
	memcpy(r.path, path, n + 1);
	ret = o ? call(o, &r, offsetof(struct opener_request, path) + n + 1) : do_here(&r);
	return ret < 0 ? err_set(e, -ret, "%.150s: %s", path, reason(-ret)) : ret;
}

int opener_open(struct opener *o, const char *path, int flags, u32 mode, struct err *e)
{
	return ask(o, OPENER_OPEN, path, (u32)(flags & ~O_CLOEXEC), mode, e);
}

int opener_listen(struct opener *o, const char *path, struct err *e)
{
	return ask(o, OPENER_LISTEN, path, 0, 0, e);
}

int opener_connect(struct opener *o, const char *path, struct err *e)
{
	return ask(o, OPENER_CONNECT, path, 0, 0, e);
}

int opener_unlink(struct opener *o, const char *path, struct err *e)
{
	return ask(o, OPENER_UNLINK, path, 0, 0, e);
}

int opener_replace(struct opener *o, const char *path, enum opener_step step, struct err *e)
{
	return ask(o, OPENER_REPLACE, path, step, 0, e);
}

int opener_tap(struct opener *o, const char *name, bool multi_queue, struct err *e)
{
	return ask(o, OPENER_TAP, name, multi_queue, 0, e);
}
