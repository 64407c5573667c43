// SPDX-License-Identifier: Apache-2.0
/*
 * notice.h - the guest's agent is told that its machine is another one now
 *
 * A virtio-console port "vireo.notice" (docs/guest-agent.md): after a restore or fork, before
 * the first instruction, fresh random numbers, the time, and a fork's name and network
 * addresses are in the guest's buffer, and its interrupt is raised.
 *
 * Context: board lock held.
 */
#ifndef VMM_NOTICE_H
#define VMM_NOTICE_H

#include "base/compiler.h"
#include "base/err.h"

struct notice;
struct virtio_console_cfg;
struct vm;

struct notice *notice_new(struct err *e) MUST_CHECK;
void notice_port(struct notice *n, struct virtio_console_cfg *ret);
/* What the guest does not take at once follows when it has opened the port. */
void notice_send(struct vm *vm);
void notice_reset(struct notice *n); /* the guest restarts: nothing it saw is used twice */
void notice_free(struct notice *n);  /* after the device */

#endif
