// SPDX-License-Identifier: Apache-2.0
/*
 * fc_schema.h - the bodies of the Firecracker API
 *
 * Follows Firecracker's API document, version 1.17 (docs/spec/firecracker.yaml), and
 * where that and the program differ the program, as its clients see it. Names, ranges
 * and defaults are in fc_schema.c; a bit number FIELD_x says which field "given" means.
 */
#ifndef API_FC_SCHEMA_H
#define API_FC_SCHEMA_H

#include "api/body.h"
#include "cfg/cfg.h"

struct fc_bucket { /* TokenBucket */
	u32 given;
	u64 one_time_burst, refill_time, size;
};

struct fc_limiter { /* RateLimiter */
	u32 given;
	struct fc_bucket bandwidth, ops;
};
enum { LIMITER_BANDWIDTH, LIMITER_OPS };

struct fc_action {
	u32 given;
	u32 type;
};
enum fc_action_type { ACTION_FLUSH_METRICS, ACTION_START, ACTION_CTRL_ALT_DEL };

struct fc_boot_source {
	u32 given;
	char boot_args[CFG_CMDLINE], initrd[CFG_PATH], kernel[CFG_PATH];
};
enum { BOOT_ARGS, BOOT_INITRD, BOOT_KERNEL };

struct fc_machine {
	u32 given;
	u32 cpu_template; /* index in fc_cpu_templates */
	bool smt, track_dirty;
	u64 mem_mib;
	u8 vcpus;
	u32 huge_pages;
};
enum {
	MACHINE_TEMPLATE,
	MACHINE_SMT,
	MACHINE_MEM,
	MACHINE_DIRTY,
	MACHINE_VCPUS,
	MACHINE_HUGE,
};
enum { HUGE_NONE, HUGE_TRANSPARENT, HUGE_2M };
#define TEMPLATE_NONE 6u

struct fc_drive {
	u32 given;
	char id[CFG_NAME], partuuid[64];
	bool is_root, read_only;
	u32 cache; /* 0 = Unsafe, 1 = Writeback */
	char path[CFG_PATH], socket[CFG_PATH];
	struct fc_limiter limiter;
	u32 io_engine;
};
enum {
	DRIVE_ID,
	DRIVE_PARTUUID,
	DRIVE_ROOT,
	DRIVE_CACHE,
	DRIVE_READ_ONLY,
	DRIVE_PATH,
	DRIVE_LIMITER,
	DRIVE_ENGINE,
	DRIVE_SOCKET,
};

struct fc_drive_patch {
	u32 given;
	char id[CFG_NAME], path[CFG_PATH];
	struct fc_limiter limiter;
};
enum { DRIVE_PATCH_ID, DRIVE_PATCH_PATH, DRIVE_PATCH_LIMITER };

struct fc_net {
	u32 given;
	char mac[CFG_MAC], dev[16], id[CFG_NAME];
	u32 mtu;
	struct fc_limiter rx, tx;
};
enum { NET_MAC, NET_DEV, NET_ID, NET_MTU, NET_RX, NET_TX };

struct fc_net_patch {
	u32 given;
	char id[CFG_NAME];
	struct fc_limiter rx, tx;
};
enum { NET_PATCH_ID, NET_PATCH_RX, NET_PATCH_TX };

struct fc_vsock {
	u32 given;
	u32 cid;
	char uds_path[CFG_PATH], id[CFG_NAME];
};
enum { VSOCK_CID, VSOCK_PATH, VSOCK_ID };

struct fc_balloon {
	u32 given;
	u32 amount_mib;
	bool deflate_on_oom;
	u16 stats_interval_s;
	bool hinting, reporting;
};

struct fc_balloon_patch {
	u32 given;
	u32 amount_mib;
};

struct fc_balloon_stats_patch {
	u32 given;
	u16 interval_s;
};

struct fc_balloon_start {
	u32 given;
	bool acknowledge_on_stop;
};

struct fc_entropy {
	u32 given;
	struct fc_limiter limiter;
};

struct fc_mmds {
	u32 given;
	u32 version; /* 0 = V1, 1 = V2 */
	char iface[CFG_NETS][CFG_NAME];
	u32 nr_ifaces;
	char ipv4[16];
	bool imds_compat;
};
enum { MMDS_VERSION, MMDS_IFACES, MMDS_IPV4, MMDS_COMPAT };

struct fc_pmem {
	u32 given;
	char id[CFG_NAME], path[CFG_PATH];
	bool root, read_only;
	struct fc_limiter limiter;
};
enum { PMEM_ID, PMEM_PATH, PMEM_ROOT, PMEM_READ_ONLY, PMEM_LIMITER };

struct fc_pmem_patch {
	u32 given;
	char id[CFG_NAME];
	struct fc_limiter limiter;
};

struct fc_memhp {
	u32 given;
	u32 total_mib, slot_mib, block_mib;
};

struct fc_memhp_patch {
	u32 given;
	u32 requested_mib;
};

struct fc_serial {
	u32 given;
	char path[CFG_PATH];
	struct fc_bucket limiter;
};
enum { SERIAL_PATH, SERIAL_LIMITER };

struct fc_logger {
	u32 given;
	char level[16], path[CFG_PATH], module[CFG_NAME];
	bool show_level, show_origin;
};
enum { LOGGER_LEVEL, LOGGER_PATH, LOGGER_SHOW_LEVEL, LOGGER_SHOW_ORIGIN, LOGGER_MODULE };

struct fc_metrics {
	u32 given;
	char path[CFG_PATH];
	bool emit_id;
	json_t *properties; /* owned */
};
enum { METRICS_PATH, METRICS_EMIT_ID, METRICS_PROPERTIES };

/* CpuConfig: bit patterns stay text until they are used */
struct fc_cpuid_register {
	u32 given;
	u32 reg; /* eax, ebx, ecx, edx */
	char bitmap[48];
};

struct fc_cpuid_leaf {
	u32 given;
	char leaf[40], subleaf[40];
	u32 flags;
	struct fc_cpuid_register reg[4];
	u32 nr_regs;
};

struct fc_msr {
	u32 given;
	char addr[40], bitmap[96];
};

struct fc_cpu_config {
	u32 given;
	char kvm_cap[32][16];
	u32 nr_kvm_caps;
	struct fc_cpuid_leaf leaf[64];
	u32 nr_leaves;
	struct fc_msr msr[64];
	u32 nr_msrs;
};

struct fc_vm_state {
	u32 given;
	u32 state; /* 0 = Paused, 1 = Resumed */
};

struct fc_snapshot_create {
	u32 given;
	char mem_path[CFG_PATH], path[CFG_PATH];
	u32 type; /* 0 = Full, 1 = Diff */
};

struct fc_mem_backend {
	u32 given;
	u32 type; /* 0 = File, 1 = Uffd */
	char path[CFG_PATH];
};

struct fc_net_override {
	u32 given;
	char iface[CFG_NAME], dev[16];
};

struct fc_vsock_override {
	u32 given;
	char uds_path[CFG_PATH];
};

struct fc_snapshot_load {
	u32 given;
	bool diff, track_dirty, resume, clock_realtime;
	char mem_path[CFG_PATH], path[CFG_PATH];
	struct fc_mem_backend backend;
	struct fc_net_override net[CFG_NETS];
	u32 nr_nets;
	struct fc_vsock_override vsock;
	u32 huge_pages; /* LOAD_HUGE_SNAPSHOT, or 1 + that of a machine */
};
#define LOAD_HUGE_SNAPSHOT 0
enum {
	LOAD_DIFF,
	LOAD_DIRTY,
	LOAD_MEM_PATH,
	LOAD_BACKEND,
	LOAD_PATH,
	LOAD_RESUME,
	LOAD_NETS,
	LOAD_VSOCK,
	LOAD_CLOCK,
	LOAD_HUGE,
};

extern const struct schema fc_bucket_schema, fc_limiter_schema, fc_action_schema,
	fc_boot_source_schema, fc_machine_schema, fc_machine_patch_schema, fc_cpu_config_schema,
	fc_drive_schema, fc_drive_patch_schema, fc_net_schema, fc_net_patch_schema,
	fc_vsock_schema, fc_balloon_schema, fc_balloon_patch_schema,
	fc_balloon_stats_patch_schema, fc_balloon_start_schema, fc_entropy_schema,
	fc_mmds_schema, fc_pmem_schema, fc_pmem_patch_schema, fc_memhp_schema,
	fc_memhp_patch_schema, fc_serial_schema, fc_logger_schema, fc_metrics_schema,
	fc_vm_state_schema, fc_snapshot_create_schema, fc_snapshot_load_schema;

#endif
