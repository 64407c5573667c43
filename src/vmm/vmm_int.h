// SPDX-License-Identifier: Apache-2.0
/*
 * vmm_int.h - struct vm, private to vmm/
 */
#ifndef VMM_VMM_INT_H
#define VMM_VMM_INT_H

#include "base/clock.h"
#include "base/ratelimit.h"
#include "cfg/cfg.h"
#include "cpu/cpu.h"
#include "dev/dev.h"
#include "dev/pc/pc.h"
#include "dev/virtio/virtio.h"
#include "fw/fw.h"
#include "mem/mem.h"
#include "os/os.h"
#include "ui/ui.h"
#include "vmm/vmm.h"

#include <pthread.h>

struct agent;
struct blk;
struct doorbell;
struct mmds;
struct notice;
struct net_port;
struct opener;
struct pci_host;
struct vsock_backend;

#define VM_DEVS_MAX	 (64 + PC_MAX_CPUS)
#define BOARD_MMIO_LINES 12

struct vm_cpu {
	struct vm *vm;
	unsigned index;
	struct vcpu *v;
	struct dev *lapic;
	u64 tsc_offset; /* guest TSC = host TSC + this */
	struct thread thread;
	bool started;
};

struct vm {
	struct vm_config *cfg;
	struct loop *loop;
	struct clock *clock;	  /* the loop's; tests: another */
	struct cpu_virtual *virt; /* tests: TSC and random numbers; NULL = the host's */
	pthread_mutex_t lock; /* the board lock */

	struct mem *mem;
	const struct cpu_engine *engine;
	struct cpu_vm *cpu_vm;
	struct vm_cpu cpu[PC_MAX_CPUS];

	/* The board (board_pc.c). */
	struct bus *pio, *mmio;
	struct lapic_set lapics;
	struct pc_irqs irqs;
	struct dev *pm;
	struct pci_host *pci;
	struct dev *dev[VM_DEVS_MAX]; /* in order of creation; reset in it, freed in reverse */
	unsigned nr_devs;
	struct fw_board board;
	struct board_line {
		struct irq out;
		u32 up; /* bit per device on it */
	} mmio_line[BOARD_MMIO_LINES];
	struct doorbell *doorbells;
	u64 made_ns, made_cpu_ns; /* at vm_new(): for the boot timer */
	struct cpuid_change cpuid[CFG_CPUIDS]; /* cfg's, for the engine */

	/* Back ends. */
	struct chr_opts serial_opts;
	struct chr *serial;
	struct blk *blk[CFG_DISKS];
	struct net_port *net[CFG_NETS];
	struct net_port *net_queue[CFG_NETS][CFG_NET_QUEUES - 1]; /* beside net[i] */
	struct dev *nic[CFG_NETS]; /* transports; NULL: none there */
	struct vm_disk {
		struct dev *dev; /* transport */
		char path[CFG_PATH], next_path[CFG_PATH]; /* of the image the guest writes; after
							     the job, if it succeeds */
	} disk[CFG_DISKS];
	struct agent *agent; /* "-- CMD" */
	struct notice *notice; /* the guest is told of restores and forks; NULL: has no port for it */
	struct opener *opener; /* opens names for us from outside the jail; NULL = not needed */
	bool opener_borrowed;
	struct vsock_backend *vsock;
	struct dev *balloon; /* transport */
	struct dev *memhp; /* transport */
	struct pmem {
		gpa_t gpa;
		u64 len;
		struct blk *blk; /* to flush it; NULL: read-only */
		struct dev *dev; /* transport */
	} pmem[CFG_PMEMS];
	struct vhost_user *vhost[CFG_VHOSTS];
	struct mmds *mmds;
	struct net_port *mmds_port[CFG_NETS]; /* in front of net[i]; NULL: not there */

	/* Pausing (vcpu.c): under the lock. */
	unsigned pausing; /* how many want it */
	bool paused;	  /* vm_pause() is one of them */
	bool quitting;
	unsigned nr_parked;
	pthread_cond_t parked, resumed;

	/* Life (vm.c). */
	u8 snap_id[16]; /* of the snapshot saved or loaded last: what a difference is one to */
	struct watch pager; /* who brings pages: the socket, and */
	int pager_uffd;	    /* what it serves; -1 = RAM is all here */
	struct prefetch {
		struct mem_touched *pages; /* to be brought; NULL = none are known */
		struct thread thread;
		bool started;
		volatile bool stop;
		int fd; /* what is used is to be written there; -1 = nowhere */
		u64 after_ns;
		struct timer timer;
	} prefetch; /* prefetch.c */
	bool restored; /* from a snapshot: vm_start() does not power on */
	bool untold; /* and has not run since: the guest is told when it does */
	bool powered; /* vm_start() was successful */
	u64 start_ns; /* when, os_now_ns() */
	struct task reset_task;
	struct watch signals;
	enum vm_end end;
	int status;
	struct err end_err;
};

/* -- board_pc.c ------------------------------------------------------------------ */

int board_new(struct vm *vm, struct err *e) MUST_CHECK;
void board_free(struct vm *vm);
void board_pause(struct vm *vm); /* devices finish what is in flight */
void board_resume(struct vm *vm);
void board_reset(struct vm *vm); /* power-on values everywhere; vCPUs are parked */
/* A new generation id for the guest (VMGenID); @tell: interrupt it. */
int board_new_generation(struct vm *vm, bool tell, struct err *e) MUST_CHECK;
int board_assign_pci(struct vm *vm, struct err *e) MUST_CHECK; /* what firmware does after it */

/* -- board_mmio.c ------------------------------------------------------------------ */

struct dev *board_mmio_plug(struct vm *vm, const struct virtio_class *c, const char *id,
			    const void *cfg, struct err *e) MUST_CHECK;
/* Name the devices on the kernel's command line @text, of @size bytes, if ACPI will not. */
int board_mmio_cmdline(const struct vm *vm, char *text, size_t size, struct err *e) MUST_CHECK;

/* -- memory.c: RAM, and memory above it ----------------------------------------------- */

int memory_new(struct vm *vm, struct err *e) MUST_CHECK;
/* Bytes above RAM: memory hot-plug, then the open files of persistent memory. */
int memory_room(const struct vm_config *c, u64 *ret, struct err *e) MUST_CHECK;
u64 memory_file_size(const struct vm_config *c); /* of a memory file */
void memory_close(struct vm *vm); /* what stands behind pmem devices; after the board */
gpa_t memory_hotplug_base(const struct vm *vm);

/* -- vhosts.c: devices of other processes ---------------------------------------------- */

int vhosts_open(struct vm *vm, struct err *e) MUST_CHECK; /* before the board, after memory */
void vhosts_close(struct vm *vm);				    /* after it */

struct vhost_device { /* for virtio_pci_new() */
	const struct virtio_class *class;
	struct virtio_vhost_cfg cfg;
	u8 config[VIRTIO_CONFIG_MAX];
};
int vhosts_device(struct vm *vm, unsigned n, struct vhost_device *ret, struct err *e) MUST_CHECK;

/* -- ends.c: host ends of the devices beyond disks and networks --------------------- */

int ends_open(struct vm *vm, struct err *e) MUST_CHECK; /* before the board */
void ends_close(struct vm *vm);				  /* after it */
struct ratelimit_cfg ends_limit(const struct limit_config *c);
struct ratelimit_bucket_cfg ends_bucket(const struct bucket_config *c);

/* -- disks.c ----------------------------------------------------------------------- */

int disks_open(struct vm *vm, struct err *e) MUST_CHECK; /* before the board */
void disks_stop(struct vm *vm);	 /* jobs and requests end; the board is still there */
void disks_close(struct vm *vm); /* after it */
struct virtio_blk_cfg disks_device(const struct vm *vm, unsigned i);

/* -- chips.c: the interrupt chips, ours or the engine's ------------------------------ */

struct msi_sink chips_msi(struct vm *vm); /* where messages go */
struct msi_sink chips_ioapic_msi(struct vm *vm); /* those of our I/O APIC */
struct irq chips_intr(struct vm *vm);	  /* where the PIC's wire goes */
struct irq chips_line(struct vm *vm, unsigned gsi); /* an interrupt line of the board */
struct ioapic_config chips_ioapic(struct vm *vm);
/*
 * The engine's chips from our devices, after every set_state() and load; our devices from
 * the engine's, before they are saved. No-ops where the engine has none. The vCPUs are parked.
 */
int chips_load(struct vm *vm, struct err *e) MUST_CHECK;
void chips_save(struct vm *vm);
void chips_say(struct vm *vm); /* for -v -v; no vCPU runs, and none will: what KVM was about to deliver may be lost */

/* -- doorbells.c: notifications that need no vCPU's exit ------------------------------- */

struct doorbells doorbells_of(struct vm *vm); /* for dev_env; empty where the engine has none */
int doorbells_add(struct vm *vm, struct dev *transport, struct err *e) MUST_CHECK; /* a new device's */
void doorbells_drain(struct vm *vm); /* the vCPUs stand still: so do their notifications, then */
void doorbells_free(struct vm *vm); /* after the board */

/* -- confine.c --------------------------------------------------------------------- */

/* Enter the jail, unless the process has or is not to. One thread. */
int vm_confine(struct vm *vm, struct err *e) MUST_CHECK;

/* -- vcpu.c ------------------------------------------------------------------------ */

int vcpus_new(struct vm *vm, struct err *e) MUST_CHECK; /* after the board: needs local APICs */
int vcpus_start(struct vm *vm, struct err *e) MUST_CHECK;
void vcpus_signal(void *vm_cpu, enum lapic_signal what, u8 arg); /* for struct lapic_config */
u64 vcpus_tsc(void *vm_cpu);
/*
 * Lock held, any thread but a vCPU's. pause returns with every vCPU outside run(); it nests,
 * and the vCPUs go on after as many calls of resume. pause_by gives up at @deadline
 * (os_now_ns()) and then, or when the VM is ending, returns false with nothing changed.
 */
void vcpus_pause(struct vm *vm);
bool vcpus_pause_by(struct vm *vm, u64 deadline) MUST_CHECK;
void vcpus_resume(struct vm *vm);
void vcpus_stop(struct vm *vm); /* lock not held; joins the threads */
void vcpus_free(struct vm *vm);

/* -- cpu_config.c ------------------------------------------------------------------ */

struct cpu_config vm_cpu_config(struct vm *vm); /* valid as long as the VM is */
void vm_warn_cpuid(const struct cpu_config *c); /* log what of its changes cannot be offered */

/* -- vm.c -------------------------------------------------------------------------- */

/* What a snapshot brings along. */
struct vm_preset {
	struct mem *mem; /* taken over, also on failure */
	u64 clock_ns;	 /* the board's clock goes on from there */
	int pager_fd, pager_uffd; /* taken over likewise; -1 = nobody brings pages */
};
struct vm *vm_new_preset(struct vm_config *c, const struct vm_preset *p, struct err *e) MUST_CHECK;

/* -- pager.c: RAM whose pages another process brings (docs/snapshot-format.md) ------------ */

/* RAM served by who is at the other end of @sock; *ret_uffd is the caller's. */
struct mem *pager_memory(const struct vm_config *c, int sock, int dev, int *ret_uffd,
			 struct err *e) MUST_CHECK;
int pager_watch(struct vm *vm, int sock, int uffd, struct err *e) MUST_CHECK; /* takes over */
void pager_end(struct vm *vm);

/* -- prefetch.c: pages that a restored guest will use ------------------------------------------- */

struct snapshot_load;
void prefetch_init(struct vm *vm, const struct snapshot_load *o); /* RAM is mapped, snap_id known */
int prefetch_start(struct vm *vm, struct err *e) MUST_CHECK;	  /* the guest starts */
void prefetch_stop(struct vm *vm);

/* Lock held, any thread. The first end counts; the rest are ignored. */
void vm_end(struct vm *vm, enum vm_end end, int status);
void vm_fail(struct vm *vm, const struct err *e); /* vm_end(VM_FAILED) with its reason */
void vm_request_reset(struct vm *vm);
/* Lock held: the guest is about to run; if it was restored, tell it once. */
void vm_tell_guest(struct vm *vm);
/* Everything to power-on values and the kernel in memory; the vCPUs are not running. */
int vm_power_on(struct vm *vm, struct err *e) MUST_CHECK;
/* Up to @len random bytes; returns how many. */
size_t vm_random(struct vm *vm, void *buf, size_t len);

/* A line of "--json", or of -v when @level is reached. */
void vm_event(struct vm *vm, const char *name);
void vm_say(const struct vm *vm, u32 level, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
