// SPDX-License-Identifier: Apache-2.0
/* options.c - see options.h */
#include "api/options.h"

#include "api/api.h"
#include "cfg/cfg.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_type { OPT_FLAG, OPT_TEXT, OPT_NUMBER };

struct option_def {
	const char *name, *help;
	enum option_type type;
	size_t offset;
};

#define OPT(t, n, m, h) { .name = (n), .help = (h), .type = (t), .offset = offsetof(struct fc_options, m) }

/* clang-format off */
static const struct option_def options[] = {
	OPT(OPT_TEXT, "--api-sock", api_sock, "path of the API's socket (/run/firecracker.socket)"),
	OPT(OPT_TEXT, "--id", id, "name of the VM: up to 64 letters, digits and '-'"),
	OPT(OPT_TEXT, "--config-file", config_file, "JSON file with the VM's configuration: start it at once"),
	OPT(OPT_TEXT, "--metadata", metadata, "JSON file with the contents of the metadata service"),
	OPT(OPT_FLAG, "--no-api", no_api, "no socket; with --config-file"),
	OPT(OPT_TEXT, "--engine", engine, "what runs the CPUs: auto (default), soft or kvm; not Firecracker's"),
	OPT(OPT_FLAG, "--boot-timer", boot_timer, "log how long the guest takes to say that it has booted"),
	OPT(OPT_FLAG, "--enable-pci", enable_pci, "virtio devices on PCI, not behind MMIO"),
	OPT(OPT_TEXT, "--seccomp-filter", seccomp_filter, "refused: the filters are built in"),
	OPT(OPT_FLAG, "--no-seccomp", no_seccomp, "run without the jail; for debugging"),
	OPT(OPT_TEXT, "--log-path", log_path, "file or FIFO for the log (standard output)"),
	OPT(OPT_TEXT, "--level", level, "Off, Error, Warn, Info (default), Debug or Trace"),
	OPT(OPT_TEXT, "--module", module, "log only source files whose path begins so"),
	OPT(OPT_FLAG, "--show-level", show_level, "each line of the log with its level"),
	OPT(OPT_FLAG, "--show-log-origin", show_origin, "each line of the log with its place in the source"),
	OPT(OPT_TEXT, "--metrics-path", metrics_path, "file or FIFO for metrics, a line of JSON a minute"),
	OPT(OPT_NUMBER, "--http-api-max-payload-size", max_payload, "bytes of a request's body (51200)"),
	OPT(OPT_NUMBER, "--mmds-size-limit", mmds_limit, "bytes of metadata (as the one above)"),
	OPT(OPT_TEXT, "--chroot", chroot, "root directory to enter first (vireo-jailer)"),
	OPT(OPT_NUMBER, "--uid", uid, "with --chroot: user to become"),
	OPT(OPT_NUMBER, "--gid", gid, "with --chroot: group to become"),
	OPT(OPT_NUMBER, "--start-time-us", start_us, "when the process began, monotonic clock"),
	OPT(OPT_NUMBER, "--start-time-cpu-us", start_cpu_us, "its CPU time then"),
	OPT(OPT_NUMBER, "--parent-cpu-time-us", parent_cpu_us, "CPU time of who started it"),
	OPT(OPT_TEXT, "--describe-snapshot", describe_snapshot, "print the format version of a snapshot file"),
	OPT(OPT_FLAG, "--snapshot-version", snapshot_version, "print the format version snapshots are written in"),
	OPT(OPT_FLAG, "--version", version, "print the version"),
	OPT(OPT_FLAG, "--help", help, "this text"),
};
/* clang-format on */

/* "--opt" or "--opt=value" */
static const struct option_def *find(const char *word)
{
	size_t n = strcspn(word, "=");

	for (size_t i = 0; i < array_len(options); i++)
		if (strlen(options[i].name) == n && !strncmp(options[i].name, word, n))
			return &options[i];
	return NULL;
}

static int set(struct fc_options *o, const struct option_def *d, const char *val, struct err *e)
{
	void *p = (char *)o + d->offset;
	char *end;

	switch (d->type) {
	case OPT_FLAG:
		*(bool *)p = true;
		return 0;
	case OPT_TEXT:
		if (*(const char **)p)
			return err_set(e, EINVAL, "The argument '%s' was provided more than once.",
				       d->name + 2);
		*(const char **)p = val;
		return 0;
	case OPT_NUMBER: break;
	}
	errno = 0;
	*(u64 *)p = strtoull(val, &end, 10);
	if (errno || *end || *val < '0' || *val > '9')
		return err_set(e, EINVAL, "%s: \"%.40s\": want a number", d->name, val);
	return 0;
}

static int check(const struct fc_options *o, struct err *e)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-";
	u32 engine; /* the text is kept: who starts the monitor picks by it */

	if (o->no_api && !o->config_file)
		return err_set(e, EINVAL, "Argument 'no-api' required but not found: want "
					  "'config-file' with it.");
	if (o->seccomp_filter && o->no_seccomp)
		return err_set(e, EINVAL, "Argument 'seccomp-filter' cannot be used together with "
					  "argument 'no-seccomp'.");
	if (o->seccomp_filter)
		return err_set(e, ENOTSUP, "--seccomp-filter: not supported: the filters are built "
					   "in; --no-seccomp turns them off");
	if (o->engine)
		TRY(cfg_parse_engine(o->engine, &engine, e));
	if (o->id && (!*o->id || strlen(o->id) > 64 || o->id[strspn(o->id, allowed)]))
		return err_set(e, EINVAL, "--id: \"%.70s\": want 1 to 64 letters, digits and '-'",
			       o->id);
	if (o->max_payload > (64u << 20))
		return err_set(e, EINVAL, "--http-api-max-payload-size: want at most 64 MiB");
	return 0;
}

int fc_options_parse(struct fc_options *o, int argc, char **argv, struct err *e)
{
	*o = (struct fc_options){ 0 };
	for (int i = 0; i < argc; i++) {
		const struct option_def *d = find(argv[i]);
		const char *val = strchr(argv[i], '=');

		if (!strcmp(argv[i], "--"))
			break;
		if (!d || (d->type == OPT_FLAG && val))
			return err_set(e, EINVAL,
				       "Found argument '%.60s' which wasn't expected, or isn't valid "
				       "in this context.",
				       argv[i]);
		if (d->type != OPT_FLAG && !val && i + 1 == argc)
			return err_set(e, EINVAL,
				       "The argument '%s' requires a value, but none was supplied.",
				       d->name + 2);
		if (d->type != OPT_FLAG)
			val = val ? val + 1 : argv[++i];
		TRY(set(o, d, val, e));
	}
	return o->help || o->version || o->snapshot_version ? 0 : check(o, e);
}

void fc_options_help(void)
{
	puts("usage: vireo-vm [--api-sock PATH] [OPTIONS]   configured through the Firecracker API\n"
	     "       vireo-vm --config-fd N                 started by \"vireo run\"\n");
	for (size_t i = 0; i < array_len(options); i++)
		printf("  %-30s %s\n", options[i].name, options[i].help);
}
