// SPDX-License-Identifier: Apache-2.0
/* vmdk.h - inside blk/: one open VMDK disk */
#ifndef BLK_VMDK_H
#define BLK_VMDK_H

#include "blk/sparse.h"

#define VMDK_EXTENTS  IMAGE_EXTENTS
#define VMDK_NO_PARENT 0xffffffffu
#define VMDK_TEXT_MAX FUZZ_LESS(1u << 20, 1u << 14)

enum vmdk_kind { VMDK_FLAT, VMDK_SPARSE, VMDK_ZERO };

struct vmdk_extent {
	enum vmdk_kind kind;
	u64 len, offset; /* bytes; offset: flat extents, into the file */
	char name[IMAGE_NAME_MAX];
	struct blk *file;
	struct sparse s;   /* sparse extents; stream-optimised: offsets of grain markers */
	u64 *gt, *rgt;	   /* where each grain table is, and its copy; 0 = nowhere */
	u64 nr_gt, per_gt; /* tables, entries in one */
};

struct vmdk_desc {
	char type[32];
	u32 cid, parent_cid;	     /* VMDK_NO_PARENT: it stands on nothing */
	char parent[IMAGE_NAME_MAX]; /* "" = none */
	u64 size;
	unsigned nr;
	struct vmdk_extent x[VMDK_EXTENTS];
};

struct vmdk {
	struct fmt f;
	struct vmdk_desc d;
	bool stream;   /* compressed grains */
	bool finished; /* the directory has been written */
	u64 grains;    /* in it when it was opened */
	u8 *grain;     /* the last one decompressed, of offset grain_at */
	u64 grain_at;
};

/* @d is all zeroes. */
int vmdk_parse_text(char *text, struct vmdk_desc *d, struct err *e) MUST_CHECK;

/* vmdk_sparse.c */
int vmdk_open_sparse(struct vmdk *v, struct vmdk_extent *x, struct err *e) MUST_CHECK;
int vmdk_stream_io(struct vmdk *v, struct vmdk_extent *x, const struct blk_req *r, u64 pos, u64 off,
		   u64 n) MUST_CHECK;
size_t vmdk_pack(const struct fmt *f, const void *in, u32 len, void *out, size_t cap);
int vmdk_write_packed(struct fmt *f, u64 off, const void *data, size_t len) MUST_CHECK;
int vmdk_finish(struct fmt *f, struct err *e) MUST_CHECK;
int vmdk_create(struct blk *file, const struct image_create *c, struct err *e) MUST_CHECK;

#endif
