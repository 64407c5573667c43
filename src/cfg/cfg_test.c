// SPDX-License-Identifier: Apache-2.0
/* cfg_test.c - options, their refusals, and the way through JSON */
#include "cfg/cfg.h"

#include "base/test.h"

#include <stdarg.h>
#include <stdlib.h>

static struct vm_config c;
static struct err e;

static int parse(int argc, ...)
{
	static char *argv[16];
	va_list ap;

	cfg_init(&c);
	va_start(ap, argc);
	for (int i = 0; i < argc; i++)
		argv[i] = va_arg(ap, char *);
	va_end(ap);
	return cfg_parse_args(&c, argc, argv, &e);
}

TEST(options_fill_the_config)
{
	CHECK_EQ(parse(6, "--cpus", "4", "--memory=2G", "--engine", "soft", "-v"), 0);
	CHECK_EQ(c.nr_cpus, 4);
	CHECK_EQ(c.memory, 2ull << 30);
	CHECK_EQ(c.engine, CFG_ENGINE_SOFT);
	CHECK_EQ(c.verbose, 1);
	CHECK_EQ(parse(2, "--disk", "path=/a,,b=c,readonly"), 0);
	CHECK_STR(c.disk[0].path, "/a,b=c");
	CHECK(c.disk[0].read_only && !c.disk[0].snapshot);
	CHECK_EQ(parse(2, "--net", "user,forward=8080:80,forward=2222:22"), 0);
	CHECK_EQ(c.net[0].nr_forwards, 2);
	CHECK_EQ(c.net[0].forward[1].host_port, 2222);
	CHECK_EQ(parse(2, "--net", "tap=tap0"), 0);
	CHECK_STR(c.net[0].tap, "tap0");
	CHECK_EQ(parse(2, "--share", "/srv,tag=x,ro"), 0);
	CHECK_STR(c.share[0].tag, "x");
	CHECK_EQ(parse(2, "--vsock", "cid=5,path=/run/v"), 0);
	CHECK_EQ(c.vsock.cid, 5);
	CHECK_STR(c.vsock.uds_path, "/run/v");
	CHECK_EQ(parse(2, "--net", "user,mac=52:54:00:aB:cd:0f,mtu=9000,rx-rate=10M,tx-ops=500"), 0);
	CHECK_STR(c.net[0].mac, "52:54:00:aB:cd:0f");
	CHECK_EQ(c.net[0].mtu, 9000);
	CHECK_EQ(c.net[0].rx_limit.bandwidth.size, 10 << 20);
	CHECK_EQ(c.net[0].tx_limit.ops.size, 500);
	CHECK(parse(2, "--net", "user,mac=53:54:00:ab:cd:0f") < 0);
	CHECK(parse(2, "--net", "user,mac=52:54:00:ab:cd:0g") < 0);
	CHECK(parse(2, "--net", "user,mac=52:54:00:ab:cd:0f:") < 0);
	CHECK(parse(2, "--net", "user,tx-rate=0") < 0);
}

TEST(everything_after_two_dashes_is_the_command)
{
	CHECK_EQ(parse(5, "-v", "--", "sh", "-c", "--cpus"), 0);
	CHECK_EQ(c.nr_command, 3);
	CHECK_STR(c.command[2], "--cpus");
	CHECK(parse(1, "--") < 0);
}

static const struct {
	const char *a, *b, *msg;
} refusals[] = {
	{ "--frob", "1", "--frob: unknown option: see vireo run --help" },
	{ "frob", "1", "\"frob\": want an option, or -- before a command" },
	{ "--cpus", "0", "--cpus: \"0\": want a number from 1 to 240" },
	{ "--cpus", "two", "--cpus: \"two\": want a number from 1 to 240" },
	{ "--memory", "0", "--memory: \"0\": want 8M or more" },
	{ "--memory", "1M", "--memory: \"1M\": want 8M or more" },
	{ "--memory", "-1", "--memory: \"-1\": want a size with its unit, such as 512M or 2G" },
	{ "--memory", "512", "--memory: \"512\": want a size with its unit, such as 512M or 2G" },
	{ "--memory", "99999999999T",
	  "--memory: \"99999999999T\": want a size with its unit, such as 512M or 2G" },
	{ "--disk", "path=x,iops=0", "--disk iops: \"0\": want a number of requests per second" },
	{ "--disk", "path=x,cache=on",
	  "--disk cache: \"on\": want none, writeback, writethrough, directsync or unsafe" },
	{ "--engine", "fast", "--engine: \"fast\": want auto, soft or kvm" },
	{ "--disk", "x.img", "--disk: \"x.img\": want path=FILE, and behind it format=, readonly, "
			     "snapshot, allow-backing=, secret-file=, iops=, bps=, cache= or queues=" },
	{ "--disk", "readonly", "--disk: \"readonly\": want path=FILE, and behind it format=, readonly, "
			     "snapshot, allow-backing=, secret-file=, iops=, bps=, cache= or queues=" },
	{ "--net", "bridge",
	  "--net: \"bridge\": want user[,forward=HOST:GUEST], tap=NAME or none, and "
	  "behind it mac=, mtu=, rx-rate=, tx-rate=, rx-ops= or tx-ops=, and behind tap queues=" },
	{ "--net", "tap=t,queues=5", "--net queues: \"5\": want 1 to 4, pairs of queues" },
	{ "--net", "user,forward=80",
	  "--net forward: \"80\": want HOST:GUEST, two port numbers from 1 to 65535" },
	{ "--serial", "tty", "--serial: \"tty\": want stdio, pty, unix:PATH, file:PATH or none" },
	{ "--kernel", "", "--kernel: want a value that is not empty" },
	{ "--json=1", "", "--json: want no value" },
	{ "--name", "a b", "--name: \"a b\": want up to 63 letters, digits, '-', '_' or '.'" },
};

TEST(each_refusal_names_the_option_and_what_was_wanted)
{
	for (size_t i = 0; i < array_len(refusals); i++) {
		CHECK(parse(2, refusals[i].a, refusals[i].b) < 0);
		CHECK_STR(e.msg, refusals[i].msg);
	}
	CHECK(parse(1, "--cpus") < 0);
	CHECK_STR(e.msg, "--cpus: want N after it");
}

TEST(config_survives_the_way_through_json)
{
	static struct vm_config d;
	char *text;

	CHECK_EQ(parse(10, "--disk", "path=/\xfe d", "--net", "user,forward=1:2", "--name", "vm1",
		       "--cmdline", "a \"b\" \xc3\xa9", "--", "\xff\x01"),
		 0);
	c.disk[0].fd = 7;
	text = cfg_to_json(&c);
	CHECK(text);
	cfg_init(&d);
	CHECK_EQ(cfg_from_json(&d, text, strlen(text), &e), 0);
	CHECK_STR(d.name, "vm1");
	CHECK_STR(d.disk[0].path, "/\xfe d");
	CHECK_STR(d.cmdline, "a \"b\" \xc3\xa9");
	CHECK_EQ(d.disk[0].fd, 7);
	CHECK_EQ(d.net[0].forward[0].guest_port, 2);
	CHECK_EQ(d.nr_command, 1);
	CHECK_STR(d.command[0], "\xff\x01");
	cfg_fini(&d);
	free(text);
}

TEST(hostile_config_is_refused)
{
	static const char *const bad[] = { "",
					   "[]",
					   "{\"frob\":1}",
					   "{\"cpu\":-1}",
					   "{\"name\":7}",
					   "{\"nr_cpus\":true}",
					   "{\"disk\":{}}",
					   "{\"disk\":[1]}" };
	static struct vm_config d;

	for (size_t i = 0; i < array_len(bad); i++) {
		cfg_init(&d);
		CHECK(cfg_from_json(&d, bad[i], strlen(bad[i]), &e) < 0);
		cfg_fini(&d);
	}
}

TEST(limits_refuse_hot_plugged_memory_that_is_not_whole_blocks)
{
	static const struct memhp_config bad[] = {
		{ true, 0, 128, 2, 0 },	   { true, 256, 128, 0, 0 },  { true, 256, 128, 1, 0 },
		{ true, 256, 128, 3, 0 },  { true, 255, 128, 2, 0 },  { true, 256, 128, 2, 258 },
		{ true, 256, 128, 4, 2 },  { true, ~0u - 1, 128, 2, 0 },
	};
	cfg_init(&c);
	c.memhp = (struct memhp_config){ true, 256, 128, 2, 128 };
	CHECK_EQ(cfg_check_limits(&c, &e), 0);
	for (unsigned i = 0; i < array_len(bad); i++) {
		c.memhp = bad[i];
		CHECK(cfg_check_limits(&c, &e) < 0);
	}
}
