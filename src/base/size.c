// SPDX-License-Identifier: Apache-2.0
/* size.c - see size.h */
#include "base/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* @end is what follows the digits: multiply by its unit. */
static bool apply_unit(const char *end, const char *units, bool any_case, u64 *v)
{
	char letter = any_case ? (char)toupper((unsigned char)*end) : *end;
	const char *unit = strchr(units, letter);

	if (!unit || (end[1] && strcmp(end + 1, "iB") != 0 && strcmp(end + 1, "B") != 0))
		return false;
	for (long i = unit - units; i >= 0; i--)
		if (__builtin_mul_overflow(*v, 1024, v))
			return false;
	return true;
}

bool size_parse(const char *s, const char *units, bool any_case, u64 *ret)
{
	char *end;
	u64 v;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || (*end && !apply_unit(end, units, any_case, &v)))
		return false;
	*ret = v;
	return true;
}
