// SPDX-License-Identifier: Apache-2.0
/*
 * fc_mmds.c - Firecracker tree: the metadata a guest can ask for
 *
 * The data is one JSON value, at most --mmds-size-limit bytes of compact text. PATCH
 * merges as RFC 7396 says.
 */
#include "api/api_int.h"

#include "vmm/vm_dev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int fc_get_mmds(struct api_call *c, struct err *e UNUSED)
{
	struct fc *fc = &c->api->fc;

	c->reply = fc->mmds_data ? json_incref(fc->mmds_data) : json_object();
	return 0;
}

/* Does it fit? */
static int check_size(struct api_call *c, json_t *v, struct err *e)
{
	if (json_dumpb(v, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) <= c->api->opts.mmds_limit)
		return 0;
	c->status = 413;
	return err_set(e, EFBIG, "MMDS limit exceeded error: The MMDS patch request doesn't fit.");
}

int fc_send_mmds(const struct fc *fc, struct vm *vm, struct err *e)
{
	char *text;
	int r;

	if (!fc->has_mmds || !fc->mmds_data)
		return 0;
	text = json_dumps(fc->mmds_data, JSON_COMPACT);
	r = text ? vm_mmds_set(vm, text, strlen(text), e) : err_set(e, ENOMEM, "out of memory");
	free(text);
	return r;
}

/* @v becomes the data, here and in a VM that has the service; a reference is taken over. */
static int set_data(struct api *a, json_t *v, struct err *e)
{
	struct fc *fc = &a->fc;
	json_t *old = fc->mmds_data;
	struct vm *vm;
	int r = 0;

	fc->mmds_data = v;
	if (fc->has_mmds && a->state == RUNS) {
		vm = api_lock_vm(a, e);
		r = vm ? fc_send_mmds(fc, vm, e) : -e->code;
		if (vm)
			api_unlock_vm(a, vm);
	}
	if (r)
		fc->mmds_data = old;
	json_decref(r ? v : old);
	return r;
}

int fc_put_mmds(struct api_call *c, struct err *e)
{
	if (!json_is_object(c->json))
		return route_bad_body(c, e, "invalid type, expected a map");
	TRY(check_size(c, c->json, e));
	return set_data(c->api, json_incref(c->json), e);
}

/* @to with @patch merged in: a new reference. The parser bounds the depth. */
static json_t *merge(json_t *to, json_t *patch)
{
	json_t *r, *v;
	const char *key;

	if (!json_is_object(patch))
		return json_incref(patch);
	r = json_is_object(to) ? json_copy(to) : json_object();
	json_object_foreach(patch, key, v)
	{
		if (json_is_null(v))
			json_object_del(r, key);
		else
			json_object_set_new(r, key, merge(json_object_get(r, key), v));
	}
	return r;
}

int fc_patch_mmds(struct api_call *c, struct err *e)
{
	struct fc *fc = &c->api->fc;
	json_t *v;
	int r;

	if (!json_is_object(c->json))
		return route_bad_body(c, e, "invalid type, expected a map");
	if (!fc->mmds_data)
		return err_set(e, ENOENT, "MMDS error: The MMDS data store is not initialized.");
	v = merge(fc->mmds_data, c->json);
	r = check_size(c, v, e);
	if (r) {
		json_decref(v);
		return r;
	}
	return set_data(c->api, v, e);
}

static bool link_local(const char *ip)
{
	struct in_addr a;
	u32 host;

	if (inet_pton(AF_INET, ip, &a) != 1)
		return false;
	host = ntohl(a.s_addr);
	return host >> 16 == 0xa9fe && (host >> 8 & 0xff) >= 1 && (host >> 8 & 0xff) <= 254;
}

int fc_put_mmds_config(struct api_call *c, struct err *e)
{
	const struct fc_mmds *m = c->body;
	struct fc *fc = &c->api->fc;
	struct in_addr ip;

	fc->boot_path = true;
	if (body_has(m, MMDS_IPV4) && inet_pton(AF_INET, m->ipv4, &ip) != 1)
		return route_bad_body(c, e, "invalid IPv4 address syntax for field `ipv4_address`");
	if (body_has(m, MMDS_IPV4) && !link_local(m->ipv4))
		return err_set(e, EINVAL, "The MMDS IPv4 address is not link local.");
	if (!m->nr_ifaces)
		return err_set(e, EINVAL, "The list of network interface IDs that allow forwarding "
					  "MMDS requests is empty.");
	for (u32 i = 0; i < m->nr_ifaces; i++) {
		u32 k = 0;

		while (k < fc->nr_nets && strcmp(fc->net[k].id, m->iface[i]) != 0)
			k++;
		if (k == fc->nr_nets)
			return err_set(e, EINVAL,
				       "The list of network interface IDs provided contains at least one "
				       "ID that does not correspond to any existing network interface.");
	}
	fc->mmds = *m;
	fc->has_mmds = true;
	return 0;
}
