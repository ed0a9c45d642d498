/*
 * fs: see fs.h. Blocking calls: never on the gateway's loop thread for large files.
 */
#include "base/fs.h"

#include "base/mem.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int read_all(int fd, const char *path, struct buf *out, struct err *err)
{
    for (;;) {
        char chunk[16384];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, errno, "cannot read %s", path);
        if (n == 0)
            return buf_reserve(out, 0) ? 0 : err_set(err, ERR_NOMEM, "no memory for %s", path);
        if (!buf_add(out, chunk, (size_t)n))
            return err_set(err, ERR_TOO_LARGE, "%s is larger than %zu bytes", path, out->max);
    }
}

int fs_read(const char *path, struct buf *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int code = errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
        err_set_errno(err, errno, "cannot open %s", path);
        if (err)
            err->code = code;
        return code;
    }
    int rc = read_all(fd, path, out, err);
    close(fd);
    return rc;
}

static int write_all(int fd, struct str data)
{
    while (data.len) {
        ssize_t n = write(fd, data.ptr, data.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data = str_from(data, (size_t)n);
    }
    return fsync(fd);
}

/* A rename is durable only when the folder's own entry is. Best effort: some systems refuse it. */
static void sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? str_dup(str_sub(str_z(path), 0, (size_t)(slash - path) + 1)) : NULL;
    int fd = open(dir ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!fsync(fd);
        close(fd);
    }
    free(dir);
}

int fs_write_atomic(const char *path, struct str data, unsigned mode, struct err *err)
{
    uint64_t nonce;
    char *temp = NULL;
    rng_system(&nonce, sizeof(nonce));
    if (asprintf(&temp, "%s.%016llx", path, (unsigned long long)nonce) < 0)
        return err_set(err, ERR_NOMEM, "no memory to write %s", path);
    int rc = 0;
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        rc = err_set_errno(err, errno, "cannot create %s", temp);
        free(temp);
        return rc;
    }
    bool failed = write_all(fd, data) != 0;
    int errnum = errno;
    if (close(fd) != 0 && !failed) {
        failed = true;
        errnum = errno;
    }
    if (!failed && rename(temp, path) != 0) {
        failed = true;
        errnum = errno;
    }
    if (failed) {
        unlink(temp);
        rc = err_set_errno(err, errnum, "cannot write %s", path);
    } else {
        sync_folder_of(path);
    }
    free(temp);
    return rc;
}

int fs_mkdirs(const char *path, unsigned mode, struct err *err)
{
    char *p = str_dup(str_z(path));
    int rc = 0;
    for (char *s = p + 1; *p; s++) {
        if (*s != '/' && *s != 0)
            continue;
        char keep = *s;
        *s = 0;
        if (mkdir(p, mode) != 0 && !(errno == EEXIST && fs_is_dir(p))) {
            rc = err_set_errno(err, errno, "cannot create the folder %s", p);
            break;
        }
        *s = keep;
        if (!keep)
            break;
    }
    free(p);
    return rc;
}

bool fs_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool fs_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int64_t fs_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

int64_t fs_free_bytes(const char *path)
{
    char *p = str_dup(str_z(path));
    struct statvfs v;
    int64_t bytes = -1;
    for (;;) { /* the nearest parent that is there */
        if (statvfs(*p ? p : ".", &v) == 0) {
            unsigned long long b;
            if (!__builtin_mul_overflow((unsigned long long)v.f_bavail,
                                        (unsigned long long)v.f_frsize, &b))
                bytes = b > INT64_MAX ? INT64_MAX : (int64_t)b;
            break;
        }
        char *slash = strrchr(p, '/');
        if (errno != ENOENT || !*p)
            break;
        if (!slash)
            p[0] = 0;
        else
            slash[slash == p ? 1 : 0] = 0;
    }
    free(p);
    return bytes;
}

char *fs_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    bool slash = n && dir[n - 1] == '/';
    size_t len = n + strlen(name) + 2;
    char *p = mem_alloc(len);
    snprintf(p, len, "%s%s%s", dir, slash ? "" : "/", name);
    return p;
}

char *fs_home(void)
{
    const char *home = getenv("HOME");
    if (home && *home)
        return str_dup(str_z(home));
    struct passwd pw, *found = NULL;
    char text[4096];
    if (getpwuid_r(getuid(), &pw, text, sizeof(text), &found) == 0 && found)
        return str_dup(str_z(found->pw_dir));
    return NULL;
}
