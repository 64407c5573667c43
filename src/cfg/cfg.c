// SPDX-License-Identifier: Apache-2.0
/* cfg.c - defaults and checks across options; see cfg.h */
#include "cfg/cfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void cfg_forget_open(struct vm_config *c)
{
	c->kernel.fd = c->firmware.fd = c->serial_fd = c->vsock.fd = c->mmds.fd = -1;
	c->control_fd = c->kvm_fd = c->perf_fd = -1;
	c->ready_fd = c->restore.state_fd = c->restore.mem_fd = c->restore.over_fd = -1;
	c->restore.pages_fd = -1;
	for (unsigned i = 0; i < CFG_INITRDS; i++)
		c->initrd[i].fd = -1;
	for (unsigned i = 0; i < CFG_DISKS; i++) {
		c->disk[i].fd = c->disk[i].layer_fd = c->disk[i].store_fd = -1;
		c->disk[i].nr_files = 0;
		memset(c->disk[i].secret, 0, sizeof c->disk[i].secret);
	}
	for (unsigned i = 0; i < CFG_NETS; i++) {
		c->net[i].fd = -1;
		for (unsigned k = 0; k < CFG_NET_QUEUES - 1; k++)
			c->net[i].queue[k].fd = -1;
	}
	for (unsigned i = 0; i < CFG_SHARES; i++)
		c->share[i].fd = -1;
	for (unsigned i = 0; i < CFG_PMEMS; i++)
		c->pmem[i].fd = -1;
	for (unsigned i = 0; i < CFG_VHOSTS; i++)
		c->vhost[i].fd = -1;
}

void cfg_init(struct vm_config *c)
{
	*c = (struct vm_config){ .nr_cpus = 1, .memory = 512ull << 20,
				  .irqchip = CFG_IRQCHIP_SPLIT };
	cfg_forget_open(c);
}

#define HOTPLUG_MAX_MIB (64u << 20)

bool cfg_memhp_ok(const struct memhp_config *m)
{
	return m->total_mib && m->total_mib <= HOTPLUG_MAX_MIB && m->block_mib >= 2 &&
	       !(m->block_mib & (m->block_mib - 1)) && m->total_mib % m->block_mib == 0 &&
	       m->requested_mib % m->block_mib == 0 && m->requested_mib <= m->total_mib;
}

int cfg_check_limits(const struct vm_config *c, struct err *e)
{
	if (c->memory < CFG_MEM_MIN || c->memory % 4096 || c->memory >> 46)
		return err_set(e, EINVAL, "memory: %llu bytes: want pages, 8 MiB or more",
			       (unsigned long long)c->memory);
	if (c->nr_cpus < 1 || c->nr_cpus > CFG_CPUS_MAX)
		return err_set(e, EINVAL, "cpus: %u: want 1..%d", c->nr_cpus, CFG_CPUS_MAX);
	if (c->code_cache && (c->code_cache < CFG_CODE_MIN || c->code_cache > CFG_CODE_MAX))
		return err_set(e, EINVAL, "code_cache: %llu: want 0 or 1M to 1G",
			       (unsigned long long)c->code_cache);
	if (c->engine > CFG_ENGINE_KVM || c->cpu > CFG_CPU_MAX)
		return err_set(e, EINVAL, "engine %u, CPU model %u: unknown", c->engine, c->cpu);
	if (c->memhp.present && !cfg_memhp_ok(&c->memhp))
		return err_set(e, EINVAL, "memory hot-plug: %u MiB in blocks of %u: want whole blocks, a "
			       "power of two each", c->memhp.total_mib, c->memhp.block_mib);
	for (unsigned i = 0; i < c->nr_cpuids; i++)
		if (c->cpuid[i].reg > 3)
			return err_set(e, EINVAL, "cpuid %u: register %u: want 0..3", i,
				       c->cpuid[i].reg);
	if (c->irqchip > CFG_IRQCHIP_SPLIT)
		return err_set(e, EINVAL, "interrupt chips %u: unknown", c->irqchip);
	for (unsigned i = 0; i < c->nr_nets; i++) {
		if (c->net[i].kind > CFG_NET_TAP)
			return err_set(e, EINVAL, "network %u: unknown kind %u", i, c->net[i].kind);
		if (c->net[i].nr_queues && c->net[i].kind != CFG_NET_TAP)
			return err_set(e, EINVAL, "network %u: queues: want a TAP interface", i);
	}
	return 0;
}

int cfg_check(const struct vm_config *c, struct err *e)
{
	if (c->nr_initrds && !*c->kernel.path)
		return err_set(e, EINVAL, "--initrd: want --kernel too");
	if (*c->firmware.path && (*c->kernel.path || c->nr_command))
		return err_set(e, EINVAL, "--firmware: want no --kernel and no command with it");
	for (unsigned i = 0; i < c->nr_disks; i++)
		for (unsigned j = 0; j < i; j++)
			if (!strcmp(c->disk[i].path, c->disk[j].path) &&
			    !(c->disk[i].read_only && c->disk[j].read_only))
				return err_set(e, EINVAL,
					       "--disk: %.100s: given twice: want readonly in both",
					       c->disk[i].path);
	if ((u64)c->balloon.amount_mib << 20 > c->memory)
		return err_set(e, EINVAL, "--balloon: %u MiB: want at most the guest's memory",
			       c->balloon.amount_mib);
	if (c->nr_vhosts && (c->nr_pmems || c->memhp.present))
		return err_set(e, EINVAL, "--vhost-user: its process cannot see such memory: want no "
			       "--pmem and no --hotplug-memory");
	if (c->nr_command && (*c->kernel.path || c->nr_disks))
		return err_set(e, EINVAL,
			       "--: a command runs in the quick-start guest: want no "
			       "--kernel and no --disk");
	return 0;
}
