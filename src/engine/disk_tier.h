/*
 * disk_tier: blocks of the prefix cache on the disk, so that they outlive memory and the process.
 *
 * One thread of its own does all reading and writing. The engine thread never waits for it and
 * allocates nothing: it hands blocks over and looks at what is done.
 *
 *   Writing. Each block that the prefix cache learns (disk_tier_note) waits its turn; a few at a
 *   time are copied to staging buffers (disk_tier_pump) and written from there. What memory forgets
 *   before its turn is not written. So prompts and answers are on the disk moments after they were
 *   computed, and it costs a step no more than copying some blocks.
 *
 *   Reading. disk_tier_look says how much of a text is there, disk_tier_read begins to read it into
 *   blocks that the caller holds, disk_tier_result says how it went: the bytes are those that were
 *   computed once, or the block is lost. disk_tier_cancel ends it at any time.
 *
 * What is in the file: engine/disk_index.h. All functions belong to the engine thread, or to its
 * owner while it does not run.
 */
#ifndef HEARTH_ENGINE_DISK_TIER_H
#define HEARTH_ENGINE_DISK_TIER_H

#include "engine/block_pool.h"
#include "engine/disk_index.h"

struct disk_tier;
struct prefix_cache;

struct disk_tier_opts {
    int fd; /* borrowed; nobody else uses it */
    uint64_t file_bytes_max;
    const char *identity; /* all that the bytes depend on, beside the block's size */
    size_t block_bytes;
    uint8_t *base; /* of the slab */
    uint32_t n_blocks;
};

struct disk_tier_stats {
    uint64_t n_read, n_written;   /* blocks */
    uint64_t n_bad;               /* read, but damaged */
    uint64_t n_failed, n_dropped; /* not written: an error; no place, or the text is not kept */
    uint32_t n_slots, n_used;
    double read_ms; /* of a block, lately; 0: not known */
};

uint64_t disk_tier_bytes(uint64_t file_bytes_max, size_t block_bytes, uint32_t n_blocks);
/* ERR_IO, ERR_LIMIT (too small a file), ERR_NOMEM: go on without. */
int disk_tier_new(const struct disk_tier_opts *o, struct disk_tier **ret, struct err *err)
    __attribute__((warn_unused_result));
void disk_tier_free(struct disk_tier *t); /* stopped, or never started; takes NULL */
/* wake is called on the tier's thread when something is done. */
int disk_tier_start(struct disk_tier *t, void (*wake)(void *ctx), void *ctx, struct err *err)
    __attribute__((warn_unused_result));
/* Writes what is waiting, for at most flush_ms, and the order of use; joins the thread. */
void disk_tier_stop(struct disk_tier *t, const struct prefix_cache *c, int flush_ms);
/* One read or write on the calling thread, for a tier that was not started (tests). False: none. */
bool disk_tier_work(struct disk_tier *t);
void disk_tier_get_stats(struct disk_tier *t, struct disk_tier_stats *ret);

/* ---- writing ---- */

/* The block became findable in memory; parent: BLOCK_NONE or such a block. */
void disk_tier_note(struct disk_tier *t, uint32_t parent, uint64_t salt, const int32_t *token,
                    uint32_t block);
/* Takes in what is done, and copies what fits to be written. True while something waits. */
bool disk_tier_pump(struct disk_tier *t, const struct prefix_cache *c);
/* The text up to this findable block is let go: it was used until now. */
void disk_tier_touch(struct disk_tier *t, uint32_t block);

/* ---- reading ---- */

/* Computing a block takes so long: what takes longer to read is not read. 0: always. */
void disk_tier_set_price(struct disk_tier *t, double compute_ms);
/* How many blocks that follow `parent` are there; token: [n_max * KV_BLOCK_LEN]. */
int disk_tier_look(struct disk_tier *t, uint32_t parent, uint64_t salt, const int32_t *token,
                   int n_max);
/* Begins to read the first n of what disk_tier_look found just now, into the held blocks. */
void disk_tier_read(struct disk_tier *t, uint32_t parent, uint64_t salt, const int32_t *token,
                    const uint32_t *block, int n);
enum disk_result { DISK_PENDING, DISK_DONE, DISK_LOST };
/* Anything but PENDING is told once. */
enum disk_result disk_tier_result(struct disk_tier *t, uint32_t block);
/* Of a block whose result was not told yet. False: bytes still come in; the tier keeps the caller's
 * reference and gives it back itself (disk_tier_reap). */
bool disk_tier_cancel(struct disk_tier *t, uint32_t block) __attribute__((warn_unused_result));
/* The disk does not answer: do not wait for it. */
bool disk_tier_is_stuck(struct disk_tier *t);
/* Gives back blocks whose reading was cancelled and is over by now. */
void disk_tier_reap(struct disk_tier *t, struct block_pool *pool);
int disk_tier_n_orphans(const struct disk_tier *t); /* that were not given back yet */

#endif
