/*
 * think_budget: see the header.
 */
#include "engine/think_budget.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define OPENS_WITHIN 4 /* tokens before the marker: white space */

int think_budget_new(const struct think_budget *what, int n_vocab, struct think_budget **ret,
                     struct err *err)
{
    struct think_budget *b = mem_zero(1, sizeof(*b));
    *b = *what;
    b->n_words = (n_vocab + 31) / 32;
    b->mask = mem_try_array((size_t)b->force.n + 1, (size_t)b->n_words * sizeof(*b->mask));
    if (!b->mask) {
        free(b);
        return err_set(err, ERR_NOMEM, "no memory for a budget of thoughts");
    }
    for (int i = 0; i < b->force.n; i++) {
        int32_t t = b->force.token[i];
        b->mask[(size_t)i * (size_t)b->n_words + (size_t)(t / 32)] = 1u << (t % 32);
    }
    *ret = b;
    return 0;
}

void think_budget_free(struct think_budget *b)
{
    if (!b)
        return;
    free(b->mask);
    free(b);
}

uint64_t think_budget_bytes(int n_vocab)
{
    return sizeof(struct think_budget) + (uint64_t)THINK_MARK_MAX * (uint64_t)n_vocab / 8;
}

static bool holds(const int32_t *token, int n, const struct think_mark *m)
{
    int len = m->n > 1 ? m->n - 1 : m->n;
    for (int i = 0; len > 0 && i + len <= n; i++)
        if (memcmp(token + i, m->token, (size_t)len * sizeof(*token)) == 0)
            return true;
    return false;
}

const uint32_t *think_budget_mask(const struct think_budget *b, const int32_t *token, int n_prompt,
                                  int next)
{
    int k = next - n_prompt - b->n_max;
    if (k < 0 || k >= b->force.n)
        return NULL;
    int n_first = OPENS_WITHIN + b->open.n;
    bool open =
        b->is_open || holds(token + n_prompt, n_first < b->n_max ? n_first : b->n_max, &b->open);
    if (!open || holds(token + n_prompt, b->n_max, &b->close))
        return NULL;
    return b->mask + (size_t)k * (size_t)b->n_words;
}
