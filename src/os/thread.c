// SPDX-License-Identifier: Apache-2.0
/* thread.c - named threads (see os.h) */
#include "os/os.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void *main_of(void *arg)
{
	struct thread *t = arg;

	pthread_setname_np(pthread_self(), t->name);
	return t->fn(t->arg);
}

int thread_start(struct thread *t, const char *name, void *(*fn)(void *arg), void *arg,
		 struct err *e)
{
	sigset_t all, old;
	int r;

	snprintf(t->name, sizeof t->name, "%s", name);
	t->fn = fn;
	t->arg = arg;
	/* Synchronous faults stay deliverable: a blocked SIGSEGV kills without its handler. */
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGTRAP);
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
