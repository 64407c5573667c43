// SPDX-License-Identifier: Apache-2.0
/*
 * tlb.c - the translator's direct-indexed tables: filling and flushing
 *
 * One table for the kernel (plus one for EFLAGS.AC = 1 under SMAP) and several
 * for user mode, one per PCID. Kernel tables also hold the user pages the kernel
 * touched; those are not global and leave with the address space. Only non-global
 * entries are logged: a full flush drops the whole table.
 */
#include "cpu/soft/jit_int.h"

#include "cpu/soft/gsbase.h"

#include <errno.h>
#include <immintrin.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define INDEX(va) (((va) >> 12) & (TABLE_ENTRIES - 1))

/* In a row: lists, jump table, translation table. What is not touched costs nothing. */
#define LISTS_BYTES (NR_LOG * sizeof(u32) + (NR_JLOG + NR_NJLOG) * sizeof(u16))
#define TABLE_SPAN  (LISTS_BYTES + JT_BYTES + TABLE_BYTES)
_Static_assert(LISTS_BYTES % MEM_PAGE == 0, "what follows begins a page");

static unsigned nr_tables(const struct jit *j)
{
	return NR_TABLES + j->lends_base;
}

/*
 * Half a megabyte of jump entries that all say j->miss: every table maps this file privately, so that
 * memory holds once what no table has entered.
 */
static int jumps_file(const struct jit *j, struct err *e)
{
	u64 page[MEM_PAGE / 8];
	struct iovec iov[JT_BYTES / sizeof page];
	int fd = codebuf_file("vireo-jumps"), r;

	for (unsigned k = 0; k < array_len(page); k++)
		page[k] = (u64)j->miss;
	for (unsigned k = 0; k < array_len(iov); k++)
		iov[k] = (struct iovec){ page, sizeof page };
	if (fd >= 0 && pwritev(fd, iov, array_len(iov), 0) == JT_BYTES)
		return fd;
	r = fd < 0 ? -fd : ENOSPC;
	if (fd >= 0)
		close(fd);
	return err_set(e, r, "cpu: no memory for jump tables: %s", strerror(r));
}

/*
 * Translated code changes to the kernel's table and to jr.user by itself: those are made ready with the
 * first one it runs in, on the CPU's own thread. Others may never be used.
 */
static void make_ready(const struct jit *j, struct table *t)
{
	void *p;

	if (t->ready)
		return;
	p = mmap(t->jt, JT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, j->jumps, 0);
	for (unsigned k = 0; p == MAP_FAILED && k < JT_ENTRIES; k++)
		t->jt[k] = (u64)j->miss;
	t->ready = true;
}

static void table_init(struct jit *j, unsigned k)
{
	u8 *map = j->tables + k * TABLE_SPAN;
	struct table *t = &j->all[k];

	t->id = (u8)k;
	t->log = (void *)map;
	t->jlog = (void *)(t->log + NR_LOG);
	t->njlog = t->jlog + NR_JLOG;
	t->jt = (void *)(map + LISTS_BYTES);
	t->e = (void *)(map + LISTS_BYTES + JT_BYTES);
	if (k < NR_TABLES)
		j->table[k] = t;
	else
		j->home = t;
}

int tables_new(struct jit *j, bool may_lose_base, struct err *e)
{
	j->lends_base = may_lose_base;
	j->tables = mmap(NULL, nr_tables(j) * TABLE_SPAN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (j->tables == MAP_FAILED) {
		j->tables = NULL;
		return err_set(e, ENOMEM, "cpu: no address space for translation tables");
	}
	j->jumps = jumps_file(j, e);
	if (j->jumps < 0)
		return j->jumps;
	for (unsigned k = 0; k < nr_tables(j); k++)
		table_init(j, k);
	j->user = T_USER;
	if (!j->home)
		return 0;
	make_ready(j, j->home);
	/* Only read: small pages are the one page of zeroes, huge ones real on some hosts. */
	madvise(j->home->e, TABLE_BYTES, MADV_NOHUGEPAGE);
	return 0;
}

void tables_free(struct jit *j)
{
	if (!j->tables)
		return;
	munmap(j->tables, nr_tables(j) * TABLE_SPAN);
	if (j->jumps >= 0)
		close(j->jumps);
}

void tables_enter(struct vcpu *v)
{
	v->jr.active = NULL;
	if (v->jit->home)
		gsbase_set_home(v->jit->home->e);
}

void tables_find(struct vcpu *v)
{
	if (v->jit->home && gsbase_read() != v->jr.active->e)
		gsbase_write(v->jr.active->e);
}

void tables_select(struct vcpu *v)
{
	struct jit *j = v->jit;
	unsigned k = T_KERNEL;

	if (v->cpl == 3)
		k = j->user;
	else if (v->s.cr4 & CR4_SMAP && v->s.rflags & FL_AC)
		k = T_KERNEL_AC;
	if (v->jr.active == j->table[k]) {
		tables_find(v);
		return;
	}
	v->jr.active = j->table[k];
	make_ready(j, v->jr.active);
	make_ready(j, j->table[T_KERNEL]);
	make_ready(j, j->table[j->user]);
	gsbase_write(v->jr.active->e);
}

/* -- large pages ---------------------------------------------------------------------- */

static void set_bit(u64 *map, u64 n)
{
	map[n % 4096 / 64] |= BIT_ULL(n % 64);
}

static bool test_bit(const u64 *map, u64 n)
{
	return map[n % 4096 / 64] & BIT_ULL(n % 64);
}

static void regions_add(struct regions *r, u64 la, const struct xlate *x)
{
	r->any = true;
	if (x->shift > 22)
		set_bit(r->of_1g, la >> 30);
	else
		set_bit(r->of_2m, la >> 21);
}

static void regions_clear(struct regions *r)
{
	if (r->any)
		zero_bytes(r, sizeof *r);
}

/* -- jump table ---------------------------------------------------------------------- */

static void jumps_fill(struct jit *j, u64 *at, u64 n)
{
	__asm__ volatile("rep stosq" : "+D"(at), "+c"(n) : "a"(j->miss) : "memory");
}

static void jumps_clear(struct jit *j, struct table *t)
{
	if (!t->nr_jlog && !t->jlog_full)
		return;
	if (t->jlog_full)
		jumps_fill(j, t->jt, JT_ENTRIES);
	for (unsigned k = 0; k < t->nr_jlog && !t->jlog_full; k++)
		t->jt[t->jlog[k]] = (u64)j->miss;
	t->nr_jlog = t->nr_njlog = 0;
	t->jlog_full = t->njlog_full = false;
	zero_bytes(t->exec, sizeof t->exec);
	regions_clear(&t->exec_large);
}

/* JT_INDEX() of a page's addresses differs in the low 12 bits only. */
static void jumps_clear_page(struct jit *j, struct table *t, u64 la)
{
	jumps_fill(j, &t->jt[JT_INDEX(la) & ~(JT_PAGE - 1)], JT_PAGE);
}

/* Another address space: what was found through pages that are not global goes. */
static void jumps_clear_nonglobal(struct jit *j, struct table *t)
{
	if (t->njlog_full) {
		jumps_clear(j, t);
		return;
	}
	for (unsigned k = 0; k < t->nr_njlog; k++)
		t->jt[t->njlog[k]] = (u64)j->miss;
	t->nr_njlog = 0;
}

void tlb_jump_set(struct vcpu *v, u64 rip, const u8 *rx, const struct xlate *x)
{
	struct table *t = v->jr.active;

	if (t->nr_jlog < NR_JLOG)
		t->jlog[t->nr_jlog++] = (u16)JT_INDEX(rip);
	else
		t->jlog_full = true;
	if (x->global)
		;
	else if (t->nr_njlog < NR_NJLOG)
		t->njlog[t->nr_njlog++] = (u16)JT_INDEX(rip);
	else
		t->njlog_full = true;
	if (x->large)
		regions_add(&t->exec_large, rip, x);
	else
		set_bit(t->exec, rip >> 12);
	t->jt[JT_INDEX(rip)] = (u64)rx;
}

void tlb_jump_clear_all(struct jit *j)
{
	for (unsigned k = 0; k < NR_TABLES && j->table[k]; k++) /* not all: creation failed */
		jumps_clear(j, j->table[k]);
}

/* -- entries --------------------------------------------------------------------------- */

static void log_entry(struct table *t, u64 idx)
{
	if (t->nr_log < NR_LOG)
		t->log[t->nr_log++] = (u32)idx;
	else
		t->log_full = true;
}

static void remember_writer(struct vcpu *v, unsigned k, u64 idx, u64 frame);

/* May the entry be writable? The writer is recorded before the look at the map: smp.h. */
static bool admit_writer(struct vcpu *v, struct table *t, u64 idx, u64 frame)
{
	const u8 *count = &mem_code_map(v->mem)[frame];

	if (__atomic_load_n(count, __ATOMIC_RELAXED))
		return false;
	remember_writer(v, t->id, idx, frame);
	__asm__ volatile("" ::: "memory");
	return !__atomic_load_n(count, __ATOMIC_RELAXED);
}


/*
 * Two pages whose addresses differ by a multiple of 2 TiB, used in turn, would each find the
 * other's entry and cost a host fault every time.
 */
void tlb_note_alias(struct vcpu *v, u64 la)
{
	struct jit *j = v->jit;
	u64 idx = INDEX(la), *at = table_entry(j, v->jr.active, idx), e = *at;
	gpa_t gpa;

	if (!e || !is_canonical(la) || !mmu_probe(v, la, &gpa))
		return;
	if (!((la + (e & ~1ull)) - ((u64)mem_base(v->mem) + gpa)))
		return;
	j->alias[idx % array_len(j->alias)] = (u32)idx + 1;
	*at = 0;
}

static void forget_aliases(struct jit *j)
{
	for (unsigned k = 0; k < array_len(j->alias); k++)
		j->alias[k] = 0;
}

static bool is_alias(const struct jit *j, u64 idx)
{
	return unlikely(j->alias[idx % array_len(j->alias)] == idx + 1);
}

bool tlb_fill(struct vcpu *v, u64 va, enum access acc)
{
	struct table *t = v->jr.active;
	struct xlate x;
	u64 entry;

	if (!is_canonical(va) || is_alias(v->jit, INDEX(va)) ||
	    mmu_translate(v, va, acc, mmu_data_mode(v), &x) != X_OK || !x.host)
		return false;
	entry = ((u64)x.host - va) & ~0xfffull;
	if (x.writable && admit_writer(v, t, INDEX(va), x.gpa / MEM_PAGE))
		entry |= 1;
	else if (acc == ACC_W)
		return false;
	if (!x.global)
		log_entry(t, INDEX(va));
	if (x.large)
		regions_add(&t->entries, va, &x);
	*table_entry(v->jit, t, INDEX(va)) = entry;
	t->any = true;
	v->jit->n_fills++;
	return entry >= 2;
}

bool tlb_fill_dirty(struct vcpu *v, u64 va)
{
	return tlb_fill(v, va, ACC_R) && *table_entry(v->jit, v->jr.active, INDEX(va)) & 1;
}

static void drop_entries(struct table *t)
{
	if (t->any)
		madvise(t->e, TABLE_BYTES, MADV_DONTNEED);
	t->any = false;
}

static void drop_all(struct jit *j, struct table *t)
{
	drop_entries(t);
	t->nr_log = 0;
	t->log_full = false;
	regions_clear(&t->entries);
	jumps_clear(j, t);
}

static void drop_nonglobal(struct jit *j, struct table *t)
{
	if (t->log_full) {
		drop_entries(t);
		regions_clear(&t->entries);
	} else {
		for (unsigned k = 0; k < t->nr_log; k++)
			*table_entry(j, t, t->log[k]) = 0;
	}
	t->nr_log = 0;
	t->log_full = false;
	jumps_clear_nonglobal(j, t);
}

static void drop_kernel_nonglobal(struct vcpu *v)
{
	drop_nonglobal(v->jit, v->jit->table[T_KERNEL]);
	drop_nonglobal(v->jit, v->jit->table[T_KERNEL_AC]);
}

/* The entries of one GiB of address space; the table may end within. */
static void drop_gigabyte(const struct jit *j, struct table *t, u64 idx)
{
	u64 *from = table_entry(j, t, idx & ~0x3ffffull), *end = t->e + TABLE_ENTRIES;
	u64 n = 1u << 18, room = (u64)(end - from);

	madvise(from, (n < room ? n : room) * 8, MADV_DONTNEED);
	if (n > room)
		madvise(t->e, (n - room) * 8, MADV_DONTNEED);
}

/* Only where there is one: the host need not find memory for what was never written. */
static void drop_entry(struct jit *j, struct table *t, u64 idx)
{
	u64 *at = table_entry(j, t, idx);

	if (t->any && *at)
		*at = 0;
}

static void drop_page(struct jit *j, struct table *t, u64 la)
{
	u64 idx = INDEX(la);

	if (test_bit(t->entries.of_1g, la >> 30))
		drop_gigabyte(j, t, idx);
	else if (test_bit(t->entries.of_2m, la >> 21))
		zero_bytes(table_entry(j, t, idx & ~511ull), 4096);
	else
		drop_entry(j, t, idx);
	if (test_bit(t->exec_large.of_2m, la >> 21) || test_bit(t->exec_large.of_1g, la >> 30))
		jumps_clear(j, t);
	else if (test_bit(t->exec, la >> 12))
		jumps_clear_page(j, t, la);
}

void tlb_flush_all(struct vcpu *v)
{
	if (!v->jit)
		return;
	v->jit->n_table_flushes++;
	for (unsigned k = 0; k < NR_TABLES; k++)
		drop_all(v->jit, v->jit->table[k]);
	forget_aliases(v->jit);
}

void tlb_flush_nonglobal(struct vcpu *v)
{
	if (!v->jit)
		return;
	v->jit->n_table_flushes++;
	forget_aliases(v->jit);
	for (unsigned k = T_USER; k < NR_TABLES; k++)
		if (v->jit->table[k]->pcid == v->jit->table[v->jit->user]->pcid)
			drop_nonglobal(v->jit, v->jit->table[k]);
	drop_kernel_nonglobal(v);
}

void tlb_flush_page(struct vcpu *v, u64 la)
{
	if (!v->jit)
		return;
	v->jit->n_page_flushes++;
	drop_page(v->jit, v->jit->table[T_KERNEL], la);
	drop_page(v->jit, v->jit->table[T_KERNEL_AC], la);
	drop_page(v->jit, v->jit->table[v->jit->user], la);
}

void tlb_flush_pcid(struct vcpu *v, u16 pcid)
{
	if (!v->jit)
		return;
	v->jit->n_table_flushes++;
	for (unsigned k = T_USER; k < NR_TABLES; k++)
		if (v->jit->table[k]->pcid == pcid)
			drop_nonglobal(v->jit, v->jit->table[k]);
	if (v->jit->table[v->jit->user]->pcid == pcid)
		drop_kernel_nonglobal(v);
}

/* The user table of the new PCID, taking over the least recently used one if need be. */
void tlb_switch_pcid(struct vcpu *v)
{
	struct jit *j = v->jit;
	u16 pcid = v->s.cr4 & CR4_PCIDE ? v->s.cr3 & 0xfff : 0;
	unsigned best = T_USER;

	if (!j)
		return;
	j->n_switches++;
	drop_kernel_nonglobal(v);
	forget_aliases(j);
	for (unsigned k = T_USER; k < NR_TABLES; k++) {
		if (j->table[k]->used && j->table[k]->pcid == pcid) {
			best = k;
			break;
		}
		if (j->table[k]->used < j->table[best]->used)
			best = k;
	}
	if (j->table[best]->pcid != pcid || !j->table[best]->used)
		drop_nonglobal(j, j->table[best]);
	j->table[best]->pcid = pcid;
	j->table[best]->used = ++j->tick;
	j->user = best;
	make_ready(j, j->table[best]);
	v->jr.user = j->table[best];
}

/* -- writable mappings of a frame ------------------------------------------------------- */

/* Does entry @idx of @t still map @frame writable? */
static bool maps_writable(struct vcpu *v, const struct table *t, u64 idx, u64 frame)
{
	u64 host = (u64)mem_base(v->mem) + frame * MEM_PAGE, e = *table_entry(v->jit, t, idx);

	/* The table knows the page's address only modulo its span; so does this test. */
	return e & 1 && !(((e & ~1ull) + (idx << 12) - host) & (TABLE_ENTRIES * 4096 - 1));
}

static void remember_writer(struct vcpu *v, unsigned k, u64 idx, u64 frame)
{
	struct jit *j = v->jit;
	struct writers *w = &j->writers[frame];
	u32 rec = (u32)(k << 29 | idx);

	for (unsigned n = 0; n < NR_WRITERS; n++) {
		if (w->used[n] && w->rec[n] == rec)
			return;
		if (!w->used[n] || !maps_writable(v, j->table[w->rec[n] >> 29],
						  w->rec[n] & (TABLE_ENTRIES - 1), frame)) {
			w->rec[n] = rec;
			__atomic_store_n(&w->used[n], true, __ATOMIC_RELAXED);
			return;
		}
	}
	__atomic_store_n(&w->overflow, true, __ATOMIC_RELAXED);
}

/*
 * Translated code now comes from @frame: no table may let it be written without
 * notice. Happens once per new code frame.
 */
void tlb_protect_frame(struct vcpu *v, u64 frame)
{
	struct jit *j = v->jit;
	struct writers *w = &j->writers[frame];

	for (unsigned n = 0; n < NR_WRITERS; n++) {
		struct table *t = j->table[w->rec[n] >> 29];
		u64 idx = w->rec[n] & (TABLE_ENTRIES - 1);

		if (w->used[n] && maps_writable(v, t, idx, frame))
			*table_entry(j, t, idx) &= ~1ull;
		w->used[n] = false;
	}
	if (w->overflow)
		for (unsigned k = 0; k < NR_TABLES; k++)
			drop_all(j, j->table[k]);
	w->overflow = false;
}

bool tlb_may_write(const struct jit *j, u64 frame)
{
	const struct writers *w = &j->writers[frame];
	bool any = __atomic_load_n(&w->overflow, __ATOMIC_RELAXED);

	for (unsigned n = 0; n < NR_WRITERS; n++)
		any |= __atomic_load_n(&w->used[n], __ATOMIC_RELAXED);
	return any;
}
