/*
 * prompt: renders, tokenizes, puts BOS first. Control tokens come from the template only (see
 * worker/spelling), or from a raw prompt, which is the client's own.
 */
#include "worker/prompt.h"

#include "text/answer_parser.h"
#include "worker/shorten.h"

#include <stdlib.h>

#define PROMPT_BYTES_MAX (64u << 20)
#define BEGUN_MAX        4096

/* ---- how the answer begins ---- */

const json_t *prompt_tools(const struct gen_request *r)
{
    const json_t *tools = r->kind == GEN_CHAT ? json_object_get(r->chat, "tools") : NULL;
    return json_array_size(tools) > 0 && r->tool_choice != GEN_TOOLS_NONE ? tools : NULL;
}

static struct str name_of(const json_t *tool)
{
    return json_str(json_object_get(json_object_get(tool, "function"), "name"));
}

/* A model that may think does so before it calls; the answer's grammar has the call then. */
static bool thinks_first(const struct dialect *d, const struct gen_request *r, bool in_thought,
                         struct str prompt)
{
    if (r->think == GEN_THINK_OFF)
        return false;
    if (in_thought || d->body == DIALECT_HARMONY)
        return d->after_args != NULL;
    return d->think_open != NULL && d->after_args != NULL &&
           !str_ends(str_trim(prompt), str_z(d->think_close));
}

/* Else a call that is demanded is begun for the model: its marker and, where there is but one tool
 * to call, its name. */
static bool begin_call(const struct dialect *d, const struct gen_request *r, bool in_thought,
                       struct str prompt, struct buf *out)
{
    const json_t *tools = prompt_tools(r);
    if (tools == NULL || r->tool_choice != GEN_TOOLS_REQUIRED || d->before_name == NULL ||
        thinks_first(d, r, in_thought, prompt))
        return true;
    if (in_thought) {
        buf_add_z(out, d->think_close);
        buf_add_z(out, "\n\n");
    }
    buf_add_z(out, d->begin);
    buf_add_z(out, d->before_name);
    struct str name = str_z(r->tool_name);
    if (name.len == 0 && json_array_size(tools) == 1)
        name = name_of(json_array_get(tools, 0));
    if (name.len > 0) {
        buf_add_str(out, name);
        buf_add_z(out, d->after_name);
    }
    return !out->overflow;
}

void prompt_end_release(struct prompt_end *e)
{
    buf_release(&e->begun);
}

/* ---- rendering ---- */

/* Renders with disguised spellings; *d says what they were. r: how it is to think, or NULL. */
static int render(const struct loaded *l, json_t *chat, const struct gen_request *r,
                  struct disguise *d, struct buf *out, struct err *err)
{
    enum chat_think think = !r                          ? CHAT_THINK_DEFAULT
                            : r->think == GEN_THINK_OFF ? CHAT_THINK_OFF
                            : r->think == GEN_THINK_ON  ? CHAT_THINK_ON
                                                        : CHAT_THINK_DEFAULT;
    json_t *disguised = NULL;
    int rc = disguise_request(d, l->spellings, chat, &disguised, err);
    json_t *request = rc == 0 ? json_copy(disguised) : NULL;
    if (rc == 0 && (!request || !chat_think_begin(l->chat, think, request)))
        rc = err_set(err, ERR_NOMEM, "no memory for the prompt");
    rc = rc != 0 ? rc : chat_render(l->chat, request, out, err);
    if (rc == 0 && !chat_think_end(l->chat, think, request, out))
        rc = err_set(err, ERR_NOMEM, "no memory for the prompt");
    json_decref(request);
    json_decref(disguised);
    return rc;
}

int prompt_render(const struct loaded *l, json_t *chat, const struct gen_request *r,
                  struct buf *out, struct err *err)
{
    struct disguise d = {0};
    struct buf text;
    buf_init(&text, PROMPT_BYTES_MAX);
    int rc = render(l, chat, r, &d, &text, err);
    rc = rc != 0 ? rc : disguise_undo(&d, buf_str(&text), out, err);
    buf_release(&text);
    disguise_release(&d);
    return rc;
}

static int encode_chat(const struct loaded *l, const struct gen_request *r, struct tokens *out,
                       struct prompt_end *end, struct err *err)
{
    const struct dialect *dialect = chat_dialect(l->chat);
    struct disguise d = {0};
    struct buf text;
    buf_init(&text, PROMPT_BYTES_MAX);
    int rc = render(l, r->chat, r, &d, &text, err);
    if (rc == 0 && r->parse) {
        end->in_thought = answer_prompt_thinks(dialect, buf_str(&text));
        if (!begin_call(dialect, r, end->in_thought, buf_str(&text), &end->begun) ||
            !buf_add_str(&text, buf_str(&end->begun)))
            rc = err_set(err, ERR_NOMEM, "no memory for the prompt");
        end->in_call = end->begun.len > 0;
        bool goes_on = json_is_true(json_object_get(r->chat, "continue_final_message"));
        bool answers = r->think == GEN_THINK_OFF && prompt_tools(r) == NULL;
        end->in_final = dialect->body == DIALECT_HARMONY && !end->in_call && (answers || goes_on);
        if (end->in_final)
            buf_add_z(&end->begun, "<|channel|>final<|message|>"); /* is written already */
    }
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

/* The text around a gap, as models that fill it in are trained: what stands before it, what after.
 */
static int encode_gap(const struct loaded *l, const struct gen_request *r, struct tokens *out,
                      struct err *err)
{
    struct fim_tokens fim;
    if (!tokenizer_fim(l->tokenizer, &fim))
        return err_set_param(err, ERR_UNSUPPORTED, "suffix",
                             "'suffix' is not supported by this model: its tokenizer has no tokens "
                             "for filling in a gap (fill-in-the-middle)");
    bool ok = tokens_push(out, fim.prefix);
    int rc = tokenizer_encode(l->tokenizer, (struct str){r->text, r->text_len}, 0, out, err);
    ok = ok && rc == 0 && tokens_push(out, fim.suffix);
    rc = rc != 0
             ? rc
             : tokenizer_encode(l->tokenizer, (struct str){r->suffix, r->suffix_len}, 0, out, err);
    ok = ok && rc == 0 && tokens_push(out, fim.middle);
    return rc != 0 || ok ? rc : err_set(err, ERR_NOMEM, "no memory for the prompt's tokens");
}

int prompt_tokens(const struct loaded *l, const struct gen_request *r, struct tokens *out,
                  struct prompt_end *ret, struct err *err)
{
    token_id bos = tokenizer_bos(l->tokenizer);
    bool wants_bos = r->kind != GEN_TOKENS && tokenizer_adds_bos(l->tokenizer) && bos != TOKEN_NONE;
    struct tokens body;
    tokens_init(&body, out->max);
    int rc = 0;
    buf_init(&ret->begun, BEGUN_MAX);
    if (r->kind == GEN_CHAT)
        rc = encode_chat(l, r, &body, ret, err);
    else if (r->kind == GEN_TEXT && r->suffix)
        rc = encode_gap(l, r, &body, err);
    else if (r->kind == GEN_TEXT)
        rc = tokenizer_encode(l->tokenizer, (struct str){r->text, r->text_len}, TOKENIZE_SPECIAL,
                              &body, err);
    else
        rc = copy_tokens(l, r, &body, err);
    ret->has_bos = wants_bos && (body.len == 0 || body.id[0] != bos);
    /* nothing at all to begin from: a model without BOS begins after an end */
    token_id first = ret->has_bos ? bos : TOKEN_NONE;
    if (rc == 0 && body.len == 0 && first == TOKEN_NONE) {
        first = bos != TOKEN_NONE ? bos : tokenizer_eos(l->tokenizer);
        ret->has_bos = first != TOKEN_NONE;
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

/* ---- a conversation that is too long ---- */

/* Tokens of the conversation without the n oldest messages. */
static int try_without(const struct loaded *l, const struct gen_request *r,
                       const struct shortening *s, size_t n, struct tokens *out,
                       struct prompt_end *ret, int64_t *ret_dropped, struct err *err)
{
    struct gen_request less = *r; /* borrows all but the conversation */
    json_t *kept = shortening_without(s, n);
    less.chat = json_copy(r->chat);
    out->len = 0;
    prompt_end_release(ret);
    *ret = (struct prompt_end){0};
    int rc = kept && less.chat && json_object_set(less.chat, "messages", kept) == 0
                 ? prompt_tokens(l, &less, out, ret, err)
                 : err_set(err, ERR_NOMEM, "no memory for the messages");
    *ret_dropped = (int64_t)json_array_size(s->messages) - (int64_t)json_array_size(kept);
    json_decref(kept);
    json_decref(less.chat);
    return rc;
}

/* The fewest that will do, by halves; templates that refuse a beginning are tried without it. */
static int drop_fewest(const struct loaded *l, const struct gen_request *r,
                       const struct shortening *s, size_t n_max, struct tokens *out,
                       struct prompt_end *ret, int64_t *ret_dropped, struct err *err)
{
    size_t low = 0, high = s->n_may_go, best = 0;
    bool found = false;
    while (low < high) {
        size_t n = low + (high - low) / 2;
        int rc = try_without(l, r, s, n + 1, out, ret, ret_dropped, err);
        if (rc == ERR_NOMEM)
            return rc;
        if (rc == 0 && out->len < n_max) {
            found = true;
            best = n + 1;
            high = n;
        } else {
            low = n + 1;
        }
    }
    out->len = 0;
    *ret_dropped = 0;
    return found ? try_without(l, r, s, best, out, ret, ret_dropped, err) : 0;
}

int prompt_truncate(const struct loaded *l, const struct gen_request *r, size_t n_max,
                    struct tokens *out, struct prompt_end *ret, int64_t *ret_dropped,
                    struct err *err)
{
    struct shortening s;
    int rc = shortening_init(&s, json_object_get(r->chat, "messages"))
                 ? drop_fewest(l, r, &s, n_max, out, ret, ret_dropped, err)
                 : err_set(err, ERR_NOMEM, "no memory for the messages");
    shortening_release(&s);
    return rc;
}
