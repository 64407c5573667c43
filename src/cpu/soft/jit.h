// SPDX-License-Identifier: Apache-2.0
/*
 * jit.h - tier 1, the block translator: what the run loop and the interpreter
 * see of it
 *
 * Each vCPU has its own code cache and translation table, so translated code is
 * never shared between threads and needs no locks; a write to a frame that holds
 * code is posted to every vCPU.
 */
#ifndef CPU_SOFT_JIT_H
#define CPU_SOFT_JIT_H

#include "cpu/soft/vcpu.h"

/* v->jit; leaves it NULL where !cpu_soft_translates(). */
int jit_new(struct vcpu *v, struct err *e) MUST_CHECK;
void jit_free(struct vcpu *v);

/* On the vCPU's thread, before anything else: GS base, signal stack and handlers. */
void jit_thread_enter(struct vcpu *v);

/* May translated code run in the current mode (64-bit, no single-step, no breakpoints)? */
bool jit_usable(const struct vcpu *v);

/* Run translated code from s.rip until an event; X_OK or X_SHUTDOWN. */
int jit_run(struct vcpu *v);

/* A frame with code was written: by any thread / handled on the vCPU's own. */
void jit_post_code_write(struct vcpu *v, gpa_t gpa, u64 len);
void jit_take_code_writes(struct vcpu *v);

/*
 * With cfg.single_block or cfg.run_insns: instructions (and bounded chunks of REP) the last
 * jit_run() executed.
 */
u64 jit_retired(const struct vcpu *v);

/* Table entries of @v that let @frame be written: could there be any (any thread)? Drop them
 * (@v's thread, or @v is idle). */
bool jit_may_write(const struct vcpu *v, u64 frame);
void jit_protect_frame(struct vcpu *v, u64 frame);

/* -- perfmap.c ------------------------------------------------------------------------- */

void perfmap_flush(struct vcpu *v); /* with a translator: write what cfg.perf_fd has not got yet */

/* -- stats.c --------------------------------------------------------------------------- */

/* Counters as "name value" lines; returns the length needed. Any thread. */
size_t soft_stats(const struct vcpu *v, char *buf, size_t len);

/* -- soft.c ---------------------------------------------------------------------------- */

/* Any thread: set REQ_* bits and wake the vCPU if it sleeps. */
void soft_request(struct vcpu *v, u32 req);

#endif
