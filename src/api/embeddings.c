/*
 * embeddings: see the header. Owns what all five endpoints share, and the four that give vectors.
 */
#include "api/embeddings.h"

#include "api/fields.h"
#include "api/sampling.h"
#include "base/base64.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPENAI_INPUTS_MAX 2048 /* the API reference's */
#define ANSWER_BYTES_MAX  (256u << 20)
#define NUMBER_BYTES_MAX  24

/* ---- what requests share ---- */

int embed_note(struct api_request *r, const char *key, json_t *value, struct err *err)
{
    if (r->own == NULL)
        r->own = json_object();
    if (json_object_set_new(r->own, key, value) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    return 0;
}

/* string | [string], and with ids [int] | [[int]]: all become an array of inputs. */
static int take_inputs(const char *name, const json_t *value, bool ids, bool may_be_empty,
                       struct api_request *r, struct err *err)
{
    const char *shape = ids ? "a string, an array of strings, of token ids, or of arrays of them"
                            : "a string or an array of strings";
    const json_t *first = json_is_array(value) ? json_array_get(value, 0) : NULL;
    if (r->gen.inputs != NULL)
        return err_set_param(err, ERR_INVALID, name, "'%s' says again what is embedded", name);
    if (!json_is_string(value) && !json_is_array(value))
        return api_wrong_type(name, shape, value, err);
    if (json_is_array(value) && first == NULL && !may_be_empty)
        return err_set_param(err, ERR_INVALID, name, "'%s' is an empty array", name);
    bool whole = json_is_string(value) || (ids && json_is_integer(first));
    size_t n = whole ? 1 : json_array_size(value);
    if (n > OPENAI_INPUTS_MAX)
        return err_set_param(err, ERR_INVALID, name, "'%s' may hold at most %d inputs, not %zu",
                             name, OPENAI_INPUTS_MAX, n);
    r->gen.inputs = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *item = whole ? (json_t *)value : json_array_get(value, i);
        if (!json_is_string(item) && !(ids && json_is_array(item)))
            return api_wrong_type(name, shape, item, err);
        if (json_is_string(item) && json_string_length(item) == 0 && !may_be_empty)
            return err_set_param(err, ERR_INVALID, name, "'%s' may not hold an empty string", name);
        int code = json_is_array(item) ? api_check_token_ids(name, item, err) : 0;
        if (code != 0)
            return code;
        if (json_array_append(r->gen.inputs, item) != 0)
            return err_set(err, ERR_NOMEM, "out of memory");
    }
    return 0;
}

static int take_input(const char *name, const json_t *value, void *into, struct err *err)
{
    return take_inputs(name, value, true, false, into, err);
}

static int take_texts(const char *name, const json_t *value, void *into, struct err *err)
{
    return take_inputs(name, value, false, true, into, err);
}

static int take_text(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_string(value))
        return api_wrong_type(name, "a string", value, err);
    if (json_string_length(value) == 0) /* of nothing there is nothing, and the model is loaded */
        return 0;
    return take_inputs(name, value, false, true, into, err);
}

static int take_format(const char *name, const json_t *value, void *into, struct err *err)
{
    struct str word = json_str(value);
    if (!str_eq_z(word, "float") && !str_eq_z(word, "base64"))
        return err_set_param(err, ERR_INVALID, name, "'%s' must be 'float' or 'base64'", name);
    return embed_note(into, "base64", json_boolean(str_eq_z(word, "base64")), err);
}

/* -1: as they come; 2: to length 1. llama-server knows other norms. */
static int take_normalize(const char *name, const json_t *value, void *into, struct err *err)
{
    json_int_t norm = json_is_integer(value) ? json_integer_value(value) : 0;
    if (!json_is_integer(value))
        return api_wrong_type(name, "an integer", value, err);
    if (norm != -1 && norm != 2)
        return err_set_param(err, ERR_UNSUPPORTED, name,
                             "'%s' must be 2 (to length 1) or -1 (not normalized)", name);
    ((struct api_request *)into)->gen.raw = norm == -1;
    return 0;
}

/* Nothing of it changes a vector; what is no option at all is refused. */
static int take_options(const char *name, const json_t *value, void *into, struct err *err)
{
    static const char *const known[] = {"num_ctx",
                                        "num_batch",
                                        "num_gpu",
                                        "main_gpu",
                                        "low_vram",
                                        "use_mmap",
                                        "use_mlock",
                                        "num_thread",
                                        "num_keep",
                                        "seed",
                                        "num_predict",
                                        "top_k",
                                        "top_p",
                                        "min_p",
                                        "typical_p",
                                        "repeat_last_n",
                                        "temperature",
                                        "repeat_penalty",
                                        "numa",
                                        "presence_penalty",
                                        "mirostat",
                                        "frequency_penalty",
                                        "mirostat_tau",
                                        "mirostat_eta",
                                        "penalize_newline",
                                        "stop",
                                        "f16_kv",
                                        "vocab_only",
                                        "tfs_z"};
    const char *key;
    json_t *v;
    (void)into;
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    json_object_foreach((json_t *)value, key, v)
    {
        size_t i = 0;
        while (i < ARRAY_LEN(known) && strcmp(known[i], key) != 0)
            i++;
        if (i == ARRAY_LEN(known))
            return err_set_param(err, ERR_INVALID, name, "'%s' has no option '%.64s'", name, key);
    }
    return 0;
}

/* ---- the tables ---- */

#define AT(member) .offset = offsetof(struct api_request, member)

/* As JSON schemas. */
#define SHAPE_TEXTS                                                                                \
    "{\"type\": \"string\"}, {\"type\": \"array\", \"items\": {\"type\": \"string\"}}"
#define SHAPE_IDS   "{\"type\": \"array\", \"items\": {\"type\": \"integer\", \"minimum\": 0}}"
#define SHAPE_LISTS "{\"type\": \"array\", \"items\": " SHAPE_IDS "}"
#define SHAPE_INPUT "{\"anyOf\": [" SHAPE_TEXTS ", " SHAPE_IDS ", " SHAPE_LISTS "]}"

/* clang-format off: rows of a table */
static const struct api_field openai_fields[] = {
    {"model", API_STR, API_HONOURED, AT(model)},
    {"input", API_ANY, API_HONOURED, .take = take_input, .shape = SHAPE_INPUT},
    {"encoding_format", API_ANY, API_HONOURED, .take = take_format,
     .shape = "{\"enum\": [\"float\", \"base64\"]}"},
    {"dimensions", API_INT, API_HONOURED, 1, INT32_MAX, AT(gen.dimensions)},
    {"truncate", API_BOOL, API_HONOURED, AT(gen.truncate)},
    {"keep_alive", API_ANY, API_HONOURED, .take = api_take_keep_alive},
    {"user", API_STR, API_NO_EFFECT, .note = "a label; keys say who asks"},
};

static const struct api_field ollama_fields[] = {
    {"model", API_STR, API_HONOURED, AT(model)},
    {"input", API_ANY, API_HONOURED, .take = take_texts, .shape = "{\"anyOf\": [" SHAPE_TEXTS "]}"},
    {"truncate", API_BOOL, API_HONOURED, AT(gen.truncate)},
    {"dimensions", API_INT, API_HONOURED, 0, INT32_MAX, AT(gen.dimensions)},
    {"options", API_ANY, API_NO_EFFECT, .take = take_options,
     .note = "they are of drawing tokens and of loading; no vector depends on them",
     .shape = "{\"type\": \"object\"}"},
    {"keep_alive", API_ANY, API_HONOURED, .take = api_take_keep_alive},
};

static const struct api_field ollama_one_fields[] = {
    {"model", API_STR, API_HONOURED, AT(model)},
    {"prompt", API_ANY, API_HONOURED, .take = take_text, .shape = "{\"type\": \"string\"}"},
    {"options", API_ANY, API_NO_EFFECT, .take = take_options,
     .note = "they are of drawing tokens and of loading; no vector depends on them",
     .shape = "{\"type\": \"object\"}"},
    {"keep_alive", API_ANY, API_HONOURED, .take = api_take_keep_alive},
};

static const struct api_field llama_fields[] = {
    {"model", API_STR, API_HONOURED, AT(model)},
    {"content", API_ANY, API_HONOURED, .take = take_input, .shape = SHAPE_INPUT},
    {"input", API_ANY, API_HONOURED, .take = take_input, .shape = SHAPE_INPUT},
    {"embd_normalize", API_ANY, API_HONOURED, .take = take_normalize,
     .shape = "{\"enum\": [-1, 2]}"},
    {"truncate", API_BOOL, API_HONOURED, AT(gen.truncate)},
};
/* clang-format on */

static int parse(const struct api_endpoint *endpoint, const char *input, bool truncate,
                 const json_t *body, struct api_request *ret, struct err *err)
{
    struct api_request r;
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    api_request_init(&r, endpoint);
    r.gen.truncate = truncate;
    int code = api_fields_read(endpoint->fields, (size_t)endpoint->n_fields, body, "", &r, err);
    if (code == 0 && r.gen.inputs == NULL && endpoint->dialect == API_OLLAMA)
        r.gen.inputs = json_array();
    if (code == 0 && r.gen.inputs == NULL)
        code = err_set_param(err, ERR_INVALID, input, "'%s' is missing", input);
    r.gen.kind = GEN_EMBED;
    r.n_prompt = 1;
    if (code == 0)
        *ret = r;
    else
        api_request_release(&r);
    return code;
}

static int parse_openai(const json_t *body, const json_t *defaults, struct api_request *ret,
                        struct err *err)
{
    (void)defaults; /* of sampling */
    return parse(&openai_embeddings, "input", false, body, ret, err);
}

static int parse_ollama(const json_t *body, const json_t *defaults, struct api_request *ret,
                        struct err *err)
{
    (void)defaults;
    return parse(&ollama_embed, "input", true, body, ret, err);
}

/* The older call cuts, and gives vectors as they come. */
static int parse_ollama_one(const json_t *body, const json_t *defaults, struct api_request *ret,
                            struct err *err)
{
    (void)defaults;
    int code = parse(&ollama_embeddings, "prompt", true, body, ret, err);
    if (code == 0)
        ret->gen.raw = true;
    return code;
}

static int parse_llama(const json_t *body, const json_t *defaults, struct api_request *ret,
                       struct err *err)
{
    (void)defaults;
    return parse(&llama_embedding, "content", false, body, ret, err);
}

/* ---- answers: the worker's lines, gathered ---- */

struct api_answer *embed_answer_new(const struct api_request *r)
{
    struct embed_answer *a = mem_zero(1, sizeof *a);
    a->own = json_incref(r->own);
    a->n_input = json_array_size(r->gen.inputs);
    buf_init(&a->lines, ANSWER_BYTES_MAX);
    return &a->base;
}

void embed_answer_free(struct api_answer *base)
{
    struct embed_answer *a = embed_answer(base);
    json_decref(a->own);
    buf_release(&a->lines);
    free(a);
}

bool embed_answer_begin(struct api_answer *base, struct buf *out)
{
    (void)base, (void)out;
    return true;
}

bool embed_answer_delta(struct api_answer *base, int i_prompt, const struct gen_delta *d,
                        struct buf *out)
{
    (void)out;
    if (api_answer_choice(base, i_prompt, d->index) < 0)
        return false;
    return buf_add(&embed_answer(base)->lines, d->text, d->text_len);
}

bool embed_answer_end(struct api_answer *base, int i_prompt, const struct gen_end *e,
                      struct buf *out)
{
    (void)out;
    return api_answer_choice(base, i_prompt, e->index) >= 0;
}

bool embed_answer_finish(struct api_answer *base, struct buf *out)
{
    (void)base, (void)out;
    return true;
}

bool embed_answer_fail(struct api_answer *base, const struct err *err, struct buf *out)
{
    return api_error_write(base->endpoint->dialect, err, NULL, out);
}

bool embed_answer_next(struct str *rest, struct str *ret_line)
{
    ptrdiff_t end = str_chr(*rest, '\n');
    if (end < 4 || end % 4 != 0)
        return false;
    *ret_line = str_sub(*rest, 0, (size_t)end);
    *rest = str_from(*rest, (size_t)end + 1);
    return true;
}

/* ---- vectors as JSON ---- */

/* Nine digits give the same float back. */
static bool write_floats(struct str line, struct buf *out)
{
    size_t n = line.len / 4 * 3;
    n -= line.ptr[line.len - 1] == '=';
    n -= line.ptr[line.len - 2] == '=';
    float *v = mem_try_array(n / sizeof(float) + 1, sizeof *v);
    bool ok = v != NULL && n % sizeof(float) == 0 && base64_read(line, v, n);
    buf_add_char(out, '[');
    for (size_t i = 0; i < n / sizeof(float) && ok; i++) {
        char number[NUMBER_BYTES_MAX];
        int len = snprintf(number, sizeof number, "%s%.9g", i > 0 ? "," : "", (double)v[i]);
        ok = isfinite(v[i]) && buf_add(out, number, (size_t)len);
    }
    free(v);
    return ok && buf_add_char(out, ']');
}

/* What stands around each vector. */
enum around { AROUND_NOTHING, AROUND_OPENAI, AROUND_LLAMA };

static bool write_vectors(struct embed_answer *a, enum around around, struct buf *out)
{
    static const char *const after[] = {"", "}", "]}"};
    struct str rest = buf_str(&a->lines), line;
    bool text = json_is_true(json_object_get(a->own, "base64")), ok = true;
    for (size_t i = 0; i < a->n_input && ok; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        if (around == AROUND_OPENAI)
            buf_printf(out, "{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i);
        else if (around == AROUND_LLAMA)
            buf_printf(out, "{\"index\":%zu,\"embedding\":[", i);
        ok = embed_answer_next(&rest, &line);
        if (ok && text)
            ok = buf_add_char(out, '"') && buf_add_str(out, line) && buf_add_char(out, '"');
        else if (ok)
            ok = write_floats(line, out);
        buf_add_z(out, after[around]);
    }
    return ok && rest.len == 0 && !out->overflow;
}

static bool whole_openai(struct api_answer *base, struct buf *out)
{
    buf_add_z(out, "{\"object\":\"list\",\"data\":[");
    bool ok = write_vectors(embed_answer(base), AROUND_OPENAI, out);
    buf_add_z(out, "],\"model\":");
    json_write_string(str_z(base->model), out);
    buf_printf(out, ",\"usage\":{\"prompt_tokens\":%" PRId64 ",\"total_tokens\":%" PRId64 "}}",
               base->n_prompt, base->n_prompt);
    return ok && !out->overflow;
}

static int64_t nanoseconds(double ms)
{
    return (int64_t)(ms * 1e6);
}

static bool whole_ollama(struct api_answer *base, struct buf *out)
{
    buf_add_z(out, "{\"model\":");
    json_write_string(str_z(base->model), out);
    buf_add_z(out, ",\"embeddings\":[");
    bool ok = write_vectors(embed_answer(base), AROUND_NOTHING, out);
    buf_printf(out,
               "],\"total_duration\":%" PRId64 ",\"load_duration\":%" PRId64
               ",\"prompt_eval_count\":%" PRId64 "}",
               nanoseconds(base->load_ms + base->queue_ms + base->prefill_ms),
               nanoseconds(base->load_ms), base->n_prompt);
    return ok && !out->overflow;
}

static bool whole_ollama_one(struct api_answer *base, struct buf *out)
{
    buf_add_z(out, "{\"embedding\":");
    bool ok = embed_answer(base)->n_input == 0
                  ? buf_add_z(out, "[]")
                  : write_vectors(embed_answer(base), AROUND_NOTHING, out);
    buf_add_char(out, '}');
    return ok && !out->overflow;
}

/* llama-server: a list, and in it a list of vectors for each input, of which there is one. */
static bool whole_llama(struct api_answer *base, struct buf *out)
{
    buf_add_char(out, '[');
    bool ok = write_vectors(embed_answer(base), AROUND_LLAMA, out);
    buf_add_char(out, ']');
    return ok && !out->overflow;
}

/* ---- the endpoints ---- */

const struct api_endpoint openai_embeddings = {
    .path = "/v1/embeddings",
    .dialect = API_OPENAI,
    .id_prefix = "embd-",
    .fields = openai_fields,
    .n_fields = ARRAY_LEN(openai_fields),
    .parse = parse_openai,
    .whole = whole_openai,
    EMBED_ANSWERS,
};

const struct api_endpoint ollama_embed = {
    .path = "/api/embed",
    .dialect = API_OLLAMA,
    .id_prefix = "embd-",
    .fields = ollama_fields,
    .n_fields = ARRAY_LEN(ollama_fields),
    .parse = parse_ollama,
    .whole = whole_ollama,
    EMBED_ANSWERS,
};

const struct api_endpoint ollama_embeddings = {
    .path = "/api/embeddings",
    .dialect = API_OLLAMA,
    .id_prefix = "embd-",
    .fields = ollama_one_fields,
    .n_fields = ARRAY_LEN(ollama_one_fields),
    .parse = parse_ollama_one,
    .whole = whole_ollama_one,
    EMBED_ANSWERS,
};

const struct api_endpoint llama_embedding = {
    .path = "/embedding",
    .dialect = API_OPENAI,
    .id_prefix = "embd-",
    .fields = llama_fields,
    .n_fields = ARRAY_LEN(llama_fields),
    .parse = parse_llama,
    .whole = whole_llama,
    EMBED_ANSWERS,
};
