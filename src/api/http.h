// SPDX-License-Identifier: Apache-2.0
/*
 * http.h - the head of an HTTP/1.1 request, and the head of its answer
 *
 * Follows RFC 9112 as [HTTP/1.1], as much as clients of a local API use: request
 * line, Content-Length, Connection, Expect. A body comes with its length; transfer
 * codings are refused. Parsing works on bytes in memory and keeps nothing, so that it
 * can be fuzzed by itself. Peers are hostile.
 */
#ifndef API_HTTP_H
#define API_HTTP_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#include <sys/types.h>

#define HTTP_HEAD_MAX 8192 /* bytes of request line and headers */
#define HTTP_PATH_MAX 256

enum http_method { HTTP_GET, HTTP_PUT, HTTP_PATCH, HTTP_POST, HTTP_DELETE, HTTP_NR_METHODS };

const char *http_method_name(enum http_method m); /* "GET" */

struct http_head {
	enum http_method method;
	char path[HTTP_PATH_MAX]; /* without the query */
	u64 body_len;
	bool keep_alive, expect_continue;
};

/*
 * http_parse() - the head at the start of @buf
 *
 * Return: its length in bytes, blank line included; 0 if it is not complete yet; or a
 * negative errno, and the rest of the stream cannot be understood.
 */
ssize_t http_parse(const char *buf, size_t len, struct http_head *ret, struct err *e) MUST_CHECK;

#define HTTP_REPLY_HEAD 512

struct http_reply {
	int status;
	const char *type; /* of the body */
	size_t body_len;  /* 0 = none */
	bool deprecated;  /* the request used what will go away */
	bool close;
};

/* The head of an answer in @buf of HTTP_REPLY_HEAD bytes. Return: its length. */
size_t http_reply_head(const struct http_reply *r, char *buf);

#endif
