// SPDX-License-Identifier: Apache-2.0
/*
 * native.c - arithmetic done by the host's own instruction
 *
 * Flags travel by LAHF/SAHF and SETO: the low byte of RFLAGS is AH, and adding
 * 7fh to a byte holding OF sets OF again. POPF would cost ten times as much.
 */
#include "cpu/soft/native.h"

#define FLAGS_IN  "addb $0x7f, %b[of]\n\tsahf\n\t"
#define FLAGS_OUT "\n\tlahf\n\tseto %b[of]"
#define LAHF_MASK (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)

static inline u64 to_ah(u64 fl)
{
	return (fl & 0xff) << 8;
}

static inline u64 to_of(u64 fl)
{
	return fl >> 11 & 1;
}

static inline u64 merge_flags(u64 fl, u64 ax, u64 of)
{
	return (fl & ~(u64)FL_ARITH) | (ax >> 8 & LAHF_MASK) | of << 11;
}

#define OP(name, text)                                                                             \
	static u64 name(u64 a, u64 b, u64 c, u64 *fl)                                              \
	{                                                                                          \
		u64 ax = to_ah(*fl), of = to_of(*fl);                                              \
                                                                                                   \
		__asm__ volatile(FLAGS_IN text FLAGS_OUT                                           \
				 : "+a"(ax), [of] "+r"(of), [a] "+r"(a)                            \
				 : [b] "r"(b), [c] "c"(c)                                          \
				 : "cc");                                                          \
		*fl = merge_flags(*fl, ax, of);                                                    \
		return a;                                                                          \
	}

/* clang-format off */
#define OP8(n, mn, args8)  OP(n##_8, mn "b " args8)
#define OP16(n, mn, args)  OP(n##_16, mn "w " args)
#define OP32(n, mn, args)  OP(n##_32, mn "l " args)
#define OP64(n, mn, args)  OP(n##_64, mn "q " args)

#define ONE(n, mn)   OP8(n, mn, "%b[a]") OP16(n, mn, "%w[a]") OP32(n, mn, "%k[a]") \
		     OP64(n, mn, "%q[a]")
#define TWO_W(n, mn) OP16(n, mn, "%w[b], %w[a]") OP32(n, mn, "%k[b], %k[a]") \
		     OP64(n, mn, "%q[b], %q[a]")
#define TWO(n, mn)   OP8(n, mn, "%b[b], %b[a]") TWO_W(n, mn)
#define SHIFT(n, mn) OP8(n, mn, "%%cl, %b[a]") OP16(n, mn, "%%cl, %w[a]") \
		     OP32(n, mn, "%%cl, %k[a]") OP64(n, mn, "%%cl, %q[a]")
#define SHIFTD(n, mn) OP16(n, mn, "%%cl, %w[b], %w[a]") OP32(n, mn, "%%cl, %k[b], %k[a]") \
		     OP64(n, mn, "%%cl, %q[b], %q[a]")
/* VEX and other forms without a size suffix */
#define WIDE(n, t32, t64) OP(n##_32, t32) OP(n##_64, t64)

TWO(add, "add") TWO(or, "or") TWO(adc, "adc") TWO(sbb, "sbb")
TWO(and, "and") TWO(sub, "sub") TWO(xor, "xor") TWO(cmp, "cmp") TWO(test, "test")
SHIFT(rol, "rol") SHIFT(ror, "ror") SHIFT(rcl, "rcl") SHIFT(rcr, "rcr")
SHIFT(shl, "shl") SHIFT(shr, "shr") SHIFT(sar, "sar")
ONE(inc, "inc") ONE(dec, "dec") ONE(not, "not") ONE(neg, "neg")
SHIFTD(shld, "shld") SHIFTD(shrd, "shrd")
TWO_W(bt, "bt") TWO_W(bts, "bts") TWO_W(btr, "btr") TWO_W(btc, "btc")
TWO_W(imul, "imul") TWO_W(bsf, "bsf") TWO_W(bsr, "bsr")
TWO_W(tzcnt, "tzcnt") TWO_W(lzcnt, "lzcnt") TWO_W(popcnt, "popcnt")
WIDE(adcx, "adcxl %k[b], %k[a]", "adcxq %q[b], %q[a]")
WIDE(adox, "adoxl %k[b], %k[a]", "adoxq %q[b], %q[a]")
WIDE(andn, "andn %k[b], %k[a], %k[a]", "andn %q[b], %q[a], %q[a]")
WIDE(blsr, "blsr %k[b], %k[a]", "blsr %q[b], %q[a]")
WIDE(blsmsk, "blsmsk %k[b], %k[a]", "blsmsk %q[b], %q[a]")
WIDE(blsi, "blsi %k[b], %k[a]", "blsi %q[b], %q[a]")
WIDE(bzhi, "bzhi %k[c], %k[b], %k[a]", "bzhi %q[c], %q[b], %q[a]")
WIDE(bextr, "bextr %k[c], %k[b], %k[a]", "bextr %q[c], %q[b], %q[a]")
WIDE(pdep, "pdep %k[b], %k[c], %k[a]", "pdep %q[b], %q[c], %q[a]")
WIDE(pext, "pext %k[b], %k[c], %k[a]", "pext %q[b], %q[c], %q[a]")
WIDE(shlx, "shlx %k[c], %k[b], %k[a]", "shlx %q[c], %q[b], %q[a]")
WIDE(shrx, "shrx %k[c], %k[b], %k[a]", "shrx %q[c], %q[b], %q[a]")
WIDE(sarx, "sarx %k[c], %k[b], %k[a]", "sarx %q[c], %q[b], %q[a]")
WIDE(bswap, "bswap %k[a]", "bswap %q[a]")

#define S4(n) { n##_8, n##_16, n##_32, n##_64 }
#define S3(n) { NULL, n##_16, n##_32, n##_64 }
#define S2(n) { NULL, NULL, n##_32, n##_64 }
alu_fn *const native_ops[NR_NATIVE_OPS][4] = {
	[NAT_ADD] = S4(add), [NAT_OR] = S4(or), [NAT_ADC] = S4(adc), [NAT_SBB] = S4(sbb),
	[NAT_AND] = S4(and), [NAT_SUB] = S4(sub), [NAT_XOR] = S4(xor), [NAT_CMP] = S4(cmp),
	[NAT_ROL] = S4(rol), [NAT_ROR] = S4(ror), [NAT_RCL] = S4(rcl), [NAT_RCR] = S4(rcr),
	[NAT_SHL] = S4(shl), [NAT_SHR] = S4(shr), [NAT_SAL] = S4(shl), [NAT_SAR] = S4(sar),
	[NAT_BT] = S3(bt), [NAT_BTS] = S3(bts), [NAT_BTR] = S3(btr), [NAT_BTC] = S3(btc),
	[NAT_TEST] = S4(test), [NAT_INC] = S4(inc), [NAT_DEC] = S4(dec),
	[NAT_NOT] = S4(not), [NAT_NEG] = S4(neg),
	[NAT_SHLD] = S3(shld), [NAT_SHRD] = S3(shrd), [NAT_IMUL] = S3(imul),
	[NAT_BSF] = S3(bsf), [NAT_BSR] = S3(bsr), [NAT_TZCNT] = S3(tzcnt),
	[NAT_LZCNT] = S3(lzcnt), [NAT_POPCNT] = S3(popcnt),
	[NAT_ADCX] = S2(adcx), [NAT_ADOX] = S2(adox), [NAT_ANDN] = S2(andn),
	[NAT_BLSR] = S2(blsr), [NAT_BLSMSK] = S2(blsmsk), [NAT_BLSI] = S2(blsi),
	[NAT_BZHI] = S2(bzhi), [NAT_BEXTR] = S2(bextr), [NAT_PDEP] = S2(pdep),
	[NAT_PEXT] = S2(pext), [NAT_SHLX] = S2(shlx), [NAT_SHRX] = S2(shrx),
	[NAT_SARX] = S2(sarx), [NAT_BSWAP] = S2(bswap),
};

/* RAX carries the flags first: the operand waits in another register. */
#define MULDIV(name, text)                                                                         \
	static void name(struct muldiv *m, u64 src)                                                \
	{                                                                                          \
		u64 ax = to_ah(m->fl), of = to_of(m->fl);                                          \
                                                                                                   \
		__asm__ volatile(FLAGS_IN "mov %[lo], %%rax\n\t" text "\n\tmov %%rax, %[lo]"       \
				 FLAGS_OUT                                                         \
				 : "+a"(ax), [of] "+r"(of), [lo] "+r"(m->rax), "+d"(m->rdx)        \
				 : [b] "r"(src)                                                    \
				 : "cc");                                                          \
		m->fl = merge_flags(m->fl, ax, of);                                                \
	}
#define MULDIV4(n, mn) MULDIV(n##_8, mn "b %b[b]") MULDIV(n##_16, mn "w %w[b]") \
		       MULDIV(n##_32, mn "l %k[b]") MULDIV(n##_64, mn "q %q[b]")
MULDIV4(mul, "mul") MULDIV4(imul1, "imul") MULDIV4(div, "div") MULDIV4(idiv, "idiv")

muldiv_fn *const native_mul[4] = S4(mul), *const native_imul1[4] = S4(imul1);
muldiv_fn *const native_div[4] = S4(div), *const native_idiv[4] = S4(idiv);
/* clang-format on */

u64 native_crc32(u64 crc, u64 val, unsigned size)
{
	switch (size) {
	case 1:
		__asm__("crc32b %b1, %k0" : "+r"(crc) : "r"(val));
		break;
	case 2:
		__asm__("crc32w %w1, %k0" : "+r"(crc) : "r"(val));
		break;
	case 4:
		__asm__("crc32l %k1, %k0" : "+r"(crc) : "r"(val));
		break;
	default:
		__asm__("crc32q %1, %0" : "+r"(crc) : "r"(val));
	}
	return crc;
}
