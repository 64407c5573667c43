// SPDX-License-Identifier: Apache-2.0
/*
 * kvm_int.h - private to src/cpu/kvm: the two structs, and one way to make an ioctl
 */
#ifndef CPU_KVM_KVM_INT_H
#define CPU_KVM_KVM_INT_H

#include "base/chips.h"
#include "cpu/cpu.h"
#include "mem/mem.h"
#include "cpu/x86_state.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#define KVM_CPUS_MAX 240

/* One entry of the I/O APIC as split chips must know it: which vectors need their EOI reported. */
struct kvm_pin {
	bool level;
	u64 addr;
	u32 data;
};

/* An argument of KVM_SET_GSI_ROUTING. */
#define KVM_ROUTES_MAX (16 + IOAPIC_PINS)
struct kvm_routes {
	struct kvm_irq_routing head;
	struct kvm_irq_routing_entry entry[KVM_ROUTES_MAX];
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
	struct kvm_pin pin[IOAPIC_PINS]; /* split chips */
	struct kvm_cpuid2 *cpuid; /* what the first vCPU has */
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
void kvm_get_cpuid(struct cpu_vm *vm, u32 leaf, u32 subleaf, struct cpuid_out *ret);

/* probe.c: what is known of the host, and whether @fd, a /dev/kvm, is good for guests there. */
struct kvm_host {
	bool pvm; /* kvm_pvm serves /dev/kvm */
	bool vmx, svm;
};
int kvm_probe(int fd, const struct kvm_host *h, struct err *e) MUST_CHECK;

/* kvm_state.c */
void kvm_get_state(struct vcpu *v, struct x86_state *ret);
int kvm_set_state(struct vcpu *v, const struct x86_state *s, struct err *e) MUST_CHECK;

/* kvm_chips.c: the local APICs, and how interrupts get to them */
extern const struct cpu_chips kvm_chips;
int kvm_chips_new(struct cpu_vm *vm, struct err *e) MUST_CHECK;
static inline bool kvm_has_board(const struct cpu_vm *vm)
{
	return vm->cfg.irqchip == CPU_IRQCHIP_KERNEL;
}

/* kvm_routes.c: which chip a GSI leads to: all of the kernel's, or what our I/O APIC would send. */
void kvm_routes_kernel(struct kvm_routes *ret);
void kvm_routes_split(const struct kvm_pin pin[IOAPIC_PINS], struct kvm_routes *ret);

/* kvm_board.c: KVM's PIC and I/O APIC in our form, and back. */
void kvm_board_get(struct cpu_vm *vm, struct board_chips *ret);
int kvm_board_set(struct cpu_vm *vm, const struct board_chips *s, struct err *e) MUST_CHECK;
void kvm_pic_out(const struct kvm_pic_state *k, struct pic_chip *ret);
void kvm_pic_in(const struct pic_chip *c, unsigned n, struct kvm_pic_state *ret);
void kvm_ioapic_out(const struct kvm_ioapic_state *k, struct ioapic_regs *ret);
void kvm_ioapic_in(const struct ioapic_regs *r, struct kvm_ioapic_state *ret);

#endif
