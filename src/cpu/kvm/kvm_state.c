// SPDX-License-Identifier: Apache-2.0
/*
 * kvm_state.c - struct x86_state to KVM's several structs and back [KVM 4.11 to 4.42]
 *
 * An exception or interrupt that KVM was about to deliver is not part of struct
 * x86_state: exceptions come again when the instruction is run again, an interrupt
 * goes back to the local APIC's request register (kvm_chips.c).
 */
#include "cpu/kvm/kvm_int.h"

#include "base/bits.h"
#include "mem/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -- registers and segments -------------------------------------------------------------- */

#define REGS(X)                                                                                    \
	X(rax, RAX)                                                                                \
	X(rcx, RCX) X(rdx, RDX) X(rbx, RBX) X(rsp, RSP) X(rbp, RBP) X(rsi, RSI) X(rdi, RDI)        \
		X(r8, R8) X(r9, R9) X(r10, R10) X(r11, R11) X(r12, R12) X(r13, R13) X(r14, R14)    \
			X(r15, R15)

static void get_regs(struct x86_state *s, const struct kvm_regs *r)
{
#define GET(name, n) s->gpr[n] = r->name;
	REGS(GET)
#undef GET
	s->rip = r->rip;
	s->rflags = r->rflags;
}

static void put_regs(struct kvm_regs *r, const struct x86_state *s)
{
#define PUT(name, n) r->name = s->gpr[n];
	REGS(PUT)
#undef PUT
	r->rip = s->rip;
	r->rflags = s->rflags;
}

static struct x86_seg get_seg(const struct kvm_segment *k)
{
	return (struct x86_seg){
		.base = k->base,
		.limit = k->limit,
		.sel = k->selector,
		.attr = k->type | (k->s ? SA_S : 0) | (u32)k->dpl << SA_DPL_SHIFT |
			(k->present ? SA_P : 0) | (k->avl ? SA_AVL : 0) | (k->l ? SA_L : 0) |
			(k->db ? SA_DB : 0) | (k->g ? SA_G : 0) | (k->unusable ? SA_UNUSABLE : 0),
	};
}

static struct kvm_segment put_seg(const struct x86_seg *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->sel,
		.type = s->attr & SA_TYPE,
		.s = !!(s->attr & SA_S),
		.dpl = (s->attr & SA_DPL) >> SA_DPL_SHIFT,
		.present = !!(s->attr & SA_P),
		.avl = !!(s->attr & SA_AVL),
		.l = !!(s->attr & SA_L),
		.db = !!(s->attr & SA_DB),
		.g = !!(s->attr & SA_G),
		.unusable = !!(s->attr & SA_UNUSABLE),
	};
}

/* clang-format off */
#define SEGS(X) \
	X(es, seg[SEG_ES]) X(cs, seg[SEG_CS]) X(ss, seg[SEG_SS]) X(ds, seg[SEG_DS]) \
	X(fs, seg[SEG_FS]) X(gs, seg[SEG_GS]) X(ldt, ldtr) X(tr, tr)
/* clang-format on */

#define CRS(X) X(cr0) X(cr2) X(cr3) X(cr4) X(efer)

static void get_sregs(struct x86_state *s, const struct kvm_sregs *k)
{
#define GET(name, member) s->member = get_seg(&k->name);
	SEGS(GET)
#undef GET
#define GET(name) s->name = k->name;
	CRS(GET)
#undef GET
	s->gdtr = (struct x86_dtr){ k->gdt.base, k->gdt.limit };
	s->idtr = (struct x86_dtr){ k->idt.base, k->idt.limit };
}

/* What is not in struct x86_state (CR8, APIC_BASE) keeps its value. */
static void put_sregs(struct kvm_sregs *k, const struct x86_state *s)
{
#define PUT(name, member) k->name = put_seg(&s->member);
	SEGS(PUT)
#undef PUT
#define PUT(name) k->name = s->name;
	CRS(PUT)
#undef PUT
	k->gdt.base = s->gdtr.base;
	k->gdt.limit = s->gdtr.limit;
	k->idt.base = s->idtr.base;
	k->idt.limit = s->idtr.limit;
	memset(k->interrupt_bitmap, 0, sizeof k->interrupt_bitmap);
}

/* PAE paging: the processor's copies. KVM loads them from memory with CR3, as we do here. */
static void get_pdptes(const struct vcpu *v, struct x86_state *s)
{
	if ((s->cr0 & CR0_PG) && (s->cr4 & CR4_PAE) && !(s->efer & EFER_LMA) &&
	    !mem_read(v->vm->cfg.mem, s->cr3 & 0xffffffe0, s->pdpte, sizeof s->pdpte))
		memset(s->pdpte, 0, sizeof s->pdpte);
}

/* -- model-specific registers ------------------------------------------------------------ */

/* clang-format off */
#define M(nr, member) { nr, offsetof(struct x86_state, member) }
#define M_FIX(nr, n) M(nr, mtrr_fix[n])
#define M_VAR(n)     M(0x200 + 2 * (n), mtrr_base[n]), M(0x201 + 2 * (n), mtrr_mask[n])

static const struct {
	u32 nr;
	u16 off; /* in struct x86_state */
} msrs[] = {
	M(MSR_STAR, star), M(MSR_LSTAR, lstar), M(MSR_CSTAR, cstar), M(MSR_SFMASK, sfmask),
	M(MSR_KERNEL_GS_BASE, kernel_gs_base), M(MSR_SYSENTER_CS, sysenter_cs),
	M(MSR_SYSENTER_ESP, sysenter_esp), M(MSR_SYSENTER_EIP, sysenter_eip),
	M(MSR_TSC_AUX, tsc_aux), M(MSR_TSC_ADJUST, tsc_adjust), M(MSR_PAT, pat),
	M(MSR_MISC_ENABLE, misc_enable), M(MSR_SPEC_CTRL, spec_ctrl), M(MSR_XSS, xss),
	M_VAR(0), M_VAR(1), M_VAR(2), M_VAR(3), M_VAR(4), M_VAR(5), M_VAR(6), M_VAR(7),
	M_FIX(0x250, 0), M_FIX(0x258, 1), M_FIX(0x259, 2), M_FIX(0x268, 3), M_FIX(0x269, 4),
	M_FIX(0x26a, 5), M_FIX(0x26b, 6), M_FIX(0x26c, 7), M_FIX(0x26d, 8), M_FIX(0x26e, 9),
	M_FIX(0x26f, 10), M(MSR_MTRR_DEFTYPE, mtrr_deftype),
	M(MSR_KVM_WALL_CLOCK_NEW, kvm_wall_clock), M(MSR_KVM_SYSTEM_TIME_NEW, kvm_system_time),
	M(MSR_KVM_STEAL_TIME, kvm_steal_time),
};
/* clang-format on */

struct msr_list {
	struct kvm_msrs head;
	struct kvm_msr_entry entry[array_len(msrs)];
};

static u64 *msr_in(const struct x86_state *s, unsigned n)
{
	return (u64 *)(void *)((u8 *)s + msrs[n].off);
}

/* KVM stops at the first register it does not have: that one stays as it is, and we go on. */
static void get_msrs(struct vcpu *v, struct x86_state *s)
{
	struct msr_list l;
	unsigned first = 0;

	while (first < array_len(msrs)) {
		unsigned nr = array_len(msrs) - first;
		int done;

		l.head = (struct kvm_msrs){ .nmsrs = nr };
		for (unsigned n = 0; n < nr; n++)
			l.entry[n] = (struct kvm_msr_entry){ .index = msrs[first + n].nr };
		done = ioctl(v->fd, KVM_GET_MSRS, &l);
		for (int n = 0; n < done; n++)
			*msr_in(s, first + (unsigned)n) = l.entry[n].data;
		first += (done < 0 ? 0 : (unsigned)done) + 1;
	}
}

/* A register the host does not have may only hold what it has after power-on. */
static int put_msrs(struct vcpu *v, const struct x86_state *s, struct err *e)
{
	struct x86_state *old;
	struct msr_list l;
	unsigned first = 0;
	int r = 0;

	old = calloc(1, sizeof *old);
	if (!old)
		return err_set(e, ENOMEM, "cpu%u: out of memory", v->index);
	x86_state_reset(old, true);
	while (first < array_len(msrs) && !r) {
		unsigned nr = array_len(msrs) - first, at;
		int done;

		l.head = (struct kvm_msrs){ .nmsrs = nr };
		for (unsigned n = 0; n < nr; n++)
			l.entry[n] = (struct kvm_msr_entry){ .index = msrs[first + n].nr,
							     .data = *msr_in(s, first + n) };
		done = ioctl(v->fd, KVM_SET_MSRS, &l);
		at = first + (done < 0 ? 0 : (unsigned)done);
		if (at < array_len(msrs) && *msr_in(s, at) != *msr_in(old, at))
			r = err_set(e, EINVAL, "cpu%u: kvm refuses %#llx in MSR %#x", v->index,
				    (unsigned long long)*msr_in(s, at), msrs[at].nr);
		first = at + 1;
	}
	free(old);
	return r;
}

/* -- time-stamp counter ------------------------------------------------------------------ */

static u64 host_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

static void get_tsc(struct vcpu *v, struct x86_state *s)
{
	const struct kvm_device_attr a = { .group = KVM_VCPU_TSC_CTRL,
					   .attr = KVM_VCPU_TSC_OFFSET,
					   .addr = (u64)&s->tsc_offset };
	struct msr_list l = { .head.nmsrs = 1, .entry[0].index = MSR_TSC };

	if (v->vm->tsc_attr && ioctl(v->fd, KVM_GET_DEVICE_ATTR, &a) == 0)
		return;
	if (ioctl(v->fd, KVM_GET_MSRS, &l) == 1)
		s->tsc_offset = l.entry[0].data - host_tsc();
}

/* Older kernels know only "the counter is now": equal enough values are taken as the same. */
static int put_tsc(struct vcpu *v, const struct x86_state *s, struct err *e)
{
	u64 off = s->tsc_offset;
	const struct kvm_device_attr a = { .group = KVM_VCPU_TSC_CTRL,
					   .attr = KVM_VCPU_TSC_OFFSET,
					   .addr = (u64)&off };
	struct msr_list l = { .head.nmsrs = 1, .entry[0].index = MSR_TSC };

	if (v->vm->tsc_attr && ioctl(v->fd, KVM_SET_DEVICE_ATTR, &a) == 0)
		return 0;
	l.entry[0].data = host_tsc() + off;
	return kvm_ctl(v->fd, KVM_SET_MSRS, &l, "time-stamp counter", e) < 0 ? -e->code : 0;
}

/* -- floating point, debug registers ----------------------------------------------------- */

static int put_fp(struct vcpu *v, const struct x86_state *s, struct err *e)
{
	struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs[0].value = s->xcr0 };
	struct kvm_xsave *area = calloc(1, sizeof *area);
	int r;

	if (!area)
		return err_set(e, ENOMEM, "cpu%u: out of memory", v->index);
	memcpy(area, s->xsave, sizeof s->xsave);
	r = kvm_ctl(v->fd, KVM_SET_XCRS, &x, "XCR0", e);
	if (r >= 0)
		r = kvm_ctl(v->fd, KVM_SET_XSAVE, area, "vector registers", e);
	free(area);
	return r;
}

static void get_fp(struct vcpu *v, struct x86_state *s)
{
	struct kvm_xsave *area = calloc(1, sizeof *area);
	struct kvm_xcrs x = { 0 };

	if (area && ioctl(v->fd, KVM_GET_XSAVE, area) == 0)
		memcpy(s->xsave, area, sizeof s->xsave);
	if (ioctl(v->fd, KVM_GET_XCRS, &x) == 0)
		for (u32 n = 0; n < x.nr_xcrs && n < KVM_MAX_XCRS; n++)
			if (x.xcrs[n].xcr == 0)
				s->xcr0 = x.xcrs[n].value;
	free(area);
}

static int put_debug(struct vcpu *v, const struct x86_state *s, struct err *e)
{
	struct kvm_debugregs d = { .dr6 = s->dr6, .dr7 = s->dr7 };

	memcpy(d.db, s->dr, sizeof d.db);
	return kvm_ctl(v->fd, KVM_SET_DEBUGREGS, &d, "debug registers", e);
}

static void get_debug(struct vcpu *v, struct x86_state *s)
{
	struct kvm_debugregs d = { 0 };

	if (ioctl(v->fd, KVM_GET_DEBUGREGS, &d) < 0)
		return;
	memcpy(s->dr, d.db, sizeof s->dr);
	s->dr6 = d.dr6;
	s->dr7 = d.dr7;
}

/* -- events and activity ----------------------------------------------------------------- */

static int put_events(struct vcpu *v, const struct x86_state *s, struct err *e)
{
	static const u32 activity[] = {
		[ACT_RUNNING] = KVM_MP_STATE_RUNNABLE,
		[ACT_HALTED] = KVM_MP_STATE_HALTED,
		[ACT_WAIT_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
	};
	const struct kvm_vcpu_events ev = {
		.interrupt.shadow = (s->shadow_sti ? KVM_X86_SHADOW_INT_STI : 0) |
				    (s->shadow_ss ? KVM_X86_SHADOW_INT_MOV_SS : 0),
		.nmi.pending = s->nmi_pending,
		.nmi.masked = s->nmi_blocked,
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
	};
	const struct kvm_mp_state mp = { .mp_state = activity[s->activity % 3] };

	TRY(kvm_ctl(v->fd, KVM_SET_VCPU_EVENTS, &ev, "events", e));
	return kvm_ctl(v->fd, KVM_SET_MP_STATE, &mp, "activity", e);
}

static void get_events(struct vcpu *v, struct x86_state *s)
{
	struct kvm_vcpu_events ev = { 0 };
	struct kvm_mp_state mp = { 0 };

	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev) == 0) {
		s->shadow_sti = ev.interrupt.shadow & KVM_X86_SHADOW_INT_STI;
		s->shadow_ss = ev.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS;
		s->nmi_pending = ev.nmi.pending || ev.nmi.injected;
		s->nmi_blocked = ev.nmi.masked && !ev.nmi.injected;
	}
	if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0)
		return;
	if (mp.mp_state == KVM_MP_STATE_HALTED)
		s->activity = ACT_HALTED;
	else if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED ||
		 mp.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		s->activity = ACT_WAIT_SIPI;
}

/* -- the whole --------------------------------------------------------------------------- */

void kvm_get_state(struct vcpu *v, struct x86_state *ret)
{
	struct kvm_regs regs = { 0 };
	struct kvm_sregs sregs = { 0 };

	*ret = (struct x86_state){ .activity = ACT_RUNNING };
	(void)ioctl(v->fd, KVM_GET_REGS, &regs);
	(void)ioctl(v->fd, KVM_GET_SREGS, &sregs);
	get_regs(ret, &regs);
	get_sregs(ret, &sregs);
	get_pdptes(v, ret);
	get_fp(v, ret);
	get_debug(v, ret);
	get_msrs(v, ret);
	get_tsc(v, ret);
	get_events(v, ret);
}

int kvm_set_state(struct vcpu *v, const struct x86_state *s, struct err *e)
{
	struct kvm_regs regs = { 0 };
	struct kvm_sregs sregs = { 0 };

	TRY(kvm_ctl(v->fd, KVM_GET_SREGS, &sregs, "registers", e));
	put_sregs(&sregs, s);
	put_regs(&regs, s);
	TRY(kvm_ctl(v->fd, KVM_SET_SREGS, &sregs, "system registers", e));
	TRY(kvm_ctl(v->fd, KVM_SET_REGS, &regs, "registers", e));
	TRY(put_fp(v, s, e));
	TRY(put_debug(v, s, e));
	TRY(put_tsc(v, s, e));
	TRY(put_msrs(v, s, e));
	TRY(put_events(v, s, e));
	v->extint = !kvm_has_board(v->vm); /* ask our PIC once */
	return 0;
}
