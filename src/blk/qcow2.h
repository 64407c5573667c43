// SPDX-License-Identifier: Apache-2.0
/*
 * qcow2.h - inside blk/qcow2*.c: one open qcow2 image [QEMU docs/interop/qcow2.txt]
 *
 * Integers in the image are big-endian. "Index" is the number of a cluster: of the
 * guest's disk or of the file, as said.
 *
 * Metadata lives in the L1 table and the refcount table, both in memory as a whole,
 * and in L2 tables and refcount blocks, cached in slices and written back by
 * q_commit(), which alone makes changes durable, in this order:
 *
 * (I1) A cluster's refcount and data are on disk before anything on disk refers to it.
 * (I2) An L2 table is on disk before the L1 entry that points to it.
 * (I3) A refcount on disk drops only after the last reference has gone from the disk;
 *	so freed clusters wait in q->frees for the end of a commit and are reused after.
 *
 * So a crash between any two writes leaves leaked clusters at worst. In memory, at
 * every point where a coroutine may wait, refcounts are at least the references.
 *
 * (L1) q->meta protects the cache's contents, the tables and the allocator. Looking
 *	up what is cached needs no lock as nothing waits meanwhile.
 * (L2) q->ranges protects guest clusters: shared while data is written in place,
 *	exclusive while the mapping changes. Taken before q->meta.
 */
#ifndef BLK_QCOW2_H
#define BLK_QCOW2_H

#include "blk/be.h"
#include "blk/fmt.h"

#define QCOW2_MAGIC	0x514649fbu
#define Q_COPIED	BIT_ULL(63)
#define Q_COMPRESSED	BIT_ULL(62)
#define Q_ZERO		BIT_ULL(0) /* version 3, standard L2 entries */
#define Q_OFFSET	0x00fffffffffffe00ull
#define Q_MAX_FILE	BIT_ULL(55) /* we allocate nothing above */
#define Q_MAX_L1	(32u << 20) /* bytes */
#define Q_MAX_RT	(8u << 20)
#define Q_MAX_SNAP_TABLE (16u << 20)

enum { INCOMPAT_DIRTY = 1, INCOMPAT_CORRUPT = 2, INCOMPAT_DATA_FILE = 4,
       INCOMPAT_COMPRESSION = 8, INCOMPAT_EXT_L2 = 16 };
enum { COMPAT_LAZY = 1 };
enum { AUTOCLEAR_BITMAPS = 1, AUTOCLEAR_RAW_DATA = 2 };
enum { EXT_END = 0, EXT_BACKING_FORMAT = 0xe2792aca, EXT_FEATURES = 0x6803f857,
       EXT_BITMAPS = 0x23852875, EXT_CRYPTO = 0x0537be77, EXT_DATA_FILE = 0x44415441 };

struct q_header { /* in the host's byte order */
	u32 version;
	u64 backing_off;
	u32 backing_len;
	u32 cluster_bits;
	u64 size;
	u32 crypt;
	u32 l1_size;
	u64 l1_off;
	u64 rt_off;
	u32 rt_clusters;
	u32 nr_snapshots;
	u64 snapshots_off;
	u64 incompat, compat, autoclear;
	u32 refcount_order;
	u32 length;
	u8 compression; /* 0 zlib, 1 zstd */
};

struct q_ext {
	u32 type, len;
	u8 *data;
};

#define Q_EXT_MAX 32

enum slice_kind { SLICE_FREE, SLICE_REF, SLICE_L2 };

struct slice {
	u64 off; /* in the file */
	u8 *data;
	enum slice_kind kind;
	bool dirty;
	struct slice *hash_next, *newer, *older;
};

#define Q_SLICES	FUZZ_LESS(1024u, 16u)
#define Q_MAX_SNAPSHOTS FUZZ_LESS(65536u, 64u)
#define Q_HASH	 2048u

struct q_free {
	u64 index; /* in the file */
	u32 count;
	bool discard; /* give the space back to the host */
};

struct qcow2 {
	struct fmt f;
	struct q_header h;
	struct q_ext ext[Q_EXT_MAX];
	unsigned nr_ext;
	char backing[IMAGE_NAME_MAX], backing_format[16];
	u64 cluster_size;
	u32 l2_bits;   /* log2 of entries in an L2 table */
	u32 entry;     /* bytes of an L2 entry */
	u32 nr_sub;    /* subclusters in a cluster: 1 or 32 */
	u64 sub_size;
	u32 block_bits; /* log2 of refcounts in a refcount block */
	u64 *l1, *rt;
	u32 rt_size; /* entries */
	u32 l1_dirty_first, l1_dirty_end;

	u32 slice_size;
	struct slice slice[Q_SLICES], *hash[Q_HASH], lru; /* lru.newer = oldest */
	u8 *slice_mem;
	unsigned nr_dirty[SLICE_L2 + 1];

	struct co_mutex meta;
	struct range_locks ranges;
	u64 free_index; /* no free cluster of the file lies below */
	u64 zero_from;	/* bytes of the file from here on were never written */
	struct q_free *frees;
	size_t nr_frees, cap_frees;
	bool fresh;	/* the last allocation lies at zero_from or behind */
	bool barrier;	/* data of new mappings is not flushed yet */
	bool writing;	/* what a first write announces has been announced */
	bool broken;	/* writing has found corruption: no more */

	u8 *zbuf; /* the last decompressed cluster, of descriptor zbuf_desc */
	u64 zbuf_desc;
	u64 pack_at; /* where the next compressed cluster goes, 0 = in a new one */

	struct luks *crypt;
	u64 crypt_off, crypt_len; /* where the LUKS header lies */

	struct image_snapshot *snap;
	struct q_snap_table { /* of q->snap[i] */
		u64 l1_off;
		u32 l1_size;
	} *snap_l1;
	u8 **snap_extra; /* unknown extra data, kept */
	u32 *snap_extra_len;
};

/* qcow2.c */
int q_parse_header(struct blk *file, struct q_header *h, struct q_ext *ext, unsigned *nr_ext,
		   char *backing, char *backing_format, struct err *e) MUST_CHECK;
int q_write_header(struct qcow2 *q) MUST_CHECK; /* all of it, extensions too */
int q_put_header_field(struct qcow2 *q, unsigned off, const void *p, unsigned len) MUST_CHECK;
int q_set_incompat(struct qcow2 *q, u64 incompat) MUST_CHECK;
int q_corrupt(struct qcow2 *q); /* remember that the image is corrupt; returns -EIO */
int q_begin_writing(struct qcow2 *q) MUST_CHECK;
u64 q_l1_needed(const struct q_header *h, u64 size);

/* qcow2_meta.c; q->meta is held, except for q_cached() */
int q_cache_init(struct qcow2 *q) MUST_CHECK;
void q_cache_drop(struct qcow2 *q); /* forget all; nothing is dirty */
struct slice *q_cached(struct qcow2 *q, u64 off);
int q_get_slice(struct qcow2 *q, u64 off, enum slice_kind kind, struct slice **ret) MUST_CHECK;
void q_dirty(struct qcow2 *q, struct slice *s);
int q_get_ref(struct qcow2 *q, u64 index, u64 *ret) MUST_CHECK;
/* From @index on, at most @max: *ret_n of them, at least one; if they cannot be read, so many. */
int q_get_refs(struct qcow2 *q, u64 index, unsigned max, u64 *ret, unsigned *ret_n) MUST_CHECK;
int q_add_ref(struct qcow2 *q, u64 index, i64 by) MUST_CHECK;
int q_set_ref(struct qcow2 *q, u64 index, u64 v) MUST_CHECK;
/* At most @want clusters in a row, at least one. */
int q_alloc(struct qcow2 *q, u64 want, u64 *ret_off, u64 *ret_n) MUST_CHECK;
int q_alloc_exact(struct qcow2 *q, u64 n, u64 *ret_off) MUST_CHECK; /* all in a row */
int q_free_later(struct qcow2 *q, u64 off, u64 n, bool discard) MUST_CHECK;
int q_commit(struct qcow2 *q) MUST_CHECK;
int q_settle(struct qcow2 *q) MUST_CHECK; /* commit until nothing is left to free */
bool q_overlaps_meta(struct qcow2 *q, u64 off, u64 len);

/* qcow2_map.c */
enum q_type { Q_UNMAPPED, Q_ZEROES, Q_DATA, Q_PACKED };

struct q_map {
	enum q_type type;
	u64 host; /* Q_DATA: where the bytes are in the file */
	u64 len;  /* bytes that are alike from the offset asked for */
	u64 desc; /* Q_PACKED: the L2 entry */
	bool copied; /* Q_DATA: may be written in place */
};

struct q_l2e {
	u64 e, bitmap; /* as in the image; bitmap: extended entries only */
};

int q_lookup(struct qcow2 *q, u64 off, u64 len, struct q_map *ret) MUST_CHECK;
/* The slice with the L2 entry of guest cluster @c, its table made our own first. Holds meta. */
int q_l2_for_write(struct qcow2 *q, u64 c, struct slice **ret, u32 *ret_off) MUST_CHECK;
struct q_l2e q_entry(const struct qcow2 *q, const u8 *p);
void q_put_entry(const struct qcow2 *q, u8 *p, struct q_l2e v);
u64 q_entries_left(const struct qcow2 *q, u64 c); /* in the slice, from cluster @c on */
int q_free_entry(struct qcow2 *q, u64 e, bool discard) MUST_CHECK;
void q_packed_range(const struct qcow2 *q, u64 e, u64 *ret_off, u64 *ret_len);

/* qcow2_io.c */
int q_io(struct fmt *f, struct blk_req *r) MUST_CHECK;
int q_unpack(struct qcow2 *q, u64 desc) MUST_CHECK; /* into q->zbuf */
int q_read_guest(struct qcow2 *q, u64 off, void *buf, u64 len) MUST_CHECK;
int q_drop_range(struct qcow2 *q, u64 off, u64 len, bool zeroes) MUST_CHECK;

/* qcow2_snap.c, qcow2_check.c, qcow2_create.c, qcow2_bitmap.c */
int q_load_snapshots(struct qcow2 *q, struct err *e) MUST_CHECK;
void q_free_snapshots(struct qcow2 *q);
u64 q_snapshot_table_size(const struct qcow2 *q);
/* Set the "copied" flags by the refcounts; nothing else goes on. Counts what was wrong. */
int q_fix_copied(struct qcow2 *q, u64 *wrong) MUST_CHECK;
int q_snapshot(struct fmt *f, int what, const char *name, struct err *e) MUST_CHECK;
int q_check(struct fmt *f, enum image_repair fix, struct image_check *c,
	    struct err *e) MUST_CHECK;
int q_mark_bitmaps(struct qcow2 *q) MUST_CHECK;
int q_bitmap_get(struct fmt *f, unsigned i, struct image_bitmap *ret, struct err *e) MUST_CHECK;
int q_bitmap_load(struct fmt *f, const char *name, struct dirty *ret, struct err *e) MUST_CHECK;
int q_bitmap_store(struct fmt *f, const char *name, const struct dirty *bits, bool recording,
		   struct err *e) MUST_CHECK;
/* Around a change of the size: the bitmaps that are valid, in memory; then at the new size. */
struct q_kept;
int q_keep_bitmaps(struct qcow2 *q, struct q_kept **ret, struct err *e) MUST_CHECK;
int q_put_bitmaps(struct qcow2 *q, struct q_kept *k, struct err *e) MUST_CHECK; /* frees @k */
void q_drop_kept(struct q_kept *k);
int q_create(struct blk *file, const struct image_create *c, struct err *e) MUST_CHECK;
size_t q_pack(const struct fmt *f, const void *in, u32 len, void *out, size_t cap);
int q_write_packed(struct fmt *f, u64 off, const void *data, size_t len) MUST_CHECK;
int q_resize(struct fmt *f, u64 size, struct err *e) MUST_CHECK;

#endif
