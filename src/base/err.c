// SPDX-License-Identifier: Apache-2.0
/* err.c - see err.h */
#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code > 0);
	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof e->msg, fmt, ap);
	va_end(ap);
	return -code;
}

/* Append what fits; a truncated message is better than none. */
static void append(char *dst, size_t cap, const char *src)
{
	size_t n = strlen(dst);

	while (n + 1 < cap && *src)
		dst[n++] = *src++;
	dst[n] = '\0';
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char old[sizeof e->msg];
	va_list ap;

	assert(e->code > 0);
	memcpy(old, e->msg, sizeof old);
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof e->msg, fmt, ap);
	va_end(ap);
	append(e->msg, sizeof e->msg, ": ");
	append(e->msg, sizeof e->msg, old);
	return -e->code;
}
