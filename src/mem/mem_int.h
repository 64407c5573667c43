// SPDX-License-Identifier: Apache-2.0
/* mem_int.h - between mem.c and mem_file.c */
#ifndef MEM_MEM_INT_H
#define MEM_MEM_INT_H

#include "mem/mem.h"

/* The file RAM is a private mapping of, -1 if it is anonymous. */
int mem_file(const struct mem *m);

/* The descriptor that keeps the notes of what was written; -1 = all pages count as written. */
void mem_set_tracker(struct mem *m, int fd);

/* All of [p, p + len) at offset @at of @fd. */
int mem_write_file(int fd, const u8 *p, u64 len, u64 at) MUST_CHECK;

/* /proc/self/pagemap, -1 if it is not to be had. */
int mem_pagemap(void);

/*
 * Put RAM on top of @fd, which holds the same bytes, as mem_new_file() does. Return: 0 or a
 * negative errno; if the first piece cannot be mapped, RAM is as before.
 */
int mem_refile(struct mem *m, int fd) MUST_CHECK;

#endif
