// SPDX-License-Identifier: Apache-2.0
/*
 * memhp.c - memory device [virtio 5.15]: memory that comes and goes while the guest runs
 *
 * A region above RAM in blocks; the host asks for a size, the driver plugs and unplugs
 * blocks until it is met. What is unplugged is given back to the host. A guest that
 * touches a block it has not plugged gets zeroes and costs the host memory, up to the
 * region's size: VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE is not offered.
 */
#include "base/bits.h"
#include "dev/virtio/virtio.h"
#include "mem/mem.h"

#include <errno.h>
#include <string.h>

#define QUEUE_SIZE 128

enum { REQ_PLUG, REQ_UNPLUG, REQ_UNPLUG_ALL, REQ_STATE };
enum { RESP_ACK, RESP_NACK, RESP_BUSY, RESP_ERROR };
enum { STATE_PLUGGED, STATE_UNPLUGGED, STATE_MIXED };

struct PACKED mem_config {
	le64 block_size;
	le16 node_id;
	u8 pad[6];
	le64 addr, region_size, usable_size, plugged_size, requested_size;
};

struct PACKED mem_req {
	le16 type;
	u8 pad[6];
	le64 addr;
	le16 nr_blocks;
	u8 pad2[6];
};

struct PACKED mem_resp {
	le16 type;
	u8 pad[6];
	le16 state;
};

struct virtio_mem {
	struct virtio v;
	u64 addr, size, block; /* bytes */
	u64 plugged_bytes, wanted;
	u64 plugged[VIRTIO_MEM_BLOCKS / 64]; /* bit per block */
};

static struct mem_config *config(struct virtio_mem *m)
{
	return (struct mem_config *)m->v.config;
}

static void set_sizes(struct virtio_mem *m)
{
	config(m)->plugged_size = le64_of(m->plugged_bytes);
	config(m)->requested_size = le64_of(m->wanted);
}

static bool is_plugged(const struct virtio_mem *m, u64 n)
{
	return m->plugged[n / 64] >> n % 64 & 1;
}

/* Blocks of the request; false if it names none, or any outside the region. */
static bool blocks_of(const struct virtio_mem *m, const struct mem_req *r, u64 *first, u64 *nr)
{
	u64 off = le64_get(r->addr) - m->addr;

	*first = off / m->block;
	*nr = le16_get(r->nr_blocks);
	return *nr && off % m->block == 0 && range_ok(*first, *nr, m->size / m->block);
}

static unsigned count_plugged(const struct virtio_mem *m, u64 first, u64 nr)
{
	unsigned n = 0;

	for (u64 i = first; i < first + nr; i++)
		n += is_plugged(m, i);
	return n;
}

static void give_back(struct virtio_mem *m, u64 first, u64 nr)
{
	if (!mem_discard(m->v.dev.env.mem, m->addr + first * m->block, nr * m->block))
		dev_guest_error(&m->v.dev, "virtio-mem: not memory");
}

static void mark(struct virtio_mem *m, u64 first, u64 nr, bool on)
{
	for (u64 i = first; i < first + nr; i++)
		m->plugged[i / 64] = (m->plugged[i / 64] & ~BIT_ULL(i % 64)) |
				     (u64)on << i % 64;
	m->plugged_bytes += on ? nr * m->block : 0 - nr * m->block;
}

static u16 plug(struct virtio_mem *m, u64 first, u64 nr)
{
	if (count_plugged(m, first, nr))
		return RESP_ERROR;
	if (nr * m->block > m->wanted || m->plugged_bytes > m->wanted - nr * m->block)
		return RESP_NACK;
	mark(m, first, nr, true);
	return RESP_ACK;
}

static u16 unplug(struct virtio_mem *m, u64 first, u64 nr)
{
	if (count_plugged(m, first, nr) != nr)
		return RESP_ERROR;
	mark(m, first, nr, false);
	give_back(m, first, nr);
	return RESP_ACK;
}

static void unplug_all(struct virtio_mem *m)
{
	memset(m->plugged, 0, sizeof m->plugged);
	m->plugged_bytes = 0;
	give_back(m, 0, m->size / m->block);
}

static void handle(struct virtio_mem *m, const struct mem_req *r, struct mem_resp *resp)
{
	u16 type = le16_get(r->type), code = RESP_ERROR;
	u64 first, nr;
	unsigned n;

	if (type == REQ_UNPLUG_ALL) {
		unplug_all(m);
		code = RESP_ACK;
	} else if (type <= REQ_STATE && blocks_of(m, r, &first, &nr)) {
		n = count_plugged(m, first, nr);
		code = type == REQ_PLUG ? plug(m, first, nr) :
		       type == REQ_UNPLUG ? unplug(m, first, nr) : RESP_ACK;
		if (type == REQ_STATE)
			resp->state = le16_of(n == nr ? STATE_PLUGGED : n ? STATE_MIXED :
									      STATE_UNPLUGGED);
	}
	resp->type = le16_of(code);
	set_sizes(m);
}

static void mem_notify(struct virtio *v, struct virtq *q)
{
	struct virtio_mem *m = container_of(v, struct virtio_mem, v);
	struct vchain c;

	while (vq_pop(q, &c)) {
		struct mem_resp resp = { 0 };
		struct mem_req req = { 0 };

		if (vchain_read(&c, &req, sizeof req) < offsetof(struct mem_req, pad2))
			resp.type = le16_of(RESP_ERROR);
		else
			handle(m, &req, &resp);
		vq_push(q, c.tok, (u32)vchain_write(&c, &resp, sizeof resp));
	}
	vq_flush(q);
}

/* Memory stays as it is: a driver that starts anew unplugs what it does not know. */
static void mem_reset(struct dev *d UNUSED)
{
}

static int mem_init(struct dev *d, const void *cfg, struct err *e)
{
	struct virtio_mem *m = container_of(d, struct virtio_mem, v.dev);
	const struct virtio_mem_cfg *c = cfg;

	if (c->size / c->block > VIRTIO_MEM_BLOCKS)
		return err_set(e, EINVAL,
			       "%s: %llu MiB in blocks of %llu KiB: want at most %d blocks", d->id,
			       (unsigned long long)(c->size >> 20),
			       (unsigned long long)(c->block >> 10), VIRTIO_MEM_BLOCKS);
	m->addr = c->addr;
	m->size = c->size;
	m->block = c->block;
	m->wanted = c->wanted;
	*config(m) = (struct mem_config){
		.block_size = le64_of(c->block), .addr = le64_of(c->addr),
		.region_size = le64_of(c->size), .usable_size = le64_of(c->size),
	};
	set_sizes(m);
	m->v.config_len = sizeof(struct mem_config);
	virtio_set_queues(&m->v, 1, QUEUE_SIZE);
	return 0;
}

static int mem_loaded(struct dev *d, struct err *e)
{
	struct virtio_mem *m = container_of(d, struct virtio_mem, v.dev);
	u64 nr = m->size / m->block;

	for (u64 i = nr; i < VIRTIO_MEM_BLOCKS; i++)
		if (is_plugged(m, i))
			return err_set(e, EINVAL, "%s: saved state has memory outside its region", d->id);
	if (m->wanted > m->size || m->wanted % m->block)
		return err_set(e, EINVAL, "%s: saved state wants memory outside its region", d->id);
	m->plugged_bytes = count_plugged(m, 0, nr) * m->block;
	set_sizes(m);
	return virtio_loaded(d, e);
}

/* -- for the board ----------------------------------------------------------------------- */

static struct virtio_mem *behind(struct dev *d)
{
	return container_of(virtio_behind(d), struct virtio_mem, v.dev);
}

void virtio_mem_resize(struct dev *d, u64 bytes)
{
	behind(d)->wanted = bytes;
	set_sizes(behind(d));
	virtio_config_changed(&behind(d)->v);
}

void virtio_mem_get(struct dev *d, u64 *ret_plugged, u64 *ret_wanted)
{
	*ret_plugged = behind(d)->plugged_bytes;
	*ret_wanted = behind(d)->wanted;
}

static const struct field mem_state[] = {
	VIRTIO_FIELDS(struct virtio_mem, v),
	FIELD_NOT_SAVED(struct virtio_mem, addr),
	FIELD_NOT_SAVED(struct virtio_mem, size),
	FIELD_NOT_SAVED(struct virtio_mem, block),
	FIELD_NOT_SAVED(struct virtio_mem, plugged_bytes),
	FIELD(struct virtio_mem, wanted),
	FIELD_ARRAY(struct virtio_mem, plugged),
	FIELD_END,
};

const struct virtio_class virtio_mem_class = {
	.dev = {
		.name = "virtio-mem",
		.spec = "Virtual I/O Device 1.2, 5.15",
		.size = sizeof(struct virtio_mem),
		.state = mem_state,
		.init = mem_init,
		.reset = mem_reset,
		.loaded = mem_loaded,
	},
	.id = 24,
	.pci_class = 0x00ff00,
	.notify = mem_notify,
};
