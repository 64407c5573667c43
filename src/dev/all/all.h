// SPDX-License-Identifier: Apache-2.0
/*
 * all.h - the one list of every device class
 *
 * What is listed is tested (all_test.c), fuzzed (tests/fuzz/dev_fuzz.c) and
 * known by name. A class that needs more than NULL to start has a maker in
 * dev/all/fake.h.
 */
#ifndef DEV_ALL_ALL_H
#define DEV_ALL_ALL_H

#include "dev/dev.h"

extern const struct dev_class *const dev_classes[]; /* NULL-terminated, by name */

/* Print d's state as "name=value" lines; returns the length needed. */
size_t dev_print(const struct dev *d, char *buf, size_t len);

#endif
