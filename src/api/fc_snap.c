// SPDX-License-Identifier: Apache-2.0
/*
 * fc_snap.c - Firecracker tree: snapshots
 *
 * The files are ours (docs/snapshot-format.md), the requests and rules Firecracker's: a
 * load is for a process that was told nothing but where to log, and one that fails ends
 * the process.
 */
#include "api/api_int.h"

#include "base/log.h"
#include "blk/image.h"
#include "vmm/snapshot.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* -- create ----------------------------------------------------------------------------------- */

static int save(struct api *a, const struct snapshot_save *s, struct err *e)
{
	struct vm *vm = api_vm(a, e);
	int r;

	if (!vm)
		return -e->code;
	r = vm_snapshot_save(vm, s, e);
	api_release(a);
	return r;
}

/* A difference is laid over the memory file that is there. */
static int save_files(struct api *a, const struct fc_snapshot_create *b, struct err *e)
{
	struct snapshot_files f = { .opener = a->opts.opener,
				    .path = { b->path, b->mem_path },
				    .nr = 2 };
	struct snapshot_save s = { .diff = b->type };
	int r;

	if (snapshot_create(&f, s.diff, e))
		return err_wrap(e, "Cannot create snapshot or memory file");
	s.state_fd = f.fd[0];
	s.mem_fd = f.fd[1];
	r = save(a, &s, e);
	if (!r)
		return snapshot_commit(&f, e);
	snapshot_abandon(&f);
	return r;
}

int fc_put_snapshot_create(struct api_call *c, struct err *e)
{
	const struct fc_snapshot_create *b = c->body;
	struct api *a = c->api;
	u64 t = os_now_ns();
	int r;

	if (b->type && !a->fc.machine.track_dirty)
		return err_set(e, EINVAL, "Diff snapshots are not allowed on uVMs with dirty page "
					  "tracking disabled.");
	r = save_files(a, b, e);
	if (!r)
		a->metrics.latency[b->type ? LATENCY_DIFF_SNAPSHOT : LATENCY_FULL_SNAPSHOT] =
			(os_now_ns() - t) / 1000;
	return r;
}

/* -- load: what the machine uses -------------------------------------------------------------- */

static int open_disks(struct api *a, struct vm_config *c, struct err *e)
{
	for (u32 i = 0; i < c->nr_disks; i++) {
		struct disk_config *d = &c->disk[i];

		if (d->image_format != IMAGE_RAW)
			return err_set(e, ENOTSUP, "%.100s: want a raw image", d->path);
		d->fd = api_open(a, d->path, d->read_only ? O_RDONLY : O_RDWR, e);
		if (d->fd < 0)
			return err_wrap(e, "%.100s", d->path);
	}
	return 0;
}

static int override_nets(const struct fc_snapshot_load *b, struct vm_config *c, struct err *e)
{
	for (u32 k = 0; k < b->nr_nets; k++) {
		u32 i = 0;

		while (i < c->nr_nets && strcmp(c->net[i].id, b->net[k].iface) != 0)
			i++;
		if (i == c->nr_nets)
			return err_set(e, ENOENT, "Unknown Network Device: %s", b->net[k].iface);
		strcpy(c->net[i].tap, b->net[k].dev);
	}
	return 0;
}

static int open_nets(struct api *a, struct vm_config *c, struct err *e)
{
	for (u32 i = 0; i < c->nr_nets; i++) {
		if (c->net[i].kind != CFG_NET_TAP)
			continue;
		if (c->net[i].nr_queues)
			return err_set(e, ENOTSUP, "network interface %u has several queues: want it "
						   "restored by vireo restore", i);
		c->net[i].fd = api_open_tap(a, c->net[i].tap, e);
		if (c->net[i].fd < 0)
			return c->net[i].fd;
	}
	return 0;
}

static int open_rest(struct api *a, const struct fc_snapshot_load *b, struct vm_config *c,
		     struct err *e)
{
	if (body_has(b, LOAD_VSOCK) && !c->vsock.present)
		return err_set(e, ENOENT, "vsock_override: the snapshot has no vsock device");
	if (body_has(b, LOAD_VSOCK))
		strcpy(c->vsock.uds_path, b->vsock.uds_path);
	if (c->vsock.present) {
		c->vsock.fd = api_listen_at(a, c->vsock.uds_path, e);
		if (c->vsock.fd < 0)
			return err_wrap(e, "%.100s", c->vsock.uds_path);
	}
	for (u32 i = 0; i < c->nr_pmems; i++) {
		c->pmem[i].fd = api_open(a, c->pmem[i].path,
					 c->pmem[i].read_only ? O_RDONLY : O_RDWR, e);
		if (c->pmem[i].fd < 0)
			return err_wrap(e, "%.100s", c->pmem[i].path);
	}
	return fc_make_serial(a, c, e);
}

/* -- load: what GET /vm/config says from then on ------------------------------------------------ */

static void show_loaded(struct fc *fc, const struct vm_config *c)
{
	fc->machine.vcpus = (u8)c->nr_cpus;
	fc->machine.mem_mib = c->memory >> 20;
	fc->machine.huge_pages = c->huge_pages ? HUGE_2M : HUGE_NONE;
	for (u32 i = 0; i < c->nr_disks; i++) {
		struct fc_drive *d = &fc->drive[fc->nr_drives++];

		*d = (struct fc_drive){ .given = 1u << DRIVE_ID | 1u << DRIVE_ROOT |
						 1u << DRIVE_READ_ONLY | 1u << DRIVE_PATH,
					.read_only = c->disk[i].read_only };
		strcpy(d->id, c->disk[i].id);
		strcpy(d->path, c->disk[i].path);
	}
	for (u32 i = 0; i < c->nr_nets; i++) {
		struct fc_net *n = &fc->net[fc->nr_nets++];

		*n = (struct fc_net){ .given = 1u << NET_ID | 1u << NET_DEV |
					       (*c->net[i].mac ? 1u << NET_MAC : 0) };
		strcpy(n->id, c->net[i].id);
		strcpy(n->dev, c->net[i].tap);
		strcpy(n->mac, c->net[i].mac);
	}
	if (c->vsock.present) {
		fc->has_vsock = true;
		fc->vsock = (struct fc_vsock){ .given = 1u << VSOCK_CID | 1u << VSOCK_PATH,
					       .cid = c->vsock.cid };
		strcpy(fc->vsock.uds_path, c->vsock.uds_path);
	}
	fc->has_memhp = c->memhp.present;
	fc->memhp = (struct fc_memhp){ .given = 7,
				       .total_mib = c->memhp.total_mib,
				       .slot_mib = c->memhp.slot_mib,
				       .block_mib = c->memhp.block_mib };
	fc->has_mmds = c->mmds.present;
	fc->mmds = (struct fc_mmds){ .given = 1, .version = c->mmds.version - 1 };
	fc->has_balloon = c->balloon.present;
	if (c->balloon.present)
		fc->balloon = (struct fc_balloon){
			.given = 31,
			.amount_mib = c->balloon.amount_mib,
			.deflate_on_oom = c->balloon.deflate_on_oom,
			.stats_interval_s = (u16)c->balloon.stats_polling_s,
			.hinting = c->balloon.hinting,
			.reporting = c->balloon.reporting,
		};
}

/* -- load --------------------------------------------------------------------------------------- */

static int check_load(struct api_call *c, struct err *e)
{
	const struct fc_snapshot_load *b = c->body;
	bool backend = body_has(b, LOAD_BACKEND), path = body_has(b, LOAD_MEM_PATH);

	if (backend && path)
		return route_bad_body(c, e, "too many fields: either `mem_backend` or "
					    "`mem_file_path` exclusively is required");
	if (!backend && !path)
		return route_bad_body(c, e, "missing field: either `mem_backend` or "
					    "`mem_file_path` is required");
	c->deprecated = path || body_has(b, LOAD_DIFF);
	if (c->api->fc.boot_path)
		return err_set(e, EINVAL, "Loading a microVM snapshot not allowed after "
					  "configuring boot-specific resources.");
	return 0;
}

/* A process that answers page faults has the memory. */
static int open_handler(struct api *a, const char *path, struct err *e)
{
	struct err ignored = { 0 };
	int fd = api_connect(a, path, e), dev;

	if (fd < 0)
		return err_wrap(e, "Failed to load guest memory: %.100s", path);
	dev = api_open(a, "/dev/userfaultfd", O_RDWR, &ignored);
	a->load.uffd_dev = dev > 0 ? dev : 0;
	a->load.backend = SNAPSHOT_MEM_UFFD;
	return fd;
}

/* The state file, and the memory file or who has its pages. */
static int open_snapshot(struct api *a, const struct fc_snapshot_load *b, struct err *e)
{
	bool uffd = body_has(b, LOAD_BACKEND) && b->backend.type == 1;
	const char *mem = body_has(b, LOAD_BACKEND) ? b->backend.path : b->mem_path;
	struct snapshot_files f = { .opener = a->opts.opener,
				    .path = { b->path, mem },
				    .nr = uffd ? 1 : 2 };

	if (snapshot_open(&f, e))
		return err_wrap(e, "Failed to open snapshot file");
	a->load.state_fd = f.fd[0];
	a->load.mem_fd = uffd ? open_handler(a, mem, e) : f.fd[1];
	return a->load.mem_fd < 0 ? a->load.mem_fd : 0;
}

static int open_all(struct api *a, const struct fc_snapshot_load *b, struct err *e)
{
	struct vm_config *c = a->start;

	a->load = (struct snapshot_load){ .state_fd = -1,
					  .mem_fd = -1,
					  .over_fd = -1,
					  .pages_fd = -1,
					  .track_dirty = b->track_dirty || b->diff,
					  .advance_clocks = b->clock_realtime,
					  .paused = !b->resume };
	TRY(open_snapshot(a, b, e));
	TRY(snapshot_read_config(a->load.state_fd, c, e));
	if (b->huge_pages != LOAD_HUGE_SNAPSHOT)
		c->huge_pages = b->huge_pages == 1 + HUGE_2M;
	TRY(open_disks(a, c, e));
	TRY(override_nets(b, c, e));
	TRY(open_nets(a, c, e));
	return open_rest(a, b, c, e);
}

int fc_put_snapshot_load(struct api_call *call, struct err *e)
{
	const struct fc_snapshot_load *b = call->body;
	struct api *a = call->api;
	u64 t = os_now_ns();
	int r;

	TRY(check_load(call, e));
	cfg_init(a->start);
	r = open_all(a, b, e);
	if (r)
		fc_close_config(a->start);
	a->loading = true;
	if (!r) {
		show_loaded(&a->fc, a->start);
		a->fc.machine.track_dirty = a->load.track_dirty;
		r = api_request_start(a, e);
	}
	fd_close(&a->load.state_fd);
	fd_close(&a->load.mem_fd);
	if (a->load.uffd_dev > 0)
		fd_close(&a->load.uffd_dev);
	if (r) {
		api_request_end(a);
		return err_wrap(e, "Failed to restore from snapshot");
	}
	a->metrics.latency[LATENCY_LOAD_SNAPSHOT] = (os_now_ns() - t) / 1000;
	return 0;
}
