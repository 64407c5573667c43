// SPDX-License-Identifier: Apache-2.0
/*
 * kvm_chips.c - KVM's local APICs ("split" chip), seen from the board [KVM 7.5]
 *
 * KVM keeps the PIC and the I/O APIC out. It wants to know what the I/O APIC's pins
 * would send, as its routing table: a vector that a pin sends by level is reported at
 * its end of interrupt.
 */
#include "cpu/kvm/kvm_int.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REG_ISR 0x10
#define REG_IRR 0x20

int kvm_chips_new(struct cpu_vm *vm, struct err *e)
{
	const struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP,
					    .args[0] = KVM_IOAPIC_PINS };

	return kvm_ctl(vm->fd, KVM_ENABLE_CAP, &cap, "local APICs", e);
}

/* A message nobody takes (no such destination, masked) is lost, as on hardware. */
static void send_msi(struct cpu_vm *vm, u64 addr, u32 data)
{
	const struct kvm_msi m = { .address_lo = (u32)addr,
				   .address_hi = (u32)(addr >> 32),
				   .data = data };

	(void)ioctl(vm->fd, KVM_SIGNAL_MSI, &m);
}

static void route(struct cpu_vm *vm, unsigned pin, u64 addr, u32 data, bool level)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[KVM_IOAPIC_PINS];
	} t = { .head.nr = 0 };
	struct kvm_pin *p = &vm->pin[pin % KVM_IOAPIC_PINS];

	if (level == p->level && (!level || (addr == p->addr && data == p->data)))
		return;
	*p = (struct kvm_pin){ level, addr, data };
	for (unsigned n = 0; n < KVM_IOAPIC_PINS; n++)
		if (vm->pin[n].level)
			t.entry[t.head.nr++] = (struct kvm_irq_routing_entry){
				.gsi = n,
				.type = KVM_IRQ_ROUTING_MSI,
				.u.msi.address_lo = (u32)vm->pin[n].addr,
				.u.msi.address_hi = (u32)(vm->pin[n].addr >> 32),
				.u.msi.data = vm->pin[n].data,
			};
	(void)ioctl(vm->fd, KVM_SET_GSI_ROUTING, &t);
}

/* A vector KVM has taken but not delivered is in service for it: it is still a request. */
static void undo_delivery(struct vcpu *v, struct cpu_lapic *l)
{
	struct kvm_vcpu_events ev = { 0 };
	unsigned n;

	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev) < 0 || !ev.interrupt.injected ||
	    ev.interrupt.soft)
		return;
	n = ev.interrupt.nr;
	if (!(l->reg[REG_ISR + n / 32] & BIT(n % 32)))
		return; /* the PIC's */
	l->reg[REG_ISR + n / 32] &= ~BIT(n % 32);
	l->reg[REG_IRR + n / 32] |= BIT(n % 32);
}

struct one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

static void get_lapic(struct vcpu *v, struct cpu_lapic *ret)
{
	struct one_msr m = { .head.nmsrs = 1, .entry.index = MSR_TSC_DEADLINE };
	struct kvm_lapic_state page = { 0 };
	struct kvm_sregs sregs = { 0 };

	*ret = (struct cpu_lapic){ 0 };
	(void)ioctl(v->fd, KVM_GET_LAPIC, &page);
	(void)ioctl(v->fd, KVM_GET_SREGS, &sregs);
	for (unsigned n = 0; n < array_len(ret->reg); n++)
		memcpy(&ret->reg[n], page.regs + 16 * n, 4);
	ret->base = sregs.apic_base;
	if (ioctl(v->fd, KVM_GET_MSRS, &m) == 1)
		ret->deadline = m.entry.data;
	undo_delivery(v, ret);
}

static int set_lapic(struct vcpu *v, const struct cpu_lapic *s, struct err *e)
{
	struct one_msr base = { .head.nmsrs = 1,
				.entry = { .index = MSR_APIC_BASE, .data = s->base } };
	struct one_msr deadline = { .head.nmsrs = 1,
				    .entry = { .index = MSR_TSC_DEADLINE, .data = s->deadline } };
	struct kvm_lapic_state page = { 0 };

	for (unsigned n = 0; n < array_len(s->reg); n++)
		memcpy(page.regs + 16 * n, &s->reg[n], 4);
	if (ioctl(v->fd, KVM_SET_MSRS, &base) != 1)
		return err_set(e, EINVAL, "cpu%u: kvm refuses APIC_BASE %#llx", v->index,
			       (unsigned long long)s->base);
	TRY(kvm_ctl(v->fd, KVM_SET_LAPIC, &page, "local APIC", e));
	if (ioctl(v->fd, KVM_SET_MSRS, &deadline) != 1 && s->deadline)
		return err_set(e, EINVAL, "cpu%u: kvm has no TSC deadline timer", v->index);
	return 0;
}

static int doorbell(struct cpu_vm *vm, gpa_t gpa, unsigned size, int fd, bool on)
{
	const struct kvm_ioeventfd d = {
		.addr = gpa, .len = size, .fd = fd, .flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN
	};

	return ioctl(vm->fd, KVM_IOEVENTFD, &d) < 0 ? -errno : 0;
}

const struct cpu_chips kvm_chips = {
	.msi = send_msi,
	.route = route,
	.get_lapic = get_lapic,
	.set_lapic = set_lapic,
	.doorbell = doorbell,
};
