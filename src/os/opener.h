// SPDX-License-Identifier: Apache-2.0
/*
 * opener.h - opening host paths by name on behalf of a process that cannot
 *
 * A jailed monitor (jail/jail.h) opens nothing by name. Where requests name files
 * while it runs (the HTTP API), it asks a broker: a process forked before the jail,
 * with the rights of the user, that opens what its policy allows and answers with a
 * descriptor over a socket pair. The policy is fixed when the broker starts; the
 * asking side may be in an attacker's hands. The broker has one caller, one request
 * at a time, buffers of a fixed size, a system call filter of its own, and ends with
 * the socket.
 *
 * Names. With directories in the policy, an absolute name must lie in one of them and
 * a relative one is taken from the first; no link, ".." or mount leads out. Without,
 * any name is allowed, from the directory the broker was started in, except in
 * procfs, sysfs and other views of the kernel. Links of procfs are never followed.
 *
 * Without a broker (@o NULL) each function acts in the calling process, under no
 * policy, with the same checks of what it finds (and any socket may be removed): for
 * programs that are not jailed.
 *
 * Return, where not said otherwise: a CLOEXEC descriptor, or -errno with *e set to
 * "NAME: what is wrong". Any thread; a call waits for the one before it, and for as
 * long as the host's open(2) takes.
 */
#ifndef OS_OPENER_H
#define OS_OPENER_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#define OPENER_DIRS 8
#define OPENER_PATH 4096 /* bytes of a name, with its end */

struct opener;

struct opener_policy {
	const char *dir[OPENER_DIRS]; /* existing directories */
	unsigned nr_dirs;             /* 0 = whatever the user may open */
	bool read_only;               /* nothing is opened for writing, made or removed */
	bool taps;                    /* opener_tap() is allowed */
};

/* Fork the broker. The calling process has one thread. NULL with *e set on failure. */
struct opener *opener_start(const struct opener_policy *p, struct err *e) MUST_CHECK;
void opener_stop(struct opener *o); /* ends the broker and waits for it; NULL: nothing */

/*
 * A file, directory, device or FIFO. @flags: the access mode and any of O_CREAT, O_EXCL,
 * O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_DIRECT. @mode: of a new file,
 * less the umask; no set-ID bits. Never waits for the other end of a FIFO: reading starts
 * at once, and writing without a reader is ENXIO.
 */
int opener_open(struct opener *o, const char *path, int flags, u32 mode, struct err *e) MUST_CHECK;

/*
 * A listening, non-blocking AF_UNIX stream socket bound to @path. A socket there that
 * nobody listens on any more is replaced; anything else is EADDRINUSE.
 */
int opener_listen(struct opener *o, const char *path, struct err *e) MUST_CHECK;
/* A connected, non-blocking AF_UNIX stream socket. EAGAIN: its queue is full. */
int opener_connect(struct opener *o, const char *path, struct err *e) MUST_CHECK;
/* Remove a socket that opener_listen() made: another is EPERM, no socket ENOTSOCK. 0 or -errno. */
int opener_unlink(struct opener *o, const char *path, struct err *e) MUST_CHECK;

/*
 * A file that is replaced as a whole, with others: PATH.tmp is written, becomes PATH.new and
 * then PATH (vmm/snapshot.h); or is given up. 0 or -errno.
 */
enum opener_step {
	OPENER_TMP_TO_NEW,
	OPENER_NEW_TO_FINAL,
	OPENER_DROP_TMP,
	OPENER_DROP_NEW,
};
int opener_replace(struct opener *o, const char *path, enum opener_step step,
		   struct err *e) MUST_CHECK;

/* One queue of a TAP device by its name, non-blocking, with virtio-net headers (net/net.h). */
int opener_tap(struct opener *o, const char *name, bool multi_queue, struct err *e) MUST_CHECK;

#endif
