// SPDX-License-Identifier: Apache-2.0
/* mmu_test.c - page walks, rights, A and D bits, invalidation */
#include "base/test.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/op_sys.h"
#include "cpu/soft/sysvm.h"

#include <pthread.h>

#define NEW_VM()                                                                                   \
	struct vcpu *v CLEANUP(free_vm) = sysvm_new();                                             \
	u64 val UNUSED = 0;                                                                        \
	if (!v) {                                                                                  \
		test_skip("no room for guest memory");                                             \
		return;                                                                            \
	}

static void free_vm(struct vcpu **v)
{
	if (*v)
		sysvm_free(*v);
}

#define CHECK_PF(expr, la, err)                                                                    \
	do {                                                                                       \
		CHECK_EQ(expr, X_FAULT);                                                           \
		CHECK_EQ(v->exc.vector, EX_PF);                                                    \
		CHECK_EQ(v->exc.error, err);                                                       \
		CHECK_EQ(v->exc.addr, la);                                                         \
	} while (0)

TEST(a_read_sets_accessed_and_not_dirty)
{
	NEW_VM();
	CHECK_EQ(lin_read(v, SV_DATA, 8, &val), X_OK);
	CHECK_EQ(sysvm_get_pte(v, SV_DATA) & (PTE_A | PTE_D), PTE_A);
	CHECK(sysvm_get(v, SV_PML4, 8) & PTE_A);
}

TEST(the_first_write_sets_dirty_even_after_a_read)
{
	NEW_VM();
	CHECK_EQ(lin_read(v, SV_DATA, 8, &val), X_OK);
	CHECK_EQ(lin_write(v, SV_DATA, 8, 1), X_OK);
	CHECK_EQ(sysvm_get_pte(v, SV_DATA) & (PTE_A | PTE_D), PTE_A | PTE_D);
}

TEST(a_refused_access_sets_no_accessed_or_dirty_bit_in_the_page)
{
	NEW_VM();
	sysvm_pte(v, SV_DATA, SV_DATA | PTE_P);
	CHECK_PF(lin_write(v, SV_DATA + 8, 8, 1), SV_DATA + 8u, PF_P | PF_W);
	CHECK_EQ(sysvm_get_pte(v, SV_DATA) & (PTE_A | PTE_D), 0);
}

static void *flip_bits(void *arg)
{
	u64 *pte = arg;

	for (unsigned n = 0; n < 20000; n++)
		__atomic_fetch_add(pte, BIT_ULL(52), __ATOMIC_SEQ_CST);
	return NULL;
}

TEST(accessed_updates_lose_no_other_processors_store)
{
	NEW_VM();
	u64 *pte = (void *)mem_ptr(v->mem, SV_PT + (SV_DATA >> 12) * 8, 8), before = *pte;
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, flip_bits, pte), 0);
	for (unsigned n = 0; n < 20000; n++) {
		__atomic_fetch_and(pte, ~PTE_A, __ATOMIC_SEQ_CST);
		mmu_flush_page(v, SV_DATA);
		if (lin_read(v, SV_DATA, 8, &val) != X_OK)
			break;
	}
	pthread_join(t, NULL);
	/* 20000 additions to the 11 software bits 62:52 and NX: compare modulo 2^12 */
	CHECK_EQ(*pte >> 52, ((before >> 52) + 20000) & 0xfff);
}

TEST(wider_rights_need_no_invlpg)
{
	NEW_VM();
	sysvm_pte(v, SV_DATA, SV_DATA | PTE_P);
	CHECK_EQ(lin_read(v, SV_DATA, 8, &val), X_OK);
	CHECK_PF(lin_write(v, SV_DATA, 8, 1), SV_DATA, PF_P | PF_W);
	sysvm_pte(v, SV_DATA, SV_DATA | PTE_P | PTE_W);
	CHECK_EQ(lin_write(v, SV_DATA, 8, 1), X_OK);
}

TEST(narrower_rights_count_after_invlpg)
{
	NEW_VM();
	CHECK_EQ(lin_write(v, SV_DATA, 8, 1), X_OK);
	sysvm_pte(v, SV_DATA, SV_DATA | PTE_P);
	mmu_flush_page(v, SV_DATA + 123);
	CHECK_PF(lin_write(v, SV_DATA, 8, 1), SV_DATA, PF_P | PF_W);
}

TEST(write_protection_of_the_kernel_follows_wp)
{
	NEW_VM();
	sysvm_pte(v, SV_DATA, SV_DATA | PTE_P);
	CHECK_PF(lin_write(v, SV_DATA, 1, 1), SV_DATA, PF_P | PF_W);
	CHECK_EQ(set_cr0(v, v->s.cr0 & ~(u64)CR0_WP), X_OK);
	CHECK_EQ(lin_write(v, SV_DATA, 1, 1), X_OK);
	CHECK_EQ(set_cr0(v, v->s.cr0 | CR0_WP), X_OK);
	CHECK_PF(lin_write(v, SV_DATA, 1, 1), SV_DATA, PF_P | PF_W);
}

TEST(user_mode_cannot_touch_supervisor_pages)
{
	NEW_VM();
	sysvm_cpl3(v);
	CHECK_PF(lin_read(v, SV_DATA, 1, &val), SV_DATA, PF_P | PF_U);
	CHECK_PF(lin_write(v, SV_DATA, 1, 0), SV_DATA, PF_P | PF_U | PF_W);
	CHECK_EQ(lin_write(v, SV_USER, 1, 0), X_OK);
}

TEST(smap_stops_explicit_access_unless_ac_and_implicit_access_always)
{
	NEW_VM();
	v->s.cr4 |= CR4_SMAP;
	mmu_mode_changed(v);
	CHECK_PF(lin_read(v, SV_USER, 8, &val), SV_USER, PF_P);
	v->s.rflags |= FL_AC;
	CHECK_EQ(lin_read(v, SV_USER, 8, &val), X_OK);
	CHECK_PF(lin_read_sys(v, SV_USER, 8, &val), SV_USER, PF_P);
}

TEST(smep_stops_the_kernel_fetching_from_user_pages)
{
	NEW_VM();
	u8 buf[15];
	unsigned got;

	CHECK_EQ(fetch_bytes(v, SV_USER, buf, 15, &got), X_OK);
	v->s.cr4 |= CR4_SMEP;
	mmu_mode_changed(v);
	CHECK_PF(fetch_bytes(v, SV_USER, buf, 15, &got), SV_USER, PF_P | PF_I);
}

TEST(nx_faults_on_fetch_and_is_reserved_without_nxe)
{
	NEW_VM();
	u8 buf[15];
	unsigned got;

	sysvm_pte(v, SV_DATA, SV_DATA | PTE_P | PTE_W | PTE_NX);
	CHECK_PF(fetch_bytes(v, SV_DATA, buf, 15, &got), SV_DATA, PF_P | PF_I);
	CHECK_EQ(lin_read(v, SV_DATA, 8, &val), X_OK);
	CHECK_EQ(set_efer(v, v->s.efer & ~(u64)EFER_NXE), X_OK);
	CHECK_PF(lin_read(v, SV_DATA, 8, &val), SV_DATA, PF_P | PF_RSVD);
}

TEST(address_bits_above_maxphyaddr_are_reserved)
{
	NEW_VM();
	unsigned bits = cpu_model_phys_bits();

	sysvm_pte(v, SV_DATA, SV_DATA | PTE_P | BIT_ULL(bits - 1));
	CHECK_EQ(lin_read(v, SV_DATA, 1, &val), X_OK); /* not RAM: MMIO */
	sysvm_pte(v, SV_DATA, SV_DATA | PTE_P | BIT_ULL(bits));
	mmu_flush_all(v);
	if (bits < 52)
		CHECK_PF(lin_read(v, SV_DATA, 1, &val), SV_DATA, PF_P | PF_RSVD);
}

TEST(a_fault_on_the_second_page_reports_that_page_and_writes_nothing)
{
	NEW_VM();
	u64 la = SV_DATA + 0xffe;

	sysvm_pte(v, SV_DATA + 0x1000, 0);
	CHECK_PF(lin_write(v, la, 4, 0xffffffff), SV_DATA + 0x1000u, PF_W);
	CHECK_EQ(sysvm_get(v, la, 2), 0);
	CHECK_PF(lin_read(v, la, 4, &val), SV_DATA + 0x1000u, 0);
}

TEST(split_accesses_join_pages_that_are_not_neighbours)
{
	NEW_VM();
	sysvm_pte(v, SV_DATA + 0x1000, 0x70000 | PTE_P | PTE_W);
	CHECK_EQ(lin_write(v, SV_DATA + 0xffc, 8, 0x1122334455667788), X_OK);
	CHECK_EQ(sysvm_get(v, SV_DATA + 0xffc, 4), 0x55667788);
	CHECK_EQ(sysvm_get(v, 0x70000, 4), 0x11223344);
	CHECK_EQ(lin_read(v, SV_DATA + 0xffc, 8, &val), X_OK);
	CHECK_EQ(val, 0x1122334455667788);
}

static void map_2m(struct vcpu *v, u64 pde)
{
	sysvm_put(v, SV_PD + 8, 8, pde);
	mmu_flush_all(v);
}

TEST(large_pages_map_and_check_their_reserved_bits)
{
	NEW_VM();
	map_2m(v, 0x400000 | PTE_P | PTE_W | PTE_PS);
	CHECK_EQ(lin_write(v, 0x212345, 1, 0x5a), X_OK);
	CHECK_EQ(sysvm_get(v, 0x412345, 1), 0x5a);
	map_2m(v, 0x400000 | PTE_P | PTE_W | PTE_PS | BIT_ULL(13));
	CHECK_PF(lin_read(v, 0x212345, 1, &val), 0x212345, PF_P | PF_RSVD);
}

TEST(invlpg_inside_a_large_page_drops_all_of_it)
{
	NEW_VM();
	map_2m(v, 0x400000 | PTE_P | PTE_W | PTE_PS);
	CHECK_EQ(lin_read(v, 0x200000, 8, &val), X_OK);
	CHECK_EQ(lin_read(v, 0x3ff000, 8, &val), X_OK);
	sysvm_put(v, SV_PD + 8, 8, 0);
	mmu_flush_page(v, 0x2ab000);
	CHECK_PF(lin_read(v, 0x200000, 8, &val), 0x200000, 0);
	CHECK_PF(lin_read(v, 0x3ff000, 8, &val), 0x3ff000, 0);
}

TEST(one_gigabyte_pages_map)
{
	NEW_VM();
	sysvm_put(v, SV_PDPT + 8, 8, 0 | PTE_P | PTE_W | PTE_PS);
	CHECK_EQ(lin_write(v, 0x40000000 + SV_DATA, 8, 77), X_OK);
	CHECK_EQ(sysvm_get(v, SV_DATA, 8), 77);
}

TEST(global_entries_survive_cr3_and_not_a_toggle_of_pge)
{
	NEW_VM();
	sysvm_pte(v, SV_DATA, SV_DATA | PTE_P | PTE_W | PTE_G);
	CHECK_EQ(lin_read(v, SV_DATA, 8, &val), X_OK);
	CHECK_EQ(lin_read(v, SV_USER, 8, &val), X_OK);
	sysvm_pte(v, SV_DATA, 0);
	sysvm_pte(v, SV_USER, 0);
	CHECK_EQ(set_cr3(v, v->s.cr3), X_OK);
	CHECK_EQ(lin_read(v, SV_DATA, 8, &val), X_OK);
	CHECK_PF(lin_read(v, SV_USER, 8, &val), SV_USER, 0);
	CHECK_EQ(set_cr4(v, v->s.cr4 & ~(u64)CR4_PGE), X_OK);
	CHECK_PF(lin_read(v, SV_DATA, 8, &val), SV_DATA, 0);
}

TEST(pcid_switches_keep_entries_apart_and_bit_63_keeps_them)
{
	NEW_VM();
	CHECK_EQ(set_cr4(v, v->s.cr4 | CR4_PCIDE), X_OK);
	CHECK_EQ(set_cr3(v, SV_PML4 | 1), X_OK);
	CHECK_EQ(lin_read(v, SV_DATA, 8, &val), X_OK);
	sysvm_pte(v, SV_DATA, 0);
	CHECK_EQ(lin_read(v, SV_DATA, 8, &val), X_OK); /* cached in PCID 1 */
	CHECK_EQ(set_cr3(v, SV_PML4 | 2), X_OK);
	CHECK_PF(lin_read(v, SV_DATA, 8, &val), SV_DATA, 0);
	CHECK_EQ(set_cr3(v, BIT_ULL(63) | SV_PML4 | 1), X_OK);
	CHECK_EQ(v->s.cr3, SV_PML4 | 1u);
	CHECK_EQ(set_cr3(v, SV_PML4 | 1), X_OK); /* without bit 63: flushed */
	CHECK_PF(lin_read(v, SV_DATA, 8, &val), SV_DATA, 0);
}

TEST(pcide_needs_ia32e_mode_and_pcid_0)
{
	NEW_VM();
	v->s.cr3 |= 8;
	CHECK_EQ(set_cr4(v, v->s.cr4 | CR4_PCIDE), X_FAULT);
	CHECK_EQ(v->exc.vector, EX_GP);
	v->s.cr3 = SV_PML4;
	CHECK_EQ(set_cr4(v, v->s.cr4 | CR4_PCIDE), X_OK);
	CHECK_EQ(set_cr0(v, v->s.cr0 & ~(u64)CR0_PG), X_FAULT);
}

static const u8 insn_invpcid[] = { 0x66, 0x0f, 0x38, 0x82, 0x01 }; /* invpcid rax, [rcx] */

TEST(invpcid_checks_its_operands_and_flushes)
{
	NEW_VM();
	v->s.gpr[RCX] = SV_DATA;
	v->s.gpr[RAX] = 4;
	CHECK_EQ(sysvm_exec(v, insn_invpcid, 5), X_FAULT);
	CHECK_EQ(v->exc.vector, EX_GP);
	v->s.gpr[RAX] = 1;
	sysvm_put(v, SV_DATA, 8, 5); /* PCID 5 with CR4.PCIDE clear */
	CHECK_EQ(sysvm_exec(v, insn_invpcid, 5), X_FAULT);
	v->s.gpr[RAX] = 0;
	sysvm_put(v, SV_DATA, 8, 0);
	sysvm_put(v, SV_DATA + 8, 8, SV_USER);
	CHECK_EQ(lin_read(v, SV_USER, 8, &val), X_OK);
	sysvm_pte(v, SV_USER, 0);
	CHECK_EQ(sysvm_exec(v, insn_invpcid, 5), X_OK);
	CHECK_PF(lin_read(v, SV_USER, 8, &val), SV_USER, 0);
}

TEST(invlpg_of_a_non_canonical_address_does_nothing)
{
	static const u8 invlpg[] = { 0x0f, 0x01, 0x38 }; /* invlpg [rax] */
	NEW_VM();

	v->s.gpr[RAX] = 0x8000000000000000ull | SV_DATA;
	CHECK_EQ(sysvm_exec(v, invlpg, 3), X_OK);
	CHECK_EQ(v->s.rip, SV_CODE + 3u);
}

TEST(page_tables_outside_ram_read_as_reserved_bits)
{
	NEW_VM();
	sysvm_put(v, SV_PD, 8, 0xfe000000 | PTE_P | PTE_W);
	mmu_flush_all(v);
	CHECK_PF(lin_read(v, SV_DATA, 8, &val), SV_DATA, PF_P | PF_RSVD);
}

TEST(mmio_is_accessed_in_aligned_pieces)
{
	NEW_VM();
	sysvm_pte(v, SV_DATA, 0xfed00000 | PTE_P | PTE_W);
	CHECK_EQ(lin_read(v, SV_DATA + 8, 8, &val), X_OK);
	CHECK_EQ(sysvm_nr_log, 1);
	CHECK_EQ(sysvm_log[0], 0xfed00008ull << 8 | 8);
	CHECK_EQ(lin_write(v, SV_DATA + 2, 4, 0), X_OK);
	CHECK_EQ(sysvm_nr_log, 3);
	CHECK_EQ(sysvm_log[1], 0xfed00002ull << 8 | 0x82);
	CHECK_EQ(sysvm_log[2], 0xfed00004ull << 8 | 0x82);
}

TEST(fetch_stops_before_a_page_it_cannot_read)
{
	NEW_VM();
	u8 buf[15];
	unsigned got = 0;

	sysvm_pte(v, SV_DATA + 0x1000, 0);
	CHECK_EQ(fetch_bytes(v, SV_DATA + 0xffa, buf, 15, &got), X_OK);
	CHECK_EQ(got, 6);
}

/* -- legacy paging ---------------------------------------------------------------------- */

TEST(four_mib_pages_carry_36_bit_addresses)
{
	NEW_VM();
	u64 gpa;

	sysvm_put(v, SV_PML4, 4, 0x00400000 | PTE_P | PTE_W | PTE_PS | 1 << 13);
	sysvm_put(v, SV_PML4 + 4, 4, 0x00400000 | PTE_P | PTE_W | PTE_PS | 1 << 21);
	sysvm_legacy(v, true);
	v->s.cr4 = CR4_PSE;
	mmu_mode_changed(v);
	CHECK(mmu_probe(v, 0x123456, &gpa));
	CHECK_EQ(gpa, 0x100523456ull);
	CHECK_PF(lin_read(v, 0x400000, 1, &val), 0x400000, PF_P | PF_RSVD);
}

TEST(without_pse_the_ps_bit_is_ignored)
{
	NEW_VM();
	sysvm_put(v, SV_PML4, 4, SV_PT2 | PTE_P | PTE_W | PTE_PS);
	sysvm_put(v, SV_PT2 + 4, 4, SV_DATA | PTE_P | PTE_W);
	sysvm_legacy(v, true);
	CHECK_EQ(lin_write(v, 0x1010, 4, 99), X_OK);
	CHECK_EQ(sysvm_get(v, SV_DATA + 0x10, 4), 99);
	CHECK_EQ(sysvm_get(v, SV_PT2 + 4, 4) & (PTE_A | PTE_D), PTE_A | PTE_D);
}

TEST(pae_loads_four_pdptes_and_refuses_reserved_bits)
{
	NEW_VM();
	sysvm_legacy(v, false);
	sysvm_put(v, SV_PT2, 8, SV_PD | PTE_P);
	sysvm_put(v, SV_PT2 + 8, 8, SV_PD | PTE_P | PTE_W); /* bit 1 is reserved here */
	CHECK_EQ(set_cr4(v, CR4_PAE), X_OK);
	CHECK_EQ(set_cr3(v, SV_PT2), X_OK);
	CHECK_EQ(set_cr0(v, v->s.cr0 | CR0_PG), X_FAULT);
	CHECK_EQ(v->exc.vector, EX_GP);
	sysvm_put(v, SV_PT2 + 8, 8, 0);
	CHECK_EQ(set_cr0(v, v->s.cr0 | CR0_PG), X_OK);
	CHECK_EQ(lin_write(v, SV_DATA, 4, 5), X_OK);
	sysvm_put(v, SV_PT2, 8, 0); /* cached until CR3 is loaded */
	mmu_flush_all(v);
	CHECK_EQ(lin_read(v, SV_DATA, 4, &val), X_OK);
	CHECK_PF(lin_read(v, 0x40000000, 4, &val), 0x40000000, 0);
}

TEST(unpaged_addresses_wrap_at_four_gib)
{
	NEW_VM();
	sysvm_legacy(v, false);
	CHECK_EQ(lin_write(v, 0x1ffc, 8, 0x1122334455667788), X_OK);
	CHECK_EQ(sysvm_get(v, 0x1ffc, 8), 0x1122334455667788);
	sysvm_nr_log = 0;
	CHECK_EQ(lin_read(v, 0xfffffffe, 4, &val), X_OK); /* two bytes of MMIO, two of RAM at 0 */
	CHECK_EQ(sysvm_nr_log, 1);
}

TEST(misaligned_user_data_faults_with_ac_and_am_only)
{
	NEW_VM();
	sysvm_cpl3(v);
	v->s.rflags |= FL_AC;
	CHECK_EQ(lin_read(v, SV_USER + 1, 4, &val), X_OK);
	v->s.cr0 |= CR0_AM;
	CHECK_EQ(lin_read(v, SV_USER + 1, 4, &val), X_FAULT);
	CHECK_EQ(v->exc.vector, EX_AC);
	CHECK_EQ(lin_write(v, SV_USER + 4, 8, 0), X_FAULT);
	CHECK_EQ(lin_write(v, SV_USER + 4, 4, 0), X_OK);
	v->cpl = 0;
	CHECK_EQ(lin_read(v, SV_DATA + 1, 4, &val), X_OK);
}
