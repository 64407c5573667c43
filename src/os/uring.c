// SPDX-License-Identifier: Apache-2.0
/*
 * uring.c - aio.h by io_uring
 *
 * Requests go to the kernel in one io_uring_enter() per flush. Completions found
 * right after it (page cache hits) are reaped on the spot; later ones announce
 * themselves to the loop through an eventfd, which is edge-triggered and never read.
 */
#include "os/aio.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES (2 * AIO_DEPTH) /* more are queued in parts */

struct uring {
	struct aio aio;
	struct loop *loop;
	struct io_uring ring;
	struct watch w;
	bool busy; /* in run(): nested flushes leave the work to it */
};

static unsigned reap(struct uring *u)
{
	struct io_uring_cqe *cqe;
	unsigned n = 0;

	while (!io_uring_peek_cqe(&u->ring, &cqe)) {
		struct aio_req *r = io_uring_cqe_get_data(cqe);

		r->res = cqe->res;
		io_uring_cqe_seen(&u->ring, cqe);
		n++;
		r->done(r);
	}
	return n;
}

/* EAGAIN, EBUSY: the kernel is short of memory; the loop comes back. */
static void enter(struct uring *u)
{
	if (io_uring_sq_ready(&u->ring) && io_uring_submit(&u->ring) < 0)
		poll(NULL, 0, 1);
}

/* Start and reap until neither leads to more. */
static unsigned run(struct uring *u)
{
	unsigned n = 0;

	if (u->busy)
		return 0;
	u->busy = true;
	do {
		enter(u);
		n += reap(u);
	} while (io_uring_sq_ready(&u->ring));
	u->busy = false;
	return n;
}

static void submit(struct aio *a, struct aio_req *r)
{
	struct uring *u = (struct uring *)a;
	struct io_uring_sqe *s = io_uring_get_sqe(&u->ring);

	while (!s) { /* more queued than the ring holds: hand over what is there */
		enter(u);
		s = io_uring_get_sqe(&u->ring);
	}
	switch (r->op) {
	case AIO_READ:
		if (r->nr_iov == 1)
			io_uring_prep_read(s, r->fd, r->iov->iov_base, (unsigned)r->iov->iov_len,
					   r->off);
		else
			io_uring_prep_readv(s, r->fd, r->iov, (unsigned)r->nr_iov, r->off);
		break;
	case AIO_WRITE:
		if (r->nr_iov == 1)
			io_uring_prep_write(s, r->fd, r->iov->iov_base, (unsigned)r->iov->iov_len,
					    r->off);
		else
			io_uring_prep_writev(s, r->fd, r->iov, (unsigned)r->nr_iov, r->off);
		break;
	case AIO_SYNC:
		io_uring_prep_fsync(s, r->fd, IORING_FSYNC_DATASYNC);
		break;
	case AIO_ALLOC:
		io_uring_prep_fallocate(s, r->fd, r->mode, (off_t)r->off, (off_t)r->len);
		break;
	}
	io_uring_sqe_set_data(s, r);
}

static void flush(struct aio *a)
{
	run((struct uring *)a);
}

static void wait_some(struct aio *a)
{
	struct uring *u = (struct uring *)a;
	struct io_uring_cqe *cqe;

	for (enter(u); !reap(u); enter(u))
		if (!io_uring_sq_ready(&u->ring))
			io_uring_wait_cqe(&u->ring, &cqe);
}

static void on_event(struct watch *w, u32 events UNUSED)
{
	run(container_of(w, struct uring, w));
}

static void uring_free(struct aio *a)
{
	struct uring *u = (struct uring *)a;

	loop_unwatch(u->loop, &u->w);
	io_uring_queue_exit(&u->ring);
	fd_close(&u->w.fd);
	free(u);
}

static const struct aio_ops ops = {
	.submit = submit,
	.flush = flush,
	.wait = wait_some,
	.free = uring_free,
};

static const u8 used[] = { IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READV,
			   IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE };

/*
 * A ring can open files and sockets without a system call that a filter would see: this
 * one cannot, from the moment it can do anything [io_uring_register_restrictions].
 */
static int restrict_ring(struct uring *u)
{
	struct io_uring_restriction r[array_len(used) + 1] = { 0 };
	unsigned n = 0;

	for (; n < array_len(used); n++)
		r[n] = (struct io_uring_restriction){ .opcode = IORING_RESTRICTION_SQE_OP,
						      .sqe_op = used[n] };
	r[n++] = (struct io_uring_restriction){ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED };
	if (syscall(SYS_io_uring_register, u->ring.ring_fd, IORING_REGISTER_RESTRICTIONS, r, n) ||
	    syscall(SYS_io_uring_register, u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0))
		return -errno;
	return 0;
}

/* Every operation we use must be known to the kernel [io_uring_probe]. */
static int probe(struct uring *u)
{
	struct io_uring_probe *p = io_uring_get_probe_ring(&u->ring);
	int r = p ? 0 : -ENOSYS;

	for (size_t i = 0; p && i < array_len(used); i++)
		if (!io_uring_opcode_supported(p, used[i]))
			r = -ENOSYS;
	io_uring_free_probe(p);
	return r;
}

struct aio *aio_new_uring(struct loop *l, struct err *e)
{
	struct uring *u = calloc(1, sizeof *u);
	int r = u ? io_uring_queue_init(ENTRIES, &u->ring, IORING_SETUP_R_DISABLED) : -ENOMEM;

	if (r) {
		free(u);
		err_set(e, -r, "io_uring: %s", strerror(-r));
		return NULL;
	}
	u->aio = (struct aio){ .ops = &ops, .name = "io_uring" };
	u->loop = l;
	u->w = (struct watch){ .fd = fd_eventfd(), .fn = on_event };
	io_uring_ring_dontfork(&u->ring);
	r = u->w.fd < 0 ? u->w.fd : probe(u);
	if (!r)
		r = io_uring_register_eventfd(&u->ring, u->w.fd);
	if (!r)
		r = restrict_ring(u);
	if (r)
		err_set(e, -r, "io_uring: %s", strerror(-r));
	else
		r = loop_watch(l, &u->w, EPOLLIN | EPOLLET, e);
	if (!r)
		return &u->aio;
	uring_free(&u->aio);
	return NULL;
}
