// SPDX-License-Identifier: Apache-2.0
/* metrics.c - see metrics.h */
#include "api/metrics.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Rows of "GROUP.NAME": NAME_count, and NAME_fails where Firecracker has it. */
static const struct {
	const char *name;
	bool fails;
} pairs[] = {
	{ "get_api_requests.instance_info", false },
	{ "get_api_requests.machine_cfg", false },
	{ "get_api_requests.mmds", false },
	{ "get_api_requests.vmm_version", false },
	{ "get_api_requests.hotplug_memory", false },
	{ "put_api_requests.actions", true },
	{ "put_api_requests.boot_source", true },
	{ "put_api_requests.cpu_cfg", true },
	{ "put_api_requests.drive", true },
	{ "put_api_requests.hotplug_memory", true },
	{ "put_api_requests.logger", true },
	{ "put_api_requests.machine_cfg", true },
	{ "put_api_requests.metrics", true },
	{ "put_api_requests.mmds", true },
	{ "put_api_requests.network", true },
	{ "put_api_requests.pmem", true },
	{ "put_api_requests.serial", true },
	{ "put_api_requests.vsock", true },
	{ "patch_api_requests.drive", true },
	{ "patch_api_requests.hotplug_memory", true },
	{ "patch_api_requests.machine_cfg", true },
	{ "patch_api_requests.mmds", true },
	{ "patch_api_requests.network", true },
	{ "patch_api_requests.pmem", true },
};

_Static_assert(array_len(pairs) <= METRICS_PAIRS, "METRICS_PAIRS");

void metrics_count(struct metrics *m, const char *counter, bool failed)
{
	for (size_t i = 0; i < array_len(pairs); i++) {
		if (strcmp(pairs[i].name, counter) != 0)
			continue;
		m->count[i]++;
		m->fails[i] += failed;
	}
}

static json_t *group(json_t *root, const char *name, size_t len)
{
	json_t *g = json_object_getn(root, name, len);

	if (!g) {
		g = json_object();
		json_object_setn_new(root, name, len, g);
	}
	return g;
}

static void put(json_t *root, const char *where, const char *suffix, u64 val)
{
	const char *dot = strchr(where, '.');
	char name[64];

	snprintf(name, sizeof name, "%s%s", dot + 1, suffix);
	json_object_set_new(group(root, where, (size_t)(dot - where)), name,
			    json_integer((json_int_t)val));
}

static void put_counters(struct metrics *m, json_t *root)
{
	for (size_t i = 0; i < array_len(pairs); i++) {
		put(root, pairs[i].name, "_count", m->count[i]);
		if (pairs[i].fails)
			put(root, pairs[i].name, "_fails", m->fails[i]);
	}
}

static void put_rest(struct metrics *m, json_t *root)
{
	static const char *const latency[LATENCY_NR] = {
		[LATENCY_FULL_SNAPSHOT] = "latencies_us.full_create_snapshot",
		[LATENCY_DIFF_SNAPSHOT] = "latencies_us.diff_create_snapshot",
		[LATENCY_LOAD_SNAPSHOT] = "latencies_us.load_snapshot",
		[LATENCY_PAUSE] = "latencies_us.pause_vm",
		[LATENCY_RESUME] = "latencies_us.resume_vm",
	};

	put(root, "api_server.process_startup_time_us", "", m->startup_us);
	put(root, "api_server.process_startup_time_cpu_us", "", m->startup_cpu_us);
	put(root, "deprecated_api.deprecated_http_api_calls", "", m->deprecated_calls);
	put(root, "logger.missed_metrics_count", "", m->lost);
	put(root, "logger.missed_log_count", "", log_missed() - m->log_missed);
	for (unsigned i = 0; i < LATENCY_NR; i++)
		put(root, latency[i], "", m->latency[i]);
}

static void restart_counters(struct metrics *m)
{
	memset(m->count, 0, sizeof m->count);
	memset(m->fails, 0, sizeof m->fails);
	m->deprecated_calls = m->lost = 0;
	m->log_missed = log_missed();
}

bool metrics_flush(struct metrics *m, const char *id)
{
	struct timespec now;
	json_t *root = json_object();
	char *text;
	bool ok;

	clock_gettime(CLOCK_REALTIME, &now);
	json_object_set_new(root, "utc_timestamp_ms",
			    json_integer(now.tv_sec * 1000 + now.tv_nsec / 1000000));
	if (m->emit_id)
		json_object_set_new(root, "id", json_string(id));
	if (m->properties)
		json_object_set(root, "properties", m->properties);
	put_counters(m, root);
	put_rest(m, root);
	text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	if (!text)
		return false;
	text = realloc(text, strlen(text) + 2);
	if (!text)
		return false;
	strcat(text, "\n");
	ok = write(m->fd, text, strlen(text)) == (ssize_t)strlen(text);
	free(text);
	if (ok)
		restart_counters(m);
	else
		m->lost++;
	return ok;
}
