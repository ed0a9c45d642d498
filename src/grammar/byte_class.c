/*
 * byte_class: characters, and texts with or without needles, as states over bytes. See nfa.h.
 */
#include "base/mem.h"
#include "grammar/nfa.h"
#include "grammar/utf8_step.h"

#include <stdlib.h>
#include <string.h>

/* ---- one character ---- */

#define TAILS_MAX 64 /* ends of characters that are remembered to be used again */

struct tails {
    struct tail {
        uint8_t from, to;
        uint32_t source, target;
    } tail[TAILS_MAX];
    int n;
};

/* A state from which bytes from...to lead to target. */
static bool tail_state(struct nfa *n, struct tails *t, uint8_t from, uint8_t to, uint32_t target,
                       uint32_t *ret)
{
    for (int i = 0; i < t->n; i++) {
        if (t->tail[i].from == from && t->tail[i].to == to && t->tail[i].target == target) {
            *ret = t->tail[i].source;
            return true;
        }
    }
    if (!nfa_add_state(n, ret) || !nfa_add_bytes(n, *ret, from, to, target))
        return false;
    if (t->n < TAILS_MAX)
        t->tail[t->n++] = (struct tail){from, to, *ret, target};
    return true;
}

/* Codes whose encodings differ, byte by byte, within independent ranges. */
static bool add_block(struct nfa *n, struct tails *t, uint32_t from, uint32_t to, uint32_t source,
                      uint32_t target)
{
    uint8_t a[UTF8_LEN_MAX], b[UTF8_LEN_MAX];
    int len = utf8_put(from, a);
    utf8_put(to, b);
    for (int i = len - 1; i > 0; i--)
        if (!tail_state(n, t, a[i], b[i], target, &target))
            return false;
    return nfa_add_bytes(n, source, a[0], b[0], target);
}

/* Splits at lengths, then where a byte before the last one changes while a later is not full. */
static bool add_range(struct nfa *n, struct tails *t, uint32_t from, uint32_t to, uint32_t source,
                      uint32_t target)
{
    static const uint32_t last[] = {0x7f, 0x7ff, 0xffff, 0x10ffff};
    while (from <= to) {
        uint32_t end = to;
        for (size_t i = 0; i < ARRAY_LEN(last); i++)
            if (from <= last[i] && end > last[i])
                end = last[i];
        for (int bits = 6; from > 0x7f && bits <= 18; bits += 6) {
            uint32_t mask = (1u << bits) - 1;
            if ((from & ~mask) == (end & ~mask))
                break;
            if (from & mask)
                end = from | mask;
            else if ((end & mask) != mask)
                end = (end & ~mask) - 1;
        }
        if (!add_block(n, t, from, end, source, target))
            return false;
        from = end + 1;
    }
    return true;
}

bool nfa_add_chars(struct nfa *n, const struct grammar_range *r, size_t n_range, uint32_t source,
                   uint32_t target)
{
    struct tails t = {.n = 0};
    for (size_t i = 0; i < n_range; i++)
        if (!add_range(n, &t, r[i].from, r[i].to, source, target))
            return false;
    return true;
}

/* ---- texts with needles: Aho and Corasick, 1975, beside the states of UTF-8 ---- */

struct search {
    uint32_t *next; /* [n_node][256] */
    uint32_t *fail; /* [n_node] */
    bool *is_found; /* [n_node] */
    uint32_t *queue;
    uint32_t n_node;
    uint32_t *state; /* [n_node * UTF8_STATES] of the nfa, or NFA_NONE */
};

#define SEARCH_NODES_MAX 4096

static void search_release(struct search *s)
{
    free(s->next);
    free(s->fail);
    free(s->is_found);
    free(s->queue);
    free(s->state);
}

static bool search_alloc(struct search *s, size_t n)
{
    s->next = mem_try_array(n, 256 * sizeof(uint32_t));
    s->fail = mem_try_array(n, sizeof(uint32_t));
    s->is_found = mem_try_array(n, sizeof(bool));
    s->queue = mem_try_array(n * UTF8_STATES, sizeof(uint32_t));
    s->state = mem_try_array(n * UTF8_STATES, sizeof(uint32_t));
    return s->next && s->fail && s->is_found && s->queue && s->state;
}

static void search_insert(struct search *s, struct str needle)
{
    uint32_t at = 0;
    for (size_t i = 0; i < needle.len; i++) {
        uint32_t *to = &s->next[at * 256 + (uint8_t)needle.ptr[i]];
        if (*to == 0)
            *to = s->n_node++;
        at = *to;
    }
    s->is_found[at] = true;
}

/* Breadth first: edges that are missing become those of the longest suffix. */
static void search_link(struct search *s)
{
    uint32_t head = 0, tail = 0;
    for (int b = 0; b < 256; b++)
        if (s->next[b])
            s->queue[tail++] = s->next[b];
    while (head < tail) {
        uint32_t at = s->queue[head++], fail = s->fail[at];
        s->is_found[at] = s->is_found[at] || s->is_found[fail];
        for (uint32_t b = 0; b < 256; b++) {
            uint32_t *to = &s->next[at * 256 + b];
            if (*to == 0) {
                *to = s->next[fail * 256 + b];
            } else {
                s->fail[*to] = s->next[fail * 256 + b];
                s->queue[tail++] = *to;
            }
        }
    }
}

/* The edges of one pair of states; pairs that are new go to the queue. */
static bool search_edges(struct nfa *n, struct search *s, uint32_t pair, uint32_t *tail,
                         bool is_until, uint32_t target)
{
    uint32_t at = pair / UTF8_STATES;
    for (int b = 0; b < 256; b++) {
        int utf8 = utf8_step((int)(pair % UTF8_STATES), (uint8_t)b);
        uint32_t to = s->next[at * 256 + (uint32_t)b], state = target;
        if (utf8 < 0 || (s->is_found[to] && !is_until))
            continue;
        if (!s->is_found[to]) {
            uint32_t *known = &s->state[to * UTF8_STATES + (uint32_t)utf8];
            if (*known == NFA_NONE) {
                if (!nfa_add_state(n, known))
                    return false;
                s->queue[(*tail)++] = to * UTF8_STATES + (uint32_t)utf8;
            }
            state = *known;
        }
        if (!nfa_add_bytes(n, s->state[pair], (uint8_t)b, (uint8_t)b, state))
            return false;
    }
    return true;
}

static bool search_states(struct nfa *n, struct search *s, bool is_until, uint32_t source,
                          uint32_t target)
{
    uint32_t head = 0, tail = 0;
    for (uint32_t i = 0; i < s->n_node * UTF8_STATES; i++)
        s->state[i] = NFA_NONE;
    struct nfa_edge in = {.source = source, .kind = NFA_EPSILON};
    if (!nfa_add_state(n, &s->state[0]))
        return false;
    in.target = s->state[0];
    s->queue[tail++] = 0;
    if (!nfa_add_edge(n, &in))
        return false;
    while (head < tail) {
        uint32_t pair = s->queue[head++];
        struct nfa_edge out = {
            .source = s->state[pair], .target = target, .kind = NFA_EPSILON, .proc = NFA_NONE};
        if (!is_until && pair % UTF8_STATES == 0 && !nfa_add_edge(n, &out))
            return false;
        if (!search_edges(n, s, pair, &tail, is_until, target))
            return false;
    }
    return true;
}

bool nfa_add_search(struct nfa *n, const struct str *needle, size_t n_needle, bool is_until,
                    uint32_t source, uint32_t target)
{
    size_t n_node = 1;
    for (size_t i = 0; i < n_needle; i++)
        n_node += needle[i].len;
    struct search s = {.n_node = 1};
    bool ok = n_node <= SEARCH_NODES_MAX && search_alloc(&s, n_node);
    for (size_t i = 0; ok && i < n_needle; i++)
        search_insert(&s, needle[i]);
    if (ok) {
        search_link(&s);
        ok = search_states(n, &s, is_until, source, target);
    }
    search_release(&s);
    return ok;
}
