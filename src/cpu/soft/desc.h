// SPDX-License-Identifier: Apache-2.0
/*
 * desc.h - segment and system descriptors in guest memory [SDM 3A 3.4.5, 3.5]
 */
#ifndef CPU_SOFT_DESC_H
#define CPU_SOFT_DESC_H

#include "cpu/soft/vcpu.h"

/* System descriptor and gate types. */
enum {
	DT_TSS16 = 1, DT_LDT = 2, DT_TSS16_BUSY = 3, DT_CALL16 = 4, DT_TASK_GATE = 5,
	DT_INT16 = 6, DT_TRAP16 = 7, DT_TSS32 = 9, DT_TSS32_BUSY = 11, DT_CALL32 = 12,
	DT_INT32 = 14, DT_TRAP32 = 15,
};

struct desc {
	u64 la;	    /* where it lies */
	u32 lo, hi; /* the first eight bytes */
	u64 upper;  /* bytes 8..15 of a system descriptor in IA-32e mode */
	u16 sel;
};

static inline u32 desc_attr(const struct desc *d)
{
	return (d->hi >> 8) & 0xf0ff;
}

static inline u8 desc_dpl(const struct desc *d)
{
	return (d->hi >> 13) & 3;
}

static inline u8 desc_type(const struct desc *d) /* with S: 0..31 */
{
	return (d->hi >> 8) & 0x1f;
}

static inline bool desc_present(const struct desc *d)
{
	return d->hi & BIT(15);
}

static inline bool desc_is_code(const struct desc *d)
{
	return (desc_type(d) & (SA_S | SA_CODE)) == (SA_S | SA_CODE);
}

static inline bool desc_is_writable_data(const struct desc *d)
{
	return (desc_type(d) & (SA_S | SA_CODE | SA_RW)) == (SA_S | SA_RW);
}

static inline bool desc_is_conforming(const struct desc *d)
{
	return (desc_type(d) & (SA_S | SA_CODE | SA_DC)) == (SA_S | SA_CODE | SA_DC);
}

u32 desc_limit(const struct desc *d); /* bytes, granularity applied */
u32 desc_base32(const struct desc *d);
u64 desc_base64(const struct desc *d); /* system descriptor, IA-32e */

/* A gate: target selector and offset (64 bits wide in IA-32e mode). */
u16 gate_sel(const struct desc *d);
u64 gate_offset(const struct vcpu *v, const struct desc *d);

/*
 * Read the descriptor @sel names. Beyond its table: raise @vector (#GP, #TS)
 * with error code (sel & ~3) | @ext. Null selectors are the caller's to check.
 */
int desc_read(struct vcpu *v, u16 sel, u8 vector, u32 ext, struct desc *ret);

/* The same, without raising anything but #PF; *ret_ok = inside its table. */
int desc_try_read(struct vcpu *v, u16 sel, struct desc *ret, bool *ret_ok);

/* Bytes 8..15 of a system descriptor in IA-32e mode; checks the table's limit like desc_read(). */
int desc_read_upper(struct vcpu *v, struct desc *d, u8 vector, u32 ext);

int desc_set_accessed(struct vcpu *v, struct desc *d);

/* Set or clear the busy bit of a TSS descriptor in memory. */
int desc_set_busy(struct vcpu *v, struct desc *d, bool busy);

/* Put a code or data descriptor into a segment register's cache. */
void seg_from_desc(struct x86_seg *ret, u16 sel, const struct desc *d);
void seg_set_null(struct x86_seg *ret, u16 sel);

static inline int raise_sel(struct vcpu *v, u8 vector, u16 sel, u32 ext)
{
	return raise_err(v, vector, (sel & 0xfffc) | ext);
}

/* -- a stack being built or taken apart that may not be the current one ------------- */

struct stack {
	struct x86_seg ss;
	u64 sp;
	u64 mask; /* stack_mask() of ss */
	u8 cpl;	  /* privilege of the accesses */
	bool flat; /* 64-bit: no base, no limit, canonical check only */
	u32 ext;   /* EXT bit for the error code of a limit violation */
};

void stack_current(const struct vcpu *v, struct stack *ret);
u64 stack_mask_of(const struct x86_seg *ss);
int stack_push(struct vcpu *v, struct stack *s, unsigned size, u64 val);
int stack_pop(struct vcpu *v, struct stack *s, unsigned size, u64 *ret);
u64 stack_merge_sp(const struct vcpu *v, const struct stack *s); /* value for rsp */

/* -- far transfers shared by op_far.c, excp.c and tss.c ------------------------------- */

/* Stack of privilege @cpl from the TSS; 64-bit: RSPn (ist 0) or ISTn. */
int tss_stack(struct vcpu *v, u8 cpl, u32 ext, u16 *ret_ss, u64 *ret_sp);
int tss_stack64(struct vcpu *v, u8 cpl, u8 ist, u32 ext, u64 *ret_sp);

/* Check and cache the stack segment of an inner privilege: #TS. */
int load_inner_ss(struct vcpu *v, u16 sel, u8 cpl, u32 ext, struct x86_seg *ret);

enum task_switch { TASK_JMP, TASK_CALL, TASK_IRET, TASK_GATE_INT };

/*
 * Switch to the task whose TSS @sel names [SDM 3A 7.3]. @ret_ip is saved in the
 * old TSS. @error: pushed on the new task's stack, NULL = none. On X_OK
 * v->next_rip is the new task's EIP.
 */
int task_switch(struct vcpu *v, u16 sel, enum task_switch why, u64 ret_ip, const u32 *error,
		u32 ext);

/* Is @port open in the current TSS's I/O permission bitmap? #GP(0) if not. */
int tss_check_io(struct vcpu *v, u16 port, unsigned size);

#endif
