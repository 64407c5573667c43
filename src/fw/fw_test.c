// SPDX-License-Identifier: Apache-2.0
/* fw_test.c - kernels made up on the spot, and every way to cut them short */
#include "fw/fw.h"

#include "base/bits.h"
#include "base/test.h"
#include "cpu/x86_state.h"
#include "fw/fw_int.h"
#include "mem/mem.h"

#include <elf.h>
#include <stdlib.h>

#define RAM (64ull << 20)

static const struct fw_board board = {
	.nr_cpus = 4,
	.lapic_base = 0xfee00000,
	.ioapic_base = 0xfec00000,
	.hpet_base = 0xfed00000,
	.pm_base = 0x600,
	.sci_irq = 9,
	.reset_port = 0xcf9,
	.ecam_base = 0xe0000000,
	.nr_buses = 1,
	.mmio32_base = 0xc0000000,
	.mmio32_end = 0xe0000000,
	.panic_port = 0x505,
	.has_com1 = true,
	.mem_size = RAM,
	.vm_name = "test",
};

struct rig {
	struct mem *m;
	struct fw_map map;
	struct fw_file kernel, module[2];
	struct fw_boot boot;
	struct x86_state s;
	struct err e;
};

static void rig_init(struct rig *r, const void *data, u64 size)
{
	memset(r, 0, sizeof *r);
	r->m = mem_new(RAM, &r->e);
	fw_memory_map(r->m, &board, &r->map);
	r->kernel = fw_file_of("kernel", data, size);
	r->boot = (struct fw_boot){
		.kernel = &r->kernel, .module = r->module, .cmdline = "quiet", .map = &r->map
	};
}

static int rig_load(struct rig *r)
{
	return fw_load_kernel(r->m, &r->boot, &r->s, &r->e);
}

/* A bzImage of one setup sector and 64 bytes of code. */
#define BZ_SIZE (1024 + 64)
static void make_bzimage(u8 *p)
{
	memset(p, 0, BZ_SIZE);
	p[0x1f1] = 1;
	fw_put32(p + 0x1f4, 4);
	fw_put16(p + 0x1fe, 0xaa55);
	p[0x201] = 0x66;
	memcpy(p + 0x202, "HdrS", 4);
	fw_put16(p + 0x206, 0x20f);
	p[0x211] = 1;
	fw_put32(p + 0x22c, 0x7fffffff);
	fw_put16(p + 0x236, 1);
	fw_put32(p + 0x238, 2047);
	fw_put64(p + 0x258, 16 << 20);
	fw_put32(p + 0x260, 8 << 20);
	memset(p + 1024, 0x90, 64);
}

#define PVH_SIZE 256
static void make_pvh(u8 *p)
{
	Elf64_Ehdr h = { .e_ident = ELFMAG,
			 .e_machine = EM_X86_64,
			 .e_phoff = 64,
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = 2 };
	Elf64_Phdr ph[2] = {
		{ .p_type = PT_LOAD,
		  .p_offset = 224,
		  .p_paddr = 2 << 20,
		  .p_filesz = 32,
		  .p_memsz = 4096 },
		{ .p_type = PT_NOTE, .p_offset = 176, .p_filesz = 24, .p_align = 4 },
	};
	const u32 note[] = { 4, 8, 18, 0x006e6558, (2 << 20) + 8, 0 };

	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	memset(p, 0xcc, PVH_SIZE);
	memcpy(p, &h, sizeof h);
	memcpy(p + 64, ph, sizeof ph);
	memcpy(p + 176, note, sizeof note);
}

#define MB_SIZE 64
static void make_multiboot(u8 *p)
{
	const u32 h[] = { 0x1badb002, 0x10003,  0u - 0x1badb002u - 0x10003u,
			  0x100010,   0x100000, 0x100000 + MB_SIZE,
			  0x101000,   0x100030 };

	memset(p, 0xf4, MB_SIZE);
	memcpy(p + 16, h, sizeof h);
}

TEST(linux_starts_in_long_mode_with_boot_params_in_rsi)
{
	u8 im[BZ_SIZE], bp[0x1000];
	struct rig r;

	make_bzimage(im);
	rig_init(&r, im, sizeof im);
	CHECK_EQ(rig_load(&r), 0);
	CHECK_EQ(r.s.rip, 0x100200);
	CHECK_EQ(r.s.gpr[RSI], FW_BOOT_PARAMS);
	CHECK(r.s.cr0 & CR0_PG && r.s.efer & EFER_LMA && r.s.seg[SEG_CS].attr & SA_L);
	CHECK(!(r.s.rflags & FL_IF));
	CHECK(mem_read(r.m, FW_BOOT_PARAMS, bp, sizeof bp));
	CHECK_EQ(bp[0x1e8], r.map.nr);
	CHECK_EQ(fw_get64(bp + 0x70), FW_RSDP);
	CHECK_EQ(fw_get32(bp + 0x228), FW_CMDLINE);
	CHECK_EQ(fw_get32(bp + 0x202), 0x53726448);
	CHECK_STR((char *)mem_ptr(r.m, FW_CMDLINE, 6), "quiet");
	mem_free(r.m);
}

TEST(linux_without_the_64_bit_entry_starts_in_protected_mode)
{
	u8 im[BZ_SIZE];
	struct rig r;

	make_bzimage(im);
	fw_put16(im + 0x236, 0);
	rig_init(&r, im, sizeof im);
	CHECK_EQ(rig_load(&r), 0);
	CHECK_EQ(r.s.rip, 0x100000);
	CHECK_EQ(r.s.gpr[RSI], FW_BOOT_PARAMS);
	CHECK_EQ(r.s.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	mem_free(r.m);
}

TEST(identity_map_covers_the_first_four_gigabytes)
{
	u8 im[BZ_SIZE];
	u64 pte;
	struct rig r;

	make_bzimage(im);
	rig_init(&r, im, sizeof im);
	CHECK_EQ(rig_load(&r), 0);
	CHECK(mem_read(r.m, r.s.cr3, &pte, 8));
	CHECK(mem_read(r.m, align_down(pte, 4096) + 3 * 8, &pte, 8));
	CHECK(mem_read(r.m, align_down(pte, 4096) + 511 * 8, &pte, 8));
	CHECK_EQ(align_down(pte, 4096), 0xffe00000);
	CHECK_EQ(pte & (PTE_P | PTE_PS), PTE_P | PTE_PS);
	mem_free(r.m);
}

TEST(initrd_lies_below_initrd_addr_max_and_above_the_kernel)
{
	u8 im[BZ_SIZE], *bp;
	static u8 rd[5000];
	struct rig r;

	make_bzimage(im);
	fw_put32(im + 0x22c, (40 << 20) - 1);
	rig_init(&r, im, sizeof im);
	r.module[0] = fw_file_of("a", rd, 5);
	r.module[1] = fw_file_of("b", rd, sizeof rd);
	r.boot.nr_modules = 2;
	CHECK_EQ(rig_load(&r), 0);
	bp = mem_ptr(r.m, FW_BOOT_PARAMS, 4096);
	CHECK_EQ(fw_get32(bp + 0x218), (40 << 20) - 2 * 4096);
	CHECK_EQ(fw_get32(bp + 0x21c), 8 + sizeof rd);
	mem_free(r.m);
}

TEST(initrd_larger_than_memory_is_refused_in_one_sentence)
{
	u8 im[BZ_SIZE];
	struct rig r;

	make_bzimage(im);
	rig_init(&r, im, sizeof im);
	r.module[0] = (struct fw_file){ .name = "rd.img", .size = 100ull << 20 };
	r.boot.nr_modules = 1;
	CHECK(rig_load(&r) < 0);
	CHECK_STR(r.e.msg, "rd.img: 100 MiB do not fit beside the kernel in 64 MiB of memory");
	r.module[0] = (struct fw_file){ .name = "rd.img", .size = ~0ull - 1 };
	CHECK(rig_load(&r) < 0);
	mem_free(r.m);
}

TEST(pvh_kernel_starts_flat_with_start_info_in_rbx)
{
	u8 im[PVH_SIZE];
	struct rig r;

	make_pvh(im);
	rig_init(&r, im, sizeof im);
	r.module[0] = fw_file_of("m", "abc", 3);
	r.boot.nr_modules = 1;
	CHECK_EQ(rig_load(&r), 0);
	CHECK_EQ(r.s.rip, (2 << 20) + 8);
	CHECK_EQ(r.s.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	CHECK_EQ(fw_get32(mem_ptr(r.m, r.s.gpr[RBX], 4)), 0x336ec578);
	CHECK_EQ(fw_get64(mem_ptr(r.m, FW_INFO + 32, 8)), FW_RSDP);
	CHECK_EQ(*mem_ptr(r.m, 2 << 20, 1), 0xcc);
	CHECK_EQ(*mem_ptr(r.m, (2 << 20) + 32, 1), 0);
	mem_free(r.m);
}

TEST(multiboot_kernel_gets_magic_and_information)
{
	u8 im[MB_SIZE];
	struct rig r;

	make_multiboot(im);
	rig_init(&r, im, sizeof im);
	CHECK_EQ(rig_load(&r), 0);
	CHECK_EQ(r.s.gpr[RAX], 0x2badb002);
	CHECK_EQ(r.s.rip, 0x100030);
	CHECK_EQ(fw_get32(mem_ptr(r.m, r.s.gpr[RBX] + 8, 4)), (RAM - (1 << 20)) >> 10);
	CHECK_EQ(*mem_ptr(r.m, 0x100030, 1), 0xf4);
	CHECK_STR((char *)mem_ptr(r.m, FW_CMDLINE, 13), "kernel quiet");
	mem_free(r.m);
}

TEST(multiboot_modules_get_their_own_command_lines)
{
	u8 im[MB_SIZE];
	struct rig r;
	u32 list;

	make_multiboot(im);
	rig_init(&r, im, sizeof im);
	r.module[0] = fw_file_of("/boot/dom0", "0123", 4);
	r.module[0].args = "console=hvc0 quiet";
	r.module[1] = fw_file_of("rd", "4567", 4);
	r.boot.nr_modules = 2;
	CHECK_EQ(rig_load(&r), 0);
	list = fw_get32(mem_ptr(r.m, r.s.gpr[RBX] + 24, 4));
	CHECK_STR((char *)mem_ptr(r.m, fw_get32(mem_ptr(r.m, list + 8, 4)), 32),
		  "dom0 console=hvc0 quiet");
	CHECK_STR((char *)mem_ptr(r.m, fw_get32(mem_ptr(r.m, list + 24, 4)), 32), "rd");
	mem_free(r.m);
}

TEST(bios_calls_lead_to_code_that_refuses)
{
	struct rig r;

	rig_init(&r, "", 1);
	CHECK_EQ(fw_build_bda(r.m, &board, &r.e), 0);
	CHECK_EQ(fw_get16(mem_ptr(r.m, 0x413, 2)), 639);
	CHECK_EQ(fw_get16(mem_ptr(r.m, 0x400, 2)), 0x3f8);
	for (unsigned i = 0; i < 256; i++)
		CHECK_EQ(fw_get32(mem_ptr(r.m, 4 * i, 4)), 0xf000f000);
	CHECK_EQ(*mem_ptr(r.m, FW_BIOS_STUB + 10, 1), 0xcf);
	mem_free(r.m);
}

/* Every file shorter than @enough fails with a sentence and without a fault. */
static void check_truncations(const u8 *im, u64 size, u64 enough)
{
	struct rig r;

	rig_init(&r, im, size);
	for (u64 n = 0; n < enough; n++) {
		u8 *copy = malloc(n + 1); /* exact, so that the sanitizers see overreads */

		memcpy(copy, im, n);
		r.kernel = fw_file_of("kernel", copy, n);
		r.e.code = 0;
		CHECK(rig_load(&r) < 0);
		CHECK(r.e.code > 0 && strlen(r.e.msg) > 10);
		free(copy);
	}
	mem_free(r.m);
}

TEST(truncated_kernels_fail_cleanly_at_every_length)
{
	u8 bz[BZ_SIZE], pvh[PVH_SIZE], mb[MB_SIZE];

	make_bzimage(bz);
	check_truncations(bz, sizeof bz, sizeof bz - 15); /* sizes are in units of 16 */
	make_pvh(pvh);
	check_truncations(pvh, sizeof pvh, sizeof pvh);
	make_multiboot(mb);
	check_truncations(mb, sizeof mb, sizeof mb);
}

TEST(damaged_kernels_never_fault_the_loader)
{
	static u8 im[3][BZ_SIZE];
	static const u64 size[3] = { BZ_SIZE, PVH_SIZE, MB_SIZE };
	u64 x = 0x9e3779b97f4a7c15;
	struct rig r;

	rig_init(&r, im, 1);
	for (unsigned n = 0; n < 3000; n++) {
		unsigned k = n % 3;

		make_bzimage(im[0]);
		make_pvh(im[1]);
		make_multiboot(im[2]);
		for (unsigned i = 0; i < 4; i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			im[k][(x >> 8) % size[k]] = x & 0x80 ? (u8)x : 0xff;
		}
		r.kernel = fw_file_of("kernel", im[k], size[k]);
		if (rig_load(&r) < 0)
			CHECK(r.e.code > 0);
	}
	mem_free(r.m);
}

TEST(what_is_no_kernel_is_named_so)
{
	static const u8 junk[4096] = "no kernel";
	struct rig r;

	rig_init(&r, junk, sizeof junk);
	CHECK(rig_load(&r) < 0);
	CHECK_STR(r.e.msg,
		  "kernel: not a kernel: want a Linux bzImage, a PVH ELF or a Multiboot image");
	r.kernel.size = 0;
	CHECK(rig_load(&r) < 0);
	CHECK_STR(r.e.msg, "kernel: empty file");
	mem_free(r.m);
}

static u8 sum(const u8 *p, u64 n)
{
	u8 s = 0;

	while (n--)
		s = (u8)(s + *p++);
	return s;
}

TEST(acpi_tables_have_valid_checksums_and_are_reachable)
{
	struct rig r;
	const u8 *rsdp, *xsdt;
	unsigned nr;

	rig_init(&r, "", 0);
	CHECK_EQ(fw_build_acpi(r.m, &board, &r.e), 0);
	rsdp = mem_ptr(r.m, FW_RSDP, 36);
	CHECK(!memcmp(rsdp, "RSD PTR ", 8));
	CHECK_EQ(sum(rsdp, 20) | sum(rsdp, 36), 0);
	xsdt = mem_ptr(r.m, fw_get64(rsdp + 24), 36);
	CHECK_EQ(sum(xsdt, fw_get32(xsdt + 4)), 0);
	nr = (fw_get32(xsdt + 4) - 36) / 8;
	CHECK_EQ(nr, 5);
	for (unsigned i = 0; i < nr; i++) {
		const u8 *t = mem_ptr(r.m, fw_get64(xsdt + 36 + 8 * i), 36);

		CHECK_EQ(sum(t, fw_get32(t + 4)), 0);
		if (!memcmp(t, "FACP", 4)) {
			const u8 *dsdt = mem_ptr(r.m, fw_get64(t + 140), 36);

			CHECK(!memcmp(dsdt, "DSDT", 4));
			CHECK_EQ(sum(dsdt, fw_get32(dsdt + 4)), 0);
			CHECK_EQ(fw_get32(t + 56), 0x600);
		}
	}
	mem_free(r.m);
}

TEST(acpi_tables_for_a_thousand_cpus_fit)
{
	struct fw_board b = board;
	struct rig r;

	rig_init(&r, "", 0);
	b.nr_cpus = 1024;
	CHECK_EQ(fw_build_acpi(r.m, &b, &r.e), 0);
	b.nr_cpus = 10000;
	CHECK(fw_build_acpi(r.m, &b, &r.e) < 0);
	mem_free(r.m);
}

TEST(smbios_entry_points_have_valid_checksums)
{
	struct rig r;
	const u8 *p;

	rig_init(&r, "", 0);
	CHECK_EQ(fw_build_smbios(r.m, &board, &r.e), 0);
	p = mem_ptr(r.m, FW_SMBIOS, 64);
	CHECK(!memcmp(p, "_SM3_", 5) && !memcmp(p + 32, "_SM_", 4));
	CHECK_EQ(sum(p, 0x18) | sum(p + 32, 0x1f) | sum(p + 48, 0xf), 0);
	mem_free(r.m);
}
