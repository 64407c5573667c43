// SPDX-License-Identifier: Apache-2.0
/*
 * jit_cache.c - where translated code lies, and what goes when there is no more room
 *
 * The code buffer, the blocks and the maps of their instructions are cut into the same number
 * of regions, filled one after the other. When the last is full the first is emptied and
 * filled anew: the oldest code goes, the rest stays. Within a region blocks lie in the order of
 * their indexes, which is how one is found by an address in it.
 */
#include "cpu/soft/jit_int.h"

#define BLOCK_ROOM   (64u << 10) /* no block's code is longer */
#define REGION_BYTES (512u << 10) /* at least */
#define AHEAD	     (256u << 10) /* memory for code comes in pieces of this size */

static u32 hot_size(const struct jit *j)
{
	return ((j->cold_low - j->low) / j->nr_regions) & ~15u;
}

static u32 cold_size(const struct jit *j)
{
	return (u32)(j->code.size - j->cold_low) / j->nr_regions;
}

/* Go on in region @r, which is empty. */
static void use_region(struct jit *j, unsigned r)
{
	j->region = r;
	j->used = j->low + r * hot_size(j);
	j->hot_end = j->used + hot_size(j);
	j->cold = j->cold_low + r * cold_size(j);
	j->cold_end = j->cold + cold_size(j);
	j->nr_blocks = r * (MAX_BLOCKS / j->nr_regions);
	j->nr_map = r * (MAX_MAP / j->nr_regions);
}

void cache_init(struct jit *j)
{
	j->nr_regions = (u32)(j->code.size / REGION_BYTES);
	if (j->nr_regions < 1)
		j->nr_regions = 1;
	if (j->nr_regions > MAX_REGIONS)
		j->nr_regions = MAX_REGIONS;
	j->hot_ready = j->low;
	j->cold_ready = j->cold_low;
	use_region(j, 0);
}

static u32 first_block(const struct jit *j, unsigned r)
{
	return r * (MAX_BLOCKS / j->nr_regions);
}

/* Behind the last block of region @r. */
static u32 end_block(const struct jit *j, unsigned r)
{
	return r == j->region ? j->nr_blocks : first_block(j, r) + j->in_region[r];
}

u64 cache_blocks(const struct jit *j)
{
	u64 n = 0;

	for (unsigned r = 0; r < j->nr_regions; r++)
		n += end_block(j, r) - first_block(j, r);
	return n;
}

u64 cache_bytes(const struct jit *j)
{
	u64 n = 0;

	for (unsigned r = 0; r < j->nr_regions; r++) {
		const struct block *last = &j->block[end_block(j, r)] - 1;

		if (end_block(j, r) > first_block(j, r))
			n += last->end - (j->low + r * hot_size(j)) + last->cold_end -
			     (j->cold_low + r * cold_size(j));
	}
	return n;
}

struct block *block_at(struct jit *j, u64 pc)
{
	u64 off = pc - (u64)j->code.rx;
	bool cold = off >= j->cold_low;
	u32 r = cold ? (u32)(off - j->cold_low) / cold_size(j) : (u32)(off - j->low) / hot_size(j);
	u32 lo, hi;

	if (off < j->low || r >= j->nr_regions)
		return NULL;
	lo = first_block(j, r);
	hi = end_block(j, r);
	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if ((cold ? j->block[mid].cold_end : j->block[mid].end) < off)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == end_block(j, r) || off <= (cold ? j->block[lo].cold : j->block[lo].start))
		return NULL;
	return &j->block[lo];
}

/* -- links ---------------------------------------------------------------------------------- */

static void put_rel32(struct jit *j, u32 at, i32 rel)
{
	__atomic_store_n((i32 *)(void *)(j->code.rw + at), rel, __ATOMIC_RELEASE);
}

static i32 get_rel32(struct jit *j, u32 at)
{
	return __atomic_load_n((i32 *)(void *)(j->code.rw + at), __ATOMIC_RELAXED);
}

static u32 index_of(const struct jit *j, const struct block *b)
{
	return (u32)(b - j->block);
}

/* 0 = none left */
static u32 new_link(struct jit *j)
{
	u32 n = j->free_link;

	if (n) {
		j->free_link = j->link[n - 1].next;
		return n;
	}
	return j->nr_links < MAX_LINKS ? ++j->nr_links : 0;
}

static void free_link(struct jit *j, u32 n)
{
	j->link[n - 1].next = j->free_link;
	j->free_link = n;
}

void cache_link(struct jit *j, struct block *from, unsigned slot, struct block *to)
{
	u32 hole = from->out[slot].hole, n;
	struct link *l;

	if (from->out[slot].to)
		return;
	n = new_link(j);
	if (!n)
		return;
	l = &j->link[n - 1];
	*l = (struct link){ .hole = hole, .exit = get_rel32(j, hole), .next = to->links_in,
			    .from = index_of(j, from), .slot = (u8)slot };
	to->links_in = n;
	from->out[slot].to = index_of(j, to) + 1;
	put_rel32(j, hole, (i32)(to->body - (hole + 4)));
}

/* Jumps into @b lead to their own exits again. */
static void unlink_in(struct jit *j, struct block *b)
{
	u32 next;

	for (u32 n = b->links_in; n; n = next) {
		struct link *l = &j->link[n - 1];

		next = l->next;
		put_rel32(j, l->hole, l->exit);
		j->block[l->from].out[l->slot].to = 0;
		free_link(j, n);
	}
	b->links_in = 0;
}

/* @b's memory is about to be used again: nobody may patch its jumps any more. */
static void unlink_out(struct jit *j, struct block *b)
{
	for (unsigned slot = 0; slot < array_len(b->out); slot++) {
		u32 *at, n;

		if (!b->out[slot].to)
			continue;
		at = &j->block[b->out[slot].to - 1].links_in;
		while (*at && j->link[*at - 1].hole != b->out[slot].hole)
			at = &j->link[*at - 1].next;
		n = *at;
		b->out[slot].to = 0;
		if (!n)
			continue;
		*at = j->link[n - 1].next;
		free_link(j, n);
	}
}

/* -- blocks go --------------------------------------------------------------------------------- */

static void unhash(struct jit *j, struct block *b)
{
	u32 *at = &j->hash[jit_hash(b->rip, b->gpa, b->key)];
	u32 me = index_of(j, b) + 1;

	while (*at && *at != me)
		at = &j->block[*at - 1].hash_next;
	if (*at)
		*at = b->hash_next;
}

void cache_kill(struct jit *j, struct block *b)
{
	u8 *start = j->code.rw + b->start;

	unhash(j, b);
	unlink_in(j, b);
	start[0] = 0xe9; /* r10 is the target already: as if it had not been found */
	put_rel32(j, b->start + 1, (i32)(j->miss - (j->code.rx + b->start + 5)));
	b->dead = true;
	j->gen++;
}

/* Take the dead blocks out of @frame's list. */
static void purge_frame(struct vcpu *v, u64 frame)
{
	struct jit *j = v->jit;
	u32 *at = &j->frame[frame];
	u64 live = 0;

	if (!*at)
		return;
	while (*at) {
		struct block *b = &j->block[*at - 1];

		if (b->dead) {
			*at = b->frame_next;
		} else {
			live |= block_granules(b);
			at = &b->frame_next;
		}
	}
	if (live)
		set_granules(j, frame, live);
	else
		leave_frame(v, frame);
}

static void empty_region(struct vcpu *v, unsigned r)
{
	struct jit *j = v->jit;
	u32 first = first_block(j, r), end = end_block(j, r);

	for (u32 k = first; k < end; k++) {
		struct block *b = &j->block[k];

		if (!b->dead) {
			unhash(j, b);
			unlink_in(j, b);
			b->dead = true;
		}
		unlink_out(j, b);
	}
	for (u32 k = first; k < end; k++) {
		u64 frame = j->block[k].gpa / MEM_PAGE;

		if (k == first || frame != j->block[k - 1].gpa / MEM_PAGE)
			purge_frame(v, frame);
	}
	j->in_region[r] = 0;
	if (r == j->region)
		use_region(j, r);
}

/* The jump tables may hold addresses of what is gone; what stays is soon found again. */
static void forget_addresses(struct jit *j)
{
	j->gen++;
	if (j->table[0])
		tlb_jump_clear_all(j);
}

void jit_flush_code(struct vcpu *v)
{
	struct jit *j = v->jit;

	for (unsigned r = 0; r < j->nr_regions; r++)
		empty_region(v, r);
	use_region(j, 0);
	j->n_flushes++;
	forget_addresses(j);
}

static bool has_room(const struct jit *j)
{
	return j->hot_end - j->used > BLOCK_ROOM && j->cold_end - j->cold > BLOCK_ROOM &&
	       j->nr_blocks < first_block(j, j->region + 1) &&
	       j->nr_map < (j->region + 1) * (MAX_MAP / j->nr_regions) - MAX_INSNS;
}

/* Memory for the next block's code; regions are first used in order. */
static void make_ready(const struct jit *j, u32 *ready, u32 used, u32 end)
{
	u32 to = *ready + AHEAD < end ? *ready + AHEAD : end;

	if (used + BLOCK_ROOM <= *ready || *ready >= end)
		return;
	codebuf_populate(&j->code, *ready, to);
	*ready = to;
}

static void make_room(struct vcpu *v)
{
	struct jit *j = v->jit;
	unsigned next = (j->region + 1) % j->nr_regions;

	if (has_room(j))
		return;
	j->in_region[j->region] = j->nr_blocks - first_block(j, j->region);
	if (end_block(j, next) > first_block(j, next)) {
		j->n_evictions++;
		empty_region(v, next);
		forget_addresses(j);
	}
	use_region(j, next);
}

void cache_make_room(struct vcpu *v)
{
	struct jit *j = v->jit;

	make_room(v);
	make_ready(j, &j->hot_ready, j->used, j->hot_end);
	make_ready(j, &j->cold_ready, j->cold, j->cold_end);
}
