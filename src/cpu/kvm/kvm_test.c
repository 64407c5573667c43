// SPDX-License-Identifier: Apache-2.0
/*
 * kvm_test.c - the KVM engine on a KVM that is none: what it asks for, and what it makes of answers
 *
 * The unit tests' ioctl() comes here first (-Wl,--wrap=ioctl). Descriptors of the fake are real
 * ones, since the run area is mapped.
 */
#include "cpu/kvm/kvm_int.h"
#include "cpu/x86_defs.h"

#include "base/bits.h"
#include "base/test.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define RUN_SIZE 0x2000
#define LOG_MAX	 512

static struct fake {
	bool on;
	int sys, vm, cpu;
	int api, missing;	/* version; a capability it lacks, -1 = none */
	u32 lacks_ecx1;		/* bits of CPUID 1 ecx it does not support */
	u64 piece_ns;		/* how long the probe's guest runs */
	u32 pieces;
	int refused_msr;	/* -1 = none */
	unsigned long log[LOG_MAX]; /* requests, in order */
	unsigned nr_log;
	struct kvm_cpuid2 head; /* what KVM_SET_CPUID2 got */
	struct kvm_cpuid_entry2 entry[256];
	struct kvm_routes routes;
	struct kvm_irqchip chip[3];
	struct kvm_vcpu_events events;
	struct kvm_lapic_state lapic;
	struct kvm_irq_level line;
	u64 dirty; /* first 64 frames */
} k;

int __real_ioctl(int fd, unsigned long nr, void *arg);
int __wrap_ioctl(int fd, unsigned long nr, ...);

static unsigned count(unsigned long nr)
{
	unsigned n = 0;

	for (unsigned i = 0; i < k.nr_log; i++)
		n += k.log[i] == nr;
	return n;
}

static int refuse(int error)
{
	errno = error;
	return -1;
}

static int supported_cpuid(struct kvm_cpuid2 *c)
{
	static const u32 leaves[][2] = { { 0, 0 }, { 1, 0 }, { 7, 0 }, { 7, 1 }, { 0xd, 0 },
					 { 0xd, 1 }, { 0x80000001, 0 }, { 0x80000007, 0 },
					 { 0x80000008, 0 }, { 0x80000021, 0 }, { 0x40000001, 0 } };

	for (u32 n = 0; n < array_len(leaves); n++)
		c->entries[n] = (struct kvm_cpuid_entry2){
			.function = leaves[n][0], .index = leaves[n][1],
			.flags = leaves[n][0] == 7 || leaves[n][0] == 0xd ?
					 KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = ~0u, .ebx = ~0u, .ecx = leaves[n][0] == 1 ? ~k.lacks_ecx1 : ~0u,
			.edx = ~0u,
		};
	c->nent = array_len(leaves);
	return 0;
}

static void sleep_ns(u64 ns)
{
	const struct timespec t = { .tv_nsec = (long)ns };

	nanosleep(&t, NULL);
}

/* The probe's program: it writes how often it has come by. */
static int run_piece(void)
{
	struct kvm_run *r = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, k.cpu, 0);

	r->exit_reason = KVM_EXIT_IO;
	r->io.port = 0x10;
	r->io.data_offset = 0x1000;
	memcpy((u8 *)r + 0x1000, &k.pieces, 4);
	k.pieces++;
	munmap(r, RUN_SIZE);
	if (k.piece_ns)
		sleep_ns(k.piece_ns);
	return 0;
}

static int sys_call(unsigned long nr, void *arg)
{
	switch (nr) {
	case KVM_GET_API_VERSION: return k.api;
	case KVM_CHECK_EXTENSION: return (int)(long)arg != k.missing;
	case KVM_GET_VCPU_MMAP_SIZE: return RUN_SIZE;
	case KVM_CREATE_VM: return k.vm = dup(k.sys);
	case KVM_GET_SUPPORTED_CPUID: return supported_cpuid(arg);
	default: return refuse(EINVAL);
	}
}

static int vm_call(unsigned long nr, void *arg)
{
	struct kvm_irqchip *c = arg;
	struct kvm_dirty_log *log = arg;

	switch (nr) {
	case KVM_CREATE_VCPU: return k.cpu = dup(k.sys);
	case KVM_SET_GSI_ROUTING:
		memcpy(&k.routes, arg, sizeof k.routes.head +
			       ((struct kvm_irq_routing *)arg)->nr * sizeof k.routes.entry[0]);
		return 0;
	case KVM_GET_IRQCHIP: *c = k.chip[c->chip_id]; return 0;
	case KVM_SET_IRQCHIP: k.chip[c->chip_id] = *c; return 0;
	case KVM_IRQ_LINE: k.line = *(struct kvm_irq_level *)arg; return 0;
	case KVM_GET_DIRTY_LOG:
		if (log->slot == 0)
			memcpy(log->dirty_bitmap, &k.dirty, 8);
		return 0;
	default: return 0;
	}
}

static int cpu_call(unsigned long nr, void *arg)
{
	struct kvm_msrs *m = arg;

	switch (nr) {
	case KVM_RUN: return run_piece();
	case KVM_SET_CPUID2:
		memcpy(&k.head, arg, sizeof k.head);
		memcpy(k.entry, (u8 *)arg + sizeof k.head, k.head.nent * sizeof k.entry[0]);
		return 0;
	case KVM_GET_VCPU_EVENTS: memcpy(arg, &k.events, sizeof k.events); return 0;
	case KVM_SET_VCPU_EVENTS: memcpy(&k.events, arg, sizeof k.events); return 0;
	case KVM_GET_LAPIC: memcpy(arg, &k.lapic, sizeof k.lapic); return 0;
	case KVM_SET_MSRS:
	case KVM_GET_MSRS:
		for (u32 n = 0; n < m->nmsrs; n++)
			if ((int)m->entries[n].index == k.refused_msr)
				return (int)n;
		return (int)m->nmsrs;
	default: return 0;
	}
}

int __wrap_ioctl(int fd, unsigned long nr, ...)
{
	void *arg;
	va_list ap;

	va_start(ap, nr);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!k.on || (fd != k.sys && fd != k.vm && fd != k.cpu))
		return __real_ioctl(fd, nr, arg);
	if (k.nr_log < LOG_MAX)
		k.log[k.nr_log++] = nr;
	return fd == k.sys ? sys_call(nr, arg) : fd == k.vm ? vm_call(nr, arg) : cpu_call(nr, arg);
}

static void fake_on(void)
{
	k = (struct fake){ .on = true, .vm = -1, .cpu = -1, .api = KVM_API_VERSION, .missing = -1,
			   .refused_msr = -1 };
	k.sys = memfd_create("kvm", MFD_CLOEXEC);
	(void)!ftruncate(k.sys, RUN_SIZE);
}

static void fake_off(void)
{
	close(k.sys);
	k.on = false;
}

/* -- the decision ----------------------------------------------------------------------- */

static const struct kvm_host svm = { .svm = true };

static int decide(const struct kvm_host *h, struct err *e)
{
	int r = kvm_probe(k.sys, h, e);

	fake_off();
	return r;
}

TEST(a_kvm_that_runs_guests_is_taken)
{
	struct err e = { 0 };

	fake_on();
	CHECK_EQ(decide(&svm, &e), 0);
	CHECK(k.pieces < 20); /* one, unless the host is busy */
}

TEST(kvm_pvm_is_refused_untried)
{
	struct err e = { 0 };

	fake_on();
	CHECK(decide(&(struct kvm_host){ .pvm = true, .vmx = true }, &e) < 0);
	CHECK(strstr(e.msg, "kvm_pvm"));
	CHECK_EQ(k.nr_log, 0);
}

TEST(a_processor_without_vmx_and_svm_is_refused)
{
	struct err e = { 0 };

	fake_on();
	CHECK(decide(&(struct kvm_host){ 0 }, &e) < 0);
	CHECK(strstr(e.msg, "neither VMX nor SVM"));
}

TEST(another_interface_version_is_refused)
{
	struct err e = { 0 };

	fake_on();
	k.api = 11;
	CHECK(decide(&svm, &e) < 0);
	CHECK(strstr(e.msg, "version 11"));
}

TEST(a_missing_capability_is_named)
{
	struct err e = { 0 };

	fake_on();
	k.missing = KVM_CAP_IOEVENTFD;
	CHECK(decide(&svm, &e) < 0);
	CHECK(strstr(e.msg, "ioeventfd"));
}

TEST(emulated_guest_code_is_refused)
{
	struct err e = { 0 };

	fake_on();
	k.piece_ns = 2000000;
	CHECK(decide(&svm, &e) < 0);
	CHECK(strstr(e.msg, "emulates"));
	CHECK_EQ(k.pieces, 20);
}

/* -- CPUID ------------------------------------------------------------------------------- */

static struct cpu_vm *vm;
static struct vcpu *cpu;
static struct mem *ram;

static void no_eoi(void *io UNUSED, u8 vector UNUSED)
{
}

static bool has_irq;

static bool asks(void *io UNUSED)
{
	return has_irq;
}

/* A machine of one processor; NULL in vm or cpu if refused. */
static void machine(enum cpu_model m, enum cpu_irqchip chips, struct err *e)
{
	const struct cpu_io io = { .eoi = no_eoi, .has_irq = asks };
	struct cpu_config c = { .nr_vcpus = 1, .model = m, .irqchip = chips, .kvm_fd = k.sys };

	ram = mem_new(16 << 20, e);
	c.mem = ram;
	vm = ram ? cpu_kvm.vm_new(&c, e) : NULL;
	cpu = vm ? cpu_kvm.vcpu_new(vm, 0, &io, e) : NULL;
}

static void no_machine(void)
{
	cpu_kvm.vcpu_free(cpu);
	cpu_kvm.vm_free(vm);
	mem_free(ram);
	fake_off();
}

static const struct kvm_cpuid_entry2 *leaf(u32 function, u32 index)
{
	for (u32 n = 0; n < k.head.nent; n++)
		if (k.entry[n].function == function && k.entry[n].index == index)
			return &k.entry[n];
	return NULL;
}

TEST(a_feature_kvm_lacks_is_not_offered)
{
	struct err e = { 0 };
	const struct kvm_cpuid_entry2 *x;
	struct cpuid_out o;

	fake_on();
	k.lacks_ecx1 = BIT(30) /* RDRAND */;
	machine(CPU_MODEL_MAX, CPU_IRQCHIP_KERNEL, &e);
	CHECK(cpu);
	x = leaf(1, 0);
	CHECK(x && !(x->ecx & BIT(30)));
	CHECK(x->ecx & BIT(20)); /* SSE4.2 */
	CHECK(x->ecx & BIT(31)); /* a hypervisor, though KVM does not list it */
	CHECK_EQ(x->eax, ~0u); /* family and model are the host's */
	cpu_kvm.cpuid(vm, 1, 0, &o);
	CHECK_EQ(o.ecx, x->ecx);
	cpu_kvm.cpuid(vm, 0x12345678, 0, &o);
	CHECK_EQ(o.eax | o.ebx | o.ecx | o.edx, 0);
	no_machine();
}

TEST(what_a_model_promises_must_be_there)
{
	struct err e = { 0 };

	fake_on();
	k.lacks_ecx1 = BIT(20) /* SSE4.2 */;
	machine(CPU_MODEL_V2, CPU_IRQCHIP_KERNEL, &e);
	CHECK(vm && !cpu);
	CHECK(strstr(e.msg, "--cpu x86-64-v2: this host's KVM has no"));
	CHECK_EQ(count(KVM_SET_CPUID2), 0);
	no_machine();
}

/* -- interrupts ---------------------------------------------------------------------------- */

TEST(kernel_chips_are_made_before_processors_and_wired_as_a_pc)
{
	struct err e = { 0 };
	unsigned made = 0, cpu_made = 0;

	fake_on();
	machine(CPU_MODEL_MAX, CPU_IRQCHIP_KERNEL, &e);
	CHECK(cpu);
	for (unsigned n = 0; n < k.nr_log; n++) {
		made = k.log[n] == KVM_CREATE_IRQCHIP ? n : made;
		cpu_made = k.log[n] == KVM_CREATE_VCPU ? n : cpu_made;
	}
	CHECK(made && made < cpu_made);
	CHECK_EQ(count(KVM_ENABLE_CAP), 0);
	CHECK_EQ(k.routes.head.nr, 15 + 23); /* no GSI 2 */
	for (u32 n = 0; n < k.routes.head.nr; n++) {
		const struct kvm_irq_routing_entry *x = &k.routes.entry[n];

		CHECK(x->gsi != 2 && x->type == KVM_IRQ_ROUTING_IRQCHIP);
		if (x->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC)
			CHECK_EQ(x->u.irqchip.pin, x->gsi ? x->gsi : 2);
		else
			CHECK_EQ(x->u.irqchip.irqchip * 8 + x->u.irqchip.pin, x->gsi);
	}
	no_machine();
}

TEST(split_chips_are_told_of_level_pins_alone)
{
	struct err e = { 0 };

	fake_on();
	machine(CPU_MODEL_MAX, CPU_IRQCHIP_SPLIT, &e);
	CHECK(cpu);
	CHECK_EQ(count(KVM_CREATE_IRQCHIP), 0);
	CHECK_EQ(count(KVM_ENABLE_CAP), 1);
	kvm_chips.route(vm, 4, 0xfee00000, 0x31, false);
	CHECK_EQ(count(KVM_SET_GSI_ROUTING), 0);
	kvm_chips.route(vm, 16, 0xfee01000, 0xc041, true);
	kvm_chips.route(vm, 16, 0xfee01000, 0xc041, true); /* no change, no call */
	CHECK_EQ(count(KVM_SET_GSI_ROUTING), 1);
	CHECK_EQ(k.routes.head.nr, 1);
	CHECK_EQ(k.routes.entry[0].gsi, 16);
	CHECK_EQ(k.routes.entry[0].type, KVM_IRQ_ROUTING_MSI);
	CHECK_EQ(k.routes.entry[0].u.msi.address_lo, 0xfee01000);
	CHECK_EQ(k.routes.entry[0].u.msi.data, 0xc041);
	kvm_chips.route(vm, 16, 0xfee01000, 0x41, false);
	CHECK_EQ(k.routes.head.nr, 0);
	no_machine();
}

TEST(a_pic_survives_kvms_form)
{
	struct pic_chip c = { .irr = 0x11, .isr = 2, .imr = 0x80, .line = 0x31, .elcr = 0x20,
			      .base = 0x30, .lowest = 4, .step = 3, .need_icw4 = true,
			      .read_isr = true, .smm = true, .aeoi = true };
	struct kvm_pic_state s;
	struct pic_chip back;

	kvm_pic_in(&c, 1, &s);
	CHECK_EQ(s.irr, 0x31); /* the level of input 5 is a request */
	CHECK_EQ(s.priority_add, 5);
	CHECK_EQ(s.init_state, 2);
	CHECK_EQ(s.elcr_mask, 0xde);
	kvm_pic_out(&s, &back);
	CHECK(memcmp(&c, &back, sizeof c) == 0);
}

TEST(an_ioapic_survives_kvms_form_and_repeats_no_edge)
{
	struct ioapic_regs r = { .line = BIT(4) | BIT(16), .select = 0x10, .id = 3 }, back;
	struct kvm_ioapic_state s;

	for (unsigned n = 0; n < IOAPIC_PINS; n++)
		r.redir[n] = 0x0100000000000030ull + n;
	r.redir[16] |= 1 << 15 | 1 << 14; /* level, waiting for its end */
	kvm_ioapic_in(&r, &s);
	CHECK_EQ(s.irr, BIT(16));
	CHECK_EQ(s.redirtbl[16].fields.remote_irr, 1);
	CHECK_EQ(s.redirtbl[5].fields.dest_id, 1);
	kvm_ioapic_out(&s, &back);
	CHECK(memcmp(r.redir, back.redir, sizeof r.redir) == 0);
	CHECK_EQ(back.id, 3);
	CHECK_EQ(back.select, 0x10);
}

TEST(the_boards_chips_go_in_and_come_back)
{
	struct board_chips b = { .pic[0] = { .imr = 0xfb, .base = 8, .lowest = 7 },
				 .pic[1] = { .imr = 0xff, .base = 0x70, .lowest = 7 },
				 .ioapic = { .id = 1 } }, back;
	struct err e = { 0 };

	fake_on();
	machine(CPU_MODEL_MAX, CPU_IRQCHIP_KERNEL, &e);
	CHECK(cpu);
	CHECK_EQ(kvm_chips.set_board(vm, &b, &e), 0);
	CHECK_EQ(k.chip[KVM_IRQCHIP_PIC_SLAVE].chip.pic.irq_base, 0x70);
	kvm_chips.get_board(vm, &back);
	CHECK(memcmp(&b, &back, sizeof b) == 0);
	kvm_chips.line(vm, 4, true);
	CHECK_EQ(k.line.irq, 4);
	CHECK_EQ(k.line.level, 1);
	no_machine();
}

static int taken_back(enum cpu_irqchip chips, struct lapic_regs *l, bool in_service)
{
	struct err e = { 0 };
	int extint = -2;

	fake_on();
	machine(CPU_MODEL_MAX, chips, &e);
	k.events.interrupt.injected = 1;
	k.events.interrupt.nr = 0x31;
	if (in_service) /* vector 0x31 is bit 17 of the second word of ISR */
		k.lapic.regs[0x112] = 2;
	if (cpu)
		extint = kvm_chips.get_lapic(cpu, l);
	no_machine();
	return extint;
}

TEST(an_interrupt_not_yet_delivered_is_a_request_again)
{
	struct lapic_regs l;

	CHECK_EQ(taken_back(CPU_IRQCHIP_KERNEL, &l, true), -1);
	CHECK_EQ(l.reg[0x11] & BIT(17), 0);
	CHECK_EQ(l.reg[0x21] & BIT(17), BIT(17));
	CHECK_EQ(k.events.interrupt.injected, 1);
}

TEST(the_pics_goes_back_to_the_pic_once)
{
	struct lapic_regs l;

	CHECK_EQ(taken_back(CPU_IRQCHIP_KERNEL, &l, false), 0x31);
	CHECK_EQ(k.events.interrupt.injected, 1); /* its PIC is KVM's: only our copy changes */
	CHECK_EQ(taken_back(CPU_IRQCHIP_SPLIT, &l, false), 0x31);
	CHECK_EQ(k.events.interrupt.injected, 0); /* ours gives it again */
}

/* -- state, and the log of writes ------------------------------------------------------------ */

TEST(a_register_kvm_lacks_may_hold_its_power_on_value_only)
{
	static struct x86_state s;
	struct err e = { 0 };

	fake_on();
	machine(CPU_MODEL_MAX, CPU_IRQCHIP_KERNEL, &e);
	CHECK(cpu);
	x86_state_reset(&s, true);
	k.refused_msr = MSR_XSS;
	CHECK_EQ(cpu_kvm.set_state(cpu, &s, &e), 0);
	s.xss = 0x100;
	CHECK(cpu_kvm.set_state(cpu, &s, &e) < 0);
	CHECK(strstr(e.msg, "kvm refuses 0x100 in MSR 0xda0"));
	no_machine();
}

static u64 seen_first, seen_mask;

static void seen(void *ctx UNUSED, u64 first, u64 mask)
{
	seen_first = first;
	seen_mask = mask;
}

TEST(the_log_of_writes_names_frames)
{
	struct err e = { 0 };

	fake_on();
	machine(CPU_MODEL_MAX, CPU_IRQCHIP_KERNEL, &e);
	CHECK(cpu);
	CHECK_EQ(cpu_kvm.log_writes(vm, true, &e), 0);
	k.dirty = 0x8000000000000005ull;
	seen_first = ~0ull;
	CHECK_EQ(cpu_kvm.take_writes(vm, seen, NULL, &e), 0);
	CHECK_EQ(seen_first, 0);
	CHECK_EQ(seen_mask, 0x8000000000000005ull);
	no_machine();
}
