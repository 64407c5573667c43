// SPDX-License-Identifier: Apache-2.0
/*
 * vireo-vm.c - the monitor: one process, one virtual machine
 *
 * usage: vireo-vm --config-fd N
 *        vireo-vm [--api-sock PATH] [OPTIONS]
 *        vireo-vm --jail=report	enter the jail, say what of it is in force, and end
 *
 * Started by "vireo run" with everything it may touch as open descriptors; N holds
 * the configuration as JSON (cfg/cfg.h) with their numbers. Opens nothing by name.
 * The exit status says how the machine ended (vmm/vmm.h, docs/man/vireo.1).
 *
 * Otherwise it is configured through the Firecracker API, with that program's options
 * and exit statuses (api/options.h, docs/man/vireo-vm.1).
 */
#include "api/api.h"
#include "api/options.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/trace.h"
#include "cfg/cfg.h"
#include "cpu/cpu.h"
#include "jail/jail.h"
#include "jail/root.h"
#include "mem/mem.h"
#include "os/opener.h"
#include "os/os.h"
#include "vmm/snapshot.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_MAX (4u << 20)

/*
 * libgpg-error, under libgcrypt, can look up users by name, which nobody here asks for: without
 * these the C library's loader of name services would be linked in.
 */
struct passwd *getpwnam(const char *name UNUSED)
{
	return NULL;
}

struct passwd *getpwuid(uid_t uid UNUSED)
{
	return NULL;
}
#define MAX_FILES  1024 /* descriptors */

/* All of a file the command line names, with a terminator. */
static char *read_text(const char *path, size_t *len, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text = NULL;
	int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;

	if (!r && (!S_ISREG(st.st_mode) || st.st_size > CONFIG_MAX))
		r = -EFBIG;
	if (!r && !(text = calloc(1, (size_t)st.st_size + 1)))
		r = -ENOMEM;
	if (!r)
		r = fd_pread_full(fd, text, *len = (size_t)st.st_size, 0);
	if (r) {
		err_set(e, -r, "%.150s: %s", path, strerror(-r));
		free(text);
		text = NULL;
	}
	fd_close(&fd);
	return text;
}

static int read_config(int fd, struct vm_config *c, struct err *e)
{
	struct stat st;
	char *text;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set(e, errno, "--config-fd: %s", strerror(errno));
	if (st.st_size <= 0 || st.st_size > CONFIG_MAX)
		return err_set(e, EINVAL, "--config-fd: want up to 4 MiB of JSON");
	text = malloc((size_t)st.st_size);
	if (!text)
		return err_set(e, ENOMEM, "config: out of host memory");
	r = fd_pread_full(fd, text, (size_t)st.st_size, 0);
	if (r)
		r = err_set(e, -r, "--config-fd: %s", strerror(-r));
	else
		r = cfg_from_json(c, text, (size_t)st.st_size, e);
	free(text);
	return r;
}

static void say_event(const struct vm_config *c, const char *event, int status, const char *reason)
{
	if (!c->json)
		return;
	fprintf(stderr, "{\"event\":\"%s\",\"vm\":\"%s\",\"status\":%d,\"reason\":\"", event,
		c->name, status);
	for (const char *p = reason; *p; p++)
		if (*p == '"' || *p == '\\')
			fprintf(stderr, "\\%c", *p);
		else
			fputc((unsigned char)*p < ' ' ? '?' : *p, stderr);
	fputs("\"}\n", stderr);
}

static void say_end(const struct vm_config *c, enum vm_end end, int status, const struct err *e)
{
	const char *why = "";

	if (end == VM_PANICKED)
		why = "the guest's kernel panicked";
	else if (end == VM_SHUTDOWN)
		why = "the guest's CPU shut down after a triple fault";
	else if (end == VM_FAILED)
		why = e->msg;
	if (*why)
		fprintf(stderr, "vireo: %s\n", why);
	say_event(c, vm_end_name(end), status, why);
}

/* -- started by "vireo run" ------------------------------------------------------------- */

/* The API of this VM, if it has a socket; its thread starts once the process is in its jail. */
static int open_control(struct vm_config *c, struct api **ret, struct err *e)
{
	const struct api_opts o = {
		.listen_fd = c->control_fd,
		.id = c->name,
		.max_payload = API_MAX_PAYLOAD,
	};

	*ret = NULL;
	if (c->control_fd < 0)
		return 0;
	*ret = api_new(&o, e);
	return *ret ? 0 : -e->code;
}

static int not_started(const struct vm_config *c, const struct err *e)
{
	fprintf(stderr, "vireo: %s\n", e->msg);
	say_event(c, "failed", VM_STATUS_ERROR, e->msg);
	return c->nr_command ? VM_STATUS_NO_RESULT : VM_STATUS_ERROR;
}

static int run(struct vm_config *c)
{
	struct err e = { 0 };
	enum vm_end end = VM_RUNNING;
	struct api *api;
	struct vm *vm;
	int status;

	if (open_control(c, &api, &e))
		return not_started(c, &e);
	vm = vm_new(c, &e);
	if (!vm || (api && api_listen(api, true, &e))) {
		if (vm)
			vm_free(vm);
		api_free(api);
		return not_started(c, &e);
	}
	if (api)
		api_started(api, vm, NULL);
	status = vm_run(vm, &end, &e);
	if (c->nr_command && end == VM_FAILED)
		status = VM_STATUS_NO_RESULT;
	if (api)
		api_ended(api);
	vm_free(vm);
	api_free(api);
	term_restore();
	say_end(c, end, status, &e);
	return status;
}

static int main_run(const char *config_fd)
{
	static struct vm_config c;
	struct err e = { 0 };
	int fd, status;

	cfg_init(&c);
	fd = (int)strtol(config_fd, NULL, 10);
	if (read_config(fd, &c, &e)) {
		fprintf(stderr, "vireo-vm: %s\n", e.msg);
		return VM_STATUS_ERROR;
	}
	close(fd);
	if (*c.trace)
		(void)trace_enable(c.trace);
	status = run(&c);
	cfg_fini(&c);
	return status;
}

/* -- what the jail would be here ---------------------------------------------------------- */

static int jail_report(void)
{
	const struct jail_spec s = { .role = JAIL_SETUP };
	struct jail_report r;
	struct err e = { 0 };
	char line[200];

	if (jail_enter(&s, &r, &e)) {
		fprintf(stderr, "vireo-vm: %s\n", e.msg);
		return VM_STATUS_ERROR;
	}
	for (unsigned l = 0; l < JAIL_LAYERS; l++)
		puts(jail_report_line(&r, l, line, sizeof line));
	printf("jail: entered in %llu us of CPU time\n", (unsigned long long)r.cpu_ns / 1000);
	return 0;
}

/* -- the Firecracker API ------------------------------------------------------------------ */

static int log_options(struct api *api, const struct fc_options *o, struct err *e)
{
	json_t *j = json_object();
	char *text;
	int r;

	if (o->log_path)
		json_object_set_new(j, "log_path", json_string(o->log_path));
	if (o->level)
		json_object_set_new(j, "level", json_string(o->level));
	if (o->module)
		json_object_set_new(j, "module", json_string(o->module));
	if (o->show_level)
		json_object_set_new(j, "show_level", json_true());
	if (o->show_origin)
		json_object_set_new(j, "show_log_origin", json_true());
	text = json_dumps(j, 0);
	r = text ? api_put(api, "/logger", text, e) : err_set(e, ENOMEM, "logger: out of memory");
	free(text);
	json_decref(j);
	return r;
}

static int put_text(struct api *api, const char *path, const char *file, struct err *e)
{
	size_t len;
	char *text = read_text(file, &len, e);
	int r;

	if (!text)
		return -e->code;
	r = strcmp(path, "/") ? api_put(api, path, text, e) : api_load_config(api, text, len, e);
	free(text);
	return r ? err_wrap(e, "%.100s", file) : 0;
}

static int metrics_option(struct api *api, const char *path, struct err *e)
{
	json_t *j = json_pack("{s:s}", "metrics_path", path);
	char *text = j ? json_dumps(j, 0) : NULL;
	int r = text ? api_put(api, "/metrics", text, e) :
		       err_set(e, EINVAL, "--metrics-path: want a path");

	free(text);
	json_decref(j);
	return r;
}

/* Everything the options say. Return: 0, or an exit status with *e set. */
static int configure(struct api *api, const struct fc_options *o, struct err *e)
{
	if (log_options(api, o, e))
		return FC_EXIT_BAD_CONFIG;
	log_info("Running Vireo %s with the Firecracker API %s", VM_VERSION, API_VERSION);
	if (o->metrics_path && metrics_option(api, o->metrics_path, e))
		return FC_EXIT_ERROR;
	if (o->metadata && put_text(api, "/mmds", o->metadata, e))
		return FC_EXIT_BAD_CONFIG;
	if (o->config_file && put_text(api, "/", o->config_file, e))
		return FC_EXIT_BAD_CONFIG;
	return 0;
}

/* What the process took from the host before it entered its jail. */
struct host {
	struct opener *opener;
	int kvm_fd; /* -1: the software engine */
};

/* One try to start: the VM runs, or NULL with *e. */
static struct vm *start(struct vm_config *c, const struct snapshot_load *load,
			const struct host *host, struct err *e)
{
	struct vm *vm;

	c->jail = CFG_JAIL_OFF; /* the process is in it already, or is not to be */
	c->engine = host->kvm_fd < 0 ? CFG_ENGINE_SOFT : CFG_ENGINE_KVM;
	c->kvm_fd = host->kvm_fd < 0 ? -1 : fcntl(host->kvm_fd, F_DUPFD_CLOEXEC, 0);
	vm = load ? vm_new_from_snapshot(c, load, e) : vm_new(c, e);
	if (vm)
		vm_set_opener(vm, host->opener);
	if (vm && vm_start(vm, e)) {
		vm_free(vm);
		term_restore();
		return NULL;
	}
	return vm;
}

static int run_to_end(struct api *api, struct vm *vm)
{
	struct err e = { 0 };
	enum vm_end end = VM_RUNNING;
	int status = vm_run(vm, &end, &e);

	if (end == VM_FAILED)
		log_error("%s", e.msg);
	api_ended(api);
	vm_free(vm);
	term_restore();
	log_info("Vireo exiting: %s", vm_end_name(end));
	return end == VM_FAILED ? FC_EXIT_ERROR : end == VM_STOPPED ? status : 0;
}

/* From here on nothing is opened by name but through the broker. */
static int confine(struct err *e)
{
	const struct jail_spec s = { .role = JAIL_SETUP, .max_files = MAX_FILES };
	struct jail_report r;
	char line[200];

	cpu_tsc_prepare();
	cpu_soft_prepare();
	tzset(); /* or the log's first line reads the time zone */
	TRY(jail_enter(&s, &r, e));
	for (enum jail_layer l = 0; l < JAIL_LAYERS; l++)
		if (!r.layer[l].in_force)
			log_warn("%s", jail_report_line(&r, l, line, sizeof line));
	return 0;
}

static int serve(struct api *api, const struct fc_options *o, const struct host *host,
		 struct err *e)
{
	struct vm_config *c;
	struct vm *vm = NULL;
	int status = configure(api, o, e);

	if (status)
		return status;
	mem_prepare();
	if (!o->no_seccomp && confine(e))
		return FC_EXIT_ERROR;
	if (o->config_file && api_start_config(api, &c, e))
		return FC_EXIT_BAD_CONFIG;
	if (api_listen(api, o->config_file != NULL, e))
		return FC_EXIT_ERROR;
	if (o->config_file) {
		vm = start(c, NULL, host, e);
		api_started(api, vm, e);
		if (!vm)
			return FC_EXIT_BAD_CONFIG;
	}
	while (!vm) {
		const struct snapshot_load *load;
		struct err why = { 0 };

		c = api_wait_start(api, &load);
		if (!c)
			return FC_EXIT_ERROR; /* its answer says why */
		vm = start(c, load, host, &why);
		api_started(api, vm, &why);
	}
	return run_to_end(api, vm);
}

/* KVM where it can run the guest, else the software engine, unless told which. */
static int choose_engine(const struct fc_options *o, struct host *h, struct err *e)
{
	struct err why = { 0 };

	if (o->engine && !strcmp(o->engine, "soft"))
		return 0;
	h->kvm_fd = cpu_kvm_open(&why);
	if (h->kvm_fd >= 0)
		return 0;
	h->kvm_fd = -1;
	if (o->engine && !strcmp(o->engine, "kvm"))
		return err_set(e, why.code, "--engine kvm: %.200s", why.msg);
	return 0;
}

static int open_host(const struct fc_options *o, const char *sock, struct host *h, int *listen_fd,
		     struct err *e)
{
	const struct opener_policy p = { .taps = true };

	TRY(choose_engine(o, h, e)); /* by name on the host */
	if (o->chroot) {
		TRY(jail_enter_root(o->chroot, e));
		TRY(jail_become((uid_t)o->uid, (gid_t)o->gid, e));
	}
	if (!o->no_seccomp) {
		h->opener = opener_start(&p, e);
		if (!h->opener)
			return -e->code;
	}
	if (o->no_api)
		return 0;
	*listen_fd = opener_listen(h->opener, sock, e); /* who made it removes it */
	return *listen_fd < 0 ? *listen_fd : 0;
}

static int main_api(const struct fc_options *o)
{
	struct api_opts a = {
		.listen_fd = -1,
		.id = o->id ? o->id : "anonymous-instance",
		.firecracker = true,
		.max_payload = o->max_payload ? o->max_payload : API_MAX_PAYLOAD,
		.boot_timer = o->boot_timer,
		.enable_pci = o->enable_pci,
		.start_us = o->start_us,
		.start_cpu_us = o->start_cpu_us,
		.parent_cpu_us = o->parent_cpu_us,
	};
	const char *sock = o->api_sock ? o->api_sock : "/run/firecracker.socket";
	struct host h = { .kvm_fd = -1 };
	struct err e = { 0 };
	struct api *api = NULL;
	int status = FC_EXIT_ERROR;

	a.mmds_limit = o->mmds_limit ? o->mmds_limit : a.max_payload;
	if (!open_host(o, sock, &h, &a.listen_fd, &e)) {
		a.opener = h.opener;
		api = api_new(&a, &e);
	}
	if (api)
		status = serve(api, o, &h, &e);
	if (status && e.code) {
		log_error("%s", e.msg);
		fprintf(stderr, "vireo-vm: %s\n", e.msg);
	}
	api_free(api);
	if (a.listen_fd >= 0 && opener_unlink(h.opener, sock, &e))
		log_warn("%s", e.msg);
	opener_stop(h.opener);
	return status;
}

/* A file that loads is of the one version there is. */
static int describe_snapshot(const char *path)
{
	struct vm_config *c = malloc(sizeof *c);
	struct err e = { 0 };
	int fd = opener_open(NULL, path, O_RDONLY, 0, &e), r = fd;

	if (c && fd >= 0) {
		cfg_init(c);
		r = snapshot_read_config(fd, c, &e);
		cfg_fini(c);
	}
	free(c);
	fd_close(&fd);
	if (r < 0 || !c)
		return fprintf(stderr, "vireo-vm: %s\n", e.msg), FC_EXIT_ERROR;
	printf("v%d\n", SNAPSHOT_VERSION);
	return 0;
}

int main(int argc, char **argv)
{
	struct fc_options o;
	struct err e = { 0 };

	signal(SIGPIPE, SIG_IGN);
	/* A heap for each thread costs memory, and asks /proc how to give it back: not in the jail. */
	mallopt(M_ARENA_MAX, 1);
	if (argc == 3 && !strcmp(argv[1], "--config-fd"))
		return main_run(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "--jail=report"))
		return jail_report();
	if (fc_options_parse(&o, argc - 1, argv + 1, &e)) {
		fprintf(stderr, "Arguments parsing error: %s\n\nFor more information try --help.\n",
			e.msg);
		return FC_EXIT_BAD_ARGS;
	}
	if (o.help)
		fc_options_help();
	else if (o.version)
		puts("Firecracker v" API_VERSION " (Vireo " VM_VERSION ")");
	else if (o.snapshot_version)
		printf("v%d\n", SNAPSHOT_VERSION);
	else if (o.describe_snapshot)
		return describe_snapshot(o.describe_snapshot);
	else
		return main_api(&o);
	return 0;
}
