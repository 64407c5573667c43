// SPDX-License-Identifier: Apache-2.0
/* op_io.c - IN, OUT, INS, OUTS and the permission to use them [SDM 1 19.5] */
#include "cpu/soft/desc.h"
#include "cpu/soft/op_sys.h"

#define REP_CHUNK 256 /* iterations between looks at exit_req */

static int port_allowed(struct vcpu *v, u16 port, unsigned size)
{
	if (is_real(v) || (v->cpl <= iopl(v) && !is_vm86(v)))
		return X_OK;
	return tss_check_io(v, port, size);
}

static unsigned io_size(const struct insn *i)
{
	return i->opsize == 8 ? 4 : i->opsize;
}

static u16 port_of(const struct vcpu *v, const struct insn *i)
{
	return i->op >= 0xec ? (u16)v->s.gpr[RDX] : (u16)(i->imm & 0xff);
}

int op_in(struct vcpu *v, const struct insn *i)
{
	unsigned size = io_size(i);
	u16 port = port_of(v, i);

	TRY(port_allowed(v, port, size));
	set_gpr(v, RAX, size, io_in(v, port, size));
	return X_OK;
}

int op_out(struct vcpu *v, const struct insn *i)
{
	unsigned size = io_size(i);
	u16 port = port_of(v, i);

	TRY(port_allowed(v, port, size));
	io_out(v, port, size, get_gpr(v, RAX, size));
	return X_OK;
}

static void step_index(struct vcpu *v, unsigned reg, const struct insn *i, unsigned size)
{
	u64 step = v->s.rflags & FL_DF ? -(u64)size : size;

	set_gpr(v, reg, i->adsize, get_gpr(v, reg, i->adsize) + step);
}

static int ins_once(struct vcpu *v, const struct insn *i, u16 port, unsigned size)
{
	u64 la;

	TRY(seg_linear(v, SEG_ES, get_gpr(v, RDI, i->adsize), size, ACC_W, &la));
	TRY(lin_check(v, la, size, ACC_W)); /* before the device sees the read */
	TRY(lin_write(v, la, size, io_in(v, port, size)));
	step_index(v, RDI, i, size);
	return X_OK;
}

static int outs_once(struct vcpu *v, const struct insn *i, u16 port, unsigned size)
{
	u64 val;

	TRY(seg_read(v, i->mem_seg, get_gpr(v, RSI, i->adsize), size, &val));
	io_out(v, port, size, val);
	step_index(v, RSI, i, size);
	return X_OK;
}

static int string_io(struct vcpu *v, const struct insn *i,
		     int (*once)(struct vcpu *, const struct insn *, u16, unsigned))
{
	unsigned size = io_size(i);
	u16 port = (u16)v->s.gpr[RDX];

	TRY(port_allowed(v, port, size));
	if (!i->rep)
		return once(v, i, port, size);
	for (unsigned n = 0; n < REP_CHUNK; n++) {
		u64 left = get_gpr(v, RCX, i->adsize);

		if (!left)
			return X_OK;
		if (n && v->exit_req)
			break;
		TRY(once(v, i, port, size));
		set_gpr(v, RCX, i->adsize, left - 1);
	}
	v->in_rep = get_gpr(v, RCX, i->adsize) != 0;
	return X_OK;
}

int op_ins(struct vcpu *v, const struct insn *i)
{
	return string_io(v, i, ins_once);
}

int op_outs(struct vcpu *v, const struct insn *i)
{
	return string_io(v, i, outs_once);
}
