// SPDX-License-Identifier: Apache-2.0
/*
 * chips.c - interrupts between the board and the engine
 *
 * The local APICs are ours (software engine) or the engine's (struct cpu_chips). Here is
 * the only place that knows: where messages and the PIC's wire go, and how the engine's
 * state comes into our devices and back.
 */
#include "vmm/vmm_int.h"

static bool theirs(const struct vm *vm)
{
	return vm->engine->chips != NULL;
}

/* A device may still complete a request when the engine's VM is gone. */
static void send_message(void *ctx, u64 addr, u32 data)
{
	struct vm *vm = ctx;

	if (vm->cpu_vm)
		vm->engine->chips->msi(vm->cpu_vm, addr, data);
}

struct msi_sink chips_msi(struct vm *vm)
{
	if (!theirs(vm))
		return lapic_set_sink(&vm->lapics);
	return (struct msi_sink){ .send = send_message, .ctx = vm };
}

/* Virtual wire mode: only the boot processor's LINT0 leads to the PIC. */
static void set_intr(void *ctx, unsigned pin UNUSED, bool level)
{
	struct vm *vm = ctx;

	if (level && vm->cpu[0].v)
		vm->engine->signal(vm->cpu[0].v, CPU_SIG_IRQ, 0);
}

struct irq chips_intr(struct vm *vm)
{
	if (!theirs(vm))
		return lapic_lint0(&vm->lapics);
	return (struct irq){ .set = set_intr, .chip = vm };
}

static void route(void *ctx, unsigned pin, u64 addr, u32 data, bool level)
{
	struct vm *vm = ctx;

	if (vm->cpu_vm)
		vm->engine->chips->route(vm->cpu_vm, pin, addr, data, level);
}

struct ioapic_config chips_ioapic(struct vm *vm)
{
	return (struct ioapic_config){ .route = theirs(vm) ? route : NULL, .ctx = vm };
}

int chips_load(struct vm *vm, struct err *e)
{
	struct cpu_lapic l;

	for (unsigned i = 0; theirs(vm) && i < vm->cfg->nr_cpus; i++) {
		lapic_put(vm->cpu[i].lapic, l.reg, &l.base, &l.deadline);
		TRY(vm->engine->chips->set_lapic(vm->cpu[i].v, &l, e));
	}
	return 0;
}

void chips_save(struct vm *vm)
{
	struct cpu_lapic l;

	for (unsigned i = 0; theirs(vm) && i < vm->cfg->nr_cpus; i++) {
		vm->engine->chips->get_lapic(vm->cpu[i].v, &l);
		lapic_take(vm->cpu[i].lapic, l.reg, l.base, l.deadline);
	}
}
