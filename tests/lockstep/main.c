// SPDX-License-Identifier: Apache-2.0
/*
 * main.c - lockstep: boot Linux on the interpreter and on translated code at once
 *
 * The translated machine runs one block; the interpreted one executes as many
 * instructions; then everything a program could see is compared. Interrupts are
 * taken by both between two blocks. Virtual time is the number of instructions.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/soft/jit.h"
#include "lockstep.h"

#define CLOCK_STEP 256	/* instructions between looks at the timers */
#define PROMPT	   "# "
#define TRAIL	   32
#define MAX_HALTS  20000 /* minutes of the guest's time */
#define CMDLINE                                                                                    \
	"console=ttyS0 quiet mitigations=off cryptomgr.notests tsc=reliable no_timer_check "       \
	"nokaslr nowatchdog random.trust_cpu=on panic=-1 lpj=4000000 vireo.ip=none"

/* What is typed at the guest's shell. */
static const char script[] =
	"uname -a; ls -lR /sys/devices | wc -l\n"
	"for i in 1 2 3 4 5 6 7 8; do (echo $i | md5sum | cut -c1-8); done\n"
	"dd if=/dev/urandom bs=64k count=4 2>/dev/null | sha256sum\n"
	"gzip -c /bin/busybox | gunzip | cmp - /bin/busybox && echo same\n"
	"awk 'BEGIN { for (i = 0; i < 3000; i++) s += sin(i) * sqrt(i); print s }'\n"
	"ps; free; mount; exit\n";

struct lockstep {
	struct options o;
	struct machine a, b; /* interpreted, translated */
	struct counts n;
	struct x86_state before;
	u64 next_clock, next_ram;
	size_t shown;
	bool typed;
	u64 trail[TRAIL]; /* where the interpreter was, a ring */
	u64 nr_trail;
};

enum outcome { GO_ON, ENDED, DIFFER };

static enum outcome differ(struct lockstep *l, const char *what, u64 nr)
{
	printf("\n%s after instruction %llu, block %llu (%llu instructions):\n", what,
	       (unsigned long long)l->n.insns, (unsigned long long)l->n.blocks,
	       (unsigned long long)nr);
	for (u64 k = l->nr_trail < TRAIL ? 0 : l->nr_trail - TRAIL; k < l->nr_trail; k++)
		print_code(&l->a, l->trail[k % TRAIL], 1);
	print_state_difference(&l->a, &l->b, &l->before);
	print_fp_difference(&l->a, &l->b);
	print_ram_difference(&l->a, &l->b);
	return DIFFER;
}

static void park(struct lockstep *l)
{
	fp_park(l->a.v);
	fp_park(l->b.v);
}

/*
 * One instruction of the interpreter, all of a REP included: how much of that one call does
 * depends on the tier. What it raises is delivered.
 */
static int step(struct vcpu *v)
{
	int r;

	do
		r = interp_step(v);
	while (r == X_OK && v->in_rep);
	return r == X_FAULT ? deliver_exception(v) : r;
}

/* One block, or one instruction where translated code cannot run; *ret_nr: instructions. */
static int run_translated(struct vcpu *v, u64 *ret_nr)
{
	int r;

	*ret_nr = 1;
	if (!jit_usable(v))
		return step(v);
	v->in_rep = false;
	r = jit_run(v);
	*ret_nr = jit_retired(v);
	return r == X_OK && v->in_rep ? step(v) : r;
}

static bool ram_is_due(struct lockstep *l)
{
	if (l->n.insns < l->next_ram || l->n.insns < l->o.ram_from)
		return false;
	l->next_ram = l->n.insns + l->o.ram_every;
	return true;
}

static enum outcome compare(struct lockstep *l, u64 nr)
{
	l->n.states++;
	if (!same_state(&l->a, &l->b, l->o.lazy_flags))
		return differ(l, "states differ", nr);
	if (l->n.blocks % l->o.fp_every == 0 && ++l->n.fp && !same_fp(&l->a, &l->b))
		return differ(l, "vector registers differ", nr);
	if (ram_is_due(l) && ++l->n.ram && !same_ram(&l->a, &l->b, l->o.lazy_flags))
		return differ(l, "RAM differs", nr);
	return GO_ON;
}

static enum outcome advance_block(struct lockstep *l)
{
	int ra = X_OK, rb;
	u64 nr;

	memcpy(&l->before, &l->b.v->s, offsetof(struct x86_state, xsave));
	rb = run_translated(l->b.v, &nr);
	fp_park(l->b.v);
	for (u64 k = 0; k < nr && ra == X_OK; k++) {
		l->trail[l->nr_trail++ % TRAIL] = l->a.v->s.rip;
		ra = step(l->a.v);
	}
	fp_park(l->a.v);
	l->n.insns += nr;
	l->n.blocks++;
	l->a.virt.tsc += nr * l->o.ticks;
	l->b.virt.tsc += nr * l->o.ticks;
	if (ra != rb || l->a.v->error[0] || l->b.v->error[0])
		return differ(l, "only one of them stopped", nr);
	if (ra != X_OK)
		return differ(l, "triple fault", nr);
	return compare(l, nr);
}

/* The shell's prompt appeared: type the script. */
static void type_script(struct lockstep *l)
{
	const char *shell = l->typed ? NULL : strstr(l->a.out, "shell (ash)");

	if (shell && strstr(shell, PROMPT)) {
		l->typed = true;
		l->a.input = l->b.input = script;
	}
	machine_type(&l->a);
	machine_type(&l->b);
}

static enum outcome serve_devices(struct lockstep *l)
{
	machine_advance(&l->a);
	machine_advance(&l->b);
	type_script(l);
	if (l->a.nr_out != l->b.nr_out || memcmp(l->a.out + l->shown, l->b.out + l->shown,
						 l->a.nr_out - l->shown) != 0)
		return differ(l, "output differs", 0);
	if (l->o.verbose)
		fwrite(l->a.out + l->shown, 1, l->a.nr_out - l->shown, stdout);
	l->shown = l->a.nr_out;
	l->next_clock = l->n.insns + CLOCK_STEP;
	return GO_ON;
}

static enum outcome take_events(struct lockstep *l)
{
	u64 rip = l->a.v->s.rip;
	enum soft_turn ta = soft_take_events(l->a.v), tb = soft_take_events(l->b.v);

	park(l);
	l->n.irqs += l->a.v->s.rip != rip;
	if (ta != tb)
		return differ(l, "different events", 0);
	if (ta == TURN_SHUTDOWN)
		return differ(l, "triple fault", 0);
	if (ta != TURN_WAIT)
		return GO_ON;
	if (++l->n.halts > MAX_HALTS)
		return differ(l, "the guest only idles", 0);
	machine_wait(&l->a);
	machine_wait(&l->b);
	type_script(l);
	return take_events(l);
}

static enum outcome turn(struct lockstep *l)
{
	enum outcome x = GO_ON;

	if (l->n.insns >= l->next_clock)
		x = serve_devices(l);
	if (x == GO_ON)
		x = take_events(l);
	if (x == GO_ON)
		x = advance_block(l);
	if (x != GO_ON)
		return x;
	if (l->a.vm->end != l->b.vm->end)
		return differ(l, "only one machine ended", 0);
	return l->a.vm->end != VM_RUNNING || (l->o.insns && l->n.insns >= l->o.insns) ? ENDED :
											 GO_ON;
}

static bool finish(struct lockstep *l)
{
	char stats[4096] = "";

	park(l);
	if (!same_ram(&l->a, &l->b, l->o.lazy_flags) || !same_fp(&l->a, &l->b)) {
		differ(l, "RAM or vector registers differ at the end", 0);
		return false;
	}
	l->n.ram++;
	if (!l->o.insns && (l->a.vm->end != VM_POWERED_OFF || !strstr(l->a.out, "\nsame\r\n"))) {
		printf("the guest did not do what it was told; its output:\n%s\n", l->a.out);
		return false;
	}
	cpu_soft.stats(l->b.v, stats, sizeof stats);
	if (l->o.verbose)
		printf("\n%s", stats);
	return true;
}

static void report(const struct lockstep *l)
{
	const struct counts *n = &l->n;

	printf("%llu instructions in %llu blocks: %llu states, %llu vector states, %llu whole RAM "
	       "compared; %llu interrupts, %llu halts\n",
	       (unsigned long long)n->insns, (unsigned long long)n->blocks,
	       (unsigned long long)n->states, (unsigned long long)n->fp, (unsigned long long)n->ram,
	       (unsigned long long)n->irqs, (unsigned long long)n->halts);
}

static bool run(struct lockstep *l)
{
	enum outcome x = GO_ON;

	if (!machine_new(&l->a, &l->o, false) || !machine_new(&l->b, &l->o, true))
		return false;
	while (x == GO_ON)
		x = turn(l);
	report(l);
	return x == ENDED && finish(l);
}

/* -- command line ---------------------------------------------------------------------- */

enum { O_INSNS = 1, O_FULL, O_SEED, O_FLUSH, O_SMALL, O_MAX, O_LAZY, O_RUN, O_TICKS, O_CPU, O_OFF, O_RAM, O_FROM, O_FP, O_MEM,
       O_KERNEL, O_INITRD, O_CMDLINE, O_VERBOSE, O_HELP };

static const struct option longs[] = {
	{ "insns", 1, NULL, O_INSNS },	     { "full", 0, NULL, O_FULL },
	{ "seed", 1, NULL, O_SEED },	     { "flush-every", 1, NULL, O_FLUSH },
	{ "small-cache", 0, NULL, O_SMALL }, { "max-block", 1, NULL, O_MAX },
	{ "lazy-flags", 0, NULL, O_LAZY },   { "ram-every", 1, NULL, O_RAM },
	{ "ram-from", 1, NULL, O_FROM },     { "fp-every", 1, NULL, O_FP },
	{ "memory", 1, NULL, O_MEM },	     { "kernel", 1, NULL, O_KERNEL },
	{ "initrd", 1, NULL, O_INITRD },     { "cmdline", 1, NULL, O_CMDLINE },
	{ "run", 1, NULL, O_RUN },	     { "ticks", 1, NULL, O_TICKS },
	{ "cpu", 1, NULL, O_CPU },	     { "off", 1, NULL, O_OFF },
	{ "verbose", 0, NULL, O_VERBOSE },   { "help", 0, NULL, O_HELP },
	{ 0 },
};

static const char help[] =
	"usage: lockstep --kernel FILE --initrd FILE [options]\n"
	"  --insns N        stop after N instructions (default 100000000)\n"
	"  --full           the whole boot, commands at the shell, power-off\n"
	"  --seed N         random numbers the guests get\n"
	"  --flush-every N  drop translations every N blocks\n"
	"  --small-cache    1 MiB of translated code\n"
	"  --max-block N    instructions per block (1..32)\n"
	"  --run N          compare after about N instructions (64 or more) instead of each block: with\n"
	"                   links and jump table\n"
	"  --ticks N        of the time-stamp counter per instruction (default 8): interrupt rate\n"
	"  --lazy-flags     as in real use: dead flags are not kept (nor compared)\n"
	"  --ram-every N    compare RAM every N instructions, --ram-from N: from there on\n"
	"  --cpu MODEL      x86-64-v2, x86-64-v3 (default) or max\n"
	"  --off MASK       without these optimisations (CPU_OFF_*), 0xffffffff = without any\n"
	"  --fp-every N     compare vector registers every N blocks\n"
	"  --memory N       MiB of guest RAM (default 160)\n"
	"  --cmdline TEXT   instead of the built-in kernel command line\n"
	"  --verbose        show the guest's output and counters\n";

static bool take_number(struct options *o, int opt, u64 n)
{
	switch (opt) {
	case O_INSNS: o->insns = n; return true;
	case O_SEED: o->seed = n; return true;
	case O_FLUSH: o->flush_every = n; return true;
	case O_MAX: o->max_block = (unsigned)n; return n >= 1 && n <= 32;
	case O_RUN: o->run = (unsigned)n; return n >= 64 && n <= 1000000;
	case O_TICKS: o->ticks = (unsigned)n; return n >= 1 && n <= 100000;
	case O_OFF: o->off = (u32)n; return true;
	case O_RAM: o->ram_every = n; return n > 0;
	case O_FROM: o->ram_from = n; return true;
	case O_FP: o->fp_every = n; return n > 0;
	case O_MEM: o->memory = n << 20; return n >= 64 && n <= 2048;
	}
	return false;
}

static bool take_model(struct options *o, const char *name)
{
	static const char *const names[] = {
		[CPU_MODEL_V3] = "x86-64-v3", [CPU_MODEL_V2] = "x86-64-v2", [CPU_MODEL_MAX] = "max",
	};

	for (unsigned k = 0; k < array_len(names); k++) {
		if (strcmp(name, names[k]) != 0)
			continue;
		o->model = (enum cpu_model)k;
		return true;
	}
	return false;
}

static bool take_option(struct options *o, int opt)
{
	switch (opt) {
	case O_FULL: o->insns = 0; return true;
	case O_SMALL: o->small_cache = true; return true;
	case O_LAZY: o->lazy_flags = true; return true;
	case O_VERBOSE: o->verbose = true; return true;
	case O_KERNEL: o->kernel = optarg; return true;
	case O_INITRD: o->initrd = optarg; return true;
	case O_CMDLINE: o->cmdline = optarg; return true;
	case O_CPU: return take_model(o, optarg);
	case O_HELP: fputs(help, stdout); exit(0);
	}
	return optarg && take_number(o, opt, strtoull(optarg, NULL, 0));
}

int main(int argc, char **argv)
{
	static struct lockstep l;
	bool ok = true;
	int opt;

	l.o = (struct options){
		.insns = 100000000, .seed = 1, .ram_every = 8 << 20, .fp_every = 16,
		.memory = 160 << 20, .ticks = 8, .cmdline = CMDLINE,
	};
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (ok && (opt = getopt_long(argc, argv, "", longs, NULL)) != -1)
		ok = take_option(&l.o, opt);
	if (!ok || optind != argc || !l.o.kernel || !l.o.initrd) {
		fputs(help, stderr);
		return 2;
	}
	ok = run(&l);
	printf("%d passed, %d failed\n", ok, !ok);
	machine_free(&l.a);
	machine_free(&l.b);
	return !ok;
}
