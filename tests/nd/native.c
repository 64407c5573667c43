// SPDX-License-Identifier: Apache-2.0
/*
 * native.c - running a stream on the host CPU
 *
 * nd_enter loads every register and jumps into the arena; a stream always ends
 * with a signal, whose frame holds the final state. While it runs, FS and GS
 * bases are the stream's: the handler puts the host's back before it touches
 * thread-local storage. System calls are blocked by syscall user dispatch.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <ucontext.h>

#include "native.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON	     1
#endif
enum { SELECT_ALLOW, SELECT_BLOCK };

/* Shared with the assembly. */
u64 nd_host_rsp, nd_entry, nd_compat, nd_mask_lo, nd_mask_hi, nd_use_fsgs;
u64 nd_fs = ND_NATIVE_FS, nd_gs = ND_NATIVE_GS;
const u32 nd_mxcsr_default = 0x1f80;

static u64 host_fs, host_gs;
static volatile bool running;
static volatile u64 runs;
static volatile u8 selector;
static struct nd_native_out *out;

static const int sigs[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGALRM };
static struct sigaction replaced[sizeof(sigs) / sizeof(*sigs)];

__asm__(".text\n"
	".globl nd_enter, nd_return\n"
	"nd_enter:\n" /* rdi: gprs, rflags at 128; rsi: xsave area */
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, nd_host_rsp(%rip)\n"
	"	mov nd_mask_lo(%rip), %eax\n"
	"	mov nd_mask_hi(%rip), %edx\n"
	"	xrstor64 (%rsi)\n"
	"	cmpq $0, nd_use_fsgs(%rip)\n"
	"	je 1f\n"
	"	mov nd_fs(%rip), %rax\n"
	"	wrfsbase %rax\n"
	"	mov nd_gs(%rip), %rax\n"
	"	wrgsbase %rax\n"
	"1:	mov 64(%rdi), %r8\n"
	"	mov 72(%rdi), %r9\n"
	"	mov 80(%rdi), %r10\n"
	"	mov 88(%rdi), %r11\n"
	"	mov 96(%rdi), %r12\n"
	"	mov 104(%rdi), %r13\n"
	"	mov 112(%rdi), %r14\n"
	"	mov 120(%rdi), %r15\n"
	"	cmpq $0, nd_compat(%rip)\n"
	"	je 2f\n"
	"	pushq $0x2b\n" /* frame of IRET: ss, esp, eflags, cs, eip */
	"	push 32(%rdi)\n"
	"	push 128(%rdi)\n"
	"	pushq $0x23\n"
	"	push nd_entry(%rip)\n"
	"	mov 0(%rdi), %rax\n"
	"	mov 8(%rdi), %rcx\n"
	"	mov 16(%rdi), %rdx\n"
	"	mov 24(%rdi), %rbx\n"
	"	mov 40(%rdi), %rbp\n"
	"	mov 48(%rdi), %rsi\n"
	"	mov 56(%rdi), %rdi\n"
	"	iretq\n"
	"2:	push 128(%rdi)\n"
	"	popfq\n"
	"	mov 0(%rdi), %rax\n"
	"	mov 8(%rdi), %rcx\n"
	"	mov 16(%rdi), %rdx\n"
	"	mov 24(%rdi), %rbx\n"
	"	mov 32(%rdi), %rsp\n"
	"	mov 40(%rdi), %rbp\n"
	"	mov 48(%rdi), %rsi\n"
	"	mov 56(%rdi), %rdi\n"
	"	jmp *nd_entry(%rip)\n"
	"nd_return:\n"
	"	pushq $0x202; popfq\n" /* sigreturn keeps NT */
	"	fninit\n"
	"	ldmxcsr nd_mxcsr_default(%rip)\n"
	"	vzeroupper\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n");

void nd_enter(const u64 *gpr_rflags, const u8 *xsave);
extern const char nd_return[];

static void save_fp(const ucontext_t *uc)
{
	const u8 *fp = (const u8 *)uc->uc_mcontext.fpregs;
	u32 size = *(const u32 *)(fp + 464 + 16); /* fpx_sw_bytes.xstate_size */

	if (size > sizeof(out->xsave))
		size = sizeof(out->xsave);
	memcpy(out->xsave, fp, size);
}

/* Order of gregs in the frame, by x86 register number. */
static const u8 greg_of[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
				REG_R12, REG_R13, REG_R14, REG_R15 };

static void save_state(int sig, ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;

	for (unsigned n = 0; n < 16; n++)
		out->gpr[n] = (u64)g[greg_of[n]];
	out->rip = (u64)g[16];
	out->rflags = (u64)g[REG_EFL];
	out->vector = sig == SIGALRM ? 0xfe : sig == SIGSYS ? 0xfd : (u8)g[REG_TRAPNO];
	out->error = (u32)g[REG_ERR];
	out->addr = (u64)g[REG_CR2];
	save_fp(uc);
	g[16] = (greg_t)(uintptr_t)nd_return;
	g[REG_RSP] = (greg_t)nd_host_rsp;
	g[REG_EFL] = 0x202;
	g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | 0x33;
}

__attribute__((no_stack_protector)) static bool hung(void)
{
	static u64 last;
	bool same = last == runs;

	last = runs;
	return same;
}

__attribute__((no_stack_protector)) static void set_bases(u64 fs, u64 gs)
{
	if (!nd_use_fsgs)
		return;
	__asm__ volatile("wrfsbase %0" : : "r"(fs));
	__asm__ volatile("wrgsbase %0" : : "r"(gs));
}

/* To the engine's own handlers, installed before ours. */
static void pass_on(int sig, siginfo_t *si, void *uc)
{
	unsigned k = 0;

	while (sigs[k] != sig)
		k++;
	if (replaced[k].sa_flags & SA_SIGINFO)
		replaced[k].sa_sigaction(sig, si, uc);
	else
		signal(sig, SIG_DFL);
}

/* No stack protector: its canary is in thread-local storage. */
__attribute__((no_stack_protector)) static void on_signal(int sig, siginfo_t *si, void *ucv)
{
	if (running) {
		set_bases(host_fs, host_gs);
		selector = SELECT_ALLOW;
		if (sig == SIGALRM && !hung()) {
			set_bases(nd_fs, nd_gs); /* not this stream's fault: go on */
			return;
		}
		running = false;
		save_state(sig, ucv);
		return;
	}
	if (sig != SIGALRM)
		pass_on(sig, si, ucv);
}

static void install(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART };
	size_t len = 256 << 10;
	stack_t ss = { .ss_size = len }, old;
	struct itimerval tick = { { 1, 0 }, { 1, 0 } };

	ss.ss_sp = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sigaltstack(NULL, &old) == 0 && old.ss_flags & SS_DISABLE)
		sigaltstack(&ss, NULL);
	for (unsigned k = 0; k < sizeof(sigs) / sizeof(*sigs); k++)
		sigaction(sigs[k], &sa, &replaced[k]);
	setitimer(ITIMER_REAL, &tick, NULL);
}

bool nd_has_fsgsbase(void)
{
	return getauxval(AT_HWCAP2) & 2;
}

bool nd_native_init(u64 mask)
{

	nd_mask_lo = (u32)mask;
	nd_mask_hi = mask >> 32;
	nd_use_fsgs = nd_has_fsgsbase();
	/* compatibility mode needs them; 64-bit mode does not look */
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0x2b));
	install();
	prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector);
	return true;
}

void nd_native_exec(const u64 *gpr_rflags, u64 rip, bool compat, const u8 *xsave,
		    struct nd_native_out *ret)
{
	if (nd_use_fsgs) {
		__asm__ volatile("rdfsbase %0" : "=r"(host_fs));
		__asm__ volatile("rdgsbase %0" : "=r"(host_gs));
	}
	nd_compat = compat;
	out = ret;
	nd_entry = rip;
	runs++;
	running = true;
	selector = SELECT_BLOCK;
	nd_enter(gpr_rflags, xsave);
}
