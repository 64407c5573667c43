// SPDX-License-Identifier: Apache-2.0
/*
 * host.c - the host bridge: ways into configuration space, shared INTx wires
 *
 * Follows [PCI 3.2.2.3.2] for configuration mechanism 1 and [ECAM]. CONFIG_ADDRESS
 * takes whole dwords only; a byte port inside it (0xcf9) belongs to another device.
 */
#include "base/bits.h"
#include "dev/pci/pci_int.h"

#include <errno.h>
#include <stdlib.h>

enum { REGION_ADDR, REGION_DATA, REGION_ECAM };

/* The function in slot 0, as guests expect to find one. */
struct bridge {
	struct pci_dev pci;
};

struct pci_host {
	struct dev dev;
	struct pci_host_cfg cfg;
	struct pci_dev *slot[PCI_NR_SLOTS];
	u32 asserted[PCI_NR_PINS]; /* by wire: slots that pull it */
	u32 addr;		   /* CONFIG_ADDRESS */
	struct dev *bridge;
};

/* -- configuration access ---------------------------------------------------------------- */

static u32 cfg_read(struct pci_host *h, unsigned devfn, unsigned off, unsigned size)
{
	struct pci_dev *p = devfn & 7 ? NULL : h->slot[devfn >> 3 & 31];

	return p ? pci_cfg_read(p, off, size) : (u32)mask_bytes(size);
}

static void cfg_write(struct pci_host *h, unsigned devfn, unsigned off, unsigned size, u32 val)
{
	struct pci_dev *p = devfn & 7 ? NULL : h->slot[devfn >> 3 & 31];

	if (p)
		pci_cfg_write(p, off, size, val);
}

/* CONFIG_ADDRESS enables an access to bus 0. */
static bool addr_ok(const struct pci_host *h)
{
	return (h->addr & BIT(31)) && !(h->addr & 0xff0000);
}

static u64 host_read(struct dev *d, unsigned region, u64 off, unsigned size)
{
	struct pci_host *h = container_of(d, struct pci_host, dev);

	switch (region) {
	case REGION_ADDR:
		return size == 4 ? h->addr : mask_bytes(size);
	case REGION_DATA:
		if (!addr_ok(h))
			return mask_bytes(size);
		return cfg_read(h, h->addr >> 8 & 0xff, (h->addr & 0xfc) + (unsigned)off, size);
	default:
		return cfg_read(h, (unsigned)(off >> 12), off & 0xfff, size);
	}
}

static void host_write(struct dev *d, unsigned region, u64 off, unsigned size, u64 val)
{
	struct pci_host *h = container_of(d, struct pci_host, dev);

	switch (region) {
	case REGION_ADDR:
		if (size == 4)
			h->addr = (u32)val & 0x80fffffc;
		break;
	case REGION_DATA:
		if (addr_ok(h))
			cfg_write(h, h->addr >> 8 & 0xff, (h->addr & 0xfc) + (unsigned)off, size,
				  (u32)val);
		break;
	default:
		cfg_write(h, (unsigned)(off >> 12), off & 0xfff, size, (u32)val);
	}
}

/* -- slots, BARs and wires --------------------------------------------------------------- */

int host_add(struct pci_host *h, struct pci_dev *p, unsigned slot, struct err *e)
{
	if (slot >= PCI_NR_SLOTS)
		return err_set(e, EINVAL, "pci: slot %u: want 0..%u", slot, PCI_NR_SLOTS - 1);
	if (h->slot[slot])
		return err_set(e, EBUSY, "pci: slot %u is taken by %s", slot, h->slot[slot]->dev.id);
	h->slot[slot] = p;
	p->host = h;
	p->slot = (u8)slot;
	return 0;
}

void host_remove(struct pci_host *h, struct pci_dev *p)
{
	h->slot[p->slot] = NULL;
	p->host = NULL;
}

struct bus *host_mmio(struct pci_host *h)
{
	return h->cfg.mmio;
}

struct pci_dev *pci_host_slot(struct pci_host *h, unsigned slot)
{
	return slot < PCI_NR_SLOTS ? h->slot[slot] : NULL;
}

/* All unmaps come before all maps, so that two BARs may swap places. */
void host_remap(struct pci_host *h)
{
	for (unsigned i = 0; i < PCI_NR_SLOTS; i++)
		if (h->slot[i])
			pci_unmap_moved(h->slot[i]);
	for (unsigned i = 0; i < PCI_NR_SLOTS; i++)
		if (h->slot[i])
			pci_map_moved(h->slot[i]);
}

static unsigned wire_of(const struct pci_dev *p)
{
	return (p->slot + pci_cfg_get(p, PCI_INT_PIN, 1) - 1u) % PCI_NR_PINS;
}

u8 host_intx_line(const struct pci_host *h, const struct pci_dev *p)
{
	return h->cfg.intx_line[wire_of(p)];
}

void host_intx(struct pci_host *h, const struct pci_dev *p, bool level)
{
	unsigned w = wire_of(p);
	u32 old = h->asserted[w];

	if (!pci_cfg_get(p, PCI_INT_PIN, 1))
		return;
	h->asserted[w] = level ? old | BIT(p->slot) : old & ~BIT(p->slot);
	if (!old != !h->asserted[w])
		irq_set(&h->cfg.intx[w], level);
}

static int assign_bar(struct pci_dev *p, unsigned i, u64 *at, u64 end, struct err *e)
{
	u64 size = pci_bar_size(p, i), base;

	if (!size)
		return 0;
	base = align_up(*at, size);
	if (!range_ok(base, size, end))
		return err_set(e, ENOSPC, "%s: no room for BAR %u (0x%llx bytes)", p->dev.id, i,
			       (unsigned long long)size);
	pci_bar_set(p, i, base);
	*at = base + size;
	return 0;
}

int pci_host_assign(struct pci_host *h, u64 base, u64 size, struct err *e)
{
	u64 at = base;

	for (unsigned s = 0; s < PCI_NR_SLOTS; s++) {
		struct pci_dev *p = h->slot[s];

		if (!p)
			continue;
		for (unsigned i = 0; i < PCI_NR_BARS; i++)
			TRY(assign_bar(p, i, &at, base + size, e));
		pci_cfg_set(p, PCI_COMMAND, 2, pci_cfg_get(p, PCI_COMMAND, 2) | CMD_MEM);
	}
	host_remap(h);
	return 0;
}

/* -- the bridge's own function ----------------------------------------------------------- */

static int bridge_init(struct dev *d, const void *cfg, struct err *e)
{
	static const struct pci_ident id = {
		.vendor = 0x1b36, .device = 0x0008, /* generic PCIe host bridge */
		.subsys_vendor = 0x1af4, .subsys = 0x1100,
		.class_code = 0x060000,
	};
	struct bridge *b = container_of(d, struct bridge, pci.dev);

	return pci_init(&b->pci, &id, (struct pci_host *)cfg, 0, e);
}

static void bridge_fini(struct dev *d)
{
	pci_fini(container_of(d, struct pci_dev, dev));
}

static void bridge_reset(struct dev *d)
{
	pci_reset(container_of(d, struct pci_dev, dev));
}

static const struct field bridge_state[] = { PCI_DEV_FIELDS(struct bridge, pci), FIELD_END };

static const struct pci_class bridge_class = {
	.dev = {
		.name = "pci-bridge",
		.spec = "PCI Local Bus 3.0",
		.size = sizeof(struct bridge),
		.state = bridge_state,
		.init = bridge_init,
		.fini = bridge_fini,
		.reset = bridge_reset,
	},
};

/* -- life cycle -------------------------------------------------------------------------- */

static const struct dev_region host_regions[] = {
	[REGION_ADDR] = { .name = "config-address", .space = SPACE_PIO, .size = 4,
			  .acc_min = 1, .acc_max = 4 },
	[REGION_DATA] = { .name = "config-data", .space = SPACE_PIO, .size = 4,
			  .acc_min = 1, .acc_max = 4 },
	[REGION_ECAM] = { .name = "ecam", .space = SPACE_MMIO, .size = PCI_ECAM_SIZE,
			  .acc_min = 1, .acc_max = 4 },
};

static const struct field host_state[] = {
	FIELD_NOT_SAVED(struct pci_host, dev),
	FIELD_NOT_SAVED(struct pci_host, cfg),
	FIELD_NOT_SAVED(struct pci_host, slot),
	FIELD_NOT_SAVED(struct pci_host, asserted), /* rebuilt by pci_loaded() */
	FIELD(struct pci_host, addr),
	FIELD_NOT_SAVED(struct pci_host, bridge),
	FIELD_END,
};

static void unmap_all(struct pci_host *h)
{
	bus_unmap(h->cfg.pio, &h->dev, REGION_ADDR);
	bus_unmap(h->cfg.pio, &h->dev, REGION_DATA);
	bus_unmap(h->cfg.mmio, &h->dev, REGION_ECAM);
}

static int build(struct pci_host *h, struct err *e)
{
	TRY(bus_map(h->cfg.pio, 0xcf8, &h->dev, REGION_ADDR, e));
	TRY(bus_map(h->cfg.pio, 0xcfc, &h->dev, REGION_DATA, e));
	if (h->cfg.ecam_base)
		TRY(bus_map(h->cfg.mmio, h->cfg.ecam_base, &h->dev, REGION_ECAM, e));
	h->bridge = dev_new(&bridge_class.dev, "pci-bridge", &h->dev.env, h, e);
	return h->bridge ? 0 : -e->code;
}

static int host_init(struct dev *d, const void *cfg, struct err *e)
{
	struct pci_host *h = container_of(d, struct pci_host, dev);
	int r;

	h->cfg = *(const struct pci_host_cfg *)cfg;
	r = build(h, e);
	if (r)
		unmap_all(h);
	return r;
}

static void host_fini(struct dev *d)
{
	struct pci_host *h = container_of(d, struct pci_host, dev);

	dev_free(h->bridge);
	unmap_all(h);
}

static void host_reset(struct dev *d)
{
	struct pci_host *h = container_of(d, struct pci_host, dev);

	h->addr = 0;
	if (h->bridge)
		h->bridge->class->reset(h->bridge);
}

static const struct dev_class host_class = {
	.name = "pci-host",
	.spec = "PCI Local Bus 3.0, PCI Express 3.0 7.2.2",
	.size = sizeof(struct pci_host),
	.region = host_regions,
	.nr_regions = array_len(host_regions),
	.state = host_state,
	.init = host_init,
	.fini = host_fini,
	.reset = host_reset,
	.read = host_read,
	.write = host_write,
};

struct pci_host *pci_host_new(const struct pci_host_cfg *c, const char *id,
			      const struct dev_env *env, struct err *e)
{
	struct dev *d = dev_new(&host_class, id, env, c, e);

	return d ? container_of(d, struct pci_host, dev) : NULL;
}

void pci_host_free(struct pci_host *h)
{
	if (h)
		dev_free(&h->dev);
}

struct dev *pci_host_dev(struct pci_host *h)
{
	return &h->dev;
}
