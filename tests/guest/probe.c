// SPDX-License-Identifier: Apache-2.0
/*
 * probe.c - what the suites ask of a Linux guest's devices; static, runs in the guest
 *
 *	vsock-call PORT TEXT	connect to the host's PORT, say TEXT, print the answer
 *	vsock-echo PORT N	answer N connections with what they send
 *	vsock-sink PORT		count bytes of one connection until its end, print the sum
 *	vsock-pour PORT BYTES	connect, send BYTES bytes
 */
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int vsock_connect(unsigned port)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST,
				 .svm_port = port };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	return fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) ? -1 : fd;
}

static int vsock_listen(unsigned port)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY,
				 .svm_port = port };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	return fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 64) ? -1 : fd;
}

static int call(char **arg)
{
	int fd = vsock_connect((unsigned)atoi(arg[0]));
	char buf[4096];
	ssize_t n;

	if (fd < 0)
		return fail("connect");
	if (write(fd, arg[1], strlen(arg[1])) < 0 || shutdown(fd, SHUT_WR))
		return fail("write");
	while ((n = read(fd, buf, sizeof buf)) > 0)
		fwrite(buf, 1, (size_t)n, stdout);
	return n < 0 ? fail("read") : 0;
}

static int echo(char **arg)
{
	int fd = vsock_listen((unsigned)atoi(arg[0]));
	char buf[65536];

	if (fd < 0)
		return fail("listen");
	puts("ready");
	fflush(stdout);
	for (int i = 0; i < atoi(arg[1]); i++) {
		int c = accept(fd, NULL, NULL);
		ssize_t n;

		while ((n = read(c, buf, sizeof buf)) > 0)
			if (write(c, buf, (size_t)n) != n)
				break;
		close(c);
	}
	return 0;
}

static int sink(char **arg)
{
	int fd = vsock_listen((unsigned)atoi(arg[0])), c;
	static uint8_t buf[65536];
	uint64_t sum = 0, len = 0;
	ssize_t n;

	if (fd < 0)
		return fail("listen");
	puts("ready");
	fflush(stdout);
	c = accept(fd, NULL, NULL);
	while ((n = read(c, buf, sizeof buf)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			sum += (uint64_t)buf[i] * (1 + (len + (uint64_t)i) % 251);
		len += (uint64_t)n;
	}
	printf("%llu %llu\n", (unsigned long long)len, (unsigned long long)sum);
	return 0;
}

static int pour(char **arg)
{
	int fd = vsock_connect((unsigned)atoi(arg[0]));
	long long left = atoll(arg[1]);
	static char buf[65536];

	if (fd < 0)
		return fail("connect");
	memset(buf, 'x', sizeof buf);
	while (left > 0) {
		ssize_t n = write(fd, buf, left < (long long)sizeof buf ? (size_t)left : sizeof buf);

		if (n < 0)
			return fail("write");
		left -= n;
	}
	return 0;
}

static const struct {
	const char *name;
	int args;
	int (*fn)(char **arg);
} commands[] = {
	{ "vsock-call", 2, call }, { "vsock-echo", 2, echo },
	{ "vsock-sink", 1, sink }, { "vsock-pour", 2, pour },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands && argc > 1; i++)
		if (!strcmp(argv[1], commands[i].name) && argc - 2 == commands[i].args)
			return commands[i].fn(argv + 2);
	fprintf(stderr, "probe: unknown command or wrong number of arguments\n");
	return 2;
}
