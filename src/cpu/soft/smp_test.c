// SPDX-License-Identifier: Apache-2.0
/* smp_test.c - requests from other threads: held back, several at once, too many */
#include "cpu/soft/guestvm.h"

#include "base/test.h"
#include "cpu/soft/smp.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define VAR 0x30000 /* RAM of the guest's own */

static void signal_by_port(struct gv *g, u16 port, u64 val)
{
	(void)val;
	if (port == GV_HOOK) {
		g->irq = 0x40;
		cpu_soft.signal(g->v, CPU_SIG_IRQ, 0);
	} else {
		cpu_soft.signal(g->v, CPU_SIG_NMI, 0);
	}
}

GUEST(popf_allows, "cli\npushq $0x202\nout %al, $0xe0\nnop\npopfq\n1: inc %rcx\njmp 1b");

TEST(an_interrupt_held_back_comes_when_popf_allows_it)
{
	EACH_TIER(g) {
		g->hook = signal_by_port;
		g->irq = -1;
		GV_LOAD(g, popf_allows);
		gv_gate(g, 0x40, GV_HANDLERS + 16 * GV_END);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
	}
}

GUEST(nmi_main, "out %al, $0xe1\n1: inc %rcx\njmp 1b");
GUEST(nmi_again, "incl 0x30000\ncmpl $2, 0x30000\nje 1f\nout %al, $0xe1\nnop\niretq\n1:" GV_FINISH);

TEST(an_nmi_during_an_nmi_comes_after_iret)
{
	EACH_TIER(g) {
		g->hook = signal_by_port;
		GV_LOAD(g, nmi_main);
		gv_code(g, GV_CODE + 0x1000, nmi_again, nmi_again_end);
		gv_gate(g, 2, GV_CODE + 0x1000);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(gv_get(g, VAR, 4), 2);
	}
}

/* The second NMI is blocked: only the interrupt ends HLT. */
GUEST(nmi_hlt, "out %al, $0xe1\nout %al, $0xe2\nsti\nhlt\nmovl $1, 0x30000" GV_FINISH);

static void *interrupt_later(void *arg)
{
	struct gv *g = arg;

	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	signal_by_port(g, GV_HOOK, 0);
	return NULL;
}

static void start_later(struct gv *g, u16 port, u64 val)
{
	static pthread_t later;

	if (port != 0xe2) {
		signal_by_port(g, port, val);
		return;
	}
	pthread_create(&later, NULL, interrupt_later, g);
	g->arg = &later;
}

TEST(a_blocked_nmi_does_not_end_hlt)
{
	EACH_TIER(g) {
		g->hook = start_later;
		g->irq = -1;
		GV_LOAD(g, nmi_main);
		gv_code(g, GV_CODE + 0x1000, nmi_hlt, nmi_hlt_end);
		gv_gate(g, 2, GV_CODE + 0x1000);
		gv_gate(g, 0x40, GV_HANDLERS + 16 * GV_END);
		gv_run(g);
		if (g->arg)
			pthread_join(*(pthread_t *)g->arg, NULL);
		CHECK(g->arg);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(gv_get(g, VAR, 4), 0);
	}
}

/* 100 functions that add their immediate, called twice; between the calls all are rewritten. */
#define NR_FUNCS 100
#define FUNCS	 0x18000
GUEST(call_all, "mov $2, %edx\n"
		"2: mov $0x18000, %esi\nmov $100, %ecx\nxor %eax, %eax\n"
		"1: call *%rsi\nadd $64, %rsi\ndec %ecx\njnz 1b\n"
		"mov %eax, 0x30000(, %rdx, 4)\nout %al, $0xe3\ndec %edx\njnz 2b" GV_FINISH);

static void write_funcs(struct gv *g, u16 port, u64 val)
{
	(void)port, (void)val;
	for (unsigned k = 0; k < NR_FUNCS; k++) {
		gv_put(g, FUNCS + 64 * k, 1, 5); /* add $imm, %eax; ret */
		gv_put(g, FUNCS + 64 * k + 1, 4, (g->arg ? 1000 : 1) + k);
		gv_put(g, FUNCS + 64 * k + 5, 1, 0xc3);
	}
	g->arg = g;
}

TEST(more_writes_to_code_than_the_list_holds_are_all_seen)
{
	EACH_TIER(g) {
		GV_LOAD(g, call_all);
		write_funcs(g, 0, 0);
		g->hook = write_funcs;
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(gv_get(g, VAR + 8, 4), 100 + 99 * 50);
		CHECK_EQ(gv_get(g, VAR + 4, 4), 100 * 1000 + 99 * 50);
	}
}

/* mov $n, %eax; ret at 0x30000, by an ordinary store each time: write, run, write, write, run.. */
GUEST(rewrite, "xor %ebx, %ebx\nmov $0x30000, %esi\nmovb $0xb8, (%rsi)\nmovb $0xc3, 5(%rsi)\n"
	       "1: mov %ebx, 1(%rsi)\nmov %ebx, 1(%rsi)\nmov %ebx, 64(%rsi)\ncall *%rsi\n"
	       "cmp %ebx, %eax\njne 2f\ninc %ebx\ncmp $50, %ebx\njb 1b\n"
	       "2: mov %ebx, 0x31000" GV_FINISH);

TEST(code_rewritten_again_and_again_in_place_is_seen)
{
	EACH_TIER(g) {
		GV_LOAD(g, rewrite);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(gv_get(g, VAR + 0x1000, 4), 50);
	}
}

/* -- the holder ------------------------------------------------------------------------- */

#define NR_CPUS 3
#define STOPS	200

static struct {
	struct cpu_vm vm;
	struct vcpu v[NR_CPUS];
	_Atomic unsigned running; /* vCPUs that execute */
	_Atomic unsigned bad, done;
} crowd;

/* As the run loop: executes, takes requests, and stops the others from time to time. */
static void *member(void *arg)
{
	struct vcpu *v = arg;

	smp_run_begin(v);
	for (unsigned k = 0; k < STOPS || crowd.done < NR_CPUS; k++) {
		if (k < STOPS && k % 2) {
			smp_stop_others(v);
			crowd.bad += crowd.running != 0;
			smp_go_others(v);
		}
		crowd.done += k == STOPS - 1;
		crowd.running++;
		for (volatile unsigned n = 0; n < 50; n++)
			;
		crowd.running--;
		if (atomic_exchange(&v->exit_req, 0) & REQ_HOLD)
			smp_held(v);
		if (k >= STOPS)
			nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
	smp_run_end(v);
	return NULL;
}

TEST(vcpus_that_stop_each_other_all_go_on)
{
	pthread_t t[NR_CPUS];
	struct err e = { 0 };

	crowd.vm.cfg.nr_vcpus = NR_CPUS;
	if (smp_init(&crowd.vm, &e) < 0)
		return;
	for (unsigned k = 0; k < NR_CPUS; k++) {
		crowd.v[k] = (struct vcpu){ .index = k, .vm = &crowd.vm, .cfg = crowd.vm.cfg,
					    .idle = true };
		crowd.vm.vcpu[k] = &crowd.v[k];
	}
	for (unsigned k = 0; k < NR_CPUS; k++)
		pthread_create(&t[k], NULL, member, &crowd.v[k]);
	for (unsigned k = 0; k < NR_CPUS; k++)
		pthread_join(t[k], NULL);
	CHECK_EQ(crowd.bad, 0);
}

/* A kick that comes before the HLT is not lost, although interrupts are off. */
GUEST(kick_self, "mov $5, %eax\nxor %ebx, %ebx\nxor %ecx, %ecx\nvmcall\nmov %rax, %rdi\ncli\nhlt\n"
		 "mov $5, %eax\nmov $99, %ecx\nvmmcall\nmovl $1, 0x30000" GV_FINISH);

TEST(a_kick_ends_the_next_hlt)
{
	EACH_TIER(g) {
		GV_LOAD(g, kick_self);
		gv_run(g);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RDI], 0);
		CHECK_EQ(gv_get(g, VAR, 4), 1);
	}
}
