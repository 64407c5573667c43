// SPDX-License-Identifier: Apache-2.0
/*
 * vmlinux_test.c - LZ4 blocks by hand, and hostile ones
 */
#include "boot/boot_int.h"

#include "base/test.h"
#include "os/os.h"

#include <errno.h>
#include <unistd.h>

TEST(lz4_block_has_literals_and_overlapping_matches)
{
	/* "ab", then 8 bytes from 2 back, then the literal "!" */
	static const u8 in[] = { 0x24, 'a', 'b', 2, 0, 0x10, '!' };
	char out[12] = "";

	CHECK_EQ(lz4_block(in, sizeof(in), (u8 *)out, 0, sizeof(out)), 11);
	CHECK_STR(out, "ababababab!");
}

TEST(lz4_block_lengths_continue_in_more_bytes)
{
	u8 in[2 + 20] = { 0xf0, 5 };
	u8 out[20];

	memset(in + 2, 'x', 20);
	CHECK_EQ(lz4_block(in, sizeof(in), out, 0, sizeof(out)), 20);
	CHECK_EQ(out[19], 'x');
}

TEST(lz4_block_refuses_what_leaves_its_buffers)
{
	static const u8 far_back[] = { 0x10, 'a', 9, 0, 0x10, '!' };
	static const u8 zero_back[] = { 0x10, 'a', 0, 0, 0x10, '!' };
	static const u8 too_long[] = { 0x1f, 'a', 1, 0, 255, 255, 0, 0x10, '!' };
	static const u8 short_in[] = { 0x50, 'a' };
	u8 out[16];

	CHECK_EQ(lz4_block(far_back, sizeof(far_back), out, 0, sizeof(out)), -1);
	CHECK_EQ(lz4_block(zero_back, sizeof(zero_back), out, 0, sizeof(out)), -1);
	CHECK_EQ(lz4_block(too_long, sizeof(too_long), out, 0, sizeof(out)), -1);
	CHECK_EQ(lz4_block(short_in, sizeof(short_in), out, 0, sizeof(out)), -1);
}

TEST(vmlinux_is_refused_from_what_is_no_bzimage)
{
	int in = fd_memfd("in", 4096), out = fd_memfd("out", 0);
	struct err e;

	CHECK_EQ(vmlinux_extract(in, out, &e), -ENOTSUP);
	fd_close(&in);
	fd_close(&out);
}

/* A bzImage whose payload is one LZ4 block holding an "ELF" of 8 bytes. */
TEST(vmlinux_comes_out_of_a_bzimage)
{
	static const u8 packed[] = { 0x02, 0x21, 0x4c, 0x18, 9, 0, 0, 0, 0x80, 0x7f, 'E', 'L', 'F',
				     1, 2, 3, 4, 8, 0, 0, 0 };
	u8 image[4096] = { 0 };
	int in = fd_memfd("in", 0), out = fd_memfd("out", 0);
	struct err e;
	char elf[9] = "";

	image[0x1f1] = 1;
	memcpy(image + 0x202, "HdrS\x0f\x02", 6);
	image[0x248] = 16;
	image[0x24c] = sizeof(packed);
	memcpy(image + 1024 + 16, packed, sizeof(packed));
	CHECK_EQ(fd_write_full(in, image, sizeof(image)), 0);
	CHECK_EQ(vmlinux_extract(in, out, &e), 0);
	CHECK_EQ(pread(out, elf, sizeof(elf), 0), 8);
	CHECK_STR(elf, "\177ELF\1\2\3\4");
	fd_close(&in);
	fd_close(&out);
}
