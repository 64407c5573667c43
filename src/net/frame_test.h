// SPDX-License-Identifier: Apache-2.0
/*
 * frame_test.h - the other end's view of frames, for tests and fuzz targets: written anew, so that an
 * error of the service's own code does not cancel out
 */
#ifndef NET_FRAME_TEST_H
#define NET_FRAME_TEST_H

#include "base/types.h"

static inline u32 be32(const u8 *p)
{
	return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

static inline void put16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

static inline void put32(u8 *p, u32 v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

/* The Internet checksum [RFC 1071] of what @s sums up to and these bytes. */
static inline u16 csum(u32 s, const u8 *p, size_t len)
{
	for (; len > 1; p += 2, len -= 2)
		s += (u32)p[0] << 8 | p[1];
	s += len ? (u32)*p << 8 : 0;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (u16)~s;
}

#endif
