// SPDX-License-Identifier: Apache-2.0
/*
 * vmlinux.c - take the ELF kernel out of a bzImage, once, on the host
 *
 * Follows the Linux x86 boot protocol [boot.rst] for the header and the LZ4 block
 * format [LZ4 block]. A kernel that unpacks itself in an emulated machine spends a
 * noticeable part of its boot doing so; the quick-start cache keeps the result.
 * LZ4 and Zstandard, which Debian's cloud kernels use; others boot as they are.
 */
#include "boot/boot_int.h"

#include "base/bits.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zstd.h>

#define VMLINUX_MAX FUZZ_LESS(512u << 20, 64u << 10) /* bytes, of the unpacked kernel */
#define LZ4_LEGACY  0x184c2102	 /* magic of the format without frame header */
#define ZSTD_MAGIC  0xfd2fb528

static u32 get32(const u8 *p)
{
	return (u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24;
}

/* A length of 15 continues in bytes of 255 and one below. False if the input ends. */
static bool lz4_length(const u8 **in, const u8 *end, size_t *len)
{
	u8 b = 255;

	if (*len != 15)
		return true;
	while (b == 255) {
		if (*in == end || *len > VMLINUX_MAX)
			return false;
		b = *(*in)++;
		*len += b;
	}
	return true;
}

/* Copy @len bytes from @dist back; source and destination may overlap, forwards. */
static void lz4_match(u8 *out, size_t dist, size_t len)
{
	if (dist >= len) {
		memcpy(out, out - dist, len);
		return;
	}
	for (size_t i = 0; i < len; i++)
		out[i] = out[i - dist];
}

ssize_t lz4_block(const u8 *in, size_t in_len, u8 *base, size_t at, size_t size)
{
	const u8 *end = in + in_len;
	size_t start = at;

	while (in < end) {
		u8 token = *in++;
		size_t lit = token >> 4, len = token & 15, dist;

		if (!lz4_length(&in, end, &lit) || lit > (size_t)(end - in) || lit > size - at)
			return -1;
		memcpy(base + at, in, lit);
		at += lit;
		in += lit;
		if (in == end) /* the last sequence has no match */
			return (ssize_t)(at - start);
		if (end - in < 2)
			return -1;
		dist = (size_t)in[0] | (size_t)in[1] << 8;
		in += 2;
		if (!lz4_length(&in, end, &len))
			return -1;
		len += 4;
		if (!dist || dist > at || len > size - at)
			return -1;
		lz4_match(base + at, dist, len);
		at += len;
	}
	return -1;
}

/* The legacy format: magic, then blocks with their packed length; dist may cross blocks. */
static bool lz4_unpack(const u8 *in, size_t in_len, u8 *out, size_t size)
{
	size_t at = 0, pos = 4;

	while (at < size && in_len - pos >= 4) {
		u32 len = get32(in + pos);
		ssize_t n;

		pos += 4;
		if (len > in_len - pos)
			return false;
		n = lz4_block(in + pos, len, out, at, size);
		if (n <= 0)
			return false;
		at += (size_t)n;
		pos += len;
	}
	return at == size;
}

/* Can @len packed bytes make @size? What they cannot is not given memory first. */
static bool plausible(const u8 *in, size_t len, size_t size)
{
	unsigned long long said;

	if (size > VMLINUX_MAX)
		return false;
	if (get32(in) == LZ4_LEGACY)
		return size / 255 <= len; /* a byte of a length stands for 255 bytes at most */
	said = ZSTD_getFrameContentSize(in, len);
	return said == size || said == ZSTD_CONTENTSIZE_UNKNOWN;
}

static bool unpack(const u8 *in, size_t in_len, u8 *out, size_t size)
{
	if (get32(in) == LZ4_LEGACY)
		return lz4_unpack(in, in_len, out, size);
	return ZSTD_decompress(out, size, in, in_len) == size;
}

/* [boot.rst] payload_offset and payload_length, protocol 2.08 and later */
static bool payload(const u8 *image, size_t size, const u8 **ret, size_t *len)
{
	u64 setup, off;

	if (size < 0x260 || memcmp(image + 0x202, "HdrS", 4) || image[0x207] < 2 ||
	    (image[0x207] == 2 && image[0x206] < 8))
		return false;
	setup = ((image[0x1f1] ? image[0x1f1] : 4u) + 1) * 512u;
	off = setup + get32(image + 0x248);
	*len = get32(image + 0x24c);
	*ret = image + off;
	return *len >= 12 && range_ok(off, *len, size);
}

int vmlinux_extract(int fd, int out, struct err *e)
{
	struct stat st;
	const u8 *image, *packed = NULL;
	u8 *elf = NULL;
	size_t len = 0, size = 0;
	int r = -ENOTSUP;

	if (fstat(fd, &st) < 0 || st.st_size <= 0)
		return err_set(e, EINVAL, "kernel: cannot be read");
	image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (image == MAP_FAILED)
		return err_set(e, errno, "kernel: %m");
	if (payload(image, (size_t)st.st_size, &packed, &len) &&
	    (get32(packed) == LZ4_LEGACY || get32(packed) == ZSTD_MAGIC))
		size = get32(packed + len - 4); /* the build appends the unpacked size */
	if (size && plausible(packed, len - 4, size))
		elf = malloc(size);
	if (elf && unpack(packed, len - 4, elf, size) && !memcmp(elf, "\177ELF", 4))
		r = fd_write_full(out, elf, size);
	free(elf);
	munmap((void *)image, (size_t)st.st_size);
	return r ? err_set(e, -r, "kernel: not an LZ4 or Zstandard bzImage with an ELF kernel") : 0;
}
