/*
 * blob: see blob.h. Owns what happens below blobs/; knows no manifest and no network.
 * Invariant: a name sha256-<hex> appears only by rename or link of bytes that were hashed.
 */
#include "store/blob.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES (1 << 20)

static char *named(const char *dir, const char *key, const char *suffix)
{
    struct buf b;
    buf_init(&b, 8192);
    CHECK(buf_printf(&b, "%s/%s%s", dir, key, suffix));
    for (size_t i = strlen(dir); i < b.len; i++)
        if (b.ptr[i] == ':')
            b.ptr[i] = '-';
    return buf_steal(&b);
}

char *blob_path(const char *dir, const char *digest)
{
    return named(dir, digest, "");
}

char *blob_partial_path(const char *dir, const char *key)
{
    return named(dir, key, ".partial");
}

bool blob_exists(const char *dir, const char *digest, int64_t bytes)
{
    char *path = blob_path(dir, digest);
    struct stat st;
    bool ret = stat(path, &st) == 0 && S_ISREG(st.st_mode) && (bytes < 0 || st.st_size == bytes);
    free(path);
    return ret;
}

static int sync_dir(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        int e = errno;
        if (fd >= 0)
            close(fd);
        return err_set_errno(err, e, "cannot sync %s", dir);
    }
    close(fd);
    return 0;
}

/* An open, locked partial file that still has its name (its last owner may just have renamed it).
 */
static int open_locked(const char *path, int *ret_fd, struct err *err)
{
    for (int i = 0; i < 10; i++) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
            return err_set_errno(err, errno, "cannot write %s", path);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int e = errno;
            close(fd);
            if (e == EWOULDBLOCK)
                return err_set(err, ERR_BUSY,
                               "another process is writing %s; wait for it or stop it", path);
            return err_set_errno(err, e, "cannot lock %s", path);
        }
        struct stat ours, named_now;
        if (fstat(fd, &ours) == 0 && stat(path, &named_now) == 0 &&
            ours.st_ino == named_now.st_ino && ours.st_dev == named_now.st_dev) {
            *ret_fd = fd;
            return 0;
        }
        close(fd);
    }
    return err_set(err, ERR_BUSY, "%s keeps changing; another process is writing it", path);
}

/* The bytes that an earlier try left go through the hash again. */
static int take_up(struct blob_writer *w, const volatile sig_atomic_t *stop, struct err *err)
{
    char *chunk = mem_alloc(COPY_BYTES);
    int rc = 0;
    for (;;) {
        ssize_t n = read(w->fd, chunk, COPY_BYTES);
        if (stop != NULL && *stop != 0)
            rc = err_set(err, ERR_CANCELLED, "stopped while %s was read", w->partial);
        else if (n < 0 && errno == EINTR)
            continue;
        else if (n < 0)
            rc = err_set_errno(err, errno, "cannot read %s", w->partial);
        if (rc != 0 || n <= 0)
            break;
        digest_add(&w->digest, chunk, (size_t)n);
        w->bytes += n;
    }
    free(chunk);
    return rc;
}

static int writer_open(struct blob_writer *w, const char *dir, const char *key,
                       const volatile sig_atomic_t *stop, struct err *err)
{
    CHECK(strlen(key) <= BLOB_KEY_MAX && strchr(key, '/') == NULL);
    *w = (struct blob_writer){.fd = -1};
    w->partial = blob_partial_path(dir, key);
    int rc = open_locked(w->partial, &w->fd, err);
    if (rc != 0) {
        free(w->partial);
        *w = (struct blob_writer){.fd = -1};
        return rc;
    }
    w->dir = str_dup(str_z(dir));
    digest_init(&w->digest);
    rc = take_up(w, stop, err);
    if (rc != 0)
        blob_writer_release(w);
    return rc;
}

int blob_writer_open(struct blob_writer *w, const char *dir, const char *key, struct err *err)
{
    return writer_open(w, dir, key, NULL, err);
}

int blob_writer_add(struct blob_writer *w, const void *data, size_t len, struct err *err)
{
    const char *p = data;
    size_t left = len;
    while (left > 0) {
        ssize_t n = write(w->fd, p, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT))
            return err_set_errno(err, errno, "the disk is full at %s; free some space and go on",
                                 w->dir);
        if (n < 0)
            return err_set_errno(err, errno, "cannot write %s", w->partial);
        digest_add(&w->digest, p, (size_t)n);
        w->bytes += n;
        p += n;
        left -= (size_t)n;
    }
    return 0;
}

int blob_writer_restart(struct blob_writer *w, struct err *err)
{
    if (ftruncate(w->fd, 0) != 0 || lseek(w->fd, 0, SEEK_SET) != 0)
        return err_set_errno(err, errno, "cannot empty %s", w->partial);
    digest_release(&w->digest);
    digest_init(&w->digest);
    w->bytes = 0;
    return 0;
}

int blob_writer_commit(struct blob_writer *w, const char *expected, char ret[DIGEST_TEXT_LEN + 1],
                       struct err *err)
{
    char digest[DIGEST_TEXT_LEN + 1];
    digest_finish(&w->digest, digest);
    if (expected != NULL && strcmp(digest, expected) != 0) {
        blob_writer_discard(w);
        return err_set(err, ERR_CORRUPT, "the data is %.19s..., but %.19s... was announced", digest,
                       expected);
    }
    char *path = blob_path(w->dir, digest);
    int rc = 0;
    if (fsync(w->fd) != 0 || rename(w->partial, path) != 0)
        rc = err_set_errno(err, errno, "cannot finish %s", path);
    if (rc == 0)
        rc = sync_dir(w->dir, err);
    free(path);
    blob_writer_release(w);
    if (rc == 0)
        memcpy(ret, digest, sizeof(digest));
    return rc;
}

void blob_writer_release(struct blob_writer *w)
{
    digest_release(&w->digest);
    if (w->fd >= 0)
        close(w->fd);
    free(w->partial);
    free(w->dir);
    *w = (struct blob_writer){.fd = -1};
}

void blob_writer_discard(struct blob_writer *w)
{
    if (w->partial != NULL)
        unlink(w->partial);
    blob_writer_release(w);
}

int blob_made_begin(const char *dir, int *ret_fd, char ret_key[BLOB_KEY_MAX + 1], struct err *err)
{
    uint64_t nonce;
    rng_system(&nonce, sizeof nonce);
    snprintf(ret_key, BLOB_KEY_MAX + 1, "made-%016" PRIx64, nonce);
    char *path = blob_partial_path(dir, ret_key);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int rc = fd < 0 ? err_set_errno(err, errno, "cannot write %s", path) : 0;
    free(path);
    if (rc == 0)
        *ret_fd = fd;
    return rc;
}

int blob_made_end(const char *dir, int fd, const char *key, bool keep,
                  const volatile sig_atomic_t *stop, char ret[DIGEST_TEXT_LEN + 1], struct err *err)
{
    struct blob_writer w;
    close(fd);
    /* reads it, for the digest */
    int rc = keep ? writer_open(&w, dir, key, stop, err) : 0;
    if (keep && rc == 0)
        rc = blob_writer_commit(&w, NULL, ret, err);
    if (keep && rc == 0)
        return 0;
    char *path = blob_partial_path(dir, key);
    unlink(path);
    free(path);
    return rc;
}

int blob_write(const char *dir, struct str data, char ret[DIGEST_TEXT_LEN + 1], struct err *err)
{
    char digest[DIGEST_TEXT_LEN + 1];
    digest_bytes(data.ptr, data.len, digest);
    if (!blob_exists(dir, digest, (int64_t)data.len)) {
        char *path = blob_path(dir, digest);
        int rc = fs_write_atomic(path, data, 0644, err);
        free(path);
        if (rc != 0)
            return rc;
    }
    memcpy(ret, digest, sizeof(digest));
    return 0;
}

/* ---- import ---- */

static int copy_into(struct blob_writer *w, int fd, const char *path, struct err *err)
{
    char *chunk = mem_alloc(COPY_BYTES);
    int rc = 0;
    while (rc == 0) {
        ssize_t n = read(fd, chunk, COPY_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = err_set_errno(err, errno, "cannot read %s", path);
        if (n <= 0)
            break;
        rc = blob_writer_add(w, chunk, (size_t)n, err);
    }
    free(chunk);
    return rc;
}

static int import_by_copy(const char *dir, int fd, const char *path, const char *digest,
                          struct err *err)
{
    struct blob_writer w;
    int rc = blob_writer_open(&w, dir, digest, err);
    if (rc != 0)
        return rc;
    char got[DIGEST_TEXT_LEN + 1];
    rc = blob_writer_restart(&w, err);
    bool shared = rc == 0 && ioctl(w.fd, FICLONE, fd) == 0;
    if (rc == 0 && shared)
        rc = take_up(&w, NULL, err); /* hashed again: the file may have changed since */
    else if (rc == 0)
        rc = copy_into(&w, fd, path, err);
    if (rc == 0)
        return blob_writer_commit(&w, digest, got, err);
    blob_writer_discard(&w);
    return rc;
}

/*
 * A hard link shares the file's later fate, so it is taken only where nobody can write to the file
 * by its mode; everything else is copied.
 */
static bool import_by_link(const char *dir, const char *path, const char *digest,
                           const struct stat *st)
{
    if ((st->st_mode & 0222) != 0)
        return false;
    char *to = blob_path(dir, digest);
    bool ret = linkat(AT_FDCWD, path, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0;
    free(to);
    return ret;
}

static int import_open(const char *dir, int fd, const char *path, const char *expected,
                       char ret[DIGEST_TEXT_LEN + 1], int64_t *ret_bytes, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set_errno(err, errno, "cannot read %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a file", path);
    char digest[DIGEST_TEXT_LEN + 1];
    int rc = digest_fd(fd, path, digest, err);
    if (rc != 0)
        return rc;
    if (expected != NULL && strcmp(expected, digest) != 0)
        return err_set(err, ERR_CORRUPT, "%s is %.19s..., but %.19s... was announced", path, digest,
                       expected);
    if (!blob_exists(dir, digest, st.st_size) && !import_by_link(dir, path, digest, &st)) {
        int64_t left = fs_free_bytes(dir);
        if (left >= 0 && left < st.st_size)
            return err_set(err, ERR_IO, "no room for %s in %s: needs %lld MiB, %lld MiB are free",
                           path, dir, (long long)(st.st_size >> 20), (long long)(left >> 20));
        if (lseek(fd, 0, SEEK_SET) != 0)
            return err_set_errno(err, errno, "cannot read %s", path);
        rc = import_by_copy(dir, fd, path, digest, err);
        if (rc != 0)
            return rc;
    }
    memcpy(ret, digest, sizeof(digest));
    *ret_bytes = st.st_size;
    return 0;
}

int blob_import(const char *dir, const char *path, const char *expected,
                char ret[DIGEST_TEXT_LEN + 1], int64_t *ret_bytes, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? err_set(err, ERR_NOT_FOUND, "there is no file %s", path)
                               : err_set_errno(err, errno, "cannot read %s", path);
    int rc = import_open(dir, fd, path, expected, ret, ret_bytes, err);
    close(fd);
    return rc;
}
