// SPDX-License-Identifier: Apache-2.0
/*
 * snapshot.h - a machine in two files, and back (docs/snapshot-format.md)
 *
 * The state file is small and holds everything but RAM, in named and checksummed
 * sections; the memory file is RAM, page by page, with holes where it is zero. Both
 * are hostile input. A difference has in its memory file only the pages written since
 * the snapshot before; laid over that one's memory file they make a full one.
 *
 * Order of a load: snapshot_read_config() says what files the machine uses, the caller
 * opens them into the configuration, vm_new_from_snapshot() makes the machine, then
 * vm_start() and vm_run() as after vm_new().
 */
#ifndef VMM_SNAPSHOT_H
#define VMM_SNAPSHOT_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#define SNAPSHOT_VERSION 1 /* of the state file */

struct opener;
struct vm;
struct vm_config;

/* -- saving -------------------------------------------------------------------------- */

struct snapshot_save {
	int state_fd; /* empty files, open for reading and writing; borrowed */
	int mem_fd;   /* a difference may be laid over a full memory file: that file */
	bool diff;    /* pages written since the last snapshot or the load */
	bool sync;    /* the files are on stable storage at the return */
	/*
	 * The machine goes on above mem_fd, which must not change any more; *ret_base as
	 * mem_freeze() sets it. NULL: it goes on as it is.
	 */
	int *ret_base;
	/*
	 * An empty file for each disk in snapshot mode, in their order: what was written
	 * there (blk_save_layer()). Fewer than there are disks: ENOTSUP.
	 */
	const int *layer_fd;
	unsigned nr_layers;
};

/*
 * Save a paused machine (vm_pause()), which stays paused. Requests to disks in flight are
 * finished first. Fails with EBUSY if it runs, ENOTSUP if it cannot be saved, with a
 * sentence. On failure the files hold nothing of value; the machine can go on.
 * Context: any thread but the loop's and the vCPUs'; waits for the disk.
 */
int vm_snapshot_save(struct vm *vm, const struct snapshot_save *o, struct err *e) MUST_CHECK;

/* -- loading -------------------------------------------------------------------------- */

enum snapshot_backend {
	SNAPSHOT_MEM_FILE, /* the memory file, mapped copy-on-write and never written */
	SNAPSHOT_MEM_UFFD, /* a page handler at the other end of a Unix stream socket */
};

struct snapshot_load {
	int state_fd; /* borrowed */
	enum snapshot_backend backend;
	int mem_fd;   /* memory file, or connected socket; borrowed */
	int over_fd;  /* pages to lay over the memory file (mem_freeze()); -1 = none; borrowed */
	int pages_fd; /* SNAPSHOT_MEM_FILE: which pages are used first (mem_save_touched()); -1 = unknown */
	unsigned learn_s; /* not 0: it is empty, and gets that so many seconds after vm_start() */
	int uffd_dev; /* SNAPSHOT_MEM_UFFD in a jail: /dev/userfaultfd; 0 = opened here */
	bool track_dirty;    /* a difference may be saved later */
	bool verify;	     /* memory file: compare with the checksum in the state file */
	bool advance_clocks; /* the guest's clocks go on as if it had run: wall clock right */
	bool paused;	     /* vm_start() leaves it paused */
};

/* The machine's configuration: names, no descriptors. @c has been through cfg_init(). */
int snapshot_read_config(int state_fd, struct vm_config *c, struct err *e) MUST_CHECK;

/*
 * vm_new() with the machine as it was saved. @c as snapshot_read_config() left it, with
 * files opened; borrowed, its descriptors are taken over, also on failure.
 */
struct vm *vm_new_from_snapshot(struct vm_config *c, const struct snapshot_load *o,
				struct err *e) MUST_CHECK;

/* -- names ------------------------------------------------------------------------------
 *
 * A snapshot is replaced as a whole: its files are written beside their final names
 * (NAME.new) and renamed when they are complete; the rename of the state file to STATE.new
 * is what decides. Killed at any moment, the names lead to the old snapshot or to the new
 * one: snapshot_open() takes STATE.new if it is there, with NAME.new or, that renamed
 * already, NAME for each other file.
 */
#define SNAPSHOT_FILES 16

struct snapshot_files {
	struct opener *opener;		  /* who opens them (os/opener.h); NULL = this process */
	const char *path[SNAPSHOT_FILES]; /* state file, memory file, layers; borrowed */
	int fd[SNAPSHOT_FILES];		  /* -1 = not open */
	unsigned nr;
};

/* Make the temporaries. @over: the memory file starts as a copy of the one that is there. */
int snapshot_create(struct snapshot_files *f, bool over, struct err *e) MUST_CHECK;
/* Closes them. Layers that stayed empty are removed, as is what an earlier snapshot had there. */
int snapshot_commit(struct snapshot_files *f, struct err *e) MUST_CHECK;
void snapshot_abandon(struct snapshot_files *f);

/* Open for loading; a layer may be missing. */
int snapshot_open(struct snapshot_files *f, struct err *e) MUST_CHECK;
void snapshot_close(struct snapshot_files *f);

#endif
