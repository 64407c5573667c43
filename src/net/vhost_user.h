// SPDX-License-Identifier: Apache-2.0
/*
 * vhost_user.h - a virtio device whose work another process does
 *
 * Follows "Vhost-user Protocol" of the QEMU project as [vhost-user], the front-end's side.
 * The other process, the back end, maps all of guest RAM and is trusted with it, as with
 * the guest; it is not trusted with this process. The rings it works on are not the
 * guest's but ours beside them (shadow rings): each buffer goes through this process, so
 * that what is written into memory is known and a guest's malformed ring never leaves.
 *
 * Context: board lock held; functions that wait for the back end say so, VHOST_WAIT_MS
 * at most. After the back end is gone everything succeeds and nothing happens.
 */
#ifndef NET_VHOST_USER_H
#define NET_VHOST_USER_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

struct loop;
struct vhost_user;

#define VHOST_WAIT_MS	 2000
#define VHOST_QUEUES_MAX FUZZ_LESS(8, 3)
#define VHOST_RING	 FUZZ_LESS(1024u, 64u) /* entries of a shadow ring, 32 bytes for each */
#define VHOST_RAM_MAX	 4
#define VHOST_CONFIG_MAX 256

/* A piece of guest RAM, part of a file both processes map. */
struct vhost_ram {
	gpa_t gpa;
	u64 len;
	int fd;
	u64 offset; /* in the file */
	const u8 *host;
};

/* One piece of a buffer; the readable ones come first. */
struct vhost_seg {
	gpa_t gpa;
	u32 len;
	bool in; /* the back end writes it */
};

struct vhost_user_ops {
	/* The back end wrote [gpa, gpa+len) of a buffer; before done(). */
	void (*wrote)(void *ctx, gpa_t gpa, u64 len);
	/* A buffer comes back, with this many bytes written. */
	void (*done)(void *ctx, unsigned q, u32 token, u32 written);
	void (*room)(void *ctx, unsigned q); /* after a vhost_user_submit() that failed */
	void (*gone)(void *ctx);	     /* the back end ended or broke the protocol; once */
};

/*
 * The back end at the other end of the socket @fd (taken over, also on failure), and guest
 * RAM, of which the descriptors are borrowed. Waits.
 */
struct vhost_user *vhost_user_new(struct loop *l, int fd, const struct vhost_ram *ram,
				  unsigned nr_ram, struct err *e) MUST_CHECK;
void vhost_user_free(struct vhost_user *u); /* NULL is fine */

/* The device is there: from now on it is told. */
void vhost_user_attach(struct vhost_user *u, const struct vhost_user_ops *ops, void *ctx);

u64 vhost_user_features(const struct vhost_user *u); /* that the back end can do */
unsigned vhost_user_queues(const struct vhost_user *u); /* 0 = it does not say */
/* The device's configuration, if the back end keeps it. Waits. Return: 0 or -errno. */
int vhost_user_config(struct vhost_user *u, void *buf, size_t len) MUST_CHECK;

/* Run @nr_queues with the features the guest's driver took. */
void vhost_user_start(struct vhost_user *u, u64 features, unsigned nr_queues);
/* Until then buffers may come back; then none is the back end's any more. Waits. */
void vhost_user_stop(struct vhost_user *u);

/* Hand a buffer over. false: no room for it now, room() follows. */
bool vhost_user_submit(struct vhost_user *u, unsigned q, const struct vhost_seg *seg, unsigned nr,
		       u32 token) MUST_CHECK;
void vhost_user_kick(struct vhost_user *u, unsigned q); /* after some of the former */

#endif
