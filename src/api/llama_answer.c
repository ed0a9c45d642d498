/*
 * llama_answer: see the header. Writes JSON straight into buffers, as openai_answer does.
 */
#include "api/llama_answer.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX  (256u << 20)
#define PARTS_BYTES_MAX (64u << 20)
#define LOGPROB_LEAST   (-9999.0)

struct llama_answer {
    struct api_answer base;
    struct buf settings;     /* an object */
    json_t *prompt;          /* as it was sent; owned */
    struct buf text;         /* whole: the answer so far */
    struct buf ids, probs;   /* insides of arrays: whole: of all, streamed: of the chunk at hand */
    bool with_ids, logprobs; /* asked for */
    bool has_line;           /* a line feed was written */
    int64_t max_tokens, n_out;
    const char *stop_type; /* NULL until the end */
    char *stop;            /* or NULL; owned */
    bool is_cut;           /* the context was full before the limit was reached */
};

static struct llama_answer *answer_of(struct api_answer *base)
{
    return (struct llama_answer *)base; /* its first member */
}

struct api_answer *llama_answer_new(const struct api_request *r)
{
    struct llama_answer *a = mem_zero(1, sizeof *a);
    buf_init(&a->settings, TEXT_BYTES_MAX); /* the request's grammar and stops are in it */
    buf_init(&a->text, TEXT_BYTES_MAX);
    buf_init(&a->ids, PARTS_BYTES_MAX);
    buf_init(&a->probs, PARTS_BYTES_MAX);
    a->prompt = json_incref(json_array_get(r->prompts, 0));
    a->with_ids = json_is_true(json_object_get(r->own, "return_tokens"));
    a->logprobs = r->gen.logprobs;
    a->max_tokens = r->gen.max_tokens;
    if (!llama_settings_write(&r->gen, r->stream, &a->settings)) {
        llama_answer_free(&a->base);
        return NULL;
    }
    return &a->base;
}

void llama_answer_free(struct api_answer *base)
{
    struct llama_answer *a = answer_of(base);
    buf_release(&a->settings);
    buf_release(&a->text);
    buf_release(&a->ids);
    buf_release(&a->probs);
    json_decref(a->prompt);
    free(a->stop);
    free(a);
}

/* ---- tokens ---- */

static void write_token(int32_t id, const char *bytes, size_t n, float logprob, struct buf *out)
{
    double value = (double)logprob;
    buf_printf(out, "{\"id\":%" PRId32 ",\"token\":", id);
    json_write_string((struct str){bytes, n}, out);
    buf_add_z(out, ",\"bytes\":[");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%u", i ? "," : "", (unsigned)(unsigned char)bytes[i]);
    buf_printf(out, "],\"logprob\":%.9g",
               isnan(value) || value < LOGPROB_LEAST ? LOGPROB_LEAST : value);
}

static void add_token(struct llama_answer *a, const struct gen_token *t)
{
    buf_printf(&a->ids, "%s%" PRId32, a->ids.len > 0 ? "," : "", t->id);
    if (!a->logprobs)
        return;
    if (a->probs.len > 0)
        buf_add_char(&a->probs, ',');
    write_token(t->id, t->bytes, t->n_bytes, t->logprob, &a->probs);
    buf_add_z(&a->probs, ",\"top_logprobs\":[");
    for (size_t i = 0; i < t->n_top; i++) {
        if (i > 0)
            buf_add_char(&a->probs, ',');
        write_token(t->top[i].id, t->top[i].bytes, t->top[i].n_bytes, t->top[i].logprob, &a->probs);
        buf_add_char(&a->probs, '}');
    }
    buf_add_z(&a->probs, "]}");
}

static void write_probs(const struct llama_answer *a, struct buf *out)
{
    if (!a->logprobs)
        return;
    buf_add_z(out, ",\"completion_probabilities\":[");
    buf_add_str(out, buf_str(&a->probs));
    buf_add_char(out, ']');
}

/* ---- a stream ---- */

bool llama_answer_begin(struct api_answer *base, struct buf *sse)
{
    (void)base, (void)sse;
    return true;
}

bool llama_answer_delta(struct api_answer *base, int i_prompt, const struct gen_delta *d,
                        struct buf *sse)
{
    struct llama_answer *a = answer_of(base);
    struct str text = {d->text, d->text_len};
    if (api_answer_choice(base, i_prompt, d->index) < 0 || a->stop_type != NULL)
        return false;
    for (size_t i = 0; i < d->n_tokens; i++)
        add_token(a, &d->tokens[i]);
    a->n_out += (int64_t)d->n_tokens;
    a->has_line = a->has_line || str_chr(text, '\n') >= 0;
    if (a->ids.overflow || a->probs.overflow)
        return false;
    if (!base->stream)
        return buf_add_str(&a->text, text);
    buf_add_z(sse, "data: {\"index\":0,\"content\":");
    json_write_string(text, sse);
    buf_add_z(sse, ",\"tokens\":[");
    buf_add_str(sse, buf_str(&a->ids));
    buf_printf(sse,
               "],\"stop\":false,\"id_slot\":0,\"tokens_predicted\":%" PRId64
               ",\"tokens_evaluated\":%" PRId64,
               a->n_out, base->n_prompt_taken);
    write_probs(a, sse);
    buf_add_z(sse, "}\n\n");
    buf_clear(&a->ids);
    buf_clear(&a->probs);
    return !sse->overflow;
}

bool llama_answer_end(struct api_answer *base, int i_prompt, const struct gen_end *e,
                      struct buf *sse)
{
    struct llama_answer *a = answer_of(base);
    (void)sse;
    if (api_answer_choice(base, i_prompt, e->index) < 0 || a->stop_type != NULL)
        return false;
    a->n_out = e->n_completion;
    a->stop_type = e->reason == GEN_LENGTH ? "limit" : e->stop != NULL ? "word" : "eos";
    a->stop = e->stop != NULL ? str_dup(str_z(e->stop)) : NULL;
    a->is_cut = e->reason == GEN_LENGTH && (a->max_tokens < 0 || e->n_completion < a->max_tokens);
    return true;
}

bool llama_answer_fail(struct api_answer *base, const struct err *err, struct buf *sse)
{
    (void)base;
    buf_add_z(sse, "data: ");
    api_error_write(API_OPENAI, err, NULL, sse);
    buf_add_z(sse, "\n\n");
    return !sse->overflow;
}

/* ---- the whole answer ---- */

static double per(double part, double of)
{
    return of > 0 ? part / of : 0;
}

static void write_timings(const struct llama_answer *a, struct buf *out)
{
    const struct api_answer *b = &a->base;
    int64_t n_prompt = b->n_prompt - b->n_cached;
    buf_printf(out,
               "{\"cache_n\":%" PRId64 ",\"prompt_n\":%" PRId64
               ",\"prompt_ms\":%.3f,\"prompt_per_token_ms\":%.6g,\"prompt_per_second\":%.6g,"
               "\"predicted_n\":%" PRId64 ",\"predicted_ms\":%.3f,\"predicted_per_token_ms\":%.6g,"
               "\"predicted_per_second\":%.6g}",
               b->n_cached, n_prompt, b->prefill_ms, per(b->prefill_ms, (double)n_prompt),
               per((double)n_prompt * 1e3, b->prefill_ms), a->n_out, b->decode_ms,
               per(b->decode_ms, (double)a->n_out), per((double)a->n_out * 1e3, b->decode_ms));
}

static bool write_result(struct llama_answer *a, struct buf *out)
{
    const struct api_answer *b = &a->base;
    buf_add_z(out, "{\"index\":0,\"content\":");
    json_write_string(b->stream ? STR("") : buf_str(&a->text), out);
    buf_add_z(out, ",\"tokens\":[");
    if (a->with_ids && !b->stream)
        buf_add_str(out, buf_str(&a->ids));
    buf_add_z(out, "],\"id_slot\":0,\"stop\":true,\"model\":");
    json_write_string(str_z(b->model), out);
    buf_printf(out,
               ",\"tokens_predicted\":%" PRId64 ",\"tokens_evaluated\":%" PRId64
               ",\"generation_settings\":",
               a->n_out, b->n_prompt);
    buf_add_str(out, buf_str(&a->settings));
    buf_add_z(out, ",\"prompt\":");
    if (!json_write(a->prompt, out))
        return false;
    buf_printf(out, ",\"has_new_line\":%s,\"truncated\":%s,\"stop_type\":\"%s\",\"stopping_word\":",
               a->has_line ? "true" : "false", a->is_cut ? "true" : "false",
               a->stop_type == NULL ? "none" : a->stop_type);
    json_write_string(str_z(a->stop), out);
    buf_printf(out, ",\"tokens_cached\":%" PRId64 ",\"timings\":", b->n_cached);
    write_timings(a, out);
    if (!b->stream)
        write_probs(a, out);
    buf_add_char(out, '}');
    return !out->overflow;
}

bool llama_answer_finish(struct api_answer *base, struct buf *sse)
{
    buf_add_z(sse, "data: ");
    return write_result(answer_of(base), sse) && buf_add_z(sse, "\n\n");
}

bool llama_answer_whole(struct api_answer *base, struct buf *out)
{
    return write_result(answer_of(base), out);
}
