// SPDX-License-Identifier: Apache-2.0
/*
 * loop.c - epoll loop, timers, cross-thread tasks (see os.h)
 *
 * Everything but the task list is protected by the owner's lock, which
 * whoever calls holds (or by there being only one thread). The task list has
 * a mutex of its own, so that anyone may post.
 *
 * (I1) An epoll event names a slot and its generation, never a watch: events of
 *	a watch removed meanwhile no longer match and are dropped.
 * (I2) armed_ns is never later than what the timerfd is set to, unless that time
 *	has passed: before sleeping the first deadline is >= armed_ns. A deadline
 *	that moved later leaves the timerfd early; it costs one empty round.
 * (I3) The timerfd and the eventfd are edge-triggered and never read.
 */
#include "os/os.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NEVER	  UINT64_MAX
#define MAX_BATCH 64
#define INTERNAL  UINT64_MAX /* epoll data of our own two descriptors */

struct slot {
	struct watch *w; /* NULL = free */
	u32 gen;
	u32 events;    /* 0 = not in the epoll set */
	u32 next_free; /* index + 1 */
};

struct loop {
	struct clock clock;
	u64 shift; /* the clock is CLOCK_MONOTONIC plus this */
	int ep, tfd, efd;

	struct slot *slot;
	u32 nr_slots, free_slot;

	struct timer **heap; /* binary, earliest first */
	u32 nr_timers, cap_timers;
	u64 armed_ns;

	pthread_mutex_t task_mtx;
	struct task *head, **tail;

	void (*lock)(void *ctx);
	void (*unlock)(void *ctx);
	void *lock_ctx;

	struct aio *aio;

	_Atomic(const void *) runner; /* address of the running thread's `me` */
	atomic_bool stop;
};

static __thread char me;

u64 os_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

u64 os_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

u64 os_wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

/* -- timers ----------------------------------------------------------------- */

static u64 clock_now(struct clock *c)
{
	return os_now_ns() + container_of(c, struct loop, clock)->shift;
}

static void heap_put(struct loop *l, u32 i, struct timer *t)
{
	l->heap[i] = t;
	t->slot = i + 1;
}

static void heap_up(struct loop *l, u32 i, struct timer *t)
{
	while (i && l->heap[(i - 1) / 2]->when_ns > t->when_ns) {
		heap_put(l, i, l->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(l, i, t);
}

static void heap_down(struct loop *l, u32 i, struct timer *t)
{
	for (;;) {
		u32 c = 2 * i + 1;

		if (c + 1 < l->nr_timers && l->heap[c + 1]->when_ns < l->heap[c]->when_ns)
			c++;
		if (c >= l->nr_timers || l->heap[c]->when_ns >= t->when_ns)
			break;
		heap_put(l, i, l->heap[c]);
		i = c;
	}
	heap_put(l, i, t);
}

static void heap_fix(struct loop *l, u32 i, struct timer *t)
{
	if (i && l->heap[(i - 1) / 2]->when_ns > t->when_ns)
		heap_up(l, i, t);
	else
		heap_down(l, i, t);
}

static void heap_grow(struct loop *l)
{
	u32 cap = l->cap_timers ? 2 * l->cap_timers : 32;
	struct timer **h = realloc(l->heap, cap * sizeof *h);

	if (!h) { /* a few hundred bytes; the number of timers is the configuration's */
		fputs("out of memory\n", stderr);
		abort();
	}
	l->heap = h;
	l->cap_timers = cap;
}

static void program(struct loop *l, u64 when_ns)
{
	struct itimerspec its = { 0 };
	__int128 host = (__int128)when_ns - (i64)l->shift;

	if (host <= 0)
		host = 1; /* the past; zero would disarm */
	if (host > INT64_MAX)
		host = INT64_MAX;
	its.it_value.tv_sec = (time_t)((i64)host / 1000000000);
	its.it_value.tv_nsec = (long)((i64)host % 1000000000);
	timerfd_settime(l->tfd, TFD_TIMER_ABSTIME, &its, NULL);
	l->armed_ns = when_ns;
}

static void arm(struct clock *c, struct timer *t, u64 when_ns)
{
	struct loop *l = container_of(c, struct loop, clock);

	t->when_ns = when_ns;
	if (t->slot) {
		heap_fix(l, t->slot - 1, t);
	} else {
		if (l->nr_timers == l->cap_timers)
			heap_grow(l);
		heap_up(l, l->nr_timers++, t);
	}
	/* The loop's own thread programs the first deadline once, before it sleeps. */
	if (when_ns < l->armed_ns && !loop_here(l))
		program(l, when_ns);
}

static void disarm(struct clock *c, struct timer *t)
{
	struct loop *l = container_of(c, struct loop, clock);
	u32 i = t->slot;
	struct timer *last;

	if (!i--)
		return;
	t->slot = 0;
	last = l->heap[--l->nr_timers];
	if (last != t)
		heap_fix(l, i, last);
}

/* At most as many callbacks as there are timers now: one re-armed in the past waits. */
static void run_timers(struct loop *l)
{
	u64 now = clock_now(&l->clock);

	if (l->armed_ns <= now) /* also with no timer left: the next one must be programmed */
		l->armed_ns = NEVER;
	for (u32 n = l->nr_timers; n && l->nr_timers && l->heap[0]->when_ns <= now; n--) {
		struct timer *t = l->heap[0];

		disarm(&l->clock, t);
		t->fn(t, now);
	}
}

static u64 clock_wall(struct clock *c UNUSED)
{
	return os_wall_ns();
}

static const struct clock_ops clock_ops = {
	.now_ns = clock_now,
	.wall_ns = clock_wall,
	.arm = arm,
	.disarm = disarm,
};

struct aio **loop_aio(struct loop *l)
{
	return &l->aio;
}

struct clock *loop_clock(struct loop *l)
{
	return &l->clock;
}

void loop_set_clock(struct loop *l, u64 now_ns)
{
	l->shift = now_ns - os_now_ns();
	l->armed_ns = NEVER;
}

/* -- watches ---------------------------------------------------------------- */

static int slot_grow(struct loop *l)
{
	u32 n = l->nr_slots ? 2 * l->nr_slots : 32;
	struct slot *s = realloc(l->slot, n * sizeof *s);

	if (!s)
		return -ENOMEM;
	memset(s + l->nr_slots, 0, (n - l->nr_slots) * sizeof *s);
	for (u32 i = n; i-- > l->nr_slots;) {
		s[i].next_free = l->free_slot;
		l->free_slot = i + 1;
	}
	l->slot = s;
	l->nr_slots = n;
	return 0;
}

static int slot_ctl(struct loop *l, u32 i, int fd, u32 events)
{
	struct slot *s = &l->slot[i];
	struct epoll_event ev = { .events = events, .data.u64 = (u64)s->gen << 32 | i };
	int op = !events ? EPOLL_CTL_DEL : s->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (events == s->events)
		return 0;
	if (epoll_ctl(l->ep, op, fd, &ev))
		return -errno;
	s->events = events;
	return 0;
}

int loop_watch(struct loop *l, struct watch *w, u32 events, struct err *e)
{
	u32 i;
	int r;

	if (!l->free_slot && slot_grow(l))
		return err_set(e, ENOMEM, "event loop: out of memory");
	i = l->free_slot - 1;
	r = slot_ctl(l, i, w->fd, events);
	if (r)
		return err_set(e, -r, "event loop: descriptor %d cannot be watched: %s", w->fd,
			       strerror(-r));
	l->free_slot = l->slot[i].next_free;
	l->slot[i].w = w;
	w->slot = i + 1;
	return 0;
}

void loop_rewatch(struct loop *l, struct watch *w, u32 events)
{
	if (w->slot)
		slot_ctl(l, w->slot - 1, w->fd, events);
}

void loop_unwatch(struct loop *l, struct watch *w)
{
	u32 i = w->slot;

	if (!i--)
		return;
	slot_ctl(l, i, w->fd, 0);
	l->slot[i].w = NULL;
	l->slot[i].events = 0;
	l->slot[i].gen++;
	l->slot[i].next_free = l->free_slot;
	l->free_slot = i + 1;
	w->slot = 0;
}

static void run_events(struct loop *l, const struct epoll_event *ev, int n)
{
	for (int k = 0; k < n; k++) {
		u32 i = (u32)ev[k].data.u64, gen = (u32)(ev[k].data.u64 >> 32);

		if (ev[k].data.u64 == INTERNAL)
			continue;
		if (l->slot[i].w && l->slot[i].gen == gen && l->slot[i].events)
			l->slot[i].w->fn(l->slot[i].w, ev[k].events);
	}
}

/* -- tasks ------------------------------------------------------------------ */

static void wake(struct loop *l)
{
	u64 one = 1;

	/* Fails only with EAGAIN, when the counter says awake 2^64 - 1 times already. */
	if (write(l->efd, &one, sizeof one) < 0)
		return;
}

void loop_post(struct loop *l, struct task *t)
{
	bool first = false;

	pthread_mutex_lock(&l->task_mtx);
	if (!t->queued) {
		first = !l->head;
		t->queued = true;
		t->next = NULL;
		*l->tail = t;
		l->tail = &t->next;
	}
	pthread_mutex_unlock(&l->task_mtx);
	if (first && !loop_here(l))
		wake(l);
}

void loop_cancel(struct loop *l, struct task *t)
{
	pthread_mutex_lock(&l->task_mtx);
	for (struct task **p = &l->head; t->queued && *p; p = &(*p)->next) {
		if (*p != t)
			continue;
		*p = t->next;
		if (l->tail == &t->next)
			l->tail = p;
		t->queued = false;
		break;
	}
	pthread_mutex_unlock(&l->task_mtx);
}

static struct task *take_task(struct loop *l)
{
	struct task *t;

	pthread_mutex_lock(&l->task_mtx);
	t = l->head;
	if (t) {
		l->head = t->next;
		if (!l->head)
			l->tail = &l->head;
		t->queued = false;
	}
	pthread_mutex_unlock(&l->task_mtx);
	return t;
}

/* At most what was queued at the start, so that a task that posts itself waits a round. */
static void run_tasks(struct loop *l)
{
	unsigned n = 0;
	struct task *t;

	pthread_mutex_lock(&l->task_mtx);
	for (t = l->head; t; t = t->next)
		n++;
	pthread_mutex_unlock(&l->task_mtx);
	while (n-- && (t = take_task(l)))
		t->fn(t);
}

static bool tasks_waiting(struct loop *l)
{
	bool any;

	pthread_mutex_lock(&l->task_mtx);
	any = l->head;
	pthread_mutex_unlock(&l->task_mtx);
	return any;
}

/* -- the loop --------------------------------------------------------------- */

static void enter(struct loop *l)
{
	if (l->lock)
		l->lock(l->lock_ctx);
}

static void leave(struct loop *l)
{
	if (l->unlock)
		l->unlock(l->lock_ctx);
}

static void run_round(struct loop *l, int timeout_ms)
{
	struct epoll_event ev[MAX_BATCH];
	int n;

	if (l->nr_timers && l->heap[0]->when_ns < l->armed_ns)
		program(l, l->heap[0]->when_ns);
	if (tasks_waiting(l))
		timeout_ms = 0;
	leave(l);
	n = epoll_wait(l->ep, ev, MAX_BATCH, timeout_ms);
	enter(l);
	run_events(l, ev, n);
	run_tasks(l);
	run_timers(l);
}

bool loop_here(const struct loop *l)
{
	return atomic_load_explicit(&l->runner, memory_order_relaxed) == &me;
}

void loop_once(struct loop *l, int timeout_ms)
{
	const void *was = atomic_exchange(&l->runner, &me);

	enter(l);
	run_round(l, timeout_ms);
	leave(l);
	atomic_store(&l->runner, was);
}

void loop_run(struct loop *l)
{
	atomic_store(&l->runner, &me);
	enter(l);
	while (!atomic_load(&l->stop))
		run_round(l, -1);
	leave(l);
	atomic_store(&l->stop, false);
	atomic_store(&l->runner, NULL);
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	wake(l);
}

void loop_set_lock(struct loop *l, void (*lock)(void *ctx), void (*unlock)(void *ctx), void *ctx)
{
	l->lock = lock;
	l->unlock = unlock;
	l->lock_ctx = ctx;
}

static int add_internal(struct loop *l, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = INTERNAL };

	return epoll_ctl(l->ep, EPOLL_CTL_ADD, fd, &ev);
}

struct loop *loop_new(struct err *e)
{
	struct loop *l = calloc(1, sizeof *l);

	if (!l) {
		err_set(e, ENOMEM, "event loop: out of memory");
		return NULL;
	}
	signal(SIGPIPE, SIG_IGN);
	l->clock.ops = &clock_ops;
	l->armed_ns = NEVER;
	l->tail = &l->head;
	pthread_mutex_init(&l->task_mtx, NULL);
	l->ep = epoll_create1(EPOLL_CLOEXEC);
	l->tfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	l->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->ep < 0 || l->tfd < 0 || l->efd < 0 || add_internal(l, l->tfd) ||
	    add_internal(l, l->efd)) {
		err_set(e, errno, "event loop: cannot be created: %s", strerror(errno));
		loop_free(l);
		return NULL;
	}
	return l;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	fd_close(&l->efd);
	fd_close(&l->tfd);
	fd_close(&l->ep);
	pthread_mutex_destroy(&l->task_mtx);
	free(l->heap);
	free(l->slot);
	free(l);
}
