// SPDX-License-Identifier: Apache-2.0
/* peer_fuzz.c - hostile peers: guests, servers and clients at the other end of something */
#include "peer.h"

#include "os/os.h"

const struct fuzz_target fuzz_targets[] = {
	{ .name = "nbd-client", .run = nbd_client_run, .seed = nbd_client_seed },
	{ .name = "nbd-server", .run = nbd_server_run, .seed = nbd_server_seed },
	{ .name = "agent", .run = agent_run, .seed = agent_seed },
	{ .name = "vsock", .run = vsock_run, .seed = vsock_seed },
	{ .name = "mmds", .run = mmds_run, .seed = mmds_seed },
	{ .name = "vhost-user", .run = vhost_run, .seed = vhost_seed },
	{ .name = "opener", .run = opener_run, .seed = opener_seed },
	{ .name = "9p", .run = p9_run, .seed = p9_seed },
	{ .name = "virtiofs", .run = fs_run, .seed = fs_seed },
	{ 0 },
};

struct loop *peer_loop(void)
{
	static struct loop *l;
	struct err e;

	if (!l)
		l = loop_new(&e);
	if (!l)
		fuzz_broken("no event loop");
	return l;
}
