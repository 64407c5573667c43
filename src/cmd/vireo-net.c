// SPDX-License-Identifier: Apache-2.0
/*
 * vireo-net.c - user-mode network for one guest, by libslirp, in a process of its own
 *
 * The guest's Ethernet frames come and go on a socket (net/net.h), each behind a
 * virtio_net_hdr. What the guest leaves to hardware is done here: checksums are
 * filled in, and segments of up to 64 KiB are passed whole, as libslirp is no wire.
 * In the other direction libslirp sends large segments too (it goes by its MTU, and
 * by the MSS in the guest's SYN, which is raised); for a guest that did not say that
 * it accepts them they are cut up here.
 *
 * The guest: 10.0.2.15 by DHCP. 10.0.2.2 is the gateway and reaches the host's
 * loopback, 10.0.2.3 answers DNS with the host's resolver.
 *
 * Everything in a frame is hostile. The process ends when the socket does.
 */
#include "base/compiler.h"
#include "base/err.h"
#include "jail/jail.h"
#include "net/net.h"
#include "os/os.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <signal.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HDR_SIZE    12u
#define SLOT_SIZE   (HDR_SIZE + NET_FRAME_MAX + 2)
#define BATCH	    16
#define QUEUE_MAX   (16u << 20) /* bytes waiting for the guest; beyond, frames are lost */
#define MAX_FORWARD 64
#define MAX_TIMERS  8
#define WIRE_MTU    1500u
#define WIRE_MSS    1460u
#define BIG_MTU	    65521u /* the largest libslirp knows */
#define BIG_MSS	    32768u /* libslirp's largest; two to a window keep both sides busy */

struct forward {
	bool udp;
	struct in_addr host;
	u16 host_port, guest_port;
};

/* A frame the socket had no room for. */
struct packet {
	struct packet *next;
	size_t len;
	u8 data[];
};

struct rtimer {
	bool used;
	SlirpTimerId id;
	void *opaque;
	i64 expire_ms; /* -1 = not armed */
};

struct net {
	int fd, ready_fd;
	bool ended;
	u32 tun_f; /* what the guest accepts */
	Slirp *slirp;
	struct rtimer timer[MAX_TIMERS];

	struct packet *head, **tail;
	size_t queued; /* bytes */

	struct pollfd *pfd; /* [0] is our socket */
	unsigned nr_pfd, cap_pfd;

	struct forward forward[MAX_FORWARD];
	unsigned nr_forwards;
	u8 *buf; /* BATCH slots of SLOT_SIZE */
};

/* -- packets: field access and checksums [RFC 1071, 791, 793] ---------------------------- */

static u16 get16(const u8 *p)
{
	return (u16)(p[0] << 8 | p[1]);
}

static void put16(u8 *p, u16 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

/* One's complement sum of @len bytes, folded, in memory order of the bytes. */
static u16 sum_of(const u8 *p, size_t len)
{
	u64 s = 0, v;
	u32 w = 0;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&v, p, 8);
		s += v;
		s += s < v;
	}
	for (; len >= 2; p += 2, len -= 2)
		w += (u32)(p[0] | p[1] << 8);
	if (len)
		w += p[0];
	s = (s >> 32) + (s & 0xffffffff) + w;
	s = (s >> 32) + (s & 0xffffffff);
	s = (s >> 16) + (s & 0xffff);
	s = (s >> 16) + (s & 0xffff);
	s = (s >> 16) + (s & 0xffff);
	return (u16)s;
}

/* An IPv4 frame's TCP header and how much follows, or NULL. Fragments do not count. */
static u8 *find_tcp(u8 *f, size_t len, size_t *ret_len)
{
	size_t ihl;

	if (len < 14 + 20 || get16(f + 12) != 0x0800 || f[14] >> 4 != 4)
		return NULL;
	ihl = (size_t)(f[14] & 15) * 4;
	if (ihl < 20 || len < 14 + ihl + 20 || f[14 + 9] != IPPROTO_TCP ||
	    get16(f + 14 + 6) & 0x3fff)
		return NULL;
	*ret_len = len - 14 - ihl;
	return f + 14 + ihl;
}

/* Finish the checksum a guest left to us [virtio 5.1.6.2]. */
static void fill_csum(u8 *f, size_t len, const struct virtio_net_hdr *h)
{
	size_t start = h->csum_start, at = start + h->csum_offset;
	u16 s;

	if (at + 2 > len)
		return; /* the guest's mistake: libslirp drops it */
	s = (u16)~sum_of(f + start, len - start);
	if (!s)
		s = 0xffff; /* UDP: zero would mean none */
	memcpy(f + at, &s, 2);
}

/* In a SYN, raise the MSS option to BIG_MSS, so that libslirp sends us large segments. */
static void raise_mss(u8 *f, size_t len)
{
	size_t n, i, opt_end;
	u8 *t = find_tcp(f, len, &n);

	if (!t || !(t[13] & 2)) /* SYN */
		return;
	opt_end = (size_t)(t[12] >> 4) * 4;
	for (i = 20; opt_end <= n && i + 4 <= opt_end && t[i];) {
		u32 s;

		if (t[i] == 1) {
			i++;
			continue;
		}
		if (t[i] == 2 && t[i + 1] == 4) {
			s = (u16)~get16(t + 16) + (u32)(u16)~get16(t + i + 2) + BIG_MSS;
			s = (s >> 16) + (s & 0xffff);
			s = (s >> 16) + (s & 0xffff);
			put16(t + i + 2, BIG_MSS);
			put16(t + 16, (u16)~s);
			return;
		}
		if (t[i + 1] < 2)
			return;
		i += t[i + 1];
	}
}

/* -- to the guest ------------------------------------------------------------------------ */

static bool put_frame(struct net *n, const struct virtio_net_hdr *h, const u8 *f, size_t len)
{
	u8 hdr[HDR_SIZE] = { 0 };
	struct iovec v[2] = { { hdr, sizeof hdr }, { (u8 *)f, len } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };

	memcpy(hdr, h, sizeof *h);
	hdr[10] = 1; /* num_buffers */
	while (sendmsg(n->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN || errno == ENOBUFS)
			return false;
		if (errno == EPIPE || errno == ECONNRESET)
			n->ended = true;
		break;
	}
	return true;
}

static void enqueue(struct net *n, const struct virtio_net_hdr *h, const u8 *f, size_t len)
{
	struct packet *p;

	if (n->queued + len > QUEUE_MAX)
		return;
	p = malloc(sizeof *p + sizeof *h + len);
	if (!p)
		return;
	p->next = NULL;
	p->len = len;
	memcpy(p->data, h, sizeof *h);
	memcpy(p->data + sizeof *h, f, len);
	*n->tail = p;
	n->tail = &p->next;
	n->queued += len;
}

static void flush_queue(struct net *n)
{
	struct packet *p;

	while ((p = n->head)) {
		struct virtio_net_hdr h;

		memcpy(&h, p->data, sizeof h);
		if (!put_frame(n, &h, p->data + sizeof h, p->len))
			return;
		n->head = p->next;
		if (!n->head)
			n->tail = &n->head;
		n->queued -= p->len;
		free(p);
	}
}

static void to_guest(struct net *n, const u8 *f, size_t len)
{
	struct virtio_net_hdr h = { 0 };
	size_t tcp_len;
	u8 *t;

	/* libslirp made the checksums a moment ago, and no wire came between. */
	if (n->tun_f & TUN_F_CSUM)
		h.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	if (len > 14 + WIRE_MTU && (t = find_tcp((u8 *)f, len, &tcp_len))) {
		h.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		h.gso_size = WIRE_MSS;
		h.hdr_len = (u16)((size_t)(t - f) + (size_t)(t[12] >> 4) * 4);
	}
	if (n->head || !put_frame(n, &h, f, len))
		enqueue(n, &h, f, len);
}

/* Set both checksums of a TCP frame without IP options beyond @ihl. */
static void set_tcp_csum(u8 *f, size_t ihl, size_t tcp_len)
{
	u8 *ip = f + 14, *t = ip + ihl, pseudo[12] = { 0 };
	u32 s;
	u16 c;

	memset(ip + 10, 0, 2);
	c = (u16)~sum_of(ip, ihl);
	memcpy(ip + 10, &c, 2);
	memcpy(pseudo, ip + 12, 8);
	pseudo[9] = IPPROTO_TCP;
	put16(pseudo + 10, (u16)tcp_len);
	memset(t + 16, 0, 2);
	s = (u32)sum_of(pseudo, sizeof pseudo) + sum_of(t, tcp_len);
	c = (u16)~((s >> 16) + (s & 0xffff));
	memcpy(t + 16, &c, 2);
}

/*
 * A large TCP segment for a guest that takes none: cut it up. libslirp does not see
 * the MSS of a guest that connects out, only its own MTU.
 */
static void segment(struct net *n, const u8 *f, const u8 *t, size_t tcp_len)
{
	size_t thl = (size_t)(t[12] >> 4) * 4, head = (size_t)(t - f) + thl, data;
	u32 seq = (u32)get16(t + 4) << 16 | get16(t + 6);
	u16 id = get16(f + 18);
	u8 out[14 + WIRE_MTU];

	if (thl < 20 || thl > tcp_len)
		return;
	data = tcp_len - thl;
	for (size_t at = 0; at < data;) {
		size_t k = sizeof out - head;
		u8 *o = out + (t - f);

		k = data - at < k ? data - at : k;
		memcpy(out, f, head);
		memcpy(out + head, f + head + at, k);
		put16(out + 16, (u16)(head - 14 + k));
		put16(out + 18, id++);
		put16(o + 4, (u16)((seq + at) >> 16));
		put16(o + 6, (u16)(seq + at));
		if (at + k < data)
			o[13] &= (u8)~9; /* FIN and PSH belong to the last */
		set_tcp_csum(out, (size_t)(t - f) - 14, thl + k);
		to_guest(n, out, head + k);
		at += k;
	}
}

/* Send an IPv4 packet larger than the guest's MTU in pieces [RFC 791 3.2]. */
static void fragment(struct net *n, const u8 *f, size_t len)
{
	size_t ihl = (size_t)(f[14] & 15) * 4, total = get16(f + 14 + 2), data, step;
	u8 out[14 + WIRE_MTU];
	u16 csum;

	if (ihl < 20 || total < ihl || 14 + total > len)
		return;
	data = total - ihl;
	step = (WIRE_MTU - ihl) & ~7ul;
	for (size_t at = 0; at < data; at += step) {
		size_t k = data - at < step ? data - at : step;

		memcpy(out, f, 14 + ihl);
		memcpy(out + 14 + ihl, f + 14 + ihl + at, k);
		put16(out + 16, (u16)(ihl + k));
		put16(out + 20, (u16)(at / 8 | (at + k < data ? 0x2000 : 0)));
		memset(out + 24, 0, 2);
		csum = (u16)~sum_of(out + 14, ihl);
		memcpy(out + 24, &csum, 2);
		to_guest(n, out, 14 + ihl + k);
	}
}

static ssize_t cb_send_packet(const void *buf, size_t len, void *opaque)
{
	struct net *n = opaque;
	const u8 *f = buf, *t;
	size_t tcp_len;

	if (len > NET_FRAME_MAX)
		return (ssize_t)len;
	if (len <= 14 + WIRE_MTU || get16(f + 12) != 0x0800)
		to_guest(n, f, len);
	else if (!(t = find_tcp((u8 *)f, len, &tcp_len)))
		fragment(n, f, len);
	else if (n->tun_f & TUN_F_TSO4)
		to_guest(n, f, len);
	else
		segment(n, f, t, tcp_len);
	return (ssize_t)len;
}

/* -- from the guest ---------------------------------------------------------------------- */

static void from_guest(struct net *n, u8 *msg, size_t len)
{
	struct virtio_net_hdr h;
	struct net_offload_msg off;

	if (len == sizeof off) {
		memcpy(&off, msg, sizeof off);
		n->tun_f = off.tun_f;
		return;
	}
	if (len < HDR_SIZE + 14 || len > HDR_SIZE + NET_FRAME_MAX)
		return;
	memcpy(&h, msg, sizeof h);
	msg += HDR_SIZE;
	len -= HDR_SIZE;
	if (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		fill_csum(msg, len, &h);
	if (n->tun_f & TUN_F_TSO4)
		raise_mss(msg, len);
	slirp_input(n->slirp, msg, (int)len);
}

static void receive(struct net *n)
{
	struct mmsghdr m[BATCH];
	struct iovec v[BATCH];
	int got;

	for (unsigned i = 0; i < BATCH; i++) {
		v[i] = (struct iovec){ n->buf + i * SLOT_SIZE, SLOT_SIZE };
		m[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &v[i], .msg_iovlen = 1 } };
	}
	got = recvmmsg(n->fd, m, BATCH, MSG_DONTWAIT, NULL);
	if (got < 0) {
		n->ended = errno != EAGAIN && errno != EINTR;
		return;
	}
	for (int i = 0; i < got && !n->ended; i++) {
		if (m[i].msg_len)
			from_guest(n, v[i].iov_base, m[i].msg_len);
		else
			n->ended = true;
	}
}

/* -- libslirp's view of us ------------------------------------------------------------------ */

static i64 now_ms(void)
{
	return (i64)(os_now_ns() / 1000000u);
}

static int64_t cb_clock(void *opaque UNUSED)
{
	return (int64_t)os_now_ns();
}

static void cb_guest_error(const char *msg UNUSED, void *opaque UNUSED)
{
}

static void *cb_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct net *n = opaque;

	for (unsigned i = 0; i < MAX_TIMERS; i++) {
		if (n->timer[i].used)
			continue;
		n->timer[i] = (struct rtimer){ true, id, cb_opaque, -1 };
		return &n->timer[i];
	}
	return NULL;
}

static void cb_timer_free(void *timer, void *opaque UNUSED)
{
	struct rtimer *t = timer;

	if (t)
		t->used = false;
}

static void cb_timer_mod(void *timer, int64_t expire_ms, void *opaque UNUSED)
{
	struct rtimer *t = timer;

	if (t)
		t->expire_ms = expire_ms;
}

static void cb_poll_fd(int fd UNUSED, void *opaque UNUSED)
{
}

static void cb_notify(void *opaque UNUSED)
{
}

static const SlirpCb callbacks = {
	.send_packet = cb_send_packet,
	.guest_error = cb_guest_error,
	.clock_get_ns = cb_clock,
	.timer_new_opaque = cb_timer_new,
	.timer_free = cb_timer_free,
	.timer_mod = cb_timer_mod,
	.register_poll_fd = cb_poll_fd,
	.unregister_poll_fd = cb_poll_fd,
	.notify = cb_notify,
};

static int cb_add_poll(int fd, int events, void *opaque)
{
	struct net *n = opaque;
	short ev = 0;

	if (n->nr_pfd == n->cap_pfd) {
		unsigned cap = n->cap_pfd * 2;
		struct pollfd *p = realloc(n->pfd, cap * sizeof *p);

		if (!p)
			return -1;
		n->pfd = p;
		n->cap_pfd = cap;
	}
	ev |= events & SLIRP_POLL_IN ? POLLIN : 0;
	ev |= events & SLIRP_POLL_OUT ? POLLOUT : 0;
	ev |= events & SLIRP_POLL_PRI ? POLLPRI : 0;
	n->pfd[n->nr_pfd] = (struct pollfd){ .fd = fd, .events = ev };
	return (int)n->nr_pfd++;
}

static int cb_get_revents(int i, void *opaque)
{
	struct net *n = opaque;
	short ev = i < 0 ? 0 : n->pfd[i].revents;

	return (ev & POLLIN ? SLIRP_POLL_IN : 0) | (ev & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (ev & POLLPRI ? SLIRP_POLL_PRI : 0) | (ev & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (ev & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static void run_timers(struct net *n)
{
	i64 now = now_ms();

	for (unsigned i = 0; i < MAX_TIMERS; i++) {
		struct rtimer *t = &n->timer[i];

		if (!t->used || t->expire_ms < 0 || t->expire_ms > now)
			continue;
		t->expire_ms = -1;
		slirp_handle_timer(n->slirp, t->id, t->opaque);
	}
}

static u32 timer_timeout(const struct net *n)
{
	i64 now = now_ms(), best = UINT32_MAX;

	for (unsigned i = 0; i < MAX_TIMERS; i++) {
		const struct rtimer *t = &n->timer[i];
		i64 left = t->expire_ms - now;

		if (t->used && t->expire_ms >= 0 && left < best)
			best = left > 0 ? left : 0;
	}
	return (u32)best;
}

/*
 * While frames wait for the guest, libslirp is not polled: it reads no more from
 * the host's sockets, and their senders wait.
 */
static void one_round(struct net *n)
{
	bool full = n->head;
	u32 timeout = timer_timeout(n);
	int r;

	n->nr_pfd = 1;
	if (!full)
		slirp_pollfds_fill(n->slirp, &timeout, cb_add_poll, n);
	n->pfd[0] = (struct pollfd){ .fd = n->fd,
				     .events = (short)(POLLIN | (full ? POLLOUT : 0)) };
	r = poll(n->pfd, n->nr_pfd, timeout > INT_MAX ? -1 : (int)timeout);
	if (r < 0 && errno != EINTR)
		n->ended = true;
	flush_queue(n);
	if (!full)
		slirp_pollfds_poll(n->slirp, r < 0, cb_get_revents, n);
	if (r > 0 && n->pfd[0].revents & (POLLIN | POLLHUP | POLLERR))
		receive(n);
	run_timers(n);
}

/* -- start --------------------------------------------------------------------------------- */

static bool parse_port(const char *s, size_t len, u16 *ret)
{
	char num[8], *end;
	unsigned long v;

	if (!len || len >= sizeof num || *s < '0' || *s > '9')
		return false;
	memcpy(num, s, len);
	num[len] = '\0';
	v = strtoul(num, &end, 10);
	*ret = (u16)v;
	return !*end && v > 0 && v < 65536;
}

static int add_forward(struct net *n, const char *arg, struct err *e)
{
	struct forward *f = &n->forward[n->nr_forwards];
	const char *s = arg, *last = strrchr(arg, ':'), *mid;
	char host[INET_ADDRSTRLEN] = "127.0.0.1";

	if (n->nr_forwards == MAX_FORWARD)
		return err_set(e, E2BIG, "--forward: more than %d", MAX_FORWARD);
	f->udp = !strncmp(s, "udp:", 4);
	if (f->udp || !strncmp(s, "tcp:", 4))
		s += 4;
	if (!last || last < s)
		goto bad;
	mid = memrchr(s, ':', (size_t)(last - s));
	if (mid) {
		if (mid == s || (size_t)(mid - s) >= sizeof host)
			goto bad;
		memcpy(host, s, (size_t)(mid - s));
		host[mid - s] = '\0';
		s = mid + 1;
	}
	if (inet_pton(AF_INET, host, &f->host) != 1 ||
	    !parse_port(s, (size_t)(last - s), &f->host_port) ||
	    !parse_port(last + 1, strlen(last + 1), &f->guest_port))
		goto bad;
	n->nr_forwards++;
	return 0;
bad:
	return err_set(e, EINVAL,
		       "--forward %s: want [tcp:|udp:][HOSTADDR:]HOSTPORT:GUESTPORT, "
		       "ports 1 to 65535", arg);
}

static int open_forwards(struct net *n, struct err *e)
{
	struct in_addr guest;

	inet_pton(AF_INET, "10.0.2.15", &guest);
	for (unsigned i = 0; i < n->nr_forwards; i++) {
		const struct forward *f = &n->forward[i];
		char host[INET_ADDRSTRLEN];

		if (!slirp_add_hostfwd(n->slirp, f->udp, f->host, f->host_port, guest,
				       f->guest_port))
			continue;
		inet_ntop(AF_INET, &f->host, host, sizeof host);
		return err_set(e, errno ? errno : EADDRINUSE,
			       "forward %s:%u: the host port cannot be opened: %s", host,
			       f->host_port, strerror(errno ? errno : EADDRINUSE));
	}
	return 0;
}

static int start_slirp(struct net *n, struct err *e)
{
	SlirpConfig c = {
		.version = 4,
		.in_enabled = true,
		.vhostname = "vireo",
		.if_mtu = BIG_MTU,
		.if_mru = BIG_MTU,
	};

	inet_pton(AF_INET, "10.0.2.0", &c.vnetwork);
	inet_pton(AF_INET, "255.255.255.0", &c.vnetmask);
	inet_pton(AF_INET, "10.0.2.2", &c.vhost);
	inet_pton(AF_INET, "10.0.2.15", &c.vdhcp_start);
	inet_pton(AF_INET, "10.0.2.3", &c.vnameserver);
	n->slirp = slirp_new(&c, &callbacks, n);
	if (!n->slirp)
		return err_set(e, ENOMEM, "libslirp: cannot start");
	return open_forwards(n, e);
}

/* libslirp reads the resolver's configuration again when it changes: /etc, and where a link leads. */
static unsigned resolver_dirs(struct jail_dir dir[2], char path[PATH_MAX])
{
	unsigned n = 0;
	char *slash;

	dir[n] = (struct jail_dir){ open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), true, "/etc" };
	n += dir[n].fd >= 0;
	slash = realpath("/etc/resolv.conf", path) ? strrchr(path, '/') : NULL;
	if (!slash || slash == path || !strncmp(path, "/etc/", 5))
		return n;
	*slash = '\0';
	dir[n] = (struct jail_dir){ open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), true, path };
	return n + (dir[n].fd >= 0);
}

/* Everything but the network. */
static int confine(struct err *e)
{
	struct jail_dir dir[2];
	struct jail_report ignored;
	char path[PATH_MAX];
	struct jail_spec s = { .role = JAIL_NET, .dir = dir, .network = true, .max_files = 65536 };
	int r;

	s.nr_dirs = resolver_dirs(dir, path);
	r = jail_enter(&s, &ignored, e);
	for (unsigned i = 0; i < s.nr_dirs; i++)
		close(dir[i].fd);
	return r;
}

static int parse_fd(const char *name, const char *arg, int *ret, struct err *e)
{
	char *end;
	long v = strtol(arg, &end, 10);

	if (*end || !*arg || v < 0 || v > INT_MAX)
		return err_set(e, EINVAL, "%s %s: want a descriptor number", name, arg);
	*ret = (int)v;
	return 0;
}

static int parse(struct net *n, int argc, char **argv, struct err *e)
{
	static const struct option opts[] = {
		{ "fd", required_argument, NULL, 'd' },
		{ "ready-fd", required_argument, NULL, 'r' },
		{ "forward", required_argument, NULL, 'f' },
		{ 0 },
	};
	int c, type;
	socklen_t len = sizeof type;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		if (c == 'd')
			TRY(parse_fd("--fd", optarg, &n->fd, e));
		else if (c == 'r')
			TRY(parse_fd("--ready-fd", optarg, &n->ready_fd, e));
		else if (c == 'f')
			TRY(add_forward(n, optarg, e));
		else
			return err_set(e, EINVAL, "%s: unknown option, or no value",
				       argv[optind - 1]);
	}
	if (optind < argc)
		return err_set(e, EINVAL, "%s: unexpected argument", argv[optind]);
	if (n->fd < 0 || getsockopt(n->fd, SOL_SOCKET, SO_TYPE, &type, &len) ||
	    type != SOCK_SEQPACKET)
		return err_set(e, EINVAL, "--fd N: want a SOCK_SEQPACKET socket; "
					  "this program is started by vireo");
	return 0;
}

static int start(struct net *n, int argc, char **argv, struct err *e)
{
	int size = 4 << 20;

	TRY(parse(n, argc, argv, e));
	n->cap_pfd = 64;
	n->pfd = malloc(n->cap_pfd * sizeof *n->pfd);
	n->buf = malloc((size_t)BATCH * SLOT_SIZE);
	if (!n->pfd || !n->buf)
		return err_set(e, ENOMEM, "vireo-net: out of memory");
	if (setsockopt(n->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size))
		setsockopt(n->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	TRY(start_slirp(n, e));
	return confine(e);
}

static void tell_ready(struct net *n, const char *what)
{
	if (n->ready_fd < 0)
		return;
	if (fd_write_full(n->ready_fd, what, strlen(what)))
		n->ended = true;
	fd_close(&n->ready_fd);
}

int main(int argc, char **argv)
{
	static struct net n = { .fd = -1, .ready_fd = -1, .tail = &n.head };
	struct err e;

	signal(SIGPIPE, SIG_IGN);
	if (start(&n, argc, argv, &e)) {
		if (n.ready_fd >= 0)
			tell_ready(&n, e.msg);
		else
			fprintf(stderr, "vireo-net: %s\n", e.msg);
		return EXIT_FAILURE;
	}
	tell_ready(&n, "ok");
	while (!n.ended)
		one_round(&n);
	slirp_cleanup(n.slirp);
	return EXIT_SUCCESS;
}
