// SPDX-License-Identifier: Apache-2.0
/* api.c - the API thread and the thread that runs the VM: see api.h */
#include "api/api.h"

#include "api/api_int.h"
#include "base/log.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* -- making --------------------------------------------------------------------------------- */

/* Keys of bodies go into hash tables; jansson would read its seed from a file by name. */
static void seed_json(void)
{
	size_t seed = 0;

	if (getrandom(&seed, sizeof seed, 0) == sizeof seed)
		json_object_seed(seed);
}

struct api *api_new(const struct api_opts *o, struct err *e)
{
	struct api *a = calloc(1, sizeof *a);

	if (!a || !(a->start = calloc(1, sizeof *a->start))) {
		free(a);
		err_set(e, ENOMEM, "API: out of host memory");
		return NULL;
	}
	seed_json();
	a->opts = *o;
	a->log_fd = o->firecracker ? STDOUT_FILENO : -1;
	a->metrics.fd = -1;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	fc_init(&a->fc);
	a->server = server_new(a, o->listen_fd, o->max_payload, e);
	if (!a->server) {
		api_free(a);
		return NULL;
	}
	return a;
}

void api_free(struct api *a)
{
	if (!a)
		return;
	server_free(a->server);
	if (a->metrics.fd >= 0)
		metrics_flush(&a->metrics, a->opts.id);
	fc_fini(&a->fc);
	fd_close(&a->metrics.fd);
	json_decref(a->metrics.properties);
	pthread_mutex_destroy(&a->lock);
	pthread_cond_destroy(&a->changed);
	free(a->start);
	free(a);
}

static u64 clock_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (u64)t.tv_sec * 1000000 + (u64)t.tv_nsec / 1000;
}

int api_listen(struct api *a, bool starting, struct err *e)
{
	const struct api_opts *o = &a->opts;

	if (starting)
		a->state = WANTED;
	TRY(server_start(a->server, e));
	if (o->start_us)
		a->metrics.startup_us = clock_us(CLOCK_MONOTONIC) - o->start_us;
	a->metrics.startup_cpu_us = clock_us(CLOCK_PROCESS_CPUTIME_ID) - o->start_cpu_us +
				    o->parent_cpu_us;
	return 0;
}

void api_tick(struct api *a)
{
	if (a->metrics.fd >= 0 && !metrics_flush(&a->metrics, a->opts.id))
		log_warn("metrics: a line was lost");
}

/* -- the hand-over ---------------------------------------------------------------------------- */

static void set_state(struct api *a, enum handover s)
{
	a->state = s;
	pthread_cond_broadcast(&a->changed);
}

int api_request_start(struct api *a, struct err *e)
{
	int r = 0;

	pthread_mutex_lock(&a->lock);
	set_state(a, WANTED);
	while (a->state == WANTED)
		pthread_cond_wait(&a->changed, &a->lock);
	if (a->state != RUNS) {
		*e = a->start_err;
		r = -e->code;
	}
	pthread_mutex_unlock(&a->lock);
	return r;
}

void api_request_end(struct api *a)
{
	pthread_mutex_lock(&a->lock);
	a->fatal = true;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

struct vm_config *api_wait_start(struct api *a, const struct snapshot_load **load)
{
	bool fatal;

	pthread_mutex_lock(&a->lock);
	while (a->state != WANTED && !a->fatal)
		pthread_cond_wait(&a->changed, &a->lock);
	fatal = a->fatal;
	pthread_mutex_unlock(&a->lock);
	*load = a->loading ? &a->load : NULL;
	return fatal ? NULL : a->start;
}

void api_started(struct api *a, struct vm *vm, const struct err *e)
{
	pthread_mutex_lock(&a->lock);
	a->vm = vm;
	if (e)
		a->start_err = *e;
	if (vm && !vm_lock(vm, &a->start_err)) { /* before the guest can have asked for it */
		if (fc_send_mmds(&a->fc, vm, &a->start_err))
			log_error("%s", a->start_err.msg);
		vm_unlock(vm);
	}
	set_state(a, vm ? RUNS : IDLE);
	pthread_mutex_unlock(&a->lock);
}

void api_ended(struct api *a)
{
	pthread_mutex_lock(&a->lock);
	a->vm = NULL;
	set_state(a, GONE);
	pthread_mutex_unlock(&a->lock);
}

struct vm *api_vm(struct api *a, struct err *e)
{
	pthread_mutex_lock(&a->lock);
	while (a->state == WANTED)
		pthread_cond_wait(&a->changed, &a->lock);
	if (a->state == RUNS)
		return a->vm;
	err_set(e, ESHUTDOWN, a->state == GONE ? "VM: it has ended" : "VM: it was not started");
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

void api_release(struct api *a)
{
	pthread_mutex_unlock(&a->lock);
}

struct vm *api_lock_vm(struct api *a, struct err *e)
{
	struct vm *vm = api_vm(a, e);

	if (vm && vm_lock(vm, e)) {
		api_release(a);
		return NULL;
	}
	return vm;
}

void api_unlock_vm(struct api *a, struct vm *vm)
{
	vm_unlock(vm);
	api_release(a);
}

int api_state(struct api *a, unsigned *ret, struct err *e)
{
	enum vm_state s = VM_STATE_RUNNING;
	int r = 0;

	pthread_mutex_lock(&a->lock);
	while (a->state == WANTED)
		pthread_cond_wait(&a->changed, &a->lock);
	if (a->state == RUNS)
		r = vm_get_state(a->vm, &s, e);
	if (!r && (a->state == GONE || s == VM_STATE_ENDED))
		r = err_set(e, ESHUTDOWN, "The VM has ended.");
	if (!r)
		*ret = a->state != RUNS ? IN_BEFORE : s == VM_STATE_PAUSED ? IN_PAUSED : IN_RUNNING;
	pthread_mutex_unlock(&a->lock);
	return r;
}
