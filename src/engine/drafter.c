/*
 * drafter: see the header.
 *
 * Invariants between passes, of a sequence that holds blocks: it is in `holder`; its blocks cover
 * n_computed; n_computed <= n_text + n_guess, and what is computed is the text, then the guesses.
 */
#include "engine/drafter.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "engine/sequence.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_WEIGHT    4   /* tests that the first guess of a rate is worth */
#define LAST_WEIGHT     16  /* tests that a sequence's rate remembers, about */
#define LAST_WEIGHT_ALL 128 /* that the rate of all remembers */
#define FIRST_MEAN      0.6f

/* By how much likelier a guess is than the next best, in logits: from these on; first guesses. */
static const float margin_least[DRAFTER_MARGINS] = {0, 0.5f, 1, 2, 4, 8};
static const float margin_rate[DRAFTER_MARGINS] = {0.3f, 0.4f, 0.5f, 0.7f, 0.85f, 0.95f};

static int row_max(const struct drafter_config *c)
{
    return c->n_seq_max < DRAFTER_SEQS_MAX ? c->n_seq_max : DRAFTER_SEQS_MAX;
}

/* ---- birth and death ---- */

uint64_t drafter_bytes(const struct drafter_config *c)
{
    const struct drafter *d = NULL;
    uint64_t row = (uint64_t)c->n_vocab * sizeof(float) + sizeof(*d->batch_seq) +
                   sizeof(*d->out_row) + sizeof(*d->row);
    return sizeof(*d) + (uint64_t)row_max(c) * row + (uint64_t)c->n_batch_max * sizeof(*d->token) +
           (uint64_t)c->n_seq_max * sizeof(*d->holder) +
           (uint64_t)c->kv.n_blocks * BLOCK_POOL_BYTES;
}

int drafter_new(const struct drafter_config *c, struct drafter **ret, struct err *err)
{
    CHECK(c->depth >= 1 && c->depth <= DRAFT_MAX && c->n_token >= 1 && c->n_token <= c->n_vocab);
    CHECK(c->n_batch_max >= row_max(c) && c->n_seq_max >= 1);
    struct drafter *d = mem_zero(1, sizeof(*d));
    size_t n_row = (size_t)row_max(c);
    d->config = *c;
    d->mean.p = FIRST_MEAN;
    for (int i = 0; i < DRAFTER_MARGINS; i++)
        d->rate[i].p = margin_rate[i];
    int rc = block_pool_init(&d->blocks, c->kv.n_blocks, err);
    if (rc != 0) {
        free(d);
        return rc;
    }
    d->holder = mem_try_array((size_t)c->n_seq_max, sizeof(struct sequence *));
    d->logits = mem_try_array(n_row, (size_t)c->n_vocab * sizeof(*d->logits));
    d->token = mem_try_array((size_t)c->n_batch_max, sizeof(*d->token));
    d->batch_seq = mem_try_array(n_row, sizeof(*d->batch_seq));
    d->out_row = mem_try_array(n_row, sizeof(*d->out_row));
    d->row = mem_try_array(n_row, sizeof(struct sequence *));
    if (!d->holder || !d->logits || !d->token || !d->batch_seq || !d->out_row || !d->row) {
        drafter_free(d);
        return err_set(err, ERR_NOMEM, "no memory for the draft model's guesses");
    }
    *ret = d;
    return 0;
}

void drafter_free(struct drafter *d)
{
    if (!d)
        return;
    block_pool_release(&d->blocks);
    free(d->holder);
    free(d->logits);
    free(d->token);
    free(d->batch_seq);
    free(d->out_row);
    free(d->row);
    free(d);
}

/* ---- blocks ---- */

/* For the text and all guesses behind it. */
static int blocks_wanted(const struct drafter *d, const struct sequence *seq)
{
    return (seq->n_token + d->config.depth + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
}

bool drafter_can(const struct drafter *d, const struct sequence *seq)
{
    const struct shadow *w = &seq->shadow;
    if (!w->block || seq->n_token > d->config.n_ctx - d->config.depth)
        return false;
    return blocks_wanted(d, seq) - w->n_block <= (int64_t)d->blocks.n_free;
}

bool drafter_reserve(struct drafter *d, struct sequence *seq)
{
    struct shadow *w = &seq->shadow;
    int n = blocks_wanted(d, seq);
    if (!drafter_can(d, seq)) {
        drafter_drop(d, seq); /* what it has serves another one, perhaps */
        return false;
    }
    if (w->n_block == 0) {
        CHECK(d->n_holder < d->config.n_seq_max);
        d->holder[d->n_holder++] = seq;
    }
    while (w->n_block < n)
        CHECK(block_pool_take(&d->blocks, &w->block[w->n_block++]));
    return true;
}

static void give_back(struct drafter *d, int i_holder)
{
    struct shadow *w = &d->holder[i_holder]->shadow;
    while (w->n_block > 0)
        block_pool_unref(&d->blocks, w->block[--w->n_block]);
    w->n_computed = w->n_guess = 0;
    d->holder[i_holder] = d->holder[--d->n_holder];
}

void drafter_drop(struct drafter *d, struct sequence *seq)
{
    for (int i = 0; i < d->n_holder && seq->shadow.n_block > 0; i++)
        if (d->holder[i] == seq)
            give_back(d, i);
}

void drafter_sweep(struct drafter *d)
{
    for (int i = d->n_holder - 1; i >= 0; i--)
        if (d->holder[i]->state != SEQUENCE_RUNNING)
            give_back(d, i);
}

/* ---- what came of guesses ---- */

static void learn(struct draft_rate *r, bool held, int last_weight)
{
    if (r->n < last_weight - FIRST_WEIGHT)
        r->n++;
    r->p += ((held ? 1.0f : 0.0f) - r->p) / (float)(r->n + FIRST_WEIGHT);
}

static void begin_rates(const struct drafter *d, struct shadow *w)
{
    w->has_rates = true;
    w->mean.p = d->mean.p;
    for (int i = 0; i < DRAFTER_MARGINS; i++)
        w->rate[i].p = d->rate[i].p;
}

void drafter_see(struct drafter *d, struct sequence *seq)
{
    struct shadow *w = &seq->shadow;
    int n_held = 0;
    bool held = true;
    if (!w->has_rates)
        begin_rates(d, w);
    for (int i = 0; i < w->n_guess && held && w->n_text + i < seq->n_token; i++) {
        held = w->guess[i] == seq->token[w->n_text + i];
        n_held += held;
        learn(&w->mean, held, LAST_WEIGHT);
        learn(&w->rate[w->margin[i]], held, LAST_WEIGHT);
        learn(&d->mean, held, LAST_WEIGHT_ALL);
        learn(&d->rate[w->margin[i]], held, LAST_WEIGHT_ALL);
    }
    if (w->n_computed > w->n_text + n_held)
        w->n_computed = w->n_text + n_held;
    if (w->n_computed == seq->n_token)
        w->n_computed--; /* a guess that was not computed along held: its logits are wanted again */
    w->n_guess = 0;
    w->n_text = seq->n_token;
}

int drafter_lag(const struct sequence *seq)
{
    return seq->shadow.n_text + seq->shadow.n_guess - seq->shadow.n_computed;
}

/* ---- a pass ---- */

/* The next n tokens. Those that only the large model knows are as good as any other. */
static void add_tokens(struct drafter *d, struct batch *b, struct sequence *seq, int n)
{
    struct shadow *w = &seq->shadow;
    d->batch_seq[b->n_seq++] = (struct batch_seq){
        .block = w->block, .pos0 = w->n_computed, .n_tokens = n, .i_token = b->n_tokens};
    for (int i = 0; i < n; i++) {
        int at = w->n_computed + i;
        int32_t id = at < w->n_text ? seq->token[at] : w->guess[at - w->n_text];
        d->token[b->n_tokens++] = id < d->config.n_token ? id : 0;
    }
    w->n_computed += n;
}

static void take_guess(struct drafter *d, int i_row, int i_thread)
{
    const float *logits = d->logits + (size_t)i_row * (size_t)d->config.n_vocab;
    struct shadow *w = &d->row[i_row]->shadow;
    float best = logits[0], next = -1e30f;
    int32_t id = 0;
    (void)i_thread;
    for (int32_t v = 1; v < d->config.n_token; v++) {
        if (logits[v] <= next)
            continue;
        next = logits[v] > best ? best : logits[v];
        id = logits[v] > best ? v : id;
        best = logits[v] > best ? logits[v] : best;
    }
    int m = DRAFTER_MARGINS - 1;
    while (m > 0 && !(best - next >= margin_least[m]))
        m--;
    float before = w->n_guess > 0 ? w->chance[w->n_guess - 1] : 1;
    w->margin[w->n_guess] = (uint8_t)m;
    w->chance[w->n_guess] = before * w->rate[m].p;
    w->guess[w->n_guess++] = id;
}

static void take_guess_of_row(void *ctx, int i_row, int i_thread)
{
    take_guess(ctx, i_row, i_thread);
}

static void learn_cost(struct drafter *d, int n_tokens, double ms)
{
    if (n_tokens > COST_TOKENS_MAX) { /* the more, the more each token costs the same */
        ms *= (double)COST_TOKENS_MAX / n_tokens;
        n_tokens = COST_TOKENS_MAX;
    }
    if (ms > 0)
        cost_curve_learn(d->ms, n_tokens, ms);
}

/* Fewer than were ever tried look as good as can be, so that they are tried. */
double drafter_ms(const struct drafter *d, int n)
{
    for (int i = n; i >= 1; i--)
        if (d->ms[i] > 0)
            return cost_curve_at(d->ms, n);
    for (int i = n + 1; i <= COST_TOKENS_MAX; i++)
        if (d->ms[i] > 0)
            return d->ms[i] * n / i;
    return 0;
}

int drafter_pass(struct drafter *d, struct sequence *const *seq, int n, int n_token_max)
{
    struct batch b = {.token = d->token, .seq = d->batch_seq, .out_row = d->out_row};
    int64_t start = clock_ns();
    CHECK(n <= row_max(&d->config) && n_token_max <= d->config.n_batch_max);
    for (int i = 0; i < n && b.n_tokens < n_token_max; i++) {
        int lag = drafter_lag(seq[i]), left = n_token_max - b.n_tokens;
        CHECK(lag >= 1 && seq[i]->shadow.n_guess < d->config.depth);
        add_tokens(d, &b, seq[i], lag < left ? lag : left);
        if (lag > left)
            break;
        d->row[b.n_out] = seq[i];
        d->out_row[b.n_out++] = b.n_tokens - 1;
    }
    if (b.n_tokens == 0)
        return 0;
    d->config.forward(d->config.forward_ctx, &d->config.kv, &b, d->logits);
    if (d->config.pool && b.n_out > 1)
        pool_run(d->config.pool, take_guess_of_row, d, b.n_out);
    else
        for (int i = 0; i < b.n_out; i++)
            take_guess(d, i, 0);
    int64_t ns = clock_ns() - start;
    d->spent_ns += ns;
    learn_cost(d, b.n_tokens, (double)ns * 1e-6);
    return b.n_tokens;
}
