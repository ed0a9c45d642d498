/*
 * rerank: documents by how well they answer a query; see embeddings.h. The score of a pair is the
 * model's (a logit), and `relevance_score` its sigmoid, between 0 and 1, unless `raw_scores` asks
 * for the logit itself. The order is the same.
 */
#include "api/embeddings.h"
#include "api/fields.h"
#include "api/sampling.h"
#include "base/base64.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#define DOCUMENTS_MAX 2048

/* ---- requests ---- */

static int take_query(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    if (!json_is_string(value))
        return api_wrong_type(name, "a string", value, err);
    if (json_string_length(value) == 0)
        return err_set_param(err, ERR_INVALID, name, "'%s' is empty", name);
    r->gen.text = str_dup(json_str(value));
    r->gen.text_len = json_string_length(value);
    return r->gen.text == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;
}

/* string, or {"text": string} */
static int take_documents(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    const char *shape = "an array of strings or of objects with a string 'text'";
    if (!json_is_array(value))
        return api_wrong_type(name, shape, value, err);
    size_t n = json_array_size(value);
    if (n == 0 || n > DOCUMENTS_MAX)
        return err_set_param(err, ERR_INVALID, name, "'%s' must hold 1 to %d documents, not %zu",
                             name, DOCUMENTS_MAX, n);
    if (r->gen.inputs != NULL)
        return err_set_param(err, ERR_INVALID, name, "'%s' says again what the documents are",
                             name);
    r->gen.inputs = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_array_get(value, i);
        json_t *text = json_is_object(item) ? json_object_get(item, "text") : item;
        if (!json_is_string(text))
            return api_wrong_type(name, shape, item, err);
        if (json_array_append(r->gen.inputs, text) != 0)
            return err_set(err, ERR_NOMEM, "out of memory");
    }
    return 0;
}

static int take_top(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_integer(value))
        return api_wrong_type(name, "an integer", value, err);
    if (json_integer_value(value) < 1)
        return err_set_param(err, ERR_INVALID, name, "'%s' must be at least 1", name);
    return embed_note(into, "top_n", json_integer(json_integer_value(value)), err);
}

static int take_flag(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_boolean(value))
        return api_wrong_type(name, "a boolean", value, err);
    return embed_note(into, name, json_boolean(json_is_true(value)), err);
}

#define SHAPE_DOCUMENTS                                                                            \
    "{\"type\": \"array\", \"items\": {\"anyOf\": [{\"type\": \"string\"}, {\"type\": "            \
    "\"object\", "                                                                                 \
    "\"properties\": {\"text\": {\"type\": \"string\"}}, \"required\": [\"text\"]}]}}"

/* clang-format off: rows of a table */
static const struct api_field fields[] = {
    {"model", API_STR, API_HONOURED, .offset = offsetof(struct api_request, model)},
    {"query", API_ANY, API_HONOURED, .take = take_query, .shape = "{\"type\": \"string\"}"},
    {"documents", API_ANY, API_HONOURED, .take = take_documents, .shape = SHAPE_DOCUMENTS},
    {"texts", API_ANY, API_HONOURED, .take = take_documents, .shape = SHAPE_DOCUMENTS},
    {"top_n", API_ANY, API_HONOURED, .take = take_top,
     .shape = "{\"type\": \"integer\", \"minimum\": 1}"},
    {"return_documents", API_ANY, API_HONOURED, .take = take_flag,
     .shape = "{\"type\": \"boolean\"}"},
    {"raw_scores", API_ANY, API_HONOURED, .take = take_flag, .shape = "{\"type\": \"boolean\"}"},
    {"truncate", API_BOOL, API_HONOURED, .offset = offsetof(struct api_request, gen.truncate)},
    {"keep_alive", API_ANY, API_HONOURED, .take = api_take_keep_alive},
    {"user", API_STR, API_NO_EFFECT, .note = "a label; keys say who asks"},
};
/* clang-format on */

static int check(struct api_request *r, struct err *err)
{
    if (r->gen.text == NULL)
        return err_set_param(err, ERR_INVALID, "query", "'query' is missing");
    if (r->gen.inputs == NULL)
        return err_set_param(err, ERR_INVALID, "documents", "'documents' is missing");
    r->gen.kind = GEN_RERANK;
    r->n_prompt = 1;
    if (json_is_true(json_object_get(r->own, "return_documents")))
        return embed_note(r, "documents", json_incref(r->gen.inputs), err);
    return 0;
}

/* Documents that are too long are cut: what rerankers elsewhere do. */
static int parse(const json_t *body, const json_t *defaults, struct api_request *ret,
                 struct err *err)
{
    struct api_request r;
    (void)defaults;
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    api_request_init(&r, &rerank_documents);
    r.gen.truncate = true;
    int code = api_fields_read(fields, ARRAY_LEN(fields), body, "", &r, err);
    if (code == 0)
        code = check(&r, err);
    if (code == 0)
        *ret = r;
    else
        api_request_release(&r);
    return code;
}

/* ---- answers ---- */

struct ranked {
    float score;
    size_t index;
};

/* The best first; of equals, the first. */
static int compare(const void *va, const void *vb)
{
    const struct ranked *a = va, *b = vb;
    if (a->score != b->score)
        return a->score < b->score ? 1 : -1;
    return a->index < b->index ? -1 : 1;
}

static bool read_scores(struct embed_answer *a, struct ranked *ret)
{
    struct str rest = buf_str(&a->lines), line;
    for (size_t i = 0; i < a->n_input; i++) {
        ret[i].index = i;
        if (!embed_answer_next(&rest, &line) || !base64_read(line, &ret[i].score, sizeof(float)) ||
            !isfinite(ret[i].score))
            return false;
    }
    return rest.len == 0;
}

static void write_result(const struct embed_answer *a, const struct ranked *r, struct buf *out)
{
    double score = (double)r->score;
    if (!json_is_true(json_object_get(a->own, "raw_scores")))
        score = 1 / (1 + exp(-score));
    buf_printf(out, "{\"index\":%zu,\"relevance_score\":%.9g", r->index, score);
    const json_t *text = json_array_get(json_object_get(a->own, "documents"), r->index);
    if (text != NULL) {
        buf_add_z(out, ",\"document\":{\"text\":");
        json_write_string(json_str(text), out);
        buf_add_char(out, '}');
    }
    buf_add_char(out, '}');
}

static bool whole(struct api_answer *base, struct buf *out)
{
    struct embed_answer *a = embed_answer(base);
    struct ranked *ranked = mem_try_array(a->n_input, sizeof *ranked);
    bool ok = ranked != NULL && read_scores(a, ranked);
    size_t n = a->n_input;
    const json_t *top = json_object_get(a->own, "top_n");
    if (top != NULL && (size_t)json_integer_value(top) < n)
        n = (size_t)json_integer_value(top);
    if (ok)
        qsort(ranked, a->n_input, sizeof *ranked, compare);
    buf_printf(out, "{\"id\":\"%s\",\"object\":\"list\",\"model\":", base->id);
    json_write_string(str_z(base->model), out);
    buf_add_z(out, ",\"results\":[");
    for (size_t i = 0; i < n && ok; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        write_result(a, &ranked[i], out);
    }
    buf_printf(out, "],\"usage\":{\"prompt_tokens\":%" PRId64 ",\"total_tokens\":%" PRId64 "}}",
               base->n_prompt, base->n_prompt);
    free(ranked);
    return ok && !out->overflow;
}

const struct api_endpoint rerank_documents = {
    .path = "/v1/rerank",
    .dialect = API_OPENAI,
    .id_prefix = "rerank-",
    .fields = fields,
    .n_fields = ARRAY_LEN(fields),
    .parse = parse,
    .whole = whole,
    EMBED_ANSWERS,
};
