// SPDX-License-Identifier: Apache-2.0
/*
 * main.c - snap-test: a Linux guest saved and loaded, and files that are not what was saved
 *
 *	snap-test KERNEL INITRD
 *
 * Ends with "N passed, N failed, 0 skipped".
 */
#include "hostile.h"
#include "snap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"

static struct guest g;
static unsigned passed, failed, mutants;

static bool check(const char *what, bool ok, const struct err *e)
{
	if (!ok)
		fprintf(stderr, "FAIL snap-test: %s: %s\n", what, e ? e->msg : "");
	passed += ok;
	failed += !ok;
	return ok;
}

struct files {
	int state, mem;
};

static struct files new_files(void)
{
	return (struct files){ memfd_create("state", 0), memfd_create("memory", 0) };
}

static bool save(struct guest *x, struct files *f)
{
	const struct snapshot_save o = { .state_fd = f->state, .mem_fd = f->mem };
	struct err e = { 0 };
	u64 t0 = os_now_ns();
	bool ok = !vm_pause(x->vm, &e) && !vm_snapshot_save(x->vm, &o, &e) && !vm_resume(x->vm, &e);
	struct stat st;

	fstat(f->state, &st);
	fprintf(stderr, "saved in %.1f ms, state %lld bytes\n", (double)(os_now_ns() - t0) / 1e6,
		(long long)st.st_size);
	return check("save", ok, &e);
}

static bool load(struct guest *x, const struct files *f, bool advance)
{
	const struct snapshot_load o = { .state_fd = f->state, .mem_fd = f->mem, .over_fd = -1, .pages_fd = -1,
					 .advance_clocks = advance };
	struct err e = { 0 };
	u64 t0 = os_now_ns();
	bool ok = guest_load(x, &o, &e);

	fprintf(stderr, "loaded in %.1f ms\n", (double)(os_now_ns() - t0) / 1e6);
	return check("load", ok && guest_start(x, &e), &e);
}

static void hostile(const struct files *f, u64 seed)
{
	unsigned loaded;

	check("every flipped byte is refused", hostile_flips(f->state, f->mem) == 0, NULL);
	check("every truncation is refused", hostile_cuts(f->state, f->mem) == 0, NULL);
	check("memory files of other sizes are refused",
	      hostile_memory_sizes(f->state, f->mem) == 0, NULL);
	hostile_mutants(f->state, f->mem, mutants, seed, &loaded);
	fprintf(stderr, "%u changed state files, %u of them loaded\n", mutants, loaded);
	check("changed state files do no harm", true, NULL);
}

static void round_trip(const char *kernel, const char *initrd, unsigned cpus)
{
	struct files f = new_files();

	if (!check("boot", guest_boot(&g, kernel, initrd, cpus, 256u << 20) &&
				   guest_expect(&g, ":~# ", 60000), NULL))
		return;
	guest_type(&g, "n=0; echo before-$((6*7)); while sleep 0.1; do n=$((n+1)); echo n=$n; done\n");
	check("the guest counts", guest_expect(&g, "before-42", 10000) &&
				  guest_expect(&g, "n=5", 10000), NULL);
	if (!save(&g, &f))
		return;
	check("it goes on counting", guest_expect(&g, "n=15", 10000), NULL);
	guest_stop(&g);
	for (unsigned i = 0; i < 3; i++) {
		if (!load(&g, &f, i & 1))
			return;
		check("it goes on where it was saved", guest_expect(&g, "n=8", 10000), NULL);
		guest_type(&g, "\003");
		guest_type(&g, "dmesg | tail -3; date +%s; echo all-$((1+1))\n");
		check("and takes input", guest_expect(&g, "all-2\r\n", 10000), NULL);
		guest_stop(&g);
	}
	hostile(&f, cpus * 1000000ull);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fputs("usage: snap-test KERNEL INITRD\n", stderr);
		return 2;
	}
	mutants = getenv("SNAP_MUTANTS") ? (unsigned)atoi(getenv("SNAP_MUTANTS")) : 300;
	round_trip(argv[1], argv[2], 1);
	round_trip(argv[1], argv[2], 2);
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed != 0;
}
