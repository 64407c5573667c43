// SPDX-License-Identifier: Apache-2.0
/* cfg.c - defaults and checks across options; see cfg.h */
#include "cfg/cfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void cfg_init(struct vm_config *c)
{
	*c = (struct vm_config){
		.nr_cpus = 1,
		.memory = 512ull << 20,
		.kernel.fd = -1,
		.serial_fd = -1,
		.kvm_fd = -1,
		.vsock.fd = -1,
	};
	for (unsigned i = 0; i < CFG_INITRDS; i++)
		c->initrd[i].fd = -1;
	for (unsigned i = 0; i < CFG_DISKS; i++)
		c->disk[i].fd = -1;
	for (unsigned i = 0; i < CFG_NETS; i++)
		c->net[i].fd = -1;
	for (unsigned i = 0; i < CFG_SHARES; i++)
		c->share[i].fd = -1;
	for (unsigned i = 0; i < CFG_PMEMS; i++)
		c->pmem[i].fd = -1;
}

int cfg_check(const struct vm_config *c, struct err *e)
{
	if (c->nr_initrds && !*c->kernel.path)
		return err_set(e, EINVAL, "--initrd: want --kernel too");
	for (unsigned i = 0; i < c->nr_disks; i++)
		for (unsigned j = 0; j < i; j++)
			if (!strcmp(c->disk[i].path, c->disk[j].path) &&
			    !(c->disk[i].read_only && c->disk[j].read_only))
				return err_set(e, EINVAL,
					       "--disk: %.100s: given twice: want readonly in both",
					       c->disk[i].path);
	if (c->nr_command && (*c->kernel.path || c->nr_disks))
		return err_set(e, EINVAL,
			       "--: a command runs in the quick-start guest: want no "
			       "--kernel and no --disk");
	return 0;
}
