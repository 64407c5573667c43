// SPDX-License-Identifier: Apache-2.0
/* aml.c - see aml.h */
#include "fw/aml.h"

#include <string.h>

/* clang-format off */
enum { /* [ACPI 20.3] */
	OP_ZERO = 0x00, OP_ONE = 0x01, OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b,
	OP_DWORD = 0x0c, OP_STRING = 0x0d, OP_QWORD = 0x0e, OP_SCOPE = 0x10, OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12, OP_METHOD = 0x14, OP_DUAL_NAME = 0x2e, OP_MULTI_NAME = 0x2f,
	OP_EXT = 0x5b, OP_EXT_DEVICE = 0x82, OP_ARG0 = 0x68, OP_RETURN = 0xa4,
	OP_NOTIFY = 0x86,
};
/* clang-format on */

#define PKG_LENGTH_SIZE 3 /* always the three-byte form: up to 1 MiB [ACPI 20.2.4] */

static void put(struct aml *a, const void *p, size_t n)
{
	if (a->failed || n > a->cap - a->len) {
		a->failed = true;
		return;
	}
	memcpy(a->buf + a->len, p, n);
	a->len += n;
}

static void put8(struct aml *a, u8 v)
{
	put(a, &v, 1);
}

static void put_le(struct aml *a, u64 v, unsigned bytes)
{
	le64 w = le64_of(v);

	put(a, &w, bytes);
}

static void begin(struct aml *a)
{
	if (a->depth == AML_DEPTH) {
		a->failed = true;
		return;
	}
	a->open[a->depth++] = a->len;
	put_le(a, 0, PKG_LENGTH_SIZE);
}

void aml_end(struct aml *a)
{
	size_t at, len;

	if (!a->depth)
		a->failed = true;
	if (a->failed)
		return;
	at = a->open[--a->depth];
	len = a->len - at;
	a->buf[at] = (u8)(0x80 | (len & 0xf));
	a->buf[at + 1] = (u8)(len >> 4);
	a->buf[at + 2] = (u8)(len >> 12);
}

/* One name segment: padded with '_'. */
static const char *put_seg(struct aml *a, const char *p)
{
	char seg[4] = { '_', '_', '_', '_' };

	for (unsigned i = 0; i < 4 && *p && *p != '.'; i++)
		seg[i] = *p++;
	put(a, seg, 4);
	return *p == '.' ? p + 1 : p;
}

static void put_path(struct aml *a, const char *p)
{
	unsigned nr = 1;

	if (*p == '\\')
		put8(a, (u8)*p++);
	for (const char *q = p; *q; q++)
		nr += *q == '.';
	if (nr == 2)
		put8(a, OP_DUAL_NAME);
	if (nr > 2) {
		put8(a, OP_MULTI_NAME);
		put8(a, (u8)nr);
	}
	while (nr--)
		p = put_seg(a, p);
}

void aml_scope_begin(struct aml *a, const char *path)
{
	put8(a, OP_SCOPE);
	begin(a);
	put_path(a, path);
}

void aml_device_begin(struct aml *a, const char *name)
{
	put8(a, OP_EXT);
	put8(a, OP_EXT_DEVICE);
	begin(a);
	put_path(a, name);
}

void aml_method_begin(struct aml *a, const char *name, unsigned nr_args)
{
	put8(a, OP_METHOD);
	begin(a);
	put_path(a, name);
	put8(a, (u8)nr_args);
}

void aml_package_begin(struct aml *a, unsigned nr_elements)
{
	put8(a, OP_PACKAGE);
	begin(a);
	put8(a, (u8)nr_elements);
}

void aml_name(struct aml *a, const char *name)
{
	put8(a, OP_NAME);
	put_path(a, name);
}

void aml_int(struct aml *a, u64 v)
{
	if (v <= 1) {
		put8(a, v ? OP_ONE : OP_ZERO);
	} else if (v <= 0xff) {
		put8(a, OP_BYTE);
		put_le(a, v, 1);
	} else if (v <= 0xffff) {
		put8(a, OP_WORD);
		put_le(a, v, 2);
	} else if (v <= 0xffffffff) {
		put8(a, OP_DWORD);
		put_le(a, v, 4);
	} else {
		put8(a, OP_QWORD);
		put_le(a, v, 8);
	}
}

void aml_str(struct aml *a, const char *s)
{
	put8(a, OP_STRING);
	put(a, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A') + 10;
}

/* Three letters of five bits and four hex digits, big-endian [ACPI 19.3.4]. */
void aml_eisaid(struct aml *a, const char *id)
{
	u32 v = (u32)(id[0] - '@') << 26 | (u32)(id[1] - '@') << 21 | (u32)(id[2] - '@') << 16;

	for (unsigned i = 0; i < 4; i++)
		v |= hex_digit(id[3 + i]) << (12 - 4 * i);
	put8(a, OP_DWORD);
	put_le(a, __builtin_bswap32(v), 4);
}

void aml_return(struct aml *a)
{
	put8(a, OP_RETURN);
}

void aml_arg(struct aml *a, unsigned n)
{
	put8(a, (u8)(OP_ARG0 + n));
}

void aml_notify(struct aml *a, const char *path, u8 code)
{
	put8(a, OP_NOTIFY);
	put_path(a, path);
	aml_int(a, code);
}

/* Buffer(size) {bytes}: the size is a word constant, filled in at the end. */
void aml_crs_begin(struct aml *a)
{
	put8(a, OP_BUFFER);
	begin(a);
	put8(a, OP_WORD);
	put_le(a, 0, 2);
}

void aml_crs_end(struct aml *a)
{
	size_t data, len;

	put8(a, 0x79); /* end tag, checksum 0 = valid [ACPI 6.4.2.9] */
	put8(a, 0);
	if (a->failed || !a->depth)
		return;
	data = a->open[a->depth - 1] + PKG_LENGTH_SIZE + 3;
	len = a->len - data;
	a->buf[data - 2] = (u8)len;
	a->buf[data - 1] = (u8)(len >> 8);
	aml_end(a);
}

void aml_crs_io(struct aml *a, u16 base, u8 len)
{
	put8(a, 0x47); /* I/O port descriptor, 16-bit decode [ACPI 6.4.2.5] */
	put8(a, 1);
	put_le(a, base, 2);
	put_le(a, base, 2);
	put8(a, 1);
	put8(a, len);
}

void aml_crs_irq(struct aml *a, unsigned irq)
{
	put8(a, 0x22); /* IRQ descriptor without flags [ACPI 6.4.2.1] */
	put_le(a, 1u << irq, 2);
}

void aml_crs_gsi(struct aml *a, u32 gsi, bool edge)
{
	put8(a, 0x89); /* extended interrupt [ACPI 6.4.3.6] */
	put_le(a, 6, 2);
	put8(a, edge ? 0x03 : 0x09); /* consumer; edge, or level and shared */
	put8(a, 1);
	put_le(a, gsi, 4);
}

void aml_crs_mem32(struct aml *a, u32 base, u32 len)
{
	put8(a, 0x86); /* fixed 32-bit memory [ACPI 6.4.3.4] */
	put_le(a, 9, 2);
	put8(a, 1); /* writable */
	put_le(a, base, 4);
	put_le(a, len, 4);
}

enum { WIN_MEM = 0, WIN_IO = 1, WIN_BUS = 2 };

/* Address space descriptor of 2-, 4- or 8-byte fields [ACPI 6.4.3.5]. */
static void put_window(struct aml *a, u8 tag, unsigned bytes, u8 type, u64 first, u64 last)
{
	static const u8 type_flags[] = {
		[WIN_MEM] = 1, /* writable, not cacheable */
		[WIN_IO] = 3,  /* the entire range */
		[WIN_BUS] = 0,
	};

	put8(a, tag);
	put_le(a, 3 + 5 * bytes, 2);
	put8(a, type);
	put8(a, 0x0c); /* minimum and maximum fixed, positive decode, producer */
	put8(a, type_flags[type]);
	put_le(a, 0, bytes); /* granularity */
	put_le(a, first, bytes);
	put_le(a, last, bytes);
	put_le(a, 0, bytes); /* translation */
	put_le(a, last - first + 1, bytes);
}

void aml_crs_bus(struct aml *a, u16 first, u16 last)
{
	put_window(a, 0x88, 2, WIN_BUS, first, last);
}

void aml_crs_io_window(struct aml *a, u16 first, u16 last)
{
	put_window(a, 0x88, 2, WIN_IO, first, last);
}

void aml_crs_mem32_window(struct aml *a, u32 first, u32 last)
{
	put_window(a, 0x87, 4, WIN_MEM, first, last);
}

void aml_crs_mem64_window(struct aml *a, u64 first, u64 last)
{
	put_window(a, 0x8a, 8, WIN_MEM, first, last);
}
