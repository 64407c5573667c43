// SPDX-License-Identifier: Apache-2.0
/*
 * xstate.h - where things sit in the guest's XSAVE image (x86_state.xsave)
 *
 * The image is in the standard format with the host's component offsets
 * (CPUID leaf 0Dh), which are also the ones the guest's CPUID reports. It is
 * current only after fp_park().
 */
#ifndef CPU_SOFT_XSTATE_H
#define CPU_SOFT_XSTATE_H

#include "cpu/soft/vcpu.h"

/* Offsets in the legacy region and the header [SDM 1 10.5.1, 13.4]. */
enum {
	XS_FCW = 0, XS_FSW = 2, XS_FTW = 4, XS_FOP = 6, XS_FIP = 8, XS_FDP = 16,
	XS_MXCSR = 24, XS_MXCSR_MASK = 28, XS_ST = 32, XS_XMM = 160,
	XS_LEGACY_END = 512, XS_BV = 512, XS_COMP_BV = 520, XS_HDR_END = 576,
};

/* State components kept in the image. */
enum { XC_X87, XC_SSE, XC_AVX, XC_OPMASK = 5, XC_ZMM_HI256, XC_HI16_ZMM, NR_XC };

#define MXCSR_DEFAULT 0x1f80u
#define FCW_DEFAULT   0x037fu
#define FSW_PRECOMPUTED 0x1f /* exceptions found before the result: all but precision */
#define FSW_ES	      BIT(7)
#define FSW_TOP	      0x3800u
#define FSW_B	      BIT(15)
#define XCOMP_COMPACT BIT_ULL(63)

struct xs_comp {
	u16 off, size; /* bytes; 0 = the host has no such component */
	bool align64;  /* in the compacted format */
};

struct xs_layout {
	u64 mask;	/* components in the image: what the host enabled and we know */
	u32 mxcsr_mask; /* bits of MXCSR that may be set */
	bool xsave;	/* the host has XSAVE; else the image is an FXSAVE area */
	struct xs_comp comp[NR_XC];
};

const struct xs_layout *xs_layout(void);

/* The host's FXRSTOR loads FIP, FDP and FOP with no exception pending too. Not while fp_live. */
bool xs_host_keeps_pointers(void);

static inline u16 *xs_u16(struct vcpu *v, unsigned off)
{
	return (u16 *)(v->s.xsave + off);
}

static inline u32 *xs_u32(struct vcpu *v, unsigned off)
{
	return (u32 *)(v->s.xsave + off);
}

static inline u64 *xs_u64(struct vcpu *v, unsigned off)
{
	return (u64 *)(v->s.xsave + off);
}

/* Vector register @n (0..31) of the image; 64 bytes, zero where the host has no such part. */
void xs_get_vec(struct vcpu *v, unsigned n, u8 *ret);
void xs_set_vec(struct vcpu *v, unsigned n, const u8 *val);
u64 xs_get_k(struct vcpu *v, unsigned n);
void xs_set_k(struct vcpu *v, unsigned n, u64 val);

/* Component @n of the image to its initial state [SDM 1 13.6]. */
void xs_init_comp(struct vcpu *v, unsigned n, unsigned len);

/* Control and status word into the image as loading them does: reserved bits, FSW.ES and B. */
void xs_set_x87_words(struct vcpu *v, u16 fcw, u16 fsw);

/* XINUSE of component @n after a change in the image: not all zero; x87: always, unless initial. */
void xs_update_in_use(struct vcpu *v, unsigned n);

/* FOP, FIP and FDP to zero. */
static inline void xs_clear_pointers(struct vcpu *v)
{
	*xs_u64(v, XS_FIP) = *xs_u64(v, XS_FDP) = 0;
	*xs_u16(v, XS_FOP) = 0;
}

/* MXCSR bits the host and so the guest may set. */
static inline bool mxcsr_valid(u32 val)
{
	return !(val & ~xs_layout()->mxcsr_mask);
}

#endif
