/*
 * disk_index: see the header.
 *
 * Invariants: a slot is in the bucket of its key and in the order of use if and only if its state
 * is WRITING or VALID; a FREE one stands in the list of free ones; a BAD one is pinned.
 */
#include "engine/disk_index.h"
#include "base/check.h"
#include "base/mem.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC      0x315650524b545248ull /* read with another byte order it is another number */
#define ALIGN      4096u
#define STAMP_MAX  (1ull << 62)
#define TAKE_TRIES 64

_Static_assert(sizeof(struct disk_meta) == 256, "the table's entries are as the layout says");
_Static_assert(sizeof(struct disk_head) <= DISK_HEAD_BYTES, "the head fits its place");

/* ---- bytes ---- */

bool disk_read_at(int fd, void *data, size_t n, off_t at)
{
    uint8_t *p = data;
    while (n > 0) {
        ssize_t got = pread(fd, p, n, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got == 0 ? 0 : errno;
            return false;
        }
        p += got;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

bool disk_write_at(int fd, const void *data, size_t n, off_t at)
{
    const uint8_t *p = data;
    while (n > 0) {
        ssize_t done = pwrite(fd, p, n, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            errno = done == 0 ? ENOSPC : errno;
            return false;
        }
        p += done;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

/* ---- hashes ---- */

static struct disk_hash hash_of(const struct disk_index *x, const void *data, size_t n)
{
    XXH128_hash_t h = XXH3_128bits_withSecret(data, n, x->secret, sizeof(x->secret));
    return (struct disk_hash){h.low64, h.high64};
}

static bool same(const struct disk_hash *a, const struct disk_hash *b)
{
    return a->lo == b->lo && a->hi == b->hi;
}

struct disk_hash disk_index_key(const struct disk_index *x, const struct disk_hash *parent,
                                uint64_t salt, const int32_t *token)
{
    struct {
        struct disk_hash parent;
        uint64_t salt;
        int32_t token[KV_BLOCK_LEN];
    } text = {*parent, salt, {0}};
    memcpy(text.token, token, sizeof(text.token));
    return hash_of(x, &text, sizeof(text));
}

struct disk_hash disk_index_data_hash(const struct disk_index *x, const void *data)
{
    return hash_of(x, data, x->block_bytes);
}

uint64_t disk_index_check(const struct disk_index *x, const struct disk_meta *m)
{
    return hash_of(x, m, offsetof(struct disk_meta, check)).lo;
}

/* ---- the order of use, and buckets ---- */

static void order_remove(struct disk_index *x, uint32_t slot)
{
    struct disk_slot *s = &x->slot[slot];
    *(s->prev != DISK_NONE ? &x->slot[s->prev].next : &x->first) = s->next;
    *(s->next != DISK_NONE ? &x->slot[s->next].prev : &x->last) = s->prev;
}

static void order_append(struct disk_index *x, uint32_t slot)
{
    struct disk_slot *s = &x->slot[slot];
    s->prev = x->last;
    s->next = DISK_NONE;
    *(x->last != DISK_NONE ? &x->slot[x->last].next : &x->first) = slot;
    x->last = slot;
}

static uint32_t *bucket_of(const struct disk_index *x, const struct disk_hash *key)
{
    return &x->bucket[key->lo & (x->n_bucket - 1)];
}

static void enter(struct disk_index *x, uint32_t slot, enum disk_state state)
{
    struct disk_slot *s = &x->slot[slot];
    uint32_t *bucket = bucket_of(x, &s->meta.key);
    s->state = (uint8_t)state;
    s->bucket_next = *bucket;
    *bucket = slot;
    order_append(x, slot);
    x->n_used++;
}

static void leave(struct disk_index *x, uint32_t slot)
{
    uint32_t *at = bucket_of(x, &x->slot[slot].meta.key);
    while (*at != slot)
        at = &x->slot[*at].bucket_next;
    *at = x->slot[slot].bucket_next;
    order_remove(x, slot);
    x->n_used--;
}

static void set_free(struct disk_index *x, uint32_t slot)
{
    x->slot[slot].state = DISK_FREE;
    x->slot[slot].next = x->free_first;
    x->free_first = slot;
}

uint32_t disk_index_find_key(const struct disk_index *x, const struct disk_hash *key)
{
    uint32_t slot = *bucket_of(x, key);
    while (slot != DISK_NONE && !same(&x->slot[slot].meta.key, key))
        slot = x->slot[slot].bucket_next;
    return slot;
}

uint32_t disk_index_find(const struct disk_index *x, const struct disk_hash *key,
                         const struct disk_hash *parent, uint64_t salt, const int32_t *token)
{
    uint32_t slot = disk_index_find_key(x, key);
    if (slot == DISK_NONE)
        return slot;
    const struct disk_meta *m = &x->slot[slot].meta;
    return same(&m->parent, parent) && m->salt == salt &&
                   memcmp(m->token, token, sizeof(m->token)) == 0
               ? slot
               : DISK_NONE;
}

static uint32_t find_victim(const struct disk_index *x, const struct disk_hash *parent)
{
    uint32_t slot = x->first;
    for (int i = 0; i < TAKE_TRIES && slot != DISK_NONE; i++, slot = x->slot[slot].next) {
        const struct disk_slot *s = &x->slot[slot];
        if (same(&s->meta.key, parent)) /* from here on only the beginning of the same text */
            return DISK_NONE;
        if (s->state == DISK_VALID && s->n_pins == 0)
            return slot;
    }
    return DISK_NONE;
}

uint32_t disk_index_take(struct disk_index *x, const struct disk_hash *key,
                         const struct disk_hash *parent, uint64_t salt, const int32_t *token)
{
    if (x->free_first == DISK_NONE) {
        uint32_t before = disk_index_find_key(x, parent);
        if (before != DISK_NONE)
            disk_index_touch(x, before);
        uint32_t victim = find_victim(x, parent);
        if (victim == DISK_NONE)
            return DISK_NONE;
        disk_index_drop(x, victim);
    }
    uint32_t slot = x->free_first;
    struct disk_slot *s = &x->slot[slot];
    x->free_first = s->next;
    s->n_pins = 0;
    s->meta = (struct disk_meta){.key = *key, .parent = *parent, .salt = salt};
    memcpy(s->meta.token, token, sizeof(s->meta.token));
    enter(x, slot, DISK_WRITING);
    disk_index_touch(x, slot);
    s->meta.stamp = x->stamp;
    return slot;
}

void disk_index_touch(struct disk_index *x, uint32_t slot)
{
    x->stamp++;
    x->is_touched = true;
    /* A hostile file may have parents in a circle. */
    for (uint32_t i = 0; i < x->n_used && slot != DISK_NONE; i++) {
        order_remove(x, slot);
        order_append(x, slot);
        slot = disk_index_find_key(x, &x->slot[slot].meta.parent);
    }
}

void disk_index_drop(struct disk_index *x, uint32_t slot)
{
    struct disk_slot *s = &x->slot[slot];
    if (s->state == DISK_WRITING || s->state == DISK_VALID)
        leave(x, slot);
    s->state = DISK_BAD;
    if (s->n_pins == 0)
        set_free(x, slot);
}

void disk_index_unpin(struct disk_index *x, uint32_t slot)
{
    struct disk_slot *s = &x->slot[slot];
    CHECK(s->n_pins > 0);
    if (--s->n_pins == 0 && s->state == DISK_BAD)
        set_free(x, slot);
}

/* ---- the file ---- */

static size_t slot_bytes_of(size_t block_bytes)
{
    return (block_bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static uint32_t count_slots(uint64_t file_bytes_max, size_t block_bytes)
{
    if (block_bytes == 0 || block_bytes > (1u << 30) || file_bytes_max < (uint64_t)DISK_DATA_AT)
        return 0;
    uint64_t n = (file_bytes_max - (uint64_t)DISK_DATA_AT) / slot_bytes_of(block_bytes);
    return n < DISK_SLOTS_MAX ? (uint32_t)n : DISK_SLOTS_MAX;
}

static uint32_t count_buckets(uint32_t n_slots)
{
    uint32_t n = 16;
    while (n < n_slots)
        n *= 2;
    return n;
}

uint64_t disk_index_bytes(uint64_t file_bytes_max, size_t block_bytes)
{
    uint64_t n = count_slots(file_bytes_max, block_bytes);
    return n == 0 ? 0
                  : n * sizeof(struct disk_slot) + count_buckets((uint32_t)n) * sizeof(uint32_t);
}

static uint64_t head_check(const struct disk_head *h)
{
    return XXH3_64bits(h, offsetof(struct disk_head, check));
}

/* Takes the secret of a head that is the wanted one. */
static bool read_head(struct disk_index *x, int fd, const struct disk_head *wanted)
{
    struct disk_head h;
    if (!disk_read_at(fd, &h, sizeof(h), 0) || h.check != head_check(&h) ||
        memcmp(&h, wanted, offsetof(struct disk_head, secret)) != 0)
        return false;
    memcpy(x->secret, h.secret, sizeof(x->secret));
    return true;
}

static int begin_anew(struct disk_index *x, int fd, struct disk_head *h, struct err *err)
{
    if (getrandom(h->secret, sizeof(h->secret), 0) != sizeof(h->secret))
        return err_set_errno(err, errno, "cannot draw random bytes");
    h->check = head_check(h);
    if (ftruncate(fd, 0) != 0 || !disk_write_at(fd, h, sizeof(*h), 0))
        return err_set_errno(err, errno, "cannot begin the file of the prefix cache");
    memcpy(x->secret, h->secret, sizeof(x->secret));
    x->is_new = true;
    return 0;
}

/* An entry that could have been written by disk_index_take, or not. */
static bool is_sound(const struct disk_index *x, const struct disk_meta *m)
{
    if (m->check != disk_index_check(x, m))
        return false;
    struct disk_hash key = disk_index_key(x, &m->parent, m->salt, m->token);
    return same(&key, &m->key) && (key.lo | key.hi) != 0;
}

static bool read_table(struct disk_index *x, int fd)
{
    struct disk_meta part[64];
    struct stat st;
    if (fstat(fd, &st) != 0)
        return false;
    for (uint32_t at = 0; at < x->n_slots; at++) {
        uint32_t i = at % ARRAY_LEN(part), left = x->n_slots - at;
        if (i == 0) {
            size_t n = left < ARRAY_LEN(part) ? left : ARRAY_LEN(part);
            off_t end = disk_meta_at(at) + (off_t)(n * sizeof(part[0]));
            memset(part, 0, sizeof(part));
            if (end <= st.st_size && !disk_read_at(fd, part, n * sizeof(part[0]), disk_meta_at(at)))
                return false;
        }
        off_t data_end = disk_data_at(x, at) + (off_t)x->block_bytes;
        bool is_there = data_end <= st.st_size && is_sound(x, &part[i]) &&
                        disk_index_find_key(x, &part[i].key) == DISK_NONE;
        if (!is_there)
            continue;
        x->slot[at].meta = part[i];
        enter(x, at, DISK_VALID);
        if (part[i].stamp > x->stamp)
            x->stamp = part[i].stamp;
    }
    return true;
}

struct used {
    uint64_t stamp;
    uint32_t slot;
};

static int by_stamp(const void *a, const void *b)
{
    const struct used *x = a, *y = b;
    if (x->stamp != y->stamp)
        return x->stamp < y->stamp ? -1 : 1;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

/*
 * Everything that was read into the order of its use. From the latest to the earliest, each with
 * the blocks before it that have no place yet, which come out as used later than itself.
 */
static int make_order(struct disk_index *x, struct err *err)
{
    struct used *by = mem_try_array((size_t)x->n_used + 1, sizeof(*by));
    uint32_t *path = mem_try_array((size_t)x->n_used + 1, sizeof(*path));
    bool *is_placed = mem_try_array(x->n_slots, sizeof(*is_placed));
    uint32_t n = 0;
    if (by && path && is_placed) {
        for (uint32_t s = x->first; s != DISK_NONE; s = x->slot[s].next)
            by[n++] = (struct used){x->slot[s].meta.stamp, s};
        qsort(by, n, sizeof(*by), by_stamp);
        x->first = x->last = DISK_NONE;
        for (uint32_t i = n; i-- > 0;) {
            uint32_t len = 0;
            for (uint32_t s = by[i].slot; s != DISK_NONE && !is_placed[s];
                 s = disk_index_find_key(x, &x->slot[s].meta.parent)) {
                is_placed[s] = true;
                path[len++] = s;
            }
            while (len-- > 0) { /* before all that have a place */
                struct disk_slot *s = &x->slot[path[len]];
                s->prev = DISK_NONE;
                s->next = x->first;
                *(x->first != DISK_NONE ? &x->slot[x->first].prev : &x->last) = path[len];
                x->first = path[len];
            }
        }
    }
    int rc =
        by && path && is_placed ? 0 : err_set(err, ERR_NOMEM, "no memory for the prefix cache");
    free(by);
    free(path);
    free(is_placed);
    if (x->stamp > STAMP_MAX) /* nobody counts that far: a hostile file */
        x->stamp = 0;
    return rc;
}

static int make_arrays(struct disk_index *x, struct err *err)
{
    x->slot = mem_try_array(x->n_slots, sizeof(*x->slot));
    x->bucket = mem_try_array(x->n_bucket, sizeof(*x->bucket));
    if (!x->slot || !x->bucket)
        return err_set(err, ERR_NOMEM, "no memory for %u slots of the prefix cache", x->n_slots);
    memset(x->bucket, 0xff, x->n_bucket * sizeof(*x->bucket)); /* DISK_NONE */
    return 0;
}

static int open_file(struct disk_index *x, int fd, const char *identity, struct err *err)
{
    struct disk_head head;
    memset(&head, 0, sizeof(head)); /* with its padding, which is compared, too */
    head.magic = MAGIC;
    head.layout = DISK_LAYOUT;
    head.block_len = KV_BLOCK_LEN;
    head.block_bytes = x->block_bytes;
    CHECK(strlen(identity) < sizeof(head.identity));
    memcpy(head.identity, identity, strlen(identity));
    if (!read_head(x, fd, &head))
        return begin_anew(x, fd, &head, err);
    struct stat st;
    off_t most = disk_data_at(x, x->n_slots);
    if (fstat(fd, &st) != 0 || (st.st_size > most && ftruncate(fd, most) != 0))
        return err_set_errno(err, errno, "cannot shorten the file of the prefix cache");
    return read_table(x, fd)
               ? 0
               : err_set_errno(err, errno, "cannot read the file of the prefix cache");
}

int disk_index_open(struct disk_index *x, int fd, uint64_t file_bytes_max, size_t block_bytes,
                    const char *identity, struct err *err)
{
    uint32_t n = count_slots(file_bytes_max, block_bytes);
    *x = (struct disk_index){
        .block_bytes = block_bytes,
        .slot_bytes = slot_bytes_of(block_bytes),
        .n_slots = n,
        .n_bucket = count_buckets(n),
        .free_first = DISK_NONE,
        .first = DISK_NONE,
        .last = DISK_NONE,
    };
    if (n == 0)
        return err_set(err, ERR_LIMIT, "%llu bytes are too few for one block of %zu",
                       (unsigned long long)file_bytes_max, block_bytes);
    int rc = make_arrays(x, err);
    rc = rc != 0 ? rc : open_file(x, fd, identity, err);
    rc = rc != 0 ? rc : make_order(x, err);
    if (rc != 0) {
        disk_index_release(x);
        return rc;
    }
    for (uint32_t i = n; i-- > 0;)
        if (x->slot[i].state == DISK_FREE)
            set_free(x, i);
    x->is_touched = false;
    return 0;
}

void disk_index_release(struct disk_index *x)
{
    free(x->slot);
    free(x->bucket);
    *x = (struct disk_index){0};
}

bool disk_index_save(struct disk_index *x, int fd)
{
    if (!x->is_touched)
        return true;
    for (uint32_t s = x->first; s != DISK_NONE; s = x->slot[s].next) {
        struct disk_meta *m = &x->slot[s].meta;
        if (x->slot[s].state != DISK_VALID)
            continue;
        m->stamp = ++x->stamp;
        m->check = disk_index_check(x, m);
        if (!disk_write_at(fd, m, sizeof(*m), disk_meta_at(s)))
            return false;
    }
    x->is_touched = false;
    return true;
}
