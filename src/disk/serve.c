// SPDX-License-Identifier: Apache-2.0
/* serve.c - vireo disk serve: an NBD server for one image; and NBD addresses */
#include "blk/nbd.h"
#include "disk/disk_int.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NBD_PORT "10809"

/* -- sockets ---------------------------------------------------------------------------- */

static int unix_address(const char *path, struct sockaddr_un *a, struct err *e)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof a->sun_path)
		return err_set(e, ENAMETOOLONG, "%.100s: want a socket path of at most 107 bytes",
			       path);
	strcpy(a->sun_path, path);
	return 0;
}

static int unix_socket(const char *path, bool listening, struct err *e)
{
	struct sockaddr_un a;
	int fd, r;

	TRY(unix_address(path, &a, e));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, errno, "socket: %s", strerror(errno));
	r = listening ? bind(fd, (void *)&a, sizeof a) : connect(fd, (void *)&a, sizeof a);
	if (!r && (!listening || !listen(fd, 16)))
		return fd;
	r = err_set(e, errno, "%.107s: %s", path, strerror(errno));
	close(fd);
	return r;
}

static int try_address(const struct addrinfo *i, bool listening)
{
	int one = 1, r, fd = socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC, i->ai_protocol);

	if (fd < 0)
		return -errno;
	if (listening)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	r = listening ? bind(fd, i->ai_addr, i->ai_addrlen) :
			connect(fd, i->ai_addr, i->ai_addrlen);
	if (!r && (!listening || !listen(fd, 16)))
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static int tcp_socket(const char *host, const char *port, bool listening, struct err *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
	int r = getaddrinfo(host, port, &hints, &list);

	if (r)
		return err_set(e, EINVAL, "%.100s:%.20s: %s", host, port, gai_strerror(r));
	r = -EADDRNOTAVAIL;
	for (struct addrinfo *i = list; i && r < 0; i = i->ai_next)
		r = try_address(i, listening);
	freeaddrinfo(list);
	return r < 0 ? err_set(e, -r, "%.100s:%.20s: %s", host, port, strerror(-r)) : r;
}

/* "[HOST:]PORT" or "HOST", IPv6 addresses in brackets. */
static int tcp_by_text(const char *text, bool listening, struct err *e)
{
	char host[256] = "127.0.0.1", port[32] = NBD_PORT;
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : listening ? 0 : strlen(text);

	if (*text == '[' && n && text[n - 1] == ']')
		snprintf(host, sizeof host, "%.*s", (int)n - 2, text + 1);
	else if (n)
		snprintf(host, sizeof host, "%.*s", (int)n, text);
	if (colon || listening)
		snprintf(port, sizeof port, "%s", colon ? colon + 1 : text);
	return tcp_socket(host, port, listening, e);
}

/* -- addresses: nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH ---------------- */

bool disk_is_nbd(const char *path)
{
	return !strncmp(path, "nbd://", 6) || !strncmp(path, "nbd+unix:///", 12);
}

int disk_connect_nbd(const char *path, char ret_export[DISK_PATH], struct err *e)
{
	char text[DISK_PATH], *slash, *query;

	if (snprintf(text, sizeof text, "%s", strstr(path, "//") + 2) >= (int)sizeof text)
		return err_set(e, ENAMETOOLONG, "nbd: address too long");
	if (!strncmp(path, "nbd+unix", 8)) {
		query = strstr(text, "?socket=");
		if (!query)
			return err_set(e, EINVAL, "%.100s: want nbd+unix:///EXPORT?socket=PATH", path);
		*query = '\0';
		strcpy(ret_export, text + 1);
		return unix_socket(query + 8, false, e);
	}
	slash = strchr(text, '/');
	strcpy(ret_export, slash ? slash + 1 : "");
	if (slash)
		*slash = '\0';
	return tcp_by_text(text, false, e);
}

static int listen_for(const struct disk_args *a, struct err *e)
{
	return a->socket ? unix_socket(a->socket, true, e) : tcp_by_text(a->tcp, true, e);
}

int disk_open_sockets(struct disk_args *a, bool serve, struct err *e)
{
	a->listen_fd = serve ? listen_for(a, e) : -1;
	if (serve && a->listen_fd < 0)
		return -e->code;
	for (int i = 0; i < (int)array_len(a->nbd_fd); i++) {
		a->nbd_fd[i] = -1;
		if (i < a->nr_word && disk_is_nbd(a->word[i])) {
			a->nbd_fd[i] = disk_connect_nbd(a->word[i], a->nbd_export[i], e);
			if (a->nbd_fd[i] < 0)
				return -e->code;
		}
	}
	return 0;
}

/* -- serving ---------------------------------------------------------------------------- */

static int serve(struct loop *l, struct disk_args *a, struct blk *b, struct err *e)
{
	struct nbd_server *s = nbd_serve(l, a->listen_fd, b, a->read_only, e);

	if (!s)
		return -e->code;
	while (!disk_interrupted)
		loop_once(l, 200);
	nbd_server_stop(s);
	return 0;
}

int cmd_serve(struct disk_args *a)
{
	struct err e = { 0 };
	struct loop *l;
	struct blk *b;
	int r;

	l = loop_new(&e);
	b = l ? disk_open(l, a, a->word[0], a->format, !a->read_only, false, &e) : NULL;
	r = b ? serve(l, a, b, &e) : -e.code;
	if (a->socket)
		unlink(a->socket);
	if (b)
		blk_close(b);
	if (!r)
		return DISK_OK; /* asked to stop: that is how it ends */
	disk_interrupted = 0;
	return disk_fail(&e);
}
