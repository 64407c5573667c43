// SPDX-License-Identifier: Apache-2.0
/*
 * proc.c - child processes with exactly the descriptors they are given (see os.h)
 *
 * Between fork() and exec only system calls are made; a child without exec is for callers with one
 * thread. A failed exec reports its
 * errno through a pipe that a successful one closes.
 */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_MAP 64

/* No program follows: what it would not get is closed now. */
static void close_rest(const struct proc_spec *s, int top)
{
	for (int fd = 3; fd < top; fd++) {
		bool mapped = false;

		for (unsigned i = 0; i < s->nr_fd; i++)
			mapped |= s->fd[i].dst == fd;
		if (!mapped)
			close(fd);
	}
	syscall(SYS_close_range, top, ~0u, 0);
}

/* Move the mapped descriptors to their numbers; close everything else above 2. */
static int child_fds(const struct proc_spec *s, int *report)
{
	int tmp[MAX_MAP], top = 3;

	for (unsigned i = 0; i < s->nr_fd; i++)
		if (s->fd[i].dst >= top)
			top = s->fd[i].dst + 1;
	*report = fcntl(*report, F_DUPFD_CLOEXEC, top);
	if (*report < 0)
		return -1;
	for (unsigned i = 0; i < s->nr_fd; i++) {
		tmp[i] = fcntl(s->fd[i].src, F_DUPFD_CLOEXEC, top);
		if (tmp[i] < 0)
			return -1;
	}
	if (syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */))
		return -1;
	for (unsigned i = 0; i < s->nr_fd; i++)
		if (dup2(tmp[i], s->fd[i].dst) < 0)
			return -1;
	if (s->fn)
		close_rest(s, top);
	return 0;
}

void proc_default_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int i = 1; i <= SIGSYS; i++)
		sigaction(i, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void NORETURN child(const struct proc_spec *s, int report, pid_t parent)
{
	int err;

	if (s->new_group)
		setpgid(0, 0);
	if (s->die_with_us) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(127);
	}
	proc_default_signals();
	err = s->cgroup_fd > 0 && write(s->cgroup_fd, "0", 1) != 1 ? -1 : child_fds(s, &report);
	if (!err && s->fn)
		exit(s->fn(s->ctx));
	if (!err)
		execvpe(s->path, (char *const *)s->argv,
			s->envp ? (char *const *)s->envp : environ);
	err = errno;
	if (write(report, &err, sizeof err) < 0)
		_exit(126);
	_exit(127);
}

int proc_spawn(struct proc *p, const struct proc_spec *s, struct err *e)
{
	int pipefd[2], err = 0;
	pid_t parent = getpid();
	sigset_t all, old;

	if (s->nr_fd > MAX_MAP)
		return err_set(e, EINVAL, "%s: too many descriptors to pass", s->path);
	if (fd_pipe(pipefd))
		return err_set(e, errno, "%s: cannot be started: %s", s->path, strerror(errno));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* no handler of ours runs in the child */
	p->pid = fork();
	if (p->pid == 0)
		child(s, pipefd[1], parent);
	if (p->pid < 0)
		err = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(pipefd[1]);
	p->pidfd = -1;
	if (!err && !fd_read_full(pipefd[0], &err, sizeof err))
		waitpid(p->pid, NULL, 0);
	close(pipefd[0]);
	if (err)
		return err_set(e, err, "%s: cannot be started: %s", s->path, strerror(err));
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (p->pidfd < 0) {
		err = errno;
		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
		return err_set(e, err, "%s: cannot be watched: %s", s->path, strerror(err));
	}
	return 0;
}

int proc_wait(struct proc *p)
{
	int st = 0;

	while (waitpid(p->pid, &st, 0) < 0 && errno == EINTR)
		;
	fd_close(&p->pidfd);
	return WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
}

void proc_kill(struct proc *p, int sig)
{
	syscall(SYS_pidfd_send_signal, p->pidfd, sig, NULL, 0);
}

int proc_sibling(const char *name, char *ret, size_t len)
{
	ssize_t n = readlink("/proc/self/exe", ret, len);
	char *slash;

	if (n < 0)
		return -errno;
	if ((size_t)n >= len)
		return -ENAMETOOLONG;
	ret[n] = '\0';
	slash = strrchr(ret, '/');
	if (!slash || (size_t)(slash + 1 - ret) + strlen(name) >= len)
		return -ENAMETOOLONG;
	strcpy(slash + 1, name);
	return 0;
}
