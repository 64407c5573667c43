// SPDX-License-Identifier: Apache-2.0
/* nbd_int.h - numbers of the NBD protocol [NBD doc/proto.md] */
#ifndef BLK_NBD_INT_H
#define BLK_NBD_INT_H

#include "blk/be.h"
#include "blk/blk_int.h"
#include "blk/nbd.h"

#define NBD_MAGIC	  0x4e42444d41474943ull
#define NBD_OPT_MAGIC	  0x49484156454f5054ull
#define NBD_OPT_REPLY	  0x0003e889045565a9ull
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_REPLY_MAGIC	  0x67446698u
#define NBD_REP_ERR	  0x80000000u

enum { NBD_FIXED = 1, NBD_NO_ZEROES = 2 }; /* handshake flags */
enum { NBD_OPT_EXPORT = 1, NBD_OPT_ABORT = 2, NBD_OPT_LIST = 3, NBD_OPT_INFO = 6, NBD_OPT_GO = 7 };
enum { NBD_REP_ACK = 1, NBD_REP_SERVER = 2, NBD_REP_INFO = 3, NBD_REP_UNSUP = 1,
       NBD_REP_INVALID = 3, NBD_REP_UNKNOWN = 6 };
enum { NBD_INFO_EXPORT = 0, NBD_INFO_BLOCK = 3 };
enum { NBD_HAS_FLAGS = 1, NBD_READ_ONLY = 2, NBD_SEND_FLUSH = 4, NBD_SEND_FUA = 8,
       NBD_SEND_TRIM = 32, NBD_SEND_ZEROES = 64, NBD_CAN_MULTI_CONN = 256 };
enum { NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_DISC, NBD_CMD_FLUSH, NBD_CMD_TRIM,
       NBD_CMD_ZEROES = 6 };
enum { NBD_CMD_FUA = 1, NBD_CMD_NO_HOLE = 2 };
enum { NBD_EPERM = 1, NBD_EIO = 5, NBD_ENOMEM = 12, NBD_EINVAL = 22, NBD_ENOSPC = 28 };
enum { REQUEST_LEN = 28, REPLY_LEN = 16 };

#endif
