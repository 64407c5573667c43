// SPDX-License-Identifier: Apache-2.0
/* commands.c - vireo list, info, stats, pause, resume, stop; see ctl.h */
#include "ctl/ctl.h"

#include "os/os.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define VM_ROOT	     "/vireo/v1/vm"
#define STOP_SECONDS 30

/* -- options: few enough to look for by hand ------------------------------------------------- */

struct args {
	const char *command, *usage;
	const char *name; /* NULL = not given */
	bool json, force, help;
	u64 seconds;
};

static int bad_usage(const struct args *a, const char *what)
{
	fprintf(stderr, "vireo: %s: %s: want: vireo %s\n", a->command, what, a->usage);
	return CTL_USAGE;
}

static bool parse_seconds(const char *s, u64 *ret)
{
	char *end;

	*ret = strtoull(s, &end, 10);
	return *s >= '0' && *s <= '9' && !*end && *ret <= 86400;
}

/* @flags: which of "j" (--json), "f" (-f), "t" (-t SECONDS) and "n" (a name) there may be. */
static int parse(struct args *a, const char *flags, int argc, char **argv)
{
	a->seconds = STOP_SECONDS;
	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			printf("usage: vireo %s\n", a->usage);
			a->help = true;
			return 0;
		}
		if (!strcmp(argv[i], "--json") && strchr(flags, 'j'))
			a->json = true;
		else if ((!strcmp(argv[i], "-f") || !strcmp(argv[i], "--force")) &&
			 strchr(flags, 'f'))
			a->force = true;
		else if (!strcmp(argv[i], "-t") && strchr(flags, 't') && i + 1 < argc) {
			if (!parse_seconds(argv[++i], &a->seconds))
				return bad_usage(a, "-t: want seconds");
		} else if (*argv[i] != '-' && strchr(flags, 'n') && !a->name)
			a->name = argv[i];
		else
			return bad_usage(a, argv[i]);
	}
	if (strchr(flags, 'n') && !a->name)
		return bad_usage(a, "no name");
	return 0;
}

static int failed(const struct err *e)
{
	fprintf(stderr, "vireo: %s\n", e->msg);
	return ctl_exit_status(e);
}

/* -- list --------------------------------------------------------------------------------------- */

struct listing {
	json_t *vms;
};

static int add_vm(const char *name, void *ctx)
{
	struct listing *l = ctx;
	struct ctl_reply r;
	struct err e = { 0 };

	if (ctl_ask(name, "GET", VM_ROOT, NULL, &r, &e)) /* ended since, or does not answer */
		r.body = e.code == ETIMEDOUT ? json_pack("{s:s, s:s}", "name", name, "state",
							 "unknown") : NULL;
	if (r.body)
		json_array_append_new(l->vms, r.body);
	return 0;
}

static json_int_t number(json_t *vm, const char *key)
{
	return json_integer_value(json_object_get(vm, key));
}

static const char *text(json_t *vm, const char *key)
{
	const char *s = json_string_value(json_object_get(vm, key));

	return s ? s : "-";
}

static void print_duration(json_int_t ms, char *buf, size_t len)
{
	json_int_t s = ms / 1000;

	if (s < 60)
		snprintf(buf, len, "%llds", s);
	else if (s < 3600)
		snprintf(buf, len, "%lldm%02llds", s / 60, s % 60);
	else
		snprintf(buf, len, "%lldh%02lldm", s / 3600, s / 60 % 60);
}

static void print_table(json_t *vms)
{
	char up[32];
	size_t i;
	json_t *vm;

	if (json_array_size(vms))
		printf("%-20s %-8s %-6s %4s %8s %8s %8s\n", "NAME", "STATE", "ENGINE", "CPUS",
		       "MEMORY", "UPTIME", "PID");
	json_array_foreach(vms, i, vm)
	{
		print_duration(number(vm, "uptime_ms"), up, sizeof up);
		printf("%-20s %-8s %-6s %4lld %7lldM %8s %8lld\n", text(vm, "name"),
		       text(vm, "state"), text(vm, "engine"), number(vm, "cpus"),
		       number(vm, "memory") >> 20, up, number(vm, "pid"));
	}
}

int ctl_list_main(int argc, char **argv)
{
	struct args a = { .command = "list", .usage = "list [--json]" };
	struct listing l;
	struct err e = { 0 };
	int r = parse(&a, "j", argc, argv);

	if (r || a.help)
		return r;
	l.vms = json_array();
	if (ctl_each(add_vm, &l, &e)) {
		json_decref(l.vms);
		return failed(&e);
	}
	if (a.json) {
		json_dumpf(l.vms, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_table(l.vms);
	}
	json_decref(l.vms);
	return 0;
}

/* -- info ------------------------------------------------------------------------------------------ */

static void print_value(const char *name, json_t *v)
{
	char *s = json_is_string(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);

	printf("%-12s %s\n", name, s ? s : json_string_value(v) ? json_string_value(v) : "");
	free(s);
}

int ctl_info_main(int argc, char **argv)
{
	struct args a = { .command = "info", .usage = "info NAME [--json]" };
	struct ctl_reply r;
	struct err e = { 0 };
	const char *key;
	json_t *v;
	int bad = parse(&a, "jn", argc, argv);

	if (bad || a.help)
		return bad;
	if (ctl_ask(a.name, "GET", VM_ROOT, NULL, &r, &e))
		return failed(&e);
	if (a.json) {
		json_dumpf(r.body, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		json_object_foreach(r.body, key, v)
			print_value(key, v);
	}
	json_decref(r.body);
	return 0;
}

/* -- stats ------------------------------------------------------------------------------------------ */

/* A row for each counter of the first CPU, a column for each CPU. */
static void print_counters(json_t *cpus)
{
	const char *key;
	json_t *v, *cpu;
	size_t i;

	json_object_foreach(json_array_get(cpus, 0), key, v)
	{
		printf("%-24s", key);
		json_array_foreach(cpus, i, cpu)
			printf(" %14lld", number(cpu, key));
		putchar('\n');
	}
}

int ctl_stats_main(int argc, char **argv)
{
	struct args a = { .command = "stats", .usage = "stats NAME [--json]" };
	struct ctl_reply r;
	struct err e = { 0 };
	int bad = parse(&a, "jn", argc, argv);

	if (bad || a.help)
		return bad;
	if (ctl_ask(a.name, "GET", VM_ROOT "/stats", NULL, &r, &e))
		return failed(&e);
	if (a.json) {
		json_dumpf(r.body, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_counters(json_object_get(r.body, "cpus"));
	}
	json_decref(r.body);
	return 0;
}

/* -- pause, resume, stop ---------------------------------------------------------------------------- */

static int action(struct args *a, const char *what, int argc, char **argv)
{
	char path[64];
	struct ctl_reply r;
	struct err e = { 0 };
	int bad = parse(a, "n", argc, argv);

	if (bad || a->help)
		return bad;
	snprintf(path, sizeof path, VM_ROOT "/actions/%s", what);
	if (ctl_ask(a->name, "POST", path, NULL, &r, &e))
		return failed(&e);
	json_decref(r.body);
	return 0;
}

int ctl_pause_main(int argc, char **argv)
{
	struct args a = { .command = "pause", .usage = "pause NAME" };

	return action(&a, "pause", argc, argv);
}

int ctl_resume_main(int argc, char **argv)
{
	struct args a = { .command = "resume", .usage = "resume NAME" };

	return action(&a, "resume", argc, argv);
}

/* The connection ends with the monitor. */
static bool wait_end(int fd, u64 seconds)
{
	const u64 deadline = os_now_ns() + seconds * 1000000000ull;
	char buf[256];

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		u64 now = os_now_ns();

		if (now >= deadline || poll(&p, 1, (int)((deadline - now) / 1000000) + 1) == 0)
			return false;
		if (recv(fd, buf, sizeof buf, 0) <= 0)
			return true;
	}
}

static int stop(const struct args *a, struct err *e)
{
	const char *path = a->force ? VM_ROOT "/actions/stop" : VM_ROOT "/actions/power-button";
	struct ctl_reply r;
	int fd = ctl_connect(a->name, e), err;
	bool ended;

	if (fd < 0)
		return fd;
	err = ctl_request(fd, "POST", path, NULL, 10000, &r, e);
	json_decref(r.body);
	ended = !err && wait_end(fd, a->seconds);
	close(fd);
	if (err)
		return err == -ECONNRESET ? 0 : err_wrap(e, "%.63s", a->name); /* gone with the answer */
	if (!ended)
		return err_set(e, ETIMEDOUT, "%.63s: still runs after %llu s: the guest was asked to "
					     "shut down (vireo stop -f %.63s ends it at once)",
			       a->name, (unsigned long long)a->seconds, a->name);
	return 0;
}

int ctl_stop_main(int argc, char **argv)
{
	struct args a = { .command = "stop", .usage = "stop [-f] [-t SECONDS] NAME" };
	struct err e = { 0 };
	int bad = parse(&a, "ftn", argc, argv);

	if (bad || a.help)
		return bad;
	return stop(&a, &e) ? failed(&e) : 0;
}
