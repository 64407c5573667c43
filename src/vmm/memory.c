// SPDX-License-Identifier: Apache-2.0
/*
 * memory.c - the machine's RAM, and above it the region of memory hot-plug, then the files of
 * persistent memory, each at a multiple of 2 MiB
 */
#include "base/bits.h"
#include "blk/blk.h"
#include "vmm/vm_dev.h"
#include "vmm/vmm_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define PMEM_ALIGN (2ull << 20)

static u64 hotplug_size(const struct vm_config *c)
{
	return c->memhp.present ? (u64)c->memhp.total_mib << 20 : 0;
}

u64 memory_file_size(const struct vm_config *c)
{
	return c->memory + hotplug_size(c);
}

gpa_t memory_hotplug_base(const struct vm *vm)
{
	return mem_room(vm->mem);
}

/* How large a file is for the guest. */
static int pmem_size(const struct pmem_config *p, u64 *ret, struct err *e)
{
	struct stat st;

	if (fstat(p->fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 512)
		return err_set(e, EINVAL, "pmem: %.100s: want a file of at least 512 bytes",
			       p->path);
	*ret = align_up((u64)st.st_size, PMEM_ALIGN);
	return 0;
}

int memory_room(const struct vm_config *c, u64 *ret, struct err *e)
{
	u64 len;

	*ret = hotplug_size(c);
	for (u32 i = 0; i < c->nr_pmems; i++) {
		TRY(pmem_size(&c->pmem[i], &len, e));
		*ret += len;
	}
	return 0;
}

static int map_pmem(struct vm *vm, u32 i, gpa_t gpa, struct err *e)
{
	struct pmem_config *c = &vm->cfg->pmem[i];
	struct pmem *p = &vm->pmem[i];

	p->gpa = gpa;
	if (mem_map(vm->mem, gpa, p->len, c->fd, !c->read_only, e))
		return err_wrap(e, "pmem: %.100s", c->path);
	if (c->read_only) {
		fd_close(&c->fd);
		return 0;
	}
	p->blk = blk_open_file(vm->loop, c->fd, false, e);
	c->fd = -1;
	return p->blk ? 0 : err_wrap(e, "pmem: %.100s", c->path);
}

static int rom_size(const struct vm *vm, u64 *ret, struct err *e)
{
	const struct cfg_file *f = &vm->cfg->firmware;
	struct stat st;

	*ret = 0;
	if (f->fd < 0)
		return 0;
	if (fstat(f->fd, &st) < 0)
		return err_set(e, errno, "firmware: %s: %s", f->path, strerror(errno));
	if (!st.st_size || st.st_size % MEM_PAGE || (u64)st.st_size > MEM_ROM_MAX)
		return err_set(e, EINVAL, "firmware: %s: want a whole number of 4 KiB, at most 16 MiB",
			       f->path);
	*ret = (u64)st.st_size;
	return 0;
}

static int map_regions(struct vm *vm, struct err *e)
{
	u64 hotplug = hotplug_size(vm->cfg);
	gpa_t at = mem_room(vm->mem);

	if (hotplug)
		TRY(mem_map(vm->mem, at, hotplug, -1, false, e));
	at += hotplug;
	for (u32 i = 0; i < vm->cfg->nr_pmems; i++) {
		TRY(pmem_size(&vm->cfg->pmem[i], &vm->pmem[i].len, e));
		TRY(map_pmem(vm, i, at, e));
		at += vm->pmem[i].len;
	}
	return 0;
}

int memory_new(struct vm *vm, struct err *e)
{
	u64 room, rom;

	if (vm->mem) { /* a snapshot's */
		if (vm->cfg->nr_vhosts || vm->cfg->firmware.fd >= 0)
			return err_set(e, ENOTSUP, "vhost-user and firmware: not with a snapshot");
		return map_regions(vm, e);
	}
	TRY(memory_room(vm->cfg, &room, e));
	TRY(rom_size(vm, &rom, e));
	vm->mem = mem_new_room(vm->cfg->memory, room, rom, e);
	if (!vm->mem)
		return -e->code;
	if (vm->cfg->huge_pages)
		TRY(mem_use_huge(vm->mem, e));
	else if (vm->cfg->nr_vhosts)
		TRY(mem_share(vm->mem, e));
	return map_regions(vm, e);
}

void memory_close(struct vm *vm)
{
	for (u32 i = 0; i < vm->cfg->nr_pmems; i++)
		if (vm->pmem[i].blk)
			blk_close(vm->pmem[i].blk);
}

/* -- for the API ------------------------------------------------------------------------ */

static int has_hotplug(const struct vm *vm, struct err *e)
{
	return vm->memhp ? 0 : err_set(e, ENOENT, "memory hot-plug: this machine has none");
}

int vm_memory_get(struct vm *vm, struct vm_memory *ret, struct err *e)
{
	const struct memhp_config *c = &vm->cfg->memhp;
	u64 plugged, wanted;

	TRY(has_hotplug(vm, e));
	virtio_mem_get(vm->memhp, &plugged, &wanted);
	*ret = (struct vm_memory){ .total_mib = c->total_mib, .slot_mib = c->slot_mib,
				   .block_mib = c->block_mib, .plugged_mib = (u32)(plugged >> 20),
				   .requested_mib = (u32)(wanted >> 20) };
	return 0;
}

int vm_memory_resize(struct vm *vm, u32 mib, struct err *e)
{
	const struct memhp_config *c = &vm->cfg->memhp;

	TRY(has_hotplug(vm, e));
	if (mib > c->total_mib || mib % c->block_mib)
		return err_set(e, EINVAL,
			       "memory hot-plug: %u MiB: want a multiple of %u up to %u", mib,
			       c->block_mib, c->total_mib);
	virtio_mem_resize(vm->memhp, (u64)mib << 20);
	return 0;
}

int vm_pmem_limit(struct vm *vm, const char *id, enum ratelimit_kind k,
		  const struct bucket_config *b, struct err *e)
{
	const struct ratelimit_bucket_cfg cfg = ends_bucket(b);

	for (u32 i = 0; i < vm->cfg->nr_pmems; i++) {
		if (strcmp(vm->cfg->pmem[i].id, id) != 0)
			continue;
		virtio_pmem_limit(vm->pmem[i].dev, k, &cfg);
		return 0;
	}
	return err_set(e, ENOENT, "pmem device \"%s\": not found", id);
}
