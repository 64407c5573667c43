// SPDX-License-Identifier: Apache-2.0
/*
 * fake_disk.h - a disk of a few bytes of memory, for fuzz targets
 *
 * Requests to some places are held and finish late, the newest first; sector 16 is bad.
 */
#ifndef FUZZ_FAKE_DISK_H
#define FUZZ_FAKE_DISK_H

#include "blk/blk_int.h"

#define FAKE_DISK_SIZE (64u << 10)

/* One per program; never closed. */
struct blk *fake_disk(void);
void fake_disk_finish(void); /* all that is held */

#endif
