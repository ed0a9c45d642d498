/*
 * job_sampling: see the header.
 */
#include "worker/job_sampling.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BIAS_TOKENS_MAX 4096 /* of one text; more than one is an error anyway */

/* ---- the texts of the tokens ---- */

struct texts {
    const struct tokenizer *tokenizer;
    int n_vocab;
    pthread_mutex_t lock;
    struct token_text *text; /* NULL: nobody asked yet */
};

int texts_new(const struct tokenizer *tokenizer, int n_vocab, struct texts **ret, struct err *err)
{
    struct texts *t = mem_zero(1, sizeof(*t));
    t->tokenizer = tokenizer;
    t->n_vocab = n_vocab;
    if (pthread_mutex_init(&t->lock, NULL) != 0) {
        free(t);
        return err_set(err, ERR_NOMEM, "no memory for a lock");
    }
    *ret = t;
    return 0;
}

void texts_free(struct texts *t)
{
    if (!t)
        return;
    token_text_free(t->text);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* What is shown of a token: nothing of control tokens. */
static bool piece(void *ctx, int32_t id, struct buf *out)
{
    const struct texts *t = ctx;
    if ((size_t)id >= tokenizer_n_vocab(t->tokenizer))
        return true;
    return tokenizer_piece(t->tokenizer, id, false, out);
}

static int texts_get(struct texts *t, const struct token_text **ret, struct err *err)
{
    pthread_mutex_lock(&t->lock);
    int rc = t->text ? 0 : token_text_new(t->n_vocab, piece, t, &t->text, err);
    *ret = t->text;
    pthread_mutex_unlock(&t->lock);
    return rc;
}

/* ---- logit_bias ---- */

static int add_text(const struct texts *t, const json_t *pair, struct sampling_bias *ret,
                    struct err *err)
{
    struct str text = json_str(json_array_get(pair, 0));
    struct tokens tokens;
    tokens_init(&tokens, BIAS_TOKENS_MAX);
    int rc = tokenizer_encode(t->tokenizer, text, TOKENIZE_SPECIAL, &tokens, err);
    if (rc == 0 && tokens.len != 1)
        rc = err_set_param(err, ERR_INVALID, "logit_bias",
                           "logit_bias: '%.*s' is %zu tokens for this model, not one",
                           (int)(text.len < 64 ? text.len : 64), text.ptr, tokens.len);
    if (rc == 0)
        *ret =
            (struct sampling_bias){tokens.id[0], (float)json_number_value(json_array_get(pair, 1))};
    tokens_release(&tokens);
    return rc;
}

static int init_bias(struct job_sampling *own, const struct texts *t, const struct gen_sampling *g,
                     struct sampling *ret, struct err *err)
{
    size_t n_text = json_array_size(g->bias_text);
    own->bias = mem_try_array(g->n_bias + n_text + 1, sizeof(*own->bias));
    if (!own->bias)
        return err_set(err, ERR_NOMEM, "no memory for logit_bias");
    for (size_t i = 0; i < g->n_bias; i++) {
        own->bias[i] = (struct sampling_bias){g->bias[i].token, g->bias[i].bias};
        if (g->bias[i].token >= t->n_vocab)
            return err_set_param(err, ERR_INVALID, "logit_bias",
                                 "logit_bias: token %d does not exist: the model knows 0 to %d",
                                 (int)g->bias[i].token, t->n_vocab - 1);
    }
    for (size_t i = 0; i < n_text; i++) {
        int rc = add_text(t, json_array_get(g->bias_text, i), &own->bias[g->n_bias + i], err);
        if (rc != 0)
            return rc;
    }
    ret->bias = own->bias;
    ret->n_bias = g->n_bias + n_text;
    return 0;
}

/* ---- texts that are looked for ---- */

static int init_banned(struct job_sampling *own, struct texts *t, const struct gen_sampling *g,
                       struct sampling *ret, struct err *err)
{
    struct str needle[GEN_BANNED_MAX];
    const struct token_text *text;
    int n = (int)json_array_size(g->banned);
    if (n == 0)
        return 0;
    for (int i = 0; i < n; i++) {
        needle[i] = json_str(json_array_get(g->banned, (size_t)i));
        if (str_find(needle[i], STR("\xef\xbf\xbd")) >= 0)
            return err_set_param(err, ERR_INVALID, "banned_strings",
                                 "banned_strings may not hold U+FFFD, which stands for what is no "
                                 "character");
    }
    int rc = texts_get(t, &text, err);
    rc = rc != 0 ? rc : banned_new(text, needle, n, &own->banned, err);
    ret->banned = own->banned;
    return rc;
}

/* The four that the method's author proposes, when none are given. */
static int init_dry(struct job_sampling *own, struct texts *t, const struct gen_sampling *g,
                    struct sampling *ret, struct err *err)
{
    static const struct str usual[] = {{"\n", 1}, {":", 1}, {"\"", 1}, {"*", 1}};
    ret->dry_breaker = usual;
    ret->n_dry_breaker = ARRAY_LEN(usual);
    if (g->dry_multiplier <= 0 || (g->dry_breakers && json_array_size(g->dry_breakers) == 0)) {
        ret->n_dry_breaker = 0;
        return 0;
    }
    if (g->dry_breakers) {
        size_t n = json_array_size(g->dry_breakers);
        own->breaker = mem_try_array(n, sizeof(*own->breaker));
        if (!own->breaker)
            return err_set(err, ERR_NOMEM, "no memory for dry_sequence_breakers");
        for (size_t i = 0; i < n; i++)
            own->breaker[i] = json_str(json_array_get(g->dry_breakers, i));
        ret->dry_breaker = own->breaker;
        ret->n_dry_breaker = (int)n;
    }
    return texts_get(t, &ret->text, err);
}

/* ---- all of it ---- */

static struct sampling numbers_of(const struct gen_sampling *g)
{
    struct sampling s = {
        .temperature = g->temperature,
        .dynatemp_range = g->dynatemp_range,
        .dynatemp_exponent = g->dynatemp_exponent,
        .top_p = g->top_p,
        .top_k = g->top_k,
        .min_p = g->min_p,
        .typical_p = g->typical_p,
        .top_n_sigma = g->top_n_sigma,
        .xtc_probability = g->xtc_probability,
        .xtc_threshold = g->xtc_threshold,
        .min_keep = g->min_keep,
        .repeat_penalty = g->repeat_penalty,
        .repeat_last_n = g->repeat_last_n,
        .presence_penalty = g->penalty_last_n == 0 ? 0 : g->presence_penalty,
        .frequency_penalty = g->penalty_last_n == 0 ? 0 : g->frequency_penalty,
        .count_last_n = g->penalty_last_n == GEN_PENALTY_GENERATED ? 0 : g->penalty_last_n,
        .dry_multiplier = g->dry_multiplier,
        .dry_base = g->dry_base,
        .dry_allowed_length = g->dry_allowed_length,
        .dry_last_n = g->dry_last_n,
        .mirostat = (int)g->mirostat,
        .mirostat_tau = g->mirostat_tau,
        .mirostat_eta = g->mirostat_eta,
        .post_probs = g->post_probs,
        .seed = g->seed,
    };
    _Static_assert(sizeof(s.order) == sizeof(g->samplers), "the same letters");
    memcpy(s.order, g->samplers, sizeof(s.order));
    if (s.order[0] == '\0')
        s.order[0] = '-'; /* no stage at all, and not the usual ones */
    return s;
}

int job_sampling_init(struct job_sampling *own, struct texts *texts, const struct gen_sampling *g,
                      struct sampling *ret, struct err *err)
{
    struct sampling s = numbers_of(g);
    *own = (struct job_sampling){0};
    int rc = init_bias(own, texts, g, &s, err);
    rc = rc != 0 ? rc : init_banned(own, texts, g, &s, err);
    rc = rc != 0 ? rc : init_dry(own, texts, g, &s, err);
    if (rc != 0)
        job_sampling_release(own);
    else
        *ret = s;
    return rc;
}

void job_sampling_release(struct job_sampling *own)
{
    free(own->bias);
    free(own->breaker);
    banned_free(own->banned);
    *own = (struct job_sampling){0};
}
