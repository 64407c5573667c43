// SPDX-License-Identifier: Apache-2.0
/*
 * opnd.c - operands of integer instructions: registers, memory, read-modify-write
 */
#include "cpu/soft/opnd.h"

#include "cpu/soft/smp.h"
#include "cpu/soft/tlb.h"

int rm_read(struct vcpu *v, const struct insn *i, unsigned size, u64 *ret)
{
	u64 la;

	if (!i->is_mem) {
		*ret = reg_get(v, i, i->rm, size);
		return X_OK;
	}
	TRY(insn_linear(v, i, size, ACC_R, &la));
	return lin_read(v, la, size, ret);
}

int rm_write(struct vcpu *v, const struct insn *i, unsigned size, u64 val)
{
	u64 la;

	if (!i->is_mem) {
		reg_set(v, i, i->rm, size, val);
		return X_OK;
	}
	TRY(insn_linear(v, i, size, ACC_W, &la));
	return lin_write(v, la, size, val & mask_bytes(size));
}

/* Guest operands have any alignment. */
typedef u16 u16_any __attribute__((aligned(1), may_alias));
typedef u32 u32_any __attribute__((aligned(1), may_alias));
typedef u64 u64_any __attribute__((aligned(1), may_alias));

static u64 host_load(u8 *p, unsigned size)
{
	switch (size) {
	case 1:
		return *(volatile u8 *)p;
	case 2:
		return *(volatile u16_any *)p;
	case 4:
		return *(volatile u32_any *)p;
	default:
		return *(volatile u64_any *)p;
	}
}

static void host_store(u8 *p, unsigned size, u64 val)
{
	switch (size) {
	case 1:
		*(volatile u8 *)p = val;
		break;
	case 2:
		*(volatile u16_any *)p = val;
		break;
	case 4:
		*(volatile u32_any *)p = val;
		break;
	default:
		*(volatile u64_any *)p = val;
	}
}

/* C11 atomics want aligned objects; the instruction does not. */
#define HOST_CAS(text, T)                                                                          \
	__asm__ volatile("lock cmpxchg" text                                                       \
			 : "=@ccz"(done), "+m"(*(T *)p), "+a"(old)                                 \
			 : [val] "r"(val)                                                          \
			 : "memory", "cc")

static bool host_cas(u8 *p, unsigned size, u64 old, u64 val)
{
	bool done;

	switch (size) {
	case 1:
		HOST_CAS("b %b[val], %1", u8);
		break;
	case 2:
		HOST_CAS("w %w[val], %1", u16_any);
		break;
	case 4:
		HOST_CAS("l %k[val], %1", u32_any);
		break;
	default:
		HOST_CAS("q %[val], %1", u64_any);
	}
	return done;
}

/* On RAM at host address @p. */
static void host_modify(u8 *p, unsigned size, struct rmw *m, u64 *fl)
{
	u64 fl_in = *fl, val;

	do {
		*fl = fl_in;
		m->old = host_load(p, size);
		val = m->fn(m->old, m->b, m->c, fl);
		if (!m->lock) {
			host_store(p, size, val);
			return;
		}
	} while (!host_cas(p, size, m->old, val));
}

/*
 * lin_ptr() refused: the page may hold translated code and a lock at once. Other vCPUs must still
 * see an atomic update. *ret is false if this is not RAM in one page.
 */
static int locked_in_code_page(struct vcpu *v, u64 la, unsigned size, struct rmw *m, u64 *fl,
			       bool *ret)
{
	struct xlate x;

	*ret = false;
	if (la % MEM_PAGE + size > MEM_PAGE)
		return X_OK;
	TRY(mmu_translate(v, la, ACC_W, mmu_data_mode(v), &x));
	if (!x.host)
		return X_OK;
	host_modify(x.host, size, m, fl);
	if (mem_code_map(v->mem)[x.gpa / MEM_PAGE])
		code_written(v, x.gpa, size);
	*ret = true;
	return X_OK;
}

/* Access by access: not RAM, or across a page boundary. */
static int modify_slowly(struct vcpu *v, u64 la, unsigned size, struct rmw *m, u64 *fl)
{
	u64 val;

	TRY(lin_check(v, la, size, ACC_W));
	TRY(lin_read(v, la, size, &m->old));
	val = m->fn(m->old, m->b, m->c, fl);
	return lin_write(v, la, size, val & mask_bytes(size));
}

static int modify_alone(struct vcpu *v, u64 la, unsigned size, struct rmw *m, u64 *fl)
{
	int r;

	smp_stop_others(v);
	r = modify_slowly(v, la, size, m, fl);
	smp_go_others(v);
	return r;
}

int lin_modify(struct vcpu *v, u64 la, unsigned size, struct rmw *m)
{
	u64 fl = v->s.rflags;
	bool done = true;
	u8 *p;

	TRY(lin_ptr(v, la, size, ACC_W, &p));
	if (likely(p))
		host_modify(p, size, m, &fl);
	else if (m->lock)
		TRY(locked_in_code_page(v, la, size, m, &fl, &done));
	else
		done = false;
	if (!done && m->lock)
		TRY(modify_alone(v, la, size, m, &fl));
	else if (!done)
		TRY(modify_slowly(v, la, size, m, &fl));
	v->s.rflags = fl;
	return X_OK;
}

int rm_modify(struct vcpu *v, const struct insn *i, unsigned size, struct rmw *m)
{
	u64 la;

	if (!i->is_mem) {
		m->old = reg_get(v, i, i->rm, size);
		reg_set(v, i, i->rm, size, m->fn(m->old, m->b, m->c, &v->s.rflags));
		return X_OK;
	}
	m->lock |= i->lock;
	TRY(insn_linear(v, i, size, ACC_W, &la));
	return lin_modify(v, la, size, m);
}

bool condition(u64 fl, unsigned cc)
{
	bool sf_ne_of = !(fl & FL_SF) != !(fl & FL_OF), r;

	switch (cc >> 1 & 7) {
	case 0:
		r = fl & FL_OF;
		break;
	case 1:
		r = fl & FL_CF;
		break;
	case 2:
		r = fl & FL_ZF;
		break;
	case 3:
		r = fl & (FL_CF | FL_ZF);
		break;
	case 4:
		r = fl & FL_SF;
		break;
	case 5:
		r = fl & FL_PF;
		break;
	case 6:
		r = sf_ne_of;
		break;
	default:
		r = sf_ne_of || fl & FL_ZF;
	}
	return r != (cc & 1);
}
