/*
 * prompt: renders, tokenizes, puts BOS first. Control tokens come from the template only (see
 * worker/spelling), or from a raw prompt, which is the client's own.
 */
#include "worker/prompt.h"

#define PROMPT_BYTES_MAX (64u << 20)

/* Renders with disguised spellings; *d says what they were. */
static int render(const struct loaded *l, json_t *chat, struct disguise *d, struct buf *out,
                  struct err *err)
{
    json_t *request = NULL;
    int rc = disguise_request(d, l->spellings, chat, &request, err);
    rc = rc != 0 ? rc : chat_render(l->chat, request, out, err);
    json_decref(request);
    return rc;
}

int prompt_render(const struct loaded *l, json_t *chat, struct buf *out, struct err *err)
{
    struct disguise d = {0};
    struct buf text;
    buf_init(&text, PROMPT_BYTES_MAX);
    int rc = render(l, chat, &d, &text, err);
    rc = rc != 0 ? rc : disguise_undo(&d, buf_str(&text), out, err);
    buf_release(&text);
    disguise_release(&d);
    return rc;
}

static int encode_chat(const struct loaded *l, json_t *chat, struct tokens *out, struct err *err)
{
    struct disguise d = {0};
    struct buf text;
    buf_init(&text, PROMPT_BYTES_MAX);
    int rc = render(l, chat, &d, &text, err);
    if (rc == 0)
        rc = disguise_encode(&d, l->spellings, l->tokenizer, buf_str(&text), out, err);
    buf_release(&text);
    disguise_release(&d);
    return rc;
}

static int copy_tokens(const struct loaded *l, const struct gen_request *r, struct tokens *out,
                       struct err *err)
{
    for (size_t i = 0; i < r->n_tokens; i++) {
        if (r->tokens[i] < 0 || r->tokens[i] >= l->ready.n_vocab)
            return err_set_param(err, ERR_INVALID, "prompt",
                                 "token %d does not exist: the model knows 0 to %lld",
                                 (int)r->tokens[i], (long long)l->ready.n_vocab - 1);
        if (!tokens_push(out, r->tokens[i]))
            return err_set(err, ERR_LIMIT, "the prompt is too long");
    }
    return 0;
}

int prompt_tokens(const struct loaded *l, const struct gen_request *r, struct tokens *out,
                  bool *ret_bos, struct err *err)
{
    token_id bos = tokenizer_bos(l->tokenizer);
    bool wants_bos = r->kind != GEN_TOKENS && tokenizer_adds_bos(l->tokenizer) && bos != TOKEN_NONE;
    struct tokens body;
    tokens_init(&body, out->max);
    int rc = 0;
    if (r->kind == GEN_CHAT)
        rc = encode_chat(l, r->chat, &body, err);
    else if (r->kind == GEN_TEXT)
        rc = tokenizer_encode(l->tokenizer, (struct str){r->text, r->text_len}, TOKENIZE_SPECIAL,
                              &body, err);
    else
        rc = copy_tokens(l, r, &body, err);
    *ret_bos = wants_bos && (body.len == 0 || body.id[0] != bos);
    /* nothing at all to begin from: a model without BOS begins after an end */
    token_id first = *ret_bos ? bos : TOKEN_NONE;
    if (rc == 0 && body.len == 0 && first == TOKEN_NONE) {
        first = bos != TOKEN_NONE ? bos : tokenizer_eos(l->tokenizer);
        *ret_bos = first != TOKEN_NONE;
        if (first == TOKEN_NONE)
            rc = err_set_param(err, ERR_INVALID, "prompt", "the prompt is empty");
    }
    bool ok = rc != 0 || first == TOKEN_NONE || tokens_push(out, first);
    for (size_t i = 0; rc == 0 && ok && i < body.len; i++)
        ok = tokens_push(out, body.id[i]);
    tokens_release(&body);
    if (rc == 0 && !ok)
        rc = err_set(err, ERR_NOMEM, "no memory for the prompt's tokens");
    return rc;
}
