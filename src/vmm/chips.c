// SPDX-License-Identifier: Apache-2.0
/*
 * chips.c - interrupts between the board and the engine
 *
 * The interrupt chips are ours (software engine), or the local APICs are the engine's, or all are
 * (struct cpu_chips). Here is the only place that knows: where messages and wires go, and how the
 * engine's state comes into our devices and back.
 */
#include "vmm/vmm_int.h"

#include <stdio.h>

/* The local APICs are the engine's; the PIC and the I/O APIC too. */
static bool theirs(const struct vm *vm)
{
	return vm->engine->chips != NULL;
}

static bool all_theirs(const struct vm *vm)
{
	return theirs(vm) && vm->cfg->irqchip == CFG_IRQCHIP_KERNEL;
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
	if (all_theirs(vm))
		return (struct irq){ 0 };
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
	return (struct ioapic_config){ .route = theirs(vm) && !all_theirs(vm) ? route : NULL,
				       .ctx = vm };
}

struct msi_sink chips_ioapic_msi(struct vm *vm)
{
	return all_theirs(vm) ? (struct msi_sink){ 0 } : chips_msi(vm);
}

/* Our chips note the level, which nothing but this changes: the engine is told when it does. */
static void set_line(void *ctx, unsigned gsi, bool level)
{
	struct vm *vm = ctx;
	struct irq ours = pc_irq(&vm->irqs, gsi);

	if (ioapic_input(vm->irqs.ioapic, gsi == 0 ? 2 : gsi) == level)
		return;
	irq_set(&ours, level);
	if (vm->cpu_vm)
		vm->engine->chips->line(vm->cpu_vm, gsi, level);
}

struct irq chips_line(struct vm *vm, unsigned gsi)
{
	if (!all_theirs(vm))
		return pc_irq(&vm->irqs, gsi);
	return (struct irq){ .set = set_line, .chip = vm, .pin = gsi };
}

/* -- their state and ours ----------------------------------------------------------------- */

int chips_load(struct vm *vm, struct err *e)
{
	struct board_chips b;
	struct lapic_regs l;

	for (unsigned i = 0; theirs(vm) && i < vm->cfg->nr_cpus; i++) {
		lapic_put(vm->cpu[i].lapic, &l);
		TRY(vm->engine->chips->set_lapic(vm->cpu[i].v, &l, e));
	}
	if (!all_theirs(vm))
		return 0;
	pic_put(vm->irqs.pic, b.pic);
	ioapic_put(vm->irqs.ioapic, &b.ioapic);
	return vm->engine->chips->set_board(vm->cpu_vm, &b, e);
}

void chips_save(struct vm *vm)
{
	struct board_chips b;
	struct lapic_regs l;

	if (all_theirs(vm)) {
		vm->engine->chips->get_board(vm->cpu_vm, &b);
		pic_take(vm->irqs.pic, b.pic);
		ioapic_take(vm->irqs.ioapic, &b.ioapic);
	}
	for (unsigned i = 0; theirs(vm) && i < vm->cfg->nr_cpus; i++) {
		int extint = vm->engine->chips->get_lapic(vm->cpu[i].v, &l);

		lapic_take(vm->cpu[i].lapic, &l);
		if (extint >= 0)
			pic_unack(vm->irqs.pic, (u8)extint);
	}
}

/* -- for -v -v: what waits for whom, while no vCPU runs -------------------------------------- */

static void vectors(const u32 reg[8], char *ret, size_t len)
{
	size_t n = 0;

	*ret = '\0';
	for (unsigned v = 0; v < 256 && n + 4 < len; v++)
		if (reg[v / 32] & BIT(v % 32))
			n += (size_t)snprintf(ret + n, len - n, " %x", v);
}

static void say_lapic(const struct vm *vm, unsigned cpu)
{
	enum { ISR = 0x10, IRR = 0x20, LVT_TIMER = 0x32, TMICT = 0x38, TMCCT }; /* page offset / 16 */
	char service[64], asked[64];
	struct lapic_regs l;

	lapic_put(vm->cpu[cpu].lapic, &l);
	vectors(&l.reg[ISR], service, sizeof service);
	vectors(&l.reg[IRR], asked, sizeof asked);
	vm_say(vm, 2, "vCPU %u: in service:%s; requested:%s; timer %x: %x of %x, deadline %llx",
	       cpu, service, asked, l.reg[LVT_TIMER], l.reg[TMCCT], l.reg[TMICT],
	       (unsigned long long)l.deadline);
}

void chips_say(struct vm *vm)
{
	struct board_chips b;

	if (vm->cfg->verbose < 2 || !vm->cpu[0].v)
		return;
	chips_save(vm);
	for (unsigned i = 0; i < vm->cfg->nr_cpus; i++)
		say_lapic(vm, i);
	pic_put(vm->irqs.pic, b.pic);
	ioapic_put(vm->irqs.ioapic, &b.ioapic);
	vm_say(vm, 2, "PIC: lines %02x %02x, requests %02x %02x, in service %02x %02x, masked %02x %02x",
	       b.pic[0].line, b.pic[1].line, b.pic[0].irr, b.pic[1].irr, b.pic[0].isr, b.pic[1].isr,
	       b.pic[0].imr, b.pic[1].imr);
	for (unsigned n = 0; n < IOAPIC_PINS; n++)
		if (!(b.ioapic.redir[n] & BIT(16)))
			vm_say(vm, 2, "I/O APIC pin %u: %016llx, line %d", n,
			       (unsigned long long)b.ioapic.redir[n], !!(b.ioapic.line & BIT(n)));
}
