// SPDX-License-Identifier: Apache-2.0
/* confine.c - the monitor enters its jail (jail/jail.h), and says what of it is in force */
#include "jail/jail.h"

#include "os/opener.h"
#include "vmm/vmm_int.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_FILES                                                                                  \
	4096 /* descriptors: served directories and vsock use them by the guest's will             \
	      */

static void say(const struct vm *vm, const struct jail_report *r)
{
	const bool all = vm->cfg->jail == CFG_JAIL_REPORT;
	char line[200];

	for (unsigned l = 0; l < JAIL_LAYERS; l++)
		if (all || !r->layer[l].in_force)
			vm_say(vm, all ? 0 : 1, "%s", jail_report_line(r, l, line, sizeof line));
	if (all)
		vm_say(vm, 0, "jail: entered in %llu us of CPU time",
		       (unsigned long long)r->cpu_ns / 1000);
}

/* The guest's calls by vsock arrive at sockets beside one path. */
static int start_opener(struct vm *vm, struct err *e)
{
	char dir[CFG_PATH];
	struct opener_policy p = { .dir = { dir }, .nr_dirs = 1, .read_only = true };
	char *slash;

	if (vm->opener || !vm->cfg->vsock.present)
		return 0;
	snprintf(dir, sizeof dir, "%s", vm->cfg->vsock.uds_path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = '\0';
	else
		strcpy(dir, ".");
	vm->opener = opener_start(&p, e);
	return vm->opener ? 0 : -e->code;
}

/* What disks write in snapshot mode goes to files, which have no names: open them now. */
static int open_stores(struct vm *vm, struct err *e)
{
	for (u32 i = 0; i < vm->cfg->nr_disks; i++) {
		struct disk_config *d = &vm->cfg->disk[i];

		if (!d->snapshot)
			continue;
		d->store_fd = fd_tmpfile(0);
		if (d->store_fd < 0)
			return err_set(e, -d->store_fd, "--disk: no temporary storage: %s",
				       strerror(-d->store_fd));
	}
	return 0;
}

int vm_confine(struct vm *vm, struct err *e)
{
	struct jail_dir dir[CFG_SHARES];
	struct jail_spec s = { .role = JAIL_SETUP, .dir = dir, .max_files = MAX_FILES };
	struct jail_report r;

	if (vm->cfg->jail == CFG_JAIL_OFF || jail_active())
		return 0;
	TRY(start_opener(vm, e));
	TRY(open_stores(vm, e));
	for (u32 i = 0; i < vm->cfg->nr_shares; i++)
		dir[s.nr_dirs++] = (struct jail_dir){ .fd = vm->cfg->share[i].fd,
						      .read_only = vm->cfg->share[i].read_only };
	cpu_tsc_prepare();
	cpu_soft_prepare();
	tzset(); /* or gmtime_r() reads the time zone when the guest first asks its clock */
	TRY(jail_enter(&s, &r, e));
	say(vm, &r);
	return 0;
}
