// SPDX-License-Identifier: Apache-2.0
/*
 * fc_config.c - what the Firecracker tree was told: to show it, to start it, to load it
 */
#include "api/api_int.h"

#include "blk/image.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* [FC boot_source.rs] when boot_args is not given */
#define DEFAULT_BOOT_ARGS                                                                          \
	"reboot=k panic=1 pci=off nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd "         \
	"swiotlb=noforce"

void fc_init(struct fc *fc)
{
	struct fault f;
	json_t *none = json_object();

	*fc = (struct fc){ .kernel_fd = -1, .initrd_fd = -1, .vsock_fd = -1, .serial_fd = -1 };
	for (unsigned i = 0; i < CFG_DISKS; i++)
		fc->drive_fd[i] = -1;
	for (unsigned i = 0; i < CFG_NETS; i++)
		fc->net_fd[i] = -1;
	for (unsigned i = 0; i < CFG_PMEMS; i++)
		fc->pmem_fd[i] = -1;
	if (body_decode(&fc_machine_patch_schema, none, &fc->machine, &f)) /* sets the defaults */
		abort();
	json_decref(none);
}

void fc_fini(struct fc *fc)
{
	fd_close(&fc->kernel_fd);
	fd_close(&fc->initrd_fd);
	fd_close(&fc->vsock_fd);
	fd_close(&fc->serial_fd);
	for (unsigned i = 0; i < CFG_DISKS; i++)
		fd_close(&fc->drive_fd[i]);
	for (unsigned i = 0; i < CFG_NETS; i++)
		fd_close(&fc->net_fd[i]);
	for (unsigned i = 0; i < CFG_PMEMS; i++)
		fd_close(&fc->pmem_fd[i]);
	json_decref(fc->cpu_config);
	json_decref(fc->mmds_data);
}

/* -- shown: GET /vm/config ------------------------------------------------------------------- */

static void show_one(json_t *o, const char *name, bool has, const struct schema *s,
		     const void *obj)
{
	if (has)
		json_object_set_new(o, name, body_encode(s, obj));
}

static void show_list(json_t *o, const char *name, u32 nr, const struct schema *s, const void *obj)
{
	json_t *a = json_array();

	for (u32 i = 0; i < nr; i++)
		json_array_append_new(a, body_encode(s, (const char *)obj + i * s->size));
	json_object_set_new(o, name, a);
}

json_t *fc_show(const struct api *a)
{
	const struct fc *fc = &a->fc;
	json_t *o = json_object();

	show_one(o, "balloon", fc->has_balloon, &fc_balloon_schema, &fc->balloon);
	show_list(o, "drives", fc->nr_drives, &fc_drive_schema, fc->drive);
	show_one(o, "boot-source", fc->has_boot, &fc_boot_source_schema, &fc->boot);
	if (fc->cpu_config)
		json_object_set(o, "cpu-config", fc->cpu_config);
	show_one(o, "logger", fc->has_logger, &fc_logger_schema, &fc->logger);
	show_one(o, "machine-config", true, &fc_machine_schema, &fc->machine);
	show_one(o, "metrics", fc->has_metrics, &fc_metrics_schema, &fc->metrics);
	show_one(o, "memory-hotplug", fc->has_memhp, &fc_memhp_schema, &fc->memhp);
	show_one(o, "mmds-config", fc->has_mmds, &fc_mmds_schema, &fc->mmds);
	show_list(o, "network-interfaces", fc->nr_nets, &fc_net_schema, fc->net);
	show_list(o, "pmem", fc->nr_pmems, &fc_pmem_schema, fc->pmem);
	show_one(o, "vsock", fc->has_vsock, &fc_vsock_schema, &fc->vsock);
	show_one(o, "entropy", fc->has_entropy, &fc_entropy_schema, &fc->entropy);
	return o;
}

/* -- started: struct vm_config ------------------------------------------------------------------ */

struct bucket_config fc_bucket_config(const struct fc_bucket *b)
{
	return (struct bucket_config){ .size = b->size,
				       .one_time_burst = b->one_time_burst,
				       .refill_time = b->refill_time };
}

static struct limit_config limit(const struct fc_limiter *l)
{
	return (struct limit_config){ .bandwidth = fc_bucket_config(&l->bandwidth),
				       .ops = fc_bucket_config(&l->ops) };
}

static int copy_fd(int fd, i32 *ret, struct err *e)
{
	*ret = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0 && *ret < 0)
		return err_set(e, errno, "file descriptors: %s", strerror(errno));
	return 0;
}

/* One more word of the command line. */
static int add_arg(struct vm_config *c, const char *word, struct err *e)
{
	size_t n = strlen(c->cmdline);

	if ((size_t)snprintf(c->cmdline + n, sizeof c->cmdline - n, "%s%s", n ? " " : "", word) >=
	    sizeof c->cmdline - n)
		return err_set(e, E2BIG, "The kernel command line is longer than %zu bytes",
			       sizeof c->cmdline - 1);
	return 0;
}

/* "pci=off" is for machines without PCI devices: with them the guest would see none. */
static int copy_args(struct vm_config *c, const char *args, struct err *e)
{
	while (*args) {
		size_t n = strcspn(args, " ");
		char word[CFG_CMDLINE];

		snprintf(word, sizeof word, "%.*s", (int)n, args);
		if (n && (c->transport == CFG_TRANSPORT_MMIO || strcmp(word, "pci=off") != 0))
			TRY(add_arg(c, word, e));
		args += n;
		args += strspn(args, " ");
	}
	return 0;
}

/* "root=" for the device that was called so, if one was. */
static int add_root(const struct fc *fc, struct vm_config *c, struct err *e)
{
	const struct fc_drive *d = fc->nr_drives && fc->drive[0].is_root ? &fc->drive[0] : NULL;
	char word[128];

	for (u32 i = 0; i < fc->nr_pmems; i++) {
		if (!fc->pmem[i].root)
			continue;
		snprintf(word, sizeof word, "root=/dev/pmem%u", i);
		TRY(add_arg(c, word, e));
		return add_arg(c, fc->pmem[i].read_only ? "ro" : "rw", e);
	}
	if (!d)
		return 0;
	if (*d->partuuid)
		snprintf(word, sizeof word, "root=PARTUUID=%s", d->partuuid);
	else
		snprintf(word, sizeof word, "root=/dev/vda");
	TRY(add_arg(c, word, e));
	return add_arg(c, d->read_only ? "ro" : "rw", e);
}

/* Arguments behind "--" are those of the guest's first process, and stay last. */
static int make_cmdline(const struct fc *fc, struct vm_config *c, struct err *e)
{
	const char *args = body_has(&fc->boot, BOOT_ARGS) ? fc->boot.boot_args : DEFAULT_BOOT_ARGS;
	const char *init = strstr(args, " -- ");
	char kernel[CFG_CMDLINE];

	snprintf(kernel, sizeof kernel, "%.*s", init ? (int)(init - args) : (int)strlen(args), args);
	TRY(copy_args(c, kernel, e));
	TRY(add_root(fc, c, e));
	return init ? copy_args(c, init + 1, e) : 0;
}

static int make_boot(const struct fc *fc, struct vm_config *c, struct err *e)
{
	strcpy(c->kernel.path, fc->boot.kernel);
	TRY(copy_fd(fc->kernel_fd, &c->kernel.fd, e));
	if (fc->initrd_fd >= 0) {
		strcpy(c->initrd[0].path, fc->boot.initrd);
		TRY(copy_fd(fc->initrd_fd, &c->initrd[0].fd, e));
		c->nr_initrds = 1;
	}
	c->has_cmdline = true;
	return make_cmdline(fc, c, e);
}

/* A disk of another process; such come after the others. */
static int make_vhost(const struct fc *fc, const struct fc_drive *f, int fd, struct vm_config *c,
		      struct err *e)
{
	struct vhost_config *h = &c->vhost[c->nr_vhosts];

	if (c->nr_vhosts == CFG_VHOSTS)
		return err_set(e, ENOSPC, "Too many devices: want at most %d drives with a socket",
			       CFG_VHOSTS);
	if (f->is_root && !*f->partuuid && fc->nr_drives > 1)
		return err_set(e, EINVAL, "drive \"%s\": a root device with a socket is not the first "
			       "disk: want partuuid", f->id);
	*h = (struct vhost_config){ .type = CFG_VHOST_BLK, .fd = -1 };
	strcpy(h->path, f->socket);
	c->nr_vhosts++;
	return copy_fd(fd, &h->fd, e);
}

static int make_disks(const struct fc *fc, struct vm_config *c, struct err *e)
{
	for (u32 i = 0; i < fc->nr_drives; i++) {
		const struct fc_drive *f = &fc->drive[i];
		struct disk_config *d = &c->disk[c->nr_disks];

		if (*f->socket) {
			TRY(make_vhost(fc, f, fc->drive_fd[i], c, e));
			continue;
		}
		strcpy(d->path, f->path);
		strcpy(d->id, f->id);
		d->image_format = IMAGE_RAW;
		d->read_only = f->read_only;
		d->no_flush = f->cache == 0;
		d->limit = limit(&f->limiter);
		TRY(copy_fd(fc->drive_fd[i], &d->fd, e));
		c->nr_disks++;
	}
	return 0;
}

static bool answers_mmds(const struct fc *fc, const char *id)
{
	for (u32 i = 0; fc->has_mmds && i < fc->mmds.nr_ifaces; i++)
		if (!strcmp(fc->mmds.iface[i], id))
			return true;
	return false;
}

static int make_nets(const struct fc *fc, struct vm_config *c, struct err *e)
{
	for (u32 i = 0; i < fc->nr_nets; i++) {
		const struct fc_net *f = &fc->net[i];
		struct net_config *n = &c->net[i];

		n->kind = CFG_NET_TAP;
		strcpy(n->tap, f->dev);
		strcpy(n->id, f->id);
		strcpy(n->mac, f->mac);
		n->mtu = f->mtu;
		n->rx_limit = limit(&f->rx);
		n->tx_limit = limit(&f->tx);
		n->mmds = answers_mmds(fc, f->id);
		TRY(copy_fd(fc->net_fd[i], &n->fd, e));
		c->nr_nets++;
	}
	return 0;
}

static int make_pmems(const struct fc *fc, struct vm_config *c, struct err *e)
{
	for (u32 i = 0; i < fc->nr_pmems; i++) {
		const struct fc_pmem *f = &fc->pmem[i];
		struct pmem_config *p = &c->pmem[i];

		strcpy(p->id, f->id);
		strcpy(p->path, f->path);
		p->read_only = f->read_only;
		p->limit = limit(&f->limiter);
		TRY(copy_fd(fc->pmem_fd[i], &p->fd, e));
		c->nr_pmems++;
	}
	return 0;
}

static int make_rest(const struct api *a, struct vm_config *c, struct err *e)
{
	const struct fc *fc = &a->fc;
	struct in_addr ip = { .s_addr = htonl(0xa9fea9fe) };

	if (fc->has_vsock) {
		c->vsock = (struct vsock_config){ .present = true, .cid = fc->vsock.cid, .fd = -1 };
		strcpy(c->vsock.uds_path, fc->vsock.uds_path);
		TRY(copy_fd(fc->vsock_fd, &c->vsock.fd, e));
	}
	if (fc->has_balloon)
		c->balloon = (struct balloon_config){
			.present = true,
			.amount_mib = fc->balloon.amount_mib,
			.deflate_on_oom = fc->balloon.deflate_on_oom,
			.stats_polling_s = fc->balloon.stats_interval_s,
			.hinting = fc->balloon.hinting,
			.reporting = fc->balloon.reporting,
		};
	if (fc->has_memhp)
		c->memhp = (struct memhp_config){ .present = true,
						  .total_mib = fc->memhp.total_mib,
						  .slot_mib = fc->memhp.slot_mib,
						  .block_mib = fc->memhp.block_mib };
	if (fc->has_mmds) {
		if (*fc->mmds.ipv4 && inet_pton(AF_INET, fc->mmds.ipv4, &ip) != 1)
			return err_set(e, EINVAL, "mmds: ipv4_address");
		c->mmds = (struct mmds_config){ .present = true,
						.version = fc->mmds.version + 1,
						.ipv4 = ntohl(ip.s_addr),
						.imds_compat = fc->mmds.imds_compat,
						.size_limit = a->opts.mmds_limit,
						.fd = -1 };
	}
	c->rng_limit = limit(&fc->entropy.limiter);
	return 0;
}

int fc_make_serial(const struct api *a, struct vm_config *c, struct err *e)
{
	const struct fc *fc = &a->fc;

	c->serial_limit = fc_bucket_config(&fc->serial.limiter);
	if (fc->serial_fd < 0) {
		strcpy(c->serial, "stdio");
		return 0;
	}
	strcpy(c->serial, "file");
	return copy_fd(fc->serial_fd, &c->serial_fd, e);
}

static int make(struct api *a, struct vm_config *c, struct err *e)
{
	const struct fc *fc = &a->fc;

	snprintf(c->name, sizeof c->name, "%s", a->opts.id);
	c->nr_cpus = fc->machine.vcpus;
	fc_make_cpu(fc, c);
	c->memory = fc->machine.mem_mib << 20;
	c->track_dirty = fc->machine.track_dirty;
	c->huge_pages = fc->machine.huge_pages == HUGE_2M;
	c->boot_timer = a->opts.boot_timer;
	c->transport = a->opts.enable_pci ? CFG_TRANSPORT_PCI : CFG_TRANSPORT_MMIO;
	c->reset_is_end = true;
	if (c->memory < CFG_MEM_MIN)
		return err_set(e, EINVAL, "mem_size_mib: want at least %llu",
			       (unsigned long long)(CFG_MEM_MIN >> 20));
	TRY(make_boot(fc, c, e));
	TRY(make_disks(fc, c, e));
	TRY(make_nets(fc, c, e));
	TRY(make_pmems(fc, c, e));
	TRY(make_rest(a, c, e));
	return fc_make_serial(a, c, e);
}

int fc_make_config(struct api *a, struct vm_config *c, struct err *e)
{
	int r;

	cfg_init(c);
	r = make(a, c, e);
	if (r)
		fc_close_config(c);
	return r;
}

void fc_close_config(struct vm_config *c)
{
	fd_close(&c->kernel.fd);
	for (u32 i = 0; i < CFG_INITRDS; i++)
		fd_close(&c->initrd[i].fd);
	for (u32 i = 0; i < CFG_DISKS; i++)
		fd_close(&c->disk[i].fd);
	for (u32 i = 0; i < CFG_NETS; i++)
		fd_close(&c->net[i].fd);
	for (u32 i = 0; i < CFG_PMEMS; i++)
		fd_close(&c->pmem[i].fd);
	for (u32 i = 0; i < CFG_VHOSTS; i++)
		fd_close(&c->vhost[i].fd);
	fd_close(&c->vsock.fd);
	fd_close(&c->serial_fd);
}

/* -- loaded: --config-file ---------------------------------------------------------------------- */

static int put(struct api *a, const char *path, json_t *body, struct err *e)
{
	struct http_head h = { .method = HTTP_PUT };
	struct api_call c;
	char *text = json_dumps(body, JSON_COMPACT);
	int r = 0;

	snprintf(h.path, sizeof h.path, "%s", path);
	if (!text)
		return err_set(e, ENOMEM, "%s: out of memory", path);
	h.body_len = strlen(text);
	route_request(a, &h, text, h.body_len, &c);
	if (c.status >= 400)
		r = err_set(e, EINVAL, "%s: %s", path + 1,
			    json_string_value(json_object_get(c.reply, "fault_message")));
	json_decref(c.reply);
	free(text);
	return r;
}

int api_put(struct api *a, const char *path, const char *json, struct err *e)
{
	struct fault f;
	json_t *o = body_parse(json, strlen(json), &f);
	int r;

	if (!o)
		return err_set(e, EINVAL, "%s: %.150s", path, f.msg);
	r = put(a, path, o, e);
	json_decref(o);
	return r;
}

/* A section of the file: an object for one path, or a list of objects with their own. */
static int load_section(struct api *a, json_t *v, const char *path, const char *id_field,
			struct err *e)
{
	char full[HTTP_PATH_MAX];
	size_t i;
	json_t *el;

	if (!id_field)
		return put(a, path, v, e);
	json_array_foreach(v, i, el)
	{
		const char *id = json_string_value(json_object_get(el, id_field));

		if (!id)
			return err_set(e, EINVAL, "%s: missing field `%s`", path + 1, id_field);
		snprintf(full, sizeof full, "%s/%s", path, id);
		TRY(put(a, full, el, e));
	}
	return 0;
}

int api_load_config(struct api *a, const char *text, size_t len, struct err *e)
{
	static const struct { /* in the order they need each other */
		const char *name, *path, *id_field;
	} section[] = {
		{ "logger", "/logger", NULL },
		{ "metrics", "/metrics", NULL },
		{ "machine-config", "/machine-config", NULL },
		{ "cpu-config", "/cpu-config", NULL },
		{ "boot-source", "/boot-source", NULL },
		{ "drives", "/drives", "drive_id" },
		{ "pmem", "/pmem", "id" },
		{ "network-interfaces", "/network-interfaces", "iface_id" },
		{ "vsock", "/vsock", NULL },
		{ "balloon", "/balloon", NULL },
		{ "entropy", "/entropy", NULL },
		{ "memory-hotplug", "/hotplug/memory", NULL },
		{ "mmds-config", "/mmds/config", NULL },
		{ "serial", "/serial", NULL },
	};
	struct fault f;
	json_t *o = body_parse(text, len, &f), *v;
	const char *name;
	int r = 0;

	if (!o || !json_is_object(o)) {
		json_decref(o);
		return err_set(e, EINVAL, "%.200s", o ? "want a JSON object" : f.msg);
	}
	json_object_foreach(o, name, v)
	{
		size_t i = 0;

		while (i < array_len(section) && strcmp(section[i].name, name) != 0)
			i++;
		if (i == array_len(section))
			r = err_set(e, EINVAL, "unknown field `%.60s`", name);
	}
	for (size_t i = 0; i < array_len(section) && !r; i++) {
		v = json_object_get(o, section[i].name);
		if (v && !json_is_null(v))
			r = load_section(a, v, section[i].path, section[i].id_field, e);
	}
	json_decref(o);
	return r;
}
