// SPDX-License-Identifier: Apache-2.0
/*
 * pci.h - one PCI bus: host bridge, configuration space, BARs, INTx and MSI-X
 *
 * Follows PCI Local Bus 3.0 as [PCI], PCI Express 3.0 section 7.2.2 as [ECAM].
 * Modelled: bus 0, slots 0..31, function 0 only, type-0 headers, 32 and 64-bit
 * memory BARs, INTx wires shared by swizzle, MSI-X. Not modelled: bridges, I/O
 * BARs, plain MSI, hot-plug, power management.
 *
 * A PCI device is a struct whose first member is a struct pci_dev, and its class a
 * const struct pci_class whose first member is its dev_class. The device's init
 * calls pci_init(), then adds capabilities; its fini calls pci_fini(), its reset
 * pci_reset(), its loaded pci_loaded().
 *
 * Context: board lock held for everything here.
 */
#ifndef DEV_PCI_PCI_H
#define DEV_PCI_PCI_H

#include "dev/dev.h"

#define PCI_NR_SLOTS  32
#define PCI_NR_BARS   6
#define PCI_NR_PINS   4
#define PCI_CFG_SIZE  256
#define PCI_ECAM_SIZE (1u << 20) /* bus 0 only: MCFG end bus number 0 */

#define MSIX_MAX_VECTORS 32
#define MSIX_ENTRY_SIZE	 16
#define MSIX_TABLE_BYTES (MSIX_MAX_VECTORS * MSIX_ENTRY_SIZE)
#define MSIX_PBA_OFF	 0x800	/* in the BAR that holds the table at offset 0 */
#define MSIX_BAR_SIZE	 0x1000
#define MSIX_NO_VECTOR	 0xffff

struct bus;
struct pci_host;
struct pci_dev;

/* -- the host bridge, for the board ------------------------------------------- */

struct pci_host_cfg {
	struct bus *pio, *mmio; /* where the bridge and the BARs are mapped; outlive it */
	u64 ecam_base;		/* PCI_ECAM_SIZE bytes on mmio; 0 = no ECAM */
	/*
	 * The four interrupt wires. Pin p (0 = INTA) of slot s drives wire (s + p) % 4; a
	 * wire is the OR of its devices and is set only when it changes.
	 */
	struct irq intx[PCI_NR_PINS];
	u8 intx_line[PCI_NR_PINS]; /* what Interrupt Line reads after reset: the GSI */
};

/*
 * Make the bridge, map 0xcf8..0xcff and the ECAM window, and put the host bridge
 * function in slot 0. Devices must be freed before pci_host_free().
 */
struct pci_host *pci_host_new(const struct pci_host_cfg *c, const char *id,
			      const struct dev_env *env, struct err *e) MUST_CHECK;
void pci_host_free(struct pci_host *h);
struct dev *pci_host_dev(struct pci_host *h); /* for reset, state and listing */

/*
 * What firmware does after a reset: give every BAR an address in [base, base + size)
 * and turn memory decoding on. Call after every reset of the devices.
 */
int pci_host_assign(struct pci_host *h, u64 base, u64 size, struct err *e) MUST_CHECK;

struct pci_dev *pci_host_slot(struct pci_host *h, unsigned slot); /* NULL if empty */

/* -- for device models ---------------------------------------------------------- */

enum pci_bar_flags { PCI_BAR_USED = 1, PCI_BAR_64 = 2, PCI_BAR_PREFETCH = 4 };

struct pci_bar {
	u8 flags;  /* enum pci_bar_flags; a 64-bit BAR also takes the next index */
	u8 region; /* of the class; its size is the BAR's: a power of two >= 16 */
};

struct pci_class {
	struct dev_class dev;
	struct pci_bar bar[PCI_NR_BARS];
	void (*moved)(struct pci_dev *p); /* optional: BARs may be elsewhere now, see .bar_at */
	/*
	 * Optional: called before a read and after a write (applied to cfg[] under the
	 * write mask) of configuration bytes [off, off + size), 64 <= off.
	 */
	void (*cfg_read)(struct pci_dev *p, unsigned off, unsigned size);
	void (*cfg_write)(struct pci_dev *p, unsigned off, unsigned size);
};

struct pci_ident {
	u16 vendor, device, subsys_vendor, subsys;
	u8 revision;
	u32 class_code; /* 24 bits: class, subclass, interface */
	u8 pin;		/* 0 = none, 1 = INTA ... 4 = INTD */
};

struct msix {
	u8 cap;	 /* offset of the capability, 0 = no MSI-X */
	u16 nr;	 /* vectors */
	u8 table[MSIX_TABLE_BYTES];
	u32 pending;
};

struct pci_dev {
	struct dev dev;
	struct pci_host *host;
	u8 slot;
	u8 cap_last, cap_end; /* offset of the last capability, end of the list */
	bool intx;	      /* what the function asserts, before Interrupt Disable */
	u8 cfg[PCI_CFG_SIZE];
	u8 cfg_mask[PCI_CFG_SIZE];  /* bits the guest may write */
	u8 cfg_reset[PCI_CFG_SIZE]; /* values pci_reset() restores */
	u64 bar_at[PCI_NR_BARS];    /* address mapped at, PCI_UNMAPPED */
	struct msix msix;
};

#define PCI_UNMAPPED (~0ull)

/* State of an embedded struct pci_dev, for the class's field table. */
/* clang-format off */
#define PCI_DEV_FIELDS(S, p) \
	FIELD_NOT_SAVED(S, p.dev), FIELD_NOT_SAVED(S, p.host), FIELD_NOT_SAVED(S, p.slot), \
	FIELD_NOT_SAVED(S, p.cap_last), FIELD_NOT_SAVED(S, p.cap_end), \
	FIELD(S, p.intx), FIELD(S, p.cfg), \
	FIELD_NOT_SAVED(S, p.cfg_mask), FIELD_NOT_SAVED(S, p.cfg_reset), \
	FIELD_NOT_SAVED(S, p.bar_at), \
	FIELD_NOT_SAVED(S, p.msix.cap), FIELD_NOT_SAVED(S, p.msix.nr), \
	FIELD(S, p.msix.table), FIELD(S, p.msix.pending)
/* clang-format on */

int pci_init(struct pci_dev *p, const struct pci_ident *id, struct pci_host *h, unsigned slot,
	     struct err *e) MUST_CHECK;
void pci_fini(struct pci_dev *p); /* accepts a half-built or zeroed device */
void pci_reset(struct pci_dev *p);
int pci_loaded(struct pci_dev *p, struct err *e) MUST_CHECK; /* maps the loaded BARs */

/*
 * Append a capability: body[0..len) follows the ID and next bytes. Read-only until
 * pci_cfg_writable(). Returns its offset, 0 if there is no room.
 */
unsigned pci_add_cap(struct pci_dev *p, u8 cap_id, const void *body, unsigned len);
void pci_cfg_writable(struct pci_dev *p, unsigned off, unsigned len, u32 mask);

u32 pci_cfg_get(const struct pci_dev *p, unsigned off, unsigned size); /* 1, 2, 4 bytes */
void pci_cfg_set(struct pci_dev *p, unsigned off, unsigned size, u32 val);

/* Guest access to configuration space; all sizes and offsets are acceptable. */
u32 pci_cfg_read(struct pci_dev *p, unsigned off, unsigned size);
void pci_cfg_write(struct pci_dev *p, unsigned off, unsigned size, u32 val);

void pci_set_intx(struct pci_dev *p, bool level);
bool pci_bus_master(const struct pci_dev *p);

/* -- MSI-X [PCI 6.8.2] ------------------------------------------------------------------- */

/* Add the capability: nr vectors (1..MSIX_MAX_VECTORS), table and PBA in BAR @bar. */
int msix_init(struct pci_dev *p, unsigned nr, unsigned bar, struct err *e) MUST_CHECK;
bool msix_enabled(const struct pci_dev *p);
/* Send vector @v, or leave it pending while masked. Out of range is ignored. */
void msix_send(struct pci_dev *p, unsigned v);
/* The device's region handlers pass on accesses (<= 4 bytes) to the MSI-X BAR. */
u32 msix_read(const struct pci_dev *p, u64 off, unsigned size);
void msix_write(struct pci_dev *p, u64 off, unsigned size, u32 val);
void msix_reset(struct pci_dev *p);
void msix_flush(struct pci_dev *p); /* Message Control changed: send what is deliverable */

#endif
