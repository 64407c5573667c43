// SPDX-License-Identifier: Apache-2.0
/* disk_io.h - libext2fs on a struct disk_reader, read-only */
#ifndef BOOT_DISK_IO_H
#define BOOT_DISK_IO_H

#include "boot/boot.h"

#include <ext2fs/ext2fs.h>

#define DISK_IO_NAME 64

u64 disk_io_size(io_channel c); /* bytes of the disk behind it */

extern struct struct_io_manager disk_io_manager;

/* The "file name" under which libext2fs opens the part of @d from byte @start on. */
void disk_io_name(const struct disk_reader *d, u64 start, char ret[DISK_IO_NAME]);

#endif
