// SPDX-License-Identifier: Apache-2.0
/*
 * bda.c - what kernels look for of a BIOS where there is none: data area, vectors
 *
 * Follows the IBM Personal System/2 BIOS Interface Technical Reference, 1991,
 * section 3, as [BDA]. Xen, for one, finds there where low memory ends. Every
 * interrupt vector leads to code that answers "not supported", so that a kernel
 * which asks a BIOS from real mode goes on without.
 */
#include "fw/fw_int.h"

#define BDA_SIZE     0x100
#define BDA_COM1     0x00 /* I/O base, 16 bits */
#define BDA_EBDA     0x0e /* segment of the extended area, 16 bits */
#define BDA_BASE_KIB 0x13 /* memory below it, 16 bits */

/* push bp; mov bp, sp; or byte [bp+6], 1; pop bp; mov ah, 0x86; iret: carry set in the caller */
static const u8 refuse[] = { 0x55, 0x89, 0xe5, 0x80, 0x4e, 0x06, 0x01, 0x5d, 0xb4, 0x86, 0xcf };

static int put_vectors(struct mem *m, struct err *e)
{
	u8 ivt[256 * 4];

	for (unsigned i = 0; i < 256; i++) {
		fw_put16(ivt + 4 * i, FW_BIOS_STUB & 0xffff);
		fw_put16(ivt + 4 * i + 2, 0xf000);
	}
	TRY(fw_put(m, FW_BIOS_STUB, refuse, sizeof refuse, e));
	return fw_put(m, 0, ivt, sizeof ivt, e);
}

int fw_build_bda(struct mem *m, const struct fw_board *b, struct err *e)
{
	const u8 ebda[16] = { (0xa0000 - FW_LOW_END) >> 10 }; /* its size in KiB */
	u8 bda[BDA_SIZE] = { 0 };

	if (b->has_com1)
		fw_put16(bda + BDA_COM1, 0x3f8);
	fw_put16(bda + BDA_EBDA, FW_LOW_END >> 4);
	fw_put16(bda + BDA_BASE_KIB, FW_LOW_END >> 10);
	TRY(put_vectors(m, e));
	TRY(fw_put(m, FW_LOW_END, ebda, sizeof ebda, e));
	return fw_put(m, FW_BDA, bda, sizeof bda, e);
}
