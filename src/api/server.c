// SPDX-License-Identifier: Apache-2.0
/* server.c - see server.h */
#include "api/server.h"

#include "api/api_int.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 16384
#define OUT_BYTES  262144 /* more answers than this wait for the peer to read */

struct conn {
	int fd;
	int passed[API_FDS]; /* descriptors that came, for the next request */
	unsigned nr_passed;
	char *in, *out;
	size_t in_len, in_cap, out_len, out_off;
	u64 discard;	/* bytes of a body that is not wanted */
	u64 since;	/* when the unfinished request began, 0 = none */
	bool continued; /* 100 Continue was sent for it */
	bool closing;	/* after what is to be written */
};

struct server {
	struct api *api;
	int listen_fd, wake_fd;
	u64 max_body;
	struct thread thread;
	bool started;
	bool quit; /* atomic */
	struct conn conn[SERVER_CONNECTIONS];
	unsigned nr;
	u64 next_tick;
};

/* -- answers --------------------------------------------------------------------------------- */

static bool append(char **out, size_t *out_len, const void *p, size_t len)
{
	char *q = realloc(*out, *out_len + len);

	if (!q)
		return false;
	memcpy(q + *out_len, p, len);
	*out = q;
	*out_len += len;
	return true;
}

static bool answer(char **out, size_t *out_len, struct http_reply *r, json_t *body, bool native)
{
	char head[HTTP_REPLY_HEAD], *text = NULL;
	bool ok;

	if (body)
		text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
	if (text && native && r->status >= 400)
		r->type = "application/problem+json";
	r->body_len = text ? strlen(text) : 0;
	ok = append(out, out_len, head, http_reply_head(r, head)) &&
	     (!text || append(out, out_len, text, r->body_len));
	free(text);
	return ok;
}

/* What cannot be understood, in the words of Firecracker's server. */
static bool answer_broken(char **out, size_t *out_len, const char *why, bool close)
{
	struct http_reply r = { .status = 400, .close = close };
	char text[400];
	json_t *body;
	bool ok;

	snprintf(text, sizeof text, "%s\nAll previous unanswered requests will be dropped.", why);
	body = route_message("error", text);
	ok = answer(out, out_len, &r, body, false);
	json_decref(body);
	return ok;
}

static bool answer_request(struct api *a, const struct http_head *h, const char *body, char **out,
			   size_t *out_len)
{
	struct http_reply r = { .close = !h->keep_alive };
	struct api_call c;
	bool ok;

	if (strcmp(h->path, "/mmds") != 0)
		log_info("The API server received a %s request on \"%s\"%s%.*s.",
			 http_method_name(h->method), h->path, h->body_len ? " with body " : "",
			 (int)h->body_len, body);
	route_request(a, h, body, h->body_len, &c);
	r.status = c.status;
	r.deprecated = c.deprecated;
	if (c.deprecated)
		a->metrics.deprecated_calls++;
	if (c.status >= 400)
		log_error("Received Error. Status code: %d. Message: %s", c.status,
			  json_string_value(json_object_get(c.reply, "fault_message")) ?:
			  json_string_value(json_object_get(c.reply, "detail")) ?: "");
	else
		log_info("The request was executed successfully. Status code: %d.", c.status);
	ok = answer(out, out_len, &r, c.reply, json_object_get(c.reply, "detail") != NULL);
	json_decref(c.reply);
	return ok && h->keep_alive;
}

/* -- one connection ------------------------------------------------------------------------------ */

static bool too_large(u64 len, u64 max, u64 *discard, char **out, size_t *out_len)
{
	char why[200];

	snprintf(why, sizeof why,
		 "Request payload with size %llu is larger than the limit of %llu allowed by server.",
		 (unsigned long long)len, (unsigned long long)max);
	*discard = len;
	return answer_broken(out, out_len, why, false);
}

bool server_feed(struct api *a, u64 max_body, const char *in, size_t len, size_t *used,
		 u64 *discard, bool *continued, char **out, size_t *out_len)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

	*used = 0;
	while (*out_len < OUT_BYTES) {
		const char *p = in + *used;
		size_t left = len - *used, skip = *discard < left ? (size_t)*discard : left;
		struct http_head h;
		struct err e = { 0 };
		ssize_t n;

		*discard -= skip;
		*used += skip;
		p += skip;
		left -= skip;
		if (!left)
			return true;
		n = http_parse(p, left, &h, &e);
		if (n < 0) {
			answer_broken(out, out_len, e.msg, true);
			return false;
		}
		if (!n)
			return true;
		if (h.body_len > max_body) {
			*used += (size_t)n;
			if (!too_large(h.body_len, max_body, discard, out, out_len))
				return false;
			continue;
		}
		if (left - (size_t)n < h.body_len) {
			if (h.expect_continue && !*continued)
				append(out, out_len, go_on, sizeof go_on - 1);
			*continued = true;
			return true;
		}
		*continued = false;
		*used += (size_t)n + h.body_len;
		if (!answer_request(a, &h, p + n, out, out_len))
			return false;
	}
	return true;
}

static void close_passed(struct conn *c)
{
	while (c->nr_passed)
		close(c->passed[--c->nr_passed]);
}

static void feed(struct server *s, struct conn *c)
{
	size_t used;

	s->api->passed = c->passed;
	s->api->nr_passed = c->nr_passed;
	if (!server_feed(s->api, s->max_body, c->in, c->in_len, &used, &c->discard, &c->continued,
			 &c->out, &c->out_len))
		c->closing = true;
	s->api->nr_passed = 0;
	if (used) /* a request they could have been for */
		close_passed(c);
	memmove(c->in, c->in + used, c->in_len - used);
	c->in_len -= used;
	if (!c->in_len)
		c->since = 0;
	else if (!c->since || used)
		c->since = os_now_ns();
}

/* Read and answer; false when the connection is over. */
static bool conn_readable(struct server *s, struct conn *c)
{
	size_t max = HTTP_HEAD_MAX + s->max_body, room;
	unsigned nr;
	ssize_t n;

	if (c->in_cap - c->in_len < READ_BYTES && c->in_cap < max + READ_BYTES) {
		char *p = realloc(c->in, c->in_len + READ_BYTES);

		if (!p)
			return false;
		c->in = p;
		c->in_cap = c->in_len + READ_BYTES;
	}
	room = c->in_cap - c->in_len;
	if (!room)
		return false; /* cannot be: a request that fits has been used up */
	nr = API_FDS - c->nr_passed;
	n = fd_recv(c->fd, c->in + c->in_len, room, c->passed + c->nr_passed, &nr);
	if (n < 0)
		return n == -EAGAIN || n == -EINTR;
	if (!n)
		return false;
	c->nr_passed += nr;
	c->in_len += (size_t)n;
	feed(s, c);
	return true;
}

static bool conn_writable(struct conn *c)
{
	ssize_t n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->out_off += (size_t)n;
	if (c->out_off < c->out_len)
		return true;
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_off = 0;
	return !c->closing;
}

static void conn_close(struct server *s, unsigned i)
{
	struct conn *c = &s->conn[i];

	close(c->fd);
	close_passed(c);
	free(c->in);
	free(c->out);
	*c = s->conn[--s->nr];
}

static void accept_one(struct server *s)
{
	static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nServer: Firecracker API\r\n"
				   "Connection: close\r\nContent-Length: 40\r\n\r\n"
				   "{ \"error\": \"Too many open connections\" }";
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (s->nr == SERVER_CONNECTIONS) {
		if (send(fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			log_warn("API: too many connections");
		close(fd);
		return;
	}
	s->conn[s->nr++] = (struct conn){ .fd = fd };
}

/* -- the thread ------------------------------------------------------------------------------------ */

static void serve_conn(struct server *s, unsigned i, short events)
{
	struct conn *c = &s->conn[i];
	bool ok = true;

	if (c->since && os_now_ns() - c->since > SERVER_PARTIAL_MS * 1000000ull)
		ok = false;
	else if (events & (POLLIN | POLLHUP | POLLERR) && !c->out_len)
		ok = conn_readable(s, c);
	if (ok && c->out_len)
		ok = conn_writable(c);
	if (ok && !c->closing && !c->out_len && c->in_len) /* what waited for that */
		feed(s, c);
	if (!ok || (c->closing && !c->out_len))
		conn_close(s, i);
}

static int timeout_ms(const struct server *s)
{
	u64 now = os_now_ns();

	for (unsigned i = 0; i < s->nr; i++)
		if (s->conn[i].since)
			return 1000;
	return s->next_tick > now ? (int)((s->next_tick - now) / 1000000) + 1 : 0;
}

static void round_once(struct server *s)
{
	struct pollfd p[2 + SERVER_CONNECTIONS] = {
		{ .fd = s->wake_fd, .events = POLLIN },
		{ .fd = s->listen_fd, .events = POLLIN },
	};
	unsigned nr = s->nr;

	for (unsigned i = 0; i < nr; i++)
		p[2 + i] = (struct pollfd){ .fd = s->conn[i].fd,
					    .events = s->conn[i].out_len ? POLLOUT : POLLIN };
	if (poll(p, 2 + nr, timeout_ms(s)) < 0)
		return;
	for (unsigned i = nr; i-- > 0;) /* from the end: closing moves the last one */
		serve_conn(s, i, p[2 + i].revents);
	if (p[1].revents & POLLIN)
		accept_one(s);
	if (os_now_ns() >= s->next_tick) {
		s->next_tick = os_now_ns() + SERVER_TICK_MS * 1000000ull;
		api_tick(s->api);
	}
}

static void *server_main(void *arg)
{
	struct server *s = arg;

	while (!__atomic_load_n(&s->quit, __ATOMIC_ACQUIRE)) /* pairs with server_free() */
		round_once(s);
	return NULL;
}

struct server *server_new(struct api *a, int fd, u64 max_body, struct err *e)
{
	struct server *s = calloc(1, sizeof *s);

	if (!s) {
		err_set(e, ENOMEM, "API: out of host memory");
		return NULL;
	}
	*s = (struct server){ .api = a, .listen_fd = fd, .max_body = max_body };
	s->wake_fd = fd_eventfd();
	if (s->wake_fd < 0) {
		err_set(e, -s->wake_fd, "API: %s", strerror(-s->wake_fd));
		free(s);
		return NULL;
	}
	s->next_tick = os_now_ns() + SERVER_TICK_MS * 1000000ull;
	return s;
}

int server_start(struct server *s, struct err *e)
{
	TRY(thread_start(&s->thread, "fc_api", JAIL_API, server_main, s, e));
	s->started = true;
	return 0;
}

void server_free(struct server *s)
{
	if (!s)
		return;
	__atomic_store_n(&s->quit, true, __ATOMIC_RELEASE); /* pairs with server_main() */
	if (s->started) {
		u64 one = 1;

		if (write(s->wake_fd, &one, sizeof one) == sizeof one)
			thread_join(&s->thread);
	}
	while (s->nr)
		conn_close(s, s->nr - 1);
	fd_close(&s->listen_fd);
	fd_close(&s->wake_fd);
	free(s);
}
