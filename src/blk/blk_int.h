// SPDX-License-Identifier: Apache-2.0
/*
 * blk_int.h - inside blk/: what a driver is, and what it can rely on
 *
 * A driver embeds struct blk as the first member of its own node, fills it with
 * blk_init(), and serves requests. blk_submit() has checked every request before
 * the driver sees it: within the node, aligned to info.block_size, iov total equal
 * to len, len not 0, no writing to a read-only node. The driver finishes each by
 * blk_complete(), from inside submit() or later on the loop.
 *
 * Contents of an image are hostile: offsets read from it are checked before use,
 * loops and allocations are bounded by the image's size.
 */
#ifndef BLK_BLK_INT_H
#define BLK_BLK_INT_H

#include "blk/blk.h"
#include "os/os.h"

#define BLK_SECTOR 512u
#define BLK_MAX	   (1ull << 62) /* no node is larger */

struct blk_driver {
	const char *name;
	void (*submit)(struct blk *b, struct blk_req *r);
	/* Only a node that has something to start at once: false = start now. May be NULL. */
	void (*plug)(struct blk *b, bool on);
	/* Block until at least one step of something in flight is done. */
	void (*wait)(struct blk *b);
	/* As wait(), of nodes below other than b->base; false if nothing is in flight there. */
	bool (*wait_below)(struct blk *b);
	/* As blk_status(), blk_resize(); may be NULL. */
	int (*status)(struct blk *b, u64 offset, u64 len, struct blk_extent *ret);
	int (*resize)(struct blk *b, u64 size, struct err *e);
	/* Release the node's own memory and descriptors; b->base is closed afterwards. */
	void (*close)(struct blk *b);
};

struct blk {
	const struct blk_driver *drv;
	struct loop *loop;
	struct blk *base; /* the node below, owned; NULL at the bottom */
	struct blk_info info;
	unsigned in_flight, plugged;
	bool growable;	/* writes past info.size extend it */
	bool no_flush;	/* BLK_FLUSH does nothing */
	bool zero_tail; /* reads past the end of the file give zeroes */
};

void blk_init(struct blk *b, const struct blk_driver *drv, struct loop *l, struct blk *base);
/* @error: 0 or positive errno. May lead to new submissions. @r is gone afterwards. */
void blk_complete(struct blk *b, struct blk_req *r, int error);

/* One step of whatever is in flight in this node or below it; false if nothing is. */
bool blk_wait_any(struct blk *b);

/*
 * blk_slice() - the part of an I/O vector that covers bytes [from, from + len)
 * @out:	room for @max entries
 *
 * Return: entries filled; they cover less than @len only if @max was too small.
 */
int blk_slice(const struct iovec *iov, int nr, u64 from, u64 len, struct iovec *out, int max);
u64 blk_iov_len(const struct iovec *iov, int nr);

/* Bytes [pos, pos + len) of a request's buffers. */
void req_zero(const struct blk_req *r, u64 pos, u64 len);
void req_put(const struct blk_req *r, u64 pos, const void *from, u64 len);
void req_get(const struct blk_req *r, u64 pos, void *to, u64 len);

/* -- synchronous access, for opening: waits inside; nothing else may be in flight -- */

int blk_read_now(struct blk *b, u64 offset, void *buf, size_t len) MUST_CHECK; /* -errno */
int blk_write_now(struct blk *b, u64 offset, const void *buf, size_t len) MUST_CHECK;
int blk_flush_now(struct blk *b) MUST_CHECK;

#endif
