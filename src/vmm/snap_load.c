// SPDX-License-Identifier: Apache-2.0
/*
 * snap_load.c - a machine from two files: see snapshot.h
 *
 * The files are hostile. The state file is checked as a container first, each section by
 * its field table, and each device by its loaded(), which makes of whatever it is given a
 * state the device could have reached; a field table refuses, or changes nothing.
 */
#include "cpu/x86_state.h"
#include "dev/virtio/virtio.h"
#include "mem/mem.h"
#include "vmm/snap_int.h"
#include "vmm/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TSC_TOLERANCE 1000 /* 1 / this: clocks of one kind differ by less between two hosts */

/* A state file in memory. */
struct state {
	u8 *buf;
	struct snap snap;
	struct snap_machine m;
};

static int read_all(int fd, u8 **ret, size_t *ret_len, struct err *e)
{
	struct stat st;
	u8 *buf;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set(e, errno, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "not a regular file");
	if (st.st_size > SNAP_SIZE_MAX)
		return err_set(e, EFBIG, "%lld bytes long: want at most %u MiB",
			       (long long)st.st_size, SNAP_SIZE_MAX >> 20);
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return err_set(e, ENOMEM, "out of host memory");
	r = fd_pread_full(fd, buf, (size_t)st.st_size, 0);
	if (r) {
		free(buf);
		return err_set(e, -r, "%s", strerror(-r));
	}
	*ret = buf;
	*ret_len = (size_t)st.st_size;
	return 0;
}

static void close_state(struct state *s)
{
	snap_free(&s->snap);
	free(s->buf);
	s->buf = NULL;
}

static int load_fields(struct snap *s, const char *name, const struct field *f, void *obj,
		       size_t size, struct err *e)
{
	const struct snap_section *n = snap_take(s, name, e);

	if (!n)
		return -e->code;
	if (field_load(f, obj, size, n->data, n->len, e))
		return err_wrap(e, "section %s", name);
	return 0;
}

static int open_state(struct state *s, int fd, struct err *e)
{
	size_t len = 0;
	int r;

	*s = (struct state){ 0 };
	TRY(read_all(fd, &s->buf, &len, e));
	r = snap_parse(&s->snap, s->buf, len, e);
	if (!r)
		r = load_fields(&s->snap, "machine", snap_machine_fields, &s->m, sizeof s->m, e);
	if (r)
		close_state(s);
	return r;
}

/* -- configuration ---------------------------------------------------------------------- */

static int read_config(struct state *s, struct vm_config *c, struct err *e)
{
	const struct snap_section *n = snap_take(&s->snap, "config", e);

	if (!n)
		return -e->code;
	TRY(cfg_from_json(c, (const char *)n->data, n->len, e));
	cfg_forget_open(c);
	c->jail = CFG_JAIL_ON; /* not the file's to say */
	if (c->memory != s->m.memory || c->nr_cpus != s->m.nr_cpus)
		return err_set(e, EINVAL, "section config: memory or cpus are not the machine's");
	return cfg_check_limits(c, e);
}

int snapshot_read_config(int state_fd, struct vm_config *c, struct err *e)
{
	struct state s;
	int r;

	if (open_state(&s, state_fd, e))
		return err_wrap(e, "snapshot: state file");
	r = read_config(&s, c, e);
	close_state(&s);
	return r ? err_wrap(e, "snapshot: state file") : 0;
}

/* -- does it fit this host? ---------------------------------------------------------------- */

/* IBRS, STIBP, L1D flush, ARCH_CAPABILITIES, SSBD: of 7.edx */
#define SPECULATION (1u << 26 | 1u << 27 | 1u << 28 | 1u << 29 | 1u << 31)

/*
 * Features the guest has seen and this VM lacks. What guards against speculation is the host's on
 * KVM, and says "not affected" on the software engine, which takes writes to such registers: from
 * one to the other it does not count.
 */
static u32 lacks(const struct snap_machine *m, const struct snap_machine *here, unsigned i)
{
	u32 bits = m->feature[i] & ~here->feature[i];

	return i == SNAP_7_EDX && m->kvm != here->kvm ? bits & ~SPECULATION : bits;
}

static int check_cpu(const struct snap_machine *m, const struct snap_machine *here, struct err *e)
{
	const char *hint = here->kvm && !m->kvm ? ": want --engine soft" : "";
	/* These both engines give unoffered; their registers are refused where KVM lacks them. */
	const u32 help = m->kvm_features & ~(KVM_PV_UNHALT | KVM_PV_EOI | KVM_STEAL_TIME);
	u64 d = m->tsc_khz > here->tsc_khz ? m->tsc_khz - here->tsc_khz :
					     here->tsc_khz - m->tsc_khz;

	if (m->amd != here->amd)
		return err_set(e, ENOTSUP, "was saved on %s processor: this is %s",
			       m->amd ? "an AMD" : "an Intel", here->amd ? "an AMD" : "an Intel");
	for (unsigned i = 0; i < SNAP_FEATURES; i++)
		if (lacks(m, here, i))
			return err_set(e, ENOTSUP,
				       "uses processor features this host%s lacks (word %u: 0x%x)%s",
				       here->kvm ? "'s KVM" : "", i, lacks(m, here, i), hint);
	if (help & ~here->kvm_features)
		return err_set(e, ENOTSUP, "uses help this host's KVM does not offer (0x%x)%s",
			       help & ~here->kvm_features, hint);
	if (m->xcr0 & ~here->xcr0)
		return err_set(e, ENOTSUP, "uses register sets this host%s lacks (0x%llx)%s",
			       here->kvm ? "'s KVM" : "",
			       (unsigned long long)(m->xcr0 & ~here->xcr0), hint);
	if (d > here->tsc_khz / TSC_TOLERANCE)
		return err_set(e, ENOTSUP, "its TSC runs at %llu kHz: this host's at %llu",
			       (unsigned long long)m->tsc_khz, (unsigned long long)here->tsc_khz);
	return 0;
}

static int check_memory_file(const struct vm_config *c, int fd, struct err *e)
{
	u64 want = memory_file_size(c);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(e, errno, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "not a regular file");
	if ((u64)st.st_size != want)
		return err_set(e, EINVAL, "%lld bytes long: want %llu", (long long)st.st_size,
			       (unsigned long long)want);
	return 0;
}

static struct mem *load_memory(const struct vm_config *c, const struct snapshot_load *o,
			       int *ret_uffd, struct err *e)
{
	u64 room;

	*ret_uffd = -1;
	if (memory_room(c, &room, e))
		return NULL;
	if (o->backend == SNAPSHOT_MEM_UFFD && room) {
		err_set(e, ENOTSUP, "a page handler has no pages of hot-plugged memory and pmem");
		return NULL;
	}
	if (o->backend == SNAPSHOT_MEM_UFFD)
		return pager_memory(c, o->mem_fd, o->uffd_dev, ret_uffd, e);
	if (c->huge_pages) { /* [FC persist.rs] */
		err_set(e, ENOTSUP, "Cannot restore hugetlbfs backed snapshot by mapping the memory "
				    "file. Please use uffd.");
		return NULL;
	}
	return check_memory_file(c, o->mem_fd, e) ? NULL :
						    mem_new_file(c->memory, room, o->mem_fd, e);
}

/* All of it is mapped, and nothing has been written. */
static int finish_memory(struct vm *vm, const struct snap_machine *m, const struct snapshot_load *o,
			 struct err *e)
{
	bool file = o->backend == SNAPSHOT_MEM_FILE;

	if (file && o->over_fd >= 0 && mem_overlay(vm->mem, o->over_fd))
		return err_set(e, EINVAL, "memory file: its changed pages cannot be used");
	if (file && o->verify && m->mem_sum && mem_sum(vm->mem) != m->mem_sum)
		return err_set(e, EINVAL, "memory file: damaged: its checksum does not match");
	if (file && o->track_dirty && mem_track(vm->mem))
		return 0; /* then all of it counts as written */
	return 0;
}

/* -- clocks ----------------------------------------------------------------------------------- */

/*
 * How far the guest's clocks are moved on, in nanoseconds. All of them by the same, so that
 * they stay in step: the TSC, the KVM clock and the board's.
 */
static u64 elapsed(const struct snap_machine *m, const struct snapshot_load *o)
{
	u64 now = os_wall_ns();

	return o->advance_clocks && now > m->wall_ns ? now - m->wall_ns : 0;
}

/* All clocks at one moment. *ret: what is to be added to saved TSC offsets. */
static int set_clocks(struct vm *vm, const struct snap_machine *m, const struct snapshot_load *o,
		      u64 *ret, struct err *e)
{
	struct snap_machine here;
	u64 forward, cycles;

	snap_describe(vm, &here);
	forward = elapsed(m, o);
	cycles = (u64)((unsigned __int128)forward * m->tsc_khz / 1000000);
	*ret = m->tsc + cycles - here.tsc;
	loop_set_clock(vm->loop, m->clock_ns + forward);
	return vm->engine->set_clock(vm->cpu_vm, here.tsc, m->kvm_clock_ns + forward, e);
}

#define TIME_FLAGS	   29 /* in the guest's record of the KVM clock */
#define TIME_GUEST_STOPPED 2

/* Its kernel is not to take the time it stood still for a lockup. [msr.rst] */
static void tell_stopped(struct vm *vm, const struct x86_state *x)
{
	gpa_t at = (x->kvm_system_time & ~1ull) + TIME_FLAGS;
	u8 flags;

	if (!(x->kvm_system_time & 1) || !mem_read(vm->mem, at, &flags, 1))
		return;
	flags |= TIME_GUEST_STOPPED;
	if (!mem_write(vm->mem, at, &flags, 1))
		return; /* it was readable: cannot be */
}

/* -- sections ---------------------------------------------------------------------------------- */

static int load_cpu(struct vm *vm, unsigned i, struct snap *s, struct x86_state *x, u64 tsc_shift,
		    struct err *e)
{
	char name[SNAP_NAME_MAX];

	snprintf(name, sizeof name, "cpu:%u", i);
	x86_state_reset(x, false);
	TRY(load_fields(s, name, x86_state_fields, x, sizeof *x, e));
	x->tsc_offset += tsc_shift;
	vm->cpu[i].tsc_offset = x->tsc_offset;
	if (x86_state_check(x, cpu_model_xcr0((enum cpu_model)vm->cfg->cpu), e) ||
	    vm->engine->set_state(vm->cpu[i].v, x, e))
		return err_wrap(e, "section %s", name);
	tell_stopped(vm, x);
	return 0;
}

static int load_cpus(struct vm *vm, struct snap *s, u64 tsc_shift, struct err *e)
{
	struct x86_state *x = aligned_alloc(64, align_up(sizeof *x, 64));
	int r = x ? 0 : err_set(e, ENOMEM, "out of host memory");

	for (unsigned i = 0; i < vm->cfg->nr_cpus && !r; i++)
		r = load_cpu(vm, i, s, x, tsc_shift, e);
	free(x);
	return r;
}

static int load_device(void *snap, const char *name, struct dev *d, struct err *e)
{
	const struct snap_section *n = snap_take(snap, name, e);
	const struct dev_class *c = d->class;
	struct snap_dev_header h;

	if (!n)
		return -e->code;
	if (n->len < sizeof h)
		return err_set(e, EINVAL, "section %s: cut off", name);
	memcpy(&h, n->data, sizeof h);
	if (strnlen(h.class, sizeof h.class) == sizeof h.class || strcmp(h.class, c->name) != 0)
		return err_set(e, EINVAL, "section %s: is not a %s's", name, c->name);
	if (h.version > c->state_version)
		return err_set(e, EINVAL, "section %s: version %u: want at most %u", name, h.version,
			       c->state_version);
	if (field_load(c->state, d, c->size, n->data + sizeof h, n->len - sizeof h, e))
		return err_wrap(e, "section %s", name);
	return 0;
}

static int device_loaded(void *ctx UNUSED, const char *name, struct dev *d, struct err *e)
{
	if (d->class->loaded && d->class->loaded(d, e))
		return err_wrap(e, "section %s", name);
	return 0;
}

/*
 * All states first, then what is derived from them: wires then carry the level that the
 * device at their other end has been loaded with, and make no edges.
 */
static int load_all(struct vm *vm, struct state *s, u64 tsc_shift, struct err *e)
{
	TRY(load_cpus(vm, &s->snap, tsc_shift, e));
	TRY(snap_each_device(vm, load_device, &s->snap, e));
	TRY(snap_all_taken(&s->snap, e));
	TRY(snap_each_device(vm, device_loaded, NULL, e));
	return chips_load(vm, e);
}

/* -- the whole ------------------------------------------------------------------------------------ */

static int load(struct vm *vm, struct state *s, const struct snapshot_load *o, struct err *e)
{
	struct snap_machine here = { 0 };
	u64 tsc;
	int r;

	snap_describe(vm, &here);
	TRY(check_cpu(&s->m, &here, e));
	pthread_mutex_lock(&vm->lock);
	r = set_clocks(vm, &s->m, o, &tsc, e);
	if (!r)
		r = load_all(vm, s, tsc, e);
	if (!r)
		r = board_new_generation(vm, true, e);
	pthread_mutex_unlock(&vm->lock);
	if (r)
		return r;
	vm->restored = vm->untold = true;
	vm->cfg->track_dirty = o->track_dirty;
	vm->cfg->restore.keep_clocks = !o->advance_clocks;
	memcpy(vm->snap_id, s->m.id, sizeof vm->snap_id);
	prefetch_init(vm, o);
	if (o->paused) {
		vm->paused = true;
		vm->pausing = 1;
	}
	return 0;
}

static struct vm *make(struct vm_config *c, const struct snapshot_load *o, struct state *s,
		       struct err *e)
{
	struct vm_preset p = { .pager_fd = -1, .pager_uffd = -1 };
	struct vm *vm;

	if (!snap_take(&s->snap, "config", e))
		return NULL;
	if (c->memory != s->m.memory || c->nr_cpus != s->m.nr_cpus) {
		err_set(e, EINVAL, "memory or cpus are not the configuration's");
		return NULL;
	}
	p.mem = load_memory(c, o, &p.pager_uffd, e);
	if (!p.mem) {
		err_wrap(e, "memory file");
		return NULL;
	}
	p.pager_fd = p.pager_uffd < 0 ? -1 : fcntl(o->mem_fd, F_DUPFD_CLOEXEC, 0);
	p.clock_ns = s->m.clock_ns;
	vm = vm_new_preset(c, &p, e);
	if (vm && (finish_memory(vm, &s->m, o, e) || load(vm, s, o, e))) {
		vm_free(vm);
		vm = NULL;
	}
	return vm;
}

struct vm *vm_new_from_snapshot(struct vm_config *c, const struct snapshot_load *o, struct err *e)
{
	struct state s;
	struct vm *vm = NULL;

	if (open_state(&s, o->state_fd, e)) {
		err_wrap(e, "snapshot: state file");
		return NULL;
	}
	cpu_tsc_hint(s.m.tsc_khz);
	vm = make(c, o, &s, e);
	if (!vm)
		err_wrap(e, "snapshot");
	close_state(&s);
	return vm;
}
