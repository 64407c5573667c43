// SPDX-License-Identifier: Apache-2.0
/*
 * vm.c - the life of a virtual machine: made, powered on, reset in place, ended
 */
#include "base/bits.h"
#include "blk/image.h"
#include "cpu/x86_state.h"
#include "net/net.h"
#include "os/opener.h"
#include "vmm/agent.h"
#include "vmm/notice.h"
#include "vmm/snapshot.h"
#include "vmm/vmm_int.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <x86intrin.h>

/* -- what is said ----------------------------------------------------------------------- */

void vm_event(struct vm *vm, const char *name)
{
	if (vm->cfg->json)
		dprintf(STDERR_FILENO, "{\"event\":\"%s\",\"vm\":\"%s\"}\n", name, vm->cfg->name);
}

void vm_say(const struct vm *vm, u32 level, const char *fmt, ...)
{
	va_list ap;

	if (vm->cfg->verbose < level)
		return;
	fputs("vireo: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* -- ends --------------------------------------------------------------------------------- */

void vm_end(struct vm *vm, enum vm_end end, int status)
{
	if (vm->end != VM_RUNNING)
		return;
	vm->end = end;
	vm->status = status;
	loop_stop(vm->loop);
}

void vm_fail(struct vm *vm, const struct err *e)
{
	if (vm->end == VM_RUNNING)
		vm->end_err = *e;
	vm_end(vm, VM_FAILED, VM_STATUS_FAILED);
}

static void on_signal(struct watch *w, u32 events UNUSED)
{
	struct vm *vm = container_of(w, struct vm, signals);
	struct signalfd_siginfo si;

	if (read(w->fd, &si, sizeof si) != sizeof si)
		return;
	if (si.ssi_signo == SIGWINCH && vm->agent)
		agent_resize(vm->agent);
	else if (si.ssi_signo != SIGWINCH)
		vm_end(vm, VM_STOPPED, 128 + (int)si.ssi_signo);
}

static void on_quit(void *vm)
{
	vm_end(vm, VM_STOPPED, 0);
}

static void command_done(void *vm, int status)
{
	vm_end(vm, VM_COMMAND_DONE, status);
}

static void net_gone(void *vm)
{
	vm_say(vm, 0, "net: the user-mode network helper ended: the guest's link is down");
}

static void tap_gone(void *vm)
{
	vm_say(vm, 0, "net: the TAP interface was removed: the guest's link is down");
}

size_t vm_random(struct vm *vm, void *buf, size_t len)
{
	ssize_t n;

	if (vm->virt) {
		for (size_t k = 0; k < len; k++)
			((u8 *)buf)[k] = (u8)(cpu_virtual_random(vm->virt) >> 56);
		return len;
	}
	n = getrandom(buf, len, GRND_NONBLOCK);
	return n < 0 ? 0 : (size_t)n;
}

/* -- power on and reset ---------------------------------------------------------------------- */

static bool read_fd(const struct fw_file *f, u64 off, void *dst, size_t len)
{
	return fd_pread_full(f->fd, dst, len, off) == 0;
}

static int open_file(const struct cfg_file *c, const char *what, struct fw_file *ret, struct err *e)
{
	struct stat st;

	if (c->fd < 0 || fstat(c->fd, &st) < 0)
		return err_set(e, EBADF, "%s: not open", what);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s: %s: not a regular file", what, c->path);
	*ret = (struct fw_file){
		.name = c->path, .args = c->args, .size = (u64)st.st_size, .read = read_fd, .fd = c->fd
	};
	return 0;
}

static int load_kernel(struct vm *vm, struct x86_state *s, struct err *e)
{
	struct fw_file kernel, module[CFG_INITRDS];
	char cmdline[sizeof vm->cfg->cmdline];
	struct fw_map map;
	struct fw_boot b = {
		.kernel = &kernel,
		.module = module,
		.nr_modules = vm->cfg->nr_initrds,
		.cmdline = cmdline,
		.map = &map,
	};

	strcpy(cmdline, vm->cfg->cmdline);
	TRY(board_mmio_cmdline(vm, cmdline, sizeof cmdline, e));
	TRY(open_file(&vm->cfg->kernel, "kernel", &kernel, e));
	for (u32 i = 0; i < b.nr_modules; i++)
		TRY(open_file(&vm->cfg->initrd[i], "initrd", &module[i], e));
	if (vm_random(vm, b.seed, sizeof b.seed) != sizeof b.seed)
		return err_set(e, EIO, "random numbers: the host has none");
	fw_memory_map(vm->mem, &vm->board, &map);
	TRY(fw_load_kernel(vm->mem, &b, s, e));
	TRY(fw_build_bda(vm->mem, &vm->board, e));
	TRY(fw_build_acpi(vm->mem, &vm->board, e));
	TRY(board_new_generation(vm, false, e));
	return fw_build_smbios(vm->mem, &vm->board, e);
}

/* The processor starts as the reset left it, at the firmware's last bytes. */
static int load_firmware(struct vm *vm, struct err *e)
{
	struct fw_file f;

	TRY(open_file(&vm->cfg->firmware, "firmware", &f, e));
	return fw_load_firmware(vm->mem, &f, e);
}

int vm_power_on(struct vm *vm, struct err *e)
{
	const u64 tsc_offset = 0 - (vm->virt ? vm->virt->tsc : __rdtsc()); /* the guest's counters start at 0, together */
	struct x86_state s;

	board_reset(vm);
	TRY(board_assign_pci(vm, e));
	for (unsigned i = 0; i < vm->cfg->nr_cpus; i++) {
		x86_state_reset(&s, i == 0);
		s.tsc_offset = vm->cpu[i].tsc_offset = tsc_offset;
		if (i == 0)
			TRY(vm->cfg->firmware.fd >= 0 ? load_firmware(vm, e) :
							load_kernel(vm, &s, e));
		TRY(vm->engine->set_state(vm->cpu[i].v, &s, e));
	}
	return chips_load(vm, e);
}

static void do_reset(struct task *t)
{
	struct vm *vm = container_of(t, struct vm, reset_task);
	struct err e = { 0 };

	if (vm->end != VM_RUNNING)
		return;
	if (vm->cfg->reset_is_end) {
		vm_end(vm, VM_POWERED_OFF, 0);
		return;
	}
	if (vm->agent) {
		err_set(&e, EIO, "the guest restarted before the command's result came");
		vm_fail(vm, &e);
		return;
	}
	vcpus_pause(vm);
	notice_reset(vm->notice);
	for (u32 i = 0; i < vm->cfg->nr_disks; i++)
		blk_drain(vm->blk[i]);
	if (vm_power_on(vm, &e))
		vm_fail(vm, &e);
	vm_event(vm, "reset");
	vcpus_resume(vm);
}

void vm_request_reset(struct vm *vm)
{
	loop_post(vm->loop, &vm->reset_task);
}

/* -- making --------------------------------------------------------------------------------------
 */

static void lock_board(void *vm)
{
	pthread_mutex_lock(&((struct vm *)vm)->lock);
}

static void unlock_board(void *vm)
{
	pthread_mutex_unlock(&((struct vm *)vm)->lock);
}

static int choose_engine(struct vm *vm, struct err *e)
{
	if (vm->cfg->engine == CFG_ENGINE_KVM && vm->cfg->kvm_fd < 0)
		return err_set(e, EBADF, "--engine kvm: /dev/kvm is not open");
	vm->engine = vm->cfg->engine == CFG_ENGINE_KVM ? &cpu_kvm : &cpu_soft;
	if (!vm->engine->chips) /* what a snapshot of it says: its guest knows our I/O APIC */
		vm->cfg->irqchip = CFG_IRQCHIP_SPLIT;
	vm_say(vm, 1, "engine: %s%s", vm->engine->name, vm->cfg->interpret ? ", interpreter only" : "");
	if (vm->engine == &cpu_soft && !vm->cfg->interpret && !cpu_soft_translates())
		vm_say(vm, 0, "engine: this host has no BMI2 or no WRGSBASE: the guest is interpreted, and slow");
	return 0;
}

static int open_serial(struct vm *vm, struct err *e)
{
	const char *spec = vm->cfg->serial;

	vm->serial_opts = (struct chr_opts){ .quit = on_quit, .ctx = vm };
	if (vm->cfg->serial_fd >= 0 && !strncmp(spec, "unix:", 5))
		vm->serial = chr_open_listener(vm->loop, vm->cfg->serial_fd, spec + 5, e);
	else if (vm->cfg->serial_fd >= 0)
		vm->serial = chr_open_fds(vm->loop, -1, vm->cfg->serial_fd, e);
	else
		vm->serial = chr_open(vm->loop, spec, &vm->serial_opts, e);
	if (!vm->serial)
		return err_wrap(e, "--serial");
	if (!strcmp(spec, "pty"))
		vm_say(vm, 0, "serial: %s", vm->serial_opts.path);
	return 0;
}

static int open_net_queues(struct vm *vm, u32 i, struct err *e)
{
	const struct net_config *n = &vm->cfg->net[i];

	for (u32 k = 0; k < n->nr_queues; k++) {
		vm->net_queue[i][k] = net_open_tap(vm->loop, NULL, n->queue[k].fd, NULL, NULL, e);
		if (!vm->net_queue[i][k])
			return err_wrap(e, "--net");
	}
	return 0;
}

static int open_nets(struct vm *vm, struct err *e)
{
	for (u32 i = 0; i < vm->cfg->nr_nets; i++) {
		struct net_config *n = &vm->cfg->net[i];

		if (n->kind == CFG_NET_USER)
			vm->net[i] = net_open_user(vm->loop, n->fd, net_gone, vm, e);
		else if (n->kind == CFG_NET_TAP)
			vm->net[i] = net_open_tap(vm->loop, NULL, n->fd, tap_gone, vm, e);
		else
			continue;
		if (!vm->net[i])
			return err_wrap(e, "--net");
		TRY(open_net_queues(vm, i, e));
	}
	return 0;
}

static int open_agent(struct vm *vm, struct err *e)
{
	const struct agent_cfg c = {
		.loop = vm->loop,
		.command = vm->cfg->command,
		.nr_command = vm->cfg->nr_command,
		.done = command_done,
		.quit = on_quit,
		.ctx = vm,
	};

	if (vm->cfg->nr_command) {
		vm->agent = agent_new(&c, e);
		return vm->agent ? 0 : -e->code;
	}
	vm->notice = vm->cfg->agent ? notice_new(e) : NULL;
	return vm->notice || !vm->cfg->agent ? 0 : -e->code;
}

static int watch_signals(struct vm *vm, struct err *e)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH };

	vm->signals = (struct watch){ .fd = fd_signalfd(sigs, array_len(sigs)), .fn = on_signal };
	if (vm->signals.fd < 0)
		return err_set(e, -vm->signals.fd, "signals: %s", strerror(-vm->signals.fd));
	return loop_watch(vm->loop, &vm->signals, EPOLLIN, e);
}

static int make_engine(struct vm *vm, struct err *e)
{
	const struct cpu_config c = vm_cpu_config(vm);

	vm_warn_cpuid(&c);
	vm->cpu_vm = vm->engine->vm_new(&c, e);
	return vm->cpu_vm ? 0 : -e->code;
}

/* What needs the host: descriptors, memory, clocks, the engine. */
static int make_outside(struct vm *vm, const struct vm_preset *p, struct err *e)
{
	TRY(choose_engine(vm, e));
	vm->loop = loop_new(e);
	if (!vm->loop)
		return -e->code;
	vm->clock = loop_clock(vm->loop);
	if (p)
		loop_set_clock(vm->loop, p->clock_ns);
	loop_set_lock(vm->loop, lock_board, unlock_board, vm);
	TRY(watch_signals(vm, e));
	if (p && p->pager_uffd >= 0)
		TRY(pager_watch(vm, p->pager_fd, p->pager_uffd, e));
	TRY(memory_new(vm, e));
	if (!p && vm->cfg->track_dirty && mem_track(vm->mem))
		vm_say(vm, 1, "memory: the host cannot say what was written: "
			      "differences are as large as the whole");
	TRY(open_serial(vm, e));
	TRY(open_nets(vm, e));
	TRY(open_agent(vm, e));
	TRY(ends_open(vm, e));
	return make_engine(vm, e);
}

/* What images and guests may have prepared is looked at in the jail. */
static int make(struct vm *vm, const struct vm_preset *p, struct err *e)
{
	TRY(make_outside(vm, p, e));
	TRY(vm_confine(vm, e));
	TRY(disks_open(vm, e));
	TRY(board_new(vm, e));
	return vcpus_new(vm, e);
}

struct vm *vm_new(struct vm_config *c, struct err *e)
{
	const struct restore_config *r = &c->restore;
	const struct snapshot_load o = {
		.state_fd = r->state_fd,
		.backend = r->uffd ? SNAPSHOT_MEM_UFFD : SNAPSHOT_MEM_FILE,
		.mem_fd = r->mem_fd,
		.over_fd = r->over_fd,
		.pages_fd = r->pages_fd,
		.learn_s = r->learn_s,
		.track_dirty = c->track_dirty,
		.verify = r->verify,
		.advance_clocks = !r->keep_clocks,
		.paused = r->paused,
	};

	return r->state_fd < 0 ? vm_new_preset(c, NULL, e) : vm_new_from_snapshot(c, &o, e);
}

struct vm *vm_new_preset(struct vm_config *c, const struct vm_preset *p, struct err *e)
{
	struct vm *vm = calloc(1, sizeof *vm);

	if (!vm) {
		mem_free(p ? p->mem : NULL);
		err_set(e, ENOMEM, "VM: out of host memory");
		return NULL;
	}
	vm->cfg = c;
	vm->made_ns = os_now_ns();
	vm->made_cpu_ns = os_cpu_ns();
	vm->mem = p ? p->mem : NULL;
	vm->pager_uffd = vm->prefetch.fd = -1;
	vm->signals.fd = -1;
	vm->reset_task.fn = do_reset;
	for (unsigned i = 0; i < PC_MAX_CPUS; i++)
		vm->cpu[i] = (struct vm_cpu){ .vm = vm, .index = i };
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->parked, NULL);
	pthread_cond_init(&vm->resumed, NULL);
	if (make(vm, p, e)) {
		vm_free(vm);
		return NULL;
	}
	return vm;
}

static void say_ready(struct vm *vm)
{
	if (vm->cfg->ready_fd >= 0 && write(vm->cfg->ready_fd, "", 1) != 1)
		vm_say(vm, 1, "nobody waits for the start");
	fd_close(&vm->cfg->ready_fd);
}

void vm_tell_guest(struct vm *vm)
{
	if (vm->untold)
		notice_send(vm);
	vm->untold = false;
}

static void start_back_ends(struct vm *vm)
{
	chr_start(vm->serial);
	for (u32 i = 0; i < vm->cfg->nr_nets; i++) {
		if (vm->net[i])
			net_start(vm->net[i]);
		for (u32 k = 0; k < vm->cfg->net[i].nr_queues; k++)
			net_start(vm->net_queue[i][k]);
	}
	if (vm->agent)
		agent_start(vm->agent);
}

/* -v -v: what the engine counted. The vCPUs have stopped. */
static void say_stats(struct vm *vm)
{
	char text[4096];

	for (u32 i = 0; i < vm->cfg->nr_cpus && vm->engine->stats; i++) {
		if (!vm->cpu[i].v || !vm->engine->stats(vm->cpu[i].v, text, sizeof text))
			continue;
		for (char *save, *line = strtok_r(text, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save))
			vm_say(vm, 2, "cpu %u: %s", i, line);
	}
}

int vm_start(struct vm *vm, struct err *e)
{
	int r;

	lock_board(vm);
	r = vm->restored ? 0 : vm_power_on(vm, e);
	if (!r)
		r = vcpus_start(vm, e);
	if (!r)
		r = prefetch_start(vm, e);
	if (!r) /* the vCPUs wait for the lock: no guest has run yet */
		r = jail_thread(JAIL_LOOP, e);
	if (!r) {
		start_back_ends(vm);
		if (vm->restored)
			board_resume(vm);
		if (!vm->paused)
			vm_tell_guest(vm);
		vm->powered = true;
		vm->start_ns = os_now_ns();
	}
	unlock_board(vm);
	if (!r) {
		vm_event(vm, "started");
		say_ready(vm);
	}
	return r;
}

int vm_run(struct vm *vm, enum vm_end *ret_end, struct err *e)
{
	if ((!vm->powered && vm_start(vm, &vm->end_err)) ||
	    jail_thread(JAIL_LOOP, &vm->end_err)) {
		vm->end = VM_FAILED;
		vm->status = VM_STATUS_ERROR;
	}
	if (vm->end == VM_RUNNING)
		loop_run(vm->loop);
	vcpus_stop(vm);
	prefetch_stop(vm);
	if (vm->cfg->verbose >= 2)
		say_stats(vm);
	if (vm->agent && vm->end == VM_POWERED_OFF) {
		err_set(&vm->end_err, EIO,
			"the guest powered off before the command's result came");
		vm->end = VM_FAILED;
		vm->status = VM_STATUS_NO_RESULT;
	}
	if (vm->end == VM_COMMAND_DONE && agent_flush(vm->agent, &vm->end_err)) {
		vm->end = VM_FAILED;
		vm->status = VM_STATUS_NO_RESULT;
	}
	if (vm->end == VM_FAILED)
		*e = vm->end_err;
	*ret_end = vm->end;
	return vm->status;
}

/* The reverse of make(). */
void vm_free(struct vm *vm)
{
	prefetch_stop(vm);
	vcpus_free(vm);
	if (vm->cpu_vm)
		vm->engine->vm_free(vm->cpu_vm);
	vm->cpu_vm = NULL;
	disks_stop(vm);
	board_free(vm);
	doorbells_free(vm);
	agent_free(vm->agent);
	notice_free(vm->notice);
	ends_close(vm);
	memory_close(vm);
	for (u32 i = 0; i < vm->cfg->nr_nets; i++) {
		net_close(vm->net[i]);
		for (u32 k = 0; k < vm->cfg->net[i].nr_queues; k++)
			net_close(vm->net_queue[i][k]);
	}
	disks_close(vm);
	chr_close(vm->serial);
	pager_end(vm);
	mem_free(vm->mem);
	if (vm->loop) {
		loop_unwatch(vm->loop, &vm->signals);
		loop_cancel(vm->loop, &vm->reset_task);
		loop_free(vm->loop);
	}
	fd_close(&vm->signals.fd);
	if (!vm->opener_borrowed)
		opener_stop(vm->opener);
	pthread_cond_destroy(&vm->parked);
	pthread_cond_destroy(&vm->resumed);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}
