// SPDX-License-Identifier: Apache-2.0
/*
 * field.h - describe a struct once; save, load, print and check it for free.
 *
 * A table of struct field describes the members of some struct S. The type of
 * each member is taken by _Generic, so a pointer, an enum or a plain int in a
 * saved state is a compile error, not a portability bug.
 */
#ifndef BASE_FIELD_H
#define BASE_FIELD_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#define FIELD_NAME 36

enum field_type { FIELD_BOOL, FIELD_U8, FIELD_U16, FIELD_U32, FIELD_U64, FIELD_BYTES, FIELD_SKIP };

/* No pointers: the tables are many pages, which a position-independent program would have to write. */
struct field {
	char name[FIELD_NAME]; /* with an end, which field_first_gap() checks; "" ends the table */
	u32 offset; /* bytes from the start of S */
	u32 size;   /* bytes */
	u8 align;
	u8 type;  /* enum field_type */
	u8 since; /* state version that introduced it, 0 = first */
	u64 max;  /* largest legal value, 0 = no limit */
};

#define FIELD_TYPE_(x)                                                                             \
	_Generic((x), bool: FIELD_BOOL, u8: FIELD_U8, u16: FIELD_U16, u32: FIELD_U32, \
		 u64: FIELD_U64, u8 *: FIELD_BYTES)

/* One saved member. Optional trailing designators: .since = 2, .max = 15 */
#define FIELD(S, m, ...)                                                                           \
	{                                                                                          \
		.name = #m, .offset = offsetof(S, m), .size = sizeof((S *)0)->m,                   \
		.align = __alignof__(((S *)0)->m), .type = FIELD_TYPE_(((S *)0)->m),      \
		__VA_ARGS__                                                                        \
	}

/* A saved array of u16, u32 or u64 (u8 arrays: FIELD). Check its values in loaded(). */
#define FIELD_ARRAY(S, m)                                                                          \
	{                                                                                          \
		.name = #m, .offset = offsetof(S, m), .size = sizeof((S *)0)->m,                   \
		.align = __alignof__(((S *)0)->m),                                        \
		.type = _Generic(&((S *)0)->m, u16(*)[array_len(((S *)0)->m)]: FIELD_BYTES,        \
				 u32(*)[array_len(((S *)0)->m)]: FIELD_BYTES,                      \
				 u64(*)[array_len(((S *)0)->m)]: FIELD_BYTES)                      \
	}

/* A member deliberately not saved (wiring, locks, caches): says so, in code. */
#define FIELD_NOT_SAVED(S, m)                                                                      \
	{                                                                                          \
		.name = #m, .offset = offsetof(S, m), .size = sizeof((S *)0)->m,                   \
		.align = __alignof__(((S *)0)->m), .type = FIELD_SKIP                     \
	}

#define FIELD_END                                                                                  \
	{                                                                                          \
		.name = ""                                                                         \
	}

/*
 * First member-sized hole in S that no table entry covers (padding does not
 * count), 0 if a name is too long, or S_size if none. make check runs it over every device class: a
 * member added and forgotten fails the build, not a migration two years later.
 */
size_t field_first_gap(const struct field *f, size_t S_size);

/* Print "name=value" lines into buf; returns the length needed. */
size_t field_print(const struct field *f, const void *obj, char *buf, size_t len);

/*
 * Encode obj as (name, value) pairs, so that order and layout may change.
 * Return: bytes used, or -ENOSPC.
 */
int field_save(const struct field *f, const void *obj, u8 *buf, size_t len);

/* Bytes field_save() needs. */
size_t field_saved_size(const struct field *f);

/*
 * Decode into obj. The stream is hostile: unknown names, wrong sizes and
 * values above .max are errors, and obj is unchanged on error.
 */
int field_load(const struct field *f, void *obj, size_t S_size, const u8 *buf, size_t len,
	       struct err *e) MUST_CHECK;

#endif
