// SPDX-License-Identifier: Apache-2.0
/*
 * cpuid.c - the CPU models the guest may see [SDM 2A CPUID], [APM3 E], KVM's
 * leaves [Linux Documentation/virt/kvm/x86/cpuid.rst]
 *
 * A model is a row filter over one feature table. Features whose instructions
 * run natively need the host to have them; those we emulate entirely do not.
 * The vendor is the host's. What guards against speculation bugs is chosen so
 * that a Linux guest needs no costly workaround: the bugs are the host
 * kernel's to handle, and the guest's workarounds would only be translated.
 *
 * The host's CPUID is read once: it costs microseconds inside a VM. Built
 * without vector registers: the software engine calls this while they hold the
 * guest's (cpu/soft/vcpu.h).
 */
#include "cpu/cpuid.h"

#include "base/bits.h"
#include "cpu/x86_state.h"

#include <errno.h>
#include <pthread.h>

enum reg { EAX, EBX, ECX, EDX };

/* Leaves that hold feature bits. */
enum word { W_1C, W_1D, W_7B, W_7C, W_7D, W_71A, W_D1A, W_X1C, W_X1D, W_X7D, W_X8B, W_X21A, NR_WORDS };

static const struct {
	u32 leaf;
	u8 sub, reg;
} words[NR_WORDS] = {
	[W_1C] = { 1, 0, ECX },		[W_1D] = { 1, 0, EDX },
	[W_7B] = { 7, 0, EBX },		[W_7C] = { 7, 0, ECX },
	[W_7D] = { 7, 0, EDX },		[W_71A] = { 7, 1, EAX },
	[W_D1A] = { 0xd, 1, EAX },	[W_X1C] = { 0x80000001, 0, ECX },
	[W_X1D] = { 0x80000001, 0, EDX }, [W_X7D] = { 0x80000007, 0, EDX },
	[W_X8B] = { 0x80000008, 0, EBX }, [W_X21A] = { 0x80000021, 0, EAX },
};

/* Row flags. */
#define H     BIT(0) /* only if the host has it */
#define AMD   BIT(1) /* only on this vendor */
#define INTEL BIT(2)
#define V2    0
#define V3    BIT(3) /* from this model on */
#define MAX   BIT(4)
#define AVX   (BIT(5) | H) /* needs the host's XCR0 to have AVX */
#define Z     (BIT(6) | H | MAX) /* ... and AVX-512 */

struct row {
	u8 word, bit, flags, feature;
};

/* clang-format off */
static const struct row rows[] = {
	{ W_1D, 0, V2, 0 }, { W_1D, 2, V2, 0 }, { W_1D, 3, V2, 0 }, { W_1D, 4, V2, 0 },	/* fpu de pse tsc */
	{ W_1D, 5, V2, 0 }, { W_1D, 6, V2, 0 }, { W_1D, 7, V2, 0 }, { W_1D, 8, V2, 0 },	/* msr pae mce cx8 */
	{ W_1D, 9, V2, 0 }, { W_1D, 11, V2, 0 }, { W_1D, 12, V2, 0 }, { W_1D, 13, V2, 0 },	/* apic sep mtrr pge */
	{ W_1D, 14, V2, 0 }, { W_1D, 15, V2, 0 }, { W_1D, 16, V2, 0 }, { W_1D, 17, V2, 0 }, /* mca cmov pat pse36 */
	{ W_1D, 19, V2, 0 }, { W_1D, 23, V2, 0 }, { W_1D, 24, V2, 0 },			/* clfsh mmx fxsr */
	{ W_1D, 25, V2, 0 }, { W_1D, 26, V2, 0 },					/* sse sse2 */

	{ W_1C, 0, H, 0 }, { W_1C, 9, H, 0 }, { W_1C, 13, H, 0 },			/* sse3 ssse3 cx16 */
	{ W_1C, 19, H, 0 }, { W_1C, 20, H, 0 }, { W_1C, 23, H, CPUF_POPCNT },		/* sse4.1 sse4.2 */
	{ W_1C, 17, V2, CPUF_PCID }, { W_1C, 21, V2, CPUF_X2APIC },
	{ W_1C, 24, V2, CPUF_TSC_DEADLINE }, { W_1C, 31, V2, 0 },			/* hypervisor */
	{ W_1C, 1, V3 | H, CPUF_PCLMULQDQ }, { W_1C, 22, V3 | H, CPUF_MOVBE },
	{ W_1C, 25, V3 | H, CPUF_AES }, { W_1C, 30, V3 | H, CPUF_RDRAND },
	{ W_1C, 26, V3 | AVX, CPUF_XSAVE }, { W_1C, 28, V3 | AVX, CPUF_AVX },
	{ W_1C, 12, V3 | AVX, CPUF_FMA }, { W_1C, 29, V3 | AVX, CPUF_F16C },

	{ W_7B, 0, V2, CPUF_FSGSBASE }, { W_7B, 1, V2, 0 }, { W_7B, 7, V2, CPUF_SMEP },	/* tsc_adjust */
	{ W_7B, 9, V2, 0 }, { W_7B, 10, V2, CPUF_INVPCID },				/* erms */
	{ W_7B, 3, V3 | H, CPUF_BMI1 }, { W_7B, 8, V3 | H, CPUF_BMI2 },
	{ W_7B, 5, V3 | AVX, CPUF_AVX2 }, { W_7B, 18, V3 | H, CPUF_RDSEED },
	{ W_7B, 19, V3 | H, CPUF_ADX }, { W_7B, 29, V3 | H, CPUF_SHA },
	{ W_7B, 23, V3 | H, CPUF_CLFLUSHOPT }, { W_7B, 24, V3 | H, CPUF_CLWB },
	{ W_7B, 20, MAX, CPUF_SMAP }, { W_7B, 16, Z, CPUF_AVX512F },
	{ W_7B, 17, Z, 0 }, { W_7B, 21, Z, 0 }, { W_7B, 28, Z, 0 }, { W_7B, 30, Z, 0 },	/* dq ifma cd bw */
	{ W_7B, 31, Z, 0 },								/* vl */
	{ W_7B, 6, H, 0 }, { W_7B, 13, H, 0 },		/* FDP only on exceptions, no FCS/FDS */

	{ W_7C, 2, V2, CPUF_UMIP }, { W_7C, 22, V3, CPUF_RDPID },
	{ W_7C, 8, MAX | H, 0 }, { W_7C, 9, MAX | AVX, 0 }, { W_7C, 10, MAX | AVX, 0 },	/* gfni vaes vpclmul */
	{ W_7C, 1, Z, 0 }, { W_7C, 6, Z, 0 }, { W_7C, 11, Z, 0 }, { W_7C, 12, Z, 0 },	/* vbmi vbmi2 vnni bitalg */
	{ W_7C, 14, Z, 0 },								/* vpopcntdq */
	{ W_7D, 4, V3, 0 },								/* fsrm */
	{ W_7D, 26, INTEL, 0 }, { W_7D, 29, INTEL, 0 },	/* SPEC_CTRL, ARCH_CAPABILITIES: see msr.c */
	{ W_71A, 11, V3, 0 },								/* fsrs */
	{ W_71A, 5, Z, 0 },								/* avx512_bf16 */

	{ W_D1A, 0, V3 | AVX, CPUF_XSAVEOPT }, { W_D1A, 1, V3 | AVX, CPUF_XSAVEC },

	{ W_X1C, 0, V2, 0 }, { W_X1C, 4, AMD, 0 }, { W_X1C, 22, AMD, 0 },		/* lahf cr8_legacy topoext */
	{ W_X1C, 5, V3 | H, CPUF_LZCNT }, { W_X1C, 8, H, 0 },				/* 3dnowprefetch */
	{ W_X1D, 11, V2, 0 }, { W_X1D, 20, V2, 0 }, { W_X1D, 26, V2, 0 },		/* syscall nx 1gb */
	{ W_X1D, 27, V2, CPUF_RDTSCP }, { W_X1D, 29, V2, 0 },				/* lm */
	{ W_X1D, 22, AMD | H, 0 },							/* mmxext */
	{ W_X7D, 8, V2, 0 },								/* invariant tsc */
	{ W_X8B, 2, AMD | H, 0 },							/* xsaveerptr */
	{ W_X8B, 26, AMD, 0 }, { W_X8B, 29, AMD, 0 },					/* ssb_no btc_no */
	{ W_X21A, 0, AMD, 0 }, { W_X21A, 2, AMD, 0 }, { W_X21A, 6, AMD, 0 }, /* LFENCE serialises, null clears base */
	{ W_X21A, 8, AMD, 0 }, { W_X21A, 29, AMD, 0 }, { W_X21A, 30, AMD, 0 },		/* auto ibrs, srso_no */
};
/* clang-format on */

#define NR_MODELS 3

/* clang-format off */
/* What software built for x86-64-v2 and -v3 takes for granted. [psABI 3.1.1] */
static const struct promise {
	const char *name;
	u8 word, bit, from; /* from: V2, or V3 for that model only */
} promises[] = {
	{ "cmpxchg16b", W_1C, 13, V2 }, { "lahf_lm", W_X1C, 0, V2 }, { "popcnt", W_1C, 23, V2 },
	{ "sse3", W_1C, 0, V2 }, { "ssse3", W_1C, 9, V2 }, { "sse4.1", W_1C, 19, V2 },
	{ "sse4.2", W_1C, 20, V2 }, { "nx", W_X1D, 20, V2 }, { "syscall", W_X1D, 11, V2 },
	{ "avx", W_1C, 28, V3 }, { "avx2", W_7B, 5, V3 }, { "bmi1", W_7B, 3, V3 },
	{ "bmi2", W_7B, 8, V3 }, { "f16c", W_1C, 29, V3 }, { "fma", W_1C, 12, V3 },
	{ "lzcnt", W_X1C, 5, V3 }, { "movbe", W_1C, 22, V3 }, { "xsave", W_1C, 26, V3 },
};
/* clang-format on */

static struct {
	bool amd;
	u8 phys_bits;
	u64 xcr0;		   /* the host's */
	struct cpuid_out xstate[8]; /* leaf 0xd by component */
	u32 model[NR_MODELS][NR_WORDS];
	bool has[NR_MODELS][NR_CPUF];
} host;

static void native(u32 leaf, u32 sub, u32 r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[EAX]), "=b"(r[EBX]), "=c"(r[ECX]), "=d"(r[EDX])
			 : "a"(leaf), "c"(sub));
}

static u32 host_word(enum word w)
{
	u32 r[4];

	native(words[w].leaf & 0x80000000, 0, r);
	if (r[EAX] < words[w].leaf)
		return 0;
	native(words[w].leaf, words[w].sub, r);
	return r[words[w].reg];
}

static u64 host_xcr0(void)
{
	u32 lo, hi, r[4];

	native(1, 0, r);
	if (!(r[ECX] & BIT(27)))
		return XCR0_X87 | XCR0_SSE;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo | (u64)hi << 32;
}

static bool row_applies(const struct row *r, enum cpu_model m, u32 host_bits)
{
	if (r->flags & H && !(host_bits & BIT(r->bit)))
		return false;
	if ((r->flags & AMD && !host.amd) || (r->flags & INTEL && host.amd))
		return false;
	if (r->flags & BIT(5) && !(host.xcr0 & XCR0_AVX))
		return false;
	if (r->flags & BIT(6) && (host.xcr0 & XCR0_AVX512) != XCR0_AVX512)
		return false;
	if (r->flags & V3 && m == CPU_MODEL_V2)
		return false;
	return !(r->flags & MAX) || m == CPU_MODEL_MAX;
}

static void init_models(void)
{
	u32 bits[NR_WORDS];

	for (unsigned w = 0; w < NR_WORDS; w++)
		bits[w] = host_word(w);
	for (unsigned m = 0; m < NR_MODELS; m++) {
		for (unsigned n = 0; n < array_len(rows); n++) {
			const struct row *r = &rows[n];

			if (!row_applies(r, m, bits[r->word]))
				continue;
			host.model[m][r->word] |= BIT(r->bit);
			host.has[m][r->feature] = true;
		}
	}
}

#define MAX_PHYS_BITS 46

static void init_host(void)
{
	u32 r[4];

	native(0, 0, r);
	host.amd = r[EBX] == 0x68747541; /* "Auth" */
	native(0x80000008, 0, r);
	host.phys_bits = r[EAX] & 0xff;
	if (host.phys_bits < 36 || host.phys_bits > MAX_PHYS_BITS)
		host.phys_bits = MAX_PHYS_BITS;
	host.xcr0 = host_xcr0();
	for (unsigned n = 2; n < 8 && host.xcr0 & XCR0_AVX; n++) {
		native(0xd, n, r);
		host.xstate[n] = (struct cpuid_out){ r[EAX], r[EBX], r[ECX], r[EDX] };
	}
	init_models();
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void ensure(void)
{
	pthread_once(&once, init_host);
}

bool cpu_model_is_amd(void)
{
	ensure();
	return host.amd;
}

unsigned cpu_model_phys_bits(void)
{
	ensure();
	return host.phys_bits;
}

bool cpu_model_has(enum cpu_model m, enum cpu_feature f)
{
	ensure();
	return host.has[m][f];
}

u64 cpu_model_xcr0(enum cpu_model m)
{
	u64 ret = XCR0_X87 | XCR0_SSE;

	if (cpu_model_has(m, CPUF_AVX))
		ret |= XCR0_AVX;
	if (cpu_model_has(m, CPUF_AVX512F))
		ret |= XCR0_AVX512;
	return ret;
}

/* -- leaves that are not feature bits ---------------------------------------------- */

struct query {
	const struct cpu_config *c;
	const struct x86_state *s;
	unsigned index;
	u32 leaf, sub;
	const u32 *w; /* feature words of the model */
};

static void put_string(struct cpuid_out *o, const char *s, bool vendor)
{
	u32 v[4] = { 0 };

	for (unsigned n = 0; n < 16 && s[n]; n++)
		v[n / 4] |= (u32)(u8)s[n] << (8 * (n % 4));
	if (vendor) {
		o->ebx = v[0];
		o->edx = v[1];
		o->ecx = v[2];
	} else {
		*o = (struct cpuid_out){ v[0], v[1], v[2], v[3] };
	}
}

#define MAX_BASIC_AMD	0xd
#define MAX_BASIC_INTEL 0x15
#define MAX_EXTENDED	0x80000021

static void leaf_0(const struct query *q, struct cpuid_out *o)
{
	(void)q;
	o->eax = host.amd ? MAX_BASIC_AMD : MAX_BASIC_INTEL;
	put_string(o, host.amd ? "AuthenticAMD" : "GenuineIntel", true);
}

/*
 * Family, model, stepping: recent enough that a guest applies no workarounds
 * for older ones. AMD 1Ah/02h; Intel 6/8Fh.
 */
static u32 signature(void)
{
	return host.amd ? 0x00b00f21 : 0x000806f8;
}

static void leaf_1(const struct query *q, struct cpuid_out *o)
{
	unsigned nr = q->c->nr_vcpus < 255 ? q->c->nr_vcpus : 255;

	o->eax = signature();
	o->ebx = (q->index & 0xff) << 24 | nr << 16 | 8 << 8;
	o->ecx = q->w[W_1C] | (q->s && q->s->cr4 & CR4_OSXSAVE ? BIT(27) : 0);
	o->edx = q->w[W_1D] | (nr > 1 ? BIT(28) : 0);
}

static unsigned log2_up(unsigned n)
{
	unsigned r = 0;

	while ((1u << r) < n)
		r++;
	return r;
}

/* One table of caches for every leaf that describes them; sizes in KiB. */
static const struct cache {
	u8 type, level; /* type: 1 data, 2 instruction, 3 unified */
	u8 ways;
	bool shared; /* by all vCPUs */
	u32 kib;
} caches[] = {
	{ 1, 1, 8, false, 32 },
	{ 2, 1, 8, false, 32 },
	{ 3, 2, 8, false, 1024 },
	{ 3, 3, 16, true, 32768 },
};

static void leaf_cache(const struct query *q, struct cpuid_out *o)
{
	const struct cache *k = &caches[q->sub];
	unsigned nr = 1u << log2_up(q->c->nr_vcpus);

	if (q->sub >= array_len(caches))
		return;
	o->eax = k->type | k->level << 5 | BIT(8) | ((k->shared ? nr - 1 : 0) & 0xfff) << 14;
	if (q->leaf == 4)
		o->eax |= ((nr - 1) & 0x3f) << 26; /* cores per package */
	o->ebx = 63 | (k->ways - 1) << 22;
	o->ecx = k->kib * 1024 / 64 / k->ways - 1;
}

static void leaf_2(const struct query *q, struct cpuid_out *o)
{
	(void)q;
	o->eax = 0x00feff01; /* "use leaf 4, leaf 18h" */
}

static void leaf_6(const struct query *q, struct cpuid_out *o)
{
	(void)q;
	o->eax = BIT(2); /* the APIC timer always runs */
}

static void leaf_7(const struct query *q, struct cpuid_out *o)
{
	if (q->sub == 0)
		*o = (struct cpuid_out){ 1, q->w[W_7B], q->w[W_7C], q->w[W_7D] };
	else if (q->sub == 1)
		o->eax = q->w[W_71A];
}

/* One thread per core, one package. */
static void leaf_b(const struct query *q, struct cpuid_out *o)
{
	o->ecx = q->sub;
	o->edx = q->index;
	if (q->sub == 0) {
		o->ebx = 1;
		o->ecx |= 1 << 8; /* SMT */
	} else if (q->sub == 1) {
		o->eax = log2_up(q->c->nr_vcpus);
		o->ebx = q->c->nr_vcpus;
		o->ecx |= 2 << 8; /* core */
	}
}

/* Size of the XSAVE area for @mask; standard layout, or compacted. */
static u32 xsave_size(u64 mask, bool compact)
{
	u32 end = 576;

	for (unsigned n = 2; n < 8; n++) {
		const struct cpuid_out *x = &host.xstate[n];

		if (!(mask & BIT(n)))
			continue;
		if (compact)
			end = (x->ecx & 2 ? (u32)align_up(end, 64) : end) + x->eax;
		else if (x->ebx + x->eax > end)
			end = x->ebx + x->eax;
	}
	return end;
}

static void leaf_d(const struct query *q, struct cpuid_out *o)
{
	u64 all = cpu_model_xcr0(q->c->model), now = q->s ? q->s->xcr0 : all;

	if (!cpu_model_has(q->c->model, CPUF_XSAVE))
		return;
	if (q->sub == 0) {
		*o = (struct cpuid_out){ (u32)all, xsave_size(now, false), xsave_size(all, false),
					 (u32)(all >> 32) };
	} else if (q->sub == 1) {
		o->eax = q->w[W_D1A];
		o->ebx = xsave_size(now, true);
	} else if (q->sub < 8 && all & BIT(q->sub)) {
		*o = host.xstate[q->sub];
	}
}

/* TSC = crystal * ebx / eax. The crystal also drives the APIC timer: 1 GHz. */
static void leaf_15(const struct query *q, struct cpuid_out *o)
{
	(void)q;
	if (host.amd)
		return;
	o->eax = 1000000;
	o->ebx = (u32)cpu_tsc_khz();
	o->ecx = 1000000000;
}

#define KVM_FEATURES                                                                               \
	(BIT(1) /* no I/O delay needed */ | BIT(3) /* clock */ | BIT(24) /* clock is stable */)

static void leaf_kvm(const struct query *q, struct cpuid_out *o)
{
	switch (q->leaf) {
	case 0x40000000:
		/* "KVMKVMKVM" in ebx, ecx, edx: not leaf 0's order */
		*o = (struct cpuid_out){ 0x40000010, 0x4b4d564b, 0x564b4d56, 0x4d };
		break;
	case 0x40000001: o->eax = KVM_FEATURES | q->c->kvm_features; break;
	case 0x40000010:
		o->eax = (u32)cpu_tsc_khz();
		o->ebx = 1000000; /* APIC timer, kHz */
		break;
	}
}

/* -- extended leaves ---------------------------------------------------------------------- */

static void leaf_x0(const struct query *q, struct cpuid_out *o)
{
	leaf_0(q, o);
	o->eax = host.amd ? MAX_EXTENDED : 0x80000008;
	if (!host.amd)
		o->ebx = o->ecx = o->edx = 0;
}

/* AMD repeats part of leaf 1's EDX here. */
#define X1D_SHARED 0x0183f3ffu

static void leaf_x1(const struct query *q, struct cpuid_out *o)
{
	o->ecx = q->w[W_X1C];
	o->edx = q->w[W_X1D];
	if (!host.amd)
		return;
	o->eax = signature();
	o->edx |= q->w[W_1D] & X1D_SHARED;
	if (q->c->nr_vcpus > 1)
		o->ecx |= BIT(1); /* cores, not threads */
}

static void leaf_brand(const struct query *q, struct cpuid_out *o)
{
	static const char *const names[NR_MODELS] = {
		[CPU_MODEL_V2] = "Vireo virtual CPU, x86-64-v2",
		[CPU_MODEL_V3] = "Vireo virtual CPU, x86-64-v3",
		[CPU_MODEL_MAX] = "Vireo virtual CPU, all features",
	};
	char text[49] = { 0 };
	const char *s = names[q->c->model];

	for (unsigned n = 0; s[n]; n++)
		text[n] = s[n];
	put_string(o, text + 16 * (q->leaf - 0x80000002), false);
}

static void leaf_x5(const struct query *q, struct cpuid_out *o)
{
	(void)q;
	if (host.amd)
		o->ecx = o->edx = caches[0].kib << 24 | caches[0].ways << 16 | 1 << 8 | 64;
}

static void leaf_x6(const struct query *q, struct cpuid_out *o)
{
	(void)q;
	o->ecx = caches[2].kib << 16 | 6 << 12 | 1 << 8 | 64; /* 6: 8 ways */
	if (host.amd)
		o->edx = (caches[3].kib / 512) << 18 | 8 << 12 | 1 << 8 | 64; /* 8: 16 ways */
}

static void leaf_x8(const struct query *q, struct cpuid_out *o)
{
	o->eax = host.phys_bits | 48 << 8;
	o->ebx = q->w[W_X8B];
	if (host.amd)
		o->ecx = log2_up(q->c->nr_vcpus) << 12 | ((q->c->nr_vcpus - 1) & 0xff);
}

static void leaf_x1e(const struct query *q, struct cpuid_out *o)
{
	if (!host.amd)
		return;
	o->eax = q->index;
	o->ebx = q->index & 0xff; /* core; one thread each */
}

static const struct {
	u32 first, last;
	void (*fn)(const struct query *q, struct cpuid_out *o);
	int word[4]; /* feature word + 1 in eax..edx when there is no fn */
} leaves[] = {
	{ 0, 0, leaf_0, { 0 } },
	{ 1, 1, leaf_1, { 0 } },
	{ 7, 7, leaf_7, { 0 } },
	{ 0xb, 0xb, leaf_b, { 0 } },
	{ 0xd, 0xd, leaf_d, { 0 } },
	{ 6, 6, leaf_6, { 0 } },
	{ 0x15, 0x15, leaf_15, { 0 } },
	{ 0x40000000, 0x40000010, leaf_kvm, { 0 } },
	{ 0x80000000, 0x80000000, leaf_x0, { 0 } },
	{ 0x80000001, 0x80000001, leaf_x1, { 0 } },
	{ 0x80000002, 0x80000004, leaf_brand, { 0 } },
	{ 0x80000005, 0x80000005, leaf_x5, { 0 } },
	{ 0x80000006, 0x80000006, leaf_x6, { 0 } },
	{ 0x80000007, 0x80000007, NULL, { 0, 0, 0, W_X7D + 1 } },
	{ 0x80000008, 0x80000008, leaf_x8, { 0 } },
	{ 0x8000001e, 0x8000001e, leaf_x1e, { 0 } },
	{ 0x80000021, 0x80000021, NULL, { W_X21A + 1, 0, 0, 0 } },
};

static u32 word_or_0(const struct query *q, int word_plus_1)
{
	return word_plus_1 ? q->w[word_plus_1 - 1] : 0;
}

/* The leaf as the model has it. */
static void put_leaf(const struct query *q, struct cpuid_out *ret)
{
	u32 leaf = q->leaf;

	if ((leaf == 4 || leaf == 2) && !host.amd) {
		leaf == 4 ? leaf_cache(q, ret) : leaf_2(q, ret);
		return;
	}
	if (leaf == 0x8000001d && host.amd) {
		leaf_cache(q, ret);
		return;
	}
	for (unsigned n = 0; n < array_len(leaves); n++) {
		if (leaf < leaves[n].first || leaf > leaves[n].last)
			continue;
		if (leaves[n].fn) {
			leaves[n].fn(q, ret);
			return;
		}
		*ret = (struct cpuid_out){ word_or_0(q, leaves[n].word[0]),
					   word_or_0(q, leaves[n].word[1]),
					   word_or_0(q, leaves[n].word[2]),
					   word_or_0(q, leaves[n].word[3]) };
		return;
	}
}

/* Leaf 0xd's registers also bound what the guest may enable. */
static bool only_less(u32 leaf, u32 subleaf, unsigned reg)
{
	return leaf == 0xd || cpu_model_feature_regs(leaf, subleaf) & BIT(reg);
}

static void change(const struct cpuid_change *c, struct cpuid_out *o)
{
	u32 *const regs[] = { &o->eax, &o->ebx, &o->ecx, &o->edx };
	u32 *r = regs[c->reg];

	*r = (*r & ~c->mask) | (c->value & (only_less(c->leaf, c->subleaf, c->reg) ? *r : ~0u));
}

void cpu_model_cpuid(const struct cpu_config *c, const struct x86_state *s, unsigned index,
		     u32 leaf, u32 subleaf, struct cpuid_out *ret)
{
	struct query q = { .c = c, .s = s, .index = index, .leaf = leaf, .sub = subleaf };

	ensure();
	q.w = host.model[c->model];
	*ret = (struct cpuid_out){ 0 };
	put_leaf(&q, ret);
	for (unsigned n = 0; n < c->nr_changes; n++)
		if (c->change[n].leaf == leaf && c->change[n].subleaf == subleaf)
			change(&c->change[n], ret);
}

/* -- for an engine that hands CPUID to someone else -------------------------------------- */

/* Leaves whose subleaves mean something: how many. */
static unsigned nr_subleaves(u32 leaf)
{
	switch (leaf) {
	case 4: case 0x8000001d: return array_len(caches) + 1;
	case 7: return 2;
	case 0xb: return 3;
	case 0xd: return 8;
	default: return 1;
	}
}

bool cpu_model_next_leaf(unsigned *at, u32 *leaf, u32 *subleaf)
{
	static const u32 ranges[][2] = {
		{ 0, MAX_BASIC_INTEL }, { 0x40000000, 0x40000001 }, { 0x40000010, 0x40000010 },
		{ 0x80000000, MAX_EXTENDED },
	};
	unsigned n = *at;

	++*at;
	for (unsigned k = 0; k < array_len(ranges); k++) {
		for (u32 l = ranges[k][0]; l <= ranges[k][1]; l++) {
			unsigned nr = nr_subleaves(l);

			if (n < nr) {
				*leaf = l;
				*subleaf = n;
				return true;
			}
			n -= nr;
		}
	}
	return false;
}

unsigned cpu_model_feature_regs(u32 leaf, u32 subleaf)
{
	unsigned mask = 0;

	for (unsigned w = 0; w < NR_WORDS; w++)
		if (words[w].leaf == leaf && words[w].sub == subleaf)
			mask |= BIT(words[w].reg);
	return mask;
}

int cpu_model_promised(enum cpu_model m, u32 (*has)(void *ctx, u32 leaf, u32 subleaf, unsigned reg),
		       void *ctx, struct err *e)
{
	for (unsigned n = 0; n < array_len(promises); n++) {
		const struct promise *p = &promises[n];

		if (p->from == V3 && m == CPU_MODEL_V2)
			continue;
		if (!(has(ctx, words[p->word].leaf, words[p->word].sub, words[p->word].reg) &
		      BIT(p->bit)))
			return err_set(e, ENOTSUP, "%s", p->name);
	}
	return 0;
}
