// SPDX-License-Identifier: Apache-2.0
/*
 * board_mmio.c - virtio devices behind the MMIO transport, as Firecracker's guests expect them
 *
 * One page each from MMIO_BASE on; an interrupt line of the I/O APIC each, shared when
 * there are more devices than lines (level-triggered, so the driver finds out who it
 * was). Described to the guest by ACPI (LNRO0005) or, with acpi=off, on its command line.
 */
#include "base/bits.h"
#include "vmm/vmm_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MMIO_STEP 0x1000u

/* Lines nothing else uses: those of PCI, which has no devices then, and spare ISA ones. */
static const u8 lines[BOARD_MMIO_LINES] = { 16, 17, 18, 19, 10, 11, 14, 15, 6, 7, 12, 13 };

/* Up while one of the devices on it is. */
static void shared_set(void *line, unsigned pin, bool level)
{
	struct board_line *l = line;
	u32 bit = BIT(pin);

	l->up = level ? l->up | bit : l->up & ~bit;
	irq_set(&l->out, l->up);
}

struct dev *board_mmio_plug(struct vm *vm, const struct virtio_class *c, const char *id,
			    const void *cfg, struct err *e)
{
	unsigned n = vm->board.nr_mmio;
	struct board_line *l = &vm->mmio_line[n % BOARD_MMIO_LINES];
	const struct dev_env env = {
		.mem = vm->mem,
		.clock = vm->clock,
		.doorbells = doorbells_of(vm),
		.irq = { { .set = shared_set, .chip = l, .pin = n / BOARD_MMIO_LINES } },
	};
	struct dev *d;

	if (n == FW_MMIO_MAX) {
		err_set(e, ENOSPC, "more than %d devices: want --transport pci", FW_MMIO_MAX);
		return NULL;
	}
	l->out = chips_line(vm, lines[n % BOARD_MMIO_LINES]);
	d = virtio_mmio_new(c, cfg, vm->board.mmio_base + n * MMIO_STEP, id, &env, e);
	if (!d)
		return NULL;
	if (bus_map(vm->mmio, vm->board.mmio_base + n * MMIO_STEP, d, 0, e)) {
		dev_free(d);
		return NULL;
	}
	vm->board.mmio_gsi[n] = lines[n % BOARD_MMIO_LINES];
	vm->board.nr_mmio++;
	return d;
}

int board_mmio_cmdline(const struct vm *vm, char *text, size_t size, struct err *e)
{
	size_t n = strlen(text);

	if (!strstr(text, "acpi=off"))
		return 0;
	for (unsigned i = 0; i < vm->board.nr_mmio; i++) {
		int k = snprintf(text + n, size - n, " virtio_mmio.device=4K@0x%x:%u",
				 vm->board.mmio_base + i * MMIO_STEP, vm->board.mmio_gsi[i]);

		if (k < 0 || (size_t)k >= size - n)
			return err_set(e, E2BIG, "command line: no room for virtio_mmio.device=");
		n += (size_t)k;
	}
	return 0;
}
