/*
 * ollama_options: `options` and the other fields that /api/generate and /api/chat share.
 *
 * A loaded model is never loaded anew for a request: what Ollama takes as settings of its runner
 * are hints here (threads, batch size, layers on a GPU) and have no effect, but for num_ctx, which
 * is refused where the model has less (gen_request's n_ctx_min, checked by the worker).
 */
#include "api/keep_alive.h"
#include "api/ollama_request.h"
#include "api/response_format.h"
#include "api/sampling.h"
#include "base/mem.h"

#include <stddef.h>

/* Ollama's defaults, of api/types.go DefaultOptions. */
#define DEFAULT_TEMPERATURE 0.8
#define DEFAULT_TOP_K       40
#define DEFAULT_TOP_P       0.9

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

#define RUNNER                                                                                     \
    "how the model is loaded is the server's business: a model is never loaded anew for it"
#define OLD "Ollama takes it and forgets it, too"
#define HINT(name, kind, min, max, why)                                                            \
    {                                                                                              \
        name, kind, API_NO_EFFECT, min, max, .note = why                                           \
    }

/* clang-format off: rows of a table */
const struct api_field ollama_option_fields[] = {
    {"temperature", API_NUM, API_HONOURED, 0, 100, API_SAMPLING_AT(temperature)},
    {"top_p", API_NUM, API_HONOURED, 0, 1, API_SAMPLING_AT(top_p)},
    API_SAMPLING_FIELDS,
    {"stop", API_ANY, API_HONOURED, .take = api_take_stop},
    {"num_predict", API_ANY, API_HONOURED, .take = take_num_predict},
    {"num_ctx", API_INT, API_HONOURED, 0, API_TOKEN_MAX, OLLAMA_AT(r.gen.n_ctx_min)},
    HINT("num_keep", API_INT, -1, API_TOKEN_MAX,
         "nothing is cut out of a prompt: an answer ends where the context is full"),
    HINT("num_batch", API_INT, 0, API_TOKEN_MAX, RUNNER),
    HINT("num_gpu", API_INT, -1, API_TOKEN_MAX, RUNNER),
    HINT("main_gpu", API_INT, 0, API_TOKEN_MAX, RUNNER),
    HINT("num_thread", API_INT, 0, API_TOKEN_MAX, RUNNER),
    HINT("draft_num_predict", API_INT, 0, API_TOKEN_MAX, RUNNER),
    HINT("use_mmap", API_BOOL, 0, 0, RUNNER),
    HINT("numa", API_BOOL, 0, 0, RUNNER),
    /* Ollama takes these and forgets them */
    HINT("penalize_newline", API_BOOL, 0, 0, OLD),
    HINT("low_vram", API_BOOL, 0, 0, OLD),
    HINT("f16_kv", API_BOOL, 0, 0, OLD),
    HINT("logits_all", API_BOOL, 0, 0, OLD),
    HINT("vocab_only", API_BOOL, 0, 0, OLD),
    HINT("use_mlock", API_BOOL, 0, 0, OLD),
    HINT("embedding_only", API_BOOL, 0, 0, OLD),
    HINT("tfs_z", API_NUM, 0, 1000, OLD),
    HINT("rope_frequency_base", API_NUM, 0, 1e12, OLD),
    HINT("rope_frequency_scale", API_NUM, 0, 1e12, OLD),
    HINT("num_gqa", API_INT, 0, API_TOKEN_MAX, OLD),
};
/* clang-format on */

_Static_assert(ARRAY_LEN(ollama_option_fields) == OLLAMA_N_OPTIONS, "the header says how many");

int ollama_take_options(const char *name, const json_t *v, void *into, struct err *err)
{
    if (!json_is_object(v))
        return api_wrong_type(name, "an object", v, err);
    return api_fields_read(ollama_option_fields, ARRAY_LEN(ollama_option_fields), v, "options.",
                           into, err);
}

int ollama_take_format(const char *name, const json_t *v, void *into, struct err *err)
{
    struct ollama_reading *g = into;
    if (json_is_string(v) && json_str(v).len == 0)
        return 0;
    if (str_eq_z(json_str(v), "json"))
        return api_form_json(&g->r, name, err);
    if (!json_is_string(v))
        return api_form_schema(&g->r, name, v, false, err);
    return err_set_param(err, ERR_INVALID, name,
                         "'%s' must be \"json\" or a JSON schema (an object)", name);
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
    return code;
}

int ollama_reading_end(struct ollama_reading *g, int code, struct api_request *ret)
{
    json_decref(g->history);
    if (code == 0)
        *ret = g->r;
    else
        api_request_release(&g->r);
    return code;
}

int ollama_reading_finish(struct ollama_reading *g, struct err *err)
{
    struct api_request *r = &g->r;
    if ((int64_t)r->gen.sampling.seed < 0)
        r->seed_given = false; /* -1 and other negative seeds: any */
    api_sampling_penalties_as_llama(r);
    if (r->n_logprobs > 0 && !r->gen.logprobs)
        return err_set_param(err, ERR_INVALID, "top_logprobs",
                             "'top_logprobs' needs 'logprobs': true");
    r->gen.top_logprobs = r->n_logprobs > 0 ? r->n_logprobs : 0;
    return api_request_finish(r, err);
}
