// SPDX-License-Identifier: Apache-2.0
/* trace.c - see trace.h */
#include "base/trace.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

bool trace_on[TRACE_COUNT];

static const struct {
	const char *name, *arg[3];
} event[] = {
#define T(name, ...) [TRACE_##name] = { #name, { __VA_ARGS__ } },
#include "base/trace.def"
#undef T
};

static bool enable_one(const char *name, size_t len)
{
	bool prefix = len && name[len - 1] == '*', any = false;

	for (unsigned i = 0; i < TRACE_COUNT; i++) {
		size_t cmp = prefix ? len - 1 : len;

		if (strncasecmp(event[i].name, name, cmp) || (!prefix && event[i].name[cmp]))
			continue;
		trace_on[i] = any = true;
	}
	return any;
}

bool trace_enable(const char *names)
{
	bool ok = true;

	while (*names) {
		size_t len = strcspn(names, ",");

		ok &= enable_one(names, len);
		names += len + (names[len] == ',');
	}
	return ok;
}

void trace_emit(enum trace_id id, const char *who, u64 a, u64 b, u64 c)
{
	const u64 val[3] = { a, b, c };
	char line[200];
	int n = snprintf(line, sizeof line, "%s: %s", event[id].name, who);

	for (unsigned i = 0; i < 3 && event[id].arg[i] && *event[id].arg[i]; i++)
		if (n > 0 && (size_t)n < sizeof line)
			n += snprintf(line + n, sizeof line - (size_t)n, " %s=0x%llx",
				      event[id].arg[i], (unsigned long long)val[i]);
	fprintf(stderr, "%s\n", line);
}
