// SPDX-License-Identifier: Apache-2.0
/*
 * ctl.h - the running VMs of this user, by name
 *
 * A VM started by "vireo run" has a control socket NAME.sock in the run directory:
 * $XDG_RUNTIME_DIR/vireo, or /run/vireo for root. Its monitor answers the API there
 * (docs/api/vireo-vm.yaml); whoever may open the socket may use it, so the directory is
 * its owner's alone. A socket that nobody listens on is stale and is removed.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#include <jansson.h>

#define CTL_PATH 108 /* of a socket */

/* Exit statuses of the commands (docs/man/vireo.1). */
#define CTL_FAILED    1
#define CTL_USAGE     2
#define CTL_NOT_FOUND 3
#define CTL_CONFLICT  4
#define CTL_TIMEOUT   5

/* The run directory, made if it is not there. -ENOENT: there is no place for one. */
int ctl_dir(char *ret, size_t len, struct err *e) MUST_CHECK;
int ctl_path(const char *name, char ret[CTL_PATH], struct err *e) MUST_CHECK;

/* Take @name: its listening socket. -EADDRINUSE: a VM of that name runs. */
int ctl_listen(const char *name, char ret_path[CTL_PATH], struct err *e) MUST_CHECK;

/* -- asking ------------------------------------------------------------------------------- */

struct ctl_reply {
	int status;
	json_t *body; /* owned; NULL = none */
};

/* A connection to the VM @name, or -ENOENT: no such VM runs. */
int ctl_connect(const char *name, struct err *e) MUST_CHECK;
/*
 * One request on @fd; @body may be NULL. Waits @timeout_ms at most. Return: 0 whatever the
 * status, or -errno if there was no answer.
 */
int ctl_request(int fd, const char *method, const char *path, json_t *body, int timeout_ms,
		struct ctl_reply *ret, struct err *e) MUST_CHECK;
/* The same on a connection of its own; statuses of 400 and more are errors, in the VM's words. */
int ctl_ask(const char *name, const char *method, const char *path, json_t *body,
	    struct ctl_reply *ret, struct err *e) MUST_CHECK;

/* With descriptors for the VM, @nr of them, and a time of its own. */
int ctl_ask_with(const char *name, const char *method, const char *path, json_t *body,
		 const int *fds, unsigned nr, int timeout_ms, struct ctl_reply *ret,
		 struct err *e) MUST_CHECK;

/* Call @fn for each running VM, in the order of their names. */
int ctl_each(int (*fn)(const char *name, void *ctx), void *ctx, struct err *e) MUST_CHECK;

int ctl_exit_status(const struct err *e); /* of a command that failed so */

/* -- "vireo list", "info", "stats", "pause", "resume", "stop": words after the command ------------ */

int ctl_list_main(int argc, char **argv);
int ctl_info_main(int argc, char **argv);
int ctl_stats_main(int argc, char **argv);
int ctl_pause_main(int argc, char **argv);
int ctl_resume_main(int argc, char **argv);
int ctl_stop_main(int argc, char **argv);

#endif
