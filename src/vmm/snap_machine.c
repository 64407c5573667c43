// SPDX-License-Identifier: Apache-2.0
/* snap_machine.c - the machine as sections: see snap_int.h */
#include "cpu/x86_state.h"
#include "dev/pci/pci.h"
#include "dev/virtio/virtio.h"
#include "vmm/snap_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <x86intrin.h>

#define M struct snap_machine
const struct field snap_machine_fields[] = {
	FIELD(M, id),
	FIELD(M, base),
	FIELD(M, diff),
	FIELD(M, memory),
	FIELD(M, mem_sum),
	FIELD(M, nr_cpus, .max = PC_MAX_CPUS),
	FIELD(M, amd),
	FIELD(M, xcr0),
	FIELD_ARRAY(M, feature),
	FIELD(M, kvm_features),
	FIELD(M, kvm),
	FIELD(M, tsc_khz),
	FIELD(M, tsc),
	FIELD(M, clock_ns, .max = 1ull << 62),
	FIELD(M, wall_ns, .max = 1ull << 62),
	FIELD(M, kvm_clock_ns, .max = 1ull << 62),
	FIELD_END,
};
#undef M

/* -- this host and this model ---------------------------------------------------------- */

/* Feature words of CPUID, and their bits that say how things are rather than what there is. */
static const struct {
	u32 leaf, sub;
	u8 reg; /* 0 eax .. 3 edx */
	u32 not;
} feature_words[SNAP_FEATURES] = {
	{ 1, 0, 2, 1u << 27 /* OSXSAVE */ },
	{ 1, 0, 3, 0 },
	{ 7, 0, 1, 0 },
	{ 7, 0, 2, 1u << 4 /* OSPKE */ },
	[SNAP_7_EDX] = { 7, 0, 3, 0 },
	{ 7, 1, 0, 0 },
	{ 0xd, 1, 0, 0 },
	{ 0x80000001, 0, 2, 0 },
	{ 0x80000001, 0, 3, 0 },
};

static u32 guest_cpuid(struct vm *vm, u32 leaf, u32 sub, unsigned reg)
{
	struct cpuid_out o = { 0 };

	vm->engine->cpuid(vm->cpu_vm, leaf, sub, &o);
	return *(const u32 *[]){ &o.eax, &o.ebx, &o.ecx, &o.edx }[reg];
}

static void get_features(struct vm *vm, struct snap_machine *ret)
{
	for (unsigned i = 0; i < SNAP_FEATURES; i++)
		ret->feature[i] = guest_cpuid(vm, feature_words[i].leaf, feature_words[i].sub,
					      feature_words[i].reg) & ~feature_words[i].not;
	ret->kvm_features = guest_cpuid(vm, 0x40000001, 0, 0);
	ret->xcr0 = guest_cpuid(vm, 0xd, 0, 0) | (u64)guest_cpuid(vm, 0xd, 0, 3) << 32;
	ret->kvm = vm->engine == &cpu_kvm;
}

void snap_describe(struct vm *vm, struct snap_machine *ret)
{
	ret->memory = mem_size(vm->mem);
	ret->nr_cpus = vm->cfg->nr_cpus;
	ret->amd = cpu_model_is_amd();
	get_features(vm, ret);
	ret->tsc_khz = cpu_tsc_khz();
	ret->tsc = __rdtsc();
	ret->clock_ns = clock_now_ns(vm->clock);
	ret->wall_ns = clock_wall_ns(vm->clock);
	ret->kvm_clock_ns = vm->engine->get_clock(vm->cpu_vm, ret->tsc);
}

/* -- devices --------------------------------------------------------------------------- */

struct walk {
	int (*fn)(void *ctx, const char *section, struct dev *d, struct err *e);
	void *ctx;
};

static int visit(const struct walk *w, const char *id, unsigned nr, const char *part,
		 struct dev *d, struct err *e)
{
	char name[SNAP_NAME_MAX + 1];

	snprintf(name, sizeof name, "dev:%.40s.%u%s", id, nr, part);
	return w->fn(w->ctx, name, d, e);
}

/* How many devices before number @i have its id: ids need not be unique. */
static unsigned rank(const struct vm *vm, unsigned i)
{
	unsigned n = 0;

	for (unsigned k = 0; k < i; k++)
		n += !strcmp(vm->dev[k]->id, vm->dev[i]->id);
	return n;
}

int snap_each_device(struct vm *vm,
		     int (*fn)(void *ctx, const char *section, struct dev *d, struct err *e),
		     void *ctx, struct err *e)
{
	const struct walk w = { fn, ctx };

	TRY(visit(&w, "pci", 0, "", pci_host_dev(vm->pci), e));
	TRY(visit(&w, "pci", 0, "/bridge", &pci_host_slot(vm->pci, 0)->dev, e));
	for (unsigned i = 0; i < vm->nr_devs; i++) {
		struct dev *d = vm->dev[i], *behind = virtio_behind(d);

		if (behind)
			TRY(visit(&w, d->id, rank(vm, i), "/virtio", behind, e));
		TRY(visit(&w, d->id, rank(vm, i), "", d, e));
	}
	return 0;
}
