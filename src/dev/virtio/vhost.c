// SPDX-License-Identifier: Apache-2.0
/*
 * vhost.c - devices whose work another process does (net/vhost_user.h)
 *
 * One model for every type: what the guest makes available is checked here (vq.h), handed
 * over, and returned when it comes back. Not modelled: saving what is in flight.
 */
#include "dev/virtio/transport.h"
#include "dev/virtio/virtio.h"
#include "mem/mem.h"
#include "net/vhost_user.h"

#include <errno.h>
#include <string.h>

#define QUEUE_SIZE 256
#define OURS	   (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | \
		    VIRTIO_F_RING_PACKED)

struct virtio_vhost {
	struct virtio v;
	struct vhost_user *vu;
	bool started;
};

static struct virtio_vhost *of(struct virtio *v)
{
	return container_of(v, struct virtio_vhost, v);
}

static bool hand_over(struct virtio_vhost *h, struct virtq *q, const struct vchain *c)
{
	struct vhost_seg seg[VQ_MAX_SIZE];
	unsigned nr = (unsigned)c->nr_out + c->nr_in;

	for (unsigned i = 0; i < nr; i++)
		seg[i] = (struct vhost_seg){ c->gpa[i], (u32)c->iov[i].iov_len, i >= c->nr_out };
	return vhost_user_submit(h->vu, q->n, seg, nr, (u32)c->tok.id << 16 | c->tok.nr);
}

static void vhost_notify(struct virtio *v, struct virtq *q)
{
	struct virtio_vhost *h = of(v);
	struct vchain c;

	while (vq_pop(q, &c)) {
		if (!hand_over(h, q, &c)) {
			vq_unpop(q, c.tok);
			break;
		}
	}
	vhost_user_kick(h->vu, q->n);
}

static void on_wrote(void *ctx, gpa_t gpa, u64 len)
{
	mem_wrote(((struct virtio_vhost *)ctx)->v.dev.env.mem, gpa, len);
}

static void on_done(void *ctx, unsigned n, u32 token, u32 written)
{
	struct virtio_vhost *h = ctx;
	struct vq_tok tok = { .id = (u16)(token >> 16), .nr = (u16)token };

	vq_push(&h->v.q[n], tok, written);
	vq_flush(&h->v.q[n]);
}

static void on_room(void *ctx, unsigned n)
{
	virtio_notify(&((struct virtio_vhost *)ctx)->v, n);
}

static void on_gone(void *ctx)
{
	struct virtio_vhost *h = ctx;

	if (virtio_running(&h->v))
		virtio_needs_reset(&h->v, "vhost-user: the back end is gone");
}

static const struct vhost_user_ops ops = {
	.wrote = on_wrote, .done = on_done, .room = on_room, .gone = on_gone,
};

static void vhost_driver_ok(struct virtio *v)
{
	struct virtio_vhost *h = of(v);

	vhost_user_start(h->vu, (v->features & ~OURS) | VIRTIO_F_VERSION_1, v->nr_queues);
	h->started = true;
}

static void vhost_reset(struct dev *d)
{
	struct virtio_vhost *h = container_of(d, struct virtio_vhost, v.dev);

	if (h->started)
		vhost_user_stop(h->vu);
	h->started = false;
}

static int vhost_init(struct dev *d, const void *cfg, struct err *e)
{
	struct virtio_vhost *h = container_of(d, struct virtio_vhost, v.dev);
	const struct virtio_vhost_cfg *c = cfg;

	if (c->config_len > VIRTIO_CONFIG_MAX || c->nr_queues > VHOST_QUEUES_MAX)
		return err_set(e, EINVAL, "%s: the back end has too many queues", d->id);
	h->vu = c->vu;
	h->v.offered = ((c->features & vhost_user_features(c->vu)) | c->own_features) & ~OURS;
	memcpy(h->v.config, c->config, c->config_len);
	h->v.config_len = c->config_len;
	virtio_set_queues(&h->v, c->nr_queues, QUEUE_SIZE);
	vhost_user_attach(h->vu, &ops, h);
	return 0;
}

static void vhost_fini(struct dev *d)
{
	struct virtio_vhost *h = container_of(d, struct virtio_vhost, v.dev);

	vhost_reset(d);
	vhost_user_attach(h->vu, NULL, NULL);
}

static int vhost_loaded(struct dev *d, struct err *e)
{
	if (container_of(d, struct virtio_vhost, v.dev)->v.status & VIRTIO_DRIVER_OK)
		return err_set(e, ENOTSUP, "%s: a vhost-user device cannot be restored", d->id);
	return virtio_loaded(d, e);
}

static const struct field vhost_state[] = {
	VIRTIO_FIELDS(struct virtio_vhost, v),
	FIELD_NOT_SAVED(struct virtio_vhost, vu),
	FIELD_NOT_SAVED(struct virtio_vhost, started),
	FIELD_END,
};

#define VHOST_CLASS(dev_name, section, type, pci)                                                  \
	{                                                                                          \
		.dev = {                                                                           \
			.name = dev_name,                                                          \
			.spec = "Virtual I/O Device 1.2, " section,                                \
			.size = sizeof(struct virtio_vhost),                                       \
			.state = vhost_state,                                                      \
			.init = vhost_init,                                                        \
			.fini = vhost_fini,                                                        \
			.reset = vhost_reset,                                                      \
			.loaded = vhost_loaded,                                                    \
		},                                                                                 \
		.id = type,                                                                        \
		.pci_class = pci,                                                                  \
		.notify = vhost_notify,                                                            \
		.driver_ok = vhost_driver_ok,                                                      \
	}

const struct virtio_class virtio_vhost_net_class = VHOST_CLASS("vhost-user-net", "5.1", 1, 0x020000);
const struct virtio_class virtio_vhost_blk_class = VHOST_CLASS("vhost-user-blk", "5.2", 2, 0x018000);
const struct virtio_class virtio_vhost_fs_class = VHOST_CLASS("vhost-user-fs", "5.11", 26, 0x018000);
