// SPDX-License-Identifier: Apache-2.0
/* fc_mem.c - Firecracker tree: balloon and memory hot-plug */
#include "api/api_int.h"

#include <errno.h>

static int no_balloon(struct err *e)
{
	return err_set(e, ENOENT, "No balloon device found.");
}

int fc_get_balloon(struct api_call *c, struct err *e)
{
	struct fc *fc = &c->api->fc;

	if (!fc->has_balloon)
		return no_balloon(e);
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
	return err_set(e, ENOSYS, "balloon: not built in yet");
}

int fc_patch_balloon(struct api_call *c UNUSED, struct err *e)
{
	return no_balloon(e);
}

int fc_get_balloon_stats(struct api_call *c UNUSED, struct err *e)
{
	return no_balloon(e);
}

int fc_patch_balloon_stats(struct api_call *c UNUSED, struct err *e)
{
	return no_balloon(e);
}

int fc_balloon_hinting_start(struct api_call *c UNUSED, struct err *e)
{
	return no_balloon(e);
}

int fc_balloon_hinting_stop(struct api_call *c UNUSED, struct err *e)
{
	return no_balloon(e);
}

int fc_balloon_hinting_status(struct api_call *c UNUSED, struct err *e)
{
	return no_balloon(e);
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

static int no_memhp(struct err *e)
{
	return err_set(e, ENOENT, "Memory hotplug device not found.");
}

int fc_get_memhp(struct api_call *c UNUSED, struct err *e)
{
	return no_memhp(e);
}

int fc_put_memhp(struct api_call *c, struct err *e)
{
	c->api->fc.boot_path = true;
	TRY(check_memhp(c->body, e));
	return err_set(e, ENOSYS, "memory hot-plug: not built in yet");
}

int fc_patch_memhp(struct api_call *c UNUSED, struct err *e)
{
	return no_memhp(e);
}
