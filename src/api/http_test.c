// SPDX-License-Identifier: Apache-2.0
/* http_test.c - request heads, good and bad */
#include "api/http.h"
#include "base/test.h"

#include <errno.h>
#include <string.h>

static ssize_t parse(const char *text, struct http_head *h)
{
	struct err e = { 0 };

	return http_parse(text, strlen(text), h, &e);
}

TEST(a_head_is_its_method_path_and_length)
{
	static const char text[] = "PUT /drives/a?x=1 HTTP/1.1\r\nHost: localhost\r\n"
				   "content-length:  12 \r\nExpect: 100-continue\r\n\r\nbody";
	struct http_head h;

	CHECK_EQ(parse(text, &h), (ssize_t)(sizeof text - 1 - 4));
	CHECK_EQ(h.method, HTTP_PUT);
	CHECK(!strcmp(h.path, "/drives/a"));
	CHECK_EQ(h.body_len, 12);
	CHECK(h.keep_alive && h.expect_continue);
}

TEST(an_unfinished_head_is_waited_for)
{
	static const char text[] = "GET / HTTP/1.1\r\nA: b\r\n\r\n";
	struct http_head h;
	struct err e = { 0 };

	for (size_t n = 0; n < sizeof text - 1; n++)
		CHECK_EQ(http_parse(text, n, &h, &e), 0);
	CHECK_EQ(http_parse(text, sizeof text - 1, &h, &e), (ssize_t)sizeof text - 1);
}

TEST(connections_close_when_asked_or_http_1_0)
{
	struct http_head h;

	CHECK(parse("GET / HTTP/1.0\r\n\r\n", &h) > 0 && !h.keep_alive);
	CHECK(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &h) > 0 && h.keep_alive);
	CHECK(parse("GET / HTTP/1.1\r\nConnection: x, close\r\n\r\n", &h) > 0 && !h.keep_alive);
}

TEST(an_absolute_target_is_its_path)
{
	struct http_head h;

	CHECK(parse("GET http://localhost/vm/config HTTP/1.1\r\n\r\n", &h) > 0);
	CHECK(!strcmp(h.path, "/vm/config"));
	CHECK(parse("GET http://localhost HTTP/1.1\r\n\r\n", &h) < 0);
}

TEST(heads_that_are_none_are_refused)
{
	static const char *const bad[] = {
		"\r\n\r\n",
		"GET\r\n\r\n",
		"GET /\r\n\r\n",
		"GET / HTTP/2.0\r\n\r\n",
		"get / HTTP/1.1\r\n\r\n",
		"GET x HTTP/1.1\r\n\r\n",
		"GET /\x01 HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nno colon\r\n\r\n",
		"GET / HTTP/1.1\r\n: x\r\n\r\n",
		"GET / HTTP/1.1\r\nA b: x\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
	};
	struct http_head h;

	for (size_t i = 0; i < array_len(bad); i++)
		CHECK(parse(bad[i], &h) < 0);
}

TEST(a_head_without_end_is_refused_at_its_limit)
{
	static char text[HTTP_HEAD_MAX + 100];
	struct http_head h;
	struct err e = { 0 };

	memset(text, 'a', sizeof text);
	memcpy(text, "GET / HTTP/1.1\r\nA: ", 19);
	CHECK_EQ(http_parse(text, HTTP_HEAD_MAX - 1, &h, &e), 0);
	CHECK(http_parse(text, sizeof text, &h, &e) < 0);
}
