// SPDX-License-Identifier: Apache-2.0
/* rng.c - entropy device [virtio 5.4] */
#include "dev/virtio/virtio.h"

struct virtio_rng {
	struct virtio v;
	struct virtio_rng_cfg cfg;
	struct ratelimit limit;
};

#define BURST 4096 /* bytes given per request at most; the driver asks again */

static void rng_notify(struct virtio *v, struct virtq *q)
{
	struct virtio_rng *r = container_of(v, struct virtio_rng, v);
	struct vchain c;
	u8 buf[BURST];

	while (vq_pop(q, &c)) {
		size_t want = c.writable < sizeof buf ? c.writable : sizeof buf;
		size_t got;

		if (!ratelimit_take(&r->limit, 1, want)) {
			vq_unpop(q, c.tok);
			break;
		}
		got = r->cfg.fill(r->cfg.ctx, buf, want);
		vq_push(q, c.tok, (u32)vchain_write(&c, buf, got));
	}
	vq_flush(q);
}

static void limit_over(struct ratelimit *l)
{
	virtio_notify(&container_of(l, struct virtio_rng, limit)->v, 0);
}

static int rng_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	struct virtio_rng *r = container_of(d, struct virtio_rng, v.dev);

	r->cfg = *(const struct virtio_rng_cfg *)cfg;
	ratelimit_init(&r->limit, d->env.clock, &r->cfg.limit, limit_over);
	virtio_set_queues(&r->v, 1, 64);
	return 0;
}

static void rng_fini(struct dev *d)
{
	ratelimit_fini(&container_of(d, struct virtio_rng, v.dev)->limit);
}

static const struct field rng_state[] = {
	VIRTIO_FIELDS(struct virtio_rng, v),
	FIELD_NOT_SAVED(struct virtio_rng, cfg),
	FIELD_NOT_SAVED(struct virtio_rng, limit),
	FIELD_END,
};

const struct virtio_class virtio_rng_class = {
	.dev = {
		.name = "virtio-rng",
		.spec = "Virtual I/O Device 1.2, 5.4",
		.size = sizeof(struct virtio_rng),
		.state = rng_state,
		.init = rng_init,
		.fini = rng_fini,
		.loaded = virtio_loaded,
	},
	.id = 4,
	.pci_class = 0xff0000,
	.notify = rng_notify,
};
