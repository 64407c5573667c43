// SPDX-License-Identifier: Apache-2.0
/* cgroup.c - what the control group of this process limits [cgroup-v2]: for the report */
#include "jail/jail_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One line of a small file without its newline; "" if there is none. */
static void first_line(const char *path, const char *start, char *ret, size_t len)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	const char *line;

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	line = strstr(text, start);
	snprintf(ret, len, "%.*s", line ? (int)strcspn(line, "\n") : 0, line ? line : "");
}

void jail_cgroup(struct jail_entry *j)
{
	static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	static const char *const files[] = { "memory.max", "cpu.max", "pids.max", "io.max" };
	char own[512], path[640], value[64], text[120] = "";
	size_t n = 0;

	first_line("/proc/self/cgroup", "0::/", own, sizeof own);
	for (unsigned m = 0; m < array_len(mounts) && *own && !n; m++)
		for (unsigned f = 0; f < array_len(files); f++) {
			snprintf(path, sizeof path, "%s%s/%s", mounts[m], own + 3, files[f]);
			first_line(path, "", value, sizeof value);
			if (*value && strncmp(value, "max", 3) != 0 && n < sizeof text)
				n += (size_t)snprintf(text + n, sizeof text - n, "%s%s %s",
						      n ? ", " : "", files[f], value);
		}
	jail_note(j, JAIL_L_CGROUP, n > 0, "%s", n ? text : "no memory.max, cpu.max, pids.max, io.max");
}
