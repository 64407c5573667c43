// SPDX-License-Identifier: Apache-2.0
/*
 * dev.h - what a device model is
 *
 * A device is a struct whose first member is a struct dev, plus one const
 * struct dev_class. It reaches the world only through struct dev_env: it knows
 * nothing of KVM, vCPUs, threads, files or the VM it belongs to, so a test can
 * drive it with an environment made of fakes.
 *
 * Calling rules. One board lock per VM: whoever calls into the bus or a device
 * (vCPU exits, the event loop's timers and completions) holds it; device code
 * never takes it. A device never calls another device except over wires
 * (struct irq, msi) and never blocks. Every value from the bus is hostile.
 */
#ifndef DEV_DEV_H
#define DEV_DEV_H

#include "base/clock.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/field.h"
#include "base/types.h"

struct dev;
struct mem;

/* One interrupt wire, by value: who to tell, and which of its inputs. */
struct irq {
	void (*set)(void *chip, unsigned pin, bool level);
	void *chip;
	unsigned pin;
};

static inline void irq_set(const struct irq *q, bool level)
{
	if (q->set)
		q->set(q->chip, q->pin, level);
}

static inline void irq_pulse(const struct irq *q)
{
	irq_set(q, true);
	irq_set(q, false);
}

/* Where message-signalled interrupts go: a write of data to addr [SDM 3A 11.11]. */
struct msi_sink {
	void (*send)(void *ctx, u64 addr, u32 data);
	void *ctx;
};

/*
 * Where a driver's notifications go if the writes that are them need not reach the device. From set()
 * on, a write to @gpa that the device would take as "notification @n" may become a call by whoever
 * has the wires, on another thread and later, instead; until it is told that it is off. Of
 * @size bytes with the value @n; 0: of any size and value.
 */
struct doorbells {
	void (*set)(void *ctx, struct dev *d, unsigned n, gpa_t gpa, unsigned size, bool on);
	void *ctx;
};

enum space { SPACE_PIO, SPACE_MMIO, SPACE_BAR };

/* A window of registers. The bus rejects or splits what does not fit. */
struct dev_region {
	const char *name;
	enum space space;
	u64 size;   /* bytes */
	u8 acc_min; /* smallest and largest access passed to read/write, bytes; */
	u8 acc_max; /* wider ones are split, narrower ones read as all ones     */
	bool overlay; /* may lie inside another device's region, and wins there (0xcf9 in 0xcf8) */
};

struct dev_class {
	const char *name; /* "ns16550a": config key, trace and log prefix */
	const char *spec; /* document the model follows */
	size_t size;	  /* of the whole instance struct */
	const struct dev_region *region;
	unsigned nr_regions;
	const struct field *state; /* what is saved, loaded, printed */
	u8 state_version;

	int (*init)(struct dev *d, const void *cfg, struct err *e); /* acquire; may fail */
	void (*fini)(struct dev *d);				    /* release */
	void (*reset)(struct dev *d);				    /* power-on values */
	u64 (*read)(struct dev *d, unsigned region, u64 off, unsigned size);
	void (*write)(struct dev *d, unsigned region, u64 off, unsigned size, u64 val);
	void (*pause)(struct dev *d); /* drain; NULL = nothing in flight */
	void (*resume)(struct dev *d);
	int (*loaded)(struct dev *d, struct err *e); /* after load: check and rebuild */
};

#define DEV_MAX_IRQS 4

/* Everything a device may touch. Unused members are zero. */
struct dev_env {
	struct irq irq[DEV_MAX_IRQS]; /* [0] is the usual one */
	struct msi_sink msi;
	struct doorbells doorbells;
	struct mem *mem;
	struct clock *clock;
};

struct dev {
	const struct dev_class *class;
	const char *id; /* instance name from the config: "com1"; borrowed */
	struct dev_env env;
	u32 guest_errors; /* counted, shown by "vireo info" */
};

struct dev *dev_new(const struct dev_class *c, const char *id, const struct dev_env *env,
		    const void *cfg, struct err *e) MUST_CHECK;
void dev_free(struct dev *d);

/* The guest broke the programming model. Counted, traced, never fatal. */
void dev_guest_error(struct dev *d, const char *what);

/* -- bus ------------------------------------------------------------------ */

struct bus; /* one address space: the board has one for ports, one for MMIO */

struct bus *bus_new(void);
void bus_free(struct bus *b);

/* Refuses overlap with a message naming both devices. */
int bus_map(struct bus *b, u64 base, struct dev *d, unsigned region, struct err *e) MUST_CHECK;
void bus_unmap(struct bus *b, struct dev *d, unsigned region); /* no-op if not mapped */

/* Unclaimed reads are all ones, unclaimed writes are dropped. size: 1, 2, 4 or 8. */
u64 bus_read(struct bus *b, u64 addr, unsigned size);
void bus_write(struct bus *b, u64 addr, unsigned size, u64 val);

#endif
