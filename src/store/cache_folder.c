/*
 * cache_folder: see cache_folder.h.
 */
#include "store/cache_folder.h"

#include "base/fs.h"
#include "base/mem.h"
#include "store/digest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 100000

char *cache_home(const char *dir)
{
    if (dir != NULL)
        return str_dup(str_z(dir));
    const char *xdg = getenv("XDG_CACHE_HOME");
    if (xdg != NULL && xdg[0] == '/') /* a relative one is to be ignored, the specification says */
        return fs_join(xdg, "hearth");
    char *home = fs_home();
    char *ret = home == NULL ? NULL : fs_join(home, ".cache/hearth");
    free(home);
    return ret;
}

int cache_folder_path(const char *dir, const char *name, char **ret, struct err *err)
{
    char *above = cache_home(dir);
    if (above == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "no home folder for the cache; set --cache-dir or HEARTH_CACHE_DIR");
    *ret = fs_join(above, name);
    free(above);
    return 0;
}

/* ---- what is there ---- */

bool cache_name_key(const char *name, char ret[CACHE_KEY_LEN + 1])
{
    char digest[DIGEST_TEXT_LEN + 1] = "sha256:";
    if (strlen(name) < CACHE_KEY_LEN)
        return false;
    memcpy(digest + strlen("sha256:"), name, CACHE_KEY_LEN);
    memcpy(ret, name, CACHE_KEY_LEN);
    ret[CACHE_KEY_LEN] = '\0';
    return digest_valid(str_z(digest));
}

static int by_use(const void *a, const void *b)
{
    const struct cache_entry *x = a, *y = b;
    return (x->used_ms < y->used_ms) - (x->used_ms > y->used_ms);
}

static void look_at(const char *folder, struct cache_entry *e)
{
    struct stat st;
    char *path = fs_join(folder, e->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    free(path);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0) {
        e->bytes = (int64_t)st.st_blocks * 512;
        e->used_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    }
    e->in_use = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
}

int cache_folder_list(const char *path, cache_owns_fn owns, struct cache_entry **ret, int *ret_n,
                      struct err *err)
{
    struct cache_entry *all = NULL;
    size_t n = 0, cap = 0;
    int rc = 0;
    DIR *dir = opendir(path);
    if (dir == NULL && errno != ENOENT)
        return err_set_errno(err, errno, "cannot read the folder %s", path);
    for (struct dirent *e; dir != NULL && rc == 0 && (e = readdir(dir)) != NULL;) {
        struct cache_entry one = {.bytes = 0};
        size_t len = strlen(e->d_name);
        if (len >= sizeof(one.name) || !owns(e->d_name))
            continue;
        memcpy(one.name, e->d_name, len + 1);
        look_at(path, &one);
        if (mem_grow((void **)&all, &cap, n + 1, FILES_MAX, sizeof(*all)))
            all[n++] = one;
        else
            rc = err_set(err, ERR_LIMIT, "the folder %s holds too many files", path);
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

/* ---- what goes ---- */

int64_t cache_entry_remove(const char *path, const struct cache_entry *e)
{
    char *file = fs_join(path, e->name);
    int64_t bytes = unlink(file) == 0 ? e->bytes : 0;
    free(file);
    return bytes;
}

int64_t cache_folder_remove(const char *path, cache_owns_fn owns, const char *key)
{
    struct cache_entry *all;
    int64_t bytes = 0;
    int n;
    if (cache_folder_list(path, owns, &all, &n, NULL) != 0)
        return 0;
    for (int i = 0; i < n; i++)
        if (key != NULL ? strncmp(all[i].name, key, CACHE_KEY_LEN) == 0 : !all[i].in_use)
            bytes += cache_entry_remove(path, &all[i]);
    free(all);
    return bytes;
}

int64_t cache_evict(const char *path, const struct cache_entry *all, int n, int64_t n_bytes)
{
    int64_t gone = 0;
    for (int i = n - 1; i >= 0 && gone < n_bytes; i--)
        if (!all[i].in_use)
            gone += cache_entry_remove(path, &all[i]);
    return gone;
}

/* ---- one file ---- */

bool cache_file_ours(int fd, unsigned forbidden)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & forbidden) == 0;
}

bool cache_file_at(int fd, const char *path)
{
    struct stat ours, there;
    return fd >= 0 && fstat(fd, &ours) == 0 && lstat(path, &there) == 0 &&
           ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}
