// SPDX-License-Identifier: Apache-2.0
/* size.h - sizes as people write them: digits and a power of 1024 */
#ifndef BASE_SIZE_H
#define BASE_SIZE_H

#include "base/types.h"

/*
 * size_parse() - "512M", "2GiB", "4096"
 * @units:	the letters allowed, each 1024 times the one before: "KMGT"
 * @any_case:	small letters count as well
 *
 * Return: true with *ret in bytes; false for anything else, or more than 64 bits.
 */
bool size_parse(const char *s, const char *units, bool any_case, u64 *ret);

#endif
