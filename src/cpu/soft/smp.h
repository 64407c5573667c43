// SPDX-License-Identifier: Apache-2.0
/*
 * smp.h - vCPUs of one VM among each other
 *
 * Idle: a vCPU that sleeps, is outside run() or waits here. It executes nothing and
 * others may change its translation tables. One vCPU at a time, the holder, may keep
 * others idle; who wants to be holder waits idle, so two never wait for each other.
 *
 * Code appears in a frame (smp_claim_frame()) while others may be writing to it:
 *  - by translated code, through a writable table entry: tlb_fill() records the
 *    writer before it looks at mem_code_map();
 *  - by the interpreter, which writes and then looks at mem_code_map();
 *  - by the interpreter through a pointer of lin_ptr(), which sets .writing before
 *    it looks.
 * The claimer counts the frame, makes every thread pass a full barrier (membarrier),
 * then looks for writers: either it sees them, or they see the count.
 */
#ifndef CPU_SOFT_SMP_H
#define CPU_SOFT_SMP_H

#include "cpu/soft/vcpu.h"

#define SMP_MAX 255 /* mem_code_map() counts vCPUs in a byte */

/* What a vCPU that shall be idle waits for: a futex. */
enum smp_hold { HOLD_NOT, HOLD_YES, HOLD_SLEEPS };

struct cpu_vm {
	struct cpu_config cfg;
	u64 tsc_base; /* host TSC when the VM was made: time 0 of every vCPU's KVM clock */
	_Atomic u32 holder; /* index + 1, 0 = nobody */
	_Atomic u64 stopped; /* TSC when all others were last let go */
	unsigned host_cpus; /* this process may use */
	struct vcpu *vcpu[SMP_MAX];
};

/* Once per VM, before vCPUs run. */
int smp_init(struct cpu_vm *vm, struct err *e) MUST_CHECK;

/* On the vCPU's thread, around everything it executes; begin() waits while it is held. */
void smp_run_begin(struct vcpu *v);
void smp_run_end(struct vcpu *v);
void smp_held(struct vcpu *v); /* REQ_HOLD */

/* Code appears in @frame, already counted: nobody can write to it unseen any more. */
void smp_claim_frame(struct vcpu *v, u64 frame);

/* @v wrote to a frame with code: the others' blocks go too. */
void smp_code_written(struct vcpu *v, gpa_t gpa, u64 len);

/* No other vCPU executes anything between these: LOCK across a page boundary. */
void smp_stop_others(struct vcpu *v);
void smp_go_others(struct vcpu *v);

/* @v asks for @index to go on behind the HLT it is in, or comes to next. */
void smp_unhalt(struct vcpu *v, u64 index);

/* The guest executed PAUSE: it probably waits for a vCPU that may not be running. */
void smp_pause(struct vcpu *v);

/* Spin politely: @n counts the turns. */
void smp_relax(unsigned *n);

#endif
