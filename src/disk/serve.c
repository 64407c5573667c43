// SPDX-License-Identifier: Apache-2.0
/* serve.c - vireo disk serve: an NBD server for one image */
#include "disk/disk_int.h"

#include <errno.h>
#include <stdio.h>

int cmd_serve(struct disk_args *a UNUSED)
{
	struct err e;

	err_set(&e, ENOTSUP, "serve: not built in yet");
	return disk_fail(&e);
}
