// SPDX-License-Identifier: Apache-2.0
/* fc_boot.c - Firecracker tree: what boots, on what machine, and where it is written down */
#include "api/api_int.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>

/* -- boot source ------------------------------------------------------------------------------ */

int fc_put_boot_source(struct api_call *c, struct err *e)
{
	const struct fc_boot_source *b = c->body;
	struct fc *fc = &c->api->fc;
	int kernel, initrd = -1;

	fc->boot_path = true;
	kernel = api_open(c->api, b->kernel, O_RDONLY, e);
	if (kernel < 0)
		return err_wrap(e, "The kernel file cannot be opened");
	if (body_has(b, BOOT_INITRD)) {
		initrd = api_open(c->api, b->initrd, O_RDONLY, e);
		if (initrd < 0) {
			fd_close(&kernel);
			return err_wrap(e, "The initrd file cannot be opened due to invalid path or "
					   "invalid permissions");
		}
	}
	fd_close(&fc->kernel_fd);
	fd_close(&fc->initrd_fd);
	fc->boot = *b;
	fc->kernel_fd = kernel;
	fc->initrd_fd = initrd;
	fc->has_boot = true;
	return 0;
}

/* -- machine ------------------------------------------------------------------------------------ */

int fc_get_machine(struct api_call *c, struct err *e UNUSED)
{
	c->reply = body_encode(&fc_machine_schema, &c->api->fc.machine);
	return 0;
}

static int set_machine(struct fc *fc, const struct fc_machine *m, struct err *e)
{
	fc->boot_path = true;
	if (!m->vcpus || m->vcpus > 32 || (m->smt && m->vcpus > 1 && m->vcpus % 2))
		return err_set(e, EINVAL, "The number of vCPUs must be greater than 0, less than 32 "
					  "and must be 1 or an even number if SMT is enabled.");
	if (!m->mem_mib || (m->huge_pages != HUGE_NONE && m->mem_mib % 2) || m->mem_mib >> 32)
		return err_set(e, EINVAL, "The memory size (MiB) is either 0, or not a multiple of "
					  "the configured page size.");
	if (fc->has_balloon && fc->balloon.amount_mib > m->mem_mib)
		return err_set(e, EINVAL, "The memory size (MiB) is smaller than the previously set "
					  "balloon device target size.");
	fc->machine = *m;
	return 0;
}

int fc_put_machine(struct api_call *c, struct err *e)
{
	c->deprecated = body_has(c->body, MACHINE_TEMPLATE);
	return set_machine(&c->api->fc, c->body, e);
}

int fc_patch_machine(struct api_call *c, struct err *e)
{
	const struct fc_machine *b = c->body;
	struct fc_machine m = c->api->fc.machine;

	if (!b->given) {
		c->whole = true;
		return err_set(e, EINVAL, "Empty PATCH request.");
	}
	c->deprecated = body_has(b, MACHINE_TEMPLATE);
	if (body_has(b, MACHINE_TEMPLATE))
		m.cpu_template = b->cpu_template;
	if (body_has(b, MACHINE_SMT))
		m.smt = b->smt;
	if (body_has(b, MACHINE_MEM))
		m.mem_mib = b->mem_mib;
	if (body_has(b, MACHINE_DIRTY))
		m.track_dirty = b->track_dirty;
	if (body_has(b, MACHINE_VCPUS))
		m.vcpus = b->vcpus;
	if (body_has(b, MACHINE_HUGE))
		m.huge_pages = b->huge_pages;
	m.given |= b->given;
	return set_machine(&c->api->fc, &m, e);
}

/* -- serial, logger, metrics ---------------------------------------------------------------------- */

int fc_put_serial(struct api_call *c, struct err *e)
{
	const struct fc_serial *b = c->body;
	struct fc *fc = &c->api->fc;
	int fd = -1;

	if (body_has(b, SERIAL_PATH)) {
		fd = api_open(c->api, b->path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, e);
		if (fd < 0)
			return fd;
	}
	fd_close(&fc->serial_fd);
	fc->serial_fd = fd;
	fc->serial = *b;
	fc->has_serial = true;
	return 0;
}

static bool parse_level(const char *s, enum log_level *ret)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
		{ "off", LOG_LEVEL_OFF },   { "error", LOG_LEVEL_ERROR }, { "warn", LOG_LEVEL_WARN },
		{ "warning", LOG_LEVEL_WARN }, { "info", LOG_LEVEL_INFO }, { "debug", LOG_LEVEL_DEBUG },
		{ "trace", LOG_LEVEL_TRACE },
	};

	for (size_t i = 0; i < array_len(levels); i++) {
		if (!strcasecmp(levels[i].name, s)) {
			*ret = levels[i].level;
			return true;
		}
	}
	return false;
}

/* What was not given stays as it was. */
int fc_put_logger(struct api_call *c, struct err *e)
{
	const struct fc_logger *b = c->body;
	struct api *a = c->api;
	struct fc_logger l = a->fc.logger;
	enum log_level level = LOG_LEVEL_INFO;
	int fd = a->log_fd;

	if (body_has(b, LOGGER_LEVEL))
		strcpy(l.level, b->level);
	if (*l.level && !parse_level(l.level, &level))
		return route_bad_body(c, e, "unknown variant for field `level`, expected one of "
					    "`Off`, `Error`, `Warn`, `Info`, `Debug`, `Trace`");
	if (body_has(b, LOGGER_PATH)) {
		strcpy(l.path, b->path);
		fd = api_open(a, b->path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, e);
		if (fd < 0)
			return err_wrap(e, "Failed to open target file");
	}
	if (body_has(b, LOGGER_SHOW_LEVEL))
		l.show_level = b->show_level;
	if (body_has(b, LOGGER_SHOW_ORIGIN))
		l.show_origin = b->show_origin;
	if (body_has(b, LOGGER_MODULE))
		strcpy(l.module, b->module);
	l.given |= b->given;
	a->fc.logger = l;
	a->fc.has_logger = true;
	a->log_fd = fd;
	log_set(&(struct log_opts){ .fd = fd,
				    .level = level,
				    .show_level = l.show_level,
				    .show_origin = l.show_origin,
				    .id = a->opts.id,
				    .module = *l.module ? a->fc.logger.module : NULL });
	return 0;
}

int fc_put_metrics(struct api_call *c, struct err *e)
{
	struct fc_metrics *b = c->body;
	struct api *a = c->api;
	int fd;

	if (a->metrics.fd >= 0)
		return err_set(e, EALREADY, "Cannot initialize the metrics system due to bad user "
					    "input: Reinitialization of metrics not allowed.");
	fd = api_open(a, b->path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, e);
	if (fd < 0)
		return err_wrap(e, "Cannot initialize the metrics system due to bad user input");
	a->metrics.fd = fd;
	a->metrics.emit_id = b->emit_id;
	a->metrics.properties = json_incref(b->properties);
	a->fc.metrics = *b;
	a->fc.metrics.properties = a->metrics.properties;
	a->fc.has_metrics = true;
	return 0;
}
