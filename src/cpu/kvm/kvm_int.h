// SPDX-License-Identifier: Apache-2.0
/*
 * kvm_int.h - private to src/cpu/kvm: the two structs, and one way to make an ioctl
 */
#ifndef CPU_KVM_KVM_INT_H
#define CPU_KVM_KVM_INT_H

#include "cpu/cpu.h"
#include "mem/mem.h"
#include "cpu/x86_state.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#define KVM_IOAPIC_PINS 24
#define KVM_CPUS_MAX    240

/* One entry of the I/O APIC as KVM must know it: which vectors need their EOI reported. */
struct kvm_pin {
	bool level;
	u64 addr;
	u32 data;
};

struct kvm_slot {
	gpa_t gpa;
	u64 size;
};

struct cpu_vm {
	struct cpu_config cfg;
	int fd;
	size_t run_size; /* of struct kvm_run and what follows it */
	bool tsc_attr;   /* the TSC offset can be set directly */
	struct kvm_slot slot[2 + MEM_REGIONS];
	unsigned nr_slots;
	struct kvm_pin pin[KVM_IOAPIC_PINS];
	struct vcpu *vcpu[KVM_CPUS_MAX];
};

struct vcpu {
	struct cpu_vm *vm;
	unsigned index;
	int fd;
	struct cpu_io io;
	struct kvm_run *run;
	_Atomic u32 requests; /* bits by enum cpu_signal */
	_Atomic pthread_t thread;
	_Atomic bool running; /* .thread is valid and inside run() */
	bool kicked;          /* run() returns as soon as KVM_RUN has finished what is pending */
	bool extint;          /* the PIC may have an interrupt */
	u64 nr_exits;         /* that came to us */
	u64 nr_io, nr_mmio, nr_eoi;
	char error[160];
};

/* ioctl() that ends in 0 or more, or *e: "kvm: WHAT: reason". */
int kvm_ctl(int fd, unsigned long nr, const void *arg, const char *what, struct err *e);

/* kvm_cpuid.c: what this vCPU's CPUID says, or a refusal that names what is missing. */
int kvm_set_cpuid(struct vcpu *v, int kvm_fd, struct err *e) MUST_CHECK;

/* kvm_state.c */
void kvm_get_state(struct vcpu *v, struct x86_state *ret);
int kvm_set_state(struct vcpu *v, const struct x86_state *s, struct err *e) MUST_CHECK;

/* kvm_chips.c */
extern const struct cpu_chips kvm_chips;
int kvm_chips_new(struct cpu_vm *vm, struct err *e) MUST_CHECK;

#endif
