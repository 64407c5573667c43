// SPDX-License-Identifier: Apache-2.0
/*
 * main.c - nd: random instruction streams, native against the software engine
 *
 *   nd [--count N] [--seed S] [--tier T] [--class C] [--bits 32|64]
 *      [--off SET] [--keep-going] [--single]
 *
 * --count counts instructions. --seed with --single runs exactly one stream, as
 * printed by a failure. --off: optimisations to leave out (sum of
 * CPU_OFF_*). Ends with "N passed, N failed, N skipped" in instructions.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/soft/testvm.h"
#include "native.h"
#include "nd.h"

#define MAX_CLASSES 16

/* Shared between the workers' lives. */
struct progress {
	u64 next_seed; /* of the stream being run */
	u64 passed, failed, skipped;
	u64 by_class[MAX_CLASSES];
};

struct options {
	u64 count, seed;
	const struct nd_tier *tier;
	int only;
	unsigned mode;
	u32 off;
	bool keep_going, single;
};

static bool has_xsave(const struct nd_case *c)
{
	for (unsigned k = 0; k < c->nr; k++)
		if (c->insn[k].cls == CLS_XSAVE)
			return true;
	return false;
}

/*
 * XSAVE called a component in use that has its initial value, which a CPU may do as it likes
 * [SDM 1 13.6]; outside 64-bit mode one with only registers in use that do not exist there may
 * count as either.
 */
static bool is_in_use_bit(const struct nd_case *c)
{
	u8 theirs = 0, ours = 0;
	u64 la = nd_memory_diff(&theirs, &ours);

	if (!la || !has_xsave(c))
		return false;
	return !(la & 63) && (c->mode == 4 || (theirs & ours) == ours);
}

/*
 * Differences that say nothing about the engine. A stray address met something mapped in this
 * process; or an operand crosses an edge of the canonical addresses, or is a misaligned FXSAVE
 * area that is not there: which of its faults comes first is not architectural.
 */
static bool is_the_hosts(const struct nd_case *c, const struct nd_result *nat,
			 const struct nd_result *got)
{
	const struct insn *i = nd_faulting(c, nat);
	u64 la;

	if (got->vector == EX_PF && got->addr - ND_ARENA >= NR_PAGES * (u64)ND_PAGE &&
	    got->addr >= 1ull << 32 && !(got->addr >> 47) && nat->vector != EX_PF)
		return true;
	if (i && i->is_mem && nat->vector != got->vector && nat->st.rip == got->st.rip) {
		la = nd_operand_la(&nat->st, i, nat->st.rip);
		if (la >> 12 == 0x7ffffffff || la >> 12 == 0xffff7ffffffff ||
		    (i->cls == CLS_XSAVE && la & 63))
			return true;
	}
	return is_in_use_bit(c);
}

enum outcome { PASSED, FAILED, SKIPPED };

/* The stream of c->seed, on both sides. */
static enum outcome run_once(const struct options *o, struct nd_case *c, struct nd_result *nat,
			     struct nd_result *got)
{
	if (!nd_generate(c, o->only, o->mode)) {
		c->nr = 1;
		return SKIPPED;
	}
	nd_put_code(c);
	nd_native_run(c, nat);
	if (nat->vector == ND_TIMEOUT || nat->vector == ND_SYSCALL) {
		nd_drop_code(c);
		return SKIPPED;
	}
	nd_tier_run(o->tier, c, got);
	nd_drop_code(c);
	if (nd_compare(c, nat, got, o->tier->name, false))
		return PASSED;
	return is_the_hosts(c, nat, got) ? SKIPPED : FAILED;
}

static bool ends_alike(const struct nd_result *a, const struct nd_result *b)
{
	return a->vector == b->vector && a->st.rip == b->st.rip && a->st.rflags == b->st.rflags &&
	       !memcmp(a->st.gpr, b->st.gpr, sizeof a->st.gpr);
}

static void run_case(const struct options *o, struct progress *p, struct nd_case *c)
{
	static struct nd_result nat, got, before;
	enum outcome r;

	c->seed = p->next_seed;
	r = run_once(o, c, &nat, &got);
	before = nat;
	/* Some hosts emulate an instruction that meets a page they have not mapped yet, and some of those end
	 * in #UD, once or twice. What the engine did is no reason to try again. */
	for (unsigned n = 0; r == FAILED && n < 5; n++) {
		r = run_once(o, c, &nat, &got);
		if (ends_alike(&before, &nat))
			r = FAILED;
	}
	if (r == SKIPPED)
		p->skipped += c->nr;
	if (r == PASSED) {
		p->passed += c->nr;
		for (unsigned k = 0; k < c->nr; k++)
			p->by_class[nd_class_of(&c->insn[k])]++;
	}
	if (r != FAILED)
		return;
	p->failed += c->nr;
	nd_print_case(c);
	nd_compare(c, &nat, &got, o->tier->name, true);
	fflush(stdout);
}

static void worker(const struct options *o, struct progress *p)
{
	static struct nd_case c;

	/* the engine's signal handlers first: ours pass on what is not native */
	if (!nd_arena_init() || !nd_tier_init(o->off) || !nd_native_init(nd_host_mask()))
		_exit(2);
	for (; p->passed + p->failed + p->skipped < o->count; p->next_seed++) {
		run_case(o, p, &c);
		if (o->single || (p->failed && !o->keep_going))
			break;
	}
	fflush(stdout);
	_exit(0);
}

/* Run workers until the count is reached; a stream that kills one is skipped. */
static bool drive(const struct options *o, struct progress *p)
{
	int status;
	pid_t pid;

	for (unsigned deaths = 0; deaths < 20; deaths++) {
		fflush(stdout);
		pid = fork();
		if (pid == 0)
			worker(o, p);
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return false;
		if (WIFEXITED(status))
			return WEXITSTATUS(status) == 0;
		printf("worker killed by signal %d at seed %llu\n", WTERMSIG(status),
		       (unsigned long long)p->next_seed);
		p->next_seed++;
		p->skipped++;
		if (o->single)
			return false;
	}
	printf("too many workers died\n");
	return false;
}

static int find_class(const char *name)
{
	for (unsigned k = 0; k < nd_nr_classes; k++)
		if (!strcmp(nd_classes[k].name, name))
			return (int)k;
	fprintf(stderr, "nd: unknown class '%s'\n", name);
	exit(2);
}

static const struct nd_tier *find_tier(const char *name)
{
	for (unsigned k = 0; nd_tiers[k]; k++)
		if (!strcmp(nd_tiers[k]->name, name))
			return nd_tiers[k];
	fprintf(stderr, "nd: unknown tier '%s'\n", name);
	exit(2);
}

static void parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "count", 1, NULL, 'n' }, { "seed", 1, NULL, 's' },   { "tier", 1, NULL, 't' },
		{ "class", 1, NULL, 'c' }, { "bits", 1, NULL, 'b' }, { "keep-going", 0, NULL, 'k' },
		{ "single", 0, NULL, '1' }, { "off", 1, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	*o = (struct options){ .count = 1000000, .seed = 1, .tier = nd_tiers[0], .only = -1 };
	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'n': o->count = strtoull(optarg, NULL, 0); break;
		case 's': o->seed = strtoull(optarg, NULL, 0); break;
		case 't': o->tier = find_tier(optarg); break;
		case 'c': o->only = find_class(optarg); break;
		case 'b': o->mode = (unsigned)atoi(optarg) / 8; break;
		case 'o': o->off = (u32)strtoul(optarg, NULL, 0); break;
		case 'k': o->keep_going = true; break;
		case '1': o->single = true; break;
		default: exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	struct options o;
	struct progress *p;
	bool ok;

	parse(&o, argc, argv);
	if (!testvm_host_has_32bit() && o.mode == 4) {
		printf("the host runs no 32-bit code\n0 passed, 0 failed, 1 skipped\n");
		return 0;
	}
	if (!testvm_host_has_32bit())
		o.mode = 8;
	p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return 2;
	p->next_seed = o.seed;
	ok = drive(&o, p);
	for (unsigned k = 0; !o.single && k < nd_nr_classes; k++)
		printf("  %-8s %llu\n", nd_classes[k].name, (unsigned long long)p->by_class[k]);
	printf("%llu passed, %llu failed, %llu skipped\n", (unsigned long long)p->passed,
	       (unsigned long long)p->failed, (unsigned long long)p->skipped);
	return ok && !p->failed ? 0 : 1;
}
