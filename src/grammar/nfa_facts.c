/*
 * nfa_facts: see the header. One walk backwards from the accepting states for each fact: a call
 * is passed once what follows it and what it calls are known.
 */
#include "grammar/nfa_facts.h"
#include "base/mem.h"

#include <stdlib.h>

struct walk {
    const struct nfa *n;
    bool over_bytes;
    bool *known;      /* [n_state] */
    uint32_t *into;   /* [n_state] first edge that leads to the state, or NFA_NONE */
    uint32_t *after;  /* [n_edge] the next of them */
    uint32_t *caller; /* [n_proc] first call of it */
    uint32_t *also;   /* [n_edge] the next of them */
    uint32_t *user;   /* [n_proc] first counted proc of which it is the body */
    uint32_t *beside; /* [n_proc] the next of them */
    uint32_t *owner;  /* [n_state] the proc that begins there, or NFA_NONE */
    uint32_t *todo;
    size_t n_todo;
};

static void learn(struct walk *w, uint32_t state)
{
    if (w->known[state])
        return;
    w->known[state] = true;
    w->todo[w->n_todo++] = state;
}

static void learn_call(struct walk *w, const struct nfa_edge *e)
{
    if (w->known[e->target] && w->known[w->n->proc[e->proc].start])
        learn(w, e->source);
}

static void pass(struct walk *w, uint32_t state)
{
    const struct nfa *n = w->n;
    for (uint32_t i = w->into[state]; i != NFA_NONE; i = w->after[i]) {
        const struct nfa_edge *e = &n->edge[i];
        if (e->kind == NFA_CALL)
            learn_call(w, e);
        else if (e->kind == NFA_EPSILON || w->over_bytes)
            learn(w, e->source);
    }
    uint32_t proc = w->owner[state];
    if (proc == NFA_NONE)
        return;
    for (uint32_t i = w->caller[proc]; i != NFA_NONE; i = w->also[i])
        learn_call(w, &n->edge[i]);
    for (uint32_t i = w->user[proc]; i != NFA_NONE; i = w->beside[i])
        learn(w, n->proc[i].start);
}

static uint32_t *none(size_t n)
{
    uint32_t *list = mem_try_array(n, sizeof(*list));
    for (size_t i = 0; list && i < n; i++)
        list[i] = NFA_NONE;
    return list;
}

static void index_edges(struct walk *w)
{
    const struct nfa *n = w->n;
    for (uint32_t i = 0; i < n->n_edge; i++) {
        const struct nfa_edge *e = &n->edge[i];
        w->after[i] = w->into[e->target];
        w->into[e->target] = i;
        if (e->kind != NFA_CALL)
            continue;
        w->also[i] = w->caller[e->proc];
        w->caller[e->proc] = i;
    }
    for (uint32_t i = 0; i < n->n_proc; i++) {
        w->owner[n->proc[i].start] = i;
        uint32_t body = n->proc[i].body;
        if (body == NFA_NONE)
            continue;
        w->beside[i] = w->user[body];
        w->user[body] = i;
    }
}

static void run(struct walk *w, bool *known, bool over_bytes)
{
    w->known = known;
    w->over_bytes = over_bytes;
    w->n_todo = 0;
    for (uint32_t i = 0; i < w->n->n_proc; i++) {
        learn(w, w->n->proc[i].accept);
        if (w->n->proc[i].is_counted && w->n->proc[i].min == 0)
            learn(w, w->n->proc[i].start);
    }
    while (w->n_todo > 0)
        pass(w, w->todo[--w->n_todo]);
}

int nfa_facts_find(const struct nfa *n, struct nfa_facts *ret, struct err *err)
{
    *ret = (struct nfa_facts){mem_try_array(n->n_state, sizeof(bool)),
                              mem_try_array(n->n_state, sizeof(bool))};
    struct walk w = {.n = n,
                     .into = none(n->n_state),
                     .after = none(n->n_edge),
                     .caller = none(n->n_proc),
                     .also = none(n->n_edge),
                     .user = none(n->n_proc),
                     .beside = none(n->n_proc),
                     .owner = none(n->n_state),
                     .todo = none(n->n_state)};
    bool ok = ret->can_end && ret->can_vanish && w.into && w.after && w.caller && w.also &&
              w.user && w.beside && w.owner && w.todo;
    if (ok) {
        index_edges(&w);
        run(&w, ret->can_end, true);
        run(&w, ret->can_vanish, false);
    }
    free(w.into);
    free(w.after);
    free(w.caller);
    free(w.also);
    free(w.user);
    free(w.beside);
    free(w.owner);
    free(w.todo);
    if (!ok)
        nfa_facts_release(ret);
    return ok ? 0 : err_set(err, ERR_NOMEM, "no memory for a grammar");
}

void nfa_facts_release(struct nfa_facts *f)
{
    free(f->can_end);
    free(f->can_vanish);
    *f = (struct nfa_facts){0};
}
