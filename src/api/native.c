// SPDX-License-Identifier: Apache-2.0
/*
 * native.c - /vireo/v1: what every VM of ours answers, however it was started
 *
 * docs/api/vireo-vm.yaml describes it. Errors are RFC 9457 problem objects.
 */
#include "api/api_int.h"

#include "vmm/vmm.h"

#include <errno.h>
#include <unistd.h>

static int get_vm(struct api_call *c, struct err *e)
{
	static const char *const names[] = { [VM_STATE_RUNNING] = "running",
					     [VM_STATE_PAUSED] = "paused",
					     [VM_STATE_ENDED] = "ended" };
	struct api *a = c->api;
	enum vm_state s = VM_STATE_RUNNING;
	struct vm_info info;
	struct vm *vm = api_vm(a, e);
	int r;

	if (!vm) {
		c->reply = json_pack("{s:s, s:i, s:s, s:s}", "name", a->opts.id, "pid", getpid(),
				     "state", e->code == ESHUTDOWN ? "not-started" : "ended",
				     "version", VM_VERSION);
		return 0;
	}
	r = vm_get_state(vm, &s, e);
	vm_get_info(vm, &info);
	api_release(a);
	if (r)
		return r;
	c->reply = json_pack("{s:s, s:i, s:s, s:s, s:I, s:I, s:s, s:I, s:I, s:s, s:s*}", "name",
			     a->opts.id, "pid", getpid(), "state", names[s], "engine", info.engine,
			     "cpus", (json_int_t)info.nr_cpus, "memory", (json_int_t)info.memory,
			     "kernel", info.kernel, "disks", (json_int_t)info.nr_disks, "uptime_ms",
			     (json_int_t)info.uptime_ms, "version", VM_VERSION, "parent",
			     *info.parent ? info.parent : NULL);
	return 0;
}

static int with_vm(struct api_call *c, int (*fn)(struct vm *vm, struct err *e), struct err *e)
{
	struct vm *vm = api_vm(c->api, e);
	int r;

	if (!vm)
		return -e->code;
	r = fn(vm, e);
	api_release(c->api);
	return r;
}

static int do_pause(struct api_call *c, struct err *e)
{
	return with_vm(c, vm_pause, e);
}

static int do_resume(struct api_call *c, struct err *e)
{
	return with_vm(c, vm_resume, e);
}

static int do_stop(struct api_call *c, struct err *e)
{
	return with_vm(c, vm_stop, e);
}

static int do_power_button(struct api_call *c, struct err *e)
{
	return with_vm(c, vm_power_button, e);
}

/* clang-format off */
const struct route native_routes[] = {
	{ HTTP_GET, "/vireo/v1/vm", IN_ANY, .fn = get_vm },
	{ HTTP_POST, "/vireo/v1/vm/actions/pause", IN_AFTER, .fn = do_pause },
	{ HTTP_POST, "/vireo/v1/vm/actions/resume", IN_AFTER, .fn = do_resume },
	{ HTTP_POST, "/vireo/v1/vm/actions/stop", IN_AFTER, .fn = do_stop },
	{ HTTP_POST, "/vireo/v1/vm/actions/power-button", IN_AFTER, .fn = do_power_button },
	{ .path = NULL },
};
/* clang-format on */
