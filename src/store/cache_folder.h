/*
 * cache_folder: what the folders of the cache (packed weights, prefixes) have in common: where they
 * are, what is there, what goes first when room is needed.
 *
 * Names in such a folder begin with a model's key (64 hexadecimal digits); the rest is its owner's
 * business, and what its owner does not know is never touched. A file is in use while somebody
 * holds a lock on it (flock). Any of them can be made again: it may go at any time.
 *
 * Thread-safe: nothing here is kept.
 */
#ifndef HEARTH_STORE_CACHE_FOLDER_H
#define HEARTH_STORE_CACHE_FOLDER_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define CACHE_KEY_LEN  64 /* hexadecimal digits */
#define CACHE_NAME_MAX 128

/* Hearth's cache folder, as dir says or the user's own ($XDG_CACHE_HOME/hearth, else
 * ~/.cache/hearth); heap; NULL: there is no home folder. */
char *cache_home(const char *dir);
/* The folder `name` in it, heap. ERR_NOT_FOUND: there is no home folder. */
int cache_folder_path(const char *dir, const char *name, char **ret, struct err *err)
    __attribute__((warn_unused_result));

struct cache_entry {
    char name[CACHE_NAME_MAX]; /* in the folder */
    bool in_use;
    int64_t bytes, used_ms; /* on the disk; since 1970 */
};

/* Does a name begin with a key? */
bool cache_name_key(const char *name, char ret[CACHE_KEY_LEN + 1]);
/* Is this name one that the folder's owner gives? Shorter than CACHE_NAME_MAX, with a key. */
typedef bool (*cache_owns_fn)(const char *name);

/* Latest used first; heap array of n, NULL when none. A folder that is not there is an empty one.
 */
int cache_folder_list(const char *path, cache_owns_fn owns, struct cache_entry **ret, int *ret_n,
                      struct err *err) __attribute__((warn_unused_result));
/* All files of this key; NULL: all that are not in use. How many bytes went. */
int64_t cache_folder_remove(const char *path, cache_owns_fn owns, const char *key);
int64_t cache_entry_remove(const char *path, const struct cache_entry *e); /* likewise */
/* Removes what was used longest ago, of a list as above and nothing in use, until n_bytes went or
 * nothing is left to go. How many went. */
int64_t cache_evict(const char *path, const struct cache_entry *all, int n, int64_t n_bytes);

/* A plain file of this user that has none of these bits: what others must not be able to do. */
bool cache_file_ours(int fd, unsigned forbidden);
/* The path still names this open file. */
bool cache_file_at(int fd, const char *path);

#endif
