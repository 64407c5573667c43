// SPDX-License-Identifier: Apache-2.0
/* fc_mem.c - Firecracker tree: balloon and memory hot-plug */
#include "api/api_int.h"

#include "dev/virtio/virtio.h"
#include "vmm/vm_dev.h"

#include <errno.h>

/* -- balloon ------------------------------------------------------------------------------ */

int fc_get_balloon(struct api_call *c, struct err *e)
{
	struct fc *fc = &c->api->fc;

	if (!fc->has_balloon)
		return err_set(e, ENOENT, "No balloon device found.");
	c->reply = body_encode(&fc_balloon_schema, &fc->balloon);
	return 0;
}

int fc_put_balloon(struct api_call *c, struct err *e)
{
	const struct fc_balloon *b = c->body;
	struct fc *fc = &c->api->fc;

	fc->boot_path = true;
	if (b->amount_mib > fc->machine.mem_mib)
		return err_set(e, EINVAL, "Amount of pages requested is too large.");
	fc->balloon = *b;
	fc->has_balloon = true;
	return 0;
}

/* The VM, locked, if it has a balloon. */
static struct vm *lock_balloon(struct api_call *c, struct err *e)
{
	if (!c->api->fc.has_balloon) {
		err_set(e, ENOENT, "No balloon device found.");
		return NULL;
	}
	return api_lock_vm(c->api, e);
}

int fc_patch_balloon(struct api_call *c, struct err *e)
{
	const struct fc_balloon_patch *b = c->body;
	struct fc *fc = &c->api->fc;
	struct vm *vm = lock_balloon(c, e);
	int r;

	if (!vm)
		return -e->code;
	r = b->amount_mib > fc->machine.mem_mib ?
		    err_set(e, EINVAL, "Amount of pages requested is too large.") :
		    vm_balloon_resize(vm, b->amount_mib, e);
	api_unlock_vm(c->api, vm);
	if (!r)
		fc->balloon.amount_mib = b->amount_mib;
	return r;
}

static json_t *show_stats(const struct virtio_balloon_info *i)
{
	static const char *const names[] = { /* by tag [virtio 5.5.6.3], and Linux's since */
		"swap_in", "swap_out", "major_faults", "minor_faults", "free_memory",
		"total_memory", "available_memory", "disk_caches", "hugetlb_allocations",
		"hugetlb_failures", "oom_kill", "alloc_stall", "async_scan", "direct_scan",
		"async_reclaim", "direct_reclaim",
	};
	json_t *o = json_pack("{s:I, s:I, s:I, s:I}", "target_pages", (json_int_t)i->target,
			      "actual_pages", (json_int_t)i->actual, "target_mib",
			      (json_int_t)i->target >> 8, "actual_mib", (json_int_t)i->actual >> 8);

	for (unsigned t = 0; t < array_len(names) && t < VIRTIO_BALLOON_STATS; t++)
		if (i->stats_known >> t & 1)
			json_object_set_new(o, names[t],
					    json_integer((json_int_t)(i->stats[t] & INT64_MAX)));
	return o;
}

int fc_get_balloon_stats(struct api_call *c, struct err *e)
{
	struct virtio_balloon_info info;
	struct vm *vm = lock_balloon(c, e);
	int r;

	if (!vm)
		return -e->code;
	r = c->api->fc.balloon.stats_interval_s ? vm_balloon_get(vm, &info, e) :
						  err_set(e, ENOTSUP, "Statistics for the balloon "
							  "device are not enabled");
	api_unlock_vm(c->api, vm);
	if (!r)
		c->reply = show_stats(&info);
	return r;
}

int fc_patch_balloon_stats(struct api_call *c, struct err *e)
{
	const struct fc_balloon_stats_patch *b = c->body;
	struct fc *fc = &c->api->fc;
	struct vm *vm = lock_balloon(c, e);
	int r;

	if (!vm)
		return -e->code;
	r = !b->interval_s != !fc->balloon.stats_interval_s ?
		    err_set(e, EINVAL, "Cannot enable/disable the statistics after boot.") :
		    vm_balloon_poll(vm, b->interval_s, e);
	api_unlock_vm(c->api, vm);
	if (!r)
		fc->balloon.stats_interval_s = b->interval_s;
	return r;
}

static int hint(struct api_call *c, bool start, bool ack, struct err *e)
{
	struct vm *vm = lock_balloon(c, e);
	int r;

	if (!vm)
		return -e->code;
	r = c->api->fc.balloon.hinting ? vm_balloon_hint(vm, start, ack, e) :
					 err_set(e, ENOTSUP, "Free page hinting is not enabled");
	api_unlock_vm(c->api, vm);
	return r;
}

int fc_balloon_hinting_start(struct api_call *c, struct err *e)
{
	const struct fc_balloon_start *b = c->body;

	return hint(c, true, b ? b->acknowledge_on_stop : true, e);
}

int fc_balloon_hinting_stop(struct api_call *c, struct err *e)
{
	return hint(c, false, false, e);
}

int fc_balloon_hinting_status(struct api_call *c, struct err *e)
{
	struct virtio_balloon_info i;
	struct vm *vm = lock_balloon(c, e);
	int r;

	if (!vm)
		return -e->code;
	r = c->api->fc.balloon.hinting ? vm_balloon_get(vm, &i, e) :
					 err_set(e, ENOTSUP, "Free page hinting is not enabled");
	api_unlock_vm(c->api, vm);
	if (r)
		return r;
	c->reply = json_pack("{s:I}", "host_cmd", (json_int_t)i.host_cmd);
	if (i.guest_has_cmd)
		json_object_set_new(c->reply, "guest_cmd", json_integer(i.guest_cmd));
	return 0;
}

/* -- memory hot-plug ------------------------------------------------------------------------------ */

static int check_memhp(const struct fc_memhp *m, struct err *e)
{
	if (m->block_mib < 2)
		return err_set(e, EINVAL, "Block size must not be lower than 2 MiB");
	if (m->block_mib & (m->block_mib - 1))
		return err_set(e, EINVAL, "Block size must be a power of 2");
	if (m->slot_mib < 128)
		return err_set(e, EINVAL, "Slot size must not be lower than 128 MiB");
	if (m->slot_mib % m->block_mib)
		return err_set(e, EINVAL, "Slot size must be a multiple of block size (%u MiB)",
			       m->block_mib);
	if (m->total_mib < m->slot_mib)
		return err_set(e, EINVAL, "Total size must not be lower than slot size (%u MiB)",
			       m->slot_mib);
	if (m->total_mib % m->slot_mib)
		return err_set(e, EINVAL, "Total size must be a multiple of slot size (%u MiB)",
			       m->slot_mib);
	return 0;
}

/* The VM, locked, if it has memory to plug. */
static struct vm *lock_memhp(struct api_call *c, struct err *e)
{
	if (!c->api->fc.has_memhp) {
		err_set(e, ENOENT, "Memory hotplug device not found.");
		return NULL;
	}
	return api_lock_vm(c->api, e);
}

int fc_get_memhp(struct api_call *c, struct err *e)
{
	struct vm *vm = lock_memhp(c, e);
	struct vm_memory m;
	int r;

	if (!vm)
		return -e->code;
	r = vm_memory_get(vm, &m, e);
	api_unlock_vm(c->api, vm);
	if (r)
		return r;
	c->reply = json_pack("{s:I, s:I, s:I, s:I, s:I}", "total_size_mib", (json_int_t)m.total_mib,
			     "slot_size_mib", (json_int_t)m.slot_mib, "block_size_mib",
			     (json_int_t)m.block_mib, "plugged_size_mib", (json_int_t)m.plugged_mib,
			     "requested_size_mib", (json_int_t)m.requested_mib);
	return 0;
}

int fc_put_memhp(struct api_call *c, struct err *e)
{
	struct fc *fc = &c->api->fc;

	fc->boot_path = true;
	TRY(check_memhp(c->body, e));
	fc->memhp = *(const struct fc_memhp *)c->body;
	fc->has_memhp = true;
	return 0;
}

int fc_patch_memhp(struct api_call *c, struct err *e)
{
	const struct fc_memhp_patch *b = c->body;
	struct vm *vm = lock_memhp(c, e);
	int r;

	if (!vm)
		return -e->code;
	r = vm_memory_resize(vm, b->requested_mib, e);
	api_unlock_vm(c->api, vm);
	return r;
}
