// SPDX-License-Identifier: Apache-2.0
/*
 * kvm_chips.c - KVM's interrupt chips, seen from the board [KVM 4.24, 7.5]
 *
 * All of them, or ("split") the local APICs only. A split chip wants to know what the I/O APIC's
 * pins would send, as its routing table: a vector that a pin sends by level is reported at its end
 * of interrupt.
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
	const struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args[0] = IOAPIC_PINS };
	struct kvm_routes t;

	if (!kvm_has_board(vm))
		return kvm_ctl(vm->fd, KVM_ENABLE_CAP, &cap, "local APICs", e);
	TRY(kvm_ctl(vm->fd, KVM_CREATE_IRQCHIP, NULL, "interrupt chips", e));
	kvm_routes_kernel(&t);
	return kvm_ctl(vm->fd, KVM_SET_GSI_ROUTING, &t, "interrupt routes", e);
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
	struct kvm_pin *p = &vm->pin[pin % IOAPIC_PINS];
	struct kvm_routes t;

	if (level == p->level && (!level || (addr == p->addr && data == p->data)))
		return;
	*p = (struct kvm_pin){ level, addr, data };
	kvm_routes_split(vm->pin, &t);
	(void)ioctl(vm->fd, KVM_SET_GSI_ROUTING, &t);
}

static void line(struct cpu_vm *vm, unsigned gsi, bool level)
{
	const struct kvm_irq_level l = { .irq = gsi, .level = level };

	(void)ioctl(vm->fd, KVM_IRQ_LINE, &l);
}

/*
 * A vector KVM has taken but not delivered is in service for it: it is still a request. The PIC's goes
 * back to the PIC; ours would give it again, so KVM must then forget it.
 */
static int undo_delivery(struct vcpu *v, struct lapic_regs *l)
{
	struct kvm_vcpu_events ev = { 0 };
	unsigned n;

	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev) < 0 || !ev.interrupt.injected ||
	    ev.interrupt.soft)
		return -1;
	n = ev.interrupt.nr;
	if (l->reg[REG_ISR + n / 32] & BIT(n % 32)) {
		l->reg[REG_ISR + n / 32] &= ~BIT(n % 32);
		l->reg[REG_IRR + n / 32] |= BIT(n % 32);
		return -1;
	}
	ev.interrupt.injected = 0;
	return kvm_has_board(v->vm) || ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev) == 0 ? (int)n : -1;
}

struct one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

static u64 get_msr(struct vcpu *v, u32 nr)
{
	struct one_msr m = { .head.nmsrs = 1, .entry.index = nr };

	return ioctl(v->fd, KVM_GET_MSRS, &m) == 1 ? m.entry.data : 0;
}

/* A register KVM does not have may be 0. */
static int set_msr(struct vcpu *v, u32 nr, u64 val, const char *what, struct err *e)
{
	struct one_msr m = { .head.nmsrs = 1, .entry = { .index = nr, .data = val } };

	if (ioctl(v->fd, KVM_SET_MSRS, &m) == 1 || !val)
		return 0;
	return err_set(e, EINVAL, "cpu%u: kvm refuses %#llx as %s", v->index,
		       (unsigned long long)val, what);
}

static int get_lapic(struct vcpu *v, struct lapic_regs *ret)
{
	struct kvm_lapic_state page = { 0 };
	struct kvm_sregs sregs = { 0 };

	*ret = (struct lapic_regs){ 0 };
	(void)ioctl(v->fd, KVM_GET_LAPIC, &page);
	(void)ioctl(v->fd, KVM_GET_SREGS, &sregs);
	for (unsigned n = 0; n < array_len(ret->reg); n++)
		memcpy(&ret->reg[n], page.regs + 16 * n, 4);
	ret->base = sregs.apic_base;
	ret->deadline = get_msr(v, MSR_TSC_DEADLINE);
	ret->pv_eoi = get_msr(v, MSR_KVM_PV_EOI);
	return undo_delivery(v, ret);
}

static int set_lapic(struct vcpu *v, const struct lapic_regs *s, struct err *e)
{
	struct kvm_lapic_state page = { 0 };

	for (unsigned n = 0; n < array_len(s->reg); n++)
		memcpy(page.regs + 16 * n, &s->reg[n], 4);
	TRY(set_msr(v, MSR_APIC_BASE, s->base, "APIC_BASE", e));
	TRY(kvm_ctl(v->fd, KVM_SET_LAPIC, &page, "local APIC", e));
	TRY(set_msr(v, MSR_KVM_PV_EOI, s->pv_eoi, "the address for the end of interrupts", e));
	return set_msr(v, MSR_TSC_DEADLINE, s->deadline, "TSC deadline", e);
}

static int doorbell(struct cpu_vm *vm, gpa_t gpa, unsigned size, u64 val, int fd, bool on)
{
	const struct kvm_ioeventfd d = {
		.datamatch = val,
		.addr = gpa,
		.len = size,
		.fd = fd,
		.flags = (size ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return ioctl(vm->fd, KVM_IOEVENTFD, &d) < 0 ? -errno : 0;
}

const struct cpu_chips kvm_chips = {
	.msi = send_msi,
	.route = route,
	.line = line,
	.get_board = kvm_board_get,
	.set_board = kvm_board_set,
	.get_lapic = get_lapic,
	.set_lapic = set_lapic,
	.doorbell = doorbell,
};
