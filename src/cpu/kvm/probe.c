// SPDX-License-Identifier: Apache-2.0
/*
 * probe.c - can /dev/kvm run an unmodified guest?
 *
 * A device node says little: kvm_pvm offers the whole interface without hardware
 * virtualisation, and emulates a guest's kernel instruction by instruction. So a
 * program is run in 64-bit supervisor mode and timed: a piece of it takes
 * microseconds on a processor, many milliseconds otherwise. The fastest piece of a
 * few counts, so a busy host does not look like a slow one.
 */
#include "cpu/kvm/kvm_int.h"
#include "cpu/x86_defs.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PIECES      20
#define ITERATIONS  5000    /* two instructions each */
#define FAST_ENOUGH 1000000 /* ns a piece; emulation needs five times that */
#define PORT        0x10

/* Guest-physical layout: one level of tables per page, then the program; its results after it. */
enum { PML4 = 0x0000, PDPT = 0x1000, PD = 0x2000, CODE = 0x3000, RAM_SIZE = 0x4000 };

/*
 * again: mov $ITERATIONS, %ecx; 1: dec %ecx; jnz 1b; lea 1(%rbx), %rbx; mov %rbx, %rax;
 * out %eax, $PORT; jmp again. rbx starts at 0xffffffff: only 64-bit code makes eax 0.
 */
static const u8 program[] = {
	0xb9,
	ITERATIONS & 0xff,
	ITERATIONS >> 8,
	0,
	0,
	0xff,
	0xc9,
	0x75,
	0xfc,
	0x48,
	0x8d,
	0x5b,
	0x01,
	0x48,
	0x89,
	0xd8,
	0xe7,
	PORT,
	0xeb,
	0xec,
};

static const struct {
	int cap;
	const char *name;
} wanted[] = {
	{ KVM_CAP_USER_MEMORY, "user memory" },
	{ KVM_CAP_IRQCHIP, "interrupt chips" },
	{ KVM_CAP_SPLIT_IRQCHIP, "split interrupt chips" },
	{ KVM_CAP_SIGNAL_MSI, "MSI" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit" },
	{ KVM_CAP_VCPU_EVENTS, "vCPU events" },
	{ KVM_CAP_XSAVE, "XSAVE state" },
	{ KVM_CAP_XCRS, "XCR0" },
	{ KVM_CAP_DEBUGREGS, "debug registers" },
	{ KVM_CAP_MP_STATE, "activity state" },
	{ KVM_CAP_IOEVENTFD, "ioeventfd" },
	{ KVM_CAP_EXT_CPUID, "CPUID" },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routes" },
};

static void look_at_host(struct kvm_host *h)
{
	u32 a, b, c, d;

	h->pvm = access("/sys/module/kvm_pvm", F_OK) == 0;
	__asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(1), "c"(0));
	h->vmx = c & BIT(5);
	__asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0x80000001), "c"(0));
	h->svm = c & BIT(2);
}

static int check_host(const struct kvm_host *h, struct err *e)
{
	if (h->pvm)
		return err_set(
			e, ENOTSUP,
			"/dev/kvm is served by kvm_pvm, which cannot run an unmodified guest");
	if (!h->vmx && !h->svm)
		return err_set(e, ENOTSUP, "the processor offers neither VMX nor SVM");
	return 0;
}

static int check_api(int fd, struct err *e)
{
	int v = ioctl(fd, KVM_GET_API_VERSION, 0);

	if (v != KVM_API_VERSION)
		return err_set(e, ENOTSUP, "/dev/kvm: interface version %d, want %d", v,
			       KVM_API_VERSION);
	for (unsigned n = 0; n < array_len(wanted); n++)
		if (ioctl(fd, KVM_CHECK_EXTENSION, wanted[n].cap) <= 0)
			return err_set(e, ENOTSUP, "/dev/kvm: this kernel's KVM has no %s",
				       wanted[n].name);
	return 0;
}

/* -- the program ------------------------------------------------------------------------- */

struct probe {
	int vm, cpu;
	u8 *ram;
	struct kvm_run *run;
	size_t run_size;
};

static bool make_vm(int kvm, struct probe *p)
{
	struct kvm_userspace_memory_region r = { .memory_size = RAM_SIZE };
	const u64 identity = 0xfeffc000;
	int n = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	p->vm = ioctl(kvm, KVM_CREATE_VM, 0);
	p->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (n < (int)sizeof *p->run || p->vm < 0 || p->ram == MAP_FAILED)
		return false;
	r.userspace_addr = (u64)p->ram;
	if (ioctl(p->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(p->vm, KVM_SET_TSS_ADDR, 0xfeffd000ul) < 0 ||
	    ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &r) < 0)
		return false;
	p->cpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	if (p->cpu < 0)
		return false;
	p->run_size = (size_t)n;
	p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->cpu, 0);
	return p->run != MAP_FAILED;
}

static bool load_program(struct probe *p)
{
	const u64 entry[] = { PDPT | PTE_P | PTE_W, PD | PTE_P | PTE_W, PTE_P | PTE_W | PTE_PS };
	const struct kvm_regs regs = { .rip = CODE, .rbx = 0xffffffff, .rflags = FL_ONE };
	struct kvm_sregs s;

	for (unsigned n = 0; n < array_len(entry); n++)
		memcpy(p->ram + n * 0x1000, &entry[n], 8);
	memcpy(p->ram + CODE, program, sizeof program);
	if (ioctl(p->cpu, KVM_GET_SREGS, &s) < 0)
		return false;
	s.cs = (struct kvm_segment){
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	s.ds = s.es = s.ss = (struct kvm_segment){ .limit = 0xffffffff,
						   .selector = 16,
						   .type = 3,
						   .present = 1,
						   .s = 1,
						   .db = 1,
						   .g = 1 };
	s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	s.cr3 = PML4;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA;
	return ioctl(p->cpu, KVM_SET_SREGS, &s) >= 0 && ioctl(p->cpu, KVM_SET_REGS, &regs) >= 0;
}

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static int run_program(struct probe *p, struct err *e)
{
	for (u32 n = 0; n < PIECES; n++) {
		u64 start = now_ns();
		u32 val;

		if (ioctl(p->cpu, KVM_RUN, 0) < 0)
			return err_set(e, errno, "/dev/kvm: running a guest: %s", strerror(errno));
		memcpy(&val, (u8 *)p->run + p->run->io.data_offset, 4);
		if (p->run->exit_reason != KVM_EXIT_IO || p->run->io.port != PORT || val != n)
			return err_set(e, ENOTSUP, "/dev/kvm: a 64-bit guest does not run");
		if (now_ns() - start < FAST_ENOUGH)
			return 0;
	}
	return err_set(e, ENOTSUP, "/dev/kvm emulates guest code instead of running it");
}

static int try_guest(int kvm, struct err *e)
{
	struct probe p = { .vm = -1, .cpu = -1, .ram = MAP_FAILED, .run = MAP_FAILED };
	int r;

	if (!make_vm(kvm, &p) || !load_program(&p))
		r = err_set(e, errno ? errno : EIO, "/dev/kvm: making a guest: %s",
			    strerror(errno));
	else
		r = run_program(&p, e);
	if (p.run != MAP_FAILED)
		munmap(p.run, p.run_size);
	if (p.ram != MAP_FAILED)
		munmap(p.ram, RAM_SIZE);
	if (p.cpu >= 0)
		close(p.cpu);
	if (p.vm >= 0)
		close(p.vm);
	return r;
}

int kvm_probe(int fd, const struct kvm_host *h, struct err *e)
{
	TRY(check_host(h, e));
	TRY(check_api(fd, e));
	return try_guest(fd, e);
}

int cpu_kvm_open(struct err *e)
{
	struct kvm_host h;
	int fd, r;

	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, errno, "/dev/kvm: %s", strerror(errno));
	look_at_host(&h);
	r = kvm_probe(fd, &h, e);
	if (!r)
		return fd;
	close(fd);
	return r;
}
