// SPDX-License-Identifier: Apache-2.0
/*
 * trace.h - what happened, for the engineer: one predictable branch when off
 *
 * Events are listed in trace.def. trace_enable("bus_*,lapic_ipi") switches some
 * on; each then prints one line on standard error.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "base/types.h"

enum trace_id {
#define T(name, ...) TRACE_##name,
#include "base/trace.def"
#undef T
	TRACE_COUNT
};

extern bool trace_on[TRACE_COUNT];

/* Comma-separated names or name prefixes ending in '*', any case. Call before the vCPUs run.
 * Return: false if a name matches no event. */
bool trace_enable(const char *names);

void trace_emit(enum trace_id id, const char *who, u64 a, u64 b, u64 c);

/* trace(BUS_UNCLAIMED, "pio", addr, size, 1): arguments are not evaluated when off. */
#define trace(name, who, a, b, c)                                                                  \
	do {                                                                                       \
		if (__builtin_expect(trace_on[TRACE_##name], 0))                                   \
			trace_emit(TRACE_##name, who, a, b, c);                                    \
	} while (0)

#endif
