// SPDX-License-Identifier: Apache-2.0
/*
 * metrics.h - counts of what the monitor did, one JSON line per flush
 *
 * Groups and names are Firecracker's, so that what reads its metrics reads ours; a name
 * is there only if we know its value. Counters are since the line before, as there.
 * API thread only.
 */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "base/compiler.h"
#include "base/types.h"

#include <jansson.h>

#define METRICS_PAIRS 32

enum metrics_latency { /* of the last one, microseconds */
	LATENCY_FULL_SNAPSHOT,
	LATENCY_DIFF_SNAPSHOT,
	LATENCY_LOAD_SNAPSHOT,
	LATENCY_PAUSE,
	LATENCY_RESUME,
	LATENCY_NR,
};

struct metrics {
	int fd;		   /* non-blocking, -1 = not configured */
	bool emit_id;
	json_t *properties; /* owned, or NULL */
	u64 count[METRICS_PAIRS], fails[METRICS_PAIRS];
	u64 latency[LATENCY_NR];
	u64 startup_us, startup_cpu_us;
	u64 deprecated_calls, lost, log_missed;
};

/* @counter: as in struct route. */
void metrics_count(struct metrics *m, const char *counter, bool failed);

/* Write a line; false if it could not be (a full pipe loses it). */
bool metrics_flush(struct metrics *m, const char *id);

#endif
