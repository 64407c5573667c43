// SPDX-License-Identifier: Apache-2.0
/*
 * boot_int.h - private to src/boot and its tests
 */
#ifndef BOOT_BOOT_INT_H
#define BOOT_BOOT_INT_H

#include "boot/boot.h"

#include <sys/types.h>

/*
 * Write the ELF kernel inside the bzImage @fd to @out. -ENOTSUP if it is packed in
 * another way, or damaged.
 */
int vmlinux_extract(int fd, int out, struct err *e) MUST_CHECK;

/*
 * Unpack one LZ4 block to base + at. Matches may reach back to base; nothing is written
 * at or after base + size. Return: bytes written, -1 if malformed.
 */
ssize_t lz4_block(const u8 *in, size_t in_len, u8 *base, size_t at, size_t size) MUST_CHECK;

#endif
