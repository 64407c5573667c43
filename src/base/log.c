// SPDX-License-Identifier: Apache-2.0
/* log.c - see log.h */
#include "base/log.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096 /* a pipe that is ready takes so many at once */
#define PER_SECOND     200

static struct log_opts opts = { .fd = -1 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_ullong missed;
static time_t second;
static unsigned in_second;

void log_set(const struct log_opts *o)
{
	pthread_mutex_lock(&lock);
	if (opts.fd > STDERR_FILENO && opts.fd != o->fd)
		close(opts.fd);
	opts = *o;
	pthread_mutex_unlock(&lock);
}

bool log_wants(enum log_level level)
{
	bool r;

	pthread_mutex_lock(&lock);
	r = opts.fd >= 0 && level <= opts.level;
	pthread_mutex_unlock(&lock);
	return r;
}

u64 log_missed(void)
{
	return atomic_load(&missed);
}

/* "src/api/fc.c" without the first part, which is the same for all. */
static const char *origin(const char *file)
{
	return strncmp(file, "src/", 4) ? file : file + 4;
}

/* "[ID:THREAD:LEVEL:FILE:LINE] "; the length. */
static size_t prefix(char *buf, size_t cap, const struct timespec *now, enum log_level level,
		     const char *file, int line)
{
	static const char *const names[] = { "OFF", "ERROR", "WARN", "INFO", "DEBUG", "TRACE" };
	char thread[16] = "main";
	struct tm t;
	size_t n;

	gmtime_r(&now->tv_sec, &t);
	pthread_getname_np(pthread_self(), thread, sizeof thread);
	n = strftime(buf, cap, "%Y-%m-%dT%H:%M:%S", &t);
	n += (size_t)snprintf(buf + n, cap - n, ".%09ld [%.64s:%s", now->tv_nsec,
			      opts.id ? opts.id : "", thread);
	if (opts.show_level)
		n += (size_t)snprintf(buf + n, cap - n, ":%s", names[level]);
	if (opts.show_origin)
		n += (size_t)snprintf(buf + n, cap - n, ":%.64s:%d", file, line);
	return n + (size_t)snprintf(buf + n, cap - n, "] ");
}

void log_at(enum log_level level, const char *file, int line, const char *fmt, ...)
{
	char buf[LINE_MAX_BYTES];
	struct timespec now;
	va_list ap;
	size_t n;
	int k;

	file = origin(file);
	clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&lock);
	if (opts.fd < 0 || level > opts.level ||
	    (opts.module && strncmp(file, opts.module, strlen(opts.module)) != 0))
		goto out;
	if (now.tv_sec != second)
		second = now.tv_sec, in_second = 0;
	if (++in_second > PER_SECOND) {
		atomic_fetch_add(&missed, 1);
		goto out;
	}
	n = prefix(buf, sizeof buf, &now, level, file, line);
	va_start(ap, fmt);
	k = vsnprintf(buf + n, sizeof buf - n - 1, fmt, ap);
	va_end(ap);
	n += (size_t)k < sizeof buf - n - 1 ? (size_t)k : sizeof buf - n - 2;
	buf[n++] = '\n';
	if (poll(&(struct pollfd){ .fd = opts.fd, .events = POLLOUT }, 1, 0) != 1 ||
	    write(opts.fd, buf, n) != (ssize_t)n)
		atomic_fetch_add(&missed, 1);
out:
	pthread_mutex_unlock(&lock);
}
