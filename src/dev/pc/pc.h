// SPDX-License-Identifier: Apache-2.0
/*
 * pc.h - the fixed furniture of a PC: interrupt chips, timers, ports
 *
 * Every device here is an ordinary struct dev_class (dev/dev.h): the board makes
 * it with dev_new(), puts its regions on a bus with bus_map() and connects its
 * wires through dev_env.irq[]. For each class this header says
 *
 *	regions   number, where a PC has them
 *	wires     the index in env.irq[] of each output
 *	config    the struct passed as cfg (NULL where none is named)
 *
 * All functions are called with the board lock held, except where noted. A wire
 * that is not connected (zero struct irq) is silently ignored.
 *
 * Interrupt topology: a device's ISA line fans out (pc_irq()) to the PIC and to
 * the I/O APIC. The PIC's INTR output is LINT0 of the local APICs; the I/O APIC
 * and MSI-capable devices send messages (address, data) to the lapic_set.
 */
#ifndef DEV_PC_PC_H
#define DEV_PC_PC_H

#include "base/chips.h"
#include "base/ratelimit.h"
#include "dev/dev.h"

struct chr;

#define PC_MAX_CPUS 240 /* xAPIC ids 0..239 */

/* -- 8259A pair with ELCR (pic8259.c) ---------------------------------------- */

/*
 * regions  0: master, 0x20, 1: slave, 0xa0, 2: ELCR, 0x4d0 (all PIO)
 * wires    [0] INTR, to lapic_lint0()
 */
extern const struct dev_class pic8259_class;

struct irq pic_line(struct dev *pic, unsigned n); /* input n, 0..15 (not 2: the cascade) */
bool pic_pending(const struct dev *pic);	  /* is INTR asserted? */
/* INTA: takes the highest request and returns its vector; a spurious 7 or 15 if it has gone. */
u8 pic_ack(struct dev *pic);
/* The vector of a pic_ack() was not delivered after all: it is a request again. */
void pic_unack(struct dev *pic, u8 vector);

/*
 * All registers, master first: for an engine that has the real chips. Where it does, the wire
 * [0] is left open and this device keeps the state while the machine stands still. Input levels are
 * the devices' that drive them: taking leaves them alone.
 */
void pic_put(struct dev *pic, struct pic_chip ret[2]);
void pic_take(struct dev *pic, const struct pic_chip chip[2]);

/* -- 8254 timer and port 0x61 (pit8254.c) -------------------------------------- */

/*
 * regions  0: counters, 0x40, 1: port 0x61 (PIO)
 * wires    [0] IRQ 0
 */
extern const struct dev_class pit8254_class;

/* -- I/O APIC (ioapic.c) ------------------------------------------------------- */

#define IOAPIC_BASE 0xfec00000ull

/*
 * regions  0: 0xfec00000 (MMIO)
 * config   struct ioapic_config, or NULL for id 0
 * env.msi  where its messages go: lapic_set_sink(), or the hypervisor's
 */
extern const struct dev_class ioapic_class;

struct ioapic_config {
	u8 id; /* APIC id after reset; the guest may change it */
	/* What the pin would send, told at every change; level: it waits for its EOI. May be NULL. */
	void (*route)(void *ctx, unsigned pin, u64 addr, u32 data, bool level);
	void *ctx;
};

struct irq ioapic_line(struct dev *ioapic, unsigned pin); /* 0..23 */
/* A CPU finished a level-triggered vector: fits lapic_set.eoi. */
void ioapic_eoi(void *ioapic, u8 vector);
/* As pic_put() and pic_take(), with env.msi and .route left empty. */
void ioapic_put(struct dev *ioapic, struct ioapic_regs *ret);
void ioapic_take(struct dev *ioapic, const struct ioapic_regs *r);
bool ioapic_input(const struct dev *ioapic, unsigned pin); /* level of an input */

/*
 * One ISA or PCI line to both interrupt chips: input n of the PIC (n < 16) and
 * pin n of the I/O APIC, with IRQ 0 on pin 2 as the MADT's override says. The
 * struct must outlive the wires; either chip may be NULL.
 */
struct pc_irqs {
	struct dev *pic, *ioapic;
};
struct irq pc_irq(struct pc_irqs *r, unsigned gsi); /* 0..23 */

/* -- local APIC (lapic.c) ------------------------------------------------------- */

#define LAPIC_BASE 0xfee00000ull /* power-on address of the register page */

enum lapic_signal {
	LAPIC_SIG_IRQ, /* has_irq became true, or a more urgent vector arrived */
	LAPIC_SIG_NMI,
	LAPIC_SIG_INIT, /* the local APIC itself is already reset */
	LAPIC_SIG_SIPI, /* arg: start vector */
};

/*
 * What the local APICs of a board share. Zero it, set the hooks (each may be
 * NULL), then create the lapic devices with it; each enters itself at cpu[index].
 */
struct lapic_set {
	struct dev *pic;		    /* answers ExtINT */
	void (*eoi)(void *ctx, u8 vector);  /* end of a level-triggered interrupt: ioapic_eoi */
	void *eoi_ctx;
	unsigned nr;			    /* highest index + 1 */
	unsigned next;			    /* lowest-priority round robin */
	bool lint0;			    /* level of the PIC's INTR wire */
	struct dev *cpu[PC_MAX_CPUS];
};

/*
 * regions  0: the register page as this CPU sees it. Do not put it on a bus: the
 *	    page differs per CPU, use lapic_mmio_hit() and friends.
 * config   struct lapic_config
 */
extern const struct dev_class lapic_class;

struct lapic_config {
	struct lapic_set *set;
	unsigned index;	   /* vCPU number = APIC id; 0 is the boot processor */
	u8 phys_bits;	   /* guest physical address width, for APIC_BASE */
	u64 tsc_khz;	   /* guest TSC */
	u64 (*tsc)(void *ctx); /* guest TSC of this vCPU now; NULL: no TSC-deadline mode */
	/* Tell the vCPU. Called with the board lock held, from any thread. */
	void (*signal)(void *ctx, enum lapic_signal what, u8 arg);
	void *ctx;
	bool passive; /* the CPU engine has the real one: this only keeps its state, see lapic_take() */
};

/* Message-signalled interrupts [SDM 3A 11.11]; ctx is the struct lapic_set. */
struct msi_sink lapic_set_sink(struct lapic_set *s);
void lapic_set_msi(void *set, u64 addr, u32 data);
struct irq lapic_lint0(struct lapic_set *s); /* from the PIC's INTR */
struct irq lapic_lint1(struct lapic_set *s); /* NMI button: rising edge */

/* These map 1:1 to struct cpu_io (cpu/cpu.h). */
bool lapic_has_irq(const struct dev *lapic); /* lock-free, any thread */
/* Vector, or -1; asks the PIC for ExtINT. LAPIC_SIG_IRQ comes once per change: after it, call
 * this whenever the CPU can take an interrupt, until it returns -1. */
int lapic_ack_irq(struct dev *lapic);
/* MSR 0x1b (APIC_BASE), 0x6e0 (TSC_DEADLINE), 0x800..0x8ff. Return: false = #GP. */
bool lapic_rdmsr(struct dev *lapic, u32 msr, u64 *ret);
bool lapic_wrmsr(struct dev *lapic, u32 msr, u64 val);
u8 lapic_get_cr8(struct dev *lapic);
void lapic_set_cr8(struct dev *lapic, u8 val);

/* Is gpa in this CPU's register page (where APIC_BASE puts it, if at all)? Own vCPU's thread,
 * no lock needed. Accesses while the page is off (x2APIC, disabled) are the bus's. */
bool lapic_mmio_hit(const struct dev *lapic, gpa_t gpa);
u64 lapic_mmio_read(struct dev *lapic, gpa_t gpa, unsigned size);
void lapic_mmio_write(struct dev *lapic, gpa_t gpa, unsigned size, u64 val);

/* The guest's TSC jumped (WRMSR TSC, TSC_ADJUST): recompute the deadline timer. */
void lapic_tsc_changed(struct dev *lapic);

/* The whole state: what an engine with local APICs of its own loads, and gives back. */
void lapic_put(struct dev *lapic, struct lapic_regs *ret);
void lapic_take(struct dev *lapic, const struct lapic_regs *r);

/* -- HPET (hpet.c) --------------------------------------------------------------- */

#define HPET_BASE 0xfed00000ull

/*
 * regions  0: 1 KiB, 0xfed00000 (MMIO)
 * config   struct hpet_config
 */
extern const struct dev_class hpet_class;

struct hpet_config {
	struct irq gsi; /* .set(.chip, GSI 20..23, level); .pin unused */
};

/* -- RTC and CMOS RAM (rtc146818.c) ----------------------------------------------- */

/*
 * regions  0: 0x70-0x71 (PIO)
 * wires    [0] IRQ 8
 * config   struct rtc_config
 */
extern const struct dev_class rtc146818_class;

struct rtc_config {
	u64 mem_low, mem_high; /* bytes of RAM below and above 4 GiB, for the firmware bytes */
};

/* -- 8042 keyboard controller without keyboard (i8042.c) --------------------------- */

/*
 * regions  0: data, 0x60, 1: command and status, 0x64 (PIO)
 * wires    as named
 */
extern const struct dev_class i8042_class;
enum { I8042_IRQ1, I8042_RESET, I8042_A20 }; /* RESET: pulse; A20: level */

/* -- 16550A serial port (uart16550.c) ------------------------------------------------ */

/*
 * regions  0: 8 registers; COM1 0x3f8 IRQ 4, COM2 0x2f8 IRQ 3 (PIO)
 * wires    [0] the interrupt
 * config   struct uart_config
 */
extern const struct dev_class uart16550_class;

struct uart_config {
	struct chr *chr; /* NULL: output vanishes, no input */
	struct ratelimit_bucket_cfg limit; /* bytes of output; what is beyond is dropped */
};

/* -- port 0x92 (port92.c) -------------------------------------------------------------- */

/*
 * regions  0: 0x92 (PIO)
 * wires    as named
 */
extern const struct dev_class port92_class;
enum { PORT92_RESET, PORT92_A20 }; /* RESET: pulse; A20: level */

/* -- ACPI fixed hardware and reset register (pmacpi.c) ------------------------------------ */

#define PMACPI_BASE	   0x600 /* where our FADT says region 0 is */
#define PMACPI_SLP_TYP_S5  5	 /* \_S5 in our DSDT */
#define PMACPI_PM1_EVT	   0	 /* offsets in region 0: status, enable (2 bytes each) */
#define PMACPI_PM1_CNT	   4	 /* 2 bytes */
#define PMACPI_TMR	   8	 /* 4 bytes, 32-bit counter */
#define PMACPI_RESET_PORT  0xcf9 /* FADT RESET_REG, value 6 */
#define PMACPI_RESET_VALUE 0x06

/*
 * regions  0: 16 bytes at PMACPI_BASE, 1: 0xcf9 (PIO; overlays PCI's 0xcf8)
 * wires    as named. The board is always in ACPI mode (FADT SMI_CMD = 0).
 */
extern const struct dev_class pmacpi_class;
enum { PMACPI_SCI, PMACPI_RESET, PMACPI_OFF }; /* SCI: level; RESET, OFF: pulse */

void pmacpi_power_button(struct dev *pm); /* asks the guest to shut down */

/* -- debugging and test devices -------------------------------------------------------------- */

/*
 * isa-debug-exit (debug_exit.c)
 * regions  0: 4 bytes, 0xf4 (PIO)
 * config   struct debug_exit_config
 */
extern const struct dev_class debug_exit_class;

struct debug_exit_config {
	void (*exit)(void *ctx, u32 status); /* status: (value << 1) | 1 */
	void *ctx;
};

/*
 * debug console (debugcon.c): a byte written is a byte printed
 * regions  0: 0xe9 (PIO)
 * config   struct debugcon_config
 */
extern const struct dev_class debugcon_class;

struct debugcon_config {
	struct chr *chr; /* NULL: output vanishes */
};

/*
 * pvpanic (pvpanic.c): the guest reports its kernel's panic
 * regions  0: 0x505, 1 byte (PIO)
 * config   struct pvpanic_config
 */
extern const struct dev_class pvpanic_class;

struct pvpanic_config {
	void (*panicked)(void *ctx);
	void *ctx;
};

/*
 * The guest reports that it has booted (boot_timer.c)
 * regions  0: 0xc0000000, one page (MMIO)
 * config   struct boot_timer_config
 */
extern const struct dev_class boot_timer_class;

struct boot_timer_config {
	void (*booted)(void *ctx);
	void *ctx;
};

/*
 * pc-testdev (testdev.c), the interface kvm-unit-tests uses
 * regions  0: echo latch, 0xe0, 4 bytes, 1: page flush, 0xe4, 4 bytes, 2: byte echo, 0xe8,
 *	    3: interrupt lines, 0x2000, 24 bytes (all PIO), 4: scratch, 0xff000000, 64 KiB (MMIO)
 * config   struct testdev_config
 */
extern const struct dev_class testdev_class;

struct testdev_config {
	struct irq gsi; /* .set(.chip, line 0..23, level); .pin unused */
};

/*
 * firmware configuration (fwcfg.c), the selector and data port subset
 * regions  0: 0x510-0x511 (PIO)
 * config   struct fwcfg_config
 */
extern const struct dev_class fwcfg_class;

struct fwcfg_config {
	u64 ram_size; /* bytes */
	u16 nr_cpus, max_cpus;
};

#endif
