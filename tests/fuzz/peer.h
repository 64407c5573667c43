// SPDX-License-Identifier: Apache-2.0
/*
 * peer.h - fuzz targets that speak to a part of the monitor as its peer: the functions of the
 * table in peer_fuzz.c, see target.h
 */
#ifndef FUZZ_PEER_H
#define FUZZ_PEER_H

#include "target.h"

struct loop;

struct loop *peer_loop(void); /* one for all targets; aborts on failure */

int nbd_client_run(const u8 *p, size_t len, struct err *e);
size_t nbd_client_seed(unsigned n, u8 *buf, size_t max);
int nbd_server_run(const u8 *p, size_t len, struct err *e);
size_t nbd_server_seed(unsigned n, u8 *buf, size_t max);
int agent_run(const u8 *p, size_t len, struct err *e);
size_t agent_seed(unsigned n, u8 *buf, size_t max);
int vsock_run(const u8 *p, size_t len, struct err *e);
size_t vsock_seed(unsigned n, u8 *buf, size_t max);
int mmds_run(const u8 *p, size_t len, struct err *e);
size_t mmds_seed(unsigned n, u8 *buf, size_t max);
int vhost_run(const u8 *p, size_t len, struct err *e);
size_t vhost_seed(unsigned n, u8 *buf, size_t max);
int opener_run(const u8 *p, size_t len, struct err *e);
size_t opener_seed(unsigned n, u8 *buf, size_t max);
int p9_run(const u8 *p, size_t len, struct err *e);
size_t p9_seed(unsigned n, u8 *buf, size_t max);
int fs_run(const u8 *p, size_t len, struct err *e);
size_t fs_seed(unsigned n, u8 *buf, size_t max);

#endif
