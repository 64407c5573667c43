// SPDX-License-Identifier: Apache-2.0
/* file_int.h - inside blk/file*.c: the bottom node and its requests in flight */
#ifndef BLK_FILE_INT_H
#define BLK_FILE_INT_H

#include "blk/blk_int.h"
#include "os/aio.h"

struct file;

/* A request in flight. */
struct slot {
	struct aio_req aio;
	struct file *f;
	struct blk_req *r; /* NULL: the slot is free */
	u64 done;	   /* bytes of r->len behind us */
	bool by_writing;   /* BLK_WRITE_ZEROES the slow way */
	unsigned retries;
	struct iovec one, *rest; /* rest: malloc'd, after a short transfer */

	/* Past the page cache, a piece that is not aligned: whole blocks around it. */
	u8 *bounce; /* malloc'd, or NULL: the request's own buffers are used */
	u64 from, to; /* of the file */
	u64 got;      /* bytes read from @from on */
	bool filled;  /* a write: what surrounds it has been read */
	struct slot *next_free;
};

struct file {
	struct blk b;
	int fd;
	struct aio *aio;
	struct task flush_task;
	u64 data_from, data_end; /* read-only files: a run of data found by file_status() */
	bool at_once, no_zero_range, no_punch; /* what the host's file system can do */
	bool write_at_once;
	u64 write_at_once_from; /* ns; not before */

	u32 align_mem, align; /* O_DIRECT: of addresses; of offsets and lengths. 0 = not direct */
	u64 end;	      /* direct: the file's true end when what is in flight is written */
	unsigned nr_partial;  /* direct: writes of parts of blocks in flight */

	struct slot slot[AIO_DEPTH], *free;
	struct blk_req *wait_head, **wait_tail; /* linked by priv[0] */
};

/* Turn O_DIRECT on. Return: 0, or -errno with *e set. */
int direct_open(struct file *f, struct err *e) MUST_CHECK;

/* Can a request not start yet, because it shares a block with a write in flight? */
bool direct_must_wait(const struct file *f, const struct blk_req *r);
/* It starts, it has ended. */
void direct_begin(struct slot *s);
void direct_end(struct slot *s);

/* Does what is left of the slot's request need buffers of ours? */
bool direct_needs_bounce(const struct slot *s);
/* Prepare the next system call for such a piece. Return: 0 or errno. */
int direct_step(struct slot *s);
/* It transferred @n >= 0 bytes. Return: 0 = another step, -1 = the request is done, or errno. */
int direct_stepped(struct slot *s, u64 n);

#endif
