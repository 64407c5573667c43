// SPDX-License-Identifier: Apache-2.0
/*
 * fw.h - what the guest finds at boot: kernel loaders and firmware tables
 *
 * Pure functions over guest memory and a description of the board: no host files,
 * no global state. Kernels and initial RAM disks are read through struct fw_file
 * and treated as hostile: every offset and size in them is checked against the
 * file and against guest RAM.
 *
 * Guest-physical layout below 1 MiB (the rest belongs to the kernel):
 *
 *	0x00000  real-mode interrupt vectors, BIOS data area
 *	0x06000  hvm_start_info or Multiboot information
 *	0x07000  Linux boot_params, one page; or the strings of Multiboot modules
 *	0x08000  setup_data: random seed
 *	0x09000  identity page tables, 6 pages
 *	0x0f000  GDT
 *	0x20000  command line
 *	0x9fc00  end of usable low memory, extended BIOS data area
 *	0xe0000  ACPI tables
 *	0xf0000  RSDP, SMBIOS
 *	0xfe000  generation id
 *	0xff000  what the vectors lead to
 *
 * Context: the vCPUs are stopped; not thread-safe on one struct mem.
 */
#ifndef FW_FW_H
#define FW_FW_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

struct mem;
struct x86_state;

#define FW_BDA         0x400ull
#define FW_INFO        0x6000ull
#define FW_BOOT_PARAMS 0x7000ull
#define FW_SETUP_DATA  0x8000ull
#define FW_PAGE_TABLES 0x9000ull
#define FW_GDT         0xf000ull
#define FW_CMDLINE     0x20000ull
#define FW_CMDLINE_MAX 0x10000ull /* bytes, terminator included */
#define FW_LOW_END     0x9fc00ull
#define FW_ACPI        0xe0000ull
#define FW_ACPI_SIZE   0x10000ull
#define FW_RSDP        0xf0000ull
#define FW_SMBIOS      0xf0100ull
#define FW_GENERATION  0xfe000ull /* 16 bytes, for VM_Gen_Counter */
#define FW_BIOS_STUB   0xff000ull
#define FW_HIGH_START  0x100000ull /* kernels are loaded from here up, */
#define FW_LOAD_MIN    0xff000ull  /* but linkers put ELF headers in the page before it */
#define FW_MEM_MIN     (8ull << 20) /* bytes of guest RAM the layout needs */

/* A file as the loaders see it. */
struct fw_file {
	const char *name; /* for messages: "kernel" or the path */
	const char *args; /* command line of a Multiboot module; NULL = none */
	u64 size;         /* bytes */
	/* Copy [off, off+len); false on a read error. Never called beyond size. */
	bool (*read)(const struct fw_file *f, u64 off, void *dst, size_t len);
	const void *data; /* for read(): bytes in memory */
	int fd;           /* for read(): an open file */
};

/* A file whose bytes are @data; @data must outlive the result. */
struct fw_file fw_file_of(const char *name, const void *data, u64 size);

/* -- memory map ------------------------------------------------------------ */

enum fw_range_type { FW_RAM = 1, FW_RESERVED = 2, FW_ACPI_DATA = 3 }; /* [ACPI 15, table 15.4] */

struct fw_range {
	gpa_t start;
	u64 len;
	u32 type; /* enum fw_range_type */
};

#define FW_MAP_MAX 16

struct fw_map {
	struct fw_range r[FW_MAP_MAX]; /* ascending, disjoint */
	unsigned nr;
};

#define FW_MMIO_MAX 32

/* -- the board as the tables describe it ------------------------------------ */

struct fw_board {
	unsigned nr_cpus; /* local APIC ids are 0 .. nr_cpus-1 */
	u32 lapic_base, ioapic_base, hpet_base;
	u8 ioapic_id;
	u16 pm_base;                  /* PM1a event block; control at +4, timer at +8 */
	u8 sci_irq;                   /* level, active high */
	u16 reset_port;               /* write 6 to reset */
	u64 ecam_base;                /* PCI configuration window, 1 MiB per bus */
	u32 nr_buses;                 /* 1..256 */
	u32 mmio32_base, mmio32_end;  /* PCI window below 4 GiB, [base, end) */
	u64 mmio64_base, mmio64_size; /* PCI window above RAM; size 0 = none */
	u16 panic_port;               /* pvpanic, 0 = none */
	u8 event_gsi;                 /* edge: the generation id has changed; 0 = there is none */
	u32 mmio_base;                /* virtio devices behind MMIO: a page each, */
	unsigned nr_mmio;
	u8 mmio_gsi[FW_MMIO_MAX];     /* and a level-triggered input of the I/O APIC */
	bool has_com1;                /* 0x3f8, IRQ 4 */
	const char *vm_name;          /* SMBIOS */
	u64 mem_size;                 /* bytes of RAM */
};

/* The guest's memory map: RAM, and what is not RAM although it looks so. */
void fw_memory_map(const struct mem *m, const struct fw_board *b, struct fw_map *ret);

/* Data area of a BIOS [BDA]: memory size, COM1, the extended area's place; and vectors that refuse. */
int fw_build_bda(struct mem *m, const struct fw_board *b, struct err *e) MUST_CHECK;

/* RSDP at FW_RSDP, the tables it leads to at FW_ACPI [ACPI 5.2]. */
int fw_build_acpi(struct mem *m, const struct fw_board *b, struct err *e) MUST_CHECK;

/* Both entry points at FW_SMBIOS, the structures after them [SMBIOS 5.2]. */
int fw_build_smbios(struct mem *m, const struct fw_board *b, struct err *e) MUST_CHECK;

/* -- kernels ---------------------------------------------------------------- */

#define FW_MODULES_MAX 8

struct fw_boot {
	const struct fw_file *kernel;
	const struct fw_file *module; /* initial RAM disks: concatenated for Linux */
	unsigned nr_modules;
	const char *cmdline;
	u8 seed[32]; /* entropy for Linux, fresh for every boot */
	const struct fw_map *map;
};

/*
 * fw_load_kernel() - put a kernel, its modules and boot information into memory
 * @s:	in: power-on state of the first vCPU; out: the state to start it from
 *
 * Recognises a Linux bzImage, an ELF with a PVH entry note, and a Multiboot 1
 * image. On failure guest memory may have been written.
 */
int fw_load_kernel(struct mem *m, const struct fw_boot *b, struct x86_state *s,
		   struct err *e) MUST_CHECK;

/*
 * Copy a ROM image to where it ends at 4 GiB, which is memory (mem_new_room()), and its last
 * 128 KiB to the end of the first MiB, where real-mode code finds it too.
 */
int fw_load_firmware(struct mem *m, const struct fw_file *f, struct err *e) MUST_CHECK;

#endif
