/*
 * pack_cache: see pack_cache.h. Owns names, locks and room in the folder (cache_folder.h: what is
 * in it). Invariant: a path below the folder is made of hexadecimal digits and a number only.
 */
#include "store/pack_cache.h"

#include "base/fs.h"
#include "base/mem.h"
#include "store/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOB_PREFIX "sha256-"
#define LOOKS       3 /* cache_folder_list holds a lock for a moment */

/* ---- the folder ---- */

int pack_cache_open(const char *dir, int64_t bytes_max, int layout, struct pack_cache **ret,
                    struct err *err)
{
    char *path;
    int rc = cache_folder_path(dir, "packed", &path, err);
    if (rc != 0)
        return rc;
    struct pack_cache *c = mem_zero(1, sizeof(*c));
    *c = (struct pack_cache){.dir = path, .bytes_max = bytes_max, .layout = layout};
    *ret = c;
    return 0;
}

void pack_cache_close(struct pack_cache *c)
{
    if (c == NULL)
        return;
    free(c->dir);
    free(c);
}

/* ---- keys ---- */

/* "sha256-" and 64 digits, as the library names its blobs. */
static bool is_blob_name(const char *name)
{
    char text[DIGEST_TEXT_LEN + 1];
    if (strlen(name) != DIGEST_TEXT_LEN || strncmp(name, BLOB_PREFIX, strlen(BLOB_PREFIX)) != 0)
        return false;
    memcpy(text, name, sizeof(text));
    text[6] = ':';
    return digest_valid(str_z(text));
}

int pack_cache_key(char *const *path, int n_path, char ret[PACK_CACHE_KEY_LEN + 1], struct err *err)
{
    struct digest d;
    char text[512], digest[DIGEST_TEXT_LEN + 1];
    digest_init(&d);
    for (int i = 0; i < n_path; i++) {
        struct stat st;
        const char *slash = strrchr(path[i], '/');
        const char *name = slash == NULL ? path[i] : slash + 1;
        if (stat(path[i], &st) != 0) {
            digest_release(&d);
            return err_set_errno(err, errno, "cannot look at %s", path[i]);
        }
        int n = snprintf(text, sizeof(text), "%jd %jd.%09ld ", (intmax_t)st.st_size,
                         (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        if (is_blob_name(name))
            n += snprintf(text + n, sizeof(text) - (size_t)n, "%s\n", name);
        else
            n += snprintf(text + n, sizeof(text) - (size_t)n, "%ju %ju %jd.%09ld\n",
                          (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, (intmax_t)st.st_ctim.tv_sec,
                          st.st_ctim.tv_nsec);
        digest_add(&d, text, (size_t)n);
    }
    digest_finish(&d, digest);
    memcpy(ret, digest + strlen("sha256:"), PACK_CACHE_KEY_LEN + 1);
    return 0;
}

/* "<key>.v1.packed" or "<key>.v1.packed.tmp"; anything else in the folder is not ours. */
static bool parse_name(const char *name, struct pack_cache_file *ret)
{
    char again[CACHE_NAME_MAX];
    int end = -1;
    if (!cache_name_key(name, ret->key) ||
        sscanf(name + PACK_CACHE_KEY_LEN, ".v%6d.packed%n", &ret->layout, &end) != 1 || end < 0)
        return false;
    ret->unfinished = strcmp(name + PACK_CACHE_KEY_LEN + end, ".tmp") == 0;
    snprintf(again, sizeof(again), "%s.v%d.packed%s", ret->key, ret->layout,
             ret->unfinished ? ".tmp" : "");
    return strcmp(again, name) == 0;
}

static bool is_ours(const char *name)
{
    struct pack_cache_file f;
    return parse_name(name, &f);
}

static char *path_of(const struct pack_cache *c, const char *key, int layout, const char *ending)
{
    char name[CACHE_NAME_MAX];
    snprintf(name, sizeof(name), "%s.v%d.packed%s", key, layout, ending);
    return fs_join(c->dir, name);
}

/* ---- what is there ---- */

int pack_cache_list(const struct pack_cache *c, struct pack_cache_file **ret, int *ret_n,
                    struct err *err)
{
    struct cache_entry *all;
    int n;
    int rc = cache_folder_list(c->dir, is_ours, &all, &n, err);
    if (rc != 0)
        return rc;
    struct pack_cache_file *list = n == 0 ? NULL : mem_zero((size_t)n, sizeof(*list));
    for (int i = 0; i < n; i++) {
        (void)parse_name(all[i].name, &list[i]); /* true, or it would not be there */
        list[i].in_use = all[i].in_use;
        list[i].bytes = all[i].bytes;
        list[i].used_ms = all[i].used_ms;
    }
    free(all);
    *ret = list;
    *ret_n = n;
    return 0;
}

int64_t pack_cache_remove(const struct pack_cache *c, const char *key)
{
    return cache_folder_remove(c->dir, is_ours, key);
}

/* ---- room ---- */

/* The folder as one looks for room in it: all but the file that is or will be there under `but`. */
struct room {
    struct cache_entry *all; /* latest first */
    int n;
    int64_t used, max; /* of the whole folder */
};

static int look_for_room(const struct pack_cache *c, const char *but, struct room *ret,
                         struct err *err)
{
    struct room r = {0};
    int rc = cache_folder_list(c->dir, is_ours, &r.all, &r.n, err);
    if (rc != 0)
        return rc;
    for (int i = 0; i < r.n; i++) {
        struct cache_entry *e = &r.all[i];
        struct pack_cache_file f;
        (void)parse_name(e->name, &f);
        r.used += e->bytes;
        if (f.unfinished && !e->in_use) /* by a process that is no more */
            r.used -= cache_entry_remove(c->dir, e);
        if (f.unfinished || (strcmp(f.key, but) == 0 && f.layout == c->layout))
            e->in_use = true; /* nothing to remove below */
    }
    int64_t free_bytes = fs_free_bytes(c->dir);
    r.max = c->bytes_max > 0 ? c->bytes_max : (free_bytes < 0 ? 0 : free_bytes + r.used) / 2;
    *ret = r;
    return 0;
}

/* May a file of this size be made, and is there space on the disk? */
static int make_room(const struct pack_cache *c, const char *key, int64_t n_bytes, struct err *err)
{
    struct room r;
    int rc = look_for_room(c, key, &r, err);
    if (rc != 0)
        return rc;
    if (n_bytes > r.max) {
        rc = err_set(err, ERR_LIMIT,
                     "%" PRId64 " MiB do not fit the cache %s, which may hold %" PRId64
                     " MiB (--pack-cache-max sets that)",
                     n_bytes >> 20, c->dir, r.max >> 20);
    } else {
        int64_t lacking = n_bytes - fs_free_bytes(c->dir);
        if (lacking > 0 && cache_evict(c->dir, r.all, r.n, lacking) < lacking)
            rc = err_set(err, ERR_LIMIT, "the disk of %s lacks %" PRId64 " MiB", c->dir,
                         (lacking >> 20) + 1);
    }
    free(r.all);
    return rc;
}

/* Back to the bound, with the new file in. */
static void trim(const struct pack_cache *c, const char *key)
{
    struct room r;
    if (look_for_room(c, key, &r, NULL) != 0)
        return;
    cache_evict(c->dir, r.all, r.n, r.used - r.max);
    free(r.all);
}

/* ---- leases ---- */

/* Ours alone to write, so that nobody else can put weights into our models. */
static bool is_safe(int fd)
{
    return cache_file_ours(fd, S_IWGRP | S_IWOTH);
}

static int open_in(struct pack_lease *l, struct err *err)
{
    int fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open %s", l->path);
    if (!is_safe(fd)) {
        close(fd);
        return err_set(err, ERR_DENIED, "%s is not a file of this user alone", l->path);
    }
    (void)flock(fd, LOCK_SH | LOCK_NB); /* only keeps it from making room */
    (void)futimens(fd, NULL);           /* used now */
    l->fd_in = fd;
    return 0;
}

static int open_out(struct pack_lease *l, struct err *err)
{
    for (int i = 0; i < 10; i++) {
        int fd = open(l->tmp, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (fd < 0)
            return err_set_errno(err, errno, "cannot create %s", l->tmp);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int e = errno;
            close(fd);
            if (e == EWOULDBLOCK && i < LOOKS) { /* somebody may only be looking at it */
                usleep(1000);
                continue;
            }
            return e == EWOULDBLOCK
                       ? err_set(err, ERR_BUSY, "another process is making %s", l->path)
                       : err_set_errno(err, e, "cannot lock %s", l->tmp);
        }
        /* Its last owner may have renamed or removed it between the two calls. */
        if (cache_file_at(fd, l->tmp)) {
            if (is_safe(fd) && ftruncate(fd, 0) == 0) {
                l->fd_out = fd;
                return 0;
            }
            close(fd);
            return err_set(err, ERR_DENIED, "%s cannot be used", l->tmp);
        }
        close(fd);
    }
    return err_set(err, ERR_BUSY, "%s keeps changing; another process is writing it", l->tmp);
}

void pack_lease_take(const struct pack_cache *c, const char *key, int64_t n_bytes,
                     struct pack_lease *ret, struct err *why)
{
    struct pack_lease l = {.cache = c, .fd_in = -1, .fd_out = -1, .bytes_max = n_bytes};
    err_clear(why);
    snprintf(l.key, sizeof(l.key), "%s", key);
    l.path = path_of(c, key, c->layout, "");
    l.tmp = path_of(c, key, c->layout, ".tmp");
    int rc = fs_mkdirs(c->dir, 0700, why);
    rc = rc != 0 ? rc : open_in(&l, why);
    rc = rc != 0 ? rc : make_room(c, key, n_bytes, why);
    rc = rc != 0 ? rc : open_out(&l, why);
    *ret = l;
}

static void sync_folder(const char *path)
{
    char *dir = str_dup(str_z(path));
    *strrchr(dir, '/') = '\0'; /* made by path_of */
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!fsync(fd); /* some file systems refuse it; the name then comes a little later */
        close(fd);
    }
    free(dir);
}

int pack_lease_commit(struct pack_lease *l, struct err *err)
{
    if (l->fd_out < 0)
        return err_set(err, ERR_INVALID, "no file of packed weights was being made");
    while (fsync(l->fd_out) != 0)
        if (errno != EINTR)
            return err_set_errno(err, errno, "cannot write %s to the disk", l->tmp);
    if (!cache_file_at(l->fd_out, l->tmp))
        return err_set(err, ERR_NOT_FOUND, "%s was removed while it was written", l->tmp);
    if (rename(l->tmp, l->path) != 0)
        return err_set(err, ERR_UNAVAILABLE, "cannot give %s its name: %s", l->path,
                       strerror(errno));
    sync_folder(l->path);
    (void)flock(l->fd_out, LOCK_SH); /* in use from now on, not written */
    if (l->fd_in >= 0)
        close(l->fd_in);
    l->fd_in = l->fd_out;
    l->fd_out = -1;
    trim(l->cache, l->key);
    return 0;
}

void pack_lease_discard(struct pack_lease *l)
{
    if (cache_file_at(l->fd_in, l->path))
        unlink(l->path);
}

void pack_lease_release(struct pack_lease *l)
{
    if (l->fd_out >= 0 && cache_file_at(l->fd_out, l->tmp))
        unlink(l->tmp);
    if (l->fd_out >= 0)
        close(l->fd_out);
    if (l->fd_in >= 0)
        close(l->fd_in);
    free(l->path);
    free(l->tmp);
    *l = (struct pack_lease){.fd_in = -1, .fd_out = -1};
}
