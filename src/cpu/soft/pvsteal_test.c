// SPDX-License-Identifier: Apache-2.0
/* pvsteal_test.c - steal time and the kick out of HLT */
#include "cpu/soft/pvsteal.h"

#include "base/test.h"
#include "cpu/soft/op_sys.h"
#include "cpu/soft/sysvm.h"

#define RECORD 0x7000ull

/* Cycles since @start as nanoseconds: what the host may really have stolen meanwhile. */
static u64 since(u64 start)
{
	return (u64)((double)(__builtin_ia32_rdtsc() - start) * 1e6 / (double)cpu_tsc_khz());
}

TEST(steal_time_counts_what_passed_and_did_not_run)
{
	struct vcpu *v = sysvm_new();
	u64 second = cpu_tsc_khz() * 1000, start = __builtin_ia32_rdtsc(), steal;

	if (!v)
		return;
	CHECK(pvsteal_set(v, RECORD | 1));
	CHECK_EQ(sysvm_get(v, RECORD, 8), 0);
	CHECK_EQ(sysvm_get(v, RECORD + 8, 4) % 2, 0);
	v->steal.tsc -= second; /* as if a second had passed without us */
	pvsteal_update(v);
	steal = sysvm_get(v, RECORD, 8);
	CHECK(steal > 900000000 && steal <= 1000000000 + since(start));
	CHECK_EQ(sysvm_get(v, RECORD + 8, 4) % 2, 0);
	v->steal.tsc -= second; /* and another, in HLT */
	pvsteal_slept(v, second);
	pvsteal_update(v);
	CHECK(sysvm_get(v, RECORD, 8) <= 1000000000 + since(start));
	CHECK(!pvsteal_set(v, RECORD | 3));
	CHECK(pvsteal_set(v, 1ull << 45 | 1)); /* no RAM there: dropped */
	v->steal.tsc -= second;
	pvsteal_update(v);
	sysvm_free(v);
}
