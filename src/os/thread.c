// SPDX-License-Identifier: Apache-2.0
/* thread.c - named threads (see os.h) */
#include "os/os.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *main_of(void *arg)
{
	struct thread *t = arg;

	struct err e;

	pthread_setname_np(pthread_self(), t->name);
	if (jail_thread(t->role, &e)) {
		fprintf(stderr, "vireo: thread %s: %s\n", t->name, e.msg);
		_exit(EXIT_FAILURE);
	}
	return t->fn(t->arg);
}

int thread_start(struct thread *t, const char *name, enum jail_role role,
		 void *(*fn)(void *arg), void *arg, struct err *e)
{
	sigset_t all, old;
	int r;

	snprintf(t->name, sizeof t->name, "%s", name);
	t->role = role;
	t->fn = fn;
	t->arg = arg;
	/* Synchronous faults stay deliverable: a blocked SIGSEGV kills without its handler. */
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGTRAP);
	sigdelset(&all, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&t->id, NULL, main_of, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return err_set(e, r, "thread %s: cannot be started: %s", t->name, strerror(r));
	return 0;
}

void thread_join(struct thread *t)
{
	pthread_join(t->id, NULL);
}

unsigned os_nr_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set))
		return 1;
	return (unsigned)CPU_COUNT(&set);
}
