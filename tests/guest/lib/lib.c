// SPDX-License-Identifier: Apache-2.0
/* lib.c - see guest.h */
#include "guest.h"

#include <stdarg.h>

const char *cmdline = "", *arg = "";
extern u64 boot_info;
extern const struct claim claims_start[], claims_end[];

/* gcc makes calls to these */
void *memset(void *d, int c, size_t n)
{
	void *r = d;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return r;
}

void *memcpy(void *d, const void *s, size_t n)
{
	void *r = d;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
	return r;
}

static bool starts(const char *s, const char *word)
{
	while (*word)
		if (*s++ != *word++)
			return false;
	return true;
}

/* -- reports --------------------------------------------------------------------------------- */

static void put(char c)
{
	while (!(in8(0x3fd) & 0x20))
		;
	out8(0x3f8, (u8)c);
}

static void put_num(u64 v, unsigned base)
{
	char buf[24];
	unsigned n = 0;

	do
		buf[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	while (n)
		put(buf[--n]);
}

void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(*fmt);
			continue;
		}
		switch (*++fmt) {
		case 's':
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(*s);
			break;
		case 'd': put_num(va_arg(ap, u64), 10); break;
		case 'x': put_num(va_arg(ap, u64), 16); break;
		}
	}
	va_end(ap);
	put('\n');
}

void finish(u32 code)
{
	out32(0xf4, code);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void fail(const char *file, int line, const char *what, u64 got, u64 want)
{
	print("FAIL %s:%d: %s: got %x, want %x", file, (u64)line, what, got, want);
	finish(0x11);
}

/* -- exceptions and interrupts ------------------------------------------------------------------ */

struct gate {
	u16 low, sel;
	u8 ist, type;
	u16 mid;
	u32 high, zero;
};

struct tss {
	u32 zero;
	u64 rsp[3], zero1, ist[7], zero2;
	u16 zero3, iomap;
} __attribute__((packed));

static struct gate idt[256];
static struct tss tss[MAX_CPUS];
static u8 ist_stack[MAX_CPUS][4096];
extern u8 entries[], stacks[];
extern u64 gdt_tss[];
extern void user_back(void);

volatile struct caught caught;
volatile u64 resume, resume_rsp, user_result;
handler *handlers[256];
volatile u32 irqs[256];

void set_gate(unsigned vector, u64 at, unsigned type_dpl, unsigned ist)
{
	idt[vector] = (struct gate){ (u16)at, SEL_CODE, (u8)ist, (u8)type_dpl, (u16)(at >> 16),
				     (u32)(at >> 32), 0 };
}

static void unexpected(struct frame *f)
{
	print("FAIL exception %d, error %x, at %x, cr2 %x", f->vector, f->error, f->rip, read_cr2());
	finish(0x11);
}

static void exception(struct frame *f)
{
	u64 dr6;

	if (!resume)
		unexpected(f);
	__asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
	caught.vector = f->vector;
	caught.error = f->error;
	caught.rip = f->rip;
	caught.cr2 = read_cr2();
	caught.rflags = f->rflags;
	caught.dr6 = dr6;
	caught.count++;
	f->rip = resume;
	f->rsp = resume_rsp;
	f->cs = SEL_CODE;
	f->rflags &= ~(BIT(8) | BIT(16));
	resume = 0;
}

void leave_user(struct frame *f)
{
	user_result = f->rax;
	f->rip = (u64)user_back;
	f->cs = SEL_CODE;
	f->ss = SEL_DATA;
	f->rflags = 2;
	f->rsp = (u64)stacks; /* user_back() loads its own */
}

void trap(struct frame *f);
void trap(struct frame *f)
{
	if (handlers[f->vector]) {
		handlers[f->vector](f);
	} else if (f->vector == 0x80) {
		leave_user(f);
	} else if (f->vector < 32) {
		exception(f);
	} else {
		__atomic_fetch_add(&irqs[f->vector], 1, __ATOMIC_SEQ_CST);
		lapic_set(LAPIC_EOI, 0);
	}
}

static void load_tables(unsigned cpu)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) p = { sizeof idt - 1, (u64)idt };
	u64 base = (u64)&tss[cpu];

	tss[cpu].rsp[0] = (u64)stacks + (cpu + 1) * STACK_SIZE - 4096;
	tss[cpu].ist[0] = (u64)ist_stack[cpu] + sizeof ist_stack[0];
	tss[cpu].iomap = sizeof tss[0];
	gdt_tss[2 * cpu] = (sizeof tss[0] - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
			   (base >> 24 & 0xff) << 56;
	gdt_tss[2 * cpu + 1] = base >> 32;
	__asm__ volatile("lidt %0" ::"m"(p));
	__asm__ volatile("ltr %0" ::"r"((u16)(SEL_TSS + 16 * cpu)));
}

/* -- memory ----------------------------------------------------------------------------------------- */

void *alloc(size_t size, size_t align)
{
	static u64 next = 16 << 20;
	u64 at = (next + align - 1) & ~(u64)(align - 1);

	next = at + size;
	return memset((void *)at, 0, size);
}

static u64 *descend(u64 *e, u64 flags)
{
	if (!(*e & PTE_P))
		*e = (u64)alloc(4096, 4096) | flags;
	return (u64 *)(*e & 0xffffffffff000);
}

u64 *pte_of(u64 va)
{
	const u64 flags = PTE_P | PTE_W | PTE_U;
	u64 *t = descend(&pml4[va >> 39 & 511], flags);

	t = descend(&t[va >> 30 & 511], flags);
	t = descend(&t[va >> 21 & 511], flags);
	return &t[va >> 12 & 511];
}

/* -- local APIC and time ------------------------------------------------------------------------------ */

void lapic_on(void)
{
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
	lapic_set(LAPIC_SVR, 0x1ff);
	lapic_set(LAPIC_TPR, 0);
}

void ipi(unsigned cpu, u32 icr)
{
	lapic_set(LAPIC_ICR2, cpu << 24);
	lapic_set(LAPIC_ICR, icr);
}

#define PM_HZ 3579545

static u32 pm(void)
{
	return in32(0x608);
}

u64 pm_us(void)
{
	return (u64)pm() * 1000000 / PM_HZ;
}

void delay_us(u64 us)
{
	u32 start = pm(), ticks = (u32)(us * PM_HZ / 1000000) + 1;

	while (pm() - start < ticks)
		pause();
}

u64 tsc_hz(void)
{
	u32 p0 = pm(), p1;
	u64 t0 = rdtsc();

	while ((p1 = pm()) - p0 < PM_HZ / 50)
		pause();
	return (rdtsc() - t0) * PM_HZ / (p1 - p0);
}

bool wait_for(volatile u32 *count, u32 want, u64 us)
{
	u32 start = pm(), ticks = (u32)(us * PM_HZ / 1000000);

	sti();
	while (*count < want && pm() - start < ticks)
		pause();
	cli();
	return *count >= want;
}

/* -- other CPUs ------------------------------------------------------------------------------------------- */

static struct {
	void (*fn)(void *arg);
	void *arg;
} volatile jobs[MAX_CPUS];
volatile u32 cpus_up;
extern u8 ap_code[], ap_code_end[];

unsigned cpu_id(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	return r[1] >> 24;
}

unsigned nr_cpus(void)
{
	for (const char *s = cmdline; *s; s++)
		if (starts(s, "cpus="))
			return (unsigned)s[5] - '0';
	return 1;
}

void ap_main(void);
void ap_main(void)
{
	unsigned n = cpu_id();

	load_tables(n);
	lapic_set(LAPIC_SVR, 0x1ff);
	__atomic_fetch_add(&cpus_up, 1, __ATOMIC_SEQ_CST);
	if (n < MAX_CPUS && jobs[n].fn)
		jobs[n].fn(jobs[n].arg);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void start_cpu(unsigned n, void (*fn)(void *arg), void *arg_)
{
	u32 up = cpus_up;

	memcpy((void *)AP_START, ap_code, (size_t)(ap_code_end - ap_code));
	jobs[n].fn = fn;
	jobs[n].arg = arg_;
	ipi(n, 0x4500);
	delay_us(200);
	ipi(n, 0x4600 | AP_START >> 12);
	for (unsigned k = 0; k < 20000 && cpus_up == up; k++)
		delay_us(100);
	EXPECT_EQ(cpus_up, up + 1);
}

/* -- PCI -------------------------------------------------------------------------------------------------------- */

static void pci_select(unsigned slot, unsigned reg)
{
	out32(0xcf8, 0x80000000 | slot << 11 | reg);
}

u32 pci_read(unsigned slot, unsigned reg)
{
	pci_select(slot, reg);
	return in32(0xcfc);
}

void pci_write(unsigned slot, unsigned reg, u32 v)
{
	pci_select(slot, reg);
	out32(0xcfc, v);
}

int pci_find(u16 vendor, u16 device)
{
	for (unsigned slot = 0; slot < 32; slot++)
		if (pci_read(slot, 0) == (vendor | (u32)device << 16))
			return (int)slot;
	return -1;
}

unsigned pci_cap(unsigned slot, u8 id, unsigned after)
{
	unsigned at = after ? pci_read(slot, after) >> 8 & 0xfc : pci_read(slot, 0x34) & 0xfc;

	for (unsigned n = 0; at && n < 48; n++) {
		u32 v = pci_read(slot, at);

		if ((u8)v == id)
			return at;
		at = v >> 8 & 0xfc;
	}
	return 0;
}

u64 pci_bar(unsigned slot, unsigned n)
{
	u32 v = pci_read(slot, 0x10 + 4 * n);

	if ((v & 6) == 4)
		return (v & ~15u) | (u64)pci_read(slot, 0x14 + 4 * n) << 32;
	return v & ~15u;
}

void msix_set(unsigned slot, unsigned n, u8 vector)
{
	unsigned cap = pci_cap(slot, 0x11, 0);
	u32 table = pci_read(slot, cap + 4);
	u64 at = pci_bar(slot, table & 7) + (table & ~7u) + 16 * n;

	EXPECT(cap != 0);
	write32(at, (u32)LAPIC);
	write32(at + 4, 0);
	write32(at + 8, vector);
	write32(at + 12, 0);
	pci_write(slot, cap, pci_read(slot, cap) | BIT(31));
}

/* -- start ---------------------------------------------------------------------------------------------------------- */

static char line[256];

static void copy_cmdline(void)
{
	const char *s = (const char *)*(u64 *)(boot_info + 24); /* hvm_start_info.cmdline_paddr */
	unsigned n = 0;

	for (; s && s[n] && n < sizeof line - 1; n++)
		line[n] = s[n];
	cmdline = line;
}

void boot_main(void);
void boot_main(void)
{
	copy_cmdline();
	for (unsigned n = 0; n < 256; n++)
		set_gate(n, (u64)entries + 16 * n, n == 0x80 ? 0xee : 0x8e, 0);
	load_tables(0);
	for (const struct claim *c = claims_start; c < claims_end; c++) {
		size_t len = 0;

		while (c->name[len])
			len++;
		if (!starts(cmdline, c->name) || (cmdline[len] && cmdline[len] != ' '))
			continue;
		arg = cmdline[len] ? cmdline + len + 1 : cmdline + len;
		c->fn();
		print("ok %s", c->name);
		finish(0x10);
	}
	print("FAIL no claim of this name: %s", cmdline);
	finish(0x11);
}

u64 cmdline_number(const char *key, u64 otherwise)
{
	for (const char *s = cmdline; *s; s++) {
		const char *a = s, *k = key;
		u64 v = 0;

		while (*k && *a == *k)
			a++, k++;
		if (*k || *a != '=')
			continue;
		for (a++; *a >= '0' && *a <= '9'; a++)
			v = v * 10 + (u64)(*a - '0');
		return v;
	}
	return otherwise;
}
