// SPDX-License-Identifier: Apache-2.0
/*
 * mmds_int.h - the parts of the metadata service, private to net/
 *
 * mmds.c: data and the port; mmds_http.c: requests to answers; mmds_token.c: session
 * tokens; mmds_tcp.c: frames to bytes and back.
 */
#ifndef NET_MMDS_INT_H
#define NET_MMDS_INT_H

#include "net/mmds.h"

#include <jansson.h>

struct mmds {
	struct mmds_cfg cfg;
	json_t *data; /* NULL = none yet */
	u64 key[2];   /* of tokens */
	u64 serial;
};

/* -- tokens ------------------------------------------------------------------------------- */

#define MMDS_TOKEN_SIZE 65 /* hexadecimal digits and the end */
#define MMDS_TTL_MAX	21600 /* seconds */

/* A token that holds for @ttl seconds, 1..MMDS_TTL_MAX. Needs no memory of it. */
void mmds_token_make(struct mmds *m, u32 ttl, char ret[MMDS_TOKEN_SIZE]);
bool mmds_token_ok(const struct mmds *m, const char *token, size_t len);

/* SipHash-2-4 of @data under @key. */
u64 mmds_siphash(const u64 key[2], const void *data, size_t len);

/* -- HTTP --------------------------------------------------------------------------------- */

struct mmds_reply {
	char *text; /* from malloc; NULL = nothing to say */
	size_t len;
	bool close; /* the connection ends with it */
};

/*
 * Answer the request at the start of @req. Return: its bytes, with *ret filled, or 0 if it
 * is not complete. @full: more will not fit, so an incomplete one is answered too.
 */
size_t mmds_http(struct mmds *m, const char *req, size_t len, bool full, struct mmds_reply *ret);

/* -- TCP over IPv4 over Ethernet, as much as one HTTP server on a wire of its own needs ------
 *
 * Segments are taken in order only; a response is sent before the next request is looked
 * at. Sending is by pulling: the port asks for a frame whenever the guest has room.
 */

#define TCP_CONNS   30
#define TCP_RX	    4096 /* bytes of requests kept, and the window */
#define TCP_RESETS  16	 /* RST segments waiting; more are not sent */
#define TCP_MSS	    1460
#define TCP_MSS_MIN 88
#define TCP_FRAME   (14 + 20 + 24 + TCP_MSS)

enum tcp_state { TCP_FREE, TCP_SYN, TCP_OPEN };

struct tcp_conn {
	enum tcp_state state;
	u8 mac[6];
	u32 ip;
	u16 port, mss;
	u32 rcv_nxt;
	u32 snd_una, snd_nxt, snd_max; /* oldest not acknowledged, next, and furthest sent */
	u32 peer_wnd;
	u32 tx_seq; /* of tx[0] */
	char *tx;   /* the response being sent; NULL = none */
	size_t tx_len;
	bool closing;  /* FIN follows the response */
	bool peer_fin; /* the guest sends no more */
	bool need_ack, probe;
	u8 retries;
	u64 deadline_ns; /* to send again, or to give up */
	u64 used_ns;	 /* last segment from the guest */
	u32 rx_len;
	char rx[TCP_RX];
};

struct tcp_reset {
	u8 mac[6];
	u32 ip;
	u16 port, our_port;
	u32 seq, ack;
	bool with_ack;
};

struct tcp {
	struct mmds *m;
	struct tcp_conn conn[TCP_CONNS];
	unsigned next; /* whose turn it is to send */
	struct tcp_reset reset[TCP_RESETS];
	unsigned nr_resets;
	bool arp_due;
	u8 arp_mac[6];
	u32 arp_ip;
};

void tcp_init(struct tcp *t, struct mmds *m);
void tcp_fini(struct tcp *t);

/* Does the service take this frame (its first bytes)? */
bool tcp_wants(const struct tcp *t, const u8 *frame, size_t len);
/*
 * A frame it wants, possibly cut short of the end of its payload. @trusted: a checksum may
 * be unfinished.
 */
void tcp_input(struct tcp *t, const u8 *frame, size_t len, bool trusted);
/* The next frame to send, or 0. */
size_t tcp_output(struct tcp *t, u8 frame[TCP_FRAME]);
/* Times have passed; Return: when to call again, 0 = not by time. */
u64 tcp_tick(struct tcp *t, u64 now_ns);

#endif
