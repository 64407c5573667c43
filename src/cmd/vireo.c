// SPDX-License-Identifier: Apache-2.0
/*
 * vireo.c - the command
 *
 * "vireo run" opens everything the options name, starts the monitor (vireo-vm) and
 * the network helper (vireo-net) found beside itself with those descriptors, waits,
 * and returns the monitor's status. docs/man/vireo.1 is the manual.
 */
#include "base/compiler.h"
#include "boot/boot.h"
#include "boot/jailed.h"
#include "cfg/cfg.h"
#include "clone/clone.h"
#include "cpu/cpu.h"
#include "ctl/ctl.h"
#include "disk/disk.h"
#include "net/net.h"
#include "os/cgroup.h"
#include "os/os.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

/* What the run holds besides its configuration. */
struct launch {
	struct vm_config cfg;
	struct proc vm;
	struct cgroup group;
	struct proc net[CFG_NETS];
	unsigned nr_net;
	bool own_socket; /* the serial socket's path is ours to remove on failure */
	bool own_vsock;	 /* and the vsock's */
	char control[CTL_PATH]; /* its control socket, ours to remove; "" = none */
	struct termios tty;
	bool has_tty;
};

/* -- files --------------------------------------------------------------------------------- */

static int open_one(const char *opt, const char *path, int flags, i32 *ret, struct err *e)
{
	int fd = open(path, flags | O_CLOEXEC, 0666);

	if (fd < 0)
		return err_set(e, errno, "%s: %.150s: %s", opt, path, strerror(errno));
	*ret = fd;
	return 0;
}

static int open_kernel_file(const char *opt, struct cfg_file *f, struct err *e)
{
	struct stat st;

	TRY(open_one(opt, f->path, O_RDONLY, &f->fd, e));
	if (fstat(f->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s: %.150s: want a regular file", opt, f->path);
	if (!st.st_size)
		return err_set(e, EINVAL, "%s: %.150s: empty file", opt, f->path);
	return 0;
}

/* As root every file opens for writing: the mode says what its owner meant. */
static int check_disk_mode(const struct disk_config *d, bool write, struct err *e)
{
	struct stat st;

	if (stat(d->path, &st) < 0)
		return err_set(e, errno, "--disk: %.150s: %s", d->path, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, EINVAL, "--disk: %.150s: want a file or a block device", d->path);
	if (write && (!(st.st_mode & 0222) || (access(d->path, W_OK) < 0 && errno != ENOENT)))
		return err_set(e, EACCES,
			       "--disk: %.150s: read-only file: want readonly or snapshot after it",
			       d->path);
	if (S_ISREG(st.st_mode) && st.st_size < 512) /* whatever the format */
		return err_set(e, EINVAL, "--disk: %.150s: want at least one sector of 512 bytes",
			       d->path);
	return 0;
}

/* The image, and every file it is allowed to stand on. */
static int open_chain(struct disk_config *d, bool write, struct err *e)
{
	struct disk_policy policy = { .allow = { d->allow }, .nr_allow = *d->allow != '\0' };
	struct disk_chain *c = malloc(sizeof *c);
	int r;

	if (!c)
		return err_set(e, ENOMEM, "--disk: out of memory");
	r = disk_resolve(c, d->path, *d->format ? d->format : NULL, write, false, &policy, e);
	for (unsigned i = 0; i < c->nr && !r; i++) {
		struct image_layer *y = &c->layer[i].l;

		if (d->nr_files + y->nr_extent + (i > 0) > CFG_DISK_FILES) {
			disk_chain_close(c);
			r = err_set(e, E2BIG, "%.150s: consists of too many files", d->path);
			break;
		}
		if (!i) {
			d->fd = y->fd;
			d->image_format = y->format;
		} else {
			d->file[d->nr_files++] = (struct disk_file_config){ y->fd, y->format, false };
		}
		for (unsigned k = 0; k < y->nr_extent; k++)
			d->file[d->nr_files++] =
				(struct disk_file_config){ y->extent[k], 0, true };
	}
	free(c);
	return r ? err_wrap(e, "--disk") : 0;
}

static int read_secret(struct disk_config *d, struct err *e)
{
	i32 fd;
	ssize_t n;

	if (!*d->secret_file)
		return 0;
	TRY(open_one("--disk secret-file", d->secret_file, O_RDONLY, &fd, e));
	n = read(fd, d->secret, sizeof d->secret - 1);
	close(fd);
	while (n > 0 && (d->secret[n - 1] == '\n' || d->secret[n - 1] == '\r'))
		n--;
	if (n <= 0)
		return err_set(e, EINVAL, "--disk: %.150s: want a passphrase of 1 to 511 bytes",
			       d->secret_file);
	d->secret[n] = '\0';
	return 0;
}

static int open_disk(struct disk_config *d, struct err *e)
{
	bool write = !d->read_only && !d->snapshot;

	TRY(check_disk_mode(d, write, e));
	TRY(open_chain(d, write, e));
	TRY(read_secret(d, e));
	if (flock(d->fd, (write ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return err_set(e, EBUSY, "--disk: %.150s: in use by another VM", d->path);
	return 0;
}

/* Commands on the running machine may come from elsewhere, and images name each other. */
static void full_path(struct disk_config *d)
{
	char full[PATH_MAX];

	if (realpath(d->path, full) && strlen(full) < sizeof d->path)
		strcpy(d->path, full);
}

static int open_shares(struct vm_config *c, struct err *e)
{
	for (u32 i = 0; i < c->nr_shares; i++)
		TRY(open_one("--share", c->share[i].path, O_RDONLY | O_DIRECTORY, &c->share[i].fd,
			     e));
	return 0;
}

/* -- serial --------------------------------------------------------------------------------- */

static int open_serial(struct launch *l, struct err *e)
{
	struct vm_config *c = &l->cfg;

	if (!*c->serial && c->nr_command && c->verbose) {
		strcpy(c->serial, "stderr");
		c->serial_fd = dup(STDERR_FILENO);
	} else if (!*c->serial) {
		strcpy(c->serial, c->nr_command ? "none" : "stdio");
	} else if (!strncmp(c->serial, "file:", 5)) {
		return open_one("--serial", c->serial + 5, O_WRONLY | O_CREAT | O_TRUNC,
				&c->serial_fd, e);
	} else if (!strncmp(c->serial, "unix:", 5)) {
		c->serial_fd = fd_listen_unix(c->serial + 5, 4, e);
		if (c->serial_fd < 0)
			return err_wrap(e, "--serial");
		l->own_socket = true;
	}
	return 0;
}

static int open_pmems(struct vm_config *c, struct err *e)
{
	for (u32 i = 0; i < c->nr_pmems; i++) {
		struct pmem_config *p = &c->pmem[i];
		struct stat st;

		TRY(open_one("--pmem", p->path, p->read_only ? O_RDONLY : O_RDWR, &p->fd, e));
		if (fstat(p->fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 512)
			return err_set(e, EINVAL, "--pmem: %.150s: want a file of at least 512 bytes",
				       p->path);
		if (flock(p->fd, (p->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
			return err_set(e, EBUSY, "--pmem: %.150s: in use by another VM", p->path);
	}
	return 0;
}

static int open_vhosts(struct vm_config *c, struct err *e)
{
	for (u32 i = 0; i < c->nr_vhosts; i++) {
		c->vhost[i].fd = fd_connect_unix(c->vhost[i].path);
		if (c->vhost[i].fd < 0)
			return err_set(e, -c->vhost[i].fd, "--vhost-user: %.150s: %s", c->vhost[i].path,
				       strerror(-c->vhost[i].fd));
	}
	return 0;
}

static int open_vsock(struct launch *l, struct err *e)
{
	struct vsock_config *v = &l->cfg.vsock;

	if (!v->present)
		return 0;
	v->fd = fd_listen_unix(v->uds_path, 64, e);
	if (v->fd < 0)
		return err_wrap(e, "--vsock");
	l->own_vsock = true;
	return 0;
}

/* -- network --------------------------------------------------------------------------------- */

static int open_tap_queue(const struct net_config *n, i32 *ret_fd, struct err *e)
{
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	if (n->nr_queues)
		r.ifr_flags |= IFF_MULTI_QUEUE;
	TRY(open_one("--net tap", "/dev/net/tun", O_RDWR | O_NONBLOCK, ret_fd, e));
	snprintf(r.ifr_name, sizeof r.ifr_name, "%s", n->tap);
	if (!ioctl(*ret_fd, TUNSETIFF, &r))
		return 0;
	if (errno == EINVAL)
		return err_set(e, EINVAL, "--net: tap=%s: want a TAP interface made %s multi_queue", n->tap,
			       n->nr_queues ? "with" : "without");
	return err_set(e, errno, "--net: tap=%s: %s", n->tap, strerror(errno));
}

static int open_tap(struct net_config *n, struct err *e)
{
	if (n->nr_queues && n->mmds)
		return err_set(e, EINVAL, "--net queues: want one where --mmds is");
	TRY(open_tap_queue(n, &n->fd, e));
	for (u32 k = 0; k < n->nr_queues; k++)
		TRY(open_tap_queue(n, &n->queue[k].fd, e));
	return 0;
}

static int start_user_net(struct launch *l, struct net_config *n, struct err *e)
{
	char text[CFG_FORWARDS][16];
	const char *forward[CFG_FORWARDS];

	for (u32 i = 0; i < n->nr_forwards; i++) {
		snprintf(text[i], sizeof text[i], "%u:%u", n->forward[i].host_port,
			 n->forward[i].guest_port);
		forward[i] = text[i];
	}
	TRY(net_spawn_user(forward, n->nr_forwards, l->group.procs_fd, &l->net[l->nr_net], &n->fd, e));
	l->nr_net++;
	return 0;
}

static int open_nets(struct launch *l, struct err *e)
{
	struct vm_config *c = &l->cfg;

	if (!c->nr_nets)
		c->net[c->nr_nets++].kind = CFG_NET_USER;
	if (c->mmds.present)
		TRY(open_one("--mmds", c->mmds.path, O_RDONLY, &c->mmds.fd, e));
	for (u32 i = 0; i < c->nr_nets; i++) {
		c->net[i].mmds = c->mmds.present;
		if (c->net[i].kind == CFG_NET_TAP)
			TRY(open_tap(&c->net[i], e));
		else if (c->net[i].kind == CFG_NET_USER)
			TRY(start_user_net(l, &c->net[i], e));
	}
	return 0;
}

/* -- the control group --------------------------------------------------------------------------- */

#define GROUP_PIDS   1024 /* threads, those of io_uring too */
#define GROUP_ROOM   (1ull << 30) /* memory of processes and files beyond RAM and translated code */
#define CODE_DEFAULT (160ull << 20) /* translated code of a CPU, and what it takes to find it */

/* What holds unless told otherwise: far above what a VM needs, so that only a runaway meets it. */
static void default_limits(const struct vm_config *c, char mem[32], char pids[32])
{
	u64 code = c->engine == CFG_ENGINE_KVM ? 0 : c->code_cache ? 2 * c->code_cache : CODE_DEFAULT;
	u64 bytes = c->memory + ((u64)c->memhp.total_mib << 20) + c->nr_cpus * code + GROUP_ROOM;

	snprintf(mem, 32, "%llu", (unsigned long long)bytes);
	snprintf(pids, 32, "%u", GROUP_PIDS + c->nr_cpus);
}

/* Around the monitor and its helpers, if it is asked for: then its limits must hold. */
static int make_group(struct launch *l, struct err *e)
{
	const struct vm_config *c = &l->cfg;
	struct cgroup_setting s[CFG_CGROUPS + 2];
	char mem[32], pids[32], name[CFG_NAME + 32];
	struct err why = { 0 };
	unsigned n = 0;

	default_limits(c, mem, pids);
	if (!c->no_cgroup && (c->nr_cgroups || *c->parent_cgroup)) {
		s[n++] = (struct cgroup_setting){ "memory.max", mem, false };
		s[n++] = (struct cgroup_setting){ "pids.max", pids, false };
	}
	for (u32 i = 0; i < c->nr_cgroups; i++)
		s[n++] = (struct cgroup_setting){ c->cgroup[i].file, c->cgroup[i].value, true };
	snprintf(name, sizeof name, "vireo-%d", (int)getpid());
	if (cgroup_new(&l->group, *c->parent_cgroup ? c->parent_cgroup : NULL, name, s, n, &why))
		return err_set(e, why.code, "--%s: %.200s",
			       c->nr_cgroups ? "cgroup" : "parent-cgroup", why.msg);
	return 0;
}

/* -- what to boot ------------------------------------------------------------------------------ */

static int add_cmdline(struct vm_config *c, struct err *e, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int add_cmdline(struct vm_config *c, struct err *e, const char *fmt, ...)
{
	size_t n = strlen(c->cmdline);
	va_list ap;
	int r;

	if (n && n + 1 < sizeof c->cmdline)
		c->cmdline[n++] = ' ';
	va_start(ap, fmt);
	r = vsnprintf(c->cmdline + n, sizeof c->cmdline - n, fmt, ap);
	va_end(ap);
	if (r < 0 || (size_t)r >= sizeof c->cmdline - n)
		return err_set(e, E2BIG, "--cmdline: want at most %zu bytes",
			       sizeof c->cmdline - 1);
	return 0;
}

/* The words of a default come before the user's, which win. */
static int quickstart_cmdline(struct vm_config *c, struct err *e)
{
	static const char term_chars[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	const char *term = getenv("TERM");
	char user[CFG_CMDLINE];
	u16 cols, rows;

	strcpy(user, c->cmdline);
	c->cmdline[0] = '\0';
	TRY(add_cmdline(c, e, "console=ttyS0 " QUICKSTART_CMDLINE));
	if (!c->nr_command && term && *term && !term[strspn(term, term_chars)])
		TRY(add_cmdline(c, e, "TERM=%s", term));
	if (c->nr_command)
		TRY(add_cmdline(c, e, "panic=-1 vireo.run"));
	if (*c->name)
		TRY(add_cmdline(c, e, "vireo.host=%s", c->name));
	if (!c->nr_command && term_size(STDOUT_FILENO, &cols, &rows))
		TRY(add_cmdline(c, e, "vireo.winsize=%ux%u", rows, cols));
	if (c->nr_nets && c->net[0].kind != CFG_NET_USER)
		TRY(add_cmdline(c, e, "vireo.ip=none"));
	for (u32 n = 0; n < c->nr_shares; n++)
		TRY(add_cmdline(c, e, "vireo.share=%s:/mnt/%s", c->share[n].tag, c->share[n].tag));
	return *user ? add_cmdline(c, e, "%s", user) : 0;
}

static int boot_quickstart(struct vm_config *c, struct err *e)
{
	struct quickstart q;

	TRY(quickstart_get(&q, true, e));
	if (strlen(q.kernel) >= CFG_PATH || strlen(q.initrd) >= CFG_PATH)
		return err_set(e, ENAMETOOLONG, "quick-start guest: %.100s: path too long",
			       q.kernel);
	strcpy(c->kernel.path, q.kernel);
	strcpy(c->initrd[0].path, q.initrd);
	c->nr_initrds = 1;
	c->agent = !c->nr_command;
	TRY(open_kernel_file("quick-start guest", &c->kernel, e));
	TRY(open_kernel_file("quick-start guest", &c->initrd[0], e));
	return quickstart_cmdline(c, e);
}

static int read_blk(const struct disk_reader *d, u64 off, void *buf, size_t len)
{
	return disk_read(d->ctx, off, buf, len);
}

struct kernel_search {
	const struct disk_config *d;
	struct loop *loop;
	struct disk_reader r;
};

/* A raw disk is open already. */
static int open_search(void *ctx, struct err *e)
{
	struct kernel_search *s = ctx;
	const struct disk_config *d = s->d;

	s->loop = loop_new(e);
	s->r.read = read_blk;
	s->r.ctx = s->loop ? disk_open_read(s->loop, d->path, image_format_name(d->image_format),
					    d->allow, d->secret, e) : NULL;
	if (!s->r.ctx)
		return -e->code;
	s->r.size = disk_size(s->r.ctx);
	return 0;
}

static int search(void *ctx, struct jailed_result *ret, struct err *e)
{
	const struct kernel_search *s = ctx;

	if (s->d->image_format == IMAGE_RAW)
		return disk_find_kernel(s->d->fd, &ret->fd[0], &ret->fd[1], ret->text, e);
	return disk_find_kernel_in(&s->r, &ret->fd[0], &ret->fd[1], ret->text, e);
}

/* The file system is the guest's work: it is read in a jail. */
static int find_kernel(const struct disk_config *d, i32 *kernel, int *initrd, char *root,
		       struct err *e)
{
	struct kernel_search s = { .d = d };
	const struct jailed_work w = { .open = d->image_format == IMAGE_RAW ? NULL : open_search,
				       .fn = search, .ctx = &s };
	struct jailed_result ret;

	TRY(jailed_run(&w, &ret, e));
	*kernel = ret.fd[0];
	*initrd = ret.fd[1];
	snprintf(root, DISK_ROOT_MAX, "%.*s", DISK_ROOT_MAX - 1, ret.text);
	return 0;
}

static int boot_disk(struct vm_config *c, struct err *e)
{
	char root[DISK_ROOT_MAX];
	int initrd = -1;

	if (find_kernel(&c->disk[0], &c->kernel.fd, &initrd, root, e))
		return err_wrap(e, "--disk: %.100s", c->disk[0].path);
	strcpy(c->kernel.path, "the disk's kernel");
	if (initrd >= 0) {
		c->initrd[0].fd = initrd;
		strcpy(c->initrd[0].path, "the disk's initrd");
		c->nr_initrds = 1;
	}
	if (!c->has_cmdline)
		return add_cmdline(c, e, "%s ro console=ttyS0", root);
	return 0;
}

static int open_boot(struct vm_config *c, struct err *e)
{
	if (*c->kernel.path) {
		TRY(open_kernel_file("--kernel", &c->kernel, e));
		TRY(boot_gunzip(&c->kernel.fd, c->kernel.path, e));
		for (u32 i = 0; i < c->nr_initrds; i++)
			TRY(open_kernel_file("--initrd", &c->initrd[i], e));
		return c->has_cmdline ? 0 : add_cmdline(c, e, "console=ttyS0");
	}
	if (*c->firmware.path)
		return open_kernel_file("--firmware", &c->firmware, e);
	return c->nr_disks ? boot_disk(c, e) : boot_quickstart(c, e);
}

static int check_host(const struct vm_config *c, struct err *e)
{
	u64 host = (u64)sysconf(_SC_PHYS_PAGES) * (u64)sysconf(_SC_PAGESIZE);

	if (c->memory > host)
		return err_set(e, ENOMEM, "--memory: %llu MiB: the host has only %llu MiB",
			       (unsigned long long)(c->memory >> 20),
			       (unsigned long long)(host >> 20));
	return 0;
}

/* Unless told otherwise: KVM where it can run the guest, else the software engine. */
static int choose_engine(struct vm_config *c, struct err *e)
{
	struct err why = { 0 };
	int fd;

	if (c->engine == CFG_ENGINE_SOFT)
		return 0;
	if (c->interpret && c->engine == CFG_ENGINE_KVM)
		return err_set(e, EINVAL, "--interpret: want --engine soft with it");
	if (c->interpret) {
		c->engine = CFG_ENGINE_SOFT;
		return 0;
	}
	fd = cpu_kvm_open(&why);
	if (fd < 0 && c->engine == CFG_ENGINE_KVM)
		return err_set(e, why.code, "--engine kvm: %.200s", why.msg);
	if (fd < 0 && c->verbose)
		fprintf(stderr, "vireo: engine: not KVM: %s\n", why.msg);
	c->engine = fd < 0 ? CFG_ENGINE_SOFT : CFG_ENGINE_KVM;
	c->kvm_fd = fd < 0 ? -1 : fd;
	return 0;
}

/* Its name among the running VMs. Without a run directory it runs all the same. */
static int open_control(struct launch *l, struct err *e)
{
	struct vm_config *c = &l->cfg;
	struct err why = { 0 };
	int fd;

	if (!*c->name)
		snprintf(c->name, sizeof c->name, "vm-%d", (int)getpid());
	fd = ctl_listen(c->name, l->control, &why);
	if (fd >= 0) {
		c->control_fd = fd;
		return 0;
	}
	l->control[0] = '\0';
	if (fd == -EADDRINUSE)
		return err_set(e, EADDRINUSE, "--name: %s", why.msg);
	if (c->verbose)
		fprintf(stderr, "vireo: no control socket: %s\n", why.msg);
	return 0;
}

/*
 * A restored machine has its kernel in memory: the files are for when its guest restarts,
 * which fails if they are gone.
 */
static void reopen_boot(struct vm_config *c)
{
	struct err ignored = { 0 };
	char root[DISK_ROOT_MAX];
	int initrd = -1;

	if (*c->kernel.path == '/' && open_kernel_file("kernel", &c->kernel, &ignored))
		return;
	for (u32 i = 0; i < c->nr_initrds && *c->kernel.path == '/'; i++)
		if (open_kernel_file("initrd", &c->initrd[i], &ignored))
			return;
	if (c->kernel.fd < 0 && c->nr_disks &&
	    !find_kernel(&c->disk[0], &c->kernel.fd, &initrd, root, &ignored))
		c->initrd[0].fd = initrd;
}

static int open_all(struct launch *l, struct err *e)
{
	TRY(check_host(&l->cfg, e));
	TRY(choose_engine(&l->cfg, e));
	for (u32 i = 0; i < l->cfg.nr_disks; i++)
		TRY(open_disk(&l->cfg.disk[i], e));
	if (l->cfg.restore.state_fd < 0)
		TRY(open_boot(&l->cfg, e));
	else if (!*l->cfg.parent) /* a fork is to start fast */
		reopen_boot(&l->cfg);
	TRY(open_shares(&l->cfg, e));
	TRY(open_serial(l, e));
	TRY(open_vsock(l, e));
	TRY(open_pmems(&l->cfg, e));
	TRY(open_vhosts(&l->cfg, e));
	TRY(open_control(l, e));
	TRY(make_group(l, e));
	return open_nets(l, e);
}

/* -- the monitor --------------------------------------------------------------------------------
 */

#define FD_CONFIG 3
#define FDS_MAX                                                                                    \
	(14 + CFG_INITRDS + CFG_DISKS * (2 + CFG_DISK_FILES) + CFG_NETS + CFG_SHARES + CFG_PMEMS + \
	 CFG_VHOSTS)

struct fd_list {
	struct proc_fd map[FDS_MAX];
	unsigned nr;
};

/* Give the child @fd; the configuration then says its number there. */
static void pass(struct fd_list *l, i32 *fd)
{
	int dst = FD_CONFIG + 1 + (int)l->nr;

	if (*fd < 0)
		return;
	l->map[l->nr++] = (struct proc_fd){ .src = *fd, .dst = dst };
	*fd = dst;
}

static void pass_all(struct fd_list *l, struct vm_config *c)
{
	pass(l, &c->kvm_fd);
	pass(l, &c->kernel.fd);
	pass(l, &c->firmware.fd);
	for (u32 i = 0; i < c->nr_initrds; i++)
		pass(l, &c->initrd[i].fd);
	for (u32 i = 0; i < c->nr_disks; i++) {
		full_path(&c->disk[i]);
		pass(l, &c->disk[i].fd);
		for (u32 k = 0; k < c->disk[i].nr_files; k++)
			pass(l, &c->disk[i].file[k].fd);
	}
	for (u32 i = 0; i < c->nr_nets; i++) {
		pass(l, &c->net[i].fd);
		for (u32 k = 0; k < c->net[i].nr_queues; k++)
			pass(l, &c->net[i].queue[k].fd);
	}
	for (u32 i = 0; i < c->nr_shares; i++)
		pass(l, &c->share[i].fd);
	pass(l, &c->serial_fd);
	pass(l, &c->perf_fd);
	pass(l, &c->vsock.fd);
	pass(l, &c->control_fd);
	for (u32 i = 0; i < c->nr_disks; i++)
		pass(l, &c->disk[i].layer_fd);
	pass(l, &c->restore.state_fd);
	pass(l, &c->restore.mem_fd);
	pass(l, &c->restore.over_fd);
	pass(l, &c->restore.pages_fd);
	pass(l, &c->ready_fd);
	pass(l, &c->mmds.fd);
	for (u32 i = 0; i < c->nr_pmems; i++)
		pass(l, &c->pmem[i].fd);
	for (u32 i = 0; i < c->nr_vhosts; i++)
		pass(l, &c->vhost[i].fd);
}

static int write_config(const struct vm_config *c, struct err *e)
{
	char *text = cfg_to_json(c);
	int fd, r;

	if (!text)
		return err_set(e, ENOMEM, "config: out of memory");
	fd = fd_memfd("config", 0);
	r = fd < 0 ? fd : fd_write_full(fd, text, strlen(text));
	free(text);
	return r < 0 ? err_set(e, -r, "config: %s", strerror(-r)) : fd;
}

static void make_absolute(char path[CFG_PATH])
{
	char *full = *path ? realpath(path, NULL) : NULL;

	if (full && strlen(full) < CFG_PATH)
		strcpy(path, full);
	free(full);
}

/* A snapshot names these files, and may be restored from another directory. */
static void make_paths_absolute(struct vm_config *c)
{
	make_absolute(c->kernel.path);
	for (u32 i = 0; i < c->nr_initrds; i++)
		make_absolute(c->initrd[i].path);
	for (u32 i = 0; i < c->nr_disks; i++) {
		make_absolute(c->disk[i].path);
		make_absolute(c->disk[i].allow);
		make_absolute(c->disk[i].secret_file);
	}
	for (u32 i = 0; i < c->nr_shares; i++)
		make_absolute(c->share[i].path);
	for (u32 i = 0; i < c->nr_pmems; i++)
		make_absolute(c->pmem[i].path);
}

#define PERF_MAP "/tmp/vireo-perf-XXXXXX"

/* The list of translated code: its name has the monitor's process number, known when it runs. */
static int open_perf_map(struct vm_config *c, char path[sizeof PERF_MAP], struct err *e)
{
	memcpy(path, PERF_MAP, sizeof PERF_MAP);
	if (!c->perf_map)
		return 0;
	c->perf_fd = mkostemp(path, O_CLOEXEC | O_APPEND);
	return c->perf_fd < 0 ? err_set(e, errno, "--perf-map: %s: %s", path, strerror(errno)) : 0;
}

static void name_perf_map(const struct launch *l, const char *path)
{
	char to[64];

	snprintf(to, sizeof to, "/tmp/perf-%d.map", (int)l->vm.pid);
	if (l->cfg.perf_map && rename(path, to) < 0)
		fprintf(stderr, "vireo: --perf-map: %s: %s; it stays %s\n", to, strerror(errno), path);
	else if (l->cfg.perf_map && l->cfg.verbose)
		fprintf(stderr, "vireo: translated code is listed in %s\n", to);
}

static int start_monitor(struct launch *l, struct err *e)
{
	char map[sizeof PERF_MAP];
	static const char *const argv[] = { "vireo-vm", "--config-fd", "3", NULL };
	struct fd_list fds = { .nr = 0 };
	char prog[PATH_MAX];
	struct proc_spec spec = { .path = prog, .argv = argv, .fd = fds.map, .die_with_us = true,
				 .cgroup_fd = l->group.procs_fd };
	int fd;

	if (proc_sibling("vireo-vm", prog, sizeof prog))
		return err_set(e, ENOENT, "vireo-vm: not found beside vireo");
	TRY(open_perf_map(&l->cfg, map, e));
	make_paths_absolute(&l->cfg);
	pass_all(&fds, &l->cfg);
	fd = write_config(&l->cfg, e);
	if (fd < 0)
		return fd;
	fds.map[fds.nr++] = (struct proc_fd){ .src = fd, .dst = FD_CONFIG };
	spec.nr_fd = fds.nr;
	TRY(proc_spawn(&l->vm, &spec, e));
	name_perf_map(l, map);
	for (unsigned i = 0; i < fds.nr; i++)
		close(fds.map[i].src);
	return 0;
}

#define STOP_MS 5000 /* for the monitor to end when asked */
#define KILL_MS 2000 /* for the kernel to end it when killed */
#define IMPATIENT_NS 500000000ull /* another signal that much later: do not wait */

/* Asked to stop by @sig, the monitor did not end in time, or was asked twice. Return: the status. */
static int end_monitor(struct launch *l, int sig)
{
	struct pollfd p = { .fd = l->vm.pidfd, .events = POLLIN };

	proc_kill(&l->vm, SIGKILL);
	fputs("vireo: the machine did not end when asked: killed\n", stderr);
	if (poll(&p, 1, KILL_MS) == 1)
		proc_wait(&l->vm);
	else
		fprintf(stderr, "vireo: process %d waits in the kernel, for a disk or file system that "
				"does not answer: left to end when that does\n", (int)l->vm.pid);
	return 128 + sig;
}

/* Wait for the monitor, handing on the signals that ask us to stop. */
static int wait_monitor(struct launch *l, int sigfd)
{
	struct pollfd p[] = { { .fd = l->vm.pidfd, .events = POLLIN },
			      { .fd = sigfd, .events = POLLIN } };
	struct signalfd_siginfo si;
	int asked = 0, n;
	u64 since = 0;

	while (!(p[0].revents & POLLIN)) {
		n = poll(p, array_len(p), asked ? STOP_MS : -1);
		if (n < 0 && errno != EINTR)
			break;
		if (n == 0)
			return end_monitor(l, asked);
		if (n < 0 || !(p[1].revents & POLLIN) || read(sigfd, &si, sizeof si) != sizeof si)
			continue;
		if (asked && os_now_ns() - since > IMPATIENT_NS)
			return end_monitor(l, asked);
		since = asked ? since : os_now_ns();
		asked = (int)si.ssi_signo;
		proc_kill(&l->vm, asked);
	}
	return proc_wait(&l->vm);
}

static void clean_up(struct launch *l)
{
	if (l->own_socket)
		unlink(l->cfg.serial + 5);
	if (l->own_vsock)
		unlink(l->cfg.vsock.uds_path);
	if (*l->control)
		unlink(l->control);
	for (unsigned i = 0; i < l->nr_net; i++) {
		proc_kill(&l->net[i], SIGTERM);
		proc_wait(&l->net[i]);
	}
	cgroup_free(&l->group);
	if (l->has_tty)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &l->tty);
}

static int fail(const char *what, const struct err *e, int status)
{
	fprintf(stderr, "vireo: %s%s%s\n", what, *what ? ": " : "", e->msg);
	return status;
}

static void run_help(void)
{
	fputs("usage: vireo run [OPTION]...\n"
	      "       vireo run [OPTION]... -- COMMAND [ARGUMENT]...\n\n"
	      "Boots a virtual machine in the foreground: the quick-start guest, a disk's own\n"
	      "kernel (--disk alone), or a kernel of yours (--kernel). With a command, runs it in\n"
	      "the quick-start guest and returns its status. Ctrl-] then q leaves.\n\n",
	      stdout);
	cfg_print_options();
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

/* From a configuration to the end of the machine. */
static int launch(struct launch *l)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP };
	struct err e = { 0 };
	int sigfd, status;

	l->has_tty = tcgetattr(STDIN_FILENO, &l->tty) == 0;
	status = l->cfg.nr_command ? VM_STATUS_NO_RESULT : VM_STATUS_ERROR;
	if (open_all(l, &e)) {
		clean_up(l);
		return fail("", &e, status);
	}
	sigfd = fd_signalfd(sigs, array_len(sigs));
	if (start_monitor(l, &e)) {
		clean_up(l);
		return fail("", &e, status);
	}
	status = wait_monitor(l, sigfd);
	clean_up(l);
	return status;
}

static int cmd_run(int argc, char **argv)
{
	static struct launch l;
	struct err e = { 0 };

	if (wants_help(argc, argv)) {
		run_help();
		return 0;
	}
	cfg_init(&l.cfg);
	if (cfg_parse_args(&l.cfg, argc, argv, &e) || cfg_check(&l.cfg, &e))
		return fail("run", &e, VM_STATUS_USAGE);
	return launch(&l);
}

static int cmd_restore(int argc, char **argv)
{
	static struct launch l;
	struct err e = { 0 };
	int r;

	if (wants_help(argc, argv)) {
		clone_restore_help();
		return 0;
	}
	cfg_init(&l.cfg);
	r = clone_parse_restore(&l.cfg, argc, argv, &e);
	if (r)
		return fail("restore", &e, r == -EINVAL ? VM_STATUS_USAGE : VM_STATUS_ERROR);
	return launch(&l);
}

static int cmd_fork(int argc, char **argv)
{
	return clone_fork_main(argc, argv, cmd_restore);
}

/* -- the other subcommands ------------------------------------------------------------------------
 */

static int cmd_image(int argc, char **argv)
{
	struct err e = { 0 };

	if (argc < 1 || strcmp(argv[0], "build") != 0) {
		fputs("vireo: image: want \"build\", as in: vireo image build debian:12 -o F\n",
		      stderr);
		return VM_STATUS_USAGE;
	}
	boot_exec("image-build", argv + 1, &e);
	return fail("image build", &e, VM_STATUS_ERROR);
}

static int cmd_help(int argc UNUSED, char **argv UNUSED)
{
	fputs("usage: vireo COMMAND\n\n"
	      "  run           boot a virtual machine (vireo run --help)\n"
	      "  list          running virtual machines\n"
	      "  info          what one of them is (vireo info NAME)\n"
	      "  stats         what its engine counted (vireo stats NAME)\n"
	      "  pause, resume stop its CPUs, and let them go on\n"
	      "  stop          shut it down (vireo stop [-f] NAME)\n"
	      "  snapshot      save a running machine (vireo snapshot --help)\n"
	      "  restore       run a saved one (vireo restore --help)\n"
	      "  fork          copies of a running one (vireo fork --help)\n"
	      "  tree          running machines and their forks\n"
	      "  disk          make, convert, check disk images (vireo disk --help)\n"
	      "  image build   make a bootable Debian disk (vireo image build --help)\n"
	      "  help          this text\n\n"
	      "  --version     print the version\n\n"
	      "The manual is vireo(1).\n",
	      stdout);
	return 0;
}

static int cmd_version(int argc UNUSED, char **argv UNUSED)
{
	puts("vireo " VM_VERSION);
	return 0;
}

static const struct {
	const char *name;
	int (*fn)(int argc, char **argv);
} commands[] = {
	{ "list", ctl_list_main }, { "info", ctl_info_main }, { "stats", ctl_stats_main },
	{ "pause", ctl_pause_main },
	{ "resume", ctl_resume_main }, { "stop", ctl_stop_main },
	{ "snapshot", clone_snapshot_main }, { "restore", cmd_restore },
	{ "fork", cmd_fork }, { "tree", clone_tree_main },
	{ "run", cmd_run },     { "image", cmd_image }, { "disk", disk_main }, { "help", cmd_help },
	{ "--help", cmd_help }, { "-h", cmd_help },     { "--version", cmd_version },
};

int main(int argc, char **argv)
{
	if (argc < 2) {
		fputs("vireo: want a command: see vireo --help\n", stderr);
		return VM_STATUS_USAGE;
	}
	for (size_t i = 0; i < array_len(commands); i++)
		if (!strcmp(commands[i].name, argv[1]))
			return commands[i].fn(argc - 2, argv + 2);
	fprintf(stderr, "vireo: \"%.80s\": unknown command: see vireo --help\n", argv[1]);
	return VM_STATUS_USAGE;
}
