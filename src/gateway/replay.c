/*
 * replay: see replay.h. Knows the `resume` member of message.h, and nothing of workers.
 */
#include "gateway/replay.h"

#include "base/mem.h"
#include "ipc/frame.h"

#include <inttypes.h>
#include <stdlib.h>

void replay_init(struct replay *r, const json_t *frame, int64_t n_choice)
{
    struct buf text;
    *r = (struct replay){.n_choice = n_choice};
    buf_init(&text, FRAME_BYTES_MAX);
    r->choice = mem_try_array((size_t)n_choice, sizeof *r->choice);
    if (r->choice != NULL && json_write(frame, &text)) {
        r->frame_len = text.len;
        r->frame = buf_steal(&text);
    }
    buf_release(&text);
}

void replay_release(struct replay *r)
{
    for (int64_t i = 0; r->choice != NULL && i < r->n_choice; i++)
        free(r->choice[i].token);
    free(r->choice);
    free(r->frame);
    *r = (struct replay){0};
}

void replay_accepted(struct replay *r, const struct gen_accepted *a, int64_t n_ctx)
{
    if (r->accepted)
        return; /* the first worker's word holds */
    r->accepted = true;
    r->n_prompt = a->n_prompt;
    r->prompt_hash = a->prompt_hash;
    r->n_ctx = n_ctx;
}

static struct replay_choice *choice_of(struct replay *r, int64_t index, struct err *err)
{
    if (!r->accepted || index < 0 || index >= r->n_choice || r->choice[index].ended) {
        err_set(err, ERR_INVALID, "news of choice %" PRId64 ", which is not running", index);
        return NULL;
    }
    return &r->choice[index];
}

int replay_delta(struct replay *r, const struct gen_delta *d, struct err *err)
{
    struct replay_choice *c = choice_of(r, d->index, err);
    if (c == NULL)
        return ERR_INVALID;
    void *array = c->token;
    if (!mem_grow(&array, &c->cap_token, c->n_token + d->n_tokens, REPLAY_TOKENS_MAX,
                  sizeof *c->token))
        return err_set(err, ERR_INVALID, "more tokens than any context holds");
    c->token = array;
    for (size_t i = 0; i < d->n_tokens; i++) {
        c->token[c->n_token++] = d->tokens[i].id;
        c->has_mu = d->tokens[i].has_mu;
        c->mu = d->tokens[i].mu;
    }
    c->text_len += (int64_t)d->text_len;
    c->n_calls += d->name != NULL;
    return 0;
}

int replay_end(struct replay *r, const struct gen_end *e, struct err *err)
{
    struct replay_choice *c = choice_of(r, e->index, err);
    if (c == NULL)
        return ERR_INVALID;
    free(c->token);
    *c = (struct replay_choice){.ended = true,
                                .n_completion = e->n_completion,
                                .n_reasoning = e->n_reasoning,
                                .n_foretold = e->n_foretold};
    return 0;
}

bool replay_is_over(const struct replay *r)
{
    int64_t i = 0;
    while (i < r->n_choice && r->choice[i].ended)
        i++;
    return i == r->n_choice;
}

static void write_choice(const struct replay_choice *c, struct buf *out)
{
    buf_printf(out,
               "{\"ended\":%s,\"n_completion\":%" PRId64 ",\"n_reasoning\":%" PRId64
               ",\"n_foretold\":%" PRId64 ",\"text_len\":%" PRId64 ",\"n_calls\":%" PRId64,
               c->ended ? "true" : "false", c->n_completion, c->n_reasoning, c->n_foretold,
               c->text_len, c->n_calls);
    if (c->has_mu) /* 17 digits: the same double again */
        buf_printf(out, ",\"has_mu\":true,\"mu\":%.17g", c->mu);
    buf_add_z(out, ",\"tokens\":[");
    for (size_t i = 0; i < c->n_token; i++)
        buf_printf(out, "%s%d", i > 0 ? "," : "", (int)c->token[i]);
    buf_add_z(out, "]}");
}

bool replay_write(const struct replay *r, struct buf *out)
{
    if (r->frame == NULL)
        return false;
    if (!r->accepted)
        return buf_add(out, r->frame, r->frame_len);
    buf_add(out, r->frame, r->frame_len - 1); /* without its closing brace */
    buf_printf(out,
               ",\"resume\":{\"n_ctx\":%" PRId64 ",\"n_prompt\":%" PRId64
               ",\"prompt_hash\":%" PRId64 ",\"prior\":[",
               r->n_ctx, r->n_prompt, (int64_t)r->prompt_hash);
    for (int64_t i = 0; i < r->n_choice; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        write_choice(&r->choice[i], out);
    }
    buf_add_z(out, "]}}");
    return !out->overflow;
}
