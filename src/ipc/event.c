/*
 * event: what a worker reports: deltas, ends, errors, its plan and its counters, and their JSON.
 *
 * Token bytes are any bytes, JSON strings are not: byte b travels as the character U+00b.
 * Log probabilities that are not finite travel as null and arrive as NaN.
 */
#include "base/mem.h"
#include "ipc/field.h"
#include "ipc/message.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct field accepted_fields[] = {
    FIELD_ID(gen_accepted),
    FIELD_COUNT(gen_accepted, n_prompt),
    FIELD(gen_accepted, prompt_hash, FIELD_BITS, 0, 0),
    FIELD_COUNT(gen_accepted, n_dropped),
};

static const struct field delta_fields[] = {
    FIELD_ID(gen_delta),
    FIELD_COUNT(gen_delta, index),
    FIELD(gen_delta, channel, FIELD_I64, 0, GEN_N_CHANNELS - 1),
    FIELD_COUNT(gen_delta, call),
    FIELD_SKIP("name"),
    FIELD_SKIP("text"),
    FIELD_SKIP("tokens"),
};

static const struct field end_fields[] = {
    FIELD_ID(gen_end),
    FIELD_COUNT(gen_end, index),
    FIELD_COUNT(gen_end, n_completion),
    FIELD_COUNT(gen_end, n_reasoning),
    FIELD_COUNT(gen_end, n_foretold),
    FIELD_SKIP("reason"),
    FIELD_SKIP("stop"),
};

static const struct field done_fields[] = {
    FIELD_ID(gen_done),
    FIELD_COUNT(gen_done, n_prompt),
    FIELD_COUNT(gen_done, n_cached),
    FIELD_COUNT(gen_done, n_completion),
    FIELD_COUNT(gen_done, n_reasoning),
    FIELD_COUNT(gen_done, n_foretold),
    FIELD_COUNT(gen_done, n_not_met),
    FIELD(gen_done, queue_ms, FIELD_F64, 0, FIELD_INT_MAX),
    FIELD(gen_done, prefill_ms, FIELD_F64, 0, FIELD_INT_MAX),
    FIELD(gen_done, decode_ms, FIELD_F64, 0, FIELD_INT_MAX),
};

static const struct field error_fields[] = {
    FIELD_ID(gen_error),           FIELD_COUNT(gen_error, n_prompt),
    FIELD_COUNT(gen_error, n_ctx), FIELD_SKIP("code"),
    FIELD_SKIP("message"),         FIELD_SKIP("param"),
};

static const struct field ready_fields[] = {
    FIELD(worker_ready, arch, FIELD_CHARS, 0, 0),
    FIELD(worker_ready, name, FIELD_CHARS, 0, 0),
    FIELD(worker_ready, file_type, FIELD_CHARS, 0, 0),
    FIELD(worker_ready, kernel, FIELD_CHARS, 0, 0),
    FIELD(worker_ready, kv_type, FIELD_CHARS, 0, 0),
    FIELD(worker_ready, fingerprint, FIELD_CHARS, 0, 0),
    FIELD_COUNT(worker_ready, n_params),
    FIELD_COUNT(worker_ready, n_ctx_train),
    FIELD(worker_ready, n_ctx, FIELD_I64, 0, INT32_MAX),
    FIELD(worker_ready, n_vocab, FIELD_I64, 0, INT32_MAX),
    FIELD(worker_ready, n_threads, FIELD_I64, 0, INT32_MAX),
    FIELD(worker_ready, n_seq_max, FIELD_I64, 0, INT32_MAX),
    FIELD_COUNT(worker_ready, weight_bytes),
    FIELD_COUNT(worker_ready, kv_bytes),
    FIELD_COUNT(worker_ready, scratch_bytes),
    FIELD(worker_ready, has_template, FIELD_BOOL, 0, 0),
    FIELD(worker_ready, sandboxed, FIELD_BOOL, 0, 0),
    FIELD(worker_ready, embeds, FIELD_BOOL, 0, 0),
    FIELD(worker_ready, ranks, FIELD_BOOL, 0, 0),
    FIELD(worker_ready, n_embd, FIELD_I64, 0, INT32_MAX),
    FIELD(worker_ready, load_ms, FIELD_F64, 0, FIELD_INT_MAX),
};

static const struct field stats_fields[] = {
    FIELD_COUNT(worker_stats, running),
    FIELD_COUNT(worker_stats, waiting),
    FIELD_COUNT(worker_stats, kv_blocks_used),
    FIELD_COUNT(worker_stats, kv_blocks),
    FIELD_COUNT(worker_stats, steps),
    FIELD_COUNT(worker_stats, prompt_tokens),
    FIELD_COUNT(worker_stats, output_tokens),
    FIELD_COUNT(worker_stats, preemptions),
    FIELD_COUNT(worker_stats, cancelled),
    FIELD_COUNT(worker_stats, drafted_tokens),
    FIELD_COUNT(worker_stats, accepted_tokens),
    FIELD_COUNT(worker_stats, draft_model_tokens),
    FIELD_COUNT(worker_stats, draft_model_accepted),
    FIELD(worker_stats, prefill_s, FIELD_F64, 0, FIELD_INT_MAX),
    FIELD(worker_stats, decode_s, FIELD_F64, 0, FIELD_INT_MAX),
    FIELD(worker_stats, draft_s, FIELD_F64, 0, FIELD_INT_MAX),
    FIELD_COUNT(worker_stats, guided_tokens),
    FIELD(worker_stats, mask_wait_s, FIELD_F64, 0, FIELD_INT_MAX),
    FIELD_COUNT(worker_stats, mask_bytes),
    FIELD_COUNT(worker_stats, cached_blocks),
    FIELD_COUNT(worker_stats, cache_lookup_tokens),
    FIELD_COUNT(worker_stats, cached_tokens),
    FIELD_COUNT(worker_stats, disk_hits),
    FIELD_COUNT(worker_stats, disk_tokens),
    FIELD_COUNT(worker_stats, disk_read_bytes),
    FIELD_COUNT(worker_stats, disk_written_bytes),
    FIELD_COUNT(worker_stats, disk_blocks),
};

static const char *const reason_names[GEN_N_REASONS] = {
    [GEN_STOP] = "stop", [GEN_LENGTH] = "length", [GEN_TOOL_CALLS] = "tool_calls"};

const char *gen_reason_word(enum gen_reason reason)
{
    return reason_names[reason];
}

/* An object of the table's fields and its type. */
static json_t *event_new(const char *type, const struct field *f, size_t n, const void *from)
{
    json_t *obj = fields_write(f, n, from);
    json_object_set_new(obj, "t", json_string(type));
    return obj;
}

/* Sets obj[key], taking value; on failure frees obj and returns NULL. Takes NULL for both. */
static json_t *with(json_t *obj, const char *key, json_t *value)
{
    if (json_object_set_new(obj, key, value) != 0) {
        json_decref(obj);
        return NULL;
    }
    return obj;
}

/* ---- bytes and tokens ---- */

static json_t *bytes_to_json(const char *bytes, size_t n)
{
    char small[256] = "";
    char *text = n <= sizeof(small) / 2 ? small : mem_try_array(n, 2);
    if (!text)
        return NULL;
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t b = (uint8_t)bytes[i];
        if (b < 0x80) {
            text[len++] = (char)b;
        } else {
            text[len++] = (char)(0xc0 | b >> 6);
            text[len++] = (char)(0x80 | (b & 0x3f));
        }
    }
    json_t *value = json_stringn(text, len);
    if (text != small)
        free(text);
    return value;
}

static int bytes_from_json(const json_t *value, char **ret, size_t *ret_n, struct err *err)
{
    if (!value)
        return 0;
    struct str s = json_str(value);
    if (!json_is_string(value))
        return err_set_param(err, ERR_INVALID, "bytes", "bytes must be a string");
    char *out = mem_try_array(s.len + 1, 1);
    if (!out)
        return err_set(err, ERR_NOMEM, "no memory for a token's bytes");
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t b = (uint8_t)s.ptr[i];
        if (b >= 0x80) {
            if (b > 0xc3 || i + 1 >= s.len) {
                free(out);
                return err_set_param(err, ERR_INVALID, "bytes", "a character above U+00FF");
            }
            b = (uint8_t)(b << 6 | ((uint8_t)s.ptr[++i] & 0x3f));
        }
        out[n++] = (char)b;
    }
    *ret = out;
    *ret_n = n;
    return 0;
}

static json_t *logprob_to_json(float logprob)
{
    return isfinite(logprob) ? json_real((double)logprob) : json_null();
}

static int logprob_from_json(const json_t *value, float *ret, struct err *err)
{
    *ret = NAN;
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_number(value))
        return err_set_param(err, ERR_INVALID, "logprob", "logprob must be a number");
    *ret = (float)json_number_value(value);
    return 0;
}

static int id_from_json(const json_t *value, int32_t *ret, struct err *err)
{
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || id > INT32_MAX)
        return err_set_param(err, ERR_INVALID, "tokens", "not a token id");
    *ret = (int32_t)id;
    return 0;
}

/* A token is [id] or, with log probabilities, [id, logprob, bytes, [[id, logprob, bytes], ...]];
 * with mirostat its state comes last. */
static json_t *token_to_json(const struct gen_token *t)
{
    json_t *array = json_array();
    bool ok = json_array_append_new(array, json_integer(t->id)) == 0;
    if (!t->bytes && t->has_mu)
        json_array_append_new(array, json_real(t->mu));
    if (!t->bytes)
        return array;
    json_t *top = json_array();
    for (size_t i = 0; ok && i < t->n_top; i++) {
        json_t *one = json_array();
        ok = json_array_append_new(one, json_integer(t->top[i].id)) == 0 &&
             json_array_append_new(one, logprob_to_json(t->top[i].logprob)) == 0 &&
             json_array_append_new(one, bytes_to_json(t->top[i].bytes, t->top[i].n_bytes)) == 0;
        ok = json_array_append_new(top, one) == 0 && ok;
    }
    ok = ok && json_array_append_new(array, logprob_to_json(t->logprob)) == 0 &&
         json_array_append_new(array, bytes_to_json(t->bytes, t->n_bytes)) == 0;
    ok = json_array_append_new(array, top) == 0 && ok;
    if (t->has_mu)
        ok = json_array_append_new(array, json_real(t->mu)) == 0 && ok;
    if (!ok) {
        json_decref(array);
        return NULL;
    }
    return array;
}

static int top_from_json(const json_t *array, struct gen_token *t, struct err *err)
{
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n > GEN_TOP_LOGPROBS_MAX)
        return err_set_param(err, ERR_INVALID, "top", "top must be a short array");
    if (n == 0)
        return 0;
    t->top = mem_try_array(n, sizeof(*t->top));
    if (!t->top)
        return err_set(err, ERR_NOMEM, "no memory for log probabilities");
    t->n_top = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(array, i);
        struct gen_top *top = &t->top[i];
        int rc = id_from_json(json_array_get(one, 0), &top->id, err);
        if (rc == 0)
            rc = logprob_from_json(json_array_get(one, 1), &top->logprob, err);
        if (rc == 0)
            rc = bytes_from_json(json_array_get(one, 2), &top->bytes, &top->n_bytes, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int token_from_json(const json_t *array, struct gen_token *t, struct err *err)
{
    t->logprob = NAN;
    size_t n = json_array_size(array);
    int rc = id_from_json(json_array_get(array, 0), &t->id, err);
    if (rc == 0 && (n == 2 || n == 5)) {
        const json_t *mu = json_array_get(array, n - 1);
        t->has_mu = json_is_number(mu);
        t->mu = json_number_value(mu);
    }
    if (rc != 0 || n == 1 || (n == 2 && t->has_mu))
        return rc;
    if (n != 4 && !(n == 5 && t->has_mu))
        return err_set_param(err, ERR_INVALID, "tokens",
                             "a token has one or four parts, and perhaps its state");
    rc = logprob_from_json(json_array_get(array, 1), &t->logprob, err);
    if (rc == 0)
        rc = bytes_from_json(json_array_get(array, 2), &t->bytes, &t->n_bytes, err);
    return rc != 0 ? rc : top_from_json(json_array_get(array, 3), t, err);
}

/* ---- accepted ---- */

json_t *gen_accepted_to_json(const struct gen_accepted *a)
{
    return event_new("accepted", accepted_fields, ARRAY_LEN(accepted_fields), a);
}

int gen_accepted_from_json(const json_t *frame, struct gen_accepted *ret, struct err *err)
{
    struct gen_accepted a = {0};
    int rc = fields_read(accepted_fields, ARRAY_LEN(accepted_fields), frame, &a, err);
    if (rc == 0)
        *ret = a;
    return rc;
}

/* ---- delta ---- */

void gen_delta_release(struct gen_delta *d)
{
    for (size_t i = 0; i < d->n_tokens; i++) {
        struct gen_token *t = &d->tokens[i];
        for (size_t k = 0; k < t->n_top; k++)
            free(t->top[k].bytes);
        free(t->top);
        free(t->bytes);
    }
    free(d->tokens);
    free(d->text);
    free(d->name);
    *d = (struct gen_delta){0};
}

json_t *gen_delta_to_json(const struct gen_delta *d)
{
    json_t *obj = event_new("delta", delta_fields, ARRAY_LEN(delta_fields), d);
    json_t *tokens = json_array();
    for (size_t i = 0; i < d->n_tokens; i++)
        json_array_append_new(tokens, token_to_json(&d->tokens[i]));
    bool whole = json_array_size(tokens) == d->n_tokens;
    if (d->name)
        obj = with(obj, "name", json_string(d->name));
    obj = with(obj, "text", json_stringn(d->text ? d->text : "", d->text_len));
    obj = with(obj, "tokens", tokens);
    if (!whole) {
        json_decref(obj);
        return NULL;
    }
    return obj;
}

static int delta_read(const json_t *frame, struct gen_delta *d, struct err *err)
{
    struct str text = {0}, name = {0};
    int rc = fields_read(delta_fields, ARRAY_LEN(delta_fields), frame, d, err);
    if (rc == 0)
        rc = json_get_str(frame, "text", &text, err);
    if (rc == 0)
        rc = json_get_str(frame, "name", &name, err);
    if (rc != 0)
        return rc;
    if (name.ptr && !(d->name = str_dup(name)))
        return err_set(err, ERR_NOMEM, "no memory for a delta");
    d->text = str_dup(text);
    d->text_len = text.len;
    const json_t *tokens = json_object_get(frame, "tokens");
    size_t n = json_array_size(tokens);
    d->tokens = mem_try_array(n ? n : 1, sizeof(*d->tokens));
    if (!d->text || !d->tokens)
        return err_set(err, ERR_NOMEM, "no memory for a delta");
    d->n_tokens = n;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = token_from_json(json_array_get(tokens, i), &d->tokens[i], err);
    return rc;
}

int gen_delta_from_json(const json_t *frame, struct gen_delta *ret, struct err *err)
{
    struct gen_delta d = {0};
    int rc = delta_read(frame, &d, err);
    if (rc != 0) {
        gen_delta_release(&d);
        return rc;
    }
    *ret = d;
    return 0;
}

/* ---- end, done, error ---- */

void gen_end_release(struct gen_end *e)
{
    free(e->stop);
    *e = (struct gen_end){0};
}

json_t *gen_end_to_json(const struct gen_end *e)
{
    json_t *obj = event_new("end", end_fields, ARRAY_LEN(end_fields), e);
    obj = with(obj, "reason", json_string(reason_names[e->reason]));
    return with(obj, "stop", e->stop ? json_string(e->stop) : json_null());
}

int gen_end_from_json(const json_t *frame, struct gen_end *ret, struct err *err)
{
    struct gen_end e = {0};
    struct str reason = {0}, stop = {0};
    int rc = fields_read(end_fields, ARRAY_LEN(end_fields), frame, &e, err);
    if (rc == 0)
        rc = json_get_str(frame, "reason", &reason, err);
    if (rc == 0)
        rc = json_get_str(frame, "stop", &stop, err);
    if (rc != 0)
        return rc;
    while (e.reason < GEN_N_REASONS && !str_eq_z(reason, reason_names[e.reason]))
        e.reason++;
    if (e.reason == GEN_N_REASONS)
        return err_set_param(err, ERR_INVALID, "reason", "unknown reason");
    if (stop.ptr && !(e.stop = str_dup(stop)))
        return err_set(err, ERR_NOMEM, "no memory for a stop string");
    *ret = e;
    return 0;
}

json_t *gen_done_to_json(const struct gen_done *d)
{
    return event_new("done", done_fields, ARRAY_LEN(done_fields), d);
}

int gen_done_from_json(const json_t *frame, struct gen_done *ret, struct err *err)
{
    struct gen_done d = {0};
    int rc = fields_read(done_fields, ARRAY_LEN(done_fields), frame, &d, err);
    if (rc == 0)
        *ret = d;
    return rc;
}

/* Error texts may quote a file's bytes: what is not UTF-8 there becomes '?'. */
static json_t *loose_string(const char *z)
{
    json_t *value = json_string(z);
    if (value)
        return value;
    char ascii[sizeof(((struct err *)0)->text)];
    size_t n = 0;
    for (; z[n] && n + 1 < sizeof(ascii); n++)
        ascii[n] = (uint8_t)z[n] < 0x80 ? z[n] : '?';
    return json_stringn(ascii, n);
}

json_t *gen_error_to_json(const struct gen_error *e)
{
    json_t *obj = event_new("error", error_fields, ARRAY_LEN(error_fields), e);
    obj = with(obj, "code", json_string(err_word(e->err.code)));
    obj = with(obj, "message", loose_string(e->err.text));
    return with(obj, "param", e->err.param[0] ? loose_string(e->err.param) : json_null());
}

int gen_error_from_json(const json_t *frame, struct gen_error *ret, struct err *err)
{
    struct gen_error e = {0};
    struct str code = {0}, message = {0}, param = {0};
    int rc = fields_read(error_fields, ARRAY_LEN(error_fields), frame, &e, err);
    if (rc == 0)
        rc = json_get_str(frame, "code", &code, err);
    if (rc == 0)
        rc = json_get_str(frame, "message", &message, err);
    if (rc == 0)
        rc = json_get_str(frame, "param", &param, err);
    if (rc != 0)
        return rc;
    char word[64];
    snprintf(word, sizeof(word), "%.*s", STR_ARG(code));
    err_set(&e.err, err_code_of_word(word), "%.*s", STR_ARG(message));
    snprintf(e.err.param, sizeof(e.err.param), "%.*s", STR_ARG(param));
    *ret = e;
    return 0;
}

/* ---- ready, stats ---- */

json_t *worker_ready_to_json(const struct worker_ready *r)
{
    return event_new("ready", ready_fields, ARRAY_LEN(ready_fields), r);
}

int worker_ready_from_json(const json_t *frame, struct worker_ready *ret, struct err *err)
{
    struct worker_ready r = {0};
    int rc = fields_read(ready_fields, ARRAY_LEN(ready_fields), frame, &r, err);
    if (rc == 0)
        *ret = r;
    return rc;
}

json_t *worker_stats_to_json(const struct worker_stats *s)
{
    return event_new("stats", stats_fields, ARRAY_LEN(stats_fields), s);
}

int worker_stats_from_json(const json_t *frame, struct worker_stats *ret, struct err *err)
{
    struct worker_stats s = {0};
    int rc = fields_read(stats_fields, ARRAY_LEN(stats_fields), frame, &s, err);
    if (rc == 0)
        *ret = s;
    return rc;
}
