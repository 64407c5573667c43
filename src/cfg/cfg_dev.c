// SPDX-License-Identifier: Apache-2.0
/* cfg_dev.c - the options of devices beyond disks, networks and the serial port */
#include "cfg/cfg_int.h"

#include <string.h>

#define UDS_MAX 97 /* with "_PORT" it still is a socket's path */

int set_vsock(struct vm_config *c, const char *val, struct err *e)
{
	static const char wanted[] = "cid=N,path=SOCKET with N from 3 to 4294967294";
	struct vsock_config *v = &c->vsock;
	const char *s = val;
	u64 cid = 0;

	if (v->present)
		return too_many(e, "--vsock", 1);
	while (*s) {
		struct part p;

		TRY(next_part(&s, &p, "--vsock", e));
		if (is_key(&p, "path"))
			TRY(copy_str(v->uds_path, UDS_MAX, "--vsock path", p.val, e));
		else if (!is_key(&p, "cid") || !parse_number(p.val, 3, CFG_CID_MAX, &cid))
			return want(e, "--vsock", val, wanted);
	}
	if (!cid || !*v->uds_path)
		return want(e, "--vsock", val, wanted);
	v->cid = (u32)cid;
	v->present = true;
	return 0;
}
