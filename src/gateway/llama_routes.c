/*
 * llama_routes: what llama-server's clients ask beside OpenAI's routes: its native completion, and
 * small questions about texts, tokens and the model that are put to its worker.
 */
#include "gateway/server.h"

#include "api/llama.h"
#include "base/mem.h"
#include "gateway/generation.h"

#include <inttypes.h>
#include <string.h>

#define BODY_MAX (64u << 20)

void llama_serve_completion(struct server *s, struct exchange *x)
{
    completions_serve(s, x, &llama_completion);
}

void llama_serve_infill(struct server *s, struct exchange *x)
{
    completions_serve(s, x, &llama_infill);
}

void llama_serve_count(struct server *s, struct exchange *x)
{
    counting_serve(s, x, &openai_chat, NULL);
}

/* ---- questions with a body ---- */

/* From a body to what the worker is asked (*ret_frame), and of which model. */
typedef int (*question_fn)(struct server *s, struct exchange *x, const json_t *body,
                           struct slot **ret_slot, json_t **ret_frame, struct err *err);

static int find_model(struct server *s, struct exchange *x, struct str name, struct slot **ret,
                      struct err *err)
{
    char model[GENERATION_MODEL_MAX];
    const struct api_request named = {.model = name};
    int code = generation_model(s, &named, model, err);
    code = code != 0 ? code : ask_begin(s, x, err);
    return code != 0 ? code : models_find(&s->models, model, false, ret, err);
}

static void ask(struct server *s, struct exchange *x, question_fn question, ask_frame_fn answer)
{
    struct err err = {0};
    struct slot *slot = NULL;
    json_t *frame = NULL, *body = json_parse(exchange_body(x), JSON_DEPTH_MAX, &err);
    int code = body == NULL ? err.code : question(s, x, body, &slot, &frame, &err);
    json_decref(body);
    if (code != 0)
        reply_error(x, &err, NULL);
    else
        ask_worker_frame(s, x, slot, frame, answer, NULL, NULL);
}

static void reply(struct exchange *x, struct buf *body, bool ok)
{
    struct err err = {0};
    if (ok && !body->overflow) {
        exchange_reply(x, 200, "application/json", buf_str(body));
    } else {
        err_set(&err, ERR_TOO_LARGE, "the answer is too long");
        reply_error(x, &err, NULL);
    }
    buf_release(body);
}

static int ask_tokens(struct server *s, struct exchange *x, const json_t *body,
                      struct slot **ret_slot, json_t **ret_frame, struct err *err)
{
    struct llama_tokenize t;
    int code = llama_tokenize_parse(body, &t, err);
    code = code != 0 ? code : find_model(s, x, t.model, ret_slot, err);
    if (code != 0)
        return code;
    *ret_frame = json_pack("{s:s, s:O, s:b, s:b, s:b}", "t", "tokenize", "text",
                           json_object_get(body, "content"), "special", t.parse_special, "bos",
                           t.add_special, "pieces", t.with_pieces);
    return 0;
}

static void tell_tokens(struct server *s, struct exchange *x, void *ctx, const json_t *frame,
                        const struct err *err)
{
    struct buf out;
    (void)s, (void)ctx;
    if (err->code != 0) {
        reply_error(x, err, NULL);
        return;
    }
    buf_init(&out, BODY_MAX);
    reply(x, &out,
          llama_tokenize_write(json_object_get(frame, "tokens"), json_object_get(frame, "pieces"),
                               &out));
}

static int ask_text(struct server *s, struct exchange *x, const json_t *body,
                    struct slot **ret_slot, json_t **ret_frame, struct err *err)
{
    struct llama_detokenize d;
    int code = llama_detokenize_parse(body, &d, err);
    code = code != 0 ? code : find_model(s, x, d.model, ret_slot, err);
    if (code == 0)
        *ret_frame = json_pack("{s:s, s:O}", "t", "detokenize", "tokens", d.tokens);
    return code;
}

static int ask_prompt(struct server *s, struct exchange *x, const json_t *body,
                      struct slot **ret_slot, json_t **ret_frame, struct err *err)
{
    struct api_request r;
    int code = openai_chat.parse(body, NULL, &r, err);
    if (code != 0)
        return code;
    code = find_model(s, x, r.model, ret_slot, err);
    if (code == 0)
        code = generation_messages(&r, *ret_slot, err);
    if (code == 0)
        *ret_frame =
            json_pack("{s:s, s:o}", "t", "render", "generate", api_request_frame(&r, 0, 0));
    api_request_release(&r);
    return code;
}

/* {key: the frame's text} */
static void tell_member(struct exchange *x, const char *key, const json_t *frame,
                        const struct err *err)
{
    struct buf out;
    if (err->code != 0) {
        reply_error(x, err, NULL);
        return;
    }
    buf_init(&out, BODY_MAX);
    buf_printf(&out, "{\"%s\":", key);
    json_write_string(json_str(json_object_get(frame, "text")), &out);
    buf_add_char(&out, '}');
    reply(x, &out, true);
}

static void tell_text(struct server *s, struct exchange *x, void *ctx, const json_t *frame,
                      const struct err *err)
{
    (void)s, (void)ctx;
    tell_member(x, "content", frame, err);
}

static void tell_prompt(struct server *s, struct exchange *x, void *ctx, const json_t *frame,
                        const struct err *err)
{
    (void)s, (void)ctx;
    tell_member(x, "prompt", frame, err);
}

void llama_serve_tokenize(struct server *s, struct exchange *x)
{
    ask(s, x, ask_tokens, tell_tokens);
}

void llama_serve_detokenize(struct server *s, struct exchange *x)
{
    ask(s, x, ask_text, tell_text);
}

void llama_serve_template(struct server *s, struct exchange *x)
{
    ask(s, x, ask_prompt, tell_prompt);
}

/* ---- the model ---- */

/* The one the query names, the one named at start, else any that is in memory. */
static int find_asked(struct server *s, struct exchange *x, struct slot **ret, struct err *err)
{
    const char *name = exchange_query(x, "model");
    if (name != NULL || s->startup_name[0] != '\0')
        return find_model(s, x, str_z(name), ret, err);
    for (struct slot *slot = s->models.slots; slot != NULL; slot = slot->next) {
        if (slot->state == SLOT_READY) {
            *ret = slot;
            return ask_begin(s, x, err);
        }
    }
    return err_set_param(err, ERR_NOT_FOUND, "model", "no model is loaded; name one: ?model=NAME");
}

/* A job's slot may be another by now: found by its name again. */
static const struct slot *slot_named(const struct server *s, const char *name)
{
    const struct slot *slot = s->models.slots;
    while (slot != NULL && (slot->retiring || strcmp(slot->name, name) != 0))
        slot = slot->next;
    return slot;
}

static void write_props(const struct slot *slot, const json_t *d, struct buf *out)
{
    struct api_request r;
    llama_request_init(&r, &llama_completion);
    buf_printf(out, "{\"default_generation_settings\":{\"id\":0,\"n_ctx\":%" PRId64 ",\"params\":",
               slot->ready.n_ctx);
    llama_settings_write(&r.gen, true, out);
    api_request_release(&r);
    buf_printf(out, "},\"total_slots\":%" PRId64 ",\"model_path\":", slot->ready.n_seq_max);
    json_write_string(str_z(slot->name), out);
    buf_add_z(out, ",\"model_alias\":");
    json_write_string(str_z(slot->name), out);
    buf_add_z(out, ",\"chat_template\":");
    json_write_string(json_str(json_object_get(d, "template")), out);
    buf_printf(out, ",\"chat_template_caps\":{\"supports_system_role\":%s,\"supports_tools\":%s}",
               json_is_true(json_object_get(d, "system")) ? "true" : "false",
               json_is_true(json_object_get(d, "tools")) ? "true" : "false");
    buf_add_z(out, ",\"bos_token\":");
    json_write_string(json_str(json_object_get(d, "bos")), out);
    buf_add_z(out, ",\"eos_token\":");
    json_write_string(json_str(json_object_get(d, "eos")), out);
    buf_add_z(out, ",\"modalities\":{\"vision\":false,\"audio\":false},"
                   "\"build_info\":\"hearth " HEARTH_VERSION "\",\"is_sleeping\":false}");
}

static void tell_props(struct server *s, struct exchange *x, void *ctx, const json_t *frame,
                       const struct err *err)
{
    struct buf out;
    struct err gone = *err;
    const struct slot *slot = slot_named(s, ctx);
    if (gone.code == 0 && slot == NULL)
        err_set(&gone, ERR_UNAVAILABLE, "the model was unloaded meanwhile; try again");
    if (gone.code != 0) {
        reply_error(x, &gone, NULL);
        return;
    }
    buf_init(&out, BODY_MAX);
    write_props(slot, frame, &out);
    reply(x, &out, true);
}

void llama_serve_props(struct server *s, struct exchange *x)
{
    struct err err = {0};
    struct slot *slot;
    if (find_asked(s, x, &slot, &err) != 0)
        reply_error(x, &err, NULL);
    else
        ask_worker_frame(s, x, slot, json_pack("{s:s}", "t", "describe"), tell_props,
                         str_dup(str_z(slot->name)), free);
}

/* Sequences have no places of their own here; as many are told as run. */
void llama_serve_slots(struct server *s, struct exchange *x)
{
    struct err err = {0};
    struct slot *slot;
    struct buf out;
    int64_t n_running = 0;
    if (find_asked(s, x, &slot, &err) == 0) {
        n_running = slot->stats.running < slot->n_jobs ? slot->stats.running : slot->n_jobs;
        bool full = slot->state != SLOT_READY || n_running >= slot->ready.n_seq_max;
        if (full && exchange_query(x, "fail_on_no_slot") != NULL)
            err_set(&err, ERR_UNAVAILABLE, "no slot is free");
    }
    if (err.code != 0) {
        reply_error(x, &err, NULL);
        return;
    }
    ask_over(x);
    buf_init(&out, BODY_MAX);
    buf_add_char(&out, '[');
    for (int64_t i = 0; i < slot->ready.n_seq_max; i++)
        buf_printf(
            &out,
            "%s{\"id\":%" PRId64 ",\"n_ctx\":%" PRId64 ",\"speculative\":%s,\"is_processing\":%s}",
            i > 0 ? "," : "", i, slot->ready.n_ctx,
            slot->stats.drafted_tokens > 0 ? "true" : "false", i < n_running ? "true" : "false");
    buf_add_char(&out, ']');
    reply(x, &out, true);
}
