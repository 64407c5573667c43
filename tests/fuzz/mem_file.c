// SPDX-License-Identifier: Apache-2.0
/* mem_file.c - see mem_file.h */
#include "mem_file.h"

#include "blk/be.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AHEAD 8 /* how far requests overtake each other */
#define PAGE  4096u

static struct mem_file {
	struct blk b;
	u64 max;
	u64 (*rnd)(void);
	struct blk_req *head, **tail;
} file;

static u8 data[MEM_FILE_MAX];
static bool used[MEM_FILE_MAX / PAGE]; /* pages of data[] that may not be zero, */
static u32 list[MEM_FILE_MAX / PAGE], nr_used; /* and which those are */

static void touch(u64 at, u64 len)
{
	for (u64 i = at / PAGE; len && i <= (at + len - 1) / PAGE; i++) {
		if (used[i])
			continue;
		used[i] = true;
		list[nr_used++] = (u32)i;
	}
}

static void clear(u64 at, u64 end)
{
	for (u32 i = 0; i < nr_used; i++) {
		u64 first = (u64)list[i] * PAGE, last = first + PAGE;

		first = first > at ? first : at;
		last = last < end ? last : end;
		if (first < last)
			memset(data + first, 0, last - first);
	}
}

static void copy(const struct blk_req *r, bool in)
{
	u64 at = r->offset;

	for (int i = 0; i < r->nr_iov; i++) {
		u64 n = r->iov[i].iov_len, k = at < MEM_FILE_MAX ? MEM_FILE_MAX - at : 0;

		k = k < n ? k : n;
		if (in) {
			memcpy(r->iov[i].iov_base, data + (k ? at : 0), k);
			memset((u8 *)r->iov[i].iov_base + k, 0, n - k);
		} else {
			touch(at, n);
			memcpy(data + at, r->iov[i].iov_base, n);
		}
		at += n;
	}
}

static int perform(const struct blk_req *r)
{
	u64 end = r->offset + r->len;

	if (r->op == BLK_READ) {
		copy(r, true);
		return 0;
	}
	if (r->op == BLK_FLUSH || (r->op == BLK_DISCARD && r->offset >= MEM_FILE_MAX))
		return 0;
	if (end > file.max && r->op != BLK_DISCARD)
		return ENOSPC;
	end = end < MEM_FILE_MAX ? end : MEM_FILE_MAX;
	if (r->op == BLK_WRITE)
		copy(r, false);
	else
		clear(r->offset, end);
	return 0;
}

static void mem_submit(struct blk *b, struct blk_req *r)
{
	if (!file.head && file.rnd() % 4) {
		blk_complete(b, r, perform(r));
		return;
	}
	r->priv[0] = NULL;
	*file.tail = r;
	file.tail = (struct blk_req **)&r->priv[0];
}

static void mem_wait(struct blk *b)
{
	struct blk_req **p = &file.head, *r;

	for (u64 n = file.rnd() % AHEAD; n && (*p)->priv[0]; n--)
		p = (struct blk_req **)&(*p)->priv[0];
	r = *p;
	*p = r->priv[0];
	if (!*p)
		file.tail = p;
	blk_complete(b, r, perform(r));
}

static int mem_resize(struct blk *b, u64 size, struct err *e)
{
	if (size > file.max)
		return err_set(e, ENOSPC, "image: larger than the test allows");
	clear(size, MEM_FILE_MAX);
	b->info.size = size;
	return 0;
}

static void mem_close(struct blk *b)
{
	(void)b;
}

static const struct blk_driver mem_driver = {
	.name = "memory",
	.submit = mem_submit,
	.wait = mem_wait,
	.resize = mem_resize,
	.close = mem_close,
};

static u64 unpack(const u8 *p, size_t n)
{
	u64 size = n < 4 ? 0 : rd_le32(p) % (file.max + 1);

	for (size_t i = 4; n >= 10 && i <= n - 6;) {
		u64 at = rd_le32(p + i), len = rd_le16(p + i + 4);

		i += 6;
		len = len < n - i ? len : n - i;
		if (at < size && len <= size - at) {
			touch(at, len);
			memcpy(data + at, p + i, len);
		}
		i += len;
	}
	return size;
}

struct blk *mem_file_open(struct loop *l, const u8 *p, size_t n, u64 max, u64 (*rnd)(void))
{
	while (nr_used) {
		u32 i = list[--nr_used];

		memset(data + (size_t)i * PAGE, 0, PAGE);
		used[i] = false;
	}
	file = (struct mem_file){ .max = max, .rnd = rnd, .tail = &file.head };
	blk_init(&file.b, &mem_driver, l, NULL);
	file.b.growable = file.b.zero_tail = true;
	file.b.info = (struct blk_info){ .size = unpack(p, n), .block_size = 1, .discard = true };
	return &file.b;
}

/* The end of the piece that starts at @at: before 16 zeroes in a row. */
static u64 piece_end(u64 at, u64 size)
{
	u64 end = at + 1;

	for (u64 i = at; i < size && i < end + 16 && i - at < 0xff00; i++)
		if (data[i])
			end = i + 1;
	return end;
}

size_t mem_file_pack(u8 *p, size_t cap)
{
	u64 size = file.b.info.size < MEM_FILE_MAX ? file.b.info.size : MEM_FILE_MAX, n = 4;

	put_le32(p, (u32)size);
	for (u64 at = 0; at < size; at++) {
		u64 end;

		if (!data[at])
			continue;
		end = piece_end(at, size);
		if (end - at + 6 > cap - n)
			return 0;
		put_le32(p + n, (u32)at);
		put_le16(p + n + 4, (u16)(end - at));
		memcpy(p + n + 6, data + at, end - at);
		n += 6 + end - at;
		at = end - 1;
	}
	return n;
}
