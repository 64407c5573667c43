// SPDX-License-Identifier: Apache-2.0
/* cgroup_test.c - what is a setting; groups themselves are tried in the lab, whose kernel has them */
#include "os/cgroup.h"

#include "base/test.h"

TEST(a_group_below_one_that_is_not_there_is_refused)
{
	const struct cgroup_setting s = { "pids.max", "10", false };
	struct err e = { 0 };
	struct cgroup g;

	CHECK(cgroup_new(&g, "no/such/group", "vireo-test", &s, 1, &e) < 0);
	CHECK(*e.msg && !*g.dir && !g.procs_fd);
	cgroup_free(&g);
}
