// SPDX-License-Identifier: Apache-2.0
// The bench guest's process 1, and the same program started natively in the guest's tree (by chroot).
//
// Prints "READY clock" at once; then runs workloads of /bench/workloads and prints for each
// "START name clock" and "BENCH name seconds checksum clock", or "FAIL name reason". The clock is
// CLOCK_MONOTONIC in seconds: tests/bench/run compares its pace with the host's.
//
// Environment (a Linux kernel hands its unknown name=value parameters to process 1):
//   bench=-        names from standard input, one a line, until "quit" (the default)
//   bench=a,b,...  these; bench=none ends at once
//   bench_size=quick
// As process 1 it powers the machine off at the end.
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { MAX_WORDS = 32 };
static const char OUT[] = "/tmp/out", OBJECT[] = "/tmp/out.o", ERRORS[] = "/tmp/err";

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

// One write a line: nothing may come between its parts.
__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof line - 2)
		n = (int)sizeof line - 2;
	line[n++] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)n) != n)
		_exit(1);
}

static void set_up_machine(void)
{
	struct termios t;

	mkdir("/dev", 0755);
	mkdir("/proc", 0755);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	if (tcgetattr(STDIN_FILENO, &t) == 0) {
		cfmakeraw(&t);
		t.c_oflag |= OPOST | ONLCR;
		tcsetattr(STDIN_FILENO, TCSANOW, &t);
	}
}

// FNV-1a of a file; 0 where there is none.
static uint64_t checksum(const char *path)
{
	static uint8_t buf[65536];
	uint64_t sum = 0xcbf29ce484222325ull;
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return 0;
	while ((n = read(fd, buf, sizeof buf)) > 0)
		for (ssize_t i = 0; i < n; i++)
			sum = (sum ^ buf[i]) * 0x100000001b3ull;
	close(fd);
	return sum;
}

// The line of /bench/workloads for `name`, as words; -1: none. words[0..4]: name to quick size.
static int find(const char *name, char *line, size_t size, char **words)
{
	FILE *f = fopen("/bench/workloads", "r");
	int found = -1;

	while (f && found < 0 && fgets(line, (int)size, f)) {
		int n = 0;

		for (char *w = strtok(line, " \t\n"); w && n < MAX_WORDS - 1; w = strtok(NULL, " \t\n"))
			words[n++] = w;
		words[n] = NULL;
		if (n > 5 && words[0][0] != '#' && strcmp(words[0], name) == 0)
			found = n;
	}
	if (f)
		fclose(f);
	return found;
}

// Replace the % of each word of the command by the size.
static void substitute(char **words, const char *size, char *buf, size_t left)
{
	for (; *words; words++) {
		char *percent = strchr(*words, '%');
		int n;

		if (!percent)
			continue;
		n = snprintf(buf, left, "%.*s%s%s", (int)(percent - *words), *words, size, percent + 1);
		*words = buf;
		buf += n + 1;
		left -= (size_t)n + 1;
	}
}

static void child(char **argv)
{
	static char *const env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=/", NULL };
	int in = open("/bench/workloads", O_RDONLY);
	int out = open(OUT, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int err = open(ERRORS, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	execve(argv[0], argv, env);
	_exit(127);
}

static void report_failure(const char *name, int status)
{
	char why[200] = "";
	int fd = open(ERRORS, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, why, sizeof why - 1);

	if (fd >= 0)
		close(fd);
	for (ssize_t i = 0; i < n; i++)
		if (why[i] == '\n')
			why[i] = ' ';
	say("FAIL %s status %d signal %d: %s", name, WEXITSTATUS(status),
	    WIFSIGNALED(status) ? WTERMSIG(status) : 0, why);
}

static void run(const char *name)
{
	char line[512], buf[2048], sum[64], *words[MAX_WORDS];
	const char *size = getenv("bench_size");
	double start, seconds;
	int status = -1;
	pid_t pid;

	if (find(name, line, sizeof line, words) < 0) {
		say("FAIL %s no such workload", name);
		return;
	}
	substitute(words + 5, words[size && strcmp(size, "quick") == 0 ? 4 : 3], buf, sizeof buf);
	unlink(OUT);
	unlink(OBJECT);
	say("START %s %.6f", name, now());
	start = now();
	pid = fork();
	if (pid == 0)
		child(words + 5);
	waitpid(pid, &status, 0);
	seconds = now() - start;
	if (status != 0) {
		report_failure(name, status);
		return;
	}
	if (strcmp(words[2], "kit") == 0) {
		FILE *f = fopen(OUT, "r");

		if (!f || fscanf(f, "%lf %63s", &seconds, sum) != 2) {
			say("FAIL %s bad output", name);
			return;
		}
		fclose(f);
	} else {
		snprintf(sum, sizeof sum, "%016llx",
			 (unsigned long long)(checksum(OUT) ^ checksum(OBJECT)));
	}
	say("BENCH %s %.6f %s %.6f", name, seconds, sum, now());
}

static void run_from_input(void)
{
	char name[64];

	while (fgets(name, sizeof name, stdin)) {
		name[strcspn(name, "\r\n")] = '\0';
		if (strcmp(name, "quit") == 0)
			break;
		if (name[0])
			run(name);
	}
}

int main(void)
{
	const char *list = getenv("bench");
	int machine = getpid() == 1;

	say("READY %.6f", now());
	if (!list)
		list = "-";
	if (strcmp(list, "none") != 0) {
		if (machine)
			set_up_machine();
		umask(022);
		mkdir("/tmp", 0777);
		if (strcmp(list, "-") == 0) {
			run_from_input();
		} else {
			char *names = strdup(list), *rest = names, *n;

			while ((n = strsep(&rest, ",")) != NULL)
				run(n);
			free(names);
		}
		say("END %.6f", now());
	}
	if (machine) {
		reboot(RB_POWER_OFF);
		for (;;)
			pause();
	}
	return 0;
}
