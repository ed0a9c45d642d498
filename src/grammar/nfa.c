/*
 * nfa: see the header.
 */
#include "grammar/nfa.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_UNKNOWN (1u << 28) /* recursive, or with calls */
#define INLINE_MAX   8          /* states of what is copied to each place that uses it ... */
#define INLINE_LOOP  64         /* ... and to the inside of a loop */
#define EXPAND_MAX   64         /* states that a counted repetition may become instead */
#define NEST_MAX     100        /* of C calls while one automaton is made */
#define SIZE_ROUNDS  32

struct builder {
    const struct grammar_builder *b;
    struct nfa *n;
    uint32_t *refs;    /* [n_expr] */
    uint32_t *size;    /* [n_expr] states, roughly */
    uint32_t *proc_of; /* [n_expr] or NFA_NONE */
    uint32_t *special_of;
    bool is_broken; /* a rule without a body */
};

/* ---- parts ---- */

bool nfa_add_state(struct nfa *n, uint32_t *ret)
{
    if (!mem_grow((void **)&n->first_edge, &n->cap_state, n->n_state + 1, NFA_STATES_MAX,
                  sizeof(*n->first_edge)))
        return false;
    n->first_edge[n->n_state] = NFA_NONE;
    *ret = (uint32_t)n->n_state++;
    return true;
}

bool nfa_add_edge(struct nfa *n, const struct nfa_edge *e)
{
    if (!mem_grow((void **)&n->edge, &n->cap_edge, n->n_edge + 1, NFA_EDGES_MAX, sizeof(*e)))
        return false;
    n->edge[n->n_edge] = *e;
    n->edge[n->n_edge].next = n->first_edge[e->source];
    n->first_edge[e->source] = (uint32_t)n->n_edge++;
    return true;
}

/* Bytes of one loop come one after the other: neighbours become one edge. */
bool nfa_add_bytes(struct nfa *n, uint32_t source, uint8_t from, uint8_t to, uint32_t target)
{
    uint32_t last = n->first_edge[source];
    if (last != NFA_NONE && n->edge[last].kind == NFA_BYTE && n->edge[last].target == target &&
        n->edge[last].to + 1 == from) {
        n->edge[last].to = to;
        return true;
    }
    struct nfa_edge e = {
        .source = source, .target = target, .kind = NFA_BYTE, .from = from, .to = to};
    return nfa_add_edge(n, &e);
}

static bool add_epsilon(struct nfa *n, uint32_t source, uint32_t target)
{
    struct nfa_edge e = {.source = source, .target = target, .kind = NFA_EPSILON};
    return nfa_add_edge(n, &e);
}

void nfa_release(struct nfa *n)
{
    free(n->edge);
    free(n->first_edge);
    free(n->proc);
    free(n->special);
    *n = (struct nfa){0};
}

/* ---- what is used how often, and how large it is ---- */

static const struct expr *expr_at(const struct builder *c, gexpr e)
{
    return &c->b->expr[e];
}

static const gexpr *children(const struct builder *c, gexpr e)
{
    return c->b->list + expr_at(c, e)->at;
}

/* Counts the users of everything that root reaches. */
static bool count_refs(struct builder *c, gexpr root)
{
    gexpr *todo = mem_try_array(c->b->n_expr + 1, sizeof(*todo));
    size_t n = 0;
    if (!todo)
        return false;
    todo[n++] = root;
    c->refs[root]++;
    while (n > 0) {
        gexpr e = todo[--n], body = expr_at(c, e)->min;
        uint32_t n_child = expr_n_children(expr_at(c, e));
        const gexpr *child = children(c, e);
        if (expr_at(c, e)->kind == EXPR_RULE) {
            c->is_broken = c->is_broken || body < 0;
            n_child = body >= 0;
            child = &body;
        }
        for (uint32_t i = 0; i < n_child; i++)
            if (c->refs[child[i]]++ == 0)
                todo[n++] = child[i];
    }
    free(todo);
    return true;
}

static uint32_t repeat_size(const struct expr *x, uint32_t child)
{
    uint64_t times = x->max < 0 ? (uint64_t)x->min + (x->min == 0) : (uint64_t)x->max;
    uint64_t size = times * ((uint64_t)child + 1);
    return size <= EXPAND_MAX || (x->max < 0 && x->min <= 1) ? (uint32_t)size : SIZE_UNKNOWN;
}

static uint32_t size_once(const struct builder *c, gexpr e)
{
    const struct expr *x = expr_at(c, e);
    const gexpr *child = children(c, e);
    uint64_t size = 1;
    switch (x->kind) {
    case EXPR_LITERAL:
        return x->n;
    case EXPR_CHARS:
        return c->b->range[x->at + x->n - 1].to < 0x80 ? 1 : 4 + x->n;
    case EXPR_SPECIAL:
        return SIZE_UNKNOWN;
    case EXPR_RULE:
        return x->min < 0 ? SIZE_UNKNOWN : c->size[x->min];
    case EXPR_REPEAT:
        return c->size[*child] >= SIZE_UNKNOWN ? SIZE_UNKNOWN : repeat_size(x, c->size[*child]);
    default:
        for (uint32_t i = 0; i < expr_n_children(x); i++)
            size += c->size[child[i]];
        return size < SIZE_UNKNOWN ? (uint32_t)size : SIZE_UNKNOWN;
    }
}

/* Rules that use rules that are defined later are known after a round more; who is not known in
 * the end is recursive, or as good as that. */
static void find_sizes(struct builder *c)
{
    for (size_t i = 0; i < c->b->n_expr; i++)
        c->size[i] = SIZE_UNKNOWN;
    bool changed = true;
    for (int round = 0; changed && round < SIZE_ROUNDS; round++) {
        changed = false;
        for (size_t i = 0; i < c->b->n_expr; i++) {
            uint32_t size = size_once(c, (gexpr)i);
            changed = changed || size != c->size[i];
            c->size[i] = size;
        }
    }
}

/* ---- from expressions to states ---- */

static bool build(struct builder *c, gexpr e, uint32_t from, uint32_t to, int depth, bool in_loop);

static bool find_proc(struct builder *c, gexpr e, uint32_t *ret)
{
    struct nfa *n = c->n;
    if (c->proc_of[e] == NFA_NONE) {
        if (!mem_grow((void **)&n->proc, &n->cap_proc, n->n_proc + 1, NFA_PROCS_MAX,
                      sizeof(*n->proc)))
            return false;
        n->proc[n->n_proc] = (struct nfa_proc){.expr = e, .body = NFA_NONE};
        c->proc_of[e] = (uint32_t)n->n_proc++;
    }
    *ret = c->proc_of[e];
    return true;
}

static bool add_call(struct builder *c, gexpr e, uint32_t special, uint32_t from, uint32_t to)
{
    struct nfa_edge call = {.source = from, .target = to, .kind = NFA_CALL, .special = special};
    return find_proc(c, e, &call.proc) && nfa_add_edge(c->n, &call);
}

static bool is_called(const struct builder *c, gexpr e, int depth, bool in_loop)
{
    const struct expr *x = expr_at(c, e);
    if (x->kind == EXPR_LITERAL || x->kind == EXPR_CHARS || x->kind == EXPR_EMPTY ||
        x->kind == EXPR_NEVER || x->kind == EXPR_SPECIAL)
        return false;
    if (depth > NEST_MAX)
        return true;
    return c->refs[e] > 1 && c->size[e] > (in_loop ? INLINE_LOOP : INLINE_MAX);
}

static bool build_seq(struct builder *c, gexpr e, uint32_t from, uint32_t to, int depth,
                      bool in_loop)
{
    uint32_t n = expr_at(c, e)->n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t next = to;
        if (i + 1 < n && !nfa_add_state(c->n, &next))
            return false;
        if (!build(c, children(c, e)[i], from, next, depth, in_loop))
            return false;
        from = next;
    }
    return true;
}

static bool build_literal(struct builder *c, gexpr e, uint32_t from, uint32_t to)
{
    const struct expr *x = expr_at(c, e);
    for (uint32_t i = 0; i < x->n; i++) {
        uint32_t next = to;
        if (i + 1 < x->n && !nfa_add_state(c->n, &next))
            return false;
        uint8_t byte = c->b->byte[x->at + i];
        if (!nfa_add_bytes(c->n, from, byte, byte, next))
            return false;
        from = next;
    }
    return true;
}

static bool build_search(struct builder *c, gexpr e, uint32_t from, uint32_t to)
{
    const struct expr *x = expr_at(c, e);
    struct str *needle = mem_try_array(x->n, sizeof(*needle));
    if (!needle)
        return false;
    for (uint32_t i = 0; i < x->n; i++) {
        const struct expr *l = expr_at(c, children(c, e)[i]);
        needle[i] = (struct str){(const char *)c->b->byte + l->at, l->n};
    }
    bool ok = nfa_add_search(c->n, needle, x->n, x->kind == EXPR_UNTIL, from, to);
    free(needle);
    return ok;
}

static bool build_loop(struct builder *c, gexpr child, bool at_least_once, uint32_t from,
                       uint32_t to, int depth)
{
    uint32_t first, last;
    if (!nfa_add_state(c->n, &first) || !nfa_add_state(c->n, &last))
        return false;
    return add_epsilon(c->n, from, first) && build(c, child, first, last, depth, true) &&
           add_epsilon(c->n, last, first) && add_epsilon(c->n, last, to) &&
           (at_least_once || add_epsilon(c->n, first, to));
}

/* Copies of the child, one behind the other. */
static bool build_copies(struct builder *c, gexpr e, uint32_t from, uint32_t to, int depth)
{
    const struct expr x = *expr_at(c, e);
    gexpr child = *children(c, e);
    int32_t n = x.max < 0 ? x.min - 1 : x.max;
    for (int32_t i = 0; i < n; i++) {
        uint32_t next;
        if (i >= x.min && !add_epsilon(c->n, from, to))
            return false;
        if (!nfa_add_state(c->n, &next) || !build(c, child, from, next, depth, false))
            return false;
        from = next;
    }
    return x.max < 0 ? build_loop(c, child, x.min > 0, from, to, depth)
                     : add_epsilon(c->n, from, to);
}

/* Is it built as copies of its child, or does it count? */
static bool is_counted(const struct builder *c, gexpr e, int depth)
{
    const struct expr *x = expr_at(c, e);
    gexpr child = *children(c, e);
    if (x->kind != EXPR_REPEAT || (x->max < 0 && x->min <= 1) || x->max == 1)
        return false;
    uint64_t each = is_called(c, child, depth, false) ? 1 : c->size[child];
    return (uint64_t)(x->max < 0 ? x->min : x->max) * (each + 1) > EXPAND_MAX;
}

static bool build_repeat(struct builder *c, gexpr e, uint32_t from, uint32_t to, int depth)
{
    return is_counted(c, e, depth) ? add_call(c, e, NFA_NONE, from, to)
                                   : build_copies(c, e, from, to, depth);
}

static bool build_special(struct builder *c, gexpr e, uint32_t from, uint32_t to)
{
    struct nfa *n = c->n;
    gexpr text = *children(c, e);
    if (c->special_of[e] == NFA_NONE) {
        if (!mem_grow((void **)&n->special, &n->cap_special, n->n_special + 1, EXPRS_MAX,
                      sizeof(*n->special)))
            return false;
        n->special[n->n_special] = text;
        c->special_of[e] = (uint32_t)n->n_special++;
    }
    return add_call(c, text, c->special_of[e], from, to);
}

/* Of an expression whose place this is. */
static bool build_inside(struct builder *c, gexpr e, uint32_t from, uint32_t to, int depth,
                         bool in_loop)
{
    const struct expr *x = expr_at(c, e);
    switch ((enum expr_kind)x->kind) {
    case EXPR_EMPTY:
        return add_epsilon(c->n, from, to);
    case EXPR_NEVER:
        return true;
    case EXPR_LITERAL:
        return build_literal(c, e, from, to);
    case EXPR_CHARS:
        return nfa_add_chars(c->n, c->b->range + x->at, x->n, from, to);
    case EXPR_SEQ:
        return build_seq(c, e, from, to, depth, in_loop);
    case EXPR_ALT:
        for (uint32_t i = 0; i < x->n; i++)
            if (!build(c, children(c, e)[i], from, to, depth, in_loop))
                return false;
        return true;
    case EXPR_REPEAT:
        return build_repeat(c, e, from, to, depth);
    case EXPR_UNTIL:
    case EXPR_WITHOUT:
        return build_search(c, e, from, to);
    case EXPR_SPECIAL:
        return build_special(c, e, from, to);
    case EXPR_RULE:
        return build(c, x->min, from, to, depth, in_loop);
    }
    return false;
}

static bool build(struct builder *c, gexpr e, uint32_t from, uint32_t to, int depth, bool in_loop)
{
    if (is_called(c, e, depth, in_loop))
        return add_call(c, e, NFA_NONE, from, to);
    return build_inside(c, e, from, to, depth + 1, in_loop);
}

static bool build_proc(struct builder *c, uint32_t i)
{
    struct nfa *n = c->n;
    struct nfa_proc p = n->proc[i];
    p.first = (uint32_t)n->n_state;
    if (!nfa_add_state(n, &p.start) || !nfa_add_state(n, &p.accept))
        return false;
    const struct expr *x = expr_at(c, p.expr);
    if (x->kind == EXPR_REPEAT && is_counted(c, p.expr, 1)) {
        p.is_counted = true;
        p.min = x->min;
        p.max = x->max;
        if (!find_proc(c, *children(c, p.expr), &p.body))
            return false;
    } else if (!build_inside(c, p.expr, p.start, p.accept, 1, false)) {
        return false;
    }
    p.n_state = (uint32_t)n->n_state - p.first;
    n->proc[i] = p;
    return true;
}

static bool builder_init(struct builder *c)
{
    size_t n = c->b->n_expr;
    c->refs = mem_try_array(n, sizeof(*c->refs));
    c->size = mem_try_array(n, sizeof(*c->size));
    c->proc_of = mem_try_array(n, sizeof(*c->proc_of));
    c->special_of = mem_try_array(n, sizeof(*c->special_of));
    if (!c->refs || !c->size || !c->proc_of || !c->special_of)
        return false;
    memset(c->proc_of, 0xff, n * sizeof(*c->proc_of));
    memset(c->special_of, 0xff, n * sizeof(*c->special_of));
    return true;
}

static int build_all(struct builder *c, gexpr root, struct err *err)
{
    uint32_t first;
    if (!builder_init(c) || !count_refs(c, root))
        return err_set(err, ERR_NOMEM, "no memory for a grammar");
    if (c->is_broken)
        return err_set(err, ERR_INVALID, "a rule of the grammar is used but not defined");
    find_sizes(c);
    bool ok = find_proc(c, root, &first);
    c->proc_of[root] = NFA_NONE; /* proc 0 is only the whole: nobody calls it */
    for (uint32_t i = 0; ok && i < c->n->n_proc; i++)
        ok = build_proc(c, i);
    return ok ? 0 : err_set(err, ERR_LIMIT, "the grammar is too large");
}

int nfa_build(const struct grammar_builder *b, gexpr root, struct nfa *ret, struct err *err)
{
    struct builder c = {.b = b, .n = ret};
    *ret = (struct nfa){0};
    int rc = build_all(&c, root, err);
    free(c.refs);
    free(c.size);
    free(c.proc_of);
    free(c.special_of);
    if (rc != 0)
        nfa_release(ret);
    return rc;
}
