// SPDX-License-Identifier: Apache-2.0
/* tlb_test.c - the translator's tables: where entries lie */
#include "base/test.h"
#include "cpu/soft/guestvm.h"
#include "cpu/soft/jit_int.h"

/* The gigabyte whose table entries are the last and the first of the table. */
static u64 wrapping_gigabyte(const struct vcpu *v)
{
	u64 la = v->jit ? (u64)(TABLE_ENTRIES - v->jit->bias) << 12 : 0;

	return (la & ~0x3fffffffull) | ~0ull << 41;
}

static u64 *pdpte(struct gv *g, u64 la)
{
	u64 pml4e = gv_get(g, GV_PML4 + (la >> 39 & 511) * 8, 8);

	return (void *)mem_ptr(g->mem, (pml4e & 0xffffffffff000ull) + (la >> 30 & 511) * 8, 8);
}

GUEST(touch_gigabyte, "mov (%rdi), %rax\nout %al, $0xf4\nhlt\n");

TEST(invlpg_of_a_gigabyte_whose_entries_wrap_around_drops_all_of_them)
{
	EACH_TIER(g) {
		u64 la = wrapping_gigabyte(g->v), *first, *last;

		gv_pte(g, GV_PML4, la); /* the tables above */
		*pdpte(g, la) = PTE_P | PTE_W | PTE_PS;
		g->s.gpr[RDI] = la + GV_DATA;
		GV_LOAD(g, touch_gigabyte);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		if (!g->v->jit)
			continue;
		first = table_entry(g->v->jit, g->v->jr.active, la >> 12);
		last = table_entry(g->v->jit, g->v->jr.active, (la >> 12) + 0x3ffff);
		*first = *last = 1;
		tlb_flush_page(g->v, la + GV_FREE);
		CHECK_EQ(*first, 0);
		CHECK_EQ(*last, 0);
		CHECK_EQ(*table_entry(g->v->jit, g->v->jr.active, (la + GV_DATA) >> 12), 0);
	}
}
