/*
 * lang: see the header. Products visit only what the start reaches; what reaches no accepting
 * state is taken out at the end.
 */
#include "grammar/lang.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum mode { MODE_AND, MODE_OR, MODE_MINUS };

/* States come in order, each before its edges. */
bool lang_add_state(struct lang_maker *m, bool accept)
{
    if (!mem_grow((void **)&m->accept, &m->cap_accept, m->n_state + 1, LANG_STATES_MAX, 1) ||
        !mem_grow((void **)&m->first, &m->cap_first, m->n_state + 2, LANG_STATES_MAX + 1,
                  sizeof(int)))
        return false;
    m->accept[m->n_state] = accept;
    m->first[m->n_state++] = (int)m->n_edge;
    m->first[m->n_state] = (int)m->n_edge;
    return true;
}

bool lang_add_edge(struct lang_maker *m, uint32_t from, uint32_t to, int next)
{
    size_t first = (size_t)m->first[m->n_state - 1];
    if (m->n_edge > first) {
        struct lang_edge *last = &m->edge[m->n_edge - 1];
        if (last->next == next && last->to + 1 == from) {
            last->to = to;
            return true;
        }
    }
    if (!mem_grow((void **)&m->edge, &m->cap_edge, m->n_edge + 1, LANG_EDGES_MAX, sizeof(*m->edge)))
        return false;
    m->edge[m->n_edge++] = (struct lang_edge){from, to, next};
    m->first[m->n_state] = (int)m->n_edge;
    return true;
}

/* ---- dead ends ---- */

/* [n_state]: reaches an accepting state. */
static bool mark_live(const struct lang_maker *m, bool *live)
{
    size_t n = m->n_state;
    int *head = mem_try_array(n, sizeof(int)), *next = mem_try_array(m->n_edge + 1, sizeof(int));
    int *source = mem_try_array(m->n_edge + 1, sizeof(int));
    int *todo = mem_try_array(n, sizeof(int));
    size_t n_todo = 0;
    bool ok = head && next && source && todo;
    for (size_t s = 0; ok && s < n; s++)
        for (int e = m->first[s]; e < m->first[s + 1]; e++) {
            source[e] = (int)s;
            next[e] = head[m->edge[e].next];
            head[m->edge[e].next] = e + 1;
        }
    for (size_t s = 0; ok && s < n; s++) {
        live[s] = m->accept[s];
        if (live[s])
            todo[n_todo++] = (int)s;
    }
    while (ok && n_todo > 0)
        for (int e = head[todo[--n_todo]]; e != 0; e = next[e - 1])
            if (!live[source[e - 1]]) {
                live[source[e - 1]] = true;
                todo[n_todo++] = source[e - 1];
            }
    free(head);
    free(next);
    free(source);
    free(todo);
    return ok;
}

/* Copies what lives into the arena. */
static int finish(struct arena *a, const struct lang_maker *m, const struct lang **ret)
{
    bool *live = mem_try_array(m->n_state + 1, 1);
    int *number = mem_try_array(m->n_state + 1, sizeof(int));
    struct lang *l = arena_alloc(a, sizeof(*l));
    int rc = live && number && l && mark_live(m, live) ? 0 : ERR_LIMIT;
    if (rc == 0 && live[0]) {
        int n = 0, n_edge = 0;
        for (size_t s = 0; s < m->n_state; s++)
            number[s] = live[s] ? n++ : -1;
        l->n_state = n;
        l->accept = arena_array(a, (size_t)n, 1);
        l->first = arena_array(a, (size_t)n + 1, sizeof(int));
        l->edge = arena_array(a, m->n_edge + 1, sizeof(*l->edge));
        rc = l->accept && l->first && l->edge ? 0 : ERR_LIMIT;
        for (size_t s = 0; rc == 0 && s < m->n_state; s++) {
            if (!live[s])
                continue;
            l->accept[number[s]] = m->accept[s];
            l->first[number[s]] = n_edge;
            for (int e = m->first[s]; e < m->first[s + 1]; e++)
                if (live[m->edge[e].next]) {
                    l->edge[n_edge] = m->edge[e];
                    l->edge[n_edge++].next = number[m->edge[e].next];
                }
            l->first[number[s] + 1] = n_edge;
        }
        if (rc == 0)
            *ret = l;
    }
    free(live);
    free(number);
    return rc;
}

int lang_finish(struct arena *a, struct lang_maker *m, bool ok, const struct lang **ret)
{
    int rc = ok ? 0 : ERR_LIMIT;
    *ret = NULL;
    if (ok && m->n_state > 0)
        rc = finish(a, m, ret);
    free(m->accept);
    free(m->first);
    free(m->edge);
    return rc;
}

/* ---- lengths and words ---- */

int lang_length(struct arena *a, int64_t min, int64_t max, const struct lang **ret)
{
    struct lang_maker m = {0};
    int64_t last = max < 0 ? min : max;
    bool ok = last < LANG_STATES_MAX && (max < 0 || max >= min);
    *ret = NULL;
    if (max >= 0 && max < min)
        return 0;
    for (int64_t i = 0; ok && i <= last; i++) {
        ok = lang_add_state(&m, i >= min);
        if (ok && (i < last || max < 0))
            ok = lang_add_edge(&m, 0, LANG_CHAR_MAX, (int)(i < last ? i + 1 : i));
    }
    return lang_finish(a, &m, ok, ret);
}

int32_t lang_next_char(struct str s, size_t *i)
{
    const unsigned char *p = (const unsigned char *)s.ptr + *i;
    size_t left = s.len - *i;
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if ((p[0] >= 0x80 && p[0] < 0xC2) || p[0] > 0xF4 || n > left)
        return -1;
    int32_t c = n == 1 ? p[0] : p[0] & (0x7F >> n);
    for (size_t k = 1; k < n; k++) {
        if ((p[k] & 0xC0) != 0x80)
            return -1;
        c = c << 6 | (p[k] & 0x3F);
    }
    *i += n;
    return c;
}

static int cmp_str(const void *x, const void *y)
{
    return str_cmp(*(const struct str *)x, *(const struct str *)y);
}

struct span { /* words [from, to) share their first `at` bytes */
    size_t from, to, at;
};

/* The states of the trie are made breadth first: a state's number is its place in the queue.
 * Bytes of UTF-8 sort as code points do, so that edges come out in order. */
static bool words_state(struct lang_maker *m, const struct str *w, struct span **queue, size_t *cap,
                        size_t *n_queue)
{
    struct span s = (*queue)[m->n_state];
    bool accept = s.from < s.to && w[s.from].len == s.at;
    if (!lang_add_state(m, accept))
        return false;
    size_t i = s.from;
    while (i < s.to && w[i].len == s.at)
        i++;
    while (i < s.to) {
        size_t at = s.at, from = i, next_at;
        int32_t c = lang_next_char(w[i], &at);
        next_at = at;
        while (c >= 0 && i < s.to && (at = s.at, lang_next_char(w[i], &at) == c))
            i++;
        if (c < 0 || !lang_add_edge(m, (uint32_t)c, (uint32_t)c, (int)*n_queue) ||
            !mem_grow((void **)queue, cap, *n_queue + 1, LANG_STATES_MAX, sizeof(**queue)))
            return false;
        (*queue)[(*n_queue)++] = (struct span){from, i, next_at};
    }
    return true;
}

int lang_words(struct arena *a, const struct str *word, size_t n, const struct lang **ret)
{
    struct lang_maker m = {0};
    struct span *queue = NULL;
    size_t cap = 0, n_queue = 1;
    struct str *w = mem_try_array(n + 1, sizeof(*w));
    bool ok = w && mem_grow((void **)&queue, &cap, 1, LANG_STATES_MAX, sizeof(*queue));
    *ret = NULL;
    if (ok) {
        if (n > 0)
            memcpy(w, word, n * sizeof(*w));
        qsort(w, n, sizeof(*w), cmp_str);
        queue[0] = (struct span){0, n, 0};
    }
    while (ok && m.n_state < n_queue)
        ok = words_state(&m, w, &queue, &cap, &n_queue);
    free(w);
    free(queue);
    return lang_finish(a, &m, ok, ret);
}

/* ---- products ---- */

#define DEAD (-1)

struct product {
    const struct lang *x, *y;
    struct lang_work work;
    enum mode mode;
    struct lang_maker m;
    int (*pair)[2]; /* of each state */
    size_t n_pair, cap_pair;
    int *slot;
    size_t n_slot;
};

static int pair_state(struct product *p, int x, int y)
{
    if ((p->mode == MODE_AND && (x == DEAD || y == DEAD)) || (p->mode == MODE_MINUS && x == DEAD) ||
        (x == DEAD && y == DEAD))
        return DEAD;
    size_t mask = p->n_slot - 1;
    size_t at = ((size_t)(x + 1) * 0x9e3779b1u ^ (size_t)(y + 1) * 0x85ebca77u) & mask;
    for (; p->slot[at] != 0; at = (at + 1) & mask) {
        int *known = p->pair[p->slot[at] - 1];
        if (known[0] == x && known[1] == y)
            return p->slot[at] - 1;
    }
    if (!mem_grow((void **)&p->pair, &p->cap_pair, p->n_pair + 1, LANG_STATES_MAX,
                  sizeof(*p->pair)))
        return ERR_LIMIT;
    p->pair[p->n_pair][0] = x;
    p->pair[p->n_pair][1] = y;
    p->slot[at] = (int)++p->n_pair;
    return (int)p->n_pair - 1;
}

static bool accepts_at(const struct lang *l, int s)
{
    return l && s != DEAD && l->accept[s];
}

/* The edges of one state, none of DEAD. */
struct cursor {
    const struct lang_edge *edge, *end;
};

static struct cursor edges_of(const struct lang *l, int s)
{
    if (s == DEAD)
        return (struct cursor){NULL, NULL};
    return (struct cursor){l->edge + l->first[s], l->edge + l->first[s + 1]};
}

/* Where the piece that begins at `at` ends at the latest; *ret_next: where it leads. */
static uint32_t piece(const struct cursor *c, uint32_t at, int *ret_next)
{
    *ret_next = DEAD;
    if (c->edge == c->end)
        return LANG_CHAR_MAX;
    if (c->edge->from > at)
        return c->edge->from - 1;
    *ret_next = c->edge->next;
    return c->edge->to;
}

static void pass(struct cursor *c, uint32_t to)
{
    if (c->edge != c->end && c->edge->to == to)
        c->edge++;
}

static bool is_accepting(enum mode mode, bool x, bool y)
{
    return mode == MODE_AND ? x && y : mode == MODE_OR ? x || y : x && !y;
}

/* Moves both edge lists along together. */
static bool product_state(struct product *p)
{
    int sx = p->pair[p->m.n_state][0], sy = p->pair[p->m.n_state][1];
    struct cursor x = edges_of(p->x, sx), y = edges_of(p->y, sy);
    uint32_t at = 0;
    if (!lang_add_state(&p->m, is_accepting(p->mode, accepts_at(p->x, sx), accepts_at(p->y, sy))) ||
        ++*p->work.n > p->work.max)
        return false;
    while ((x.edge != x.end || y.edge != y.end) && at <= LANG_CHAR_MAX) {
        int to_x, to_y;
        uint32_t end_x = piece(&x, at, &to_x), end_y = piece(&y, at, &to_y);
        uint32_t to = end_x < end_y ? end_x : end_y;
        int next = pair_state(p, to_x, to_y);
        if (++*p->work.n > p->work.max || next == ERR_LIMIT ||
            (next != DEAD && !lang_add_edge(&p->m, at, to, next)))
            return false;
        pass(&x, to);
        pass(&y, to);
        at = to + 1;
    }
    return true;
}

static int product(struct lang_work w, const struct lang *x, const struct lang *y, enum mode mode,
                   const struct lang **ret)
{
    struct product p = {.x = x, .y = y, .work = w, .mode = mode, .n_slot = 4 * LANG_STATES_MAX};
    *ret = NULL;
    p.slot = mem_try_array(p.n_slot, sizeof(int));
    int start = p.slot ? pair_state(&p, x ? 0 : DEAD, y ? 0 : DEAD) : ERR_LIMIT;
    bool ok = start != ERR_LIMIT;
    while (ok && p.m.n_state < p.n_pair)
        ok = product_state(&p);
    free(p.slot);
    free(p.pair);
    return lang_finish(w.arena, &p.m, ok, ret);
}

int lang_and(struct lang_work w, const struct lang *x, const struct lang *y,
             const struct lang **ret)
{
    return product(w, x, y, MODE_AND, ret);
}

int lang_or(struct lang_work w, const struct lang *x, const struct lang *y, const struct lang **ret)
{
    return product(w, x, y, MODE_OR, ret);
}

int lang_minus(struct lang_work w, const struct lang *x, const struct lang *y,
               const struct lang **ret)
{
    return product(w, x, y, MODE_MINUS, ret);
}

/* ---- questions ---- */

/* States in the order in which they are first left by nothing (Kahn, 1962); those of a circle, and
 * what is behind it, are missing. Returns how many. */
static int in_order(const struct lang *l, int *n_in, int *order)
{
    int n = 0;
    for (int e = 0; e < l->first[l->n_state]; e++)
        n_in[l->edge[e].next]++;
    if (n_in[0] == 0) /* all others are reached from it */
        order[n++] = 0;
    for (int i = 0; i < n; i++)
        for (int e = l->first[order[i]]; e < l->first[order[i] + 1]; e++)
            if (--n_in[l->edge[e].next] == 0)
                order[n++] = l->edge[e].next;
    return n;
}

/* Breadth first. */
static int64_t shortest_word(const struct lang *l, int *distance, int *queue)
{
    int n = 1;
    queue[0] = 0;
    distance[0] = 1; /* one more than it is; 0: not met */
    for (int i = 0; i < n; i++) {
        int s = queue[i];
        if (l->accept[s])
            return distance[s] - 1;
        for (int e = l->first[s]; e < l->first[s + 1]; e++) {
            int next = l->edge[e].next;
            if (distance[next] == 0) {
                distance[next] = distance[s] + 1;
                queue[n++] = next;
            }
        }
    }
    return 0;
}

int lang_lengths(const struct lang *l, int64_t *ret_shortest, int64_t *ret_longest)
{
    size_t n = (size_t)l->n_state;
    int *count = mem_try_array(n, sizeof(int)), *list = mem_try_array(n, sizeof(int));
    int *depth = mem_try_array(n, sizeof(int)), rc = count && list && depth ? 0 : ERR_NOMEM;
    if (rc == 0) {
        *ret_shortest = shortest_word(l, depth, list);
        memset(depth, 0, n * sizeof(int));
        *ret_longest = in_order(l, count, list) == l->n_state ? 0 : -1;
    }
    for (int i = 0; rc == 0 && *ret_longest >= 0 && i < l->n_state; i++) {
        int s = list[i];
        if (l->accept[s] && depth[s] > *ret_longest)
            *ret_longest = depth[s];
        for (int e = l->first[s]; e < l->first[s + 1]; e++)
            if (depth[l->edge[e].next] <= depth[s])
                depth[l->edge[e].next] = depth[s] + 1;
    }
    free(count);
    free(list);
    free(depth);
    return rc;
}

bool lang_accepts(const struct lang *l, struct str text)
{
    int s = 0;
    for (size_t i = 0; l && i < text.len;) {
        int32_t c = lang_next_char(text, &i);
        int e = l->first[s], end = l->first[s + 1];
        while (e < end && (c < 0 || l->edge[e].to < (uint32_t)c))
            e++;
        if (e == end || l->edge[e].from > (uint32_t)c)
            return false;
        s = l->edge[e].next;
    }
    return l && l->accept[s];
}
