// SPDX-License-Identifier: Apache-2.0
/*
 * codebuf_test.c - generated code runs through rx after being written through rw
 */
#include "base/test.h"
#include "cpu/soft/codebuf.h"

TEST(codebuf_runs_what_was_written)
{
	static const u8 code[] = { 0xb8, 0x2a, 0, 0, 0, 0xc3 }; /* mov eax, 42; ret */
	struct codebuf b = { 0 };
	struct err e = { 0 };
	int (*fn)(void);

	CHECK_EQ(codebuf_new(&b, 5000, &e), 0);
	CHECK_EQ(b.size, 8192);
	for (unsigned i = 0; i < 2; i++) {
		memcpy(b.rw + 64, code, sizeof(code));
		b.rw[65] = (u8)(42 + i);
		fn = (int (*)(void))codebuf_rx(&b, b.rw + 64);
		CHECK_EQ(fn(), 42 + i);
	}
	codebuf_free(&b);
	CHECK(!b.rw);
	codebuf_free(&b);
}
