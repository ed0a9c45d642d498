/*
 * anthropic_answer: see the header. Writes JSON straight into buffers, as openai_answer does.
 *
 * Invariant: of a stream at most one block is open, the last.
 */
#include "api/anthropic_answer.h"

#include "api/tools.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>

/* Thinking is sealed by a signature at Anthropic; clients send it back and some drop blocks without
 * one. Nothing is sealed here: this says who wrote it. */
#define SIGNATURE "aGVhcnRo"

static struct anthropic_answer *answer_of(struct api_answer *base)
{
    return (struct anthropic_answer *)base; /* its first member */
}

struct api_answer *anthropic_answer_new(const struct api_request *r)
{
    struct anthropic_answer *a = mem_zero(1, sizeof *a);
    a->hide_thinking = json_is_true(json_object_get(r->own, "hide_thinking"));
    a->tells_stop = json_is_true(json_object_get(r->own, "tells_stop"));
    a->max_tokens = r->gen.max_tokens;
    return &a->base;
}

void anthropic_answer_free(struct api_answer *base)
{
    struct anthropic_answer *a = answer_of(base);
    for (size_t i = 0; i < a->n_block; i++) {
        buf_release(&a->block[i].text);
        free(a->block[i].name);
    }
    free(a->block);
    free(a->stop);
    free(a);
}

/* ---- parts of both forms ---- */

static void write_usage(int64_t n_prompt, int64_t n_cached, int64_t n_out, int64_t n_think,
                        struct buf *out)
{
    buf_printf(out,
               "{\"input_tokens\":%" PRId64 ",\"cache_creation_input_tokens\":0,"
               "\"cache_read_input_tokens\":%" PRId64
               ",\"cache_creation\":{\"ephemeral_5m_input_tokens\":0,"
               "\"ephemeral_1h_input_tokens\":0},\"output_tokens\":%" PRId64
               ",\"output_tokens_details\":{\"thinking_tokens\":%" PRId64
               "},\"service_tier\":\"standard\"}",
               n_prompt - n_cached, n_cached, n_out, n_think);
}

/* Up to "content", without a brace at the end. */
static void write_head(const struct api_answer *b, struct buf *out)
{
    buf_printf(out, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", b->id);
    json_write_string(str_z(b->model), out);
}

static void write_stop(const struct anthropic_answer *a, struct buf *out)
{
    buf_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":",
               a->stop_reason == NULL ? "end_turn" : a->stop_reason);
    if (a->stop == NULL)
        buf_add_z(out, "null");
    else
        json_write_string(str_z(a->stop), out);
}

static void write_call_head(const struct anthropic_answer *a, const struct anthropic_block *b,
                            struct buf *out)
{
    char id[API_CALL_ID_MAX];
    api_call_id(&a->base, "toolu_", 0, b->call, id);
    buf_printf(out, "{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":", id);
    json_write_string(str_z(b->name), out);
}

/* The last block, when the delta goes on with it. */
static struct anthropic_block *block_at_hand(const struct anthropic_answer *a,
                                             const struct gen_delta *d)
{
    struct anthropic_block *last = a->n_block == 0 ? NULL : &a->block[a->n_block - 1];
    bool same = last != NULL && last->channel == d->channel && d->name == NULL;
    return same && (d->channel != GEN_TOOL_CALL || last->call == d->call) ? last : NULL;
}

/* NULL: the worker speaks of a call that it did not begin, or there are too many. */
static struct anthropic_block *block_add(struct anthropic_answer *a, const struct gen_delta *d)
{
    bool is_call = d->channel == GEN_TOOL_CALL;
    if (is_call != (d->name != NULL) || !mem_grow((void **)&a->block, &a->cap_block, a->n_block + 1,
                                                  ANTHROPIC_BLOCKS_MAX, sizeof *a->block))
        return NULL;
    struct anthropic_block *b = &a->block[a->n_block++];
    *b = (struct anthropic_block){.channel = (enum gen_channel)d->channel, .call = d->call};
    buf_init(&b->text, ANTHROPIC_ANSWER_BYTES_MAX);
    b->name = is_call ? str_dup(str_z(d->name)) : NULL;
    return b;
}

/* ---- a stream ---- */

static void event_open(const char *type, struct buf *sse)
{
    buf_printf(sse, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static bool event_close(struct buf *sse)
{
    return buf_add_z(sse, "}\n\n") && !sse->overflow;
}

bool anthropic_answer_begin(struct api_answer *base, struct buf *sse)
{
    (void)base, (void)sse;
    return true;
}

bool anthropic_answer_started(struct api_answer *base, struct buf *sse)
{
    struct anthropic_answer *a = answer_of(base);
    if (a->said_start)
        return true;
    a->said_start = true;
    event_open("message_start", sse);
    buf_add_z(sse, ",\"message\":");
    write_head(base, sse);
    buf_add_z(sse, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
    write_usage(base->n_prompt_taken, base->n_cached_taken, 0, 0, sse);
    buf_add_char(sse, '}');
    event_close(sse);
    return buf_add_z(sse, ANTHROPIC_PING) && !sse->overflow;
}

static void delta_open(const struct anthropic_answer *a, const char *type, const char *key,
                       struct buf *sse)
{
    event_open("content_block_delta", sse);
    buf_printf(sse, ",\"index\":%zu,\"delta\":{\"type\":\"%s\",\"%s\":", a->n_block - 1, type, key);
}

static bool close_block(struct anthropic_answer *a, struct buf *sse)
{
    if (!a->open)
        return true;
    a->open = false;
    if (a->block[a->n_block - 1].channel == GEN_REASONING) {
        delta_open(a, "signature_delta", "signature", sse);
        buf_add_z(sse, "\"" SIGNATURE "\"}");
        event_close(sse);
    }
    event_open("content_block_stop", sse);
    buf_printf(sse, ",\"index\":%zu", a->n_block - 1);
    return event_close(sse);
}

static bool open_block(struct anthropic_answer *a, const struct anthropic_block *b, struct buf *sse)
{
    a->open = true;
    event_open("content_block_start", sse);
    buf_printf(sse, ",\"index\":%zu,\"content_block\":", a->n_block - 1);
    if (b->channel == GEN_TOOL_CALL) {
        write_call_head(a, b, sse);
        buf_add_z(sse, ",\"input\":{}}");
    } else if (b->channel == GEN_REASONING) {
        buf_add_z(sse, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
    } else {
        buf_add_z(sse, "{\"type\":\"text\",\"text\":\"\"}");
    }
    return event_close(sse);
}

static bool stream_delta(struct anthropic_answer *a, const struct gen_delta *d, struct buf *sse)
{
    static const char *const types[GEN_N_CHANNELS][2] = {
        [GEN_CONTENT] = {"text_delta", "text"},
        [GEN_REASONING] = {"thinking_delta", "thinking"},
        [GEN_TOOL_CALL] = {"input_json_delta", "partial_json"},
    };
    if (!anthropic_answer_started(&a->base, sse))
        return false;
    struct anthropic_block *b = block_at_hand(a, d);
    if (b == NULL) {
        b = close_block(a, sse) ? block_add(a, d) : NULL;
        if (b == NULL || !open_block(a, b, sse))
            return false;
    }
    if (d->text_len == 0 || (b->channel == GEN_REASONING && a->hide_thinking))
        return !sse->overflow;
    delta_open(a, types[b->channel][0], types[b->channel][1], sse);
    json_write_string((struct str){d->text, d->text_len}, sse);
    buf_add_char(sse, '}');
    return event_close(sse);
}

bool anthropic_answer_delta(struct api_answer *base, int i_prompt, const struct gen_delta *d,
                            struct buf *sse)
{
    struct anthropic_answer *a = answer_of(base);
    if (api_answer_choice(base, i_prompt, d->index) < 0 || a->stop_reason != NULL)
        return false;
    if (d->text_len == 0 && d->name == NULL)
        return true; /* tokens that make no text yet */
    if (base->stream)
        return stream_delta(a, d, sse);
    struct anthropic_block *b = block_at_hand(a, d);
    if (b == NULL)
        b = block_add(a, d);
    return b != NULL && buf_add_str(&b->text, (struct str){d->text, d->text_len});
}

static const char *reason_of(const struct anthropic_answer *a, const struct gen_end *e)
{
    if (e->reason == GEN_TOOL_CALLS)
        return "tool_use";
    if (e->reason == GEN_LENGTH)
        return e->n_completion >= a->max_tokens ? "max_tokens" : "model_context_window_exceeded";
    return a->stop != NULL ? "stop_sequence" : "end_turn";
}

bool anthropic_answer_end(struct api_answer *base, int i_prompt, const struct gen_end *e,
                          struct buf *sse)
{
    struct anthropic_answer *a = answer_of(base);
    if (api_answer_choice(base, i_prompt, e->index) < 0 || a->stop_reason != NULL)
        return false;
    if (a->tells_stop && e->reason == GEN_STOP && e->stop != NULL)
        a->stop = str_dup(str_z(e->stop)); /* else it is one of the model's own */
    a->stop_reason = reason_of(a, e);
    a->n_out = e->n_completion;
    a->n_think = e->n_reasoning;
    return !base->stream || (anthropic_answer_started(base, sse) && close_block(a, sse));
}

bool anthropic_answer_finish(struct api_answer *base, struct buf *sse)
{
    struct anthropic_answer *a = answer_of(base);
    event_open("message_delta", sse);
    buf_add_z(sse, ",\"delta\":{");
    write_stop(a, sse);
    buf_add_z(sse, "},\"usage\":");
    write_usage(base->n_prompt, base->n_cached, a->n_out, a->n_think, sse);
    event_close(sse);
    event_open("message_stop", sse);
    return event_close(sse);
}

bool anthropic_answer_fail(struct api_answer *base, const struct err *err, struct buf *sse)
{
    (void)base;
    buf_add_z(sse, "event: error\ndata: ");
    api_error_write(API_ANTHROPIC, err, NULL, sse);
    buf_add_z(sse, "\n\n");
    return !sse->overflow;
}

/* ---- the whole answer ---- */

/* An answer that was cut in the middle of its arguments has none that are JSON; Anthropic's own
 * advice for such text is an object with this member. */
static void write_input(const struct buf *arguments, struct buf *out)
{
    struct str text = str_trim(buf_str(arguments));
    json_t *value = api_call_arguments(text);
    if (value != NULL) {
        buf_add_str(out, text);
    } else {
        buf_add_z(out, "{\"INVALID_JSON\":");
        json_write_string(text, out);
        buf_add_char(out, '}');
    }
    json_decref(value);
}

static void write_block(const struct anthropic_answer *a, const struct anthropic_block *b,
                        struct buf *out)
{
    if (b->channel == GEN_TOOL_CALL) {
        write_call_head(a, b, out);
        buf_add_z(out, ",\"input\":");
        write_input(&b->text, out);
    } else if (b->channel == GEN_REASONING) {
        buf_add_z(out, "{\"type\":\"thinking\",\"thinking\":");
        json_write_string(a->hide_thinking ? STR("") : buf_str(&b->text), out);
        buf_add_z(out, ",\"signature\":\"" SIGNATURE "\"");
    } else {
        buf_add_z(out, "{\"type\":\"text\",\"text\":");
        json_write_string(buf_str(&b->text), out);
    }
    buf_add_char(out, '}');
}

bool anthropic_answer_whole(struct api_answer *base, struct buf *out)
{
    struct anthropic_answer *a = answer_of(base);
    write_head(base, out);
    buf_add_z(out, ",\"content\":[");
    for (size_t i = 0; i < a->n_block; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        write_block(a, &a->block[i], out);
    }
    buf_add_z(out, "],");
    write_stop(a, out);
    buf_add_z(out, ",\"usage\":");
    write_usage(base->n_prompt, base->n_cached, a->n_out, a->n_think, out);
    buf_add_char(out, '}');
    return !out->overflow;
}
