/*
 * requests: what happened to requests, for whoever sent them. A caller sees those of its own key.
 */
#include "gateway/server.h"

#include "base/mem.h"
#include "ipc/frame.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX      (16u << 20)
#define LIMIT_DEFAULT 100

static int64_t position_of(const struct server *s, const struct trace *one)
{
    return one->over || one->job_id == 0 ? -1 : models_position(&s->models, one->job_id);
}

static int read_limit(const struct exchange *x, int64_t *ret, struct err *err)
{
    const char *text = exchange_query(x, "limit");
    *ret = LIMIT_DEFAULT;
    if (text == NULL || (str_to_i64(str_z(text), ret) && *ret >= 1 && *ret <= TRACES_DONE_MAX))
        return 0;
    return err_set_param(err, ERR_INVALID, "limit", "'limit' must be a number from 1 to %d",
                         TRACES_DONE_MAX);
}

void requests_list(struct server *s, struct exchange *x)
{
    struct err err = {0};
    struct buf out;
    int64_t left;
    const struct caller *who = &routes_visit(x)->caller;
    const char *state = exchange_query(x, "state");
    if (read_limit(x, &left, &err) != 0) {
        reply_error(x, &err, NULL);
        return;
    }
    buf_init(&out, BODY_MAX);
    buf_add_z(&out, "{\"object\":\"list\",\"data\":[");
    bool first = true;
    for (const struct trace *one = s->traces.newest; one != NULL && left > 0; one = one->next) {
        if (!trace_is_of(one, who) ||
            (state != NULL && strcmp(state, trace_state_word(one->state)) != 0))
            continue;
        if (!first)
            buf_add_char(&out, ',');
        trace_write(one, position_of(s, one), &out);
        buf_add_char(&out, '}');
        first = false;
        left--;
    }
    buf_add_z(&out, "]}");
    exchange_reply(x, 200, "application/json", buf_str(&out));
    buf_release(&out);
}

/* ---- one of them ---- */

/* With prompt NULL: without it. */
static void reply_trace(struct server *s, struct exchange *x, const struct trace *one,
                        const struct str *prompt)
{
    struct buf out;
    buf_init(&out, BODY_MAX);
    trace_write(one, position_of(s, one), &out);
    if (prompt != NULL) {
        buf_add_z(&out, ",\"prompt\":");
        json_write_string(*prompt, &out);
    }
    buf_add_char(&out, '}');
    if (out.overflow) {
        struct err err = {0};
        err_set(&err, ERR_TOO_LARGE, "the prompt is too long to be shown");
        reply_error(x, &err, NULL);
    } else {
        exchange_reply(x, 200, "application/json", buf_str(&out));
    }
    buf_release(&out);
}

static void reply_missing(struct exchange *x, const char *id)
{
    struct err err = {0};
    err_set(&err, ERR_NOT_FOUND,
            "there is no request '%.60s' of this key, or it is no longer among the last %d", id,
            TRACES_DONE_MAX);
    reply_error(x, &err, NULL);
}

/* The trace may have gone while the worker rendered. */
static void on_rendered(struct server *s, struct exchange *x, void *ctx, struct str text,
                        const struct err *err)
{
    const char *id = ctx;
    const struct trace *one = traces_find(&s->traces, id, &routes_visit(x)->caller);
    if (err->code != 0)
        reply_error(x, err, NULL);
    else if (one == NULL)
        reply_missing(x, id);
    else
        reply_trace(s, x, one, &text);
}

static struct slot *ready_slot(const struct server *s, const char *name)
{
    struct slot *slot = s->models.slots;
    while (slot != NULL && (slot->state != SLOT_READY || strcmp(slot->name, name) != 0))
        slot = slot->next;
    return slot;
}

/* The prompt as the model got it: rendered again, for only what the client sent is held. */
static void reply_prompt(struct server *s, struct exchange *x, const struct trace *one)
{
    struct err err = {0};
    json_t *prompt = one->prompt == NULL ? NULL
                                         : json_parse((struct str){one->prompt, one->prompt_bytes},
                                                      FRAME_DEPTH_MAX, &err);
    json_t *chat = json_object_get(prompt, "chat");
    json_t *tokens = json_object_get(prompt, "tokens");
    struct slot *slot = ready_slot(s, one->model);
    if (!s->traces.keep_prompts)
        err_set_param(&err, ERR_DENIED, "prompt",
                      "prompts are not kept: start the server with --keep-prompts");
    else if (prompt == NULL && err.code == 0)
        err_set_param(&err, ERR_NOT_FOUND, "prompt",
                      "the prompt is no longer held: the latest %d MiB of prompts are",
                      PROMPTS_BYTES_MAX >> 20);
    else if (err.code == 0 && chat == NULL && tokens == NULL) {
        struct str text = json_str(json_object_get(prompt, "text"));
        reply_trace(s, x, one, &text);
        json_decref(prompt);
        return;
    } else if (err.code == 0 && slot == NULL) {
        err_set_param(&err, ERR_UNAVAILABLE, "prompt",
                      "the model '%s' is not loaded, so its template cannot be applied",
                      one->model);
    }
    if (err.code != 0) {
        reply_error(x, &err, NULL);
        json_decref(prompt);
        return;
    }
    if (ask_begin(s, x, &err) != 0) {
        reply_error(x, &err, NULL);
        json_decref(prompt);
        return;
    }
    json_t *frame = chat != NULL ? json_pack("{s:s, s:O}", "t", "render", "generate", prompt)
                                 : json_pack("{s:s, s:O}", "t", "detokenize", "tokens", tokens);
    json_decref(prompt);
    ask_worker(s, x, slot, frame, on_rendered, str_dup(str_z(one->id)), free);
}

void requests_one(struct server *s, struct exchange *x)
{
    const char *id = exchange_path(x) + strlen("/v1/requests/");
    const char *prompt = exchange_query(x, "prompt");
    const struct trace *one = traces_find(&s->traces, id, &routes_visit(x)->caller);
    if (one == NULL)
        reply_missing(x, id);
    else if (prompt != NULL && strcmp(prompt, "0") != 0)
        reply_prompt(s, x, one);
    else
        reply_trace(s, x, one, NULL);
}
