/*
 * request_log: a file of JSON lines, one per finished request, kept small by rotation.
 *
 * Lines are gathered and written away from the loop; a disk that cannot keep up costs lines
 * (counted), never time. FILE becomes FILE.1 when it is full, FILE.1 becomes FILE.2, and so on up
 * to REQUEST_LOG_OLD_MAX. Loop thread only.
 */
#ifndef HEARTH_GATEWAY_REQUEST_LOG_H
#define HEARTH_GATEWAY_REQUEST_LOG_H

#include "base/err.h"
#include "base/str.h"

#include <uv.h>

#define REQUEST_LOG_OLD_MAX 3

struct request_log;

/* Opens the file for appending (it is created, 0600), so that a wrong name is told at the start. */
int request_log_new(uv_loop_t *loop, const char *path, int64_t bytes_max, struct request_log **ret,
                    struct err *err) __attribute__((warn_unused_result));
/* A line without its newline. log: may be NULL. */
void request_log_add(struct request_log *log, struct str line);
uint64_t request_log_dropped(const struct request_log *log); /* lines; 0 for NULL */
/* Writes what is left and frees it; the loop has ended. Takes NULL. */
void request_log_free(struct request_log *log);

#endif
