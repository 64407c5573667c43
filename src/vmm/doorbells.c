// SPDX-License-Identifier: Apache-2.0
/*
 * doorbells.c - drivers' notifications by eventfd, where the kernel has the interrupt chips too
 *
 * The vCPU that notifies goes on at once, and the main loop does the work, as it does for
 * what comes from the host. Descriptors are made with the devices: the jail makes none later.
 */
#include "vmm/vmm_int.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct doorbell {
	struct vm *vm;
	struct doorbell *next;
	struct dev *d; /* transport */
	unsigned n;
	bool on;
	struct watch w;
};

static void rang(struct watch *w, u32 events UNUSED)
{
	struct doorbell *b = container_of(w, struct doorbell, w);
	u64 count;

	if (read(w->fd, &count, sizeof count) == sizeof count)
		virtio_ring(b->d, b->n);
}

static void set(void *ctx, struct dev *d, unsigned n, gpa_t gpa, unsigned size, bool on)
{
	struct vm *vm = ctx;
	struct doorbell *b = vm->doorbells;

	while (b && (b->d != d || b->n != n))
		b = b->next;
	if (!b || b->on == on || !vm->cpu_vm)
		return;
	if (!vm->engine->chips->doorbell(vm->cpu_vm, gpa, size, n, b->w.fd, on))
		b->on = on;
}

struct doorbells doorbells_of(struct vm *vm)
{
	if (!vm->engine->chips || vm->cfg->irqchip != CFG_IRQCHIP_KERNEL)
		return (struct doorbells){ 0 };
	return (struct doorbells){ .set = set, .ctx = vm };
}

static int add(struct vm *vm, struct dev *d, unsigned n, struct err *e)
{
	struct doorbell *b = calloc(1, sizeof *b);

	if (!b)
		return err_set(e, 12, "%s: out of host memory", d->id);
	*b = (struct doorbell){ .vm = vm, .next = vm->doorbells, .d = d, .n = n };
	b->w = (struct watch){ .fd = fd_eventfd(), .fn = rang };
	vm->doorbells = b;
	if (b->w.fd < 0)
		return err_set(e, -b->w.fd, "%s: no descriptor for notifications", d->id);
	return loop_watch(vm->loop, &b->w, EPOLLIN, e);
}

int doorbells_add(struct vm *vm, struct dev *d, struct err *e)
{
	if (!d->env.doorbells.set)
		return 0;
	for (unsigned n = 0; n < virtio_queues(d); n++)
		TRY(add(vm, d, n, e));
	return 0;
}

void doorbells_drain(struct vm *vm)
{
	for (struct doorbell *b = vm->doorbells; b; b = b->next)
		if (b->on)
			rang(&b->w, EPOLLIN);
}

void doorbells_free(struct vm *vm)
{
	struct doorbell *b;

	while ((b = vm->doorbells)) {
		vm->doorbells = b->next;
		loop_unwatch(vm->loop, &b->w);
		fd_close(&b->w.fd);
		free(b);
	}
}
