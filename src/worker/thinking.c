/*
 * thinking: see the header.
 */
#include "worker/thinking.h"

#include "worker/prompt.h"

#include <string.h>

static int mark_of(const struct loaded *l, const char *text, struct think_mark *ret,
                   struct err *err)
{
    struct tokens t;
    tokens_init(&t, THINK_MARK_MAX);
    int rc = tokenizer_encode(l->tokenizer, str_z(text), TOKENIZE_SPECIAL, &t, err);
    ret->n = rc == 0 ? (int)t.len : 0;
    if (rc == 0)
        memcpy(ret->token, t.id, t.len * sizeof(*t.id));
    tokens_release(&t);
    return rc;
}

/* Harmony's thoughts are a channel; with tools the model says itself what comes after them. */
static int harmony_marks(const struct loaded *l, bool tools, struct think_budget *b,
                         struct err *err)
{
    int rc = mark_of(l, "<|channel|>analysis", &b->open, err);
    rc = rc != 0 ? rc : mark_of(l, "<|end|>", &b->close, err);
    return rc != 0 ? rc
                   : mark_of(l,
                             tools ? "<|end|><|start|>assistant<|channel|>commentary"
                                   : "<|end|><|start|>assistant<|channel|>final<|message|>",
                             &b->force, err);
}

static int plain_marks(const struct loaded *l, const struct dialect *d, struct think_budget *b,
                       struct err *err)
{
    char force[64] = "\n";
    strncat(force, d->think_close, 40);
    strcat(force, "\n\n");
    int rc = mark_of(l, d->think_open, &b->open, err);
    rc = rc != 0 ? rc : mark_of(l, d->think_close, &b->close, err);
    return rc != 0 ? rc : mark_of(l, force, &b->force, err);
}

int thinking_budget(const struct loaded *l, const struct gen_request *r, bool in_thought,
                    struct think_budget **ret, struct err *err)
{
    const struct dialect *d = chat_dialect(l->chat);
    struct think_budget b = {.is_open = in_thought};
    *ret = NULL;
    if (r->think_max < 0 || r->think_max > INT32_MAX / 2 || r->kind != GEN_CHAT || !r->parse ||
        (d->body != DIALECT_HARMONY && !d->think_open))
        return 0;
    b.n_max = (int)r->think_max;
    int rc = d->body == DIALECT_HARMONY ? harmony_marks(l, prompt_tools(r) != NULL, &b, err)
                                        : plain_marks(l, d, &b, err);
    return rc != 0 ? rc : think_budget_new(&b, (int)l->ready.n_vocab, ret, err);
}
