// SPDX-License-Identifier: Apache-2.0
/*
 * jit_int.h - the translator's own structures: private to jit*.c, tlb.c,
 * translate*.c
 *
 * Register mapping while translated code runs. rax rcx rdx rbx rsi rdi rbp r8 r9
 * r12 r13 r14 hold the guest's registers of the same name; r15 holds the guest's
 * rsp; r10 and r11 are scratch, the guest's r10, r11 and r15 live in s.gpr; rsp is
 * the struct vcpu, with the helpers' stack below it; gs base is the translation
 * table of the current address space and privilege; arithmetic flags and vector
 * registers are the guest's own.
 *
 * Translation table: one u64 per 4 KiB page, indexed by address bits 40:12:
 * (host address - guest address) | 1 if writable; 0 = ask the MMU. The 67h prefix
 * wraps the index, so no guest address reaches outside the table; the bits above
 * 40 are checked by the host's MMU, because guest RAM is the only thing mapped at
 * its offset modulo 2 TiB (mem.h). The index is counted from rsp, which is constant:
 * [esp + index * 8] needs no displacement. So the first entry is jit.bias. Directly below the table is the jump table: one
 * host address per low 16 bits of rip; a block checks r10 against its own rip.
 */
#ifndef CPU_SOFT_JIT_INT_H
#define CPU_SOFT_JIT_INT_H

#include "cpu/soft/codebuf.h"
#include "cpu/soft/emit.h"
#include "cpu/soft/jit.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/tlb.h"

#define HOST_RSP R15 /* host register of the guest's rsp */
#define TABLE_ENTRIES (1ull << 29)
#define TABLE_BYTES   (TABLE_ENTRIES * 8)
#define JT_ENTRIES    65536u
#define JT_BYTES      (JT_ENTRIES * 8)
#define JT_INDEX(rip) (((rip) ^ (rip) >> 16) & (JT_ENTRIES - 1))

#define MAX_INSNS 32
#define NR_LOG	  4096 /* table entries remembered for a cheap flush */
#define NR_JLOG	  8192
#define NR_NJLOG  4096
#define JT_PAGE	  4096u /* the jump entries of one page: these in a row */

/* Bloom filters of 2 MiB and 1 GiB regions: bit (region number & 4095). */
struct regions {
	u64 of_2m[64], of_1g[64];
	bool any;
};

/* One address space at one privilege. */
struct table {
	u64 *e;		/* translation entries, by table_entry(); gs base */
	u64 *jt;	/* jump table, directly below */
	u8 id;		/* index in jit.table */
	u16 pcid;	/* user tables: whose */
	u64 used;	/* tick of last use, for replacement */
	u32 nr_log, nr_jlog, nr_njlog;
	bool log_full, jlog_full, njlog_full;
	bool any; /* e may hold entries */
	bool ready; /* jt holds addresses: false until the table is used */
	struct regions entries; /* with entries from large pages: INVLPG clears the whole region */
	u32 *log;     /* NR_LOG indexes of non-global entries */
	u16 *jlog;    /* NR_JLOG */
	u16 *njlog;   /* NR_NJLOG; kernel tables: jump entries of pages that are not global */
	u64 exec[64];	     /* bloom filter of small pages with jump entries: bit vpn & 4095 */
	struct regions exec_large; /* the same of large pages */
};

enum { T_KERNEL, T_KERNEL_AC, T_USER, NR_USER = 6, NR_TABLES = T_USER + NR_USER };

/* Where a frame is mapped writable: what must change when code is translated from it. */
#define NR_WRITERS 3
struct writers {
	u32 rec[NR_WRITERS]; /* table id << 29 | index */
	bool used[NR_WRITERS], overflow;
};

/* A jump that goes straight into another block, or to its own exit until that exists. */
struct link {
	u32 hole;  /* offset of the rel32 */
	i32 exit;  /* rel32 value that leads to the exit */
	u32 next;  /* next link into the same block, or free one, + 1 */
	u32 from;  /* block that jumps, and which of its exits */
	u8 slot;
};

struct block {
	u64 rip;
	gpa_t gpa;
	u32 key;	    /* enum key bits */
	u32 hash_next;	    /* index + 1; beside what a search compares */
	u32 start, body, end; /* offsets in the code buffer: verified entry, chained entry, end */
	u32 cold, cold_end;   /* its exits and slow paths */
	u32 map;	    /* first of nr_insns entries in insn_map */
	u32 frame_next;	    /* index + 1 */
	u32 links_in;	    /* first struct link + 1 */
	u16 len;	    /* guest bytes */
	u8 nr_insns;
	bool dead;
	u32 straddle; /* not 0: head or tail of an instruction across a page's end, by this number */
	u32 tail;     /* of a head: its tail's index + 1 */
	u32 packed, packed_cold; /* bit k: flags are in jr.packed where instruction k may fault */
	struct {
		u32 pc;	  /* offset behind the exit's call; 0 = none */
		u32 hole; /* the jump to patch */
		u32 to;	  /* block it is linked to + 1 */
		u64 rip;
	} out[2];
	struct {	/* of the same page: flags are dead because of these bytes */
		u16 off;
		u8 len;
	} seen[2];
};

#define NR_HASH	  (1u << 18)
#define MAX_BLOCKS (1u << 19)
#define MAX_LINKS  (1u << 20)
#define MAX_MAP	   (1u << 22)

/* Mode bits a block depends on. */
#define KEY_X87 BIT(0) /* x87/MMX usable: CR0.EM = TS = 0 */
#define KEY_SSE BIT(1)
#define KEY_AVX BIT(2)
#define KEY_CPL0 BIT(3) /* privileged instructions may be inlined; tables differ by CPL anyway */
#define KEY_AVX512 BIT(4)

/* Beside enum access: a store with an opmask, which makes a page dirty only if it writes. */
#define ACC_MASKED_W 3

/* Why translated code came back. */
enum jit_exit { JX_MISS, JX_INTERP, JX_FAULT, JX_POLL, JX_CHAIN, JX_DONE, NR_JX };

#define MAX_REGIONS 16 /* of the code cache: jit_cache.c */

#define NR_CODE_WRITES 64

struct perfmap { /* lines not yet written (perfmap.c) */
	char buf[4096];
	u32 used;
};

struct jit {
	struct codebuf code;
	u32 low;      /* first byte after the fixed stubs */
	u32 cold_low; /* start of the upper part: exits and slow paths, kept out of the way */
	u32 used, hot_end, cold, cold_end; /* free room in the current region, of both parts */
	u32 hot_ready, cold_ready; /* memory is there up to here */
	i64 delta;     /* rx - rw */
	u32 bias;      /* entry of guest page 0 */

	/* fixed stubs, in the executable mapping (jit_stubs.c) */
	u64 (*enter)(struct vcpu *v);
	const u8 *miss, *slow, *exit_interp, *exit_poll, *exit_chain, *call_t0, *call_t0_end;
	const u8 *rep, *fault_exit;

	u8 *tables; /* reservation: where their parts lie (tlb.c) */
	int jumps;  /* a file of unused jump entries; -1 = none */
	struct table all[NR_TABLES + 1], *table[NR_TABLES];
	struct table *home; /* always empty: where a thread finds itself after it was away, if gs base
			     * can be lost (gsbase.h); NULL if it can't */
	bool lends_base; /* it can */
	unsigned user; /* index of the current user table */
	u64 tick;

	u32 hash[NR_HASH];  /* block index + 1 */
	u32 *frame;	    /* per guest frame: first block + 1 */
	struct writers *writers; /* per guest frame */
	u32 alias[64]; /* table indexes that two pages in use share, + 1: the interpreter's */
	u32 nr_samples; /* of misaligned accesses */
	u64 odd[2048]; /* hash of instructions whose operands are often misaligned: gpa + 1 */
	u8 missed[4096]; /* per frame modulo: writes to a frame with code that met none */
	u64 *granules;	/* per guest frame: 64-byte pieces with code; 0 = none, not counted */
	u64 nr_frames;
	u32 key;	/* mode key of the jump tables' blocks */
	u32 straddles;	/* last number given to a head */
	int result;	/* of the instruction interpreted inside a block */
	struct block *block;
	u32 nr_blocks; /* next free in the current region */
	struct link *link;
	u32 nr_links, free_link;
	u32 *insn_map; /* host offset from start << 12 | guest offset, per instruction */
	u32 nr_map; /* next free in the current region */
	u32 region, nr_regions;
	u32 in_region[MAX_REGIONS]; /* blocks, but of the current one */
	u32 gen;       /* bumped when blocks die: callers inside a block leave it */

	/* Code writes by other threads, taken at the next poll. */
	struct {
		_Atomic bool lock;
		bool flush; /* more than there is room for */
		u32 nr;
		struct {
			gpa_t gpa;
			u64 len;
		} range[NR_CODE_WRITES];
	} writes;

	/* cfg.single_block, cfg.run_insns and cfg.tlb_flush_every */
	u64 retired;	       /* instructions, or chunks of REP, that the last jit_run() executed */
	struct block *entered; /* last; single_block only */
	u64 t0_rip;	       /* of the last instruction interpreted inside a block */
	u64 nr_entries;

	struct perfmap perfmap;
	u64 n_exits[NR_JX], n_table_flushes, n_page_flushes, n_switches;
	u64 n_translated, n_flushes, n_evictions, n_misses, n_fills, n_slow, n_faults, n_t0, n_invalidated;
};

/* Of the pages whose address bits 40:12 are @idx. */
static inline u64 *table_entry(const struct jit *j, const struct table *t, u64 idx)
{
	return &t->e[(idx + j->bias) & (TABLE_ENTRIES - 1)];
}

static inline struct jit *jit_of(struct vcpu *v)
{
	return v->jit;
}

/* -- tlb.c ------------------------------------------------------------------------ */

int tables_new(struct jit *j, bool may_lose_base, struct err *e) MUST_CHECK;
void tables_free(struct jit *j);
void tables_enter(struct vcpu *v);    /* on the vCPU's thread, before the first table is selected */
void tables_find(struct vcpu *v);     /* gs base may have been lost: the active table again */
void tables_select(struct vcpu *v);   /* gs base from CPL, AC and PCID */
/* Fill the entry for @va; false: not a RAM page that allows @acc, the interpreter decides. */
bool tlb_fill(struct vcpu *v, u64 va, enum access acc);
/* The same for a write that may write nothing: true only if the page is dirty already. */
bool tlb_fill_dirty(struct vcpu *v, u64 va);
void tlb_jump_set(struct vcpu *v, u64 rip, const u8 *rx, const struct xlate *x);
/* A host fault at guest address @la: if another page has its table entry, use it for neither. */
void tlb_note_alias(struct vcpu *v, u64 la);
void tlb_jump_clear_all(struct jit *j); /* every table's jump entries */
void tlb_protect_frame(struct vcpu *v, u64 frame); /* drop write permission to it everywhere */
bool tlb_may_write(const struct jit *j, u64 frame); /* any thread */

/* -- jit_stubs.c -------------------------------------------------------------------- */

void stubs_emit(struct jit *j);

/* -- translate.c -------------------------------------------------------------------- */

/* Translate at s.rip (mapped at gpa, @bytes readable there in the same page). NULL: the
 * code buffer is full, or the first instruction is the interpreter's. */
struct block *translate(struct vcpu *v, gpa_t gpa, const u8 *bytes, unsigned room, u32 key);

/*
 * An instruction that goes on in the next page is two blocks. The head belongs to the first page and
 * jumps through the table by an entry of the second page, with its number in r11; the tail belongs to
 * the second page, so that whatever invalidates that page's code or mapping ends it, and goes on
 * there. Here: the tail, at s.rip. @gpa, @page: the second page; @first: the bytes in the first.
 */
struct block *translate_tail(struct vcpu *v, gpa_t gpa, const u8 *page, const u8 *first,
			     const struct block *head);
static inline u64 straddle_slot(u64 rip) /* whose jump entry that is */
{
	return (rip | 0xfff) + 1 + (rip & 0xfff);
}

/* -- perfmap.c ------------------------------------------------------------------------- */

void perfmap_add(struct vcpu *v, const struct block *b); /* with cfg.perf_fd */

/* -- jit_cache.c ---------------------------------------------------------------------- */

void cache_init(struct jit *j); /* after stubs_emit() */
/* Room for a block, at the expense of the oldest; no translated code may be executing. */
void cache_make_room(struct vcpu *v);
/* Exit @slot of @from jumps straight to @to, in the same page. */
void cache_link(struct jit *j, struct block *from, unsigned slot, struct block *to);
/* No way leads into @b any more; code that runs in it now leaves at its next exit. */
void cache_kill(struct jit *j, struct block *b);
u64 cache_blocks(const struct jit *j);
u64 cache_bytes(const struct jit *j);

/* The block's instruction at @gpa: are its operands often misaligned? */
static inline u64 *jit_odd_slot(struct jit *j, gpa_t gpa)
{
	return &j->odd[(gpa ^ gpa >> 11) % (sizeof j->odd / sizeof j->odd[0])];
}

static inline bool jit_is_odd(struct jit *j, gpa_t gpa)
{
	return *jit_odd_slot(j, gpa) == gpa + 1;
}

/* -- jit.c --------------------------------------------------------------------------- */

/* The block that contains an address of the executable mapping, or NULL. */
struct block *block_at(struct jit *j, u64 pc);
void jit_flush_code(struct vcpu *v); /* jit_cache.c */
u32 jit_hash(u64 rip, gpa_t gpa, u32 key);
u64 block_granules(const struct block *b); /* the 64-byte pieces of its frame it depends on */
void set_granules(struct jit *j, u64 frame, u64 bits);
void leave_frame(struct vcpu *v, u64 frame); /* no code in it any more */
u32 jit_slow(struct vcpu *v, u64 va, u64 site);	 /* called by translated code */
/* Likewise: REP MOVS (JIT_REP_MOVS) or STOS of elements of 1 << (kind & 3) bytes. Non-zero: elements
 * are left, for the interpreter. */
#define JIT_REP_MOVS 4
u32 jit_rep(struct vcpu *v, u64 kind);
/* Likewise: the translated block at @rip, entered in the jump table; NULL = leave. */
const u8 *jit_find(struct vcpu *v, u64 rip);
u32 jit_t0(struct vcpu *v, u64 rip, u64 len);	 /* likewise: interpret one, go on inside */
/* Likewise for one that ends a block: non-zero = go on at jr.target, else leave. */
u32 jit_t0_end(struct vcpu *v, u64 rip);


#endif
