// SPDX-License-Identifier: Apache-2.0
/* pool.c - aio.h by a few threads and ordinary system calls, where io_uring is refused */
#include "os/aio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_THREADS 4u

struct list {
	struct aio_req *head, **tail;
};

struct pool {
	struct aio aio;
	struct loop *loop;
	struct thread thread[MAX_THREADS];
	unsigned nr_threads;
	struct list queued; /* the owner's, until flush() */
	struct task task;

	pthread_mutex_t mtx; /* protects what follows */
	pthread_cond_t work, finished;
	struct list todo, done;
	bool stop;
};

static void put(struct list *l, struct aio_req *r)
{
	r->next = NULL;
	*l->tail = r;
	l->tail = &r->next;
}

static struct aio_req *take(struct list *l)
{
	struct aio_req *r = l->head;

	if (r) {
		l->head = r->next;
		if (!l->head)
			l->tail = &l->head;
	}
	return r;
}

static i64 perform(const struct aio_req *r)
{
	ssize_t n = -1;

	switch (r->op) {
	case AIO_READ:
		n = preadv(r->fd, r->iov, r->nr_iov, (off_t)r->off);
		break;
	case AIO_WRITE:
		n = pwritev(r->fd, r->iov, r->nr_iov, (off_t)r->off);
		break;
	case AIO_SYNC:
		n = fdatasync(r->fd);
		break;
	case AIO_ALLOC:
		n = fallocate(r->fd, r->mode, (off_t)r->off, (off_t)r->len);
		break;
	}
	return n < 0 ? -errno : n;
}

static void *worker(void *arg)
{
	struct pool *p = arg;
	struct aio_req *r;

	pthread_mutex_lock(&p->mtx);
	for (;;) {
		while (!p->stop && !p->todo.head)
			pthread_cond_wait(&p->work, &p->mtx);
		r = take(&p->todo);
		if (!r)
			break;
		pthread_mutex_unlock(&p->mtx);
		r->res = perform(r);
		pthread_mutex_lock(&p->mtx);
		put(&p->done, r);
		loop_post(p->loop, &p->task);
		pthread_cond_signal(&p->finished);
	}
	pthread_mutex_unlock(&p->mtx);
	return NULL;
}

static void submit(struct aio *a, struct aio_req *r)
{
	put(&((struct pool *)a)->queued, r);
}

static void flush(struct aio *a)
{
	struct pool *p = (struct pool *)a;
	struct aio_req *r;

	if (!p->queued.head)
		return;
	pthread_mutex_lock(&p->mtx);
	while ((r = take(&p->queued))) {
		put(&p->todo, r);
		pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->mtx);
}

static struct aio_req *next_done(struct pool *p, bool block)
{
	struct aio_req *r;

	pthread_mutex_lock(&p->mtx);
	while (block && !p->done.head)
		pthread_cond_wait(&p->finished, &p->mtx);
	r = take(&p->done);
	pthread_mutex_unlock(&p->mtx);
	return r;
}

static void on_done(struct task *t)
{
	struct pool *p = container_of(t, struct pool, task);
	struct aio_req *r;

	while ((r = next_done(p, false)))
		r->done(r);
	flush(&p->aio);
}

static void wait_some(struct aio *a)
{
	struct aio_req *r;

	flush(a);
	r = next_done((struct pool *)a, true);
	r->done(r);
	flush(a);
}

static void pool_free(struct aio *a)
{
	struct pool *p = (struct pool *)a;

	pthread_mutex_lock(&p->mtx);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->mtx);
	for (unsigned i = 0; i < p->nr_threads; i++)
		thread_join(&p->thread[i]);
	loop_cancel(p->loop, &p->task);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->finished);
	pthread_mutex_destroy(&p->mtx);
	free(p);
}

static const struct aio_ops ops = {
	.submit = submit,
	.flush = flush,
	.wait = wait_some,
	.free = pool_free,
};

struct aio *aio_new_threads(struct loop *l, struct err *e)
{
	struct pool *p = calloc(1, sizeof *p);
	unsigned want = os_nr_cpus();

	if (!p) {
		err_set(e, ENOMEM, "i/o threads: out of memory");
		return NULL;
	}
	p->aio = (struct aio){ .ops = &ops, .name = "threads" };
	p->loop = l;
	p->task.fn = on_done;
	p->queued.tail = &p->queued.head;
	p->todo.tail = &p->todo.head;
	p->done.tail = &p->done.head;
	pthread_mutex_init(&p->mtx, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->finished, NULL);
	want = want < 2 ? 2 : want > MAX_THREADS ? MAX_THREADS : want;
	while (p->nr_threads < want) {
		if (thread_start(&p->thread[p->nr_threads], "io", JAIL_IO, worker, p, e)) {
			pool_free(&p->aio);
			return NULL;
		}
		p->nr_threads++;
	}
	return &p->aio;
}
