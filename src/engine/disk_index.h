/*
 * disk_index: the file of the prefix cache's disk tier, and what stands where in it.
 *
 * The file: a head of 4096 bytes (struct disk_head), a table of DISK_SLOTS_MAX entries (struct
 * disk_meta), then the data of the slots, each rounded up to 4096 bytes. Table and data are sparse.
 *
 * A slot holds the keys and values of one block of KV_BLOCK_LEN tokens. Its key is a hash over the
 * key of the block before it in the text, the salt and the tokens, made with the file's own random
 * secret: nobody who only sends texts can look for two with the same key. A hit compares all of
 * them.
 *
 * Nothing in the file is trusted. A head that is not exactly the one that is asked for, or is
 * damaged, begins the file anew. An entry whose hash is wrong is free. Data whose hash is wrong, as
 * after a crash between two writes, are found out when they are read: so no order of writes matters
 * and nothing is synced.
 *
 * The slots stand in the order of their last use, the beginning of a text always as if used after
 * its end: texts are forgotten from their ends. All but open and save are memory only; save, find,
 * take, touch and drop belong to one thread.
 */
#ifndef HEARTH_ENGINE_DISK_INDEX_H
#define HEARTH_ENGINE_DISK_INDEX_H

#include "base/err.h"
#include "kernels/attend.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DISK_LAYOUT       1 /* of the file; also in its name */
#define DISK_NONE         UINT32_MAX
#define DISK_SLOTS_MAX    65536
#define DISK_SECRET_LEN   192
#define DISK_IDENTITY_LEN 192
#define DISK_HEAD_BYTES   4096
#define DISK_DATA_AT      (DISK_HEAD_BYTES + (off_t)DISK_SLOTS_MAX * (off_t)sizeof(struct disk_meta))

struct disk_hash {
    uint64_t lo, hi;
};

struct disk_meta {
    struct disk_hash key, parent; /* parent 0: the beginning of a text */
    struct disk_hash data;        /* of the bytes */
    uint64_t salt, stamp;         /* the higher, the later written or used */
    int32_t token[KV_BLOCK_LEN];
    uint64_t zero[7];
    uint64_t check; /* hash of all above */
};

struct disk_head {
    uint64_t magic;
    uint32_t layout, block_len;
    uint64_t block_bytes;
    char identity[DISK_IDENTITY_LEN]; /* all that the bytes depend on */
    uint8_t secret[DISK_SECRET_LEN];
    uint64_t check;
};

enum disk_state { DISK_FREE, DISK_WRITING, DISK_VALID, DISK_BAD };

struct disk_slot {
    struct disk_meta meta;
    uint32_t bucket_next;
    uint32_t prev, next; /* by use; a free one: the next free one */
    uint32_t n_pins;     /* reads that are under way: not to be used for other data */
    uint8_t state;
};

struct disk_index {
    uint8_t secret[DISK_SECRET_LEN];
    size_t block_bytes, slot_bytes;
    uint32_t n_slots, n_used;
    struct disk_slot *slot;
    uint32_t *bucket; /* [n_bucket] */
    uint32_t n_bucket, free_first;
    uint32_t first, last; /* longest without use ... used last */
    uint64_t stamp;
    bool is_new;     /* the file was empty or was begun anew */
    bool is_touched; /* the order is another one than in the file */
};

/* Bytes of memory for a file of that size; 0: it is too small for one block. */
uint64_t disk_index_bytes(uint64_t file_bytes_max, size_t block_bytes);
/*
 * fd: open for reading and writing, this process's alone. It never grows past file_bytes_max, and
 * is made shorter if it is longer. identity: shorter than DISK_IDENTITY_LEN. ERR_IO, ERR_NOMEM,
 * ERR_LIMIT (too small).
 */
int disk_index_open(struct disk_index *x, int fd, uint64_t file_bytes_max, size_t block_bytes,
                    const char *identity, struct err *err) __attribute__((warn_unused_result));
void disk_index_release(struct disk_index *x);
/* Writes the order of use, so that it outlives the process. False: an error of the disk. */
bool disk_index_save(struct disk_index *x, int fd);

/* The key of what follows `parent` (zero: nothing) with these tokens. */
struct disk_hash disk_index_key(const struct disk_index *x, const struct disk_hash *parent,
                                uint64_t salt, const int32_t *token);
struct disk_hash disk_index_data_hash(const struct disk_index *x, const void *data);
uint64_t disk_index_check(const struct disk_index *x, const struct disk_meta *m);
/* A slot in any state but free; DISK_NONE if there is none. */
uint32_t disk_index_find(const struct disk_index *x, const struct disk_hash *key,
                         const struct disk_hash *parent, uint64_t salt, const int32_t *token);
/* A slot with this key, its other contents not compared. */
uint32_t disk_index_find_key(const struct disk_index *x, const struct disk_hash *key);
/*
 * A slot for new data, DISK_WRITING from now on: a free one, or the one that was not used for the
 * longest time. DISK_NONE: all others are being used, or belong to the same text. No slot may have
 * the key yet.
 */
uint32_t disk_index_take(struct disk_index *x, const struct disk_hash *key,
                         const struct disk_hash *parent, uint64_t salt, const int32_t *token);
/* It was used, and with it the blocks before it in its text. */
void disk_index_touch(struct disk_index *x, uint32_t slot);
/* Forgets it; where it is pinned, when the last pin goes. */
void disk_index_drop(struct disk_index *x, uint32_t slot);
void disk_index_unpin(struct disk_index *x, uint32_t slot);

static inline off_t disk_meta_at(uint32_t slot)
{
    return DISK_HEAD_BYTES + (off_t)slot * (off_t)sizeof(struct disk_meta);
}

static inline off_t disk_data_at(const struct disk_index *x, uint32_t slot)
{
    return DISK_DATA_AT + (off_t)slot * (off_t)x->slot_bytes;
}

/* All of it, or false; an end of the file before it reads as an error. errno says why (0: end). */
bool disk_read_at(int fd, void *data, size_t n, off_t at);
bool disk_write_at(int fd, const void *data, size_t n, off_t at);

#endif
