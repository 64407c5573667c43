// SPDX-License-Identifier: Apache-2.0
/* be.h - big-endian integers in images, at any alignment */
#ifndef BLK_BE_H
#define BLK_BE_H

#include "base/types.h"

#include <string.h>

static inline u16 be16(const void *p)
{
	u16 v;

	memcpy(&v, p, sizeof v);
	return be16toh(v);
}

static inline u32 be32(const void *p)
{
	u32 v;

	memcpy(&v, p, sizeof v);
	return be32toh(v);
}

static inline u64 be64(const void *p)
{
	u64 v;

	memcpy(&v, p, sizeof v);
	return be64toh(v);
}

static inline void put_be16(void *p, u16 v)
{
	v = htobe16(v);
	memcpy(p, &v, sizeof v);
}

static inline void put_be32(void *p, u32 v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof v);
}

static inline void put_be64(void *p, u64 v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof v);
}

/* Little-endian ones, likewise. */
static inline u16 rd_le16(const void *p)
{
	le16 v;

	memcpy(&v, p, sizeof v);
	return le16_get(v);
}

static inline u32 rd_le32(const void *p)
{
	le32 v;

	memcpy(&v, p, sizeof v);
	return le32_get(v);
}

static inline u64 rd_le64(const void *p)
{
	le64 v;

	memcpy(&v, p, sizeof v);
	return le64_get(v);
}

static inline void put_le16(void *p, u16 v)
{
	le16 x = le16_of(v);

	memcpy(p, &x, sizeof x);
}

static inline void put_le32(void *p, u32 v)
{
	le32 x = le32_of(v);

	memcpy(p, &x, sizeof x);
}

static inline void put_le64(void *p, u64 v)
{
	le64 x = le64_of(v);

	memcpy(p, &x, sizeof x);
}

#endif
