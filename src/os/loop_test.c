// SPDX-License-Identifier: Apache-2.0
/* loop_test.c - timers, tasks, watches, and other threads arming and posting */
#include "base/test.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MS 1000000u
#define LATE (30000ull * MS) /* a busy host takes its time; lost is lost */

static struct err err;

/* -- timers ----------------------------------------------------------------- */

static char order[32];
static unsigned nr_order;

struct named_timer {
	struct timer t;
	char name;
};

static void note(struct timer *t, u64 now_ns UNUSED)
{
	if (nr_order < sizeof order - 1)
		order[nr_order++] = container_of(t, struct named_timer, t)->name;
	order[nr_order] = '\0';
}

TEST(timers_fire_in_order_of_deadline_and_once)
{
	struct loop *l = loop_new(&err);
	struct clock *c = loop_clock(l);
	struct named_timer t[] = {
		{ { .fn = note }, 'a' }, { { .fn = note }, 'b' }, { { .fn = note }, 'c' },
		{ { .fn = note }, 'd' }, { { .fn = note }, 'e' },
	};
	u64 now = clock_now_ns(c);

	nr_order = 0;
	clock_arm(c, &t[2].t, now + 300000);
	clock_arm(c, &t[0].t, now + 100000);
	clock_arm(c, &t[3].t, now + 400000);
	clock_arm(c, &t[1].t, now + 200000);
	clock_arm(c, &t[4].t, now + 50000);
	clock_arm(c, &t[4].t, now + 500000); /* moved */
	clock_disarm(c, &t[3].t);
	clock_disarm(c, &t[3].t);
	while (nr_order < 4)
		loop_once(l, 100);
	loop_once(l, 1);
	CHECK_STR(order, "abce");
	loop_free(l);
}

TEST(heap_survives_random_arming_and_disarming)
{
	enum { N = 200 };
	struct loop *l = loop_new(&err);
	struct clock *c = loop_clock(l);
	static struct named_timer t[N];
	u64 base = clock_now_ns(c) + 1000u * MS, last = 0;
	unsigned armed = 0;

	srandom(1);
	memset(t, 0, sizeof t);
	for (unsigned i = 0; i < 5000; i++) {
		struct timer *x = &t[random() % N].t;

		x->fn = note;
		if (random() % 3)
			clock_arm(c, x, base + (u64)(random() % 100000));
		else
			clock_disarm(c, x);
	}
	for (unsigned i = 0; i < N; i++)
		armed += t[i].t.slot != 0;
	/* Take the earliest each time: slot 1 is the top of the heap. */
	for (unsigned n = 0; n < armed; n++) {
		struct timer *top = NULL;

		for (unsigned i = 0; i < N; i++)
			if (t[i].t.slot == 1)
				top = &t[i].t;
		CHECK(top);
		CHECK(top->when_ns >= last);
		last = top->when_ns;
		clock_disarm(c, top);
	}
	loop_free(l);
}

static struct clock *the_clock;
static unsigned fired;

static void rearm_past(struct timer *t, u64 now_ns)
{
	fired++;
	clock_arm(the_clock, t, now_ns - 1000);
}

TEST(timer_rearmed_in_the_past_fires_once_a_round)
{
	struct loop *l = loop_new(&err);
	struct timer t = { .fn = rearm_past };

	the_clock = loop_clock(l);
	fired = 0;
	clock_arm(the_clock, &t, 0);
	for (unsigned i = 0; i < 5; i++)
		loop_once(l, 1000);
	CHECK(fired >= 4 && fired <= 5);
	loop_free(l);
}

/* -- other threads ---------------------------------------------------------- */

static pthread_mutex_t board = PTHREAD_MUTEX_INITIALIZER;
static struct loop *the_loop;
static u64 fired_at;

static void lock(void *ctx UNUSED)
{
	pthread_mutex_lock(&board);
}

static void unlock(void *ctx UNUSED)
{
	pthread_mutex_unlock(&board);
}

static void stop_at(struct timer *t UNUSED, u64 now_ns)
{
	fired_at = now_ns;
	loop_stop(the_loop);
}

static void *run(void *arg)
{
	loop_run(arg);
	return NULL;
}

TEST(arming_from_another_thread_wakes_a_sleeping_loop)
{
	struct timer late = { .fn = stop_at }, soon = { .fn = stop_at };
	struct thread th;
	u64 want;

	the_loop = loop_new(&err);
	the_clock = loop_clock(the_loop);
	loop_set_lock(the_loop, lock, unlock, NULL);
	clock_arm(the_clock, &late, os_now_ns() + 5000u * MS);
	CHECK(!thread_start(&th, "test-loop", JAIL_NONE, run, the_loop, &err));
	usleep(2000); /* let it sleep */
	lock(NULL);
	want = os_now_ns() + MS;
	clock_arm(the_clock, &soon, want);
	unlock(NULL);
	thread_join(&th);
	CHECK(fired_at >= want);
	CHECK(fired_at < want + LATE);
	loop_free(the_loop);
}

/* The timerfd expires with nothing armed; what is armed later must program it again. */
TEST(a_timer_armed_after_the_last_was_cancelled_still_fires)
{
	struct timer gone = { .fn = stop_at }, later = { .fn = stop_at };
	struct thread th;
	u64 start;

	the_loop = loop_new(&err);
	the_clock = loop_clock(the_loop);
	loop_set_lock(the_loop, lock, unlock, NULL);
	clock_arm(the_clock, &gone, os_now_ns() + 20u * MS);
	CHECK(!thread_start(&th, "test-loop", JAIL_NONE, run, the_loop, &err));
	usleep(5000);
	lock(NULL);
	clock_disarm(the_clock, &gone);
	unlock(NULL);
	usleep(30000);
	start = os_now_ns();
	lock(NULL);
	clock_arm(the_clock, &later, start + MS);
	unlock(NULL);
	thread_join(&th);
	CHECK(fired_at >= start && fired_at < start + LATE);
	loop_free(the_loop);
}

static unsigned ran;

static void count(struct task *t)
{
	ran++;
	if (t->next == NULL && ran >= 3)
		loop_stop(the_loop);
}

static void again(struct task *t)
{
	if (++ran < 3)
		loop_post(the_loop, t);
	else
		loop_stop(the_loop);
}

TEST(posted_tasks_run_once_in_order_and_may_repost)
{
	struct task a = { .fn = count }, b = { .fn = count }, c = { .fn = again };
	struct thread th;

	the_loop = loop_new(&err);
	ran = 0;
	loop_post(the_loop, &a);
	loop_post(the_loop, &a);
	loop_post(the_loop, &b);
	loop_once(the_loop, 0);
	CHECK_EQ(ran, 2);
	loop_post(the_loop, &a);
	loop_post(the_loop, &b);
	loop_cancel(the_loop, &b);
	loop_cancel(the_loop, &a);
	loop_once(the_loop, 0);
	CHECK_EQ(ran, 2);
	ran = 0;
	CHECK(!thread_start(&th, "test-loop", JAIL_NONE, run, the_loop, &err));
	loop_post(the_loop, &c);
	thread_join(&th);
	CHECK_EQ(ran, 3);
	loop_free(the_loop);
}

/* -- watches ---------------------------------------------------------------- */

static struct watch wa, wb;

static void remove_both(struct watch *w UNUSED, u32 events UNUSED)
{
	ran++;
	loop_unwatch(the_loop, &wa);
	loop_unwatch(the_loop, &wb);
}

TEST(a_watch_removed_in_a_callback_gets_no_fetched_event)
{
	int a[2], b[2];

	CHECK(!fd_pipe(a) && !fd_pipe(b));
	the_loop = loop_new(&err);
	wa = (struct watch){ .fd = a[0], .fn = remove_both };
	wb = (struct watch){ .fd = b[0], .fn = remove_both };
	ran = 0;
	CHECK(!loop_watch(the_loop, &wa, EPOLLIN, &err));
	CHECK(!loop_watch(the_loop, &wb, EPOLLIN, &err));
	CHECK(!fd_write_full(a[1], "x", 1) && !fd_write_full(b[1], "x", 1));
	loop_once(the_loop, 100);
	loop_once(the_loop, 0);
	CHECK_EQ(ran, 1);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
	loop_free(the_loop);
}

static void only_count(struct watch *w UNUSED, u32 events UNUSED)
{
	ran++;
}

TEST(a_watch_set_to_nothing_is_silent_even_at_hang_up)
{
	int a[2];

	CHECK(!fd_pipe(a));
	the_loop = loop_new(&err);
	wa = (struct watch){ .fd = a[0], .fn = only_count };
	ran = 0;
	CHECK(!loop_watch(the_loop, &wa, EPOLLIN, &err));
	loop_rewatch(the_loop, &wa, 0);
	close(a[1]);
	loop_once(the_loop, 1);
	CHECK_EQ(ran, 0);
	loop_rewatch(the_loop, &wa, EPOLLIN);
	loop_once(the_loop, 100);
	CHECK_EQ(ran, 1);
	loop_unwatch(the_loop, &wa);
	close(a[0]);
	loop_free(the_loop);
}

TEST(regular_files_cannot_be_watched)
{
	int fd = fd_tmpfile(4096);

	the_loop = loop_new(&err);
	wa = (struct watch){ .fd = fd, .fn = only_count };
	CHECK_EQ(loop_watch(the_loop, &wa, EPOLLIN, &err), -EPERM);
	close(fd);
	loop_free(the_loop);
}
