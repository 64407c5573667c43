// SPDX-License-Identifier: Apache-2.0
/* client.c - HTTP requests to a monitor; see ctl.h */
#include "ctl/ctl.h"

#include "os/os.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY_MAX  (4u << 20)
#define TIMEOUT_MS 30000

/* Descriptors go with the first byte. */
static int send_all(int fd, const char *msg, size_t len, const int *fds, unsigned nr)
{
	if (nr)
		TRY(fd_send(fd, msg, 1, fds, nr));
	return fd_write_full(fd, msg + (nr > 0), len - (nr > 0));
}

static int send_request(int fd, const char *method, const char *path, json_t *body,
			const int *fds, unsigned nr, struct err *e)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL, *msg = NULL;
	int n, r;

	n = asprintf(&msg,
		     "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
		     "Content-Length: %zu\r\n\r\n%s",
		     method, path, text ? strlen(text) : 0, text ? text : "");
	r = n < 0 ? -ENOMEM : send_all(fd, msg, (size_t)n, fds, nr);
	if (n >= 0)
		free(msg);
	free(text);
	return r ? err_set(e, -r, "request: %s", strerror(-r)) : 0;
}

/* What came so far, and how long it will be once that is known. */
struct incoming {
	char *buf;
	size_t len, head, total; /* head, total 0 = not known */
};

static void look_at_head(struct incoming *in)
{
	char *end = in->head ? NULL : strstr(in->buf, "\r\n\r\n"), *p;

	if (!end)
		return;
	in->head = in->total = (size_t)(end + 4 - in->buf);
	*end = '\0';
	p = strcasestr(in->buf, "\r\nContent-Length:");
	if (p)
		in->total += strtoul(p + 17, NULL, 10);
}

static int receive(int fd, u64 deadline, struct incoming *in, struct err *e)
{
	while (!in->head || in->len < in->total) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		u64 now = os_now_ns();
		char *q;
		ssize_t n;

		if (now >= deadline || poll(&p, 1, (int)((deadline - now) / 1000000) + 1) == 0)
			return err_set(e, ETIMEDOUT, "the monitor does not answer");
		q = realloc(in->buf, in->len + 65537);
		if (!q)
			return err_set(e, ENOMEM, "reply: out of memory");
		in->buf = q;
		n = recv(fd, q + in->len, 65536, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(e, ECONNRESET, "the monitor closed the connection");
		in->len += (size_t)n;
		q[in->len] = '\0';
		look_at_head(in);
		if (in->len > REPLY_MAX || in->total > REPLY_MAX)
			return err_set(e, EFBIG, "reply: longer than 4 MiB");
	}
	return 0;
}

static int request(int fd, const char *method, const char *path, json_t *body, const int *fds,
		   unsigned nr, int timeout_ms, struct ctl_reply *ret, struct err *e)
{
	struct incoming in = { 0 };
	int r;

	*ret = (struct ctl_reply){ 0 };
	TRY(send_request(fd, method, path, body, fds, nr, e));
	r = receive(fd, os_now_ns() + (u64)timeout_ms * 1000000, &in, e);
	if (!r && sscanf(in.buf, "HTTP/1.1 %3d", &ret->status) != 1)
		r = err_set(e, EPROTO, "reply: want HTTP/1.1");
	if (!r && in.total > in.head) {
		ret->body = json_loadb(in.buf + in.head, in.total - in.head, JSON_DECODE_ANY, NULL);
		if (!ret->body)
			r = err_set(e, EPROTO, "reply: want JSON");
	}
	free(in.buf);
	return r;
}

int ctl_request(int fd, const char *method, const char *path, json_t *body, int timeout_ms,
		struct ctl_reply *ret, struct err *e)
{
	return request(fd, method, path, body, NULL, 0, timeout_ms, ret, e);
}

int ctl_ask(const char *name, const char *method, const char *path, json_t *body,
	    struct ctl_reply *ret, struct err *e)
{
	return ctl_ask_with(name, method, path, body, NULL, 0, TIMEOUT_MS, ret, e);
}

int ctl_ask_with(const char *name, const char *method, const char *path, json_t *body,
		 const int *fds, unsigned nr, int timeout_ms, struct ctl_reply *ret, struct err *e)
{
	const char *why;
	int fd = ctl_connect(name, e), r;

	if (fd < 0)
		return fd;
	r = request(fd, method, path, body, fds, nr, timeout_ms, ret, e);
	close(fd);
	if (r)
		return err_wrap(e, "%.63s", name);
	if (ret->status < 400)
		return 0;
	why = json_string_value(json_object_get(ret->body, "detail"));
	r = err_set(e,
		    ret->status == 404	       ? ENOENT :
		    ret->status == 409	       ? EALREADY :
		    ret->status == 503	       ? ETIMEDOUT :
						 EIO,
		    "%.63s: %.150s", name, why ? why : "the request failed");
	json_decref(ret->body);
	ret->body = NULL;
	return r;
}

int ctl_exit_status(const struct err *e)
{
	switch (e->code) {
	case ENOENT: return CTL_NOT_FOUND;
	case EALREADY: return CTL_CONFLICT;
	case ETIMEDOUT: return CTL_TIMEOUT;
	default: return CTL_FAILED;
	}
}
