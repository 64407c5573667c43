// SPDX-License-Identifier: Apache-2.0
/*
 * rules.c - which system calls each role has, and with which arguments
 *
 * Rules of one call stand together. Frequent calls with conditions come first: the
 * program tries them in this order. Kept complete by the suites, which all run under it.
 */
#include "jail/jail_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <asm/prctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>

const u16 jail_role_sets[JAIL_ROLES] = {
	[JAIL_SETUP] = JAIL_ALL | JAIL_DATA | JAIL_DEV | JAIL_MAIN | JAIL_FILES | JAIL_MAKE |
		       JAIL_SOFT | JAIL_KVM | JAIL_KVM_STATE,
	[JAIL_LOOP] = JAIL_ALL | JAIL_DATA | JAIL_DEV | JAIL_MAIN | JAIL_FILES | JAIL_KVM_STATE,
	[JAIL_VCPU_SOFT] = JAIL_ALL | JAIL_DATA | JAIL_DEV | JAIL_FILES | JAIL_SOFT,
	[JAIL_VCPU_KVM] = JAIL_ALL | JAIL_DATA | JAIL_DEV | JAIL_FILES | JAIL_KVM | JAIL_KVM_STATE,
	[JAIL_API] = JAIL_ALL | JAIL_DATA | JAIL_DEV | JAIL_MAIN | JAIL_FILES | JAIL_KVM_STATE,
	[JAIL_IO] = JAIL_ALL | JAIL_DATA,
	[JAIL_NET] = JAIL_ALL | JAIL_INET,
	[JAIL_OPENER] = JAIL_ALL | JAIL_OPENS,
	[JAIL_DISK] = JAIL_ALL | JAIL_DATA | JAIL_MAIN | JAIL_FILES | JAIL_MAKE | JAIL_NAMES,
	[JAIL_DISK_NET] = JAIL_ALL | JAIL_DATA | JAIL_DEV | JAIL_MAIN | JAIL_FILES | JAIL_MAKE |
			  JAIL_NAMES,
};

/* What glibc's pthread_create() asks for. */
#define THREAD_FLAGS                                                                               \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |        \
	 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

#define SCAN_PAGEMAP 0xc0606610u /* PAGEMAP_SCAN, Linux 6.7 */

#define NEW_OR_WRITE (O_ACCMODE | O_CREAT | O_TRUNC)

/* clang-format off */
#define ANY(call, s)			{ .nr = SYS_##call, .sets = (s) }
#define IF(call, s, n, m, v)		{ .nr = SYS_##call, .sets = (s), \
					  .cond = { { .arg = (n), .mask = (m), .val = (u32)(v) } } }
#define IF2(call, s, n, m, v, n2, m2, v2) { .nr = SYS_##call, .sets = (s), \
					  .cond = { { .arg = (n), .mask = (m), .val = (u32)(v) }, \
						    { .arg = (n2), .mask = (m2), .val = (u32)(v2) } } }
#define IS(call, s, n, v)		IF(call, s, n, ~0u, v)
#define FAIL(call, s, err)		{ .nr = SYS_##call, .sets = (s), .error = (err) }
/* clang-format on */

const struct jail_rule jail_rules[] = {
	/* KVM: the frequent one first. */
	IS(ioctl, JAIL_KVM, 1, KVM_RUN),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SIGNAL_MSI),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_IRQ_LINE),
	IS(ioctl, JAIL_KVM, 1, KVM_INTERRUPT),
	IS(ioctl, JAIL_KVM, 1, KVM_NMI),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_IOEVENTFD),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_GSI_ROUTING),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_DIRTY_LOG),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_USER_MEMORY_REGION),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_DEVICE_ATTR),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_DEVICE_ATTR),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_REGS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_REGS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_SREGS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_SREGS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_MSRS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_MSRS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_VCPU_EVENTS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_VCPU_EVENTS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_XSAVE),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_XSAVE),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_XCRS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_XCRS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_DEBUGREGS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_DEBUGREGS),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_LAPIC),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_LAPIC),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_MP_STATE),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_MP_STATE),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_CLOCK),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_CLOCK),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_GET_IRQCHIP),
	IS(ioctl, JAIL_KVM_STATE, 1, KVM_SET_IRQCHIP),
	IS(ioctl, JAIL_MAKE, 1, KVM_CREATE_VM),
	IS(ioctl, JAIL_MAKE, 1, KVM_CREATE_VCPU),
	IS(ioctl, JAIL_MAKE, 1, KVM_CHECK_EXTENSION),
	IS(ioctl, JAIL_MAKE, 1, KVM_ENABLE_CAP),
	IS(ioctl, JAIL_MAKE, 1, KVM_GET_API_VERSION),
	IS(ioctl, JAIL_MAKE, 1, KVM_GET_SUPPORTED_CPUID),
	IS(ioctl, JAIL_MAKE, 1, KVM_GET_VCPU_MMAP_SIZE),
	IS(ioctl, JAIL_MAKE, 1, KVM_SET_CPUID2),
	IS(ioctl, JAIL_MAKE, 1, KVM_SET_IDENTITY_MAP_ADDR),
	IS(ioctl, JAIL_MAKE, 1, KVM_SET_TSS_ADDR),
	IS(ioctl, JAIL_MAKE, 1, KVM_CREATE_IRQCHIP),

	/* Devices, sockets, terminals. */
	IS(ioctl, JAIL_DEV, 1, TUNSETOFFLOAD),
	IS(ioctl, JAIL_DEV, 1, TUNSETQUEUE),
	IS(ioctl, JAIL_DEV, 1, TUNSETVNETHDRSZ),
	IS(ioctl, JAIL_DEV | JAIL_MAIN, 1, TIOCGWINSZ),
	IS(ioctl, JAIL_DEV | JAIL_MAIN, 1, TCGETS),
	IS(ioctl, JAIL_DEV | JAIL_MAIN, 1, TCSETS),
	IS(ioctl, JAIL_DEV | JAIL_MAIN, 1, TCSETSW),
	IS(ioctl, JAIL_DEV | JAIL_INET, 1, FIONREAD),
	IS(ioctl, JAIL_INET, 1, FIONBIO),
	IS(ioctl, JAIL_MAKE, 1, TUNGETIFF),
	IS(ioctl, JAIL_DATA, 1, FICLONE),
	IS(ioctl, JAIL_DATA, 1, BLKGETSIZE64),
	IS(ioctl, JAIL_DATA, 1, BLKSSZGET),
	IS(ioctl, JAIL_OPENS, 1, TUNSETIFF),
	IS(ioctl, JAIL_DATA, 1, SCAN_PAGEMAP),
	IS(ioctl, JAIL_MAKE, 1, USERFAULTFD_IOC_NEW),
	IS(ioctl, JAIL_MAKE, 1, UFFDIO_API),
	IS(ioctl, JAIL_MAKE, 1, UFFDIO_REGISTER),
	IS(ioctl, JAIL_DATA, 1, UFFDIO_UNREGISTER),
	IS(ioctl, JAIL_DATA, 1, FICLONE),

	/* Memory: never executable, but for the engine's code while it is made. */
	IF(mmap, JAIL_ALL, 2, PROT_EXEC, 0),
	IF2(mmap, JAIL_MAKE, 2, ~0u, PROT_READ | PROT_EXEC, 3, ~0u, MAP_SHARED),
	IF(mprotect, JAIL_ALL, 2, PROT_EXEC, 0),
	ANY(munmap, JAIL_ALL),
	ANY(mremap, JAIL_ALL),
	ANY(madvise, JAIL_ALL),
	ANY(brk, JAIL_ALL),

	ANY(read, JAIL_ALL),
	ANY(write, JAIL_ALL),
	ANY(readv, JAIL_ALL),
	ANY(writev, JAIL_ALL),
	ANY(close, JAIL_ALL),
	ANY(lseek, JAIL_ALL),
	ANY(fstat, JAIL_ALL),
	IS(newfstatat, JAIL_ALL, 3, AT_EMPTY_PATH),
	ANY(newfstatat, JAIL_FILES | JAIL_INET | JAIL_OPENS),
	IS(statx, JAIL_DATA, 2, AT_EMPTY_PATH),
	IS(fcntl, JAIL_ALL, 1, F_GETFL),
	IS(fcntl, JAIL_ALL, 1, F_SETFL),
	IS(fcntl, JAIL_ALL, 1, F_GETFD),
	IS(fcntl, JAIL_ALL, 1, F_SETFD),
	IS(fcntl, JAIL_ALL, 1, F_DUPFD_CLOEXEC),
	IS(fcntl, JAIL_DATA, 1, F_OFD_SETLK),
	ANY(poll, JAIL_ALL),
	ANY(ppoll, JAIL_ALL),

	ANY(futex, JAIL_ALL),
	ANY(sched_yield, JAIL_ALL),
	ANY(sched_getaffinity, JAIL_ALL),
	ANY(membarrier, JAIL_ALL),
	ANY(set_robust_list, JAIL_ALL),
	ANY(rseq, JAIL_ALL),
	ANY(exit, JAIL_ALL),
	ANY(exit_group, JAIL_ALL),
	ANY(getpid, JAIL_ALL),
	ANY(gettid, JAIL_ALL),
	ANY(getrusage, JAIL_ALL),
	ANY(getrandom, JAIL_ALL),
	IS(prctl, JAIL_ALL, 0, PR_SET_NAME),
	IS(prctl, JAIL_ALL, 0, PR_GET_NAME),
	IS(arch_prctl, JAIL_SOFT, 0, ARCH_SET_GS), /* cpu/soft/gsbase.h */

	ANY(clock_gettime, JAIL_ALL),
	ANY(clock_getres, JAIL_ALL),
	ANY(clock_nanosleep, JAIL_ALL),
	ANY(nanosleep, JAIL_ALL),
	ANY(gettimeofday, JAIL_ALL),
	ANY(time, JAIL_ALL),
	ANY(restart_syscall, JAIL_ALL),

	ANY(rt_sigaction, JAIL_ALL),
	ANY(rt_sigprocmask, JAIL_ALL),
	ANY(rt_sigreturn, JAIL_ALL),
	ANY(sigaltstack, JAIL_ALL),
	IS(tgkill, JAIL_ALL, 0, JAIL_VAL_PID),

	/* Data of open files. */
	ANY(pread64, JAIL_DATA),
	ANY(pwrite64, JAIL_DATA),
	ANY(preadv, JAIL_DATA),
	ANY(pwritev, JAIL_DATA),
	ANY(preadv2, JAIL_DATA),
	ANY(pwritev2, JAIL_DATA),
	ANY(fsync, JAIL_DATA),
	ANY(fdatasync, JAIL_DATA),
	ANY(fallocate, JAIL_DATA),
	ANY(copy_file_range, JAIL_DATA),
	ANY(ftruncate, JAIL_DATA | JAIL_OPENS),
	ANY(io_uring_enter, JAIL_DATA), /* rings restricted to these operations: os/uring.c */

	/* Host ends of devices. */
	ANY(sendto, JAIL_DEV | JAIL_INET),
	ANY(recvfrom, JAIL_DEV | JAIL_INET | JAIL_OPENS),
	ANY(sendmsg, JAIL_DEV | JAIL_INET | JAIL_OPENS),
	ANY(recvmsg, JAIL_DEV | JAIL_INET),
	ANY(sendmmsg, JAIL_DEV | JAIL_INET),
	ANY(recvmmsg, JAIL_DEV | JAIL_INET),
	ANY(shutdown, JAIL_DEV | JAIL_INET),
	ANY(getsockopt, JAIL_DEV | JAIL_INET),
	ANY(epoll_ctl, JAIL_DEV | JAIL_MAIN),
	ANY(timerfd_settime, JAIL_DEV | JAIL_MAIN),

	/* The loop. */
	ANY(epoll_wait, JAIL_MAIN),
	ANY(epoll_pwait, JAIL_MAIN),
	ANY(accept4, JAIL_MAIN | JAIL_INET),
	ANY(wait4, JAIL_MAIN), /* for the opener's end */

	/* Served directories. */
	ANY(openat2, JAIL_FILES | JAIL_OPENS),
	ANY(openat, JAIL_FILES | JAIL_OPENS),
	IF(openat, JAIL_INET, 2, NEW_OR_WRITE, 0), /* the resolver's configuration */
	FAIL(openat, JAIL_MAKE, EACCES),
	FAIL(open, JAIL_MAKE, EACCES),
	ANY(statfs, JAIL_FILES),
	ANY(fstatfs, JAIL_DATA | JAIL_FILES | JAIL_OPENS),
	ANY(getdents64, JAIL_FILES),
	ANY(mkdirat, JAIL_FILES),
	ANY(mknodat, JAIL_FILES),
	ANY(symlinkat, JAIL_FILES),
	ANY(linkat, JAIL_FILES),
	ANY(unlinkat, JAIL_FILES),
	ANY(renameat, JAIL_FILES),
	ANY(renameat2, JAIL_FILES),
	ANY(readlinkat, JAIL_FILES),
	ANY(fchmod, JAIL_FILES),
	ANY(fchownat, JAIL_FILES),
	ANY(utimensat, JAIL_FILES),

	/* Before the guest runs. */
	IS(clone, JAIL_MAKE, 0, THREAD_FLAGS),
	FAIL(clone3, JAIL_MAKE, ENOSYS), /* its flags are out of reach: glibc goes on to clone() */
	ANY(memfd_create, JAIL_MAKE),
	ANY(userfaultfd, JAIL_MAKE),
	ANY(eventfd2, JAIL_MAKE),
	ANY(timerfd_create, JAIL_MAKE),
	ANY(epoll_create1, JAIL_MAKE),
	ANY(signalfd4, JAIL_MAKE),
	ANY(pipe2, JAIL_MAKE),
	IS(socketpair, JAIL_MAKE, 0, AF_UNIX),
	ANY(io_uring_setup, JAIL_MAKE),
	ANY(io_uring_register, JAIL_MAKE),
	IS(setsockopt, JAIL_MAKE, 1, SOL_SOCKET),
	ANY(setsockopt, JAIL_INET),
	ANY(sysinfo, JAIL_ALL), /* qsort() asks how much memory there is */
	ANY(uname, JAIL_MAKE),
	FAIL(perf_event_open, JAIL_MAKE, EACCES),
	IS(prlimit64, JAIL_MAKE, 0, 0),
	ANY(getrlimit, JAIL_MAKE),
	ANY(seccomp, JAIL_MAKE), /* to tighten it */

	/* vireo-net and the opener. */
	IS(socket, JAIL_INET, 0, AF_INET),
	IS(socket, JAIL_INET, 0, AF_INET6),
	IS(socket, JAIL_OPENS, 0, AF_UNIX),
	ANY(bind, JAIL_INET | JAIL_OPENS),
	ANY(connect, JAIL_INET | JAIL_OPENS),
	ANY(listen, JAIL_INET | JAIL_OPENS),
	ANY(accept, JAIL_INET),
	ANY(getsockname, JAIL_INET),
	ANY(getpeername, JAIL_INET),
	ANY(fchdir, JAIL_OPENS),
	ANY(unlink, JAIL_OPENS | JAIL_NAMES),

	/* vireo disk: new files get their name when they are complete. */
	ANY(rename, JAIL_OPENS | JAIL_NAMES),
	ANY(readlink, JAIL_NAMES),
	ANY(getcwd, JAIL_NAMES),
	ANY(umask, JAIL_NAMES),
	ANY(dup, JAIL_NAMES),
	FAIL(access, JAIL_NAMES, EACCES), /* libgcrypt looks for its configuration */
};

const unsigned jail_nr_rules = array_len(jail_rules);
