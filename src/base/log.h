// SPDX-License-Identifier: Apache-2.0
/*
 * log.h - the log of the process: lines with a time, as Firecracker writes them
 *
 *	2026-11-29T11:00:00.123456789 [ID:THREAD:INFO:file.c:12] text
 *
 * Off until log_set(). A line is one write(2) that never waits: what a pipe has no room
 * for is counted, and so is what comes too often, since guests cause some of it.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/compiler.h"
#include "base/types.h"

enum log_level {
	LOG_LEVEL_OFF,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_TRACE,
};

struct log_opts {
	int fd;		      /* taken over, but for 0 to 2; -1 = off */
	enum log_level level; /* and what is graver */
	bool show_level, show_origin;
	const char *id;	    /* borrowed */
	const char *module; /* only files whose name begins so; NULL = all; borrowed */
};

/* While no other thread logs, or to change the level. Closes the descriptor of before. */
void log_set(const struct log_opts *o);
bool log_wants(enum log_level level);
u64 log_missed(void); /* lines lost since the start */

void log_at(enum log_level level, const char *file, int line, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

/* clang-format off */
#define log_error(...) log_at(LOG_LEVEL_ERROR, __FILE__, __LINE__, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __FILE__, __LINE__, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __FILE__, __LINE__, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __FILE__, __LINE__, __VA_ARGS__)
/* clang-format on */

#endif
