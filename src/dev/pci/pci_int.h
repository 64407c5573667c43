// SPDX-License-Identifier: Apache-2.0
/* pci_int.h - between the files of dev/pci */
#ifndef DEV_PCI_PCI_INT_H
#define DEV_PCI_PCI_INT_H

#include "dev/pci/pci.h"

/* Offsets in a type-0 header [PCI 6.1] and their bits. */
enum {
	PCI_VENDOR = 0x00,
	PCI_DEVICE = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION = 0x08,
	PCI_LATENCY_LINE = 0x0c, /* cache line size; writable, without effect */
	PCI_BAR0 = 0x10,
	PCI_SUBSYS_VENDOR = 0x2c,
	PCI_SUBSYS = 0x2e,
	PCI_CAP_PTR = 0x34,
	PCI_INT_LINE = 0x3c,
	PCI_INT_PIN = 0x3d,
	PCI_FIRST_CAP = 0x40,
};

enum { CMD_MEM = 1 << 1, CMD_MASTER = 1 << 2, CMD_NO_INTX = 1 << 10 };
enum { STATUS_INT = 1 << 3, STATUS_CAPS = 1 << 4 };

int host_add(struct pci_host *h, struct pci_dev *p, unsigned slot, struct err *e);
void host_remove(struct pci_host *h, struct pci_dev *p);
void host_intx(struct pci_host *h, const struct pci_dev *p, bool level);
u8 host_intx_line(const struct pci_host *h, const struct pci_dev *p);
void host_remap(struct pci_host *h); /* BARs or decode bits changed somewhere */
struct bus *host_mmio(struct pci_host *h);

void pci_unmap_moved(struct pci_dev *p); /* first unmap what moved, everywhere, */
void pci_map_moved(struct pci_dev *p);	 /* then map it at its new place	*/

/* Bytes of BAR i of p's class; 0 if there is none. */
u64 pci_bar_size(const struct pci_dev *p, unsigned i);
void pci_bar_set(struct pci_dev *p, unsigned i, u64 addr);

#endif
