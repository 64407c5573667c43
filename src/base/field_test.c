// SPDX-License-Identifier: Apache-2.0
/* field_test.c - saved members come back in any order, once */
#include "base/field.h"
#include "base/test.h"

struct thing {
	u8 a;
	u16 b;
	u32 c;
};

static const struct field fields[] = { FIELD(struct thing, a), FIELD(struct thing, b, .max = 1000),
				       FIELD_NOT_SAVED(struct thing, c), FIELD_END };

/* "a" = 7 and "b" = 300, as field_save() writes them. */
static const u8 a[] = { 1, 'a', 1, 0, 7 }, b[] = { 1, 'b', 2, 0, 0x2c, 1 };

static size_t join(u8 *buf, const u8 *p, size_t np, const u8 *q, size_t nq)
{
	memcpy(buf, p, np);
	if (nq)
		memcpy(buf + np, q, nq);
	return np + nq;
}

TEST(saved_members_come_back_in_any_order)
{
	struct thing t = { 0 };
	struct err e;
	u8 buf[32];
	size_t n = join(buf, b, sizeof b, a, sizeof a);

	CHECK_EQ(field_load(fields, &t, sizeof t, buf, n, &e), 0);
	CHECK_EQ(t.a, 7);
	CHECK_EQ(t.b, 300);
	t = (struct thing){ .a = 1, .b = 2 };
	n = join(buf, a, sizeof a, b, sizeof b);
	CHECK_EQ(field_load(fields, &t, sizeof t, buf, n, &e), 0);
	CHECK_EQ(t.a, 7);
	CHECK_EQ(t.b, 300);
}

TEST(more_members_than_there_are_are_refused_and_change_nothing)
{
	struct thing t = { .a = 1, .b = 2, .c = 3 };
	struct err e = { 0 };
	u8 buf[200];
	size_t n = 0;

	while (n + sizeof a <= sizeof buf)
		n += join(buf + n, a, sizeof a, NULL, 0);
	CHECK(field_load(fields, &t, sizeof t, buf, n, &e) < 0);
	CHECK(strstr(e.msg, "repeated"));
	CHECK_EQ(t.a, 1);
}
