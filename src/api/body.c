// SPDX-License-Identifier: Apache-2.0
/* body.c - see body.h */
#include "api/body.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(struct fault *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int fail(struct fault *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->msg, sizeof f->msg, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

json_t *body_parse(const char *text, size_t len, struct fault *f)
{
	json_error_t e;
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);

	if (o)
		return o;
	if (json_error_code(&e) == json_error_duplicate_key) {
		const char *key = strchr(e.text, '"'); /* ... near '"NAME"' */
		size_t n = key ? strcspn(key + 1, "\"") : 0;

		fail(f, "duplicate field `%.*s` at line %d column %d", (int)n, key ? key + 1 : "",
		     e.line, e.column);
	} else {
		fail(f, "%s at line %d column %d", e.text, e.line, e.column);
	}
	return NULL;
}

/* -- what is said ------------------------------------------------------------------------ */

static u64 uint_max(const struct body_field *k)
{
	return k->size >= 8 ? INT64_MAX : (1ull << 8 * k->size) - 1;
}

static const char *wanted(const struct body_field *k, char buf[64])
{
	switch (k->type) {
	case F_BOOL: return "a boolean";
	case F_UINT:
		snprintf(buf, 64, "u%u", 8u * k->size);
		return buf;
	case F_STR: return "a string";
	case F_ENUM: return "string or map";
	case F_OBJ:
		snprintf(buf, 64, "struct %s", k->sub->name);
		return buf;
	case F_LIST:
	case F_STRS: return "a sequence";
	default: return "a map";
	}
}

/* A value as serde describes what it did not want. */
static void describe(json_t *v, char *buf, size_t len)
{
	switch (json_typeof(v)) {
	case JSON_STRING: snprintf(buf, len, "string \"%.64s\"", json_string_value(v)); break;
	case JSON_INTEGER:
		snprintf(buf, len, "integer `%" JSON_INTEGER_FORMAT "`", json_integer_value(v));
		break;
	case JSON_REAL: snprintf(buf, len, "floating point `%g`", json_real_value(v)); break;
	case JSON_TRUE: snprintf(buf, len, "boolean `true`"); break;
	case JSON_FALSE: snprintf(buf, len, "boolean `false`"); break;
	case JSON_NULL: snprintf(buf, len, "null"); break;
	case JSON_ARRAY: snprintf(buf, len, "sequence"); break;
	case JSON_OBJECT: snprintf(buf, len, "map"); break;
	}
}

static int bad_type(const struct body_field *k, json_t *v, struct fault *f)
{
	char want[64], got[128];

	describe(v, got, sizeof got);
	return fail(f, "invalid type: %s, expected %s for field `%s`", got, wanted(k, want),
		    k->name);
}

static int bad_value(const struct body_field *k, json_t *v, struct fault *f)
{
	char want[64], got[128];

	describe(v, got, sizeof got);
	if (k->type == F_UINT && (k->min || k->max))
		return fail(f, "invalid value: %s, expected a number from %llu to %llu for field `%s`",
			    got, (unsigned long long)k->min,
			    (unsigned long long)(k->max ? k->max : uint_max(k)), k->name);
	return fail(f, "invalid value: %s, expected %s for field `%s`", got, wanted(k, want),
		    k->name);
}

/* "expected `a`", "expected `a` or `b`", "expected one of `a`, `b`, `c`" */
static void list_names(struct fault *f, const char *const *name, unsigned nr)
{
	size_t n = strlen(f->msg);

	n += (size_t)snprintf(f->msg + n, FAULT_MAX - n, ", expected %s", nr > 2 ? "one of " : "");
	for (unsigned i = 0; i < nr && n < FAULT_MAX; i++)
		n += (size_t)snprintf(f->msg + n, FAULT_MAX - n, "%s`%s`",
				      !i ? "" : nr > 2 ? ", " : " or ", name[i]);
}

static int unknown_field(const struct schema *s, const char *name, struct fault *f)
{
	const char *names[32];
	unsigned nr = 0;

	for (unsigned i = 0; i < s->nr && nr < array_len(names); i++)
		names[nr++] = s->field[i].name;
	fail(f, "unknown field `%.64s`", name);
	list_names(f, names, nr);
	return -EINVAL;
}

static int unknown_variant(const struct body_field *k, json_t *v, struct fault *f)
{
	unsigned nr = 0;

	while (k->names[nr])
		nr++;
	fail(f, "unknown variant `%.64s`", json_string_value(v));
	list_names(f, k->names, nr);
	return -EINVAL;
}

/* -- from JSON --------------------------------------------------------------------------- */

static void put_uint(const struct body_field *k, void *p, u64 n)
{
	switch (k->size) {
	case 1: *(u8 *)p = (u8)n; break;
	case 2: *(u16 *)p = (u16)n; break;
	case 4: *(u32 *)p = (u32)n; break;
	default: *(u64 *)p = n;
	}
}

static u64 get_uint(const struct body_field *k, const void *p)
{
	switch (k->size) {
	case 1: return *(const u8 *)p;
	case 2: return *(const u16 *)p;
	case 4: return *(const u32 *)p;
	default: return *(const u64 *)p;
	}
}

static int decode_uint(const struct body_field *k, json_t *v, void *p, struct fault *f)
{
	json_int_t n = json_integer_value(v);
	u64 max = k->max ? k->max : uint_max(k);

	if (!json_is_integer(v))
		return bad_type(k, v, f);
	if (n < 0 || (u64)n < k->min || (u64)n > max)
		return bad_value(k, v, f);
	put_uint(k, p, (u64)n);
	return 0;
}

static int decode_str(const struct body_field *k, json_t *v, char *p, struct fault *f)
{
	if (!json_is_string(v))
		return bad_type(k, v, f);
	if (json_string_length(v) >= k->size)
		return fail(f, "invalid length %zu, expected at most %u bytes for field `%s`",
			    json_string_length(v), k->size - 1u, k->name);
	memcpy(p, json_string_value(v), json_string_length(v) + 1);
	return 0;
}

static int decode_enum(const struct body_field *k, json_t *v, u32 *p, struct fault *f)
{
	if (!json_is_string(v))
		return bad_type(k, v, f);
	for (u32 i = 0; k->names[i]; i++) {
		if (!strcmp(k->names[i], json_string_value(v))) {
			*p = i;
			return 0;
		}
	}
	return unknown_variant(k, v, f);
}

static int decode_list(const struct body_field *k, json_t *v, void *obj, struct fault *f)
{
	size_t nr = json_array_size(v);
	char *p = (char *)obj + k->offset;

	if (!json_is_array(v))
		return bad_type(k, v, f);
	if (nr > k->nr_max)
		return fail(f, "invalid length %zu, expected at most %u elements for field `%s`",
			    nr, k->nr_max, k->name);
	for (size_t i = 0; i < nr; i++, p += k->size) {
		json_t *el = json_array_get(v, i);

		if (k->type == F_STRS)
			TRY(decode_str(k, el, p, f));
		else
			TRY(body_decode(k->sub, el, p, f));
	}
	*(u32 *)((char *)obj + k->nr_offset) = (u32)nr;
	return 0;
}

static int decode_map(const struct body_field *k, json_t *v, json_t **p, struct fault *f)
{
	const char *name;
	json_t *el;

	if (!json_is_object(v))
		return bad_type(k, v, f);
	json_object_foreach(v, name, el)
		if (!json_is_string(el))
			return bad_type(&(struct body_field){ .name = name, .type = F_STR }, el, f);
	*p = json_incref(v);
	return 0;
}

static int decode(const struct body_field *k, json_t *v, void *obj, struct fault *f)
{
	void *p = (char *)obj + k->offset;

	switch (k->type) {
	case F_BOOL:
		if (!json_is_boolean(v))
			return bad_type(k, v, f);
		*(bool *)p = json_is_true(v);
		return 0;
	case F_UINT: return decode_uint(k, v, p, f);
	case F_STR: return decode_str(k, v, p, f);
	case F_ENUM: return decode_enum(k, v, p, f);
	case F_OBJ:
		if (!json_is_object(v))
			return bad_type(k, v, f);
		return body_decode(k->sub, v, p, f);
	case F_LIST:
	case F_STRS: return decode_list(k, v, obj, f);
	default: return decode_map(k, v, p, f);
	}
}

static void set_defaults(const struct schema *s, void *obj)
{
	memset(obj, 0, s->size);
	for (unsigned i = 0; i < s->nr; i++) {
		const struct body_field *k = &s->field[i];
		void *p = (char *)obj + k->offset;

		if (k->type == F_BOOL)
			*(bool *)p = k->def;
		else if (k->type == F_ENUM)
			*(u32 *)p = (u32)k->def;
		else if (k->type == F_UINT)
			put_uint(k, p, k->def);
	}
}

int body_decode(const struct schema *s, json_t *o, void *ret, struct fault *f)
{
	const char *name;
	char got[128];
	u32 given = 0;
	json_t *v;

	set_defaults(s, ret);
	if (!json_is_object(o)) {
		describe(o, got, sizeof got);
		return fail(f, "invalid type: %s, expected struct %s", got, s->name);
	}
	json_object_foreach(o, name, v)
	{
		unsigned i = 0;

		while (i < s->nr && strcmp(s->field[i].name, name) != 0)
			i++;
		if (i == s->nr)
			return unknown_field(s, name, f);
		if (json_is_null(v) && !(s->field[i].flags & F_REQUIRED))
			continue;
		TRY(decode(&s->field[i], v, ret, f));
		given |= 1u << i;
		*(u32 *)ret = given;
	}
	for (unsigned i = 0; i < s->nr; i++)
		if (s->field[i].flags & F_REQUIRED && !(given >> i & 1))
			return fail(f, "missing field `%s`", s->field[i].name);
	return 0;
}

void body_free(const struct schema *s, void *obj)
{
	for (unsigned i = 0; i < s->nr; i++) {
		json_t **p = (json_t **)((char *)obj + s->field[i].offset);

		if (s->field[i].type != F_MAP)
			continue;
		json_decref(*p);
		*p = NULL;
	}
}

/* -- to JSON ----------------------------------------------------------------------------- */

static json_t *encode_list(const struct body_field *k, const void *obj)
{
	const char *p = (const char *)obj + k->offset;
	u32 nr = *(const u32 *)((const char *)obj + k->nr_offset);
	json_t *a = json_array();

	for (u32 i = 0; i < nr && a; i++, p += k->size)
		json_array_append_new(a, k->type == F_STRS ? json_string(p) :
							     body_encode(k->sub, p));
	return a;
}

static json_t *encode(const struct body_field *k, const void *obj)
{
	const void *p = (const char *)obj + k->offset;

	switch (k->type) {
	case F_BOOL: return json_boolean(*(const bool *)p);
	case F_UINT: return json_integer((json_int_t)get_uint(k, p));
	case F_STR: return json_string(p);
	case F_ENUM: return json_string(k->names[*(const u32 *)p]);
	case F_OBJ: return body_encode(k->sub, p);
	case F_LIST:
	case F_STRS: return encode_list(k, obj);
	default: return json_incref(*(json_t *const *)p);
	}
}

json_t *body_encode(const struct schema *s, const void *obj)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < s->nr && o; i++) {
		const struct body_field *k = &s->field[i];

		if (k->flags & F_HIDDEN || !(k->flags & F_SHOWN || body_has(obj, i)))
			continue;
		json_object_set_new(o, k->name, encode(k, obj));
	}
	return o;
}
