// SPDX-License-Identifier: Apache-2.0
/* fc_dev.c - Firecracker tree: disks, network, pmem, vsock, random numbers */
#include "api/api_int.h"

#include "blk/live.h"
#include "vmm/vm_dev.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* -- disks ------------------------------------------------------------------------------------ */

static int find_drive(const struct fc *fc, const char *id)
{
	for (u32 i = 0; i < fc->nr_drives; i++)
		if (!strcmp(fc->drive[i].id, id))
			return (int)i;
	return -1;
}

static int check_drive(const struct fc *fc, const struct fc_drive *d, int old, struct err *e)
{
	if (body_has(d, DRIVE_SOCKET) && body_has(d, DRIVE_PATH))
		return err_set(e, EINVAL, "Invalid block configuration: want path_on_host or socket, "
					  "not both");
	if (!body_has(d, DRIVE_SOCKET) && !body_has(d, DRIVE_PATH))
		return err_set(e, EINVAL, "Invalid block configuration: want path_on_host");
	for (u32 i = 0; d->is_root && i < fc->nr_drives; i++)
		if (fc->drive[i].is_root && (int)i != old)
			return err_set(e, EEXIST, "A root block device already exists!");
	for (u32 i = 0; d->is_root && i < fc->nr_pmems; i++)
		if (fc->pmem[i].root)
			return err_set(e, EEXIST, "A root block device already exists!");
	if (old < 0 && fc->nr_drives == CFG_DISKS)
		return err_set(e, ENOSPC, "Too many devices: want at most %d drives", CFG_DISKS);
	return 0;
}

static int open_drive(struct api *a, const char *path, bool read_only, struct err *e)
{
	int fd = api_open(a, path, (read_only ? O_RDONLY : O_RDWR) | O_NONBLOCK, e);
	struct stat st;

	if (fd < 0)
		return err_wrap(e, "Unable to create the virtio block device: Virtio backend error: "
				   "Error manipulating the backing file");
	if (fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		return fd;
	fd_close(&fd);
	return err_set(e, EINVAL, "Unable to create the virtio block device: %.100s: want a file or "
				  "a block device", path);
}

/* The back end of vhost-user-block. */
static int connect_drive(struct api *a, const char *path, struct err *e)
{
	int fd = api_connect(a, path, e);

	return fd < 0 ? err_wrap(e, "Unable to create the vhost-user block device: Vhost-user error") :
			fd;
}

/* The root disk is the guest's first. */
static void insert_drive(struct fc *fc, const struct fc_drive *d, int fd, int old)
{
	u32 at = old >= 0 ? (u32)old : fc->nr_drives++;

	if (old >= 0)
		fd_close(&fc->drive_fd[at]);
	for (; d->is_root && at > 0; at--) {
		fc->drive[at] = fc->drive[at - 1];
		fc->drive_fd[at] = fc->drive_fd[at - 1];
	}
	fc->drive[at] = *d;
	fc->drive_fd[at] = fd;
}

int fc_put_drive(struct api_call *c, struct err *e)
{
	const struct fc_drive *d = c->body;
	struct fc *fc = &c->api->fc;
	int old = find_drive(fc, d->id), fd;

	fc->boot_path = true;
	TRY(check_drive(fc, d, old, e));
	if (body_has(d, DRIVE_SOCKET))
		fd = connect_drive(c->api, d->socket, e);
	else
		fd = open_drive(c->api, d->path, d->read_only, e);
	if (fd < 0)
		return fd;
	insert_drive(fc, d, fd, old);
	return 0;
}

static int limit_drive(struct api *a, struct fc_drive *d, const struct fc_limiter *l, struct err *e)
{
	const struct bucket_config bytes = fc_bucket_config(&l->bandwidth);
	const struct bucket_config ops = fc_bucket_config(&l->ops);
	struct vm *vm = api_lock_vm(a, e);
	int r = 0;

	if (!vm)
		return -e->code;
	if (body_has(l, LIMITER_BANDWIDTH))
		r = vm_disk_limit(vm, d->id, RATELIMIT_BYTES, &bytes, e);
	if (!r && body_has(l, LIMITER_OPS))
		r = vm_disk_limit(vm, d->id, RATELIMIT_OPS, &ops, e);
	api_unlock_vm(a, vm);
	if (r)
		return r;
	if (body_has(l, LIMITER_BANDWIDTH))
		d->limiter.bandwidth = l->bandwidth;
	if (body_has(l, LIMITER_OPS))
		d->limiter.ops = l->ops;
	d->limiter.given |= l->given;
	d->given |= 1u << DRIVE_LIMITER;
	return 0;
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* Has the job on the disk ended? */
static int wait_swap(struct api *a, const char *id, struct err *e)
{
	const u64 deadline = os_now_ns() + VM_WAIT_MS * 1000000ull;
	struct live_status s = { .running = true };

	while (s.running && os_now_ns() < deadline) {
		struct vm *vm = api_lock_vm(a, e);
		struct blk *live = vm ? vm_disk_live(vm, id, e) : NULL;

		if (live)
			live_get_status(live, &s);
		if (vm)
			api_unlock_vm(a, vm);
		if (!live)
			return -e->code;
		if (s.running)
			poll(NULL, 0, 1);
	}
	if (s.running)
		return err_set(e, ETIMEDOUT, "the disk's requests do not end");
	return s.err.code ? err_set(e, s.err.code, "%s", s.err.msg) : 0;
}

/* *held: our copy of its descriptor, by which a file is known again. */
static int swap_drive(struct api *a, struct fc_drive *d, int *held, const char *path, struct err *e)
{
	int fd = open_drive(a, path, d->read_only, e), copy = -1, r;
	bool same = fd >= 0 && same_file(fd, *held);
	struct vm *vm;

	if (fd < 0)
		return err_wrap(e, "Unable to patch the block device");
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	vm = copy < 0 ? NULL : api_lock_vm(a, e);
	if (!vm) {
		fd_close(&fd);
		fd_close(&copy);
		return copy < 0 ? err_set(e, EMFILE, "file descriptors") : -e->code;
	}
	r = vm_disk_swap(vm, d->id, fd, path, same, e);
	api_unlock_vm(a, vm);
	if (!r)
		r = wait_swap(a, d->id, e);
	if (r) {
		fd_close(&copy);
		return err_wrap(e, "Unable to patch the block device");
	}
	fd_close(same ? &copy : held); /* the one that stays has the lock of the file */
	if (!same)
		*held = copy;
	strcpy(d->path, path);
	return 0;
}

int fc_patch_drive(struct api_call *c, struct err *e)
{
	const struct fc_drive_patch *p = c->body;
	struct fc *fc = &c->api->fc;
	int at = find_drive(fc, p->id);

	if (at < 0)
		return err_set(e, ENOENT, "Unable to patch the block device: Invalid block device ID "
					  "- not found. Please verify the request arguments.");
	if (body_has(p, DRIVE_PATCH_PATH))
		TRY(swap_drive(c->api, &fc->drive[at], &fc->drive_fd[at], p->path, e));
	if (body_has(p, DRIVE_PATCH_LIMITER))
		return limit_drive(c->api, &fc->drive[at], &p->limiter, e);
	return 0;
}

int fc_delete_device(struct api_call *c, struct err *e)
{
	return err_set(e, ENOTSUP, "The requested operation is not supported: %s cannot be "
				   "unplugged from a VM without hot-plug", c->id);
}

/* -- network -------------------------------------------------------------------------------------- */

static bool valid_mac(const char *s)
{
	unsigned b[6];
	char end;

	return strlen(s) == 17 && sscanf(s, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3],
					 &b[4], &b[5], &end) == 6;
}

static int check_net(const struct fc *fc, const struct fc_net *n, struct err *e)
{
	for (u32 i = 0; i < fc->nr_nets; i++) {
		const struct fc_net *o = &fc->net[i];

		if (!strcmp(o->id, n->id))
			continue;
		if (*n->mac && !strcasecmp(o->mac, n->mac))
			return err_set(e, EEXIST, "The MAC address is already in use: %s", n->mac);
		if (!strcmp(o->dev, n->dev))
			return err_set(e, EEXIST, "Could not create the network device: Open tap device "
						  "failed: %s: used by %s", n->dev, o->id);
	}
	return 0;
}

int fc_put_net(struct api_call *c, struct err *e)
{
	const struct fc_net *n = c->body;
	struct fc *fc = &c->api->fc;
	u32 at = 0;
	int fd;

	fc->boot_path = true;
	if (body_has(n, NET_MAC) && !valid_mac(n->mac))
		return route_bad_body(c, e, "invalid value for field `guest_mac`, expected a MAC "
					    "address such as 06:00:ac:10:00:02");
	TRY(check_net(fc, n, e));
	while (at < fc->nr_nets && strcmp(fc->net[at].id, n->id) != 0)
		at++;
	if (at == CFG_NETS)
		return err_set(e, ENOSPC, "Too many devices: want at most %d interfaces", CFG_NETS);
	if (at < fc->nr_nets) /* the same TAP device may be meant: it opens once only */
		fd_close(&fc->net_fd[at]);
	fd = api_open_tap(c->api, n->dev, e);
	if (fd < 0)
		return err_wrap(e, "Could not create the network device: Open tap device failed");
	fc->net[at] = *n;
	fc->net_fd[at] = fd;
	fc->nr_nets += at == fc->nr_nets;
	return 0;
}

/* One bucket of a running NIC, and what GET /vm/config says of it. */
static int set_bucket(struct vm *vm, const char *id, bool tx, enum ratelimit_kind k,
		      struct fc_bucket *shown, const struct fc_bucket *b, struct err *e)
{
	const struct bucket_config cfg = fc_bucket_config(b);

	TRY(vm_net_limit(vm, id, tx, k, &cfg, e));
	*shown = *b;
	return 0;
}

static int set_limiter(struct vm *vm, const char *id, bool tx, struct fc_limiter *shown,
		       const struct fc_limiter *l, struct err *e)
{
	if (body_has(l, LIMITER_BANDWIDTH))
		TRY(set_bucket(vm, id, tx, RATELIMIT_BYTES, &shown->bandwidth, &l->bandwidth, e));
	if (body_has(l, LIMITER_OPS))
		TRY(set_bucket(vm, id, tx, RATELIMIT_OPS, &shown->ops, &l->ops, e));
	shown->given |= l->given;
	return 0;
}

static int patch_net(struct api *a, struct fc_net *n, const struct fc_net_patch *p, struct err *e)
{
	struct vm *vm = api_lock_vm(a, e);
	int r = 0;

	if (!vm)
		return -e->code;
	if (body_has(p, NET_PATCH_RX))
		r = set_limiter(vm, n->id, false, &n->rx, &p->rx, e);
	if (!r && body_has(p, NET_PATCH_TX))
		r = set_limiter(vm, n->id, true, &n->tx, &p->tx, e);
	api_unlock_vm(a, vm);
	if (r)
		return r;
	n->given |= (body_has(p, NET_PATCH_RX) ? 1u << NET_RX : 0) |
		    (body_has(p, NET_PATCH_TX) ? 1u << NET_TX : 0);
	return 0;
}

int fc_patch_net(struct api_call *c, struct err *e)
{
	const struct fc_net_patch *n = c->body;
	struct fc *fc = &c->api->fc;

	for (u32 i = 0; i < fc->nr_nets; i++)
		if (!strcmp(fc->net[i].id, n->id))
			return patch_net(c->api, &fc->net[i], n, e);
	return err_set(e, ENOENT, "Invalid interface ID - not found.");
}

/* -- pmem, vsock, random numbers ------------------------------------------------------------------- */

static u32 find_pmem(const struct fc *fc, const char *id)
{
	u32 at = 0;

	while (at < fc->nr_pmems && strcmp(fc->pmem[at].id, id) != 0)
		at++;
	return at;
}

static int check_pmem(const struct fc *fc, const struct fc_pmem *p, u32 at, struct err *e)
{
	if (at == CFG_PMEMS)
		return err_set(e, ENOSPC, "Too many devices: want at most %d pmem devices",
			       CFG_PMEMS);
	for (u32 i = 0; p->root && i < fc->nr_pmems; i++)
		if (fc->pmem[i].root && i != at)
			return err_set(e, EEXIST, "A root device already exists!");
	if (p->root && fc->nr_drives && fc->drive[0].is_root)
		return err_set(e, EEXIST, "A root device already exists!");
	return 0;
}

int fc_put_pmem(struct api_call *c, struct err *e)
{
	const struct fc_pmem *p = c->body;
	struct fc *fc = &c->api->fc;
	u32 at = find_pmem(fc, p->id);
	struct stat st;
	int fd;

	fc->boot_path = true;
	TRY(check_pmem(fc, p, at, e));
	fd = api_open(c->api, p->path, (p->read_only ? O_RDONLY : O_RDWR) | O_NONBLOCK, e);
	if (fd < 0)
		return err_wrap(e, "Error with the backing file");
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 512) {
		fd_close(&fd);
		return err_set(e, EINVAL, "Error with the backing file: want a file of at least 512 "
					  "bytes");
	}
	if (at < fc->nr_pmems)
		fd_close(&fc->pmem_fd[at]);
	fc->nr_pmems += at == fc->nr_pmems;
	fc->pmem[at] = *p;
	fc->pmem_fd[at] = fd;
	return 0;
}

int fc_patch_pmem(struct api_call *c, struct err *e)
{
	const struct fc_pmem_patch *p = c->body;
	const struct bucket_config bytes = fc_bucket_config(&p->limiter.bandwidth);
	const struct bucket_config ops = fc_bucket_config(&p->limiter.ops);
	struct fc *fc = &c->api->fc;
	struct vm *vm;
	int r = 0;

	if (find_pmem(fc, p->id) == fc->nr_pmems)
		return err_set(e, ENOENT, "pmem device \"%s\": not found", c->id);
	vm = api_lock_vm(c->api, e);
	if (!vm)
		return -e->code;
	if (body_has(&p->limiter, LIMITER_BANDWIDTH))
		r = vm_pmem_limit(vm, p->id, RATELIMIT_BYTES, &bytes, e);
	if (!r && body_has(&p->limiter, LIMITER_OPS))
		r = vm_pmem_limit(vm, p->id, RATELIMIT_OPS, &ops, e);
	api_unlock_vm(c->api, vm);
	return r;
}

int fc_put_vsock(struct api_call *c, struct err *e)
{
	const struct fc_vsock *v = c->body;
	struct fc *fc = &c->api->fc;
	int fd;

	fc->boot_path = true;
	c->deprecated = body_has(v, VSOCK_ID);
	if (fc->has_vsock) { /* the socket may be meant to stay where it is */
		fd_close(&fc->vsock_fd);
		api_unlink(c->api, fc->vsock.uds_path);
		fc->has_vsock = false;
	}
	fd = api_listen_at(c->api, v->uds_path, e);
	if (fd < 0)
		return err_wrap(e, "Cannot create backend for vsock device: UnixBind");
	fc->vsock = *v;
	fc->vsock_fd = fd;
	fc->has_vsock = true;
	return 0;
}

int fc_put_entropy(struct api_call *c, struct err *e UNUSED)
{
	struct fc *fc = &c->api->fc;

	fc->boot_path = true;
	fc->entropy = *(const struct fc_entropy *)c->body;
	fc->has_entropy = true;
	return 0;
}
