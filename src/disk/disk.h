// SPDX-License-Identifier: Apache-2.0
/*
 * disk.h - "vireo disk": image files for people, and which files an image may use
 */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include "base/err.h"
#include "blk/image.h"

/* The words after "vireo disk". Return: the exit status. */
int disk_main(int argc, char **argv);

#define DISK_PATH 1024

/*
 * Which other files an image may name. Without any, only files in the image's own
 * directory or below it, by their real paths.
 */
struct disk_policy {
	const char *allow[16]; /* files or directories, besides that; "any" = all */
	unsigned nr_allow;
};

struct disk_layer {
	char path[DISK_PATH];
	struct image_layer l;
};

/* A chain of images; the descriptors are open and belong to it. */
struct disk_chain {
	unsigned nr;
	struct disk_layer layer[IMAGE_LAYERS];
};

/*
 * disk_resolve() - open the image at @path and every file it stands on
 * @format:	NULL = by its first bytes
 * @write:	the first one is opened for writing
 *
 * An image whose name the policy does not cover is refused: -EPERM. A chain that
 * comes back to itself, or is longer than IMAGE_LAYERS: -ELOOP.
 */
int disk_resolve(struct disk_chain *c, const char *path, const char *format, bool write,
		 bool only_top, const struct disk_policy *p, struct err *e) MUST_CHECK;
void disk_chain_close(struct disk_chain *c);

/* For looking into a disk before it is used: open for reading only, whatever the format. */
struct blk *disk_open_read(struct loop *l, const char *path, const char *format, const char *allow,
			   const char *secret, struct err *e) MUST_CHECK;
u64 disk_size(const struct blk *b);
/* Any bytes; waits. 0 or -errno. */
int disk_read(struct blk *b, u64 off, void *buf, size_t len) MUST_CHECK;

#endif
