// SPDX-License-Identifier: Apache-2.0
/* trap_test.c - #UD at an expected instruction: the processor's, and one that does not stay */
#include "cpu/soft/trap.h"

#include "base/test.h"
#include "cpu/soft/codebuf.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static struct codebuf code;
static struct sigaction ours;
static unsigned seen, real; /* #UDs, and how many stay before the instruction is a good one */

static void patch_and_pass_on(int sig, siginfo_t *si, void *uc)
{
	if (++seen > real)
		memcpy(code.rw, "\x66\x90", 2); /* nop */
	ours.sa_sigaction(sig, si, uc);
}

/* UD2 at an armed site, of which @n come; the vector it is reported as. */
static u8 run_ud2(unsigned n)
{
	struct trap_site site = { .insn = (u64)code.rx, .resume = (u64)code.rx + 2, .vector = 0xff };
	struct sigaction sa = { .sa_sigaction = patch_and_pass_on, .sa_flags = SA_SIGINFO | SA_NODEFER };
	void (*fn)(void) = (void (*)(void))(u64)code.rx;

	memcpy(code.rw, "\x0f\x0b\xc3", 3); /* ud2; ret */
	usleep(50000); /* not the one before again */
	seen = 0;
	real = n;
	trap_install();
	sigaction(SIGILL, &sa, &ours);
	trap_armed = &site;
	fn();
	trap_armed = NULL;
	sigaction(SIGILL, &ours, NULL);
	return site.vector;
}

TEST(an_undefined_instruction_counts_when_it_stays)
{
	struct err e = { 0 };

	if (codebuf_new(&code, 4096, &e) < 0) {
		test_skip(e.msg);
		return;
	}
	CHECK_EQ(run_ud2(100), 6);
	CHECK_EQ(run_ud2(1), 0xff);
	CHECK_EQ(run_ud2(2), 0xff);
	CHECK_EQ(run_ud2(100), 6);
	codebuf_free(&code);
}
