// SPDX-License-Identifier: Apache-2.0
/* jailed.c - a child in the jail that answers once; see jailed.h */
#include "boot/jailed.h"

#include "jail/jail.h"
#include "os/os.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the child says; the descriptors that are not -1 come beside it, in order. */
struct answer {
	int r;
	struct err e;
	struct jailed_result result;
};

static void NORETURN child(const struct jailed_work *w, int sock)
{
	const struct jail_spec jail = { .role = JAIL_SETUP };
	struct jail_report ignored;
	struct answer a = { .result = { .fd = { -1, -1 } } };
	int fds[JAILED_FDS];
	unsigned n = 0;

	a.r = w->open ? w->open(w->ctx, &a.e) : 0;
	if (!a.r)
		a.r = jail_enter(&jail, &ignored, &a.e);
	if (!a.r)
		a.r = w->fn(w->ctx, &a.result, &a.e);
	for (unsigned i = 0; i < JAILED_FDS; i++)
		if (a.result.fd[i] >= 0)
			fds[n++] = a.result.fd[i];
	_exit(fd_send(sock, &a, sizeof a, fds, n) ? 1 : 0);
}

/* The child may be in an attacker's hands by now: what it says is checked. */
static int take(struct answer *a, ssize_t len, const int *fds, unsigned nr)
{
	unsigned n = 0;

	if (len != sizeof *a)
		return -ECHILD;
	for (unsigned i = 0; i < JAILED_FDS; i++)
		n += a->result.fd[i] >= 0;
	if (n != nr || a->r > 0 || (a->r && nr))
		return -ECHILD;
	n = 0;
	for (unsigned i = 0; i < JAILED_FDS; i++)
		a->result.fd[i] = a->result.fd[i] >= 0 ? fds[n++] : -1;
	a->result.text[JAILED_TEXT - 1] = '\0';
	a->e.msg[sizeof a->e.msg - 1] = '\0';
	return 0;
}

int jailed_run(const struct jailed_work *w, struct jailed_result *ret, struct err *e)
{
	int pair[2], fds[JAILED_FDS], r = fd_pair(SOCK_SEQPACKET, pair);
	unsigned nr = JAILED_FDS;
	struct answer a;
	ssize_t len;
	pid_t pid = r ? -1 : fork();

	if (pid == 0)
		child(w, pair[1]);
	if (pid < 0)
		r = -errno;
	if (!r) {
		close(pair[1]);
		len = fd_recv(pair[0], &a, sizeof a, fds, &nr);
		close(pair[0]);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		r = take(&a, len, fds, nr);
		for (unsigned i = 0; r && i < nr; i++)
			close(fds[i]);
	}
	if (r)
		return err_set(e, -r, "the process that looks at it failed: %s", strerror(-r));
	if (a.r) {
		*e = a.e;
		return a.r;
	}
	*ret = a.result;
	return 0;
}
