/*
 * ollama_answer: a worker's events into the answers of /api/generate and /api/chat: lines of JSON,
 * or one object.
 *
 * A tool call's arguments are an object in this dialect, so a call is held until all of it is there
 * and sent as one piece. One whose arguments are no object (the answer was cut off in them) comes
 * out as content: what the model wrote is lost for nobody, and a client's parser gets no half JSON.
 */
#include "api/ollama.h"
#include "api/ollama_request.h"
#include "api/tools.h"
#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES_MAX (256u << 20)
#define PARTS_MAX        (64u << 20)
#define LOGPROB_LEAST    (-9999.0)

struct ollama_answer {
    struct api_answer base;
    char *asked_model; /* as the client wrote it; "" for none */
    bool logprobs;
    int64_t start_ns;
    struct buf text, thinking; /* whole, or for `history` */
    struct buf scores;         /* log probabilities not sent yet: the inside of an array */
    struct buf calls;          /* whole: the inside of "tool_calls" */
    struct buf arguments;      /* of the call at hand */
    char *call;                /* its name; NULL: none is at hand */
    int n_call;
    char finish[24]; /* "" until it is complete */
    json_t *history; /* what `context` is made of; NULL: there is none */
};

static struct ollama_answer *of(struct api_answer *base)
{
    return (struct ollama_answer *)base; /* its first member */
}

struct api_answer *ollama_answer_new(const struct api_request *r)
{
    struct ollama_answer *a = mem_zero(1, sizeof *a);
    a->asked_model = str_dup(r->model);
    a->logprobs = r->gen.logprobs;
    a->start_ns = clock_ns();
    a->history = json_incref(json_object_get(r->own, "history"));
    buf_init(&a->text, ANSWER_BYTES_MAX);
    buf_init(&a->thinking, ANSWER_BYTES_MAX);
    buf_init(&a->scores, PARTS_MAX);
    buf_init(&a->calls, PARTS_MAX);
    buf_init(&a->arguments, PARTS_MAX);
    return &a->base;
}

void ollama_answer_free(struct api_answer *base)
{
    struct ollama_answer *a = of(base);
    free(a->asked_model);
    free(a->call);
    buf_release(&a->text);
    buf_release(&a->thinking);
    buf_release(&a->scores);
    buf_release(&a->calls);
    buf_release(&a->arguments);
    json_decref(a->history);
    free(a);
}

/* ---- pieces ---- */

static bool is_chat(const struct ollama_answer *a)
{
    return a->base.endpoint == &ollama_chat;
}

static void write_token(const char *bytes, size_t n, float logprob, struct buf *out)
{
    double value = (double)logprob;
    buf_add_z(out, "{\"token\":");
    json_write_string((struct str){bytes, n}, out);
    buf_printf(out, ",\"logprob\":%.9g,\"bytes\":[",
               isnan(value) || value < LOGPROB_LEAST ? LOGPROB_LEAST : value);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%u", i ? "," : "", (unsigned)(unsigned char)bytes[i]);
    buf_add_char(out, ']');
}

static bool add_scores(struct ollama_answer *a, const struct gen_delta *d)
{
    struct buf *out = &a->scores;
    for (size_t i = 0; i < d->n_tokens; i++) {
        const struct gen_token *t = &d->tokens[i];
        if (out->len > 0)
            buf_add_char(out, ',');
        write_token(t->bytes, t->n_bytes, t->logprob, out);
        for (size_t k = 0; k < t->n_top; k++) {
            buf_add_z(out, k == 0 ? ",\"top_logprobs\":[" : ",");
            write_token(t->top[k].bytes, t->top[k].n_bytes, t->top[k].logprob, out);
            buf_add_char(out, '}');
        }
        buf_add_z(out, t->n_top > 0 ? "]}" : "}");
    }
    return !out->overflow;
}

static void write_scores(struct ollama_answer *a, struct buf *out)
{
    if (a->scores.len == 0)
        return;
    buf_add_z(out, ",\"logprobs\":[");
    buf_add_str(out, buf_str(&a->scores));
    buf_add_char(out, ']');
    buf_clear(&a->scores);
}

/* The beginning of every object: model, time, and what was said. calls: the inside of a list. */
static void write_said(struct ollama_answer *a, struct str content, struct str thinking,
                       struct str calls, struct buf *out)
{
    buf_add_z(out, "{\"model\":");
    json_write_string(str_z(a->asked_model[0] != '\0' ? a->asked_model : a->base.model), out);
    buf_add_z(out, ",\"created_at\":");
    ollama_write_time(clock_wall_ms(), out);
    buf_add_z(out,
              is_chat(a) ? ",\"message\":{\"role\":\"assistant\",\"content\":" : ",\"response\":");
    json_write_string(content, out);
    if (thinking.len > 0) {
        buf_add_z(out, ",\"thinking\":");
        json_write_string(thinking, out);
    }
    if (calls.len > 0) {
        buf_add_z(out, ",\"tool_calls\":[");
        buf_add_str(out, calls);
        buf_add_char(out, ']');
    }
    if (is_chat(a))
        buf_add_char(out, '}');
}

static bool write_piece(struct ollama_answer *a, struct str content, struct str thinking,
                        struct str calls, struct buf *out)
{
    if (content.len + thinking.len + calls.len + a->scores.len == 0)
        return true;
    write_said(a, content, thinking, calls, out);
    write_scores(a, out);
    buf_add_z(out, ",\"done\":false}\n");
    return !out->overflow;
}

static int64_t ns(double ms)
{
    return ms > 0 && ms < 9e12 ? (int64_t)(ms * 1e6) : 0;
}

/* What the last object has more than the others. */
static void write_end(struct ollama_answer *a, struct buf *out)
{
    const struct api_answer *b = &a->base;
    write_scores(a, out);
    buf_printf(out, ",\"done\":true,\"done_reason\":\"%s\"", a->finish[0] ? a->finish : "stop");
    if (a->history != NULL && !a->text.overflow) {
        struct buf context;
        buf_init(&context, PARTS_MAX);
        json_t *said = json_pack("{s:s, s:s%}", "role", "assistant", "content",
                                 a->text.ptr ? a->text.ptr : "", a->text.len);
        if (said != NULL && json_array_append_new(a->history, said) == 0 &&
            ollama_context_write(a->history, &context)) {
            buf_add_z(out, ",\"context\":");
            buf_add_str(out, buf_str(&context));
        }
        buf_release(&context);
    }
    buf_printf(out,
               ",\"total_duration\":%" PRId64 ",\"load_duration\":%" PRId64
               ",\"prompt_eval_count\":%" PRId64 ",\"prompt_eval_duration\":%" PRId64
               ",\"eval_count\":%" PRId64 ",\"eval_duration\":%" PRId64,
               clock_ns() - a->start_ns, ns(b->load_ms), b->n_prompt, ns(b->prefill_ms),
               b->n_completion, ns(b->decode_ms));
    api_answer_more(b, out);
    buf_add_char(out, '}');
}

/* ---- tool calls ---- */

static bool say(struct ollama_answer *a, struct str content, struct buf *out)
{
    bool ok = true;
    if (!a->base.stream || a->history != NULL)
        ok = buf_add_str(&a->text, content) || a->base.stream; /* without `context`, then */
    return a->base.stream ? write_piece(a, content, STR(""), STR(""), out) : ok;
}

/* The call at hand is complete: all of its arguments are there. */
static bool end_call(struct ollama_answer *a, struct buf *out)
{
    if (a->call == NULL)
        return true;
    struct buf call;
    buf_init(&call, PARTS_MAX);
    struct str text = str_trim(buf_str(&a->arguments));
    json_t *value = api_call_arguments(text);
    bool good = value != NULL, ok;
    json_decref(value);
    if (good)
        buf_printf(&call, "{\"id\":\"call_%s_%d\",\"function\":{\"index\":%d,\"name\":", a->base.id,
                   a->n_call, a->n_call);
    else
        buf_add_z(&call, "{\"name\":");
    json_write_string(str_z(a->call), &call);
    buf_add_z(&call, good ? ",\"arguments\":" : ", \"arguments\": ");
    buf_add_str(&call, text);
    buf_add_z(&call, good ? "}}" : "");
    if (!good) {
        ok = say(a, buf_str(&call), out);
    } else if (a->base.stream) {
        ok = write_piece(a, STR(""), STR(""), buf_str(&call), out);
    } else {
        ok = (a->n_call == 0 || buf_add_char(&a->calls, ',')) &&
             buf_add_str(&a->calls, buf_str(&call));
    }
    a->n_call += good;
    ok = ok && !call.overflow;
    buf_release(&call);
    buf_clear(&a->arguments);
    free(a->call);
    a->call = NULL;
    return ok;
}

static bool add_call(struct ollama_answer *a, const struct gen_delta *d, struct buf *out)
{
    if (d->name != NULL) {
        if (!end_call(a, out))
            return false;
        a->call = str_dup(str_z(d->name));
    }
    if (a->call == NULL)
        return false; /* the worker speaks of a call that did not begin */
    return buf_add(&a->arguments, d->text, d->text_len);
}

/* ---- events ---- */

bool ollama_answer_begin(struct api_answer *base, struct buf *out)
{
    (void)base, (void)out;
    return true;
}

bool ollama_answer_delta(struct api_answer *base, int i_prompt, const struct gen_delta *d,
                         struct buf *out)
{
    struct ollama_answer *a = of(base);
    struct str text = {d->text, d->text_len};
    if (api_answer_choice(base, i_prompt, d->index) < 0 || (a->logprobs && !add_scores(a, d)))
        return false;
    if (d->channel == GEN_TOOL_CALL)
        return add_call(a, d, out);
    if (!end_call(a, out))
        return false;
    if (d->channel != GEN_REASONING)
        return say(a, text, out);
    return a->base.stream ? write_piece(a, STR(""), text, STR(""), out)
                          : buf_add_str(&a->thinking, text);
}

bool ollama_answer_end(struct api_answer *base, int i_prompt, const struct gen_end *e,
                       struct buf *out)
{
    struct ollama_answer *a = of(base);
    if (api_answer_choice(base, i_prompt, e->index) < 0 || a->finish[0] != '\0')
        return false;
    strcpy(a->finish, e->reason == GEN_LENGTH ? "length" : "stop");
    return end_call(a, out);
}

bool ollama_answer_finish(struct api_answer *base, struct buf *out)
{
    struct ollama_answer *a = of(base);
    write_said(a, STR(""), STR(""), STR(""), out);
    write_end(a, out);
    buf_add_char(out, '\n');
    return !out->overflow;
}

bool ollama_answer_fail(struct api_answer *base, const struct err *err, struct buf *out)
{
    (void)base;
    api_error_write(API_OLLAMA, err, NULL, out);
    buf_add_char(out, '\n');
    return !out->overflow;
}

bool ollama_answer_whole(struct api_answer *base, struct buf *out)
{
    struct ollama_answer *a = of(base);
    write_said(a, buf_str(&a->text), buf_str(&a->thinking), buf_str(&a->calls), out);
    write_end(a, out);
    return !out->overflow;
}

/* ---- what is no generation ---- */

static bool is_empty(const json_t *v)
{
    return v == NULL || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

bool ollama_is_load(const struct api_endpoint *endpoint, const json_t *body)
{
    if (!json_is_object(body))
        return false;
    if (endpoint == &ollama_chat)
        return is_empty(json_object_get(body, "messages"));
    return is_empty(json_object_get(body, "prompt")) && is_empty(json_object_get(body, "suffix")) &&
           is_empty(json_object_get(body, "images"));
}

bool ollama_write_rendered(const struct api_request *r, struct str text, struct buf *out)
{
    buf_add_z(out, "{\"model\":");
    json_write_string(r->model, out);
    buf_add_z(out, ",\"created_at\":");
    ollama_write_time(clock_wall_ms(), out);
    buf_add_z(out, ",\"_debug_info\":{\"rendered_template\":");
    json_write_string(text, out);
    buf_add_z(out, ",\"image_count\":0},\"done\":true}");
    return !out->overflow;
}
