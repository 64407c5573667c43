// SPDX-License-Identifier: Apache-2.0
/*
 * boot.h - where the kernel and the initramfs of a run come from
 *
 * Three sources: files the user names (no business of ours), the quick-start guest
 * (docs/quickstart.md), and the kernel inside a Debian disk. All of it runs in the
 * vireo command, before and outside the monitor: the monitor only gets descriptors.
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include "base/err.h"
#include "base/types.h"

#include <limits.h>

/*
 * Find a script or program that comes with vireo: in the source tree in tools/ and
 * build/guest/, installed in ../lib/vireo/, both relative to this program.
 * Return: 0, or -ENOENT with *e set.
 */
int boot_tool(const char *name, char *path, size_t size, struct err *e) MUST_CHECK;

/*
 * Become the tool @name with arguments @args (NULL-terminated, without a program name):
 * `vireo image build ARGS` is boot_exec("image-build", ARGS). Returns only on failure.
 */
int boot_exec(const char *name, char *const *args, struct err *e);

/*
 * Kernel command lines for the quick-start kernel, chosen for boot time and explained in
 * docs/quickstart.md. Add console and agent words (docs/guest-agent.md) after them.
 */
#define QUICKSTART_CMDLINE                                                                         \
	"quiet mitigations=off cryptomgr.notests tsc=reliable no_timer_check nokaslr nowatchdog "   \
	"8250.nr_uarts=1 i8042.noaux i8042.nokbd random.trust_cpu=on "                              \
	"initcall_blacklist=crypto_kdf108_init,load_system_certificate_list,init_kprobe_trace,"     \
	"ftrace_check_for_weak_functions,trace_eval_init,tracer_init_tracefs "                      \
	"initcall_blacklist=cubictcp_register,bpf_tcp_ca_kfunc_init,bpf_prog_test_run_init,"        \
	"kfunc_init,bpf_rstat_kfunc_init,bpf_key_sig_kfuncs_init,btf_vmlinux_init,btf_module_init"

struct quickstart {
	char kernel[PATH_MAX]; /* an ELF with a PVH entry if there is one, else a bzImage */
	char initrd[PATH_MAX];
};

/*
 * The quick-start guest's files, made first if necessary (progress on standard error).
 * When they are cached and nothing they are made from has changed this only reads one
 * small file and makes three stat calls. @make: false to fail with -ENOENT rather than
 * make them.
 */
int quickstart_get(struct quickstart *q, bool make, struct err *e) MUST_CHECK;

/*
 * If *fd is a gzip file, put an unpacked copy (in memory) in its place; @name for messages.
 * Return: 0, or -EINVAL (damaged), -EFBIG (over 512 MiB), -ENOMEM, -EIO with *fd as it was.
 */
int boot_gunzip(i32 *fd, const char *name, struct err *e) MUST_CHECK;

#define DISK_ROOT_MAX 64

/*
 * The newest kernel and its initrd in the ext2/3/4 file system of a raw disk image:
 * the whole disk, or a partition (MBR or GPT), /boot in the root file system or on
 * its own partition.
 *
 * @fd:		the image, readable; not closed
 * @kernel_fd:	out: a memfd at offset 0
 * @initrd_fd:	out: a memfd, or -1 if that kernel has none
 * @root:	out: "root=UUID=...", for the kernel command line
 *
 * The image is hostile: every size is bounded and nothing is written to it.
 */
int disk_find_kernel(int fd, int *kernel_fd, int *initrd_fd, char root[DISK_ROOT_MAX],
		     struct err *e) MUST_CHECK;

/* A disk that is not simply a file: any bytes of it, through @read. 0 or negative errno. */
struct disk_reader {
	u64 size;
	int (*read)(const struct disk_reader *d, u64 off, void *buf, size_t len);
	void *ctx;
};

int disk_find_kernel_in(const struct disk_reader *d, int *kernel_fd, int *initrd_fd,
			char root[DISK_ROOT_MAX], struct err *e) MUST_CHECK;

#endif
