// SPDX-License-Identifier: Apache-2.0
/*
 * trans_home.c - guest registers without a host register
 *
 * r10, r11 and r15 live in s.gpr, their homes: they are loaded into a scratch register, used, and
 * stored back. Between instructions that need no scratch register for something else (an address, a
 * check) a scratch register goes on holding what it held, and is stored when it is needed or when
 * control may leave.
 */
#include "cpu/soft/translate.h"

#include <stddef.h>

bool trans_is_homed(unsigned g)
{
	return g == R10 || g == R11 || g == R15;
}

/* Host register of a guest register that has one. */
unsigned trans_host_reg(unsigned g)
{
	return g == RSP ? HOST_RSP : g;
}

void trans_load_home(struct trans *t, unsigned scratch, unsigned g)
{
	e_load(&t->e, scratch, RSP, GPROFF(g));
}

void trans_store_home(struct trans *t, unsigned scratch, unsigned g)
{
	e_store(&t->e, scratch, RSP, GPROFF(g));
}

/* -- operands of one instruction ----------------------------------------------------------- */

/* One operand field: which guest register, and how it is used. */
struct field_use {
	u8 *host; /* where opmap wants the host register */
	u8 g;
	bool read, write;
};

bool trans_is_high_byte(const struct insn *i, unsigned reg, unsigned size)
{
	return size == 1 && !i->rex && i->enc == ENC_LEGACY && reg >= 4 && reg < 8;
}

static void add_use(struct field_use *u, unsigned *n, u8 *host, unsigned g, unsigned acc,
		    unsigned size)
{
	u[(*n)++] = (struct field_use){
		.host = host, .g = (u8)g, .read = acc & OP_R || size < 4, .write = acc & OP_W,
	};
}

/* GPR fields of @i, high-byte registers excluded: those stay as they are. EVEX has a fifth bit that
 * does not matter for them. */
static unsigned collect_uses(const struct insn *i, struct opmap *m, struct field_use u[3])
{
	unsigned n = 0;

	if (i->reg_kind == OK_GPR && !trans_is_high_byte(i, i->reg, i->reg_size))
		add_use(u, &n, &m->reg, i->reg & 15, i->reg_acc, i->reg_size);
	if (i->rm_kind == OK_GPR && !i->is_mem && !trans_is_high_byte(i, i->rm, i->rm_size))
		add_use(u, &n, &m->rm, i->rm & 15, i->rm_acc, i->rm_size);
	if (i->vvvv_kind == OK_GPR)
		add_use(u, &n, &m->vvvv, i->vvvv, i->vvvv_acc, 8);
	return n;
}

/* A scratch register for guest register g: its own number if that is a scratch and free. */
static unsigned pick_scratch(unsigned g, unsigned *free_mask)
{
	unsigned s = g == R10 && *free_mask & 1 ? R10 : *free_mask & 2 ? R11 : R10;

	*free_mask &= s == R10 ? ~1u : ~2u;
	return s;
}

/* Fill opmap's GPR fields; false: more homed registers than scratch registers. */
bool trans_assign(const struct insn *i, struct opmap *m, struct homes *h, unsigned free_mask)
{
	struct field_use u[3];
	unsigned n = collect_uses(i, m, u);

	h->n = 0;
	for (unsigned k = 0; k < n; k++) {
		unsigned q = 0;

		if (!trans_is_homed(u[k].g)) {
			*u[k].host = (u8)trans_host_reg(u[k].g);
			continue;
		}
		while (q < h->n && h->g[q] != u[k].g)
			q++;
		if (q == h->n) {
			if (!free_mask)
				return false;
			h->g[q] = u[k].g;
			h->scratch[q] = (u8)pick_scratch(u[k].g, &free_mask);
			h->read[q] = h->write[q] = false;
			h->n++;
		}
		h->read[q] |= u[k].read;
		h->write[q] |= u[k].write;
		*u[k].host = h->scratch[q];
	}
	return true;
}

void trans_load_homes(struct trans *t, const struct homes *h)
{
	for (unsigned k = 0; k < h->n; k++)
		if (h->read[k])
			trans_load_home(t, h->scratch[k], h->g[k]);
}

void trans_store_homes(struct trans *t, const struct homes *h)
{
	for (unsigned k = 0; k < h->n; k++)
		if (h->write[k])
			trans_store_home(t, h->scratch[k], h->g[k]);
}

struct opmap trans_plain_map(const struct insn *i)
{
	return (struct opmap){
		.reg = i->reg_kind == OK_EXT ? (i->modrm >> 3) & 7 : i->reg,
		.rm = i->rm,
		.vvvv = i->vvvv,
	};
}

/* AH..BH in one field and, only on the host, a register that needs REX in the other. */
bool trans_mixes_high_byte(const struct insn *i, const struct opmap *m)
{
	bool high = (i->reg_kind == OK_GPR && trans_is_high_byte(i, i->reg, i->reg_size)) ||
		    (i->rm_kind == OK_GPR && trans_is_high_byte(i, i->rm, i->rm_size));

	return high && (m->reg | m->rm) & 8;
}

/* @m's fields that name guest register @g: host register @host. */
static void rename_reg(const struct insn *i, struct opmap *m, unsigned g, unsigned host)
{
	struct field_use u[3];
	unsigned n = collect_uses(i, m, u);

	for (unsigned k = 0; k < n; k++)
		if (u[k].g == g)
			*u[k].host = (u8)host;
}

/* -- held in scratch registers ------------------------------------------------------------ */

void trans_homes_flush(struct trans *t)
{
	for (unsigned s = 0; s < 2; s++) {
		if (t->held[s] != REG_NONE && t->held_dirty[s])
			trans_store_home(t, R10 + s, t->held[s]);
		t->held_dirty[s] = false;
	}
}

void trans_homes_drop(struct trans *t)
{
	trans_homes_flush(t);
	t->held[0] = t->held[1] = REG_NONE;
}

void trans_hold(struct trans *t, const struct homes *h)
{
	for (unsigned k = 0; k < h->n; k++) {
		unsigned s = h->scratch[k] - R10;

		t->held_dirty[s] = h->write[k] || (t->held[s] == h->g[k] && t->held_dirty[s]);
		t->held[s] = h->g[k];
	}
	if (t->v->cfg.off & CPU_OFF_HOMES)
		trans_homes_drop(t);
}

/* @h's registers where they are held already; others take a scratch register that no other of @h has. */
void trans_use_held(struct trans *t, struct homes *h, struct opmap *m, const struct insn *i)
{
	unsigned taken = 0;
	u8 map[2] = { REG_NONE, REG_NONE };

	for (unsigned k = 0; k < h->n; k++)
		for (unsigned s = 0; s < 2; s++)
			if (t->held[s] == h->g[k])
				map[k] = (u8)s, taken |= BIT(s);
	for (unsigned k = 0; k < h->n; k++) {
		unsigned s = map[k];

		if (s == REG_NONE) {
			s = taken & 1 || (!(taken & 2) && t->held[0] != REG_NONE && t->held[1] == REG_NONE);
			taken |= BIT(s);
			if (t->held[s] != REG_NONE && t->held_dirty[s])
				trans_store_home(t, R10 + s, t->held[s]);
			t->held[s] = REG_NONE;
			t->held_dirty[s] = false;
			map[k] = (u8)s;
			if (h->read[k])
				trans_load_home(t, R10 + s, h->g[k]);
		}
	}
	for (unsigned k = 0; k < h->n; k++)
		rename_reg(i, m, h->g[k], R10 + map[k]);
	for (unsigned k = 0; k < h->n; k++)
		h->scratch[k] = (u8)(R10 + map[k]);
}
