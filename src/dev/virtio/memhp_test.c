// SPDX-License-Identifier: Apache-2.0
/* memhp_test.c - virtio-mem: blocks come and go within what was asked for */
#include "dev/virtio/drv_test.h"

#include "base/test.h"

enum { PLUG, UNPLUG, UNPLUG_ALL, STATE };
enum { ACK, NACK, BUSY, ERROR };

#define AT    (8ull << 20)
#define BLOCK (1ull << 20)

static u32 ask(struct drv *t, u16 type, u64 addr, u16 nr)
{
	struct PACKED { u16 type; u8 pad[6]; u64 addr; u16 nr; u8 pad2[6]; } req = {
		.type = type, .addr = addr, .nr = nr,
	};
	const struct drv_buf b[2] = { { DRV_BUF, sizeof req }, { DRV_BUF + 100, 10 } };
	struct { u16 type, pad[3], state; } resp;

	drv_put(t, DRV_BUF, &req, sizeof req);
	if (drv_call(t, 0, b, 1, 1) != 10)
		return 99;
	drv_get(t, DRV_BUF + 100, &resp, 10);
	return resp.type | (u32)resp.state << 16;
}

static bool open_mem(struct drv *t)
{
	const struct virtio_mem_cfg c = { .addr = AT, .size = 8 * BLOCK, .block = BLOCK,
					  .wanted = 3 * BLOCK };

	return drv_open(t, &virtio_mem_class, &c, 0, DRV_QSIZE);
}

TEST(memhp_plugs_up_to_what_is_wanted)
{
	u64 plugged, wanted;
	struct drv t;

	CHECK(open_mem(&t));
	CHECK_EQ(drv_config(&t, 0, 4), BLOCK);
	CHECK_EQ(drv_config(&t, 16, 4), AT);
	CHECK_EQ(ask(&t, PLUG, AT, 2), ACK);
	CHECK_EQ(ask(&t, PLUG, AT + BLOCK, 1), ERROR); /* is plugged */
	CHECK_EQ(ask(&t, PLUG, AT + 4 * BLOCK, 2), NACK); /* more than wanted */
	CHECK_EQ(ask(&t, PLUG, AT + 7 * BLOCK, 1), ACK);
	CHECK_EQ(ask(&t, STATE, AT, 2), ACK);
	CHECK_EQ(ask(&t, STATE, AT + 2 * BLOCK, 5), ACK | 1 << 16);
	CHECK_EQ(ask(&t, STATE, AT, 8), ACK | 2 << 16);
	virtio_mem_get(t.dev, &plugged, &wanted);
	CHECK_EQ(plugged, 3 * BLOCK);
	CHECK_EQ(drv_config(&t, 40, 4), 3 * BLOCK);
	virtio_mem_resize(t.dev, BLOCK);
	CHECK_EQ(t.irqs[16], 1);
	CHECK_EQ(drv_config(&t, 48, 4), BLOCK);
	memset(mem_ptr(t.mem, AT, 2 * BLOCK), 7, 2 * BLOCK);
	CHECK_EQ(ask(&t, UNPLUG, AT, 1), ACK);
	CHECK_EQ(*mem_ptr(t.mem, AT, 1), 0); /* given back */
	CHECK_EQ(*mem_ptr(t.mem, AT + BLOCK, 1), 7);
	CHECK_EQ(ask(&t, UNPLUG, AT, 2), ERROR); /* one of them is not plugged */
	CHECK_EQ(ask(&t, UNPLUG_ALL, 0, 0), ACK);
	CHECK_EQ(*mem_ptr(t.mem, AT + BLOCK, 1), 0);
	virtio_mem_get(t.dev, &plugged, &wanted);
	CHECK_EQ(plugged, 0);
	drv_close(&t);
}

TEST(memhp_refuses_what_is_no_block)
{
	static const struct { u64 addr; u16 nr; } bad[] = {
		{ AT - BLOCK, 1 }, { AT + 8 * BLOCK, 1 }, { AT + 7 * BLOCK, 2 }, { AT + 1, 1 },
		{ AT, 0 }, { 0, 1 }, { ~0ull - BLOCK + 1, 1 }, { AT, 9 }, { AT, 65535 },
	};
	struct drv t;

	CHECK(open_mem(&t));
	for (unsigned i = 0; i < array_len(bad); i++)
		for (u16 type = PLUG; type <= STATE; type++)
			if (type != UNPLUG_ALL)
				CHECK_EQ(ask(&t, type, bad[i].addr, bad[i].nr), ERROR);
	CHECK_EQ(ask(&t, 4, AT, 1), ERROR);
	CHECK_EQ(drv_call(&t, 0, &(struct drv_buf){ DRV_BUF, 4 }, 1, 0), 0); /* no room to answer */
	drv_close(&t);
}
