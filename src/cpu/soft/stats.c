// SPDX-License-Identifier: Apache-2.0
/*
 * stats.c - what a vCPU counted, as text: vireo stats, vireo run -v -v
 *
 * Read by other threads while the vCPU runs: each number is right, but not all of one moment.
 */
#include "cpu/soft/jit_int.h"

#include <stdio.h>

#define NR_TOP 32 /* opcodes the interpreter executed most */

struct out {
	char *buf;
	size_t len, used; /* as snprintf(): used counts what has no room too */
};

static void line(struct out *o, const char *name, u64 val)
{
	bool room = o->used < o->len;
	int n = snprintf(room ? o->buf + o->used : NULL, room ? o->len - o->used : 0, "%s %llu\n", name,
			 (unsigned long long)val);

	o->used += n > 0 ? (size_t)n : 0;
}

static u64 executed(const struct vcpu *v, int k)
{
	return v->executed[k / 256][k % 256];
}

#define NR_OPS (4 * 256)

/* The next opcode after @last in falling order of how often; -1 = none. */
static int next_executed(const struct vcpu *v, int last)
{
	int best = -1;

	for (int k = 0; k < NR_OPS; k++) {
		bool later = last < 0 || executed(v, k) < executed(v, last) ||
			     (executed(v, k) == executed(v, last) && k > last);

		if (executed(v, k) && later && (best < 0 || executed(v, k) > executed(v, best)))
			best = k;
	}
	return best;
}

static void put_interpreter(struct out *o, const struct vcpu *v)
{
	static const char *const map[] = { "", "0f", "0f38", "0f3a" };
	u64 sum = 0;
	int op = -1;

	for (int k = 0; k < NR_OPS; k++)
		sum += executed(v, k);
	line(o, "interpreted_insns", sum);
	for (unsigned k = 0; k < NR_TOP && (op = next_executed(v, op)) >= 0; k++) {
		char name[32];

		snprintf(name, sizeof name, "interpreted_%s%02x", map[op / 256], op % 256);
		line(o, name, executed(v, op));
	}
}

static void put_translator(struct out *o, const struct jit *j)
{
	const struct {
		const char *name;
		u64 val;
	} count[] = {
		{ "translated_insns", j->n_translated },
		{ "blocks", cache_blocks(j) },
		{ "code_bytes", cache_bytes(j) },
		{ "code_flushes", j->n_flushes },
		{ "code_evictions", j->n_evictions },
		{ "blocks_invalidated", j->n_invalidated },
		{ "jump_misses", j->n_misses },
		{ "table_fills", j->n_fills },
		{ "slow_accesses", j->n_slow },
		{ "table_flushes", j->n_table_flushes },
		{ "page_flushes", j->n_page_flushes },
		{ "space_switches", j->n_switches },
		{ "host_faults", j->n_faults },
		{ "interpreted_in_blocks", j->n_t0 },
		{ "exits_no_block", j->n_exits[JX_MISS] },
		{ "exits_interpret", j->n_exits[JX_INTERP] },
		{ "exits_host_fault", j->n_exits[JX_FAULT] },
		{ "exits_request", j->n_exits[JX_POLL] },
		{ "exits_link", j->n_exits[JX_CHAIN] },
		{ "exits_event", j->n_exits[JX_DONE] },
	};

	for (size_t k = 0; k < array_len(count); k++)
		line(o, count[k].name, count[k].val);
}

size_t soft_stats(const struct vcpu *v, char *buf, size_t len)
{
	struct out o = { .buf = buf, .len = len };

	line(&o, "halts", v->nr_halts);
	line(&o, "interrupts", v->nr_irqs);
	if (v->jit)
		put_translator(&o, v->jit);
	put_interpreter(&o, v);
	return o.used;
}
