// SPDX-License-Identifier: Apache-2.0
/* disks.c - the machine's disks: images from descriptors, devices, changes while they run */
#include "blk/blk.h"
#include "blk/image.h"
#include "dev/virtio/virtio.h"
#include "vmm/vm_dev.h"
#include "vmm/vmm_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define QUEUES_DEFAULT_MAX 4u

/* The image and what it stands on, from the descriptors. */
static struct blk *open_disk(struct vm *vm, struct disk_config *d, struct err *e)
{
	struct image_layer layer[IMAGE_LAYERS] = { { .fd = d->fd, .format = d->image_format } };
	struct image_opts o = { .read_only = d->read_only || d->snapshot,
				.secret = *d->secret ? d->secret : NULL };
	unsigned n = 1;

	if (d->image_format >= IMAGE_NR) {
		err_set(e, EINVAL, "unknown image format");
		return NULL;
	}
	if (d->image_format == IMAGE_RAW && !d->nr_files)
		return blk_open_file(vm->loop, d->fd, o.read_only, e);
	for (u32 i = 0; i < d->nr_files; i++) {
		struct disk_file_config *f = &d->file[i];
		struct image_layer *last = &layer[n - 1];

		if (f->extent && last->nr_extent < IMAGE_EXTENTS) {
			last->extent[last->nr_extent++] = f->fd;
		} else if (!f->extent && n < IMAGE_LAYERS && f->format < IMAGE_NR) {
			layer[n++] = (struct image_layer){ .fd = f->fd, .format = f->format };
		} else {
			err_set(e, EINVAL, "too many files");
			return NULL;
		}
	}
	return image_open_layers(vm->loop, layer, n, &o, e);
}

int disks_open(struct vm *vm, struct err *e)
{
	for (u32 i = 0; i < vm->cfg->nr_disks; i++) {
		struct disk_config *d = &vm->cfg->disk[i];
		struct blk *b = open_disk(vm, d, e);

		explicit_bzero(d->secret, sizeof d->secret);
		d->fd = -1;
		if (!b)
			return err_wrap(e, "--disk: %.100s", d->path);
		if (d->cache == CFG_CACHE_UNSAFE)
			blk_no_flush(b);
		vm->blk[i] = b;
		if (!d->snapshot)
			continue;
		if (d->layer_fd >= 0)
			b = blk_open_layer(b, d->layer_fd, e);
		d->layer_fd = -1;
		if (b)
			vm->blk[i] = b;
		b = b ? blk_open_snapshot(b, e) : NULL;
		if (!b)
			return err_wrap(e, "--disk: %.100s", d->path);
		vm->blk[i] = b;
	}
	return 0;
}

struct virtio_blk_cfg disks_device(const struct vm *vm, unsigned i)
{
	const struct disk_config *d = &vm->cfg->disk[i];
	u32 n = vm->cfg->nr_cpus < QUEUES_DEFAULT_MAX ? vm->cfg->nr_cpus : QUEUES_DEFAULT_MAX;

	return (struct virtio_blk_cfg){
		.blk = vm->blk[i],
		.read_only = d->read_only,
		.no_flush = d->no_flush,
		.write_through = d->cache == CFG_CACHE_WRITETHROUGH,
		.nr_queues = (u16)(d->queues ? d->queues : n),
		.limit = ends_limit(&d->limit),
	};
}

/* -- for the API ------------------------------------------------------------------------ */

int vm_disk_find(struct vm *vm, const char *id, unsigned *ret, struct err *e)
{
	for (u32 i = 0; i < vm->cfg->nr_disks; i++) {
		const struct disk_config *d = &vm->cfg->disk[i];
		char number[12];

		snprintf(number, sizeof number, "disk%u", i);
		if (vm->disk[i] && !strcmp(*d->id ? d->id : number, id)) {
			*ret = i;
			return 0;
		}
	}
	return err_set(e, ENOENT, "%.60s: no such disk", id);
}

int vm_disk_limit(struct vm *vm, const char *id, enum ratelimit_kind k,
		  const struct bucket_config *b, struct err *e)
{
	const struct ratelimit_bucket_cfg cfg = ends_bucket(b);
	unsigned i;

	TRY(vm_disk_find(vm, id, &i, e));
	virtio_blk_set_limit(vm->disk[i], k, &cfg);
	return 0;
}
