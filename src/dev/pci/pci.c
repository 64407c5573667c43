// SPDX-License-Identifier: Apache-2.0
/*
 * pci.c - configuration space of one function; see pci.h
 *
 * cfg[] is what the guest reads; cfg_mask[] says which bits it may change. BARs
 * need nothing special for sizing: the address bits below the BAR's size are not
 * writable, so writing all ones reads back as the size [PCI 6.2.5.1].
 */
#include "base/bits.h"
#include "dev/pci/pci_int.h"

#include <errno.h>
#include <string.h>

/* BARs are mapped below this, so that base + size cannot wrap. */
#define ADDR_LIMIT (1ull << 52)

static const struct pci_class *class_of(const struct pci_dev *p)
{
	return container_of(p->dev.class, const struct pci_class, dev);
}

static u32 bytes_get(const u8 *b, unsigned off, unsigned size)
{
	u32 v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (u32)b[off + i] << (8 * i);
	return v;
}

static void bytes_set(u8 *b, unsigned off, unsigned size, u32 val)
{
	for (unsigned i = 0; i < size; i++)
		b[off + i] = (u8)(val >> (8 * i));
}

u32 pci_cfg_get(const struct pci_dev *p, unsigned off, unsigned size)
{
	return bytes_get(p->cfg, off, size);
}

void pci_cfg_set(struct pci_dev *p, unsigned off, unsigned size, u32 val)
{
	bytes_set(p->cfg, off, size, val);
}

/* Set a value that also survives reset. */
static void cfg_init(struct pci_dev *p, unsigned off, unsigned size, u32 val)
{
	bytes_set(p->cfg, off, size, val);
	bytes_set(p->cfg_reset, off, size, val);
}

void pci_cfg_writable(struct pci_dev *p, unsigned off, unsigned len, u32 mask)
{
	bytes_set(p->cfg_mask, off, len, mask);
}

/* -- BARs -------------------------------------------------------------------------------- */

u64 pci_bar_size(const struct pci_dev *p, unsigned i)
{
	const struct pci_bar *b = &class_of(p)->bar[i];

	return b->flags & PCI_BAR_USED ? p->dev.class->region[b->region].size : 0;
}

static bool bar_is_64(const struct pci_dev *p, unsigned i)
{
	return class_of(p)->bar[i].flags & PCI_BAR_64;
}

void pci_bar_set(struct pci_dev *p, unsigned i, u64 addr)
{
	unsigned off = PCI_BAR0 + 4 * i;

	pci_cfg_set(p, off, 4, (u32)addr | (pci_cfg_get(p, off, 4) & 0xf));
	if (bar_is_64(p, i))
		pci_cfg_set(p, off + 4, 4, (u32)(addr >> 32));
}

/* Where the registers say BAR i is, PCI_UNMAPPED if it does not decode. */
static u64 bar_wanted(const struct pci_dev *p, unsigned i)
{
	unsigned off = PCI_BAR0 + 4 * i;
	u64 size = pci_bar_size(p, i), at;

	if (!size || !(pci_cfg_get(p, PCI_COMMAND, 2) & CMD_MEM))
		return PCI_UNMAPPED;
	at = pci_cfg_get(p, off, 4) & ~0xfu;
	if (bar_is_64(p, i))
		at |= (u64)pci_cfg_get(p, off + 4, 4) << 32;
	else if (at + size >= 1ull << 32) /* the sizing value, or nonsense */
		return PCI_UNMAPPED;
	return at && at < ADDR_LIMIT ? at : PCI_UNMAPPED;
}

static void tell_moved(struct pci_dev *p)
{
	if (class_of(p)->moved)
		class_of(p)->moved(p);
}

void pci_unmap_moved(struct pci_dev *p)
{
	bool any = false;

	for (unsigned i = 0; i < PCI_NR_BARS; i++) {
		if (p->bar_at[i] == PCI_UNMAPPED || p->bar_at[i] == bar_wanted(p, i))
			continue;
		bus_unmap(host_mmio(p->host), &p->dev, class_of(p)->bar[i].region);
		p->bar_at[i] = PCI_UNMAPPED;
		any = true;
	}
	if (any)
		tell_moved(p);
}

void pci_map_moved(struct pci_dev *p)
{
	struct err ignored;
	bool any = false;

	for (unsigned i = 0; i < PCI_NR_BARS; i++) {
		u64 at = bar_wanted(p, i);

		if (at == p->bar_at[i])
			continue;
		/* A BAR placed over something else is not decoded until either moves. */
		if (bus_map(host_mmio(p->host), at, &p->dev, class_of(p)->bar[i].region,
			    &ignored))
			continue;
		p->bar_at[i] = at;
		any = true;
	}
	if (any)
		tell_moved(p);
}

static int init_bars(struct pci_dev *p, struct err *e)
{
	const struct pci_class *c = class_of(p);

	for (unsigned i = 0; i < PCI_NR_BARS; i++) {
		u64 size = pci_bar_size(p, i);
		unsigned off = PCI_BAR0 + 4 * i;
		u32 type = c->bar[i].flags & PCI_BAR_64 ? 4 : 0;

		p->bar_at[i] = PCI_UNMAPPED;
		if (!size)
			continue;
		if (size < 16 || (size & (size - 1)))
			return err_set(e, EINVAL, "pci: BAR %u of %s has size 0x%llx, want a power of two",
				       i, c->dev.name, (unsigned long long)size);
		if (c->bar[i].flags & PCI_BAR_PREFETCH)
			type |= 8;
		cfg_init(p, off, 4, type);
		pci_cfg_writable(p, off, 4, (u32)~(size - 1));
		if (type & 4)
			pci_cfg_writable(p, off + 4, 4, (u32)(~(size - 1) >> 32));
	}
	return 0;
}

/* -- life cycle -------------------------------------------------------------------------- */

static void init_header(struct pci_dev *p, const struct pci_ident *id)
{
	cfg_init(p, PCI_VENDOR, 2, id->vendor);
	cfg_init(p, PCI_DEVICE, 2, id->device);
	cfg_init(p, PCI_REVISION, 4, id->revision | id->class_code << 8);
	cfg_init(p, PCI_SUBSYS_VENDOR, 2, id->subsys_vendor);
	cfg_init(p, PCI_SUBSYS, 2, id->subsys);
	cfg_init(p, PCI_INT_PIN, 1, id->pin);
	pci_cfg_writable(p, PCI_COMMAND, 2, CMD_MEM | CMD_MASTER | CMD_NO_INTX);
	pci_cfg_writable(p, PCI_LATENCY_LINE, 1, 0xff);
	if (!id->pin)
		return;
	cfg_init(p, PCI_INT_LINE, 1, host_intx_line(p->host, p));
	pci_cfg_writable(p, PCI_INT_LINE, 1, 0xff);
}

int pci_init(struct pci_dev *p, const struct pci_ident *id, struct pci_host *h, unsigned slot,
	     struct err *e)
{
	p->cap_last = 0;
	p->cap_end = PCI_FIRST_CAP;
	TRY(init_bars(p, e));
	TRY(host_add(h, p, slot, e));
	init_header(p, id);
	return 0;
}

void pci_fini(struct pci_dev *p)
{
	if (!p->host)
		return;
	pci_set_intx(p, false);
	pci_cfg_set(p, PCI_COMMAND, 2, 0);
	host_remap(p->host);
	host_remove(p->host, p);
}

void pci_reset(struct pci_dev *p)
{
	p->intx = false;
	host_intx(p->host, p, false);
	memcpy(p->cfg, p->cfg_reset, sizeof p->cfg);
	msix_reset(p);
	host_remap(p->host);
}

int pci_loaded(struct pci_dev *p, struct err *e UNUSED)
{
	host_remap(p->host);
	host_intx(p->host, p, p->intx && !(pci_cfg_get(p, PCI_COMMAND, 2) & CMD_NO_INTX));
	return 0;
}

unsigned pci_add_cap(struct pci_dev *p, u8 cap_id, const void *body, unsigned len)
{
	unsigned off = p->cap_end;

	if (off + 2 + len > PCI_CFG_SIZE)
		return 0;
	cfg_init(p, off, 1, cap_id);
	memcpy(p->cfg + off + 2, body, len);
	memcpy(p->cfg_reset + off + 2, body, len);
	cfg_init(p, p->cap_last ? p->cap_last + 1u : PCI_CAP_PTR, 1, off);
	cfg_init(p, PCI_STATUS, 2, STATUS_CAPS);
	p->cap_last = (u8)off;
	/* 256 does not fit: the last capability may end the space exactly. */
	off = (unsigned)align_up(off + 2 + len, 4);
	p->cap_end = off < PCI_CFG_SIZE ? (u8)off : PCI_CFG_SIZE - 1;
	return p->cap_last;
}

/* -- guest access ------------------------------------------------------------------------ */

u32 pci_cfg_read(struct pci_dev *p, unsigned off, unsigned size)
{
	const struct pci_class *c = class_of(p);
	u32 v;

	if (!range_ok(off, size, PCI_CFG_SIZE))
		return (u32)mask_bytes(size);
	if (c->cfg_read && off >= PCI_FIRST_CAP)
		c->cfg_read(p, off, size);
	v = pci_cfg_get(p, off, size);
	if (p->intx && off <= PCI_STATUS && off + size > PCI_STATUS)
		v |= STATUS_INT << (8 * (PCI_STATUS - off));
	return v;
}

static bool overlaps(unsigned off, unsigned size, unsigned at, unsigned len)
{
	return off < at + len && at < off + size;
}

void pci_cfg_write(struct pci_dev *p, unsigned off, unsigned size, u32 val)
{
	const struct pci_class *c = class_of(p);

	if (!range_ok(off, size, PCI_CFG_SIZE))
		return;
	for (unsigned i = 0; i < size; i++) {
		u8 mask = p->cfg_mask[off + i];
		u8 byte = (u8)(val >> (8 * i));

		p->cfg[off + i] = (u8)((p->cfg[off + i] & ~mask) | (byte & mask));
	}
	if (overlaps(off, size, PCI_COMMAND, 2) ||
	    overlaps(off, size, PCI_BAR0, 4 * PCI_NR_BARS))
		host_remap(p->host);
	if (overlaps(off, size, PCI_COMMAND, 2))
		pci_set_intx(p, p->intx);
	if (p->msix.cap && overlaps(off, size, p->msix.cap + 2u, 2))
		msix_flush(p);
	if (c->cfg_write && off >= PCI_FIRST_CAP)
		c->cfg_write(p, off, size);
}

void pci_set_intx(struct pci_dev *p, bool level)
{
	p->intx = level;
	host_intx(p->host, p, level && !(pci_cfg_get(p, PCI_COMMAND, 2) & CMD_NO_INTX));
}

bool pci_bus_master(const struct pci_dev *p)
{
	return pci_cfg_get(p, PCI_COMMAND, 2) & CMD_MASTER;
}
