// SPDX-License-Identifier: Apache-2.0
/*
 * api_int.h - struct api, private to api/
 *
 * Members belong to the API thread, except under the lock: the hand-over of the VM to
 * and from the thread that runs it.
 */
#ifndef API_API_INT_H
#define API_API_INT_H

#include "api/api.h"
#include "api/fc_schema.h"
#include "api/metrics.h"
#include "api/route.h"
#include "api/server.h"
#include "cfg/cfg.h"
#include "os/os.h"
#include "vmm/snapshot.h"

#include <pthread.h>

/* What the Firecracker tree was told. Descriptors are ours until the VM is started with copies. */
struct fc {
	bool boot_path; /* something was configured that a snapshot would bring */
	struct fc_boot_source boot;
	int kernel_fd, initrd_fd;
	struct fc_machine machine;
	json_t *cpu_config; /* NULL = none */
	struct cpuid_config cpuid[CFG_CPUIDS]; /* the same */
	u32 nr_cpuids;
	struct fc_drive drive[CFG_DISKS];
	int drive_fd[CFG_DISKS];
	u32 nr_drives;
	struct fc_net net[CFG_NETS];
	int net_fd[CFG_NETS];
	u32 nr_nets;
	struct fc_pmem pmem[CFG_PMEMS];
	int pmem_fd[CFG_PMEMS];
	u32 nr_pmems;
	bool has_boot, has_vsock, has_balloon, has_entropy, has_mmds, has_memhp, has_serial,
		has_logger, has_metrics;
	struct fc_vsock vsock;
	int vsock_fd;
	struct fc_balloon balloon;
	struct fc_entropy entropy;
	struct fc_mmds mmds;
	json_t *mmds_data; /* NULL = never set */
	struct fc_memhp memhp;
	struct fc_serial serial;
	int serial_fd;
	struct fc_logger logger;
	struct fc_metrics metrics;
};

enum handover { IDLE, WANTED, RUNS, GONE };

struct api {
	struct api_opts opts;
	struct server *server;
	struct metrics metrics;
	struct fc fc;
	struct vm_config *start; /* made from .fc at the start */
	const int *passed; /* descriptors that came with the request being answered; borrowed */
	unsigned nr_passed;

	int log_fd; /* the log's, for PUT /logger without a path */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum handover state; /* .lock */
	bool fatal;	     /* .lock: a load failed, the process is to end */
	bool loading;	     /* start is from a snapshot, by load */
	struct snapshot_load load;
	struct vm *vm;	     /* .lock: while RUNS */
	struct err start_err; /* .lock */
};

/* IN_BEFORE, IN_RUNNING or IN_PAUSED; -ESHUTDOWN when the VM has ended. */
int api_state(struct api *a, unsigned *ret, struct err *e) MUST_CHECK;
/* The VM, for the rest of a request: it stays until api_release(). NULL with *e if it is gone. */
struct vm *api_vm(struct api *a, struct err *e) MUST_CHECK;
void api_release(struct api *a);
/* The same with its board lock, for vmm/vm_dev.h. */
struct vm *api_lock_vm(struct api *a, struct err *e) MUST_CHECK;
void api_unlock_vm(struct api *a, struct vm *vm);
/* Have the main thread start a->start. Waits for the outcome. */
int api_request_start(struct api *a, struct err *e) MUST_CHECK;
void api_request_end(struct api *a); /* have it end the process, after this request's answer */

/* Called by the server on its thread: about once a minute, and at the end. */
void api_tick(struct api *a);

/* -- files that requests name: the one place that opens them (files.c) ------------------- */

int api_open(struct api *a, const char *path, int flags, struct err *e) MUST_CHECK;
int api_listen_at(struct api *a, const char *path, struct err *e) MUST_CHECK;
int api_connect(struct api *a, const char *path, struct err *e) MUST_CHECK;
void api_unlink(struct api *a, const char *path); /* a socket of ours */
int api_open_tap(struct api *a, const char *name, struct err *e) MUST_CHECK;

/* -- Firecracker tree ---------------------------------------------------------------------- */

void fc_init(struct fc *fc);
void fc_fini(struct fc *fc);
/* fc_config.c: the whole as JSON, and as what vmm takes (descriptors are copies). */
json_t *fc_show(const struct api *a) MUST_CHECK;
int fc_make_config(struct api *a, struct vm_config *c, struct err *e) MUST_CHECK;
/* CPUs as PUT /cpu-config and cpu_template want them. */
void fc_make_cpu(const struct fc *fc, struct vm_config *c);
int fc_make_serial(const struct api *a, struct vm_config *c, struct err *e) MUST_CHECK;
void fc_close_config(struct vm_config *c);
/* The metadata to a VM that has the service; its board lock is held. */
int fc_send_mmds(const struct fc *fc, struct vm *vm, struct err *e) MUST_CHECK;
struct bucket_config fc_bucket_config(const struct fc_bucket *b);

/* The functions of fc_routes[], by file. */
int fc_get_info(struct api_call *c, struct err *e);
int fc_get_version(struct api_call *c, struct err *e);
int fc_get_config(struct api_call *c, struct err *e);
int fc_put_action(struct api_call *c, struct err *e);
int fc_patch_vm(struct api_call *c, struct err *e);
int fc_put_snapshot_create(struct api_call *c, struct err *e);
int fc_put_snapshot_load(struct api_call *c, struct err *e);

int fc_put_boot_source(struct api_call *c, struct err *e);
int fc_get_machine(struct api_call *c, struct err *e);
int fc_put_machine(struct api_call *c, struct err *e);
int fc_patch_machine(struct api_call *c, struct err *e);
int fc_put_cpu_config(struct api_call *c, struct err *e);
int fc_put_serial(struct api_call *c, struct err *e);
int fc_put_logger(struct api_call *c, struct err *e);
int fc_put_metrics(struct api_call *c, struct err *e);

int fc_put_drive(struct api_call *c, struct err *e);
int fc_patch_drive(struct api_call *c, struct err *e);
int fc_put_net(struct api_call *c, struct err *e);
int fc_patch_net(struct api_call *c, struct err *e);
int fc_put_pmem(struct api_call *c, struct err *e);
int fc_patch_pmem(struct api_call *c, struct err *e);
int fc_delete_device(struct api_call *c, struct err *e);
int fc_put_vsock(struct api_call *c, struct err *e);
int fc_put_entropy(struct api_call *c, struct err *e);

int fc_get_balloon(struct api_call *c, struct err *e);
int fc_put_balloon(struct api_call *c, struct err *e);
int fc_patch_balloon(struct api_call *c, struct err *e);
int fc_get_balloon_stats(struct api_call *c, struct err *e);
int fc_patch_balloon_stats(struct api_call *c, struct err *e);
int fc_balloon_hinting_start(struct api_call *c, struct err *e);
int fc_balloon_hinting_stop(struct api_call *c, struct err *e);
int fc_balloon_hinting_status(struct api_call *c, struct err *e);
int fc_get_memhp(struct api_call *c, struct err *e);
int fc_put_memhp(struct api_call *c, struct err *e);
int fc_patch_memhp(struct api_call *c, struct err *e);

int fc_get_mmds(struct api_call *c, struct err *e);
int fc_put_mmds(struct api_call *c, struct err *e);
int fc_patch_mmds(struct api_call *c, struct err *e);
int fc_put_mmds_config(struct api_call *c, struct err *e);

#endif
