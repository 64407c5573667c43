// SPDX-License-Identifier: Apache-2.0
/*
 * aio.h - file operations that complete on an event loop
 *
 * By io_uring, or by a few threads where the host refuses that. Context: as the
 * loop (os.h): its thread, or any thread holding its lock. done() runs in
 * aio_flush(), in aio_wait() or from the loop, and may submit again.
 */
#ifndef OS_AIO_H
#define OS_AIO_H

#include "os/os.h"

#define AIO_DEPTH 128u /* most requests in flight from one user; it keeps to it */

enum aio_op { AIO_READ, AIO_WRITE, AIO_SYNC, AIO_ALLOC };

/* Owned by the caller, untouched by it until done(). One system call: may be short. */
struct aio_req {
	enum aio_op op;
	int fd;
	u64 off, len;	  /* len: AIO_ALLOC only */
	const struct iovec *iov;
	int nr_iov;	  /* <= IOV_MAX */
	int mode;	  /* AIO_ALLOC: FALLOC_FL_* */
	i64 res;	  /* out: bytes, or negative errno */
	void (*done)(struct aio_req *r);
	struct aio_req *next; /* ours */
};

struct aio;

struct aio_ops {
	void (*submit)(struct aio *a, struct aio_req *r);
	void (*flush)(struct aio *a);
	void (*wait)(struct aio *a);
	void (*free)(struct aio *a);
};

struct aio {
	const struct aio_ops *ops;
	const char *name; /* "io_uring" or "threads" */
	struct loop *loop; /* NULL: not shared */
	unsigned users;	   /* besides the first */
};

/*
 * Whatever works here. All users of a loop share one, so that a process in a jail, which
 * can make no more rings and threads, can still open files as long as one is open.
 */
struct aio *aio_new(struct loop *l, struct err *e) MUST_CHECK;
struct aio *aio_new_uring(struct loop *l, struct err *e) MUST_CHECK;
struct aio *aio_new_threads(struct loop *l, struct err *e) MUST_CHECK;

/* Queue; starts with the next aio_flush(). */
static inline void aio_submit(struct aio *a, struct aio_req *r)
{
	a->ops->submit(a, r);
}

static inline void aio_flush(struct aio *a)
{
	a->ops->flush(a);
}

/*
 * Start what is queued and block until something has completed, the caller's or another
 * user's. Something of the caller's is in flight.
 */
static inline void aio_wait(struct aio *a)
{
	a->ops->wait(a);
}

void aio_free(struct aio *a); /* nothing of the caller's is in flight */

#endif
