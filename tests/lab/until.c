// SPDX-License-Identifier: Apache-2.0
/*
 * until.c - how long until a program prints a line that contains a word
 *
 * usage: until WORD FILE... -- COMMAND ARG...
 * Prints "ms N", and for each FILE, read at that moment, its last component and what is in it. Then
 * ends the command. Exit status 1: the word did not come within two minutes.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_MS 120000

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void show(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	const char *name = strrchr(path, '/');

	text[strcspn(text, "\n")] = '\0';
	if (n > 0)
		printf(" %s %s", name ? name + 1 : path, text);
	if (fd >= 0)
		close(fd);
}

/* True when the word has come. */
static int watch(int fd, const char *word, long end)
{
	static char seen[1 << 20];
	size_t len = 0;

	while (len < sizeof seen - 1) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		long left = end - now_ms();
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)left) <= 0)
			return 0;
		n = read(fd, seen + len, sizeof seen - 1 - len);
		if (n <= 0)
			return 0;
		len += (size_t)n;
		seen[len] = '\0';
		if (strstr(seen, word))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int p[2], k = 2, ok;
	long start;
	pid_t pid;

	while (k < argc && strcmp(argv[k], "--") != 0)
		k++;
	if (k + 1 >= argc || pipe(p) < 0)
		return 2;
	start = now_ms();
	pid = fork();
	if (pid == 0) {
		dup2(p[1], 1);
		dup2(open("/dev/null", O_RDWR), 0);
		close(p[0]);
		close(p[1]);
		execvp(argv[k + 1], argv + k + 1);
		_exit(127);
	}
	close(p[1]);
	ok = watch(p[0], argv[1], start + LIMIT_MS);
	printf("ms %ld", now_ms() - start);
	for (int n = 2; n < k; n++)
		show(argv[n]);
	putchar('\n');
	kill(pid, SIGTERM);
	for (int n = 0; n < 100 && waitpid(pid, NULL, WNOHANG) == 0; n++)
		usleep(50000);
	kill(pid, SIGKILL);
	return !ok;
}
