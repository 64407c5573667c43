// SPDX-License-Identifier: Apache-2.0
/*
 * perfmap.c - translated code by name, for perf(1): lines "start size name" in hexadecimal
 * [perf jit-interface]
 *
 * A name is the privilege and the guest address, k.ffffffff81000000 or u.401000; both
 * parts of a block have it. tools/perf-names puts in symbols.
 */
#include "cpu/soft/jit_int.h"

#include <unistd.h>

#define LINE_MAX 64 /* two addresses, a length and the name */

static u32 put_hex(char *at, u64 val)
{
	u32 n = 0, digits = 1;

	while (digits < 16 && val >> (4 * digits))
		digits++;
	while (digits--)
		at[n++] = "0123456789abcdef"[val >> (4 * digits) & 15];
	return n;
}

void perfmap_flush(struct vcpu *v)
{
	struct perfmap *m = &v->jit->perfmap;

	if (m->used && write(v->cfg.perf_fd, m->buf, m->used) < 0)
		v->cfg.perf_fd = -1; /* no room: go on without */
	m->used = 0;
}

static void put_line(struct vcpu *v, const struct block *b, u32 from, u32 to)
{
	struct perfmap *m = &v->jit->perfmap;
	char *p;

	if (sizeof m->buf - m->used < LINE_MAX)
		perfmap_flush(v);
	p = m->buf + m->used;
	p += put_hex(p, (u64)v->jit->code.rx + from);
	*p++ = ' ';
	p += put_hex(p, to - from);
	*p++ = ' ';
	*p++ = b->key & KEY_CPL0 ? 'k' : 'u';
	*p++ = '.';
	p += put_hex(p, b->rip);
	*p++ = '\n';
	m->used = (u32)(p - m->buf);
}

void perfmap_add(struct vcpu *v, const struct block *b)
{
	if (v->cfg.perf_fd <= 0)
		return;
	put_line(v, b, b->start, b->end);
	if (b->cold_end > b->cold)
		put_line(v, b, b->cold, b->cold_end);
}
