// SPDX-License-Identifier: Apache-2.0
/*
 * mmds.h - the metadata service a guest finds at 169.254.169.254
 *
 * Firecracker's MMDS: JSON of the host's, read by the guest over HTTP; with version 2
 * only with a session token. The service stands between a NIC and its network: ARP and
 * IPv4 for its address are answered here, everything else passes. Frames are hostile;
 * connections, buffers and their times are bounded (mmds_int.h).
 *
 * Context: board lock held.
 */
#ifndef NET_MMDS_H
#define NET_MMDS_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

struct clock;
struct mmds;
struct net_port;

#define MMDS_ADDRESS 0xa9fea9feu /* 169.254.169.254 */

struct mmds_cfg {
	u32 ipv4;	  /* host byte order */
	unsigned version; /* 1: no token wanted, 2 */
	bool imds_compat; /* text for every client, whatever it accepts */
	u64 size_limit;	  /* bytes of compact JSON */
	struct clock *clock;
	size_t (*random)(void *ctx, void *buf, size_t len); /* returns bytes */
	void *ctx;
};

struct mmds *mmds_new(const struct mmds_cfg *c, struct err *e) MUST_CHECK;
void mmds_free(struct mmds *m); /* after its ports; NULL is fine */

/* Replace the data by the JSON object in @text. On failure nothing changes; E2BIG: too large. */
int mmds_set(struct mmds *m, const char *text, size_t len, struct err *e) MUST_CHECK;

/*
 * A port for a NIC in front of @lower. net_start() and net_close() are for @lower as ever;
 * free this one after the NIC and before @lower.
 */
struct net_port *mmds_port_new(struct mmds *m, struct net_port *lower, struct err *e) MUST_CHECK;
void mmds_port_free(struct net_port *p); /* NULL is fine */

#endif
