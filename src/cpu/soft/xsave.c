// SPDX-License-Identifier: Apache-2.0
/*
 * xsave.c - FXSAVE, FXRSTOR and the XSAVE family, on the parked image
 * [SDM 1 10.5, 13.7-13.12]
 *
 * Everything is checked before anything is written: the area may cross pages.
 */
#include "cpu/soft/quirks.h"
#include "cpu/soft/vec_int.h"

enum xs_kind { XS_STD, XS_OPT, XS_COMPACT };

/* One execution of the family. */
struct xs_op {
	struct vcpu *v;
	u64 la;	  /* of the area */
	u64 rfbm; /* requested components, of those enabled */
	u64 comp_bv; /* compacted: components with room in the area, bit 63 included; else 0 */
	bool is64;
	bool wide; /* REX.W: 64-bit FIP and FDP */
};

static int gp0(struct vcpu *v)
{
	return raise_err(v, EX_GP, 0);
}

/* -- geometry ------------------------------------------------------------------- */

static unsigned comp_size(unsigned n)
{
	return xs_layout()->comp[n].size;
}

/* Offset of extended component @n (2..) in the area. */
static unsigned comp_off(const struct xs_op *o, unsigned n)
{
	const struct xs_comp *c = xs_layout()->comp;
	unsigned off = XS_HDR_END;

	if (!o->comp_bv)
		return c[n].off;
	for (unsigned k = XC_AVX; k <= n; k++) {
		if (!(o->comp_bv & BIT_ULL(k)))
			continue;
		if (c[k].align64)
			off = (unsigned)align_up(off, 64);
		if (k < n)
			off += c[k].size;
	}
	return off;
}

/* Bytes of the area that hold @mask. */
static unsigned area_size(const struct xs_op *o, u64 mask)
{
	unsigned end = XS_HDR_END;

	for (unsigned n = XC_AVX; n < NR_XC; n++)
		if (mask & BIT_ULL(n) && comp_off(o, n) + comp_size(n) > end)
			end = comp_off(o, n) + comp_size(n);
	return end;
}

/* Bytes of component @n that the mode can reach: registers 8 and up need 64-bit mode. */
static unsigned comp_len(const struct xs_op *o, unsigned n)
{
	if (n == XC_SSE)
		return o->is64 ? 256 : 128;
	if (n == XC_HI16_ZMM)
		return o->is64 ? comp_size(n) : 0;
	if (n == XC_AVX || n == XC_ZMM_HI256)
		return o->is64 ? comp_size(n) : comp_size(n) / 2;
	return comp_size(n);
}

static int put(const struct xs_op *o, unsigned area_off, unsigned img_off, unsigned len)
{
	return len ? lin_write_buf(o->v, o->la + area_off, o->v->s.xsave + img_off, len) : X_OK;
}

/* A pointer as the image holds it: 57 bits, or with 32-bit operand size its offset only. */
static u64 pointer(u64 raw, bool wide)
{
	return wide ? (u64)((i64)(raw << 7) >> 7) : (u32)raw;
}

static void take_x87(struct vcpu *v, const u8 *area, bool wide)
{
	copy_bytes(v->s.xsave, area, XS_MXCSR);
	for (unsigned k = 0; k < 8; k++) /* 80 bits of each 16 bytes */
		copy_bytes(v->s.xsave + XS_ST + 16 * k, area + XS_ST + 16 * k, 10);
	xs_set_x87_words(v, *(const u16 *)(area + XS_FCW), *(const u16 *)(area + XS_FSW));
	v->s.xsave[XS_FTW + 1] = 0;
	*xs_u16(v, XS_FOP) &= 0x7ff;
	*xs_u64(v, XS_FIP) = pointer(*xs_u64(v, XS_FIP), wide);
	*xs_u64(v, XS_FDP) = pointer(*xs_u64(v, XS_FDP), wide);
	if (!(*xs_u16(v, XS_FSW) & FSW_ES) && !quirks()->x87_pointers_kept)
		xs_clear_pointers(v);
}

/* FCW up to FDP. */
static int put_x87_head(const struct xs_op *o)
{
	ALIGNED(8) u8 buf[XS_MXCSR];

	copy_bytes(buf, o->v->s.xsave, sizeof(buf));
	if (!o->wide)
		*(u32 *)(buf + XS_FIP + 4) = *(u32 *)(buf + XS_FDP + 4) = 0;
	return lin_write_buf(o->v, o->la, buf, sizeof(buf));
}

/* -- FXSAVE, FXRSTOR -------------------------------------------------------------- */

static bool fx_has_xmm(const struct vcpu *v)
{
	return (v->s.cr4 & CR4_OSFXSR) &&
	       !((v->s.efer & EFER_FFXSR) && is_long64(v) && v->cpl == 0);
}

static int fx_start(struct vcpu *v, const struct insn *i, enum access acc, struct xs_op *o)
{
	if (v->s.cr0 & (CR0_EM | CR0_TS))
		return raise_ex(v, EX_NM);
	*o = (struct xs_op){ .v = v, .is64 = is_long64(v), .wide = i->w };
	TRY(insn_linear(v, i, XS_LEGACY_END, acc, &o->la));
	if (o->la & 15)
		return gp0(v);
	return lin_check(v, o->la, XS_LEGACY_END, acc);
}

static int do_fxsave(struct vcpu *v, const struct insn *i)
{
	struct xs_op o;

	TRY(fx_start(v, i, ACC_W, &o));
	fp_park(v);
	*xs_u32(v, XS_MXCSR_MASK) = xs_layout()->mxcsr_mask;
	TRY(put_x87_head(&o));
	return put(&o, XS_MXCSR, XS_MXCSR,
		   XS_XMM - XS_MXCSR + (fx_has_xmm(v) ? comp_len(&o, XC_SSE) : 0));
}

static int do_fxrstor(struct vcpu *v, const struct insn *i)
{
	ALIGNED(8) u8 buf[XS_LEGACY_END];
	struct xs_op o;

	TRY(fx_start(v, i, ACC_R, &o));
	TRY(lin_read_buf(v, o.la, buf, sizeof(buf)));
	if (!mxcsr_valid(*(u32 *)(buf + XS_MXCSR)))
		return gp0(v);
	fp_park(v);
	take_x87(v, buf, o.wide);
	*xs_u32(v, XS_MXCSR) = *(u32 *)(buf + XS_MXCSR);
	*xs_u64(v, XS_BV) |= XCR0_X87;
	if (fx_has_xmm(v)) {
		copy_bytes(v->s.xsave + XS_XMM, buf + XS_XMM, comp_len(&o, XC_SSE));
		xs_update_in_use(v, XC_SSE);
	}
	return X_OK;
}

/* -- XSAVE ------------------------------------------------------------------------- */

/* Checks every form starts with; fills rfbm. @supervisor: XSAVES, XRSTORS. */
static int xs_start(struct vcpu *v, const struct insn *i, struct xs_op *o, bool supervisor)
{
	u64 req = (u32)v->s.gpr[RAX] | v->s.gpr[RDX] << 32;

	if (!(v->s.cr4 & CR4_OSXSAVE))
		return raise_ex(v, EX_UD);
	if (v->s.cr0 & CR0_TS)
		return raise_ex(v, EX_NM);
	if (supervisor && v->cpl)
		return gp0(v);
	*o = (struct xs_op){
		.v = v, .rfbm = req & v->s.xcr0, .is64 = is_long64(v), .wide = i->w
	};
	return X_OK;
}

/* Bytes @first to @end of the area are accessed. */
static int xs_address(const struct insn *i, struct xs_op *o, unsigned first, unsigned end,
		      enum access acc)
{
	if (operand_misaligned(o->v, i, 64))
		return gp0(o->v);
	TRY(insn_linear(o->v, i, end, acc, &o->la));
	return lin_check(o->v, o->la + first, end - first, acc);
}

/* Where the first byte is that XSAVE may write. */
static unsigned first_saved(const struct xs_op *o, enum xs_kind kind)
{
	u64 below = XCR0_X87 | XCR0_SSE | (kind == XS_COMPACT ? 0 : XCR0_AVX); /* MXCSR */

	return o->rfbm & below || !quirks()->xsave_skips_legacy ? 0 : XS_BV;
}

static int put_legacy(const struct xs_op *o, u64 which, bool mxcsr)
{
	if (which & XCR0_X87) {
		TRY(put_x87_head(o));
		TRY(put(o, XS_ST, XS_ST, XS_XMM - XS_ST));
	}
	if (mxcsr) {
		*xs_u32(o->v, XS_MXCSR_MASK) = xs_layout()->mxcsr_mask;
		TRY(put(o, XS_MXCSR, XS_MXCSR, 8));
	}
	return which & XCR0_SSE ? put(o, XS_XMM, XS_XMM, comp_len(o, XC_SSE)) : X_OK;
}

static int put_extended(const struct xs_op *o, u64 which)
{
	for (unsigned n = XC_AVX; n < NR_XC; n++)
		if (which & BIT_ULL(n))
			TRY(put(o, comp_off(o, n), xs_layout()->comp[n].off, comp_len(o, n)));
	return X_OK;
}

static int put_header(const struct xs_op *o, u64 bv)
{
	u64 old = 0;

	if (!o->comp_bv) {
		TRY(lin_read(o->v, o->la + XS_BV, 8, &old));
		return lin_write(o->v, o->la + XS_BV, 8, (old & ~o->rfbm) | bv);
	}
	TRY(lin_write(o->v, o->la + XS_BV, 8, bv));
	return lin_write(o->v, o->la + XS_COMP_BV, 8, o->comp_bv);
}

static bool is_zero(const u8 *p, size_t len)
{
	for (size_t k = 0; k < len; k++)
		if (p[k])
			return false;
	return true;
}

/*
 * Tests: components with their initial values. Whether those count as in use is the host
 * processor's choice [SDM 1 13.6] and depends on when they were parked; here they never do.
 */
static u64 idle_components(const u8 *x)
{
	const struct xs_layout *l = xs_layout();
	u64 idle = 0;

	if (is_zero(x + XS_XMM, 256))
		idle |= XCR0_SSE;
	if (x[XS_FCW] == 0x7f && x[XS_FCW + 1] == 0x03 && is_zero(x + XS_FSW, XS_MXCSR - XS_FSW) &&
	    is_zero(x + XS_ST, XS_XMM - XS_ST))
		idle |= XCR0_X87;
	for (unsigned n = XC_AVX; n < NR_XC; n++)
		if (l->comp[n].size && is_zero(x + l->comp[n].off, l->comp[n].size))
			idle |= BIT_ULL(n);
	return idle;
}

static int do_xsave(struct vcpu *v, const struct insn *i, enum xs_kind kind, bool supervisor)
{
	struct xs_op o;
	u64 bv, which;
	bool mxcsr;

	TRY(xs_start(v, i, &o, supervisor));
	if (kind == XS_COMPACT)
		o.comp_bv = o.rfbm | XCOMP_COMPACT;
	TRY(xs_address(i, &o, first_saved(&o, kind), area_size(&o, o.rfbm), ACC_W));
	fp_park(v);
	bv = *xs_u64(v, XS_BV) & o.rfbm;
	if (!o.is64 && quirks()->compat_xsave_skips_hi16)
		bv &= ~(u64)XCR0_HI16_ZMM;
	if (unlikely(v->cfg.virt))
		bv &= ~idle_components(v->s.xsave);
	if (kind == XS_COMPACT && *xs_u32(v, XS_MXCSR) != MXCSR_DEFAULT)
		bv |= o.rfbm & XCR0_SSE;
	which = kind == XS_STD ? o.rfbm : bv;
	mxcsr = (kind == XS_COMPACT ? bv & XCR0_SSE : o.rfbm & (XCR0_SSE | XCR0_AVX)) != 0;
	TRY(put_legacy(&o, which, mxcsr));
	TRY(put_extended(&o, which));
	return put_header(&o, bv);
}

/* -- XRSTOR ------------------------------------------------------------------------ */

/* Header rules [SDM 1 13.8.1, 13.8.2]. @hdr: the 64 bytes. */
static bool header_ok(const struct xs_op *o, const u64 *hdr, bool supervisor)
{
	u64 bv = hdr[0], comp = hdr[1];
	unsigned must_zero = comp & XCOMP_COMPACT ? 8 : 3; /* qwords 2.. that are checked */

	for (unsigned k = 2; k < must_zero; k++)
		if (hdr[k])
			return false;
	if (!(comp & XCOMP_COMPACT))
		return !supervisor && !comp && !(bv & ~o->v->s.xcr0);
	return !(comp & ~(o->v->s.xcr0 | XCOMP_COMPACT)) && !(bv & ~comp);
}

/* Does the instruction take MXCSR from memory? */
static bool loads_mxcsr(const struct xs_op *o, u64 bv)
{
	if (o->comp_bv)
		return o->rfbm & bv & XCR0_SSE;
	return o->rfbm & (XCR0_SSE | XCR0_AVX);
}

/* Copy component @n from the area's copy @buf, or initialise it. */
static void take_comp(const struct xs_op *o, const u8 *buf, unsigned n, bool init)
{
	struct vcpu *v = o->v;
	unsigned len = comp_len(o, n);

	if (init)
		xs_init_comp(v, n, len);
	else if (n == XC_X87)
		take_x87(v, buf, o->wide);
	else if (n == XC_SSE)
		copy_bytes(v->s.xsave + XS_XMM, buf + XS_XMM, len);
	else
		copy_bytes(v->s.xsave + xs_layout()->comp[n].off, buf + comp_off(o, n), len);
	xs_update_in_use(v, n);
}

/* What of the area is accessed after its header: *ret_first to *ret_end. */
static void loaded_bytes(const struct xs_op *o, u64 bv, unsigned *ret_first, unsigned *ret_end)
{
	u64 room = o->comp_bv ? o->comp_bv : ~0ull, below = XCR0_X87 | XCR0_SSE;
	u64 checked = o->comp_bv && !quirks()->xrstor_checks_unused ? bv : room;

	below |= o->comp_bv ? 0 : XCR0_AVX; /* MXCSR */
	*ret_first = o->rfbm & room & below || !quirks()->xsave_skips_legacy ? 0 : XS_BV;
	*ret_end = area_size(o, o->rfbm & checked);
}

static int read_area(const struct xs_op *o, u8 *buf, u64 bv, unsigned first)
{
	if (!first)
		TRY(lin_read_buf(o->v, o->la, buf, XS_LEGACY_END));
	for (unsigned n = XC_AVX; n < NR_XC; n++)
		if (o->rfbm & bv & BIT_ULL(n))
			TRY(lin_read_buf(o->v, o->la + comp_off(o, n), buf + comp_off(o, n),
					 comp_size(n)));
	return X_OK;
}

static void take_components(const struct xs_op *o, const u8 *buf, u64 bv, u64 which)
{
	for (unsigned n = 0; n < NR_XC; n++)
		if (o->rfbm & which & BIT_ULL(n))
			take_comp(o, buf, n, !(bv & BIT_ULL(n)));
}

static int do_xrstor(struct vcpu *v, const struct insn *i, bool supervisor)
{
	ALIGNED(8) u8 buf[X86_XSAVE_SIZE];
	unsigned first = quirks()->xsave_skips_legacy ? XS_BV : 0, end;
	bool bad_mxcsr;
	struct xs_op o;
	u64 bv, *hdr = (u64 *)(buf + XS_BV);

	TRY(xs_start(v, i, &o, supervisor));
	TRY(xs_address(i, &o, first, XS_HDR_END, ACC_R));
	TRY(lin_read_buf(v, o.la + XS_BV, hdr, XS_HDR_END - XS_BV));
	bv = hdr[0];
	o.comp_bv = hdr[1] & XCOMP_COMPACT ? hdr[1] : 0;
	loaded_bytes(&o, bv, &first, &end);
	if (quirks()->xrstor_checks_unused && !(o.comp_bv & ~(v->s.xcr0 | XCOMP_COMPACT)))
		TRY(xs_address(i, &o, first, end, ACC_R));
	if (!header_ok(&o, hdr, supervisor))
		return gp0(v);
	TRY(xs_address(i, &o, first, end, ACC_R));
	TRY(read_area(&o, buf, bv, first));
	bad_mxcsr = loads_mxcsr(&o, bv) && !mxcsr_valid(*(u32 *)(buf + XS_MXCSR));
	fp_park(v);
	if (bad_mxcsr) {
		if (o.comp_bv && quirks()->xrstor_loads_before_gp)
			take_components(&o, buf, bv, XCR0_X87 | XCR0_SSE | (~bv & XCR0_AVX));
		return gp0(v);
	}
	take_components(&o, buf, bv, ~0ull);
	if (loads_mxcsr(&o, bv))
		*xs_u32(v, XS_MXCSR) = *(u32 *)(buf + XS_MXCSR);
	else if (o.comp_bv && o.rfbm & XCR0_SSE)
		*xs_u32(v, XS_MXCSR) = MXCSR_DEFAULT;
	return X_OK;
}

/* -- dispatch ---------------------------------------------------------------------- */

int exec_xsave(struct vcpu *v, const struct insn *i)
{
	unsigned ext = i->modrm >> 3 & 7;

	if (!i->is_mem || i->map != MAP_0F)
		return raise_ex(v, EX_UD);
	switch (i->op << 4 | ext) {
	case 0xae0:
		return do_fxsave(v, i);
	case 0xae1:
		return do_fxrstor(v, i);
	case 0xae4:
		return do_xsave(v, i, XS_STD, false);
	case 0xae5:
		return do_xrstor(v, i, false);
	case 0xae6:
		return do_xsave(v, i, XS_OPT, false);
	case 0xc74:
		return do_xsave(v, i, XS_COMPACT, false);
	case 0xc75:
		return do_xsave(v, i, XS_COMPACT, true);
	case 0xc73:
		return do_xrstor(v, i, true);
	default:
		return raise_ex(v, EX_UD);
	}
}
