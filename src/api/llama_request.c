/*
 * llama_request: the tables of parameters of llama-server's native endpoints, and what they become.
 * Pure; knows no sockets and no workers. Defaults are llama-server's.
 */
#include "api/fields.h"
#include "api/llama_answer.h"
#include "api/response_format.h"
#include "api/sampling.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

/* ---- values that need more than a type and a range ---- */

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for the request");
}

static int take_ids(const char *name, const json_t *ids, struct err *err)
{
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX)
            return err_set_param(err, ERR_INVALID, name,
                                 "'%s': item %zu is not a token id; text and ids may not be mixed",
                                 name, i);
    }
    return 0;
}

/* string | [id] | {"prompt_string", "multimodal_data": []}, alone or the only one of a list. */
static int take_prompt(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    const json_t *one = value;
    if (json_array_size(value) == 1 && !json_is_integer(json_array_get(value, 0)))
        one = json_array_get(value, 0);
    if (json_array_size(json_object_get(one, "multimodal_data")) > 0)
        return err_set_param(err, ERR_UNSUPPORTED, name, "'%s' may hold text only", name);
    if (json_is_object(one))
        one = json_object_get(one, "prompt_string");
    if (json_is_array(one) && json_array_size(one) > 1 &&
        !json_is_integer(json_array_get(one, 0)) && one == value)
        return err_set_param(err, ERR_UNSUPPORTED, name,
                             "'%s' holds several prompts: send one a call, or use "
                             "/v1/completions",
                             name);
    if (!json_is_string(one) && json_array_size(one) == 0)
        return api_wrong_type(name, "a string or an array of token ids", value, err);
    int code = json_is_array(one) ? take_ids(name, one, err) : 0;
    if (code != 0)
        return code;
    json_decref(r->prompts);
    r->prompts = json_pack("[O]", one);
    r->n_prompt = 1;
    return r->prompts != NULL ? 0 : no_memory(err);
}

static int take_return_tokens(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    if (!json_is_boolean(value))
        return api_wrong_type(name, "a boolean", value, err);
    if (r->own == NULL)
        r->own = json_object();
    return json_object_set(r->own, name, (json_t *)value) == 0 ? 0 : no_memory(err);
}

/* ---- a gap to fill in ---- */

#define A_STRING         "{\"type\":\"string\"}"
#define INFILL_BYTES_MAX (64u << 20)

static int keep(struct api_request *r, const char *name, const json_t *value, struct err *err)
{
    if (r->own == NULL)
        r->own = json_object();
    return json_object_set(r->own, name, (json_t *)value) == 0 ? 0 : no_memory(err);
}

static int take_kept_text(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_string(value))
        return api_wrong_type(name, "a string", value, err);
    return keep(into, name, value, err);
}

struct extra {
    struct str filename, text;
};

static const struct api_field extra_fields[] = {
    {"filename", API_STR, API_HONOURED, .offset = offsetof(struct extra, filename)},
    {"text", API_STR, API_HONOURED, .offset = offsetof(struct extra, text)},
};

static int take_extra(const char *name, const json_t *value, void *into, struct err *err)
{
    int code = 0;
    if (!json_is_array(value))
        return api_wrong_type(name, "an array of {filename, text}", value, err);
    for (size_t i = 0; i < json_array_size(value) && code == 0; i++) {
        char where[40];
        struct extra e;
        const json_t *one = json_array_get(value, i);
        snprintf(where, sizeof where, "input_extra[%zu].", i);
        code = json_is_object(one)
                   ? api_fields_read(extra_fields, ARRAY_LEN(extra_fields), one, where, &e, err)
                   : api_wrong_type(name, "an array of {filename, text}", one, err);
    }
    return code != 0 ? code : keep(into, name, value, err);
}

/* Other files, what stands before the gap, what of the answer is there already. */
static void write_before_gap(const struct api_request *r, struct buf *out)
{
    const json_t *extra = json_object_get(r->own, "input_extra"), *prompt;
    for (size_t i = 0; i < json_array_size(extra); i++) {
        const json_t *one = json_array_get(extra, i);
        struct str name = json_str(json_object_get(one, "filename"));
        if (name.len > 0)
            buf_printf(out, "--- %.*s\n", STR_ARG(name));
        buf_add_str(out, json_str(json_object_get(one, "text")));
        buf_add_z(out, "\n\n");
    }
    prompt = json_array_get(r->prompts, 0);
    buf_add_str(out, json_str(json_object_get(r->own, "input_prefix")));
    buf_add_str(out, json_str(prompt));
}

static int finish_infill(struct api_request *r, struct err *err)
{
    struct buf text;
    struct str suffix = json_str(json_object_get(r->own, "input_suffix"));
    if (json_is_array(json_array_get(r->prompts, 0)))
        return err_set_param(err, ERR_UNSUPPORTED, "prompt",
                             "'prompt' must be a string here, not token ids");
    buf_init(&text, INFILL_BYTES_MAX);
    write_before_gap(r, &text);
    json_decref(r->prompts);
    r->prompts =
        text.overflow ? NULL : json_pack("[s%]", text.ptr != NULL ? text.ptr : "", text.len);
    r->n_prompt = 1;
    buf_release(&text);
    r->gen.suffix = str_dup(suffix);
    r->gen.suffix_len = suffix.len;
    return r->prompts != NULL && r->gen.suffix != NULL ? 0 : no_memory(err);
}

/* ---- what a refused parameter may say without asking for anything ---- */

static int only_false(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return json_is_false(v) ? 0 : ERR_UNSUPPORTED;
}

static int only_empty(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return json_is_array(v) && json_array_size(v) == 0 ? 0 : ERR_UNSUPPORTED;
}

static int not_above_zero(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return json_is_number(v) && json_number_value(v) <= 0 ? 0 : ERR_UNSUPPORTED;
}

static int only_one(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return json_is_number(v) && json_number_value(v) <= 1 ? 0 : ERR_UNSUPPORTED;
}

#define AT(member) .offset = offsetof(struct api_request, member)

/* clang-format off: rows of a table */
#define N_INFILL_FIELDS 3 /* the first rows, of /infill alone */
static const struct api_field all_fields[] = {
    {"input_prefix", API_ANY, API_HONOURED, .take = take_kept_text, .shape = A_STRING},
    {"input_suffix", API_ANY, API_HONOURED, .take = take_kept_text, .shape = A_STRING},
    {"input_extra", API_ANY, API_HONOURED, .take = take_extra, .sub = extra_fields,
     .n_sub = ARRAY_LEN(extra_fields)},
    {"model", API_STR, API_HONOURED, AT(model)},
    {"prompt", API_ANY, API_HONOURED, .take = take_prompt},
    {"stream", API_BOOL, API_HONOURED, AT(stream)},
    {"n_predict", API_INT, API_HONOURED, -2, API_TOKEN_MAX, AT(max_tokens)},
    {"max_tokens", API_INT, API_HONOURED, -1, API_TOKEN_MAX, AT(max_tokens)},
    {"stop", API_ANY, API_HONOURED, .take = api_take_stop},
    {"temperature", API_NUM, API_HONOURED, 0, 100, AT(gen.sampling.temperature)},
    {"top_p", API_NUM, API_HONOURED, 0, 1, AT(gen.sampling.top_p)},
    API_SAMPLING_FIELDS,
    {"typ_p", API_NUM, API_HONOURED, 0, 1, .above_min = true, AT(gen.sampling.typical_p)},
    {"n_probs", API_INT, API_HONOURED, 0, GEN_TOP_LOGPROBS_MAX, AT(n_logprobs)},
    {"logprobs", API_INT, API_HONOURED, 0, GEN_TOP_LOGPROBS_MAX, AT(n_logprobs)},
    {"grammar", API_ANY, API_HONOURED, .take = api_take_gbnf},
    {"json_schema", API_ANY, API_HONOURED, .take = api_take_schema},
    {"return_tokens", API_ANY, API_HONOURED, .take = take_return_tokens},
    {"keep_alive", API_ANY, API_HONOURED, .take = api_take_keep_alive},
    /* hints */
    {"cache_prompt", API_BOOL, API_NO_EFFECT, .note = "what is cached changes no answer"},
    {"id_slot", API_INT, API_NO_EFFECT, -1, 1e9, .note = "any place computes the same"},
    {"n_keep", API_INT, API_NO_EFFECT, -1, API_TOKEN_MAX, .note = "a context is not shifted"},
    {"n_discard", API_INT, API_NO_EFFECT, 0, API_TOKEN_MAX, .note = "a context is not shifted"},
    {"n_cache_reuse", API_INT, API_NO_EFFECT, 0, API_TOKEN_MAX,
     .note = "what is cached changes no answer"},
    {"timings_per_token", API_BOOL, API_NO_EFFECT, .note = "the last event has them"},
    {"sse_ping_interval", API_INT, API_NO_EFFECT, -1, API_TOKEN_MAX,
     .note = "comments come every 15 s"},
    {"verbose", API_BOOL, API_NO_EFFECT, .note = "answers tell all there is"},
    /* refused */
    {"n", API_ANY, API_REFUSED, .take = only_one, .note = "one choice a call; use /v1/completions"},
    {"n_cmpl", API_ANY, API_REFUSED, .take = only_one,
     .note = "one choice a call; use /v1/completions"},
    {"n_indent", API_ANY, API_REFUSED, .take = not_above_zero, .note = "leave it out"},
    {"t_max_predict_ms", API_ANY, API_REFUSED, .take = not_above_zero,
     .note = "close the connection when it takes too long"},
    {"return_progress", API_ANY, API_REFUSED, .take = only_false, .note = "leave it out"},
    {"response_fields", API_ANY, API_REFUSED, .take = only_empty, .note = "leave it out"},
    {"lora", API_ANY, API_REFUSED, .take = only_empty, .note = "there are no adapters"},
};
/* clang-format on */

/* ---- settings ---- */

bool llama_settings_write(const struct gen_request *g, bool stream, struct buf *out)
{
    const struct gen_sampling *s = &g->sampling;
    buf_printf(out,
               "{\"seed\":%" PRIu64 ",\"temperature\":%.9g,\"top_k\":%" PRId64
               ",\"top_p\":%.9g,\"min_p\":%.9g,\"typical_p\":%.9g,\"repeat_last_n\":%" PRId64
               ",\"repeat_penalty\":%.9g,\"presence_penalty\":%.9g,\"frequency_penalty\":%.9g,",
               s->seed, s->temperature, s->top_k, s->top_p, s->min_p, s->typical_p,
               s->repeat_last_n, s->repeat_penalty, s->presence_penalty, s->frequency_penalty);
    buf_printf(out,
               "\"max_tokens\":%" PRId64 ",\"n_predict\":%" PRId64 ",\"n_probs\":%" PRId64
               ",\"ignore_eos\":%s,\"stream\":%s,\"stop\":[",
               g->max_tokens, g->max_tokens, g->logprobs ? g->top_logprobs : 0,
               g->ignore_eos ? "true" : "false", stream ? "true" : "false");
    for (int i = 0; i < g->n_stop; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        json_write_string(str_z(g->stop[i]), out);
    }
    buf_add_z(out, "],\"grammar\":");
    json_write_string(json_str(json_object_get(g->constraint, "grammar")), out);
    buf_add_char(out, '}');
    return !out->overflow;
}

/* ---- parse ---- */

void llama_request_init(struct api_request *r, const struct api_endpoint *endpoint)
{
    api_request_init(r, endpoint);
    r->gen.sampling.temperature = 0.8;
    r->gen.sampling.top_k = 40;
    r->gen.sampling.top_p = 0.95;
    r->gen.sampling.min_p = 0.05;
}

static int read_body(const json_t *body, const json_t *defaults, struct api_request *r,
                     struct err *err)
{
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    int code = api_sampling_defaults(defaults, r, err);
    if (code == 0)
        code =
            api_fields_read(r->endpoint->fields, (size_t)r->endpoint->n_fields, body, "", r, err);
    int64_t seed = json_integer_value(json_object_get(body, "seed"));
    if (seed == -1 || seed == UINT32_MAX)
        r->seed_given = false; /* how its clients write "any" */
    api_sampling_penalties_as_llama(r);
    if (code == 0 && r->endpoint == &llama_infill)
        code = finish_infill(r, err);
    if (code == 0)
        code = api_request_finish(r, err);
    r->gen.max_tokens =
        r->max_tokens < 0 ? -1 : r->max_tokens; /* -2 is "until the context is full" */
    r->gen.logprobs = r->n_logprobs > 0;
    r->gen.top_logprobs = r->n_logprobs > 0 ? r->n_logprobs : 0;
    return code;
}

static int parse(const struct api_endpoint *endpoint, const json_t *body, const json_t *defaults,
                 struct api_request *ret, struct err *err)
{
    struct api_request r;
    llama_request_init(&r, endpoint);
    int code = read_body(body, defaults, &r, err);
    if (code == 0)
        *ret = r;
    else
        api_request_release(&r);
    return code;
}

static int parse_completion(const json_t *body, const json_t *defaults, struct api_request *ret,
                            struct err *err)
{
    return parse(&llama_completion, body, defaults, ret, err);
}

static int parse_infill(const json_t *body, const json_t *defaults, struct api_request *ret,
                        struct err *err)
{
    return parse(&llama_infill, body, defaults, ret, err);
}

#define LLAMA_ANSWERS                                                                              \
    .dialect = API_OPENAI, .id_prefix = "cmpl-", .stream_type = "text/event-stream",               \
    .ping = ": still working\n\n", .has_comments = true, .answer_new = llama_answer_new,           \
    .answer_free = llama_answer_free, .begin = llama_answer_begin, .delta = llama_answer_delta,    \
    .end = llama_answer_end, .finish = llama_answer_finish, .fail = llama_answer_fail,             \
    .whole = llama_answer_whole

const struct api_endpoint llama_completion = {
    .path = "/completion",
    .fields = all_fields + N_INFILL_FIELDS,
    .n_fields = ARRAY_LEN(all_fields) - N_INFILL_FIELDS,
    .parse = parse_completion,
    LLAMA_ANSWERS,
};

const struct api_endpoint llama_infill = {
    .path = "/infill",
    .fields = all_fields,
    .n_fields = ARRAY_LEN(all_fields),
    .parse = parse_infill,
    LLAMA_ANSWERS,
};
