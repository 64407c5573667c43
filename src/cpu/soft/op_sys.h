// SPDX-License-Identifier: Apache-2.0
/*
 * op_sys.h - what the files that execute CLS_SYS instructions share
 */
#ifndef CPU_SOFT_OP_SYS_H
#define CPU_SOFT_OP_SYS_H

#include "cpu/soft/mmu.h"
#include "cpu/soft/ops.h"
#include "cpu/soft/seg.h"
#include "cpu/soft/vcpu.h"

/* Handlers by file; op_sys.c dispatches. */
op_fn op_jmp_far, op_call_far, op_ret_far, op_iret;			 /* op_far.c */
op_fn op_mov_from_seg, op_mov_to_seg, op_push_seg, op_pop_seg, op_load_far; /* op_seg.c */
op_fn op_grp6, op_lgdt, op_sgdt, op_lar_lsl, op_arpl;			 /* op_desc.c */
op_fn op_in, op_out, op_ins, op_outs;					 /* op_io.c */
op_fn op_mov_cr, op_mov_dr, op_clts, op_smsw, op_lmsw, op_invlpg, op_invpcid; /* op_cr.c */
op_fn op_xgetbv, op_xsetbv;						 /* op_cr.c */
op_fn op_syscall, op_sysret, op_sysenter, op_sysexit, op_swapgs;	 /* op_syscall.c */
op_fn op_rdmsr, op_wrmsr;						 /* msr.c */

static inline void set_gpr(struct vcpu *v, unsigned reg, unsigned size, u64 val)
{
	u64 keep = size >= 4 ? 0 : v->s.gpr[reg] & ~mask_bytes(size);

	v->s.gpr[reg] = keep | (val & mask_bytes(size));
}

static inline u64 get_gpr(const struct vcpu *v, unsigned reg, unsigned size)
{
	return v->s.gpr[reg] & mask_bytes(size);
}

/* The r/m operand: register or memory. */
int sys_rm_read(struct vcpu *v, const struct insn *i, unsigned size, u64 *ret);
int sys_rm_write(struct vcpu *v, const struct insn *i, unsigned size, u64 val);

static inline int need_cpl0(struct vcpu *v)
{
	return v->cpl ? raise_err(v, EX_GP, 0) : X_OK;
}

static inline unsigned iopl(const struct vcpu *v)
{
	return (v->s.rflags & FL_IOPL) >> 12;
}

/* A flat segment as SYSCALL, SYSENTER and their returns load it. */
#define FLAT_CODE 0xc09bu /* 32-bit, DPL 0 */
#define FLAT_CODE64 0xa09bu
#define FLAT_DATA 0xc093u
void set_flat(struct x86_seg *ret, u16 sel, u32 attr, u8 dpl);

/* Write a control register with every check and flush of MOV CRn. */
int set_cr0(struct vcpu *v, u64 val);
int set_cr3(struct vcpu *v, u64 val);
int set_cr4(struct vcpu *v, u64 val);
int set_efer(struct vcpu *v, u64 val);

u64 guest_tsc(const struct vcpu *v);

/* The KVM clock [Linux Documentation/virt/kvm/x86/msr.rst]; pvclock.c. */
void pvclock_set_system_time(struct vcpu *v, u64 val);
void pvclock_set_wall_clock(struct vcpu *v, u64 val);
/* Time that the host gave to others while the guest wanted it; pvsteal.c. */
bool pvsteal_set(struct vcpu *v, u64 val);
void pvclock_update(struct vcpu *v); /* tsc_offset changed */
u64 pvclock_ns(u64 cycles); /* TSC cycles by the scale the guest is told */

#endif
