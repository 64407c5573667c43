// SPDX-License-Identifier: Apache-2.0
/*
 * gunzip.c - a kernel that its package ships compressed, such as Xen, in a file that is not
 *
 * Boot loaders unpack gzip [RFC 1952] files; so does "vireo run --kernel".
 */
#include "boot/boot.h"

#include "base/bits.h"
#include "os/os.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#define KERNEL_MAX FUZZ_LESS(512u << 20, 1u << 20) /* bytes, unpacked */
#define GZIP_ONLY  (16 + MAX_WBITS)

static int damaged(struct err *e, const char *name)
{
	return err_set(e, EINVAL, "%s: damaged or truncated gzip file", name);
}

static int inflate_fd(z_stream *z, int from, int to, const char *name, struct err *e)
{
	u8 in[16384], out[65536];
	int r = Z_OK;

	for (u64 off = 0; r != Z_STREAM_END;) {
		ssize_t n = pread(from, in, sizeof in, (off_t)off);

		if (n <= 0)
			return n < 0 ? err_set(e, errno, "%s: cannot read it", name) :
				       damaged(e, name);
		off += (u64)n;
		z->next_in = in;
		z->avail_in = (uInt)n;
		do {
			z->next_out = out;
			z->avail_out = sizeof out;
			r = inflate(z, Z_NO_FLUSH);
			if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
				return damaged(e, name);
			if (z->total_out > KERNEL_MAX)
				return err_set(e, EFBIG, "%s: unpacks to more than %u MiB", name,
					       KERNEL_MAX >> 20);
			if (write(to, out, sizeof out - z->avail_out) !=
			    (ssize_t)(sizeof out - z->avail_out))
				return err_set(e, ENOMEM, "%s: no memory to unpack it", name);
		} while (r == Z_OK && (z->avail_in || !z->avail_out));
	}
	return 0;
}

int boot_gunzip(i32 *fd, const char *name, struct err *e)
{
	z_stream z = { 0 };
	u8 magic[2];
	int to, r;

	if (pread(*fd, magic, sizeof magic, 0) != sizeof magic || magic[0] != 0x1f ||
	    magic[1] != 0x8b)
		return 0;
	to = memfd_create("kernel", MFD_CLOEXEC);
	if (to < 0 || inflateInit2(&z, GZIP_ONLY) != Z_OK) {
		fd_close(&to);
		return err_set(e, ENOMEM, "%s: no memory to unpack it", name);
	}
	r = inflate_fd(&z, *fd, to, name, e);
	inflateEnd(&z);
	if (r) {
		fd_close(&to);
		return r;
	}
	close(*fd);
	*fd = to;
	return 0;
}
