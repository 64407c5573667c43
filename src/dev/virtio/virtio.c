// SPDX-License-Identifier: Apache-2.0
/* virtio.c - what every virtio device does, whatever its transport; see virtio.h */
#include "dev/virtio/virtio.h"

#include "base/bits.h"
#include "dev/virtio/transport.h"

#include <errno.h>
#include <string.h>

/* Chains per notification, in queue sizes: a guest that keeps adding must not hold the lock. */
#define BUDGET   4
#define AGAIN_NS 20000 /* what others get in between */

static void again_fn(struct timer *t, u64 now_ns UNUSED)
{
	struct virtio *v = container_of(t, struct virtio, again_timer);
	u32 again = v->again;

	v->again = 0;
	for (unsigned i = 0; i < v->nr_queues; i++)
		if (again & BIT(i))
			virtio_notify(v, i);
}

bool virtio_spend(struct virtio *v, unsigned n)
{
	struct clock *clock = v->dev.env.clock;

	if (v->budget || !clock) {
		v->budget -= v->budget != 0;
		return true;
	}
	v->again |= BIT(n);
	clock_arm(clock, &v->again_timer, clock_now_ns(clock) + AGAIN_NS);
	return false;
}

static void stop_again(struct virtio *v)
{
	if (v->again)
		clock_disarm(v->dev.env.clock, &v->again_timer);
	v->again = 0;
}

struct dev *virtio_dev_new(const struct virtio_class *c, const void *cfg, const char *id,
			   const struct dev_env *env, const struct virtio_transport *tp,
			   struct dev *tp_dev, struct err *e)
{
	struct dev *d = dev_new(&c->dev, id, env, cfg, e);
	struct virtio *v;

	if (!d)
		return NULL;
	v = container_of(d, struct virtio, dev);
	v->tp = tp;
	v->tp_dev = tp_dev;
	v->budget = UINT32_MAX;
	v->again_timer.fn = again_fn;
	v->offered |= VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC;
	return d;
}

void virtio_dev_free(struct virtio *v)
{
	if (!v)
		return;
	stop_again(v);
	dev_free(&v->dev);
}

bool virtio_running(const struct virtio *v)
{
	return (v->status & (VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET)) == VIRTIO_DRIVER_OK;
}

void virtio_set_queues(struct virtio *v, unsigned nr, unsigned size)
{
	v->nr_queues = (u8)nr;
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
		v->q[i].v = v;
		v->q[i].n = (u16)i;
		v->q[i].max_size = i < nr ? (u16)size : 0;
		vq_reset(&v->q[i]);
	}
}

void virtio_needs_reset(struct virtio *v, const char *what)
{
	dev_guest_error(&v->dev, what);
	if (v->status & VIRTIO_NEEDS_RESET)
		return;
	v->status |= VIRTIO_NEEDS_RESET;
	if (v->status & VIRTIO_DRIVER_OK)
		v->tp->config_irq(v);
}

void virtio_config_changed(struct virtio *v)
{
	v->config_gen++;
	if (v->status & VIRTIO_DRIVER_OK)
		v->tp->config_irq(v);
}

void virtio_reset(struct virtio *v)
{
	stop_again(v);
	if (v->dev.class->reset)
		v->dev.class->reset(&v->dev);
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		vq_reset(&v->q[i]);
	v->status = 0;
	v->features = 0;
}

void virtio_set_features(struct virtio *v, u32 sel, u32 val)
{
	if (sel > 1 || (v->status & VIRTIO_FEATURES_OK))
		return;
	v->features &= sel ? 0xffffffffull : ~0xffffffffull;
	v->features |= (u64)val << (32 * sel);
}

void virtio_set_status(struct virtio *v, u8 status)
{
	u8 old = v->status;

	if (!status) {
		virtio_reset(v);
		return;
	}
	if ((status & ~old & VIRTIO_FEATURES_OK) &&
	    ((v->features & ~v->offered) || !virtio_has(v, VIRTIO_F_VERSION_1)))
		status &= (u8)~VIRTIO_FEATURES_OK; /* [virtio 2.2.2, 6.1] */
	if (!(status & VIRTIO_FEATURES_OK))
		status &= (u8)~VIRTIO_DRIVER_OK;
	v->status = status | (old & VIRTIO_NEEDS_RESET);
	if (!(status & ~old & VIRTIO_DRIVER_OK))
		return;
	if (virtio_class(v)->driver_ok)
		virtio_class(v)->driver_ok(v);
	for (unsigned i = 0; i < v->nr_queues; i++) /* buffers may be there already */
		virtio_notify(v, i);
}

void virtio_notify(struct virtio *v, u32 n)
{
	if (n >= v->nr_queues || !v->q[n].ready || !virtio_running(v))
		return;
	v->budget = BUDGET * v->q[n].size;
	virtio_class(v)->notify(v, &v->q[n]);
	v->budget = UINT32_MAX;
}

static struct virtio *behind(struct dev *transport)
{
	struct virtio *v = virtio_of_pci(transport);

	return v ? v : virtio_of_mmio(transport);
}

static void all_doorbells(struct virtio *v, gpa_t at, unsigned step, unsigned size, bool on)
{
	const struct doorbells *b = &v->tp_dev->env.doorbells;

	for (unsigned n = 0; n < v->nr_queues; n++)
		b->set(b->ctx, v->tp_dev, n, at + n * step, size, on);
}

gpa_t virtio_doorbells(struct virtio *v, gpa_t was, gpa_t at, unsigned step, unsigned size)
{
	gpa_t now = virtio_running(v) ? at : 0;

	if (now == was || !v->tp_dev->env.doorbells.set)
		return was;
	if (was)
		all_doorbells(v, was, step, size, false);
	if (now)
		all_doorbells(v, now, step, size, true);
	return now;
}

void virtio_ring(struct dev *transport, unsigned n)
{
	virtio_notify(behind(transport), n);
}

unsigned virtio_queues(struct dev *transport)
{
	return behind(transport)->nr_queues;
}

void virtio_pause(struct virtio *v)
{
	if (v->dev.class->pause)
		v->dev.class->pause(&v->dev);
}

void virtio_resume(struct virtio *v)
{
	if (v->dev.class->resume)
		v->dev.class->resume(&v->dev);
	for (unsigned i = 0; i < v->nr_queues; i++)
		virtio_notify(v, i);
}

u32 virtio_config_read(struct virtio *v, u64 off, unsigned size)
{
	u32 val = 0;

	if (range_ok(off, size, v->config_len))
		memcpy(&val, v->config + off, size);
	return val;
}

void virtio_config_write(struct virtio *v, u64 off, unsigned size, u32 val)
{
	if (range_ok(off, size, v->config_len) && virtio_class(v)->config_write)
		virtio_class(v)->config_write(v, (unsigned)off, size, val);
}

int virtio_loaded(struct dev *d, struct err *e)
{
	struct virtio *v = container_of(d, struct virtio, dev);

	if (v->features & ~v->offered)
		return err_set(e, EINVAL, "%s: saved state uses features 0x%llx, which are not offered",
			       d->id, (unsigned long long)(v->features & ~v->offered));
	for (unsigned i = 0; i < v->nr_queues; i++)
		if (v->q[i].ready)
			vq_start(&v->q[i]);
	return 0;
}

struct dev *virtio_behind(struct dev *transport)
{
	struct virtio *v = behind(transport);

	return v ? &v->dev : NULL;
}

void virtio_offer_packed(struct dev *transport)
{
	behind(transport)->offered |= VIRTIO_F_RING_PACKED;
}
