// SPDX-License-Identifier: Apache-2.0
/* disks.c - the machine's disks: images from descriptors, devices, changes while they run */
#include "blk/blk.h"
#include "blk/image.h"
#include "blk/live.h"
#include "dev/virtio/virtio.h"
#include "vmm/vm_dev.h"
#include "vmm/vmm_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define QUEUES_DEFAULT_MAX 4u

static unsigned file_flags(const struct disk_config *d)
{
	return d->cache == CFG_CACHE_NONE || d->cache == CFG_CACHE_DIRECTSYNC ? FILE_DIRECT : 0;
}

/* The image and what it stands on, from the descriptors. */
static struct blk *open_disk(struct vm *vm, struct disk_config *d, struct err *e)
{
	struct image_layer layer[IMAGE_LAYERS] = { { .fd = d->fd, .format = d->image_format } };
	struct image_opts o = { .read_only = d->read_only || d->snapshot,
				.secret = *d->secret ? d->secret : NULL,
				.direct = file_flags(d) };
	unsigned n = 1;

	if (d->image_format >= IMAGE_NR) {
		err_set(e, EINVAL, "unknown image format");
		return NULL;
	}
	if (d->image_format == IMAGE_RAW && !d->nr_files)
		return blk_open_file_with(vm->loop, d->fd, o.read_only, file_flags(d), e);
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

/* A job on the disk has ended: its size, and the name of what the guest writes now. */
static void job_ended(void *ctx, const struct live_status *s)
{
	struct vm_disk *d = ctx;

	if (*d->next_path && !s->err.code)
		strcpy(d->path, d->next_path);
	d->next_path[0] = '\0';
	virtio_blk_resized(d->dev);
}

static int open_one(struct vm *vm, unsigned i, struct err *e)
{
	struct disk_config *d = &vm->cfg->disk[i];
	struct vm_disk *v = &vm->disk[i];
	struct blk *b = open_disk(vm, d, e);

	explicit_bzero(d->secret, sizeof d->secret);
	d->fd = -1;
	if (b && d->cache == CFG_CACHE_UNSAFE)
		blk_no_flush(b);
	vm->blk[i] = b; /* an upper node that fails leaves it */
	if (b && d->snapshot && d->layer_fd >= 0) {
		b = blk_open_layer(b, d->layer_fd, e);
		d->layer_fd = -1;
	}
	if (b && d->snapshot) {
		vm->blk[i] = b;
		b = blk_open_snapshot(b, d->store_fd, e);
		d->store_fd = -1;
	}
	if (!b)
		return -e->code;
	vm->blk[i] = NULL;
	b = live_open(b, e);
	if (!b)
		return -e->code;
	snprintf(v->path, sizeof v->path, "%s", d->path);
	live_on_end(b, job_ended, v);
	vm->blk[i] = b;
	return 0;
}

int disks_open(struct vm *vm, struct err *e)
{
	for (u32 i = 0; i < vm->cfg->nr_disks; i++)
		if (open_one(vm, i, e))
			return err_wrap(e, "--disk: %.100s", vm->cfg->disk[i].path);
	return 0;
}

void disks_close(struct vm *vm)
{
	for (u32 i = 0; i < vm->cfg->nr_disks; i++)
		if (vm->blk[i])
			blk_close(vm->blk[i]);
}

void disks_stop(struct vm *vm)
{
	for (u32 i = 0; i < vm->cfg->nr_disks; i++)
		if (vm->blk[i])
			live_stop(vm->blk[i]);
}

struct virtio_blk_cfg disks_device(const struct vm *vm, unsigned i)
{
	const struct disk_config *d = &vm->cfg->disk[i];
	u32 n = vm->cfg->nr_cpus < QUEUES_DEFAULT_MAX ? vm->cfg->nr_cpus : QUEUES_DEFAULT_MAX;

	return (struct virtio_blk_cfg){
		.blk = vm->blk[i],
		.read_only = d->read_only,
		.no_flush = d->no_flush,
		.write_through = d->cache == CFG_CACHE_WRITETHROUGH ||
				 d->cache == CFG_CACHE_DIRECTSYNC,
		.nr_queues = (u16)(d->queues ? d->queues : n),
		.limit = ends_limit(&d->limit),
	};
}

/* -- for the API ------------------------------------------------------------------------ */

static void disk_name(const struct vm *vm, unsigned i, char ret[CFG_NAME])
{
	const char *id = vm->cfg->disk[i].id;

	if (*id)
		strcpy(ret, id);
	else
		snprintf(ret, CFG_NAME, "disk%u", i);
}

static int find(struct vm *vm, const char *id, unsigned *ret, struct err *e)
{
	char name[CFG_NAME];

	for (u32 i = 0; i < vm->cfg->nr_disks; i++) {
		disk_name(vm, i, name);
		if (vm->disk[i].dev && !strcmp(name, id)) {
			*ret = i;
			return 0;
		}
	}
	return err_set(e, ENOENT, "%.60s: no such disk", id);
}

bool vm_disk_get(struct vm *vm, unsigned i, struct vm_disk_info *ret)
{
	static struct image_info info;

	if (i >= vm->cfg->nr_disks || !vm->disk[i].dev)
		return false;
	image_get_info(live_top(vm->blk[i]), &info);
	disk_name(vm, i, ret->id);
	snprintf(ret->path, sizeof ret->path, "%s", vm->disk[i].path);
	ret->format = vm->cfg->disk[i].snapshot ? "snapshot" : image_format_name(info.format);
	ret->size = info.size;
	ret->live = vm->blk[i];
	virtio_blk_get_limit(vm->disk[i].dev, &ret->limit);
	return true;
}

struct blk *vm_disk_live(struct vm *vm, const char *id, struct err *e)
{
	unsigned i;

	return find(vm, id, &i, e) ? NULL : vm->blk[i];
}

int vm_disk_limit(struct vm *vm, const char *id, enum ratelimit_kind k,
		  const struct bucket_config *b, struct err *e)
{
	const struct ratelimit_bucket_cfg cfg = ends_bucket(b);
	unsigned i;

	TRY(find(vm, id, &i, e));
	virtio_blk_set_limit(vm->disk[i].dev, k, &cfg);
	return 0;
}

static u64 disk_bytes(const struct vm *vm, unsigned i)
{
	struct blk_info info;

	blk_get_info(vm->blk[i], &info);
	return info.size;
}

static enum image_format format_of(struct blk *b)
{
	static struct image_info info;

	image_get_info(b, &info);
	return info.format;
}

static int check_plain(struct vm *vm, unsigned i, struct err *e)
{
	return vm->cfg->disk[i].snapshot ?
		       err_set(e, EINVAL, "disk: what this guest writes is dropped at the end: want a "
					  "disk without snapshot") :
		       0;
}

int vm_disk_snapshot(struct vm *vm, const char *id, int fd, const char *path, const char *backing,
		     struct err *e)
{
	struct image_create c = { 0 };
	struct blk *file;
	unsigned i;
	int r = find(vm, id, &i, e);

	if (!r)
		r = check_plain(vm, i, e);
	if (r) {
		close(fd);
		return r;
	}
	file = image_open_file_with(vm->loop, fd, false, file_flags(&vm->cfg->disk[i]), e);
	if (!file)
		return -e->code;
	c.backing = backing ? backing : vm->disk[i].path;
	c.backing_format = image_format_name(format_of(live_top(vm->blk[i])));
	TRY(live_snapshot(vm->blk[i], file, &c, e));
	snprintf(vm->disk[i].next_path, sizeof vm->disk[i].next_path, "%s", path);
	return 0;
}

int vm_disk_swap(struct vm *vm, const char *id, int fd, const char *path, bool same, struct err *e)
{
	struct blk *to;
	unsigned i;
	int r = find(vm, id, &i, e);

	if (!r)
		r = check_plain(vm, i, e);
	if (r) {
		close(fd);
		return r;
	}
	to = image_open_file_with(vm->loop, fd, vm->cfg->disk[i].read_only,
				  file_flags(&vm->cfg->disk[i]) | (same ? FILE_SHARED : 0), e);
	if (!to)
		return -e->code;
	if (vm->cfg->disk[i].cache == CFG_CACHE_UNSAFE)
		blk_no_flush(to);
	TRY(live_swap(vm->blk[i], to, e));
	snprintf(vm->disk[i].next_path, sizeof vm->disk[i].next_path, "%s", path);
	return 0;
}

/* The image above the one to commit, and how far down that is. */
static int find_above(struct vm *vm, unsigned i, const struct vm_disk_commit *m, struct blk **ret,
		      unsigned *ret_depth, struct err *e)
{
	struct blk *b = live_top(vm->blk[i]);

	*ret_depth = m->between;
	for (unsigned n = 1; m->above_fd >= 0 && b; n++, b = image_backing(b)) {
		*ret_depth = n;
		if (blk_is_file(b, m->above_fd))
			break;
	}
	*ret = b;
	return b ? 0 : err_set(e, EINVAL, "disk: \"above\" is no image this disk stands on");
}

/* Another node of an image that is open already. */
static struct blk *open_again(struct vm *vm, unsigned i, int fd, enum image_format f,
			      struct err *e)
{
	struct image_opts o = { .no_backing = true, .no_repair = true };
	struct blk *file = image_open_file_with(vm->loop, fd, false,
						file_flags(&vm->cfg->disk[i]) | FILE_SHARED, e);

	return file ? image_open(file, f, &o, e) : NULL;
}

/* Opens what @c needs. Descriptors are taken over. */
static int prepare_commit(struct vm *vm, unsigned i, const struct vm_disk_commit *m,
			  struct live_commit *c, struct err *e)
{
	struct blk *above, *into;
	int r = find_above(vm, i, m, &above, &c->depth, e), above_fd = m->above_fd;

	into = r ? NULL : c->depth ? image_backing(above) : above;
	into = into ? image_backing(into) : NULL;
	if (!r && !into)
		r = err_set(e, EINVAL, "disk: the image stands on no other one: nothing to commit "
				       "into");
	if (!r && !blk_is_file(into, m->fd))
		r = err_set(e, EINVAL, "disk: %.150s: not the image that the one to commit stands on",
			    m->path);
	if (above_fd >= 0 && c->depth < 2) { /* the guest's image is open for writing as it is */
		close(above_fd);
		above_fd = -1;
	}
	if (r || (above_fd >= 0 && !(c->above = open_again(vm, i, above_fd, format_of(above), e)))) {
		if (r && above_fd >= 0)
			close(above_fd);
		close(m->fd);
		return -e->code;
	}
	c->into = open_again(vm, i, m->fd, format_of(into), e);
	if (!c->into && c->above)
		blk_close(c->above);
	c->backing_format = image_format_name(format_of(into));
	return c->into ? 0 : -e->code;
}

int vm_disk_commit(struct vm *vm, const char *id, const struct vm_disk_commit *m, struct err *e)
{
	struct live_commit c = { .backing = m->path, .rate = m->rate };
	unsigned i;

	if (find(vm, id, &i, e)) {
		close(m->fd);
		if (m->above_fd >= 0)
			close(m->above_fd);
		return -e->code;
	}
	TRY(prepare_commit(vm, i, m, &c, e));
	TRY(live_commit(vm->blk[i], &c, e));
	if (!c.depth)
		snprintf(vm->disk[i].next_path, sizeof vm->disk[i].next_path, "%s", m->path);
	return 0;
}

/* A copy that stands on an earlier one: whole clusters are written, never parts. */
static int check_existing(struct blk *b, struct err *e)
{
	static struct image_info info;

	image_get_info(b, &info);
	if (*info.backing && info.cluster_size > 65536)
		return err_set(e, EINVAL, "disk: the target stands on another image: want clusters of "
					  "at most 64K in it");
	return 0;
}

static struct blk *open_target(struct vm *vm, unsigned i, const struct vm_disk_mirror *m,
			       struct err *e)
{
	struct image_opts o = { .no_backing = true };
	struct image_create c = { .size = disk_bytes(vm, i) };
	struct blk *file = image_open_file_with(vm->loop, m->fd, false,
						file_flags(&vm->cfg->disk[i]), e), *b;
	enum image_format f;

	if (!file)
		return NULL;
	if (!image_format_parse(m->format, &f)) {
		err_set(e, EINVAL, "disk: %.20s: no such format", m->format);
		blk_close(file);
		return NULL;
	}
	if (!m->existing && image_create(file, f, &c, e)) {
		blk_close(file);
		return NULL;
	}
	b = image_open(file, f, &o, e);
	if (b && m->existing && check_existing(b, e)) {
		blk_close(b);
		return NULL;
	}
	return b;
}

int vm_disk_mirror(struct vm *vm, const char *id, const struct vm_disk_mirror *m, struct err *e)
{
	struct live_mirror x = { .pivot = m->pivot, .bitmap = m->bitmap, .rate = m->rate };
	unsigned i;

	if (find(vm, id, &i, e)) {
		close(m->fd);
		return -ENOENT;
	}
	x.target = open_target(vm, i, m, e);
	if (!x.target)
		return -e->code;
	x.zero = !m->existing && image_new_is_zero(x.target);
	TRY(live_mirror(vm->blk[i], &x, e));
	if (m->pivot)
		snprintf(vm->disk[i].next_path, sizeof vm->disk[i].next_path, "%s", m->path);
	return 0;
}
