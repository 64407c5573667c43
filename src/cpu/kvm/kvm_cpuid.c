// SPDX-License-Identifier: Apache-2.0
/*
 * kvm_cpuid.c - the shared CPU models as KVM's CPUID table
 *
 * A model's feature is offered if this KVM has it too. What the model's name promises
 * must be there, or the VM is refused. How the processor identifies itself, and what
 * a guest must know to guard itself against speculation, are the host's: guest code
 * runs on it, so the software engine's "not affected" would be untrue here.
 */
#include "cpu/cpuid.h"
#include "cpu/kvm/kvm_int.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>

#define ENTRIES_MAX 256

struct table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[ENTRIES_MAX];
};

enum { EAX, EBX, ECX, EDX };

/* Speculation control bits of the host that pass through, and bits a model must not claim. */
static const struct {
	u32 leaf, sub;
	u8 reg;
	u32 bits;
} from_host[] = {
	{ 1, 0, EAX, ~0u }, /* family, model, stepping */
	{ 0x80000001, 0, EAX, ~0u },
	/* IBRS and IBPB, STIBP, L1D flush, ARCH_CAPABILITIES, SSBD */
	{ 7, 0, EDX, BIT(26) | BIT(27) | BIT(28) | BIT(29) | BIT(31) },
	/* IBPB, IBRS, STIBP, always on, preferred, same mode, SSBD, VIRT_SSBD, SSB_NO, BTC_NO */
	{ 0x80000008, 0, EBX,
	  BIT(12) | BIT(14) | BIT(15) | BIT(16) | BIT(17) | BIT(18) | BIT(19) | BIT(24) | BIT(25) |
		  BIT(26) | BIT(29) },
	{ 0x80000021, 0, EAX,
	  BIT(0) | BIT(2) | BIT(6) | BIT(8) | BIT(27) | BIT(28) | BIT(29) | BIT(30) },
};

static u32 *reg_of(struct kvm_cpuid_entry2 *x, unsigned n)
{
	return n == EAX ? &x->eax : n == EBX ? &x->ebx : n == ECX ? &x->ecx : &x->edx;
}

static struct kvm_cpuid_entry2 *find(struct table *t, u32 leaf, u32 sub)
{
	for (u32 n = 0; n < t->head.nent; n++) {
		struct kvm_cpuid_entry2 *x = &t->entry[n];

		if (x->function == leaf &&
		    (!(x->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || x->index == sub))
			return x;
	}
	return NULL;
}

static u32 table_reg(void *table, u32 leaf, u32 sub, unsigned reg)
{
	struct kvm_cpuid_entry2 *x = find(table, leaf, sub);

	return x ? *reg_of(x, reg) : 0;
}

/* What this kernel can do although it does not list it. */
static u32 emulated(int kvm_fd, u32 leaf, unsigned reg)
{
	if (leaf != 1 || reg != ECX)
		return 0;
	return BIT(31) /* a hypervisor */ |
	       (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0 ? BIT(24) : 0);
}

static bool has_subleaves(u32 leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x8000001d;
}

static void mask_entry(struct kvm_cpuid_entry2 *x, struct table *kvm, int kvm_fd)
{
	unsigned regs = cpu_model_feature_regs(x->function, x->index);

	for (unsigned r = 0; r < 4; r++)
		if (regs & BIT(r))
			*reg_of(x, r) &= table_reg(kvm, x->function, x->index, r) |
					 emulated(kvm_fd, x->function, r);
	if (x->function == 0xd && x->index == 0) { /* state components */
		x->eax &= table_reg(kvm, 0xd, 0, EAX);
		x->edx &= table_reg(kvm, 0xd, 0, EDX);
	}
	if (x->function == 0x40000001)
		x->eax &= table_reg(kvm, x->function, 0, EAX);
	for (unsigned n = 0; n < array_len(from_host); n++) {
		u32 *p = reg_of(x, from_host[n].reg);

		if (from_host[n].leaf == x->function && from_host[n].sub == x->index)
			*p = (*p & ~from_host[n].bits) |
			     (table_reg(kvm, x->function, x->index, from_host[n].reg) &
			      from_host[n].bits);
	}
}

static void fill(struct vcpu *v, struct table *t, struct table *kvm, int kvm_fd)
{
	u32 leaf, sub;

	for (unsigned at = 0;
	     cpu_model_next_leaf(&at, &leaf, &sub) && t->head.nent < ENTRIES_MAX;) {
		struct kvm_cpuid_entry2 *x = &t->entry[t->head.nent++];
		struct cpuid_out o;

		cpu_model_cpuid(&v->vm->cfg, NULL, v->index, leaf, sub, &o);
		*x = (struct kvm_cpuid_entry2){
			.function = leaf,
			.index = sub,
			.flags = has_subleaves(leaf) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = o.eax,
			.ebx = o.ebx,
			.ecx = o.ecx,
			.edx = o.edx,
		};
		mask_entry(x, kvm, kvm_fd);
	}
}

static int make(struct vcpu *v, int kvm_fd, struct table *t, struct table *kvm, struct err *e)
{
	static const char *const names[] = {
		[CPU_MODEL_V3] = "x86-64-v3",
		[CPU_MODEL_V2] = "x86-64-v2",
		[CPU_MODEL_MAX] = "max",
	};
	struct err missing = { 0 };

	kvm->head.nent = ENTRIES_MAX;
	TRY(kvm_ctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, kvm, "supported CPUID", e));
	fill(v, t, kvm, kvm_fd);
	if (v->vm->cfg.model != CPU_MODEL_MAX &&
	    cpu_model_promised(v->vm->cfg.model, table_reg, t, &missing))
		return err_set(e, ENOTSUP,
			       "--cpu %s: this host's KVM has no %s: want %s, or --engine soft",
			       names[v->vm->cfg.model], missing.msg,
			       v->vm->cfg.model == CPU_MODEL_V3 ? "--cpu x86-64-v2" : "--cpu max");
	return kvm_ctl(v->fd, KVM_SET_CPUID2, t, "CPUID", e);
}

int kvm_set_cpuid(struct vcpu *v, int kvm_fd, struct err *e)
{
	struct table *t = calloc(1, sizeof *t), *kvm = calloc(1, sizeof *kvm);
	int r;

	r = t && kvm ? make(v, kvm_fd, t, kvm, e) : err_set(e, ENOMEM, "cpu: out of memory");
	free(kvm);
	if (v->index || r < 0) {
		free(t);
		return r;
	}
	free(v->vm->cpuid);
	v->vm->cpuid = &t->head;
	return r;
}

void kvm_get_cpuid(struct cpu_vm *vm, u32 leaf, u32 subleaf, struct cpuid_out *ret)
{
	const struct kvm_cpuid_entry2 *x =
		vm->cpuid ? find(container_of(vm->cpuid, struct table, head), leaf, subleaf) : NULL;

	*ret = x ? (struct cpuid_out){ x->eax, x->ebx, x->ecx, x->edx } : (struct cpuid_out){ 0 };
}
