// SPDX-License-Identifier: Apache-2.0
/*
 * api_disk.c - /vireo/v1/disks: what a VM's disks are, limits, and jobs on them while it runs
 *
 * A POST starts a job and answers at once; GET tells how it goes (blk/live.h). Files
 * come with the request as a descriptor, or are opened through api_open().
 */
#include "api/api_int.h"

#include "blk/live.h"
#include "vmm/vm_dev.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* -- bodies --------------------------------------------------------------------------------- */

struct snapshot_body {
	u32 given;
	char path[CFG_PATH], backing[CFG_PATH], name[LIVE_NAME_MAX];
	bool remove;
};

enum { SNAPSHOT_PATH, SNAPSHOT_BACKING, SNAPSHOT_NAME };

struct commit_body {
	u32 given;
	char path[CFG_PATH], above[CFG_PATH];
	bool between;
	u64 rate;
};

enum { COMMIT_PATH, COMMIT_ABOVE };

struct mirror_body {
	u32 given;
	char path[CFG_PATH], format[16], bitmap[LIVE_NAME_MAX];
	bool existing, pivot;
	u64 rate;
};

enum { MIRROR_PATH, MIRROR_FORMAT, MIRROR_BITMAP };

struct resize_body {
	u32 given;
	u64 size;
};

enum { ACT_ADD, ACT_REMOVE, ACT_CLEAR, ACT_RECORD, ACT_STOP, ACT_MERGE };

struct bitmap_body {
	u32 given;
	u32 action;
	char name[LIVE_NAME_MAX], from[LIVE_NAME_MAX];
	u64 granularity;
	bool persistent;
};

enum { BITMAP_ACTION, BITMAP_NAME, BITMAP_FROM };

struct limits_body {
	u32 given;
	struct fc_bucket bandwidth, ops;
};

enum { LIMITS_BANDWIDTH, LIMITS_OPS };

static const char *const actions[] = { "add", "remove", "clear", "record", "stop", "merge", NULL };

/* clang-format off */
#define STR_(S, n, m, f) { .name = n, .type = F_STR, .flags = (f), FIELD_AT(S, m) }
#define BOOL_(S, n, m) { .name = n, .type = F_BOOL, FIELD_AT(S, m) }
#define UINT_(S, n, m, f, d) { .name = n, .type = F_UINT, .flags = (f), .def = (d), FIELD_AT(S, m) }

static const struct body_field snapshot_fields[] = {
	STR_(struct snapshot_body, "path", path, 0),
	STR_(struct snapshot_body, "backing", backing, 0),
	STR_(struct snapshot_body, "name", name, 0),
	BOOL_(struct snapshot_body, "remove", remove),
};
static const struct body_field commit_fields[] = {
	STR_(struct commit_body, "path", path, F_REQUIRED),
	STR_(struct commit_body, "above", above, 0),
	BOOL_(struct commit_body, "between", between),
	UINT_(struct commit_body, "rate", rate, 0, 0),
};
static const struct body_field mirror_fields[] = {
	STR_(struct mirror_body, "path", path, F_REQUIRED),
	STR_(struct mirror_body, "format", format, F_REQUIRED),
	STR_(struct mirror_body, "bitmap", bitmap, 0),
	BOOL_(struct mirror_body, "existing", existing),
	BOOL_(struct mirror_body, "pivot", pivot),
	UINT_(struct mirror_body, "rate", rate, 0, 0),
};
static const struct body_field resize_fields[] = {
	UINT_(struct resize_body, "size", size, F_REQUIRED, 0),
};
static const struct body_field bitmap_fields[] = {
	{ .name = "action", .type = F_ENUM, .flags = F_REQUIRED, .names = actions,
	  FIELD_AT(struct bitmap_body, action) },
	STR_(struct bitmap_body, "name", name, F_REQUIRED),
	STR_(struct bitmap_body, "from", from, 0),
	UINT_(struct bitmap_body, "granularity", granularity, 0, 65536),
	BOOL_(struct bitmap_body, "persistent", persistent),
};
static const struct body_field limits_fields[] = {
	{ .name = "bandwidth", .type = F_OBJ, .sub = &fc_bucket_schema,
	  FIELD_AT(struct limits_body, bandwidth) },
	{ .name = "ops", .type = F_OBJ, .sub = &fc_bucket_schema, FIELD_AT(struct limits_body, ops) },
};

static const struct schema snapshot_schema = SCHEMA("Snapshot", struct snapshot_body, snapshot_fields);
static const struct schema commit_schema = SCHEMA("Commit", struct commit_body, commit_fields);
static const struct schema mirror_schema = SCHEMA("Mirror", struct mirror_body, mirror_fields);
static const struct schema resize_schema = SCHEMA("Resize", struct resize_body, resize_fields);
static const struct schema bitmap_schema = SCHEMA("Bitmap", struct bitmap_body, bitmap_fields);
static const struct schema limits_schema = SCHEMA("Limits", struct limits_body, limits_fields);
/* clang-format on */

/* -- what there is -------------------------------------------------------------------------- */

static json_t *show_job(const struct live_status *s)
{
	json_t *o = json_pack("{s:s, s:b, s:I, s:I, s:I}", "kind", live_kind_name(s->kind),
			      "running", s->running, "done", (json_int_t)s->done, "total",
			      (json_int_t)s->total, "jobs_ended", (json_int_t)s->nr_done);

	if (o && s->err.code)
		json_object_set_new(o, "error", json_string(s->err.msg));
	return o;
}

static json_t *show_bitmaps(struct blk *live)
{
	struct live_bitmap_info b;
	json_t *list = json_array();

	for (unsigned i = 0; list && live_bitmap_get(live, i, &b); i++)
		json_array_append_new(list, json_pack("{s:s%, s:I, s:b, s:b, s:I}", "name", b.name,
						      strlen(b.name), "granularity",
						      (json_int_t)1 << b.shift, "persistent",
						      b.persistent, "recording", b.recording, "dirty",
						      (json_int_t)b.dirty));
	return list;
}

static json_t *show_disk(const struct vm_disk_info *d)
{
	struct live_status s;
	json_t *o;

	live_get_status(d->live, &s);
	o = json_pack("{s:s, s:s, s:I, s:o, s:o}", "id", d->id, "format", d->format, "size",
		      (json_int_t)d->size, "job", show_job(&s), "bitmaps", show_bitmaps(d->live));
	if (o) /* a path need not be text */
		json_object_set_new(o, "path", json_string(d->path));
	return o;
}

static struct vm *locked(struct api_call *c, struct err *e)
{
	struct vm *vm = api_vm(c->api, e);

	if (vm && vm_lock(vm, e)) {
		api_release(c->api);
		return NULL;
	}
	return vm;
}

static void unlocked(struct api_call *c, struct vm *vm)
{
	vm_unlock(vm);
	api_release(c->api);
}

static int get_disks(struct api_call *c, struct err *e)
{
	struct vm *vm = locked(c, e);
	struct vm_disk_info d;

	if (!vm)
		return -e->code;
	c->reply = json_array();
	for (unsigned i = 0; c->reply && i < CFG_DISKS; i++)
		if (vm_disk_get(vm, i, &d))
			json_array_append_new(c->reply, show_disk(&d));
	unlocked(c, vm);
	return 0;
}

static int get_disk(struct api_call *c, struct err *e)
{
	struct vm *vm = locked(c, e);
	struct vm_disk_info d;

	if (!vm)
		return -e->code;
	for (unsigned i = 0; i < CFG_DISKS && !c->reply; i++)
		if (vm_disk_get(vm, i, &d) && !strcmp(d.id, c->id))
			c->reply = show_disk(&d);
	unlocked(c, vm);
	return c->reply ? 0 : err_set(e, ENOENT, "%.60s: no such disk", c->id);
}

/* -- jobs ----------------------------------------------------------------------------------- */

/* The @i-th file of the request, before the VM is locked: passed with it, or opened by name. */
static int open_nth(struct api_call *c, unsigned i, const char *path, bool new, struct err *e)
{
	int fd;

	if (i < c->api->nr_passed) {
		fd = fcntl(c->api->passed[i], F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? err_set(e, errno, "descriptor: %s", strerror(errno)) : fd;
	}
	fd = api_open(c->api, path, O_RDWR | O_NONBLOCK | (new ? O_CREAT | O_EXCL : 0), e);

	return fd < 0 ? err_wrap(e, "%.200s", path) : fd;
}

static int open_file(struct api_call *c, const char *path, bool new, struct err *e)
{
	return open_nth(c, 0, path, new, e);
}

static int snapshot_inside(struct api_call *c, const struct snapshot_body *b, struct err *e)
{
	struct vm *vm = locked(c, e);
	struct blk *live;
	int r;

	if (!vm)
		return -e->code;
	live = vm_disk_live(vm, c->id, e);
	r = live ? live_snapshot_inside(live, b->name, b->remove, e) : -e->code;
	unlocked(c, vm);
	return r;
}

static int post_snapshot(struct api_call *c, struct err *e)
{
	const struct snapshot_body *b = c->body;
	struct vm *vm;
	int fd, r;

	if (body_has(b, SNAPSHOT_PATH) == body_has(b, SNAPSHOT_NAME))
		return err_set(e, EINVAL, "snapshot: want either path, of a new image, or name, of a "
					  "snapshot inside the image");
	if (body_has(b, SNAPSHOT_NAME))
		return snapshot_inside(c, b, e);
	fd = open_file(c, b->path, true, e);
	if (fd < 0)
		return fd;
	vm = locked(c, e);
	if (!vm) {
		close(fd);
		return -e->code;
	}
	r = vm_disk_snapshot(vm, c->id, fd, b->path,
			     body_has(b, SNAPSHOT_BACKING) ? b->backing : NULL, e);
	unlocked(c, vm);
	return r;
}

static int post_commit(struct api_call *c, struct err *e)
{
	const struct commit_body *b = c->body;
	struct vm_disk_commit m = { .path = b->path, .between = b->between, .rate = b->rate,
				    .above_fd = -1 };
	struct vm *vm;
	int r;

	m.fd = open_file(c, b->path, false, e);
	if (m.fd < 0)
		return m.fd;
	if (body_has(b, COMMIT_ABOVE)) {
		m.above_fd = open_nth(c, 1, b->above, false, e);
		if (m.above_fd < 0) {
			close(m.fd);
			return m.above_fd;
		}
	}
	vm = locked(c, e);
	if (!vm) {
		close(m.fd);
		fd_close(&m.above_fd);
		return -e->code;
	}
	r = vm_disk_commit(vm, c->id, &m, e);
	unlocked(c, vm);
	return r;
}

static int post_mirror(struct api_call *c, struct err *e)
{
	const struct mirror_body *b = c->body;
	struct vm_disk_mirror m = { .path = b->path, .format = b->format, .existing = b->existing,
				    .pivot = b->pivot, .rate = b->rate,
				    .bitmap = body_has(b, MIRROR_BITMAP) ? b->bitmap : NULL };
	struct vm *vm;
	int r;

	m.fd = open_file(c, b->path, !b->existing, e);
	if (m.fd < 0)
		return m.fd;
	vm = locked(c, e);
	if (!vm) {
		close(m.fd);
		return -e->code;
	}
	r = vm_disk_mirror(vm, c->id, &m, e);
	unlocked(c, vm);
	return r;
}

static int change_bitmap(struct blk *live, const struct bitmap_body *b, struct err *e)
{
	unsigned shift = b->granularity ? (unsigned)__builtin_ctzll(b->granularity) : 0;

	switch (b->action) {
	case ACT_ADD:
		if (b->granularity & (b->granularity - 1))
			shift = 0; /* refused below */
		return live_bitmap_add(live, b->name, shift, b->persistent, e);
	case ACT_REMOVE:
		return live_bitmap_remove(live, b->name, e);
	case ACT_CLEAR:
		return live_bitmap_clear(live, b->name, e);
	case ACT_MERGE:
		return live_bitmap_merge(live, b->name, b->from, e);
	default:
		return live_bitmap_record(live, b->name, b->action == ACT_RECORD, e);
	}
}

/* What needs no file: by the last part of the route's path. */
static int post_plain(struct api_call *c, struct err *e)
{
	const char *what = strrchr(c->route->path, '/') + 1;
	struct vm *vm = locked(c, e);
	struct blk *live;
	int r = 0;

	if (!vm)
		return -e->code;
	live = vm_disk_live(vm, c->id, e);
	if (!live)
		r = -e->code;
	else if (!strcmp(what, "resize"))
		r = live_resize(live, ((const struct resize_body *)c->body)->size, e);
	else if (!strcmp(what, "cancel"))
		live_cancel(live);
	else
		r = change_bitmap(live, c->body, e);
	unlocked(c, vm);
	return r;
}

static int set_limit(struct vm *vm, const char *id, enum ratelimit_kind k,
		     const struct fc_bucket *b, struct err *e)
{
	const struct bucket_config c = { .size = b->size, .refill_time = b->refill_time,
					 .one_time_burst = b->one_time_burst };

	return vm_disk_limit(vm, id, k, &c, e);
}

static int patch_limits(struct api_call *c, struct err *e)
{
	const struct limits_body *b = c->body;
	struct vm *vm = locked(c, e);
	int r = 0;

	if (!vm)
		return -e->code;
	if (body_has(b, LIMITS_BANDWIDTH))
		r = set_limit(vm, c->id, RATELIMIT_BYTES, &b->bandwidth, e);
	if (!r && body_has(b, LIMITS_OPS))
		r = set_limit(vm, c->id, RATELIMIT_OPS, &b->ops, e);
	unlocked(c, vm);
	return r;
}

#define DISK "/vireo/v1/disks/{id}"

/* clang-format off */
const struct route disk_routes[] = {
	{ HTTP_GET, "/vireo/v1/disks", IN_AFTER, .fn = get_disks },
	{ HTTP_GET, DISK, IN_AFTER, .fn = get_disk },
	{ HTTP_POST, DISK "/snapshot", IN_AFTER, .body = &snapshot_schema, .fn = post_snapshot },
	{ HTTP_POST, DISK "/commit", IN_AFTER, .body = &commit_schema, .fn = post_commit },
	{ HTTP_POST, DISK "/mirror", IN_AFTER, .body = &mirror_schema, .fn = post_mirror },
	{ HTTP_POST, DISK "/resize", IN_AFTER, .body = &resize_schema, .fn = post_plain },
	{ HTTP_POST, DISK "/cancel", IN_AFTER, .fn = post_plain },
	{ HTTP_POST, DISK "/bitmaps", IN_AFTER, .body = &bitmap_schema, .fn = post_plain },
	{ HTTP_PATCH, DISK "/limits", IN_AFTER, .body = &limits_schema, .fn = patch_limits },
	{ .path = NULL },
};
/* clang-format on */
