/*
 * request: see request.h. What all dialects share of a request and of an answer.
 */
#include "api/request.h"

#include "api/sampling.h"
#include "api/tools.h"
#include "base/mem.h"
#include "base/rng.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TOP_P_LEAST 1e-9 /* the engine wants more than 0 */

void api_request_init(struct api_request *r, const struct api_endpoint *endpoint)
{
    *r = (struct api_request){.endpoint = endpoint,
                              .best_of = -1,
                              .max_tokens = -1,
                              .max_completion_tokens = -1,
                              .n_logprobs = -1};
    gen_request_init(&r->gen);
}

void api_request_release(struct api_request *r)
{
    gen_request_release(&r->gen);
    json_decref(r->messages);
    json_decref(r->prompts);
    json_decref(r->own);
    json_decref(r->tools);
    json_decref(r->tools_allowed);
    free(r->effort);
    r->messages = r->prompts = r->own = r->tools = r->tools_allowed = NULL;
    r->effort = NULL;
}

/* Only an answer can be gone on with, and a call of tools is a whole one. */
static int check_final(const struct api_request *r, struct err *err)
{
    const json_t *last = json_array_get(r->messages, json_array_size(r->messages) - 1);
    if (!str_eq_z(json_str(json_object_get(last, "role")), "assistant") ||
        json_object_get(last, "tool_calls") != NULL)
        return err_set_param(err, ERR_INVALID, "messages",
                             "to be continued, the last message must be the assistant's and call "
                             "no tools");
    if (r->generation_prompt_given && r->generation_prompt)
        return err_set_param(err, ERR_INVALID, "add_generation_prompt",
                             "'add_generation_prompt' begins a new message; it cannot go with "
                             "'continue_final_message'");
    return 0;
}

static int finish_chat(struct api_request *r, struct err *err)
{
    if (r->messages == NULL)
        return err_set_param(err, ERR_INVALID, "messages", "'messages' is missing");
    bool begins = !r->continue_final && (!r->generation_prompt_given || r->generation_prompt);
    int code = r->continue_final ? check_final(r, err) : 0;
    if (code != 0)
        return code;
    r->n_prompt = 1;
    r->gen.kind = GEN_CHAT;
    r->gen.chat = r->template_vars == NULL ? json_object() : json_copy(r->template_vars);
    if (r->gen.chat == NULL || json_object_set(r->gen.chat, "messages", r->messages) != 0 ||
        json_object_set_new(r->gen.chat, "add_generation_prompt", json_boolean(begins)) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (r->continue_final &&
        json_object_set_new(r->gen.chat, "continue_final_message", json_true()) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (r->effort != NULL &&
        json_object_set_new(r->gen.chat, "reasoning_effort", json_string(r->effort)) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    return api_tools_finish(r, err);
}

int api_request_finish(struct api_request *r, struct err *err)
{
    struct gen_sampling *s = &r->gen.sampling;
    int code = r->endpoint->is_chat ? finish_chat(r, err) : 0;
    if (code == 0 && !r->endpoint->is_chat && r->prompts == NULL)
        code = err_set_param(err, ERR_INVALID, "prompt", "'prompt' is missing");
    if (s->top_p < TOP_P_LEAST)
        s->top_p = TOP_P_LEAST; /* 0 means what is next to it: the likeliest token alone */
    if (s->top_k < 0)
        s->top_k = 0; /* -1 is how some clients write "off" */
    if (!r->seed_given) {
        rng_system(&s->seed, sizeof s->seed);
        s->seed >>= 64 - 53; /* a number that every JSON reader keeps, and that may be sent back */
    }
    return code == 0 ? api_sampling_finish(r, err) : code;
}

bool api_request_default_system(struct api_request *r, const char *text)
{
    const json_t *first = json_array_get(r->messages, 0);
    if (!r->endpoint->is_chat || text == NULL || text[0] == '\0' ||
        str_eq_z(json_str(json_object_get(first, "role")), "system"))
        return true;
    json_t *message = json_pack("{s:s, s:s}", "role", "system", "content", text);
    return message != NULL && json_array_insert_new(r->messages, 0, message) == 0;
}

bool api_request_prepend(struct api_request *r, const json_t *messages)
{
    const json_t *first = json_array_get(r->messages, 0);
    bool system = str_eq_z(json_str(json_object_get(first, "role")), "system"), ok = true;
    size_t at = system, n = json_array_size(messages);
    for (size_t i = 0; i < n && ok; i++) {
        json_t *m = json_array_get(messages, i);
        if (system && str_eq_z(json_str(json_object_get(m, "role")), "system"))
            continue;
        ok = json_array_insert(r->messages, at++, m) == 0;
    }
    return ok;
}

json_t *api_request_frame(struct api_request *r, int i_prompt, uint64_t id)
{
    struct gen_request g = r->gen; /* borrows everything; never released */
    json_t *prompt = json_array_get(r->prompts, (size_t)i_prompt);
    g.id = id;
    if (!r->endpoint->is_chat && g.inputs == NULL) {
        g.kind = json_is_string(prompt) ? GEN_TEXT : GEN_TOKENS;
        g.text = (char *)json_string_value(prompt);
        g.text_len = json_string_length(prompt);
        g.n_tokens = json_array_size(prompt);
        g.tokens = g.n_tokens == 0 ? NULL : mem_try_array(g.n_tokens, sizeof *g.tokens);
        if (g.n_tokens > 0 && g.tokens == NULL)
            return NULL;
        for (size_t i = 0; i < g.n_tokens; i++)
            g.tokens[i] = (int32_t)json_integer_value(json_array_get(prompt, i));
    }
    json_t *frame = gen_request_to_json(&g);
    free(g.tokens);
    return frame;
}

/* ---- answers ---- */

struct api_answer *api_answer_new(const struct api_request *r, const char *id, int64_t created_ms,
                                  const char *model)
{
    struct api_answer *a = r->endpoint->answer_new(r);
    if (a == NULL)
        return NULL;
    a->endpoint = r->endpoint;
    a->stream = r->stream;
    a->created_ms = created_ms;
    a->n_choice = r->n_prompt * (int)r->gen.n;
    a->n_per_prompt = (int)r->gen.n;
    snprintf(a->id, sizeof a->id, "%s", id);
    a->model = str_dup(str_z(model));
    return a;
}

void api_answer_free(struct api_answer *a)
{
    if (a == NULL)
        return;
    free(a->model);
    a->endpoint->answer_free(a);
}

void api_answer_fingerprint(struct api_answer *a, const char *fingerprint)
{
    snprintf(a->fingerprint, sizeof a->fingerprint, "%s", fingerprint);
}

void api_answer_done(struct api_answer *a, const struct gen_done *d)
{
    a->n_prompt += d->n_prompt;
    a->n_cached += d->n_cached;
    a->n_completion += d->n_completion;
    a->n_reasoning += d->n_reasoning;
    a->n_foretold += d->n_foretold;
    a->n_not_met += d->n_not_met;
    a->queue_ms = fmax(a->queue_ms, d->queue_ms);
    a->prefill_ms = fmax(a->prefill_ms, d->prefill_ms);
    a->decode_ms = fmax(a->decode_ms, d->decode_ms);
}

void api_answer_more(const struct api_answer *a, struct buf *out)
{
    if (a->n_dropped > 0)
        buf_printf(out, ",\"hearth\":{\"dropped_messages\":%" PRId64 "}", a->n_dropped);
}

int api_answer_choice(const struct api_answer *a, int i_prompt, int64_t index)
{
    if (index < 0 || index >= a->n_per_prompt)
        return -1;
    return i_prompt * a->n_per_prompt + (int)index;
}
