// SPDX-License-Identifier: Apache-2.0
/*
 * blk.c - block device [virtio 5.2], over a struct blk node
 *
 * Requests run concurrently: data iovecs point into guest RAM, and each request's
 * completion pushes its chain. One request structure per ring entry is made on
 * demand and reused, so a guest cannot make more of them than its queue is long.
 * What completes together is published together: one look at the driver's event index
 * for each queue. A rate limit leaves chains in the ring until it lets them through.
 * Not modelled: lifetime, secure erase, zoned.
 */
#include "base/bits.h"
#include "base/ratelimit.h"
#include "blk/blk.h"
#include "dev/virtio/virtio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR	    512ull
#define QUEUE_SIZE  256
#define SEG_MAX	    (QUEUE_SIZE - 2)
#define DISCARD_MAX (1u << 22) /* sectors in one discard or write-zeroes segment: 2 GiB */
#define DISCARD_SEG 16	       /* segments in one of those requests */

enum { F_SEG_MAX = 1 << 2, F_RO = 1 << 5, F_BLK_SIZE = 1 << 6, F_FLUSH = 1 << 9 };
enum { F_TOPOLOGY = 1 << 10 };
enum { F_CONFIG_WCE = 1 << 11, F_MQ = 1 << 12, F_DISCARD = 1 << 13, F_WRITE_ZEROES = 1 << 14 };
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK, S_IOERR, S_UNSUPP };

#define ID_BYTES 20

struct PACKED blk_config {
	le64 capacity; /* sectors */
	le32 size_max, seg_max;
	u8 geometry[4];
	le32 blk_size;
	u8 physical_block_exp, alignment_offset;
	le16 min_io_size;
	le32 opt_io_size;
	u8 writeback, unused0;
	le16 num_queues;
	le32 max_discard_sectors, max_discard_seg, discard_sector_alignment;
	le32 max_write_zeroes_sectors, max_write_zeroes_seg;
	u8 write_zeroes_may_unmap, unused1[3];
};

#define CONFIG_WRITEBACK 32 /* offset of writeback */

struct blk_hdr {
	le32 type, reserved;
	le64 sector;
};

/* One segment of a discard or write-zeroes request [virtio 5.2.6]. */
struct blk_range {
	le64 sector;
	le32 nr_sectors, flags;
};

enum { RANGE_UNMAP = 1 };

/* A request in flight. */
struct request {
	struct blk_req r;
	struct virtio_blk *b;
	struct request *next; /* in the free list */
	struct virtq *q;
	struct vchain c;
	struct blk_range range[DISCARD_SEG]; /* discard and write zeroes: */
	unsigned nr_ranges, range_i;	     /* run one after another */
	u32 type;
	bool sync; /* write-through: a flush follows the write */
	struct iovec data[VQ_MAX_SIZE];
};

struct virtio_blk {
	struct virtio v;
	struct virtio_blk_cfg cfg;
	char serial[ID_BYTES];
	bool read_only;
	struct request *free;
	struct ratelimit limit;
	bool batching; /* finish() leaves publishing to blk_notify() */
	u32 pushed;    /* bit n: queue n has chains to publish */
};

/* -- completion -------------------------------------------------------------------------- */

static void put_request(struct request *r)
{
	r->next = r->b->free;
	r->b->free = r;
}

static struct request *get_request(struct virtio_blk *b, struct virtq *q)
{
	struct request *r = b->free;

	if (r)
		b->free = r->next;
	else
		r = malloc(sizeof *r);
	if (!r)
		return NULL;
	r->b = b;
	r->q = q;
	return r;
}

/* The status byte is the last writable byte of the chain. */
static void finish(struct request *r, u8 status, u32 data)
{
	if (data)
		vchain_wrote(&r->c, 0, data);
	vchain_write_at(&r->c, r->c.writable - 1, &status, 1);
	vq_push(r->q, r->c.tok, data + 1);
	if (r->b->batching)
		r->b->pushed |= BIT(r->q->n);
	else
		vq_flush(r->q);
	put_request(r);
}

static void start(struct request *r, enum blk_op op, u64 sector, u64 len);
static void start_range(struct request *r);

static void request_done(struct blk_req *br)
{
	struct request *r = container_of(br, struct request, r);

	if (br->error) {
		finish(r, br->error == ENOTSUP || br->error == EOPNOTSUPP ? S_UNSUPP : S_IOERR, 0);
	} else if (r->sync) {
		r->sync = false;
		start(r, BLK_FLUSH, 0, 0);
	} else if (++r->range_i < r->nr_ranges) {
		start_range(r);
	} else {
		finish(r, S_OK, r->type == T_IN ? r->c.writable - 1 : 0);
	}
}

static void start(struct request *r, enum blk_op op, u64 sector, u64 len)
{
	r->r.op = op;
	r->r.offset = sector * SECTOR;
	r->r.len = len;
	r->r.error = 0;
	r->r.done = request_done;
	blk_submit(r->b->cfg.blk, &r->r);
}

/* -- requests ---------------------------------------------------------------------------- */

static u64 nr_sectors(const struct virtio_blk *b)
{
	struct blk_info info;

	blk_get_info(b->cfg.blk, &info);
	return info.size / SECTOR;
}

static void start_range(struct request *r)
{
	const struct blk_range *g = &r->range[r->range_i];
	enum blk_op op = r->type == T_DISCARD ? BLK_DISCARD : BLK_WRITE_ZEROES;

	start(r, op, le64_get(g->sector), le32_get(g->nr_sectors) * SECTOR);
}

static u8 check_range(const struct request *r, const struct blk_range *g)
{
	u32 n = le32_get(g->nr_sectors), known = r->type == T_WRITE_ZEROES ? RANGE_UNMAP : 0;

	if (le32_get(g->flags) & ~known)
		return S_UNSUPP;
	if (!n || n > DISCARD_MAX || !range_ok(le64_get(g->sector), n, nr_sectors(r->b)))
		return S_IOERR;
	return S_OK;
}

static void do_ranges(struct request *r)
{
	u32 len = r->c.readable - (u32)sizeof(struct blk_hdr);
	u8 status = S_OK;

	r->nr_ranges = (unsigned)(len / sizeof r->range[0]);
	if (r->b->read_only || !len || len % sizeof r->range[0] || r->nr_ranges > DISCARD_SEG) {
		finish(r, S_IOERR, 0);
		return;
	}
	vchain_read_at(&r->c, sizeof(struct blk_hdr), r->range, len);
	for (unsigned i = 0; i < r->nr_ranges && status == S_OK; i++)
		status = check_range(r, &r->range[i]);
	if (status != S_OK) {
		finish(r, status, 0);
		return;
	}
	r->range_i = 0;
	start_range(r);
}

/* [virtio 5.2.6.2]: without FLUSH the device has no volatile cache. */
static bool is_write_through(const struct virtio_blk *b)
{
	if (b->cfg.no_flush)
		return false;
	if (b->cfg.write_through || !virtio_has(&b->v, F_FLUSH))
		return true;
	return virtio_has(&b->v, F_CONFIG_WCE) && !b->v.config[CONFIG_WRITEBACK];
}

/* Reads fill the writable part but its last byte, writes take what follows the header. */
static void do_rw(struct request *r, u64 sector)
{
	bool in = r->type == T_IN;
	u64 len = in ? r->c.writable - 1 : r->c.readable - sizeof(struct blk_hdr);
	int n = vchain_iov(&r->c, in, in ? 0 : sizeof(struct blk_hdr), len, r->data, VQ_MAX_SIZE);

	if (n < 0 || len % SECTOR || !range_ok(sector, len / SECTOR, nr_sectors(r->b)) ||
	    (!in && r->b->read_only)) {
		finish(r, S_IOERR, 0);
		return;
	}
	if (!len) {
		finish(r, S_OK, 0);
		return;
	}
	r->r.iov = r->data;
	r->r.nr_iov = n;
	r->sync = !in && is_write_through(r->b);
	start(r, in ? BLK_READ : BLK_WRITE, sector, len);
}

static void do_get_id(struct request *r)
{
	u32 n = r->c.writable - 1 < ID_BYTES ? r->c.writable - 1 : ID_BYTES;

	vchain_write_at(&r->c, 0, r->b->serial, n);
	finish(r, S_OK, n);
}

static void handle(struct request *r)
{
	struct blk_hdr h;

	if (!r->c.writable || vchain_read_at(&r->c, 0, &h, sizeof h) != sizeof h) {
		vq_break(r->q, "virtio-blk: request without header or status");
		put_request(r);
		return;
	}
	r->type = le32_get(h.type);
	r->sync = false;
	r->nr_ranges = r->range_i = 0;
	switch (r->type) {
	case T_IN:
	case T_OUT:
		do_rw(r, le64_get(h.sector));
		break;
	case T_FLUSH:
		start(r, BLK_FLUSH, 0, 0);
		break;
	case T_GET_ID:
		do_get_id(r);
		break;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		do_ranges(r);
		break;
	default:
		finish(r, S_UNSUPP, 0);
	}
}

/* Data counts as bytes, everything else as an operation only. */
static bool within_limit(struct virtio_blk *b, const struct vchain *c)
{
	struct blk_hdr h;
	u64 bytes = 0;

	if (c->writable && vchain_read_at(c, 0, &h, sizeof h) == sizeof h) {
		u32 type = le32_get(h.type);

		bytes = type == T_IN  ? c->writable - 1 :
			type == T_OUT ? c->readable - sizeof h :
					0;
	}
	return ratelimit_take(&b->limit, 1, bytes);
}

static void publish(struct virtio_blk *b)
{
	b->batching = false;
	for (unsigned i = 0; b->pushed; i++) {
		if (b->pushed & BIT(i))
			vq_flush(&b->v.q[i]);
		b->pushed &= ~(u32)BIT(i);
	}
}

static void blk_notify(struct virtio *v, struct virtq *q)
{
	struct virtio_blk *b = container_of(v, struct virtio_blk, v);
	struct request *r;

	b->batching = true;
	blk_plug(b->cfg.blk);
	while ((r = get_request(b, q))) {
		if (!vq_pop(q, &r->c)) {
			put_request(r);
			break;
		}
		if (!within_limit(b, &r->c)) {
			vq_unpop(q, r->c.tok);
			put_request(r);
			break;
		}
		handle(r);
	}
	blk_unplug(b->cfg.blk);
	publish(b);
}

static void go_on(struct ratelimit *l)
{
	struct virtio_blk *b = container_of(l, struct virtio_blk, limit);

	for (unsigned i = 0; i < b->v.nr_queues; i++)
		virtio_notify(&b->v, i);
}

/* -- configuration and life cycle -------------------------------------------------------- */

static void blk_config_write(struct virtio *v, unsigned off, unsigned size, u32 val)
{
	if (off == CONFIG_WRITEBACK && size == 1 && virtio_has(v, F_CONFIG_WCE))
		v->config[off] = val & 1;
}

static void init_config(struct virtio_blk *b, const struct blk_info *info)
{
	u32 unit = info->block_size > SECTOR ? info->block_size : SECTOR;
	struct blk_config c = {
		.capacity = le64_of(info->size / SECTOR),
		.seg_max = le32_of(SEG_MAX),
		.blk_size = le32_of(unit),
		.physical_block_exp = unit == SECTOR ? 3 : 0, /* 4096: what hosts like */
		.min_io_size = le16_of(unit == SECTOR ? 8 : 1),
		.writeback = !b->cfg.write_through,
		.num_queues = le16_of(b->v.nr_queues),
		.max_discard_sectors = le32_of(DISCARD_MAX),
		.max_discard_seg = le32_of(DISCARD_SEG),
		.discard_sector_alignment = le32_of(8),
		.max_write_zeroes_sectors = le32_of(DISCARD_MAX),
		.max_write_zeroes_seg = le32_of(DISCARD_SEG),
		.write_zeroes_may_unmap = 1,
	};

	b->v.config_len = sizeof c;
	memcpy(b->v.config, &c, sizeof c);
	b->v.offered = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_CONFIG_WCE;
	if (b->cfg.no_flush)
		b->v.offered &= ~(u64)(F_FLUSH | F_CONFIG_WCE);
	if (b->v.nr_queues > 1)
		b->v.offered |= F_MQ;
	if (b->read_only)
		b->v.offered |= F_RO;
	else
		b->v.offered |= F_WRITE_ZEROES | (info->discard ? F_DISCARD : 0);
}

static int blk_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	struct virtio_blk *b = container_of(d, struct virtio_blk, v.dev);
	struct blk_info info;

	b->cfg = *(const struct virtio_blk_cfg *)cfg;
	if (b->cfg.serial)
		memcpy(b->serial, b->cfg.serial, strnlen(b->cfg.serial, ID_BYTES));
	b->cfg.serial = NULL;
	blk_get_info(b->cfg.blk, &info);
	b->read_only = b->cfg.read_only || info.read_only;
	virtio_set_queues(&b->v, b->cfg.nr_queues ? b->cfg.nr_queues : 1, QUEUE_SIZE);
	ratelimit_init(&b->limit, d->env.clock, &b->cfg.limit, go_on);
	init_config(b, &info);
	return 0;
}

/* What is in flight completes first: its buffers are the guest's again after this. */
static void blk_pause(struct dev *d)
{
	blk_drain(container_of(d, struct virtio_blk, v.dev)->cfg.blk);
}

static void blk_reset(struct dev *d)
{
	struct virtio_blk *b = container_of(d, struct virtio_blk, v.dev);

	blk_drain(b->cfg.blk);
	b->v.config[CONFIG_WRITEBACK] = !b->cfg.write_through;
}

static void blk_fini(struct dev *d)
{
	struct virtio_blk *b = container_of(d, struct virtio_blk, v.dev);

	blk_drain(b->cfg.blk);
	ratelimit_fini(&b->limit);
	while (b->free) {
		struct request *r = b->free;

		b->free = r->next;
		free(r);
	}
}

/* -- changes while the guest runs ------------------------------------------------------------ */

static struct virtio_blk *of(struct dev *transport)
{
	return container_of(virtio_behind(transport), struct virtio_blk, v.dev);
}

void virtio_blk_set_limit(struct dev *d, enum ratelimit_kind k,
			  const struct ratelimit_bucket_cfg *cfg)
{
	ratelimit_set(&of(d)->limit, k, cfg);
}

void virtio_blk_get_limit(struct dev *d, struct ratelimit_cfg *ret)
{
	ratelimit_get(&of(d)->limit, ret);
}

void virtio_blk_resized(struct dev *d)
{
	struct virtio_blk *b = of(d);
	le64 capacity = le64_of(nr_sectors(b));

	if (!memcmp(b->v.config, &capacity, sizeof capacity))
		return;
	memcpy(b->v.config, &capacity, sizeof capacity);
	virtio_config_changed(&b->v);
}

void virtio_blk_set_blk(struct dev *d, struct blk *blk)
{
	struct virtio_blk *b = of(d);
	struct blk_info info;

	blk_drain(b->cfg.blk);
	b->cfg.blk = blk;
	blk_get_info(blk, &info);
	b->read_only = b->cfg.read_only || info.read_only;
	virtio_blk_resized(d);
}

static const struct field blk_state[] = {
	VIRTIO_FIELDS(struct virtio_blk, v),
	FIELD_NOT_SAVED(struct virtio_blk, cfg),
	FIELD_NOT_SAVED(struct virtio_blk, serial),
	FIELD_NOT_SAVED(struct virtio_blk, read_only),
	FIELD_NOT_SAVED(struct virtio_blk, free),
	FIELD_NOT_SAVED(struct virtio_blk, limit),
	FIELD_NOT_SAVED(struct virtio_blk, batching),
	FIELD_NOT_SAVED(struct virtio_blk, pushed),
	FIELD_END,
};

const struct virtio_class virtio_blk_class = {
	.dev = {
		.name = "virtio-blk",
		.spec = "Virtual I/O Device 1.2, 5.2",
		.size = sizeof(struct virtio_blk),
		.state = blk_state,
		.init = blk_init,
		.fini = blk_fini,
		.reset = blk_reset,
		.pause = blk_pause,
		.loaded = virtio_loaded,
	},
	.id = 2,
	.pci_class = 0x010000,
	.notify = blk_notify,
	.config_write = blk_config_write,
};
