// SPDX-License-Identifier: Apache-2.0
/*
 * co.h - coroutines: image formats written as straight-line code that never blocks
 *
 * A coroutine runs on a stack of its own until it waits (co_wait) and goes on after
 * co_wake(). Coroutines are resumed only from the ordinary stack of the thread that
 * called co_start() or co_wake() last, one at a time: code between two waits is
 * atomic, and resuming never nests. The loop's lock (os/os.h) protects everything;
 * a coroutine may go on on another thread that holds it, so nothing in one may keep
 * the address of a thread-local variable (errno) across a wait.
 */
#ifndef BLK_CO_H
#define BLK_CO_H

#include "base/compiler.h"
#include "base/types.h"

#define CO_STACK (256u << 10) /* bytes; only what is touched costs memory */

struct co {
	void *sp;	/* where it stands, while not running */
	void *stack;
	void *fiber;	/* for the sanitizers */
	void (*fn)(struct co *c); /* on its own stack */
	void (*end)(struct co *c); /* on the ordinary stack, after fn returned; may free @c */
	struct co *next; /* in the ready list or a waiting list */
	bool finished, woken, waiting;
};

/* Get a stack. Return: 0 or -ENOMEM. */
int co_init(struct co *c) MUST_CHECK;
void co_fini(struct co *c); /* finished, or never started */

/* Run c->fn, at once or as soon as the calling coroutine waits. */
void co_start(struct co *c);

struct co *co_self(void); /* NULL on an ordinary stack */
void co_wait(void);	  /* until co_wake(); at once if that was called before */
void co_wake(struct co *c);

/* A lock for coroutines. On an ordinary stack nothing may be in flight: it is then free. */
struct co_mutex {
	bool held;
	struct co *head, *tail;
};

void co_lock(struct co_mutex *m);
void co_unlock(struct co_mutex *m);

/* A list of waiting coroutines. */
struct co_queue {
	struct co *head, *tail;
};

void co_queue_wait(struct co_queue *q);
void co_queue_wake_all(struct co_queue *q);

#endif
