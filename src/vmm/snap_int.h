// SPDX-License-Identifier: Apache-2.0
/* snap_int.h - between saving and loading: what the sections hold (docs/snapshot-format.md) */
#ifndef VMM_SNAP_INT_H
#define VMM_SNAP_INT_H

#include "base/field.h"
#include "vmm/snap_format.h"
#include "vmm/vmm_int.h"

#define SNAP_FEATURES 9 /* words of CPUID feature bits */
#define SNAP_7_EDX    4 /* the one with bits of speculation control */
#define SNAP_ID	      16

/* Section "machine". */
struct snap_machine {
	u8 id[SNAP_ID];	  /* random */
	u8 base[SNAP_ID]; /* a difference: the snapshot it is one to */
	bool diff;
	u64 memory; /* bytes */
	u64 mem_sum; /* mem_sum() of the whole RAM, 0 = not known */
	u32 nr_cpus;
	bool amd;
	u64 xcr0;
	u32 feature[SNAP_FEATURES];
	u32 kvm_features; /* CPUID 0x40000001 */
	bool kvm;	  /* the engine was KVM */
	u64 tsc_khz;
	/* Read at the same moment: the host's TSC, the board's clock, UTC, the KVM clock. */
	u64 tsc, clock_ns, wall_ns, kvm_clock_ns;
};

extern const struct field snap_machine_fields[];

/* What this host would save: everything but id, base, diff and mem_sum. */
void snap_describe(struct vm *vm, struct snap_machine *ret);

/*
 * Every device with state, in the order of loading, under the name of its section. Return:
 * what fn returned, if not 0.
 */
int snap_each_device(struct vm *vm,
		     int (*fn)(void *ctx, const char *section, struct dev *d, struct err *e),
		     void *ctx, struct err *e) MUST_CHECK;

/* A device's section begins with these, then come its fields. */
struct snap_dev_header {
	char class[24]; /* padded with zeroes */
	u8 version;
	u8 zero[7];
};

#endif
