// SPDX-License-Identifier: Apache-2.0
/*
 * peer_mmds.c - hostile guests of the metadata service: frames, segments, requests, time
 *
 * The input is operations. Segments of one guest address and a few ports have right checksums
 * and sequence numbers that follow what the service said, unless the operation bends them.
 */
#include "peer.h"

#include "base/clock_fake.h"
#include "net/frame_test.h"
#include "net/mmds_int.h"
#include "net/net.h"

#include <stdlib.h>

#define ETH   14
#define PORTS 4u
#define OPS   64
#define FLOOD 5000 /* frames to the guest in one input: more is a loop */

enum { FIN = 1, SYN = 2, ACK = 16 };

static struct {
	struct clock_fake clock;
	struct net_port lower, *port;
	struct mmds *m, *kept[2]; /* one of each version, from input to input, with its data */
	bool other_data;
	u64 seed;
	unsigned frames;
	bool full;                  /* the NIC has no room */
	u32 snd[PORTS], rcv[PORTS]; /* sequence numbers of each connection */
} s;

static bool net_send(struct net_port *p UNUSED, const struct iovec *iov UNUSED, int n UNUSED)
{
	return true;
}

static void net_can_receive(struct net_port *p UNUSED) {}

static size_t random_bytes(void *ctx UNUSED, void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		s.seed = s.seed * 6364136223846793005ull + 1442695040888963407ull;
		((u8 *)buf)[i] = (u8)(s.seed >> 56);
	}
	return len;
}

/* The guest's NIC: what the service says next is what the guest acknowledges. */
static bool nic_receive(void *nic UNUSED, const struct iovec *iov, int n)
{
	const u8 *f = iov[0].iov_base, *tcp = f + ETH + 20;
	size_t len = iov[0].iov_len;
	unsigned port;

	if (n != 1 || len > TCP_FRAME || len < ETH + 28)
		fuzz_broken("mmds: a frame of a wrong size");
	if (s.full)
		return false;
	if (++s.frames > FLOOD)
		fuzz_broken("mmds: frames without end");
	if (f[13] != 0)
		return true;
	if (csum(0, f + ETH, 20))
		fuzz_broken("mmds: a wrong checksum");
	port = (unsigned)(tcp[3] & (PORTS - 1));
	len -= ETH + 20 + (size_t)(tcp[12] >> 4) * 4;
	s.rcv[port] = be32(tcp + 4) + (u32)len + (tcp[13] & 1) + (tcp[13] >> 1 & 1);
	return true;
}

static void give(const u8 *f, size_t len, size_t cut)
{
	struct iovec v[2] = { { (void *)f, cut }, { (void *)(f + cut), len - cut } };

	s.port->send(s.port, v, 2);
}

static size_t make(u8 *f, unsigned port, unsigned flags, u32 bend, size_t len)
{
	u8 *ip = f + ETH, *tcp = ip + 20;

	memset(f, 0, ETH + 40);
	f[6] = 2;
	put16(f + 12, 0x800);
	ip[0] = 0x45;
	put16(ip + 2, (u32)(40 + len));
	ip[8] = 64;
	ip[9] = 6;
	put32(ip + 12, 0x0a00020f);
	put32(ip + 16, MMDS_ADDRESS);
	put16(ip + 10, csum(0, ip, 20));
	put16(tcp, 1000 * 4 + port);
	put16(tcp + 2, 80);
	put32(tcp + 4, s.snd[port] + (u32)(i32)(i8)bend);
	put32(tcp + 8, s.rcv[port] + (u32)(i32)(i8)(bend >> 8));
	tcp[12] = 0x50;
	tcp[13] = (u8)flags;
	put16(tcp + 14, bend >> 16 & 1 ? bend >> 17 & 0x7fff : 8000);
	put16(tcp + 16, csum(csum(6 + 20 + (u32)len, ip + 12, 8) ^ 0xffff, tcp, 20 + len));
	return ETH + 40 + len;
}

/* Lengths, flags and fragments that lie, under checksums that are right all the same. */
static void bend_headers(u8 *f, size_t size, u32 odd)
{
	u8 *ip = f + ETH, *tcp;
	size_t head, total = size - ETH;

	if (odd & 1)
		ip[0] = (u8)(0x40 | (odd >> 4 & 15));
	if (odd & 2)
		total += (size_t)(i8)(odd >> 8);
	if (odd & 4)
		put16(ip + 6, 1u << (odd >> 4 & 15));
	put16(ip + 2, (u32)total);
	head = (ip[0] & 15) * 4u;
	tcp = ip + head;
	put16(ip + 10, 0);
	if (size < ETH + head + 20)
		return;
	put16(ip + 10, csum(0, ip, head));
	if (odd & 8)
		tcp[12] = (u8)(odd >> 16);
	put16(tcp + 2, 80);
	put16(tcp + 16, 0);
	total = total > head && total < size - ETH ? total - head : size - ETH - head;
	put16(tcp + 16, csum(csum(6 + (u32)total, ip + 12, 8) ^ 0xffff, tcp, total));
}

static void segment(struct fuzz_in *in, bool text)
{
	static const char *const words[] = {
		"GET /a/b HTTP/1.1\r\nX-metadata-token: ",
		"GET / HTTP/1.0\r\n\r\n",
		"\r\n\r\n",
		"PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 60\r\n\r\n",
		"Accept: application/json\r\n",
		"Content-Length: 100000\r\n",
		"Connection: close\r\n",
		"GET /long HTTP/1.1\r\n\r\n",
	};
	u8 f[ETH + 40 + 1500];
	unsigned how = (unsigned)fuzz_take(in, 1), port = how % PORTS;
	u32 bend = how & 0x80 ? (u32)fuzz_take(in, 4) : 0;
	unsigned flags = how & 0x40 ? (unsigned)fuzz_take(in, 1) : ACK;
	size_t len = 0, n;

	if (text) {
		const char *w = words[fuzz_take(in, 1) % array_len(words)];

		len = strlen(w);
		memcpy(f + ETH + 40, w, len);
	} else {
		n = (size_t)fuzz_take(in, 1) * 6;
		fuzz_bytes(in, f + ETH + 40, n < in->len ? n : in->len);
		len = n < 1500 ? n : 1500;
	}
	n = make(f, port, flags, bend, len);
	if (how & 0x10)
		bend_headers(f, n, (u32)fuzz_take(in, 3));
	s.snd[port] += (u32)len + (flags & SYN ? 1 : 0) + (flags & FIN);
	give(f, n, how & 0x20 ? n : 20);
}

static void connect_guest(struct fuzz_in *in)
{
	unsigned how = (unsigned)fuzz_take(in, 1), port = how % PORTS;
	u8 f[ETH + 40];

	s.snd[port] = how << 24;
	give(f, make(f, port, SYN, 0, 0), 14);
	s.snd[port]++;
	give(f, make(f, port, ACK, 0, 0), 34);
}

static void any_frame(struct fuzz_in *in)
{
	u8 f[256];
	size_t n = fuzz_bytes(in, f, fuzz_take(in, 1));

	give(f, n, n / 2);
}

/* What a program on the host gives the service. */
static void new_data(struct fuzz_in *in)
{
	char text[128];
	struct err e = { 0 };
	size_t n = fuzz_bytes(in, text, fuzz_take(in, 1) & 127);

	s.other_data = true;
	if (mmds_set(s.m, text, n, &e) && strlen(e.msg) < 6)
		fuzz_broken("mmds: refused without a sentence");
}

static void operate(struct fuzz_in *in)
{
	switch (fuzz_take(in, 1) & 15) {
	case 0: clock_fake_advance(&s.clock, fuzz_take(in, 1) * 10000000ull); break;
	case 1: clock_fake_advance(&s.clock, fuzz_take(in, 1) * 1000000000ull); break;
	case 2:
		s.full = !s.full;
		s.port->can_receive(s.port);
		break;
	case 3: any_frame(in); break;
	case 4: new_data(in); break;
	case 5:
	case 6: connect_guest(in); break;
	case 7:
	case 8:
	case 9:
	case 10: segment(in, true); break;
	default: segment(in, false); break;
	}
}

static struct mmds *make_service(unsigned version)
{
	static const char data[] =
		"{\"a\":{\"b\":\"text\",\"n\":5,\"c\":{\"d\":\"e\"}},\"l\":[1,2],"
		"\"long\":\"";
	struct mmds_cfg c = { .ipv4 = MMDS_ADDRESS,
			      .version = version,
			      .size_limit = 20000,
			      .clock = &s.clock.clock,
			      .random = random_bytes,
			      .imds_compat = version == 1 };
	char text[6000];
	struct mmds *m;
	struct err e;

	memset(text, 'x', sizeof text);
	memcpy(text, data, sizeof data - 1);
	memcpy(text + sizeof text - 2, "\"}", 2);
	s.seed = 42;
	m = mmds_new(&c, &e);
	if (!m || mmds_set(m, text, sizeof text, &e))
		fuzz_broken("mmds: cannot be made");
	return m;
}

static void forget(unsigned version)
{
	mmds_free(s.m);
	s.kept[version - 1] = NULL;
	s.other_data = false;
}

static void start(unsigned version)
{
	struct err e;

	if (!s.kept[version - 1])
		s.kept[version - 1] = make_service(version);
	s.m = s.kept[version - 1];
	clock_fake_init(&s.clock);
	s.lower = (struct net_port){ .send = net_send, .can_receive = net_can_receive };
	s.seed = 42;
	s.m->serial = 0;
	s.frames = 0;
	s.full = false;
	memset(s.snd, 0, sizeof s.snd);
	memset(s.rcv, 0, sizeof s.rcv);
	s.port = mmds_port_new(s.m, &s.lower, &e);
	if (!s.port)
		fuzz_broken("mmds: no port");
	s.port->receive = nic_receive;
}

int mmds_run(const u8 *p, size_t len, struct err *e UNUSED)
{
	struct fuzz_in in = { p, len };

	start(1 + (unsigned)fuzz_take(&in, 1) % 2);
	for (unsigned i = 0; i < OPS && in.len; i++)
		operate(&in);
	if (s.clock.runaway)
		fuzz_broken("mmds: a timer re-arms without end");
	mmds_port_free(s.port);
	if (s.clock.nr)
		fuzz_broken("mmds: a timer is left");
	if (s.other_data)
		forget(1 + (unsigned)(s.m == s.kept[1]));
	return 0;
}

size_t mmds_seed(unsigned n, u8 *buf, size_t max UNUSED)
{
	static const u8 talk[][40] = {
		{ 0, 5, 0, 7, 0x30, 1, 8, 0, 0x60, 7, 0x30, 1, 0x0a, 8, 0xf0, 7, 0x30, 1, 0x71 },
		{ 0, 5, 0, 7, 0x20, 1, 7, 0x20, 7, 0, 50, 7, 0x20, 2 },
		{ 1, 5, 0, 7, 0x20, 3, 7, 0x20, 0, 7, 0x20, 2, 0, 200, 7, 0x60, 17, 2, 1, 100 },
		{ 0,   5,   1,   11,  0x21, 4,   'G', 'E', 'T',  ' ',  '/',  'a',  ' ',
		  'H', 'T', 'T', 'P', '/',  '1', '.', '1', '\r', '\n', '\r', '\n', 2,
		  0,   30,  2,   4,   9,    '{', '"', 'a', '"',  ':',  '1',  '}' },
	};

	if (n >= array_len(talk))
		return 0;
	memcpy(buf, talk[n], sizeof talk[n]);
	return sizeof talk[n];
}
