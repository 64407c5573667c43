// SPDX-License-Identifier: Apache-2.0
/*
 * pmem.c - persistent memory [virtio 5.19]: a file in guest-physical space
 *
 * The guest reads and writes the file's pages as memory; a flush request makes them
 * durable. The mapping is the board's (mem_map()).
 */
#include "blk/blk.h"
#include "dev/virtio/virtio.h"
#include "mem/mem.h"

#include <string.h>

#define QUEUE_SIZE 64

enum { REQ_FLUSH = 0 };
enum { RESP_OK = 0, RESP_EIO = 1 };

struct virtio_pmem;

struct flush {
	struct blk_req req;
	struct virtio_pmem *p;
	struct vq_tok tok;
	gpa_t resp; /* where the answer goes */
	bool busy;
};

struct PACKED pmem_config {
	le64 start, size;
};

struct virtio_pmem {
	struct virtio v;
	struct blk *blk; /* NULL: nothing to flush */
	struct ratelimit limit;
	struct flush flush[QUEUE_SIZE];
};

static void answer(struct virtio_pmem *p, struct vq_tok tok, gpa_t at, u32 code)
{
	le32 resp = le32_of(code);
	bool ok = mem_write(p->v.dev.env.mem, at, &resp, sizeof resp);

	vq_push(&p->v.q[0], tok, ok ? sizeof resp : 0);
}

static void flushed(struct blk_req *r)
{
	struct flush *f = container_of(r, struct flush, req);

	f->busy = false;
	answer(f->p, f->tok, f->resp, r->error ? RESP_EIO : RESP_OK);
	vq_flush(&f->p->v.q[0]);
}

/* As many as the queue has entries: there always is one. */
static struct flush *free_flush(struct virtio_pmem *p)
{
	struct flush *f = p->flush;

	while (f < p->flush + QUEUE_SIZE && f->busy)
		f++;
	return f < p->flush + QUEUE_SIZE ? f : NULL;
}

static void start(struct virtio_pmem *p, struct flush *f, struct vq_tok tok, gpa_t resp)
{
	*f = (struct flush){ .req = { .op = BLK_FLUSH, .done = flushed }, .p = p, .tok = tok,
			     .resp = resp, .busy = true };
	blk_submit(p->blk, &f->req);
}

static void handle(struct virtio_pmem *p, struct virtq *q, struct vchain *c)
{
	struct flush *f = p->blk ? free_flush(p) : NULL;
	le32 type;

	if (vchain_read(c, &type, sizeof type) != sizeof type || !c->nr_in ||
	    c->iov[c->nr_out].iov_len < sizeof(le32)) {
		dev_guest_error(&p->v.dev, "virtio-pmem: request");
		vq_push(q, c->tok, 0);
	} else if (le32_get(type) == REQ_FLUSH && f) {
		start(p, f, c->tok, c->gpa[c->nr_out]);
	} else {
		answer(p, c->tok, c->gpa[c->nr_out],
		       le32_get(type) == REQ_FLUSH && !p->blk ? RESP_OK : RESP_EIO);
	}
}

static void pmem_notify(struct virtio *v, struct virtq *q)
{
	struct virtio_pmem *p = container_of(v, struct virtio_pmem, v);
	struct vchain c;

	while (vq_pop(q, &c)) {
		if (!ratelimit_take(&p->limit, 1, 0)) {
			vq_unpop(q, c.tok);
			break;
		}
		handle(p, q, &c);
	}
	vq_flush(q);
}

static void limit_over(struct ratelimit *l)
{
	virtio_notify(&container_of(l, struct virtio_pmem, limit)->v, 0);
}

static void drain(struct dev *d)
{
	struct virtio_pmem *p = container_of(d, struct virtio_pmem, v.dev);

	if (p->blk)
		blk_drain(p->blk);
}

static int pmem_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	struct virtio_pmem *p = container_of(d, struct virtio_pmem, v.dev);
	const struct virtio_pmem_cfg *c = cfg;
	struct pmem_config conf = { le64_of(c->start), le64_of(c->size) };

	p->blk = c->blk;
	ratelimit_init(&p->limit, d->env.clock, &c->limit, limit_over);
	memcpy(p->v.config, &conf, sizeof conf);
	p->v.config_len = sizeof conf;
	virtio_set_queues(&p->v, 1, QUEUE_SIZE);
	return 0;
}

static void pmem_fini(struct dev *d)
{
	drain(d);
	ratelimit_fini(&container_of(d, struct virtio_pmem, v.dev)->limit);
}

void virtio_pmem_limit(struct dev *d, enum ratelimit_kind k, const struct ratelimit_bucket_cfg *cfg)
{
	ratelimit_set(&container_of(virtio_behind(d), struct virtio_pmem, v.dev)->limit, k, cfg);
}

static const struct field pmem_state[] = {
	VIRTIO_FIELDS(struct virtio_pmem, v),
	FIELD_NOT_SAVED(struct virtio_pmem, blk),
	FIELD_NOT_SAVED(struct virtio_pmem, limit),
	FIELD_NOT_SAVED(struct virtio_pmem, flush),
	FIELD_END,
};

const struct virtio_class virtio_pmem_class = {
	.dev = {
		.name = "virtio-pmem",
		.spec = "Virtual I/O Device 1.2, 5.19",
		.size = sizeof(struct virtio_pmem),
		.state = pmem_state,
		.init = pmem_init,
		.fini = pmem_fini,
		.reset = drain,
		.pause = drain,
		.loaded = virtio_loaded,
	},
	.id = 27,
	.pci_class = 0x00ff00,
	.notify = pmem_notify,
};
