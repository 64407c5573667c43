// SPDX-License-Identifier: Apache-2.0
/* io.c - calls out of the engine: the guest's FP registers are put away first */
#include "cpu/soft/vcpu.h"

u64 io_in(struct vcpu *v, u16 port, unsigned size)
{
	fp_park(v);
	return v->io.in(v->io.io, port, size);
}

void io_out(struct vcpu *v, u16 port, unsigned size, u64 val)
{
	fp_park(v);
	v->io.out(v->io.io, port, size, val);
}

u64 io_load(struct vcpu *v, gpa_t gpa, unsigned size)
{
	fp_park(v);
	return v->io.load(v->io.io, gpa, size);
}

void io_store(struct vcpu *v, gpa_t gpa, unsigned size, u64 val)
{
	fp_park(v);
	v->io.store(v->io.io, gpa, size, val);
}

int io_ack_irq(struct vcpu *v)
{
	fp_park(v);
	return v->io.ack_irq(v->io.io);
}

bool io_has_irq(struct vcpu *v)
{
	fp_park(v);
	return v->io.has_irq(v->io.io);
}

bool io_apic_rdmsr(struct vcpu *v, u32 msr, u64 *ret)
{
	fp_park(v);
	return v->io.apic_rdmsr(v->io.io, msr, ret);
}

bool io_apic_wrmsr(struct vcpu *v, u32 msr, u64 val)
{
	fp_park(v);
	return v->io.apic_wrmsr(v->io.io, msr, val);
}

u8 io_get_cr8(struct vcpu *v)
{
	fp_park(v);
	return v->io.get_cr8(v->io.io);
}

void io_set_cr8(struct vcpu *v, u8 val)
{
	fp_park(v);
	v->io.set_cr8(v->io.io, val);
}

void io_tsc_moved(struct vcpu *v)
{
	fp_park(v);
	if (v->io.tsc_moved)
		v->io.tsc_moved(v->io.io, v->s.tsc_offset);
}

u64 io_wall_ns(struct vcpu *v)
{
	fp_park(v);
	return v->io.wall_ns(v->io.io);
}
