// SPDX-License-Identifier: Apache-2.0
/*
 * vsib.c - gathers and scatters, element by element [SDM 2C VPGATHERDD, VPSCATTERDD]
 *
 * Elements complete in order and clear their mask bit, so that a fault leaves
 * a state from which the instruction can be restarted.
 */
#include "cpu/soft/quirks.h"
#include "cpu/soft/vec_int.h"

/* One execution. Registers are the parked image's; dst and mask are written back at the end. */
struct vsib {
	struct vcpu *v;
	const struct insn *i;
	unsigned nr, data_size, index_size; /* elements; bytes */
	u64 kmask;			    /* EVEX */
	u8 data[64], index[64], mask[64];
};

static u64 elem_get(const u8 *p, unsigned size, unsigned n)
{
	return size == 8 ? ((const u64 *)p)[n] : ((const u32 *)p)[n];
}

static void elem_set(u8 *p, unsigned size, unsigned n, u64 val)
{
	if (size == 8)
		((u64 *)p)[n] = val;
	else
		((u32 *)p)[n] = (u32)val;
}

static bool mask_get(const struct vsib *g, unsigned n)
{
	if (g->i->enc == ENC_EVEX)
		return g->kmask & BIT_ULL(n);
	return elem_get(g->mask, g->data_size, n) >> (8 * g->data_size - 1);
}

static void mask_clear(struct vsib *g, unsigned n)
{
	if (g->i->enc == ENC_EVEX)
		g->kmask &= ~BIT_ULL(n);
	else
		elem_set(g->mask, g->data_size, n, 0);
}

static int elem_address(struct vsib *g, unsigned n, enum access acc, u64 *ret)
{
	const struct insn *i = g->i;
	u64 idx = sext_bytes(elem_get(g->index, g->index_size, n), g->index_size);
	u64 ea = (i->base == REG_NONE ? 0 : g->v->s.gpr[i->base & 15]) + idx * i->scale +
		 (u64)i->disp;

	return seg_linear(g->v, i->mem_seg, ea & mask_bytes(i->adsize), g->data_size, acc, ret);
}

static int do_elem(struct vsib *g, unsigned n, bool scatter)
{
	u64 la, val;

	TRY(elem_address(g, n, scatter ? ACC_W : ACC_R, &la));
	if (scatter)
		return lin_write(g->v, la, g->data_size, elem_get(g->data, g->data_size, n));
	TRY(lin_read(g->v, la, g->data_size, &val));
	elem_set(g->data, g->data_size, n, val);
	return X_OK;
}

/* Registers that may not coincide [SDM 2C: #UD]. */
static bool operands_ok(const struct insn *i, bool scatter)
{
	const u8 *evex = i->bytes + i->nr_prefix; /* 62 P0 P1 P2 */

	if (i->enc == ENC_EVEX)
		return i->aaa && !i->z && !i->b && !(evex[1] & 8) && (evex[2] & 0x7c) == 0x7c &&
		       (scatter || i->reg != i->index);
	return i->reg != i->index && i->reg != i->vvvv && i->index != i->vvvv;
}

static void load_operands(struct vsib *g)
{
	struct vcpu *v = g->v;

	fp_park(v);
	xs_get_vec(v, g->i->reg, g->data);
	xs_get_vec(v, g->i->index, g->index);
	if (g->i->enc == ENC_EVEX)
		g->kmask = xs_get_k(v, g->i->aaa);
	else
		xs_get_vec(v, g->i->vvvv, g->mask);
}

/* Each element's sign to all its bits, in the whole vector. */
static void widen_mask(struct vsib *g)
{
	unsigned len = 16u << g->i->vl;

	for (unsigned n = 0; n < len / g->data_size; n++)
		elem_set(g->mask, g->data_size, n, mask_get(g, n) ? ~0ull : 0);
	zero_bytes(g->mask + len, sizeof(g->mask) - len);
}

/* The destination's components count as in use even where it is all zero now. */
static void mark_in_use(struct vsib *g)
{
	u64 bits = g->i->reg >= 16 ? XCR0_HI16_ZMM : XCR0_SSE;

	if (g->i->reg < 16)
		bits |= (g->i->vl > 0 ? XCR0_AVX : 0) | (g->i->vl > 1 ? XCR0_ZMM_HI256 : 0);
	*xs_u64(g->v, XS_BV) |= bits & xs_layout()->mask;
}

/* What lies at @keep and above is zeroed. */
static void store_operands(struct vsib *g, bool scatter, unsigned keep)
{
	fp_park(g->v);
	if (!scatter) {
		zero_bytes(g->data + keep, sizeof(g->data) - keep);
		xs_set_vec(g->v, g->i->reg, g->data);
		mark_in_use(g);
	}
	if (g->i->enc == ENC_EVEX) {
		xs_set_k(g->v, g->i->aaa, g->kmask);
		return;
	}
	zero_bytes(g->mask + keep, sizeof(g->mask) - keep);
	xs_set_vec(g->v, g->i->vvvv, g->mask);
}

int exec_vsib(struct vcpu *v, const struct insn *i)
{
	bool scatter = i->op >= 0xa0;
	struct vsib g = { .v = v, .i = i, .data_size = i->w ? 8 : 4, .index_size = i->op & 1 ? 8 : 4 };
	unsigned widest = g.data_size > g.index_size ? g.data_size : g.index_size;
	unsigned keep = sizeof(g.data);
	bool written = false, widens = i->enc == ENC_VEX && quirks()->gather_widens_mask;
	int r = X_OK;

	if (!operands_ok(i, scatter))
		return raise_ex(v, EX_UD);
	g.nr = (16u << i->vl) / widest;
	load_operands(&g);
	if (widens)
		widen_mask(&g);
	for (unsigned n = 0; n < g.nr && r == X_OK; n++) {
		bool active = mask_get(&g, n);

		if (active)
			r = do_elem(&g, n, scatter);
		if (r == X_OK) {
			mask_clear(&g, n);
			written |= active;
		}
	}
	if (r == X_OK && i->enc == ENC_EVEX)
		g.kmask = 0;
	/* Bits above the vector go at the end, or with the first element. */
	if (r == X_OK)
		keep = g.nr * g.data_size;
	else if (written && (i->enc == ENC_EVEX || widens))
		keep = 16u << i->vl;
	store_operands(&g, scatter, keep);
	return r;
}
