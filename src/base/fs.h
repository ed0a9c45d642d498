/*
 * fs: small file helpers. Errors name the path and the reason.
 */
#ifndef HEARTH_BASE_FS_H
#define HEARTH_BASE_FS_H

#include "base/buf.h"
#include "base/err.h"

/* Appends the whole file; ERR_NOT_FOUND, ERR_IO, ERR_TOO_LARGE (past out->max). */
int fs_read(const char *path, struct buf *out, struct err *err) __attribute__((warn_unused_result));
/* Writes path.<random>, fsyncs, renames: readers see the old bytes or the new, never half. */
int fs_write_atomic(const char *path, struct str data, unsigned mode, struct err *err)
    __attribute__((warn_unused_result));
int fs_mkdirs(const char *path, unsigned mode, struct err *err) __attribute__((warn_unused_result));
bool fs_exists(const char *path);
bool fs_is_dir(const char *path);
int64_t fs_size(const char *path);                /* bytes, or -1 */
int64_t fs_free_bytes(const char *path);          /* space left where path is or would be, or -1 */
char *fs_join(const char *dir, const char *name); /* heap "dir/name"; owned */
char *fs_home(void);                              /* heap; $HOME or the password database; NULL */

#endif
