// SPDX-License-Identifier: Apache-2.0
/*
 * x87.c - x87 instructions: natively in a stub, with the guest's control word,
 * so that results, sticky flags and deferred exceptions are the host's
 *
 * FLDENV, FNSTENV, FRSTOR and FNSAVE work on the parked image in C: their
 * layout follows the mode [SDM 1 8.1.10], and the pointers in them must not be
 * the host's (see xstate.c).
 */
#include "cpu/soft/vec_int.h"

enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

/* The environment, independent of its layout. */
struct env {
	u16 fcw, fsw, ftw, fop;
	u32 fip, fdp;
	u16 fcs, fds;
};

/* -- tags ------------------------------------------------------------------------- */

/* Tag of an 80-bit value [SDM 1 8.1.7]. */
static unsigned tag_of(const u8 *st)
{
	u64 frac = *(const u64 *)st;
	unsigned exp = *(const u16 *)(st + 8) & 0x7fff;

	if (!exp && !frac)
		return TAG_ZERO;
	if (!exp || exp == 0x7fff || !(frac >> 63))
		return TAG_SPECIAL;
	return TAG_VALID;
}

/* Two bits per physical register, from the image's one. */
static u16 full_tags(struct vcpu *v)
{
	unsigned top = *xs_u16(v, XS_FSW) >> 11 & 7, tags = 0;

	for (unsigned phys = 0; phys < 8; phys++) {
		const u8 *st = v->s.xsave + XS_ST + 16 * ((phys - top) & 7);
		bool full = v->s.xsave[XS_FTW] & BIT(phys);

		tags |= (full ? tag_of(st) : (unsigned)TAG_EMPTY) << 2 * phys;
	}
	return (u16)tags;
}

static u8 short_tags(u16 full)
{
	unsigned ret = 0;

	for (unsigned phys = 0; phys < 8; phys++)
		if ((full >> 2 * phys & 3) != TAG_EMPTY)
			ret |= BIT(phys);
	return (u8)ret;
}

/* -- layouts ------------------------------------------------------------------------ */

/* Words of the environment: protected-mode and real-mode forms; 32-bit forms have each word
 * in the low half of a doubleword. */
static void env_words(const struct env *e, bool real, unsigned opsize, u32 w[7])
{
	w[0] = e->fcw;
	w[1] = e->fsw;
	w[2] = e->ftw;
	if (real && opsize == 2) {
		w[3] = e->fip & 0xffff;
		w[4] = (e->fop & 0x7ffu) | (e->fip >> 4 & 0xf000);
		w[5] = e->fdp & 0xffff;
		w[6] = e->fdp >> 4 & 0xf000;
	} else if (real) {
		w[3] = (e->fip & 0xffff) | 0xffff0000;
		w[4] = (e->fop & 0x7ffu) | (e->fip >> 16) << 12;
		w[5] = (e->fdp & 0xffff) | 0xffff0000;
		w[6] = (e->fdp >> 16) << 12;
	} else {
		w[3] = e->fip;
		w[4] = opsize == 2 ? e->fcs : e->fcs | (e->fop & 0x7ffu) << 16;
		w[5] = e->fdp;
		w[6] = opsize == 2 ? e->fds : e->fds | 0xffff0000;
	}
}

static unsigned env_put(const struct env *e, bool real, unsigned opsize, u8 *buf)
{
	u32 w[7];

	env_words(e, real, opsize, w);
	for (unsigned k = 0; k < 7; k++) {
		if (opsize == 2)
			((u16 *)buf)[k] = (u16)w[k];
		else
			((u32 *)buf)[k] = k < 3 ? w[k] | 0xffff0000 : w[k];
	}
	return opsize == 2 ? 14 : 28;
}

static void env_get(struct env *e, bool real, unsigned opsize, const u8 *buf)
{
	u32 w[7];

	for (unsigned k = 0; k < 7; k++)
		w[k] = opsize == 2 ? ((const u16 *)buf)[k] : ((const u32 *)buf)[k];
	*e = (struct env){ .fcw = (u16)w[0], .fsw = (u16)w[1], .ftw = (u16)w[2] };
	if (real) {
		unsigned up = opsize == 2 ? 4 : 16;
		u32 hi = opsize == 2 ? 0xf000 : 0x0ffff000;

		e->fop = w[4] & 0x7ff;
		e->fip = (w[3] & 0xffff) | (opsize == 2 ? (w[4] & hi) << up : (w[4] & hi) << 4);
		e->fdp = (w[5] & 0xffff) | (opsize == 2 ? (w[6] & hi) << up : (w[6] & hi) << 4);
		return;
	}
	e->fip = w[3], e->fdp = w[5];
	e->fcs = (u16)w[4], e->fds = (u16)w[6];
	e->fop = opsize == 2 ? 0 : w[4] >> 16 & 0x7ff;
}

/* -- image <-> environment -------------------------------------------------------------- */

static void env_from_image(struct vcpu *v, struct env *e)
{
	u64 fip = *xs_u64(v, XS_FIP), fdp = *xs_u64(v, XS_FDP);

	*e = (struct env){
		.fcw = *xs_u16(v, XS_FCW), .fsw = *xs_u16(v, XS_FSW), .ftw = full_tags(v),
		.fop = *xs_u16(v, XS_FOP), .fip = (u32)fip, .fdp = (u32)fdp,
		.fcs = (u16)(fip >> 32), .fds = (u16)(fdp >> 32),
	};
}

void x87_set_top(struct vcpu *v, unsigned top)
{
	unsigned by = (top - (*xs_u16(v, XS_FSW) >> 11)) & 7;
	u8 old[128];

	copy_bytes(old, v->s.xsave + XS_ST, sizeof(old));
	for (unsigned k = 0; k < 8; k++)
		copy_bytes(v->s.xsave + XS_ST + 16 * k, old + 16 * ((k + by) & 7), 16);
	*xs_u16(v, XS_FSW) = (u16)((*xs_u16(v, XS_FSW) & ~FSW_TOP) | (top & 7) << 11);
}

static void env_to_image(struct vcpu *v, const struct env *e)
{
	x87_set_top(v, e->fsw >> 11);
	xs_set_x87_words(v, e->fcw, e->fsw);
	v->s.xsave[XS_FTW] = short_tags(e->ftw);
	*xs_u16(v, XS_FOP) = e->fop;
	*xs_u64(v, XS_FIP) = e->fip | (u64)e->fcs << 32;
	*xs_u64(v, XS_FDP) = e->fdp | (u64)e->fds << 32;
	*xs_u64(v, XS_BV) |= XCR0_X87;
}

static bool real_layout(const struct vcpu *v)
{
	return is_real(v) || is_vm86(v);
}


/* FLDENV, FRSTOR */
static int load_env(struct vcpu *v, const struct insn *i, bool regs)
{
	ALIGNED(8) u8 buf[108];
	unsigned len = i->opsize == 2 ? 14 : 28;
	struct env e;
	u64 la;

	TRY(check_pending_mf(v));
	fp_park(v);
	TRY(insn_linear(v, i, len + (regs ? 80 : 0), ACC_R, &la));
	TRY(lin_read_buf(v, la, buf, len + (regs ? 80 : 0)));
	env_get(&e, real_layout(v), i->opsize == 2 ? 2 : 4, buf);
	env_to_image(v, &e);
	for (unsigned k = 0; regs && k < 8; k++) {
		zero_bytes(v->s.xsave + XS_ST + 16 * k, 16);
		copy_bytes(v->s.xsave + XS_ST + 16 * k, buf + len + 10 * k, 10);
	}
	return X_OK;
}

/* FNSTENV masks all exceptions afterwards, FNSAVE initialises. */
static int store_env(struct vcpu *v, const struct insn *i, bool regs)
{
	ALIGNED(8) u8 buf[108];
	struct env e;
	unsigned len;
	u64 la;

	fp_park(v);
	env_from_image(v, &e);
	len = env_put(&e, real_layout(v), i->opsize == 2 ? 2 : 4, buf);
	for (unsigned k = 0; regs && k < 8; k++, len += 10)
		copy_bytes(buf + len, v->s.xsave + XS_ST + 16 * k, 10);
	TRY(insn_linear(v, i, len, ACC_W, &la));
	TRY(lin_write_buf(v, la, buf, len));
	if (regs) { /* as FNINIT: the data registers keep their contents, empty */
		x87_set_top(v, 0);
		zero_bytes(v->s.xsave, XS_MXCSR);
		*xs_u16(v, XS_FCW) = FCW_DEFAULT;
	} else {
		*xs_u16(v, XS_FCW) |= 0x3f;
		*xs_u16(v, XS_FSW) &= (u16) ~(FSW_ES | FSW_B);
	}
	*xs_u64(v, XS_BV) |= XCR0_X87;
	return X_OK;
}

/* -- dispatch -------------------------------------------------------------------------------- */

static int exec_fwait(struct vcpu *v, const struct insn *i)
{
	if ((v->s.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		return raise_ex(v, EX_NM);
	TRY(vec_ready(v));
	return vec_run(v, i, NULL);
}

int exec_x87(struct vcpu *v, const struct insn *i)
{
	unsigned ext = i->modrm >> 3 & 7;

	if (i->op == 0x9b)
		return exec_fwait(v, i);
	if (v->s.cr0 & (CR0_EM | CR0_TS))
		return raise_ex(v, EX_NM);
	TRY(vec_ready(v));
	if (!i->is_mem)
		return vec_run(v, i, NULL);
	if ((i->op == 0xd9 || i->op == 0xdd) && ext == 4)
		return load_env(v, i, i->op == 0xdd);
	if ((i->op == 0xd9 || i->op == 0xdd) && ext == 6)
		return store_env(v, i, i->op == 0xdd);
	if (ext != 7 || (i->op != 0xd9 && i->op != 0xdd)) /* not FNSTCW, FNSTSW */
		TRY(check_pending_mf(v));
	return vec_run_mem(v, i);
}
