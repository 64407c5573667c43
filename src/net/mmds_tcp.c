// SPDX-License-Identifier: Apache-2.0
/*
 * mmds_tcp.c - the metadata service's network stack: ARP, IPv4, TCP
 *
 * Follows RFC 826, RFC 791 and RFC 9293. Modelled: one listening port, segments in
 * order, go-back-N with a doubling timer, zero windows probed. Not modelled: IP
 * fragments and options to send, window scaling, selective acknowledgement, urgent data,
 * opening connections.
 */
#include "net/mmds_int.h"

#include "base/bits.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define PORT	   80
#define MS	   1000000ull
#define RESEND_NS  (200 * MS) /* doubled with every attempt */
#define RETRIES	   6
#define GIVE_UP_NS (60000 * MS) /* a connection nothing is heard of, and where nothing is due */

#define ETH	 14
#define IP_MIN	 20
#define TCP_MIN	 20
#define TYPE_IP	 0x0800
#define TYPE_ARP 0x0806
#define ARP_SIZE 28
#define PROTO_TCP 6

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static const u8 our_mac[6] = { 0x06, 0x01, 0x23, 0x45, 0x67, 0x01 };

/* -- bytes ------------------------------------------------------------------------------ */

static u32 be16(const u8 *p)
{
	return (u32)p[0] << 8 | p[1];
}

static u32 be32(const u8 *p)
{
	return be16(p) << 16 | be16(p + 2);
}

static void set16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

static void set32(u8 *p, u32 v)
{
	set16(p, v >> 16);
	set16(p + 2, v);
}

/* Ones' complement sum, not folded. */
static u64 sum(u64 s, const u8 *p, size_t len)
{
	for (; len > 1; p += 2, len -= 2)
		s += be16(p);
	return len ? s + (u32)(*p << 8) : s;
}

static u16 fold(u64 s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (u16)~s;
}

/* TCP's checksum: over a pseudo header too. @ip: the IPv4 header before @seg. */
static u16 tcp_sum(const u8 *ip, const u8 *seg, size_t len)
{
	return fold(sum(sum(PROTO_TCP + len, ip + 12, 8), seg, len));
}

/* a - b in the circle of sequence numbers. */
static i32 seq_diff(u32 a, u32 b)
{
	return (i32)(a - b);
}

/* -- connections -------------------------------------------------------------------------- */

void tcp_init(struct tcp *t, struct mmds *m)
{
	*t = (struct tcp){ .m = m };
}

static void drop(struct tcp_conn *c)
{
	free(c->tx);
	c->tx = NULL;
	c->state = TCP_FREE;
}

void tcp_fini(struct tcp *t)
{
	for (unsigned i = 0; i < TCP_CONNS; i++)
		drop(&t->conn[i]);
}

static u64 now(const struct tcp *t)
{
	return clock_now_ns(t->m->cfg.clock);
}

static struct tcp_conn *find(struct tcp *t, u32 ip, u32 port)
{
	for (unsigned i = 0; i < TCP_CONNS; i++) {
		struct tcp_conn *c = &t->conn[i];

		if (c->state != TCP_FREE && c->ip == ip && c->port == port)
			return c;
	}
	return NULL;
}

/* A free one, or the one that was idle for longest. */
static struct tcp_conn *take_conn(struct tcp *t)
{
	struct tcp_conn *best = &t->conn[0];

	for (unsigned i = 0; i < TCP_CONNS; i++) {
		struct tcp_conn *c = &t->conn[i];

		if (c->state == TCP_FREE)
			return c;
		if (c->used_ns < best->used_ns)
			best = c;
	}
	drop(best);
	return best;
}

/* Where the stream to send ends; a FIN is one more. */
static u32 data_end(const struct tcp_conn *c)
{
	return c->tx_seq + (u32)c->tx_len;
}

static bool all_acked(const struct tcp_conn *c)
{
	return c->snd_una == c->snd_max;
}

static u64 resend_after(const struct tcp_conn *c)
{
	return RESEND_NS << c->retries;
}

/* What to wait for next: an acknowledgement, or any word from the guest. */
static void set_deadline(struct tcp *t, struct tcp_conn *c)
{
	bool waits = !all_acked(c) || (c->tx && c->snd_nxt != data_end(c));

	c->deadline_ns = now(t) + (waits ? resend_after(c) : GIVE_UP_NS);
}

/* -- input ------------------------------------------------------------------------------- */

struct segment {
	const u8 *mac;
	u32 ip, port, seq, ack, wnd, flags;
	u32 mss; /* 0 = no such option */
	const u8 *data;
	u32 len;      /* bytes of data here, */
	u32 full_len; /* and on the wire */
};

bool tcp_wants(const struct tcp *t, const u8 *f, size_t len)
{
	if (len >= ETH + ARP_SIZE && be16(f + 12) == TYPE_ARP)
		return be16(f + ETH + 6) == 1 && be32(f + ETH + 24) == t->m->cfg.ipv4;
	return len >= ETH + IP_MIN && be16(f + 12) == TYPE_IP &&
	       be32(f + ETH + 16) == t->m->cfg.ipv4;
}

static void arp_input(struct tcp *t, const u8 *f)
{
	static const u8 ether_ip[] = { 0, 1, 8, 0, 6, 4 };

	if (memcmp(f + ETH, ether_ip, sizeof ether_ip) != 0)
		return;
	memcpy(t->arp_mac, f + ETH + 8, 6);
	t->arp_ip = be32(f + ETH + 14);
	t->arp_due = true;
}

/* MSS of the options [RFC 9293 3.2]; malformed ones end the search. */
static u32 find_mss(const u8 *p, size_t len)
{
	while (len && *p) {
		size_t n = *p == 1 ? 1 : len > 1 ? p[1] : 0;

		if (!n || n > len || (*p != 1 && n < 2))
			return 0;
		if (*p == 2 && n == 4)
			return be16(p + 2);
		p += n;
		len -= n;
	}
	return 0;
}

/* false: not a whole, intact TCP segment of an unfragmented packet. */
static bool parse(const u8 *f, size_t len, bool trusted, struct segment *s, u32 *port)
{
	const u8 *ip = f + ETH, *tcp;
	u32 head = (ip[0] & 15) * 4u, total = be16(ip + 2), off;
	size_t have;

	if (ip[0] >> 4 != 4 || head < IP_MIN || total < head + TCP_MIN || len < ETH + head + TCP_MIN)
		return false;
	if (be16(ip + 6) & 0x3fff || ip[9] != PROTO_TCP || fold(sum(0, ip, head)))
		return false;
	tcp = ip + head;
	off = (u32)(tcp[12] >> 4) * 4;
	have = len - ETH - head;
	if (have > total - head)
		have = total - head; /* padding of the frame */
	if (off < TCP_MIN || off > have)
		return false;
	if (!trusted && have == total - head && tcp_sum(ip, tcp, have))
		return false;
	*port = be16(tcp + 2);
	*s = (struct segment){
		.mac = f + 6, .ip = be32(ip + 12), .port = be16(tcp), .seq = be32(tcp + 4),
		.ack = be32(tcp + 8), .flags = tcp[13], .wnd = be16(tcp + 14),
		.mss = find_mss(tcp + TCP_MIN, off - TCP_MIN), .data = tcp + off,
		.len = (u32)have - off, .full_len = total - head - off,
	};
	return true;
}

static void send_reset(struct tcp *t, const struct segment *s, u32 our_port)
{
	struct tcp_reset *r = &t->reset[t->nr_resets];

	if (s->flags & RST || t->nr_resets == TCP_RESETS)
		return;
	*r = (struct tcp_reset){ .ip = s->ip, .port = (u16)s->port, .our_port = (u16)our_port };
	memcpy(r->mac, s->mac, sizeof r->mac);
	if (s->flags & ACK) {
		r->seq = s->ack;
	} else {
		r->with_ack = true;
		r->ack = s->seq + s->full_len + !!(s->flags & SYN) + !!(s->flags & FIN);
	}
	t->nr_resets++;
}

static void open_conn(struct tcp *t, const struct segment *s)
{
	struct tcp_conn *c = find(t, s->ip, s->port);
	u32 mss = s->mss ? s->mss : 536, iss;

	if (c)
		drop(c); /* the guest has forgotten it */
	c = take_conn(t);
	if (t->m->cfg.random(t->m->cfg.ctx, &iss, sizeof iss) != sizeof iss)
		return;
	*c = (struct tcp_conn){
		.state = TCP_SYN, .ip = s->ip, .port = (u16)s->port, .rcv_nxt = s->seq + 1,
		.mss = (u16)(mss < TCP_MSS_MIN ? TCP_MSS_MIN : mss > TCP_MSS ? TCP_MSS : mss),
		.snd_una = iss, .snd_nxt = iss, .snd_max = iss, .tx_seq = iss + 1,
		.peer_wnd = s->wnd, .used_ns = now(t),
	};
	memcpy(c->mac, s->mac, sizeof c->mac);
	c->deadline_ns = now(t) + RESEND_NS;
}

/* false: it is for nothing we have sent. */
static bool take_ack(struct tcp *t, struct tcp_conn *c, const struct segment *s)
{
	i32 n = seq_diff(s->ack, c->snd_una);

	if (n < 0)
		return true; /* old */
	if (seq_diff(s->ack, c->snd_max) > 0)
		return false;
	c->peer_wnd = s->wnd;
	if (!n)
		return true;
	if (c->state == TCP_SYN)
		c->state = TCP_OPEN;
	c->snd_una = s->ack;
	if (seq_diff(c->snd_nxt, c->snd_una) < 0)
		c->snd_nxt = c->snd_una;
	c->retries = 0;
	if (c->tx && seq_diff(c->snd_una, data_end(c)) >= 0) {
		c->tx_seq = data_end(c);
		free(c->tx);
		c->tx = NULL;
		c->tx_len = 0;
	}
	set_deadline(t, c);
	return true;
}

static void take_data(struct tcp_conn *c, struct segment *s)
{
	i32 old = seq_diff(c->rcv_nxt, s->seq);
	u32 room = TCP_RX - c->rx_len, n;
	bool fin = s->flags & FIN;

	if (!s->full_len && !fin) {
		c->need_ack |= old != 0; /* a keep-alive, or a mistake: say where we are */
		return;
	}
	c->need_ack = true;
	if (old < 0 || (u32)old > s->full_len || c->peer_fin)
		return;
	if ((u32)old > s->len)
		return;
	n = s->len - (u32)old;
	n = n < room ? n : room;
	memcpy(c->rx + c->rx_len, s->data + old, n);
	c->rx_len += n;
	c->rcv_nxt += n;
	if (fin && (u32)old + n == s->full_len) {
		c->rcv_nxt++;
		c->peer_fin = true;
	}
}

/* No answer is under way: look at what was received. */
static void serve(struct tcp *t, struct tcp_conn *c)
{
	while (!c->tx && !c->closing && c->rx_len) {
		struct mmds_reply r;
		size_t n = mmds_http(t->m, c->rx, c->rx_len, c->rx_len == TCP_RX, &r);

		if (!n)
			break;
		c->rx_len -= (u32)n;
		memmove(c->rx, c->rx + n, c->rx_len);
		c->need_ack = true; /* the window has opened */
		if (!r.text)
			continue;
		c->tx = r.text;
		c->tx_len = r.len;
		c->tx_seq = c->snd_max;
		c->closing = r.close;
	}
	if (c->peer_fin && !c->tx)
		c->closing = true;
}

/* Our FIN was sent and acknowledged, and the guest's has come. */
static bool is_over(const struct tcp_conn *c)
{
	return c->state == TCP_OPEN && c->closing && c->peer_fin && !c->tx && all_acked(c) &&
	       c->snd_una == c->tx_seq + 1;
}

static void conn_input(struct tcp *t, struct tcp_conn *c, struct segment *s)
{
	c->used_ns = now(t);
	if (s->flags & RST) {
		if (s->seq == c->rcv_nxt)
			drop(c);
		return;
	}
	if (!(s->flags & ACK))
		return;
	if (!take_ack(t, c, s)) {
		if (c->state == TCP_SYN) {
			send_reset(t, s, PORT);
			drop(c);
		} else {
			c->need_ack = true;
		}
		return;
	}
	if (c->state != TCP_OPEN)
		return;
	take_data(c, s);
	serve(t, c);
	if (is_over(c) && !c->need_ack)
		drop(c);
}

void tcp_input(struct tcp *t, const u8 *f, size_t len, bool trusted)
{
	struct tcp_conn *c;
	struct segment s;
	u32 port;

	if (be16(f + 12) == TYPE_ARP) {
		arp_input(t, f);
		return;
	}
	if (!parse(f, len, trusted, &s, &port))
		return;
	if (port != PORT) {
		send_reset(t, &s, port);
		return;
	}
	if ((s.flags & (SYN | ACK | RST)) == SYN) {
		open_conn(t, &s);
		return;
	}
	c = find(t, s.ip, s.port);
	if (c)
		conn_input(t, c, &s);
	else
		send_reset(t, &s, port);
}

/* -- output ------------------------------------------------------------------------------- */

struct out {
	const u8 *mac;
	u32 ip, port, our_port, seq, ack, flags, wnd;
	bool with_mss;
	const char *data;
	size_t len;
};

static size_t build(const struct tcp *t, const struct out *o, u8 *f)
{
	u8 *ip = f + ETH, *tcp = ip + IP_MIN;
	size_t head = o->with_mss ? TCP_MIN + 4 : TCP_MIN, len = head + o->len;

	memcpy(f, o->mac, 6);
	memcpy(f + 6, our_mac, 6);
	set16(f + 12, TYPE_IP);
	memset(ip, 0, IP_MIN + head);
	ip[0] = 0x45;
	set16(ip + 2, (u32)(IP_MIN + len));
	set16(ip + 6, 0x4000); /* do not fragment */
	ip[8] = 1;	       /* hops: never further than this wire */
	ip[9] = PROTO_TCP;
	set32(ip + 12, t->m->cfg.ipv4);
	set32(ip + 16, o->ip);
	set16(ip + 10, fold(sum(0, ip, IP_MIN)));
	set16(tcp, o->our_port);
	set16(tcp + 2, o->port);
	set32(tcp + 4, o->seq);
	set32(tcp + 8, o->ack);
	tcp[12] = (u8)(head / 4 << 4);
	tcp[13] = (u8)o->flags;
	set16(tcp + 14, o->wnd);
	if (o->with_mss) {
		set16(tcp + TCP_MIN, 0x0204);
		set16(tcp + TCP_MIN + 2, TCP_MSS);
	}
	if (o->len)
		memcpy(tcp + head, o->data, o->len);
	set16(tcp + 16, tcp_sum(ip, tcp, len));
	return ETH + IP_MIN + len;
}

static size_t arp_output(struct tcp *t, u8 *f)
{
	static const u8 head[] = { 0, 1, 8, 0, 6, 4, 0, 2 };

	t->arp_due = false;
	memcpy(f, t->arp_mac, 6);
	memcpy(f + 6, our_mac, 6);
	set16(f + 12, TYPE_ARP);
	memcpy(f + ETH, head, sizeof head);
	memcpy(f + ETH + 8, our_mac, 6);
	set32(f + ETH + 14, t->m->cfg.ipv4);
	memcpy(f + ETH + 18, t->arp_mac, 6);
	set32(f + ETH + 24, t->arp_ip);
	return ETH + ARP_SIZE;
}

static size_t reset_output(struct tcp *t, u8 *f)
{
	const struct tcp_reset r = t->reset[--t->nr_resets];

	return build(t, &(struct out){ .mac = r.mac, .ip = r.ip, .port = r.port,
				       .our_port = r.our_port, .seq = r.seq, .ack = r.ack,
				       .flags = RST | (r.with_ack ? ACK : 0) }, f);
}

/* Data the guest's window lets us send now. */
static size_t sendable(const struct tcp_conn *c)
{
	u32 sent = c->snd_nxt - c->tx_seq;
	size_t left = c->tx && sent < c->tx_len ? c->tx_len - sent : 0;
	u32 flight = c->snd_nxt - c->snd_una;
	u32 room = c->peer_wnd > flight ? c->peer_wnd - flight : 0;

	if (!room && c->probe)
		room = 1;
	if (left > room)
		left = room;
	return left < c->mss ? left : c->mss;
}

static size_t conn_output(struct tcp *t, struct tcp_conn *c, u8 *f)
{
	struct out o = { .mac = c->mac, .ip = c->ip, .port = c->port, .our_port = PORT,
			 .ack = c->rcv_nxt, .flags = ACK, .wnd = TCP_RX - c->rx_len };
	bool fin = false;

	if (c->state == TCP_SYN) {
		if (c->snd_nxt != c->snd_una)
			return 0; /* on its way */
		o.flags |= SYN;
		o.with_mss = true;
		o.seq = c->snd_nxt++;
	} else {
		o.len = sendable(c);
		o.data = o.len ? c->tx + (c->snd_nxt - c->tx_seq) : NULL;
		fin = c->closing && c->snd_nxt + (u32)o.len == data_end(c);
		if (!o.len && !fin && !c->need_ack)
			return 0;
		o.seq = c->snd_nxt;
		o.flags |= (fin ? FIN : 0) | (o.len ? PSH : 0);
		c->snd_nxt += (u32)o.len + fin;
	}
	c->need_ack = c->probe = false;
	if (seq_diff(c->snd_nxt, c->snd_max) > 0)
		c->snd_max = c->snd_nxt;
	if (o.len || fin || o.flags & SYN)
		set_deadline(t, c);
	return build(t, &o, f);
}

size_t tcp_output(struct tcp *t, u8 f[TCP_FRAME])
{
	if (t->arp_due)
		return arp_output(t, f);
	if (t->nr_resets)
		return reset_output(t, f);
	for (unsigned i = 0; i < TCP_CONNS; i++) {
		struct tcp_conn *c = &t->conn[(t->next + i) % TCP_CONNS];
		size_t n = c->state != TCP_FREE ? conn_output(t, c, f) : 0;

		if (!n)
			continue;
		if (is_over(c))
			drop(c); /* that was its last acknowledgement */
		t->next = (t->next + i + 1) % TCP_CONNS;
		return n;
	}
	return 0;
}

/* The guest said nothing for too long: send again, or forget it. */
static void time_out(struct tcp *t, struct tcp_conn *c)
{
	bool waits = !all_acked(c) || c->tx || c->state == TCP_SYN;

	if (!waits || c->retries == RETRIES) {
		drop(c);
		return;
	}
	c->retries++;
	c->snd_nxt = c->snd_una;
	c->probe = true;
	c->deadline_ns = now(t) + resend_after(c);
}

u64 tcp_tick(struct tcp *t, u64 now_ns)
{
	u64 next = 0;

	for (unsigned i = 0; i < TCP_CONNS; i++) {
		struct tcp_conn *c = &t->conn[i];

		if (c->state != TCP_FREE && c->deadline_ns <= now_ns)
			time_out(t, c);
		if (c->state != TCP_FREE && (!next || c->deadline_ns < next))
			next = c->deadline_ns;
	}
	return next;
}
