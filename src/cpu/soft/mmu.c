// SPDX-License-Identifier: Apache-2.0
/*
 * mmu.c - the interpreter's translation cache and access to linear memory
 *
 * The cache is direct-mapped by page number and mode. An entry's key holds the
 * page, a tag that stands for the PCID, and the mode, so a change of PCID needs no
 * flush, and flushing a PCID gives it another tag. Its perm
 * bits say what may be done without another walk; anything else walks again
 * before it faults, because the guest may widen rights without INVLPG
 * [SDM 3A 4.10.4.3].
 */
#include "cpu/soft/mmu.h"

#include "cpu/soft/tlb.h"
#include "cpu/soft/walk.h"

#include <sys/mman.h>

#define NR_ENTRIES 1024
#define KEY_VALID  BIT_ULL(2)
#define MAX_TAG	   4095

struct tc_entry {
	u64 key; /* page number << 16 | tag << 4 | KEY_VALID | mode; 0 = empty */
	u8 *host; /* the page in guest RAM, NULL = not RAM */
	gpa_t gpa;
	u8 perm;  /* BIT(enum access) */
	u8 shift; /* log2 of the guest page's size */
	bool global;
};

struct mmu {
	u8 *base; /* of guest RAM; NULL until first used */
	u8 *code_map;
	u64 low, high; /* bytes of RAM below the hole and from 4 GiB */
	u64 regions;   /* mem_regions_from() */
	u8 phys_bits;
	u64 tag_key;	 /* tag << 4 of the current PCID; that is 0 without CR4.PCIDE */
	u16 tag[4096];	 /* by PCID; 0 = none yet */
	u16 next_tag;
	u64 large_bloom; /* BIT(la >> 30 & 63): regions with entries from large pages */
	struct tc_entry e[NR_ENTRIES];
};

struct mmu *mmu_new(void)
{
	struct mmu *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED)
		return NULL;
	m->phys_bits = (u8)cpu_model_phys_bits();
	return m;
}

void mmu_free(struct mmu *m)
{
	if (m)
		munmap(m, sizeof *m);
}

u8 mmu_phys_bits(const struct vcpu *v)
{
	return v->mmu->phys_bits;
}

static void bind_ram(struct vcpu *v)
{
	struct mmu *m = v->mmu;

	m->base = mem_base(v->mem);
	m->code_map = mem_code_map(v->mem);
	m->low = mem_low_size(v->mem);
	m->high = mem_high_size(v->mem);
	m->regions = mem_regions_from(v->mem);
}

u8 *mmu_ram(struct vcpu *v, gpa_t gpa)
{
	struct mmu *m = v->mmu;

	if (unlikely(!m->base))
		bind_ram(v);
	if (gpa < m->low || gpa - MEM_HIGH_BASE < m->high)
		return m->base + (gpa & ~0xfffull);
	if (unlikely(gpa >= m->regions))
		return mem_ptr(v->mem, gpa & ~0xfffull, MEM_PAGE);
	return NULL;
}

u64 mmu_read_entry(struct vcpu *v, gpa_t gpa, unsigned size)
{
	u8 *page = mmu_ram(v, gpa);

	if (!page)
		return mask_bytes(size);
	page += gpa & 0xfff;
	return size == 8 ? __atomic_load_n((u64 *)(void *)page, __ATOMIC_RELAXED) :
			   __atomic_load_n((u32 *)(void *)page, __ATOMIC_RELAXED);
}

enum mmu_mode mmu_data_mode(const struct vcpu *v)
{
	if (v->cpl == 3)
		return MMU_USER;
	return v->s.rflags & FL_AC ? MMU_KERNEL_AC : MMU_KERNEL;
}

/* -- the cache --------------------------------------------------------------- */

static ALWAYS_INLINE struct tc_entry *slot(struct mmu *m, u64 la, enum mmu_mode mode)
{
	return &m->e[((la >> 12) + mode * 251) % NR_ENTRIES];
}

static ALWAYS_INLINE u64 key_of(const struct mmu *m, u64 la, enum mmu_mode mode)
{
	return (la >> 12) << 16 | m->tag_key | KEY_VALID | mode;
}

/* The entry for @la if it allows @acc at once, else NULL. */
static ALWAYS_INLINE struct tc_entry *lookup(struct vcpu *v, u64 la, enum access acc,
					     enum mmu_mode mode)
{
	struct tc_entry *e = slot(v->mmu, la, mode);

	if (likely(e->key == key_of(v->mmu, la, mode) && (e->perm & BIT(acc))))
		return e;
	return NULL;
}

static NOINLINE int fill(struct vcpu *v, u64 la, enum access acc, enum mmu_mode mode,
			 struct tc_entry **ret)
{
	struct tc_entry *e = slot(v->mmu, la, mode);
	struct walk w;
	u32 error;

	if (page_walk(v, la, acc, mode, &w, &error) != X_OK) {
		if (e->key == key_of(v->mmu, la, mode))
			e->key = 0; /* a fault drops the page's entry [SDM 3A 4.10.4.1] */
		return raise_pf(v, la, error);
	}
	*e = (struct tc_entry){
		.key = key_of(v->mmu, la, mode),
		.host = mmu_ram(v, w.gpa),
		.gpa = w.gpa,
		.perm = w.dirty ? w.allowed : w.allowed & ~BIT(ACC_W),
		.shift = w.shift,
		.global = w.global,
	};
	if (w.shift > 12)
		v->mmu->large_bloom |= BIT_ULL(la >> 30 & 63);
	*ret = e;
	return X_OK;
}

static ALWAYS_INLINE int find(struct vcpu *v, u64 la, enum access acc, enum mmu_mode mode,
			      struct tc_entry **ret)
{
	*ret = lookup(v, la, acc, mode);
	if (likely(*ret))
		return X_OK;
	return fill(v, la, acc, mode, ret);
}

int mmu_translate(struct vcpu *v, u64 la, enum access acc, enum mmu_mode mode, struct xlate *ret)
{
	struct tc_entry *e;
	u64 off = la & 0xfff;

	TRY(find(v, la, acc, mode, &e));
	*ret = (struct xlate){
		.gpa = e->gpa + off,
		.host = e->host ? e->host + off : NULL,
		.writable = e->perm & BIT(ACC_W),
		.global = e->global,
		.large = e->shift > 12,
		.shift = e->shift,
	};
	return X_OK;
}

bool mmu_probe(struct vcpu *v, u64 la, gpa_t *ret)
{
	return page_probe(v, la, ret);
}

/* -- plain bytes ---------------------------------------------------------------- */

typedef u16 u16_any __attribute__((aligned(1), may_alias));
typedef u32 u32_any __attribute__((aligned(1), may_alias));
typedef u64 u64_any __attribute__((aligned(1), may_alias));

/* One host access for the power-of-two sizes: as atomic as the guest's. */
static ALWAYS_INLINE u64 ram_get(const u8 *p, unsigned size)
{
	u64 r = 0;

	switch (size) {
	case 1: return *(const volatile u8 *)p;
	case 2: return *(const volatile u16_any *)(const void *)p;
	case 4: return *(const volatile u32_any *)(const void *)p;
	case 8: return *(const volatile u64_any *)(const void *)p;
	}
	for (unsigned i = 0; i < size; i++)
		r |= (u64)p[i] << (8 * i);
	return r;
}

static ALWAYS_INLINE void ram_put(u8 *p, unsigned size, u64 val)
{
	switch (size) {
	case 1: *(volatile u8 *)p = (u8)val; return;
	case 2: *(volatile u16_any *)(void *)p = (u16)val; return;
	case 4: *(volatile u32_any *)(void *)p = (u32)val; return;
	case 8: *(volatile u64_any *)(void *)p = val; return;
	}
	for (unsigned i = 0; i < size; i++)
		p[i] = (u8)(val >> (8 * i));
}

/* Does the frame hold code? For writers, after their write: smp.h. */
static ALWAYS_INLINE bool holds_code(const struct vcpu *v, gpa_t gpa)
{
	return unlikely(*(const volatile u8 *)&v->mmu->code_map[gpa >> 12]);
}

/* Largest aligned power-of-two piece of @len bytes at @gpa. */
static unsigned io_piece(gpa_t gpa, unsigned len)
{
	unsigned n = 8;

	while (n > len || (gpa & (n - 1)))
		n /= 2;
	return n;
}

/* The bytes of one page: RAM or not. @off + @len stay inside the page. */
static void page_get(struct vcpu *v, const struct tc_entry *e, u64 off, void *buf, unsigned len)
{
	u8 *p = buf;

	if (likely(e->host != NULL)) {
		if (len <= 8) {
			u64 val = ram_get(e->host + off, len);

			copy_bytes(p, &val, len);
		} else {
			copy_bytes(p, e->host + off, len);
		}
		return;
	}
	while (len) {
		unsigned n = io_piece(e->gpa + off, len);
		u64 val = io_load(v, e->gpa + off, n);

		copy_bytes(p, &val, n);
		p += n, off += n, len -= n;
	}
}

static void page_put(struct vcpu *v, const struct tc_entry *e, u64 off, const void *buf,
		     unsigned len)
{
	gpa_t gpa = e->gpa + off;
	const u8 *p = buf;

	if (likely(e->host != NULL)) {
		copy_bytes(e->host + off, p, len);
		if (holds_code(v, gpa))
			code_written(v, gpa, len);
		return;
	}
	while (len) {
		unsigned n = io_piece(gpa, len);
		u64 val = 0;

		copy_bytes(&val, p, n);
		io_store(v, gpa, n, val);
		p += n, gpa += n, len -= n;
	}
}

/* -- data breakpoints [SDM 3B 17.2.4] ---------------------------------------------- */

static NOINLINE void note_breakpoints(struct vcpu *v, u64 la, unsigned len, enum access acc)
{
	static const u8 lens[4] = { 1, 2, 8, 4 };

	for (unsigned i = 0; i < 4; i++) {
		unsigned rw = bits_get(v->s.dr7, 17 + 4 * i, 16 + 4 * i);
		unsigned n = lens[bits_get(v->s.dr7, 19 + 4 * i, 18 + 4 * i)];
		u64 at = v->s.dr[i] & ~(u64)(n - 1);

		if (!(v->s.dr7 >> (2 * i) & 3) || !(rw == 3 || (rw == 1 && acc == ACC_W)))
			continue;
		if (la < at + n && at < la + len)
			v->db_hits |= BIT(i);
	}
}

static ALWAYS_INLINE void watch(struct vcpu *v, u64 la, unsigned len, enum access acc)
{
	if (unlikely(v->s.dr7 & 0xff))
		note_breakpoints(v, la, len, acc);
}

/* Alignment checking is for user mode with EFLAGS.AC and CR0.AM [SDM 3A 6.15, #AC]. */
static NOINLINE int misaligned(struct vcpu *v, u64 la, unsigned size)
{
	bool power_of_2 = !(size & (size - 1));

	if (v->cpl != 3 || !(v->s.cr0 & CR0_AM) || !power_of_2 || !(la & (size - 1)))
		return X_OK;
	return raise_err(v, EX_AC, 0);
}

static ALWAYS_INLINE int check_align(struct vcpu *v, u64 la, unsigned size)
{
	return unlikely(v->s.rflags & FL_AC) ? misaligned(v, la, size) : X_OK;
}

/* -- access by linear address -------------------------------------------------------- */

/* First byte of the page after @la's; addresses wrap at 4 GiB outside IA-32e mode. */
static u64 next_page(const struct vcpu *v, u64 la)
{
	u64 next = (la | 0xfff) + 1;

	return is_long(v) ? next : (u32)next;
}

/* [la, la+len) as one or two pages, both checked. *ret_first: bytes in the first. */
static int find_span(struct vcpu *v, u64 la, unsigned len, enum access acc, enum mmu_mode mode,
		     struct tc_entry ret[2], unsigned *ret_first)
{
	unsigned room = 4096 - (la & 0xfff);
	struct tc_entry *e;

	TRY(find(v, la, acc, mode, &e));
	ret[0] = *e;
	*ret_first = len <= room ? len : room;
	if (len <= room)
		return X_OK;
	TRY(find(v, next_page(v, la), acc, mode, &e));
	ret[1] = *e;
	return X_OK;
}

static NOINLINE int read_span(struct vcpu *v, u64 la, void *buf, unsigned len, enum mmu_mode mode)
{
	struct tc_entry e[2];
	unsigned first;

	TRY(find_span(v, la, len, ACC_R, mode, e, &first));
	page_get(v, &e[0], la & 0xfff, buf, first);
	if (len > first)
		page_get(v, &e[1], 0, (u8 *)buf + first, len - first);
	return X_OK;
}

static NOINLINE int write_span(struct vcpu *v, u64 la, const void *buf, unsigned len,
			       enum mmu_mode mode)
{
	struct tc_entry e[2];
	unsigned first;

	TRY(find_span(v, la, len, ACC_W, mode, e, &first));
	page_put(v, &e[0], la & 0xfff, buf, first);
	if (len > first)
		page_put(v, &e[1], 0, (const u8 *)buf + first, len - first);
	return X_OK;
}

static ALWAYS_INLINE int read_val(struct vcpu *v, u64 la, unsigned size, u64 *ret,
				  enum mmu_mode mode)
{
	struct tc_entry *e = lookup(v, la, ACC_R, mode);
	u64 val = 0;

	if (likely(e && e->host && (la & 0xfff) + size <= 4096)) {
		*ret = ram_get(e->host + (la & 0xfff), size);
		return X_OK;
	}
	TRY(read_span(v, la, &val, size, mode));
	*ret = val;
	return X_OK;
}

static ALWAYS_INLINE int write_val(struct vcpu *v, u64 la, unsigned size, u64 val,
				   enum mmu_mode mode)
{
	struct tc_entry *e = lookup(v, la, ACC_W, mode);

	if (unlikely(!e)) { /* fill first: page_put() has no single-access stores */
		TRY(fill(v, la, ACC_W, mode, &e));
	}
	if (likely(e->host && (la & 0xfff) + size <= 4096)) {
		ram_put(e->host + (la & 0xfff), size, val);
		if (holds_code(v, e->gpa))
			code_written(v, e->gpa + (la & 0xfff), size);
		return X_OK;
	}
	return write_span(v, la, &val, size, mode);
}

int lin_read(struct vcpu *v, u64 la, unsigned size, u64 *ret)
{
	TRY(check_align(v, la, size));
	TRY(read_val(v, la, size, ret, mmu_data_mode(v)));
	watch(v, la, size, ACC_R);
	return X_OK;
}

int lin_write(struct vcpu *v, u64 la, unsigned size, u64 val)
{
	TRY(check_align(v, la, size));
	TRY(write_val(v, la, size, val, mmu_data_mode(v)));
	watch(v, la, size, ACC_W);
	return X_OK;
}

int lin_read_sys(struct vcpu *v, u64 la, unsigned size, u64 *ret)
{
	return read_val(v, la, size, ret, MMU_IMPLICIT);
}

int lin_write_sys(struct vcpu *v, u64 la, unsigned size, u64 val)
{
	return write_val(v, la, size, val, MMU_IMPLICIT);
}

int lin_read_buf(struct vcpu *v, u64 la, void *buf, unsigned len)
{
	TRY(read_span(v, la, buf, len, mmu_data_mode(v)));
	watch(v, la, len, ACC_R);
	return X_OK;
}

int lin_write_buf(struct vcpu *v, u64 la, const void *buf, unsigned len)
{
	TRY(write_span(v, la, buf, len, mmu_data_mode(v)));
	watch(v, la, len, ACC_W);
	return X_OK;
}

int lin_check(struct vcpu *v, u64 la, unsigned len, enum access acc)
{
	struct tc_entry e[2];
	unsigned first;

	return find_span(v, la, len, acc, mmu_data_mode(v), e, &first);
}

int lin_ptr(struct vcpu *v, u64 la, unsigned size, enum access acc, u8 **ret)
{
	struct tc_entry e[2];
	unsigned first;

	if (size <= 8)
		TRY(check_align(v, la, size));
	TRY(find_span(v, la, size, acc, mmu_data_mode(v), e, &first));
	*ret = NULL;
	if (first < size || !e[0].host)
		return X_OK;
	if (acc == ACC_W) {
		/* seen by smp_claim_frame(), until the instruction ends */
		*(volatile u64 *)&v->writing = (e[0].gpa >> 12) + 1;
		if (holds_code(v, e[0].gpa))
			return X_OK;
	}
	watch(v, la, size, acc);
	*ret = e[0].host + (la & 0xfff);
	return X_OK;
}

int fetch_bytes(struct vcpu *v, u64 la, u8 *buf, unsigned want, unsigned *ret_len)
{
	enum mmu_mode mode = v->cpl == 3 ? MMU_USER : MMU_KERNEL;
	unsigned room = 4096 - (la & 0xfff), n = want < room ? want : room;
	struct x86_exc saved = v->exc;
	struct tc_entry *e;

	TRY(find(v, la, ACC_X, mode, &e));
	page_get(v, e, la & 0xfff, buf, n);
	*ret_len = n;
	if (n == want)
		return X_OK;
	if (find(v, next_page(v, la), ACC_X, mode, &e) != X_OK) {
		v->exc = saved;
		return X_OK;
	}
	page_get(v, e, 0, buf + n, want - n);
	*ret_len = want;
	return X_OK;
}

/* -- invalidation ------------------------------------------------------------------------ */

static void drop_all(struct mmu *m)
{
	for (unsigned i = 0; i < NR_ENTRIES; i++)
		m->e[i].key = 0;
	m->large_bloom = 0;
}

static u16 pcid_now(const struct vcpu *v)
{
	return v->s.cr4 & CR4_PCIDE ? v->s.cr3 & 0xfff : 0;
}

/* After the PCID changed, or lost its tag. */
static void set_pcid(struct vcpu *v)
{
	struct mmu *m = v->mmu;
	u16 *tag = &m->tag[pcid_now(v)];

	if (!*tag && m->next_tag == MAX_TAG) {
		drop_all(m);
		zero_bytes(m->tag, sizeof m->tag);
		m->next_tag = 0;
	}
	if (!*tag)
		*tag = ++m->next_tag;
	m->tag_key = (u64)*tag << 4;
}

void mmu_flush_all(struct vcpu *v)
{
	drop_all(v->mmu);
	set_pcid(v);
	tlb_flush_all(v);
}

void mmu_mode_changed(struct vcpu *v)
{
	mmu_flush_all(v);
}

void mmu_flush_nonglobal(struct vcpu *v)
{
	for (unsigned i = 0; i < NR_ENTRIES; i++)
		if (!v->mmu->e[i].global)
			v->mmu->e[i].key = 0;
	set_pcid(v);
	tlb_flush_nonglobal(v);
}

/* Every 4 KiB piece of a large page around @la, whatever the size. */
static void drop_large(struct mmu *m, u64 la)
{
	u64 page = (la << 4) >> 16; /* as keys hold it */

	for (unsigned i = 0; i < NR_ENTRIES; i++) {
		struct tc_entry *e = &m->e[i];

		if (e->shift > 12 && !(((e->key >> 16) ^ page) >> (e->shift - 12)))
			e->key = 0;
	}
}

void mmu_flush_page(struct vcpu *v, u64 la)
{
	struct mmu *m = v->mmu;
	u64 page = la >> 12 << 16;

	for (unsigned mode = 0; mode < NR_MMU_MODES; mode++) {
		struct tc_entry *e = slot(m, la, mode);

		if (((e->key ^ page) >> 16) == 0)
			e->key = 0;
	}
	if (m->large_bloom & BIT_ULL(la >> 30 & 63))
		drop_large(m, la);
	tlb_flush_page(v, la);
}

void mmu_flush_pcid(struct vcpu *v, u16 pcid)
{
	v->mmu->tag[pcid & 0xfff] = 0;
	set_pcid(v);
	tlb_flush_pcid(v, pcid);
}

void mmu_switch_pcid(struct vcpu *v)
{
	set_pcid(v);
	tlb_switch_pcid(v);
}
