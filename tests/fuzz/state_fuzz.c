// SPDX-License-Identifier: Apache-2.0
/*
 * state_fuzz.c - hostile state files of snapshots (docs/snapshot-format.md)
 *
 * One machine with many devices is made once, with an engine that runs nothing. An input is
 * what is changed in its state file; the first byte says how it is used:
 *
 *	0..239	   the changed sections alone are loaded into their devices and CPUs
 *	240..254   the same, but of one in 256 (it takes 100 times as long) the whole file is
 *		   loaded into the machine, from power-on, used for a moment, and may be saved again
 *	255	   what follows is the file itself, given a right length; of one in 32, else as 0
 *
 * A change is a section's number, a place in it (2 bytes; from its end if that is nearer), a length
 * (1 byte) and so many bytes. Files get a right checksum, or are not looked at for it. (That
 *flipped and cut files are refused, and machines made from what is left run, is tests/snap's.)
 */
#include "target.h"

#include "base/crc32c.h"
#include "cpu/x86_state.h"
#include "dev/pci/pci.h"
#include "os/os.h"

/* The module as it is, for load(): vm_new_from_snapshot() makes a machine first. */
#include "vmm/snap_load.c"

#include <sys/mman.h>
#include <sys/socket.h>

#define RAM      CFG_MEM_MIN
#define CPUS     2
#define HEADER   24u
#define TRAILER  4u
#define BARS     0xc0100000ull
#define MAX_SIZE (256u << 10)
#define CHANGES  24 /* of an input */

/* -- the machine --------------------------------------------------------------------------- */

static struct vm_config cfg;
static struct vm *vm;
static int state_fd, again_fd, mem_fd;
static u8 good[MAX_SIZE]; /* a state file */
static size_t good_len;
static char dir[] = "/dev/shm/vireo-state-fuzz.XXXXXX";

static void remove_dir(void)
{
	rmdir(dir);
}

static void configure(void)
{
	int pair[2];

	if (!mkdtemp(dir) || atexit(remove_dir) || fd_pair(SOCK_SEQPACKET, pair))
		fuzz_broken("no directory or sockets");
	cfg_init(&cfg);
	cfg.nr_cpus = CPUS;
	cfg.memory = RAM;
	cfg.jail = CFG_JAIL_OFF;
	strcpy(cfg.serial, "none");
	cfg.test_device = true;
	cfg.balloon.present = true;
	cfg.vsock.present = true;
	cfg.vsock.cid = 3;
	strcpy(cfg.vsock.uds_path, "v.sock");
	cfg.vsock.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	cfg.nr_disks = 1;
	strcpy(cfg.disk[0].id, "disk0");
	strcpy(cfg.disk[0].path, "disk");
	cfg.disk[0].fd = fd_memfd("disk", 1 << 20);
	cfg.nr_shares = 1;
	strcpy(cfg.share[0].tag, "share");
	strcpy(cfg.share[0].path, dir);
	cfg.share[0].fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cfg.nr_nets = 1;
	cfg.net[0].kind = CFG_NET_USER;
	cfg.net[0].fd = pair[0];
}

static size_t save(int fd, struct err *e)
{
	const struct snapshot_save o = { .state_fd = fd, .mem_fd = mem_fd, .diff = true };
	struct stat st;

	if (ftruncate(fd, 0) || vm_snapshot_save(vm, &o, e) || fstat(fd, &st))
		return 0;
	return (size_t)st.st_size;
}

static void start(void)
{
	struct err e = { 0 };

	configure();
	state_fd = fd_memfd("state", 0);
	again_fd = fd_memfd("again", 0);
	mem_fd = fd_memfd("memory", RAM);
	vm = vm_new_preset(&cfg, NULL, &e);
	if (!vm)
		fuzz_broken(e.msg);
	board_reset(vm);
	if (board_assign_pci(vm, &e))
		fuzz_broken(e.msg);
	vm->paused = true;
	vm->cfg->track_dirty = true; /* differences: RAM is left out */
	good_len = save(state_fd, &e);
	if (!good_len || good_len > sizeof good || fd_pread_full(state_fd, good, good_len, 0))
		fuzz_broken(e.msg);
}

/* -- what is done with it ---------------------------------------------------------------------- */

/* A right length and checksum; a fuzzer's build does not look at the latter. */
static void seal(u8 *buf, size_t len)
{
	u64 size = len;

	memcpy(buf, good, 12); /* magic and version */
	memcpy(buf + 16, &size, sizeof size);
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	u32 crc = crc32c(0, buf, len - TRAILER);

	memcpy(buf + len - TRAILER, &crc, sizeof crc);
#endif
}

/* What varies with the input and nothing else. */
static u32 hash(const u8 *p, size_t len)
{
	u64 h = len;

	while (len) {
		u64 v = 0;
		size_t n = len < sizeof v ? len : sizeof v;

		memcpy(&v, p, n);
		h = (h ^ v) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
		p += n;
		len -= n;
	}
	return (u32)(h >> 32);
}

/* What a guest and time do at once: some registers, doorbells, and what is due. */
static void use(u32 random)
{
	static const u16 port[] = { 0x20, 0x21,  0x40,  0x43,  0x60,  0x64,  0x70,  0x71,
				    0xa0, 0xcf8, 0xcfc, 0x3f8, 0x3fa, 0x3fd, 0x600, 0x608 };

	for (unsigned i = 0; i < array_len(port); i++)
		bus_read(vm->pio, port[i], 1);
	for (unsigned i = 0; i < 8; i++, random = random * 1664525 + 1013904223) {
		gpa_t bar = BARS + (random >> 20 & 15) * 0x4000;

		bus_read(vm->mmio, bar + (random >> 8 & 0x3ff0), 4);
		bus_write(vm->mmio, bar + 0x3000 + (random >> 28), 2, random >> 24 & 3);
	}
	for (unsigned i = 0; i < cfg.nr_cpus; i++)
		if (lapic_has_irq(vm->cpu[i].lapic) && lapic_ack_irq(vm->cpu[i].lapic) > 255)
			fuzz_broken("state: a vector beyond 255");
	loop_once(vm->loop, 0);
}

/* -- the file, changed and put back ------------------------------------------------------------ */

static struct snap map;  /* of buf[] as it was saved */
static u8 buf[MAX_SIZE]; /* good[] but for the changes */
static bool changed[SNAP_SECTIONS_MAX];

static void change(struct fuzz_in *in)
{
	for (unsigned k = 0; k < CHANGES && in->len; k++) {
		unsigned n = (unsigned)fuzz_take(in, 1) % map.nr;
		struct snap_section *s = &map.section[n];
		size_t at = fuzz_take(in, 2), len = 1 + fuzz_take(in, 1) % 64;

		if (!s->len)
			continue;
		at = at < s->len ? at : s->len - 1 - (0xffff - at) % s->len;
		len = len < s->len - at ? len : s->len - at;
		fuzz_bytes(in, buf + (s->data - buf) + at, len);
		changed[n] = true;
	}
}

static void put_back(void)
{
	for (unsigned n = 0; n < map.nr; n++) {
		size_t at = (size_t)(map.section[n].data - buf);

		if (changed[n])
			memcpy(buf + at, good + at, map.section[n].len);
		changed[n] = false;
	}
}

/* -- parts of a machine ------------------------------------------------------------------------ */

static struct dev *device[SNAP_SECTIONS_MAX]; /* of each section; NULL: of none */

static int note_device(void *ctx UNUSED, const char *name, struct dev *d, struct err *e UNUSED)
{
	for (unsigned n = 0; n < map.nr; n++)
		if (!strcmp(map.section[n].name, name))
			device[n] = d;
	return 0;
}

/* One section that belongs to no device. */
static int load_other(struct snap *s, const char *name, struct err *e)
{
	static struct x86_state x ALIGNED(64);
	struct snap_machine m;

	if (!strcmp(name, "machine"))
		return load_fields(s, name, snap_machine_fields, &m, sizeof m, e);
	if (!strncmp(name, "cpu:", 4))
		return load_cpu(vm, (unsigned)atoi(name + 4), s, &x, 0, e);
	return 0;
}

static int load_changed(struct err *e)
{
	struct snap s;
	int r;

	TRY(snap_parse(&s, buf, good_len, e));
	r = 0;
	for (unsigned n = 0; n < map.nr && !r; n++)
		if (changed[n])
			r = device[n] ? load_device(&s, map.section[n].name, device[n], e)
				      : load_other(&s, map.section[n].name, e);
	for (unsigned n = 0; n < map.nr && !r; n++)
		if (changed[n] && device[n])
			r = device_loaded(NULL, map.section[n].name, device[n], e);
	snap_free(&s);
	return r;
}

static int load_parts(u32 random, struct err *e)
{
	int r = load_changed(e);

	if (!r)
		use(random);
	for (unsigned n = 0; n < map.nr; n++)
		if (changed[n] && device[n] && device[n]->class->reset)
			device[n]->class->reset(device[n]);
	return r;
}

/* -- the whole --------------------------------------------------------------------------------- */

static int read_as_config(struct err *e)
{
	static struct vm_config c;
	int r;

	cfg_init(&c);
	r = snapshot_read_config(state_fd, &c, e);
	if (!r && (c.memory > 1ull << 46 || c.nr_cpus > CFG_CPUS_MAX))
		fuzz_broken("state: a configuration beyond the limits");
	cfg_fini(&c);
	return r;
}

static int load_it(struct err *e)
{
	const struct snapshot_load o = {
		.state_fd = state_fd, .pages_fd = -1, .paused = true, .track_dirty = true, .advance_clocks = true
	};
	struct state s;
	int r;

	TRY(open_state(&s, state_fd, e));
	r = snap_take(&s.snap, "config", e) ? 0 : -e->code;
	if (!r)
		r = load(vm, &s, &o, e);
	close_state(&s);
	return r;
}

static int load_whole(const u8 *p, size_t len, struct err *e)
{
	u32 random = hash(p, len);
	int r;

	if (ftruncate(state_fd, 0) || fd_pwrite_full(state_fd, p, len, 0))
		fuzz_broken("no room for the state file");
	TRY(read_as_config(e));
	board_reset(vm);
	r = load_it(e);
	if (!r) {
		use(random);
		if (random % 8 == 0 && !save(again_fd, e))
			fuzz_broken("state: what was loaded cannot be saved");
	}
	board_reset(vm);
	return r;
}

static int load_raw(struct fuzz_in *in, struct err *e)
{
	static u8 file[MAX_SIZE];
	size_t len = fuzz_bytes(in, file, in->len < sizeof file ? in->len : sizeof file);

	if (len >= HEADER + TRAILER)
		seal(file, len);
	return load_whole(file, len, e);
}

static void start_mapped(void)
{
	struct err e;

	start();
	memcpy(buf, good, good_len);
	if (snap_parse(&map, buf, good_len, &e) || snap_each_device(vm, note_device, NULL, &e))
		fuzz_broken(e.msg);
}

static int run(const u8 *p, size_t len, struct err *e)
{
	struct fuzz_in in = { p, len };
	unsigned how = (unsigned)fuzz_take(&in, 1);
	u32 random = hash(p, len);
	int r;

	if (!vm)
		start_mapped();
	if (how == 255 && random % 32 == 0) {
		r = load_raw(&in, e);
	} else {
		change(&in);
		seal(buf, good_len);
		r = how < 240 || random % 256 ? load_parts(random >> 8, e)
					      : load_whole(buf, good_len, e);
		put_back();
	}
	vm->end = VM_RUNNING; /* whatever the state has made of it */
	return r;
}

/* A change near the start of each section; and the file itself. */
static size_t seed(unsigned n, u8 *p, size_t max)
{
	const u8 one[] = { (u8)(n & 1 ? 0 : 240), (u8)n, 40, 0, 3, 0xff, 0xff, 0xff, 0xff };

	if (!vm)
		start_mapped();
	if (n > map.nr || max < good_len + 1)
		return 0;
	if (n < map.nr) {
		memcpy(p, one, sizeof one);
		return sizeof one;
	}
	p[0] = 255; /* the container alone: a few of its sections */
	memcpy(p + 1, good, HEADER + 2000);
	return 1 + HEADER + 2000;
}

const struct fuzz_target fuzz_targets[] = {
	{ .name = "snapshot", .run = run, .seed = seed },
	{ 0 },
};
