/*
 * matcher: see the header. A position is a list of heads (stacks.h); the last MATCHER_UNDO + 1 of
 * them stand in a ring.
 */
#include "grammar/matcher.h"
#include "base/check.h"
#include "base/mem.h"
#include "grammar/mask_cache.h"
#include "grammar/utf8_step.h"

#include <stdlib.h>
#include <string.h>

#define RING         (MATCHER_UNDO + 1)
#define FRAMES_LEAST 4096 /* before frames that nobody stands on are dropped */
#define QUEUE_MAX    512  /* frames whose entries make one mask */

struct position {
    struct heads heads;
    bool is_over; /* an end token was taken */
};

struct matcher {
    struct grammar *g; /* a reference */
    const struct vocabulary *v;
    int32_t *token_of; /* [g->n_special] */
    struct stacks stacks;
    struct trie_walk walk;
    struct position ring[RING];
    int now, n_undo; /* ring[now]; so many before it can be gone back to */
    size_t n_frame_kept;
    struct reach reach; /* of ring[now], when has_reach */
    bool has_reach;
    size_t n_frame_now; /* frames without those of reach */
};

static struct position *now(struct matcher *m)
{
    return &m->ring[m->now];
}

static bool matcher_init(struct matcher *m, const struct grammar *g, const struct vocabulary *v)
{
    m->token_of = mem_try_array(g->n_special, sizeof(*m->token_of));
    if (!m->token_of || !stacks_init(&m->stacks, g, m->token_of) || !trie_walk_init(&m->walk, v))
        return false;
    for (size_t i = 0; i < g->n_special; i++)
        m->token_of[i] = vocabulary_find_control(v, g->special[i]);
    return true;
}

int matcher_new(struct grammar *g, const struct vocabulary *v, struct matcher **ret,
                struct err *err)
{
    struct matcher *m = mem_zero(1, sizeof(*m));
    m->g = grammar_ref(g);
    m->v = v;
    if (!matcher_init(m, g, v)) {
        matcher_free(m);
        return err_set(err, ERR_NOMEM, "no memory for a grammar's matcher");
    }
    stacks_add_head(&m->stacks, &now(m)->heads, stacks_push(&m->stacks, FRAME_NONE, g->start, 0));
    m->n_frame_now = m->stacks.n_frame;
    *ret = m;
    return 0;
}

int matcher_copy(const struct matcher *from, struct matcher **ret, struct err *err)
{
    struct matcher *m = mem_zero(1, sizeof(*m));
    m->g = grammar_ref(from->g);
    m->v = from->v;
    struct stacks *s = &m->stacks;
    if (!matcher_init(m, from->g, from->v) ||
        !mem_grow((void **)&s->frame, &s->cap_frame, from->n_frame_now, FRAMES_MAX,
                  sizeof(*s->frame))) {
        matcher_free(m);
        return err_set(err, ERR_NOMEM, "no memory for a grammar's matcher");
    }
    memcpy(s->frame, from->stacks.frame, from->n_frame_now * sizeof(*s->frame));
    s->n_frame = m->n_frame_now = from->n_frame_now;
    memcpy(m->ring, from->ring, sizeof(m->ring));
    m->now = from->now;
    m->n_undo = from->n_undo;
    m->n_frame_kept = from->n_frame_kept;
    *ret = m;
    return 0;
}

void matcher_free(struct matcher *m)
{
    if (!m)
        return;
    stacks_release(&m->stacks);
    trie_walk_release(&m->walk);
    free(m->token_of);
    grammar_unref(m->g);
    free(m);
}

/* ---- where it stands ---- */

static void find_reach(struct matcher *m)
{
    if (m->has_reach)
        return;
    m->stacks.n_frame = m->n_frame_now;
    stacks_reach(&m->stacks, &now(m)->heads, &m->reach);
    m->has_reach = true;
}

/* heads stand on frames that stay. */
static void move_to(struct matcher *m, const struct heads *heads, bool is_over)
{
    m->now = (m->now + 1) % RING;
    m->n_undo = m->n_undo < MATCHER_UNDO ? m->n_undo + 1 : MATCHER_UNDO;
    now(m)->heads.n = heads->n;
    memcpy(now(m)->heads.at, heads->at, heads->n * sizeof(*heads->at));
    now(m)->is_over = is_over;
    m->n_frame_now = m->stacks.n_frame;
    m->has_reach = false;
    if (m->n_frame_now < FRAMES_LEAST || m->n_frame_now < 2 * m->n_frame_kept)
        return;
    struct heads *list[RING];
    for (int i = 0; i <= m->n_undo; i++)
        list[i] = &m->ring[(m->now + RING - i) % RING].heads;
    stacks_compact(&m->stacks, list, (size_t)m->n_undo + 1);
    m->n_frame_now = m->n_frame_kept = m->stacks.n_frame;
}

static bool accept_special(struct matcher *m, int32_t token)
{
    struct heads heads = {.n = 0};
    for (uint32_t i = 0; i < m->reach.n_special; i++)
        if (m->token_of[m->reach.special[i].special] == token)
            stacks_add_head(&m->stacks, &heads, m->reach.special[i].head);
    if (heads.n > 0)
        move_to(m, &heads, false);
    return heads.n > 0;
}

static bool accept_bytes(struct matcher *m, struct str s)
{
    struct heads heads = {.n = 0};
    struct reach reach;
    const struct reach *from = &m->reach;
    for (size_t i = 0; i < s.len; i++) {
        stacks_step(&m->stacks, from, (uint8_t)s.ptr[i], &heads);
        if (heads.n == 0)
            break;
        if (i + 1 < s.len)
            stacks_reach(&m->stacks, &heads, &reach);
        from = &reach;
    }
    if (heads.n > 0)
        move_to(m, &heads, false);
    else
        m->has_reach = false; /* its frames may be gone with those of the attempt */
    return heads.n > 0;
}

bool matcher_accept(struct matcher *m, int32_t token)
{
    CHECK(token >= 0 && (size_t)token < m->v->n);
    if (now(m)->is_over)
        return false;
    m->stacks.work = 0;
    find_reach(m);
    uint8_t flags = m->v->flags[token];
    if (flags & TOKEN_IS_CONTROL && accept_special(m, token))
        return true;
    if (flags & TOKEN_IS_END) {
        static const struct heads none = {.n = 0};
        if (m->reach.ends)
            move_to(m, &none, true);
        return m->reach.ends;
    }
    struct str bytes = vocabulary_bytes_of(m->v, token);
    bool is_text = flags == 0 && bytes.len > 0 && bytes.len <= VOCABULARY_TOKEN_BYTES_MAX;
    return is_text && accept_bytes(m, bytes);
}

bool matcher_may_end(const struct matcher *m)
{
    struct matcher *work = (struct matcher *)(uintptr_t)m; /* only what it knows grows */
    find_reach(work);
    return now(work)->is_over || m->reach.ends;
}

bool matcher_must_end(const struct matcher *m)
{
    struct matcher *work = (struct matcher *)(uintptr_t)m;
    find_reach(work);
    return now(work)->is_over || (m->reach.ends && m->reach.n == 0 && m->reach.n_special == 0);
}

void matcher_rollback(struct matcher *m, int n)
{
    CHECK(n >= 0 && n <= m->n_undo);
    m->now = (m->now + RING - n) % RING;
    m->n_undo -= n;
    m->has_reach = false;
}

/* ---- what may come next ---- */

/* What one frame allows, without the cache: near the greatest depth it matters where the frame is.
 */
static int add_walk(struct matcher *m, uint32_t frame, uint32_t *mask, struct err *err)
{
    struct heads heads = {.n = 1, .at = {frame}};
    size_t before = m->stacks.n_frame;
    stacks_reach(&m->stacks, &heads, &m->walk.reach[0]);
    int rc = trie_walk_run(&m->walk, &m->stacks, 0, 0, mask, err);
    m->stacks.n_frame = before;
    return rc;
}

/* Tokens that begin in one frame and go on in its callers. *ret_parent: it may return to this one
 * before a token, or FRAME_NONE. */
static int add_entry(struct matcher *m, uint32_t frame, uint32_t *mask, uint32_t *ret_parent,
                     struct err *err)
{
    struct stacks *s = &m->stacks;
    struct mask_entry *e;
    uint32_t parent;
    int rc = mask_cache_pin(m->g, &m->walk, s, frame, &e, &parent, err);
    if (rc != 0)
        return rc;
    if (s->frame[frame].depth + e->depth > STACK_DEPTH_MAX) {
        mask_cache_unpin(e);
        *ret_parent = FRAME_NONE;
        return add_walk(m, frame, mask, err);
    }
    size_t words = (m->v->n + 31) / 32;
    for (size_t i = 0; e->mask && i < words; i++)
        mask[i] |= e->mask[i];
    for (uint32_t i = 0; i < e->n_token; i++)
        mask_set(mask, e->token[i]);
    *ret_parent = e->pops_at_once ? parent : FRAME_NONE;
    if (e->n_pop > 0 && parent != FRAME_NONE) {
        struct heads heads = {.n = 1, .at = {parent}};
        size_t before = s->n_frame;
        stacks_reach(s, &heads, &m->walk.reach[0]);
        for (uint32_t i = 0; rc == 0 && i < e->n_pop; i++)
            rc = trie_walk_run(&m->walk, s, e->pop[i], 0, mask, err);
        s->n_frame = before;
    }
    mask_cache_unpin(e);
    return rc;
}

static bool is_queued(const uint32_t *queue, size_t n, uint32_t frame)
{
    for (size_t i = 0; i < n; i++)
        if (queue[i] == frame)
            return true;
    return false;
}

static int add_heads(struct matcher *m, uint32_t *mask, struct err *err)
{
    uint32_t queue[QUEUE_MAX];
    size_t n = now(m)->heads.n;
    memcpy(queue, now(m)->heads.at, n * sizeof(*queue));
    for (size_t i = 0; i < n; i++) {
        uint32_t parent;
        int rc = add_entry(m, queue[i], mask, &parent, err);
        if (rc != 0)
            return rc;
        if (parent != FRAME_NONE && n < QUEUE_MAX && !is_queued(queue, n, parent))
            queue[n++] = parent;
    }
    return 0;
}

static bool is_empty(const uint32_t *mask, size_t words)
{
    for (size_t i = 0; i < words; i++)
        if (mask[i])
            return false;
    return true;
}

int matcher_mask(struct matcher *m, uint32_t *mask, struct err *err)
{
    size_t words = (m->v->n + 31) / 32;
    memset(mask, 0, words * sizeof(*mask));
    m->stacks.work = 0;
    find_reach(m);
    if (!now(m)->is_over) {
        int rc = add_heads(m, mask, err);
        if (rc != 0)
            return rc;
    }
    for (uint32_t i = 0; i < m->reach.n_special; i++)
        mask_set(mask, m->token_of[m->reach.special[i].special]);
    for (size_t i = 0; matcher_may_end(m) && i < m->v->n_end; i++)
        mask_set(mask, m->v->end[i]);
    if (!is_empty(mask, words))
        return 0;
    return err_set(err, ERR_LIMIT,
                   m->stacks.is_limited
                       ? "the grammar is too ambiguous, or too deeply nested, to be followed"
                       : "no token of the model can go on here as the grammar wants it");
}

uint64_t matcher_work(const struct matcher *m)
{
    return m->stacks.work;
}

uint64_t matcher_bytes(const struct vocabulary *v)
{
    return sizeof(struct matcher) + FRAMES_LEAST * sizeof(struct frame) +
           (uint64_t)(v->len_max + 1) * sizeof(struct reach);
}

/* ---- what must come next ---- */

/* The only byte that can be read; -1: there are several, or none. */
static int only_byte(const struct stacks *s, const struct reach *reach)
{
    int only = -1;
    if (reach->ends || reach->n_special > 0)
        return -1;
    for (uint32_t i = 0; i < reach->n; i++) {
        const struct state *st = &s->g->state[s->frame[reach->at[i]].state];
        for (uint32_t k = 0; k < st->n_edge; k++) {
            const struct byte_edge *e = &s->g->edge[st->edge + k];
            if (e->from != e->to || (only >= 0 && only != e->from))
                return -1;
            only = e->from;
        }
    }
    return only;
}

size_t matcher_forced(const struct matcher *m, char *ret, size_t max)
{
    struct matcher *work = (struct matcher *)(uintptr_t)m;
    struct stacks *s = &work->stacks;
    struct reach reach;
    struct heads heads;
    size_t n = 0, whole = 0;
    int utf8 = 0;
    find_reach(work);
    size_t before = s->n_frame;
    reach = m->reach;
    while (n < max && !now(work)->is_over) {
        int byte = only_byte(s, &reach);
        bool is_half = n == 0 && byte >= 0x80 && byte < 0xc0; /* it stands within a character */
        if (byte < 0 || is_half)
            break;
        stacks_step(s, &reach, (uint8_t)byte, &heads);
        if (heads.n == 0)
            break;
        stacks_reach(s, &heads, &reach);
        ret[n++] = (char)byte;
        utf8 = utf8_step(utf8, (uint8_t)byte);
        whole = utf8 == 0 ? n : whole;
    }
    s->n_frame = before;
    return whole;
}
