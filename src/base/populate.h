// SPDX-License-Identifier: Apache-2.0
/* populate.h - madvise() that brings pages: Linux 5.14, newer than the headers of Debian 12's libc */
#ifndef BASE_POPULATE_H
#define BASE_POPULATE_H

#include <sys/mman.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#endif
