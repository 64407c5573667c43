// SPDX-License-Identifier: Apache-2.0
/*
 * chips.h - registers of the board's interrupt chips: what our device models keep, what an engine
 * with such chips of its own loads and gives back, and what snapshots hold, in one form
 */
#ifndef BASE_CHIPS_H
#define BASE_CHIPS_H

#include "base/types.h"

/* One 8259A; its bits are inputs. (dev/pc/pic8259.c) */
struct pic_chip {
	u8 irr, isr, imr; /* latched requests (edge), in service, masked */
	u8 line;	  /* input levels */
	u8 elcr;	  /* 1 = level triggered */
	u8 base;	  /* ICW2: vector of IR0 */
	u8 lowest;	  /* input with the lowest priority, 7 after reset */
	u8 step;	  /* initialisation: ICW expected next (2, 3, 4), 0 = done */
	bool need_icw4, single;
	bool read_isr, poll, smm, sfnm, aeoi, rotate_aeoi;
};

#define IOAPIC_PINS 24

struct ioapic_regs {
	u64 redir[IOAPIC_PINS]; /* as the guest reads them [IOAPIC 3.2.4] */
	u32 line;		/* input levels, one bit per pin */
	u8 select, id;
};

/*
 * A local APIC: the registers of its page, reg[n] at offset 16 * n [SDM 3A table 11-1], the id as in
 * xAPIC mode, and its MSRs.
 */
struct lapic_regs {
	u32 reg[64];
	u64 base;     /* MSR_APIC_BASE */
	u64 deadline; /* MSR_TSC_DEADLINE: guest TSC, 0 = off */
	u64 pv_eoi;   /* MSR_KVM_PV_EOI */
};

/* The PIC and the I/O APIC of a board. */
struct board_chips {
	struct pic_chip pic[2]; /* master, slave */
	struct ioapic_regs ioapic;
};

#endif
