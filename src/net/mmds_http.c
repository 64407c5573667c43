// SPDX-License-Identifier: Apache-2.0
/*
 * mmds_http.c - requests to the metadata service, and what they are answered
 *
 * HTTP/1.0 and 1.1 [RFC 9112], GET and PUT, with Firecracker's statuses and sentences.
 * A path is a JSON pointer [RFC 6901] into the data; a slash at its end, and several in a
 * row, mean nothing.
 */
#include "net/mmds_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TOKEN_PATH "/latest/api/token"
#define PATH_SHOWN 300 /* bytes of a path in an answer */

struct text {
	const char *p;
	size_t len;
};

/* What of a request counts. */
struct request {
	struct text method, path;
	struct text token, ttl;
	bool http10, close, keep, forwarded, json, has_body;
	u64 body;
};

static bool is(struct text t, const char *s)
{
	return t.len == strlen(s) && !memcmp(t.p, s, t.len);
}

static bool is_word(struct text t, const char *s)
{
	return t.len == strlen(s) && !strncasecmp(t.p, s, t.len);
}

/* -- answers ---------------------------------------------------------------------------- */

struct answer {
	const char *status; /* "200 OK" */
	const char *type;
	const char *extra; /* header lines, or "" */
	const char *body;
};

static void reply(const struct request *r, const struct answer *a, struct mmds_reply *ret)
{
	static const char form[] = "HTTP/%s %s\r\nServer: MMDS\r\nConnection: %s\r\n"
				   "Content-Type: %s\r\n%sContent-Length: %zu\r\n\r\n%s";
	size_t body = strlen(a->body), cap = sizeof form + body + 400;
	int n;

	ret->close = r->close || (r->http10 && !r->keep);
	ret->text = malloc(cap);
	if (!ret->text)
		return;
	n = snprintf(ret->text, cap, form, r->http10 ? "1.0" : "1.1", a->status,
		     ret->close ? "close" : "keep-alive", a->type, a->extra, body, a->body);
	ret->len = n < 0 ? 0 : (size_t)n < cap ? (size_t)n : cap - 1;
}

static void say(const struct request *r, const char *status, const char *body,
		struct mmds_reply *ret)
{
	reply(r, &(struct answer){ status, "text/plain", "", body }, ret);
}

static void not_found(const struct request *r, struct mmds_reply *ret)
{
	char text[PATH_SHOWN + 40];
	int shown = r->path.len < PATH_SHOWN ? (int)r->path.len : PATH_SHOWN;

	snprintf(text, sizeof text, "Resource not found: %.*s.", shown, r->path.p);
	say(r, "404 Not Found", text, ret);
}

/* -- data ------------------------------------------------------------------------------- */

/* One name of the path, with ~0 and ~1 as what they stand for; NULL if it is too long. */
static const char *name_of(struct text t, char *buf, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < t.len; i++) {
		char c = t.p[i];

		if (c == '~' && i + 1 < t.len && (t.p[i + 1] == '0' || t.p[i + 1] == '1'))
			c = t.p[++i] == '0' ? '~' : '/';
		if (n + 1 >= size)
			return NULL;
		buf[n++] = c;
	}
	buf[n] = '\0';
	return buf;
}

static json_t *element(json_t *v, const char *name)
{
	char *end;
	unsigned long i;

	if (json_is_object(v))
		return json_object_get(v, name);
	if (!json_is_array(v) || *name < '0' || *name > '9' || strlen(name) > 9)
		return NULL;
	i = strtoul(name, &end, 10);
	return *end ? NULL : json_array_get(v, i);
}

static json_t *find(json_t *v, struct text path)
{
	const char *p = path.p, *end = p + path.len;

	while (v) {
		char buf[TCP_RX];
		const char *name;
		struct text t;

		while (p < end && *p == '/')
			p++;
		if (p == end)
			return v;
		t.p = p;
		while (p < end && *p != '/')
			p++;
		t.len = (size_t)(p - t.p);
		name = name_of(t, buf, sizeof buf);
		v = name ? element(v, name) : NULL;
	}
	return NULL;
}

/* As instance metadata is written: a string as it is, an object as the list of its names. */
static char *imds_text(json_t *v)
{
	size_t len = 1, n = 0;
	const char *key;
	char *text;
	json_t *x;
	void *it;

	if (json_is_string(v))
		return strdup(json_string_value(v));
	json_object_foreach(v, key, x)
		len += strlen(key) + 2;
	text = malloc(len);
	if (!text)
		return NULL;
	for (it = json_object_iter(v); it; it = json_object_iter_next(v, it)) {
		key = json_object_iter_key(it);
		n += (size_t)sprintf(text + n, "%s%s%s", n ? "\n" : "", key,
				     json_is_object(json_object_iter_value(it)) ? "/" : "");
	}
	text[n] = '\0';
	return text;
}

static void get(struct mmds *m, const struct request *r, struct mmds_reply *ret)
{
	bool json = r->json && !m->cfg.imds_compat;
	json_t *v = find(m->data, r->path);
	char *text;

	if (m->cfg.version == 2 && !r->token.p) {
		say(r, "401 Unauthorized",
		    "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` "
		    "header to specify the session token.", ret);
		return;
	}
	if (m->cfg.version == 2 && !mmds_token_ok(m, r->token.p, r->token.len)) {
		say(r, "401 Unauthorized", "MMDS token not valid.", ret);
		return;
	}
	if (!v) {
		not_found(r, ret);
		return;
	}
	if (!json && !json_is_string(v) && !json_is_object(v)) {
		say(r, "501 Not Implemented",
		    "Cannot retrieve value. The value has an unsupported type.", ret);
		return;
	}
	text = json ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : imds_text(v);
	if (text)
		reply(r, &(struct answer){ "200 OK", json ? "application/json" : "text/plain", "", text },
		      ret);
	free(text);
}

/* -- tokens ------------------------------------------------------------------------------- */

static bool parse_ttl(struct text t, u32 *ret)
{
	u32 v = 0;

	for (size_t i = 0; i < t.len; i++) {
		if (t.p[i] < '0' || t.p[i] > '9' || v > MMDS_TTL_MAX)
			return false;
		v = v * 10 + (u32)(t.p[i] - '0');
	}
	*ret = v;
	return t.len && v >= 1 && v <= MMDS_TTL_MAX;
}

static bool is_token_path(struct text path)
{
	const char *want = TOKEN_PATH;

	for (size_t i = 0; i < path.len; i++) {
		if (path.p[i] == '/' && i && path.p[i - 1] == '/')
			continue;
		if (*want++ != path.p[i])
			return false;
	}
	return !*want;
}

static void put(struct mmds *m, const struct request *r, struct mmds_reply *ret)
{
	char token[MMDS_TOKEN_SIZE], extra[80], why[200];
	u32 ttl;

	if (r->forwarded) {
		say(r, "400 Bad Request",
		    "Invalid header. Reason: Unsupported header name. Key: x-forwarded-for", ret);
	} else if (!is_token_path(r->path)) {
		not_found(r, ret);
	} else if (!r->ttl.p) {
		say(r, "400 Bad Request",
		    "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or "
		    "`X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime.",
		    ret);
	} else if (!parse_ttl(r->ttl, &ttl)) {
		snprintf(why, sizeof why,
			 "Invalid time to live value provided for token: %.*s. Please provide a value "
			 "between 1 and %d.",
			 r->ttl.len < 60 ? (int)r->ttl.len : 60, r->ttl.p, MMDS_TTL_MAX);
		say(r, "400 Bad Request", why, ret);
	} else {
		mmds_token_make(m, ttl, token);
		snprintf(extra, sizeof extra, "X-metadata-token-ttl-seconds: %u\r\n", ttl);
		reply(r, &(struct answer){ "200 OK", "text/plain", extra, token }, ret);
	}
}

/* -- requests ----------------------------------------------------------------------------- */

/* The next line of *t without its end; false if there is none. */
static bool next_line(struct text *t, struct text *line)
{
	const char *nl = memchr(t->p, '\n', t->len);

	if (!nl)
		return false;
	*line = (struct text){ t->p, (size_t)(nl - t->p) };
	t->len -= line->len + 1;
	t->p = nl + 1;
	if (line->len && line->p[line->len - 1] == '\r')
		line->len--;
	return true;
}

static struct text trim(struct text t)
{
	while (t.len && (*t.p == ' ' || *t.p == '\t'))
		t.p++, t.len--;
	while (t.len && (t.p[t.len - 1] == ' ' || t.p[t.len - 1] == '\t'))
		t.len--;
	return t;
}

/* "METHOD TARGET HTTP/1.x"; the target may be a whole http:// address. */
static bool parse_first(struct text line, struct request *r)
{
	const char *end = line.p + line.len;
	const char *a = memchr(line.p, ' ', line.len);
	const char *b = a ? memchr(a + 1, ' ', (size_t)(end - a - 1)) : NULL;
	struct text version;

	if (!b)
		return false;
	r->method = (struct text){ line.p, (size_t)(a - line.p) };
	r->path = (struct text){ a + 1, (size_t)(b - a - 1) };
	version = (struct text){ b + 1, (size_t)(end - b - 1) };
	r->http10 = is(version, "HTTP/1.0");
	if (!r->http10 && !is(version, "HTTP/1.1"))
		return false;
	if (r->path.len >= 7 && !memcmp(r->path.p, "http://", 7)) {
		const char *p = memchr(r->path.p + 7, '/', r->path.len - 7);

		r->path.len = p ? (size_t)(r->path.p + r->path.len - p) : 0;
		r->path.p = p ? p : r->path.p;
	}
	return r->method.len;
}

/* false: a header that makes no sense. */
static bool parse_header(struct text line, struct request *r)
{
	const char *colon = memchr(line.p, ':', line.len);
	struct text name, val;

	if (!colon || colon == line.p)
		return false;
	name = (struct text){ line.p, (size_t)(colon - line.p) };
	val = trim((struct text){ colon + 1, line.len - name.len - 1 });
	if (is_word(name, "x-metadata-token") || is_word(name, "x-aws-ec2-metadata-token"))
		r->token = val;
	else if (is_word(name, "x-metadata-token-ttl-seconds") ||
		 is_word(name, "x-aws-ec2-metadata-token-ttl-seconds"))
		r->ttl = val;
	else if (is_word(name, "x-forwarded-for"))
		r->forwarded = true;
	else if (is_word(name, "accept"))
		r->json = is_word(val, "application/json");
	else if (is_word(name, "connection"))
		r->close = is_word(val, "close"), r->keep = is_word(val, "keep-alive");
	else if (is_word(name, "transfer-encoding"))
		return false;
	else if (is_word(name, "content-length")) {
		if (r->has_body || !val.len || val.len > 6)
			return false;
		r->has_body = true;
		for (size_t i = 0; i < val.len; i++) {
			if (val.p[i] < '0' || val.p[i] > '9')
				return false;
			r->body = r->body * 10 + (u64)(val.p[i] - '0');
		}
	}
	return true;
}

static void answer(struct mmds *m, const struct request *r, struct mmds_reply *ret)
{
	static const char allow[] = "Allow: GET, PUT\r\n";

	if (!r->path.len || *r->path.p != '/')
		say(r, "400 Bad Request", "Invalid URI.", ret);
	else if (is(r->method, "GET"))
		get(m, r, ret);
	else if (is(r->method, "PUT"))
		put(m, r, ret);
	else
		reply(r, &(struct answer){ "405 Method Not Allowed", "text/plain", allow,
					   "Not allowed HTTP method." }, ret);
}

static size_t refuse(const char *status, size_t len, struct mmds_reply *ret)
{
	const struct request r = { .close = true };

	say(&r, status, "Invalid request.", ret);
	return len;
}

size_t mmds_http(struct mmds *m, const char *req, size_t len, bool full, struct mmds_reply *ret)
{
	struct text rest = { req, len }, line;
	struct request r = { 0 };
	bool first = true, whole = false;

	*ret = (struct mmds_reply){ 0 };
	while (!whole && next_line(&rest, &line)) {
		whole = !line.len;
		if (whole && first) /* empty lines before a request are nothing */
			return (size_t)(rest.p - req);
		if (!whole && !(first ? parse_first(line, &r) : parse_header(line, &r)))
			return refuse("400 Bad Request", len, ret);
		first = false;
	}
	if (!whole || r.body > rest.len) {
		if (full || r.body > TCP_RX)
			return refuse("413 Payload Too Large", len, ret);
		return 0;
	}
	answer(m, &r, ret);
	return (size_t)(rest.p - req) + r.body;
}
