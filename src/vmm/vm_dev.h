// SPDX-License-Identifier: Apache-2.0
/*
 * vm_dev.h - what the API asks of a running machine's devices
 *
 * Between vm_lock() and vm_unlock(). A device that is not there is ENOENT; what it
 * cannot do now (no driver yet) is another error, with its sentence.
 */
#ifndef VMM_VM_DEV_H
#define VMM_VM_DEV_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/ratelimit.h"
#include "base/types.h"
#include "cfg/cfg.h"

struct bucket_config;
struct virtio_balloon_info;
struct vm;

/*
 * The machine is another one now (a copy, or it was loaded from a snapshot): a new
 * generation id, and an interrupt that says so (VMGenID). vCPUs may stand still.
 */
int vm_new_generation(struct vm *vm, struct err *e) MUST_CHECK;

/* One bucket of a NIC's limit, to the guest or (@tx) from it. @id: net_config's. */
int vm_net_limit(struct vm *vm, const char *id, bool tx, enum ratelimit_kind k,
		 const struct bucket_config *b, struct err *e) MUST_CHECK;

/* -- disks. @id: disk_config's, or "diskN" counted from 0 --------------------------------- */

struct vm_disk_info {
	char id[CFG_NAME], path[CFG_PATH];
	const char *format;
	u64 size;
	struct ratelimit_cfg limit;
	struct blk *live; /* blk/live.h */
};

bool vm_disk_get(struct vm *vm, unsigned i, struct vm_disk_info *ret); /* false: no more */
struct blk *vm_disk_live(struct vm *vm, const char *id, struct err *e) MUST_CHECK;
/* One bucket of the limit. */
int vm_disk_limit(struct vm *vm, const char *id, enum ratelimit_kind k,
		  const struct bucket_config *b, struct err *e) MUST_CHECK;

/*
 * Jobs of blk/live.h with files by descriptor, which is taken over, also on failure.
 * @path: how the file is called from now on. @backing: how a new image calls the present
 * one, NULL = by the path known.
 */
int vm_disk_snapshot(struct vm *vm, const char *id, int fd, const char *path, const char *backing,
		     struct err *e) MUST_CHECK;
struct vm_disk_commit {
	/*
	 * The image to commit into: the one below the guest's, or (@between) below that one,
	 * or, @above_fd given, the second one below that. Descriptors are taken over.
	 */
	int fd, above_fd; /* -1: none */
	const char *path; /* @fd's, as the image above will call it */
	bool between;
	u64 rate;
};
int vm_disk_commit(struct vm *vm, const char *id, const struct vm_disk_commit *m,
		   struct err *e) MUST_CHECK;

/*
 * Another raw file in place of the present one, as if the medium was changed: the guest is told
 * of its size. @same: it is the file that is open already. Ends soon: vm_disk_get() tells.
 */
int vm_disk_swap(struct vm *vm, const char *id, int fd, const char *path, bool same,
		 struct err *e) MUST_CHECK;

struct vm_disk_mirror {
	int fd;
	const char *path, *format;
	bool existing; /* the image is there: it is written, not made */
	bool pivot;
	const char *bitmap; /* or NULL */
	u64 rate;
};

int vm_disk_mirror(struct vm *vm, const char *id, const struct vm_disk_mirror *m,
		   struct err *e) MUST_CHECK;

/* -- the metadata service: its data, a JSON object; E2BIG: more than it may be -------------- */

int vm_mmds_set(struct vm *vm, const char *text, size_t len, struct err *e) MUST_CHECK;

/* -- memory hot-plug, persistent memory ------------------------------------------------- */

struct vm_memory {
	u32 total_mib, slot_mib, block_mib, plugged_mib, requested_mib;
};

int vm_memory_get(struct vm *vm, struct vm_memory *ret, struct err *e) MUST_CHECK;
/* What the guest is to plug: a multiple of block_mib, at most total_mib. */
int vm_memory_resize(struct vm *vm, u32 mib, struct err *e) MUST_CHECK;
int vm_pmem_limit(struct vm *vm, const char *id, enum ratelimit_kind k,
		  const struct bucket_config *b, struct err *e) MUST_CHECK;

/* -- the balloon (dev/virtio/virtio.h: virtio_balloon_*) ------------------------------ */

int vm_balloon_get(struct vm *vm, struct virtio_balloon_info *ret, struct err *e) MUST_CHECK;
int vm_balloon_resize(struct vm *vm, u32 mib, struct err *e) MUST_CHECK;
/* Statistics cannot be switched on or off while the machine runs. */
int vm_balloon_poll(struct vm *vm, u32 seconds, struct err *e) MUST_CHECK;
int vm_balloon_hint(struct vm *vm, bool start, bool ack_on_stop, struct err *e) MUST_CHECK;

#endif
