// SPDX-License-Identifier: Apache-2.0
/* kvm_routes.c - tables for KVM_SET_GSI_ROUTING [KVM 4.52] */
#include "cpu/kvm/kvm_int.h"

static void add(struct kvm_routes *t, struct kvm_irq_routing_entry x)
{
	t->entry[t->head.nr++] = x;
}

/* As a PC wires them: IRQ 0 is pin 2 of the I/O APIC, where the PIC has its cascade. */
void kvm_routes_kernel(struct kvm_routes *ret)
{
	*ret = (struct kvm_routes){ .head.nr = 0 };
	for (u32 n = 0; n < IOAPIC_PINS; n++) {
		if (n == 2)
			continue;
		if (n < 16)
			add(ret, (struct kvm_irq_routing_entry){
					 .gsi = n,
					 .type = KVM_IRQ_ROUTING_IRQCHIP,
					 .u.irqchip = { n < 8 ? KVM_IRQCHIP_PIC_MASTER :
								KVM_IRQCHIP_PIC_SLAVE,
							n % 8 } });
		add(ret, (struct kvm_irq_routing_entry){
				 .gsi = n,
				 .type = KVM_IRQ_ROUTING_IRQCHIP,
				 .u.irqchip = { KVM_IRQCHIP_IOAPIC, n == 0 ? 2 : n } });
	}
}

void kvm_routes_split(const struct kvm_pin pin[IOAPIC_PINS], struct kvm_routes *ret)
{
	*ret = (struct kvm_routes){ .head.nr = 0 };
	for (u32 n = 0; n < IOAPIC_PINS; n++)
		if (pin[n].level)
			add(ret, (struct kvm_irq_routing_entry){
					 .gsi = n,
					 .type = KVM_IRQ_ROUTING_MSI,
					 .u.msi = { .address_lo = (u32)pin[n].addr,
						    .address_hi = (u32)(pin[n].addr >> 32),
						    .data = pin[n].data } });
}
