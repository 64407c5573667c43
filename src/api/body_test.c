// SPDX-License-Identifier: Apache-2.0
/* body_test.c - bodies by their tables */
#include "api/fc_schema.h"
#include "base/test.h"

#include <stdlib.h>
#include <string.h>

/* Decode @text; the message on failure, NULL when it fits. */
static const char *try(const struct schema *s, const char *text, void *ret)
{
	static struct fault f;
	json_t *o = body_parse(text, strlen(text), &f);
	const char *msg = f.msg;

	if (o && !body_decode(s, o, ret, &f))
		msg = NULL;
	json_decref(o);
	return msg;
}

static const char *machine(const char *text)
{
	struct fc_machine m;

	return try(&fc_machine_schema, text, &m);
}

TEST(body_what_is_not_given_has_its_default)
{
	struct fc_machine m;

	CHECK(!try(&fc_machine_schema, "{\"vcpu_count\":3,\"mem_size_mib\":64,\"smt\":null}", &m));
	CHECK_EQ(m.vcpus, 3);
	CHECK_EQ(m.mem_mib, 64);
	CHECK(!m.smt && !body_has(&m, MACHINE_SMT) && body_has(&m, MACHINE_MEM));
	CHECK_EQ(m.cpu_template, TEMPLATE_NONE);
}

TEST(body_errors_name_the_field)
{
	CHECK(!strcmp(machine("{\"vcpu_count\":1}"), "missing field `mem_size_mib`"));
	CHECK(strstr(machine("{\"x\":1}"), "unknown field `x`, expected one of `cpu_template`"));
	CHECK(strstr(machine("{\"vcpu_count\":\"1\"}"), "string \"1\", expected u8"));
	CHECK(strstr(machine("{\"vcpu_count\":256}"), "invalid value: integer `256`, expected u8"));
	CHECK(strstr(machine("{\"vcpu_count\":-1}"), "invalid value: integer `-1`, expected u8"));
	CHECK(strstr(machine("{\"vcpu_count\":1.5}"), "floating point `1.5`"));
	CHECK(strstr(machine("{\"vcpu_count\":null}"), "null, expected u8"));
	CHECK(strstr(machine("{\"smt\":1}"), "integer `1`, expected a boolean"));
	CHECK(strstr(machine("{\"huge_pages\":\"7M\"}"), "unknown variant `7M`, expected one of"));
	CHECK(strstr(machine("{\"smt\":true,\"smt\":true}"), "duplicate field `smt`"));
	CHECK(strstr(machine("[]"), "invalid type: sequence, expected struct MachineConfig"));
	CHECK(strstr(machine("{\"smt\":"), "line 1"));
}

TEST(body_strings_and_lists_have_limits)
{
	struct fc_net n;
	struct fc_mmds m;

	CHECK(strstr(try(&fc_net_schema,
			 "{\"iface_id\":\"a\",\"host_dev_name\":\"0123456789abcdef\"}", &n),
		     "at most 15 bytes"));
	CHECK(strstr(try(&fc_mmds_schema,
			 "{\"network_interfaces\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}", &m),
		     "at most 4 elements"));
	CHECK(!try(&fc_mmds_schema, "{\"network_interfaces\":[\"1\",\"2\"]}", &m));
	CHECK_EQ(m.nr_ifaces, 2);
	CHECK(!strcmp(m.iface[1], "2"));
}

TEST(body_encode_shows_what_was_given_and_defaults)
{
	static const char text[] = "{\"drive_id\":\"a\",\"is_root_device\":true,"
				   "\"rate_limiter\":{\"ops\":{\"size\":1,\"refill_time\":2}}}";
	struct fc_drive d;
	json_t *o;
	char *out;

	CHECK(!try(&fc_drive_schema, text, &d));
	o = body_encode(&fc_drive_schema, &d);
	out = json_dumps(o, JSON_COMPACT);
	CHECK(!strcmp(out, "{\"drive_id\":\"a\",\"is_root_device\":true,\"cache_type\":\"Unsafe\","
			   "\"rate_limiter\":{\"ops\":{\"refill_time\":2,\"size\":1}},"
			   "\"io_engine\":\"Sync\"}"));
	free(out);
	json_decref(o);
}
