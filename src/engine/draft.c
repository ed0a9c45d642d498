/*
 * draft: see the header. Invariant: a place's `at` is -1 or the index of a token that exists.
 */
#include "engine/draft.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW_BEFORE 8  /* tokens of the prediction around the place where it was left ... */
#define WINDOW_AFTER  64 /* ... in which a single agreeing token is taken for a sign */
#define SURE_MATCH    3  /* tokens that agree where the place is not a chance */
#define REPLACED_MAX  4  /* tokens that may be others before the prediction counts as left */
#define FIRST_WEIGHT  4  /* tests that the first guess of a rate is worth */
#define LAST_WEIGHT   16 /* tests that a rate remembers, about */
#define CHANCE_LEAST  0.05f

/* First guesses, by what agreed before: 0, 1, 2, 3, 4, 6, 8, 16 tokens. */
static const float first_rate[DRAFT_TEXTS][DRAFT_BUCKETS] = {
    [DRAFT_OWN] = {0, 0, 0.2f, 0.3f, 0.5f, 0.6f, 0.7f, 0.8f},
    [DRAFT_PREDICTION] = {0.3f, 0.4f, 0.5f, 0.6f, 0.8f, 0.85f, 0.9f, 0.95f},
};

/* ---- birth and death ---- */

int prediction_new(const int32_t *token, int n, struct prediction **ret, struct err *err)
{
    CHECK(n >= 1);
    struct prediction *p = mem_zero(1, sizeof(*p));
    p->token = mem_try_array((size_t)n, sizeof(*p->token));
    if (!p->token || lookup_init(&p->index, n, err) != 0) {
        prediction_free(p);
        return err_set(err, ERR_NOMEM, "no memory for a prediction of %d tokens", n);
    }
    memcpy(p->token, token, (size_t)n * sizeof(*token));
    p->n = n;
    lookup_add(&p->index, p->token, n);
    *ret = p;
    return 0;
}

void prediction_free(struct prediction *p)
{
    if (!p)
        return;
    lookup_release(&p->index);
    free(p->token);
    free(p);
}

uint64_t prediction_bytes(int n)
{
    return sizeof(struct prediction) + (uint64_t)n * sizeof(int32_t) + lookup_bytes(n);
}

uint64_t draft_bytes(int n_token_max, int n_prediction)
{
    return sizeof(struct draft) + lookup_bytes(n_token_max) + (uint64_t)n_prediction * sizeof(bool);
}

int draft_new(int n_token_max, int n_prompt, const struct prediction *prediction,
              struct draft **ret, struct err *err)
{
    struct draft *d = mem_zero(1, sizeof(*d));
    d->prediction = prediction;
    if (prediction)
        d->met = mem_try_array((size_t)prediction->n, sizeof(*d->met));
    if ((prediction && !d->met) || lookup_init(&d->own, n_token_max, err) != 0) {
        draft_free(d);
        return err_set(err, ERR_NOMEM, "no memory for guesses in %d tokens", n_token_max);
    }
    d->n_prompt = n_prompt;
    d->place[DRAFT_OWN].at = -1;
    /* the answer begins as the prediction does */
    d->place[DRAFT_PREDICTION] = (struct draft_place){prediction ? 0 : -1, SURE_MATCH};
    for (int t = 0; t < DRAFT_TEXTS; t++)
        for (int b = 0; b < DRAFT_BUCKETS; b++)
            d->rate[t][b].p = first_rate[t][b];
    *ret = d;
    return 0;
}

void draft_free(struct draft *d)
{
    if (!d)
        return;
    lookup_release(&d->own);
    free(d->met);
    free(d);
}

/* ---- how often guesses hold ---- */

static int bucket_of(int match)
{
    static const int least[DRAFT_BUCKETS] = {0, 1, 2, 3, 4, 6, 8, 16};
    int b = DRAFT_BUCKETS - 1;
    while (b > 0 && match < least[b])
        b--;
    return b;
}

static void learn(struct draft_rate *r, bool held)
{
    if (r->n < LAST_WEIGHT - FIRST_WEIGHT)
        r->n++;
    r->p += ((held ? 1.0f : 0.0f) - r->p) / (float)(r->n + FIRST_WEIGHT);
}

/* The token came; the place moves on, or is lost. */
static bool test_guess(struct draft *d, enum draft_text text, int32_t guess, int32_t token)
{
    struct draft_place *p = &d->place[text];
    bool held = guess == token;
    learn(&d->rate[text][bucket_of(p->match)], held);
    if (!held) {
        p->at = -1;
        return false;
    }
    p->at++;
    p->match += p->match < LOOKUP_MATCH_MAX;
    return true;
}

/* ---- the own text ---- */

/* Where its last tokens stood before; then they are in the index themselves. */
static void find_own(struct draft *d, const int32_t *token, int n)
{
    struct draft_place *p = &d->place[DRAFT_OWN];
    int match, at;
    lookup_add(&d->own, token, n - 1);
    if (p->at < 0 || p->match < LOOKUP_LONG) {
        at = lookup_find(&d->own, token, token, n, &match);
        if (at > 0 && (p->at < 0 || match > p->match))
            *p = (struct draft_place){at, match};
    }
    lookup_add(&d->own, token, n);
}

/* ---- the prediction ---- */

/* The place near base that agrees longest, then the nearest to where the text should be. */
static struct draft_place find_near(const struct draft *d, const int32_t *token, int n)
{
    const struct prediction *p = d->prediction;
    struct draft_place best = {-1, 0};
    int from = d->base > WINDOW_BEFORE ? d->base - WINDOW_BEFORE : 1;
    int to = d->base < p->n - WINDOW_AFTER ? d->base + WINDOW_AFTER : p->n - 1;
    for (int at = from; at <= to; at++) {
        if (p->token[at - 1] != token[n - 1])
            continue;
        int match = lookup_match(p->token, at, token, n);
        int due = d->base + d->n_since;
        if (match > best.match || (match == best.match && abs(at - due) < abs(best.at - due)))
            best = (struct draft_place){at, match};
    }
    return best;
}

static void find_predicted(struct draft *d, const int32_t *token, int n)
{
    const struct prediction *p = d->prediction;
    struct draft_place best = find_near(d, token, n);
    int match = 0, at = 0;
    if (best.match < LOOKUP_SHORT)
        at = lookup_find(&p->index, p->token, token, n, &match);
    if (at > 0 && at < p->n)
        best = (struct draft_place){at, match};
    if (best.at < 0 && d->n_since <= REPLACED_MAX && d->base + d->n_since < p->n)
        best.at = d->base + d->n_since;
    d->place[DRAFT_PREDICTION] = best;
}

static void follow_prediction(struct draft *d, const int32_t *token, int n)
{
    struct draft_place *p = &d->place[DRAFT_PREDICTION];
    int at = p->at;
    d->n_since++;
    if (at >= 0 && test_guess(d, DRAFT_PREDICTION, d->prediction->token[at], token[n - 1])) {
        d->n_foretold += !d->met[at];
        d->met[at] = true;
        if (p->match >= SURE_MATCH) {
            d->base = p->at;
            d->n_since = 0;
        }
        if (p->at == d->prediction->n)
            p->at = -1;
        return;
    }
    find_predicted(d, token, n);
}

/* ---- both ---- */

void draft_see(struct draft *d, const int32_t *token, int n)
{
    if (d->n_seen == 0) {
        CHECK(n >= d->n_prompt);
        d->n_seen = d->n_prompt;
        find_own(d, token, d->n_prompt);
    }
    for (; d->n_seen < n; d->n_seen++) {
        int i = d->n_seen, at = d->place[DRAFT_OWN].at;
        if (at >= 0)
            test_guess(d, DRAFT_OWN, token[at], token[i]);
        find_own(d, token, i + 1);
        if (d->prediction)
            follow_prediction(d, token, i + 1);
    }
}

static float rate_of(const struct draft *d, enum draft_text text, int n_more)
{
    return d->rate[text][bucket_of(d->place[text].match + n_more)].p;
}

int draft_guess(const struct draft *d, int32_t *token, int n_max, float *ret_chance)
{
    const struct draft_place *p = &d->place[DRAFT_PREDICTION];
    bool own = p->at < 0 || (d->place[DRAFT_OWN].at >= 0 &&
                             rate_of(d, DRAFT_OWN, 0) > rate_of(d, DRAFT_PREDICTION, 0));
    enum draft_text text = own ? DRAFT_OWN : DRAFT_PREDICTION;
    int at = d->place[text].at, n = 0;
    if (at < 0)
        return 0;
    if (!own && n_max > d->prediction->n - at)
        n_max = d->prediction->n - at;
    const int32_t *from = own ? token : d->prediction->token;
    float chance = 1;
    for (; n < n_max; n++) {
        chance *= rate_of(d, text, n);
        if (chance < CHANCE_LEAST)
            return n;
        /* the own text may go on into what was guessed just now: it repeats itself */
        token[d->n_seen + n] = from[at + n];
        ret_chance[n] = chance;
    }
    return n;
}
