// SPDX-License-Identifier: Apache-2.0
/*
 * body.h - JSON bodies to C structs and back, by tables
 *
 * A struct schema names every field of one JSON object: its type, range and default,
 * and where it is in the C struct. Decoding is strict: unknown and missing fields,
 * wrong types, values out of range and duplicate keys are errors that name the field.
 * They are worded as serde words them, since Firecracker's clients match on that.
 *
 * A struct decoded here begins with "u32 given": bit n = field n was in the JSON (and
 * not null).
 */
#ifndef API_BODY_H
#define API_BODY_H

#include "base/compiler.h"
#include "base/types.h"

#include <jansson.h>
#include <stddef.h>

enum body_type {
	F_BOOL, /* bool */
	F_UINT, /* u8, u16, u32 or u64 by size */
	F_STR,	/* char[size] */
	F_ENUM, /* u32, index in names */
	F_OBJ,	/* struct of sub */
	F_LIST, /* of struct of sub; size is one element's */
	F_STRS, /* list of char[size] */
	F_MAP,	/* object of strings: kept as JSON (json_t *, owned) */
};

#define F_REQUIRED 1u
#define F_HIDDEN   2u /* accepted, not shown by encode */
#define F_SHOWN	   4u /* shown by encode although not given: it has a default */

struct schema;

struct body_field {
	const char *name;
	u8 type, flags;
	u16 size;		  /* of the member, or of one element */
	u32 offset;
	u64 min, max;		  /* F_UINT; max 0 = what the type holds */
	u64 def;		  /* value if not given */
	const char *const *names; /* F_ENUM; NULL-terminated */
	const struct schema *sub; /* F_OBJ, F_LIST */
	u32 nr_offset, nr_max;	  /* F_LIST, F_STRS: u32 count */
};

struct schema {
	const char *name; /* of the struct, for "expected struct NAME" */
	const struct body_field *field;
	unsigned nr;
	size_t size;
};

/* clang-format off */
#define SCHEMA(n, S, f) { .name = (n), .field = (f), .nr = array_len(f), .size = sizeof(S) }
#define FIELD_AT(S, m) .size = sizeof(((S *)0)->m), .offset = offsetof(S, m)
#define FIELD_LIST_AT(S, m, nr_m) .size = sizeof(((S *)0)->m[0]), .offset = offsetof(S, m), \
	.nr_offset = offsetof(S, nr_m), .nr_max = sizeof(((S *)0)->m) / sizeof(((S *)0)->m[0])
/* clang-format on */

#define FAULT_MAX 1024

struct fault {
	char msg[FAULT_MAX];
};

/* The text as JSON, NULL with *f set. Depth and size are bounded by the caller's @len. */
json_t *body_parse(const char *text, size_t len, struct fault *f) MUST_CHECK;

/*
 * @ret: a struct of @s, zeroed and given its defaults here. Return: 0, or -EINVAL with *f
 * set; F_MAP members are owned by the caller either way (body_free()).
 */
int body_decode(const struct schema *s, json_t *o, void *ret, struct fault *f) MUST_CHECK;
void body_free(const struct schema *s, void *obj);

/* What was given, and what has defaults. NULL when out of memory. */
json_t *body_encode(const struct schema *s, const void *obj) MUST_CHECK;

static inline bool body_has(const void *obj, unsigned bit)
{
	return *(const u32 *)obj >> bit & 1;
}

#endif
