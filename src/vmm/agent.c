// SPDX-License-Identifier: Apache-2.0
/*
 * agent.c - the host's side of "vireo run -- CMD"; follows docs/guest-agent.md
 *
 * Each port has two chr: .chr, which the virtio-console device holds, and .host,
 * the end at our own descriptors. Data passes straight through, counted; only
 * vireo.ctl is buffered here, in both directions.
 */
#include "vmm/agent.h"

#include "base/bits.h"
#include "dev/virtio/virtio.h"
#include "os/os.h"
#include "ui/ui.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION      1
#define HEADER_SIZE  8
#define PAYLOAD_KEPT 32 /* bytes; longer payloads are of unknown types and skipped */
#define RUN_MAX      (1u << 20)

enum { P_CTL, P_STDIN, P_STDOUT, P_STDERR, NR_PORTS };

struct port {
	struct agent *a;
	struct chr chr;
	struct chr *host;
	u64 count;   /* bytes passed on */
	bool broken; /* "C" was sent */
};

struct agent {
	struct agent_cfg cfg;
	struct port port[NR_PORTS];
	struct chr_opts opts;
	struct chr *term; /* also port[P_STDIN].host and port[P_STDOUT].host */

	u8 *tx; /* frames on their way to the guest */
	size_t tx_len, tx_cap;

	u8 rx[HEADER_SIZE + PAYLOAD_KEPT]; /* the frame being received */
	u64 rx_len;

	bool running;  /* "R" was sent */
	bool in_ended; /* end of our standard input was seen */
	bool exited, done;
	int status;
	u64 out_total, err_total;
};

/* -- frames to the guest ---------------------------------------------------------------- */

static void flush_tx(struct agent *a)
{
	struct chr *c = &a->port[P_CTL].chr;
	size_t n;

	if (!a->tx_len || !c->receive)
		return;
	n = c->receive(c->dev, a->tx, a->tx_len);
	memmove(a->tx, a->tx + n, a->tx_len - n);
	a->tx_len -= n;
}

static u8 *tx_room(struct agent *a, size_t len)
{
	u8 *p;

	if (a->tx_len + len > a->tx_cap) {
		p = realloc(a->tx, a->tx_len + len);
		if (!p)
			return NULL;
		a->tx = p;
		a->tx_cap = a->tx_len + len;
	}
	p = a->tx + a->tx_len;
	a->tx_len += len;
	return p;
}

static void send_frame(struct agent *a, char type, const void *payload, size_t len)
{
	const le32 n = le32_of((u32)len);
	u8 *p = tx_room(a, HEADER_SIZE + len);

	if (!p)
		return; /* the guest never hears of it and the user stops the VM */
	memset(p, 0, HEADER_SIZE);
	p[0] = (u8)type;
	memcpy(p + 4, &n, sizeof n);
	memcpy(p + HEADER_SIZE, payload, len);
	flush_tx(a);
}

static char *add_string(char *p, char kind, const char *s)
{
	*p++ = kind;
	return stpcpy(p, s) + 1;
}

static void send_run(struct agent *a)
{
	size_t len = 64;
	char *text, *p;
	u16 cols, rows;

	for (u32 i = 0; i < a->cfg.nr_command; i++)
		len += strlen(a->cfg.command[i]) + 2;
	text = p = malloc(len);
	if (!text)
		return;
	for (u32 i = 0; i < a->cfg.nr_command; i++)
		p = add_string(p, 'a', a->cfg.command[i]);
	if (a->term) {
		char size[16] = "24 80";

		if (term_size(STDIN_FILENO, &cols, &rows))
			snprintf(size, sizeof size, "%u %u", rows, cols);
		p = add_string(p, 't', size);
	}
	send_frame(a, 'R', text, (size_t)(p - text));
	free(text);
	a->running = true;
}

static void send_input_end(struct agent *a)
{
	const le64 total = le64_of(a->port[P_STDIN].count);

	send_frame(a, 'I', &total, sizeof total);
}

/* -- frames from the guest --------------------------------------------------------------- */

static void check_done(struct agent *a)
{
	if (!a->exited || a->done || a->port[P_STDOUT].count < a->out_total ||
	    a->port[P_STDERR].count < a->err_total)
		return;
	a->done = true;
	a->cfg.done(a->cfg.ctx, a->status);
}

static void on_frame(struct agent *a, char type, const u8 *p, size_t len)
{
	le32 status;
	le64 out, err;

	if (type == 'H' && !a->running) {
		send_run(a);
		if (a->in_ended)
			send_input_end(a);
		else if (a->port[P_STDIN].host->can_receive)
			a->port[P_STDIN].host->can_receive(a->port[P_STDIN].host);
	} else if (type == 'X' && a->running && !a->exited && len >= 20) {
		memcpy(&status, p, sizeof status);
		memcpy(&out, p + 4, sizeof out);
		memcpy(&err, p + 12, sizeof err);
		a->exited = true;
		a->status = (int)(le32_get(status) & 0xff);
		a->out_total = le64_get(out);
		a->err_total = le64_get(err);
		check_done(a);
	}
}

/* Reassembles frames; what exceeds rx[] is counted and dropped. */
static size_t ctl_write(struct chr *c, const void *buf, size_t len)
{
	struct agent *a = container_of(c, struct port, chr)->a;
	const u8 *p = buf;

	for (size_t i = 0; i < len; i++) {
		le32 n;

		if (a->rx_len < sizeof a->rx)
			a->rx[a->rx_len] = p[i];
		a->rx_len++;
		if (a->rx_len < HEADER_SIZE)
			continue;
		memcpy(&n, a->rx + 4, sizeof n);
		if (a->rx_len < HEADER_SIZE + (u64)le32_get(n))
			continue;
		if (le32_get(n) <= PAYLOAD_KEPT)
			on_frame(a, (char)a->rx[0], a->rx + HEADER_SIZE, le32_get(n));
		a->rx_len = 0;
	}
	return len;
}

static void ctl_can_receive(struct chr *c)
{
	flush_tx(container_of(c, struct port, chr)->a);
}

/* -- the command's streams ------------------------------------------------------------------ */

static size_t out_write(struct chr *c, const void *buf, size_t len)
{
	struct port *p = container_of(c, struct port, chr);
	size_t n = p->host->write(p->host, buf, len);

	p->count += n;
	if (!p->broken && chr_error(p->host)) {
		const le32 stream = le32_of((u32)(p - p->a->port) - P_STDOUT + 1);

		p->broken = true;
		send_frame(p->a, 'C', &stream, sizeof stream);
	}
	check_done(p->a);
	return n;
}

static void host_writable(void *dev)
{
	struct port *p = dev;

	if (p->chr.writable)
		p->chr.writable(p->chr.dev);
}

static size_t host_receive(void *dev, const void *buf, size_t len)
{
	struct port *in = &((struct port *)dev)->a->port[P_STDIN];
	size_t n;

	if (!in->a->running || !in->chr.receive)
		return 0;
	n = in->chr.receive(in->chr.dev, buf, len);
	in->count += n;
	return n;
}

static void host_open(void *dev, bool open)
{
	struct port *in = &((struct port *)dev)->a->port[P_STDIN];

	if (open || in->a->in_ended)
		return;
	in->a->in_ended = true;
	if (in->a->running)
		send_input_end(in->a);
}

static void in_can_receive(struct chr *c)
{
	struct port *p = container_of(c, struct port, chr);

	if (p->a->running && p->host->can_receive)
		p->host->can_receive(p->host);
}

static size_t drop_write(struct chr *c UNUSED, const void *buf UNUSED, size_t len)
{
	return len; /* the guest may not write to vireo.stdin */
}

static void ignore(struct chr *c UNUSED) {}

/* -- life ---------------------------------------------------------------------------------------
 */

static int dup_fd(int fd, struct err *e)
{
	int copy = dup(fd);

	return copy < 0 ? err_set(e, errno, "descriptor %d: %s", fd, strerror(errno)) : copy;
}

static struct chr *open_in(struct loop *l, struct err *e)
{
	int fd = dup_fd(STDIN_FILENO, e);

	return fd < 0 ? NULL : chr_open_fds(l, fd, -1, e);
}

static struct chr *open_out(struct loop *l, int from, struct err *e)
{
	int fd = dup_fd(from, e);

	return fd < 0 ? NULL : chr_open_fds(l, -1, fd, e);
}

static int open_hosts(struct agent *a, struct err *e)
{
	struct loop *l = a->cfg.loop;

	if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
		a->opts = (struct chr_opts){ .quit = a->cfg.quit, .ctx = a->cfg.ctx };
		a->term = chr_open_stdio(l, &a->opts, e);
		a->port[P_STDIN].host = a->port[P_STDOUT].host = a->term;
		if (!a->term)
			return -e->code;
	} else {
		a->port[P_STDIN].host = open_in(l, e);
		if (!a->port[P_STDIN].host)
			return -e->code;
		a->port[P_STDOUT].host = open_out(l, STDOUT_FILENO, e);
		if (!a->port[P_STDOUT].host)
			return -e->code;
	}
	a->port[P_STDERR].host = open_out(l, STDERR_FILENO, e);
	return a->port[P_STDERR].host ? 0 : -e->code;
}

struct agent *agent_new(const struct agent_cfg *c, struct err *e)
{
	struct agent *a = calloc(1, sizeof *a);
	size_t total = 0;

	for (u32 i = 0; i < c->nr_command; i++)
		total += strlen(c->command[i]) + 2;
	if (!a || total + 64 > RUN_MAX) {
		free(a);
		err_set(e, E2BIG, "command: want at most 1 MiB of arguments");
		return NULL;
	}
	a->cfg = *c;
	for (unsigned i = 0; i < NR_PORTS; i++) {
		a->port[i].a = a;
		a->port[i].chr.write = out_write;
		a->port[i].chr.can_receive = ignore;
	}
	a->port[P_CTL].chr.write = ctl_write;
	a->port[P_CTL].chr.can_receive = ctl_can_receive;
	a->port[P_STDIN].chr.write = drop_write;
	a->port[P_STDIN].chr.can_receive = in_can_receive;
	if (open_hosts(a, e)) {
		agent_free(a);
		return NULL;
	}
	for (unsigned i = P_STDIN; i < NR_PORTS; i++) {
		a->port[i].host->dev = &a->port[i];
		a->port[i].host->receive = host_receive;
		a->port[i].host->host_open = host_open;
		a->port[i].host->writable = host_writable;
	}
	a->port[P_STDERR].host->host_open = NULL;
	if (!a->term)
		a->port[P_STDOUT].host->host_open = NULL;
	return a;
}

void agent_ports(struct agent *a, struct virtio_console_cfg *ret)
{
	static const char *const names[NR_PORTS] = {
		[P_CTL] = "vireo.ctl",
		[P_STDIN] = "vireo.stdin",
		[P_STDOUT] = "vireo.stdout",
		[P_STDERR] = "vireo.stderr",
	};

	*ret = (struct virtio_console_cfg){ .nr_ports = NR_PORTS };
	for (unsigned i = 0; i < NR_PORTS; i++) {
		ret->port[i].name = names[i];
		ret->port[i].chr = &a->port[i].chr;
	}
}

void agent_start(struct agent *a)
{
	for (unsigned i = 0; i < NR_PORTS; i++)
		if (a->port[i].chr.host_open)
			a->port[i].chr.host_open(a->port[i].chr.dev, true);
	for (unsigned i = P_STDIN; i < NR_PORTS; i++)
		if (a->port[i].host != a->term || i == P_STDOUT)
			chr_start(a->port[i].host);
}

void agent_resize(struct agent *a)
{
	u16 cols, rows;
	u8 size[4];

	if (!a->term || !a->running || !term_size(STDIN_FILENO, &cols, &rows))
		return;
	size[0] = (u8)rows;
	size[1] = (u8)(rows >> 8);
	size[2] = (u8)cols;
	size[3] = (u8)(cols >> 8);
	send_frame(a, 'W', size, sizeof size);
}

int agent_flush(struct agent *a, struct err *e)
{
	static const char *const names[NR_PORTS] = { [P_STDOUT] = "output", [P_STDERR] = "error" };

	for (unsigned i = 0; i < NR_PORTS; i++) {
		int code;

		if (!names[i] || !a->port[i].host)
			continue;
		chr_flush(a->port[i].host);
		code = chr_error(a->port[i].host);
		if (code && code != EPIPE)
			return err_set(e, code, "standard %s: %s", names[i], strerror(code));
	}
	return 0;
}

void agent_free(struct agent *a)
{
	if (!a)
		return;
	for (unsigned i = P_STDIN; i < NR_PORTS; i++)
		if (a->port[i].host && (a->port[i].host != a->term || i == P_STDOUT))
			chr_close(a->port[i].host);
	free(a->tx);
	free(a);
}
