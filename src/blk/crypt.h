// SPDX-License-Identifier: Apache-2.0
/*
 * crypt.h - inside blk/: LUKS version 1 headers and sector encryption
 * [LUKS1 On-Disk Format Specification 1.2.3]
 *
 * Served: aes-xts-plain64 and aes-cbc-plain64/essiv:sha256, with sha1, sha256 or sha512.
 */
#ifndef BLK_CRYPT_H
#define BLK_CRYPT_H

#include "blk/fmt.h"

struct luks;

/* Data behind a header of its own: how far, in bytes, from the header's start. */
u64 luks_payload(const struct luks *l);

/* Open the header at @off of @file, at most @max bytes. @secret: -ENOKEY if it is wrong. */
struct luks *luks_open(struct blk *file, u64 off, u64 max, const char *secret,
		       struct err *e) MUST_CHECK;
void luks_free(struct luks *l); /* wipes the keys; NULL is fine */

#define LUKS_HEADER (2u << 20) /* bytes luks_format() takes */

/* Write a new header with one key slot at @off. */
int luks_format(struct blk *file, u64 off, const char *secret, u32 iter_ms,
		struct err *e) MUST_CHECK;
/* Is it a LUKS1 header? Fills what can be said without the secret. */
int luks_peek(struct blk *file, u64 off, u64 *ret_payload, char *ret_variant, size_t len,
	      struct err *e) MUST_CHECK;

/* Whole sectors of 512 bytes, in place. 0 or -EIO. */
int crypt_sectors(struct luks *l, bool encrypt, u64 sector, void *buf, size_t len) MUST_CHECK;

#endif
