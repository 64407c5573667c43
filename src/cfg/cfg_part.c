// SPDX-License-Identifier: Apache-2.0
/* cfg_part.c - the pieces options are made of: see cfg_int.h */
#include "cfg/cfg_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int want(struct err *e, const char *opt, const char *val, const char *wanted)
{
	return err_set(e, EINVAL, "%s: \"%.80s\": want %s", opt, val, wanted);
}

int too_many(struct err *e, const char *opt, unsigned max)
{
	return err_set(e, EINVAL, "%s: want it at most %u times", opt, max);
}

int copy_str(char *dst, size_t cap, const char *opt, const char *val, struct err *e)
{
	if (!*val)
		return err_set(e, EINVAL, "%s: want a value that is not empty", opt);
	if (strlen(val) >= cap)
		return err_set(e, EINVAL, "%s: \"%.40s...\": want at most %zu bytes", opt, val,
			       cap - 1);
	strcpy(dst, val);
	return 0;
}

bool parse_number(const char *s, u64 min, u64 max, u64 *ret)
{
	char *end;
	u64 v;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || *end || v < min || v > max)
		return false;
	*ret = v;
	return true;
}

/* One of @names, as its index. */
int parse_enum(u32 *ret, const char *opt, const char *val, const char *const *names,
		      const char *wanted, struct err *e)
{
	for (u32 i = 0; names[i]; i++) {
		if (!strcmp(names[i], val)) {
			*ret = i;
			return 0;
		}
	}
	return want(e, opt, val, wanted);
}

/* -- options with parts: "word,key=value,flag" -------------------------------------- */

/* Take the next part of *s; ",," stands for one comma inside it. */
int next_part(const char **s, struct part *ret, const char *opt, struct err *e)
{
	size_t n = 0;
	const char *p = *s;
	char *eq;

	for (; *p; p++) {
		if (*p == ',' && p[1] != ',')
			break;
		if (*p == ',')
			p++;
		if (n + 1 == sizeof ret->text)
			return err_set(e, EINVAL, "%s: want at most %zu bytes", opt, n);
		ret->text[n++] = *p;
	}
	ret->text[n] = '\0';
	*s = *p ? p + 1 : p;
	eq = strchr(ret->text, '=');
	ret->val = eq ? eq + 1 : NULL;
	if (eq)
		*eq = '\0';
	return 0;
}

bool is_flag(const struct part *p, const char *name)
{
	return !p->val && !strcmp(p->text, name);
}

bool is_key(const struct part *p, const char *name)
{
	return p->val && !strcmp(p->text, name);
}
