/*
 * catalog: walks the library: which names there are, and which blobs nobody names any more.
 * Invariant: a blob is removed only while this process holds the library alone and after every
 * manifest was read; one unreadable manifest keeps all blobs.
 */
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/library.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STALE_SECONDS (7 * 24 * 3600)

struct walk {
    struct model_name *name;
    size_t n, cap;
    bool odd; /* something that is no manifest lies where manifests lie */
    struct model_name at;
};

static bool take_name(struct walk *w, int depth, const char *entry, struct err *err)
{
    char *const field[] = {w->at.host, w->at.space, w->at.model, w->at.tag};
    const size_t room[] = {sizeof(w->at.host), sizeof(w->at.space), sizeof(w->at.model),
                           sizeof(w->at.tag)};
    size_t len = strlen(entry);
    if (entry[0] == '.' || len >= room[depth]) {
        w->odd = w->odd || entry[0] != '.';
        return false;
    }
    memcpy(field[depth], entry, len + 1);
    if (depth < 3)
        return true;
    char text[MODEL_NAME_TEXT_MAX];
    struct model_name checked;
    model_name_text(&w->at, text);
    if (model_name_parse(text, &checked, NULL) != 0) {
        w->odd = true;
        return false;
    }
    if (!mem_grow((void **)&w->name, &w->cap, w->n + 1, STORE_NAMES_MAX, sizeof(*w->name))) {
        err_set(err, ERR_LIMIT, "more than %d names in the library", STORE_NAMES_MAX);
        return false;
    }
    w->name[w->n++] = w->at;
    return true;
}

/* depth 0: host, 1: namespace, 2: model, 3: tag. */
static int walk_dir(struct walk *w, const char *path, int depth, struct err *err)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return errno == ENOTDIR || errno == ENOENT
                   ? 0
                   : err_set_errno(err, errno, "cannot read %s", path);
    int rc = 0;
    struct dirent *e;
    while (rc == 0 && (e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        char *below = fs_join(path, e->d_name);
        bool is_dir = fs_is_dir(below);
        struct err limit = {0};
        if (is_dir != (depth < 3))
            w->odd = true;
        else if (take_name(w, depth, e->d_name, &limit) && depth < 3)
            rc = walk_dir(w, below, depth + 1, err);
        if (limit.code != 0)
            rc = err_set(err, limit.code, "%s", limit.text);
        free(below);
    }
    closedir(dir);
    return rc;
}

static int by_text(const void *a, const void *b)
{
    char x[MODEL_NAME_TEXT_MAX], y[MODEL_NAME_TEXT_MAX];
    model_name_text(a, x);
    model_name_text(b, y);
    return strcmp(x, y);
}

int store_names(struct store *s, struct model_name **ret, size_t *ret_n, struct err *err)
{
    struct walk w = {0};
    int rc = walk_dir(&w, s->manifests, 0, err);
    if (rc != 0) {
        free(w.name);
        return rc;
    }
    if (w.n > 1)
        qsort(w.name, w.n, sizeof(*w.name), by_text);
    *ret = w.name;
    *ret_n = w.n;
    return 0;
}

int store_list(struct store *s, struct store_model **ret, int *ret_n, struct err *err)
{
    struct model_name *name;
    size_t n;
    int rc = store_names(s, &name, &n, err);
    if (rc != 0)
        return rc;
    struct store_model *list = mem_try_array(n + 1, sizeof(*list));
    int n_list = 0;
    if (list == NULL) {
        free(name);
        return err_set(err, ERR_NOMEM, "no memory for the list of models");
    }
    for (size_t i = 0; i < n; i++) {
        struct err why = {0};
        if (store_load(s, &name[i], false, &list[n_list], &why) == 0)
            n_list++;
        else
            log_debug("store: %s", why.text);
    }
    free(name);
    *ret = list;
    *ret_n = n_list;
    return 0;
}

/* ---- sweep ---- */

struct named {
    char (*digest)[DIGEST_TEXT_LEN + 1]; /* sorted */
    size_t n, cap;
};

static int compare_digests(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool named_add(struct named *all, const char *digest)
{
    if (digest[0] == '\0')
        return true;
    if (!mem_grow((void **)&all->digest, &all->cap, all->n + 1, (size_t)1 << 24,
                  sizeof(*all->digest)))
        return false;
    memcpy(all->digest[all->n++], digest, sizeof(*all->digest));
    return true;
}

/* Every digest that some manifest names; false when that cannot be known. */
static bool collect(struct store *s, struct named *all)
{
    struct walk w = {0};
    bool ok = walk_dir(&w, s->manifests, 0, NULL) == 0 && !w.odd;
    for (size_t i = 0; ok && i < w.n; i++) {
        char below[MODEL_NAME_TEXT_MAX];
        model_name_path(&w.name[i], below);
        char *path = fs_join(s->manifests, below);
        struct manifest m;
        ok = store_read_manifest(path, &m, NULL, NULL) == 0;
        free(path);
        if (!ok)
            break;
        ok = named_add(all, m.config.digest);
        for (size_t k = 0; ok && k < m.n_layer; k++)
            ok = named_add(all, m.layer[k].digest);
        manifest_release(&m);
    }
    free(w.name);
    if (all->n > 1)
        qsort(all->digest, all->n, sizeof(*all->digest), compare_digests);
    return ok;
}

static bool is_named(const struct named *all, const char *digest)
{
    return all->n > 0 &&
           bsearch(digest, all->digest, all->n, sizeof(*all->digest), compare_digests) != NULL;
}

static bool is_partial(const char *file)
{
    struct str s = str_z(file);
    return str_ends(s, STR(".partial")) || str_ends(s, STR(".meta"));
}

/* A writer that is at work has the file locked, however old its last byte. */
static bool unlocked(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    bool ret = flock(fd, LOCK_EX | LOCK_NB) == 0;
    close(fd);
    return ret;
}

static void sweep_file(struct store *s, const struct named *all, const struct manifest *freed,
                       const char *file, time_t now)
{
    char digest[DIGEST_TEXT_LEN + 1] = "";
    if (strlen(file) == DIGEST_TEXT_LEN) {
        memcpy(digest, file, sizeof(digest));
        digest[6] = digest[6] == '-' ? ':' : digest[6];
    }
    bool blob = digest_valid(str_z(digest));
    if (!blob && !is_partial(file))
        return;
    char *path = fs_join(s->blobs, file);
    struct stat st;
    bool stale = stat(path, &st) == 0 && now - st.st_mtime > STALE_SECONDS &&
                 now - st.st_ctime > STALE_SECONDS;
    bool gone =
        blob ? !is_named(all, digest) && (stale || (freed != NULL && manifest_names(freed, digest)))
             : stale && unlocked(path);
    if (gone)
        unlink(path);
    free(path);
}

void store_sweep(struct store *s, const struct manifest *freed)
{
    int lock;
    if (store_lock(s, LOCK_EX | LOCK_NB, &lock, NULL) != 0)
        return;
    struct named all = {0};
    DIR *dir = collect(s, &all) ? opendir(s->blobs) : NULL;
    if (dir != NULL) {
        time_t now = time(NULL);
        struct dirent *e;
        while ((e = readdir(dir)) != NULL)
            sweep_file(s, &all, freed, e->d_name, now);
        closedir(dir);
    }
    free(all.digest);
    close(lock);
}
