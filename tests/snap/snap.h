// SPDX-License-Identifier: Apache-2.0
/* snap.h - a guest in this process for the tests of snapshots: started, talked to, saved, loaded */
#ifndef SNAP_H
#define SNAP_H

#include "cfg/cfg.h"
#include "os/os.h"
#include "vmm/snapshot.h"
#include "vmm/vmm.h"

#include <pthread.h>

struct guest {
	struct vm_config cfg;
	struct vm *vm;
	struct thread thread;
	bool may_end;	    /* by itself */
	int listener, sock; /* the serial line */
	char out[1 << 16];  /* what came since the last guest_expect() that matched */
	size_t nr_out;
};

/* A quick-start guest; false and a line on stderr on failure. */
bool guest_boot(struct guest *g, const char *kernel, const char *initrd, unsigned cpus, u64 memory);
bool guest_load(struct guest *g, const struct snapshot_load *o, struct err *e);
bool guest_start(struct guest *g, struct err *e);
void guest_stop(struct guest *g);
void guest_close(struct guest *g); /* what guest_load() left when it failed */

bool guest_type(struct guest *g, const char *text);
/* Wait up to @ms for @text on the serial line; what came after it stays in out. */
bool guest_expect(struct guest *g, const char *text, unsigned ms);

#endif
