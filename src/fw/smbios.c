// SPDX-License-Identifier: Apache-2.0
/*
 * smbios.c - SMBIOS tables: what the machine says it is
 *
 * Follows DMTF DSP0134 version 3.4 as [SMBIOS].
 */
#include "base/bits.h"
#include "fw/fw_int.h"
#include "mem/mem.h"

#include <errno.h>
#include <string.h>

#define TABLE_AT  (FW_SMBIOS + 0x40)
#define TABLE_MAX 2048

struct table {
	u8 buf[TABLE_MAX];
	size_t len, largest;
	unsigned nr;
	bool failed;
};

/*
 * Append a structure [SMBIOS 6.1]: header, the formatted @body after it, then the
 * NULL-terminated strings that the body numbers from 1.
 */
static void add(struct table *t, u8 type, const void *body, size_t len, const char *const *strings)
{
	size_t need = 4 + len + 2, start = t->len;
	u8 *p = t->buf + t->len;

	for (unsigned i = 0; strings[i]; i++)
		need += strlen(strings[i]) + 1;
	if (need > sizeof t->buf - t->len) {
		t->failed = true;
		return;
	}
	p[0] = type;
	p[1] = (u8)(4 + len);
	fw_put16(p + 2, (u16)t->nr++);
	if (len)
		memcpy(p + 4, body, len);
	p += 4 + len;
	for (unsigned i = 0; strings[i]; i++)
		p = (u8 *)stpcpy((char *)p, strings[i]) + 1;
	if (!strings[0])
		*p++ = 0;
	*p++ = 0;
	t->len = (size_t)(p - t->buf);
	if (t->len - start > t->largest)
		t->largest = t->len - start;
}

static void add_bios(struct table *t) /* [SMBIOS 7.1] */
{
	static const char *const strings[] = { "Vireo", "1", "01/01/2025", NULL };
	u8 b[0x18 - 4] = { 1, 2, 0x00, 0xe0, 3, 0 };

	fw_put64(b + 6, BIT_ULL(3)); /* characteristics not supported */
	b[15] = 0x1c;         /* extension 2: virtual machine, UEFI no, content distribution */
	b[18] = b[19] = 0xff; /* no embedded controller */
	add(t, 0, b, sizeof b, strings);
}

static void add_system(struct table *t, const char *name) /* [SMBIOS 7.2] */
{
	const char *strings[] = { "Vireo", "Vireo PC", name && *name ? name : "VM", NULL };
	u8 b[0x1b - 4] = { 1, 2, 0, 0 };

	b[20] = 6; /* wake-up: power switch */
	b[21] = 3; /* SKU number: the VM's name */
	add(t, 1, b, sizeof b, strings);
}

static void add_chassis(struct table *t) /* [SMBIOS 7.4] */
{
	static const char *const strings[] = { "Vireo", NULL };
	u8 b[0x16 - 4] = { 1, 1 /* other */ };

	b[5] = b[6] = b[7] = 3; /* states: safe */
	b[8] = 2;
	add(t, 3, b, sizeof b, strings);
}

static void add_cpu(struct table *t, unsigned nr_cpus) /* [SMBIOS 7.5] */
{
	static const char *const strings[] = { "CPU0", "Vireo", NULL };
	u8 b[0x30 - 4] = { 1, 3 /* central processor */, 2 /* unknown family */, 2 };
	u8 nr = (u8)(nr_cpus > 255 ? 255 : nr_cpus);

	b[0x18 - 4] = 0x41; /* populated, enabled */
	b[0x19 - 4] = 2;    /* upgrade: unknown */
	fw_put16(b + 0x1a - 4, 0xffff);
	fw_put16(b + 0x1c - 4, 0xffff);
	fw_put16(b + 0x1e - 4, 0xffff);
	b[0x23 - 4] = b[0x24 - 4] = b[0x25 - 4] = nr;
	fw_put16(b + 0x26 - 4, BIT(2)); /* 64-bit */
	fw_put16(b + 0x2a - 4, (u16)nr_cpus);
	fw_put16(b + 0x2c - 4, (u16)nr_cpus);
	fw_put16(b + 0x2e - 4, (u16)nr_cpus);
	add(t, 4, b, sizeof b, strings);
}

static u16 add_memory_array(struct table *t, u64 size) /* [SMBIOS 7.17] */
{
	static const char *const strings[] = { NULL };
	u8 b[0x17 - 4] = { 1 /* other */, 3 /* system memory */, 6 /* multi-bit ECC */ };
	u16 handle = (u16)t->nr;

	fw_put32(b + 3, 0x80000000u); /* capacity: see the extended one */
	fw_put16(b + 7, 0xfffe);
	fw_put16(b + 9, 1);
	fw_put64(b + 11, size);
	add(t, 16, b, sizeof b, strings);
	return handle;
}

static void add_memory_device(struct table *t, u16 array, u64 size) /* [SMBIOS 7.18] */
{
	static const char *const strings[] = { "RAM", "Vireo", NULL };
	u8 b[0x28 - 4] = { 0 };
	u64 mib = size >> 20;

	fw_put16(b, array);
	fw_put16(b + 2, 0xfffe);
	fw_put16(b + 4, 0xffff);
	fw_put16(b + 6, 0xffff);
	fw_put16(b + 8, mib < 0x7fff ? (u16)mib : 0x7fff);
	b[10] = 9;                /* DIMM */
	b[12] = 1;                /* locator */
	b[14] = 7;                /* type: RAM */
	fw_put16(b + 15, BIT(1)); /* other */
	b[19] = 2;
	fw_put32(b + 0x1c - 4, mib < 0x7fff ? 0 : (u32)mib);
	add(t, 17, b, sizeof b, strings);
}

static void add_memory_map(struct table *t, u16 array, u64 size) /* [SMBIOS 7.20] */
{
	static const char *const strings[] = { NULL };
	u8 b[0x1f - 4] = { 0 };

	fw_put32(b, 0xffffffff); /* see the extended addresses */
	fw_put32(b + 4, 0xffffffff);
	fw_put16(b + 8, array);
	b[10] = 1;
	fw_put64(b + 11, 0);
	fw_put64(b + 19, size - 1);
	add(t, 19, b, sizeof b, strings);
}

static void add_boot_and_end(struct table *t)
{
	static const char *const strings[] = { NULL };
	const u8 boot[0x0b - 4] = { 0 };

	add(t, 32, boot, sizeof boot, strings);
	add(t, 127, NULL, 0, strings);
}

static u8 checksum(const u8 *p, size_t n)
{
	u8 sum = 0;

	while (n--)
		sum = (u8)(sum + *p++);
	return (u8)-sum;
}

/* The 64-bit entry point, then the 32-bit one on the next 16-byte boundary. */
static int put_entry_points(struct mem *m, const struct table *t, struct err *e)
{
	u8 p[0x20 + 0x1f] = "_SM3_";
	u8 *q = p + 0x20;

	p[6] = 0x18; /* [SMBIOS 5.2.2] */
	p[7] = 3;
	p[8] = 4;
	p[10] = 1;
	fw_put32(p + 12, (u32)t->len);
	fw_put64(p + 16, TABLE_AT);
	p[5] = checksum(p, 0x18);

	memcpy(q, "_SM_", 4); /* [SMBIOS 5.2.1] */
	q[5] = 0x1f;
	q[6] = 2;
	q[7] = 8;
	fw_put16(q + 8, (u16)t->largest);
	memcpy(q + 0x10, "_DMI_", 5);
	fw_put16(q + 0x16, (u16)t->len);
	fw_put32(q + 0x18, TABLE_AT);
	fw_put16(q + 0x1c, (u16)t->nr);
	q[0x1e] = 0x28;
	q[0x15] = checksum(q + 0x10, 0xf);
	q[4] = checksum(q, 0x1f);
	return fw_put(m, FW_SMBIOS, p, sizeof p, e);
}

int fw_build_smbios(struct mem *m, const struct fw_board *b, struct err *e)
{
	struct table t = { .len = 0 };
	u16 array;

	add_bios(&t);
	add_system(&t, b->vm_name);
	add_chassis(&t);
	add_cpu(&t, b->nr_cpus);
	array = add_memory_array(&t, b->mem_size);
	add_memory_device(&t, array, b->mem_size);
	add_memory_map(&t, array, b->mem_size);
	add_boot_and_end(&t);
	if (t.failed)
		return err_set(e, ENOSPC, "smbios: the VM's name is too long");
	TRY(fw_put(m, TABLE_AT, t.buf, t.len, e));
	return put_entry_points(m, &t, e);
}
