// SPDX-License-Identifier: Apache-2.0
/*
 * cfg_cli.c - the options of "vireo run"
 *
 * "--option value" or "--option=value". Every refusal is one sentence: the option,
 * what was given, what was wanted.
 */
#include "cfg/cfg_int.h"

#include "base/size.h"
#include "base/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct option_def {
	const char *name;
	const char *arg;  /* what it takes, NULL = nothing */
	const char *help; /* NULL = not listed */
	int (*set)(struct vm_config *c, const char *val, struct err *e);
};

bool cfg_parse_size(const char *s, u64 *ret)
{
	return size_parse(s, "KMGT", false, ret);
}

static int set_disk(struct vm_config *c, const char *val, struct err *e)
{
	static const char wanted[] = "path=FILE, and behind it format=, readonly, snapshot, "
				     "allow-backing=, secret-file=, iops=, bps=, cache= or queues=";
	struct disk_config *d = &c->disk[c->nr_disks];
	const char *s = val;

	if (c->nr_disks == CFG_DISKS)
		return too_many(e, "--disk", CFG_DISKS);
	while (*s) {
		struct part p;
		int r;

		TRY(next_part(&s, &p, "--disk", e));
		if (is_key(&p, "path"))
			TRY(copy_str(d->path, sizeof d->path, "--disk", p.val, e));
		else if (is_key(&p, "format"))
			TRY(copy_str(d->format, sizeof d->format, "--disk format", p.val, e));
		else if (is_key(&p, "allow-backing"))
			TRY(copy_str(d->allow, sizeof d->allow, "--disk allow-backing", p.val, e));
		else if (is_key(&p, "secret-file"))
			TRY(copy_str(d->secret_file, sizeof d->secret_file, "--disk secret-file",
				     p.val, e));
		else if (is_flag(&p, "readonly"))
			d->read_only = true;
		else if (is_flag(&p, "snapshot"))
			d->snapshot = true;
		else if ((r = set_disk_part(d, &p, e)) < 0)
			return r;
		else if (r > 0)
			return want(e, "--disk", val, wanted);
	}
	if (!*d->path)
		return want(e, "--disk", val, wanted);
	c->nr_disks++;
	return 0;
}

static int add_forward(struct net_config *n, const char *val, struct err *e)
{
	static const char wanted[] = "HOST:GUEST, two port numbers from 1 to 65535";
	const char *colon = strchr(val, ':');
	char host[8] = { 0 };
	u64 h, g;

	if (n->nr_forwards == CFG_FORWARDS)
		return too_many(e, "--net forward", CFG_FORWARDS);
	if (!colon || colon - val >= (long)sizeof host)
		return want(e, "--net forward", val, wanted);
	memcpy(host, val, (size_t)(colon - val));
	if (!parse_number(host, 1, 65535, &h) || !parse_number(colon + 1, 1, 65535, &g))
		return want(e, "--net forward", val, wanted);
	n->forward[n->nr_forwards++] = (struct forward_config){ (u32)h, (u32)g };
	return 0;
}

static int set_net_queues(struct net_config *n, const char *val, struct err *e)
{
	u64 nr;

	if (!parse_number(val, 1, CFG_NET_QUEUES, &nr))
		return want(e, "--net queues", val, "1 to 4, pairs of queues");
	n->nr_queues = (u32)nr - 1;
	return 0;
}

static int set_net(struct vm_config *c, const char *val, struct err *e)
{
	static const char wanted[] = "user[,forward=HOST:GUEST], tap=NAME or none, and behind it "
				     "mac=, mtu=, rx-rate=, tx-rate=, rx-ops= or tx-ops=, "
				     "and behind tap queues=";
	struct net_config *n = &c->net[c->nr_nets];
	const char *s = val;
	struct part p;

	if (c->nr_nets == CFG_NETS)
		return too_many(e, "--net", CFG_NETS);
	TRY(next_part(&s, &p, "--net", e));
	if (is_flag(&p, "none"))
		n->kind = CFG_NET_NONE;
	else if (is_flag(&p, "user"))
		n->kind = CFG_NET_USER;
	else if (is_key(&p, "tap"))
		n->kind = CFG_NET_TAP;
	else
		return want(e, "--net", val, wanted);
	if (n->kind == CFG_NET_TAP)
		TRY(copy_str(n->tap, sizeof n->tap, "--net tap", p.val, e));
	while (*s) {
		int r;

		TRY(next_part(&s, &p, "--net", e));
		if (n->kind == CFG_NET_USER && is_key(&p, "forward"))
			r = add_forward(n, p.val, e);
		else if (n->kind == CFG_NET_TAP && is_key(&p, "queues"))
			r = set_net_queues(n, p.val, e);
		else
			r = set_nic_part(n, &p, e);
		if (r > 0)
			return want(e, "--net", val, wanted);
		TRY(r);
	}
	c->nr_nets++;
	return 0;
}

static int set_share(struct vm_config *c, const char *val, struct err *e)
{
	struct share_config *sh = &c->share[c->nr_shares];
	const char *s = val;
	struct part p;

	if (c->nr_shares == CFG_SHARES)
		return too_many(e, "--share", CFG_SHARES);
	TRY(next_part(&s, &p, "--share", e));
	if (p.val)
		return want(e, "--share", val, "DIRECTORY[,tag=NAME][,ro]");
	TRY(copy_str(sh->path, sizeof sh->path, "--share", p.text, e));
	snprintf(sh->tag, sizeof sh->tag, c->nr_shares ? "share%u" : "share", c->nr_shares);
	while (*s) {
		TRY(next_part(&s, &p, "--share", e));
		if (is_key(&p, "tag"))
			TRY(copy_str(sh->tag, 32, "--share tag", p.val, e));
		else if (is_flag(&p, "ro"))
			sh->read_only = true;
		else
			return want(e, "--share", val, "DIRECTORY[,tag=NAME][,ro]");
	}
	c->nr_shares++;
	return 0;
}

/* -- simple options ------------------------------------------------------------------- */

int cfg_parse_engine(const char *val, u32 *ret, struct err *e)
{
	static const char *const names[] = { "auto", "soft", "kvm", NULL };

	return parse_enum(ret, "--engine", val, names, "auto, soft or kvm", e);
}

static int set_engine(struct vm_config *c, const char *val, struct err *e)
{
	return cfg_parse_engine(val, &c->engine, e);
}

static int set_irqchip(struct vm_config *c, const char *val, struct err *e)
{
	static const char *const names[] = { "kernel", "split", NULL };

	return parse_enum(&c->irqchip, "--irqchip", val, names, "kernel or split", e);
}

static int set_cpu(struct vm_config *c, const char *val, struct err *e)
{
	static const char *const names[] = { "x86-64-v3", "x86-64-v2", "max", NULL };

	return parse_enum(&c->cpu, "--cpu", val, names, "x86-64-v3, x86-64-v2 or max", e);
}

static int set_cpus(struct vm_config *c, const char *val, struct err *e)
{
	u64 n;

	if (!parse_number(val, 1, CFG_CPUS_MAX, &n))
		return want(e, "--cpus", val, "a number from 1 to 240");
	c->nr_cpus = (u32)n;
	return 0;
}

static int set_memory(struct vm_config *c, const char *val, struct err *e)
{
	u64 n;

	if (!cfg_parse_size(val, &n) || (val[strspn(val, "0123456789")] == '\0' && n))
		return want(e, "--memory", val, "a size with its unit, such as 512M or 2G");
	if (n < CFG_MEM_MIN)
		return want(e, "--memory", val, "8M or more");
	if (n % 4096)
		return want(e, "--memory", val, "a multiple of 4K");
	c->memory = n;
	return 0;
}

static int set_kernel(struct vm_config *c, const char *val, struct err *e)
{
	return copy_str(c->kernel.path, sizeof c->kernel.path, "--kernel", val, e);
}

static int set_firmware(struct vm_config *c, const char *val, struct err *e)
{
	return copy_str(c->firmware.path, sizeof c->firmware.path, "--firmware", val, e);
}

static int set_initrd(struct vm_config *c, const char *val, struct err *e)
{
	if (c->nr_initrds == CFG_INITRDS)
		return too_many(e, "--initrd", CFG_INITRDS);
	TRY(copy_str(c->initrd[c->nr_initrds].path, CFG_PATH, "--initrd", val, e));
	c->nr_initrds++;
	return 0;
}

static int set_initrd_args(struct vm_config *c, const char *val, struct err *e)
{
	if (!c->nr_initrds)
		return err_set(e, EINVAL, "--initrd-args: want the --initrd they are for before it");
	return copy_str(c->initrd[c->nr_initrds - 1].args, CFG_ARGS, "--initrd-args", val, e);
}

static int set_cmdline(struct vm_config *c, const char *val, struct err *e)
{
	c->has_cmdline = true;
	c->cmdline[0] = '\0';
	return *val ? copy_str(c->cmdline, sizeof c->cmdline, "--cmdline", val, e) : 0;
}

static int set_serial(struct vm_config *c, const char *val, struct err *e)
{
	bool ok = !strcmp(val, "stdio") || !strcmp(val, "pty") || !strcmp(val, "none") ||
		  (!strncmp(val, "unix:", 5) && val[5]) || (!strncmp(val, "file:", 5) && val[5]);

	if (!ok)
		return want(e, "--serial", val, "stdio, pty, unix:PATH, file:PATH or none");
	if (!strncmp(val, "unix:", 5) && strlen(val + 5) > 107)
		return want(e, "--serial", val, "a socket path of at most 107 bytes");
	return copy_str(c->serial, sizeof c->serial, "--serial", val, e);
}

static int set_name(struct vm_config *c, const char *val, struct err *e)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-_.";

	if (!*val || val[strspn(val, allowed)] || strlen(val) >= sizeof c->name)
		return want(e, "--name", val, "up to 63 letters, digits, '-', '_' or '.'");
	return copy_str(c->name, sizeof c->name, "--name", val, e);
}

static int set_agent(struct vm_config *c, const char *val UNUSED, struct err *e UNUSED)
{
	c->agent = true;
	return 0;
}

static int set_track_dirty(struct vm_config *c, const char *val UNUSED, struct err *e UNUSED)
{
	c->track_dirty = true;
	return 0;
}

static int set_debug_exit(struct vm_config *c, const char *val UNUSED, struct err *e UNUSED)
{
	c->debug_exit = true;
	return 0;
}

static int set_test_device(struct vm_config *c, const char *val UNUSED, struct err *e UNUSED)
{
	c->test_device = true;
	return 0;
}

static int set_json(struct vm_config *c, const char *val UNUSED, struct err *e UNUSED)
{
	c->json = true;
	return 0;
}

static int set_interpret(struct vm_config *c, const char *val UNUSED, struct err *e UNUSED)
{
	c->interpret = true;
	return 0;
}

static int set_perf_map(struct vm_config *c, const char *val UNUSED, struct err *e UNUSED)
{
	c->perf_map = true;
	return 0;
}

static int set_trace(struct vm_config *c, const char *val, struct err *e)
{
	if (!*val || !trace_enable(val))
		return want(e, "--trace", val, "events such as jit_block or lapic_*");
	return copy_str(c->trace, sizeof c->trace, "--trace", val, e);
}

static int set_code_cache(struct vm_config *c, const char *val, struct err *e)
{
	if (!cfg_parse_size(val, &c->code_cache) || c->code_cache < CFG_CODE_MIN ||
	    c->code_cache > CFG_CODE_MAX)
		return want(e, "--code-cache", val, "a size from 1M to 1G");
	return 0;
}

int cfg_parse_jail(const char *val, u32 *ret, struct err *e)
{
	static const char *const names[] = { "on", "off", "report", NULL };

	return parse_enum(ret, "--jail", val, names, "on, off or report", e);
}

static int set_jail(struct vm_config *c, const char *val, struct err *e)
{
	return cfg_parse_jail(val, &c->jail, e);
}

static int set_cgroup(struct vm_config *c, const char *val, struct err *e)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._";
	struct cgroup_config *g = &c->cgroup[c->nr_cgroups];
	const char *eq = strchr(val, '='), *dot = strchr(val, '.');
	size_t n = eq ? (size_t)(eq - val) : 0;

	if (!strcmp(val, "off")) {
		c->no_cgroup = true;
		return 0;
	}
	if (c->nr_cgroups == CFG_CGROUPS)
		return too_many(e, "--cgroup", CFG_CGROUPS);
	if (!eq || !dot || dot == val || dot >= eq - 1 || n >= sizeof g->file ||
	    strspn(val, allowed) != n || !eq[1] || !strncmp(val, "cgroup.", 7))
		return want(e, "--cgroup", val, "CONTROLLER.FILE=VALUE, such as memory.max=2G, or off");
	snprintf(g->file, sizeof g->file, "%.*s", (int)n, val);
	TRY(copy_str(g->value, sizeof g->value, "--cgroup", eq + 1, e));
	c->nr_cgroups++;
	return 0;
}

static int set_parent_cgroup(struct vm_config *c, const char *val, struct err *e)
{
	if (!*val || strstr(val, ".."))
		return want(e, "--parent-cgroup", val, "a path below the hierarchy's root");
	return copy_str(c->parent_cgroup, sizeof c->parent_cgroup, "--parent-cgroup", val, e);
}

static int set_verbose(struct vm_config *c, const char *val UNUSED, struct err *e UNUSED)
{
	c->verbose++;
	return 0;
}

static const struct option_def options[] = {
	{ "--engine", "auto|soft|kvm", "what runs the CPUs", set_engine },
	{ "--irqchip", "kernel|split", "with KVM: the kernel has all interrupt chips, or local APICs (split)",
	  set_irqchip },
	{ "--cpus", "N", "virtual CPUs (1)", set_cpus },
	{ "--cpu", "MODEL", "x86-64-v3 (default), x86-64-v2 or max", set_cpu },
	{ "--memory", "SIZE", "RAM, such as 512M (default) or 2G", set_memory },
	{ "--kernel", "FILE", "Linux bzImage, PVH ELF or Multiboot image", set_kernel },
	{ "--firmware", "FILE", "ROM image that starts instead of a kernel", set_firmware },
	{ "--initrd", "FILE", "initial RAM disk or Multiboot module; may repeat", set_initrd },
	{ "--initrd-args", "TEXT", "command line of the Multiboot module before it",
	  set_initrd_args },
	{ "--cmdline", "TEXT", "kernel command line", set_cmdline },
	{ "--disk", "path=FILE[,format=FORMAT][,readonly][,snapshot][,iops=][,bps=][,cache=]",
	  "a disk; may repeat",
	  set_disk },
	{ "--net", "user[,forward=HOST:GUEST]|tap=NAME|none[,mac=][,mtu=][,rx-rate=][,tx-rate=]",
	  "network (user); may repeat", set_net },
	{ "--share", "DIRECTORY[,tag=NAME][,ro]", "share a host directory (virtio-fs)", set_share },
	{ "--balloon", "[SIZE][,deflate-on-oom][,stats=SECONDS][,hinting][,no-reporting]|off",
	  "memory balloon (0M); the guest's free memory goes back to the host", set_balloon },
	{ "--transport", "pci|mmio", "how virtio devices are attached (pci)", set_transport },
	{ "--boot-timer", NULL, "log the time at which the guest writes 123 to 0xc0000000",
	  set_boot_timer },
	{ "--mmds", "FILE[,version=1|2][,address=169.254.X.Y]",
	  "metadata for the guest: JSON, at http://169.254.169.254", set_mmds },
	{ "--pmem", "path=FILE[,readonly]", "a file as persistent memory; may repeat", set_pmem },
	{ "--hotplug-memory", "TOTAL[,plugged=SIZE][,block=SIZE]",
	  "memory that can be added while the guest runs", set_hotplug_memory },
	{ "--vhost-user", "type=fs|blk|net,socket=PATH[,tag=NAME]",
	  "a device whose work another process does", set_vhost_user },
	{ "--vsock", "cid=N,path=SOCKET", "sockets between host and guest", set_vsock },
	{ "--serial", "stdio|pty|unix:PATH|file:PATH|none", "first serial port (stdio)",
	  set_serial },
	{ "--name", "NAME", "name of the VM", set_name },
	{ "--agent", NULL, "a port for an agent in the guest, which is told of restores and forks",
	  set_agent },
	{ "--track-dirty", NULL, "note what the guest writes, for vireo snapshot --diff",
	  set_track_dirty },
	{ "--debug-exit", NULL, "isa-debug-exit device at port 0xf4", set_debug_exit },
	{ "--test-device", NULL, "pc-testdev device", set_test_device },
	{ "--json", NULL, "events as JSON lines on standard error", set_json },
	{ "--jail", "on|off|report", "confine the monitor (on); say what is in force", set_jail },
	{ "--cgroup", "FILE=VALUE|off",
	  "limit of the VM's control group, such as cpu.max, io.max; may repeat", set_cgroup },
	{ "--parent-cgroup", "PATH", "make that group below this one (our own)", set_parent_cgroup },
	{ "--code-cache", "SIZE", "room for each CPU's translated code (128M)", set_code_cache },
	{ "--perf-map", NULL, "names of translated code for perf, in /tmp/perf-PID.map", set_perf_map },
	{ "--trace", "EVENTS", "show events on standard error, such as jit_block,lapic_*", set_trace },
	{ "--interpret", NULL, NULL, set_interpret },
	{ "-v", NULL, "say more", set_verbose },
};

/* "--opt" or "--opt=value" */
static const struct option_def *find_option(const char *word)
{
	size_t n = strcspn(word, "=");

	for (size_t i = 0; i < array_len(options); i++)
		if (strlen(options[i].name) == n && !strncmp(options[i].name, word, n))
			return &options[i];
	return NULL;
}

int cfg_parse_args(struct vm_config *c, int argc, char **argv, struct err *e)
{
	c->balloon = (struct balloon_config){ .present = true, .reporting = true };
	for (int i = 0; i < argc; i++) {
		const struct option_def *o = find_option(argv[i]);
		const char *val = strchr(argv[i], '=');

		if (!strcmp(argv[i], "--")) {
			c->command = argv + i + 1;
			c->nr_command = (u32)(argc - i - 1);
			if (!c->nr_command)
				return err_set(e, EINVAL, "--: want a command after it");
			return 0;
		}
		if (!o && argv[i][0] == '-')
			return err_set(e, EINVAL, "%.80s: unknown option: see vireo run --help",
				       argv[i]);
		if (!o)
			return err_set(e, EINVAL,
				       "\"%.80s\": want an option, or -- before a command",
				       argv[i]);
		if (!o->arg && val)
			return err_set(e, EINVAL, "%s: want no value", o->name);
		if (o->arg && !val && i + 1 == argc)
			return err_set(e, EINVAL, "%s: want %s after it", o->name, o->arg);
		if (o->arg)
			val = val ? val + 1 : argv[++i];
		TRY(o->set(c, val, e));
	}
	return 0;
}

void cfg_print_options(void)
{
	for (size_t i = 0; i < array_len(options); i++) {
		const struct option_def *o = &options[i];
		char left[80];

		if (!o->help)
			continue;
		snprintf(left, sizeof left, "%s %s", o->name, o->arg ? o->arg : "");
		printf(strlen(left) > 30 ? "  %s\n  %-30s %s\n" : "  %-30s %s%s\n", left,
		       strlen(left) > 30 ? "" : o->help, strlen(left) > 30 ? o->help : "");
	}
}
