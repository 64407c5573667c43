// SPDX-License-Identifier: Apache-2.0
/* snap_save.c - a paused machine to two files: see snapshot.h */
#include "blk/live.h"
#include "cpu/x86_state.h"
#include "vmm/snap_int.h"
#include "vmm/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int no_memory(struct err *e)
{
	return err_set(e, ENOMEM, "snapshot: out of host memory");
}

static int add_fields(struct snap_writer *w, const char *name, const struct field *f,
		      const void *obj, struct err *e)
{
	size_t len = field_saved_size(f);
	u8 *p = snap_add(w, name, len);

	if (!p)
		return no_memory(e);
	return field_save(f, obj, p, len) < 0 ? err_set(e, E2BIG, "%s: state too large", name) : 0;
}

static int add_device(void *writer, const char *name, struct dev *d, struct err *e)
{
	size_t len = field_saved_size(d->class->state);
	struct snap_dev_header h = { .version = d->class->state_version };
	u8 *p = snap_add(writer, name, sizeof h + len);

	if (!p)
		return no_memory(e);
	memcpy(h.class, d->class->name, strnlen(d->class->name, sizeof h.class - 1));
	memcpy(p, &h, sizeof h);
	return field_save(d->class->state, d, p + sizeof h, len) < 0 ?
		       err_set(e, E2BIG, "%s: state too large", name) :
		       0;
}

static int add_cpus(struct vm *vm, struct snap_writer *w, struct err *e)
{
	struct x86_state s;
	char name[SNAP_NAME_MAX];

	for (unsigned i = 0; i < vm->cfg->nr_cpus; i++) {
		snprintf(name, sizeof name, "cpu:%u", i);
		vm->engine->get_state(vm->cpu[i].v, &s);
		TRY(add_fields(w, name, x86_state_fields, &s, e));
	}
	return 0;
}

static int add_config(struct vm *vm, struct snap_writer *w, struct err *e)
{
	struct vm_config *c = malloc(sizeof *c);
	char *text;
	u8 *p;

	if (!c)
		return no_memory(e);
	*c = *vm->cfg;
	cfg_forget_open(c);
	for (u32 i = 0; i < c->nr_disks; i++) { /* a job may have put another image there */
		if (strcmp(c->disk[i].path, vm->disk[i].path) != 0)
			c->disk[i].format[0] = '\0';
		snprintf(c->disk[i].path, sizeof c->disk[i].path, "%s", vm->disk[i].path);
	}
	text = cfg_to_json(c);
	free(c);
	if (!text)
		return no_memory(e);
	p = snap_add(w, "config", strlen(text));
	if (p)
		memcpy(p, text, strlen(text));
	free(text);
	return p ? 0 : no_memory(e);
}

static int build(struct vm *vm, const struct snap_machine *m, struct snap_writer *w, struct err *e)
{
	TRY(add_fields(w, "machine", snap_machine_fields, m, e));
	TRY(add_config(vm, w, e));
	TRY(add_cpus(vm, w, e));
	chips_save(vm);
	TRY(snap_each_device(vm, add_device, w, e));
	return snap_finish(w, e);
}

static int write_state(const struct snap_writer *w, int fd, struct err *e)
{
	int r = fd_pwrite_full(fd, w->buf, w->len, 0);

	return r ? err_set(e, -r, "snapshot: state file: %s", strerror(-r)) : 0;
}

static int save_memory(struct vm *vm, const struct snapshot_save *o, u64 *ret_sum, struct err *e)
{
	int r;

	if (o->diff)
		r = mem_save_dirty(vm->mem, o->mem_fd);
	else if (o->ret_base)
		r = mem_freeze(vm->mem, o->mem_fd, o->ret_base);
	else
		r = mem_save(vm->mem, o->mem_fd, ret_sum);
	if (!r && !o->diff && mem_is_tracked(vm->mem))
		r = mem_forget_dirty(vm->mem);
	return r ? err_set(e, -r, "snapshot: memory file: %s", strerror(-r)) : 0;
}

/* Disks in snapshot mode: what was written to them lives in this process only. */
static int save_layers(struct vm *vm, const struct snapshot_save *o, struct err *e)
{
	unsigned n = 0;
	int r;

	for (u32 i = 0; i < vm->cfg->nr_disks; i++) {
		if (!vm->blk[i] || !blk_has_layer(live_top(vm->blk[i])))
			continue;
		if (n == o->nr_layers)
			return err_set(e, ENOTSUP, "snapshot: disk %.100s: in snapshot mode: its "
				       "changes have no file to go to", vm->cfg->disk[i].path);
		r = blk_save_layer(live_top(vm->blk[i]), o->layer_fd[n++]);
		if (r)
			return err_set(e, -r, "snapshot: disk %.100s: %s", vm->cfg->disk[i].path,
				       strerror(-r));
	}
	return 0;
}

/* Lock held, nothing moves. */
static int save(struct vm *vm, const struct snapshot_save *o, struct err *e)
{
	struct snap_machine m = { 0 };
	struct snap_writer w;
	int r;

	if (vm_random(vm, m.id, sizeof m.id) != sizeof m.id)
		return err_set(e, EAGAIN, "snapshot: no random numbers from the host");
	snap_describe(vm, &m);
	m.diff = o->diff;
	memcpy(m.base, vm->snap_id, sizeof m.base);
	TRY(save_layers(vm, o, e));
	TRY(save_memory(vm, o, &m.mem_sum, e));
	snap_begin(&w);
	r = build(vm, &m, &w, e);
	if (!r)
		r = write_state(&w, o->state_fd, e);
	snap_discard(&w);
	if (!r)
		memcpy(vm->snap_id, m.id, sizeof m.id);
	return r;
}

static int check(const struct vm *vm, const struct snapshot_save *o, struct err *e)
{
	if (!vm->paused)
		return err_set(e, EBUSY, "snapshot: the VM runs: want it paused");
	if (vm->agent)
		return err_set(e, ENOTSUP, "snapshot: the VM runs one command for its caller (--), "
			       "which cannot be saved");
	if (vm->cfg->nr_vhosts)
		return err_set(e, ENOTSUP, "snapshot: a machine with --vhost-user cannot be saved");
	if (*vm->cfg->firmware.path)
		return err_set(e, ENOTSUP, "snapshot: a machine with --firmware cannot be saved");
	if (mem_is_huge(vm->mem) && o->ret_base)
		return err_set(e, ENOTSUP, "snapshot: RAM is huge pages of the host's pool, which copies "
			       "cannot share: want huge_pages None");
	for (u32 i = 0; i < vm->cfg->nr_disks && o->ret_base; i++)
		if (!vm->cfg->disk[i].read_only && !vm->cfg->disk[i].snapshot)
			return err_set(e, ENOTSUP, "disk %.100s: is written in place, so copies "
				       "cannot share it: want it readonly or snapshot",
				       vm->cfg->disk[i].path);
	for (u32 i = 0; i < vm->cfg->nr_pmems && o->ret_base; i++)
		if (!vm->cfg->pmem[i].read_only)
			return err_set(e, ENOTSUP, "pmem %.100s: is written in place, so copies cannot "
				       "share it: want it readonly", vm->cfg->pmem[i].path);
	if (o->diff && !vm->cfg->track_dirty)
		return err_set(e, ENOTSUP, "snapshot: what was written is not noted: want "
			       "--track-dirty for a difference");
	return 0;
}

static int sync_file(int fd, const char *what, struct err *e)
{
	return fdatasync(fd) < 0 ? err_set(e, errno, "snapshot: %s: %s", what, strerror(errno)) : 0;
}

int vm_snapshot_save(struct vm *vm, const struct snapshot_save *o, struct err *e)
{
	int r;

	TRY(vm_lock(vm, e));
	r = check(vm, o, e);
	if (!r) {
		board_pause(vm);
		r = save(vm, o, e);
		board_resume(vm);
	}
	vm_unlock(vm);
	if (r || !o->sync)
		return r;
	for (unsigned i = 0; i < o->nr_layers; i++)
		TRY(sync_file(o->layer_fd[i], "disk layer", e));
	TRY(sync_file(o->mem_fd, "memory file", e));
	return sync_file(o->state_fd, "state file", e);
}
