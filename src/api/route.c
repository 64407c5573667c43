// SPDX-License-Identifier: Apache-2.0
/* route.c - find the row of a request, check it, call its function; see route.h */
#include "api/route.h"

#include "api/api_int.h"
#include "api/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NATIVE_ROOT "/vireo/v1"

static const struct route *const trees[] = { fc_routes, native_routes, native_snap_routes, disk_routes,
					    stats_routes };

json_t *route_message(const char *key, const char *text)
{
	return json_pack("{s:s%}", key, text, strlen(text));
}

/* -- matching ------------------------------------------------------------------------------ */

static bool valid_id(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!(s[i] == '_' || (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'z') ||
		      (s[i] >= 'A' && s[i] <= 'Z')))
			return false;
	return len > 0 && len < CFG_NAME;
}

enum match { MATCH_NONE, MATCH_YES, MATCH_BAD_ID, MATCH_EMPTY_ID };

/* @path against a pattern; a '/' at the end of @path counts for nothing. */
static enum match match_path(const char *pattern, const char *path, char *id)
{
	enum match r = MATCH_YES;

	while (*pattern && *pattern != '{' && *pattern == *path)
		pattern++, path++;
	if (*pattern == '{') {
		size_t n = strcspn(path, "/");

		r = valid_id(path, n) ? MATCH_YES : n ? MATCH_BAD_ID : MATCH_EMPTY_ID;
		if (r == MATCH_YES)
			snprintf(id, CFG_NAME, "%.*s", (int)n, path);
		path += n;
		pattern += strcspn(pattern, "}") + 1;
		while (*pattern && *pattern == *path)
			pattern++, path++;
	} else if (!strcmp(pattern, "/{id}") && !*path) {
		return MATCH_EMPTY_ID;
	}
	if (*pattern || (*path && strcmp(path, "/") != 0))
		return MATCH_NONE;
	return r;
}

static bool is_native(const char *path)
{
	size_t n = strlen(NATIVE_ROOT);

	return !strncmp(path, NATIVE_ROOT, n) && (path[n] == '/' || !path[n]);
}

/* The row, or NULL. *other: there is one for that path with another method. */
static const struct route *find(struct api *a, const struct http_head *h, char *id,
				enum match *how, bool *other)
{
	*other = false;
	for (size_t t = 0; t < array_len(trees); t++) {
		if (trees[t] == fc_routes && !a->opts.firecracker)
			continue;
		for (const struct route *r = trees[t]; r->path; r++) {
			enum match m = match_path(r->path, h->path, id);

			if (m == MATCH_NONE)
				continue;
			*other = true;
			*how = m;
			if (r->method == h->method)
				return r;
		}
	}
	return NULL;
}

/* -- errors ---------------------------------------------------------------------------------- */

static const char *title(int status)
{
	switch (status) {
	case 404: return "Not found";
	case 405: return "Method not allowed";
	case 409: return "Not in this state";
	case 501: return "Not implemented";
	case 503: return "Busy";
	default: return "Bad request";
	}
}

static void fault(struct api_call *c, bool native, int status, const char *text)
{
	json_decref(c->reply);
	c->status = status;
	if (native)
		c->reply = json_pack("{s:s, s:s, s:i, s:s%}", "type", "about:blank", "title",
				     title(status), "status", status, "detail", text, strlen(text));
	else
		c->reply = route_message("fault_message", text);
	if (!c->reply) /* text that is not UTF-8 */
		c->reply = json_pack("{s:s}", native ? "detail" : "fault_message",
				     "The request failed.");
}

static int native_status(int err)
{
	switch (err) {
	case -ENOENT: return 404;
	case -ESHUTDOWN:
	case -EALREADY: return 409;
	case -ENOTSUP:
	case -ENOSYS: return 501;
	case -ETIMEDOUT:
	case -EBUSY: return 503;
	default: return 400;
	}
}

static void no_route(const struct http_head *h, bool native, bool other, size_t len,
		     struct api_call *c)
{
	char text[HTTP_PATH_MAX + 80];
	int first = 1 + (int)strcspn(h->path + 1, "/");

	if (native) {
		snprintf(text, sizeof text, "%s %s: no such operation",
			 http_method_name(h->method), h->path);
		fault(c, true, other ? 405 : 404, text);
		return;
	}
	if (h->method == HTTP_GET && len) {
		fault(c, false, 400, "GET request cannot have a body.");
	} else if ((h->method == HTTP_PUT || h->method == HTTP_PATCH) && !len) {
		snprintf(text, sizeof text, "Empty %s request.", http_method_name(h->method));
		fault(c, false, 400, text);
	} else {
		snprintf(text, sizeof text, "Invalid request method and/or path: %s %.*s.",
			 http_method_name(h->method), first - 1, h->path + 1);
		fault(c, false, 400, text);
	}
}

/* -- the body ---------------------------------------------------------------------------------- */

#define DESERIALIZE "An error occurred when deserializing the json body of a request: "

static int bad_body(struct api_call *c, bool native)
{
	char text[FAULT_MAX + 128];

	snprintf(text, sizeof text, DESERIALIZE "%s.", c->fault.msg);
	fault(c, native, 400, text);
	return -EINVAL;
}

int route_bad_body(struct api_call *c, struct err *e, const char *what)
{
	c->whole = true;
	return err_set(e, EINVAL, DESERIALIZE "%s.", what);
}

/* Parse and decode; the reply is set on failure. */
static int read_body(const struct route *r, bool native, const char *body, size_t len,
		     struct api_call *c)
{
	char text[64];
	const char *id;

	if (!r->body && !(r->flags & BODY_JSON))
		return 0;
	if (!len && r->flags & BODY_OPTIONAL)
		return 0;
	if (!len) {
		snprintf(text, sizeof text, "Empty %s request.", http_method_name(r->method));
		return fault(c, native, 400, text), -EINVAL;
	}
	c->json = body_parse(body, len, &c->fault);
	if (!c->json)
		return bad_body(c, native);
	if (!r->body)
		return 0;
	c->body = calloc(1, r->body->size);
	if (!c->body)
		return fault(c, native, 503, "Out of memory."), -ENOMEM;
	if (body_decode(r->body, c->json, c->body, &c->fault))
		return bad_body(c, native);
	id = r->id_field ? json_string_value(json_object_get(c->json, r->id_field)) : NULL;
	if (id && strcmp(id, c->id) != 0) {
		fault(c, native, 400, "The id from the path does not match the id from the body!");
		return -EINVAL;
	}
	return 0;
}

/* -- states ------------------------------------------------------------------------------------ */

static int check_state(struct api *a, const struct route *r, bool native, struct api_call *c)
{
	struct err e = { 0 };
	unsigned now;

	if (r->when == IN_ANY) /* never waits for the VM */
		return 0;
	if (api_state(a, &now, &e))
		return fault(c, native, native ? native_status(-e.code) : 400, e.msg), -EBUSY;
	if (r->when & now)
		return 0;
	if (native)
		fault(c, true, 409,
		      now == IN_BEFORE	? "The VM was not started." :
		      now == IN_RUNNING ? "The VM is running." :
					  "The VM is paused.");
	else if (now == IN_BEFORE)
		fault(c, false, 400,
		      "The requested operation is not supported before starting the microVM.");
	else if (r->when == IN_BEFORE)
		fault(c, false, 400,
		      "The requested operation is not supported after starting the microVM.");
	else /* the only rows for one of the two states take snapshots */
		fault(c, false, 400,
		      "Create snapshot error: Cannot save the microVM state: Operation not allowed: "
		      "save/restore unavailable while running");
	return -EINVAL;
}

static void run(struct api *a, const struct route *r, bool native, struct api_call *c)
{
	char text[FAULT_MAX + 128];
	struct err e = { 0 };
	int err;

	if (check_state(a, r, native, c))
		return;
	err = r->fn(c, &e);
	if (!err) {
		if (!c->status)
			c->status = c->reply ? 200 : 204;
		return;
	}
	snprintf(text, sizeof text, "%s%s", r->error && !c->whole ? r->error : "", e.msg);
	fault(c, native, c->status ? c->status : native ? native_status(err) : 400, text);
}

void route_request(struct api *a, const struct http_head *h, const char *body, size_t len,
		   struct api_call *c)
{
	bool native = is_native(h->path), other;
	enum match how = MATCH_NONE;
	const struct route *r;

	*c = (struct api_call){ .api = a };
	r = find(a, h, c->id, &how, &other);
	c->route = r;
	if (!r || (h->method == HTTP_GET && len)) {
		no_route(h, native, other, len, c);
	} else if (how == MATCH_EMPTY_ID) {
		fault(c, native, 400, "The ID cannot be empty.");
	} else if (how == MATCH_BAD_ID) {
		fault(c, native, 400,
		      "API Resource IDs can only contain alphanumeric characters and underscores.");
	} else if (!read_body(r, native, body, len, c)) {
		run(a, r, native, c);
	}
	if (r && r->counter)
		metrics_count(&a->metrics, r->counter, c->status >= 400);
	if (c->body)
		body_free(r->body, c->body);
	free(c->body);
	json_decref(c->json);
	c->body = NULL;
	c->json = NULL;
}
