/*
 * sandbox: locks the process in. Two steps, because loading needs more than running.
 *
 * sandbox_enter_load: before the first byte of the model is parsed, and after everything that must
 * be read from the machine was read: closes inherited descriptors from `fd_end` up, forbids new
 * privileges, core dumps and files that grow past file_bytes_max (0: no written files), takes away
 * every file right (Landlock), and allows only the system calls that mapping, allocating and
 * starting threads need. sandbox_enter_run: once threads run and the model is loaded: no new
 * descriptors, processes, threads, sockets, file mappings or written files any more, but for one
 * descriptor (-1: none) that may be read and written at given places, up to a size. A forbidden
 * call kills the process.
 *
 * Both act on all threads of the process. Linux only.
 */
#ifndef HEARTH_WORKER_SANDBOX_H
#define HEARTH_WORKER_SANDBOX_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* True when built so that it can be used (not under a sanitizer, whose run time opens files). */
bool sandbox_is_possible(void);
int sandbox_enter_load(int fd_end, uint64_t file_bytes_max, struct err *err)
    __attribute__((warn_unused_result));
int sandbox_enter_run(int file_fd, uint64_t file_bytes_max, struct err *err)
    __attribute__((warn_unused_result));

#endif
