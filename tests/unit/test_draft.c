/*
 * draft: what is guessed from a text that repeats itself and from a prediction, and what is
 * counted.
 */
#include "base/err.h"
#include "base/rng.h"
#include "engine/draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_MAX 4000

struct text {
    int n;
    int32_t token[N_MAX + DRAFT_MAX];
};

static void add(struct text *t, int first, int n)
{
    for (int i = 0; i < n; i++)
        t->token[t->n++] = first + i;
}

static int32_t noise(uint64_t i)
{
    return (int32_t)(rng_uniform(9, 1, i) * 30000);
}

static struct draft *new_draft(int n_prompt, const struct text *prediction,
                               struct prediction **ret_prediction)
{
    struct err err;
    struct draft *d;
    *ret_prediction = NULL;
    if (prediction)
        assert_int_equal(prediction_new(prediction->token, prediction->n, ret_prediction, &err), 0);
    assert_int_equal(draft_new(N_MAX, n_prompt, *ret_prediction, &d, &err), 0);
    return d;
}

/* How many of the tokens from n_prompt on were the first guess, one at a time. */
static int count_right(struct draft *d, struct text *t)
{
    int n_right = 0;
    for (int n = d->n_prompt; n < t->n; n++) {
        int32_t next = t->token[n];
        float chance[DRAFT_MAX];
        draft_see(d, t->token, n);
        n_right += draft_guess(d, t->token, 1, chance) == 1 && t->token[n] == next;
        t->token[n] = next;
    }
    draft_see(d, t->token, t->n);
    return n_right;
}

static void test_lookup(void **state)
{
    (void)state;
    struct err err;
    struct lookup l;
    int32_t text[] = {1, 2, 3, 4, 50, 9, 3, 4, 60, 7, 1, 2, 3, 4};
    int match = 0;
    assert_int_equal(lookup_init(&l, 100, &err), 0);
    lookup_add(&l, text, 13);
    assert_int_equal(lookup_find(&l, text, text, 14, &match),
                     4); /* four tokens go before two ... */
    assert_int_equal(match, 4);
    text[10] = 77;
    assert_int_equal(lookup_find(&l, text, text, 14, &match), 8); /* ... of those the latest */
    assert_int_equal(match, 2);
    assert_int_equal(lookup_find(&l, text, (int32_t[]){8, 8}, 2, &match), 0);
    assert_int_equal(lookup_find(&l, text, (int32_t[]){4}, 1, &match), 0);
    lookup_release(&l);
}

/* More tokens than slots: what is found is always really there. */
static void test_lookup_of_a_long_text(void **state)
{
    (void)state;
    struct err err;
    struct lookup l;
    int n = 3 * (int)LOOKUP_SLOTS_MAX, n_found = 0, match;
    int32_t *text = calloc((size_t)n, sizeof(*text));
    for (int i = 0; i < n; i++)
        text[i] = noise((uint64_t)i % 8000) % 100;
    assert_int_equal(lookup_init(&l, n, &err), 0);
    assert_int_equal(l.n_slot, LOOKUP_SLOTS_MAX);
    for (int i = 1; i < n; i++) {
        lookup_add(&l, text, i - 1);
        int at = lookup_find(&l, text, text, i, &match);
        if (at == 0)
            continue;
        assert_true(at < i && match >= LOOKUP_SHORT && match <= LOOKUP_MATCH_MAX);
        assert_memory_equal(&text[at - match], &text[i - match], (size_t)match * sizeof(*text));
        n_found += match == LOOKUP_MATCH_MAX;
    }
    assert_true(n_found > n / 3); /* it repeats itself after 8000 tokens */
    lookup_release(&l);
    free(text);
}

static void test_the_prompt_is_repeated(void **state)
{
    (void)state;
    struct prediction *p;
    struct text t = {0};
    add(&t, 100, 200);
    add(&t, 5, 3);
    int n_prompt = t.n;
    add(&t, 120, 150);
    struct draft *d = new_draft(n_prompt, NULL, &p);
    assert_int_equal(count_right(d, &t), 150 - LOOKUP_SHORT);
    assert_int_equal(d->n_foretold, 0);
    float chance[DRAFT_MAX];
    assert_int_equal(draft_guess(d, t.token, DRAFT_MAX, chance), DRAFT_MAX);
    for (int i = 0; i < DRAFT_MAX; i++) {
        assert_int_equal(t.token[t.n + i], 270 + i);
        assert_true(chance[i] > 0.5f && chance[i] <= (i > 0 ? chance[i - 1] : 1));
    }
    draft_free(d);
}

/* A text of period 3: guesses go on into what was guessed just before. */
static void test_guesses_continue_themselves(void **state)
{
    (void)state;
    struct prediction *p;
    struct text t = {0};
    for (int i = 0; i < 60; i++)
        add(&t, i % 3, 1);
    struct draft *d = new_draft(10, NULL, &p);
    assert_int_equal(count_right(d, &t), 50);
    float chance[DRAFT_MAX];
    assert_int_equal(draft_guess(d, t.token, DRAFT_MAX, chance), DRAFT_MAX);
    for (int i = 0; i < DRAFT_MAX; i++)
        assert_int_equal(t.token[60 + i], i % 3);
    draft_free(d);
}

/* Chance agreements of two tokens are soon known for what they are. */
static void test_nothing_to_guess(void **state)
{
    (void)state;
    struct prediction *p;
    struct text t = {0};
    for (uint64_t i = 0; i < 3000; i++)
        add(&t, noise(i) % 20, 1);
    struct draft *d = new_draft(1000, NULL, &p);
    int n_right = count_right(d, &t);
    assert_true(n_right < 300);
    float chance[DRAFT_MAX];
    assert_true(draft_guess(d, t.token, 1, chance) == 0 || chance[0] < 0.3f);
    draft_free(d);
}

static void test_prediction(void **state)
{
    (void)state;
    struct prediction *p;
    struct text foretold = {0}, t = {0};
    add(&foretold, 100, 500);
    add(&t, 1, 10);
    add(&t, 100, 50);  /* as predicted from the first token */
    add(&t, 9000, 2);  /* instead of two */
    add(&t, 152, 48);  /* known at once: two tokens were replaced by two */
    add(&t, 9100, 20); /* put in */
    add(&t, 200, 50);  /* found again after its first */
    add(&t, 280, 20);  /* 30 left out: after its first, too */
    add(&t, 500, 50);  /* 200 left out: after two */
    struct draft *d = new_draft(10, &foretold, &p);
    int n_right = count_right(d, &t);
    assert_int_equal(n_right, 50 + 48 + 49 + 19 + 48);
    assert_int_equal(d->n_foretold, n_right);
    draft_free(d);
    prediction_free(p);
}

/* Each token of a prediction counts once, however often the answer repeats it. */
static void test_prediction_is_counted_once(void **state)
{
    (void)state;
    struct prediction *p;
    struct text foretold = {0}, t = {0};
    add(&foretold, 100, 40);
    add(&t, 1, 10);
    for (int i = 0; i < 5; i++)
        add(&t, 100, 40);
    struct draft *d = new_draft(10, &foretold, &p);
    assert_true(count_right(d, &t) > 150);
    assert_int_equal(d->n_foretold, 40);
    draft_free(d);
    prediction_free(p);
}

/* A chance agreement late in a prediction does not make what stands before it uncountable. */
static void test_prediction_met_out_of_order(void **state)
{
    (void)state;
    struct prediction *p;
    struct text foretold = {0}, t = {0};
    add(&foretold, 100, 60);
    add(&t, 1, 10);
    add(&t, 150, 3);
    add(&t, 9000, 20);
    add(&t, 100, 40);
    struct draft *d = new_draft(10, &foretold, &p);
    count_right(d, &t);
    assert_int_equal(d->n_foretold, 2 + 38); /* found after one token, and, far away, after two */
    draft_free(d);
    prediction_free(p);
}

/* Seen at once or token by token: the same state, so a resumed text counts as it did. */
static void test_at_once_or_one_by_one(void **state)
{
    (void)state;
    struct prediction *p;
    struct text foretold = {0}, t = {0};
    for (uint64_t i = 0; i < 300; i++)
        add(&foretold, noise(i) % 40, 1);
    for (uint64_t i = 0; i < 900; i++)
        add(&t, noise(i / 7 * 9 + i % 7) % 40, 1);
    struct draft *one = new_draft(20, &foretold, &p), *all;
    struct err err;
    assert_int_equal(draft_new(N_MAX, 20, p, &all, &err), 0);
    count_right(one, &t);
    draft_see(all, t.token, t.n);
    assert_int_equal(one->n_foretold, all->n_foretold);
    assert_memory_equal(one->place, all->place, sizeof(one->place));
    assert_memory_equal(one->rate, all->rate, sizeof(one->rate));
    draft_free(one);
    draft_free(all);
    prediction_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_lookup_of_a_long_text),
        cmocka_unit_test(test_the_prompt_is_repeated),
        cmocka_unit_test(test_guesses_continue_themselves),
        cmocka_unit_test(test_nothing_to_guess),
        cmocka_unit_test(test_prediction),
        cmocka_unit_test(test_prediction_is_counted_once),
        cmocka_unit_test(test_prediction_met_out_of_order),
        cmocka_unit_test(test_at_once_or_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
