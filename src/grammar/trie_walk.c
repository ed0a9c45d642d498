/*
 * trie_walk: see the header.
 *
 * A position is what stacks_step leaves, as a set of heads. Its number is good for the walk: the
 * frames that it stands on stay until the end. When there are too many positions, what comes to a
 * new one is walked without numbers, frames being given back at each turn.
 */
#include "grammar/trie_walk.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define NODES_LEAST   128 /* below a root; fewer are walked without numbers */
#define POSITIONS_MAX 4096
#define SLOTS         (2 * POSITIONS_MAX)
#define FRAMES_HELD   65536 /* by the numbered positions of one walk */
#define IDS_HELD      (1u << 20)

#define NOT_YET  UINT16_MAX /* the byte was not tried here */
#define DEAD     (UINT16_MAX - 1)
#define NUMBERED POSITIONS_MAX    /* less than this is a number */
#define UNKNOWN  (UINT16_MAX - 2) /* a position that got no number */

bool trie_walk_init(struct trie_walk *w, const struct vocabulary *v)
{
    size_t n = (size_t)v->len_max + 1;
    *w = (struct trie_walk){.v = v,
                            .reach = mem_try_array(n, sizeof(*w->reach)),
                            .mark = mem_try_array(n, sizeof(*w->mark))};
    if (w->reach && w->mark)
        return true;
    trie_walk_release(w);
    return false;
}

void trie_walk_release(struct trie_walk *w)
{
    free(w->reach);
    free(w->mark);
    free(w->pop);
    *w = (struct trie_walk){0};
}

static void allow(const struct vocabulary *v, uint32_t *mask, const struct trie_node *node)
{
    uint32_t has_token = node->token >= 0, at = has_token ? (uint32_t)node->token : 0;
    mask[at / 32] |= has_token << at % 32; /* no branch: which nodes are tokens is hard to guess */
    for (int32_t t = node->has_same ? v->same[node->token] : -1; t >= 0; t = v->same[t])
        mask_set(mask, t);
}

static int note_pop(struct trie_walk *w, uint32_t node, struct err *err)
{
    if (!mem_grow((void **)&w->pop, &w->cap_pop, w->n_pop + 1, w->v->n_node, sizeof(*w->pop)))
        return err_set(err, ERR_NOMEM, "no memory for a mask");
    w->pop[w->n_pop++] = node;
    return 0;
}

static int check_work(const struct stacks *s, struct err *err)
{
    if (s->work <= MASK_WORK_MAX)
        return 0;
    return err_set(err, ERR_LIMIT, "the grammar is too ambiguous to be followed");
}

/* ---- without numbers ---- */

static int walk_plain(struct trie_walk *w, struct stacks *s, uint32_t root, size_t pops_max,
                      uint32_t *mask, struct err *err)
{
    const struct trie_node *node = w->v->node;
    struct heads heads;
    int rc = 0;
    w->mark[0] = s->n_frame;
    for (uint32_t i = root + 1, end = node[root].end; rc == 0 && i < end;) {
        int depth = node[i].depth - node[root].depth;
        s->n_frame = w->mark[depth - 1];
        stacks_step(s, &w->reach[depth - 1], node[i].byte, &heads);
        rc = check_work(s, err);
        if (heads.n == 0) {
            i = node[i].end;
            continue;
        }
        allow(w->v, mask, &node[i]);
        if (node[i].end == i + 1) {
            i++;
            continue;
        }
        struct reach *reach = &w->reach[depth];
        stacks_reach(s, &heads, reach);
        w->mark[depth] = s->n_frame;
        if (rc == 0 && pops_max > 0 && reach->pops)
            rc = note_pop(w, i, err);
        if (pops_max > 0 && w->n_pop > pops_max)
            break;
        i = reach->n == 0 ? node[i].end : i + 1;
    }
    s->n_frame = w->mark[0];
    return rc;
}

/* ---- positions with numbers ---- */

struct position {
    uint64_t hash;           /* of its heads, in any order */
    uint32_t at;             /* in `id`: the heads, then the frames that read a byte */
    uint16_t n_head, n_read; /* of them */
    bool pops;
};

struct numbering {
    struct stacks *s;
    struct position *position; /* [n] */
    uint16_t (*next)[256];     /* [n] by byte */
    uint32_t *id;
    size_t n, cap, cap_next, n_id, cap_id, n_frame;
    uint16_t slot[SLOTS]; /* 1 + a number */
};

static uint64_t hash_heads(const struct stacks *s, const struct heads *h)
{
    uint64_t sum = h->n;
    for (uint32_t i = 0; i < h->n; i++)
        sum += s->frame[h->at[i]].hash * 0x9e3779b97f4a7c15u;
    return sum ^ sum >> 31;
}

static bool same_heads(const struct numbering *m, const struct position *p, const struct heads *h)
{
    if (p->n_head != h->n)
        return false;
    for (uint32_t i = 0; i < h->n; i++) {
        uint32_t k = 0;
        while (k < h->n && !stacks_same(m->s, h->at[i], m->id[p->at + k]))
            k++;
        if (k == h->n)
            return false;
    }
    return true;
}

/* The slot of these heads, or a free one. */
static uint16_t *find_slot(struct numbering *m, const struct heads *h, uint64_t hash)
{
    size_t at = hash % SLOTS;
    for (; m->slot[at] != 0; at = (at + 1) % SLOTS) {
        const struct position *p = &m->position[m->slot[at] - 1];
        if (p->hash == hash && same_heads(m, p, h))
            break;
    }
    return &m->slot[at];
}

/* False: no memory. */
static bool add_position(struct numbering *m, const struct heads *h, uint64_t hash,
                         const struct reach *r)
{
    size_t n = (size_t)h->n + r->n;
    if (!mem_grow((void **)&m->position, &m->cap, m->n + 1, POSITIONS_MAX, sizeof(*m->position)) ||
        !mem_grow((void **)&m->next, &m->cap_next, m->n + 1, POSITIONS_MAX, sizeof(*m->next)) ||
        !mem_grow((void **)&m->id, &m->cap_id, m->n_id + n, IDS_HELD, sizeof(*m->id)))
        return false;
    m->position[m->n] = (struct position){.hash = hash,
                                          .at = (uint32_t)m->n_id,
                                          .n_head = (uint16_t)h->n,
                                          .n_read = (uint16_t)r->n,
                                          .pops = r->pops};
    if (h->n > 0)
        memcpy(m->id + m->n_id, h->at, h->n * sizeof(*m->id));
    if (r->n > 0)
        memcpy(m->id + m->n_id + h->n, r->at, r->n * sizeof(*m->id));
    m->n_id += n;
    memset(m->next[m->n], 0xff, sizeof(*m->next));
    m->n++;
    return true;
}

static bool is_full(const struct numbering *m)
{
    return m->n == POSITIONS_MAX || m->s->n_frame - m->n_frame > FRAMES_HELD ||
           m->n_id > IDS_HELD - HEADS_MAX - HEADS_MAX;
}

/* What the byte leads to from position `from`: a number, DEAD, or UNKNOWN: then *reach is where it
 * stands, on frames that the caller gives back. */
static uint16_t step(struct numbering *m, uint16_t from, uint8_t byte, struct reach *reach)
{
    const struct position *p = &m->position[from];
    struct heads heads;
    size_t before = m->s->n_frame;
    reach->n = p->n_read;
    if (p->n_read > 0)
        memcpy(reach->at, m->id + p->at + p->n_head, p->n_read * sizeof(*reach->at));
    stacks_step(m->s, reach, byte, &heads);
    if (heads.n == 0) {
        m->s->n_frame = before;
        return m->next[from][byte] = DEAD;
    }
    uint64_t hash = hash_heads(m->s, &heads);
    uint16_t *slot = find_slot(m, &heads, hash);
    if (*slot != 0) {
        m->s->n_frame = before;
        return m->next[from][byte] = (uint16_t)(*slot - 1);
    }
    stacks_reach(m->s, &heads, reach);
    if (is_full(m) || !add_position(m, &heads, hash, reach))
        return UNKNOWN;
    *slot = (uint16_t)m->n;
    return m->next[from][byte] = (uint16_t)(m->n - 1);
}

/* Node i is read; *reach is where that leads. */
static int below_unknown(struct trie_walk *w, struct numbering *m, uint32_t i, size_t pops_max,
                         uint32_t *mask, const struct reach *reach, size_t before, struct err *err)
{
    int rc = 0;
    if (w->v->node[i].end > i + 1) {
        w->reach[0] = *reach;
        if (pops_max > 0 && reach->pops)
            rc = note_pop(w, i, err);
        if (rc == 0 && (pops_max == 0 || w->n_pop <= pops_max))
            rc = walk_plain(w, m->s, i, pops_max, mask, err);
    }
    m->s->n_frame = before;
    return rc;
}

static int walk_numbered(struct trie_walk *w, struct numbering *m, uint32_t root, size_t pops_max,
                         uint32_t *mask, struct err *err)
{
    const struct trie_node *node = w->v->node;
    uint16_t path[VOCABULARY_TOKEN_BYTES_MAX + 1]; /* where it stands, by depth */
    struct reach reach;
    path[0] = 0;
    for (uint32_t i = root + 1, end = node[root].end; i < end;) {
        int depth = node[i].depth - node[root].depth, rc = 0;
        uint16_t next = m->next[path[depth - 1]][node[i].byte];
        size_t before = m->s->n_frame;
        if (next == NOT_YET) {
            next = step(m, path[depth - 1], node[i].byte, &reach);
            rc = check_work(m->s, err);
        }
        if (next == DEAD) {
            i = node[i].end;
            continue;
        }
        allow(w->v, mask, &node[i]);
        if (rc == 0 && next == UNKNOWN) {
            rc = below_unknown(w, m, i, pops_max, mask, &reach, before, err);
            i = node[i].end;
        } else if (rc == 0) {
            const struct position *p = &m->position[next];
            bool has_more = node[i].end > i + 1;
            path[depth] = next;
            if (pops_max > 0 && p->pops && has_more)
                rc = note_pop(w, i, err);
            i = p->n_read == 0 ? node[i].end : i + 1;
        }
        if (rc != 0)
            return rc;
        if (pops_max > 0 && w->n_pop > pops_max)
            break;
    }
    return 0;
}

int trie_walk_run(struct trie_walk *w, struct stacks *s, uint32_t root, size_t pops_max,
                  uint32_t *mask, struct err *err)
{
    static const struct heads none = {.n = 0};
    if (w->v->node[root].end - root <= NODES_LEAST)
        return walk_plain(w, s, root, pops_max, mask, err);
    struct numbering m = {.s = s, .n_frame = s->n_frame};
    int rc = add_position(&m, &none, 0, &w->reach[0])
                 ? walk_numbered(w, &m, root, pops_max, mask, err)
                 : err_set(err, ERR_NOMEM, "no memory for a mask");
    s->n_frame = m.n_frame;
    free(m.position);
    free(m.next);
    free(m.id);
    return rc;
}
