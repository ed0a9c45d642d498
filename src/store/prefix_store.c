/*
 * prefix_store: see prefix_store.h. Owns names and room in the folder (cache_folder.h: what is in
 * it). Invariant: a path below the folder is made of hexadecimal digits, numbers and fixed words
 * only.
 */
#include "store/prefix_store.h"

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

#define BOUND_MAX   (8ll << 30)  /* of the folder, when nobody says how much */
#define BOUND_SHARE 10           /* or this part of the disk's free space */
#define GRANT_MIN   (20ll << 20) /* less is not worth a file */

int prefix_store_open(const char *dir, int64_t bytes_max, int layout, const char *exe,
                      struct prefix_store **ret, struct err *err)
{
    struct stat st;
    char *path;
    int rc = cache_folder_path(dir, "prefix", &path, err);
    if (rc != 0)
        return rc;
    struct prefix_store *s = mem_zero(1, sizeof(*s));
    *s = (struct prefix_store){.dir = path, .bytes_max = bytes_max, .layout = layout};
    if (exe != NULL && stat(exe, &st) == 0)
        snprintf(s->exe, sizeof(s->exe), "%jd %jd.%09ld", (intmax_t)st.st_size,
                 (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
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

static void name_of(const struct prefix_file *f, char ret[CACHE_NAME_MAX])
{
    snprintf(ret, CACHE_NAME_MAX, "%s.k%d.a%d.v%d.prefix", f->key, f->kv_type, f->activations,
             f->layout);
}

static char *path_of(const struct prefix_store *s, const struct prefix_file *f)
{
    char name[CACHE_NAME_MAX];
    name_of(f, name);
    return fs_join(s->dir, name);
}

/* Anything else in the folder is not ours. */
static bool parse_name(const char *name, struct prefix_file *ret)
{
    char again[CACHE_NAME_MAX];
    struct prefix_file f = {.layout = 0};
    if (!cache_name_key(name, f.key) || sscanf(name + PACK_CACHE_KEY_LEN, ".k%3d.a%3d.v%6d",
                                               &f.kv_type, &f.activations, &f.layout) != 3)
        return false;
    name_of(&f, again);
    *ret = f;
    return strcmp(again, name) == 0;
}

static bool is_ours(const char *name)
{
    struct prefix_file f;
    return parse_name(name, &f);
}

int prefix_store_list(const struct prefix_store *s, struct prefix_file **ret, int *ret_n,
                      struct err *err)
{
    struct cache_entry *all;
    int n;
    int rc = cache_folder_list(s->dir, is_ours, &all, &n, err);
    if (rc != 0)
        return rc;
    struct prefix_file *list = n == 0 ? NULL : mem_zero((size_t)n, sizeof(*list));
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

int64_t prefix_store_remove(const struct prefix_store *s, const char *key)
{
    return cache_folder_remove(s->dir, is_ours, key);
}

/* ---- room ---- */

/* What a file that a worker of ours uses may grow to; 0: it is none. */
static int64_t granted(const struct prefix_store *s, const char *name)
{
    for (const struct prefix_lease *l = s->leases; l != NULL; l = l->next)
        if (strcmp(strrchr(l->path, '/') + 1, name) == 0)
            return l->bytes_max;
    return 0;
}

/* How large the file may become; files of other models are removed for it. */
static int make_room(const struct prefix_store *s, const struct prefix_file *own, int64_t *ret,
                     struct err *err)
{
    struct cache_entry *all;
    char own_name[CACHE_NAME_MAX];
    int n;
    int rc = cache_folder_list(s->dir, is_ours, &all, &n, err);
    if (rc != 0)
        return rc;
    name_of(own, own_name);
    int64_t others = 0, used = 0, bound = s->bytes_max, free_bytes = fs_free_bytes(s->dir);
    for (int i = 0; i < n; i++) {
        int64_t grant = granted(s, all[i].name);
        used += all[i].bytes;
        if (strcmp(all[i].name, own_name) == 0 && grant == 0)
            all[i].in_use = true; /* not to be removed */
        else
            others += grant > all[i].bytes ? grant : all[i].bytes;
        all[i].in_use |= grant > 0;
    }
    if (bound == 0) {
        bound = free_bytes < 0 ? 0 : (free_bytes + used) / BOUND_SHARE;
        bound = bound < BOUND_MAX ? bound : BOUND_MAX;
    }
    others -= cache_evict(s->dir, all, n, others - bound / 2);
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
    const char *path = l->path;
    int rc = 0;
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (l->fd < 0)
        rc = err_set_errno(err, errno, "cannot open %s", path);
    else if (!cache_file_ours(l->fd, S_IRWXG | S_IRWXO))
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
    if (l == NULL)
        return;
    if (suspect && cache_file_at(l->fd, l->path))
        unlink(l->path);
    struct prefix_lease **at = &l->store->leases;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    close(l->fd);
    free(l->path);
    free(l);
}
