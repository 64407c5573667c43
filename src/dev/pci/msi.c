// SPDX-License-Identifier: Apache-2.0
/*
 * msi.c - MSI-X: table, masks, pending bits [PCI 6.8.2]
 *
 * The table is at offset 0 of its BAR and the pending bit array at MSIX_PBA_OFF.
 * DEVIATION: the function needs no Bus Master Enable to send; every guest sets it.
 */
#include "base/bits.h"
#include "dev/pci/pci_int.h"

#include <errno.h>
#include <string.h>

#define CAP_MSIX 0x11

enum { CTL_ENABLE = 1 << 15, CTL_MASK = 1 << 14 };
enum { ENTRY_ADDR = 0, ENTRY_DATA = 8, ENTRY_CTL = 12 };

static u16 control(const struct pci_dev *p)
{
	return p->msix.cap ? (u16)pci_cfg_get(p, p->msix.cap + 2u, 2) : 0;
}

static u32 table_get(const struct pci_dev *p, unsigned off)
{
	le32 v;

	memcpy(&v, p->msix.table + off, 4);
	return le32_get(v);
}

static bool is_masked(const struct pci_dev *p, unsigned v)
{
	return (control(p) & CTL_MASK) || (table_get(p, v * MSIX_ENTRY_SIZE + ENTRY_CTL) & 1);
}

bool msix_enabled(const struct pci_dev *p)
{
	return control(p) & CTL_ENABLE;
}

static void deliver(struct pci_dev *p, unsigned v)
{
	unsigned at = v * MSIX_ENTRY_SIZE;
	u64 addr = table_get(p, at + ENTRY_ADDR) | (u64)table_get(p, at + ENTRY_ADDR + 4) << 32;

	p->msix.pending &= ~BIT(v);
	if (p->dev.env.msi.send)
		p->dev.env.msi.send(p->dev.env.msi.ctx, addr, table_get(p, at + ENTRY_DATA));
}

void msix_send(struct pci_dev *p, unsigned v)
{
	if (v >= p->msix.nr || !msix_enabled(p))
		return;
	if (is_masked(p, v))
		p->msix.pending |= BIT(v);
	else
		deliver(p, v);
}

void msix_flush(struct pci_dev *p)
{
	if (!msix_enabled(p))
		return;
	for (unsigned v = 0; v < p->msix.nr && p->msix.pending; v++)
		if ((p->msix.pending & BIT(v)) && !is_masked(p, v))
			deliver(p, v);
}

void msix_reset(struct pci_dev *p)
{
	memset(p->msix.table, 0, sizeof p->msix.table);
	for (unsigned v = 0; v < p->msix.nr; v++) /* masked after reset */
		p->msix.table[v * MSIX_ENTRY_SIZE + ENTRY_CTL] = 1;
	p->msix.pending = 0;
}

int msix_init(struct pci_dev *p, unsigned nr, unsigned bar, struct err *e)
{
	struct PACKED {
		le16 control;
		le32 table, pba;
	} body = { le16_of((u16)(nr - 1)), le32_of(bar), le32_of(MSIX_PBA_OFF | bar) };
	unsigned cap;

	if (nr < 1 || nr > MSIX_MAX_VECTORS)
		return err_set(e, EINVAL, "msi-x: %u vectors, want 1..%u", nr, MSIX_MAX_VECTORS);
	cap = pci_add_cap(p, CAP_MSIX, &body, sizeof body);
	if (!cap)
		return err_set(e, ENOSPC, "msi-x: no room for the capability");
	p->msix.cap = (u8)cap;
	p->msix.nr = (u16)nr;
	pci_cfg_writable(p, cap + 2, 2, CTL_ENABLE | CTL_MASK);
	msix_reset(p);
	return 0;
}

u32 msix_read(const struct pci_dev *p, u64 off, unsigned size)
{
	u32 v = 0;

	if (range_ok(off, size, (u64)p->msix.nr * MSIX_ENTRY_SIZE))
		memcpy(&v, p->msix.table + off, size);
	else if (off >= MSIX_PBA_OFF && range_ok(off - MSIX_PBA_OFF, size, 8))
		v = (u32)((u64)p->msix.pending >> (8 * (off - MSIX_PBA_OFF)));
	return v & (u32)mask_bytes(size);
}

void msix_write(struct pci_dev *p, u64 off, unsigned size, u32 val)
{
	unsigned v = (unsigned)(off / MSIX_ENTRY_SIZE);
	u8 *ctl;

	if (!range_ok(off, size, (u64)p->msix.nr * MSIX_ENTRY_SIZE))
		return;
	memcpy(p->msix.table + off, &val, size);
	ctl = p->msix.table + v * MSIX_ENTRY_SIZE + ENTRY_CTL;
	ctl[0] &= 1; /* the other control bits are reserved */
	ctl[1] = ctl[2] = ctl[3] = 0;
	if ((p->msix.pending & BIT(v)) && msix_enabled(p) && !is_masked(p, v))
		deliver(p, v);
}
