// SPDX-License-Identifier: Apache-2.0
/*
 * cfg.h - what a virtual machine is: plain data
 *
 * "vireo run" fills a struct vm_config from its command line, opens everything it
 * names, notes the descriptors in it and passes it as JSON to vireo-vm, which opens
 * nothing by name. One place describes each member (cfg_json.c) and each option
 * (cfg_cli.c).
 */
#ifndef CFG_CFG_H
#define CFG_CFG_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#define CFG_PATH     1024
#define CFG_NAME     64
#define CFG_CMDLINE  4096
#define CFG_ARGS     512
#define CFG_INITRDS  8
#define CFG_CPUIDS   256
#define CFG_DISKS    16
#define CFG_DISK_FILES 32
#define CFG_DISK_QUEUES 16
#define CFG_NETS     4
#define CFG_NET_QUEUES 4
#define CFG_SHARES   4
#define CFG_FORWARDS 16
#define CFG_PMEMS    4
#define CFG_VHOSTS   4
#define CFG_CGROUPS 8 /* settings of the control group */
#define CFG_MAC      18 /* "06:00:ac:10:00:02" */
#define CFG_CPUS_MAX 240
#define CFG_CODE_MIN (1ull << 20)
#define CFG_CODE_MAX (1ull << 30)
#define CFG_MEM_MIN  (8ull << 20)
#define CFG_CID_MAX  0xfffffffeull

enum cfg_jail { CFG_JAIL_ON, CFG_JAIL_OFF, CFG_JAIL_REPORT };
enum cfg_engine { CFG_ENGINE_AUTO, CFG_ENGINE_SOFT, CFG_ENGINE_KVM };
enum cfg_irqchip { CFG_IRQCHIP_KERNEL, CFG_IRQCHIP_SPLIT }; /* as enum cpu_irqchip */
enum cfg_cpu { CFG_CPU_V3, CFG_CPU_V2, CFG_CPU_MAX }; /* order of enum cpu_model */
enum cfg_cache {
	CFG_CACHE_WRITEBACK,
	CFG_CACHE_WRITETHROUGH,
	CFG_CACHE_UNSAFE,
	CFG_CACHE_NONE, /* past the host's page cache */
	CFG_CACHE_DIRECTSYNC, /* both of none and writethrough */
};
enum cfg_transport { CFG_TRANSPORT_PCI, CFG_TRANSPORT_MMIO };
enum cfg_net { CFG_NET_NONE, CFG_NET_USER, CFG_NET_TAP };

struct cfg_file {
	char path[CFG_PATH];
	char args[CFG_ARGS]; /* command line of a Multiboot module */
	i32 fd;		     /* -1 = not open */
};

/* A token bucket: @size tokens come back within @refill_time ms; once, @one_time_burst more. */
struct bucket_config {
	u64 size, one_time_burst, refill_time; /* size or refill_time 0 = no limit */
};

struct limit_config {
	struct bucket_config bandwidth, ops; /* bytes; requests or frames */
};

/* Another file a disk's image needs. */
struct disk_file_config {
	i32 fd;
	u32 format;   /* enum image_format */
	bool extent;  /* more data of the image before it, not what that stands on */
};

struct disk_config {
	char path[CFG_PATH];
	char format[16];	    /* "" = by the image's first bytes */
	char allow[CFG_PATH];	    /* where else files named by the image may be; "" = nowhere */
	char secret_file[CFG_PATH]; /* "" = none */
	char secret[512];	    /* what is in it */
	i32 fd;
	u32 image_format; /* enum image_format, once known */
	struct disk_file_config file[CFG_DISK_FILES];
	u32 nr_files;
	i32 layer_fd; /* what a saved machine had written in snapshot mode, -1 = nothing */
	i32 store_fd; /* where snapshot mode writes, -1 = not open; the monitor's own */
	bool read_only, snapshot;
	char id[CFG_NAME];	   /* its name in the API; "" = none */
	bool no_flush;		   /* the guest is offered no flush command */
	u32 cache;		   /* enum cfg_cache */
	u32 queues;		   /* 0 = one per CPU, four at most */
	struct limit_config limit;
};

struct forward_config {
	u32 host_port, guest_port;
};

struct net_queue_config {
	i32 fd;
};

struct net_config {
	u32 kind; /* enum cfg_net */
	char tap[16];
	i32 fd;
	struct net_queue_config queue[CFG_NET_QUEUES - 1]; /* of the TAP interface, beside the first */
	u32 nr_queues;
	struct forward_config forward[CFG_FORWARDS];
	u32 nr_forwards;
	char id[CFG_NAME];	      /* its name in the API; "" = none */
	char mac[CFG_MAC];	      /* "" = ours */
	u32 mtu;		      /* 0 = not announced */
	struct limit_config rx_limit, tx_limit; /* to the guest, from it */
	bool mmds;		      /* the metadata service answers here */
};

struct share_config {
	char path[CFG_PATH];
	char tag[CFG_NAME];
	i32 fd;
	bool read_only;
};

struct balloon_config {
	bool present;
	u32 amount_mib; /* at the start */
	bool deflate_on_oom;
	u32 stats_polling_s; /* 0 = no statistics */
	bool hinting, reporting; /* of free pages */
};

/* Host end of vsock: a listening socket at uds_path, "uds_path_PORT" for the guest's calls. */
struct vsock_config {
	bool present;
	u32 cid;
	char uds_path[CFG_PATH];
	i32 fd; /* listening at uds_path */
};

/* The metadata service; net_config.mmds says where it answers. */
struct mmds_config {
	bool present;
	u32 version;	/* 1 or 2 */
	u32 ipv4;	/* host byte order */
	bool imds_compat; /* always text/plain */
	u64 size_limit; /* bytes of JSON */
	char path[CFG_PATH]; /* of the data at the start; "" = none */
	i32 fd;
};

struct pmem_config {
	char id[CFG_NAME];
	char path[CFG_PATH];
	i32 fd;
	bool read_only;
	struct limit_config limit; /* of flushes */
};

/* Memory that comes and goes while the guest runs (virtio-mem), all in MiB. */
struct memhp_config {
	bool present;
	u32 total_mib, slot_mib, block_mib;
	u32 requested_mib; /* at the start */
};

/* Blocks are a power of two of MiB, and the rest whole blocks. */
bool cfg_memhp_ok(const struct memhp_config *m);

enum cfg_vhost { CFG_VHOST_FS, CFG_VHOST_BLK, CFG_VHOST_NET };

/* One register of a CPUID leaf shown otherwise: (register & ~mask) | value. */
struct cpuid_config {
	u32 leaf, subleaf;
	u32 reg; /* 0..3 = eax, ebx, ecx, edx */
	u32 mask, value;
};

/* A device whose work another process does, at the other end of a Unix socket. */
struct vhost_config {
	u32 type; /* enum cfg_vhost */
	char path[CFG_PATH];
	char tag[36]; /* fs */
	i32 fd;
};

/* A file of the VM's control group, and what to write to it: "memory.max", "512M". */
struct cgroup_config {
	char file[64], value[128];
};

/* The machine begins as one that was saved (vmm/snapshot.h). */
struct restore_config {
	i32 state_fd, mem_fd, over_fd; /* state_fd -1 = it begins with power-on */
	i32 pages_fd; /* which pages it uses first (mem_save_touched()); -1 = not known */
	u32 learn_s;  /* not 0: so many seconds after the start that is written there */
	bool uffd, paused, keep_clocks, verify;
};

struct vm_config {
	char name[CFG_NAME];
	char parent[CFG_NAME]; /* the machine this is a fork of; "" = of none */
	struct restore_config restore;
	i32 ready_fd; /* gets a byte when the machine runs, -1 = none */
	u32 engine; /* enum cfg_engine; once chosen, not auto */
	u32 irqchip; /* enum cfg_irqchip: what KVM has of the interrupt chips */
	i32 kvm_fd; /* /dev/kvm for CFG_ENGINE_KVM, -1 = none */
	u32 cpu;    /* enum cfg_cpu */
	struct cpuid_config cpuid[CFG_CPUIDS]; /* features can only be taken away */
	u32 nr_cpuids;
	u32 nr_cpus;
	u64 memory; /* bytes */
	u64 code_cache; /* software engine: bytes of translated code per CPU, 0 = the engine's default */
	struct cfg_file kernel;
	struct cfg_file firmware; /* a ROM image, instead of a kernel */
	struct cfg_file initrd[CFG_INITRDS];
	u32 nr_initrds;
	char cmdline[CFG_CMDLINE];
	bool has_cmdline; /* given by the user */
	struct disk_config disk[CFG_DISKS];
	u32 nr_disks;
	struct net_config net[CFG_NETS];
	u32 nr_nets;
	struct share_config share[CFG_SHARES];
	u32 nr_shares;
	char serial[CFG_PATH]; /* as chr_open() takes it; "" = not given */
	i32 serial_fd;         /* listening socket or file, -1 = none */
	struct balloon_config balloon;
	struct vsock_config vsock;
	struct mmds_config mmds;
	struct pmem_config pmem[CFG_PMEMS];
	u32 nr_pmems;
	struct memhp_config memhp;
	struct vhost_config vhost[CFG_VHOSTS];
	u32 nr_vhosts;
	struct limit_config rng_limit;
	struct bucket_config serial_limit; /* what the guest writes beyond is dropped */
	i32 control_fd;	    /* listening: the API for this running VM; -1 = none */
	u32 transport;	    /* enum cfg_transport, of virtio devices */
	bool agent; /* a port for an agent in the guest, which is told of restores and forks */
	bool track_dirty;   /* so that snapshots may be differences */
	bool huge_pages;    /* RAM is 2 MiB pages of the host's pool (mem_use_huge()) */
	bool boot_timer;    /* the page at 0xc0000000 that stops the clock of the boot */
	bool reset_is_end;  /* a reset by the guest ends the VM */
	bool perf_map; /* list translated code for perf(1) */
	i32 perf_fd;   /* where; -1 = nowhere */
	char trace[CFG_NAME]; /* events to show, as trace_enable() takes them */
	bool debug_exit, test_device, json, interpret;
	u32 verbose;
	u32 jail; /* enum cfg_jail */
	struct cgroup_config cgroup[CFG_CGROUPS]; /* not saved: they are the host's */
	u32 nr_cgroups;
	bool no_cgroup;
	char parent_cgroup[CFG_PATH]; /* "" = our own */

	/* "vireo run -- CMD": borrowed from argv, or owned by the JSON it came from */
	char **command;
	u32 nr_command;
};

void cfg_init(struct vm_config *c); /* defaults */
/* As if nothing had been opened: no descriptors, no passphrases, names only. */
void cfg_forget_open(struct vm_config *c);
void cfg_fini(struct vm_config *c); /* frees what cfg_from_json() allocated */

/*
 * cfg_parse_args() - options of "vireo run"
 * @argv:	the words after "run"; borrowed by c->command
 *
 * Return: 0, or -EINVAL with a sentence that names the option and what was wanted.
 */
int cfg_parse_args(struct vm_config *c, int argc, char **argv, struct err *e) MUST_CHECK;

/* What options cannot check alone. */
int cfg_check(const struct vm_config *c, struct err *e) MUST_CHECK;

/* For a configuration from outside: numbers that parsing options would have refused. */
int cfg_check_limits(const struct vm_config *c, struct err *e) MUST_CHECK;

void cfg_print_options(void); /* for --help, on stdout */

/* "512M" in bytes; suffixes K, M, G, T. false if it is no size or does not fit. */
bool cfg_parse_size(const char *s, u64 *ret) MUST_CHECK;

/* "52:54:00:12:34:56", not a group address; false if it is none. */
bool cfg_parse_mac(const char *s, u8 ret[6]) MUST_CHECK;

/* What --engine and --jail take: enum cfg_engine, enum cfg_jail. -EINVAL with a sentence if it is none. */
int cfg_parse_engine(const char *val, u32 *ret, struct err *e) MUST_CHECK;
int cfg_parse_jail(const char *val, u32 *ret, struct err *e) MUST_CHECK;

/* A string from malloc, or NULL when out of memory. */
char *cfg_to_json(const struct vm_config *c);
/* @c has been through cfg_init(); cfg_fini() it in any case. */
int cfg_from_json(struct vm_config *c, const char *text, size_t len, struct err *e) MUST_CHECK;

#endif
