// SPDX-License-Identifier: Apache-2.0
/*
 * peer_agent.c - a hostile guest at the ports of "vireo run -- CMD" (docs/guest-agent.md)
 *
 * The input is operations: a byte that says which port and what, then what that wants.
 */
#include "peer.h"

#include "dev/virtio/virtio.h"
#include "os/os.h"
#include "ui/chr.h"
#include "vmm/agent.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define OPS 64

/* The console device, as far as the agent sees it. */
static struct {
	unsigned done;
	size_t room, sent; /* frames to the guest: bytes there is room for, bytes that came */
} g;

static size_t receive(void *dev UNUSED, const void *buf UNUSED, size_t len)
{
	size_t n = len < g.room ? len : g.room;

	g.room -= n;
	g.sent += n;
	return n;
}

static void nothing(void *dev UNUSED) {}

static void on_done(void *ctx UNUSED, int status)
{
	g.done++;
	if (status & ~0xff)
		fuzz_broken("agent: a status that is no byte");
}

static void on_quit(void *ctx UNUSED) {}

/* Our descriptors 0, 1 and 2 are the command's while the agent copies them. */
static struct agent *make(struct err *e)
{
	static char word[] = "true", *command[] = { word, word, word };
	const struct agent_cfg c = { .loop = peer_loop(),
				     .command = command,
				     .nr_command = 3,
				     .done = on_done,
				     .quit = on_quit };
	static int saved[3], null = -1;
	struct agent *a;

	if (null < 0) {
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		for (int i = 0; i < 3; i++)
			saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 3);
	}
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	a = agent_new(&c, e);
	for (int i = 0; i < 3; i++)
		dup2(saved[i], i);
	return a;
}

static void operate(struct agent *a, struct chr *port[4], struct fuzz_in *in)
{
	unsigned op = (unsigned)fuzz_take(in, 1);
	struct chr *c = port[op & 3];
	u8 buf[256];
	size_t n;

	switch (op >> 2 & 7) {
	case 0: c->can_receive(c); break;
	case 1: agent_resize(a); break;
	case 2: g.room = fuzz_take(in, 1); break;
	case 3: loop_once(peer_loop(), 0); break;
	default:
		n = fuzz_bytes(in, buf, op >> 5 ? fuzz_take(in, 1) : 28);
		if (c->write(c, buf, n) > n)
			fuzz_broken("agent: more bytes taken than there were");
	}
}

int agent_run(const u8 *p, size_t len, struct err *e)
{
	struct virtio_console_cfg cfg;
	struct fuzz_in in = { p, len };
	struct agent *a = make(e);
	struct chr *port[4];

	if (!a)
		fuzz_broken("agent: cannot be made");
	g.done = 0;
	g.room = 1000;
	g.sent = 0;
	agent_ports(a, &cfg);
	for (unsigned i = 0; i < 4; i++) {
		port[i] = cfg.port[i].chr;
		port[i]->receive = receive;
		port[i]->writable = nothing;
	}
	agent_start(a);
	for (unsigned i = 0; i < OPS && in.len; i++)
		operate(a, port, &in);
	if (g.done > 1)
		fuzz_broken("agent: the command ended twice");
	if (g.sent > 200)
		fuzz_broken("agent: frames to the guest without end");
	if (agent_flush(a, e))
		fuzz_broken("agent: /dev/null cannot be written");
	agent_free(a);
	return 0;
}

size_t agent_seed(unsigned n, u8 *buf, size_t max UNUSED)
{
	/* Hello; output; exit with its counts: status 3, 5 bytes of output, none of error. */
	static const u8 good[] = { 0x90, 'H',  0, 0,   0,   4,   0,   0,   0,    1,  0,   0, 0, 0,
				   0,    0,    0, 0,   0,   0,   0,   0,   0,    0,  0,   0, 0, 0,
				   0,    0x32, 5, 'h', 'e', 'l', 'l', 'o', 0x30, 28, 'X', 0, 0, 0,
				   20,   0,    0, 0,   3,   0,   0,   0,   5,    0,  0,   0, 0, 0,
				   0,    0,    0, 0,   0,   0,   0,   0,   0,    0 };

	if (n > 0)
		return 0;
	memcpy(buf, good, sizeof good);
	buf[0] = 0x10; /* 28 bytes to port 0 */
	return sizeof good;
}
