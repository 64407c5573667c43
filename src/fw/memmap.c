// SPDX-License-Identifier: Apache-2.0
/* memmap.c - the guest's memory map as firmware reports it; see fw.h */
#include "fw/fw.h"
#include "mem/mem.h"

static void add(struct fw_map *map, gpa_t start, u64 len, u32 type)
{
	if (len)
		map->r[map->nr++] = (struct fw_range){ .start = start, .len = len, .type = type };
}

void fw_memory_map(const struct mem *m, const struct fw_board *b, struct fw_map *ret)
{
	*ret = (struct fw_map){ 0 };
	add(ret, 0, FW_LOW_END, FW_RAM);
	add(ret, FW_LOW_END, 0xa0000 - FW_LOW_END, FW_RESERVED);
	add(ret, FW_ACPI, FW_HIGH_START - FW_ACPI, FW_RESERVED);
	add(ret, FW_HIGH_START, mem_low_size(m) - FW_HIGH_START, FW_RAM);
	add(ret, b->ecam_base, (u64)b->nr_buses << 20, FW_RESERVED);
	add(ret, MEM_HIGH_BASE, mem_high_size(m), FW_RAM);
}
