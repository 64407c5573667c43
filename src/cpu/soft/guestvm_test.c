// SPDX-License-Identifier: Apache-2.0
/* guestvm_test.c - the guest that tests of whole-machine behaviour share; see guestvm.h */
#include "cpu/soft/guestvm.h"

#include "base/test.h"
#include "cpu/soft/desc.h"
#include "cpu/soft/seg.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define SECONDS 60 /* of a busy machine; nothing runs into it */

/* -- the outside ---------------------------------------------------------------------- */

static void on_out(void *io, u16 port, unsigned size, u64 val)
{
	struct gv *g = io;

	(void)size;
	if (port >= GV_HOOK && port < GV_HOOK + 16) {
		if (g->hook)
			g->hook(g, port, val);
		return;
	}
	g->vector = port == GV_END ? -1 : port < 32 ? port : -2;
	cpu_soft.signal(g->v, CPU_SIG_KICK, 0);
}

static u64 on_in(void *io, u16 port, unsigned size)
{
	(void)io, (void)port, (void)size;
	return 0x5a;
}

static u64 on_load(void *io, gpa_t gpa, unsigned size)
{
	(void)io, (void)gpa, (void)size;
	return 0x8877665544332211;
}

static void on_store(void *io, gpa_t gpa, unsigned size, u64 val)
{
	(void)io, (void)gpa, (void)size, (void)val;
}

static int on_ack(void *io)
{
	struct gv *g = io;

	return __atomic_exchange_n(&g->irq, -1, __ATOMIC_SEQ_CST);
}

static bool on_has(void *io)
{
	struct gv *g = io;

	return __atomic_load_n(&g->irq, __ATOMIC_SEQ_CST) >= 0;
}

static bool no_rdmsr(void *io, u32 msr, u64 *ret)
{
	(void)io, (void)msr, (void)ret;
	return false;
}

static bool no_wrmsr(void *io, u32 msr, u64 val)
{
	(void)io, (void)msr, (void)val;
	return false;
}

static u8 get_cr8(void *io)
{
	(void)io;
	return 0;
}

static void set_cr8(void *io, u8 val)
{
	(void)io, (void)val;
}

static u64 wall(void *io)
{
	(void)io;
	return 0;
}

/* -- memory --------------------------------------------------------------------------- */

void gv_put(struct gv *g, gpa_t gpa, unsigned size, u64 val)
{
	if (!mem_write(g->mem, gpa, &val, size))
		abort();
}

u64 gv_get(struct gv *g, gpa_t gpa, unsigned size)
{
	u64 val = 0;

	if (!mem_read(g->mem, gpa, &val, size))
		abort();
	return val;
}

u64 *gv_pte(struct gv *g, u64 cr3, u64 la)
{
	u64 table = cr3 & ~0xfffull;

	for (unsigned shift = 39;; shift -= 9) {
		u64 *e = (void *)mem_ptr(g->mem, table + (la >> shift & 511) * 8, 8);

		if (shift == 12)
			return e;
		if (!(*e & PTE_P)) {
			*e = g->next_table | PTE_P | PTE_W | PTE_U;
			g->next_table += 4096;
		}
		table = *e & 0xffffffffff000;
	}
}

void gv_map(struct gv *g, u64 la, gpa_t gpa, u64 flags)
{
	*gv_pte(g, GV_PML4, la) = gpa | flags;
}

void gv_code(struct gv *g, gpa_t gpa, const u8 *code, const u8 *end)
{
	if (!mem_write(g->mem, gpa, code, (size_t)(end - code)))
		abort();
}

/* -- tables --------------------------------------------------------------------------- */

void gv_gate(struct gv *g, u8 vector, u64 handler)
{
	gv_put(g, GV_IDT + 16u * vector, 8,
	       (handler & 0xffff) | (u64)GV_CS << 16 | (u64)(vector < 32) << 32 | 0xeeull << 40 | (handler >> 16 & 0xffff) << 48);
	gv_put(g, GV_IDT + 16u * vector + 8, 8, handler >> 32);
}

static void build_tables(struct gv *g)
{
	static const u64 gdt[] = {
		0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff,
		0x00cff3000000ffff, 0x00affb000000ffff,
	};

	for (unsigned k = 0; k < array_len(gdt); k++)
		gv_put(g, GV_GDT + 8 * k, 8, gdt[k]);
	for (unsigned n = 0; n < 256; n++) {
		gv_put(g, GV_HANDLERS + 16 * n, 8, 0xf4f400e6 | n << 8); /* out n; hlt */
		gv_gate(g, (u8)n, GV_HANDLERS + 16 * n);
	}
	gv_put(g, GV_TSS + 4, 8, GV_RSP0);
	gv_put(g, GV_TSS + 36, 8, GV_IST1);
	for (u64 la = 0; la < 512 * 4096; la += 4096)
		gv_map(g, la, la, PTE_P | PTE_W);
}

static void set_seg(struct gv *g, unsigned seg, u16 sel)
{
	u64 raw = gv_get(g, GV_GDT + (sel & 0xf8), 8);
	struct desc d = { .lo = (u32)raw, .hi = raw >> 32 };

	seg_from_desc(&g->s.seg[seg], sel, &d);
}

static void set_segs(struct gv *g, u16 cs, u16 ds)
{
	for (unsigned n = 0; n < NR_SEGS; n++)
		set_seg(g, n, ds);
	set_seg(g, SEG_CS, cs);
}

void gv_user(struct gv *g)
{
	set_segs(g, GV_UCS, GV_UDS);
	g->s.gpr[RSP] = GV_USER_STACK;
	for (u64 la = 0x10000; la < 512 * 4096; la += 4096)
		*gv_pte(g, GV_PML4, la) |= PTE_U;
}

static void first_state(struct gv *g)
{
	struct x86_state *s = &g->s;

	x86_state_reset(s, true);
	s->gdtr = (struct x86_dtr){ GV_GDT, 6 * 8 - 1 };
	s->idtr = (struct x86_dtr){ GV_IDT, 0xfff };
	s->tr = (struct x86_seg){ .base = GV_TSS, .limit = 0xffff, .attr = 0x8b, .sel = 0x30 };
	s->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET | CR0_NE | CR0_MP;
	s->cr3 = GV_PML4;
	s->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
	s->xcr0 = 7;
	s->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	s->rip = GV_CODE;
	s->gpr[RSP] = GV_STACK;
	s->rflags = 2;
	set_segs(g, GV_CS, GV_DS);
}

/* -- life ----------------------------------------------------------------------------- */

struct gv *gv_new_config(const struct cpu_config *c)
{
	struct cpu_config cfg = *c;
	struct err e = { 0 };
	struct gv *g = aligned_alloc(64, (sizeof *g + 63) & ~63ull);
	struct cpu_io io = {
		.in = on_in, .out = on_out, .load = on_load, .store = on_store, .ack_irq = on_ack,
		.has_irq = on_has, .apic_rdmsr = no_rdmsr, .apic_wrmsr = no_wrmsr,
		.get_cr8 = get_cr8, .set_cr8 = set_cr8, .wall_ns = wall, .io = g,
	};

	if (!g)
		return NULL;
	memset(g, 0, sizeof *g);
	g->irq = -1;
	g->next_table = GV_TABLES;
	g->mem = cfg.mem = mem_new(GV_RAM, &e);
	cfg.nr_vcpus = 1;
	g->vm = g->mem ? cpu_soft.vm_new(&cfg, &e) : NULL;
	g->v = g->vm ? cpu_soft.vcpu_new(g->vm, 0, &io, &e) : NULL;
	if (!g->v || (!cfg.interpret_only && !g->v->jit)) {
		test_skip("no guest memory or no translator here");
		gv_free(g);
		return NULL;
	}
	build_tables(g);
	first_state(g);
	return g;
}

struct gv *gv_new(enum gv_tier t)
{
	return gv_new_config(&(struct cpu_config){
		.model = CPU_MODEL_MAX,
		.interpret_only = t == GV_T0,
		.exact_flags = t >= GV_T1_EXACT,
		.off = t == GV_T1_OFF ? ~0u : 0,
		.max_block = t == GV_T1_SINGLE ? 1 : 0,
		.code_cache_bytes = 1u << 20,
	});
}

void gv_free(struct gv *g)
{
	if (!g)
		return;
	if (g->v)
		cpu_soft.vcpu_free(g->v);
	if (g->vm)
		cpu_soft.vm_free(g->vm);
	if (g->mem)
		mem_free(g->mem);
	free(g);
}

/* -- running -------------------------------------------------------------------------- */

struct watchdog {
	struct gv *g;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void *watch(void *arg)
{
	struct watchdog *w = arg;
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += SECONDS;
	pthread_mutex_lock(&w->lock);
	while (!w->done && pthread_cond_timedwait(&w->cond, &w->lock, &end) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&w->lock);
	if (!w->done)
		cpu_soft.signal(w->g->v, CPU_SIG_KICK, 0);
	return NULL;
}

static void read_frame(struct gv *g)
{
	bool has_error = g->vector == 8 || (g->vector >= 10 && g->vector <= 14) || g->vector == 17;
	u64 f[6] = { 0 }, *p = f;

	if (!mem_read(g->mem, g->s.gpr[RSP], f, sizeof f))
		return;
	if (has_error)
		g->error = *p++;
	g->rip = p[0], g->cs = p[1], g->rflags = p[2], g->rsp = p[3];
}

void gv_run(struct gv *g)
{
	struct watchdog w = { .g = g, .lock = PTHREAD_MUTEX_INITIALIZER,
			      .cond = PTHREAD_COND_INITIALIZER };
	struct err e = { 0 };
	pthread_t t;

	g->vector = -2;
	g->error = 0;
	if (cpu_soft.set_state(g->v, &g->s, &e) < 0 || pthread_create(&t, NULL, watch, &w))
		abort();
	cpu_soft.run(g->v);
	pthread_mutex_lock(&w.lock);
	w.done = true;
	pthread_cond_signal(&w.cond);
	pthread_mutex_unlock(&w.lock);
	pthread_join(t, NULL);
	cpu_soft.get_state(g->v, &g->s);
	if (g->vector >= 0)
		read_frame(g);
}

u64 gv_stat(struct gv *g, const char *name)
{
	char buf[1024];
	const char *p;

	cpu_soft.stats(g->v, buf, sizeof buf);
	p = strstr(buf, name);
	return p ? strtoull(p + strlen(name), NULL, 10) : 0;
}

/* -- tests ------------------------------------------------------------------------------ */

GUEST(g_nothing, "mov $0x1234, %eax" GV_FINISH);
GUEST(g_divide, "xor %ecx, %ecx; div %ecx" GV_FINISH);

TEST(a_tiny_guest_ends_and_reports_exceptions_on_every_tier)
{
	EACH_TIER(g) {
		gv_code(g, GV_CODE, g_nothing, g_nothing_end);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RAX], 0x1234);
		gv_code(g, GV_CODE, g_divide, g_divide_end);
		g->s.rip = GV_CODE;
		gv_run(g);
		CHECK_EQ(g->vector, EX_DE);
		CHECK_EQ(g->rip, GV_CODE + 2);
	}
}
