// SPDX-License-Identifier: Apache-2.0
/* notice.c - see notice.h; the frame follows docs/guest-agent.md */
#include "vmm/notice.h"

#include "base/bits.h"
#include "dev/virtio/virtio.h"
#include "ui/chr.h"
#include "vmm/vmm_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER	   8
#define SEED_BYTES 64
#define FRAME_MAX  1024

struct notice {
	struct chr chr;
	u8 frame[FRAME_MAX];
	size_t len; /* of what waits in frame[] */
};

static size_t take_nothing(struct chr *c UNUSED, const void *buf UNUSED, size_t len)
{
	return len; /* the guest has nothing to say here */
}

static void flush(struct chr *c)
{
	struct notice *n = container_of(c, struct notice, chr);
	size_t took;

	if (!n->len || !c->receive)
		return;
	took = c->receive(c->dev, n->frame, n->len);
	memmove(n->frame, n->frame + took, n->len - took);
	n->len -= took;
}

struct notice *notice_new(struct err *e)
{
	struct notice *n = calloc(1, sizeof *n);

	if (!n) {
		err_set(e, ENOMEM, "out of host memory");
		return NULL;
	}
	n->chr.write = take_nothing;
	n->chr.can_receive = flush;
	return n;
}

void notice_port(struct notice *n, struct virtio_console_cfg *ret)
{
	*ret = (struct virtio_console_cfg){ .nr_ports = 1 };
	ret->port[0].name = "vireo.notice";
	ret->port[0].chr = &n->chr;
}

/* -- the frame --------------------------------------------------------------------------- */

/* A string with its zero byte; the whole is far below FRAME_MAX. */
static void add(struct notice *n, const char *text)
{
	size_t len = strlen(text) + 1;

	if (n->len + len > sizeof n->frame)
		return;
	memcpy(n->frame + n->len, text, len);
	n->len += len;
}

static void add_seed(struct vm *vm, struct notice *n)
{
	u8 seed[SEED_BYTES];
	char text[2 + 2 * SEED_BYTES] = "s";

	if (vm_random(vm, seed, sizeof seed) != sizeof seed)
		return; /* early on the host: the guest asks its processor only */
	for (unsigned i = 0; i < sizeof seed; i++)
		snprintf(text + 1 + 2 * i, 3, "%02x", seed[i]);
	add(n, text);
}

static void add_time(struct vm *vm, struct notice *n)
{
	u64 now = clock_wall_ns(vm->clock);
	char text[48];

	snprintf(text, sizeof text, "w%llu.%09llu", (unsigned long long)(now / 1000000000),
		 (unsigned long long)(now % 1000000000));
	add(n, text);
}

/* Who a fork is: the guest had its parent's. */
static void add_names(const struct vm_config *c, struct notice *n)
{
	char text[CFG_NAME + 16];

	snprintf(text, sizeof text, "h%s", c->name);
	if (*c->name)
		add(n, text);
	for (u32 i = 0; i < c->nr_nets; i++) {
		snprintf(text, sizeof text, "m%u %s", i, c->net[i].mac);
		if (*c->net[i].mac)
			add(n, text);
	}
}

void notice_send(struct vm *vm)
{
	struct notice *n = vm->notice;
	le32 len;

	if (!n)
		return;
	memset(n->frame, 0, HEADER);
	n->frame[0] = 'N';
	n->len = HEADER;
	add_seed(vm, n);
	if (!vm->cfg->restore.keep_clocks)
		add_time(vm, n);
	if (*vm->cfg->parent)
		add_names(vm->cfg, n);
	len = le32_of((u32)(n->len - HEADER));
	memcpy(n->frame + 4, &len, sizeof len);
	flush(&n->chr);
}

void notice_reset(struct notice *n)
{
	if (n)
		n->len = 0;
}

void notice_free(struct notice *n)
{
	free(n);
}
