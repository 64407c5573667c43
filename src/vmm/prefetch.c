// SPDX-License-Identifier: Apache-2.0
/*
 * prefetch.c - pages that a restored guest will use: noted by one restore, brought early by the next
 *
 * A restored machine's RAM is a private mapping of its memory file; each page comes when it is first
 * touched, from the disk perhaps, and is copied when it is first written. Which pages those are is much
 * the same at each restore of one snapshot. A thread of its own has them brought while the guest goes on.
 */
#include "mem/mem.h"
#include "vmm/snapshot.h"
#include "vmm/vmm_int.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void prefetch_init(struct vm *vm, const struct snapshot_load *o)
{
	struct prefetch *p = &vm->prefetch;

	if (o->pages_fd < 0 || o->backend != SNAPSHOT_MEM_FILE)
		return;
	if (o->learn_s) {
		p->fd = o->pages_fd;
		p->after_ns = (u64)o->learn_s * 1000000000;
		return;
	}
	p->pages = mem_read_touched(vm->mem, o->pages_fd, vm->snap_id);
	if (!p->pages)
		vm_say(vm, 1, "pages: not of this snapshot: not used");
}

static void *bring(void *arg)
{
	struct vm *vm = arg;

	mem_touch(vm->mem, vm->prefetch.pages, &vm->prefetch.stop);
	return NULL;
}

static void learned(struct timer *t, u64 now_ns UNUSED)
{
	struct vm *vm = container_of(t, struct vm, prefetch.timer);
	int r = mem_save_touched(vm->mem, vm->prefetch.fd, vm->snap_id);

	if (r)
		vm_say(vm, 0, "pages: what the guest used cannot be noted: %s", strerror(-r));
	fd_close(&vm->prefetch.fd);
	vm_event(vm, "learned");
}

int prefetch_start(struct vm *vm, struct err *e)
{
	struct prefetch *p = &vm->prefetch;

	if (p->fd >= 0) {
		p->timer.fn = learned;
		clock_arm(vm->clock, &p->timer, clock_now_ns(vm->clock) + p->after_ns);
	}
	if (!p->pages)
		return 0;
	TRY(thread_start(&p->thread, "prefetch", JAIL_IO, bring, vm, e));
	p->started = true;
	return 0;
}

void prefetch_stop(struct vm *vm)
{
	struct prefetch *p = &vm->prefetch;

	p->stop = true;
	if (p->started)
		thread_join(&p->thread);
	p->started = false;
	free(p->pages);
	p->pages = NULL;
	fd_close(&p->fd);
}
