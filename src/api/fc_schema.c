// SPDX-License-Identifier: Apache-2.0
/* fc_schema.c - see fc_schema.h; rows are in the order of the FIELD enums there */
#include "api/fc_schema.h"

#define U32_MAX 0xffffffffull

/* clang-format off */
#define BOOL(S, n, m, ...)  { .name = (n), .type = F_BOOL, FIELD_AT(S, m), __VA_ARGS__ }
#define UINT(S, n, m, ...)  { .name = (n), .type = F_UINT, FIELD_AT(S, m), __VA_ARGS__ }
#define STR(S, n, m, ...)   { .name = (n), .type = F_STR, FIELD_AT(S, m), __VA_ARGS__ }
#define ENUM(S, n, m, v, ...) { .name = (n), .type = F_ENUM, FIELD_AT(S, m), .names = (v), __VA_ARGS__ }
#define OBJ(S, n, m, s, ...)  { .name = (n), .type = F_OBJ, FIELD_AT(S, m), .sub = &(s), __VA_ARGS__ }
#define NEEDED .flags = F_REQUIRED
#define SHOWN  .flags = F_SHOWN

/* -- rate limits -- */

static const struct body_field bucket[] = {
	UINT(struct fc_bucket, "one_time_burst", one_time_burst),
	UINT(struct fc_bucket, "refill_time", refill_time, NEEDED),
	UINT(struct fc_bucket, "size", size, NEEDED),
};
const struct schema fc_bucket_schema = SCHEMA("TokenBucketConfig", struct fc_bucket, bucket);

static const struct body_field limiter[] = {
	OBJ(struct fc_limiter, "bandwidth", bandwidth, fc_bucket_schema),
	OBJ(struct fc_limiter, "ops", ops, fc_bucket_schema),
};
const struct schema fc_limiter_schema = SCHEMA("RateLimiterConfig", struct fc_limiter, limiter);

/* -- the machine -- */

static const char *const action_types[] = { "FlushMetrics", "InstanceStart", "SendCtrlAltDel", NULL };
static const struct body_field action[] = {
	ENUM(struct fc_action, "action_type", type, action_types, NEEDED),
};
const struct schema fc_action_schema = SCHEMA("ActionBody", struct fc_action, action);

static const struct body_field boot_source[] = {
	STR(struct fc_boot_source, "boot_args", boot_args),
	STR(struct fc_boot_source, "initrd_path", initrd),
	STR(struct fc_boot_source, "kernel_image_path", kernel, NEEDED),
};
const struct schema fc_boot_source_schema = SCHEMA("BootSourceConfig", struct fc_boot_source, boot_source);

static const char *const templates[] = { "C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None", NULL };
static const char *const huge_pages[] = { "None", "Transparent", "2M", NULL };
#define MACHINE_FIELDS(need) { \
	ENUM(struct fc_machine, "cpu_template", cpu_template, templates, .def = TEMPLATE_NONE), \
	BOOL(struct fc_machine, "smt", smt, SHOWN), \
	UINT(struct fc_machine, "mem_size_mib", mem_mib, .flags = (need) | F_SHOWN, .def = 128), \
	BOOL(struct fc_machine, "track_dirty_pages", track_dirty, SHOWN), \
	UINT(struct fc_machine, "vcpu_count", vcpus, .flags = (need) | F_SHOWN, .def = 1), \
	ENUM(struct fc_machine, "huge_pages", huge_pages, huge_pages, SHOWN), \
}
static const struct body_field machine[] = MACHINE_FIELDS(F_REQUIRED);
static const struct body_field machine_patch[] = MACHINE_FIELDS(0);
const struct schema fc_machine_schema = SCHEMA("MachineConfig", struct fc_machine, machine);
const struct schema fc_machine_patch_schema = SCHEMA("MachineConfigUpdate", struct fc_machine, machine_patch);

static const char *const cpuid_registers[] = { "eax", "ebx", "ecx", "edx", NULL };
static const struct body_field cpuid_register[] = {
	ENUM(struct fc_cpuid_register, "register", reg, cpuid_registers, NEEDED),
	STR(struct fc_cpuid_register, "bitmap", bitmap, NEEDED),
};
static const struct schema cpuid_register_schema =
	SCHEMA("CpuidRegisterModifier", struct fc_cpuid_register, cpuid_register);

static const struct body_field cpuid_leaf[] = {
	STR(struct fc_cpuid_leaf, "leaf", leaf, NEEDED),
	STR(struct fc_cpuid_leaf, "subleaf", subleaf, NEEDED),
	UINT(struct fc_cpuid_leaf, "flags", flags, NEEDED),
	{ .name = "modifiers", .type = F_LIST, NEEDED, .sub = &cpuid_register_schema,
	  FIELD_LIST_AT(struct fc_cpuid_leaf, reg, nr_regs) },
};
static const struct schema cpuid_leaf_schema = SCHEMA("CpuidLeafModifier", struct fc_cpuid_leaf, cpuid_leaf);

static const struct body_field msr[] = {
	STR(struct fc_msr, "addr", addr, NEEDED),
	STR(struct fc_msr, "bitmap", bitmap, NEEDED),
};
static const struct schema msr_schema = SCHEMA("RegisterModifier", struct fc_msr, msr);

static const struct body_field cpu_config[] = {
	{ .name = "kvm_capabilities", .type = F_STRS, FIELD_LIST_AT(struct fc_cpu_config, kvm_cap, nr_kvm_caps) },
	{ .name = "cpuid_modifiers", .type = F_LIST, .sub = &cpuid_leaf_schema,
	  FIELD_LIST_AT(struct fc_cpu_config, leaf, nr_leaves) },
	{ .name = "msr_modifiers", .type = F_LIST, .sub = &msr_schema,
	  FIELD_LIST_AT(struct fc_cpu_config, msr, nr_msrs) },
};
const struct schema fc_cpu_config_schema = SCHEMA("CustomCpuTemplate", struct fc_cpu_config, cpu_config);

/* -- disks -- */

static const char *const cache_types[] = { "Unsafe", "Writeback", NULL };
static const char *const io_engines[] = { "Sync", "Async", NULL };
static const struct body_field drive[] = {
	STR(struct fc_drive, "drive_id", id, NEEDED),
	STR(struct fc_drive, "partuuid", partuuid),
	BOOL(struct fc_drive, "is_root_device", is_root, NEEDED),
	ENUM(struct fc_drive, "cache_type", cache, cache_types, SHOWN),
	BOOL(struct fc_drive, "is_read_only", read_only),
	STR(struct fc_drive, "path_on_host", path),
	OBJ(struct fc_drive, "rate_limiter", limiter, fc_limiter_schema),
	ENUM(struct fc_drive, "io_engine", io_engine, io_engines, SHOWN),
	STR(struct fc_drive, "socket", socket),
};
const struct schema fc_drive_schema = SCHEMA("BlockDeviceConfig", struct fc_drive, drive);

static const struct body_field drive_patch[] = {
	STR(struct fc_drive_patch, "drive_id", id, NEEDED),
	STR(struct fc_drive_patch, "path_on_host", path),
	OBJ(struct fc_drive_patch, "rate_limiter", limiter, fc_limiter_schema),
};
const struct schema fc_drive_patch_schema = SCHEMA("BlockDeviceUpdateConfig", struct fc_drive_patch, drive_patch);

static const struct body_field pmem[] = {
	STR(struct fc_pmem, "id", id, NEEDED),
	STR(struct fc_pmem, "path_on_host", path, NEEDED),
	BOOL(struct fc_pmem, "root_device", root, SHOWN),
	BOOL(struct fc_pmem, "read_only", read_only, SHOWN),
	OBJ(struct fc_pmem, "rate_limiter", limiter, fc_limiter_schema),
};
const struct schema fc_pmem_schema = SCHEMA("PmemConfig", struct fc_pmem, pmem);

static const struct body_field pmem_patch[] = {
	STR(struct fc_pmem_patch, "id", id, NEEDED),
	OBJ(struct fc_pmem_patch, "rate_limiter", limiter, fc_limiter_schema),
};
const struct schema fc_pmem_patch_schema = SCHEMA("PmemDeviceUpdateConfig", struct fc_pmem_patch, pmem_patch);

/* -- network -- */

static const struct body_field net[] = {
	STR(struct fc_net, "guest_mac", mac),
	STR(struct fc_net, "host_dev_name", dev, NEEDED),
	STR(struct fc_net, "iface_id", id, NEEDED),
	UINT(struct fc_net, "mtu", mtu, .min = 68, .max = 65535),
	OBJ(struct fc_net, "rx_rate_limiter", rx, fc_limiter_schema),
	OBJ(struct fc_net, "tx_rate_limiter", tx, fc_limiter_schema),
};
const struct schema fc_net_schema = SCHEMA("NetworkInterfaceConfig", struct fc_net, net);

static const struct body_field net_patch[] = {
	STR(struct fc_net_patch, "iface_id", id, NEEDED),
	OBJ(struct fc_net_patch, "rx_rate_limiter", rx, fc_limiter_schema),
	OBJ(struct fc_net_patch, "tx_rate_limiter", tx, fc_limiter_schema),
};
const struct schema fc_net_patch_schema = SCHEMA("NetworkInterfaceUpdateConfig", struct fc_net_patch, net_patch);

static const struct body_field vsock[] = {
	UINT(struct fc_vsock, "guest_cid", cid, NEEDED, .min = 3, .max = U32_MAX),
	STR(struct fc_vsock, "uds_path", uds_path, NEEDED),
	STR(struct fc_vsock, "vsock_id", id),
};
const struct schema fc_vsock_schema = SCHEMA("VsockDeviceConfig", struct fc_vsock, vsock);

static const char *const mmds_versions[] = { "V1", "V2", NULL };
static const struct body_field mmds[] = {
	ENUM(struct fc_mmds, "version", version, mmds_versions, SHOWN),
	{ .name = "network_interfaces", .type = F_STRS, NEEDED, FIELD_LIST_AT(struct fc_mmds, iface, nr_ifaces) },
	STR(struct fc_mmds, "ipv4_address", ipv4),
	BOOL(struct fc_mmds, "imds_compat", imds_compat, SHOWN),
};
const struct schema fc_mmds_schema = SCHEMA("MmdsConfig", struct fc_mmds, mmds);

/* -- memory and random numbers -- */

static const struct body_field balloon[] = {
	UINT(struct fc_balloon, "amount_mib", amount_mib, NEEDED),
	BOOL(struct fc_balloon, "deflate_on_oom", deflate_on_oom, NEEDED),
	UINT(struct fc_balloon, "stats_polling_interval_s", stats_interval_s, SHOWN),
	BOOL(struct fc_balloon, "free_page_hinting", hinting, SHOWN),
	BOOL(struct fc_balloon, "free_page_reporting", reporting, SHOWN),
};
const struct schema fc_balloon_schema = SCHEMA("BalloonDeviceConfig", struct fc_balloon, balloon);

static const struct body_field balloon_patch[] = {
	UINT(struct fc_balloon_patch, "amount_mib", amount_mib, NEEDED),
};
const struct schema fc_balloon_patch_schema = SCHEMA("BalloonUpdateConfig", struct fc_balloon_patch, balloon_patch);

static const struct body_field balloon_stats_patch[] = {
	UINT(struct fc_balloon_stats_patch, "stats_polling_interval_s", interval_s, NEEDED),
};
const struct schema fc_balloon_stats_patch_schema =
	SCHEMA("BalloonUpdateStatsConfig", struct fc_balloon_stats_patch, balloon_stats_patch);

static const struct body_field balloon_start[] = {
	BOOL(struct fc_balloon_start, "acknowledge_on_stop", acknowledge_on_stop, .def = true),
};
const struct schema fc_balloon_start_schema = SCHEMA("StartHintingCmd", struct fc_balloon_start, balloon_start);

static const struct body_field entropy[] = {
	OBJ(struct fc_entropy, "rate_limiter", limiter, fc_limiter_schema),
};
const struct schema fc_entropy_schema = SCHEMA("EntropyDeviceConfig", struct fc_entropy, entropy);

static const struct body_field memhp[] = {
	UINT(struct fc_memhp, "total_size_mib", total_mib, NEEDED),
	UINT(struct fc_memhp, "slot_size_mib", slot_mib, SHOWN, .def = 128),
	UINT(struct fc_memhp, "block_size_mib", block_mib, SHOWN, .def = 2),
};
const struct schema fc_memhp_schema = SCHEMA("MemoryHotplugConfig", struct fc_memhp, memhp);

static const struct body_field memhp_patch[] = {
	UINT(struct fc_memhp_patch, "requested_size_mib", requested_mib, NEEDED),
};
const struct schema fc_memhp_patch_schema = SCHEMA("MemoryHotplugSizeUpdate", struct fc_memhp_patch, memhp_patch);

/* -- the monitor itself -- */

static const struct body_field serial[] = {
	STR(struct fc_serial, "serial_out_path", path),
	OBJ(struct fc_serial, "rate_limiter", limiter, fc_bucket_schema),
};
const struct schema fc_serial_schema = SCHEMA("SerialConfig", struct fc_serial, serial);

static const struct body_field logger[] = {
	STR(struct fc_logger, "level", level),
	STR(struct fc_logger, "log_path", path),
	BOOL(struct fc_logger, "show_level", show_level),
	BOOL(struct fc_logger, "show_log_origin", show_origin),
	STR(struct fc_logger, "module", module),
};
const struct schema fc_logger_schema = SCHEMA("LoggerConfig", struct fc_logger, logger);

static const struct body_field metrics[] = {
	STR(struct fc_metrics, "metrics_path", path, NEEDED),
	BOOL(struct fc_metrics, "emit_id", emit_id),
	{ .name = "properties", .type = F_MAP, FIELD_AT(struct fc_metrics, properties) },
};
const struct schema fc_metrics_schema = SCHEMA("MetricsConfig", struct fc_metrics, metrics);

static const char *const vm_states[] = { "Paused", "Resumed", NULL };
static const struct body_field vm_state[] = {
	ENUM(struct fc_vm_state, "state", state, vm_states, NEEDED),
};
const struct schema fc_vm_state_schema = SCHEMA("Vm", struct fc_vm_state, vm_state);

/* -- snapshots -- */

static const char *const snapshot_types[] = { "Full", "Diff", NULL };
static const struct body_field snapshot_create[] = {
	STR(struct fc_snapshot_create, "mem_file_path", mem_path, NEEDED),
	STR(struct fc_snapshot_create, "snapshot_path", path, NEEDED),
	ENUM(struct fc_snapshot_create, "snapshot_type", type, snapshot_types),
};
const struct schema fc_snapshot_create_schema =
	SCHEMA("CreateSnapshotParams", struct fc_snapshot_create, snapshot_create);

static const char *const backend_types[] = { "File", "Uffd", NULL };
static const struct body_field mem_backend[] = {
	ENUM(struct fc_mem_backend, "backend_type", type, backend_types, NEEDED),
	STR(struct fc_mem_backend, "backend_path", path, NEEDED),
};
static const struct schema mem_backend_schema = SCHEMA("MemBackendConfig", struct fc_mem_backend, mem_backend);

static const struct body_field net_override[] = {
	STR(struct fc_net_override, "iface_id", iface, NEEDED),
	STR(struct fc_net_override, "host_dev_name", dev, NEEDED),
};
static const struct schema net_override_schema = SCHEMA("NetworkOverride", struct fc_net_override, net_override);

static const struct body_field vsock_override[] = {
	STR(struct fc_vsock_override, "uds_path", uds_path, NEEDED),
};
static const struct schema vsock_override_schema = SCHEMA("VsockOverride", struct fc_vsock_override, vsock_override);

static const char *const load_huge_pages[] = { "Snapshot", "None", "Transparent", "2M", NULL };
static const struct body_field snapshot_load[] = {
	BOOL(struct fc_snapshot_load, "enable_diff_snapshots", diff),
	BOOL(struct fc_snapshot_load, "track_dirty_pages", track_dirty),
	STR(struct fc_snapshot_load, "mem_file_path", mem_path),
	OBJ(struct fc_snapshot_load, "mem_backend", backend, mem_backend_schema),
	STR(struct fc_snapshot_load, "snapshot_path", path, NEEDED),
	BOOL(struct fc_snapshot_load, "resume_vm", resume),
	{ .name = "network_overrides", .type = F_LIST, .sub = &net_override_schema,
	  FIELD_LIST_AT(struct fc_snapshot_load, net, nr_nets) },
	OBJ(struct fc_snapshot_load, "vsock_override", vsock, vsock_override_schema),
	BOOL(struct fc_snapshot_load, "clock_realtime", clock_realtime),
	ENUM(struct fc_snapshot_load, "huge_pages", huge_pages, load_huge_pages),
};
const struct schema fc_snapshot_load_schema =
	SCHEMA("LoadSnapshotConfig", struct fc_snapshot_load, snapshot_load);
/* clang-format on */
