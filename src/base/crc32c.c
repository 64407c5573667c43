// SPDX-License-Identifier: Apache-2.0
/* crc32c.c - see crc32c.h: by the processor's instruction (SSE 4.2), else bit by bit */
#include "base/crc32c.h"

#include <string.h>

#define POLY 0x82f63b78u /* reversed */

static u32 by_bits(u32 crc, const u8 *p, size_t len)
{
	while (len--) {
		crc ^= *p++;
		for (unsigned k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? POLY : 0);
	}
	return crc;
}

static u32 by_instruction(u32 crc, const u8 *p, size_t len)
{
	u64 c = crc, word;

	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&word, p, sizeof word);
		__asm__("crc32q %1, %0" : "+r"(c) : "rm"(word));
	}
	for (; len; len--, p++)
		__asm__("crc32b %1, %k0" : "+r"(c) : "rm"(*p));
	return (u32)c;
}

u32 crc32c(u32 crc, const void *buf, size_t len)
{
	crc = ~crc;
	if (__builtin_cpu_supports("sse4.2"))
		return ~by_instruction(crc, buf, len);
	return ~by_bits(crc, buf, len);
}
