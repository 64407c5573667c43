// SPDX-License-Identifier: Apache-2.0
/*
 * op_alu.c - arithmetic: two-operand ALU, INC/DEC, multiply and divide,
 * compare-and-exchange, decimal adjust [SDM 2]
 */
#include "cpu/soft/op_int.h"
#include "cpu/soft/opnd.h"
#include "cpu/soft/quirks.h"
#include "cpu/soft/tlb.h"

static alu_fn *native(enum native_op op, unsigned size)
{
	return native_ops[op][size_log2(size)];
}

/* -- ADD OR ADC SBB AND SUB XOR CMP TEST ----------------------------------------- */

/* Compare-like operations read, the others modify. */
static int alu_rm(struct vcpu *v, const struct insn *i, enum native_op op, unsigned size, u64 b)
{
	struct rmw m = { .fn = native(op, size), .b = b };
	u64 a;

	if (op != NAT_CMP && op != NAT_TEST)
		return rm_modify(v, i, size, &m);
	TRY(rm_read(v, i, size, &a));
	m.fn(a, b, 0, &v->s.rflags);
	return X_OK;
}

int op_alu_rm_r(struct vcpu *v, const struct insn *i)
{
	unsigned size = size_by_bit0(i);

	return alu_rm(v, i, i->op >> 3 & 7, size, reg_get(v, i, i->reg, size));
}

int op_alu_rm_imm(struct vcpu *v, const struct insn *i)
{
	return alu_rm(v, i, modrm_ext(i), size_by_bit0(i), i->imm);
}

int op_alu_r_rm(struct vcpu *v, const struct insn *i)
{
	enum native_op op = i->op >> 3 & 7;
	unsigned size = size_by_bit0(i);
	u64 a = reg_get(v, i, i->reg, size), b, r;

	TRY(rm_read(v, i, size, &b));
	r = native(op, size)(a, b, 0, &v->s.rflags);
	if (op != NAT_CMP)
		reg_set(v, i, i->reg, size, r);
	return X_OK;
}

int op_alu_acc_imm(struct vcpu *v, const struct insn *i)
{
	enum native_op op = i->op >> 3 & 7;
	unsigned size = size_by_bit0(i);
	u64 r = native(op, size)(v->s.gpr[RAX], i->imm, 0, &v->s.rflags);

	if (op != NAT_CMP)
		gpr_set(v, RAX, size, r);
	return X_OK;
}

int op_test_rm_r(struct vcpu *v, const struct insn *i)
{
	unsigned size = size_by_bit0(i);

	return alu_rm(v, i, NAT_TEST, size, reg_get(v, i, i->reg, size));
}

int op_test_acc_imm(struct vcpu *v, const struct insn *i)
{
	native(NAT_TEST, size_by_bit0(i))(v->s.gpr[RAX], i->imm, 0, &v->s.rflags);
	return X_OK;
}

int op_incdec_r(struct vcpu *v, const struct insn *i)
{
	unsigned r = i->op & 7;
	alu_fn *fn = native(i->op < 0x48 ? NAT_INC : NAT_DEC, i->opsize);

	gpr_set(v, r, i->opsize, fn(v->s.gpr[r], 0, 0, &v->s.rflags));
	return X_OK;
}

int op_incdec_rm(struct vcpu *v, const struct insn *i)
{
	return alu_rm(v, i, modrm_ext(i) ? NAT_DEC : NAT_INC, size_by_bit0(i), 0);
}

/* ADCX, ADOX */
int op_adx(struct vcpu *v, const struct insn *i)
{
	unsigned size = i->w ? 8 : 4;
	u64 b;

	if (!guest_has(v, CPUF_ADX))
		return raise_ex(v, EX_UD);
	TRY(rm_read(v, i, size, &b));
	reg_set(v, i, i->reg, size,
		native(i->rep == 0xf3 ? NAT_ADOX : NAT_ADCX, size)(
			reg_get(v, i, i->reg, size), b, 0, &v->s.rflags));
	return X_OK;
}

int op_crc32(struct vcpu *v, const struct insn *i)
{
	unsigned size = i->op == 0xf0 ? 1 : i->w ? 8 : i->opsz ? 2 : 4;
	u64 val;

	TRY(rm_read(v, i, size, &val));
	v->s.gpr[i->reg & 15] = native_crc32(v->s.gpr[i->reg & 15], val, size);
	return X_OK;
}

/* -- multiply and divide ------------------------------------------------------------ */

static void run_muldiv(struct vcpu *v, muldiv_fn *fn, u64 src)
{
	struct muldiv m = { v->s.gpr[RAX], v->s.gpr[RDX], v->s.rflags };

	fn(&m, src);
	v->s.gpr[RAX] = m.rax;
	v->s.gpr[RDX] = m.rdx;
	v->s.rflags = m.fl;
}

/* Dividend rdx:rax (AX for bytes), sign- or zero-extended to 128 bits. */
static unsigned __int128 dividend(const struct vcpu *v, unsigned size, bool sign)
{
	u64 lo = gpr_get(v, RAX, size), hi = gpr_get(v, RDX, size), all;

	if (size == 8)
		return (unsigned __int128)hi << 64 | lo;
	all = size == 1 ? gpr_get(v, RAX, 2) : hi << (8 * size) | lo;
	return sign ? (unsigned __int128)(__int128)(i64)sext_bytes(all, 2 * size) : all;
}

static bool div_overflows(const struct vcpu *v, unsigned size, u64 d)
{
	unsigned __int128 n = dividend(v, size, false);

	return !d || n >> (8 * size) >= d;
}

/* |n| / |d| must not exceed 2^(bits-1) - 1, or 2^(bits-1) for a negative quotient. */
static bool idiv_overflows(const struct vcpu *v, unsigned size, u64 d)
{
	unsigned __int128 n = dividend(v, size, true);
	u64 sd = sext_bytes(d, size), q;
	bool n_neg = (u64)(n >> 64) >> 63, d_neg = sd >> 63;

	if (n_neg)
		n = -n;
	if (d_neg)
		sd = -sd;
	if (!sd || (u64)(n >> 64) >= sd)
		return true;
	__asm__("divq %[d]" : "=a"(q) : "a"((u64)n), "d"((u64)(n >> 64)), [d] "r"(sd) : "cc");
	return q > (mask_bytes(size) >> 1) + (n_neg != d_neg);
}

static int divide(struct vcpu *v, unsigned size, bool sign, u64 d)
{
	if (sign ? idiv_overflows(v, size, d) : div_overflows(v, size, d))
		return raise_ex(v, EX_DE);
	run_muldiv(v, (sign ? native_idiv : native_div)[size_log2(size)], d);
	return X_OK;
}

/* F6, F7: TEST NOT NEG MUL IMUL DIV IDIV */
int op_grp3(struct vcpu *v, const struct insn *i)
{
	unsigned size = size_by_bit0(i), ext = modrm_ext(i);
	u64 src;

	if (ext < 2)
		return alu_rm(v, i, NAT_TEST, size, i->imm);
	if (ext < 4)
		return alu_rm(v, i, ext == 2 ? NAT_NOT : NAT_NEG, size, 0);
	TRY(rm_read(v, i, size, &src));
	if (ext >= 6)
		return divide(v, size, ext == 7, src);
	run_muldiv(v, (ext == 5 ? native_imul1 : native_mul)[size_log2(size)], src);
	return X_OK;
}

int op_imul_r_rm(struct vcpu *v, const struct insn *i)
{
	u64 b;

	TRY(rm_read(v, i, i->opsize, &b));
	reg_set(v, i, i->reg, i->opsize,
		native(NAT_IMUL, i->opsize)(reg_get(v, i, i->reg, i->opsize), b, 0, &v->s.rflags));
	return X_OK;
}

int op_imul_r_rm_imm(struct vcpu *v, const struct insn *i)
{
	u64 b;

	TRY(rm_read(v, i, i->opsize, &b));
	reg_set(v, i, i->reg, i->opsize,
		native(NAT_IMUL, i->opsize)(b, i->imm, 0, &v->s.rflags));
	return X_OK;
}

/* -- XADD, CMPXCHG ------------------------------------------------------------------ */

/* XADD r,r with both the same: the sum wins. */
int op_xadd(struct vcpu *v, const struct insn *i)
{
	unsigned size = size_by_bit0(i);
	struct rmw m = { .fn = native(NAT_ADD, size), .b = reg_get(v, i, i->reg, size) };
	u64 sum;

	if (i->is_mem) {
		TRY(rm_modify(v, i, size, &m));
		reg_set(v, i, i->reg, size, m.old);
		return X_OK;
	}
	m.old = reg_get(v, i, i->rm, size);
	sum = m.fn(m.old, m.b, 0, &v->s.rflags);
	reg_set(v, i, i->reg, size, m.old);
	reg_set(v, i, i->rm, size, sum);
	return X_OK;
}

/* The write of CMPXCHG: c (the accumulator) is compared with the destination. */
#define CMPXCHG(bits)                                                                              \
	static u64 cmpxchg_##bits(u64 a, u64 b, u64 c, u64 *fl)                                    \
	{                                                                                          \
		native_ops[NAT_CMP][size_log2(bits / 8)](c, a, 0, fl);                             \
		return *fl & FL_ZF ? b : a;                                                        \
	}
CMPXCHG(8)
CMPXCHG(16)
CMPXCHG(32)
CMPXCHG(64)

int op_cmpxchg(struct vcpu *v, const struct insn *i)
{
	static alu_fn *const fns[4] = { cmpxchg_8, cmpxchg_16, cmpxchg_32, cmpxchg_64 };
	unsigned size = size_by_bit0(i);
	struct rmw m = { .fn = fns[size_log2(size)], .b = reg_get(v, i, i->reg, size),
			 .c = gpr_get(v, RAX, size) };
	u64 val;

	if (i->is_mem) {
		TRY(rm_modify(v, i, size, &m));
	} else { /* a failed compare leaves a register destination alone, upper half included */
		m.old = reg_get(v, i, i->rm, size);
		val = m.fn(m.old, m.b, m.c, &v->s.rflags);
		if (v->s.rflags & FL_ZF)
			reg_set(v, i, i->rm, size, val);
	}
	if (!(v->s.rflags & FL_ZF))
		gpr_set(v, RAX, size, m.old);
	return X_OK;
}

static u64 cmpxchg8b(u64 a, u64 b, u64 c, u64 *fl)
{
	*fl = a == c ? *fl | FL_ZF : *fl & ~(u64)FL_ZF;
	return a == c ? b : a;
}

static u64 pair32(const struct vcpu *v, unsigned hi, unsigned lo)
{
	return v->s.gpr[hi] << 32 | (u32)v->s.gpr[lo];
}

/* Not RAM: no atomicity to keep. */
static int cmpxchg16b_io(struct vcpu *v, u64 la, u64 old[2], bool *ret)
{
	TRY(lin_check(v, la, 16, ACC_W));
	TRY(lin_read(v, la, 8, &old[0]));
	TRY(lin_read(v, la + 8, 8, &old[1]));
	*ret = old[0] == v->s.gpr[RAX] && old[1] == v->s.gpr[RDX];
	TRY(lin_write(v, la, 8, *ret ? v->s.gpr[RBX] : old[0]));
	return lin_write(v, la + 8, 8, *ret ? v->s.gpr[RCX] : old[1]);
}

static bool host_cmpxchg16b(struct vcpu *v, u8 *p, u64 old[2])
{
	bool equal;

	__asm__ volatile("lock cmpxchg16b %[m]"
			 : [m] "+m"(*(unsigned __int128 *)(void *)p), "+a"(old[0]), "+d"(old[1]),
			   "=@ccz"(equal)
			 : "b"(v->s.gpr[RBX]), "c"(v->s.gpr[RCX])
			 : "memory");
	return equal;
}

static int cmpxchg16b(struct vcpu *v, const struct insn *i)
{
	u64 la, old[2] = { v->s.gpr[RAX], v->s.gpr[RDX] };
	struct xlate x;
	bool equal;
	u8 *p;

	TRY(insn_linear(v, i, 16, ACC_W, &la));
	if (la % 16)
		return raise_err(v, EX_GP, 0);
	TRY(lin_ptr(v, la, 16, ACC_W, &p));
	TRY(mmu_translate(v, la, ACC_W, mmu_data_mode(v), &x));
	if (x.host) {
		equal = host_cmpxchg16b(v, x.host, old);
		if (!p) /* a page with translated code */
			code_written(v, x.gpa, 16);
	} else {
		TRY(cmpxchg16b_io(v, la, old, &equal));
	}
	v->s.gpr[RAX] = old[0];
	v->s.gpr[RDX] = old[1];
	v->s.rflags = (v->s.rflags & ~(u64)FL_ZF) | (equal ? FL_ZF : 0);
	return X_OK;
}

/* 0F C7 /1 */
int op_cmpxchg8b(struct vcpu *v, const struct insn *i)
{
	struct rmw m = { .fn = cmpxchg8b, .b = pair32(v, RCX, RBX), .c = pair32(v, RDX, RAX) };

	if (!i->is_mem || modrm_ext(i) != 1)
		return raise_ex(v, EX_UD);
	if (i->w)
		return cmpxchg16b(v, i);
	TRY(rm_modify(v, i, 8, &m));
	if (!(v->s.rflags & FL_ZF)) {
		v->s.gpr[RAX] = (u32)m.old;
		v->s.gpr[RDX] = m.old >> 32;
	}
	return X_OK;
}

/* -- decimal and ASCII adjust --------------------------------------------------------------- */

/* @fl: the flags of the arithmetic; @carries: AF and CF. */
static void set_adjust_flags(struct vcpu *v, u64 fl, u64 carries)
{
	if (quirks()->adjust_flags_of_al)
		native(NAT_TEST, 1)(v->s.gpr[RAX], 0xff, 0, &fl);
	v->s.rflags = (fl & ~(u64)(FL_AF | FL_CF)) | carries;
}

/* AL = AL + n (or - n); *fl = the flags of that byte operation. */
static u8 adjust_al(struct vcpu *v, enum native_op op, u8 n, u64 *fl)
{
	u8 r;

	*fl = v->s.rflags;
	r = native(op, 1)((u8)v->s.gpr[RAX], n, 0, fl);
	gpr_set(v, RAX, 1, r);
	return r;
}

static int decimal_adjust(struct vcpu *v, enum native_op op)
{
	u8 al = v->s.gpr[RAX], n = 0;
	u64 carries = 0, fl;

	if ((al & 0xf) > 9 || v->s.rflags & FL_AF) {
		n = 6;
		carries = FL_AF | (op == NAT_SUB && al < 6 ? FL_CF : 0);
	}
	if (al > 0x99 || v->s.rflags & FL_CF) {
		n += 0x60;
		carries |= FL_CF;
	}
	adjust_al(v, op, n, &fl);
	set_adjust_flags(v, fl, carries);
	return X_OK;
}

int op_daa(struct vcpu *v, const struct insn *i UNUSED)
{
	return decimal_adjust(v, NAT_ADD);
}

int op_das(struct vcpu *v, const struct insn *i UNUSED)
{
	return decimal_adjust(v, NAT_SUB);
}

/* The flags are those of the 16-bit operation on AX, before AL is cut to a digit. */
static int ascii_adjust(struct vcpu *v, enum native_op op)
{
	u64 fl = v->s.rflags, carries = 0, ax;
	u16 step = 0;

	if ((v->s.gpr[RAX] & 0xf) > 9 || fl & FL_AF) {
		step = 0x106;
		carries = FL_AF | FL_CF;
	}
	ax = native(op, 2)(v->s.gpr[RAX], step, 0, &fl);
	gpr_set(v, RAX, 2, ax & 0xff0f);
	set_adjust_flags(v, fl, carries);
	return X_OK;
}

int op_aaa(struct vcpu *v, const struct insn *i UNUSED)
{
	return ascii_adjust(v, NAT_ADD);
}

int op_aas(struct vcpu *v, const struct insn *i UNUSED)
{
	return ascii_adjust(v, NAT_SUB);
}

int op_aam(struct vcpu *v, const struct insn *i)
{
	u8 al = v->s.gpr[RAX], base = i->imm;

	if (!base)
		return raise_ex(v, EX_DE);
	gpr_set(v, RAX, 2, (u64)(al / base) << 8 | al % base);
	native(NAT_TEST, 1)(v->s.gpr[RAX], 0xff, 0, &v->s.rflags);
	v->s.rflags &= ~(u64)FL_AF;
	return X_OK;
}

int op_aad(struct vcpu *v, const struct insn *i)
{
	u8 ah = v->s.gpr[RAX] >> 8;
	u64 fl;

	gpr_set(v, RAX, 2, adjust_al(v, NAT_ADD, ah * (u8)i->imm, &fl));
	v->s.rflags = fl;
	return X_OK;
}
