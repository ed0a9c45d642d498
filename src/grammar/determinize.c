/*
 * determinize: automaton_make. See automaton.h.
 *
 * A state of an automaton is a set of those of the nfa (Rabin and Scott, 1959), as long as there
 * are not many more of them; else the automaton keeps the states of the nfa. Its first state is
 * never entered again, so that it alone does not accept.
 */
#include "base/mem.h"
#include "grammar/automaton.h"
#include "grammar/nfa_facts.h"

#include <stdlib.h>
#include <string.h>

#define STATES_MAX     (1u << 20)
#define EDGES_MAX      (4u << 20)
#define ROWS_MAX       2048 /* tables of 256 targets: for states with ROW_EDGES or more */
#define ROW_EDGES      4
#define SETS_PER_STATE 4 /* more, and the automaton stays as it is */
#define SETS_LEAST     64
#define WORK_PER_STATE 4096         /* likewise, in looks at an edge ... */
#define WORK_MAX       (100u << 20) /* ... and for all of them together */

struct set {
    uint32_t at, n; /* members in `pool`, ascending */
    uint64_t hash;
};

struct maker {
    const struct nfa *n;
    struct grammar *g;
    struct nfa_facts facts;
    uint32_t *start_of; /* [n_proc] */
    const struct nfa_proc *p;
    uint32_t base; /* state of set 0 */
    struct set *set;
    uint32_t *pool, *slot, *todo;
    size_t n_set, cap_set, n_pool, cap_pool, n_slot, cap_todo;
    uint32_t *mark; /* [n_state of the nfa] the last closure that it was in */
    uint32_t stamp;
    uint64_t work, work_max, work_all;
};

/* ---- what is appended to the grammar ---- */

static bool add_state(struct grammar *g, uint8_t flags)
{
    if (!mem_grow((void **)&g->state, &g->cap_state, g->n_state + 1, STATES_MAX, sizeof(*g->state)))
        return false;
    g->state[g->n_state++] = (struct state){.edge = (uint32_t)g->n_edge,
                                            .call = (uint32_t)g->n_call,
                                            .row = STATE_NONE,
                                            .flags = flags};
    return true;
}

/* To the last state. */
static bool add_edge(struct grammar *g, uint8_t from, uint8_t to, uint32_t target)
{
    struct state *s = &g->state[g->n_state - 1];
    if (s->n_edge == UINT16_MAX ||
        !mem_grow((void **)&g->edge, &g->cap_edge, g->n_edge + 1, EDGES_MAX, sizeof(*g->edge)))
        return false;
    struct byte_edge *last = s->n_edge > 0 ? &g->edge[g->n_edge - 1] : NULL;
    if (last && last->target == target && last->to + 1 == from) {
        last->to = to;
        return true;
    }
    g->edge[g->n_edge++] = (struct byte_edge){from, to, target};
    s->n_edge++;
    return true;
}

static bool add_call(struct grammar *g, uint32_t start, uint32_t ret, uint32_t special)
{
    if (!mem_grow((void **)&g->call, &g->cap_call, g->n_call + 1, EDGES_MAX, sizeof(*g->call)))
        return false;
    g->call[g->n_call++] = (struct call_edge){start, ret, special};
    g->state[g->n_state - 1].n_call++;
    return true;
}

/* ---- sets ---- */

static bool can_vanish(const struct maker *m, uint32_t proc)
{
    return m->facts.can_vanish[m->n->proc[proc].start];
}

/* Is it anything but a way to others? */
static bool is_member(const struct maker *m, uint32_t q)
{
    if (q == m->p->accept)
        return true;
    for (uint32_t i = m->n->first_edge[q]; i != NFA_NONE; i = m->n->edge[i].next)
        if (m->n->edge[i].kind != NFA_EPSILON && m->facts.can_end[m->n->edge[i].target])
            return true;
    return false;
}

static bool mark_state(struct maker *m, uint32_t q, size_t *n_todo)
{
    if (m->mark[q] == m->stamp || !m->facts.can_end[q])
        return true;
    m->mark[q] = m->stamp;
    if (!mem_grow((void **)&m->todo, &m->cap_todo, *n_todo + 1, NFA_STATES_MAX + 1,
                  sizeof(*m->todo)))
        return false;
    m->todo[(*n_todo)++] = q;
    return true;
}

static int cmp_u32(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

/* Follows moves without a byte from todo[0, n_todo), which are marked; the members go to the end of
 * the pool, in order. */
static bool close_set(struct maker *m, size_t n_todo, struct set *ret)
{
    ret->at = (uint32_t)m->n_pool;
    while (n_todo > 0) {
        uint32_t q = m->todo[--n_todo];
        m->work++;
        if (is_member(m, q)) {
            if (!mem_grow((void **)&m->pool, &m->cap_pool, m->n_pool + 1, EDGES_MAX,
                          sizeof(*m->pool)))
                return false;
            m->pool[m->n_pool++] = q;
        }
        for (uint32_t i = m->n->first_edge[q]; i != NFA_NONE; i = m->n->edge[i].next) {
            const struct nfa_edge *e = &m->n->edge[i];
            bool passes = e->kind == NFA_EPSILON || (e->kind == NFA_CALL && can_vanish(m, e->proc));
            m->work++;
            if (passes && !mark_state(m, e->target, &n_todo))
                return false;
        }
    }
    ret->n = (uint32_t)m->n_pool - ret->at;
    qsort(m->pool + ret->at, ret->n, sizeof(*m->pool), cmp_u32);
    ret->hash = 0xcbf29ce484222325u;
    for (uint32_t i = 0; i < ret->n; i++)
        ret->hash = (ret->hash ^ m->pool[ret->at + i]) * 0x9e3779b97f4a7c15u;
    ret->hash ^= ret->hash >> 31;
    return true;
}

static bool grow_slots(struct maker *m)
{
    size_t n = m->n_slot ? m->n_slot * 2 : 256;
    uint32_t *slot = mem_try_array(n, sizeof(*slot));
    if (!slot)
        return false;
    for (uint32_t i = 1; i < m->n_set; i++) {
        size_t at = m->set[i].hash & (n - 1);
        while (slot[at])
            at = (at + 1) & (n - 1);
        slot[at] = i;
    }
    free(m->slot);
    m->slot = slot;
    m->n_slot = n;
    return true;
}

static bool push_set(struct maker *m, const struct set *s)
{
    if (!mem_grow((void **)&m->set, &m->cap_set, m->n_set + 1, STATES_MAX, sizeof(*m->set)))
        return false;
    m->set[m->n_set++] = *s;
    return true;
}

/* The state of the set, whose members are the last of the pool; a new one is appended. Set 0, the
 * first state, is never found. */
static bool find_set(struct maker *m, const struct set *s, uint32_t *ret)
{
    if (m->n_slot < (m->n_set + 1) * 2 && !grow_slots(m))
        return false;
    size_t at = s->hash & (m->n_slot - 1);
    for (; m->slot[at]; at = (at + 1) & (m->n_slot - 1)) {
        const struct set *old = &m->set[m->slot[at]];
        if (old->hash != s->hash || old->n != s->n ||
            memcmp(m->pool + old->at, m->pool + s->at, s->n * sizeof(*m->pool)) != 0)
            continue;
        m->n_pool = s->at;
        *ret = m->base + m->slot[at];
        return true;
    }
    m->slot[at] = (uint32_t)m->n_set;
    *ret = m->base + (uint32_t)m->n_set;
    return push_set(m, s);
}

/* ---- one state from a set ---- */

/* Who is in the set, and what is read or called there. */
static bool find_cuts(struct maker *m, const struct set *s, bool cut[257], bool *ret_accepts)
{
    *ret_accepts = false;
    bool any = false;
    for (uint32_t k = 0; k < s->n; k++) {
        uint32_t q = m->pool[s->at + k];
        *ret_accepts = *ret_accepts || q == m->p->accept;
        for (uint32_t i = m->n->first_edge[q]; i != NFA_NONE; i = m->n->edge[i].next) {
            const struct nfa_edge *e = &m->n->edge[i];
            if (e->kind != NFA_BYTE)
                continue;
            any = cut[e->from] = cut[e->to + 1] = true;
        }
    }
    return any;
}

/* Where [from, from] leads. *ret is STATE_NONE when nowhere. */
static bool follow_byte(struct maker *m, const struct set *s, int from, uint32_t *ret)
{
    size_t n_todo = 0;
    m->stamp++;
    for (uint32_t k = 0; k < s->n; k++) {
        uint32_t q = m->pool[s->at + k];
        for (uint32_t i = m->n->first_edge[q]; i != NFA_NONE; i = m->n->edge[i].next) {
            const struct nfa_edge *e = &m->n->edge[i];
            m->work++;
            if (e->kind == NFA_BYTE && e->from <= from && from <= e->to &&
                !mark_state(m, e->target, &n_todo))
                return false;
        }
    }
    *ret = STATE_NONE;
    struct set to;
    return n_todo == 0 || (close_set(m, n_todo, &to) && find_set(m, &to, ret));
}

/* All returns of one call are one state. */
static bool follow_call(struct maker *m, const struct set *s, const struct nfa_edge *call,
                        uint32_t *ret)
{
    size_t n_todo = 0;
    m->stamp++;
    for (uint32_t k = 0; k < s->n; k++) {
        uint32_t q = m->pool[s->at + k];
        for (uint32_t i = m->n->first_edge[q]; i != NFA_NONE; i = m->n->edge[i].next) {
            const struct nfa_edge *e = &m->n->edge[i];
            m->work++;
            if (e->kind == NFA_CALL && e->proc == call->proc && e->special == call->special &&
                !mark_state(m, e->target, &n_todo))
                return false;
        }
    }
    *ret = STATE_NONE;
    struct set to;
    return n_todo == 0 || (close_set(m, n_todo, &to) && find_set(m, &to, ret));
}

static bool has_call(const struct maker *m, const struct nfa_edge *e)
{
    const struct state *s = &m->g->state[m->g->n_state - 1];
    for (uint32_t i = 0; i < s->n_call; i++)
        if (m->g->call[s->call + i].start == e->proc &&
            m->g->call[s->call + i].special == e->special)
            return true;
    return false;
}

static bool make_calls(struct maker *m, const struct set *s)
{
    for (uint32_t k = 0; k < s->n; k++) {
        uint32_t q = m->pool[s->at + k];
        for (uint32_t i = m->n->first_edge[q]; i != NFA_NONE; i = m->n->edge[i].next) {
            const struct nfa_edge *e = &m->n->edge[i];
            uint32_t ret;
            if (e->kind != NFA_CALL || !m->facts.can_end[m->n->proc[e->proc].start] ||
                has_call(m, e))
                continue;
            m->work += m->g->state[m->g->n_state - 1].n_call;
            if (!follow_call(m, s, e, &ret))
                return false;
            if (ret != STATE_NONE && !add_call(m->g, e->proc, ret, e->special))
                return false;
        }
    }
    return true;
}

static bool make_state(struct maker *m, uint32_t i_set)
{
    struct set s = m->set[i_set];
    bool cut[257] = {false}, accepts, ok = true;
    bool reads = find_cuts(m, &s, cut, &accepts);
    bool may_accept = i_set > 0 || m->p == m->n->proc;
    if (!add_state(m->g, accepts && may_accept ? STATE_ACCEPTS : 0))
        return false;
    for (int from = 0; ok && reads && from < 256;) {
        int end = from + 1;
        while (end < 256 && !cut[end])
            end++;
        uint32_t target;
        ok = follow_byte(m, &s, from, &target);
        if (ok && target != STATE_NONE)
            ok = add_edge(m->g, (uint8_t)from, (uint8_t)(end - 1), target);
        from = end;
    }
    return ok && make_calls(m, &s);
}

/* ---- one automaton ---- */

static uint32_t n_sets_max(const struct maker *m)
{
    return m->p->n_state * SETS_PER_STATE + SETS_LEAST;
}

/* False: memory, or it became too large. */
static bool make_sets(struct maker *m)
{
    struct set first;
    size_t n_todo = 0;
    m->base = (uint32_t)m->g->n_state;
    m->n_set = m->n_pool = 0;
    m->work = 0;
    m->work_max = (uint64_t)n_sets_max(m) * WORK_PER_STATE;
    free(m->slot); /* not cleared: it may be large, and this automaton small */
    m->slot = NULL;
    m->n_slot = 0;
    m->stamp++;
    if (!mark_state(m, m->p->start, &n_todo) || !close_set(m, n_todo, &first) ||
        !push_set(m, &first))
        return false;
    for (uint32_t i = 0; i < m->n_set; i++) {
        if (m->n_set > n_sets_max(m) || m->work > m->work_max || m->work_all > WORK_MAX)
            return false;
        uint64_t before = m->work;
        if (!make_state(m, i))
            return false;
        m->work_all += m->work - before;
    }
    m->start_of[m->p - m->n->proc] = m->base;
    return true;
}

/* The edges and calls of q, to the last state; with_moves: and its moves without a byte. */
static bool keep_edges(struct maker *m, uint32_t q, bool with_moves)
{
    uint32_t base = m->base - m->p->first;
    for (uint32_t i = m->n->first_edge[q]; i != NFA_NONE; i = m->n->edge[i].next) {
        const struct nfa_edge *e = &m->n->edge[i];
        if (!m->facts.can_end[e->target])
            continue;
        bool is_call = e->kind == NFA_CALL, ok = true;
        if (e->kind == NFA_BYTE)
            ok = add_edge(m->g, e->from, e->to, base + e->target);
        if (is_call && m->facts.can_end[m->n->proc[e->proc].start])
            ok = add_call(m->g, e->proc, base + e->target, e->special);
        bool moves = e->kind == NFA_EPSILON || (is_call && can_vanish(m, e->proc));
        if (ok && with_moves && moves)
            ok = add_call(m->g, STATE_NONE, base + e->target, STATE_NONE);
        if (!ok)
            return false;
    }
    return true;
}

/* The automaton as it is: its states, then one to begin with, which has all that can be done there
 * before a byte was read. */
static bool keep_states(struct maker *m)
{
    m->base = (uint32_t)m->g->n_state;
    for (uint32_t q = m->p->first; q < m->p->first + m->p->n_state; q++) {
        uint8_t accepts = q == m->p->accept ? STATE_ACCEPTS : 0;
        if (!add_state(m->g, accepts | STATE_OVERLAPS | STATE_JUMPS) || !keep_edges(m, q, true))
            return false;
    }
    struct set first;
    size_t n_todo = 0;
    m->stamp++;
    m->n_pool = 0;
    if (!mark_state(m, m->p->start, &n_todo) || !close_set(m, n_todo, &first))
        return false;
    bool accepts = m->p == m->n->proc && m->facts.can_vanish[m->p->start];
    m->start_of[m->p - m->n->proc] = (uint32_t)m->g->n_state;
    if (!add_state(m->g, STATE_OVERLAPS | (accepts ? STATE_ACCEPTS : 0)))
        return false;
    for (uint32_t i = 0; i < first.n; i++)
        if (!keep_edges(m, m->pool[first.at + i], false))
            return false;
    return true;
}

static bool make_counted(struct maker *m)
{
    const struct nfa_proc *body = &m->n->proc[m->p->body];
    uint32_t id = (uint32_t)m->g->n_state;
    m->start_of[m->p - m->n->proc] = id;
    if (!add_state(m->g, STATE_COUNTS))
        return false;
    struct state *s = &m->g->state[id];
    s->min = m->facts.can_vanish[body->start] || m->p->min < 1 ? 1 : m->p->min;
    s->max = m->p->max;
    return !m->facts.can_end[body->start] || add_call(m->g, m->p->body, id, STATE_NONE);
}

/* Of the whole when it is a repetition: one that may be none at all. */
static bool make_counted_root(struct maker *m)
{
    if (!make_counted(m))
        return false;
    uint32_t inner = m->start_of[0], outer = (uint32_t)m->g->n_state;
    m->start_of[0] = outer;
    bool vanishes = m->facts.can_vanish[m->p->start];
    return add_state(m->g, vanishes ? STATE_ACCEPTS : 0) &&
           add_call(m->g, (uint32_t)m->n->n_proc + inner, outer + 1, STATE_NONE) &&
           add_state(m->g, STATE_ACCEPTS);
}

static bool make_proc(struct maker *m)
{
    struct grammar *g = m->g;
    if (m->p->is_counted)
        return m->p == m->n->proc ? make_counted_root(m) : make_counted(m);
    size_t n_state = g->n_state, n_edge = g->n_edge, n_call = g->n_call;
    if (make_sets(m))
        return true;
    g->n_state = n_state;
    g->n_edge = n_edge;
    g->n_call = n_call;
    return keep_states(m);
}

/* ---- the whole ---- */

/* Calls name automata until all are made; numbers past those are states. */
static void resolve_calls(struct maker *m)
{
    uint32_t n_proc = (uint32_t)m->n->n_proc;
    for (size_t i = 0; i < m->g->n_call; i++) {
        uint32_t *start = &m->g->call[i].start;
        if (*start != STATE_NONE)
            *start = *start < n_proc ? m->start_of[*start] : *start - n_proc;
    }
    m->g->start = m->start_of[0];
}

static bool make_row(struct grammar *g, struct state *s)
{
    if (s->n_edge < ROW_EDGES || s->flags & STATE_OVERLAPS || g->n_row == ROWS_MAX)
        return true;
    if (!mem_grow((void **)&g->row, &g->cap_row, g->n_row + 1, ROWS_MAX, sizeof(*g->row)))
        return false;
    memset(g->row[g->n_row], 0xff, sizeof(*g->row));
    for (uint32_t i = 0; i < s->n_edge; i++)
        for (int b = g->edge[s->edge + i].from; b <= g->edge[s->edge + i].to; b++)
            g->row[g->n_row][b] = g->edge[s->edge + i].target;
    s->row = (uint32_t)g->n_row++;
    return true;
}

static bool finish_states(struct grammar *g)
{
    for (size_t i = 0; i < g->n_state; i++) {
        struct state *s = &g->state[i];
        bool accepts = s->flags & STATE_ACCEPTS, counts = s->flags & STATE_COUNTS;
        if (s->n_call == 0 && !accepts && !counts)
            s->flags |= STATE_IS_PLAIN;
        if (s->n_call == 0 && s->n_edge == 0 && accepts)
            s->flags |= STATE_IS_END;
        if (!make_row(g, s))
            return false;
    }
    return true;
}

/* Does a first state come to itself by calls alone? Depth first, with a stack of its own. */
static int check_recursion(struct maker *m, struct err *err)
{
    const struct grammar *g = m->g;
    enum { NEW, OPEN, DONE };
    uint8_t *colour = mem_try_array(g->n_state, 1);
    uint32_t *path = mem_try_array(m->n->n_proc + 2, sizeof(*path));
    uint32_t *next = mem_try_array(g->n_state, sizeof(*next));
    int rc = colour && path && next ? 0 : err_set(err, ERR_NOMEM, "no memory for a grammar");
    for (size_t i = 0; rc == 0 && i < m->n->n_proc; i++) {
        size_t n = 0;
        if (colour[m->start_of[i]] == NEW)
            path[n++] = m->start_of[i];
        while (n > 0 && rc == 0) {
            uint32_t at = path[n - 1];
            const struct state *s = &g->state[at];
            colour[at] = OPEN;
            if (next[at] == s->n_call) {
                colour[at] = DONE;
                n--;
                continue;
            }
            uint32_t to = g->call[s->call + next[at]++].start;
            if (colour[to] == OPEN)
                rc = err_set(err, ERR_INVALID,
                             "a rule of the grammar can begin with itself before any character "
                             "(left recursion); write it with a repetition instead");
            else if (colour[to] == NEW)
                path[n++] = to;
        }
    }
    free(colour);
    free(path);
    free(next);
    return rc;
}

static int make_all(struct maker *m, struct err *err)
{
    const struct nfa *n = m->n;
    int rc = nfa_facts_find(n, &m->facts, err);
    if (rc != 0)
        return rc;
    if (!m->facts.can_end[n->proc[0].start])
        return err_set(err, ERR_INVALID, "the grammar allows no text at all");
    m->start_of = mem_try_array(n->n_proc, sizeof(*m->start_of));
    m->mark = mem_try_array(n->n_state, sizeof(*m->mark));
    bool ok = m->start_of && m->mark;
    for (size_t i = 0; ok && i < n->n_proc; i++) {
        m->p = &n->proc[i];
        ok = make_proc(m);
    }
    if (!ok)
        return err_set(err, ERR_LIMIT, "the grammar is too large");
    resolve_calls(m);
    ok = finish_states(m->g);
    return ok ? check_recursion(m, err) : err_set(err, ERR_NOMEM, "no memory for a grammar");
}

int automaton_make(const struct nfa *n, struct grammar *g, struct err *err)
{
    struct maker m = {.n = n, .g = g};
    int rc = make_all(&m, err);
    nfa_facts_release(&m.facts);
    free(m.start_of);
    free(m.set);
    free(m.pool);
    free(m.slot);
    free(m.todo);
    free(m.mark);
    return rc;
}
