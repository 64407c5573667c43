// SPDX-License-Identifier: Apache-2.0
/*
 * pvclock.c - the KVM clock: time from the guest's TSC by a scale we publish
 * [Linux Documentation/virt/kvm/x86/msr.rst]
 *
 * The TSC is the host's plus a constant, so one pair (TSC at time 0, scale)
 * stays right for ever and is the same time on every vCPU: the record is
 * written when the guest asks for it, and again only if it moves its TSC.
 */
#include "cpu/soft/op_sys.h"
#include "cpu/soft/pvclock.h"
#include "cpu/soft/tlb.h"
#include "cpu/soft/walk.h"

#define PVCLOCK_TSC_STABLE 1

/* As in guest memory; little-endian, like the host. */
struct time_info {
	u32 version, pad0;
	u64 tsc_timestamp, system_time;
	u32 tsc_to_system_mul;
	i8 tsc_shift;
	u8 flags, pad1[2];
} PACKED;

struct wall_clock {
	u32 version, sec, nsec;
} PACKED;

struct scale {
	u32 mul;
	i8 shift;
};

/* ns = (cycles << shift) * mul >> 32; a negative shift goes right. */
static struct scale tsc_scale(void)
{
	u64 num = 1000000000, den = cpu_tsc_khz() * 1000;
	int shift = 0;

	for (; num >= den; shift++)
		den <<= 1;
	for (; num * 2 < den; shift--)
		num <<= 1;
	return (struct scale){ (u32)(((unsigned __int128)num << 32) / den), (i8)shift };
}

u64 pvclock_ns(u64 cycles)
{
	struct scale s = tsc_scale();

	cycles = s.shift < 0 ? cycles >> -s.shift : cycles << s.shift;
	return (u64)((unsigned __int128)cycles * s.mul >> 32);
}

static u64 clock_ns(struct vcpu *v)
{
	return pvclock_ns(guest_tsc(v) - v->s.tsc_offset - v->tsc_base);
}

void pv_write_guest(struct vcpu *v, gpa_t gpa, const void *buf, unsigned len)
{
	const u8 *p = buf;

	while (len) {
		unsigned room = 4096 - (gpa & 0xfff), n = len < room ? len : room;
		u8 *page = mmu_ram(v, gpa);

		if (page) {
			copy_bytes(page + (gpa & 0xfff), p, n);
			if (mem_code_map(v->mem)[gpa >> 12])
				code_written(v, gpa, n);
		}
		p += n, gpa += n, len -= n;
	}
}

void pvclock_update(struct vcpu *v)
{
	struct scale s = tsc_scale();
	struct time_info t = {
		.version = 2,
		.tsc_timestamp = v->tsc_base + v->s.tsc_offset,
		.tsc_to_system_mul = s.mul,
		.tsc_shift = s.shift,
		.flags = PVCLOCK_TSC_STABLE,
	};

	if (v->s.kvm_system_time & 1)
		pv_write_guest(v, v->s.kvm_system_time & ~1ull, &t, sizeof(t));
}

void pvclock_set_system_time(struct vcpu *v, u64 val)
{
	v->s.kvm_system_time = val;
	pvclock_update(v);
}

void pvclock_set_wall_clock(struct vcpu *v, u64 val)
{
	u64 boot = io_wall_ns(v) - clock_ns(v);
	struct wall_clock w = {
		.version = 2,
		.sec = (u32)(boot / 1000000000),
		.nsec = (u32)(boot % 1000000000),
	};

	v->s.kvm_wall_clock = val;
	pv_write_guest(v, val, &w, sizeof(w));
}
