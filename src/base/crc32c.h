// SPDX-License-Identifier: Apache-2.0
/* crc32c.h - CRC-32C (Castagnoli), as iSCSI and the processor's CRC32 instruction compute it */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "base/types.h"

/* Continue @crc (0 at the start) over @len bytes. Any thread. */
u32 crc32c(u32 crc, const void *buf, size_t len);

#endif
