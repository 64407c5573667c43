// SPDX-License-Identifier: Apache-2.0
/* cpuid_test.c - what the CPU models offer */
#include "cpu/cpuid.h"

#include "base/bits.h"
#include "base/test.h"
#include "cpu/x86_state.h"

static struct cpuid_out ask(enum cpu_model m, unsigned nr, u32 leaf, u32 sub)
{
	struct cpu_config c = { .nr_vcpus = nr, .model = m };
	struct x86_state s = { .xcr0 = XCR0_X87 };
	struct cpuid_out o;

	cpu_model_cpuid(&c, &s, nr - 1, leaf, sub, &o);
	return o;
}

TEST(v2_has_no_vector_extensions_beyond_sse42)
{
	CHECK(!(ask(CPU_MODEL_V2, 1, 1, 0).ecx & (BIT(28) | BIT(26) | BIT(12))));
	CHECK(!(ask(CPU_MODEL_V2, 1, 7, 0).ebx & (BIT(5) | BIT(16))));
	CHECK_EQ(cpu_model_xcr0(CPU_MODEL_V2), XCR0_X87 | XCR0_SSE);
}

TEST(v3_hides_smap_and_avx512)
{
	CHECK(!(ask(CPU_MODEL_V3, 1, 7, 0).ebx & (BIT(20) | BIT(16))));
	CHECK(!(cpu_model_xcr0(CPU_MODEL_V3) & XCR0_AVX512));
	CHECK(cpu_model_has(CPU_MODEL_MAX, CPUF_SMAP));
}

TEST(nothing_offered_needs_what_the_host_lacks)
{
	u32 a, b, c, d;

	__asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
	CHECK_EQ(ask(CPU_MODEL_MAX, 1, 7, 0).ebx & (BIT(3) | BIT(5) | BIT(8) | BIT(16) | BIT(29)) &
			 ~b,
		 0);
}

TEST(a_guest_needs_no_speculation_workarounds)
{
	if (cpu_model_is_amd()) {
		u32 x = ask(CPU_MODEL_V3, 1, 0x80000021, 0).eax;

		CHECK_EQ(x & (BIT(2) | BIT(8) | BIT(29)), BIT(2) | BIT(8) | BIT(29));
	} else {
		CHECK(ask(CPU_MODEL_V3, 1, 7, 0).edx & BIT(29));
	}
}

TEST(topology_names_every_vcpu)
{
	struct cpuid_out o = ask(CPU_MODEL_V3, 5, 0xb, 1);

	CHECK_EQ(o.eax, 3); /* 5 APIC ids need 3 bits */
	CHECK_EQ(o.ebx, 5);
	CHECK_EQ(o.edx, 4);
	CHECK_EQ(ask(CPU_MODEL_V3, 5, 0xb, 2).ebx, 0);
	CHECK_EQ(ask(CPU_MODEL_V3, 5, 1, 0).ebx >> 24, 4);
}

TEST(osxsave_follows_cr4)
{
	struct cpu_config c = { .nr_vcpus = 1, .model = CPU_MODEL_V3 };
	struct x86_state s = { .cr4 = CR4_OSXSAVE, .xcr0 = XCR0_X87 };
	struct cpuid_out o;

	CHECK(!(ask(CPU_MODEL_V3, 1, 1, 0).ecx & BIT(27)));
	cpu_model_cpuid(&c, &s, 0, 1, 0, &o);
	CHECK(o.ecx & BIT(27));
}

TEST(the_xsave_size_follows_xcr0)
{
	if (!cpu_model_has(CPU_MODEL_V3, CPUF_AVX))
		return;
	CHECK_EQ(ask(CPU_MODEL_V3, 1, 0xd, 0).ebx, 576);
	CHECK_EQ(ask(CPU_MODEL_V3, 1, 0xd, 0).ecx, 832);
}

TEST(the_hypervisor_leaves_name_kvm)
{
	struct cpuid_out o = ask(CPU_MODEL_V3, 1, 0x40000000, 0);

	CHECK(!memcmp(&o.ebx, "KVMKVMKVM\0\0\0", 12));
	CHECK(ask(CPU_MODEL_V3, 1, 0x40000001, 0).eax & BIT(24));
	CHECK_EQ(ask(CPU_MODEL_V3, 1, 0x40000010, 0).eax, cpu_tsc_khz());
}

TEST(changes_take_features_away_and_set_the_rest)
{
	static const struct cpuid_change change[] = {
		{ 1, 0, 0, 0x0fff3fff, 0x000306f2 },	  /* a signature */
		{ 7, 0, 1, ~0u, BIT(2) | BIT(7) },	  /* SGX, which nobody offers, and SMEP */
		{ 0xd, 0, 0, ~0u, ~0u },		  /* no more components than there were */
		{ 0x1d, 0, 3, ~0u, 5 },			  /* a leaf that was not there */
	};
	const struct cpu_config c = { .nr_vcpus = 1, .change = change, .nr_changes = array_len(change) };
	struct cpuid_out o;

	cpu_model_cpuid(&c, NULL, 0, 1, 0, &o);
	CHECK_EQ(o.eax & 0x0fff3fff, 0x000306f2);
	CHECK_EQ(o.edx, ask(CPU_MODEL_V3, 1, 1, 0).edx);
	cpu_model_cpuid(&c, NULL, 0, 7, 0, &o);
	CHECK_EQ(o.ebx, BIT(7));
	CHECK_EQ(o.ecx, ask(CPU_MODEL_V3, 1, 7, 0).ecx);
	cpu_model_cpuid(&c, NULL, 0, 0xd, 0, &o);
	CHECK_EQ(o.eax, ask(CPU_MODEL_V3, 1, 0xd, 0).eax);
	cpu_model_cpuid(&c, NULL, 0, 0x1d, 0, &o);
	CHECK_EQ(o.edx, 5);
	cpu_model_cpuid(&c, NULL, 0, 0x1d, 1, &o);
	CHECK_EQ(o.edx, 0);
}

TEST(unknown_leaves_are_zero)
{
	struct cpuid_out o = ask(CPU_MODEL_MAX, 1, 0x1f, 3);

	CHECK(!(o.eax | o.ebx | o.ecx | o.edx));
}

TEST(init_keeps_the_tsc_and_memory_types)
{
	struct x86_state s;

	x86_state_reset(&s, true);
	s.tsc_offset = 77;
	s.mtrr_deftype = 0xc06;
	s.cr0 = CR0_PE | CR0_PG;
	s.efer = EFER_LME;
	x86_state_init(&s, false);
	CHECK_EQ(s.tsc_offset, 77);
	CHECK_EQ(s.mtrr_deftype, 0xc06);
	CHECK_EQ(s.cr0, CR0_ET);
	CHECK_EQ(s.efer, 0);
	CHECK_EQ(s.activity, ACT_WAIT_SIPI);
}

TEST(the_list_of_leaves_names_each_once)
{
	u32 leaf, sub, seen[256][2];
	unsigned nr = 0;

	for (unsigned at = 0; cpu_model_next_leaf(&at, &leaf, &sub); nr++) {
		for (unsigned k = 0; k < nr; k++)
			CHECK(seen[k][0] != leaf || seen[k][1] != sub);
		CHECK(nr < 256);
		seen[nr][0] = leaf;
		seen[nr][1] = sub;
	}
	CHECK(nr > 60);
}

static u32 all_but_bmi2(void *ctx UNUSED, u32 leaf, u32 sub, unsigned reg)
{
	return leaf == 7 && sub == 0 && reg == 1 ? ~BIT(8) : ~0u;
}

TEST(a_promised_feature_that_is_missing_is_named)
{
	struct err e = { 0 };

	CHECK_EQ(cpu_model_promised(CPU_MODEL_V2, all_but_bmi2, NULL, &e), 0);
	CHECK(cpu_model_promised(CPU_MODEL_V3, all_but_bmi2, NULL, &e) < 0);
	CHECK_STR(e.msg, "bmi2");
	CHECK_EQ(cpu_model_feature_regs(7, 0), BIT(1) | BIT(2) | BIT(3));
	CHECK_EQ(cpu_model_feature_regs(2, 0), 0);
}
