// SPDX-License-Identifier: Apache-2.0
/*
 * vmm.h - one virtual machine, from power-on to its end
 *
 * The machine is made by vm_new() from a configuration whose files are open
 * descriptors, runs inside vm_run() on the caller's thread (event loop) and one
 * thread per vCPU, and ends with one of enum vm_end.
 *
 * Locking. One board lock protects every device, the buses and struct vm. The
 * event loop holds it around its callbacks; a vCPU thread takes it for each
 * access outside RAM. See docs/decisions/0050-one-board-lock.md.
 */
#ifndef VMM_VMM_H
#define VMM_VMM_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

struct opener;
struct vm;
struct vm_config;

#define VM_VERSION "0.1"

enum vm_end {
	VM_RUNNING,
	VM_POWERED_OFF,  /* the guest asked for it */
	VM_STOPPED,      /* we were asked for it */
	VM_COMMAND_DONE, /* "-- CMD" ended; status is its own */
	VM_DEBUG_EXIT,   /* isa-debug-exit; status is (value << 1 | 1) & 0xff */
	VM_PANICKED,     /* pvpanic */
	VM_SHUTDOWN,     /* triple fault */
	VM_FAILED,       /* the engine or a back end cannot go on */
};

const char *vm_end_name(enum vm_end end); /* "powered-off" */

/* Exit statuses of vireo-vm and "vireo run" (docs/man/vireo.1). */
#define VM_STATUS_ERROR     1 /* could not start */
#define VM_STATUS_USAGE     2 /* bad command line */
#define VM_STATUS_PANIC     100
#define VM_STATUS_SHUTDOWN  101
#define VM_STATUS_FAILED    102
#define VM_STATUS_NO_RESULT 125 /* "-- CMD": it could not be run, or its result is unknown */

/* @c: borrowed; its descriptors are taken over, also on failure. c->restore: from a snapshot. */
struct vm *vm_new(struct vm_config *c, struct err *e) MUST_CHECK;

/*
 * Power on: the kernel is in memory, the vCPUs run, back ends are open. On the thread that
 * calls vm_run() next. After a failure only vm_free() may follow.
 */
int vm_start(struct vm *vm, struct err *e) MUST_CHECK;

/*
 * Run until the end, vm_start() first if that was not done.
 * Return: the exit status; *e is set if end is VM_FAILED.
 */
int vm_run(struct vm *vm, enum vm_end *ret_end, struct err *e) MUST_CHECK;

/* Names its devices connect to go through @o, borrowed. Between vm_new() and vm_start(). */
void vm_set_opener(struct vm *vm, struct opener *o);

void vm_free(struct vm *vm);

/* -- a running VM, from another thread (the API's) ------------------------------------
 *
 * From vm_start() until vm_free(), on any thread but the loop's and the vCPUs'. The
 * guest and its devices may keep the board lock and the vCPUs for a while: each call
 * waits VM_WAIT_MS at most, then fails with ETIMEDOUT. A VM that has ended fails them
 * with ESHUTDOWN.
 */
#define VM_WAIT_MS 5000

enum vm_state { VM_STATE_RUNNING, VM_STATE_PAUSED, VM_STATE_ENDED };

/*
 * vCPUs stand still outside guest code; devices finish what they have begun, clocks go on.
 * Both are no-ops if the VM is in that state already.
 */
int vm_pause(struct vm *vm, struct err *e) MUST_CHECK;
int vm_resume(struct vm *vm, struct err *e) MUST_CHECK;
int vm_get_state(struct vm *vm, enum vm_state *ret, struct err *e) MUST_CHECK;

/* What a VM is; strings live as long as it. Never waits. */
struct vm_info {
	const char *engine, *kernel;
	const char *parent; /* the VM this is a fork of, "" = of none */
	u32 nr_cpus, nr_disks, nr_nets;
	u64 memory;    /* bytes */
	u64 uptime_ms; /* since vm_start() */
};

void vm_get_info(const struct vm *vm, struct vm_info *ret);

/* What the engine counted for vCPU @cpu so far, as "name value" lines; returns the length needed,
 * 0 if it counts nothing. */
size_t vm_cpu_stats(const struct vm *vm, u32 cpu, char *buf, size_t len);

int vm_stop(struct vm *vm, struct err *e) MUST_CHECK; /* end it: VM_STOPPED, status 0 */
int vm_power_button(struct vm *vm, struct err *e) MUST_CHECK; /* ask the guest to shut down */

/* The board lock itself, for what is not listed here: devices' own functions. */
int vm_lock(struct vm *vm, struct err *e) MUST_CHECK;
void vm_unlock(struct vm *vm);

#endif
