/*
 * sampler_penalty: what changes the logits of few tokens: bias, bans, penalties, DRY. See
 * docs/sampling.md for the formulas.
 */
#include "base/check.h"
#include "engine/sampler_math.h"
#include "engine/sampler_stage.h"

#include <float.h>

#define DRY_MATCH_MAX 1024 /* tokens; a longer repetition counts as so long */

/* ---- one token's logit ---- */

/* NULL: it is not among the candidates. */
static float *logit_of(struct sampler_set *set, int32_t id)
{
    if (set->n < 0)
        return &set->row[id];
    int low = 0, high = set->n;
    while (low < high) {
        int mid = low + (high - low) / 2;
        if (set->s->cand[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < set->n && set->s->cand[low].id == id ? &set->s->cand[low].logit : NULL;
}

static void put_logit(const struct sampler_set *set, float *at, double logit)
{
    double x = logit - set->shift;
    if (*at > -INFINITY)
        *at = (float)(x > (double)FLT_MAX    ? (double)FLT_MAX
                      : x < -(double)FLT_MAX ? -(double)FLT_MAX
                                             : x);
}

void set_lower(struct sampler_set *set, int32_t id, double by)
{
    float *at = logit_of(set, id);
    if (at)
        put_logit(set, at, (double)*at + set->shift - by);
}

/* ---- bias and bans ---- */

void stage_bias(struct sampler_set *set, const struct sampling *p)
{
    uint32_t *count = set->s->count;
    bool forced = false;
    for (size_t i = 0; i < p->n_bias; i++) {
        int32_t id = p->bias[i].token;
        if (id < 0 || id >= set->s->n_vocab)
            continue;
        if (p->bias[i].bias <= -100.0f)
            set->row[id] = -INFINITY;
        else
            set_lower(set, id, -(double)p->bias[i].bias);
        if (p->bias[i].bias >= 100.0f) {
            count[id] = 1;
            forced = true;
        }
    }
    for (int i = 0; forced && i < set->s->n_vocab; i++) {
        set->row[i] = count[i] ? set->row[i] : -INFINITY;
        count[i] = 0;
    }
}

/* What is not in the mask. Most of its words say yes or no to all of their tokens. */
static void forbid(float *row, int n_vocab, const uint32_t *mask)
{
    int i_word = 0;
    for (; i_word < n_vocab / 32; i_word++, row += 32) {
        uint32_t no = ~mask[i_word];
        for (int i = 0; no == UINT32_MAX && i < 32; i++)
            row[i] = -INFINITY;
        for (; no != UINT32_MAX && no != 0; no &= no - 1)
            row[__builtin_ctz(no)] = -INFINITY;
    }
    for (int i = 0; i < n_vocab % 32; i++)
        if (!(mask[i_word] >> i & 1))
            row[i] = -INFINITY;
}

void stage_ban(struct sampler_set *set, const struct sampling *p, const struct sampler_history *h,
               const struct sampler_ban *ban)
{
    int n_vocab = set->s->n_vocab;
    if (p->banned)
        banned_apply(p->banned, h->token + h->n_prompt, h->n_token - h->n_prompt, set->row);
    for (int i = 0; i < ban->n; i++)
        if (ban->token[i] >= 0 && ban->token[i] < n_vocab)
            set->row[ban->token[i]] = -INFINITY;
    if (ban->mask)
        forbid(set->row, n_vocab, ban->mask);
}

/* ---- penalties ---- */

/* The first token of a window of the last n. */
static int window_from(int64_t last_n, const struct sampler_history *h)
{
    return last_n < 0 || last_n >= h->n_token ? 0 : h->n_token - (int)last_n;
}

/* Keskar et al., "CTRL" (2019), section 4.1. */
static void repeat_penalty(struct sampler_set *set, const struct sampling *p,
                           const struct sampler_history *h)
{
    int from = window_from(p->repeat_last_n, h);
    uint32_t *count = set->s->count;
    if (p->repeat_penalty == 1)
        return;
    for (int i = from; i < h->n_token; i++) {
        int32_t id = h->token[i];
        CHECK(id >= 0 && id < set->s->n_vocab);
        if (count[id]++ > 0)
            continue;
        float *at = logit_of(set, id);
        double x = at ? (double)*at + set->shift : 0;
        if (at)
            put_logit(set, at, x > 0 ? x / p->repeat_penalty : x * p->repeat_penalty);
    }
    for (int i = from; i < h->n_token; i++)
        count[h->token[i]] = 0;
}

/* OpenAI's. */
static void count_penalties(struct sampler_set *set, const struct sampling *p,
                            const struct sampler_history *h)
{
    uint32_t *count = set->s->count;
    int from = p->count_last_n == 0 ? h->n_prompt : window_from(p->count_last_n, h);
    if (p->presence_penalty == 0 && p->frequency_penalty == 0)
        return;
    for (int i = from; i < h->n_token; i++) {
        CHECK(h->token[i] >= 0 && h->token[i] < set->s->n_vocab);
        count[h->token[i]]++;
    }
    for (int i = from; i < h->n_token; i++) {
        int32_t id = h->token[i];
        if (count[id] > 0)
            set_lower(set, id, p->presence_penalty + p->frequency_penalty * count[id]);
        count[id] = 0;
    }
}

void stage_penalties(struct sampler_set *set, const struct sampling *p,
                     const struct sampler_history *h)
{
    repeat_penalty(set, p, h);
    count_penalties(set, p, h);
}

/* ---- DRY ---- */

/* Does text begin at `at` of token and what follows it? */
static bool begins_at(struct str token, size_t at, struct str ahead, struct str text)
{
    size_t in = token.len - at < text.len ? token.len - at : text.len;
    if (memcmp(token.ptr + at, text.ptr, in) != 0)
        return false;
    return text.len - in <= ahead.len && memcmp(ahead.ptr, text.ptr + in, text.len - in) == 0;
}

/* The length of the longest breaker that begins in this token, with its place; 0: none. */
static size_t find_breaker(const struct sampling *p, struct str token, struct str ahead,
                           size_t *ret_end)
{
    size_t found = 0;
    for (int b = 0; b < p->n_dry_breaker; b++) {
        for (size_t at = 0; at < token.len; at++) {
            if (!begins_at(token, at, ahead, p->dry_breaker[b]))
                continue;
            size_t end = at + p->dry_breaker[b].len;
            *ret_end = found && *ret_end > end ? *ret_end : end;
            found = p->dry_breaker[b].len;
        }
    }
    return found;
}

/* How many tokens at the end a repetition may have: back to the last breaker, which a token holds,
 * or several together. */
static int match_limit(const struct sampling *p, const struct sampler_history *h, int max)
{
    char ahead[64];
    size_t n_ahead = 0, end = 0;
    if (!p->text || p->n_dry_breaker == 0)
        return max;
    for (int n = 0; n < max; n++) {
        int at = h->n_token - 1 - n;
        struct str token = token_text_of(p->text, h->token[at]);
        if (find_breaker(p, token, (struct str){ahead, n_ahead}, &end)) {
            size_t passed = token.len; /* the breaker's last token */
            while (passed < end)
                passed += token_text_of(p->text, h->token[++at]).len;
            return h->n_token - 1 - at;
        }
        size_t len = token.len < sizeof(ahead) ? token.len : sizeof(ahead);
        size_t keep = n_ahead < sizeof(ahead) - len ? n_ahead : sizeof(ahead) - len;
        memmove(ahead + len, ahead, keep);
        if (len > 0)
            memcpy(ahead, token.ptr, len);
        n_ahead = len + keep;
    }
    return max;
}

/*
 * For each token of the window, how much of the text's end stands before it: count[token] becomes
 * the most of that for the token. The Z algorithm (Gusfield, 1997) on the text read backwards;
 * matches are at most m long, so that its array is. One pass.
 */
static void find_repetitions(uint32_t *count, const int32_t *token, int n, int n_window, int m,
                             int64_t allowed)
{
    uint16_t z[DRY_MATCH_MAX];
    const int32_t *end = token + n - 1; /* end[-k] is the k-th of the backward text */
    int left = 0, right = 0;
    for (int k = 1; k < n_window; k++) {
        int len = 0;
        if (k < right)
            len = z[k - left] < right - k ? z[k - left] : right - k;
        while (len < m && k + len < n_window && end[-k - len] == end[-len])
            len++;
        if (k + len > right) {
            left = k;
            right = k + len;
        }
        if (k < m)
            z[k] = (uint16_t)len;
        if (len >= allowed && (uint32_t)len > count[end[1 - k]])
            count[end[1 - k]] = (uint32_t)len;
    }
}

/* "DRY": P. E. Weidmann, text-generation-webui pull request 5677 (2024). */
void stage_dry(struct sampler_set *set, const struct sampling *p, const struct sampler_history *h)
{
    int from = window_from(p->dry_last_n, h), n_window = h->n_token - from;
    if (p->dry_multiplier <= 0 || n_window < 2)
        return;
    int m = match_limit(p, h, n_window < DRY_MATCH_MAX ? n_window : DRY_MATCH_MAX);
    if (m < p->dry_allowed_length)
        return;
    uint32_t *count = set->s->count;
    for (int i = from; i < h->n_token; i++)
        CHECK(h->token[i] >= 0 && h->token[i] < set->s->n_vocab);
    find_repetitions(count, h->token, h->n_token, n_window, m, p->dry_allowed_length);
    for (int i = from; i < h->n_token; i++) {
        int32_t id = h->token[i];
        if (count[id] == 0)
            continue;
        double power = (double)(count[id] - p->dry_allowed_length), by = p->dry_multiplier;
        by *= p->dry_base > 1 ? sampler_pow(p->dry_base, power) : 1;
        set_lower(set, id, by < (double)FLT_MAX ? by : (double)FLT_MAX);
        count[id] = 0;
    }
}
