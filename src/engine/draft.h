/*
 * draft: guesses the next tokens of a sequence from texts that exist already: its own, and a
 * prediction of the answer that came with the request.
 *
 * In each text it keeps the place whose next token is the guess. Where a guess was right, the place
 * moves on; where not, the last tokens are looked for again: in the own text where they stood last,
 * in the prediction near the place where it was left, then anywhere. Each token of the answer is
 * such a test, whether the guess was used or not; so how often guesses hold is known for each
 * sequence at no cost, by text and by how many tokens agreed before (a long agreement is seldom a
 * chance).
 *
 * Depends on the sequence's tokens alone: not on steps, time, or whether anybody uses the guesses.
 * Allocates only in draft_new and prediction_new. One thread at a time.
 */
#ifndef HEARTH_ENGINE_DRAFT_H
#define HEARTH_ENGINE_DRAFT_H

#include "engine/lookup.h"

#define DRAFT_MAX     8 /* tokens that are guessed at once */
#define DRAFT_BUCKETS 8

/* A text that the answer is said to resemble. Read-only once made. */
struct prediction {
    int32_t *token; /* [n] */
    int n;
    struct lookup index;
};

/* Copies n >= 1 tokens. ERR_NOMEM. */
int prediction_new(const int32_t *token, int n, struct prediction **ret, struct err *err)
    __attribute__((warn_unused_result));
void prediction_free(struct prediction *p);
uint64_t prediction_bytes(int n);

enum draft_text { DRAFT_OWN, DRAFT_PREDICTION, DRAFT_TEXTS };

struct draft_place {
    int at;    /* the guess is text[at]; -1: there is none */
    int match; /* tokens before it that agree, at most LOOKUP_MATCH_MAX */
};

struct draft_rate {
    float p; /* of guesses that held */
    int n;
};

struct draft {
    struct lookup own;
    const struct prediction *prediction; /* borrowed; NULL: none */
    int n_prompt;
    int n_seen; /* tokens of the sequence */
    struct draft_place place[DRAFT_TEXTS];
    int base, n_since; /* where the prediction surely was left, tokens since */
    bool *met;         /* [prediction->n] this token was a guess that held */
    int n_foretold;    /* how many of them */
    struct draft_rate rate[DRAFT_TEXTS][DRAFT_BUCKETS];
};

uint64_t draft_bytes(int n_token_max, int n_prediction);
/* For a sequence of at most n_token_max tokens. ERR_NOMEM. */
int draft_new(int n_token_max, int n_prompt, const struct prediction *prediction,
              struct draft **ret, struct err *err) __attribute__((warn_unused_result));
void draft_free(struct draft *d);
/* The sequence has these n >= n_prompt tokens now: those of before, and more. O(1) for each. */
void draft_see(struct draft *d, const int32_t *token, int n);
/*
 * Writes up to n_max <= DRAFT_MAX guesses behind the n_seen tokens and returns how many.
 * ret_chance[i]: that the first i + 1 of them all hold.
 */
int draft_guess(const struct draft *d, int32_t *token, int n_max, float *ret_chance);

#endif
