// SPDX-License-Identifier: Apache-2.0
/*
 * cfg_json.c - struct vm_config to JSON and back
 *
 * One table per struct names every member once; unknown keys, wrong types and
 * values out of range are errors. Paths and arguments are bytes, not text: each byte
 * travels as the code point of its value, so that any name survives.
 */
#include "cfg/cfg.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum key_type { KEY_BOOL, KEY_U32, KEY_U64, KEY_I32, KEY_STR, KEY_STRUCT, KEY_ARRAY };

struct key {
	const char *name;
	enum key_type type;
	size_t offset, size;   /* size: of the member, of one element for arrays */
	const struct key *sub; /* members of a struct or of an array's elements */
	size_t nr_offset, max; /* arrays: where the count is, and its limit */
};

/* clang-format off */
#define KEY_TYPE_(x) _Generic((x), bool: KEY_BOOL, u32: KEY_U32, u64: KEY_U64, i32: KEY_I32, \
			      char *: KEY_STR)
#define KEY(S, m) { .name = #m, .type = KEY_TYPE_(((S *)0)->m), .offset = offsetof(S, m), \
		    .size = sizeof((S *)0)->m }
#define KEY_IN(S, m, t) { .name = #m, .type = KEY_STRUCT, .offset = offsetof(S, m), .sub = (t) }
#define KEY_LIST(S, m, n, t) { .name = #m, .type = KEY_ARRAY, .offset = offsetof(S, m), \
			       .size = sizeof((S *)0)->m[0], .sub = (t), \
			       .nr_offset = offsetof(S, n), \
			       .max = sizeof((S *)0)->m / sizeof((S *)0)->m[0] }
#define KEY_END { .name = NULL }
/* clang-format on */

static const struct key file_keys[] = {
	KEY(struct cfg_file, path),
	KEY(struct cfg_file, args),
	KEY(struct cfg_file, fd),
	KEY_END,
};

static const struct key bucket_keys[] = {
	KEY(struct bucket_config, size),
	KEY(struct bucket_config, one_time_burst),
	KEY(struct bucket_config, refill_time),
	KEY_END,
};

static const struct key limit_keys[] = {
	KEY_IN(struct limit_config, bandwidth, bucket_keys),
	KEY_IN(struct limit_config, ops, bucket_keys),
	KEY_END,
};

static const struct key disk_file_keys[] = {
	KEY(struct disk_file_config, fd),
	KEY(struct disk_file_config, format),
	KEY(struct disk_file_config, extent),
	KEY_END,
};

static const struct key disk_keys[] = {
	KEY(struct disk_config, path),
	KEY(struct disk_config, format),
	KEY(struct disk_config, allow),
	KEY(struct disk_config, secret_file),
	KEY(struct disk_config, secret),
	KEY(struct disk_config, fd),
	KEY(struct disk_config, image_format),
	KEY(struct disk_config, layer_fd),
	KEY_LIST(struct disk_config, file, nr_files, disk_file_keys),
	KEY(struct disk_config, read_only),
	KEY(struct disk_config, snapshot),
	KEY(struct disk_config, id),
	KEY(struct disk_config, no_flush),
	KEY(struct disk_config, cache),
	KEY(struct disk_config, queues),
	KEY_IN(struct disk_config, limit, limit_keys),
	KEY_END,
};

static const struct key forward_keys[] = {
	KEY(struct forward_config, host_port),
	KEY(struct forward_config, guest_port),
	KEY_END,
};

static const struct key net_queue_keys[] = {
	KEY(struct net_queue_config, fd),
	KEY_END,
};

static const struct key net_keys[] = {
	KEY(struct net_config, kind),
	KEY(struct net_config, tap),
	KEY(struct net_config, fd),
	KEY_LIST(struct net_config, queue, nr_queues, net_queue_keys),
	KEY_LIST(struct net_config, forward, nr_forwards, forward_keys),
	KEY(struct net_config, id),
	KEY(struct net_config, mac),
	KEY(struct net_config, mtu),
	KEY_IN(struct net_config, rx_limit, limit_keys),
	KEY_IN(struct net_config, tx_limit, limit_keys),
	KEY(struct net_config, mmds),
	KEY_END,
};

static const struct key share_keys[] = {
	KEY(struct share_config, path),
	KEY(struct share_config, tag),
	KEY(struct share_config, fd),
	KEY(struct share_config, read_only),
	KEY_END,
};

static const struct key balloon_keys[] = {
	KEY(struct balloon_config, present),
	KEY(struct balloon_config, amount_mib),
	KEY(struct balloon_config, deflate_on_oom),
	KEY(struct balloon_config, stats_polling_s),
	KEY(struct balloon_config, hinting),
	KEY(struct balloon_config, reporting),
	KEY_END,
};

static const struct key vsock_keys[] = {
	KEY(struct vsock_config, present),
	KEY(struct vsock_config, cid),
	KEY(struct vsock_config, uds_path),
	KEY(struct vsock_config, fd),
	KEY_END,
};

static const struct key mmds_keys[] = {
	KEY(struct mmds_config, present),
	KEY(struct mmds_config, version),
	KEY(struct mmds_config, ipv4),
	KEY(struct mmds_config, imds_compat),
	KEY(struct mmds_config, size_limit),
	KEY(struct mmds_config, path),
	KEY(struct mmds_config, fd),
	KEY_END,
};

static const struct key pmem_keys[] = {
	KEY(struct pmem_config, id),
	KEY(struct pmem_config, path),
	KEY(struct pmem_config, fd),
	KEY(struct pmem_config, read_only),
	KEY_IN(struct pmem_config, limit, limit_keys),
	KEY_END,
};

static const struct key memhp_keys[] = {
	KEY(struct memhp_config, present),
	KEY(struct memhp_config, total_mib),
	KEY(struct memhp_config, slot_mib),
	KEY(struct memhp_config, block_mib),
	KEY(struct memhp_config, requested_mib),
	KEY_END,
};

static const struct key restore_keys[] = {
	KEY(struct restore_config, state_fd),
	KEY(struct restore_config, mem_fd),
	KEY(struct restore_config, over_fd),
	KEY(struct restore_config, pages_fd),
	KEY(struct restore_config, learn_s),
	KEY(struct restore_config, uffd),
	KEY(struct restore_config, paused),
	KEY(struct restore_config, keep_clocks),
	KEY(struct restore_config, verify),
	KEY_END,
};

static const struct key vhost_keys[] = {
	KEY(struct vhost_config, type),
	KEY(struct vhost_config, path),
	KEY(struct vhost_config, tag),
	KEY(struct vhost_config, fd),
	KEY_END,
};

static const struct key cpuid_keys[] = {
	KEY(struct cpuid_config, leaf),
	KEY(struct cpuid_config, subleaf),
	KEY(struct cpuid_config, reg),
	KEY(struct cpuid_config, mask),
	KEY(struct cpuid_config, value),
	KEY_END,
};

static const struct key vm_keys[] = {
	KEY(struct vm_config, name),
	KEY(struct vm_config, parent),
	KEY_IN(struct vm_config, restore, restore_keys),
	KEY(struct vm_config, ready_fd),
	KEY(struct vm_config, engine),
	KEY(struct vm_config, irqchip),
	KEY(struct vm_config, kvm_fd),
	KEY(struct vm_config, cpu),
	KEY_LIST(struct vm_config, cpuid, nr_cpuids, cpuid_keys),
	KEY(struct vm_config, nr_cpus),
	KEY(struct vm_config, memory),
	KEY(struct vm_config, code_cache),
	KEY_IN(struct vm_config, kernel, file_keys),
	KEY_IN(struct vm_config, firmware, file_keys),
	KEY_LIST(struct vm_config, initrd, nr_initrds, file_keys),
	KEY(struct vm_config, cmdline),
	KEY(struct vm_config, has_cmdline),
	KEY_LIST(struct vm_config, disk, nr_disks, disk_keys),
	KEY_LIST(struct vm_config, net, nr_nets, net_keys),
	KEY_LIST(struct vm_config, share, nr_shares, share_keys),
	KEY(struct vm_config, serial),
	KEY(struct vm_config, serial_fd),
	KEY(struct vm_config, perf_fd),
	KEY(struct vm_config, trace),
	KEY_IN(struct vm_config, balloon, balloon_keys),
	KEY_IN(struct vm_config, vsock, vsock_keys),
	KEY_IN(struct vm_config, mmds, mmds_keys),
	KEY_LIST(struct vm_config, pmem, nr_pmems, pmem_keys),
	KEY_IN(struct vm_config, memhp, memhp_keys),
	KEY_IN(struct vm_config, rng_limit, limit_keys),
	KEY_IN(struct vm_config, serial_limit, bucket_keys),
	KEY(struct vm_config, control_fd),
	KEY_LIST(struct vm_config, vhost, nr_vhosts, vhost_keys),
	KEY(struct vm_config, transport),
	KEY(struct vm_config, track_dirty),
	KEY(struct vm_config, huge_pages),
	KEY(struct vm_config, agent),
	KEY(struct vm_config, boot_timer),
	KEY(struct vm_config, reset_is_end),
	KEY(struct vm_config, debug_exit),
	KEY(struct vm_config, test_device),
	KEY(struct vm_config, json),
	KEY(struct vm_config, interpret),
	KEY(struct vm_config, jail),
	KEY(struct vm_config, verbose),
	KEY_END,
};

/* -- to JSON --------------------------------------------------------------------------- */

static json_t *encode_bytes(const char *p, size_t len)
{
	char *text = malloc(2 * len + 1), *q = text;
	json_t *v;

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		u8 c = (u8)p[i];

		if (c >= 0x80)
			*q++ = (char)(0xc0 | c >> 6);
		*q++ = (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c);
	}
	v = json_stringn(text, (size_t)(q - text));
	free(text);
	return v;
}

/* The inverse, with a terminator; false if it is no such string or needs more than @cap. */
static bool decode_bytes(json_t *v, char *dst, size_t cap)
{
	const u8 *p = (const u8 *)json_string_value(v);
	size_t n = json_string_length(v), len = 0;

	if (!json_is_string(v))
		return false;
	for (size_t i = 0; i < n; i++) {
		u8 c = p[i];

		if (c >= 0x80 && (c > 0xc3 || ++i == n))
			return false;
		if (c >= 0x80)
			c = (u8)(c << 6 | (p[i] & 0x3f));
		if (!c || len + 1 >= cap)
			return false;
		dst[len++] = (char)c;
	}
	dst[len] = '\0';
	return true;
}

static json_t *encode_struct(const struct key *keys, const void *obj);

/* The tables above have no cycle, which bounds the recursion. */
static json_t *encode(const struct key *k, const void *obj)
{
	const char *p = (const char *)obj + k->offset;
	json_t *a;
	u32 nr;

	switch (k->type) {
	case KEY_BOOL: return json_boolean(*(const bool *)p);
	case KEY_U32: return json_integer(*(const u32 *)p);
	case KEY_U64: return json_integer((json_int_t) * (const u64 *)p);
	case KEY_I32: return json_integer(*(const i32 *)p);
	case KEY_STR: return encode_bytes(p, strnlen(p, k->size));
	case KEY_STRUCT: return encode_struct(k->sub, p);
	case KEY_ARRAY: break;
	}
	a = json_array();
	memcpy(&nr, (const char *)obj + k->nr_offset, sizeof nr);
	for (u32 i = 0; i < nr && a; i++)
		json_array_append_new(a, encode_struct(k->sub, p + i * k->size));
	return a;
}

static json_t *encode_struct(const struct key *keys, const void *obj)
{
	json_t *o = json_object();

	for (const struct key *k = keys; k->name && o; k++)
		json_object_set_new_nocheck(o, k->name, encode(k, obj));
	return o;
}

char *cfg_to_json(const struct vm_config *c)
{
	json_t *o = encode_struct(vm_keys, c), *cmd = json_array();
	char *text;

	for (u32 i = 0; i < c->nr_command; i++)
		json_array_append_new(cmd, encode_bytes(c->command[i], strlen(c->command[i])));
	json_object_set_new(o, "command", cmd);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

/* -- from JSON --------------------------------------------------------------------------- */

static int decode_struct(const struct key *keys, void *obj, json_t *o, struct err *e);

static int bad(const struct key *k, struct err *e)
{
	return err_set(e, EINVAL, "config: %s: wrong type or out of range", k->name);
}

static int decode_array(const struct key *k, void *obj, json_t *v, struct err *e)
{
	u32 nr = (u32)json_array_size(v);

	if (!json_is_array(v) || json_array_size(v) > k->max)
		return bad(k, e);
	for (u32 i = 0; i < nr; i++)
		TRY(decode_struct(k->sub, (char *)obj + k->offset + i * k->size,
				  json_array_get(v, i), e));
	memcpy((char *)obj + k->nr_offset, &nr, sizeof nr);
	return 0;
}

static int decode(const struct key *k, void *obj, json_t *v, struct err *e)
{
	char *p = (char *)obj + k->offset;
	json_int_t n = json_integer_value(v);

	switch (k->type) {
	case KEY_STR: return decode_bytes(v, p, k->size) ? 0 : bad(k, e);
	case KEY_STRUCT: return decode_struct(k->sub, p, v, e);
	case KEY_ARRAY: return decode_array(k, obj, v, e);
	case KEY_BOOL:
		if (!json_is_boolean(v))
			return bad(k, e);
		*(bool *)p = json_is_true(v);
		return 0;
	case KEY_U32:
		if (!json_is_integer(v) || n < 0 || n > (json_int_t)UINT32_MAX)
			return bad(k, e);
		*(u32 *)p = (u32)n;
		return 0;
	case KEY_U64:
		if (!json_is_integer(v) || n < 0)
			return bad(k, e);
		*(u64 *)p = (u64)n;
		return 0;
	case KEY_I32:
		if (!json_is_integer(v) || n < INT32_MIN || n > INT32_MAX)
			return bad(k, e);
		*(i32 *)p = (i32)n;
		return 0;
	}
	return bad(k, e);
}

static int decode_struct(const struct key *keys, void *obj, json_t *o, struct err *e)
{
	const char *name;
	json_t *v;

	if (!json_is_object(o))
		return err_set(e, EINVAL, "config: want an object");
	json_object_foreach(o, name, v)
	{
		const struct key *k = keys;

		if (keys == vm_keys && !strcmp(name, "command"))
			continue;
		while (k->name && strcmp(k->name, name) != 0)
			k++;
		if (!k->name)
			return err_set(e, EINVAL, "config: %.60s: unknown key", name);
		TRY(decode(k, obj, v, e));
	}
	return 0;
}

static int decode_command(struct vm_config *c, json_t *cmd, struct err *e)
{
	size_t nr = json_array_size(cmd);

	if (!nr)
		return 0;
	c->command = calloc(nr + 1, sizeof *c->command);
	if (!c->command)
		return err_set(e, ENOMEM, "config: out of host memory");
	for (; c->nr_command < nr; c->nr_command++) {
		json_t *v = json_array_get(cmd, c->nr_command);
		size_t cap = json_string_length(v) + 1;
		char *word = malloc(cap);

		if (!word || !decode_bytes(v, word, cap)) {
			free(word);
			return err_set(e, EINVAL, "config: command: want strings");
		}
		c->command[c->nr_command] = word;
	}
	return 0;
}

int cfg_from_json(struct vm_config *c, const char *text, size_t len, struct err *e)
{
	json_error_t je;
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	int r;

	if (!o)
		return err_set(e, EINVAL, "config: line %d: %.100s", je.line, je.text);
	r = decode_struct(vm_keys, c, o, e);
	if (!r)
		r = decode_command(c, json_object_get(o, "command"), e);
	json_decref(o);
	return r;
}

void cfg_fini(struct vm_config *c)
{
	for (u32 i = 0; i < c->nr_command; i++)
		free(c->command[i]);
	free(c->command);
	c->command = NULL;
	c->nr_command = 0;
}
