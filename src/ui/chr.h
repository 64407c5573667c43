// SPDX-License-Identifier: Apache-2.0
/*
 * chr.h - a byte stream between a device (serial port, virtio console port) and
 * the outside
 *
 * The device side and the host side hold the same struct chr. Calls happen with
 * the board lock held. Bytes are never lost silently inside the VM: write()
 * says how many it took, and the other side calls writable() when there is room
 * again.
 */
#ifndef UI_CHR_H
#define UI_CHR_H

#include "base/types.h"

struct chr {
	/* Host side implements: device output. Returns bytes taken (0 = full, try later). */
	size_t (*write)(struct chr *c, const void *buf, size_t len);
	/* Device has room for input now (after receive() returned short). */
	void (*can_receive)(struct chr *c);

	/* Device side sets these in its init: host input. Returns bytes taken. */
	size_t (*receive)(void *dev, const void *buf, size_t len);
	/* Room again after a short write(). */
	void (*writable)(void *dev);
	/* The host end opened or closed (EOF). May be NULL. */
	void (*host_open)(void *dev, bool open);
	void *dev;
};

#endif
