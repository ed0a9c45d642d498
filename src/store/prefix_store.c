/*
 * prefix_store: see prefix_store.h. Owns names and room in the folder.
 * Invariant: a path below the folder is made of hexadecimal digits, numbers and fixed words only.
 */
#include "store/prefix_store.h"

#include "base/fs.h"
#include "base/mem.h"
#include "store/digest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX   100000
#define BOUND_MAX   (8ll << 30)  /* of the folder, when nobody says how much */
#define BOUND_SHARE 10           /* or this part of the disk's free space */
#define GRANT_MIN   (20ll << 20) /* less is not worth a file */

int prefix_store_open(const char *dir, int64_t bytes_max, int layout, const char *exe,
                      struct prefix_store **ret, struct err *err)
{
    char *above = pack_cache_home(dir);
    struct stat st;
    if (above == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "no home folder for the cache; set --cache-dir or HEARTH_CACHE_DIR");
    struct prefix_store *s = mem_zero(1, sizeof(*s));
    s->dir = fs_join(above, "prefix");
    s->bytes_max = bytes_max;
    s->layout = layout;
    if (exe != NULL && stat(exe, &st) == 0)
        snprintf(s->exe, sizeof(s->exe), "%jd %jd.%09ld", (intmax_t)st.st_size,
                 (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    free(above);
    *ret = s;
    return 0;
}

void prefix_store_close(struct prefix_store *s)
{
    if (s == NULL)
        return;
    free(s->dir);
    free(s);
}

/* ---- what is there ---- */

static void name_of(const struct prefix_file *f, char ret[128])
{
    snprintf(ret, 128, "%s.k%d.a%d.v%d.prefix", f->key, f->kv_type, f->activations, f->layout);
}

static char *path_of(const struct prefix_store *s, const struct prefix_file *f)
{
    char name[128];
    name_of(f, name);
    return fs_join(s->dir, name);
}

/* Anything else in the folder is not ours. */
static bool parse_name(const char *name, struct prefix_file *ret)
{
    char digest[DIGEST_TEXT_LEN + 1] = "sha256:", again[128];
    struct prefix_file f = {.layout = 0};
    if (strlen(name) < PACK_CACHE_KEY_LEN || strlen(name) >= sizeof(again))
        return false;
    memcpy(digest + strlen("sha256:"), name, PACK_CACHE_KEY_LEN);
    memcpy(f.key, name, PACK_CACHE_KEY_LEN);
    if (!digest_valid(str_z(digest)) || sscanf(name + PACK_CACHE_KEY_LEN, ".k%3d.a%3d.v%6d",
                                               &f.kv_type, &f.activations, &f.layout) != 3)
        return false;
    name_of(&f, again);
    *ret = f;
    return strcmp(again, name) == 0;
}

static int by_use(const void *a, const void *b)
{
    const struct prefix_file *x = a, *y = b;
    return (x->used_ms < y->used_ms) - (x->used_ms > y->used_ms);
}

static void look_at(const struct prefix_store *s, struct prefix_file *f)
{
    struct stat st;
    char *path = path_of(s, f);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    free(path);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0) {
        f->bytes = (int64_t)st.st_blocks * 512;
        f->used_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    }
    f->in_use = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
}

int prefix_store_list(const struct prefix_store *s, struct prefix_file **ret, int *ret_n,
                      struct err *err)
{
    struct prefix_file *all = NULL, one;
    size_t n = 0, cap = 0;
    int rc = 0;
    DIR *dir = opendir(s->dir);
    if (dir == NULL && errno != ENOENT)
        return err_set_errno(err, errno, "cannot read the folder %s", s->dir);
    for (struct dirent *e; dir != NULL && rc == 0 && (e = readdir(dir)) != NULL;) {
        if (!parse_name(e->d_name, &one))
            continue;
        look_at(s, &one);
        if (mem_grow((void **)&all, &cap, n + 1, FILES_MAX, sizeof(*all)))
            all[n++] = one;
        else
            rc = err_set(err, ERR_LIMIT, "the folder %s holds too many files", s->dir);
    }
    if (dir != NULL)
        closedir(dir);
    if (rc != 0) {
        free(all);
        return rc;
    }
    if (n > 0)
        qsort(all, n, sizeof(*all), by_use);
    *ret = all;
    *ret_n = (int)n;
    return 0;
}

static int64_t remove_file(const struct prefix_store *s, const struct prefix_file *f)
{
    char *path = path_of(s, f);
    int64_t bytes = unlink(path) == 0 ? f->bytes : 0;
    free(path);
    return bytes;
}

int64_t prefix_store_remove(const struct prefix_store *s, const char *key)
{
    struct prefix_file *all;
    int64_t bytes = 0;
    int n;
    if (prefix_store_list(s, &all, &n, NULL) != 0)
        return 0;
    for (int i = 0; i < n; i++)
        if (key != NULL ? strcmp(all[i].key, key) == 0 : !all[i].in_use)
            bytes += remove_file(s, &all[i]);
    free(all);
    return bytes;
}

/* ---- room ---- */

static bool is_same(const struct prefix_file *a, const struct prefix_file *b)
{
    char x[128], y[128];
    name_of(a, x);
    name_of(b, y);
    return strcmp(x, y) == 0;
}

/* What a file that a worker of ours uses may grow to; 0: it is none. */
static int64_t granted(const struct prefix_store *s, const struct prefix_file *f)
{
    for (const struct prefix_lease *l = s->leases; l != NULL; l = l->next)
        if (strcmp(l->key, f->key) == 0)
            return l->bytes_max;
    return 0;
}

/* How large the file may become; files of other models are removed for it. */
static int make_room(const struct prefix_store *s, const struct prefix_file *own, int64_t *ret,
                     struct err *err)
{
    struct prefix_file *all;
    int n;
    int rc = prefix_store_list(s, &all, &n, err);
    if (rc != 0)
        return rc;
    int64_t others = 0, used = 0, bound = s->bytes_max, free_bytes = fs_free_bytes(s->dir);
    for (int i = 0; i < n; i++) {
        int64_t grant = granted(s, &all[i]);
        used += all[i].bytes;
        if (is_same(&all[i], own) && grant == 0)
            all[i].in_use = true; /* not to be removed */
        else
            others += grant > all[i].bytes ? grant : all[i].bytes;
        all[i].in_use |= grant > 0;
    }
    if (bound == 0) {
        bound = free_bytes < 0 ? 0 : (free_bytes + used) / BOUND_SHARE;
        bound = bound < BOUND_MAX ? bound : BOUND_MAX;
    }
    for (int i = n - 1; i >= 0 && others > bound / 2; i--)
        if (!all[i].in_use)
            others -= remove_file(s, &all[i]);
    free(all);
    int64_t grant = (bound - others) / 2;
    if (grant < GRANT_MIN)
        return err_set(err, ERR_LIMIT,
                       "%s may hold %" PRId64 " MiB (--prefix-disk-max), of which %" PRId64
                       " MiB are left for this model: too few",
                       s->dir, bound >> 20, grant > 0 ? grant >> 20 : 0);
    *ret = grant;
    return 0;
}

/* ---- leases ---- */

static int open_file(struct prefix_lease *l, struct err *err)
{
    struct stat st;
    const char *path = l->path;
    int rc = 0;
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (l->fd < 0)
        rc = err_set_errno(err, errno, "cannot open %s", path);
    else if (fstat(l->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
             (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        rc = err_set(err, ERR_DENIED, "%s is not a file of this user alone", path);
    else
        (void)futimens(l->fd, NULL); /* used now */
    return rc;
}

static void make_identity(struct prefix_lease *l)
{
    struct digest d;
    char digest[DIGEST_TEXT_LEN + 1];
    digest_init(&d);
    digest_add(&d, l->key, strlen(l->key) + 1);
    digest_add(&d, l->store->exe, strlen(l->store->exe) + 1);
    digest_finish(&d, digest);
    memcpy(l->identity, digest + strlen("sha256:"), sizeof(l->identity));
}

int prefix_lease_take(struct prefix_store *s, const char *key, int kv_type, int activations,
                      struct prefix_lease **ret, struct err *err)
{
    struct prefix_file f = {.kv_type = kv_type, .activations = activations, .layout = s->layout};
    struct prefix_lease *l = mem_zero(1, sizeof(*l));
    snprintf(f.key, sizeof(f.key), "%s", key);
    *l = (struct prefix_lease){.store = s, .fd = -1};
    memcpy(l->key, f.key, sizeof(l->key));
    make_identity(l);
    l->path = path_of(s, &f);
    int rc = fs_mkdirs(s->dir, 0700, err);
    rc = rc != 0 ? rc : make_room(s, &f, &l->bytes_max, err);
    rc = rc != 0 ? rc : open_file(l, err);
    if (rc != 0) {
        if (l->fd >= 0)
            close(l->fd);
        free(l->path);
        free(l);
        return rc;
    }
    l->next = s->leases;
    s->leases = l;
    *ret = l;
    return 0;
}

void prefix_lease_free(struct prefix_lease *l, bool suspect)
{
    struct stat ours, there;
    if (l == NULL)
        return;
    if (suspect && fstat(l->fd, &ours) == 0 && lstat(l->path, &there) == 0 &&
        ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
        unlink(l->path);
    struct prefix_lease **at = &l->store->leases;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    close(l->fd);
    free(l->path);
    free(l);
}
