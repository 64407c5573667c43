// SPDX-License-Identifier: Apache-2.0
/*
 * api.h - the HTTP API of the monitor
 *
 * A server on a thread of its own, for Unix sockets. Two trees: Firecracker's
 * operations, by which a VM is configured and started, and ours below /vireo/v1, for
 * VMs however they were started (docs/api/vireo-vm.yaml describes both). Requests never
 * wait for the guest: what they need of the VM they take with bounded waits
 * (vmm/vmm.h).
 *
 * Who owns the VM. The thread that calls these functions makes, runs and frees it; the
 * API thread configures and asks. So that both agree:
 *
 *	api_wait_start()	sleeps until a request wants the VM started
 *	api_started()		says how that went: the request's answer
 *	api_ended()		the API lets go of the VM: before vm_free()
 */
#ifndef API_API_H
#define API_API_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

struct api;
struct opener;
struct snapshot_load;
struct vm;
struct vm_config;

#define API_MAX_PAYLOAD 51200 /* bytes of a body, unless told otherwise */
#define API_VERSION	"1.17.0" /* of Firecracker, whose API this is */

struct api_opts {
	int listen_fd;	   /* taken over; -1 = no server, only api_load_config() */
	const char *id;	   /* borrowed, as all here */
	bool firecracker;  /* serve that tree */
	struct opener *opener; /* opens what requests name; NULL = this process does */
	u64 max_payload, mmds_limit; /* bytes */
	bool boot_timer;
	bool enable_pci; /* virtio devices on PCI, not behind MMIO */
	u64 start_us, start_cpu_us, parent_cpu_us; /* when the process began; 0 = not known */
};

struct api *api_new(const struct api_opts *o, struct err *e) MUST_CHECK;
void api_free(struct api *a); /* ends the thread; NULL is fine */

/* Before api_listen(), by options: as the requests PUT /logger and PUT /metrics. */
int api_put(struct api *a, const char *path, const char *json, struct err *e) MUST_CHECK;
/* The whole configuration, as GET /vm/config shows it; *ret: what to start. */
int api_load_config(struct api *a, const char *text, size_t len, struct err *e) MUST_CHECK;
int api_start_config(struct api *a, struct vm_config **ret, struct err *e) MUST_CHECK;

/*
 * Start the thread: requests are answered from now on. @starting: the caller starts the VM
 * itself, and what concerns it waits for api_started(). The VM is started afterwards: then
 * no more threads may be made (jail/jail.h).
 */
int api_listen(struct api *a, bool starting, struct err *e) MUST_CHECK;

/* *load: the snapshot it is to come from, or NULL. Return: NULL if the process is to end. */
struct vm_config *api_wait_start(struct api *a, const struct snapshot_load **load);
/* @e: NULL = it runs. With @vm NULL the API waits for the next try. */
void api_started(struct api *a, struct vm *vm, const struct err *e);
void api_ended(struct api *a);

#endif
