// SPDX-License-Identifier: Apache-2.0
/* util.c - sizes, signals, progress, new files */
#include "disk/disk_int.h"

#include "base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

volatile sig_atomic_t disk_interrupted;

static void on_signal(int sig UNUSED)
{
	disk_interrupted = 1;
}

void disk_catch_signals(void)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = on_signal };

	for (size_t i = 0; i < array_len(sigs); i++)
		sigaction(sigs[i], &sa, NULL);
}

int disk_fail(const struct err *e)
{
	if (disk_interrupted) {
		fputs("vireo: disk: interrupted\n", stderr);
		return DISK_INTERRUPTED;
	}
	fprintf(stderr, "vireo: disk: %s\n", e->msg);
	return DISK_FAILED;
}

bool disk_parse_size(const char *s, u64 *ret)
{
	return size_parse(s, "KMGTP", true, ret);
}

const char *disk_size_text(u64 n, char buf[32])
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)n;
	unsigned i = 0;

	for (; v >= 1024 && i + 1 < array_len(unit); i++)
		v /= 1024;
	snprintf(buf, 32, v == (double)(u64)v ? "%.0f %s" : "%.2f %s", v, unit[i]);
	return buf;
}

/* -- progress ----------------------------------------------------------------------------- */

#define REDRAW_NS 100000000u

void progress_begin(struct progress *p, u64 total, bool quiet)
{
	*p = (struct progress){ .on = !quiet && isatty(STDERR_FILENO), .total = total,
				.start_ns = os_now_ns() };
}

static void draw(struct progress *p)
{
	static const char bar[] = "########################################";
	unsigned percent = p->total ? (unsigned)(p->done * 100.0 / (double)p->total) : 100;
	double s = (double)(os_now_ns() - p->start_ns) / 1e9;
	char rate[32];

	percent = percent > 100 ? 100 : percent;
	fprintf(stderr, "\r  [%-40.*s] %3u%%  %s/s ", (int)(percent * 2 / 5), bar, percent,
		disk_size_text(s > 0 ? (u64)((double)p->done / s) >> 10 << 10 : 0, rate));
}

void progress_add(struct progress *p, u64 n)
{
	u64 now;

	p->done += n;
	if (!p->on)
		return;
	now = os_now_ns();
	if (now - p->last_ns < REDRAW_NS)
		return;
	p->last_ns = now;
	draw(p);
}

void progress_end(struct progress *p)
{
	if (p->on) {
		draw(p);
		fputc('\n', stderr);
	}
	p->on = false;
}

/* -- new files ------------------------------------------------------------------------------ */

int new_file_begin(struct new_file *f, const char *path, bool force, struct err *e)
{
	struct stat st;

	f->fd = -1;
	if (snprintf(f->path, sizeof f->path, "%s", path) >= (int)sizeof f->path)
		return err_set(e, ENAMETOOLONG, "%.100s...: path too long", path);
	if (!stat(path, &st) && S_ISREG(st.st_mode) && !force)
		return err_set(e, EEXIST, "%.180s: exists: want --force to replace it", path);
	if (!stat(path, &st) && !S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%.180s: want the name of an ordinary file", path);
	snprintf(f->temp, sizeof f->temp, "%s.part-XXXXXX", path);
	f->fd = mkostemp(f->temp, O_CLOEXEC);
	if (f->fd < 0)
		return err_set(e, errno, "%.180s: cannot be created: %s", path, strerror(errno));
	return 0;
}

int new_file_commit(struct new_file *f, bool sync, struct err *e)
{
	mode_t mask = umask(0);
	int r = 0;

	umask(mask);
	if (fchmod(f->fd, 0666 & ~mask) || (sync && fsync(f->fd)) || rename(f->temp, f->path)) {
		r = err_set(e, errno, "%.180s: cannot be completed: %s", f->path, strerror(errno));
		new_file_drop(f);
	}
	fd_close(&f->fd);
	return r;
}

void new_file_drop(struct new_file *f)
{
	if (f->fd < 0)
		return;
	unlink(f->temp);
	fd_close(&f->fd);
}

int disk_usage(const char *what)
{
	fprintf(stderr, "vireo: disk: %s\n", what);
	return DISK_USAGE;
}

void disk_print_safe(const char *s)
{
	for (; *s; s++)
		putchar((unsigned char)*s < 32 || *s == 127 ? '?' : *s);
}
