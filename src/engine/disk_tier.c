/*
 * disk_tier: see the header.
 *
 * Two threads: the engine's owns the index, the keys and the blocks that wait; the tier's does the
 * system calls. Between them stand the reads (one per block at most) and the staging buffers, under
 * the lock. Reads go first: somebody waits for them.
 *
 * Invariant: the slot of a read that is not over is pinned, the slot of a write is WRITING, so
 * neither is used for anything else, and no slot is read and written at once.
 */
#include "engine/disk_tier.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/prefix_cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STAGING_MAX   8
#define STAGING_BYTES (16u << 20) /* of all buffers, but at least two */
#define PAUSE_NS      30000000000 /* after an error of writing */
#define PATIENCE_NS   2000000000  /* with reads while nothing at all gets done */
#define FORGET_PRICE  0.99        /* a disk that was slow is tried again some time */

enum work_state { WORK_NONE, WORK_QUEUED, WORK_ACTIVE, WORK_OVER };

struct read_work { /* of the block of the same number */
    uint32_t prev, next;
    uint32_t slot;
    uint8_t state;
    bool is_orphan, is_ok;
    struct disk_hash wanted;
};

struct write_work {
    uint8_t *data; /* [block_bytes] */
    struct disk_meta meta;
    uint32_t slot;
    uint8_t state;
    bool is_ok;
};

struct disk_tier {
    struct disk_tier_opts o;
    struct disk_index index;
    struct disk_hash *key;  /* [n_blocks] of what the findable block holds */
    uint32_t *waiting_next; /* [n_blocks] blocks to be written */
    bool *is_waiting;       /* [n_blocks] */
    uint32_t waiting_first, waiting_last;
    uint32_t n_orphan;
    int64_t paused_until_ns;
    double compute_ms;

    pthread_t thread;
    bool is_started;
    void (*wake)(void *ctx);
    void *wake_ctx;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t work;
    bool stop;
    struct read_work *read;         /* [n_blocks] */
    uint32_t read_first, read_last; /* queued ones */
    uint32_t orphan_first;          /* those that are over */
    uint32_t n_reading;             /* reads that are not over */
    int64_t progress_ns;            /* since when a read waits, or the last work was done */
    bool is_stuck;                  /* nothing was for too long */
    struct write_work write[STAGING_MAX];
    int n_staging, write_turn; /* written in the order in which they were filled */
    int write_head;
    struct disk_tier_stats stats;
};

/* ---- birth and death ---- */

static int count_staging(size_t block_bytes)
{
    size_t n = STAGING_BYTES / block_bytes;
    return n < 2 ? 2 : n > STAGING_MAX ? STAGING_MAX : (int)n;
}

uint64_t disk_tier_bytes(uint64_t file_bytes_max, size_t block_bytes, uint32_t n_blocks)
{
    uint64_t index = disk_index_bytes(file_bytes_max, block_bytes);
    if (index == 0)
        return 0;
    uint64_t each =
        sizeof(struct disk_hash) + sizeof(uint32_t) + sizeof(bool) + sizeof(struct read_work);
    return index + sizeof(struct disk_tier) + n_blocks * each +
           (uint64_t)count_staging(block_bytes) * block_bytes;
}

static int make_arrays(struct disk_tier *t, struct err *err)
{
    uint32_t n = t->o.n_blocks;
    t->key = mem_try_array(n, sizeof(*t->key));
    t->waiting_next = mem_try_array(n, sizeof(*t->waiting_next));
    t->is_waiting = mem_try_array(n, sizeof(*t->is_waiting));
    t->read = mem_try_array(n, sizeof(*t->read));
    bool ok = t->key && t->waiting_next && t->is_waiting && t->read;
    t->n_staging = count_staging(t->o.block_bytes);
    for (int i = 0; i < t->n_staging && ok; i++)
        ok = (t->write[i].data = mem_try_aligned(t->o.block_bytes)) != NULL;
    return ok ? 0 : err_set(err, ERR_NOMEM, "no memory for the disk tier of the prefix cache");
}

int disk_tier_new(const struct disk_tier_opts *o, struct disk_tier **ret, struct err *err)
{
    struct disk_tier *t = mem_zero(1, sizeof(*t));
    t->o = *o;
    t->waiting_first = t->waiting_last = BLOCK_NONE;
    t->read_first = t->read_last = t->orphan_first = BLOCK_NONE;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->work, NULL);
    int rc = disk_index_open(&t->index, o->fd, o->file_bytes_max, o->block_bytes, o->identity, err);
    rc = rc != 0 ? rc : make_arrays(t, err);
    if (rc != 0) {
        disk_tier_free(t);
        return rc;
    }
    t->o.identity = NULL;
    *ret = t;
    return 0;
}

void disk_tier_free(struct disk_tier *t)
{
    if (!t)
        return;
    CHECK(!t->is_started);
    for (int i = 0; i < t->n_staging; i++)
        mem_free_aligned(t->write[i].data);
    disk_index_release(&t->index);
    free(t->key);
    free(t->waiting_next);
    free(t->is_waiting);
    free(t->read);
    pthread_cond_destroy(&t->work);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void disk_tier_get_stats(struct disk_tier *t, struct disk_tier_stats *ret)
{
    pthread_mutex_lock(&t->lock);
    *ret = t->stats;
    pthread_mutex_unlock(&t->lock);
    ret->n_slots = t->index.n_slots;
    ret->n_used = t->index.n_used;
}

/* ---- the tier's thread ---- */

static void queue_remove(struct disk_tier *t, uint32_t block)
{
    struct read_work *r = &t->read[block];
    *(r->prev != BLOCK_NONE ? &t->read[r->prev].next : &t->read_first) = r->next;
    *(r->next != BLOCK_NONE ? &t->read[r->next].prev : &t->read_last) = r->prev;
}

static void note_progress(struct disk_tier *t)
{
    t->progress_ns = clock_ns();
    t->is_stuck = false;
}

/* Under the lock, which is let go while the disk works. */
static void do_read(struct disk_tier *t, uint32_t block)
{
    struct read_work *r = &t->read[block];
    uint8_t *data = t->o.base + (size_t)block * t->o.block_bytes;
    struct disk_hash wanted = r->wanted;
    uint32_t slot = r->slot;
    queue_remove(t, block);
    r->state = WORK_ACTIVE;
    pthread_mutex_unlock(&t->lock);
    int64_t start = clock_ns();
    bool ok = disk_read_at(t->o.fd, data, t->o.block_bytes, disk_data_at(&t->index, slot));
    if (ok) {
        struct disk_hash is = disk_index_data_hash(&t->index, data);
        ok = is.lo == wanted.lo && is.hi == wanted.hi;
    }
    double ms = (double)(clock_ns() - start) * 1e-6;
    pthread_mutex_lock(&t->lock);
    struct disk_tier_stats *s = &t->stats;
    s->read_ms = s->read_ms > 0 ? 0.9 * s->read_ms + 0.1 * ms : ms;
    s->n_read += ok;
    s->n_bad += !ok;
    r->is_ok = ok;
    r->state = WORK_OVER;
    t->n_reading--;
    note_progress(t);
    if (r->is_orphan) {
        r->next = t->orphan_first;
        t->orphan_first = block;
    }
}

static void do_write(struct disk_tier *t, struct write_work *w)
{
    w->state = WORK_ACTIVE;
    pthread_mutex_unlock(&t->lock);
    w->meta.data = disk_index_data_hash(&t->index, w->data);
    w->meta.check = disk_index_check(&t->index, &w->meta);
    bool ok = disk_write_at(t->o.fd, w->data, t->o.block_bytes, disk_data_at(&t->index, w->slot)) &&
              disk_write_at(t->o.fd, &w->meta, sizeof(w->meta), disk_meta_at(w->slot));
    int why = errno;
    pthread_mutex_lock(&t->lock);
    if (!ok && t->stats.n_failed == 0)
        log_warn("the prefix cache on the disk cannot be written: %s", strerror(why));
    t->stats.n_written += ok;
    t->stats.n_failed += !ok;
    w->is_ok = ok;
    w->state = WORK_OVER;
    note_progress(t);
}

/* Under the lock. */
static bool work_one(struct disk_tier *t)
{
    if (t->read_first != BLOCK_NONE) {
        do_read(t, t->read_first);
        return true;
    }
    struct write_work *w = &t->write[t->write_head];
    if (w->state != WORK_QUEUED)
        return false;
    t->write_head = (t->write_head + 1) % t->n_staging;
    do_write(t, w);
    return true;
}

bool disk_tier_work(struct disk_tier *t)
{
    CHECK(!t->is_started);
    pthread_mutex_lock(&t->lock);
    bool worked = work_one(t);
    pthread_mutex_unlock(&t->lock);
    return worked;
}

static void *tier_run(void *arg)
{
    struct disk_tier *t = arg;
    pthread_mutex_lock(&t->lock);
    while (!t->stop) {
        if (!work_one(t)) {
            pthread_cond_wait(&t->work, &t->lock);
            continue;
        }
        pthread_mutex_unlock(&t->lock);
        t->wake(t->wake_ctx);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int disk_tier_start(struct disk_tier *t, void (*wake)(void *ctx), void *ctx, struct err *err)
{
    t->wake = wake;
    t->wake_ctx = ctx;
    t->stop = false;
    int rc = pthread_create(&t->thread, NULL, tier_run, t);
    if (rc != 0)
        return err_set_errno(err, rc, "cannot start the thread of the prefix cache's disk");
    t->is_started = true;
    return 0;
}

static bool is_writing(struct disk_tier *t)
{
    bool is = false;
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < t->n_staging; i++)
        is |= t->write[i].state != WORK_NONE;
    pthread_mutex_unlock(&t->lock);
    return is;
}

void disk_tier_stop(struct disk_tier *t, const struct prefix_cache *c, int flush_ms)
{
    int64_t end = clock_ms() + flush_ms;
    while ((disk_tier_pump(t, c) || is_writing(t)) && clock_ms() < end) {
        const struct timespec moment = {.tv_nsec = 500000};
        if (t->is_started)
            nanosleep(&moment, NULL);
        else
            disk_tier_work(t);
    }
    if (t->is_started) {
        pthread_mutex_lock(&t->lock);
        t->stop = true;
        pthread_cond_signal(&t->work);
        pthread_mutex_unlock(&t->lock);
        pthread_join(t->thread, NULL);
        t->is_started = false;
    }
    if (clock_ms() < end)
        (void)disk_index_save(&t->index, t->o.fd); /* else it is as old as the file */
}

/* ---- writing ---- */

static struct disk_hash key_of(const struct disk_tier *t, uint32_t block)
{
    return block == BLOCK_NONE ? (struct disk_hash){0, 0} : t->key[block];
}

void disk_tier_note(struct disk_tier *t, uint32_t parent, uint64_t salt, const int32_t *token,
                    uint32_t block)
{
    struct disk_hash before = key_of(t, parent);
    t->key[block] = disk_index_key(&t->index, &before, salt, token);
    if (t->is_waiting[block] || disk_index_find_key(&t->index, &t->key[block]) != DISK_NONE)
        return;
    t->is_waiting[block] = true;
    t->waiting_next[block] = BLOCK_NONE;
    *(t->waiting_last != BLOCK_NONE ? &t->waiting_next[t->waiting_last] : &t->waiting_first) =
        block;
    t->waiting_last = block;
}

static uint32_t pop_waiting(struct disk_tier *t)
{
    uint32_t block = t->waiting_first;
    t->waiting_first = t->waiting_next[block];
    if (t->waiting_first == BLOCK_NONE)
        t->waiting_last = BLOCK_NONE;
    t->is_waiting[block] = false;
    return block;
}

/* What was written can be found from now on. */
static void take_written(struct disk_tier *t)
{
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < t->n_staging; i++) {
        struct write_work *w = &t->write[i];
        if (w->state != WORK_OVER)
            continue;
        w->state = WORK_NONE;
        if (w->is_ok) {
            t->index.slot[w->slot].state = DISK_VALID;
            t->index.slot[w->slot].meta.data = w->meta.data;
        } else {
            disk_index_drop(&t->index, w->slot);
            t->paused_until_ns = clock_ns() + PAUSE_NS;
        }
    }
    pthread_mutex_unlock(&t->lock);
}

/* A slot for the kept block, or DISK_NONE: it is there already, or would not be found. */
static uint32_t slot_for(struct disk_tier *t, const struct prefix_entry *e, uint32_t block)
{
    struct disk_hash parent = key_of(t, e->parent);
    if (disk_index_find_key(&t->index, &t->key[block]) != DISK_NONE)
        return DISK_NONE;
    uint32_t slot = DISK_NONE;
    if (e->parent == BLOCK_NONE || disk_index_find_key(&t->index, &parent) != DISK_NONE)
        slot = disk_index_take(&t->index, &t->key[block], &parent, e->salt, e->token);
    t->stats.n_dropped += slot == DISK_NONE;
    return slot;
}

static void stage(struct disk_tier *t, struct write_work *w, uint32_t slot, uint32_t block)
{
    memcpy(w->data, t->o.base + (size_t)block * t->o.block_bytes, t->o.block_bytes);
    w->slot = slot;
    w->meta = t->index.slot[slot].meta;
    pthread_mutex_lock(&t->lock);
    w->state = WORK_QUEUED;
    pthread_cond_signal(&t->work);
    pthread_mutex_unlock(&t->lock);
    t->write_turn = (t->write_turn + 1) % t->n_staging;
}

static bool is_unused(struct disk_tier *t, const struct write_work *w)
{
    pthread_mutex_lock(&t->lock);
    bool is = w->state == WORK_NONE;
    pthread_mutex_unlock(&t->lock);
    return is;
}

bool disk_tier_pump(struct disk_tier *t, const struct prefix_cache *c)
{
    take_written(t);
    bool is_paused = t->paused_until_ns > 0 && clock_ns() < t->paused_until_ns;
    while (t->waiting_first != BLOCK_NONE) {
        struct write_work *w = &t->write[t->write_turn];
        if (!is_paused && !is_unused(t, w))
            return true;
        uint32_t block = pop_waiting(t);
        if (is_paused || !c->pool.is_kept[block])
            continue;
        uint32_t slot = slot_for(t, &c->entry[block], block);
        if (slot != DISK_NONE)
            stage(t, w, slot, block);
    }
    return false;
}

void disk_tier_touch(struct disk_tier *t, uint32_t block)
{
    uint32_t slot = disk_index_find_key(&t->index, &t->key[block]);
    if (slot != DISK_NONE)
        disk_index_touch(&t->index, slot);
}

/* ---- reading ---- */

void disk_tier_set_price(struct disk_tier *t, double compute_ms)
{
    t->compute_ms = compute_ms;
}

static bool is_too_slow(struct disk_tier *t)
{
    if (t->compute_ms <= 0)
        return false;
    pthread_mutex_lock(&t->lock);
    bool is = t->stats.read_ms > t->compute_ms;
    if (is)
        t->stats.read_ms *= FORGET_PRICE;
    pthread_mutex_unlock(&t->lock);
    return is;
}

bool disk_tier_is_stuck(struct disk_tier *t)
{
    pthread_mutex_lock(&t->lock);
    t->is_stuck |= t->n_reading > 0 && clock_ns() - t->progress_ns > PATIENCE_NS;
    bool is = t->is_stuck;
    pthread_mutex_unlock(&t->lock);
    return is;
}

int disk_tier_look(struct disk_tier *t, uint32_t parent, uint64_t salt, const int32_t *token,
                   int n_max)
{
    struct disk_hash before = key_of(t, parent);
    int n = 0;
    for (; n < n_max; n++, token += KV_BLOCK_LEN) {
        struct disk_hash key = disk_index_key(&t->index, &before, salt, token);
        uint32_t slot = disk_index_find(&t->index, &key, &before, salt, token);
        if (slot == DISK_NONE || t->index.slot[slot].state != DISK_VALID)
            break;
        before = key;
    }
    return n > 0 && (is_too_slow(t) || disk_tier_is_stuck(t)) ? 0 : n;
}

void disk_tier_read(struct disk_tier *t, uint32_t parent, uint64_t salt, const int32_t *token,
                    const uint32_t *block, int n)
{
    struct disk_hash before = key_of(t, parent);
    uint32_t slot = DISK_NONE;
    pthread_mutex_lock(&t->lock);
    if (t->n_reading == 0)
        t->progress_ns = clock_ns();
    t->n_reading += (uint32_t)n;
    for (int i = 0; i < n; i++, token += KV_BLOCK_LEN) {
        before = disk_index_key(&t->index, &before, salt, token);
        slot = disk_index_find_key(&t->index, &before);
        struct read_work *r = &t->read[block[i]];
        CHECK(slot != DISK_NONE && t->index.slot[slot].state == DISK_VALID);
        CHECK(r->state == WORK_NONE);
        t->index.slot[slot].n_pins++;
        *r = (struct read_work){.prev = t->read_last,
                                .next = BLOCK_NONE,
                                .slot = slot,
                                .state = WORK_QUEUED,
                                .wanted = t->index.slot[slot].meta.data};
        *(t->read_last != BLOCK_NONE ? &t->read[t->read_last].next : &t->read_first) = block[i];
        t->read_last = block[i];
    }
    pthread_cond_signal(&t->work);
    pthread_mutex_unlock(&t->lock);
    if (slot != DISK_NONE)
        disk_index_touch(&t->index, slot);
}

/* It is over, and its slot free for other data, or for nothing if it was damaged. */
static void end_read(struct disk_tier *t, struct read_work *r)
{
    struct disk_slot *s = &t->index.slot[r->slot];
    if (r->state == WORK_OVER && !r->is_ok && s->state == DISK_VALID)
        disk_index_drop(&t->index, r->slot);
    disk_index_unpin(&t->index, r->slot);
    r->state = WORK_NONE;
}

enum disk_result disk_tier_result(struct disk_tier *t, uint32_t block)
{
    struct read_work *r = &t->read[block];
    pthread_mutex_lock(&t->lock);
    enum disk_result result = r->state != WORK_OVER ? DISK_PENDING
                              : r->is_ok            ? DISK_DONE
                                                    : DISK_LOST;
    CHECK(r->state != WORK_NONE && !r->is_orphan);
    if (result != DISK_PENDING)
        end_read(t, r);
    pthread_mutex_unlock(&t->lock);
    return result;
}

bool disk_tier_cancel(struct disk_tier *t, uint32_t block)
{
    struct read_work *r = &t->read[block];
    pthread_mutex_lock(&t->lock);
    CHECK(r->state != WORK_NONE && !r->is_orphan);
    bool is_active = r->state == WORK_ACTIVE;
    if (is_active) {
        r->is_orphan = true;
        t->n_orphan++;
    } else {
        if (r->state == WORK_QUEUED) {
            queue_remove(t, block);
            t->n_reading--;
        }
        end_read(t, r);
    }
    pthread_mutex_unlock(&t->lock);
    return !is_active;
}

void disk_tier_reap(struct disk_tier *t, struct block_pool *pool)
{
    pthread_mutex_lock(&t->lock);
    while (t->orphan_first != BLOCK_NONE) {
        uint32_t block = t->orphan_first;
        t->orphan_first = t->read[block].next;
        t->n_orphan--;
        end_read(t, &t->read[block]);
        block_pool_unref(pool, block);
    }
    pthread_mutex_unlock(&t->lock);
}

int disk_tier_n_orphans(const struct disk_tier *t)
{
    return (int)t->n_orphan; /* only this thread changes it */
}
