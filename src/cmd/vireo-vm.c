// SPDX-License-Identifier: Apache-2.0
/*
 * vireo-vm.c - the monitor: one process, one virtual machine
 *
 * usage: vireo-vm --config-fd N
 *
 * Started by "vireo run" with everything it may touch as open descriptors; N holds
 * the configuration as JSON (cfg/cfg.h) with their numbers. Opens nothing by name.
 * The exit status says how the machine ended (vmm/vmm.h, docs/man/vireo.1).
 */
#include "base/compiler.h"
#include "cfg/cfg.h"
#include "os/os.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_MAX (4u << 20)

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
	static const char *const event[] = {
		[VM_RUNNING] = "ended",         [VM_POWERED_OFF] = "powered-off",
		[VM_STOPPED] = "stopped",       [VM_COMMAND_DONE] = "command-ended",
		[VM_DEBUG_EXIT] = "debug-exit", [VM_PANICKED] = "panicked",
		[VM_SHUTDOWN] = "triple-fault", [VM_FAILED] = "failed",
	};
	const char *why = "";

	if (end == VM_PANICKED)
		why = "the guest's kernel panicked";
	else if (end == VM_SHUTDOWN)
		why = "the guest's CPU shut down after a triple fault";
	else if (end == VM_FAILED)
		why = e->msg;
	if (*why)
		fprintf(stderr, "vireo: %s\n", why);
	say_event(c, event[end], status, why);
}

static int run(struct vm_config *c)
{
	struct err e = { 0 };
	enum vm_end end = VM_RUNNING;
	struct vm *vm;
	int status;

	vm = vm_new(c, &e);
	if (!vm) {
		fprintf(stderr, "vireo: %s\n", e.msg);
		say_event(c, "failed", VM_STATUS_ERROR, e.msg);
		return c->nr_command ? VM_STATUS_NO_RESULT : VM_STATUS_ERROR;
	}
	status = vm_run(vm, &end, &e);
	if (c->nr_command && end == VM_FAILED)
		status = VM_STATUS_NO_RESULT;
	vm_free(vm);
	term_restore();
	say_end(c, end, status, &e);
	return status;
}

int main(int argc, char **argv)
{
	static struct vm_config c;
	struct err e = { 0 };
	int fd, status;

	if (argc != 3 || strcmp(argv[1], "--config-fd") != 0) {
		fputs("usage: vireo-vm --config-fd N (started by \"vireo run\")\n", stderr);
		return VM_STATUS_USAGE;
	}
	signal(SIGPIPE, SIG_IGN);
	cfg_init(&c);
	fd = (int)strtol(argv[2], NULL, 10);
	if (read_config(fd, &c, &e)) {
		fprintf(stderr, "vireo-vm: %s\n", e.msg);
		return VM_STATUS_ERROR;
	}
	close(fd);
	status = run(&c);
	cfg_fini(&c);
	return status;
}
