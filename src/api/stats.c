// SPDX-License-Identifier: Apache-2.0
/* stats.c - /vireo/v1/vm/stats: what the engine counts, by vCPU */
#include "api/api_int.h"

#include "vmm/vmm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT 8192

/* Lines "name value" as an object. */
static json_t *counters(char *text)
{
	json_t *o = json_object();
	char *save, *value;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		value = strchr(line, ' ');
		if (!value)
			continue;
		*value++ = '\0';
		json_object_set_new(o, line, json_integer((json_int_t)strtoull(value, NULL, 10)));
	}
	return o;
}

static json_t *of_vm(const struct vm *vm)
{
	json_t *cpus = json_array();
	char text[MAX_TEXT];
	struct vm_info info;

	vm_get_info(vm, &info);
	for (u32 i = 0; i < info.nr_cpus; i++) {
		*text = '\0';
		vm_cpu_stats(vm, i, text, sizeof text);
		json_array_append_new(cpus, counters(text));
	}
	return json_pack("{s:s, s:o}", "engine", info.engine, "cpus", cpus);
}

static int get_stats(struct api_call *c, struct err *e)
{
	struct vm *vm = api_vm(c->api, e);

	if (!vm)
		return -e->code;
	c->reply = of_vm(vm);
	api_release(c->api);
	return c->reply ? 0 : err_set(e, ENOMEM, "out of memory");
}

/* clang-format off */
const struct route stats_routes[] = {
	{ HTTP_GET, "/vireo/v1/vm/stats", IN_AFTER, .fn = get_stats },
	{ .path = NULL },
};
/* clang-format on */
