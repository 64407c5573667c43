// SPDX-License-Identifier: Apache-2.0
/*
 * route.h - what the API answers: one table row per method and path
 *
 * A tree of routes is an array ended by a row without a path, listed in route.c. A row
 * says in which states of the VM it is allowed and how its body looks; its function
 * then sees only requests that fit. To add operations: a file with a table, a line in
 * route.c, and the description in docs/api/vireo-vm.yaml.
 *
 * Functions run on the API thread, one request at a time. They may wait for the VM only
 * through what is bounded (vmm/vmm.h: vm_lock(), vm_pause(), ...).
 */
#ifndef API_ROUTE_H
#define API_ROUTE_H

#include "api/body.h"
#include "api/http.h"
#include "base/err.h"
#include "cfg/cfg.h"

struct api;
struct api_call;

/* States a request is allowed in. */
#define IN_BEFORE  1u /* the VM was not started */
#define IN_RUNNING 2u
#define IN_PAUSED  4u
#define IN_AFTER   (IN_RUNNING | IN_PAUSED)
#define IN_ANY	   (IN_BEFORE | IN_AFTER)

#define BODY_OPTIONAL 1u /* with .body: it may be missing */
#define BODY_JSON     2u /* any JSON: in call->json, without .body */

struct route {
	enum http_method method;
	const char *path; /* "/drives/{id}": one part may be {id} */
	u8 when, flags;
	const struct schema *body; /* NULL: none is wanted, unless BODY_JSON */
	const char *id_field;	   /* of the body: must equal {id} */
	const char *error;	   /* before every error text of fn */
	const char *counter;	   /* of metrics: "GROUP.NAME" without _count and _fails */
	/*
	 * Return 0, with call->reply for an answer with a body, or -errno with *e. Most
	 * errors are status 400 (409, 503 ... in the native tree, by errno).
	 */
	int (*fn)(struct api_call *call, struct err *e);
};

struct api_call {
	struct api *api;
	const struct route *route;
	char id[CFG_NAME]; /* what {id} matched */
	void *body;	   /* decoded as route->body says; NULL = there was none */
	json_t *json;	   /* the same, as it came; borrowed */
	json_t *reply;	   /* by fn: the answer's body */
	int status;	   /* by fn: 0 = 200 with a reply, 204 without; 400 on errors */
	bool deprecated;   /* by fn: the request used what will go away */
	bool whole;	   /* by fn: its error text goes without route->error */
	struct fault fault;
};

/*
 * Answer one request. @body has @len bytes. Fills @call; its reply is always set unless
 * the status is 204, and the caller's.
 */
void route_request(struct api *a, const struct http_head *h, const char *body, size_t len,
		   struct api_call *call);

/* For fn: the body is no body of this operation, in the words for that. Returns -EINVAL. */
int route_bad_body(struct api_call *call, struct err *e, const char *what);

/* An object with one member. */
json_t *route_message(const char *key, const char *text) MUST_CHECK;

extern const struct route fc_routes[];	   /* the Firecracker tree */
extern const struct route native_routes[]; /* /vireo/v1 */
extern const struct route stats_routes[];  /* /vireo/v1/vm/stats */
extern const struct route native_snap_routes[];
extern const struct route disk_routes[];   /* /vireo/v1/disks */

#endif
