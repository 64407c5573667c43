// SPDX-License-Identifier: Apache-2.0
/*
 * xstate.c - the guest's x87 and vector registers: live in the host's, or
 * parked in x86_state.xsave [SDM 1 13]
 *
 * FIP, FDP and FOP: instructions run natively at host addresses, which the
 * guest must not see. A value the guest loaded is kept as long as no x87
 * instruction changed it; anything else parks as zero.
 */
#include "cpu/soft/xstate.h"

#include <pthread.h>

static struct xs_layout layout;
static pthread_once_t layout_once = PTHREAD_ONCE_INIT;
static _Atomic bool layout_ready;

static void host_cpuid(u32 leaf, u32 sub, u32 ret[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(ret[0]), "=b"(ret[1]), "=c"(ret[2]), "=d"(ret[3])
			 : "a"(leaf), "c"(sub));
}

static u64 host_xcr0(void)
{
	u32 lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo | (u64)hi << 32;
}

static u32 host_mxcsr_mask(void)
{
	ALIGNED(64) u8 area[512];
	u32 mask;

	zero_bytes(area, sizeof(area));
	__asm__ volatile("fxsave64 %0" : "+m"(area));
	mask = *(u32 *)(area + XS_MXCSR_MASK);
	return mask ? mask : 0xffbf;
}

/* FXRSTOR and FXSAVE of a FIP. AMD's leave it alone while no exception is pending. */
bool xs_host_keeps_pointers(void)
{
	ALIGNED(16) u8 old[512], area[512];
	u64 *fip = (u64 *)(area + XS_FIP);

	__asm__ volatile("fxsave64 %0" : "=m"(old));
	copy_bytes(area, old, sizeof(area));
	*(u16 *)(area + XS_FSW) = 0; /* no exception pending */
	*fip = 0x1234;
	__asm__ volatile("fxrstor64 %0" : : "m"(area));
	*fip = 0;
	__asm__ volatile("fxsave64 %0" : "+m"(area));
	__asm__ volatile("fxrstor64 %0" : : "m"(old));
	return *fip == 0x1234;
}

static void find_comp(unsigned n)
{
	u32 r[4];

	host_cpuid(0xd, n, r);
	if (!r[0] || r[1] + r[0] > X86_XSAVE_SIZE)
		return;
	layout.comp[n] = (struct xs_comp){
		.off = (u16)r[1], .size = (u16)r[0], .align64 = r[2] & 2
	};
	layout.mask |= BIT_ULL(n);
}

static void layout_init(void)
{
	u32 r[4];
	u64 xcr0;

	layout.mask = XCR0_X87 | XCR0_SSE;
	layout.mxcsr_mask = host_mxcsr_mask();
	host_cpuid(1, 0, r);
	if (r[2] & BIT(27)) { /* OSXSAVE */
		layout.xsave = true;
		xcr0 = host_xcr0();
		if (xcr0 & XCR0_AVX)
			find_comp(XC_AVX);
		if ((xcr0 & XCR0_AVX512) == XCR0_AVX512) {
			find_comp(XC_OPMASK);
			find_comp(XC_ZMM_HI256);
			find_comp(XC_HI16_ZMM);
		}
	}
	layout_ready = true;
}

const struct xs_layout *xs_layout(void)
{
	if (unlikely(!layout_ready))
		pthread_once(&layout_once, layout_init);
	return &layout;
}

/* -- parking --------------------------------------------------------------------- */

static void host_fp_defaults(const struct xs_layout *l)
{
	u32 mxcsr = MXCSR_DEFAULT;

	__asm__ volatile("fninit\n\tldmxcsr %0" : : "m"(mxcsr));
	if (l->mask & XCR0_AVX)
		__asm__ volatile("vzeroupper");
}

void fp_park(struct vcpu *v)
{
	const struct xs_layout *l = &layout;
	u64 fip = *xs_u64(v, XS_FIP), fdp = *xs_u64(v, XS_FDP);
	u16 fop = *xs_u16(v, XS_FOP);

	if (!v->fp_live)
		return;
	v->fp_live = false;
	if (l->xsave)
		__asm__ volatile("xsave64 %0"
				 : "+m"(v->s.xsave)
				 : "a"((u32)l->mask), "d"((u32)(l->mask >> 32)));
	else
		__asm__ volatile("fxsave64 %0" : "+m"(v->s.xsave));
	if (*xs_u64(v, XS_FIP) != fip || *xs_u64(v, XS_FDP) != fdp || *xs_u16(v, XS_FOP) != fop)
		xs_clear_pointers(v);
	host_fp_defaults(l);
}

void fp_unpark(struct vcpu *v)
{
	const struct xs_layout *l = xs_layout();

	if (v->fp_live)
		return;
	/* Whatever was put there from outside must not make XRSTOR fault. */
	*xs_u64(v, XS_BV) &= l->mask;
	for (unsigned off = XS_COMP_BV; off < XS_HDR_END; off += 8)
		*xs_u64(v, off) = 0;
	*xs_u32(v, XS_MXCSR) &= l->mxcsr_mask;
	if (l->xsave)
		__asm__ volatile("xrstor64 %0"
				 :
				 : "m"(v->s.xsave), "a"((u32)l->mask),
				   "d"((u32)(l->mask >> 32)));
	else
		__asm__ volatile("fxrstor64 %0" : : "m"(v->s.xsave));
	v->fp_live = true;
}

/* -- the image's registers --------------------------------------------------------- */

/* Part @part (0 = 128 low bits, 1 = 255:128, 2 = 511:256) of register @n; NULL if absent. */
static u8 *vec_part(struct vcpu *v, unsigned n, unsigned part, unsigned *ret_comp)
{
	const struct xs_layout *l = xs_layout();
	static const struct {
		u8 comp, stride;
	} map[] = { { XC_SSE, 16 }, { XC_AVX, 16 }, { XC_ZMM_HI256, 32 } };
	unsigned comp = n < 16 ? map[part].comp : XC_HI16_ZMM;

	*ret_comp = comp;
	if (!(l->mask & BIT_ULL(comp)))
		return NULL;
	if (n >= 16)
		return v->s.xsave + l->comp[comp].off + 64 * (n - 16) + (part ? 8u << part : 0);
	if (!part)
		return v->s.xsave + XS_XMM + 16 * n;
	return v->s.xsave + l->comp[comp].off + map[part].stride * n;
}

static const struct {
	u8 off, len;
} vec_range[] = { { 0, 16 }, { 16, 16 }, { 32, 32 } };

void xs_get_vec(struct vcpu *v, unsigned n, u8 *ret)
{
	unsigned comp;

	for (unsigned part = 0; part < array_len(vec_range); part++) {
		const u8 *p = vec_part(v, n, part, &comp);
		bool used = p && (*xs_u64(v, XS_BV) & BIT_ULL(comp));

		if (used)
			copy_bytes(ret + vec_range[part].off, p, vec_range[part].len);
		else
			zero_bytes(ret + vec_range[part].off, vec_range[part].len);
	}
}

static bool all_zero(const u8 *p, unsigned len)
{
	while (len--)
		if (*p++)
			return false;
	return true;
}

void xs_set_vec(struct vcpu *v, unsigned n, const u8 *val)
{
	unsigned comp;

	for (unsigned part = 0; part < array_len(vec_range); part++) {
		u8 *p = vec_part(v, n, part, &comp);
		const u8 *src = val + vec_range[part].off;

		if (!p)
			continue;
		copy_bytes(p, src, vec_range[part].len);
		if (!all_zero(src, vec_range[part].len))
			*xs_u64(v, XS_BV) |= BIT_ULL(comp);
	}
}

u64 xs_get_k(struct vcpu *v, unsigned n)
{
	const struct xs_layout *l = xs_layout();

	if (!(l->mask & *xs_u64(v, XS_BV) & XCR0_OPMASK))
		return 0;
	return *xs_u64(v, l->comp[XC_OPMASK].off + 8 * n);
}

void xs_set_k(struct vcpu *v, unsigned n, u64 val)
{
	const struct xs_layout *l = xs_layout();

	if (!(l->mask & XCR0_OPMASK))
		return;
	*xs_u64(v, l->comp[XC_OPMASK].off + 8 * n) = val;
	if (val)
		*xs_u64(v, XS_BV) |= XCR0_OPMASK;
}

static bool x87_initial(struct vcpu *v)
{
	return *xs_u16(v, XS_FCW) == FCW_DEFAULT && all_zero(v->s.xsave + 2, XS_MXCSR - 2) &&
	       all_zero(v->s.xsave + XS_ST, XS_XMM - XS_ST);
}

void xs_update_in_use(struct vcpu *v, unsigned n)
{
	const struct xs_comp *c = &xs_layout()->comp[n];
	bool initial;

	if (n == XC_X87)
		initial = x87_initial(v);
	else
		initial = n == XC_SSE ? all_zero(v->s.xsave + XS_XMM, 256) :
					all_zero(v->s.xsave + c->off, c->size);
	*xs_u64(v, XS_BV) = (*xs_u64(v, XS_BV) & ~BIT_ULL(n)) | (u64)!initial << n;
}

static void init_x87(struct vcpu *v)
{
	zero_bytes(v->s.xsave, XS_MXCSR);
	zero_bytes(v->s.xsave + XS_ST, XS_XMM - XS_ST);
	*xs_u16(v, XS_FCW) = FCW_DEFAULT;
}

void xs_init_comp(struct vcpu *v, unsigned n, unsigned len)
{
	if (n == XC_X87)
		init_x87(v);
	else
		zero_bytes(v->s.xsave + (n == XC_SSE ? XS_XMM : xs_layout()->comp[n].off), len);
}

void xs_set_x87_words(struct vcpu *v, u16 fcw, u16 fsw)
{
	fsw &= (u16) ~(FSW_ES | FSW_B);
	if (fsw & ~fcw & 0x3f)
		fsw |= FSW_ES | FSW_B;
	*xs_u16(v, XS_FCW) = (fcw & 0x1f3f) | 0x40;
	*xs_u16(v, XS_FSW) = fsw;
}
