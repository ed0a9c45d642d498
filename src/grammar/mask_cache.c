/*
 * mask_cache: see the header.
 *
 * An entry is made outside the lock; who comes second with the same one throws his away. The lock
 * is one for all grammars: their entries stand in one list, by when they were last wanted.
 */
#include "grammar/mask_cache.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS      1024
#define COUNT_LOW  (-1) /* so few that no token gets to the least number */
#define COUNT_FREE (-2) /* enough, and no token gets to the most */

struct mask_cache {
    struct mask_cache *next; /* of another vocabulary */
    uint64_t vocabulary;
    uint64_t bytes;
    struct mask_entry *slot[SLOTS];
};

static struct {
    pthread_mutex_t lock; /* also of every cache */
    struct mask_entry *newest, *oldest;
    uint64_t bytes, bytes_max;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .bytes_max = MASKS_BYTES_MAX};

/* ---- making an entry ---- */

static size_t n_words(const struct vocabulary *v)
{
    return (v->n + 31) / 32;
}

static void entry_free(struct mask_entry *e)
{
    if (!e)
        return;
    free(e->mask);
    free(e->token);
    free(e->pop);
    free(e);
}

static uint64_t entry_bytes(const struct mask_entry *e, const struct vocabulary *v)
{
    return sizeof(*e) + (e->mask ? n_words(v) : e->n_token) * sizeof(uint32_t) +
           e->n_pop * sizeof(*e->pop);
}

/* A short list instead of a mask of which little is set. */
static void shorten(struct mask_entry *e, const struct vocabulary *v)
{
    size_t n = 0, words = n_words(v);
    for (size_t i = 0; i < words; i++)
        n += (size_t)__builtin_popcount(e->mask[i]);
    if (n * 4 > words)
        return;
    e->token = mem_try_array(n, sizeof(*e->token));
    if (!e->token)
        return;
    for (size_t i = 0; i < words; i++)
        for (uint32_t bits = e->mask[i]; bits; bits &= bits - 1)
            e->token[e->n_token++] = (int32_t)(i * 32) + __builtin_ctz(bits);
    free(e->mask);
    e->mask = NULL;
}

/* Where the key's frames stand alone. */
static uint32_t push_base(struct stacks *s, uint32_t frame, const struct mask_key *key)
{
    uint32_t from[MASK_FRAMES_MAX], n = key->n, base = key->is_last ? FRAME_NONE : FRAME_BASE;
    for (uint32_t i = 0; i < n; i++, frame = s->frame[frame].parent)
        from[i] = frame;
    while (n-- > 0) { /* it cannot be too deep */
        const struct frame f = s->frame[from[n]];
        base = stacks_push(s, base, f.state, f.count);
    }
    return base;
}

/* may_ask_callers: there are frames below to make a longer key with. */
static int keep_pops(struct mask_entry *e, const struct trie_walk *w, bool may_ask_callers,
                     struct err *err)
{
    if (w->n_pop > MASK_POPS_MAX && may_ask_callers) {
        e->is_undecided = true;
        free(e->mask);
        e->mask = NULL;
        return 0;
    }
    e->pop = mem_try_array(w->n_pop, sizeof(*e->pop));
    if (!e->pop)
        return err_set(err, ERR_NOMEM, "no memory for a mask");
    if (w->n_pop > 0)
        memcpy(e->pop, w->pop, w->n_pop * sizeof(*e->pop));
    e->n_pop = (uint32_t)w->n_pop;
    shorten(e, w->v);
    return 0;
}

static int make_entry(struct trie_walk *w, struct stacks *s, uint32_t frame,
                      const struct mask_key *key, bool may_ask_callers, struct mask_entry **ret,
                      struct err *err)
{
    struct mask_entry *e = mem_zero(1, sizeof(*e));
    size_t before = s->n_frame;
    s->deepest = 0;
    struct heads heads = {.n = 1, .at = {push_base(s, frame, key)}};
    e->key = *key;
    e->pins = 1;
    e->mask = mem_try_array(n_words(w->v), sizeof(*e->mask));
    w->n_pop = 0;
    int rc =
        e->mask && heads.at[0] != FRAME_NONE ? 0 : err_set(err, ERR_NOMEM, "no memory for a mask");
    if (rc == 0) {
        stacks_reach(s, &heads, &w->reach[0]);
        e->pops_at_once = w->reach[0].pops;
        size_t pops_max = may_ask_callers ? MASK_POPS_MAX : w->v->n_node;
        rc = trie_walk_run(w, s, 0, pops_max, e->mask, err);
    }
    s->n_frame = before;
    e->depth = s->deepest;
    rc = rc != 0 ? rc : keep_pops(e, w, may_ask_callers, err);
    if (rc != 0)
        entry_free(e);
    else
        *ret = e;
    return rc;
}

/* ---- the cache ---- */

/* Counts of which no token can see the difference are one class. */
static int32_t count_class(const struct grammar *g, const struct frame *f, int len_max)
{
    const struct state *st = &g->state[f->state];
    if (!(st->flags & STATE_COUNTS))
        return 0;
    if (f->count + len_max < st->min)
        return COUNT_LOW;
    if (f->count >= st->min && st->max >= 0 && f->count + len_max < st->max)
        return COUNT_FREE;
    return f->count;
}

static struct mask_key key_of(const struct grammar *g, const struct stacks *s, uint32_t frame,
                              uint32_t n, int len_max)
{
    struct mask_key key = {.n = n};
    for (uint32_t i = 0; i < n; i++, frame = s->frame[frame].parent) {
        key.frame[i].state = s->frame[frame].state;
        key.frame[i].count = count_class(g, &s->frame[frame], len_max);
    }
    key.is_last = frame == FRAME_NONE;
    return key;
}

static bool is_key(const struct mask_key *a, const struct mask_key *b)
{
    bool same = a->n == b->n && a->is_last == b->is_last;
    for (uint32_t i = 0; i < a->n && same; i++)
        same = a->frame[i].state == b->frame[i].state && a->frame[i].count == b->frame[i].count;
    return same;
}

static struct mask_entry **slot_of(struct mask_cache *c, const struct mask_key *key)
{
    uint32_t h = key->n;
    for (uint32_t i = 0; i < key->n; i++)
        h = (h ^ key->frame[i].state ^ (uint32_t)key->frame[i].count * 0x85ebca6bu) * 0x9e3779b1u;
    return &c->slot[(h ^ h >> 15) % SLOTS];
}

/* Under the lock, as the next ones. */
static struct mask_cache *cache_of(struct grammar *g, const struct vocabulary *v)
{
    struct mask_cache *c = g->cache;
    while (c && c->vocabulary != v->id)
        c = c->next;
    if (!c) {
        c = mem_zero(1, sizeof(*c));
        c->vocabulary = v->id;
        c->next = g->cache;
        g->cache = c;
    }
    return c;
}

/* At the front of the list, which it is not in. */
static void list_add(struct mask_entry *e)
{
    e->newer = NULL;
    e->older = all.newest;
    *(all.newest ? &all.newest->newer : &all.oldest) = e;
    all.newest = e;
}

static void list_remove(struct mask_entry *e)
{
    *(e->newer ? &e->newer->older : &all.newest) = e->older;
    *(e->older ? &e->older->newer : &all.oldest) = e->newer;
}

static struct mask_entry *find(struct mask_cache *c, const struct mask_key *key)
{
    struct mask_entry *e = *slot_of(c, key);
    while (e && !is_key(&e->key, key))
        e = e->next;
    if (e) {
        e->pins++;
        list_remove(e);
        list_add(e);
    }
    return e;
}

/* Out of the cache; it is freed unless somebody uses it. */
static void drop(struct mask_entry *e)
{
    struct mask_entry **at = slot_of(e->cache, &e->key);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    list_remove(e);
    e->cache->bytes -= e->bytes;
    all.bytes -= e->bytes;
    if (--e->pins == 0)
        entry_free(e);
}

/* The ones used longest ago go, of this cache as long as it has no room, then of all. Its own go by
 * the quarter: to find them takes a look at all. */
static void make_room(struct mask_cache *c, uint64_t bytes)
{
    bool is_full = c->bytes + bytes > MASK_CACHE_BYTES_MAX;
    uint64_t own_max = is_full ? MASK_CACHE_BYTES_MAX / 4 * 3 : MASK_CACHE_BYTES_MAX;
    for (struct mask_entry *e = all.oldest, *newer; e; e = newer) {
        bool own = c->bytes + bytes > own_max;
        newer = e->newer;
        if (!own && all.bytes + bytes <= all.bytes_max)
            return;
        if (!own || e->cache == c)
            drop(e);
    }
}

static void insert(struct mask_cache *c, struct mask_entry *e, const struct vocabulary *v)
{
    e->bytes = entry_bytes(e, v);
    make_room(c, e->bytes);
    if (c->bytes + e->bytes > MASK_CACHE_BYTES_MAX || all.bytes + e->bytes > all.bytes_max)
        return;
    struct mask_entry **slot = slot_of(c, &e->key);
    e->cache = c;
    e->next = *slot;
    e->pins++;
    *slot = e;
    c->bytes += e->bytes;
    all.bytes += e->bytes;
    list_add(e);
}

/* By the n upper frames. */
static int pin(struct grammar *g, struct trie_walk *w, struct stacks *s, uint32_t frame, uint32_t n,
               bool may_ask_callers, struct mask_entry **ret, struct err *err)
{
    struct mask_key key = key_of(g, s, frame, n, w->v->len_max);
    pthread_mutex_lock(&all.lock);
    struct mask_entry *e = find(cache_of(g, w->v), &key);
    pthread_mutex_unlock(&all.lock);
    if (!e) {
        int rc = make_entry(w, s, frame, &key, may_ask_callers, &e, err);
        if (rc != 0)
            return rc;
        pthread_mutex_lock(&all.lock);
        struct mask_cache *c = cache_of(g, w->v);
        struct mask_entry *other = find(c, &key);
        if (!other)
            insert(c, e, w->v);
        pthread_mutex_unlock(&all.lock);
        if (other) {
            entry_free(e);
            e = other;
        }
    }
    *ret = e;
    return 0;
}

/* An undecided entry always has callers: is_last is part of the key. */
int mask_cache_pin(struct grammar *g, struct trie_walk *w, struct stacks *s, uint32_t frame,
                   struct mask_entry **ret, uint32_t *ret_parent, struct err *err)
{
    uint32_t parent = s->frame[frame].parent;
    for (uint32_t n = 1;; n++, parent = s->frame[parent].parent) {
        bool may_ask_callers = n < MASK_FRAMES_MAX && parent != FRAME_NONE;
        int rc = pin(g, w, s, frame, n, may_ask_callers, ret, err);
        if (rc != 0)
            return rc;
        *ret_parent = parent;
        if (!(*ret)->is_undecided)
            return 0;
        mask_cache_unpin(*ret);
    }
}

void mask_cache_unpin(struct mask_entry *e)
{
    pthread_mutex_lock(&all.lock);
    bool is_last = --e->pins == 0;
    pthread_mutex_unlock(&all.lock);
    if (is_last)
        entry_free(e);
}

void mask_cache_free(struct mask_cache *c)
{
    pthread_mutex_lock(&all.lock);
    while (c) {
        struct mask_cache *next = c->next;
        for (int i = 0; i < SLOTS; i++)
            while (c->slot[i])
                drop(c->slot[i]);
        free(c);
        c = next;
    }
    pthread_mutex_unlock(&all.lock);
}

uint64_t mask_cache_bytes(const struct grammar *g)
{
    uint64_t n = 0;
    pthread_mutex_lock(&all.lock);
    for (const struct mask_cache *c = g->cache; c; c = c->next)
        n += sizeof(*c) + c->bytes;
    pthread_mutex_unlock(&all.lock);
    return n;
}

uint64_t masks_bytes(void)
{
    pthread_mutex_lock(&all.lock);
    uint64_t n = all.bytes;
    pthread_mutex_unlock(&all.lock);
    return n;
}

void masks_set_max(uint64_t bytes_max)
{
    pthread_mutex_lock(&all.lock);
    all.bytes_max = bytes_max;
    while (all.bytes > all.bytes_max)
        drop(all.oldest);
    pthread_mutex_unlock(&all.lock);
}
