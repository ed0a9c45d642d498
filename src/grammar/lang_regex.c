/*
 * lang: of a pattern. The expression that regex.c builds becomes an automaton over code points,
 * which the subset construction makes deterministic.
 */
#include "base/mem.h"
#include "grammar/expr.h"
#include "grammar/lang.h"
#include "grammar/regex.h"

#include <stdlib.h>
#include <string.h>

#define NFA_MAX   65536
#define NEST_MAX  200
#define SET_MAX   (4u << 20)  /* members of all sets together */
#define LOOKS_MAX (32u << 20) /* at a step from a set's member, for one pattern */
#define NO_STATE  (-1)

struct step { /* from a state on characters, or on none: from > to */
    uint32_t from, to;
    int source, target, next;
};

struct walker {
    const struct grammar_builder *b;
    struct step *step;
    int *first; /* [n_state] */
    size_t n_state, cap_state, n_step, cap_step;
};

static int new_state(struct walker *w)
{
    if (!mem_grow((void **)&w->first, &w->cap_state, w->n_state + 1, NFA_MAX, sizeof(int)))
        return NO_STATE;
    w->first[w->n_state] = NO_STATE;
    return (int)w->n_state++;
}

static bool link_states(struct walker *w, int source, uint32_t from, uint32_t to, int target)
{
    if (source < 0 || target < 0 ||
        !mem_grow((void **)&w->step, &w->cap_step, w->n_step + 1, 4 * NFA_MAX, sizeof(*w->step)))
        return false;
    w->step[w->n_step] = (struct step){from, to, source, target, w->first[source]};
    w->first[source] = (int)w->n_step++;
    return true;
}

static bool link_empty(struct walker *w, int source, int target)
{
    return link_states(w, source, 1, 0, target);
}

/* The state after the expression, or NO_STATE. */
static int walk(struct walker *w, gexpr e, int at, int depth);

static int walk_literal(struct walker *w, const struct expr *x, int at)
{
    struct str text = {(const char *)w->b->byte + x->at, x->n};
    for (size_t i = 0; i < text.len;) {
        int32_t c = lang_next_char(text, &i);
        int next = new_state(w);
        if (c < 0 || !link_states(w, at, (uint32_t)c, (uint32_t)c, next))
            return NO_STATE;
        at = next;
    }
    return at;
}

static int walk_repeat(struct walker *w, const struct expr *x, int at, int depth)
{
    gexpr child = w->b->list[x->at];
    int end = new_state(w);
    for (int32_t i = 0; at >= 0 && i < x->min; i++)
        at = walk(w, child, at, depth);
    if (x->max < 0) {
        int loop = new_state(w);
        if (!link_empty(w, at, loop))
            return NO_STATE;
        int back = walk(w, child, loop, depth);
        return link_empty(w, back, loop) && link_empty(w, loop, end) ? end : NO_STATE;
    }
    for (int32_t i = x->min; at >= 0 && i < x->max; i++) {
        if (!link_empty(w, at, end))
            return NO_STATE;
        at = walk(w, child, at, depth);
    }
    return link_empty(w, at, end) ? end : NO_STATE;
}

static int walk_alt(struct walker *w, const struct expr *x, int at, int depth)
{
    int end = new_state(w);
    for (uint32_t i = 0; i < x->n; i++) {
        int from = new_state(w);
        if (!link_empty(w, at, from) ||
            !link_empty(w, walk(w, w->b->list[x->at + i], from, depth), end))
            return NO_STATE;
    }
    return end;
}

static int walk(struct walker *w, gexpr e, int at, int depth)
{
    const struct expr *x = &w->b->expr[e];
    int end;
    if (at < 0 || depth > NEST_MAX)
        return NO_STATE;
    switch ((enum expr_kind)x->kind) {
    case EXPR_EMPTY:
        return at;
    case EXPR_NEVER:
        return new_state(w);
    case EXPR_LITERAL:
        return walk_literal(w, x, at);
    case EXPR_CHARS:
        end = new_state(w);
        for (uint32_t i = 0; i < x->n; i++) {
            const struct grammar_range *r = &w->b->range[x->at + i];
            if (!link_states(w, at, r->from, r->to, end))
                return NO_STATE;
        }
        return end;
    case EXPR_SEQ:
        for (uint32_t i = 0; at >= 0 && i < x->n; i++)
            at = walk(w, w->b->list[x->at + i], at, depth + 1);
        return at;
    case EXPR_ALT:
        return walk_alt(w, x, at, depth + 1);
    case EXPR_REPEAT:
        return walk_repeat(w, x, at, depth + 1);
    case EXPR_RULE:
        return x->min < 0 ? NO_STATE : walk(w, x->min, at, depth + 1);
    default:
        return NO_STATE;
    }
}

/* ---- the subset construction ---- */

struct subsets {
    const struct walker *w;
    int accept;
    int *member;   /* all sets, one behind the other */
    size_t *start; /* [n_set + 1] */
    size_t n_set, cap_start, n_member, cap_member;
    int *slot;     /* set + 1 by hash */
    bool *seen;    /* [n_state of w] */
    uint32_t *cut; /* where edges of the set at hand begin or end */
    size_t cap_cut;
    uint64_t n_looks;
};

static int cmp_int(const void *x, const void *y)
{
    int a = *(const int *)x, b = *(const int *)y;
    return a < b ? -1 : a > b;
}

static int cmp_u32(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

static bool push(struct subsets *s, int state)
{
    if (s->seen[state])
        return true;
    if (!mem_grow((void **)&s->member, &s->cap_member, s->n_member + 1, SET_MAX, sizeof(int)))
        return false;
    s->seen[state] = true;
    s->member[s->n_member++] = state;
    return true;
}

/* The set that stands behind the last one, closed under empty steps: its number, old or new. */
static int close_set(struct subsets *s)
{
    size_t from = s->start[s->n_set];
    bool ok = true;
    for (size_t i = from; ok && i < s->n_member; i++)
        for (int e = s->w->first[s->member[i]]; ok && e >= 0; e = s->w->step[e].next, s->n_looks++)
            if (s->w->step[e].from > s->w->step[e].to)
                ok = push(s, s->w->step[e].target);
    size_t n = s->n_member - from;
    uint64_t hash = n;
    for (size_t i = from; i < s->n_member; i++)
        s->seen[s->member[i]] = false;
    if (!ok)
        return ERR_LIMIT;
    qsort(s->member + from, n, sizeof(int), cmp_int);
    for (size_t i = from; i < s->n_member; i++)
        hash = (hash ^ (uint64_t)s->member[i]) * 0x100000001b3u;
    size_t mask = 4 * LANG_STATES_MAX - 1, at = (hash ^ hash >> 29) & mask;
    for (; s->slot[at] != 0; at = (at + 1) & mask) {
        size_t k = (size_t)s->slot[at] - 1, len = s->start[k + 1] - s->start[k];
        if (len == n && memcmp(s->member + s->start[k], s->member + from, n * sizeof(int)) == 0) {
            s->n_member = from;
            return (int)k;
        }
    }
    if (!mem_grow((void **)&s->start, &s->cap_start, s->n_set + 2, LANG_STATES_MAX + 1,
                  sizeof(size_t)))
        return ERR_LIMIT;
    s->slot[at] = (int)++s->n_set;
    s->start[s->n_set] = s->n_member;
    return (int)s->n_set - 1;
}

/* Where the characters of the set's steps begin, and where they are over. */
static bool find_cuts(struct subsets *s, size_t set, size_t *ret)
{
    size_t n = 0;
    for (size_t i = s->start[set]; i < s->start[set + 1]; i++)
        for (int e = s->w->first[s->member[i]]; e >= 0; e = s->w->step[e].next) {
            if (s->w->step[e].from > s->w->step[e].to)
                continue;
            if (!mem_grow((void **)&s->cut, &s->cap_cut, n + 2, 8 * NFA_MAX, sizeof(*s->cut)))
                return false;
            s->cut[n++] = s->w->step[e].from;
            s->cut[n++] = s->w->step[e].to + 1;
        }
    qsort(s->cut, n, sizeof(*s->cut), cmp_u32);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || s->cut[kept - 1] != s->cut[i])
            s->cut[kept++] = s->cut[i];
    *ret = kept;
    return true;
}

static int set_after(struct subsets *s, size_t set, uint32_t c)
{
    for (size_t i = s->start[set]; i < s->start[set + 1]; i++)
        for (int e = s->w->first[s->member[i]]; e >= 0; e = s->w->step[e].next, s->n_looks++)
            if (s->w->step[e].from <= c && c <= s->w->step[e].to && !push(s, s->w->step[e].target))
                return ERR_LIMIT;
    if (s->n_looks > LOOKS_MAX)
        return ERR_LIMIT;
    return s->n_member == s->start[s->n_set] ? NO_STATE : close_set(s);
}

static bool has_accept(const struct subsets *s, size_t set)
{
    for (size_t i = s->start[set]; i < s->start[set + 1]; i++)
        if (s->member[i] == s->accept)
            return true;
    return false;
}

static bool subset_state(struct subsets *s, struct lang_maker *m, size_t set)
{
    size_t n_cut;
    if (!lang_add_state(m, has_accept(s, set)) || !find_cuts(s, set, &n_cut))
        return false;
    for (size_t i = 0; i + 1 < n_cut; i++) {
        int next = set_after(s, set, s->cut[i]);
        if (next == ERR_LIMIT ||
            (next >= 0 && !lang_add_edge(m, s->cut[i], s->cut[i + 1] - 1, next)))
            return false;
    }
    return true;
}

static int determinize(struct arena *a, const struct walker *w, int accept, const struct lang **ret,
                       uint64_t *ret_looks)
{
    struct subsets s = {.w = w, .accept = accept};
    struct lang_maker m = {0};
    s.slot = mem_try_array(4 * LANG_STATES_MAX, sizeof(int));
    s.seen = mem_try_array(w->n_state, 1);
    bool ok = s.slot && s.seen &&
              mem_grow((void **)&s.start, &s.cap_start, 1, LANG_STATES_MAX, sizeof(size_t));
    if (ok) {
        s.start[0] = 0;
        ok = push(&s, 0) && close_set(&s) == 0;
    }
    for (size_t set = 0; ok && set < s.n_set; set++)
        ok = subset_state(&s, &m, set);
    *ret_looks = s.n_looks;
    free(s.slot);
    free(s.seen);
    free(s.member);
    free(s.start);
    free(s.cut);
    return lang_finish(a, &m, ok, ret);
}

int lang_regex(struct arena *a, struct str pattern, const struct lang **ret, uint64_t *ret_looks,
               struct err *err)
{
    const struct regex_options search = {.search = true};
    struct grammar_builder *b = grammar_builder_new();
    struct walker w = {.b = b};
    *ret = NULL;
    *ret_looks = 0;
    gexpr e = regex_expr(b, pattern, &search, "", err);
    int rc = e < 0 ? (err && err->code != 0 ? err->code : ERR_INVALID) : 0;
    if (rc == 0) {
        int accept = walk(&w, e, new_state(&w), 0);
        rc = accept < 0 ? ERR_LIMIT : determinize(a, &w, accept, ret, ret_looks);
        if (rc == ERR_LIMIT)
            err_set(err, ERR_LIMIT, "too large to be combined with what stands beside it");
    }
    free(w.step);
    free(w.first);
    grammar_builder_free(b);
    return rc;
}
