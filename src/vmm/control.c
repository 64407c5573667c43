// SPDX-License-Identifier: Apache-2.0
/*
 * control.c - what other threads do to a running VM: pause, resume, end
 *
 * Every wait is bounded, so that whoever serves people never hangs behind a guest.
 */
#include "vmm/vmm_int.h"

#include <errno.h>
#include <string.h>

const char *vm_end_name(enum vm_end end)
{
	static const char *const name[] = {
		[VM_RUNNING] = "ended",         [VM_POWERED_OFF] = "powered-off",
		[VM_STOPPED] = "stopped",       [VM_COMMAND_DONE] = "command-ended",
		[VM_DEBUG_EXIT] = "debug-exit", [VM_PANICKED] = "panicked",
		[VM_SHUTDOWN] = "triple-fault", [VM_FAILED] = "failed",
	};

	return name[end];
}

void vm_set_opener(struct vm *vm, struct opener *o)
{
	vm->opener = o;
	vm->opener_borrowed = true;
}

static u64 deadline(void)
{
	return os_now_ns() + VM_WAIT_MS * 1000000ull;
}

static int lock_by(struct vm *vm, u64 by, struct err *e)
{
	const struct timespec t = { .tv_sec = (time_t)(by / 1000000000),
				    .tv_nsec = (long)(by % 1000000000) };
	int r = pthread_mutex_clocklock(&vm->lock, CLOCK_MONOTONIC, &t);

	if (r)
		return err_set(e, r, "VM: its devices are busy: %s", strerror(r));
	if (vm->end != VM_RUNNING || vm->quitting) {
		pthread_mutex_unlock(&vm->lock);
		return err_set(e, ESHUTDOWN, "VM: it has ended");
	}
	return 0;
}

int vm_lock(struct vm *vm, struct err *e)
{
	return lock_by(vm, deadline(), e);
}

void vm_unlock(struct vm *vm)
{
	pthread_mutex_unlock(&vm->lock);
}

int vm_pause(struct vm *vm, struct err *e)
{
	u64 by = deadline();
	int r = 0;

	TRY(lock_by(vm, by, e));
	if (!vm->paused) {
		vm->paused = vcpus_pause_by(vm, by);
		if (!vm->paused)
			r = err_set(e, ETIMEDOUT, "VM: a vCPU does not stop");
	}
	vm_unlock(vm);
	return r;
}

int vm_resume(struct vm *vm, struct err *e)
{
	TRY(vm_lock(vm, e));
	if (vm->paused) {
		vm->paused = false;
		vm_tell_guest(vm);
		vcpus_resume(vm);
	}
	vm_unlock(vm);
	return 0;
}

int vm_get_state(struct vm *vm, enum vm_state *ret, struct err *e)
{
	struct err why = { 0 };
	int r = vm_lock(vm, &why);

	if (r == -ESHUTDOWN) {
		*ret = VM_STATE_ENDED;
		return 0;
	}
	if (r) {
		*e = why;
		return r;
	}
	*ret = vm->paused ? VM_STATE_PAUSED : VM_STATE_RUNNING;
	vm_unlock(vm);
	return 0;
}

void vm_get_info(const struct vm *vm, struct vm_info *ret)
{
	*ret = (struct vm_info){
		.engine = vm->engine->name,
		.kernel = vm->cfg->kernel.path,
		.parent = vm->cfg->parent,
		.nr_cpus = vm->cfg->nr_cpus,
		.nr_disks = vm->cfg->nr_disks,
		.nr_nets = vm->cfg->nr_nets,
		.memory = vm->cfg->memory,
		.uptime_ms = (os_now_ns() - vm->start_ns) / 1000000,
	};
}

size_t vm_cpu_stats(const struct vm *vm, u32 cpu, char *buf, size_t len)
{
	if (cpu >= vm->cfg->nr_cpus || !vm->cpu[cpu].v || !vm->engine->stats)
		return 0;
	return vm->engine->stats(vm->cpu[cpu].v, buf, len);
}

int vm_stop(struct vm *vm, struct err *e)
{
	TRY(vm_lock(vm, e));
	vm_end(vm, VM_STOPPED, 0);
	vm_unlock(vm);
	return 0;
}

int vm_power_button(struct vm *vm, struct err *e)
{
	TRY(vm_lock(vm, e));
	pmacpi_power_button(vm->pm);
	vm_unlock(vm);
	return 0;
}
