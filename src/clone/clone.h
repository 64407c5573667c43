// SPDX-License-Identifier: Apache-2.0
/*
 * clone.h - machines made of machines: "vireo snapshot", "restore", "fork", "tree"
 *
 * A snapshot is a directory of the files of vmm/snapshot.h: "state", "memory", and
 * "disk-N.layer" for the Nth disk in snapshot mode. A fork is the same without names:
 * the running machine is saved into memory files, goes on above them, and each copy is a
 * "vireo restore" of its own that maps them.
 */
#ifndef CLONE_CLONE_H
#define CLONE_CLONE_H

#include "base/compiler.h"
#include "base/err.h"
#include "cfg/cfg.h"

/*
 * Words after "vireo restore": fills @c (cfg_init() done) from the snapshot and the options,
 * with the snapshot's files open in it. -EINVAL: the words are wrong.
 */
int clone_parse_restore(struct vm_config *c, int argc, char **argv, struct err *e) MUST_CHECK;
void clone_restore_help(void);

/* Words after the command. */
int clone_snapshot_main(int argc, char **argv);
/* @restore: what "vireo restore" does, in the process of each copy. */
int clone_fork_main(int argc, char **argv, int (*restore)(int argc, char **argv));
int clone_tree_main(int argc, char **argv);

#endif
