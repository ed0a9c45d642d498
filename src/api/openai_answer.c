/*
 * openai_answer: see the header. Writes JSON straight into buffers: this is the path of every
 * token of every stream, and the shapes are fixed.
 */
#include "api/openai_answer.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOGPROB_LEAST (-9999.0) /* what OpenAI writes for minus infinity */
#define PARTS_MAX     (64u << 20)

/* ---- log probabilities ----
 * chat: part[0] is the inside of "content". completions: tokens, token_logprobs, top_logprobs,
 * text_offset are part[0..3].
 */

static void write_logprob(float logprob, struct buf *out)
{
    double value = (double)logprob;
    if (isnan(value))
        buf_add_z(out, "null");
    else
        buf_printf(out, "%.9g", value < LOGPROB_LEAST ? LOGPROB_LEAST : value);
}

/* One entry of "content" or "top_logprobs": without the closing brace. */
static void write_chat_token(const char *bytes, size_t n, float logprob, struct buf *out)
{
    buf_add_z(out, "{\"token\":");
    json_write_string((struct str){bytes, n}, out);
    buf_add_z(out, ",\"logprob\":");
    if (isnan(logprob))
        buf_printf(out, "%.0f", LOGPROB_LEAST);
    else
        write_logprob(logprob, out);
    buf_add_z(out, ",\"bytes\":[");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%u", i ? "," : "", (unsigned)(unsigned char)bytes[i]);
    buf_add_char(out, ']');
}

void openai_token_write(const struct gen_token *t, struct buf *out)
{
    if (out->len > 0)
        buf_add_char(out, ',');
    write_chat_token(t->bytes, t->n_bytes, t->logprob, out);
    buf_add_z(out, ",\"top_logprobs\":[");
    for (size_t i = 0; i < t->n_top; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        write_chat_token(t->top[i].bytes, t->top[i].n_bytes, t->top[i].logprob, out);
        buf_add_char(out, '}');
    }
    buf_add_z(out, "]}");
}

static bool is_utf8(const char *bytes, size_t n)
{
    json_t *probe = json_stringn(bytes ? bytes : "", n);
    json_decref(probe);
    return probe != NULL;
}

/* Legacy completions name tokens that are no text "bytes:\xe2\x80", so that keys stay distinct. */
static void write_plain_token(const char *bytes, size_t n, struct buf *out)
{
    if (is_utf8(bytes, n)) {
        json_write_string((struct str){bytes, n}, out);
        return;
    }
    buf_add_z(out, "\"bytes:");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "\\\\x%02x", (unsigned)(unsigned char)bytes[i]);
    buf_add_char(out, '"');
}

static int64_t count_chars(const char *bytes, size_t n)
{
    int64_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return chars;
}

/* The alternatives, and the chosen token too when it is not among them. */
static void write_top(const struct gen_token *t, struct buf *out)
{
    bool chosen = false;
    if (isnan(t->logprob)) {
        buf_add_z(out, "null");
        return;
    }
    buf_add_char(out, '{');
    for (size_t i = 0; i < t->n_top; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        write_plain_token(t->top[i].bytes, t->top[i].n_bytes, out);
        buf_add_char(out, ':');
        write_logprob(t->top[i].logprob, out);
        chosen = chosen || t->top[i].id == t->id;
    }
    if (!chosen) {
        if (t->n_top > 0)
            buf_add_char(out, ',');
        write_plain_token(t->bytes, t->n_bytes, out);
        buf_add_char(out, ':');
        write_logprob(t->logprob, out);
    }
    buf_add_char(out, '}');
}

static void add_plain_token(struct openai_choice *c, const struct gen_token *t, bool with_top)
{
    for (int i = 0; i < 4 && c->part[0].len > 0; i++)
        if (c->part[i].len > 0)
            buf_add_char(&c->part[i], ',');
    write_plain_token(t->bytes, t->n_bytes, &c->part[0]);
    write_logprob(t->logprob, &c->part[1]);
    if (with_top)
        write_top(t, &c->part[2]);
    buf_printf(&c->part[3], "%" PRId64, c->n_chars);
    c->n_chars += count_chars(t->bytes, t->n_bytes);
}

static bool add_tokens(struct openai_answer *a, struct openai_choice *c, const struct gen_delta *d)
{
    bool ok = true;
    for (size_t i = 0; i < d->n_tokens; i++) {
        if (a->base.endpoint->is_chat)
            openai_token_write(&d->tokens[i], &c->part[0]);
        else
            add_plain_token(c, &d->tokens[i], a->top_logprobs > 0);
    }
    for (int i = 0; i < 4; i++)
        ok = ok && !c->part[i].overflow;
    return ok;
}

static void write_logprobs(const struct openai_answer *a, const struct openai_choice *c,
                           struct buf *out)
{
    if (!a->logprobs) {
        buf_add_z(out, "null");
    } else if (a->base.endpoint->is_chat) {
        buf_add_z(out, "{\"content\":[");
        buf_add_str(out, buf_str(&c->part[0]));
        buf_add_z(out, "],\"refusal\":null}");
    } else {
        buf_add_z(out, "{\"tokens\":[");
        buf_add_str(out, buf_str(&c->part[0]));
        buf_add_z(out, "],\"token_logprobs\":[");
        buf_add_str(out, buf_str(&c->part[1]));
        buf_add_z(out, "],\"top_logprobs\":");
        if (a->top_logprobs > 0) {
            buf_add_char(out, '[');
            buf_add_str(out, buf_str(&c->part[2]));
            buf_add_char(out, ']');
        } else {
            buf_add_z(out, "null");
        }
        buf_add_z(out, ",\"text_offset\":[");
        buf_add_str(out, buf_str(&c->part[3]));
        buf_add_z(out, "]}");
    }
}

/* ---- life ---- */

struct api_answer *openai_answer_new(const struct api_request *r)
{
    int n_choice = r->n_prompt * (int)r->gen.n;
    struct openai_answer *a = mem_zero(1, sizeof *a);
    *a = (struct openai_answer){.include_usage = r->include_usage,
                                .logprobs = r->gen.logprobs,
                                .top_logprobs = r->gen.top_logprobs,
                                .has_prediction = r->gen.prediction != NULL,
                                .has_tools = json_array_size(r->tools) > 0,
                                .own = json_incref(r->own)};
    buf_init(&a->head, 8192);
    buf_init(&a->scratch, PARTS_MAX);
    a->choice = mem_try_array((size_t)n_choice, sizeof *a->choice);
    if (a->choice == NULL) {
        json_decref(a->own);
        free(a);
        return NULL;
    }
    a->n_choice = n_choice;
    for (int i = 0; i < n_choice; i++) {
        buf_init(&a->choice[i].text, OPENAI_ANSWER_BYTES_MAX);
        buf_init(&a->choice[i].reasoning, OPENAI_ANSWER_BYTES_MAX);
        openai_calls_init(&a->choice[i].calls, OPENAI_ANSWER_BYTES_MAX);
        for (int j = 0; j < 4; j++)
            buf_init(&a->choice[i].part[j], PARTS_MAX);
    }
    return &a->base;
}

void openai_answer_free(struct api_answer *base)
{
    struct openai_answer *a = openai_answer(base);
    for (int i = 0; i < a->n_choice; i++) {
        buf_release(&a->choice[i].text);
        buf_release(&a->choice[i].reasoning);
        openai_calls_release(&a->choice[i].calls);
        for (int j = 0; j < 4; j++)
            buf_release(&a->choice[i].part[j]);
    }
    free(a->choice);
    buf_release(&a->head);
    buf_release(&a->scratch);
    json_decref(a->own);
    free(a);
}

/* The members that every object begins with, without the brace. Made when it is known who computes
 * the answer. */
static struct str head_of(struct openai_answer *a)
{
    static const char *const object[2][2] = {{"text_completion", "text_completion"},
                                             {"chat.completion", "chat.completion.chunk"}};
    const struct api_answer *b = &a->base;
    if (a->head.len > 0)
        return buf_str(&a->head);
    buf_printf(&a->head,
               "\"id\":\"%s\",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":", b->id,
               object[b->endpoint->is_chat][b->stream], b->created_ms / 1000);
    json_write_string(str_z(b->model), &a->head);
    buf_add_z(&a->head, ",\"system_fingerprint\":");
    json_write_string(str_z(b->fingerprint), &a->head);
    return buf_str(&a->head);
}

/* ---- chunks of a stream ---- */

static void chunk_open(struct openai_answer *a, int i_choice, struct buf *sse)
{
    buf_add_z(sse, "data: {");
    buf_add_str(sse, head_of(a));
    buf_printf(sse, ",\"choices\":[{\"index\":%d,", i_choice);
}

static bool chunk_close(const struct openai_answer *a, const char *finish, struct buf *sse)
{
    if (finish == NULL)
        buf_add_z(sse, ",\"finish_reason\":null}]");
    else
        buf_printf(sse, ",\"finish_reason\":\"%s\"}]", finish);
    buf_add_z(sse, a->include_usage ? ",\"usage\":null}\n\n" : "}\n\n");
    return !sse->overflow;
}

bool openai_answer_begin(struct api_answer *base, struct buf *sse)
{
    struct openai_answer *a = openai_answer(base);
    for (int i = 0; a->base.endpoint->is_chat && a->base.stream && i < a->base.n_choice; i++) {
        chunk_open(a, i, sse);
        buf_printf(sse,
                   "\"delta\":{\"role\":\"assistant\",\"content\":%s,\"refusal\":null},"
                   "\"logprobs\":null",
                   a->has_tools ? "null" : "\"\"");
        chunk_close(a, NULL, sse);
    }
    return !sse->overflow;
}

/* One chunk with the member of a->scratch; none when that is empty. */
static bool write_member(struct openai_answer *a, int i_choice, struct buf *sse)
{
    if (a->scratch.len == 0)
        return !a->scratch.overflow;
    chunk_open(a, i_choice, sse);
    buf_add_z(sse, "\"delta\":{");
    buf_add_str(sse, buf_str(&a->scratch));
    buf_add_z(sse, "},\"logprobs\":null");
    return chunk_close(a, NULL, sse);
}

/* Thinking has two names, and clients that know either. */
static bool add_reasoning(struct openai_answer *a, int i_choice, struct str text, struct buf *sse)
{
    if (!a->base.stream)
        return buf_add_str(&a->choice[i_choice].reasoning, text);
    buf_clear(&a->scratch);
    if (text.len > 0) {
        buf_add_z(&a->scratch, "\"reasoning_content\":");
        json_write_string(text, &a->scratch);
        buf_add_z(&a->scratch, ",\"reasoning\":");
        json_write_string(text, &a->scratch);
    }
    return write_member(a, i_choice, sse);
}

static bool add_call(struct openai_answer *a, int i_choice, const struct gen_delta *d,
                     struct buf *sse)
{
    struct openai_calls *c = &a->choice[i_choice].calls;
    buf_clear(&a->scratch);
    return openai_calls_add(c, &a->base, a->own, i_choice, d,
                            a->base.stream ? &a->scratch : NULL) &&
           (!a->base.stream || write_member(a, i_choice, sse));
}

/* Log probabilities are those of the content, as OpenAI has it. */
static bool add_content(struct openai_answer *a, int i, const struct gen_delta *d, struct buf *sse)
{
    struct openai_choice *c = &a->choice[i];
    struct str text = {d->text, d->text_len};
    if (a->logprobs && !add_tokens(a, c, d))
        return false;
    if (!a->base.stream)
        return buf_add_str(&c->text, text);
    if (text.len == 0 && c->part[0].len == 0)
        return true;
    chunk_open(a, i, sse);
    buf_add_z(sse, a->base.endpoint->is_chat ? "\"delta\":{\"content\":" : "\"text\":");
    json_write_string(text, sse);
    buf_add_z(sse, a->base.endpoint->is_chat ? "},\"logprobs\":" : ",\"logprobs\":");
    write_logprobs(a, c, sse);
    for (int j = 0; j < 4; j++)
        buf_clear(&c->part[j]);
    return chunk_close(a, NULL, sse);
}

bool openai_answer_delta(struct api_answer *base, int i_prompt, const struct gen_delta *d,
                         struct buf *sse)
{
    struct openai_answer *a = openai_answer(base);
    int i = api_answer_choice(base, i_prompt, d->index);
    if (i < 0)
        return false;
    if (d->channel == GEN_REASONING)
        return add_reasoning(a, i, (struct str){d->text, d->text_len}, sse);
    if (d->channel == GEN_TOOL_CALL)
        return add_call(a, i, d, sse);
    return add_content(a, i, d, sse);
}

bool openai_answer_end(struct api_answer *base, int i_prompt, const struct gen_end *e,
                       struct buf *sse)
{
    struct openai_answer *a = openai_answer(base);
    int i = api_answer_choice(base, i_prompt, e->index);
    struct openai_choice *c = i < 0 ? NULL : &a->choice[i];
    if (c == NULL || c->finish[0] != '\0')
        return false;
    bool old = json_object_get(a->own, "functions") != NULL;
    strcpy(c->finish,
           e->reason == GEN_TOOL_CALLS && old ? "function_call" : gen_reason_word(e->reason));
    buf_clear(&a->scratch);
    if (!openai_calls_close(&c->calls, a->base.stream ? &a->scratch : NULL))
        return false;
    if (!a->base.stream)
        return true;
    if (!write_member(a, i, sse))
        return false;
    chunk_open(a, i, sse);
    buf_add_z(sse, a->base.endpoint->is_chat ? "\"delta\":{},\"logprobs\":null"
                                             : "\"text\":\"\",\"logprobs\":null");
    return chunk_close(a, c->finish, sse);
}

/* `timings` is ours: what a person asks when an answer was slow. */
static void write_usage(const struct openai_answer *a, struct buf *out)
{
    buf_printf(out,
               "\"usage\":{\"prompt_tokens\":%" PRId64 ",\"completion_tokens\":%" PRId64
               ",\"total_tokens\":%" PRId64 ",\"prompt_tokens_details\":{\"cached_tokens\":%" PRId64
               "}",
               a->base.n_prompt, a->base.n_completion, a->base.n_prompt + a->base.n_completion,
               a->base.n_cached);
    if (a->base.endpoint->is_chat || a->has_prediction)
        buf_printf(out, ",\"completion_tokens_details\":{\"reasoning_tokens\":%" PRId64,
                   a->base.n_reasoning);
    if (a->has_prediction)
        buf_printf(out,
                   ",\"accepted_prediction_tokens\":%" PRId64
                   ",\"rejected_prediction_tokens\":%" PRId64,
                   a->base.n_foretold, a->base.n_not_met);
    if (a->base.endpoint->is_chat || a->has_prediction)
        buf_add_char(out, '}');
    buf_printf(out, "},\"timings\":{\"queue_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f}",
               a->base.queue_ms, a->base.prefill_ms, a->base.decode_ms);
}

bool openai_answer_finish(struct api_answer *base, struct buf *sse)
{
    struct openai_answer *a = openai_answer(base);
    if (a->include_usage) {
        buf_add_z(sse, "data: {");
        buf_add_str(sse, head_of(a));
        buf_add_z(sse, ",\"choices\":[],");
        write_usage(a, sse);
        buf_add_z(sse, "}\n\n");
    }
    buf_add_z(sse, "data: [DONE]\n\n");
    return !sse->overflow;
}

bool openai_answer_fail(struct api_answer *base, const struct err *err, struct buf *sse)
{
    (void)base;
    buf_add_z(sse, "data: ");
    api_error_write(API_OPENAI, err, NULL, sse);
    buf_add_z(sse, "\n\n");
    return !sse->overflow;
}

/* ---- the whole answer ---- */

/* content is null where calls stand in its place. */
static void write_message(const struct openai_choice *c, struct buf *out)
{
    buf_add_z(out, "\"message\":{\"role\":\"assistant\",\"content\":");
    if (c->text.len == 0 && c->calls.n > 0)
        buf_add_z(out, "null");
    else
        json_write_string(buf_str(&c->text), out);
    if (c->reasoning.len > 0) {
        buf_add_z(out, ",\"reasoning_content\":");
        json_write_string(buf_str(&c->reasoning), out);
        buf_add_z(out, ",\"reasoning\":");
        json_write_string(buf_str(&c->reasoning), out);
    }
    openai_calls_write(&c->calls, out);
    buf_add_z(out, ",\"refusal\":null},\"logprobs\":");
}

bool openai_answer_whole(struct api_answer *base, struct buf *out)
{
    struct openai_answer *a = openai_answer(base);
    buf_add_char(out, '{');
    buf_add_str(out, head_of(a));
    buf_add_z(out, ",\"choices\":[");
    for (int i = 0; i < a->base.n_choice; i++) {
        const struct openai_choice *c = &a->choice[i];
        buf_printf(out, "%s{\"index\":%d,", i ? "," : "", i);
        if (a->base.endpoint->is_chat) {
            write_message(c, out);
        } else {
            buf_add_z(out, "\"text\":");
            json_write_string(buf_str(&c->text), out);
            buf_add_z(out, ",\"logprobs\":");
        }
        write_logprobs(a, c, out);
        buf_printf(out, ",\"finish_reason\":\"%s\"}", c->finish[0] ? c->finish : "stop");
    }
    buf_add_z(out, "],");
    write_usage(a, out);
    buf_add_char(out, '}');
    return !out->overflow;
}
