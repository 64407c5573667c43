// SPDX-License-Identifier: Apache-2.0
/*
 * cpu_config.c - a VM's processors as the engine is told of them
 */
#include "vmm/vmm_int.h"

#include "base/log.h"

struct cpu_config vm_cpu_config(struct vm *vm)
{
	for (u32 i = 0; i < vm->cfg->nr_cpuids; i++) {
		const struct cpuid_config *c = &vm->cfg->cpuid[i];

		vm->cpuid[i] = (struct cpuid_change){ c->leaf, c->subleaf, c->reg, c->mask, c->value };
	}
	return (struct cpu_config){
		.mem = vm->mem,
		.nr_vcpus = vm->cfg->nr_cpus,
		.model = (enum cpu_model)vm->cfg->cpu,
		.change = vm->cpuid,
		.nr_changes = vm->cfg->nr_cpuids,
		.interpret_only = vm->cfg->interpret,
		.code_cache_bytes = vm->cfg->code_cache,
		.perf_fd = vm->cfg->perf_fd,
		.irqchip = (enum cpu_irqchip)vm->cfg->irqchip,
		.kvm_fd = vm->cfg->kvm_fd,
	};
}

/* The bits of the register a change sets that the guest will not see. */
static u32 refused(const struct cpu_config *c, const struct cpuid_change *x)
{
	struct cpuid_out o;

	cpu_model_cpuid(c, NULL, 0, x->leaf, x->subleaf, &o);
	return x->value & x->mask & ~*(const u32 *[]){ &o.eax, &o.ebx, &o.ecx, &o.edx }[x->reg];
}

void vm_warn_cpuid(const struct cpu_config *c)
{
	static const char *const names[] = { "eax", "ebx", "ecx", "edx" };

	for (unsigned i = 0; i < c->nr_changes; i++) {
		const struct cpuid_change *x = &c->change[i];
		u32 bits = refused(c, x);

		if (bits)
			log_warn("CPUID leaf 0x%x, subleaf 0x%x, %s: bits 0x%x cannot be offered and stay 0",
				 x->leaf, x->subleaf, names[x->reg], bits);
	}
}
