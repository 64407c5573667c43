// SPDX-License-Identifier: Apache-2.0
/*
 * acpi.c - ACPI tables that describe the board
 *
 * Follows ACPI 6.4 chapter 5.2 as [ACPI], the PCI Firmware Specification 3.2 for
 * MCFG, the IA-PC HPET specification 1.0a for HPET, and Microsoft's "Windows ACPI
 * Emulated Devices Table" for WAET. PCI interrupts: device d, pin p is wired to
 * I/O APIC input 16 + (d + p) % 4.
 */
#include "base/bits.h"
#include "fw/aml.h"
#include "fw/fw_int.h"
#include "mem/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_SIZE 36
#define NR_PIRQS    4 /* I/O APIC inputs 16..19 */

/* The tables under construction: @buf is an image of guest memory at FW_ACPI. */
struct tables {
	const struct fw_board *b;
	u8 *buf;
	size_t len;
	size_t table; /* start of the one being written */
	u32 xsdt[16]; /* guest addresses */
	unsigned nr_xsdt;
	bool failed;
};

static u8 *extend(struct tables *t, size_t n)
{
	static u8 sink[512];

	if (n > FW_ACPI_SIZE - t->len) {
		t->failed = true;
		return sink;
	}
	t->len += n;
	return memset(t->buf + t->len - n, 0, n);
}

static void add8(struct tables *t, u8 v)
{
	*extend(t, 1) = v;
}

static void add16(struct tables *t, u16 v)
{
	fw_put16(extend(t, 2), v);
}

static void add32(struct tables *t, u32 v)
{
	fw_put32(extend(t, 4), v);
}

static void add64(struct tables *t, u64 v)
{
	fw_put64(extend(t, 8), v);
}

static void table_begin(struct tables *t, const char *sig, u8 revision)
{
	u8 *h;

	extend(t, align_up(t->len, 16) - t->len);
	t->table = t->len;
	h = extend(t, HEADER_SIZE); /* [ACPI 5.2.6] */
	memcpy(h, sig, 4);
	h[8] = revision;
	memcpy(h + 10, "VIREO ", 6);
	memcpy(h + 16, "VIREOPC ", 8);
	fw_put32(h + 24, 1);
	memcpy(h + 28, "VIRE", 4);
	fw_put32(h + 32, 1);
}

static u8 checksum(const u8 *p, size_t n)
{
	u8 sum = 0;

	while (n--)
		sum = (u8)(sum + *p++);
	return (u8)-sum;
}

/* Returns the guest address of the finished table. */
static u32 table_end(struct tables *t)
{
	u8 *h = t->buf + t->table;
	size_t n = t->len - t->table;

	if (!t->failed) {
		fw_put32(h + 4, (u32)n);
		h[9] = checksum(h, n);
	}
	return (u32)(FW_ACPI + t->table);
}

static void list_table(struct tables *t)
{
	if (t->nr_xsdt == array_len(t->xsdt))
		t->failed = true;
	else
		t->xsdt[t->nr_xsdt++] = table_end(t);
}

/* -- DSDT -------------------------------------------------------------------- */

/* _PRT: {address, pin, source, global interrupt} for four pins of 32 devices [ACPI 6.2.13]. */
static void put_prt(struct aml *a)
{
	aml_name(a, "_PRT");
	aml_package_begin(a, 128);
	for (unsigned i = 0; i < 128; i++) {
		aml_package_begin(a, 4);
		aml_int(a, (i / 4) << 16 | 0xffff);
		aml_int(a, i % 4);
		aml_int(a, 0);
		aml_int(a, 16 + (i / 4 + i % 4) % NR_PIRQS);
		aml_end(a);
	}
	aml_end(a);
}

static void put_host_bridge(struct aml *a, const struct fw_board *b)
{
	aml_device_begin(a, "PCI0");
	aml_name(a, "_HID");
	aml_eisaid(a, "PNP0A08");
	aml_name(a, "_CID");
	aml_eisaid(a, "PNP0A03");
	aml_name(a, "_UID");
	aml_int(a, 0);
	aml_name(a, "_SEG");
	aml_int(a, 0);
	aml_name(a, "_BBN");
	aml_int(a, 0);
	aml_name(a, "_CRS");
	aml_crs_begin(a);
	aml_crs_bus(a, 0, (u16)(b->nr_buses - 1));
	aml_crs_io(a, 0xcf8, 8);
	aml_crs_io_window(a, 0, 0xcf7);
	aml_crs_io_window(a, 0xd00, 0xffff);
	aml_crs_mem32_window(a, b->mmio32_base, b->mmio32_end - 1);
	if (b->mmio64_size)
		aml_crs_mem64_window(a, b->mmio64_base, b->mmio64_base + b->mmio64_size - 1);
	aml_crs_end(a);
	put_prt(a);
	aml_method_begin(a, "_OSC", 4); /* grants the OS everything it asks for [ACPI 6.2.11] */
	aml_return(a);
	aml_arg(a, 3);
	aml_end(a);
	aml_end(a);
}

static void put_isa_device(struct aml *a, const char *name, const char *hid, u16 port, u8 len,
			   int irq)
{
	aml_device_begin(a, name);
	aml_name(a, "_HID");
	aml_eisaid(a, hid);
	aml_name(a, "_CRS");
	aml_crs_begin(a);
	aml_crs_io(a, port, len);
	if (irq >= 0)
		aml_crs_irq(a, (unsigned)irq);
	aml_crs_end(a);
	aml_end(a);
}

/* Reserves what is decoded and belongs to no other device. */
static void put_motherboard(struct aml *a, const struct fw_board *b)
{
	aml_device_begin(a, "MBRD");
	aml_name(a, "_HID");
	aml_eisaid(a, "PNP0C02");
	aml_name(a, "_CRS");
	aml_crs_begin(a);
	aml_crs_io(a, b->pm_base, 0x10);
	aml_crs_mem32(a, (u32)b->ecam_base, b->nr_buses << 20);
	aml_crs_end(a);
	aml_end(a);
}

static void put_hpet_device(struct aml *a, const struct fw_board *b)
{
	aml_device_begin(a, "HPET");
	aml_name(a, "_HID");
	aml_eisaid(a, "PNP0103");
	aml_name(a, "_CRS");
	aml_crs_begin(a);
	aml_crs_mem32(a, b->hpet_base, 0x400);
	aml_crs_end(a);
	aml_end(a);
}

static void put_pvpanic(struct aml *a, const struct fw_board *b)
{
	aml_device_begin(a, "PEVT");
	aml_name(a, "_HID");
	aml_str(a, "QEMU0001"); /* the public interface's identifier */
	aml_name(a, "_CRS");
	aml_crs_begin(a);
	aml_crs_io(a, b->panic_port, 1);
	aml_crs_end(a);
	aml_name(a, "_STA");
	aml_int(a, 0xf);
	aml_end(a);
}

/* Where the generation id is, and the interrupt that says it has changed [ACPI 5.6.9]. */
static void put_generation(struct aml *a, const struct fw_board *b)
{
	aml_device_begin(a, "VGEN");
	aml_name(a, "_HID");
	aml_str(a, "VIRE0001");
	aml_name(a, "_CID");
	aml_str(a, "VM_Gen_Counter");
	aml_name(a, "_DDN");
	aml_str(a, "VM_Gen_Counter");
	aml_name(a, "ADDR");
	aml_package_begin(a, 2);
	aml_int(a, FW_GENERATION);
	aml_int(a, 0);
	aml_end(a);
	aml_end(a);
	aml_device_begin(a, "GED");
	aml_name(a, "_HID");
	aml_str(a, "ACPI0013");
	aml_name(a, "_CRS");
	aml_crs_begin(a);
	aml_crs_gsi(a, b->event_gsi, true);
	aml_crs_end(a);
	aml_method_begin(a, "_EVT", 1 | AML_SERIALIZED);
	aml_notify(a, "\\_SB.VGEN", 0x80);
	aml_end(a);
	aml_end(a);
}

static void put_virtio_mmio(struct aml *a, const struct fw_board *b, unsigned i)
{
	char name[5] = "VR00";

	name[2] = (char)('0' + i / 10);
	name[3] = (char)('0' + i % 10);
	aml_device_begin(a, name);
	aml_name(a, "_HID");
	aml_str(a, "LNRO0005");
	aml_name(a, "_UID");
	aml_int(a, i);
	aml_name(a, "_CCA");
	aml_int(a, 1);
	aml_name(a, "_CRS");
	aml_crs_begin(a);
	aml_crs_mem32(a, b->mmio_base + i * 0x1000, 0x1000);
	aml_crs_gsi(a, b->mmio_gsi[i], false);
	aml_crs_end(a);
	aml_end(a);
}

/* \_S5: the sleep type that pmacpi takes for power-off [ACPI 7.4.2.6]. */
static void put_s5(struct aml *a)
{
	aml_name(a, "\\_S5");
	aml_package_begin(a, 4);
	aml_int(a, 5);
	aml_int(a, 5);
	aml_int(a, 0);
	aml_int(a, 0);
	aml_end(a);
}

static void put_devices(struct aml *a, const struct fw_board *b)
{
	aml_scope_begin(a, "\\_SB");
	put_host_bridge(a, b);
	put_motherboard(a, b);
	put_hpet_device(a, b);
	put_isa_device(a, "RTC", "PNP0B00", 0x70, 2, 8);
	if (b->has_com1)
		put_isa_device(a, "COM1", "PNP0501", 0x3f8, 8, 4);
	if (b->panic_port)
		put_pvpanic(a, b);
	if (b->event_gsi)
		put_generation(a, b);
	for (unsigned i = 0; i < b->nr_mmio; i++)
		put_virtio_mmio(a, b, i);
	aml_end(a);
}

static u32 add_dsdt(struct tables *t)
{
	struct aml a;

	table_begin(t, "DSDT", 2);
	if (t->failed)
		return 0;
	a = (struct aml){ .buf = t->buf + t->len, .cap = FW_ACPI_SIZE - t->len };
	put_s5(&a);
	put_devices(&a, t->b);
	t->len += a.len;
	t->failed |= a.failed || a.depth;
	return table_end(t);
}

/* -- FADT -------------------------------------------------------------------- */

#define FADT_WBINVD     BIT(0)
#define FADT_PROC_C1    BIT(2)
#define FADT_SLP_BUTTON BIT(5) /* set: no fixed sleep button */
#define FADT_FIX_RTC    BIT(6) /* set: no fixed RTC wake-up */
#define FADT_TMR_32BIT  BIT(8)
#define FADT_RESET_REG  BIT(10)
#define BOOT_LEGACY     BIT(0)
#define BOOT_8042       BIT(1)
#define BOOT_NO_VGA     BIT(2)

static void put_gas_io(u8 *p, u16 port, u8 bits) /* [ACPI 5.2.3.2] */
{
	p[0] = 1; /* system I/O space */
	p[1] = bits;
	p[3] = (u8)(bits / 8 > 4 ? 4 : (bits / 8 == 4 ? 3 : bits / 8));
	fw_put64(p + 4, port);
}

static void add_fadt(struct tables *t, u32 dsdt, u32 facs)
{
	const struct fw_board *b = t->b;
	u8 *f;

	table_begin(t, "FACP", 6);
	f = extend(t, 276 - HEADER_SIZE) - HEADER_SIZE; /* offsets below are the table's */
	fw_put32(f + 36, facs);
	fw_put32(f + 40, dsdt);
	f[45] = 0; /* preferred profile: unspecified */
	fw_put16(f + 46, b->sci_irq);
	fw_put32(f + 56, b->pm_base);
	fw_put32(f + 64, b->pm_base + 4u);
	fw_put32(f + 76, b->pm_base + 8u);
	f[88] = 4;               /* PM1 event length */
	f[89] = 2;               /* PM1 control length */
	f[91] = 4;               /* PM timer length */
	fw_put16(f + 96, 0xfff); /* no C2 */
	fw_put16(f + 98, 0xfff); /* no C3 */
	f[108] = 0x32;           /* century in CMOS */
	fw_put16(f + 109, BOOT_LEGACY | BOOT_8042 | BOOT_NO_VGA);
	fw_put32(f + 112, FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC |
				  FADT_TMR_32BIT | FADT_RESET_REG);
	put_gas_io(f + 116, b->reset_port, 8);
	f[128] = 6; /* reset value */
	f[131] = 4; /* minor version */
	fw_put64(f + 140, dsdt);
	put_gas_io(f + 148, b->pm_base, 32);
	put_gas_io(f + 172, (u16)(b->pm_base + 4), 16);
	put_gas_io(f + 208, (u16)(b->pm_base + 8), 32);
	list_table(t);
}

/* Waking vectors and the global lock; no checksum [ACPI 5.2.10]. */
static u32 add_facs(struct tables *t)
{
	size_t at;
	u8 *p;

	extend(t, align_up(t->len, 64) - t->len);
	at = t->len;
	p = extend(t, 64);
	memcpy(p, "FACS", 4);
	fw_put32(p + 4, 64);
	p[32] = 2;
	return (u32)(FW_ACPI + at);
}

/* -- the small tables ---------------------------------------------------------- */

#define X2APIC_FROM 255 /* ids from here up do not fit a local APIC entry */

static void add_madt_cpu(struct tables *t, unsigned id)
{
	if (id < X2APIC_FROM) {
		add8(t, 0);
		add8(t, 8);
		add8(t, (u8)id);
		add8(t, (u8)id);
		add32(t, 1); /* enabled */
		return;
	}
	add8(t, 9);
	add8(t, 16);
	add16(t, 0);
	add32(t, id);
	add32(t, 1);
	add32(t, id);
}

static void add_madt_override(struct tables *t, u8 isa, u32 gsi, u16 flags)
{
	add8(t, 2);
	add8(t, 10);
	add8(t, 0);
	add8(t, isa);
	add32(t, gsi);
	add16(t, flags);
}

static void add_madt(struct tables *t)
{
	const struct fw_board *b = t->b;

	table_begin(t, "APIC", 4);
	add32(t, b->lapic_base);
	add32(t, 1); /* 8259s are there too */
	for (unsigned i = 0; i < b->nr_cpus; i++)
		add_madt_cpu(t, i);
	add8(t, 1); /* I/O APIC */
	add8(t, 12);
	add8(t, b->ioapic_id);
	add8(t, 0);
	add32(t, b->ioapic_base);
	add32(t, 0);
	add_madt_override(t, 0, 2, 0);
	add_madt_override(t, b->sci_irq, b->sci_irq, 0xd); /* level, active high */
	add8(t, 4);                                        /* NMI on LINT1 of every CPU */
	add8(t, 6);
	add8(t, 0xff);
	add16(t, 0);
	add8(t, 1);
	list_table(t);
}

static void add_mcfg(struct tables *t)
{
	table_begin(t, "MCFG", 1);
	add64(t, 0);
	add64(t, t->b->ecam_base);
	add16(t, 0); /* segment */
	add8(t, 0);
	add8(t, (u8)(t->b->nr_buses - 1));
	add32(t, 0);
	list_table(t);
}

static void add_hpet(struct tables *t)
{
	table_begin(t, "HPET", 1);
	add32(t, 0x8086a201); /* what the capability register says: 3 timers, 64 bits */
	add8(t, 0);           /* memory space */
	add8(t, 64);
	add16(t, 0);
	add64(t, t->b->hpet_base);
	add8(t, 0);
	add16(t, 0x80); /* least ticks in periodic mode */
	add8(t, 0);
	list_table(t);
}

static void add_waet(struct tables *t)
{
	table_begin(t, "WAET", 1);
	add32(t, 3); /* RTC needs no read of register C, PM timer reads are reliable */
	list_table(t);
}

static u32 add_xsdt(struct tables *t)
{
	table_begin(t, "XSDT", 1);
	for (unsigned i = 0; i < t->nr_xsdt; i++)
		add64(t, t->xsdt[i]);
	return table_end(t);
}

static u32 add_rsdt(struct tables *t)
{
	table_begin(t, "RSDT", 1);
	for (unsigned i = 0; i < t->nr_xsdt; i++)
		add32(t, t->xsdt[i]);
	return table_end(t);
}

static int put_rsdp(struct mem *m, u32 rsdt, u32 xsdt, struct err *e) /* [ACPI 5.2.5.3] */
{
	u8 p[36] = "RSD PTR ";

	memcpy(p + 9, "VIREO ", 6);
	p[15] = 2;
	fw_put32(p + 16, rsdt);
	fw_put32(p + 20, sizeof p);
	fw_put64(p + 24, xsdt);
	p[8] = checksum(p, 20);
	p[32] = checksum(p, sizeof p);
	return fw_put(m, FW_RSDP, p, sizeof p, e);
}

int fw_build_acpi(struct mem *m, const struct fw_board *b, struct err *e)
{
	struct tables t = { .b = b, .buf = calloc(1, FW_ACPI_SIZE) };
	u32 dsdt, facs, xsdt, rsdt;
	int r;

	if (!t.buf)
		return err_set(e, ENOMEM, "acpi: out of host memory");
	facs = add_facs(&t);
	dsdt = add_dsdt(&t);
	add_fadt(&t, dsdt, facs);
	add_madt(&t);
	add_mcfg(&t);
	add_hpet(&t);
	add_waet(&t);
	rsdt = add_rsdt(&t);
	xsdt = add_xsdt(&t);
	if (t.failed)
		r = err_set(e, ENOSPC, "acpi: the tables for %u CPUs do not fit", b->nr_cpus);
	else
		r = fw_put(m, FW_ACPI, t.buf, t.len, e);
	free(t.buf);
	return r ? r : put_rsdp(m, rsdt, xsdt, e);
}
