// SPDX-License-Identifier: Apache-2.0
/*
 * arena.c - the memory a stream may touch: mapped natively at ND_ARENA, and for
 * the guest in its RAM behind page tables that say the same
 */
#include <string.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu/x86_defs.h"
#include "mem/mem.h"
#include "nd.h"

#define GUEST_TABLES 0x1000ull	/* PML4, PDPT, PD, PT: four pages */
#define GUEST_ARENA  0x10000ull /* gpa of the arena's page 0 */

#define DATA_START   (PG_RW * ND_PAGE)
#define DATA_LEN     ((PG_RW2 + 1 - PG_RW) * ND_PAGE)
#define NR_CONTENTS  8

static u8 contents[NR_CONTENTS][DATA_LEN];
static u8 *native_rw; /* all pages, writable */
static u8 *guest_rw;
static struct mem *mem;

struct mem *nd_guest_mem(void)
{
	return mem;
}

u8 *nd_native_view(enum nd_page page)
{
	return native_rw + page * ND_PAGE;
}

u8 *nd_guest_view(enum nd_page page)
{
	return guest_rw + page * ND_PAGE;
}

static bool is_hole(unsigned pg)
{
	return pg == PG_HOLE0 || pg == PG_HOLE1 || pg == PG_HOLE2 || pg == PG_HOLE3;
}

static bool is_code(unsigned pg)
{
	return pg == PG_CODE || pg == PG_CODE_LAST;
}

static bool map_native(void)
{
	int fd = memfd_create("nd-arena", MFD_CLOEXEC);
	size_t len = NR_PAGES * ND_PAGE;

	if (fd < 0 || ftruncate(fd, (off_t)len))
		return false;
	native_rw = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (native_rw == MAP_FAILED)
		return false;
	memset(native_rw, 0, len);
	for (unsigned pg = 0; pg < NR_PAGES; pg++) {
		int prot = PROT_READ | (is_code(pg) ? PROT_EXEC : pg == PG_RO ? 0 : PROT_WRITE);
		void *at = (void *)(uintptr_t)(ND_ARENA + pg * ND_PAGE);
		volatile u8 *p = at;

		if (is_hole(pg))
			continue;
		if (mmap(at, ND_PAGE, prot, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd,
			 (off_t)pg * ND_PAGE) != at)
			return false;
		if (prot & PROT_WRITE)
			*p = *p;
	}
	close(fd);
	return true;
}

static void map_guest(void)
{
	u64 *pml4 = (u64 *)mem_ptr(mem, GUEST_TABLES, 4 * ND_PAGE);
	u64 *pdpt = pml4 + 512, *pd = pdpt + 512, *pt = pd + 512;
	u64 link = PTE_P | PTE_W | PTE_U | PTE_A;

	pml4[0] = (GUEST_TABLES + 1 * ND_PAGE) | link;
	pdpt[0] = (GUEST_TABLES + 2 * ND_PAGE) | link;
	pd[ND_ARENA >> 21] = (GUEST_TABLES + 3 * ND_PAGE) | link;
	for (unsigned pg = 0; pg < NR_PAGES; pg++) {
		u64 pte = (GUEST_ARENA + pg * ND_PAGE) | PTE_P | PTE_U | PTE_A | PTE_D;

		if (is_hole(pg))
			continue;
		if (!is_code(pg))
			pte |= PTE_NX | (pg == PG_RO ? 0 : PTE_W);
		pt[(ND_ARENA >> 12 & 511) + pg] = pte;
	}
	guest_rw = mem_ptr(mem, GUEST_ARENA, NR_PAGES * ND_PAGE);
}

bool nd_arena_init(void)
{
	struct err e = { 0 };

	mem = mem_new(1 << 20, &e);
	if (!mem) {
		fprintf(stderr, "%s\n", e.msg);
		return false;
	}
	if (!map_native()) {
		perror("nd: cannot map the arena");
		return false;
	}
	map_guest();
	for (unsigned k = 0; k < NR_CONTENTS; k++) {
		rnd_seed(k);
		for (unsigned off = 0; off < DATA_LEN; off += 8)
			*(u64 *)(contents[k] + off) = rnd();
	}
	memset(nd_native_view(PG_CODE), 0xf4, 2 * ND_PAGE);
	memcpy(guest_rw, native_rw, NR_PAGES * ND_PAGE);
	return true;
}

void nd_arena_reset(unsigned seed)
{
	memcpy(native_rw + DATA_START, contents[seed % NR_CONTENTS], DATA_LEN);
	memcpy(guest_rw + DATA_START, contents[seed % NR_CONTENTS], DATA_LEN);
}

void nd_poke(u64 la, const void *src, unsigned len)
{
	u64 off = la - ND_ARENA;

	if (off + len > NR_PAGES * ND_PAGE)
		return;
	memcpy(native_rw + off, src, len);
	memcpy(guest_rw + off, src, len);
}

void nd_put_code(const struct nd_case *c)
{
	nd_poke(c->la, c->code, c->len + !c->open_end);
	mem_wrote(mem, GUEST_ARENA + (c->la - ND_ARENA), c->len + !c->open_end);
}

void nd_drop_code(const struct nd_case *c)
{
	static const u8 hlt[ND_MAX_CODE] = { [0 ... ND_MAX_CODE - 1] = 0xf4 };

	nd_poke(c->la, hlt, c->len);
	mem_wrote(mem, GUEST_ARENA + (c->la - ND_ARENA), c->len);
}

u64 nd_memory_diff(u8 *ret_native, u8 *ret_guest)
{
	u64 off = DATA_START;

	if (!memcmp(native_rw + off, guest_rw + off, DATA_LEN))
		return 0;
	while (native_rw[off] == guest_rw[off])
		off++;
	*ret_native = native_rw[off];
	*ret_guest = guest_rw[off];
	return ND_ARENA + off;
}
