// SPDX-License-Identifier: Apache-2.0
/*
 * mem_file.h - a file in memory for an image to stand on, made for fuzzing
 *
 * Serves requests late and out of order, as the random numbers it is given say. One at a time.
 */
#ifndef FUZZ_MEM_FILE_H
#define FUZZ_MEM_FILE_H

#include "blk/blk_int.h"

#define MEM_FILE_MAX (16u << 20)

/*
 * Sparse images as bytes: the file's size, then pieces, each an offset, a length (both in
 * little endian, 32 and 16 bits) and that many bytes. What makes no sense is left out.
 */

/*
 * A node with the sparse image @p as its contents; blk_close() it. It has and gets at most @max
 * bytes, no more than MEM_FILE_MAX.
 */
struct blk *mem_file_open(struct loop *l, const u8 *p, size_t n, u64 max, u64 (*rnd)(void));
/* What is in the node opened last as a sparse image: its length, 0 if @cap is too small. */
size_t mem_file_pack(u8 *p, size_t cap);

#endif
