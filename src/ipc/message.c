/*
 * message: the requests, gateway to worker: struct gen_request and its JSON.
 *
 * The worker trusts nobody: gen_request_from_json checks every range, so what comes out of it may
 * be used without further checks, except against the model (token ids, context length).
 */
#include "ipc/message.h"
#include "base/mem.h"
#include "ipc/field.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {
    [GEN_CHAT] = "chat",   [GEN_TEXT] = "text",     [GEN_TOKENS] = "tokens",
    [GEN_EMBED] = "embed", [GEN_RERANK] = "rerank",
};

static const char *const priority_names[] = {
    [GEN_INTERACTIVE] = "interactive",
    [GEN_AGENT] = "agent",
    [GEN_BACKGROUND] = "background",
    [GEN_BATCH] = "batch",
};

static const struct field request_fields[] = {
    FIELD_ID(gen_request),
    FIELD(gen_request, max_tokens, FIELD_I64, -1, INT32_MAX),
    FIELD(gen_request, n, FIELD_I64, 1, GEN_N_MAX),
    FIELD(gen_request, logprobs, FIELD_BOOL, 0, 0),
    FIELD(gen_request, top_logprobs, FIELD_I64, 0, GEN_TOP_LOGPROBS_MAX),
    FIELD(gen_request, echo, FIELD_BOOL, 0, 0),
    FIELD(gen_request, ignore_eos, FIELD_BOOL, 0, 0),
    FIELD(gen_request, tool_choice, FIELD_I64, 0, GEN_TOOLS_N_CHOICES - 1),
    FIELD(gen_request, one_tool_call, FIELD_BOOL, 0, 0),
    FIELD(gen_request, parse, FIELD_BOOL, 0, 0),
    FIELD(gen_request, think, FIELD_I64, 0, GEN_THINK_N - 1),
    FIELD(gen_request, think_max, FIELD_I64, -1, INT32_MAX),
    FIELD(gen_request, n_ctx_min, FIELD_I64, 0, INT32_MAX),
    FIELD(gen_request, priority, FIELD_I64, 0, GEN_N_PRIORITIES - 1),
    FIELD(gen_request, tenant, FIELD_I64, 0, GEN_TENANT_MAX),
    FIELD(gen_request, salt, FIELD_BITS, 0, 0),
    FIELD(gen_request, dimensions, FIELD_I64, 0, INT32_MAX),
    FIELD(gen_request, truncate, FIELD_BOOL, 0, 0),
    FIELD(gen_request, raw, FIELD_BOOL, 0, 0),
    FIELD_SKIP("inputs"),
    FIELD_SKIP("kind"),
    FIELD_SKIP("chat"),
    FIELD_SKIP("text"),
    FIELD_SKIP("tokens"),
    FIELD_SKIP("suffix"),
    FIELD_SKIP("prediction"),
    FIELD_SKIP("constraint"),
    FIELD_SKIP("tool_name"),
    FIELD_SKIP("stop"),
    FIELD_SKIP("sampling"),
    FIELD_SKIP("resume"),
};

static const struct field resume_fields[] = {
    FIELD(gen_resume, n_ctx, FIELD_I64, 1, INT32_MAX),
    FIELD(gen_resume, n_prompt, FIELD_I64, 1, INT32_MAX),
    FIELD(gen_resume, prompt_hash, FIELD_BITS, 0, 0),
    FIELD_SKIP("prior"),
};

static const struct field prior_fields[] = {
    FIELD_COUNT(gen_prior, text_len),           FIELD_COUNT(gen_prior, n_calls),
    FIELD(gen_prior, ended, FIELD_BOOL, 0, 0),  FIELD_COUNT(gen_prior, n_completion),
    FIELD_COUNT(gen_prior, n_foretold),         FIELD(gen_prior, has_mu, FIELD_BOOL, 0, 0),
    FIELD(gen_prior, mu, FIELD_F64, -1e9, 1e9), FIELD_SKIP("tokens"),
    FIELD_COUNT(gen_prior, n_reasoning),
};

bool message_is(const json_t *frame, const char *type)
{
    return str_eq_z(json_str(json_object_get(frame, "t")), type);
}

int message_id(const json_t *frame, uint64_t *ret, struct err *err)
{
    int64_t id = -1;
    int rc = json_get_i64(frame, "id", 0, INT64_MAX, &id, err);
    if (rc != 0)
        return rc;
    if (id < 0)
        return err_set_param(err, ERR_INVALID, "id", "id is missing");
    *ret = (uint64_t)id;
    return 0;
}

const char *gen_priority_word(int64_t priority)
{
    return priority < 0 || priority >= GEN_N_PRIORITIES ? NULL : priority_names[priority];
}

bool gen_priority_of_word(struct str word, int64_t *ret)
{
    for (int64_t i = 0; i < GEN_N_PRIORITIES; i++) {
        if (str_eq_nocase(word, str_z(priority_names[i]))) {
            *ret = i;
            return true;
        }
    }
    return false;
}

void gen_request_init(struct gen_request *r)
{
    *r = (struct gen_request){
        .max_tokens = -1,
        .think_max = -1,
        .n = 1,
    };
    gen_sampling_init(&r->sampling);
}

void gen_request_release(struct gen_request *r)
{
    json_decref(r->chat);
    free(r->text);
    free(r->tokens);
    free(r->suffix);
    json_decref(r->inputs);
    free(r->prediction);
    json_decref(r->constraint);
    free(r->tool_name);
    for (int i = 0; i < r->n_stop; i++)
        free(r->stop[i]);
    gen_sampling_release(&r->sampling);
    for (int64_t i = 0; r->resume.prior && i < r->n; i++)
        free(r->resume.prior[i].tokens);
    free(r->resume.prior);
    gen_request_init(r);
}

/* Takes value; false when it or obj is NULL or memory is short. */
static bool put(json_t *obj, const char *key, json_t *value)
{
    return json_object_set_new(obj, key, value) == 0;
}

static json_t *ids_to_json(const int32_t *id, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < n; i++) {
        if (json_array_append_new(array, json_integer(id[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *resume_to_json(const struct gen_resume *s, int64_t n)
{
    json_t *obj = fields_write(resume_fields, ARRAY_LEN(resume_fields), s);
    json_t *array = json_array();
    for (int64_t i = 0; i < n; i++) {
        const struct gen_prior *p = &s->prior[i];
        json_t *one = fields_write(prior_fields, ARRAY_LEN(prior_fields), p);
        if (put(one, "tokens", ids_to_json(p->tokens, p->n_tokens)))
            json_array_append_new(array, one);
        else
            json_decref(one);
    }
    if (json_array_size(array) != (size_t)n || !put(obj, "prior", json_incref(array))) {
        json_decref(obj);
        obj = NULL;
    }
    json_decref(array);
    return obj;
}

static bool put_prompt(json_t *obj, const struct gen_request *r)
{
    if (r->kind == GEN_CHAT)
        return put(obj, "chat", json_incref(r->chat));
    if (r->kind == GEN_TOKENS)
        return put(obj, "tokens", ids_to_json(r->tokens, r->n_tokens));
    if (r->kind != GEN_TEXT && !put(obj, "inputs", json_incref(r->inputs)))
        return false;
    return r->kind == GEN_EMBED ||
           put(obj, "text", json_stringn(r->text ? r->text : "", r->text_len));
}

json_t *gen_request_to_json(const struct gen_request *r)
{
    json_t *obj = fields_write(request_fields, ARRAY_LEN(request_fields), r);
    json_t *stop = json_array();
    for (int i = 0; i < r->n_stop; i++)
        json_array_append_new(stop, json_string(r->stop[i]));
    bool ok = put(obj, "stop", stop) && json_array_size(stop) == (size_t)r->n_stop;
    ok = ok && put(obj, "t", json_string("generate"));
    ok = ok && put(obj, "kind", json_string(kind_names[r->kind]));
    ok = ok && put(obj, "sampling", gen_sampling_to_json(&r->sampling));
    ok = ok && put_prompt(obj, r);
    if (r->kind == GEN_TEXT && r->suffix)
        ok = ok && put(obj, "suffix", json_stringn(r->suffix, r->suffix_len));
    if (r->prediction)
        ok = ok && put(obj, "prediction", json_stringn(r->prediction, r->prediction_len));
    if (r->constraint)
        ok = ok && put(obj, "constraint", json_incref(r->constraint));
    if (r->tool_name)
        ok = ok && put(obj, "tool_name", json_string(r->tool_name));
    if (r->resume.prior)
        ok = ok && put(obj, "resume", resume_to_json(&r->resume, r->n));
    if (!ok) {
        json_decref(obj);
        return NULL;
    }
    return obj;
}

int message_tokens(const json_t *array, int32_t **ret, size_t *ret_n, struct err *err)
{
    if (!json_is_array(array))
        return err_set_param(err, ERR_INVALID, "tokens", "tokens must be an array of token ids");
    size_t n = json_array_size(array);
    int32_t *id = mem_try_array(n ? n : 1, sizeof(*id));
    if (!id)
        return err_set(err, ERR_NOMEM, "no memory for %zu tokens", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(array, i);
        json_int_t value = json_is_integer(v) ? json_integer_value(v) : -1;
        if (value < 0 || value > INT32_MAX) {
            free(id);
            return err_set_param(err, ERR_INVALID, "tokens", "tokens[%zu] is not a token id", i);
        }
        id[i] = (int32_t)value;
    }
    *ret = id;
    *ret_n = n;
    return 0;
}

static int read_inputs(json_t *inputs, bool only_text, struct gen_request *r, struct err *err)
{
    size_t n = json_array_size(inputs);
    if (!json_is_array(inputs) || n > GEN_INPUTS_MAX)
        return err_set_param(err, ERR_INVALID, "inputs", "inputs must be an array of up to %d",
                             GEN_INPUTS_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(inputs, i);
        if (!json_is_string(one) && (only_text || !json_is_array(one)))
            return err_set_param(err, ERR_INVALID, "inputs", "inputs[%zu] is of the wrong type", i);
    }
    if (r->n != 1)
        return err_set_param(err, ERR_INVALID, "n", "there is one answer for all inputs");
    r->kind = GEN_EMBED;
    r->inputs = json_incref(inputs);
    return 0;
}

static int read_prompt(const json_t *frame, struct gen_request *r, struct err *err)
{
    struct str kind = {0}, text = {0};
    if (json_get_str(frame, "kind", &kind, err) != 0)
        return ERR_INVALID;
    if (str_eq_z(kind, "chat")) {
        json_t *chat = json_object_get(frame, "chat");
        if (!json_is_object(chat))
            return err_set_param(err, ERR_INVALID, "chat", "chat must be an object");
        r->kind = GEN_CHAT;
        r->chat = json_incref(chat);
        return 0;
    }
    if (str_eq_z(kind, "tokens")) {
        r->kind = GEN_TOKENS;
        return message_tokens(json_object_get(frame, "tokens"), &r->tokens, &r->n_tokens, err);
    }
    bool embed = str_eq_z(kind, "embed"), rerank = str_eq_z(kind, "rerank");
    if (!str_eq_z(kind, "text") && !embed && !rerank)
        return err_set_param(err, ERR_INVALID, "kind",
                             "kind must be chat, text, tokens, embed or rerank");
    if (embed || rerank) {
        int code = read_inputs(json_object_get(frame, "inputs"), rerank, r, err);
        if (code != 0 || embed)
            return code;
    }
    struct str suffix = {0};
    int rc = json_get_str(frame, "text", &text, err);
    rc = rc != 0 ? rc : json_get_str(frame, "suffix", &suffix, err);
    if (rc != 0)
        return rc;
    r->kind = rerank ? GEN_RERANK : GEN_TEXT;
    r->text = str_dup(text);
    r->text_len = text.len;
    r->suffix = suffix.ptr ? str_dup(suffix) : NULL;
    r->suffix_len = suffix.len;
    return r->text && (!suffix.ptr || r->suffix)
               ? 0
               : err_set(err, ERR_NOMEM, "no memory for the prompt");
}

static int read_stops(const json_t *frame, struct gen_request *r, struct err *err)
{
    const json_t *stop = json_object_get(frame, "stop");
    if (!stop || json_is_null(stop))
        return 0;
    if (!json_is_array(stop) || json_array_size(stop) > GEN_STOPS_MAX)
        return err_set_param(err, ERR_INVALID, "stop", "stop takes at most %d strings",
                             GEN_STOPS_MAX);
    for (size_t i = 0; i < json_array_size(stop); i++) {
        struct str s = json_str(json_array_get(stop, i));
        if (s.len == 0 || s.len > GEN_STOP_BYTES_MAX || memchr(s.ptr, 0, s.len))
            return err_set_param(err, ERR_INVALID, "stop",
                                 "stop[%zu] must be a string of 1 to %d bytes without NUL", i,
                                 GEN_STOP_BYTES_MAX);
        r->stop[r->n_stop] = str_dup(s);
        if (!r->stop[r->n_stop])
            return err_set(err, ERR_NOMEM, "no memory for stop strings");
        r->n_stop++;
    }
    return 0;
}

static int read_prediction(const json_t *frame, struct gen_request *r, struct err *err)
{
    struct str text = {0};
    int rc = json_get_str(frame, "prediction", &text, err);
    if (rc != 0 || !text.ptr)
        return rc;
    r->prediction = str_dup(text);
    r->prediction_len = text.len;
    return r->prediction ? 0 : err_set(err, ERR_NOMEM, "no memory for the prediction");
}

static int read_form(const json_t *frame, struct gen_request *r, struct err *err)
{
    struct str name = {0};
    json_t *constraint = json_object_get(frame, "constraint");
    int rc = json_get_str(frame, "tool_name", &name, err);
    if (rc == 0 && constraint && !json_is_object(constraint))
        rc = err_set_param(err, ERR_INVALID, "constraint", "constraint must be an object");
    if (rc != 0)
        return rc;
    r->constraint = json_incref(constraint);
    r->tool_name = name.ptr ? str_dup(name) : NULL;
    return name.ptr && !r->tool_name ? err_set(err, ERR_NOMEM, "no memory for a name") : 0;
}

/* All of them or an error; what was read is released with the request. */
static int read_priors(const json_t *resume, struct gen_request *r, struct err *err)
{
    const json_t *array = json_object_get(resume, "prior");
    if (!json_is_array(array) || json_array_size(array) != (size_t)r->n)
        return err_set_param(err, ERR_INVALID, "prior", "prior must have one entry per choice");
    r->resume.prior = mem_try_array((size_t)r->n, sizeof(*r->resume.prior));
    if (!r->resume.prior)
        return err_set(err, ERR_NOMEM, "no memory for what a request had");
    for (size_t i = 0; i < (size_t)r->n; i++) {
        struct gen_prior *p = &r->resume.prior[i];
        const json_t *one = json_array_get(array, i);
        int rc = fields_read(prior_fields, ARRAY_LEN(prior_fields), one, p, err);
        if (rc == 0)
            rc = message_tokens(json_object_get(one, "tokens"), &p->tokens, &p->n_tokens, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int read_resume(const json_t *frame, struct gen_request *r, struct err *err)
{
    const json_t *resume = json_object_get(frame, "resume");
    if (!resume)
        return 0;
    int rc = fields_read(resume_fields, ARRAY_LEN(resume_fields), resume, &r->resume, err);
    if (rc == 0 && (r->resume.n_ctx == 0 || r->resume.n_prompt == 0))
        rc = err_set_param(err, ERR_INVALID, "resume", "resume must say n_ctx and n_prompt");
    return rc != 0 ? rc : read_priors(resume, r, err);
}

static int read_request(const json_t *frame, struct gen_request *r, struct err *err)
{
    int rc = message_id(frame, &r->id, err);
    if (rc == 0)
        rc = fields_read(request_fields, ARRAY_LEN(request_fields), frame, r, err);
    if (rc == 0)
        rc = read_resume(frame, r, err);
    if (rc == 0)
        rc = read_prompt(frame, r, err);
    if (rc == 0)
        rc = read_stops(frame, r, err);
    if (rc == 0)
        rc = read_prediction(frame, r, err);
    if (rc == 0)
        rc = read_form(frame, r, err);
    const json_t *sampling = json_object_get(frame, "sampling");
    if (rc != 0 || !sampling)
        return rc;
    return gen_sampling_from_json(sampling, &r->sampling, err);
}

int gen_request_from_json(const json_t *frame, struct gen_request *ret, struct err *err)
{
    struct gen_request r;
    gen_request_init(&r);
    int rc = read_request(frame, &r, err);
    if (rc != 0) {
        gen_request_release(&r);
        return rc;
    }
    *ret = r;
    return 0;
}
