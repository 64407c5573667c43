// SPDX-License-Identifier: Apache-2.0
/*
 * native_snap.c - /vireo/v1: the VM saved into files that come as descriptors
 *
 * For "vireo snapshot" and "vireo fork", which name, open and keep the files: a jailed
 * monitor can do none of these. Descriptors: state file, memory file, then a layer file
 * for each disk in snapshot mode, then, to freeze, a socket: over it goes the descriptor of
 * the file that the memory file is laid over, if there is one (mem_freeze()).
 */
#include "api/api_int.h"

#include "vmm/snapshot.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <string.h>

struct save {
	u32 given;
	bool freeze, diff;
};

/* clang-format off */
static const struct body_field save_fields[] = {
	{ .name = "freeze", .type = F_BOOL, FIELD_AT(struct save, freeze) },
	{ .name = "diff", .type = F_BOOL, FIELD_AT(struct save, diff) },
};
/* clang-format on */
static const struct schema save_schema = SCHEMA("Save", struct save, save_fields);

/* A VM that runs is stopped meanwhile. *ret_ns: for how long. */
static int save(struct vm *vm, const struct snapshot_save *o, u64 *ret_ns, struct err *e)
{
	enum vm_state was = VM_STATE_RUNNING;
	struct err ignored = { 0 };
	u64 start;
	int r;

	TRY(vm_get_state(vm, &was, e));
	start = os_now_ns();
	TRY(vm_pause(vm, e));
	r = vm_snapshot_save(vm, o, e);
	if (was == VM_STATE_RUNNING && vm_resume(vm, r ? &ignored : e))
		return r ? r : -e->code;
	*ret_ns = os_now_ns() - start;
	return r;
}

static int save_locked(struct api *a, const struct snapshot_save *o, u64 *ret_ns, struct err *e)
{
	struct vm *vm = api_vm(a, e);
	int r;

	if (!vm)
		return -e->code;
	r = save(vm, o, ret_ns, e);
	api_release(a);
	return r;
}

static int send_base(int sock, int base, struct err *e)
{
	int r = base < 0 ? 0 : fd_send(sock, "", 1, &base, 1);

	fd_close(&base);
	return r ? err_set(e, -r, "the memory file below cannot be sent: %s", strerror(-r)) : 0;
}

static int post_save(struct api_call *c, struct err *e)
{
	const struct save *b = c->body;
	struct api *a = c->api;
	struct snapshot_save o = { .diff = b->diff };
	int base = -1, r;
	u64 ns = 0;

	if (a->nr_passed < 2u + b->freeze)
		return err_set(e, EINVAL, "want the descriptors of a state file and a memory file%s",
			       b->freeze ? " and a socket" : "");
	o.state_fd = a->passed[0];
	o.mem_fd = a->passed[1];
	o.layer_fd = a->passed + 2;
	o.nr_layers = a->nr_passed - 2 - b->freeze;
	o.ret_base = b->freeze ? &base : NULL;
	r = save_locked(a, &o, &ns, e);
	if (base >= 0 && !r)
		r = send_base(a->passed[a->nr_passed - 1], base, e);
	if (!r)
		c->reply = json_pack("{s:I, s:b}", "stopped_us", (json_int_t)(ns / 1000), "over",
				     base >= 0);
	return r;
}

/* clang-format off */
const struct route native_snap_routes[] = {
	{ HTTP_POST, "/vireo/v1/vm/actions/save", IN_AFTER, .body = &save_schema, .fn = post_save },
	{ .path = NULL },
};
/* clang-format on */
