// SPDX-License-Identifier: Apache-2.0
/*
 * native_snap.c - /vireo/v1: the VM saved into files that come as descriptors
 *
 * For "vireo snapshot" and "vireo fork", which name, open and keep the files: a jailed
 * monitor can do none of these. Descriptors: state file, memory file, then a layer file
 * for each disk in snapshot mode.
 */
#include "api/api_int.h"

#include "vmm/snapshot.h"
#include "vmm/vmm.h"

#include <errno.h>

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

static int post_save(struct api_call *c, struct err *e)
{
	const struct save *b = c->body;
	struct api *a = c->api;
	struct snapshot_save o = { .freeze = b->freeze, .diff = b->diff };
	struct vm *vm;
	u64 ns = 0;
	int r;

	if (a->nr_passed < 2)
		return err_set(e, EINVAL, "want the descriptors of a state file and a memory file");
	o.state_fd = a->passed[0];
	o.mem_fd = a->passed[1];
	o.layer_fd = a->passed + 2;
	o.nr_layers = a->nr_passed - 2;
	vm = api_vm(a, e);
	if (!vm)
		return -e->code;
	r = save(vm, &o, &ns, e);
	api_release(a);
	if (!r)
		c->reply = json_pack("{s:I}", "stopped_us", (json_int_t)(ns / 1000));
	return r;
}

/* clang-format off */
const struct route native_snap_routes[] = {
	{ HTTP_POST, "/vireo/v1/vm/actions/save", IN_AFTER, .body = &save_schema, .fn = post_save },
	{ .path = NULL },
};
/* clang-format on */
