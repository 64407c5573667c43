// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz.h - the generic device fuzzer: bytes become a hostile guest
 *
 * One input drives a whole board: every class of classes.c, wired as on a PC, with
 * two local APICs, and virtio devices behind MMIO transports with guest memory.
 * Each operation is an access (device, region, offset, size, value), a step of the
 * clock, an interrupt acknowledge, an APIC register, a message, host input, memory
 * contents for the virtqueues, save and load, or reset.
 *
 * The same bytes always do the same. What can go wrong: a crash or sanitizer
 * report, a timer that re-arms for ever, state that does not survive saving, an
 * interrupt announced and not there.
 */
#ifndef DEV_ALL_FUZZ_H
#define DEV_ALL_FUZZ_H

#include "base/types.h"

struct blk;
struct dev_fuzz; /* the board; reused from input to input */

/* What the board's devices stand on; borrowed. */
struct dev_fuzz_host {
	struct blk *disk; /* completes inside submit() or wait(); NULL = no virtio-blk */
	int dir_fd;	  /* shared, writable, by virtio-fs and 9p; -1 = neither */
};

struct dev_fuzz *dev_fuzz_new(const struct dev_fuzz_host *host);
void dev_fuzz_free(struct dev_fuzz *z);

/* Run one input, from power-on or reset. Return: NULL, or what broke. */
const char *dev_fuzz_run(struct dev_fuzz *z, const u8 *data, size_t len);

/* Fill buf with an input made from seed: accesses near registers more often than noise. */
size_t dev_fuzz_make(u64 seed, u8 *buf, size_t len);

#endif
