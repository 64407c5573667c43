// SPDX-License-Identifier: Apache-2.0
/* guest.c - see snap.h */
#include "snap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/compiler.h"
#include "jail/jail.h"

static void *run(void *arg)
{
	struct guest *g = arg;
	struct err e = { 0 };
	enum vm_end end;
	int status = vm_run(g->vm, &end, &e);

	if (end != VM_STOPPED && !g->may_end)
		fprintf(stderr, "snap-test: the VM ended by itself: %d, status %d %s\n", end, status,
			e.msg);
	return NULL;
}

/* A listening socket without a name, for the serial line. */
static bool make_serial(struct guest *g)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	g->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	g->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(g->listener, (struct sockaddr *)&a, sizeof(sa_family_t)) < 0 ||
	    listen(g->listener, 1) < 0) {
		perror("snap-test: socket");
		return false;
	}
	strcpy(g->cfg.serial, "unix:test");
	g->cfg.serial_fd = g->listener;
	return true;
}

bool guest_start(struct guest *g, struct err *e)
{
	struct sockaddr_un a;
	socklen_t len = sizeof a;

	if (vm_start(g->vm, e) || thread_start(&g->thread, "vm", JAIL_NONE, run, g, e))
		return false;
	if (getsockname(g->listener, (struct sockaddr *)&a, &len) < 0 ||
	    connect(g->sock, (struct sockaddr *)&a, len) < 0) {
		perror("snap-test: connect");
		return false;
	}
	g->nr_out = 0;
	return true;
}

static bool open_into(struct cfg_file *f, const char *path)
{
	snprintf(f->path, sizeof f->path, "%s", path);
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	return f->fd >= 0;
}

bool guest_boot(struct guest *g, const char *kernel, const char *initrd, unsigned cpus, u64 memory)
{
	struct err e = { 0 };

	cfg_init(&g->cfg);
	g->cfg.nr_cpus = cpus;
	g->cfg.memory = memory;
	g->cfg.jail = CFG_JAIL_OFF;
	g->cfg.nr_initrds = 1;
	strcpy(g->cfg.cmdline, "console=ttyS0 quiet no_timer_check tsc=reliable mitigations=off "
			       "vireo.ip=none");
	if (!make_serial(g) || !open_into(&g->cfg.kernel, kernel) ||
	    !open_into(&g->cfg.initrd[0], initrd))
		return false;
	g->vm = vm_new(&g->cfg, &e);
	if (g->vm && guest_start(g, &e))
		return true;
	fprintf(stderr, "snap-test: %s\n", e.msg);
	return false;
}

bool guest_load(struct guest *g, const struct snapshot_load *o, struct err *e)
{
	cfg_init(&g->cfg);
	g->vm = NULL;
	g->sock = -1;
	if (snapshot_read_config(o->state_fd, &g->cfg, e) || !make_serial(g))
		return false;
	g->cfg.jail = CFG_JAIL_OFF;
	g->vm = vm_new_from_snapshot(&g->cfg, o, e);
	return g->vm;
}

void guest_close(struct guest *g)
{
	fd_close(&g->sock);
	cfg_fini(&g->cfg);
}

void guest_stop(struct guest *g)
{
	struct err e = { 0 };

	if (vm_stop(g->vm, &e) && e.code != ESHUTDOWN)
		fprintf(stderr, "snap-test: %s\n", e.msg);
	thread_join(&g->thread);
	vm_free(g->vm);
	guest_close(g);
}

bool guest_type(struct guest *g, const char *text)
{
	return fd_write_full(g->sock, text, strlen(text)) == 0;
}

bool guest_expect(struct guest *g, const char *text, unsigned ms)
{
	u64 by = os_now_ns() + ms * 1000000ull;
	struct pollfd p = { .fd = g->sock, .events = POLLIN };

	for (;;) {
		char *at = memmem(g->out, g->nr_out, text, strlen(text));
		u64 now = os_now_ns();
		ssize_t n;

		if (at) {
			at += strlen(text);
			g->nr_out -= (size_t)(at - g->out);
			memmove(g->out, at, g->nr_out);
			return true;
		}
		if (now >= by || poll(&p, 1, (int)((by - now) / 1000000) + 1) < 0)
			break;
		if (!(p.revents & POLLIN))
			continue;
		if (g->nr_out == sizeof g->out)
			g->nr_out = 0;
		n = read(g->sock, g->out + g->nr_out, sizeof g->out - g->nr_out);
		if (n <= 0)
			break;
		g->nr_out += (size_t)n;
	}
	fprintf(stderr, "snap-test: no \"%s\" within %u ms; last: \"%.*s\"\n", text, ms,
		(int)(g->nr_out < 400 ? g->nr_out : 400),
		g->out + (g->nr_out < 400 ? 0 : g->nr_out - 400));
	return false;
}
