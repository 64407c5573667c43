// SPDX-License-Identifier: Apache-2.0
/*
 * os.h - the host: event loop, threads, descriptors, processes, the terminal
 *
 * Everything that wants a Linux system call goes through here, so that the rest
 * reads as a program about virtual machines. All descriptors are CLOEXEC.
 */
#ifndef OS_OS_H
#define OS_OS_H

#include "base/clock.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"
#include "jail/jail.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/types.h>
#include <sys/uio.h>

/* -- event loop -------------------------------------------------------------
 *
 * One epoll loop, run by one thread. Watches, timers and tasks are embedded in
 * the objects that want them.
 *
 * Locking. With loop_set_lock() the loop holds the owner's lock (the board lock)
 * around every batch of callbacks and never while it sleeps. All functions below
 * may be called on the loop's thread, or on any thread that holds that lock; only
 * loop_post() and loop_stop() may be called by anyone at any time. Without a lock,
 * everything else belongs to the loop's thread.
 *
 * A callback may remove, change or free anything, itself included: an event that
 * was already fetched for a removed watch is not delivered. Remove a watch before
 * closing its descriptor.
 */
struct loop;

struct watch {
	int fd;
	void (*fn)(struct watch *w, u32 events); /* EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR */
	u32 slot;				 /* the loop's: index + 1, 0 = not watched */
};

struct task {
	void (*fn)(struct task *t);
	struct task *next; /* the loop's */
	bool queued;	   /* the loop's */
};

/* Also makes the process ignore SIGPIPE: writers get EPIPE. */
struct loop *loop_new(struct err *e) MUST_CHECK;
void loop_free(struct loop *l); /* not while it runs */

/* Hooks around each batch of callbacks. Set before loop_run(). */
void loop_set_lock(struct loop *l, void (*lock)(void *ctx), void (*unlock)(void *ctx), void *ctx);

void loop_run(struct loop *l);	/* on the calling thread, until loop_stop() */
void loop_stop(struct loop *l); /* any thread, or a callback; the current batch ends first */
bool loop_here(const struct loop *l); /* is this the thread inside loop_run()? */

/*
 * One round without a lock requirement of its own: wait at most @timeout_ms (-1 = for
 * ever), run what is due. For tests and for programs that own their main loop.
 */
void loop_once(struct loop *l, int timeout_ms);

/*
 * Start watching w->fd, level-triggered. Fails with EPERM for what epoll refuses
 * (regular files, /dev/null): those are always ready.
 */
int loop_watch(struct loop *l, struct watch *w, u32 events, struct err *e) MUST_CHECK;
void loop_rewatch(struct loop *l, struct watch *w, u32 events); /* 0 = nothing, no error either */
void loop_unwatch(struct loop *l, struct watch *w);		/* no-op if not watched */

/* Run @t once, on the loop's thread. Already queued: nothing happens. In order of posting. */
void loop_post(struct loop *l, struct task *t);
void loop_cancel(struct loop *l, struct task *t); /* no-op if not queued */

/*
 * The loop as a clock: CLOCK_MONOTONIC and CLOCK_REALTIME. Arming costs a system
 * call only if the new deadline is earlier than what the host timer is set to.
 */
struct clock *loop_clock(struct loop *l);

struct aio **loop_aio(struct loop *l); /* aio.h's: what the loop's users share */
/* From now on clock_now_ns() goes on from @now_ns; timers that are armed keep their when_ns. */
void loop_set_clock(struct loop *l, u64 now_ns);

u64 os_now_ns(void);  /* CLOCK_MONOTONIC */
u64 os_cpu_ns(void);  /* CLOCK_PROCESS_CPUTIME_ID */
u64 os_wall_ns(void); /* CLOCK_REALTIME */

/* -- threads ---------------------------------------------------------------- */

struct thread {
	pthread_t id;
	char name[16]; /* at most 15 characters are kept */
	enum jail_role role;
	void *(*fn)(void *arg);
	void *arg;
};

/*
 * All signals are blocked in the new thread. In a jailed process it enters @role first: if
 * that fails the process ends.
 */
int thread_start(struct thread *t, const char *name, enum jail_role role,
		 void *(*fn)(void *arg), void *arg, struct err *e) MUST_CHECK;
void thread_join(struct thread *t);
unsigned os_nr_cpus(void); /* usable by this process */

/* -- descriptors ------------------------------------------------------------
 *
 * The _full functions repeat until everything is transferred. They return 0 or a
 * negative errno; end of file before @len bytes is -ENODATA. For blocking
 * descriptors and files.
 */
int fd_read_full(int fd, void *buf, size_t len) MUST_CHECK;
int fd_write_full(int fd, const void *buf, size_t len) MUST_CHECK;
int fd_pread_full(int fd, void *buf, size_t len, u64 off) MUST_CHECK;
int fd_pwrite_full(int fd, const void *buf, size_t len, u64 off) MUST_CHECK;

/* A descriptor, or a negative errno. */
int fd_memfd(const char *name, u64 size) MUST_CHECK;
int fd_eventfd(void) MUST_CHECK;		      /* non-blocking */
int fd_signalfd(const int *sigs, size_t n) MUST_CHECK; /* blocks them in this thread too */
int fd_tmpfile(u64 size) MUST_CHECK; /* unlinked, in $TMPDIR or /var/tmp; memfd if neither works */
int fd_pair(int type, int ret[2]) MUST_CHECK; /* AF_UNIX; SOCK_STREAM, SOCK_SEQPACKET */
int fd_pipe(int ret[2]) MUST_CHECK;
int fd_nonblock(int fd, bool on);
void fd_close(int *fd); /* if >= 0; sets -1. For CLEANUP() as well. */

/*
 * A non-blocking stream socket that listens at @path; a socket there that nobody listens
 * on any more is replaced, anything else refused. Or negative errno with *e set.
 */
int fd_listen_unix(const char *path, int backlog, struct err *e) MUST_CHECK;
/* The same, connected to @path at once or not at all; or negative errno. */
int fd_connect_unix(const char *path) MUST_CHECK;

#define FD_PASS_MAX 17

/* One message with @nr descriptors attached (0..FD_PASS_MAX); at least one byte of data. */
int fd_send(int sock, const void *buf, size_t len, const int *fds, unsigned nr) MUST_CHECK;
/*
 * Receive one message and its descriptors. *nr: in the room in @fds, out how many came;
 * more than asked for are closed. Return: bytes, 0 at end of stream, negative errno.
 */
ssize_t fd_recv(int sock, void *buf, size_t len, int *fds, unsigned *nr) MUST_CHECK;

/* -- processes -------------------------------------------------------------- */

struct proc_fd {
	int src, dst; /* this process's descriptor, its number in the child */
};

struct proc_spec {
	const char *path;	/* looked up in PATH if it has no slash */
	const char *const *argv; /* NULL-terminated */
	const char *const *envp; /* NULL = ours */
	int (*fn)(void *ctx);	 /* in place of a program: the child exits with what it returns; the
				    calling process has one thread and nothing in stdio's buffers */
	void *ctx;
	const struct proc_fd *fd; /* everything else is closed, 0-2 are inherited unless mapped */
	unsigned nr_fd;
	bool die_with_us; /* SIGKILL when the calling thread ends */
	bool new_group;	  /* own process group: keys typed at the terminal do not reach it */
	int cgroup_fd;	  /* joins this control group before it runs (os/cgroup.h); 0 = none */
};

struct proc {
	pid_t pid;
	int pidfd; /* readable when it has ended; watch it */
};

/* No handlers, nothing ignored or blocked of what is not a real-time signal: in a new process. */
void proc_default_signals(void);
/* Fails if the program cannot be executed, with the reason. */
int proc_spawn(struct proc *p, const struct proc_spec *spec, struct err *e) MUST_CHECK;
/* Wait, release. Return: exit status, or 128 + signal. */
int proc_wait(struct proc *p);
void proc_kill(struct proc *p, int sig);
/* Path of a program of ours: beside the running executable, whatever the current directory. */
int proc_sibling(const char *name, char *ret, size_t len) MUST_CHECK;

/* -- terminal ---------------------------------------------------------------
 *
 * One terminal per process. Raw mode ends at exit(), on SIGINT, SIGTERM, SIGHUP,
 * SIGQUIT (unless the program handles those itself) and while stopped by SIGTSTP.
 */
int term_raw(int fd, struct err *e) MUST_CHECK; /* no-op if @fd is not a terminal */
void term_restore(void);			/* any time, also from a signal handler */
bool term_size(int fd, u16 *cols, u16 *rows);

#endif
