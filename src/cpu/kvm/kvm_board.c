// SPDX-License-Identifier: Apache-2.0
/*
 * kvm_board.c - KVM's PIC and I/O APIC in the form of base/chips.h, and back [KVM 4.27, 4.28]
 *
 * KVM keeps input levels where it needs them: the PIC's in .last_irr, of level-triggered inputs also
 * in .irr; the I/O APIC's in .irr, which it takes as new requests when it is set. So an edge that
 * has been is not told again, and levels are.
 */
#include "cpu/kvm/kvm_int.h"

#include "base/bits.h"

#include <string.h>

#define RTE_LEVEL  BIT_ULL(15)
#define CASCADE_IN BIT(2) /* of the master: KVM latches it, ours is a level */

static const u8 elcr_mask[2] = { 0xf8, 0xde };

void kvm_pic_out(const struct kvm_pic_state *k, struct pic_chip *ret)
{
	*ret = (struct pic_chip){
		.irr = k->irr & (u8)~k->elcr,
		.isr = k->isr,
		.imr = k->imr,
		.line = k->last_irr,
		.elcr = k->elcr,
		.base = k->irq_base & 0xf8,
		.lowest = (k->priority_add + 7) & 7,
		.step = k->init_state ? (k->init_state & 3) + 1 : 0,
		.need_icw4 = k->init4,
		.read_isr = k->read_reg_select,
		.poll = k->poll,
		.smm = k->special_mask,
		.sfnm = k->special_fully_nested_mode,
		.aeoi = k->auto_eoi,
		.rotate_aeoi = k->rotate_on_auto_eoi,
	};
}

void kvm_pic_in(const struct pic_chip *c, unsigned n, struct kvm_pic_state *ret)
{
	*ret = (struct kvm_pic_state){
		.last_irr = c->line,
		.irr = (c->irr & (u8)~c->elcr) | (c->line & c->elcr),
		.isr = c->isr,
		.imr = c->imr,
		.priority_add = (c->lowest + 1) & 7,
		.irq_base = c->base,
		.read_reg_select = c->read_isr,
		.poll = c->poll,
		.special_mask = c->smm,
		.init_state = c->step ? c->step - 1 : 0,
		.auto_eoi = c->aeoi,
		.rotate_on_auto_eoi = c->rotate_aeoi,
		.special_fully_nested_mode = c->sfnm,
		.init4 = c->need_icw4,
		.elcr = c->elcr,
		.elcr_mask = elcr_mask[n],
	};
	if (n == 0)
		ret->last_irr &= (u8)~CASCADE_IN; /* or the slave could not raise it */
}

void kvm_ioapic_out(const struct kvm_ioapic_state *k, struct ioapic_regs *ret)
{
	*ret = (struct ioapic_regs){ .line = k->irr, .select = (u8)k->ioregsel, .id = k->id & 15 };
	for (unsigned n = 0; n < IOAPIC_PINS; n++)
		memcpy(&ret->redir[n], &k->redirtbl[n], 8);
}

void kvm_ioapic_in(const struct ioapic_regs *r, struct kvm_ioapic_state *ret)
{
	*ret = (struct kvm_ioapic_state){
		.base_address = 0xfec00000, .ioregsel = r->select, .id = r->id
	};
	for (unsigned n = 0; n < IOAPIC_PINS; n++) {
		memcpy(&ret->redirtbl[n], &r->redir[n], 8);
		if (r->redir[n] & RTE_LEVEL)
			ret->irr |= r->line & BIT(n);
	}
}

void kvm_board_get(struct cpu_vm *vm, struct board_chips *ret)
{
	struct kvm_irqchip c = { .chip_id = KVM_IRQCHIP_PIC_MASTER };

	*ret = (struct board_chips){ 0 };
	for (; c.chip_id <= KVM_IRQCHIP_PIC_SLAVE; c.chip_id++)
		if (ioctl(vm->fd, KVM_GET_IRQCHIP, &c) == 0)
			kvm_pic_out(&c.chip.pic, &ret->pic[c.chip_id]);
	c.chip_id = KVM_IRQCHIP_IOAPIC;
	if (ioctl(vm->fd, KVM_GET_IRQCHIP, &c) == 0)
		kvm_ioapic_out(&c.chip.ioapic, &ret->ioapic);
}

int kvm_board_set(struct cpu_vm *vm, const struct board_chips *s, struct err *e)
{
	struct kvm_irqchip c = { .chip_id = KVM_IRQCHIP_PIC_MASTER };

	for (; c.chip_id <= KVM_IRQCHIP_PIC_SLAVE; c.chip_id++) {
		kvm_pic_in(&s->pic[c.chip_id], c.chip_id, &c.chip.pic);
		TRY(kvm_ctl(vm->fd, KVM_SET_IRQCHIP, &c, "PIC", e));
	}
	c.chip_id = KVM_IRQCHIP_IOAPIC;
	kvm_ioapic_in(&s->ioapic, &c.chip.ioapic);
	return kvm_ctl(vm->fd, KVM_SET_IRQCHIP, &c, "I/O APIC", e);
}
