// SPDX-License-Identifier: Apache-2.0
/* jailed_test.c - results, errors, descriptors, and a child that is ended by its jail */
#include "base/test.h"
#include "boot/jailed.h"
#include "os/os.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct err err;

static int give(void *ctx, struct jailed_result *ret, struct err *e)
{
	if (ctx)
		return err_set(e, ENOENT, "nothing there");
	ret->fd[1] = fd_memfd("x", 3);
	strcpy(ret->text, "hello");
	return fd_pwrite_full(ret->fd[1], "abc", 3, 0);
}

/* What a taken-over parser would do. */
static int misbehave(void *ctx UNUSED, struct jailed_result *ret UNUSED, struct err *e UNUSED)
{
	close(2); /* the jail's line is not for this test's output */
	return socket(AF_INET, SOCK_STREAM, 0);
}

TEST(jailed_work_hands_back_descriptors_and_text)
{
	struct jailed_work w = { .fn = give };
	struct jailed_result r;
	char c[4] = "";

	CHECK_EQ(jailed_run(&w, &r, &err), 0);
	CHECK_EQ(r.fd[0], -1);
	CHECK(r.fd[1] >= 0 && !fd_pread_full(r.fd[1], c, 3, 0));
	CHECK_STR(c, "abc");
	CHECK_STR(r.text, "hello");
	close(r.fd[1]);
}

TEST(jailed_work_hands_back_its_error)
{
	struct jailed_work w = { .fn = give, .ctx = &w };
	struct jailed_result r;

	CHECK_EQ(jailed_run(&w, &r, &err), -ENOENT);
	CHECK_STR(err.msg, "nothing there");
}

TEST(jailed_work_that_breaks_out_is_ended)
{
	struct jailed_work w = { .fn = misbehave };
	struct jailed_result r;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	test_skip("no jail in a sanitizer build");
	return;
#endif
	CHECK_EQ(jailed_run(&w, &r, &err), -ECHILD);
}
