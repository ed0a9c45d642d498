/*
 * log: one line per event on standard error, thread-safe, level from HEARTH_LOG
 * (error, warn, info, debug; default info).
 *
 * A line: "2026-01-31T12:00:00.123Z info gateway: text". Prompts and answers are never logged.
 * The text may come from anywhere, a file or another process: a control character in it, which
 * could begin a line or speak to a terminal, becomes '?'.
 */
#ifndef HEARTH_BASE_LOG_H
#define HEARTH_BASE_LOG_H

#include <stddef.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_init(const char *role); /* "gateway", "worker"; reads HEARTH_LOG; role is borrowed */
void log_set_level(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Control characters of text[n] become '?', as in a line. */
void log_make_printable(char *text, size_t n);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
