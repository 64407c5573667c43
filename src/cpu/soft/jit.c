// SPDX-License-Identifier: Apache-2.0
/*
 * jit.c - running translated code: finding, linking and dropping blocks
 *
 * A block is found by (rip, guest-physical address, mode key). While it lives its
 * frame counts in mem_code_map() and is not writable in any table, so every write
 * to it comes through the interpreter's code_written() or mem_wrote().
 */
#include "cpu/soft/jit_int.h"

#include "base/trace.h"

#include "cpu/soft/gsbase.h"
#include "cpu/soft/jit_signal.h"
#include "cpu/soft/seg.h"
#include "cpu/soft/smp.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define DEFAULT_CODE (128ull << 20)
#define ODD_SAMPLES  64
#define GRANULE	     64u	 /* bytes of guest code per bit of a frame's bitmap */

/* -- life --------------------------------------------------------------------------------- */

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool alloc_pools(struct jit *j)
{
	j->block = reserve(MAX_BLOCKS * sizeof *j->block);
	j->link = reserve(MAX_LINKS * sizeof *j->link);
	j->insn_map = reserve(MAX_MAP * sizeof *j->insn_map);
	j->frame = reserve(j->nr_frames * sizeof *j->frame);
	j->granules = reserve(j->nr_frames * sizeof *j->granules);
	j->writers = reserve(j->nr_frames * sizeof *j->writers);
	return j->block && j->link && j->insn_map && j->frame && j->granules && j->writers;
}

static void free_pools(struct jit *j)
{
	struct {
		void *p;
		size_t bytes;
	} pool[] = {
		{ j->block, MAX_BLOCKS * sizeof *j->block },
		{ j->link, MAX_LINKS * sizeof *j->link },
		{ j->insn_map, MAX_MAP * sizeof *j->insn_map },
		{ j->frame, j->nr_frames * sizeof *j->frame },
		{ j->granules, j->nr_frames * sizeof *j->granules },
		{ j->writers, j->nr_frames * sizeof *j->writers },
	};

	for (unsigned k = 0; k < array_len(pool); k++)
		if (pool[k].p)
			munmap(pool[k].p, pool[k].bytes);
}

bool cpu_soft_translates(void)
{
	return gsbase_kind() != GSBASE_NONE && __builtin_cpu_supports("bmi2");
}

int jit_new(struct vcpu *v, struct err *e)
{
	struct jit *j;
	int r;

	if (!cpu_soft_translates())
		return 0;
	j = calloc(1, sizeof *j);
	if (!j)
		return err_set(e, ENOMEM, "cpu: out of memory");
	v->jit = j;
	j->nr_frames = mem_nr_frames(v->mem);
	r = codebuf_new(&j->code, v->cfg.code_cache_bytes ? v->cfg.code_cache_bytes : DEFAULT_CODE,
			e);
	if (r < 0)
		return r;
	j->delta = j->code.rx - j->code.rw;
	j->bias = v->cfg.off & CPU_OFF_LOOKUP ? 0 : (u32)(u64)v / 8;
	stubs_emit(j);
	cache_init(j);
	if (!alloc_pools(j))
		return err_set(e, ENOMEM, "cpu: no address space for the translator");
	r = tables_new(j, gsbase_kind() == GSBASE_LENT || v->cfg.off & CPU_OFF_GSBASE, e);
	v->jr.misaligned = v->cfg.off & CPU_OFF_SAMPLE ? INT64_MAX : ODD_SAMPLES;
	v->jr.user = j->table[j->user];
	return r;
}

void jit_free(struct vcpu *v)
{
	struct jit *j = v->jit;

	if (!j)
		return;
	jit_signal_forget(v);
	if (j->block && j->frame)
		jit_flush_code(v);
	tables_free(j);
	free_pools(j);
	codebuf_free(&j->code);
	free(j);
	v->jit = NULL;
}

void jit_thread_enter(struct vcpu *v)
{
	if (!v->jit)
		return;
	tables_enter(v);
	jit_signal_setup(v);
}

/* -- frames ---------------------------------------------------------------------------------- */

static u64 granule_mask(gpa_t gpa, u64 len)
{
	unsigned first = (unsigned)(gpa % MEM_PAGE) / GRANULE;
	u64 end = gpa % MEM_PAGE + len;
	unsigned last = end > MEM_PAGE ? 63 : (unsigned)((end - 1) / GRANULE);

	return ~0ull << first & ~0ull >> (63 - last);
}

/* This vCPU has code in @frame from now on (or no longer). */
static void count_frame(struct vcpu *v, u64 frame, int by)
{
	__atomic_fetch_add(&mem_code_map(v->mem)[frame], (u8)by, __ATOMIC_SEQ_CST);
}

void set_granules(struct jit *j, u64 frame, u64 bits)
{
	__atomic_store_n(&j->granules[frame], bits, __ATOMIC_RELAXED);
}

/* All bytes @b was made from: its own, and what was seen of the code it jumps to. */
u64 block_granules(const struct block *b)
{
	u64 g = granule_mask(b->gpa, b->len);

	for (unsigned k = 0; k < array_len(b->seen); k++)
		if (b->seen[k].len)
			g |= granule_mask(b->seen[k].off, b->seen[k].len);
	return g;
}

static bool depends_on(const struct block *b, gpa_t gpa, u64 end)
{
	gpa_t page = b->gpa & ~(MEM_PAGE - 1);

	if (b->gpa < end && b->gpa + b->len > gpa)
		return true;
	for (unsigned k = 0; k < array_len(b->seen); k++)
		if (b->seen[k].len && page + b->seen[k].off < end &&
		    page + b->seen[k].off + b->seen[k].len > gpa)
			return true;
	return false;
}

static void enter_frame(struct vcpu *v, struct block *b, u64 granules)
{
	struct jit *j = v->jit;
	u64 f = b->gpa / MEM_PAGE;

	b->frame_next = j->frame[f];
	j->frame[f] = (u32)(b - j->block) + 1;
	set_granules(j, f, granules | block_granules(b));
}

/*
 * Before code of @gpa's frame is read for translation: nobody writes to it unseen any more. The
 * whole frame counts while we read: a writer looks at the granules after its write
 * (smp_code_written()), we read after a full barrier. Return: the granules before.
 */
static u64 claim(struct vcpu *v, gpa_t gpa)
{
	struct jit *j = v->jit;
	u64 f = gpa / MEM_PAGE, old;

	old = __atomic_exchange_n(&j->granules[f], ~0ull, __ATOMIC_SEQ_CST);
	if (old)
		return old;
	count_frame(v, f, 1);
	tlb_protect_frame(v, f);
	smp_claim_frame(v, f);
	return 0;
}

void leave_frame(struct vcpu *v, u64 frame)
{
	set_granules(v->jit, frame, 0);
	count_frame(v, frame, -1);
}

/* -- finding blocks ------------------------------------------------------------------------------ */

u32 jit_hash(u64 rip, gpa_t gpa, u32 key)
{
	u64 h = (rip ^ gpa << 7 ^ (u64)key << 56) * 0x9e3779b97f4a7c15ull;

	return (u32)(h >> 40) & (NR_HASH - 1);
}

static struct block *find_block(struct jit *j, u64 rip, gpa_t gpa, u32 key)
{
	for (u32 k = j->hash[jit_hash(rip, gpa, key)]; k; k = j->block[k - 1].hash_next) {
		struct block *b = &j->block[k - 1];

		if (b->rip == rip && b->gpa == gpa && b->key == key)
			return b;
	}
	return NULL;
}

static struct block *add_block(struct vcpu *v, gpa_t gpa, const u8 *bytes)
{
	struct jit *j = v->jit;
	struct block *b;
	u64 granules;
	u32 h;

	cache_make_room(v);
	granules = claim(v, gpa);
	b = translate(v, gpa, bytes, 4096 - (unsigned)(gpa & 0xfff), j->key);
	if (!b) {
		set_granules(j, gpa / MEM_PAGE, granules ? granules : 1); /* stays counted */
		return NULL;
	}
	h = jit_hash(b->rip, b->gpa, b->key);
	b->hash_next = j->hash[h];
	j->hash[h] = (u32)(b - j->block) + 1;
	enter_frame(v, b, granules);
	perfmap_add(v, b);
	if (unlikely(trace_on[TRACE_JIT_BLOCK])) {
		fp_park(v); /* for stdio */
		trace(JIT_BLOCK, "cpu", v->index, b->rip, b->nr_insns);
	}
	return b;
}

/* The block at s.rip, translated if need be; NULL: the interpreter must do this instruction. */
static struct block *get_block(struct vcpu *v, struct xlate *ret)
{
	enum mmu_mode mode = v->cpl == 3 ? MMU_USER : MMU_KERNEL;
	struct block *b;

	if (!is_canonical(v->s.rip) || mmu_translate(v, v->s.rip, ACC_X, mode, ret) != X_OK ||
	    !ret->host)
		return NULL;
	b = find_block(v->jit, v->s.rip, ret->gpa, v->jit->key);
	return b ? b : add_block(v, ret->gpa, ret->host);
}

/* -- dropping blocks ------------------------------------------------------------------------------- */

static void drop_in_frame(struct vcpu *v, u64 frame, gpa_t gpa, u64 end)
{
	struct jit *j = v->jit;
	u32 *at = &j->frame[frame];
	u64 live = 0;

	while (*at) {
		struct block *b = &j->block[*at - 1];

		if (depends_on(b, gpa, end)) {
			*at = b->frame_next;
			cache_kill(j, b);
			j->n_invalidated++;
		} else {
			live |= block_granules(b);
			at = &b->frame_next;
		}
	}
	if (live)
		set_granules(j, frame, live);
	else
		leave_frame(v, frame);
}

/* Many writes beside the code of a frame: better without that code, so that they become fast. */
static bool is_data_by_now(struct jit *j, u64 frame)
{
	u8 *n = &j->missed[frame % array_len(j->missed)];

	return !__atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

/* Drop this vCPU's blocks over [gpa, gpa + len). */
static void drop_range(struct vcpu *v, gpa_t gpa, u64 len)
{
	struct jit *j = v->jit;

	for (u64 f = gpa / MEM_PAGE; f <= (gpa + len - 1) / MEM_PAGE && f < j->nr_frames; f++) {
		gpa_t from = f * MEM_PAGE > gpa ? f * MEM_PAGE : gpa;
		gpa_t to = (f + 1) * MEM_PAGE < gpa + len ? (f + 1) * MEM_PAGE : gpa + len;

		if (!j->granules[f])
			continue;
		if (j->granules[f] & granule_mask(from, to - from) || !j->frame[f])
			drop_in_frame(v, f, from, to);
		else if (is_data_by_now(j, f))
			drop_in_frame(v, f, f * MEM_PAGE, (f + 1) * MEM_PAGE);
	}
}

void code_written(struct vcpu *v, gpa_t gpa, u64 len)
{
	if (v->jit)
		drop_range(v, gpa, len);
	smp_code_written(v, gpa, len);
}

/* -- writes by other threads ------------------------------------------------------------------------ */

/* Could this vCPU have code in [gpa, gpa + len)? */
static bool touches_code(const struct jit *j, gpa_t gpa, u64 len)
{
	for (u64 f = gpa / MEM_PAGE; f <= (gpa + len - 1) / MEM_PAGE && f < j->nr_frames; f++) {
		gpa_t from = f * MEM_PAGE > gpa ? f * MEM_PAGE : gpa;
		gpa_t to = (f + 1) * MEM_PAGE < gpa + len ? (f + 1) * MEM_PAGE : gpa + len;
		u64 have = __atomic_load_n(&j->granules[f], __ATOMIC_RELAXED);

		if (have && (have & granule_mask(from, to - from) || !j->frame[f]))
			return true;
	}
	return false;
}

static void lock_writes(struct jit *j)
{
	unsigned n = 0;

	while (atomic_exchange_explicit(&j->writes.lock, true, memory_order_acquire))
		smp_relax(&n);
}

static void unlock_writes(struct jit *j)
{
	atomic_store_explicit(&j->writes.lock, false, memory_order_release);
}

void jit_post_code_write(struct vcpu *v, gpa_t gpa, u64 len)
{
	struct jit *j = v->jit;

	if (!j || !len)
		return;
	if (!touches_code(j, gpa, len)) {
		u64 f = gpa / MEM_PAGE;

		if (f >= j->nr_frames || !__atomic_load_n(&j->granules[f], __ATOMIC_RELAXED) ||
		    !is_data_by_now(j, f))
			return;
		gpa = f * MEM_PAGE;
		len = MEM_PAGE;
	}
	lock_writes(j);
	if (j->writes.nr < NR_CODE_WRITES) {
		j->writes.range[j->writes.nr].gpa = gpa;
		j->writes.range[j->writes.nr++].len = len;
	} else {
		j->writes.flush = true;
	}
	unlock_writes(j);
	soft_request(v, REQ_CODE);
}

void jit_take_code_writes(struct vcpu *v)
{
	struct jit *j = v->jit;

	if (!j)
		return;
	lock_writes(j);
	for (u32 k = 0; k < j->writes.nr && !j->writes.flush; k++)
		drop_range(v, j->writes.range[k].gpa, j->writes.range[k].len);
	if (j->writes.flush)
		jit_flush_code(v);
	j->writes.nr = 0;
	j->writes.flush = false;
	unlock_writes(j);
}

bool jit_may_write(const struct vcpu *v, u64 frame)
{
	return v->jit && tlb_may_write(v->jit, frame);
}

void jit_protect_frame(struct vcpu *v, u64 frame)
{
	if (v->jit)
		tlb_protect_frame(v, frame);
}

/* -- modes ------------------------------------------------------------------------------ */

/* Does user code fault on misaligned data [SDM 3A 6.15 #AC]? Translated code does not look. */
static bool checks_alignment(const struct vcpu *v)
{
	return v->s.rflags & FL_AC && v->cpl == 3 && v->s.cr0 & CR0_AM;
}

bool jit_usable(const struct vcpu *v)
{
	if (checks_alignment(v))
		return false;
	return is_long64(v) && (v->cpl == 0 || v->cpl == 3) && !(v->s.rflags & FL_TF) && !(v->s.dr7 & 0xff) && !v->s.shadow_sti &&
	       !v->s.shadow_ss && !(v->s.rflags & FL_RF);
}

static u32 mode_key(const struct vcpu *v)
{
	u32 key = 0;

	if (v->cpl == 0)
		key |= KEY_CPL0;
	if (v->s.cr0 & (CR0_EM | CR0_TS))
		return key;
	key |= KEY_X87;
	if (v->s.cr4 & CR4_OSFXSR)
		key |= KEY_SSE;
	if (v->s.cr4 & CR4_OSXSAVE && (v->s.xcr0 & (XCR0_SSE | XCR0_AVX)) == (XCR0_SSE | XCR0_AVX))
		key |= KEY_AVX;
	if (key & KEY_AVX && (v->s.xcr0 & XCR0_AVX512) == XCR0_AVX512)
		key |= KEY_AVX512;
	return key;
}

/*
 * Translated SYSCALL and SYSRET suppose that they exist and that SYSCALL clears every flag that
 * matters to translation: TF, AC and the arithmetic ones.
 */
static bool syscall_odd(const struct vcpu *v)
{
	const u64 need = FL_ARITH | FL_TF | FL_AC;

	return !(v->s.efer & EFER_SCE) || (v->s.sfmask & need) != need;
}

/* After anything that may have changed the mode, privilege, or what they depend on. */
static void refresh_mode(struct vcpu *v)
{
	u32 key = mode_key(v);

	if ((key ^ v->jit->key) & ~KEY_CPL0)
		tlb_jump_clear_all(v->jit);
	v->jit->key = key;
	v->jr.syscall_odd = syscall_odd(v);
	tables_select(v);
}

/* -- called by translated code ------------------------------------------------------------------------ */

u32 jit_slow(struct vcpu *v, u64 va, u64 site)
{
	unsigned acc = site >> 8 & 3;

	v->jit->n_slow++;
	tables_find(v);
	return !(acc == ACC_MASKED_W ? tlb_fill_dirty(v, va) : tlb_fill(v, va, (enum access)acc));
}

static void merge_flags(struct vcpu *v)
{
	v->s.rflags = (v->s.rflags & ~(u64)FL_ARITH) | (v->jr.flags & FL_ARITH);
}

/* jr.packed: SAHF's byte in bits 15:8, OF in bit 0 (jit_int.h). */
static u64 pack_flags(u64 rflags)
{
	return (rflags & (FL_ARITH & 0xff)) << 8 | (rflags & FL_OF) / FL_OF;
}

static u64 unpack_flags(u64 packed)
{
	return (packed >> 8 & (FL_ARITH & 0xff)) | (packed & 1) * FL_OF;
}

/* An instruction's outcome: faults are delivered, or handed to a test that wants to see them. */
static int settle(struct vcpu *v, int r)
{
	return r == X_FAULT && !v->cfg.stop_at_faults ? deliver_exception(v) : r;
}

/* Only the privilege can differ from when j->key was made (trans_sys.c). */
static u32 key_now(const struct vcpu *v)
{
	return (v->jit->key & ~KEY_CPL0) | (v->cpl ? 0 : KEY_CPL0);
}

const u8 *jit_find(struct vcpu *v, u64 rip)
{
	struct jit *j = v->jit;
	struct block *b;
	struct xlate x;

	j->n_misses++;
	tables_find(v);
	if (!is_canonical(rip) || v->cfg.single_block || v->cfg.off & CPU_OFF_FIND ||
	    mmu_translate(v, rip, ACC_X, v->cpl == 3 ? MMU_USER : MMU_KERNEL, &x) != X_OK || !x.host)
		return NULL;
	b = find_block(j, rip, x.gpa, key_now(v));
	if (!b || b->straddle)
		return NULL;
	tlb_jump_set(v, rip, j->code.rx + b->start, &x);
	return j->code.rx + b->start;
}

/* One interpreted instruction; true: the next one of the same block may follow at once. */
static bool interpret(struct vcpu *v, u64 rip, u64 len)
{
	u32 gen = v->jit->gen;
	u8 cpl = v->cpl;
	int r;

	merge_flags(v);
	v->s.rip = v->jit->t0_rip = rip;
	v->jit->n_t0++;
	r = settle(v, interp_step(v));
	v->jit->result = r;
	v->jr.flags = v->s.rflags;
	return r == X_OK && v->s.rip == rip + len && v->jit->gen == gen && v->cpl == cpl &&
	       !atomic_load_explicit(&v->exit_req, memory_order_relaxed) &&
	       v->s.activity == ACT_RUNNING && !v->s.shadow_sti && !v->s.shadow_ss &&
	       !(v->irq_waiting && v->s.rflags & FL_IF) && !v->error[0];
}

u32 jit_t0(struct vcpu *v, u64 rip, u64 len)
{
	if (!interpret(v, rip, len))
		return 1;
	fp_unpark(v);
	return 0;
}

/* Is there anything that only the loops of jit_run() and run_loop() handle? */
static bool must_leave(struct vcpu *v)
{
	return v->jit->result != X_OK || v->cfg.single_block || (v->cfg.run_insns && v->in_rep) ||
	       atomic_load_explicit(&v->exit_req, memory_order_acquire) || v->irq_waiting ||
	       v->s.activity != ACT_RUNNING || !jit_usable(v) || v->error[0];
}

u32 jit_t0_end(struct vcpu *v, u64 rip)
{
	interpret(v, rip, 0);
	if (must_leave(v))
		return 0;
	refresh_mode(v);
	v->jr.target = v->jr.active->jt[JT_INDEX(v->s.rip)];
	v->jr.packed = pack_flags(v->s.rflags);
	v->jr.last = 0;
	fp_unpark(v);
	return 1;
}

/* -- the translated loop --------------------------------------------------------------------------------- */

/* s.rip of the instruction an exit belongs to. */
static void set_rip_at(struct vcpu *v)
{
	struct block *b = block_at(v->jit, v->jr.pc);

	v->s.rip = (b->rip & ~0xfffull) | (v->jit->insn_map[b->map + v->jr.site] & 0xfff);
}

/* A chained jump's first use: link it to its target if that can be translated. */
static void chain(struct vcpu *v)
{
	struct jit *j = v->jit;
	u32 pc = (u32)(v->jr.pc - (u64)j->code.rx), gen = j->gen;
	struct xlate x;
	struct block *from = block_at(j, v->jr.pc), *to = get_block(v, &x);

	if (!to || !from || j->gen != gen || from->dead)
		return;
	for (unsigned k = 0; k < 2; k++)
		if (from->out[k].pc == pc && from->out[k].rip == to->rip &&
		    !((from->gpa ^ to->gpa) & ~0xfffull)) /* not while the page is being remapped */
			cache_link(j, from, k, to);
}

static int interpret_here(struct vcpu *v)
{
	return settle(v, interp_step(v));
}

/* Enter at s.rip; false: the interpreter has to take the instruction. */
static bool enter(struct vcpu *v, enum jit_exit *ret_why)
{
	struct jit *j = v->jit;
	u64 target = v->jr.active->jt[JT_INDEX(v->s.rip)];

	if (target == (u64)j->miss) {
		struct xlate x;
		struct block *b = get_block(v, &x);

		if (!b)
			return false;
		j->entered = b;
		target = (u64)j->code.rx + b->start;
		if (!v->cfg.single_block)
			tlb_jump_set(v, v->s.rip, (const u8 *)target, &x);
	}
	fp_unpark(v);
	v->jr.target = target;
	v->jr.packed = pack_flags(v->s.rflags);
	v->jr.last = 0;
	*ret_why = (enum jit_exit)j->enter(v);
	j->n_exits[*ret_why]++;
	if (*ret_why == JX_MISS)
		v->jr.flags = unpack_flags(v->jr.packed);
	if (*ret_why != JX_DONE)
		merge_flags(v);
	return true;
}

/*
 * RET or JMP went to an address that is not canonical: that fault belongs to the branch. Take
 * back what it did and let the interpreter execute it.
 */
static void undo_indirect(struct vcpu *v)
{
	struct jit *j = v->jit;
	struct block *b = block_at(j, (u64)j->code.rx + (u32)v->jr.last);
	u32 off = j->insn_map[b->map + b->nr_insns - 1] & 0xfff;
	const u8 *p = mem_ptr(v->mem, (b->gpa & ~0xfffull) + off, 1);
	struct insn i;

	v->s.rip = (b->rip & ~0xfffull) | off;
	if (b->straddle) /* no RET */
		return;
	if (!insn_decode(&i, p, 15, 8) || (i.op != 0xc3 && i.op != 0xc2))
		return;
	v->s.gpr[RSP] -= 8 + (i.op == 0xc2 ? i.imm & 0xffff : 0);
}

/* Outside of any block. */
static int interpret_counted(struct vcpu *v)
{
	v->jr.left--;
	return interpret_here(v);
}

/* The tail of @head in the page @x; NULL: the interpreter's. */
static struct block *get_tail(struct vcpu *v, struct block *head, const struct xlate *x)
{
	struct jit *j = v->jit;
	const u8 *first = mem_ptr(v->mem, head->gpa, head->len);
	struct block *b = head->tail ? &j->block[head->tail - 1] : NULL;
	u64 granules;

	if (b && !b->dead && b->straddle == head->straddle && b->gpa == x->gpa)
		return b;
	granules = claim(v, x->gpa);
	b = first ? translate_tail(v, x->gpa, x->host, first, head) : NULL;
	if (!b) {
		set_granules(j, x->gpa / MEM_PAGE, granules ? granules : 1);
		return NULL;
	}
	head->tail = (u32)(b - j->block) + 1;
	enter_frame(v, b, granules);
	return b;
}

/* s.rip is at @head, in the page @x: make both jump entries. */
static int on_head(struct vcpu *v, struct block *head, const struct xlate *x)
{
	u64 slot = straddle_slot(v->s.rip);
	struct block *tail;
	struct xlate next;

	cache_make_room(v);
	if (head->dead)
		return X_OK; /* once more */
	if (mmu_translate(v, slot & ~0xfffull, ACC_X, v->cpl == 3 ? MMU_USER : MMU_KERNEL, &next) != X_OK ||
	    !next.host)
		return interpret_counted(v);
	tail = get_tail(v, head, &next);
	if (!tail)
		return interpret_counted(v);
	next.global &= x->global;
	tlb_jump_set(v, v->s.rip, v->jit->code.rx + head->start, x);
	tlb_jump_set(v, slot, v->jit->code.rx + tail->start, &next);
	return X_OK;
}

/* r10's target had no valid jump entry: make one. */
static int on_miss(struct vcpu *v)
{
	struct block *b;
	struct xlate x;

	if (!is_canonical(v->s.rip)) {
		if (!v->jr.last)
			return interpret_counted(v);
		undo_indirect(v);
		return interpret_here(v);
	}
	if (v->cfg.single_block)
		return X_OK;
	b = get_block(v, &x);
	if (!b)
		return interpret_counted(v);
	if (b->straddle)
		return on_head(v, b, &x);
	tlb_jump_set(v, v->s.rip, v->jit->code.rx + b->start, &x);
	return X_OK;
}

/* A host fault where flags were in memory. */
static void take_fault_flags(struct vcpu *v)
{
	struct block *b = block_at(v->jit, v->jr.pc);

	bool cold = v->jr.pc - (u64)v->jit->code.rx > v->jit->cold_low;

	if (!((cold ? b->packed_cold : b->packed) >> v->jr.site & 1))
		return;
	v->jr.flags = unpack_flags(v->jr.packed);
	merge_flags(v);
}

/* A host fault at the instruction at s.rip: perhaps one of its addresses met another's entry. */
static void note_aliases(struct vcpu *v)
{
	struct insn i;
	unsigned n;
	u8 buf[15];
	u64 la;

	if (fetch_bytes(v, v->s.rip, buf, sizeof buf, &n) != X_OK || !insn_decode(&i, buf, n, 8))
		return;
	if (i.is_mem) {
		la = insn_ea(v, &i, v->s.rip + i.len);
		if (i.mem_seg == SEG_FS || i.mem_seg == SEG_GS)
			la += v->s.seg[i.mem_seg].base;
		tlb_note_alias(v, la);
	}
	if (i.attr & IA_STACK) {
		tlb_note_alias(v, v->s.gpr[RSP]);
		tlb_note_alias(v, v->s.gpr[RSP] - 8);
		tlb_note_alias(v, v->s.gpr[RBP]); /* LEAVE */
	}
}

static int handle_exit(struct vcpu *v, enum jit_exit why)
{
	refresh_mode(v); /* SYSCALL and SYSRET change the privilege on the way */
	switch (why) {
	case JX_MISS: return on_miss(v);
	case JX_FAULT:
		take_fault_flags(v);
		set_rip_at(v);
		note_aliases(v);
		return interpret_here(v);
	case JX_INTERP:
		set_rip_at(v);
		return interpret_here(v);
	case JX_POLL: set_rip_at(v); return X_OK;
	case JX_CHAIN:
		if (!v->cfg.single_block)
			chain(v);
		return X_OK;
	case JX_DONE: return v->jit->result;
	case NR_JX: break;
	}
	return X_OK;
}

/* -- hooks of tests ------------------------------------------------------------------------------------- */

/* Instructions of @b executed when it left with @why, that exit's handling included. */
static u64 done_of(struct vcpu *v, const struct block *b, enum jit_exit why)
{
	struct jit *j = v->jit;
	u64 k = 0;

	switch (why) {
	case JX_MISS: case JX_CHAIN: return b->nr_insns;
	case JX_POLL: return v->jr.site;
	case JX_INTERP: case JX_FAULT: return v->jr.site + 1;
	case JX_DONE: case NR_JX: break;
	}
	while (k + 1 < b->nr_insns && (j->insn_map[b->map + k] & 0xfff) != (j->t0_rip & 0xfff))
		k++;
	return k + 1;
}

/* Translated code left with @why: set j->retired, or take back what jr.left counted too much. */
static void count_exit(struct vcpu *v, enum jit_exit why)
{
	struct block *b;

	if (v->cfg.single_block)
		v->jit->retired = done_of(v, v->jit->entered, why);
	if (!v->cfg.run_insns || why == JX_MISS || why == JX_CHAIN)
		return;
	b = block_at(v->jit, why == JX_DONE ? v->jr.ret : v->jr.pc);
	v->jr.left += b->nr_insns - (i64)done_of(v, b, why);
}

/*
 * Every so many misaligned accesses one leaves: its instruction gets a check that does not mind, when
 * its block is made anew.
 */
static void take_sample(struct vcpu *v)
{
	struct jit *j = v->jit;
	struct block *b = block_at(j, v->jr.pc);
	gpa_t gpa = (b->gpa & ~0xfffull) | (j->insn_map[b->map + v->jr.site] & 0xfff);

	/* Ever more rarely: sites that share a slot take it from each other for ever. */
	v->jr.misaligned = ODD_SAMPLES + j->nr_samples++;
	if (jit_is_odd(j, gpa))
		return;
	*jit_odd_slot(j, gpa) = gpa + 1;
	if (!b->dead && b->straddle)
		cache_kill(j, b);
	else if (!b->dead)
		drop_range(v, gpa, 1);
}

/* End of a run, with cfg.run_insns? A poll found too little left; a REP between two chunks ends it
 * as well. */
static bool run_ends(struct vcpu *v, enum jit_exit why)
{
	v->jit->retired = (u64)(v->cfg.run_insns - v->jr.left);
	return why == JX_POLL || v->jr.left <= 0 || v->in_rep;
}

u64 jit_retired(const struct vcpu *v)
{
	return v->jit->retired;
}

static void flush_now_and_then(struct vcpu *v)
{
	if (++v->jit->nr_entries % v->cfg.tlb_flush_every)
		return;
	jit_flush_code(v);
	tlb_flush_all(v);
}

/* -- the loop -------------------------------------------------------------------------------------------- */

int jit_run(struct vcpu *v)
{
	v->jr.left = v->cfg.run_insns;
	for (;;) {
		enum jit_exit why = JX_DONE;
		int r;

		if (unlikely(v->cfg.tlb_flush_every))
			flush_now_and_then(v);
		refresh_mode(v);
		v->jit->retired = 1;
		if (enter(v, &why)) {
			if (why == JX_INTERP && v->jr.misaligned < 0) {
				take_sample(v);
				why = JX_POLL;
			}
			count_exit(v, why);
			r = handle_exit(v, why);
		} else {
			r = interpret_counted(v);
		}
		if (v->cfg.run_insns && run_ends(v, why))
			return r;
		if (r != X_OK || v->cfg.single_block || v->s.nmi_pending || v->irq_waiting ||
		    atomic_load_explicit(&v->exit_req, memory_order_acquire) ||
		    v->s.activity != ACT_RUNNING || !jit_usable(v) || v->error[0])
			return r;
	}
}

/* Host fault in translated code: where to resume. False: not translated code. */
bool jit_fault(struct vcpu *v, u64 pc, u64 *ret_pc)
{
	struct jit *j = v->jit;
	struct block *b;
	unsigned k = 0;

	if (!j || pc - (u64)j->code.rx >= j->code.size)
		return false;
	b = block_at(j, pc + 1);
	if (!b)
		return false;
	while (k + 1u < b->nr_insns &&
	       b->start + (j->insn_map[b->map + k + 1] >> 12) <= pc - (u64)j->code.rx)
		k++;
	v->jr.pc = pc + 1;
	if (pc - (u64)j->code.rx < j->cold_low) /* out of line, the code has set it */
		v->jr.site = k;
	j->n_faults++;
	*ret_pc = (u64)j->fault_exit;
	return true;
}
