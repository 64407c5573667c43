// SPDX-License-Identifier: Apache-2.0
/*
 * attack.c - code in the monitor's place: what can it do?
 *
 * usage: jail-attack ROLE [DIRECTORY]
 *        jail-attack ROLE violate	one forbidden call, with the jail's own handler
 *
 * Enters the jail as the monitor does (jail/jail.h), starts a thread in ROLE, and tries
 * there what an attacker would. Prints a line per attempt that was not refused, a
 * report, and the number of attempts; ends with status 0 only if all were refused.
 * With DIRECTORY it is served: files in it by name are allowed then, nothing else is.
 */
#include "base/compiler.h"
#include "jail/jail.h"
#include "os/aio.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/audit.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define NR_CALLS  512
#define NR_IOCTLS 80000

static _Thread_local volatile sig_atomic_t trapped;
static unsigned attempts, failures;
static int data_fd; /* a file the process has open */
static const char *dir;
static pid_t parent;
static enum jail_role role;
static struct io_uring ring;
static bool has_ring;

/* Refused: the handler of the jail would end the process here. Go on, to try the next. */
static void on_sigsys(int sig UNUSED, siginfo_t *si UNUSED, void *uc)
{
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_RAX] = -EPERM;
	trapped = 1;
}

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	trapped = 0;
	return syscall(nr, a, b, c, d, e, f);
}

/* The filter stopped it. */
static void must_trap(const char *what, long r)
{
	attempts++;
	if (trapped)
		return;
	failures++;
	printf("NOT REFUSED by the filter: %s: returned %ld (%s)\n", what, r,
	       r < 0 ? strerror(errno) : "success");
}

/* Whatever stopped it. */
static void must_fail(const char *what, long r)
{
	attempts++;
	if (trapped || r < 0)
		return;
	failures++;
	printf("NOT REFUSED: %s: returned %ld\n", what, r);
}

/* -- what an attacker wants ---------------------------------------------------------------- */

static void open_files(void)
{
	static const char *const names[] = { "/",        "/etc/passwd", "/proc/self/mem",
					     "/dev/kvm", "/tmp/x",      "../../../../etc/passwd" };
	struct open_how how = { .flags = O_RDONLY };

	for (size_t i = 0; i < array_len(names); i++) {
		long n = (long)names[i];
		bool own_root = dir && i == 0; /* what is left of it may be looked at */

		must_fail("open", call(SYS_open, n, O_RDONLY, 0, 0, 0, 0));
		must_fail("creat", call(SYS_creat, n, 0600, 0, 0, 0, 0));
		must_fail("truncate", call(SYS_truncate, n, 0, 0, 0, 0, 0));
		must_fail("openat for writing", call(SYS_openat, AT_FDCWD, n, O_RDWR, 0, 0, 0));
		must_fail("making a file",
			  call(SYS_openat, AT_FDCWD, n, O_WRONLY | O_CREAT, 0600, 0, 0));
		must_fail("chmod", call(SYS_chmod, n, 0777, 0, 0, 0, 0));
		if (own_root)
			continue;
		must_fail("openat", call(SYS_openat, AT_FDCWD, n, O_RDONLY, 0, 0, 0));
		must_fail("openat2", call(SYS_openat2, AT_FDCWD, n, (long)&how, sizeof how, 0, 0));
	}
	must_fail("mknod", call(SYS_mknodat, AT_FDCWD, (long)"/x", S_IFCHR | 0666, 0x101, 0, 0));
	must_fail("open_by_handle_at", call(SYS_open_by_handle_at, data_fd, 0, 0, 0, 0, 0));
	must_trap("memfd_create", call(SYS_memfd_create, (long)"x", 0, 0, 0, 0, 0));
}

static void leave_directory(void)
{
	int d;

	if (!dir)
		return;
	trapped = 0;
	d = openat(data_fd, ".", O_RDONLY | O_DIRECTORY);
	if (role == JAIL_IO) {
		must_trap("opening in a served directory", d);
		return;
	}
	attempts++;
	if (d < 0) {
		failures++;
		printf("a served directory cannot be used: %s\n", strerror(errno));
		return;
	}
	must_fail("../etc/passwd of a served directory", openat(d, "../etc/passwd", O_RDONLY));
	must_fail("../../../etc/passwd", openat(d, "../../../../../../etc/passwd", O_RDONLY));
	must_fail("a device in a served directory", mknodat(d, "dev", S_IFCHR | 0666, 0x101));
	close(d);
}

static void make_sockets(void)
{
	static const int families[] = { AF_UNIX,   AF_INET,  AF_INET6, AF_NETLINK,
					AF_PACKET, AF_VSOCK, AF_ALG,   AF_BLUETOOTH };

	for (size_t i = 0; i < array_len(families); i++)
		if (!(role == JAIL_NET && (families[i] == AF_INET || families[i] == AF_INET6)) &&
		    !(role == JAIL_OPENER && families[i] == AF_UNIX))
			must_trap("socket", call(SYS_socket, families[i], SOCK_STREAM, 0, 0, 0, 0));
	must_trap("socketpair", call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, 0, 0, 0));
	if (role == JAIL_NET || role == JAIL_OPENER)
		return;
	must_trap("bind", call(SYS_bind, data_fd, 0, 0, 0, 0, 0));
	must_trap("connect", call(SYS_connect, data_fd, 0, 0, 0, 0, 0));
}

static void make_processes(void)
{
	const long thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			    CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |
			    CLONE_CHILD_CLEARTID;
	u64 args[11] = { 0, 0, 0, 0, SIGCHLD };
	const char *argv[] = { "/bin/sh", NULL };

	must_trap("fork", call(SYS_fork, 0, 0, 0, 0, 0, 0));
	must_trap("vfork", call(SYS_vfork, 0, 0, 0, 0, 0, 0));
	must_trap("clone of a process", call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0));
	must_trap("clone of a thread", call(SYS_clone, thread, 0, 0, 0, 0, 0));
	must_fail("clone3", call(SYS_clone3, (long)args, sizeof args, 0, 0, 0, 0));
	must_trap("execve", call(SYS_execve, (long)argv[0], (long)argv, 0, 0, 0, 0));
	must_trap("execveat", call(SYS_execveat, data_fd, (long)"", (long)argv, 0, 0x1000, 0));
	must_trap("unshare", call(SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0, 0));
	must_trap("setns", call(SYS_setns, data_fd, 0, 0, 0, 0, 0));
	must_trap("setuid", call(SYS_setuid, 0, 0, 0, 0, 0, 0));
	must_trap("setresuid", call(SYS_setresuid, 0, 0, 0, 0, 0, 0));
	must_trap("capset", call(SYS_capset, 0, 0, 0, 0, 0, 0));
	must_trap("dropping no_new_privs", call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0, 0));
	must_trap("dumpable", call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0, 0));
	must_trap("ptracer", call(SYS_prctl, PR_SET_PTRACER, -1, 0, 0, 0, 0));
	must_trap("another filter", call(SYS_seccomp, 1, 0, 0, 0, 0, 0));
}

static void reach_others(void)
{
	struct iovec v = { &v, sizeof v };

	must_trap("kill parent", call(SYS_kill, parent, SIGKILL, 0, 0, 0, 0));
	must_trap("kill all", call(SYS_kill, -1, SIGKILL, 0, 0, 0, 0));
	must_trap("tgkill of another", call(SYS_tgkill, parent, parent, SIGKILL, 0, 0, 0));
	must_trap("tkill", call(SYS_tkill, parent, SIGKILL, 0, 0, 0, 0));
	must_trap("rt_sigqueueinfo", call(SYS_rt_sigqueueinfo, parent, SIGKILL, 0, 0, 0, 0));
	must_trap("pidfd_open", call(SYS_pidfd_open, parent, 0, 0, 0, 0, 0));
	must_trap("ptrace attach", call(SYS_ptrace, PTRACE_ATTACH, parent, 0, 0, 0, 0));
	must_trap("ptrace traceme", call(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0, 0, 0));
	must_trap("process_vm_writev",
		  call(SYS_process_vm_writev, parent, (long)&v, 1, (long)&v, 1, 0));
	must_trap("fcntl F_SETOWN", call(SYS_fcntl, data_fd, F_SETOWN, parent, 0, 0, 0));
	must_trap("fcntl F_SETSIG", call(SYS_fcntl, data_fd, F_SETSIG, SIGKILL, 0, 0, 0));
	must_trap("prlimit of another", call(SYS_prlimit64, parent, 0, 0, 0, 0, 0));
}

static void change_system(void)
{
	must_trap("mount", call(SYS_mount, 0, (long)"/", (long)"tmpfs", 0, 0, 0));
	must_trap("umount2", call(SYS_umount2, (long)"/", MNT_DETACH, 0, 0, 0, 0));
	must_trap("pivot_root", call(SYS_pivot_root, (long)".", (long)".", 0, 0, 0, 0));
	must_trap("chroot", call(SYS_chroot, (long)"/", 0, 0, 0, 0, 0));
	must_trap("fsopen", call(SYS_fsopen, (long)"tmpfs", 0, 0, 0, 0, 0));
	must_trap("open_tree", call(SYS_open_tree, data_fd, (long)"", 1, 0, 0, 0));
	must_trap("bpf", call(SYS_bpf, 0, 0, 0, 0, 0, 0));
	must_trap("keyctl", call(SYS_keyctl, 0, 0, 0, 0, 0, 0));
	must_trap("userfaultfd", call(SYS_userfaultfd, 0, 0, 0, 0, 0, 0));
	must_fail("perf_event_open", call(SYS_perf_event_open, 0, 0, -1, -1, 0, 0));
	must_trap("io_uring_setup", call(SYS_io_uring_setup, 8, 0, 0, 0, 0, 0));
	must_trap("io_uring_register", call(SYS_io_uring_register, data_fd, 0, 0, 0, 0, 0));
	must_trap("init_module", call(SYS_init_module, 0, 0, 0, 0, 0, 0));
	must_trap("reboot", call(SYS_reboot, 0, 0, 0, 0, 0, 0));
	must_trap("sethostname", call(SYS_sethostname, (long)"x", 1, 0, 0, 0, 0));
}

static void execute_memory(void)
{
	const long rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
	long p = call(SYS_mmap, 0, 4096, rw, anon, -1, 0);

	for (int prot = PROT_EXEC; prot < 8; prot++) {
		must_trap("mmap executable", call(SYS_mmap, 0, 4096, prot, anon, -1, 0));
		must_trap("mmap of a file executable",
			  call(SYS_mmap, 0, 4096, prot, MAP_SHARED, data_fd, 0));
		must_trap("mprotect executable", call(SYS_mprotect, p, 4096, prot, 0, 0, 0));
		must_trap("pkey_mprotect", call(SYS_pkey_mprotect, p, 4096, prot, -1, 0, 0));
	}
	must_trap("personality READ_IMPLIES_EXEC", call(SYS_personality, 0x400000, 0, 0, 0, 0, 0));
	must_trap("shmget", call(SYS_shmget, 0, 4096, 0777, 0, 0, 0));
	must_trap("remap_file_pages", call(SYS_remap_file_pages, p, 4096, PROT_EXEC, 0, 0, 0));
}

/* -- everything that is not listed --------------------------------------------------------- */

static void unlisted_calls(void)
{
	for (unsigned nr = 0; nr < NR_CALLS; nr++) {
		const char *name = jail_syscall_name(nr);
		char what[64];
		long r;

		/* uretprobe, uprobe: no filter sees them, and they kill whoever is not probed. */
		if (jail_allows(role, nr) || nr == 335 || nr == 336)
			continue;
		r = call(nr, -1, -1, -1, -1, -1, -1);
		snprintf(what, sizeof what, "system call %u (%s)", nr, name ? name : "no name");
		must_fail(what, r);
		if (!trapped && errno == ENOSYS && jail_syscall_name(nr) && nr != SYS_clone3)
			must_trap(what, r); /* the kernel answered it, not the filter */
	}
}

static bool known_ioctl(unsigned cmd)
{
	static const unsigned known[] = { TIOCGWINSZ, TCGETS,  TCSETS,      TCSETSW,
					  FIONREAD,   FICLONE, BLKGETSIZE64, BLKSSZGET };

	for (size_t i = 0; i < array_len(known); i++)
		if (known[i] == cmd)
			return true;
	return cmd == 0x400454d0 /* TUNSETOFFLOAD */ || cmd == 0x400454d9 /* TUNSETQUEUE */ || cmd == 0x400454d8 /* TUNSETVNETHDRSZ */ ||
	       (role == JAIL_NET && cmd == FIONBIO) || (role == JAIL_OPENER && cmd == 0x400454ca) ||
	       (cmd >> 8 & 0xff) == KVMIO; /* by name: unlisted_ioctls() */
}

static void unlisted_ioctls(void)
{
	u64 seed = 88172645463325252u;
	unsigned cmd;

	must_trap("TIOCSTI", call(SYS_ioctl, 0, TIOCSTI, (long)"x", 0, 0, 0));
	must_trap("TIOCLINUX", call(SYS_ioctl, 0, 0x541c, (long)"x", 0, 0, 0));
	if (role != JAIL_OPENER)
		must_trap("TUNSETIFF", call(SYS_ioctl, data_fd, 0x400454ca, 0, 0, 0, 0));
	must_trap("KVM_CREATE_VM", call(SYS_ioctl, data_fd, KVM_CREATE_VM, 0, 0, 0, 0));
	must_trap("KVM_CREATE_VCPU", call(SYS_ioctl, data_fd, KVM_CREATE_VCPU, 0, 0, 0, 0));
	must_trap("KVM_CREATE_DEVICE", call(SYS_ioctl, data_fd, KVM_CREATE_DEVICE, 0, 0, 0, 0));
	must_trap("KVM_CREATE_IRQCHIP", call(SYS_ioctl, data_fd, KVM_CREATE_IRQCHIP, 0, 0, 0, 0));
	must_trap("KVM_CREATE_PIT2", call(SYS_ioctl, data_fd, KVM_CREATE_PIT2, 0, 0, 0, 0));
	must_trap("KVM_ENABLE_CAP", call(SYS_ioctl, data_fd, KVM_ENABLE_CAP, 0, 0, 0, 0));
	must_trap("KVM_IRQFD", call(SYS_ioctl, data_fd, KVM_IRQFD, 0, 0, 0, 0));
	must_trap("KVM_SET_SIGNAL_MASK", call(SYS_ioctl, data_fd, KVM_SET_SIGNAL_MASK, 0, 0, 0, 0));
	if (role != JAIL_VCPU_KVM)
		must_trap("KVM_RUN", call(SYS_ioctl, data_fd, KVM_RUN, 0, 0, 0, 0));
	for (unsigned i = 0; i < NR_IOCTLS; i++) {
		if (i < 0x10000) {
			cmd = i; /* all of the old ones */
		} else {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			cmd = (unsigned)seed;
		}
		if (known_ioctl(cmd))
			continue;
		must_trap("ioctl", call(SYS_ioctl, -1, cmd, 0, 0, 0, 0));
	}
}

/* -- rings ---------------------------------------------------------------------------------- */

static int find_ring(int from)
{
	char link[40], to[40];

	for (int fd = from; fd < 64; fd++) {
		ssize_t n;

		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		n = readlink(link, to, sizeof to - 1);
		to[n < 0 ? 0 : n] = '\0';
		if (!strcmp(to, "anon_inode:[io_uring]"))
			return fd;
	}
	return -1;
}

/*
 * The ring that the disks use, as an attacker who finds its descriptor maps it again: what is
 * where follows from a ring of the same size. Return: false = the host refuses rings.
 */
static bool map_ring(struct loop *l)
{
	struct aio *a = aio_new_uring(l, &(struct err){ 0 });
	int fd = a ? find_ring(3) : -1, r = -1;

	if (!a)
		return false;
	for (unsigned size = 16; size <= 4096 && r; size *= 2) {
		struct io_uring_params p = { .flags = IORING_SETUP_R_DISABLED };
		int other = (int)syscall(SYS_io_uring_setup, size, &p);

		r = io_uring_queue_mmap(fd, &p, &ring);
		close(other);
		if (!r && *ring.sq.kring_entries != p.sq_entries)
			r = -1; /* a part of it */
	}
	if (r) {
		failures++;
		puts("the ring of the disks could not be mapped");
	}
	return !r;
}

static void ring_op(const char *what, void (*prep)(struct io_uring_sqe *s), unsigned flags)
{
	struct io_uring_sqe *s = io_uring_get_sqe(&ring);
	struct io_uring_cqe *c;

	prep(s);
	s->flags |= (u8)flags;
	if (io_uring_submit(&ring) < 0 || io_uring_wait_cqe(&ring, &c)) {
		must_fail(what, -1);
		return;
	}
	errno = -c->res;
	must_fail(what, c->res < 0 ? -1 : c->res);
	if (c->res < 0 && c->res != -EACCES)
		must_trap(what, -1); /* for another reason than the ring's limits */
	io_uring_cqe_seen(&ring, c);
}

static void prep_open(struct io_uring_sqe *s)
{
	io_uring_prep_openat(s, AT_FDCWD, "/", O_RDONLY, 0);
}

static void prep_socket(struct io_uring_sqe *s)
{
	io_uring_prep_rw(45 /* IORING_OP_SOCKET */, s, AF_UNIX, NULL, 0, SOCK_STREAM);
}

static void prep_nop(struct io_uring_sqe *s)
{
	io_uring_prep_nop(s);
}

static void prep_read(struct io_uring_sqe *s)
{
	static char byte;

	io_uring_prep_read(s, data_fd, &byte, 1, 0);
}

static void use_ring(void)
{
	if (!has_ring)
		return;
	trapped = 0;
	ring_op("openat by a ring", prep_open, 0);
	ring_op("socket by a ring", prep_socket, 0);
	ring_op("nop by a ring", prep_nop, 0);
	ring_op("a ring's flags", prep_read, IOSQE_ASYNC);
}

static void *attack(void *arg UNUSED)
{
	if (role != JAIL_OPENER) { /* it opens files */
		open_files();
		leave_directory();
	}
	if (jail_allows(role, SYS_io_uring_enter))
		use_ring();
	make_sockets();
	make_processes();
	reach_others();
	change_system();
	execute_memory();
	unlisted_calls();
	unlisted_ioctls();
	return NULL;
}

static void *violate(void *arg UNUSED)
{
	return (void *)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
}

static const struct {
	const char *name;
	enum jail_role role;
} roles[] = {
	{ "loop", JAIL_LOOP },
	{ "vcpu-soft", JAIL_VCPU_SOFT },
	{ "vcpu-kvm", JAIL_VCPU_KVM },
	{ "api", JAIL_API },
	{ "io", JAIL_IO },
	{ "net", JAIL_NET },
	{ "opener", JAIL_OPENER },
};

static int usage(void)
{
	fputs("usage: jail-attack ROLE [DIRECTORY|violate], ROLE: loop, vcpu-soft, vcpu-kvm, api, "
	      "io, net, opener\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
	struct jail_dir served = { .fd = -1 };
	struct jail_spec s = { .role = JAIL_SETUP, .dir = &served, .max_files = 256 };
	struct jail_report r;
	void *(*fn)(void *arg) = attack;
	struct thread t;
	struct loop *l;
	struct err e;
	char line[200];

	for (size_t i = 0; i < array_len(roles) && argc > 1; i++)
		if (!strcmp(argv[1], roles[i].name))
			role = roles[i].role;
	if (role == JAIL_NONE)
		return usage();
	if (role == JAIL_NET || role == JAIL_OPENER)
		s.role = role;
	s.network = role == JAIL_NET;
	s.bare = role == JAIL_OPENER;
	parent = getppid();
	if (argc > 2 && !strcmp(argv[2], "violate"))
		fn = violate;
	else
		dir = argc > 2 ? argv[2] : NULL;
	data_fd = dir ? open(dir, O_RDONLY | O_DIRECTORY) : open("/dev/null", O_RDWR);
	if (dir)
		s.nr_dirs = 1;
	served.fd = data_fd;
	if (fn == attack)
		sigaction(SIGSYS, &sa, NULL);
	l = loop_new(&e);
	has_ring = l && map_ring(l);
	if (!l || data_fd < 0 || jail_enter(&s, &r, &e))
		return usage();
	for (unsigned i = 0; i < JAIL_LAYERS; i++)
		puts(jail_report_line(&r, i, line, sizeof line));
	if (s.role != JAIL_SETUP) /* a process of its own, with one thread */
		fn(NULL);
	else if (thread_start(&t, "attacker", role, fn, NULL, &e))
		return 1;
	else
		thread_join(&t);
	printf("%u attempts, %u not refused%s\n", attempts, failures,
	       has_ring ? "" : ", no ring to try");
	return failures ? 1 : 0;
}
