// SPDX-License-Identifier: Apache-2.0
/* mmds_test.c - the metadata service, by frames as a guest and as an attacker send them */
#include "net/mmds_int.h"

#include "base/clock_fake.h"
#include "base/test.h"
#include "net/frame_test.h"
#include "net/net.h"

#include <stdlib.h>

#define ETH 14

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

struct rig {
	struct clock_fake clock;
	struct net_port lower, *port;
	struct mmds *m;
	unsigned passed; /* frames that reached the network */
	bool full;	 /* the NIC has no room */
	u8 frame[TCP_FRAME]; /* the last to the guest, */
	size_t len;
	unsigned nr;	   /* and how many there were */
	char text[20000]; /* of data in order */
	size_t got;
	u32 rcv_nxt, snd_nxt, wnd;
	bool fin;
	u16 sport;
	u64 seed;
	bool bad;
};

static bool net_send(struct net_port *p, const struct iovec *iov UNUSED, int n UNUSED)
{
	container_of(p, struct rig, lower)->passed++;
	return true;
}

static void net_can_receive(struct net_port *p UNUSED)
{
}

static bool nic_receive(void *nic, const struct iovec *iov, int n UNUSED)
{
	struct rig *r = nic;
	const u8 *f = iov[0].iov_base, *tcp = f + ETH + 20;
	size_t len = iov[0].iov_len, head;

	if (r->full)
		return false;
	r->nr++;
	r->bad |= len > TCP_FRAME;
	memcpy(r->frame, f, len);
	r->len = len;
	if (f[12] != 8 || f[13] != 0)
		return true;
	head = (size_t)(tcp[12] >> 4) * 4;
	len -= ETH + 20 + head;
	r->bad |= csum(0, f + ETH, 20) != 0;
	if (tcp[13] & SYN)
		r->rcv_nxt = be32(tcp + 4) + 1;
	if (be32(tcp + 4) == r->rcv_nxt && r->got + len < sizeof r->text) {
		memcpy(r->text + r->got, tcp + head, len);
		r->got += len;
		r->rcv_nxt += (u32)len + (tcp[13] & FIN);
		r->fin |= tcp[13] & FIN;
		r->text[r->got] = '\0';
	}
	return true;
}

static size_t rnd_bytes(void *ctx, void *buf, size_t len)
{
	struct rig *r = ctx;

	for (size_t i = 0; i < len; i++) {
		r->seed = r->seed * 6364136223846793005ull + 1442695040888963407ull;
		((u8 *)buf)[i] = (u8)(r->seed >> 56);
	}
	return len;
}

static u32 rnd(struct rig *r)
{
	u32 v;

	rnd_bytes(r, &v, sizeof v);
	return v;
}

static bool rig_up(struct rig *r, unsigned version)
{
	static const char data[] = "{\"a\":{\"b\":\"text\",\"n\":5,\"c\":{\"d\":\"e\"}},\"long\":\"";
	struct mmds_cfg c = { .ipv4 = MMDS_ADDRESS, .version = version, .size_limit = 20000,
			      .clock = &r->clock.clock, .random = rnd_bytes, .ctx = r };
	char text[9100];
	struct err e;

	*r = (struct rig){ .lower = { .send = net_send, .can_receive = net_can_receive },
			   .seed = 42, .sport = 1000, .wnd = 8000 };
	clock_fake_init(&r->clock);
	r->m = mmds_new(&c, &e);
	r->port = r->m ? mmds_port_new(r->m, &r->lower, &e) : NULL;
	if (!r->port)
		return false;
	memset(text, 'x', sizeof text);
	memcpy(text, data, sizeof data - 1);
	memcpy(text + 9000, "\"}", 3);
	if (mmds_set(r->m, text, strlen(text), &e))
		return false;
	r->port->receive = nic_receive;
	r->port->nic = r;
	return true;
}

static void rig_down(struct rig *r)
{
	mmds_port_free(r->port);
	mmds_free(r->m);
	CHECK_EQ(r->clock.nr, 0);
	CHECK(!r->bad);
}

static size_t make(struct rig *r, u8 *f, u32 flags, const char *data, size_t len)
{
	u8 *ip = f + ETH, *tcp = ip + 20;
	u32 pseudo = 6 + 20 + (u32)len;

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
	put16(tcp, r->sport);
	put16(tcp + 2, 80);
	put32(tcp + 4, r->snd_nxt);
	put32(tcp + 8, flags & ACK ? r->rcv_nxt : 0);
	tcp[12] = 0x50;
	tcp[13] = (u8)flags;
	put16(tcp + 14, r->wnd);
	if (len)
		memcpy(tcp + 20, data, len);
	for (unsigned i = 12; i < 20; i += 2)
		pseudo += (u32)ip[i] << 8 | ip[i + 1];
	put16(tcp + 16, csum(pseudo, tcp, 20 + len));
	return ETH + 40 + len;
}

static void put_frame(struct rig *r, const u8 *f, size_t len)
{
	size_t cut = len > 20 ? 20 : len;
	struct iovec v[2] = { { (void *)f, cut }, { (void *)(f + cut), len - cut } };

	r->port->send(r->port, v, 2);
}

static void send_tcp(struct rig *r, u32 flags, const char *data)
{
	size_t len = strlen(data);
	u8 f[5000];

	put_frame(r, f, make(r, f, flags, data, len));
	r->snd_nxt += (u32)len + !!(flags & (SYN | FIN));
}

static bool connect(struct rig *r)
{
	r->sport++;
	r->snd_nxt = rnd(r);
	r->got = 0;
	r->fin = false;
	send_tcp(r, SYN, "");
	if (r->frame[ETH + 33] != (SYN | ACK) || be32(r->frame + ETH + 28) != r->snd_nxt)
		return false;
	send_tcp(r, ACK, "");
	return true;
}

/* One request on a connection of its own; the answer is in r->text. */
static const char *ask(struct rig *r, const char *req)
{
	if (!connect(r))
		return "no connection";
	r->text[0] = '\0';
	send_tcp(r, ACK, req);
	for (unsigned i = 0; i < 20 && !r->fin; i++)
		send_tcp(r, ACK, "");
	send_tcp(r, ACK | FIN, "");
	send_tcp(r, ACK, "");
	return r->text;
}

#define STATUS(text, code) CHECK(!strncmp((text) + 9, (code), 3))
#define BODY(text) (strstr((text), "\r\n\r\n") ? strstr((text), "\r\n\r\n") + 4 : "")

TEST(mmds_answers_arp_for_its_address_only)
{
	u8 f[60] = { [0] = 0xff, [12] = 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, [22] = 2, 1, 1, 1, 1, 1,
		     [28] = 10, 0, 2, 15, [38] = 169, 254, 169, 254 };
	struct rig r;

	CHECK(rig_up(&r, 1));
	put_frame(&r, f, sizeof f);
	CHECK_EQ(r.nr, 1);
	CHECK_EQ(r.len, 42);
	CHECK_EQ(r.frame[21], 2);
	CHECK_EQ(be32(r.frame + 28), MMDS_ADDRESS);
	CHECK(!memcmp(r.frame, f + 22, 6) && !memcmp(r.frame + 32, f + 22, 6));
	f[41] = 1;
	put_frame(&r, f, sizeof f);
	f[41] = 254, f[21] = 2; /* a reply is not ours to answer */
	put_frame(&r, f, sizeof f);
	CHECK_EQ(r.passed, 2);
	CHECK_EQ(r.nr, 1);
	rig_down(&r);
}

TEST(mmds_v1_gives_values_as_text_and_json)
{
	struct rig r;

	CHECK(rig_up(&r, 1));
	CHECK_STR(BODY(ask(&r, "GET /a/b HTTP/1.0\r\n\r\n")), "text");
	CHECK_STR(BODY(ask(&r, "GET http://169.254.169.254//a///b/ HTTP/1.0\r\n\r\n")), "text");
	CHECK_STR(BODY(ask(&r, "GET /a HTTP/1.0\r\n\r\n")), "b\nn\nc/");
	CHECK_STR(BODY(ask(&r, "GET /a HTTP/1.0\r\nAccept: application/json\r\n\r\n")),
		  "{\"b\":\"text\",\"c\":{\"d\":\"e\"},\"n\":5}");
	STATUS(ask(&r, "GET /a/n HTTP/1.0\r\n\r\n"), "501");
	CHECK_STR(BODY(ask(&r, "GET /a/x HTTP/1.0\r\n\r\n")), "Resource not found: /a/x.");
	STATUS(ask(&r, "GET /a/x HTTP/1.0\r\n\r\n"), "404");
	STATUS(ask(&r, "POST /a HTTP/1.0\r\n\r\n"), "405");
	STATUS(ask(&r, "GET a HTTP/1.0\r\n\r\n"), "400");
	STATUS(ask(&r, "GET /a HTTP/2.0\r\n\r\n"), "400");
	STATUS(ask(&r, "GET /a HTTP/1.1\r\nno colon\r\n\r\n"), "400");
	STATUS(ask(&r, "PUT /x HTTP/1.1\r\nContent-Length: 999999\r\n\r\n"), "413");
	ask(&r, "GET /long HTTP/1.0\r\n\r\n");
	CHECK(strlen(BODY(r.text)) > 8900);
	rig_down(&r);
}

TEST(mmds_v2_wants_a_token_that_lives)
{
	char token[100], req[300];
	struct rig r;

	CHECK(rig_up(&r, 2));
	STATUS(ask(&r, "GET /a/b HTTP/1.0\r\n\r\n"), "401");
	STATUS(ask(&r, "PUT /latest/api/token HTTP/1.0\r\n\r\n"), "400");
	STATUS(ask(&r, "PUT /latest/api/token HTTP/1.0\r\nX-metadata-token-ttl-seconds: 0\r\n\r\n"), "400");
	STATUS(ask(&r, "PUT /latest/api/token HTTP/1.0\r\nX-metadata-token-ttl-seconds: 21601\r\n\r\n"),
	       "400");
	STATUS(ask(&r, "PUT /latest/api/tokens HTTP/1.0\r\nX-metadata-token-ttl-seconds: 9\r\n\r\n"),
	       "404");
	STATUS(ask(&r, "PUT /latest/api/token HTTP/1.0\r\nX-metadata-token-ttl-seconds: 9\r\n"
		       "X-Forwarded-For: 1.2.3.4\r\n\r\n"), "400");
	ask(&r, "PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n");
	snprintf(token, sizeof token, "%s", BODY(r.text));
	CHECK_EQ(strlen(token), MMDS_TOKEN_SIZE - 1);
	snprintf(req, sizeof req, "GET /a/b HTTP/1.0\r\nx-METADATA-token: %s\r\n\r\n", token);
	CHECK_STR(BODY(ask(&r, req)), "text");
	clock_fake_advance(&r.clock, 59000000000);
	CHECK_STR(BODY(ask(&r, req)), "text");
	clock_fake_advance(&r.clock, 2000000000);
	STATUS(ask(&r, req), "401");
	for (size_t i = 0; i < strlen(token); i++) { /* no digit of it can be changed */
		char other[100];

		strcpy(other, token);
		other[i] = other[i] == '0' ? '1' : '0';
		CHECK(!mmds_token_ok(r.m, other, strlen(other)));
	}
	rig_down(&r);
}

TEST(mmds_siphash_agrees_with_its_paper)
{
	const u64 key[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	u8 data[15];

	for (u8 i = 0; i < sizeof data; i++)
		data[i] = i;
	CHECK_EQ(mmds_siphash(key, data, sizeof data), 0xa129ca6149be45e5);
}

TEST(mmds_keeps_connections_open_and_takes_requests_in_pieces)
{
	struct rig r;

	CHECK(rig_up(&r, 1));
	CHECK(connect(&r));
	send_tcp(&r, ACK, "GET /a/b HT");
	send_tcp(&r, ACK, "TP/1.1\r\n\r\nGET /a/c/d HTTP/1.1\r\n\r\n");
	send_tcp(&r, ACK, "");
	send_tcp(&r, ACK, "");
	CHECK(strstr(r.text, "\r\n\r\ntextHTTP/1.1 200 OK"));
	CHECK(!strcmp(r.text + r.got - 5, "\n\r\ne") || r.text[r.got - 1] == 'e');
	CHECK(!r.fin);
	send_tcp(&r, ACK | FIN, "");
	CHECK(r.fin);
	send_tcp(&r, ACK, "");
	rig_down(&r);
}

TEST(mmds_sends_again_what_was_lost_and_waits_for_the_window)
{
	struct rig r;
	size_t before;

	CHECK(rig_up(&r, 1));
	CHECK(connect(&r));
	r.wnd = 100;
	send_tcp(&r, ACK, "GET /long HTTP/1.0\r\n\r\n");
	CHECK_EQ(r.got, 100);
	r.got = 0, r.rcv_nxt -= 100; /* all of it was lost */
	clock_fake_advance(&r.clock, 250000000);
	CHECK_EQ(r.got, 100);
	r.wnd = 0;
	send_tcp(&r, ACK, "");
	before = r.got;
	CHECK_EQ(before, 100);
	clock_fake_advance(&r.clock, 250000000); /* a probe of one byte */
	CHECK_EQ(r.got, 101);
	r.full = true; /* the NIC is full: nothing is lost */
	r.wnd = 20000;
	send_tcp(&r, ACK, "");
	CHECK_EQ(r.got, 101);
	r.full = false;
	r.port->can_receive(r.port);
	CHECK(r.got > 9000 && r.fin);
	clock_fake_advance(&r.clock, 600000000000); /* never acknowledged: given up */
	CHECK_EQ(r.clock.nr, 0);
	rig_down(&r);
}

TEST(mmds_refuses_other_ports_and_strangers)
{
	u8 f[100];
	struct rig r;
	size_t n;

	CHECK(rig_up(&r, 1));
	n = make(&r, f, SYN, "", 0);
	f[ETH + 23] = 81;
	put16(f + ETH + 36, 0);
	put_frame(&r, f, n); /* wrong checksum: no answer */
	CHECK_EQ(r.nr, 0);
	r.snd_nxt = 5;
	send_tcp(&r, ACK, "data of nobody");
	CHECK_EQ(r.nr, 1);
	CHECK_EQ(r.frame[ETH + 33], RST);
	CHECK(connect(&r));
	send_tcp(&r, RST | ACK, "");
	send_tcp(&r, ACK, "GET / HTTP/1.0\r\n\r\n");
	CHECK_EQ(r.frame[ETH + 33], RST);
	rig_down(&r);
}

TEST(mmds_flood_of_connections_is_bounded)
{
	struct rig r;

	CHECK(rig_up(&r, 1));
	for (unsigned i = 0; i < 5000; i++) {
		r.sport++;
		send_tcp(&r, SYN, "");
		clock_fake_advance(&r.clock, 1000);
	}
	CHECK_STR(BODY(ask(&r, "GET /a/b HTTP/1.0\r\n\r\n")), "text"); /* still serves */
	clock_fake_advance(&r.clock, 100000000000);
	CHECK_EQ(r.clock.nr, 0);
	rig_down(&r);
}

/* Whole sessions with frames mutated, cut, repeated and reordered. */
TEST(mmds_survives_hostile_frames)
{
	static const char *const req[] = {
		"GET /a/b HTTP/1.1\r\n\r\n", "GET /long HTTP/1.1\r\nConnection: close\r\n\r\n",
		"PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 60\r\n\r\n",
		"GET /a/~1~0~/0/x HTTP/1.0\r\nContent-Length: 10\r\n\r\n1234567890",
		"GET", "\r\n\r\n\r\n", "A B C\r\n\r\n",
	};
	static u8 f[70000];
	struct rig r;

	CHECK(rig_up(&r, 2));
	for (unsigned i = 0; i < 60000; i++) {
		const char *data = rnd(&r) % 3 ? "" : req[rnd(&r) % array_len(req)];
		size_t len = strlen(data);
		u32 what = rnd(&r);
		size_t n;

		if (!(what & 15))
			r.sport = (u16)(1000 + rnd(&r) % 40);
		if (!(what & 0x70))
			r.snd_nxt += rnd(&r) % 5000 - 2500;
		r.wnd = what & 0x80 ? 8000 : rnd(&r) & 0xffff;
		n = make(&r, f, what & 0x100 ? ACK : rnd(&r) & 63, data, len);
		if (what & 0x200)
			f[rnd(&r) % n] ^= (u8)(1 << rnd(&r) % 8);
		if (!(what & 0xc00))
			put16(f + ETH + 2, rnd(&r));
		if (!(what & 0x7000)) /* a giant segment */
			n += rnd(&r) % 60000;
		else if (!(what & 0x38000))
			n = rnd(&r) % (n + 1);
		r.full = !(what & 0x1c0000);
		put_frame(&r, f, n);
		if (what & 0x200000)
			r.snd_nxt += (u32)len;
		if (!(what & 0x3c00000))
			clock_fake_advance(&r.clock, rnd(&r) % 1000000000);
		if (!r.full)
			r.port->can_receive(r.port);
		r.got = 0;
	}
	CHECK(!r.clock.runaway);
	r.full = false;
	r.port->can_receive(r.port);
	clock_fake_advance(&r.clock, 600000000000);
	rig_down(&r);
}
