/*
 * prefix_store: the folder of computed prefixes: <cache>/prefix/<key>.k<n>.a<n>.v<layout>.prefix,
 * one file for each model and way of computing (types of keys and values, activations).
 *
 * Knows nothing of what is inside, but that it is user data: what people asked and were answered
 * could be guessed from it. So folder and files are the user's alone. A file there can be removed
 * whenever one likes; who reads one checks all of it (src/engine/disk_index.h).
 *
 * Who uses a file locks it (flock, exclusive); the lock is the worker's to take, which may have to
 * wait for its predecessor's end. The folder's size is bounded: a file may grow to half of what the
 * others leave of the bound; files of models that were used longest ago are removed until they
 * leave half of it.
 *
 * Loop thread of one process, or a command line tool.
 */
#ifndef HEARTH_STORE_PREFIX_STORE_H
#define HEARTH_STORE_PREFIX_STORE_H

#include "store/pack_cache.h"

struct prefix_lease;

struct prefix_store {
    char *dir;
    int64_t bytes_max;
    int layout;
    char exe[80];                /* what program this is: bytes of another one are not taken */
    struct prefix_lease *leases; /* that are held */
};

/*
 * dir: as for cache_home. bytes_max 0: a tenth of what the disk has left when the folder is
 * empty, but at most 8 GiB. exe: the program that makes the bytes, or NULL. Nothing is created yet.
 * ERR_NOT_FOUND: there is no home folder.
 */
int prefix_store_open(const char *dir, int64_t bytes_max, int layout, const char *exe,
                      struct prefix_store **ret, struct err *err)
    __attribute__((warn_unused_result));
void prefix_store_close(struct prefix_store *s); /* takes NULL; no lease is held */

struct prefix_lease {
    struct prefix_store *store; /* borrowed */
    struct prefix_lease *next;
    int fd; /* for reading and writing, or -1 */
    char key[PACK_CACHE_KEY_LEN + 1];
    char identity[PACK_CACHE_KEY_LEN + 1]; /* of model and program: hash of key and exe */
    int64_t bytes_max;                     /* it may grow to that */
    char *path;
};

/*
 * The file of a model (pack_cache_key) for one way of computing; makes it if need be, and makes
 * room in the folder. ERR_LIMIT: there is no room worth it. ERR_DENIED, ERR_IO.
 */
int prefix_lease_take(struct prefix_store *s, const char *key, int kv_type, int activations,
                      struct prefix_lease **ret, struct err *err)
    __attribute__((warn_unused_result));
/* Takes NULL. The file stays; suspect: it is removed, unless it was replaced since. */
void prefix_lease_free(struct prefix_lease *l, bool suspect);

struct prefix_file {
    char key[PACK_CACHE_KEY_LEN + 1];
    int kv_type, activations, layout;
    bool in_use;
    int64_t bytes, used_ms;
};

/* Latest first; heap array of n, NULL when none. A folder that is not there is an empty one. */
int prefix_store_list(const struct prefix_store *s, struct prefix_file **ret, int *ret_n,
                      struct err *err) __attribute__((warn_unused_result));
/* All files of this key; NULL: all that are not in use. How many bytes went. */
int64_t prefix_store_remove(const struct prefix_store *s, const char *key);

#endif
