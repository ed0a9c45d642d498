/*
 * grammar: from a builder's expressions to what matchers walk. See the header.
 */
#include "grammar/grammar.h"
#include "base/mem.h"
#include "grammar/automaton.h"
#include "grammar/mask_cache.h"

#include <stdlib.h>
#include <string.h>

static atomic_uint_fast64_t all_bytes;

static bool copy_specials(const struct grammar_builder *b, const struct nfa *n, struct grammar *g)
{
    g->special = mem_try_array(n->n_special, sizeof(*g->special));
    if (!g->special)
        return false;
    for (size_t i = 0; i < n->n_special; i++) {
        const struct expr *e = &b->expr[n->special[i]];
        g->special[g->n_special++] = str_dup((struct str){(const char *)b->byte + e->at, e->n});
    }
    return true;
}

static void trim(struct grammar *g)
{
    struct state *s = realloc(g->state, (g->n_state + 1) * sizeof(*s));
    g->state = s ? s : g->state;
    struct byte_edge *e = realloc(g->edge, (g->n_edge + 1) * sizeof(*e));
    g->edge = e ? e : g->edge;
    struct call_edge *c = realloc(g->call, (g->n_call + 1) * sizeof(*c));
    g->call = c ? c : g->call;
    g->cap_state = g->n_state + 1;
    g->cap_edge = g->n_edge + 1;
    g->cap_call = g->n_call + 1;
}

static int compile(struct grammar_builder *b, gexpr root, struct grammar *g, struct err *err)
{
    if (b->failed.code != 0) {
        if (err)
            *err = b->failed;
        return b->failed.code;
    }
    if (root < 0 || (size_t)root >= b->n_expr)
        return err_set(err, ERR_INTERNAL, "a grammar without a root");
    struct nfa n;
    int rc = nfa_build(b, root, &n, err);
    if (rc != 0)
        return rc;
    rc = automaton_make(&n, g, err);
    if (rc == 0 && !copy_specials(b, &n, g))
        rc = err_set(err, ERR_NOMEM, "no memory for a grammar");
    nfa_release(&n);
    trim(g);
    return rc;
}

static void clear_builder(struct grammar_builder *b)
{
    struct grammar_builder old = *b;
    *b = (struct grammar_builder){0};
    free(old.expr);
    free(old.byte);
    free(old.range);
    free(old.list);
    free(old.slot);
}

int grammar_finish(struct grammar_builder *b, gexpr root, struct grammar **ret, struct err *err)
{
    struct grammar *g = mem_zero(1, sizeof(*g));
    atomic_init(&g->refs, 1);
    int rc = compile(b, root, g, err);
    clear_builder(b);
    if (rc != 0) {
        grammar_unref(g);
        return rc;
    }
    g->bytes = grammar_bytes(g);
    atomic_fetch_add(&all_bytes, g->bytes);
    *ret = g;
    return 0;
}

struct grammar *grammar_ref(struct grammar *g)
{
    atomic_fetch_add(&g->refs, 1);
    return g;
}

void grammar_unref(struct grammar *g)
{
    if (!g || atomic_fetch_sub(&g->refs, 1) > 1)
        return;
    atomic_fetch_sub(&all_bytes, g->bytes);
    mask_cache_free(g->cache);
    for (size_t i = 0; i < g->n_special; i++)
        free(g->special[i]);
    free(g->special);
    free(g->state);
    free(g->edge);
    free(g->call);
    free(g->row);
    free(g);
}

uint64_t grammar_bytes(const struct grammar *g)
{
    return mask_cache_bytes(g) + sizeof(*g) + g->cap_state * sizeof(*g->state) +
           g->cap_edge * sizeof(*g->edge) + g->cap_call * sizeof(*g->call) +
           g->cap_row * sizeof(*g->row);
}

uint64_t grammars_bytes(void)
{
    return atomic_load(&all_bytes);
}
