// SPDX-License-Identifier: Apache-2.0
/* gunzip_test.c - packed kernels: whole, plain, cut short at every length, damaged */
#include "boot/boot.h"

#include "base/test.h"
#include "os/os.h"

#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

static u32 pack(const char *text, u8 *ret, u32 size)
{
	z_stream z = { .next_in = (u8 *)text, .avail_in = (uInt)strlen(text), .next_out = ret,
		       .avail_out = size };

	if (deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
	    deflate(&z, Z_FINISH) != Z_STREAM_END)
		return 0;
	deflateEnd(&z);
	return (u32)z.total_out;
}

static int file_of(const void *data, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	return write(fd, data, len) == (ssize_t)len ? fd : -1;
}

TEST(a_gzip_kernel_is_unpacked_and_any_other_left_alone)
{
	char got[16] = "";
	u8 gz[128];
	u32 len = pack("a small kernel", gz, sizeof gz);
	struct err e = { 0 };
	i32 fd = file_of(gz, len), was;

	CHECK_EQ(boot_gunzip(&fd, "k.gz", &e), 0);
	CHECK_EQ(pread(fd, got, sizeof got, 0), 14);
	CHECK_STR(got, "a small kernel");
	was = fd;
	CHECK_EQ(boot_gunzip(&fd, "k", &e), 0);
	CHECK_EQ(fd, was);
	fd_close(&fd);
}

TEST(a_gzip_kernel_cut_short_or_damaged_is_refused)
{
	u8 gz[128];
	u32 len = pack("a small kernel", gz, sizeof gz);

	for (u32 n = 2; n <= len; n++) {
		struct err e = { 0 };
		i32 fd, was;

		if (n == len)
			gz[len - 8] ^= 1; /* its checksum */
		was = fd = file_of(gz, n);
		CHECK(boot_gunzip(&fd, "k.gz", &e) < 0);
		CHECK(e.msg[0]);
		CHECK_EQ(fd, was);
		fd_close(&fd);
	}
}
