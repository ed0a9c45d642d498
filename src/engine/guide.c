/*
 * guide: see the header.
 *
 * Invariant: between two jobs of the thread a matcher stands behind the first n_matched tokens of
 * its sequence.
 */
#include "engine/guide.h"
#include "base/clock.h"
#include "base/mem.h"
#include "engine/scheduler.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct guides {
    int n_vocab, n_rows, n_words;
    guide_force_fn force;
    void *force_ctx;
    uint32_t *mask;        /* [n_rows][n_words] */
    struct guide_row *row; /* [n_rows] */

    pthread_t thread;
    bool is_started;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t work, done;
    bool stop, is_busy;
    const struct plan *plan;     /* masks are wanted, or ... */
    struct sequence *const *seq; /* ... [n_seq] what must come next */
    int n_seq;
    int64_t waited_ns; /* the engine thread's alone */
};

/* ---- birth and death ---- */

int guide_new(struct grammar *grammar, const struct vocabulary *v, int n_prompt, struct guide **ret,
              struct err *err)
{
    struct guide *g = mem_zero(1, sizeof(*g));
    g->n_matched = n_prompt;
    int rc = matcher_new(grammar, v, &g->matcher, err);
    if (rc != 0)
        free(g);
    else
        *ret = g;
    return rc;
}

void guide_free(struct guide *g)
{
    if (!g)
        return;
    matcher_free(g->matcher);
    free(g);
}

static int words_of(int n_vocab)
{
    return (n_vocab + 31) / 32;
}

uint64_t guides_bytes(int n_vocab, int n_rows)
{
    return (uint64_t)n_rows *
           ((uint64_t)words_of(n_vocab) * sizeof(uint32_t) + sizeof(struct guide_row));
}

int guides_new(int n_vocab, int n_rows, guide_force_fn force, void *force_ctx, struct guides **ret,
               struct err *err)
{
    struct guides *g = mem_zero(1, sizeof(*g));
    g->n_vocab = n_vocab;
    g->n_rows = n_rows;
    g->n_words = words_of(n_vocab);
    g->force = force;
    g->force_ctx = force_ctx;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->work, NULL);
    pthread_cond_init(&g->done, NULL);
    g->mask = mem_try_array((size_t)n_rows, (size_t)g->n_words * sizeof(*g->mask));
    g->row = mem_try_array((size_t)n_rows, sizeof(*g->row));
    if (!g->mask || !g->row) {
        guides_free(g);
        return err_set(err, ERR_NOMEM, "no memory for masks of tokens");
    }
    *ret = g;
    return 0;
}

void guides_free(struct guides *g)
{
    if (!g)
        return;
    free(g->mask);
    free(g->row);
    pthread_cond_destroy(&g->done);
    pthread_cond_destroy(&g->work);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* ---- one sequence ---- */

/* Reads the tokens that it has not seen. */
static void catch_up(const struct guides *g, struct sequence *seq)
{
    struct guide *guide = seq->guide;
    for (; guide->n_matched < seq->n_token && !guide->is_broken; guide->n_matched++) {
        int32_t token = seq->token[guide->n_matched];
        guide->is_broken =
            token < 0 || token >= g->n_vocab || !matcher_accept(guide->matcher, token);
    }
}

/* The token that must come next; -1: there are several. */
static int32_t forced_token(const struct guides *g, const struct guide *guide)
{
    char text[GUIDE_TEXT_MAX];
    if (!g->force)
        return -1;
    size_t n = matcher_forced(guide->matcher, text, sizeof(text));
    return n > 1 ? g->force(g->force_ctx, (struct str){text, n}) : -1;
}

static void find_forced(const struct guides *g, struct sequence *seq)
{
    struct guide *guide = seq->guide;
    catch_up(g, seq);
    guide->n_forced = 0;
    while (!guide->is_broken && guide->n_forced < DRAFT_MAX) {
        int32_t token = forced_token(g, guide);
        if (token < 0 || !matcher_accept(guide->matcher, token))
            break;
        guide->forced[guide->n_forced++] = token;
    }
    matcher_rollback(guide->matcher, guide->n_forced);
}

static bool is_forced(const struct guides *g, struct guide *guide, uint32_t *mask)
{
    int32_t token = forced_token(g, guide);
    if (token < 0 || !matcher_accept(guide->matcher, token))
        return false;
    matcher_rollback(guide->matcher, 1);
    memset(mask, 0, (size_t)g->n_words * sizeof(*mask));
    mask[token / 32] |= 1u << (token % 32);
    return true;
}

static void find_row(struct guides *g, struct guide *guide, int i_row)
{
    uint32_t *mask = g->mask + (size_t)i_row * (size_t)g->n_words;
    struct guide_row *row = &g->row[i_row];
    *row = (struct guide_row){.mask = mask};
    if (!guide->is_broken && is_forced(g, guide, mask))
        return;
    struct err err;
    int rc = guide->is_broken ? ERR_LIMIT : matcher_mask(guide->matcher, mask, &err);
    row->ends = !guide->is_broken && matcher_must_end(guide->matcher);
    row->is_broken = rc != 0 && !row->ends;
    if (rc != 0)
        memset(mask, 0, (size_t)g->n_words * sizeof(*mask));
}

/* The row of a sequence's next token, and those after its guesses as long as they may come: what
 * the others draw is not used. */
static void find_rows(struct guides *g, struct sequence *seq, int i_row)
{
    struct guide *guide = seq->guide;
    int n = 0;
    catch_up(g, seq);
    find_row(g, guide, i_row);
    while (n < seq->n_draft && !guide->is_broken &&
           matcher_accept(guide->matcher, seq->token[seq->n_token + n]))
        find_row(g, guide, i_row + ++n);
    matcher_rollback(guide->matcher, n);
}

/* ---- the thread ---- */

static void find_masks(struct guides *g, const struct plan *p)
{
    for (int i = 0; i < p->batch.n_out; i++)
        if (p->row[i].seq->guide && p->row[i].kind == ROW_NEXT)
            find_rows(g, p->row[i].seq, i);
}

static void *run(void *arg)
{
    struct guides *g = arg;
    pthread_mutex_lock(&g->lock);
    while (!g->stop) {
        if (!g->is_busy) {
            pthread_cond_wait(&g->work, &g->lock);
            continue;
        }
        pthread_mutex_unlock(&g->lock);
        if (g->plan)
            find_masks(g, g->plan);
        for (int i = 0; !g->plan && i < g->n_seq; i++)
            if (g->seq[i]->guide)
                find_forced(g, g->seq[i]);
        pthread_mutex_lock(&g->lock);
        g->is_busy = false;
        pthread_cond_signal(&g->done);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

int guides_start(struct guides *g, struct err *err)
{
    g->stop = false;
    int rc = pthread_create(&g->thread, NULL, run, g);
    g->is_started = rc == 0;
    return rc == 0 ? 0 : err_set_errno(err, rc, "cannot start the thread of masks");
}

void guides_stop(struct guides *g)
{
    if (!g->is_started)
        return;
    pthread_mutex_lock(&g->lock);
    g->stop = true;
    pthread_cond_signal(&g->work);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
    g->is_started = false;
}

static void post(struct guides *g, const struct plan *plan, struct sequence *const *seq, int n_seq)
{
    pthread_mutex_lock(&g->lock);
    g->plan = plan;
    g->seq = seq;
    g->n_seq = n_seq;
    g->is_busy = true;
    pthread_cond_signal(&g->work);
    pthread_mutex_unlock(&g->lock);
}

void guides_wait(struct guides *g)
{
    if (!g->is_started)
        return;
    pthread_mutex_lock(&g->lock);
    int64_t start = g->is_busy ? clock_ns() : 0;
    while (g->is_busy)
        pthread_cond_wait(&g->done, &g->lock);
    pthread_mutex_unlock(&g->lock);
    if (start > 0)
        g->waited_ns += clock_ns() - start;
}

int64_t guides_waited_ns(const struct guides *g)
{
    return g->waited_ns;
}

void guides_force(struct guides *g, struct sequence *const *seq, int n)
{
    bool any = false;
    for (int i = 0; i < n && !any; i++)
        any = seq[i]->guide != NULL;
    if (!any || !g->force)
        return;
    if (g->is_started) {
        post(g, NULL, seq, n);
        guides_wait(g);
        return;
    }
    for (int i = 0; i < n; i++)
        if (seq[i]->guide)
            find_forced(g, seq[i]);
}

void guides_begin(struct guides *g, const struct plan *p)
{
    bool any = false;
    for (int i = 0; i < p->batch.n_out; i++) {
        g->row[i] = (struct guide_row){0};
        any = any || p->row[i].seq->guide;
    }
    if (any && g->is_started)
        post(g, p, NULL, 0);
    else if (any)
        find_masks(g, p);
}

struct guide_row guides_row(const struct guides *g, int i_row)
{
    return g->row[i_row];
}
