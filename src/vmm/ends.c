// SPDX-License-Identifier: Apache-2.0
/* ends.c - host ends of the devices beyond disks, networks and the serial port */
#include "dev/virtio/virtio.h"
#include "net/mmds.h"
#include "net/vsock.h"
#include "os/opener.h"
#include "vmm/vm_dev.h"
#include "vmm/vmm_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ratelimit_bucket_cfg ends_bucket(const struct bucket_config *c)
{
	return (struct ratelimit_bucket_cfg){ .size = c->size,
					      .refill_ms = c->refill_time,
					      .one_time_burst = c->one_time_burst };
}

struct ratelimit_cfg ends_limit(const struct limit_config *c)
{
	return (struct ratelimit_cfg){ .bucket = { [RATELIMIT_BYTES] = ends_bucket(&c->bandwidth),
						   [RATELIMIT_OPS] = ends_bucket(&c->ops) } };
}

static int dial(void *ctx, u32 port)
{
	const struct vm *vm = ctx;
	struct err e;
	char path[sizeof vm->cfg->vsock.uds_path + 12];

	snprintf(path, sizeof path, "%s_%u", vm->cfg->vsock.uds_path, port);
	return opener_connect(vm->opener, path, &e);
}

static int open_vsock(struct vm *vm, struct err *e)
{
	struct vsock_unix_cfg c = { .listen_fd = vm->cfg->vsock.fd, .dial = dial, .ctx = vm };

	if (!vm->cfg->vsock.present)
		return 0;
	vm->cfg->vsock.fd = -1;
	vm->vsock = vsock_unix_new(vm->loop, &c, e);
	return vm->vsock ? 0 : err_wrap(e, "--vsock");
}

static size_t random_bytes(void *vm, void *buf, size_t len)
{
	return vm_random(vm, buf, len);
}

/* What the file has is the data. */
static int read_metadata(struct vm *vm, struct err *e)
{
	struct mmds_config *c = &vm->cfg->mmds;
	size_t max = c->size_limit * 4; /* it may be written with blanks */
	char *text;
	ssize_t n;
	int r;

	if (!*c->path)
		return 0;
	text = malloc(max);
	n = text ? pread(c->fd, text, max, 0) : -1;
	fd_close(&c->fd);
	if (n < 0)
		r = err_set(e, errno, "%.150s: %s", c->path, strerror(errno));
	else
		r = mmds_set(vm->mmds, text, (size_t)n, e);
	free(text);
	return r ? err_wrap(e, "--mmds") : 0;
}

static int open_mmds(struct vm *vm, struct err *e)
{
	const struct mmds_config *c = &vm->cfg->mmds;
	const struct mmds_cfg cfg = {
		.ipv4 = c->ipv4, .version = c->version, .imds_compat = c->imds_compat,
		.size_limit = c->size_limit, .clock = vm->clock, .random = random_bytes, .ctx = vm,
	};

	if (!c->present)
		return 0;
	vm->mmds = mmds_new(&cfg, e);
	if (!vm->mmds)
		return -e->code;
	TRY(read_metadata(vm, e));
	for (u32 i = 0; i < vm->cfg->nr_nets; i++) {
		if (!vm->cfg->net[i].mmds || !vm->net[i])
			continue;
		vm->mmds_port[i] = mmds_port_new(vm->mmds, vm->net[i], e);
		if (!vm->mmds_port[i])
			return -e->code;
	}
	return 0;
}

int ends_open(struct vm *vm, struct err *e)
{
	TRY(open_vsock(vm, e));
	TRY(vhosts_open(vm, e));
	return open_mmds(vm, e);
}

void ends_close(struct vm *vm)
{
	for (u32 i = 0; i < vm->cfg->nr_nets; i++)
		mmds_port_free(vm->mmds_port[i]);
	mmds_free(vm->mmds);
	vhosts_close(vm);
	vsock_unix_free(vm->vsock);
}

/* -- for the API ------------------------------------------------------------------------ */

int vm_new_generation(struct vm *vm, struct err *e)
{
	return board_new_generation(vm, true, e);
}

int vm_net_limit(struct vm *vm, const char *id, bool tx, enum ratelimit_kind k,
		 const struct bucket_config *b, struct err *e)
{
	const struct ratelimit_bucket_cfg cfg = ends_bucket(b);

	for (u32 i = 0; i < vm->cfg->nr_nets; i++) {
		if (!vm->nic[i] || strcmp(vm->cfg->net[i].id, id) != 0)
			continue;
		virtio_net_limit(vm->nic[i], tx, k, &cfg);
		return 0;
	}
	return err_set(e, ENOENT, "%s: no such network interface", id);
}

int vm_mmds_set(struct vm *vm, const char *text, size_t len, struct err *e)
{
	if (!vm->mmds)
		return err_set(e, ENOENT, "metadata service: this machine has none");
	return mmds_set(vm->mmds, text, len, e);
}

static int has_balloon(const struct vm *vm, struct err *e)
{
	return vm->balloon ? 0 : err_set(e, ENOENT, "balloon: this machine has none");
}

int vm_balloon_get(struct vm *vm, struct virtio_balloon_info *ret, struct err *e)
{
	TRY(has_balloon(vm, e));
	virtio_balloon_get(vm->balloon, ret);
	return 0;
}

int vm_balloon_resize(struct vm *vm, u32 mib, struct err *e)
{
	TRY(has_balloon(vm, e));
	if ((u64)mib << 20 > mem_size(vm->mem))
		return err_set(e, EINVAL, "balloon: %u MiB: want at most the guest's memory", mib);
	virtio_balloon_resize(vm->balloon, mib << 8);
	vm->cfg->balloon.amount_mib = mib;
	return 0;
}

int vm_balloon_poll(struct vm *vm, u32 seconds, struct err *e)
{
	TRY(has_balloon(vm, e));
	if (!seconds != !vm->cfg->balloon.stats_polling_s)
		return err_set(e, EINVAL, "balloon: statistics cannot be switched on or off now");
	virtio_balloon_poll(vm->balloon, seconds);
	vm->cfg->balloon.stats_polling_s = seconds;
	return 0;
}

int vm_balloon_hint(struct vm *vm, bool start, bool ack_on_stop, struct err *e)
{
	TRY(has_balloon(vm, e));
	if (virtio_balloon_hint(vm->balloon, start, ack_on_stop))
		return err_set(e, ENODEV, "balloon: the guest has no driver for free page hints");
	return 0;
}
