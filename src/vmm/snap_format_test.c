// SPDX-License-Identifier: Apache-2.0
/* snap_format_test.c - the container refuses everything that was not written so */
#include "base/test.h"
#include "vmm/snap_format.h"

#include <stdlib.h>

static struct err e;

static struct snap_writer sample(void)
{
	struct snap_writer w;

	snap_begin(&w);
	memcpy(snap_add(&w, "one", 5), "first", 5);
	snap_add(&w, "empty", 0);
	memcpy(snap_add(&w, "two", 6), "second", 6);
	if (snap_finish(&w, &e))
		abort();
	return w;
}

TEST(sections_come_back_by_name)
{
	struct snap_writer w = sample();
	struct snap s;
	struct snap_section *n;

	CHECK_EQ(snap_parse(&s, w.buf, w.len, &e), 0);
	CHECK_EQ(s.nr, 3);
	n = snap_take(&s, "two", &e);
	CHECK(n && n->len == 6 && !memcmp(n->data, "second", 6));
	CHECK(!snap_take(&s, "two", &e)); /* once */
	CHECK(!snap_take(&s, "three", &e));
	CHECK(snap_all_taken(&s, &e) < 0);
	CHECK(snap_take(&s, "one", &e) && snap_take(&s, "empty", &e));
	CHECK_EQ(snap_all_taken(&s, &e), 0);
	snap_free(&s);
	snap_discard(&w);
}

TEST(every_flipped_bit_is_noticed)
{
	struct snap_writer w = sample();
	struct snap s;

	for (size_t bit = 0; bit < w.len * 8; bit++) {
		w.buf[bit / 8] ^= (u8)(1 << bit % 8);
		CHECK(snap_parse(&s, w.buf, w.len, &e) < 0);
		w.buf[bit / 8] ^= (u8)(1 << bit % 8);
	}
	snap_discard(&w);
}

TEST(every_truncation_is_noticed)
{
	struct snap_writer w = sample();
	struct snap s;

	for (size_t len = 0; len < w.len; len++) {
		u8 *copy = malloc(len + 1); /* exact, for the sanitizers */

		memcpy(copy, w.buf, len);
		CHECK(snap_parse(&s, copy, len, &e) < 0);
		free(copy);
	}
	snap_discard(&w);
}
