/*
 * ollama_options: `options` and the other fields that /api/generate and /api/chat share.
 *
 * A loaded model is never loaded anew for a request: what Ollama takes as settings of its runner
 * are hints here (threads, batch size, layers on a GPU) and have no effect, but for num_ctx, which
 * is refused where the model has less (gen_request's n_ctx_min, checked by the worker).
 */
#include "api/keep_alive.h"
#include "api/ollama_request.h"
#include "api/sampling.h"
#include "base/mem.h"

#include <stddef.h>

/* Ollama's defaults, of api/types.go DefaultOptions. */
#define DEFAULT_TEMPERATURE 0.8
#define DEFAULT_TOP_K       40
#define DEFAULT_TOP_P       0.9

/* -1 and other negative seeds: any. */
static int take_seed(const char *name, const json_t *v, void *into, struct err *err)
{
    struct ollama_reading *g = into;
    int code = api_take_seed(name, v, into, err);
    if (code == 0 && json_integer_value(v) < 0)
        g->r.seed_given = false;
    return code;
}

/* -1: until it ends, -2: until the context is full; both are the same here. */
static int take_num_predict(const char *name, const json_t *v, void *into, struct err *err)
{
    static const struct api_field field[] = {{"num_predict", API_INT, API_HONOURED, -2,
                                              API_TOKEN_MAX,
                                              .offset = offsetof(struct api_request, max_tokens)}};
    struct ollama_reading *g = into;
    json_t *one = json_pack("{s:O}", "num_predict", v);
    int code = one == NULL ? err_set(err, ERR_NOMEM, "out of memory")
                           : api_fields_read(field, 1, one, "options.", &g->r, err);
    json_decref(one);
    (void)name;
    g->r.gen.max_tokens = g->r.max_tokens < 0 ? -1 : g->r.max_tokens;
    return code;
}

#define SAMPLING(name, kind, min, max, member)                                                     \
    {                                                                                              \
        name, kind, API_HONOURED, min, max, OLLAMA_AT(r.gen.sampling.member)                       \
    }
#define HINT(name, kind, min, max)                                                                 \
    {                                                                                              \
        name, kind, API_NO_EFFECT, min, max                                                        \
    }

/* clang-format off: rows of a table */
static const struct api_field option_fields[] = {
    SAMPLING("temperature", API_NUM, 0, 100, temperature),
    SAMPLING("top_p", API_NUM, 0, 1, top_p),
    SAMPLING("top_k", API_INT, -1, API_TOKEN_MAX, top_k),
    SAMPLING("min_p", API_NUM, 0, 1, min_p),
    {"typical_p", API_NUM, API_HONOURED, 0, 1, .above_min = true,
     OLLAMA_AT(r.gen.sampling.typical_p)},
    {"repeat_penalty", API_NUM, API_HONOURED, 0, 10, .above_min = true,
     OLLAMA_AT(r.gen.sampling.repeat_penalty)},
    SAMPLING("repeat_last_n", API_INT, -1, API_TOKEN_MAX, repeat_last_n),
    SAMPLING("presence_penalty", API_NUM, -2, 2, presence_penalty),
    SAMPLING("frequency_penalty", API_NUM, -2, 2, frequency_penalty),
    {"seed", API_ANY, API_HONOURED, .take = take_seed},
    {"stop", API_ANY, API_HONOURED, .take = api_take_stop},
    {"num_predict", API_ANY, API_HONOURED, .take = take_num_predict},
    {"num_ctx", API_INT, API_HONOURED, 0, API_TOKEN_MAX, OLLAMA_AT(r.gen.n_ctx_min)},
    HINT("num_keep", API_INT, -1, API_TOKEN_MAX),
    HINT("num_batch", API_INT, 0, API_TOKEN_MAX),
    HINT("num_gpu", API_INT, -1, API_TOKEN_MAX),
    HINT("main_gpu", API_INT, 0, API_TOKEN_MAX),
    HINT("num_thread", API_INT, 0, API_TOKEN_MAX),
    HINT("draft_num_predict", API_INT, 0, API_TOKEN_MAX),
    HINT("use_mmap", API_BOOL, 0, 0),
    HINT("numa", API_BOOL, 0, 0),
    /* Ollama takes these and forgets them */
    HINT("penalize_newline", API_BOOL, 0, 0),
    HINT("low_vram", API_BOOL, 0, 0),
    HINT("f16_kv", API_BOOL, 0, 0),
    HINT("logits_all", API_BOOL, 0, 0),
    HINT("vocab_only", API_BOOL, 0, 0),
    HINT("use_mlock", API_BOOL, 0, 0),
    HINT("embedding_only", API_BOOL, 0, 0),
    HINT("mirostat", API_INT, 0, 2),
    HINT("mirostat_tau", API_NUM, 0, 1000),
    HINT("mirostat_eta", API_NUM, 0, 1000),
    HINT("tfs_z", API_NUM, 0, 1000),
    HINT("rope_frequency_base", API_NUM, 0, 1e12),
    HINT("rope_frequency_scale", API_NUM, 0, 1e12),
    HINT("num_gqa", API_INT, 0, API_TOKEN_MAX),
};
/* clang-format on */

int ollama_take_options(const char *name, const json_t *v, void *into, struct err *err)
{
    if (!json_is_object(v))
        return api_wrong_type(name, "an object", v, err);
    return api_fields_read(option_fields, ARRAY_LEN(option_fields), v, "options.", into, err);
}

int ollama_take_format(const char *name, const json_t *v, void *into, struct err *err)
{
    struct gen_request *g = &((struct ollama_reading *)into)->r.gen;
    if (json_is_string(v) && json_str(v).len == 0)
        return 0;
    if (str_eq_z(json_str(v), "json"))
        g->constraint = json_pack("{s:s}", "type", "json");
    else if (json_is_object(v))
        g->constraint = json_pack("{s:s, s:O}", "type", "schema", "schema", v);
    else
        return err_set_param(err, ERR_INVALID, name,
                             "'%s' must be \"json\" or a JSON schema (an object)", name);
    return g->constraint == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;
}

/* true, false, or how much: the level is a variable of the template. */
int ollama_take_think(const char *name, const json_t *v, void *into, struct err *err)
{
    static const char *const levels[] = {"low", "medium", "high", "max"};
    struct ollama_reading *g = into;
    struct str word = json_str(v);
    bool known = json_is_boolean(v);
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        known = known || str_eq_z(word, levels[i]);
    if (!known)
        return err_set_param(err, ERR_INVALID, name,
                             "'%s' must be true, false, \"low\", \"medium\", \"high\" or \"max\"",
                             name);
    g->r.gen.think = json_is_false(v) ? GEN_THINK_OFF : GEN_THINK_ON;
    if (!json_is_string(v))
        return 0;
    g->level = str_eq_z(word, "max") ? "high" : json_string_value(v);
    return 0;
}

int ollama_take_template(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)into;
    if (!json_is_string(v))
        return api_wrong_type(name, "a string", v, err);
    if (json_str(v).len == 0)
        return 0;
    return err_set_param(err, ERR_UNSUPPORTED, name,
                         "'%s' is not taken with a request: templates belong to a model; make one "
                         "with it (/api/create, in Jinja, not in Go's template language), or send "
                         "the whole prompt with \"raw\": true",
                         name);
}

int ollama_no_images(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return json_is_array(v) && json_array_size(v) == 0 ? 0 : ERR_UNSUPPORTED;
}

int ollama_reading_init(struct ollama_reading *g, const struct api_endpoint *endpoint,
                        const json_t *defaults, struct err *err)
{
    *g = (struct ollama_reading){0};
    api_request_init(&g->r, endpoint);
    g->r.stream = true;
    g->r.gen.parse = true;
    g->r.gen.truncate = true;
    g->r.gen.sampling.temperature = DEFAULT_TEMPERATURE;
    g->r.gen.sampling.top_k = DEFAULT_TOP_K;
    g->r.gen.sampling.top_p = DEFAULT_TOP_P;
    if (defaults == NULL)
        return 0;
    int code = api_sampling_defaults(defaults, &g->r, err);
    json_t *num_predict = json_object_get(defaults, "num_predict");
    if (code == 0 && json_is_integer(num_predict))
        code = take_num_predict("num_predict", num_predict, g, err);
    if (code == 0 && g->r.seed_given && (int64_t)g->r.gen.sampling.seed < 0)
        g->r.seed_given = false;
    return code;
}

int ollama_reading_end(struct ollama_reading *g, int code, struct api_request *ret)
{
    json_decref(g->history);
    json_decref(g->tools);
    if (code == 0)
        *ret = g->r;
    else
        api_request_release(&g->r);
    return code;
}

int ollama_reading_check(struct ollama_reading *g, struct err *err)
{
    struct api_request *r = &g->r;
    if (r->n_logprobs > 0 && !r->gen.logprobs)
        return err_set_param(err, ERR_INVALID, "top_logprobs",
                             "'top_logprobs' needs 'logprobs': true");
    r->gen.top_logprobs = r->n_logprobs > 0 ? r->n_logprobs : 0;
    if (g->level == NULL || r->gen.chat == NULL ||
        json_object_set_new(r->gen.chat, "reasoning_effort", json_string(g->level)) == 0)
        return 0;
    return err_set(err, ERR_NOMEM, "out of memory");
}
