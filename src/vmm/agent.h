// SPDX-License-Identifier: Apache-2.0
/*
 * agent.h - the host's side of "vireo run -- CMD"
 *
 * Speaks to the guest's process 1 over four virtio-console ports
 * (docs/guest-agent.md) and connects the command's streams with ours.
 *
 * Context: board lock held.
 */
#ifndef VMM_AGENT_H
#define VMM_AGENT_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

struct agent;
struct loop;
struct virtio_console_cfg;

struct agent_cfg {
	struct loop *loop;
	char **command; /* borrowed */
	u32 nr_command;
	void (*done)(void *ctx, int status); /* once: all output has been handed on */
	void (*quit)(void *ctx);             /* Ctrl-] q at the terminal */
	void *ctx;
};

/* Uses descriptors 0, 1 and 2; a terminal on both 0 and 1 gives the command a terminal. */
struct agent *agent_new(const struct agent_cfg *c, struct err *e) MUST_CHECK;
void agent_ports(struct agent *a, struct virtio_console_cfg *ret);
void agent_start(struct agent *a); /* the device exists */
void agent_resize(struct agent *a); /* our terminal has a new size */
/* Write out what is buffered. Fails if output was lost, but for a reader who went away. */
int agent_flush(struct agent *a, struct err *e) MUST_CHECK;
void agent_free(struct agent *a);  /* after the device; writes out what is buffered */

#endif
