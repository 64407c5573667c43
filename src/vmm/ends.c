// SPDX-License-Identifier: Apache-2.0
/* ends.c - host ends of the devices beyond disks, networks and the serial port */
#include "net/vsock.h"
#include "os/opener.h"
#include "vmm/vmm_int.h"

#include <stdio.h>

static int dial(void *ctx, u32 port)
{
	const struct vm *vm = ctx;
	struct err e;
	char path[sizeof vm->cfg->vsock.uds_path + 12];

	snprintf(path, sizeof path, "%s_%u", vm->cfg->vsock.uds_path, port);
	return opener_connect(vm->opener, path, &e);
}

static int open_vsock(struct vm *vm, struct err *e)
{
	struct vsock_unix_cfg c = { .listen_fd = vm->cfg->vsock.fd, .dial = dial, .ctx = vm };

	if (!vm->cfg->vsock.present)
		return 0;
	vm->cfg->vsock.fd = -1;
	vm->vsock = vsock_unix_new(vm->loop, &c, e);
	return vm->vsock ? 0 : err_wrap(e, "--vsock");
}

int ends_open(struct vm *vm, struct err *e)
{
	return open_vsock(vm, e);
}

void ends_close(struct vm *vm)
{
	vsock_unix_free(vm->vsock);
}
