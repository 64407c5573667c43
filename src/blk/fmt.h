// SPDX-License-Identifier: Apache-2.0
/*
 * fmt.h - inside blk/: the frame of an image format driver
 *
 * A format embeds struct fmt first and serves each request in a coroutine (co.h), by
 * straight-line code over the fio_ functions. Those wait in a coroutine without
 * blocking, and wait for real on an ordinary stack (opening, maintenance), so the
 * same helpers serve both. All return 0 or -errno.
 */
#ifndef BLK_FMT_H
#define BLK_FMT_H

#include "base/bits.h"
#include "blk/blk_int.h"
#include "blk/co.h"
#include "blk/image.h"

#define FMT_CO_MAX 128 /* requests served at a time; more wait */

struct fmt;

struct fmt_ops {
	enum image_format format;
	/* Is this the first @len bytes of such an image (of a file of @size bytes)? */
	bool (*probe)(const u8 *head, size_t len);
	int (*peek)(struct blk *file, struct image_info *ret, struct err *e);
	int (*peek_extent)(struct blk *file, unsigned i, char *ret, struct err *e);
	/* Allocate and fill the node; fmt_init() is done by the caller. */
	int (*open)(struct fmt *f, const struct image_opts *o, struct err *e);
	int (*create)(struct blk *file, const struct image_create *c, struct err *e);
	size_t node_size;

	/* In a coroutine. The request is checked, not empty; a flush has len 0. */
	int (*io)(struct fmt *f, struct blk_req *r);
	void (*close)(struct fmt *f); /* may wait inside; f->b.base and f->backing still open */
	int (*status)(struct fmt *f, u64 off, u64 len, struct blk_extent *ret);
	int (*resize)(struct fmt *f, u64 size, struct err *e);
	void (*info)(struct fmt *f, struct image_info *ret);
	int (*check)(struct fmt *f, enum image_repair fix, struct image_check *c, struct err *e);
	int (*snapshot)(struct fmt *f, int what, const char *name, struct err *e);
	int (*set_backing)(struct fmt *f, const char *name, const char *format, struct err *e);
	u32 (*compressed_unit)(struct fmt *f);
	/* Compress a whole piece: bytes, 0 = it does not get smaller than @cap. Any thread. */
	size_t (*pack)(const struct fmt *f, const void *in, u32 len, void *out, size_t cap);
	/* Store what pack() gave. */
	int (*write_packed)(struct fmt *f, u64 off, const void *data, size_t len);
	int (*finish)(struct fmt *f, struct err *e);
	/* As image_bitmap_...() */
	int (*bitmap_get)(struct fmt *f, unsigned i, struct image_bitmap *ret, struct err *e);
	int (*bitmap_load)(struct fmt *f, const char *name, struct dirty *ret, struct err *e);
	int (*bitmap_store)(struct fmt *f, const char *name, const struct dirty *bits,
			    bool recording, struct err *e);
};

enum { FMT_SNAP_CREATE, FMT_SNAP_APPLY, FMT_SNAP_DELETE, FMT_SNAP_VIEW };

struct fmt {
	struct blk b; /* b.base: the image's file */
	const struct fmt_ops *ops;
	struct blk *backing; /* or NULL */
	bool keep_zeroes;    /* zeroes are stored also where nothing is below: something will be */
	struct blk **extent; /* VMDK */
	unsigned nr_extent;
	struct fmt_co *free;
	unsigned nr_co;
	struct blk_req *wait_head, **wait_tail; /* linked by priv[0] */
};

bool fmt_is(const struct blk *b, const struct fmt_ops *o); /* an open node of that format */

extern const struct fmt_ops qcow2_fmt, vpc_fmt, vhdx_fmt, vdi_fmt, vmdk_fmt, luks_fmt;

/* -- access to another node ------------------------------------------------------------ */

int fio_read(struct blk *b, u64 off, void *buf, size_t len) MUST_CHECK;
int fio_write(struct blk *b, u64 off, const void *buf, size_t len) MUST_CHECK;
int fio_flush(struct blk *b) MUST_CHECK;
int fio_req(struct blk *b, enum blk_op op, u64 off, u64 len, const struct iovec *iov,
	    int nr) MUST_CHECK;
/* Bytes [pos, pos + len) of @r's buffers, at @off of @b. @op: BLK_READ or BLK_WRITE. */
int fio_part(struct blk *b, enum blk_op op, u64 off, const struct blk_req *r, u64 pos,
	     u64 len) MUST_CHECK;
/* A read that may lie behind the end of @b: zeroes there. */
int fio_part_below(struct blk *b, const struct blk_req *r, u64 pos, u64 off,
		   u64 len) MUST_CHECK;
int fio_read_below(struct blk *b, u64 off, void *buf, u64 len) MUST_CHECK;

/* -- locks on ranges of a disk: [first, last] in units of the caller's choice ---------------- */

struct range_lock {
	u64 first, last;
	bool exclusive;
	struct range_lock *next;
};

struct range_locks {
	struct range_lock *head;
	struct co_queue waiting;
};

/* Shared locks may overlap each other. On an ordinary stack nothing may be in flight. */
void range_lock(struct range_locks *l, struct range_lock *r, u64 first, u64 last, bool exclusive);
void range_unlock(struct range_locks *l, struct range_lock *r);

#endif
