// SPDX-License-Identifier: Apache-2.0
/*
 * freestanding.h - included before every file of cpu/soft (see the Makefile)
 *
 * gcc turns struct copies into calls of memcpy() and friends, and libc's use
 * vector registers, which hold the guest's. These names bind the calls to
 * string.c of this directory instead.
 */
#ifndef CPU_SOFT_FREESTANDING_H
#define CPU_SOFT_FREESTANDING_H

#include <stddef.h>

void *memcpy(void *dst, const void *src, size_t len) __asm__("soft_memcpy");
void *memmove(void *dst, const void *src, size_t len) __asm__("soft_memmove");
void *memset(void *dst, int c, size_t len) __asm__("soft_memset");
int memcmp(const void *a, const void *b, size_t len) __asm__("soft_memcmp");

#endif
