// SPDX-License-Identifier: Apache-2.0
/* vhosts.c - devices whose work other processes do: what each type is to the guest */
#include "net/vhost_user.h"
#include "vmm/vmm_int.h"

#include <errno.h>
#include <string.h>

#define BLK_CONFIG 60 /* bytes of struct virtio_blk_config, as of [virtio 5.2.4] */

/* clang-format off */
enum { /* [virtio 5.2.3] */
	BLK_FEATURES = 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 |
		       1 << 13 | 1 << 14,
};
enum { /* [virtio 5.1.3]: checksums, segmentation, merged buffers */
	NET_MAC = 1 << 5,
	NET_FEATURES = 1 << 0 | 1 << 1 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 |
		       1 << 13 | 1 << 14 | 1 << 15,
};
/* clang-format on */

struct PACKED fs_config { /* [virtio 5.11.4] */
	char tag[36];
	le32 nr_request_queues;
};

int vhosts_open(struct vm *vm, struct err *e)
{
	struct mem_part part[MEM_PARTS];
	struct vhost_ram ram[MEM_PARTS];
	unsigned nr = 0;

	mem_parts(vm->mem, part);
	for (unsigned i = 0; i < MEM_PARTS; i++)
		if (part[i].len)
			ram[nr++] = (struct vhost_ram){ part[i].gpa, part[i].len,
							mem_shared_fd(vm->mem), part[i].file,
							part[i].host };
	for (u32 i = 0; i < vm->cfg->nr_vhosts; i++) {
		struct vhost_config *c = &vm->cfg->vhost[i];

		vm->vhost[i] = vhost_user_new(vm->loop, c->fd, ram, nr, e);
		c->fd = -1;
		if (!vm->vhost[i])
			return err_wrap(e, "--vhost-user: %.100s", c->path);
	}
	return 0;
}

void vhosts_close(struct vm *vm)
{
	for (u32 i = 0; i < vm->cfg->nr_vhosts; i++)
		vhost_user_free(vm->vhost[i]);
}

static void fs_device(const struct vhost_config *c, struct vhost_device *d)
{
	struct fs_config conf = { .nr_request_queues = le32_of(1) };

	memcpy(conf.tag, c->tag, strnlen(c->tag, sizeof conf.tag));
	memcpy(d->config, &conf, sizeof conf);
	d->class = &virtio_vhost_fs_class;
	d->cfg.config_len = sizeof conf;
	d->cfg.nr_queues = 2; /* requests that cannot wait, and the others */
}

static void net_device(unsigned n, struct vhost_device *d)
{
	const u8 mac[6] = { 0x52, 0x54, 0x00, 0x56, 0x56, (u8)n };

	memcpy(d->config, mac, sizeof mac);
	d->class = &virtio_vhost_net_class;
	d->cfg.config_len = 12;
	d->cfg.features = NET_FEATURES;
	d->cfg.own_features = NET_MAC;
	d->cfg.nr_queues = 2;
}

int vhosts_device(struct vm *vm, unsigned n, struct vhost_device *d, struct err *e)
{
	const struct vhost_config *c = &vm->cfg->vhost[n];
	int r = 0;

	*d = (struct vhost_device){ .cfg = { .vu = vm->vhost[n], .config = d->config } };
	if (c->type == CFG_VHOST_FS) {
		fs_device(c, d);
	} else if (c->type == CFG_VHOST_NET) {
		net_device(n, d);
	} else {
		d->class = &virtio_vhost_blk_class;
		d->cfg.config_len = BLK_CONFIG;
		d->cfg.features = BLK_FEATURES;
		d->cfg.nr_queues = 1;
		r = vhost_user_config(vm->vhost[n], d->config, BLK_CONFIG);
	}
	return r ? err_set(e, -r, "--vhost-user: %.100s: is no block device", c->path) : 0;
}
