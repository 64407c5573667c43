// SPDX-License-Identifier: Apache-2.0
/*
 * vq.h - virtqueues as device models see them
 *
 * Follows Virtual I/O Device 1.2 as [virtio], split ring 2.7, packed ring 2.8. A
 * device pops chains of guest buffers, works on them, pushes them back with the
 * number of bytes it wrote, and flushes. It never sees a descriptor: this module
 * copies each one before checking it, and answers anything malformed with
 * DEVICE_NEEDS_RESET [virtio 2.1.2], after which every queue of the device is empty.
 *
 * Context: board lock held. vCPUs write the rings and buffers at the same time.
 */
#ifndef DEV_VIRTIO_VQ_H
#define DEV_VIRTIO_VQ_H

#include "base/compiler.h"
#include "base/field.h"
#include "base/types.h"

#include <sys/uio.h>

#define VQ_MAX_SIZE 256 /* descriptors in a queue, and in a chain */

struct virtio;
struct mem;

/* What a device keeps to push a chain back after the vchain is gone. */
struct vq_tok {
	u16 id; /* head (split) or buffer id (packed) */
	u16 nr; /* ring slots the chain occupied */
};

/*
 * One chain, checked: every byte of every segment is RAM. iov[0..nr_out) are
 * device-readable and come first, iov[nr_out..nr_out + nr_in) device-writable.
 */
struct vchain {
	struct mem *mem;
	struct vq_tok tok;
	u16 nr_out, nr_in;
	u32 readable, writable; /* total bytes of each */
	u32 read_pos, write_pos; /* bytes consumed by vchain_read() and vchain_write() */
	struct iovec iov[VQ_MAX_SIZE];
	gpa_t gpa[VQ_MAX_SIZE];
};

struct virtq {
	struct virtio *v;
	u16 n;	      /* index in the device */
	u16 max_size; /* set by the device's init: power of two */
	u16 size;     /* chosen by the driver, <= max_size */
	bool ready;   /* queue_enable */
	u64 desc, driver, device; /* gpa of the three areas */

	u16 last_avail; /* next avail entry to look at (packed: next ring slot) */
	u16 used_idx;	/* next used entry to write (packed: next ring slot) */
	u16 signalled;	/* used_idx at the last vq_flush() */
	bool avail_wrap, used_wrap; /* packed ring wrap counters */
	bool signalled_valid;

	u8 *desc_p, *driver_p, *device_p; /* host pointers, set while running */
	u16 pending_nr;	   /* pushed, not yet published */
	u16 pending_slot;  /* packed: the first of them, */
	u16 pending_flags; /* and its flags, withheld until vq_flush() */
};

/* clang-format off */
#define VIRTQ_FIELDS(S, q) \
	FIELD_NOT_SAVED(S, q.v), FIELD_NOT_SAVED(S, q.n), FIELD_NOT_SAVED(S, q.max_size), \
	FIELD(S, q.size, .max = VQ_MAX_SIZE), FIELD(S, q.ready), \
	FIELD(S, q.desc), FIELD(S, q.driver), FIELD(S, q.device), \
	FIELD(S, q.last_avail), FIELD(S, q.used_idx), FIELD(S, q.signalled), \
	FIELD(S, q.avail_wrap), FIELD(S, q.used_wrap), FIELD(S, q.signalled_valid), \
	FIELD_NOT_SAVED(S, q.desc_p), FIELD_NOT_SAVED(S, q.driver_p), \
	FIELD_NOT_SAVED(S, q.device_p), FIELD_NOT_SAVED(S, q.pending_flags), \
	FIELD_NOT_SAVED(S, q.pending_slot), FIELD_NOT_SAVED(S, q.pending_nr)
/* clang-format on */

/* -- for device models ------------------------------------------------------------------- */

/*
 * Take the next available chain. Return: true with *c filled, false if there is none
 * or the device needs a reset. After false, the driver will notify again.
 */
bool vq_pop(struct virtq *q, struct vchain *c);

/* Put back the chain popped last (repeat for earlier ones, in reverse order). */
void vq_unpop(struct virtq *q, struct vq_tok tok);

/* Return a chain with @written bytes placed in it; the driver sees it after vq_flush(). */
void vq_push(struct virtq *q, struct vq_tok tok, u32 written);

/* Publish all pushed chains at once, and interrupt if the driver asked for that. */
void vq_flush(struct virtq *q);

/* The chain breaks the device's own protocol beyond repair: DEVICE_NEEDS_RESET. */
void vq_break(struct virtq *q, const char *what);

/* Copy out of / into the chain at its cursor; short at its end. Return: bytes. */
size_t vchain_read(struct vchain *c, void *buf, size_t len);
size_t vchain_write(struct vchain *c, const void *buf, size_t len);

/* Copy at an explicit offset of the readable / writable part. Return: bytes. */
size_t vchain_read_at(const struct vchain *c, u64 off, void *buf, size_t len);
size_t vchain_write_at(struct vchain *c, u64 off, const void *buf, size_t len);

/*
 * Describe bytes [off, off + len) of the readable (@in false) or writable part in
 * ret[]. Return: entries, or -1 if the part is shorter or @max too small.
 */
int vchain_iov(const struct vchain *c, bool in, u64 off, u64 len, struct iovec *ret, int max);

/* Bulk data was placed in bytes [off, off + len) of the writable part (mem_wrote()). */
void vchain_wrote(struct vchain *c, u64 off, u64 len);

/* -- for transports ---------------------------------------------------------------------- */

void vq_reset(struct virtq *q);
/* Check and take the ring addresses; on failure the device needs a reset. */
void vq_start(struct virtq *q);

#endif
