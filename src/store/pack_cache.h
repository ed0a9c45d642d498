/*
 * pack_cache: the folder of packed weights: <cache>/packed/<key>.v<layout>.packed.
 *
 * Knows nothing of what is inside. A file there can be made again at any time: it may be removed
 * whenever one likes, and whoever reads one checks all of it (src/model/packed.c).
 *
 * Who makes a file writes <name>.tmp, under an exclusive lock (flock) for as long as it is written;
 * it gets its name when its bytes are on disk. A crash leaves at most a .tmp, which nobody reads
 * and the next one who needs room, or makes the same file, removes. Who uses a file holds it locked
 * shared, so that it is not removed to make room for another.
 *
 * The folder's size is bounded: what was used longest ago goes first. Thread-safe: all functions,
 * on one struct pack_cache (it does not change once open); a lease belongs to one thread at a time.
 */
#ifndef HEARTH_STORE_PACK_CACHE_H
#define HEARTH_STORE_PACK_CACHE_H

#include "store/cache_folder.h"

#define PACK_CACHE_KEY_LEN CACHE_KEY_LEN

struct pack_cache {
    char *dir;
    int64_t bytes_max;
    int layout;
};

/*
 * dir: as for cache_home. bytes_max 0: half of what the disk has left when the folder is empty.
 * layout: the version in the names. Nothing is created yet. ERR_NOT_FOUND: there is no home folder.
 */
int pack_cache_open(const char *dir, int64_t bytes_max, int layout, struct pack_cache **ret,
                    struct err *err) __attribute__((warn_unused_result));
void pack_cache_close(struct pack_cache *c); /* takes NULL */

/*
 * What a model's files are: SHA-256 over, for each part, its digest where its name says it
 * (blobs/sha256-...), its size and time of change, and for other files also device, inode and
 * the time at which the inode changed. That time cannot be set by hand: who writes into a file
 * gets another key. ERR_IO.
 */
int pack_cache_key(char *const *path, int n_path, char ret[PACK_CACHE_KEY_LEN + 1], struct err *err)
    __attribute__((warn_unused_result));

/* Descriptors for whoever loads the model. */
struct pack_lease {
    const struct pack_cache *cache; /* borrowed */
    int fd_in;                      /* the file, read-only, or -1 */
    int fd_out;                     /* an empty file to be, or -1 */
    char key[PACK_CACHE_KEY_LEN + 1];
    int64_t bytes_max; /* fd_out may grow to that */
    char *path, *tmp;
};

/*
 * n_bytes: what will be written at most; where the disk lacks that, older files go. Never fails as
 * a whole: a descriptor that cannot be had is -1 and *why (code 0 if nothing went wrong) says why.
 */
void pack_lease_take(const struct pack_cache *c, const char *key, int64_t n_bytes,
                     struct pack_lease *ret, struct err *why);
/*
 * fd_out was written: on disk and in place when this returns 0, and the folder back within its
 * bound. May take as long as the disk does. ERR_IO: the bytes may be lost, for those who have them
 * mapped too.
 */
int pack_lease_commit(struct pack_lease *l, struct err *err) __attribute__((warn_unused_result));
/* The file that was there is of no use: removed, unless it was replaced since. */
void pack_lease_discard(struct pack_lease *l);
/* Closes; removes what was not committed. */
void pack_lease_release(struct pack_lease *l);

struct pack_cache_file {
    char key[PACK_CACHE_KEY_LEN + 1];
    int layout;
    bool unfinished, in_use;
    int64_t bytes, used_ms; /* since 1970 */
};

/* Latest first; heap array of n, NULL when none. A folder that is not there is an empty one. */
int pack_cache_list(const struct pack_cache *c, struct pack_cache_file **ret, int *ret_n,
                    struct err *err) __attribute__((warn_unused_result));
/* Every layout's file of this key; NULL: all that are not in use. How many bytes went. */
int64_t pack_cache_remove(const struct pack_cache *c, const char *key);

#endif
