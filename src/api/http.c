// SPDX-License-Identifier: Apache-2.0
/* http.c - see http.h */
#include "api/http.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const methods[HTTP_NR_METHODS] = {
	[HTTP_GET] = "GET",   [HTTP_PUT] = "PUT",       [HTTP_PATCH] = "PATCH",
	[HTTP_POST] = "POST", [HTTP_DELETE] = "DELETE",
};

const char *http_method_name(enum http_method m)
{
	return methods[m];
}

/* A piece of the head: not terminated. */
struct span {
	const char *p;
	size_t len;
};

static bool span_is(struct span s, const char *word)
{
	return s.len == strlen(word) && !memcmp(s.p, word, s.len);
}

static bool span_is_word(struct span s, const char *word) /* whatever the case */
{
	return s.len == strlen(word) && !strncasecmp(s.p, word, s.len);
}

/* Up to the next @c, which is skipped; the rest of @s if there is none. */
static struct span cut(struct span *s, char c)
{
	const char *end = memchr(s->p, c, s->len);
	struct span r = { s->p, end ? (size_t)(end - s->p) : s->len };
	size_t used = r.len + (end != NULL);

	s->p += used;
	s->len -= used;
	return r;
}

static struct span trim(struct span s)
{
	while (s.len && (*s.p == ' ' || *s.p == '\t'))
		s.p++, s.len--;
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* The next line without its end, CR LF or LF alone [HTTP/1.1 2.2]. */
static struct span next_line(struct span *s)
{
	struct span l = cut(s, '\n');

	if (l.len && l.p[l.len - 1] == '\r')
		l.len--;
	return l;
}

static int parse_target(struct span s, struct http_head *h, struct err *e)
{
	struct span path;

	if (s.len > 7 && !strncasecmp(s.p, "http://", 7)) { /* absolute form [HTTP/1.1 3.2.2] */
		s.p += 7, s.len -= 7;
		cut(&s, '/');
		s.p--, s.len++;
	}
	path = cut(&s, '?');
	if (!path.len || *path.p != '/')
		return err_set(e, EINVAL, "Invalid URI: want a path that begins with '/'.");
	if (path.len >= sizeof h->path)
		return err_set(e, EINVAL, "Invalid URI: longer than %zu bytes.",
			       sizeof h->path - 1);
	for (size_t i = 0; i < path.len; i++)
		if ((u8)path.p[i] <= ' ' || (u8)path.p[i] >= 0x7f)
			return err_set(e, EINVAL, "Invalid URI: want printable ASCII.");
	memcpy(h->path, path.p, path.len);
	h->path[path.len] = '\0';
	return 0;
}

static int parse_request_line(struct span l, struct http_head *h, struct err *e)
{
	struct span method = cut(&l, ' '), target = cut(&l, ' ');
	unsigned m = 0;

	while (m < HTTP_NR_METHODS && !span_is(method, methods[m]))
		m++;
	if (m == HTTP_NR_METHODS)
		return err_set(e, EINVAL, "Invalid HTTP Method: Unsupported HTTP method.");
	h->method = (enum http_method)m;
	TRY(parse_target(target, h, e));
	if (!span_is(l, "HTTP/1.1") && !span_is(l, "HTTP/1.0"))
		return err_set(e, EINVAL, "Invalid HTTP Version: Unsupported HTTP version.");
	h->keep_alive = span_is(l, "HTTP/1.1");
	return 0;
}

static int parse_length(struct span v, bool *seen, u64 *ret, struct err *e)
{
	u64 n = 0;

	if (!v.len || v.len > 18)
		return err_set(e, EINVAL, "Invalid header. Content-Length: want a number.");
	for (size_t i = 0; i < v.len; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return err_set(e, EINVAL, "Invalid header. Content-Length: want a number.");
		n = n * 10 + (u64)(v.p[i] - '0');
	}
	if (*seen && n != *ret)
		return err_set(e, EINVAL, "Invalid header. Content-Length: given twice.");
	*seen = true;
	*ret = n;
	return 0;
}

static void parse_connection(struct span v, struct http_head *h)
{
	while (v.len) {
		struct span word = trim(cut(&v, ','));

		if (span_is_word(word, "close"))
			h->keep_alive = false;
		else if (span_is_word(word, "keep-alive"))
			h->keep_alive = true;
	}
}

static int parse_header(struct span l, struct http_head *h, bool *has_length, struct err *e)
{
	struct span name = cut(&l, ':'), val = trim(l);

	if (!name.len || l.p == name.p + name.len || memchr(name.p, ' ', name.len) ||
	    memchr(name.p, '\0', name.len) || memchr(name.p, '\t', name.len))
		return err_set(e, EINVAL, "Invalid header. Want \"name: value\".");
	if (span_is_word(name, "Content-Length"))
		return parse_length(val, has_length, &h->body_len, e);
	if (span_is_word(name, "Transfer-Encoding"))
		return err_set(e, EINVAL,
			       "Unsupported header. Transfer-Encoding: want Content-Length.");
	if (span_is_word(name, "Connection"))
		parse_connection(val, h);
	else if (span_is_word(name, "Expect"))
		h->expect_continue = span_is_word(val, "100-continue");
	return 0;
}

/* Length of the head, its blank line included; 0 = not complete. */
static size_t find_end(const char *buf, size_t len)
{
	const char *p = buf, *end = buf + len;

	while ((p = memchr(p, '\n', (size_t)(end - p)))) {
		p++;
		if (p < end && *p == '\n')
			return (size_t)(p + 1 - buf);
		if (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
			return (size_t)(p + 2 - buf);
	}
	return 0;
}

ssize_t http_parse(const char *buf, size_t len, struct http_head *ret, struct err *e)
{
	size_t end = find_end(buf, len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX);
	struct span s = { buf, end }, l;
	bool has_length = false;

	if (!end && len >= HTTP_HEAD_MAX)
		return err_set(e, E2BIG, "Invalid request. Headers longer than %d bytes.",
			       HTTP_HEAD_MAX);
	if (!end)
		return 0;
	*ret = (struct http_head){ 0 };
	TRY(parse_request_line(next_line(&s), ret, e));
	while (l = next_line(&s), l.len)
		TRY(parse_header(l, ret, &has_length, e));
	return (ssize_t)end;
}

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {
		{ 200, "OK" },		{ 204, "No Content" },	      { 400, "Bad Request" },
		{ 404, "Not Found" },	{ 405, "Method Not Allowed" }, { 408, "Request Timeout" },
		{ 409, "Conflict" },	{ 413, "Payload Too Large" }, { 501, "Not Implemented" },
		{ 503, "Service Unavailable" }, { 504, "Gateway Timeout" },
	};

	for (size_t i = 0; i < array_len(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return status < 500 ? "Error" : "Internal Server Error";
}

size_t http_reply_head(const struct http_reply *r, char *buf)
{
	int n = snprintf(buf, HTTP_REPLY_HEAD,
			 "HTTP/1.1 %d %s\r\nServer: Firecracker API\r\nConnection: %s\r\n%s",
			 r->status, reason(r->status), r->close ? "close" : "keep-alive",
			 r->deprecated ? "Deprecation: true\r\n" : "");

	if (r->body_len || r->status != 204)
		n += snprintf(buf + n, HTTP_REPLY_HEAD - (size_t)n,
			      "Content-Type: %s\r\nContent-Length: %zu\r\n",
			      r->type ? r->type : "application/json", r->body_len);
	n += snprintf(buf + n, HTTP_REPLY_HEAD - (size_t)n, "\r\n");
	return (size_t)n;
}
