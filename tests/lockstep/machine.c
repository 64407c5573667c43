// SPDX-License-Identifier: Apache-2.0
/*
 * machine.c - one machine outside of real time: board, vCPU, clock, serial line
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/soft/jit.h"
#include "dev/dev.h"
#include "lockstep.h"

#define CLOCK_ORIGIN 1000000000ull /* clock_fake_init() */

static size_t serial_write(struct chr *c, const void *buf, size_t len)
{
	struct machine *m = container_of(c, struct machine, serial);

	if (len > OUT_MAX - m->nr_out)
		len = OUT_MAX - m->nr_out;
	memcpy(m->out + m->nr_out, buf, len);
	m->nr_out += len;
	return len;
}

static void serial_can_receive(struct chr *c)
{
	(void)c; /* machine_type() tries again */
}

void machine_type(struct machine *m)
{
	if (m->input && *m->input)
		m->input += m->serial.receive(m->serial.dev, m->input, strlen(m->input));
}

void machine_advance(struct machine *m)
{
	u64 now = CLOCK_ORIGIN + (u64)((unsigned __int128)m->virt.tsc * 1000000 / cpu_tsc_khz());

	if (now > m->clock.now_ns)
		clock_fake_advance(&m->clock, now - m->clock.now_ns);
}

void machine_wait(struct machine *m)
{
	u64 when = ~0ull;

	for (unsigned k = 0; k < m->clock.nr; k++)
		if (m->clock.armed[k]->when_ns < when)
			when = m->clock.armed[k]->when_ns;
	if (when == ~0ull)
		when = m->clock.now_ns + 1000000;
	if (when > m->clock.now_ns)
		m->virt.tsc = (u64)(((unsigned __int128)(when - CLOCK_ORIGIN) * cpu_tsc_khz() +
				     999999) / 1000000);
	machine_advance(m);
}

static bool open_file(struct cfg_file *f, const char *path)
{
	snprintf(f->path, sizeof f->path, "%s", path);
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (f->fd < 0)
		fprintf(stderr, "lockstep: %s: cannot open\n", path);
	return f->fd >= 0;
}

static int make_board(struct machine *m, const struct options *o, struct err *e)
{
	struct vm *vm = m->vm;

	vm->loop = loop_new(e);
	if (!vm->loop)
		return -1;
	vm->cfg = &m->cfg;
	vm->engine = &cpu_soft;
	vm->clock = &m->clock.clock;
	vm->virt = &m->virt;
	vm->serial = &m->serial;
	pthread_mutex_init(&vm->lock, NULL);
	vm->cpu[0] = (struct vm_cpu){ .vm = vm };
	vm->mem = mem_new(o->memory, e);
	return vm->mem ? board_new(vm, e) : -1;
}

static int make_cpu(struct machine *m, const struct options *o, bool translate, struct err *e)
{
	const struct cpu_config c = {
		.mem = m->vm->mem,
		.nr_vcpus = 1,
		.model = o->model,
		.interpret_only = !translate,
		.exact_flags = !o->lazy_flags,
		.single_block = !o->run,
		.run_insns = o->run,
		.max_block = o->max_block,
		.off = o->off,
		.tlb_flush_every = o->flush_every,
		.code_cache_bytes = o->small_cache ? 1 << 20 : 0,
		.virt = &m->virt,
	};

	m->vm->cpu_vm = cpu_soft.vm_new(&c, e);
	if (!m->vm->cpu_vm)
		return -1;
	TRY(vcpus_new(m->vm, e));
	m->v = m->vm->cpu[0].v;
	if (translate && !m->v->jit)
		return err_set(e, 1, "the translator does not run on this host");
	return vm_power_on(m->vm, e);
}

bool machine_new(struct machine *m, const struct options *o, bool translate)
{
	struct err e = { 0 };

	m->name = translate ? "translated" : "interpreted";
	cfg_init(&m->cfg);
	m->cfg.nr_cpus = 1;
	m->cfg.nr_nets = 0;
	m->cfg.memory = o->memory;
	m->cfg.nr_initrds = 1;
	snprintf(m->cfg.cmdline, sizeof m->cfg.cmdline, "%s", o->cmdline);
	clock_fake_init(&m->clock);
	m->virt.random = o->seed;
	m->serial = (struct chr){ .write = serial_write, .can_receive = serial_can_receive };
	m->out = calloc(1, OUT_MAX);
	m->vm = calloc(1, sizeof *m->vm);
	if (!m->out || !m->vm || !open_file(&m->cfg.kernel, o->kernel) ||
	    !open_file(&m->cfg.initrd[0], o->initrd))
		return false;
	if (make_board(m, o, &e) || make_cpu(m, o, translate, &e)) {
		fprintf(stderr, "lockstep: %s\n", e.msg);
		return false;
	}
	if (translate)
		jit_thread_enter(m->v);
	return true;
}

void machine_free(struct machine *m)
{
	if (m->vm) {
		vcpus_free(m->vm);
		if (m->vm->cpu_vm)
			cpu_soft.vm_free(m->vm->cpu_vm);
		board_free(m->vm);
		mem_free(m->vm->mem);
		if (m->vm->loop)
			loop_free(m->vm->loop);
		pthread_mutex_destroy(&m->vm->lock);
		free(m->vm);
	}
	free(m->out);
}
