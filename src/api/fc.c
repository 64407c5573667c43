// SPDX-License-Identifier: Apache-2.0
/*
 * fc.c - the Firecracker tree: its operations, and those on the VM as a whole
 *
 * Errors begin as Firecracker's do, since its clients show and match them.
 */
#include "api/api_int.h"

#include "base/log.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <string.h>

#define DES(s) &fc_##s##_schema

/* clang-format off */
const struct route fc_routes[] = {
	{ HTTP_GET, "/", IN_ANY, .fn = fc_get_info, .counter = "get_api_requests.instance_info" },
	{ HTTP_GET, "/version", IN_ANY, .fn = fc_get_version, .counter = "get_api_requests.vmm_version" },
	{ HTTP_GET, "/vm/config", IN_ANY, .fn = fc_get_config },
	{ HTTP_PATCH, "/vm", IN_AFTER, .body = DES(vm_state), .error = "Internal VMM error: ", .fn = fc_patch_vm },
	{ HTTP_PUT, "/actions", IN_ANY, .body = DES(action), .fn = fc_put_action, .counter = "put_api_requests.actions" },
	{ HTTP_PUT, "/snapshot/create", IN_PAUSED, .body = DES(snapshot_create),
	  .error = "Create snapshot error: ", .fn = fc_put_snapshot_create },
	{ HTTP_PUT, "/snapshot/load", IN_BEFORE, .body = DES(snapshot_load),
	  .error = "Load snapshot error: ", .fn = fc_put_snapshot_load },

	{ HTTP_PUT, "/boot-source", IN_BEFORE, .body = DES(boot_source),
	  .error = "Boot source error: ", .fn = fc_put_boot_source, .counter = "put_api_requests.boot_source" },
	{ HTTP_GET, "/machine-config", IN_ANY, .fn = fc_get_machine, .counter = "get_api_requests.machine_cfg" },
	{ HTTP_PUT, "/machine-config", IN_BEFORE, .body = DES(machine),
	  .error = "Machine config error: ", .fn = fc_put_machine, .counter = "put_api_requests.machine_cfg" },
	{ HTTP_PATCH, "/machine-config", IN_BEFORE, .body = DES(machine_patch),
	  .error = "Machine config error: ", .fn = fc_patch_machine, .counter = "patch_api_requests.machine_cfg" },
	{ HTTP_PUT, "/cpu-config", IN_BEFORE, .body = DES(cpu_config),
	  .error = "Configure CPU error: ", .fn = fc_put_cpu_config, .counter = "put_api_requests.cpu_cfg" },
	{ HTTP_PUT, "/serial", IN_BEFORE, .body = DES(serial),
	  .error = "Serial config error: ", .fn = fc_put_serial, .counter = "put_api_requests.serial" },
	{ HTTP_PUT, "/logger", IN_BEFORE, .body = DES(logger),
	  .error = "Logger error: ", .fn = fc_put_logger, .counter = "put_api_requests.logger" },
	{ HTTP_PUT, "/metrics", IN_BEFORE, .body = DES(metrics),
	  .error = "Metrics error: ", .fn = fc_put_metrics, .counter = "put_api_requests.metrics" },

	{ HTTP_PUT, "/drives/{id}", IN_BEFORE, .body = DES(drive), .id_field = "drive_id",
	  .error = "Drive config error: ", .fn = fc_put_drive, .counter = "put_api_requests.drive" },
	{ HTTP_PATCH, "/drives/{id}", IN_AFTER, .body = DES(drive_patch), .id_field = "drive_id",
	  .error = "Drive config error: ", .fn = fc_patch_drive, .counter = "patch_api_requests.drive" },
	{ HTTP_DELETE, "/drives/{id}", IN_AFTER, .fn = fc_delete_device },
	{ HTTP_PUT, "/pmem/{id}", IN_BEFORE, .body = DES(pmem), .id_field = "id",
	  .error = "Pmem device error: ", .fn = fc_put_pmem, .counter = "put_api_requests.pmem" },
	{ HTTP_PATCH, "/pmem/{id}", IN_AFTER, .body = DES(pmem_patch), .id_field = "id",
	  .error = "Pmem device error: ", .fn = fc_patch_pmem, .counter = "patch_api_requests.pmem" },
	{ HTTP_DELETE, "/pmem/{id}", IN_AFTER, .fn = fc_delete_device },
	{ HTTP_PUT, "/network-interfaces/{id}", IN_BEFORE, .body = DES(net), .id_field = "iface_id",
	  .error = "Network config error: ", .fn = fc_put_net, .counter = "put_api_requests.network" },
	{ HTTP_PATCH, "/network-interfaces/{id}", IN_AFTER, .body = DES(net_patch), .id_field = "iface_id",
	  .error = "Network config error: ", .fn = fc_patch_net, .counter = "patch_api_requests.network" },
	{ HTTP_DELETE, "/network-interfaces/{id}", IN_AFTER, .fn = fc_delete_device },
	{ HTTP_PUT, "/vsock", IN_BEFORE, .body = DES(vsock),
	  .error = "Vsock config error: ", .fn = fc_put_vsock, .counter = "put_api_requests.vsock" },
	{ HTTP_PUT, "/entropy", IN_BEFORE, .body = DES(entropy),
	  .error = "Entropy device error: ", .fn = fc_put_entropy },

	{ HTTP_GET, "/balloon", IN_ANY, .error = "Balloon config error: ", .fn = fc_get_balloon },
	{ HTTP_PUT, "/balloon", IN_BEFORE, .body = DES(balloon),
	  .error = "Balloon config error: ", .fn = fc_put_balloon },
	{ HTTP_PATCH, "/balloon", IN_AFTER, .body = DES(balloon_patch),
	  .error = "Balloon update error: ", .fn = fc_patch_balloon },
	{ HTTP_GET, "/balloon/statistics", IN_AFTER, .error = "Internal VMM error: ", .fn = fc_get_balloon_stats },
	{ HTTP_PATCH, "/balloon/statistics", IN_AFTER, .body = DES(balloon_stats_patch),
	  .error = "Balloon update error: ", .fn = fc_patch_balloon_stats },
	{ HTTP_PATCH, "/balloon/hinting/start", IN_AFTER, BODY_OPTIONAL, .body = DES(balloon_start),
	  .error = "Balloon update error: ", .fn = fc_balloon_hinting_start },
	{ HTTP_PATCH, "/balloon/hinting/stop", IN_AFTER,
	  .error = "Balloon update error: ", .fn = fc_balloon_hinting_stop },
	{ HTTP_GET, "/balloon/hinting/status", IN_AFTER,
	  .error = "Balloon update error: ", .fn = fc_balloon_hinting_status },

	{ HTTP_GET, "/hotplug/memory", IN_AFTER, .error = "Internal VMM error: ",
	  .fn = fc_get_memhp, .counter = "get_api_requests.hotplug_memory" },
	{ HTTP_PUT, "/hotplug/memory", IN_BEFORE, .body = DES(memhp),
	  .error = "Memory hotplug config error: ", .fn = fc_put_memhp, .counter = "put_api_requests.hotplug_memory" },
	{ HTTP_PATCH, "/hotplug/memory", IN_AFTER, .body = DES(memhp_patch),
	  .error = "Memory hotplug update error: ", .fn = fc_patch_memhp, .counter = "patch_api_requests.hotplug_memory" },

	{ HTTP_GET, "/mmds", IN_ANY, .fn = fc_get_mmds, .counter = "get_api_requests.mmds" },
	{ HTTP_PUT, "/mmds", IN_ANY, BODY_JSON, .fn = fc_put_mmds, .counter = "put_api_requests.mmds" },
	{ HTTP_PATCH, "/mmds", IN_ANY, BODY_JSON, .fn = fc_patch_mmds, .counter = "patch_api_requests.mmds" },
	{ HTTP_PUT, "/mmds/config", IN_BEFORE, .body = DES(mmds),
	  .error = "MMDS config error: ", .fn = fc_put_mmds_config, .counter = "put_api_requests.mmds" },
	{ .path = NULL },
};
/* clang-format on */

/* -- what there is -------------------------------------------------------------------------- */

int fc_get_info(struct api_call *c, struct err *e)
{
	unsigned now = IN_BEFORE;
	int r = api_state(c->api, &now, e);

	if (r && r != -ESHUTDOWN)
		return r;
	c->reply = json_pack("{s:s, s:s, s:s, s:s}", "app_name", "Firecracker", "id",
			     c->api->opts.id, "state",
			     now == IN_BEFORE  ? "Not started" :
			     now == IN_RUNNING ? "Running" :
						 "Paused",
			     "vmm_version", API_VERSION);
	return 0;
}

int fc_get_version(struct api_call *c, struct err *e UNUSED)
{
	c->reply = route_message("firecracker_version", API_VERSION);
	return 0;
}

int fc_get_config(struct api_call *c, struct err *e UNUSED)
{
	c->reply = fc_show(c->api);
	return 0;
}

/* -- life ----------------------------------------------------------------------------------------- */

int api_start_config(struct api *a, struct vm_config **ret, struct err *e)
{
	if (!a->fc.has_boot)
		return err_set(e, EINVAL, "Cannot start microvm without kernel configuration.");
	TRY(fc_make_config(a, a->start, e));
	*ret = a->start;
	return 0;
}

static int start(struct api *a, struct err *e)
{
	struct vm_config *c;
	int r;

	log_info("event_start: build microvm for boot");
	r = api_start_config(a, &c, e);
	if (!r)
		r = api_request_start(a, e);
	if (r)
		return err_wrap(e, "Start microvm error");
	log_info("event_end: build microvm for boot");
	return 0;
}

static int ctrl_alt_del(struct api *a, struct err *e)
{
	struct vm *vm = api_vm(a, e);
	int r;

	if (!vm)
		return -e->code;
	r = vm_power_button(vm, e);
	api_release(a);
	return r;
}

int fc_put_action(struct api_call *c, struct err *e)
{
	const struct fc_action *b = c->body;
	struct api *a = c->api;
	unsigned now;

	TRY(api_state(a, &now, e));
	if (b->type == ACTION_START && now != IN_BEFORE)
		return err_set(e, EINVAL, "The requested operation is not supported after starting "
					  "the microVM.");
	if (b->type != ACTION_START && now == IN_BEFORE)
		return err_set(e, EINVAL, "The requested operation is not supported before "
					  "starting the microVM.");
	if (b->type == ACTION_START)
		return start(a, e);
	if (b->type == ACTION_CTRL_ALT_DEL)
		return ctrl_alt_del(a, e);
	if (a->metrics.fd < 0)
		return err_set(e, EINVAL, "Internal Vmm error: Cannot flush metrics: Logger was "
					  "not initialized.");
	if (!metrics_flush(&a->metrics, a->opts.id))
		return err_set(e, EIO, "Internal Vmm error: Cannot flush metrics: the file does "
				       "not take them.");
	return 0;
}

int fc_patch_vm(struct api_call *c, struct err *e)
{
	const struct fc_vm_state *b = c->body;
	struct api *a = c->api;
	struct vm *vm = api_vm(a, e);
	u64 t = os_now_ns();
	int r;

	if (!vm)
		return -e->code;
	r = b->state ? vm_resume(vm, e) : vm_pause(vm, e);
	api_release(a);
	if (!r)
		a->metrics.latency[b->state ? LATENCY_RESUME : LATENCY_PAUSE] =
			(os_now_ns() - t) / 1000;
	return r;
}
