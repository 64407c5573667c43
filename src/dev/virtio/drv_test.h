// SPDX-License-Identifier: Apache-2.0
/*
 * drv_test.h - a guest driver for unit tests: virtio over PCI, on real guest memory
 *
 * It finds the device through configuration mechanism 1 and ECAM, negotiates over
 * the BAR, lays rings out in struct mem and counts MSI-X messages per vector. A test
 * may break any ring by writing it with mem_write().
 */
#ifndef DEV_VIRTIO_DRV_TEST_H
#define DEV_VIRTIO_DRV_TEST_H

#include "base/clock_fake.h"
#include "dev/pci/pci.h"
#include "dev/virtio/virtio.h"
#include "mem/mem.h"

#define DRV_RAM	    (16ull << 20)
#define DRV_BUF	    0x200000ull /* RAM from here on is the test's */
#define DRV_ECAM    0xb0000000ull
#define DRV_BARS    0xe0000000ull
#define DRV_QSIZE   16u
#define DRV_VECTORS 32

struct drv_buf {
	gpa_t gpa;
	u32 len;
};

struct drv_queue {
	u16 size;
	gpa_t desc, avail, used;
	u16 next_desc, avail_idx, used_idx;
	bool avail_wrap, used_wrap; /* packed */
};

struct drv {
	struct clock_fake clock;
	struct mem *mem;
	struct bus *pio, *mmio;
	struct pci_host *host;
	struct dev *dev;  /* the transport */
	struct virtio *v; /* the device behind it */
	u64 features;
	u64 bar, msix_bar;
	bool packed, mute; /* mute: suppress interrupts */
	unsigned irqs[DRV_VECTORS]; /* messages, by data; [n] is queue n's, [16] configuration */
	unsigned wire;		    /* rising edges of INTx */
	struct drv_queue q[VIRTIO_MAX_QUEUES];
};

/* Set the machine and device up to DRIVER_OK with queues of @qsize and the features in @want. */
bool drv_open(struct drv *t, const struct virtio_class *c, const void *cfg, u64 want,
	      unsigned qsize);
void drv_close(struct drv *t);
/* The steps of drv_open() after construction, for tests that reset. */
bool drv_start(struct drv *t, u64 want, unsigned qsize);

u32 drv_read(struct drv *t, unsigned off, unsigned size); /* main BAR */
void drv_write(struct drv *t, unsigned off, unsigned size, u32 val);
u32 drv_config(struct drv *t, unsigned off, unsigned size); /* device configuration */

/* Make a chain available: nr_out readable, then nr_in writable buffers. Returns its id. */
u16 drv_add(struct drv *t, unsigned q, const struct drv_buf *b, unsigned nr_out, unsigned nr_in);
void drv_kick(struct drv *t, unsigned q);
/* The next used chain; false if there is none. */
bool drv_used(struct drv *t, unsigned q, u32 *ret_id, u32 *ret_len);
/* Add, kick, and take the used entry: its length, or ~0. */
u32 drv_call(struct drv *t, unsigned q, const struct drv_buf *b, unsigned nr_out,
	     unsigned nr_in);

void drv_desc(struct drv *t, unsigned q, u16 i, u64 addr, u32 len, u16 flags, u16 next);
void drv_put(struct drv *t, gpa_t at, const void *p, size_t len);
void drv_get(struct drv *t, gpa_t at, void *p, size_t len);

#endif
