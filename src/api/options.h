// SPDX-License-Identifier: Apache-2.0
/* options.h - the command line of vireo-vm as Firecracker's users write it */
#ifndef API_OPTIONS_H
#define API_OPTIONS_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

/* Exit statuses, besides 0 and those of signals [FC FcExitCode]. */
#define FC_EXIT_ERROR	   1
#define FC_EXIT_BAD_CONFIG 152
#define FC_EXIT_BAD_ARGS   153

struct fc_options { /* strings are borrowed from argv; NULL = not given */
	const char *api_sock, *id, *config_file, *metadata, *log_path, *level, *module,
		*metrics_path, *engine, *chroot, *seccomp_filter, *describe_snapshot;
	u64 max_payload, mmds_limit; /* 0 = not given */
	u64 uid, gid; /* with .chroot */
	u64 start_us, start_cpu_us, parent_cpu_us;
	bool no_api, boot_timer, enable_pci, no_seccomp, show_level, show_origin;
	bool version, snapshot_version, help;
};

int fc_options_parse(struct fc_options *o, int argc, char **argv, struct err *e) MUST_CHECK;
void fc_options_help(void); /* on stdout */

#endif
