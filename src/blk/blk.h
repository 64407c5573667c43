// SPDX-License-Identifier: Apache-2.0
/*
 * blk.h - block requests, and the format drivers that serve them
 *
 * A struct blk is one node: a host file at the bottom, formats stacked above.
 * Calls are made on the thread of the event loop given at open, or by any thread
 * that holds that loop's lock (os/os.h); completions run likewise, so without a
 * lock everything happens on the loop's thread. A driver never blocks in submit().
 */
#ifndef BLK_BLK_H
#define BLK_BLK_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#include <sys/uio.h>

struct blk;
struct loop;

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_WRITE_ZEROES };

/*
 * One request. Owned by the submitter, untouchable by it from blk_submit()
 * until done() runs, exactly once. done() may run inside blk_submit().
 */
struct blk_req {
	enum blk_op op;
	u64 offset; /* bytes */
	u64 len;    /* bytes; equals the iov total for READ and WRITE */
	const struct iovec *iov;
	int nr_iov;
	int error; /* out: 0 or positive errno; no short transfers */
	void (*done)(struct blk_req *r);
	void *priv[4]; /* the driver's while in flight */
};

struct blk_info {
	u64 size;	/* bytes the guest sees */
	u32 block_size; /* smallest unit of access, bytes */
	bool read_only, discard;
};

/*
 * Open the raw file behind @fd (takes it over) as a node. The file's size is the
 * node's size, rounded down to 512.
 */
struct blk *blk_open_file(struct loop *l, int fd, bool read_only, struct err *e) MUST_CHECK;

enum blk_file_flags {
	FILE_THREADS = 1, /* no io_uring */
	FILE_QUEUED = 2,  /* never complete anything inside submit() */
	/* What a format stands on: any byte may be addressed, info.size is exact, growable. */
	FILE_BYTES = 4,
	FILE_SHARED = 8,  /* no lock: another node of ours has the file open as well */
	FILE_DIRECT = 16, /* past the host's page cache (O_DIRECT), whatever is asked for */
};

/* The same, @flags: enum blk_file_flags. */
struct blk *blk_open_file_with(struct loop *l, int fd, bool read_only, unsigned flags,
			       struct err *e) MUST_CHECK;

/*
 * A node above @base that keeps all writes in @fd, an empty file (taken over, also on
 * failure); -1 = in anonymous temporary storage that it finds itself.
 */
struct blk *blk_open_snapshot(struct blk *base, int fd, struct err *e) MUST_CHECK;

/*
 * What a node of blk_open_snapshot() and layers below it keep, as a file: @fd is empty.
 * Waits inside; nothing may be in flight. Return: 0 or -errno.
 */
bool blk_has_layer(const struct blk *b);
int blk_save_layer(struct blk *b, int fd) MUST_CHECK;
/* A read-only node: such a file, taken over also on failure, over @base, which is kept then. */
struct blk *blk_open_layer(struct blk *base, int fd, struct err *e) MUST_CHECK;

/* Is @fd another descriptor of the file at the bottom of @b? */
bool blk_is_file(const struct blk *b, int fd);

/* What stands in a part of a node. */
enum blk_state {
	BLK_DATA,   /* stored in this node's image */
	BLK_ZERO,   /* known to read as zeroes, by this node's image */
	BLK_BELOW,  /* not in this node's image: the backing node's, or zeroes if there is none */
};

#define BLK_NOWHERE UINT64_MAX

struct blk_extent {
	u64 len; /* bytes that are alike, at least 1 */
	enum blk_state state;
	bool compressed;
	u64 host_offset; /* BLK_DATA: where in the image's file, or BLK_NOWHERE */
};

/*
 * The state of bytes from @offset on, at most @len. Waits inside; nothing may be in
 * flight. Return: 0 or -errno.
 */
int blk_status(struct blk *b, u64 offset, u64 len, struct blk_extent *ret) MUST_CHECK;

/* Change the size. Waits inside; nothing may be in flight. */
int blk_resize(struct blk *b, u64 size, struct err *e) MUST_CHECK;

void blk_close(struct blk *b); /* nothing may be in flight; closes the nodes below */

/*
 * A range outside the node completes with EINVAL, a write to a read-only node with
 * EROFS, an unaligned one (512 bytes) with EINVAL.
 */
void blk_submit(struct blk *b, struct blk_req *r);

/*
 * Between plug and unplug requests may be held back and start together: put the pair
 * around a loop that takes requests off a queue. Optional; nests.
 */
void blk_plug(struct blk *b);
void blk_unplug(struct blk *b);

/* Wait until nothing is in flight; done() of what was runs inside. */
void blk_drain(struct blk *b);
/* From now on flushing this node does nothing. */
void blk_no_flush(struct blk *b);
unsigned blk_in_flight(const struct blk *b);
void blk_get_info(const struct blk *b, struct blk_info *ret);

#endif
