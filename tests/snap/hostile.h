// SPDX-License-Identifier: Apache-2.0
/* hostile.h - see hostile.c; each returns how many were neither refused nor right */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "base/types.h"

unsigned hostile_flips(int state, int mem); /* a bit of every byte in turn */
unsigned hostile_cuts(int state, int mem);  /* at every length */
unsigned hostile_memory_sizes(int state, int mem);
/* Changed behind the checksum: must not crash or hang. Return: 0 */
unsigned hostile_mutants(int state, int mem, unsigned count, u64 seed, unsigned *ret_loaded);

#endif
