// SPDX-License-Identifier: Apache-2.0
/*
 * types.h - fixed-width integers, guest addresses, wire-order integers.
 */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t i8;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;

typedef u64 gpa_t; /* guest-physical address: never dereferenceable */

/*
 * Little-endian integers as they sit in guest memory, in disk images and on
 * the wire. A struct, so that using one without converting does not compile.
 */
typedef struct {
	u16 raw;
} le16;
typedef struct {
	u32 raw;
} le32;
typedef struct {
	u64 raw;
} le64;

static inline u16 le16_get(le16 v)
{
	return le16toh(v.raw);
}
static inline u32 le32_get(le32 v)
{
	return le32toh(v.raw);
}
static inline u64 le64_get(le64 v)
{
	return le64toh(v.raw);
}
static inline le16 le16_of(u16 v)
{
	return (le16){ htole16(v) };
}
static inline le32 le32_of(u32 v)
{
	return (le32){ htole32(v) };
}
static inline le64 le64_of(u64 v)
{
	return (le64){ htole64(v) };
}

#endif
