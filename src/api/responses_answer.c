/*
 * responses_answer: see the header. Writes JSON straight into buffers: deltas are the path of every
 * token of every stream.
 *
 * Invariant: at most the last item is open; what comes for another one closes it first.
 */
#include "api/responses_answer.h"

#include "api/openai_answer.h"
#include "api/responses.h"
#include "api/tools.h"
#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LOGPROBS_BYTES_MAX (64u << 20)

enum item_kind { ITEM_REASONING, ITEM_MESSAGE, ITEM_CALL, ITEM_CUSTOM };

struct item {
    enum item_kind kind;
    bool open, cut; /* cut: it ended before its end */
    int64_t call;   /* of a call: its number */
    char *name;     /* of a call; owned */
    struct buf text;
    struct buf logprobs; /* the inside of an array */
};

struct responses_answer {
    struct api_answer base;
    json_t *own; /* of the request; owned reference */
    const json_t *echo;
    bool logprobs, encrypted, background, stored;
    bool begun, ended;
    enum gen_reason reason;
    const char *status;
    struct err err; /* why it failed */
    int64_t completed_ms, sequence;
    struct item *item; /* [n_item]; owned */
    size_t n_item, cap_item;
};

static struct responses_answer *cast(const struct api_answer *base)
{
    return (struct responses_answer *)base; /* its first member */
}

/* ---- life ---- */

struct api_answer *responses_answer_new(const struct api_request *r)
{
    struct responses_answer *a = mem_zero(1, sizeof *a);
    a->own = json_incref(r->own);
    a->echo = json_object_get(r->own, "echo");
    a->logprobs = r->gen.logprobs;
    a->encrypted = json_is_true(json_object_get(r->own, "encrypted"));
    a->background = responses_wants_background(r);
    a->stored = responses_wants_store(r);
    a->status = "in_progress";
    /* Of one that waited, `created` and `queued` were told (responses_answer_queue). */
    a->sequence = a->background ? 2 : 0;
    return &a->base;
}

void responses_answer_free(struct api_answer *base)
{
    struct responses_answer *a = cast(base);
    for (size_t i = 0; i < a->n_item; i++) {
        free(a->item[i].name);
        buf_release(&a->item[i].text);
        buf_release(&a->item[i].logprobs);
    }
    free(a->item);
    json_decref(a->own);
    free(a);
}

const char *responses_answer_status(const struct api_answer *base)
{
    return cast(base)->status;
}

bool responses_answer_begun(const struct api_answer *base)
{
    return cast(base)->begun;
}

void responses_answer_set_stored(struct api_answer *base, bool stored)
{
    cast(base)->stored = stored;
}

/* The worker has said all, its counts included. */
static bool is_done(const struct responses_answer *a)
{
    return a->ended && a->base.n_prompt > 0;
}

/* ---- items ---- */

static const char *id_prefix(enum item_kind kind)
{
    static const char *const word[] = {"rs_", "msg_", "fc_", "ctc_"};
    return word[kind];
}

/* The response's id with the item's place in it. */
static void write_id(const struct responses_answer *a, const char *prefix, size_t i,
                     struct buf *out)
{
    const char *digits = strchr(a->base.id, '_');
    buf_printf(out, "\"%s%s%03zx\"", prefix, digits == NULL ? a->base.id : digits + 1, i);
}

static void write_item_id(const struct responses_answer *a, size_t i, struct buf *out)
{
    write_id(a, id_prefix(a->item[i].kind), i, out);
}

/* {"type": "output_text", ...}; empty: as it is announced. */
static void write_text_part(const struct item *it, bool empty, struct buf *out)
{
    buf_add_z(out, "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[");
    if (!empty)
        buf_add_str(out, buf_str(&it->logprobs));
    buf_add_z(out, "],\"text\":");
    json_write_string(empty ? STR("") : buf_str(&it->text), out);
    buf_add_char(out, '}');
}

static void write_reasoning_part(const struct item *it, bool empty, struct buf *out)
{
    buf_add_z(out, "{\"type\":\"reasoning_text\",\"text\":");
    json_write_string(empty ? STR("") : buf_str(&it->text), out);
    buf_add_char(out, '}');
}

/* The argument `input` of a call of a custom tool, as its free text. */
static void write_custom_input(const struct item *it, struct buf *out)
{
    json_t *arguments = api_call_arguments(buf_str(&it->text));
    const json_t *input = json_object_get(arguments, "input");
    json_write_string(json_is_string(input) ? json_str(input) : buf_str(&it->text), out);
    json_decref(arguments);
}

static void write_encrypted(const struct item *it, struct buf *out)
{
    struct buf kept;
    buf_init(&kept, OPENAI_ANSWER_BYTES_MAX + 64);
    buf_add_z(&kept, RESPONSES_REASONING_PREFIX);
    buf_add_str(&kept, buf_str(&it->text));
    buf_add_z(out, ",\"encrypted_content\":");
    json_write_string(buf_str(&kept), out);
    buf_release(&kept);
}

/* An item; empty: as it is announced, before anything is in it. */
static void write_item(const struct responses_answer *a, size_t i, bool empty, struct buf *out)
{
    const struct item *it = &a->item[i];
    static const char *const type[] = {"reasoning", "message", "function_call", "custom_tool_call"};
    buf_printf(out, "{\"type\":\"%s\",\"id\":", type[it->kind]);
    write_item_id(a, i, out);
    buf_printf(out, ",\"status\":\"%s\"",
               it->open || empty ? "in_progress"
               : it->cut         ? "incomplete"
                                 : "completed");
    if (it->kind == ITEM_REASONING) {
        buf_add_z(out, ",\"summary\":[],\"content\":[");
        if (!empty)
            write_reasoning_part(it, false, out);
        buf_add_char(out, ']');
        if (a->encrypted && !empty)
            write_encrypted(it, out);
    } else if (it->kind == ITEM_MESSAGE) {
        buf_add_z(out, ",\"role\":\"assistant\",\"content\":[");
        if (!empty)
            write_text_part(it, false, out);
        buf_add_char(out, ']');
    } else {
        buf_add_z(out, ",\"call_id\":");
        write_id(a, "call_", i, out);
        buf_add_z(out, ",\"name\":");
        json_write_string(str_z(it->name), out);
        buf_add_z(out, it->kind == ITEM_CALL ? ",\"arguments\":" : ",\"input\":");
        if (empty)
            buf_add_z(out, "\"\"");
        else if (it->kind == ITEM_CALL)
            json_write_string(buf_str(&it->text), out);
        else
            write_custom_input(it, out);
    }
    buf_add_char(out, '}');
}

/* ---- the object ---- */

/* What the answer repeats, with what stands there when nothing was said. */
static void write_echo(const struct responses_answer *a, struct buf *out)
{
    static const struct {
        const char *name, *otherwise; /* NULL: left out */
    } member[] = {
        {"conversation", "null"},
        {"instructions", "null"},
        {"max_output_tokens", "null"},
        {"max_tool_calls", "null"},
        {"metadata", "{}"},
        {"parallel_tool_calls", "true"},
        {"previous_response_id", "null"},
        {"prompt_cache_key", "null"},
        {"prompt_cache_retention", NULL},
        {"reasoning", "{\"effort\":null,\"summary\":null}"},
        {"safety_identifier", "null"},
        {"temperature", "1.0"},
        {"text", "{\"format\":{\"type\":\"text\"},\"verbosity\":\"medium\"}"},
        {"tool_choice", "\"auto\""},
        {"tools", "[]"},
        {"top_logprobs", "0"},
        {"top_p", "1.0"},
        {"truncation", "\"disabled\""},
        {"user", "null"},
    };
    for (size_t i = 0; i < ARRAY_LEN(member); i++) {
        const json_t *value = json_object_get(a->echo, member[i].name);
        if (value == NULL && member[i].otherwise == NULL)
            continue;
        buf_printf(out, ",\"%s\":", member[i].name);
        if (value != NULL)
            json_write(value, out);
        else
            buf_add_z(out, member[i].otherwise);
    }
}

/* OpenAI has few codes for this place; the text says more. */
static void write_error(const struct responses_answer *a, struct buf *out)
{
    bool client = a->err.code != 0 && api_status(a->err.code) < 500;
    if (a->err.code == 0) {
        buf_add_z(out, ",\"error\":null");
        return;
    }
    buf_printf(out, ",\"error\":{\"code\":\"%s\",\"message\":",
               a->err.code == API_ERR_RATE ? "rate_limit_exceeded"
               : client                    ? "invalid_prompt"
                                           : "server_error");
    json_write_string(str_z(a->err.text), out);
    buf_add_char(out, '}');
}

static void write_usage(const struct responses_answer *a, struct buf *out)
{
    const struct api_answer *b = &a->base;
    if (!is_done(a)) {
        buf_add_z(out, ",\"usage\":null");
        return;
    }
    buf_printf(out,
               ",\"usage\":{\"input_tokens\":%" PRId64
               ",\"input_tokens_details\":{\"cached_tokens\":%" PRId64
               ",\"cache_write_tokens\":0},\"output_tokens\":%" PRId64
               ",\"output_tokens_details\":{\"reasoning_tokens\":%" PRId64
               "},\"total_tokens\":%" PRId64 "}",
               b->n_prompt, b->n_cached, b->n_completion, b->n_reasoning,
               b->n_prompt + b->n_completion);
}

static void write_response(const struct responses_answer *a, struct buf *out)
{
    buf_add_z(out, "{\"id\":");
    json_write_string(str_z(a->base.id), out);
    buf_printf(out, ",\"object\":\"response\",\"created_at\":%" PRId64 ",\"completed_at\":",
               a->base.created_ms / 1000);
    if (a->completed_ms > 0)
        buf_printf(out, "%" PRId64, a->completed_ms / 1000);
    else
        buf_add_z(out, "null");
    buf_printf(out, ",\"status\":\"%s\",\"background\":%s,\"store\":%s", a->status,
               a->background ? "true" : "false", a->stored ? "true" : "false");
    write_error(a, out);
    buf_add_z(out, strcmp(a->status, "incomplete") == 0
                       ? ",\"incomplete_details\":{\"reason\":\"max_output_tokens\"}"
                       : ",\"incomplete_details\":null");
    buf_add_z(out, ",\"model\":");
    json_write_string(str_z(a->base.model), out);
    buf_add_z(out, ",\"output\":[");
    for (size_t i = 0; i < a->n_item; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        write_item(a, i, false, out);
    }
    buf_add_z(out, "],\"service_tier\":\"default\"");
    write_echo(a, out);
    write_usage(a, out);
    api_answer_more(&a->base, out);
    buf_add_char(out, '}');
}

/* ---- events ---- */

static void event_open(struct responses_answer *a, const char *type, struct buf *sse)
{
    buf_printf(sse, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%" PRId64, type, type,
               a->sequence++);
}

static bool event_close(struct buf *sse)
{
    buf_add_z(sse, "}\n\n");
    return !sse->overflow;
}

/* An event that carries the whole response. */
static bool write_state(struct responses_answer *a, const char *type, struct buf *sse)
{
    event_open(a, type, sse);
    buf_add_z(sse, ",\"response\":");
    write_response(a, sse);
    return event_close(sse);
}

/* The members that say of which item an event is. */
static void event_item(struct responses_answer *a, const char *type, struct buf *sse)
{
    size_t i = a->n_item - 1;
    event_open(a, type, sse);
    buf_printf(sse, ",\"output_index\":%zu,\"item_id\":", i);
    write_item_id(a, i, sse);
}

static void write_item_event(struct responses_answer *a, const char *type, bool empty,
                             struct buf *sse)
{
    event_open(a, type, sse);
    buf_printf(sse, ",\"output_index\":%zu,\"item\":", a->n_item - 1);
    write_item(a, a->n_item - 1, empty, sse);
    (void)event_close(sse);
}

static void write_part_event(struct responses_answer *a, const char *type, bool empty,
                             struct buf *sse)
{
    const struct item *it = &a->item[a->n_item - 1];
    event_item(a, type, sse);
    buf_add_z(sse, ",\"content_index\":0,\"part\":");
    if (it->kind == ITEM_MESSAGE)
        write_text_part(it, empty, sse);
    else
        write_reasoning_part(it, empty, sse);
    (void)event_close(sse);
}

static bool has_part(const struct item *it)
{
    return it->kind == ITEM_MESSAGE || it->kind == ITEM_REASONING;
}

/* ---- opening and closing items ---- */

static bool open_item(struct responses_answer *a, enum item_kind kind, const struct gen_delta *d,
                      struct buf *sse)
{
    if (!mem_grow((void **)&a->item, &a->cap_item, a->n_item + 1, RESPONSES_OUTPUT_MAX,
                  sizeof *a->item))
        return false;
    struct item *it = &a->item[a->n_item++];
    *it = (struct item){.kind = kind, .open = true};
    buf_init(&it->text, OPENAI_ANSWER_BYTES_MAX);
    buf_init(&it->logprobs, LOGPROBS_BYTES_MAX);
    if (!has_part(it)) {
        it->call = d->call;
        it->name = str_dup(str_z(d->name == NULL ? "" : d->name));
    }
    if (sse == NULL)
        return true;
    write_item_event(a, "response.output_item.added", true, sse);
    if (has_part(it))
        write_part_event(a, "response.content_part.added", true, sse);
    return !sse->overflow;
}

static void write_done(struct responses_answer *a, const struct item *it, struct buf *sse)
{
    static const char *const type[] = {"response.reasoning_text.done", "response.output_text.done",
                                       "response.function_call_arguments.done",
                                       "response.custom_tool_call_input.done"};
    if (it->kind == ITEM_CUSTOM) { /* its text is known now only */
        event_item(a, "response.custom_tool_call_input.delta", sse);
        buf_add_z(sse, ",\"delta\":");
        write_custom_input(it, sse);
        (void)event_close(sse);
    }
    event_item(a, type[it->kind], sse);
    if (has_part(it)) {
        buf_add_z(sse, ",\"content_index\":0,\"text\":");
        json_write_string(buf_str(&it->text), sse);
        if (it->kind == ITEM_MESSAGE) {
            buf_add_z(sse, ",\"logprobs\":[");
            buf_add_str(sse, buf_str(&it->logprobs));
            buf_add_char(sse, ']');
        }
    } else {
        buf_add_z(sse, ",\"name\":");
        json_write_string(str_z(it->name), sse);
        buf_add_z(sse, it->kind == ITEM_CALL ? ",\"arguments\":" : ",\"input\":");
        if (it->kind == ITEM_CALL)
            json_write_string(buf_str(&it->text), sse);
        else
            write_custom_input(it, sse);
    }
    (void)event_close(sse);
}

static bool close_item(struct responses_answer *a, bool cut, struct buf *sse)
{
    struct item *it = a->n_item == 0 ? NULL : &a->item[a->n_item - 1];
    if (it == NULL || !it->open)
        return true;
    it->open = false;
    it->cut = cut;
    if (sse == NULL)
        return true;
    write_done(a, it, sse);
    if (has_part(it))
        write_part_event(a, "response.content_part.done", false, sse);
    write_item_event(a, "response.output_item.done", false, sse);
    return !sse->overflow;
}

/* ---- what comes from the worker ---- */

bool responses_answer_begin(struct api_answer *base, struct buf *sse)
{
    struct responses_answer *a = cast(base);
    if (a->begun)
        return true; /* its worker was started again */
    a->begun = true;
    a->status = "in_progress";
    if (!a->background && !write_state(a, "response.created", sse))
        return false;
    return write_state(a, "response.in_progress", sse);
}

bool responses_answer_queue(struct api_answer *base, struct buf *sse)
{
    struct responses_answer *a = cast(base);
    a->status = "queued";
    a->sequence = 0;
    return write_state(a, "response.created", sse) && write_state(a, "response.queued", sse);
}

static bool is_custom(const struct responses_answer *a, const char *name)
{
    return name != NULL && json_object_get(json_object_get(a->own, "custom"), name) != NULL;
}

/* The item that a delta belongs to, opened if it begins here. */
static bool find_item(struct responses_answer *a, const struct gen_delta *d, struct buf *sse)
{
    const struct item *last = a->n_item == 0 ? NULL : &a->item[a->n_item - 1];
    enum item_kind kind = d->channel == GEN_REASONING ? ITEM_REASONING
                          : d->channel == GEN_CONTENT ? ITEM_MESSAGE
                          : is_custom(a, d->name)     ? ITEM_CUSTOM
                                                      : ITEM_CALL;
    bool same = last != NULL && last->open && last->kind == kind;
    if (d->channel == GEN_TOOL_CALL)
        same = last != NULL && last->open && !has_part(last) && last->call == d->call;
    return same || (close_item(a, false, sse) && open_item(a, kind, d, sse));
}

static bool write_delta(struct responses_answer *a, const struct item *it,
                        const struct gen_delta *d, size_t logprobs_from, struct buf *sse)
{
    static const char *const type[] = {"response.reasoning_text.delta",
                                       "response.output_text.delta",
                                       "response.function_call_arguments.delta"};
    event_item(a, type[it->kind], sse);
    if (has_part(it))
        buf_add_z(sse, ",\"content_index\":0");
    buf_add_z(sse, ",\"delta\":");
    json_write_string((struct str){d->text, d->text_len}, sse);
    if (it->kind == ITEM_MESSAGE) {
        struct str logprobs = str_from(buf_str(&it->logprobs), logprobs_from);
        if (logprobs.len > 0 && logprobs.ptr[0] == ',')
            logprobs = str_from(logprobs, 1);
        buf_add_z(sse, ",\"logprobs\":[");
        buf_add_str(sse, logprobs);
        buf_add_char(sse, ']');
    }
    return event_close(sse);
}

bool responses_answer_delta(struct api_answer *base, int i_prompt, const struct gen_delta *d,
                            struct buf *sse)
{
    struct responses_answer *a = cast(base);
    bool has_logprobs = a->logprobs && d->channel == GEN_CONTENT && d->n_tokens > 0;
    if (api_answer_choice(base, i_prompt, d->index) < 0 || a->ended)
        return false;
    if (d->text_len == 0 && d->name == NULL && !has_logprobs)
        return true; /* half a character: there is nothing to tell yet */
    if (!find_item(a, d, sse))
        return false;
    struct item *it = &a->item[a->n_item - 1];
    size_t logprobs_from = it->logprobs.len;
    buf_add(&it->text, d->text, d->text_len);
    for (size_t i = 0; has_logprobs && i < d->n_tokens; i++)
        openai_token_write(&d->tokens[i], &it->logprobs);
    if (it->text.overflow || it->logprobs.overflow)
        return false;
    if (sse == NULL || it->kind == ITEM_CUSTOM || (d->text_len == 0 && !has_logprobs))
        return true;
    return write_delta(a, it, d, logprobs_from, sse);
}

bool responses_answer_end(struct api_answer *base, int i_prompt, const struct gen_end *e,
                          struct buf *sse)
{
    struct responses_answer *a = cast(base);
    bool ok = true;
    if (api_answer_choice(base, i_prompt, e->index) < 0 || a->ended)
        return false;
    if (a->n_item == 0) /* an empty answer is an empty message */
        ok = open_item(a, ITEM_MESSAGE, NULL, sse);
    ok = ok && close_item(a, e->reason == GEN_LENGTH, sse);
    a->reason = e->reason;
    a->ended = true;
    return ok;
}

/* ---- the end ---- */

static void settle(struct responses_answer *a)
{
    if (!is_done(a) || a->completed_ms != 0 || strcmp(a->status, "in_progress") != 0)
        return;
    a->status = a->reason == GEN_LENGTH ? "incomplete" : "completed";
    a->completed_ms = clock_wall_ms();
}

bool responses_answer_finish(struct api_answer *base, struct buf *sse)
{
    struct responses_answer *a = cast(base);
    settle(a);
    return write_state(a, a->reason == GEN_LENGTH ? "response.incomplete" : "response.completed",
                       sse);
}

void responses_answer_stop(struct api_answer *base, const struct err *err)
{
    struct responses_answer *a = cast(base);
    (void)close_item(a, true, NULL);
    a->status = err == NULL ? "cancelled" : "failed";
    if (err != NULL)
        a->err = *err;
}

bool responses_answer_stop_event(struct api_answer *base, struct buf *sse)
{
    struct responses_answer *a = cast(base);
    return write_state(
        a, strcmp(a->status, "failed") == 0 ? "response.failed" : "response.cancelled", sse);
}

bool responses_answer_fail(struct api_answer *base, const struct err *err, struct buf *sse)
{
    responses_answer_stop(base, err);
    return responses_answer_stop_event(base, sse);
}

bool responses_answer_whole(struct api_answer *base, struct buf *out)
{
    struct responses_answer *a = cast(base);
    settle(a);
    write_response(a, out);
    return !out->overflow;
}
