// SPDX-License-Identifier: Apache-2.0
/*
 * disk_io.c - libext2fs on a struct disk_reader
 *
 * The library hands an I/O manager a name and nothing else: ours spells out the
 * reader's address and where the partition starts. Names never come from outside.
 */
#include "boot/disk_io.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct disk_io {
	const struct disk_reader *d;
	u64 start;
};

void disk_io_name(const struct disk_reader *d, u64 start, char ret[DISK_IO_NAME])
{
	snprintf(ret, DISK_IO_NAME, "%" PRIxPTR ":%" PRIx64, (uintptr_t)d, start);
}

u64 disk_io_size(io_channel c)
{
	return ((const struct disk_io *)c->private_data)->d->size;
}

static errcode_t io_close(io_channel c)
{
	if (--c->refcount > 0)
		return 0;
	free(c->private_data);
	free(c->name);
	free(c);
	return 0;
}

static errcode_t io_open(const char *name, int flags, io_channel *ret)
{
	struct struct_io_channel *c = calloc(1, sizeof *c);
	struct disk_io *io = calloc(1, sizeof *io);
	uintptr_t d;

	if (!c || !io || flags & IO_FLAG_RW || sscanf(name, "%" SCNxPTR ":%" SCNx64, &d, &io->start) != 2) {
		free(c);
		free(io);
		return EXT2_ET_NO_MEMORY;
	}
	io->d = (const struct disk_reader *)d;
	c->magic = EXT2_ET_MAGIC_IO_CHANNEL;
	c->manager = &disk_io_manager;
	c->name = strdup(name);
	c->block_size = 1024;
	c->refcount = 1;
	c->private_data = io;
	*ret = c;
	return 0;
}

static errcode_t io_set_blksize(io_channel c, int size)
{
	c->block_size = size;
	return 0;
}

/* @count: blocks, or bytes if negative */
static errcode_t io_read64(io_channel c, unsigned long long block, int count, void *data)
{
	struct disk_io *io = c->private_data;
	u64 off, len = count < 0 ? -(u64)count : (u64)count * (u64)c->block_size;

	if (__builtin_mul_overflow(block, (u64)c->block_size, &off) ||
	    __builtin_add_overflow(off, io->start, &off) || off > io->d->size ||
	    len > io->d->size - off)
		return EXT2_ET_SHORT_READ;
	return io->d->read(io->d, off, data, len) ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t io_read(io_channel c, unsigned long block, int count, void *data)
{
	return io_read64(c, block, count, data);
}

static errcode_t io_write64(io_channel c UNUSED, unsigned long long block UNUSED, int count UNUSED,
			    const void *data UNUSED)
{
	return EXT2_ET_RO_FILSYS;
}

static errcode_t io_write(io_channel c UNUSED, unsigned long block UNUSED, int count UNUSED,
			  const void *data UNUSED)
{
	return EXT2_ET_RO_FILSYS;
}

static errcode_t io_flush(io_channel c UNUSED)
{
	return 0;
}

struct struct_io_manager disk_io_manager = {
	.magic = EXT2_ET_MAGIC_IO_MANAGER,
	.name = "disk reader",
	.open = io_open,
	.close = io_close,
	.set_blksize = io_set_blksize,
	.read_blk = io_read,
	.write_blk = io_write,
	.flush = io_flush,
	.read_blk64 = io_read64,
	.write_blk64 = io_write64,
};
