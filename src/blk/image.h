// SPDX-License-Identifier: Apache-2.0
/*
 * image.h - image formats: recognising, opening, creating, maintaining them
 *
 * Nothing here opens a file by name. An image that names another (its backing file,
 * its extents) is served only with the nodes the caller hands in; whoever resolves
 * such names decides which may be opened.
 */
#ifndef BLK_IMAGE_H
#define BLK_IMAGE_H

#include "blk/blk.h"

struct dirty;
struct image_packer;

#define IMAGE_NAME_MAX 1024

enum image_format {
	IMAGE_RAW,
	IMAGE_QCOW2,
	IMAGE_VPC, /* Virtual PC, Hyper-V: .vhd */
	IMAGE_VHDX,
	IMAGE_VDI,
	IMAGE_VMDK,
	IMAGE_LUKS,
	IMAGE_NR,
};

const char *image_format_name(enum image_format f);
/* false if there is no such format. "vhd" and "vpc" are the same. */
bool image_format_parse(const char *name, enum image_format *ret) MUST_CHECK;

/*
 * The format by the first bytes; IMAGE_RAW if there is no magic. A guest that writes a
 * raw disk can write any magic: only for images whose owner has not said what they are.
 */
int image_probe(struct blk *file, enum image_format *ret, struct err *e) MUST_CHECK;

/* The file behind @fd (taken over) for an image to stand on. */
struct blk *image_open_file(struct loop *l, int fd, bool read_only, struct err *e) MUST_CHECK;

/* The same with FILE_SHARED, FILE_DIRECT (blk.h). */
struct blk *image_open_file_with(struct loop *l, int fd, bool read_only, unsigned flags,
				 struct err *e) MUST_CHECK;

struct image_opts {
	bool read_only;
	bool no_backing;     /* open without the backing node: what it holds reads as zeroes */
	bool no_repair;	     /* leave an image that was not closed cleanly as it is */
	bool direct;	     /* image_open_layers(): past the host's page cache */
	struct blk *backing; /* taken over, also on failure; NULL if there is none */
	struct blk **extent; /* VMDK: the files of its descriptor, in order; taken over */
	unsigned nr_extent;
	const char *secret; /* LUKS: the passphrase, or NULL */
};

/*
 * The image in @file (taken over, also on failure). A backing file is named by the
 * image but not given: -ENOLINK.
 */
struct blk *image_open(struct blk *file, enum image_format f, const struct image_opts *o,
		       struct err *e) MUST_CHECK;

struct image_snapshot {
	char id[64], name[256];
	u64 size;	/* of the disk */
	u64 state_size; /* of the machine's state */
	u32 date_s, date_ns;
	u64 clock_ns;
};

struct image_info {
	enum image_format format;
	u64 size;
	u32 cluster_size; /* 0 = none */
	bool encrypted, dirty, corrupt, needs_secret;
	char variant[64]; /* "version 3, zstd", "dynamic", ... */
	char backing[IMAGE_NAME_MAX], backing_format[16];
	unsigned nr_extent; /* other files it names */
	struct image_snapshot *snapshot; /* owned by the node */
	unsigned nr_snapshot, nr_bitmap;
};

bool image_new_is_zero(struct blk *b); /* a new image of this format reads as zeroes */
struct blk *image_backing(struct blk *b); /* of an open node; NULL if there is none */
/*
 * Stand on another node with the same contents, or on none, with nothing in flight; what
 * the image says does not change. Return: the old one, the caller's now. Images only.
 */
struct blk *image_swap_backing(struct blk *b, struct blk *with) MUST_CHECK;

#define IMAGE_LAYERS  32
#define IMAGE_EXTENTS 32

/* One file of a chain of images, from the top down. Descriptors are taken over. */
struct image_layer {
	int fd;
	enum image_format format;
	int extent[IMAGE_EXTENTS]; /* VMDK */
	unsigned nr_extent;
};

/*
 * Open a chain of @n images, each the backing file of the one before; only the first
 * one is written to, unless @o says otherwise. @o->backing: what the last one stands on;
 * @o->extent is not used.
 */
struct blk *image_open_layers(struct loop *l, const struct image_layer *layer, unsigned n,
			      const struct image_opts *o, struct err *e) MUST_CHECK;

/* What the image says of itself, without opening anything else. @file stays the caller's. */
int image_peek(struct blk *file, enum image_format f, struct image_info *ret,
	       struct err *e) MUST_CHECK;
/* The name of the @i-th other file a VMDK descriptor names. */
int image_peek_extent(struct blk *file, unsigned i, char ret[IMAGE_NAME_MAX],
		      struct err *e) MUST_CHECK;
/* Of an open node from image_open(). */
void image_get_info(struct blk *b, struct image_info *ret);

struct image_create {
	u64 size;
	const char *backing, *backing_format; /* NULL = none */
	u32 cluster_size;		      /* 0 = the format's default */
	u32 refcount_bits;		      /* 0 = 16 */
	bool compat_v2, lazy_refcounts, extended_l2, zstd;
	const char *subformat; /* NULL = the default; "fixed", "streamOptimized", ... */
	const char *secret;    /* encrypt with LUKS */
	u32 luks_iter_ms;      /* time of the key derivation; 0 = 1000 */
	const char *extent_name; /* VMDK flat: what the descriptor calls its data file */
};

/* Make an empty image in @file, which is empty. @file stays the caller's. */
int image_create(struct blk *file, enum image_format f, const struct image_create *c,
		 struct err *e) MUST_CHECK;

/*
 * The rest is for the node on top, from image_open(), with nothing in flight; each
 * waits inside.
 */
struct image_check {
	u64 errors, leaks;	   /* found; after repair: left */
	u64 errors_fixed, leaks_fixed;
	u64 clusters, allocated, compressed; /* of the guest's disk */
	u64 end;		   /* bytes of the file in use */
	void (*say)(void *ctx, const char *text); /* each finding; may be NULL */
	void *ctx;
};

enum image_repair { IMAGE_CHECK_ONLY, IMAGE_FIX_LEAKS, IMAGE_FIX_ALL };

int image_check(struct blk *b, enum image_repair fix, struct image_check *c,
		struct err *e) MUST_CHECK;

int image_snapshot_create(struct blk *b, const char *name, struct err *e) MUST_CHECK;
int image_snapshot_apply(struct blk *b, const char *name, struct err *e) MUST_CHECK;
/* Read the snapshot from now on instead of the present state: of a read-only node. */
int image_snapshot_view(struct blk *b, const char *name, struct err *e) MUST_CHECK;
int image_snapshot_delete(struct blk *b, const char *name, struct err *e) MUST_CHECK;

/*
 * Dirty bitmaps kept in the image (dirty.h): qcow2. One that is in use lacks writes: it
 * cannot be loaded, only removed or stored anew.
 */
struct image_bitmap {
	char name[1024];
	unsigned shift; /* log2 of the granularity */
	bool recording; /* who writes the image notes it there */
	bool in_use;
};

/* The @i-th one; -ENOENT if there are no more. */
int image_bitmap_get(struct blk *b, unsigned i, struct image_bitmap *ret, struct err *e) MUST_CHECK;
/* *ret: dirty_fini() it. */
int image_bitmap_load(struct blk *b, const char *name, struct dirty *ret, struct err *e) MUST_CHECK;
/* Makes it if there is none; @bits NULL: remove it. */
int image_bitmap_store(struct blk *b, const char *name, const struct dirty *bits, bool recording,
		       struct err *e) MUST_CHECK;

/*
 * From now on zeroes that are written are stored also where nothing is below: before the
 * image gets a backing file, or a longer one.
 */
void image_keep_zeroes(struct blk *b);

/* Change what the image names as its backing file ("" = none); its data stays. */
int image_set_backing(struct blk *b, const char *name, const char *format,
		      struct err *e) MUST_CHECK;

/* The size of pieces for a packer; 0 = the format cannot. */
u32 image_compressed_unit(struct blk *b);
/*
 * Compresses on several threads and writes in order, from the caller's thread. Whole
 * pieces at increasing offsets, never written before; the last one of the disk may be
 * short. Nothing else writes the image meanwhile.
 */
struct image_packer *image_packer_new(struct blk *b, struct err *e) MUST_CHECK;
int image_packer_put(struct image_packer *p, u64 off, const void *buf, u32 len,
		     struct err *e) MUST_CHECK; /* @buf is the caller's again */
int image_packer_finish(struct image_packer *p, struct err *e) MUST_CHECK; /* all is written */
void image_packer_free(struct image_packer *p);				   /* NULL is fine */
/* End a format that is written front to back (stream-optimised VMDK). */
int image_finish(struct blk *b, struct err *e) MUST_CHECK;

#endif
