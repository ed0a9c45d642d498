/*
 * blob: one file of the library, named after its SHA-256: blobs/sha256-<hex>.
 *
 * A blob is written as blobs/<key>.partial and gets its name only after its bytes are on disk and
 * their digest was compared, so nothing half-written ever has a blob's name. A partial file is
 * locked (flock) by its writer and stays behind when the writer gives up, to be gone on with.
 */
#ifndef HEARTH_STORE_BLOB_H
#define HEARTH_STORE_BLOB_H

#include "base/err.h"
#include "base/str.h"
#include "store/digest.h"

#include <signal.h>
#include <stdint.h>

#define BLOB_KEY_MAX 128

struct blob_writer {
    char *dir;     /* the blobs folder */
    char *partial; /* the file being written */
    int fd;
    int64_t bytes; /* written so far, those of an earlier try included */
    struct digest digest;
};

/* Heap path of a blob (there or not) or of a partial file with this key. */
char *blob_path(const char *dir, const char *digest);
char *blob_partial_path(const char *dir, const char *key);
/* There, and of this size (bytes < 0: any)? */
bool blob_exists(const char *dir, const char *digest, int64_t bytes);

/*
 * key: the digest when it is known, else any text of letters, digits and "-:". Earlier bytes of
 * the same key are kept (and hashed again): go on at w->bytes or call blob_writer_restart.
 * ERR_BUSY when another process writes it.
 */
int blob_writer_open(struct blob_writer *w, const char *dir, const char *key, struct err *err)
    __attribute__((warn_unused_result));
int blob_writer_add(struct blob_writer *w, const void *data, size_t len, struct err *err)
    __attribute__((warn_unused_result));
int blob_writer_restart(struct blob_writer *w, struct err *err) __attribute__((warn_unused_result));
/*
 * Syncs, compares with `expected` (NULL: whatever it is), renames; the writer is released.
 * ERR_CORRUPT: another digest; the partial file is gone then.
 */
int blob_writer_commit(struct blob_writer *w, const char *expected, char ret[DIGEST_TEXT_LEN + 1],
                       struct err *err) __attribute__((warn_unused_result));
void blob_writer_release(struct blob_writer *w); /* the partial file stays */
void blob_writer_discard(struct blob_writer *w); /* the partial file goes */

/*
 * A blob that somebody else writes, whatever its digest: an empty file, open for reading and
 * writing. End it with blob_made_end, keep or not; the descriptor is closed by it, and a file that
 * is not kept is gone. stop: non-zero: ERR_CANCELLED soon, and it is not kept; may be NULL.
 */
int blob_made_begin(const char *dir, int *ret_fd, char ret_key[BLOB_KEY_MAX + 1], struct err *err)
    __attribute__((warn_unused_result));
int blob_made_end(const char *dir, int fd, const char *key, bool keep,
                  const volatile sig_atomic_t *stop, char ret[DIGEST_TEXT_LEN + 1],
                  struct err *err);

/* Small blobs at once. */
int blob_write(const char *dir, struct str data, char ret[DIGEST_TEXT_LEN + 1], struct err *err)
    __attribute__((warn_unused_result));
/*
 * A local file becomes a blob: shared extents (reflink) or a hard link where the file system can,
 * a copy elsewhere. The file itself stays where it is.
 */
int blob_import(const char *dir, const char *path, const char *expected,
                char ret[DIGEST_TEXT_LEN + 1], int64_t *ret_bytes, struct err *err)
    __attribute__((warn_unused_result));

#endif
