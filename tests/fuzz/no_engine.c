// SPDX-License-Identifier: Apache-2.0
/* no_engine.c - engines that hold states and run nothing, in place of the real ones (cpu/cpu.h) */
#include "base/bits.h"
#include "base/compiler.h"
#include "cpu/cpu.h"
#include "cpu/x86_state.h"

#include <stdlib.h>

struct vcpu {
	struct x86_state s;
};

static struct cpu_vm *no_vm(const struct cpu_config *c UNUSED, struct err *e UNUSED)
{
	return (struct cpu_vm *)(void *)calloc(1, 1);
}

static void no_vm_free(struct cpu_vm *vm)
{
	free(vm);
}

static struct vcpu *no_vcpu(struct cpu_vm *vm UNUSED, unsigned i UNUSED,
			    const struct cpu_io *io UNUSED, struct err *e UNUSED)
{
	struct vcpu *v = aligned_alloc(64, align_up(sizeof *v, 64));

	if (v)
		x86_state_reset(&v->s, i == 0);
	return v;
}

static void no_vcpu_free(struct vcpu *v)
{
	free(v);
}

static enum cpu_exit no_run(struct vcpu *v UNUSED)
{
	return CPU_EXIT_KICKED;
}

static void no_signal(struct vcpu *v UNUSED, enum cpu_signal sig UNUSED, u8 arg UNUSED) {}

static void get_state(struct vcpu *v, struct x86_state *ret)
{
	*ret = v->s;
}

static int set_state(struct vcpu *v, const struct x86_state *s, struct err *e UNUSED)
{
	v->s = *s;
	return 0;
}

static u64 get_clock(struct cpu_vm *vm UNUSED, u64 tsc UNUSED)
{
	return 0;
}

static int set_clock(struct cpu_vm *vm UNUSED, u64 tsc UNUSED, u64 ns UNUSED, struct err *e UNUSED)
{
	return 0;
}

static void cpuid(struct cpu_vm *vm UNUSED, u32 leaf, u32 subleaf, struct cpuid_out *ret)
{
	const struct cpu_config c = { .nr_vcpus = 1 };

	cpu_model_cpuid(&c, NULL, 0, leaf, subleaf, ret);
}

void cpu_soft_prepare(void) {}

bool cpu_soft_translates(void)
{
	return true;
}

const struct cpu_engine cpu_soft = {
	.name = "soft",
	.vm_new = no_vm,
	.vm_free = no_vm_free,
	.vcpu_new = no_vcpu,
	.vcpu_free = no_vcpu_free,
	.run = no_run,
	.signal = no_signal,
	.get_state = get_state,
	.set_state = set_state,
	.get_clock = get_clock,
	.set_clock = set_clock,
	.cpuid = cpuid,
};
const struct cpu_engine cpu_kvm = { .name = "kvm" };
