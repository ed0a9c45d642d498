/*
 * sampling: see sampling.h. The names are those that local servers share.
 */
#include "api/sampling.h"

#include "api/keep_alive.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int api_take_stop(const char *name, const json_t *value, void *into, struct err *err)
{
    struct gen_request *g = &((struct api_request *)into)->gen;
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    while (g->n_stop > 0) /* of the model's own defaults */
        free(g->stop[--g->n_stop]);
    if (!json_is_array(value) && !json_is_string(value))
        return api_wrong_type(name, "a string or an array of strings", value, err);
    if (n > GEN_STOPS_MAX)
        return err_set_param(err, ERR_INVALID, name, "'%s' may hold at most %d strings, not %zu",
                             name, GEN_STOPS_MAX, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_string(item))
            return api_wrong_type(name, "a string or an array of strings", item, err);
        struct str text = json_str(item);
        if (text.len == 0 || memchr(text.ptr, '\0', text.len) != NULL)
            return err_set_param(err, ERR_INVALID, name,
                                 "'%s' may not hold empty strings or NUL characters", name);
        if (text.len > GEN_STOP_BYTES_MAX)
            return err_set_param(err, ERR_INVALID, name,
                                 "'%s' may hold strings of at most %d bytes, not %zu", name,
                                 GEN_STOP_BYTES_MAX, text.len);
        g->stop[g->n_stop++] = str_dup(text);
    }
    return 0;
}

/* ---- logit_bias ---- */

/* A number, or false: never. Beyond 100 either way nothing changes. */
static int read_bias_value(const char *name, const json_t *value, bool is_bounded, double *ret,
                           struct err *err)
{
    double bias = json_is_false(value) ? -100 : json_number_value(value);
    if ((!json_is_number(value) && !json_is_false(value)) ||
        (is_bounded && !(bias >= -100 && bias <= 100)))
        return err_set_param(err, ERR_INVALID, name,
                             "'%s': a bias must be a number from -100 to 100, or false", name);
    *ret = bias < -100 ? -100 : bias > 100 ? 100 : bias;
    return 0;
}

static int add_bias_text(const char *name, struct gen_sampling *s, struct str text, double bias,
                         struct err *err)
{
    if (text.len == 0)
        return err_set_param(err, ERR_INVALID, name, "'%s' holds an empty text", name);
    if (!s->bias_text)
        s->bias_text = json_array();
    json_t *pair = json_array();
    json_array_append_new(pair, json_stringn(text.ptr, text.len));
    json_array_append_new(pair, json_real(bias));
    if (json_array_size(pair) == 2 && json_array_append_new(s->bias_text, pair) == 0)
        return 0;
    return err_set(err, ERR_NOMEM, "no memory for '%s'", name);
}

static int add_bias_token(const char *name, struct gen_sampling *s, int64_t id, double bias,
                          struct err *err)
{
    if (id < 0 || id > INT32_MAX)
        return err_set_param(err, ERR_INVALID, name, "'%s': %lld is not a token id", name,
                             (long long)id);
    s->bias[s->n_bias].token = (int32_t)id;
    s->bias[s->n_bias++].bias = (float)bias;
    return 0;
}

/* OpenAI's form; keys that are no numbers are texts. */
static int take_bias_object(const char *name, const json_t *value, struct gen_sampling *s,
                            struct err *err)
{
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
    {
        int64_t id;
        double bias = 0;
        int code = read_bias_value(name, item, true, &bias, err);
        if (code == 0 && str_to_i64(str_z(key), &id))
            code = add_bias_token(name, s, id, bias, err);
        else if (code == 0)
            code = add_bias_text(name, s, str_z(key), bias, err);
        if (code != 0)
            return code;
    }
    return 0;
}

/* llama-server's: pairs. */
static int take_bias_array(const char *name, const json_t *value, struct gen_sampling *s,
                           struct err *err)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *pair = json_array_get(value, i), *key = json_array_get(pair, 0);
        double bias = 0;
        if (json_array_size(pair) != 2 || !(json_is_integer(key) || json_is_string(key)))
            return err_set_param(err, ERR_INVALID, name,
                                 "'%s'[%zu] must be a pair: a token id or its text, and a number "
                                 "or false",
                                 name, i);
        int code = read_bias_value(name, json_array_get(pair, 1), false, &bias, err);
        if (code == 0 && json_is_integer(key))
            code = add_bias_token(name, s, json_integer_value(key), bias, err);
        else if (code == 0)
            code = add_bias_text(name, s, json_str(key), bias, err);
        if (code != 0)
            return code;
    }
    return 0;
}

int api_take_bias(const char *name, const json_t *value, void *into, struct err *err)
{
    struct gen_sampling *s = &((struct api_request *)into)->gen.sampling;
    size_t n = json_is_object(value) ? json_object_size(value) : json_array_size(value);
    if (!json_is_object(value) && !json_is_array(value))
        return api_wrong_type(name, "an object of token ids and numbers, or an array of pairs",
                              value, err);
    if (n > GEN_BIAS_MAX)
        return err_set_param(err, ERR_INVALID, name, "'%s' may hold at most %d tokens, not %zu",
                             name, GEN_BIAS_MAX, n);
    free(s->bias);
    json_decref(s->bias_text);
    s->bias = n > 0 ? mem_zero(n, sizeof *s->bias) : NULL;
    s->bias_text = NULL;
    s->n_bias = 0;
    return json_is_object(value) ? take_bias_object(name, value, s, err)
                                 : take_bias_array(name, value, s, err);
}

/* ---- lists of strings ---- */

/* A string or an array of strings, each of 1 to len_max bytes. Takes over *ret. */
static int take_strings(const char *name, const json_t *value, size_t n_max, size_t len_max,
                        json_t **ret, struct err *err)
{
    if (!json_is_array(value) && !json_is_string(value))
        return api_wrong_type(name, "an array of strings", value, err);
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    if (n > n_max)
        return err_set_param(err, ERR_INVALID, name, "'%s' may hold at most %zu strings, not %zu",
                             name, n_max, n);
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_is_array(value) ? json_array_get(value, i) : (json_t *)value;
        struct str text = json_str(item);
        int code = 0;
        if (!json_is_string(item))
            code = api_wrong_type(name, "an array of strings", item, err);
        else if (text.len == 0 || text.len > len_max)
            code = err_set_param(err, ERR_INVALID, name,
                                 "'%s' may hold strings of 1 to %zu bytes, not %zu", name, len_max,
                                 text.len);
        else if (json_array_append(array, item) != 0)
            code = err_set(err, ERR_NOMEM, "no memory for '%s'", name);
        if (code != 0) {
            json_decref(array);
            return code;
        }
    }
    json_decref(*ret);
    *ret = array;
    return 0;
}

int api_take_banned(const char *name, const json_t *value, void *into, struct err *err)
{
    struct gen_sampling *s = &((struct api_request *)into)->gen.sampling;
    return take_strings(name, value, GEN_BANNED_MAX, GEN_BANNED_BYTES_MAX, &s->banned, err);
}

int api_take_breakers(const char *name, const json_t *value, void *into, struct err *err)
{
    struct gen_sampling *s = &((struct api_request *)into)->gen.sampling;
    return take_strings(name, value, GEN_BREAKERS_MAX, GEN_BREAKER_BYTES_MAX, &s->dry_breakers,
                        err);
}

/* ---- others ---- */

/* llama-server's names, and its letters. */
static const struct {
    const char *name;
    char letter;
} stages[] = {
    {"penalties", 'e'},   {"dry", 'd'},       {"top_n_sigma", 's'}, {"top_k", 'k'},
    {"typ_p", 'y'},       {"top_p", 'p'},     {"min_p", 'm'},       {"xtc", 'x'},
    {"temperature", 't'}, {"typical_p", 'y'},
};

static char stage_letter(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(stages); i++)
        if (str_eq_z(name, stages[i].name))
            return stages[i].letter;
    return '\0';
}

/* ["top_k", "temperature", ...], or "kt": the stages, in this order. */
int api_take_samplers(const char *name, const json_t *value, void *into, struct err *err)
{
    struct gen_sampling *s = &((struct api_request *)into)->gen.sampling;
    struct str letters = json_str(value);
    char of_names[sizeof s->samplers] = "";
    size_t n = json_array_size(value);
    if (!json_is_array(value) && !json_is_string(value))
        return api_wrong_type(name, "an array of names", value, err);
    if (n >= sizeof s->samplers)
        return err_set_param(err, ERR_INVALID, name, "'%s' may name each sampler once", name);
    for (size_t i = 0; i < n; i++) {
        struct str one = json_str(json_array_get(value, i));
        of_names[i] = stage_letter(one);
        if (of_names[i] == '\0')
            return err_set_param(err, ERR_INVALID, name,
                                 "'%s'[%zu] is no sampler; there are penalties, dry, top_n_sigma, "
                                 "top_k, typ_p, top_p, min_p, xtc and temperature",
                                 name, i);
    }
    letters = json_is_array(value) ? str_z(of_names) : letters;
    if (!gen_samplers_valid(letters))
        return err_set_param(err, ERR_INVALID, name,
                             "'%s' may name each sampler once; letters are those of " GEN_SAMPLERS,
                             name);
    memset(s->samplers, 0, sizeof s->samplers);
    memcpy(s->samplers, letters.ptr, letters.len);
    return 0;
}

/* Zero and less are "off", as llama-server's -1. */
int api_take_top_n_sigma(const char *name, const json_t *value, void *into, struct err *err)
{
    double n = json_number_value(value);
    if (!json_is_number(value))
        return api_wrong_type(name, "a number", value, err);
    if (!(n >= -1 && n <= 1000))
        return err_set_param(err, ERR_INVALID, name, "'%s' must be from -1 to 1000, not %.15g",
                             name, n);
    ((struct api_request *)into)->gen.sampling.top_n_sigma = n > 0 ? n : 0;
    return 0;
}

int api_take_use_beam_search(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_boolean(value))
        return api_wrong_type(name, "a boolean", value, err);
    ((struct api_request *)into)->use_beam_search = json_is_true(value);
    return 0;
}

int api_take_seed(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    if (!json_is_integer(value))
        return api_wrong_type(name, "an integer", value, err);
    r->gen.sampling.seed = (uint64_t)json_integer_value(value);
    r->seed_given = true;
    return 0;
}

/* As Ollama's clients know it: how long the model stays loaded after this request. */
int api_take_keep_alive(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    r->keep_alive_given = true;
    return keep_alive_json(name, value, &r->keep_alive_ms, err);
}

#define DEFAULT_TEMPERATURE 0.7
#define DEFAULT_MIN_P       0.05 /* Nguyen et al., "Turning up the heat" (2024): 0.05 to 0.1 */

#define AT(member) .offset = offsetof(struct api_request, member)

/* Wide: a model's file may say what no client may. */
static const struct api_field default_fields[] = {
    {"temperature", API_NUM, API_HONOURED, 0, 100, AT(gen.sampling.temperature)},
    {"top_p", API_NUM, API_HONOURED, 0, 1, AT(gen.sampling.top_p)},
    {"stop", API_ANY, API_HONOURED, .take = api_take_stop},
    API_SAMPLING_FIELDS,
};

/* What a model's file may not decide for its users. */
static bool is_for_requests_only(const char *name)
{
    static const char *const only[] = {"use_beam_search", "beam_width", "length_penalty",
                                       "post_sampling_probs"};
    for (size_t i = 0; i < ARRAY_LEN(only); i++)
        if (strcmp(only[i], name) == 0)
            return true;
    return false;
}

int api_sampling_defaults(const json_t *params, struct api_request *r, struct err *err)
{
    int code = 0;
    for (size_t i = 0; i < ARRAY_LEN(default_fields) && code == 0; i++) {
        const char *name = default_fields[i].name;
        json_t *value = is_for_requests_only(name) ? NULL : json_object_get(params, name);
        json_t *one = value == NULL ? NULL : json_pack("{s:O}", name, value);
        if (one != NULL)
            code = api_fields_read(&default_fields[i], 1, one, "", r, err);
        json_decref(one);
    }
    if (code != 0)
        err_wrap(err, "with the model's own default parameters");
    return code;
}

bool api_sampling_is_told(const json_t *obj)
{
    static const char *const told[] = {"temperature", "top_p",           "top_k",
                                       "min_p",       "typical_p",       "top_n_sigma",
                                       "samplers",    "mirostat",        "xtc_probability",
                                       "beam_width",  "use_beam_search", "dynatemp_range"};
    for (size_t i = 0; i < ARRAY_LEN(told); i++) {
        const json_t *v = json_object_get(obj, told[i]);
        if (v != NULL && !json_is_null(v))
            return true;
    }
    return false;
}

/*
 * A request that says nothing of sampling leaves it to the server: full-width sampling, OpenAI's
 * default, makes small models babble. One that says anything is sampled as it says.
 */
int api_sampling_begin(const json_t *body, const json_t *defaults, struct api_request *r,
                       struct err *err)
{
    if (!api_sampling_is_told(body) && !api_sampling_is_told(defaults)) {
        r->gen.sampling.temperature = DEFAULT_TEMPERATURE;
        r->gen.sampling.min_p = DEFAULT_MIN_P;
    }
    return api_sampling_defaults(defaults, r, err);
}

void api_sampling_penalties_as_llama(struct api_request *r)
{
    struct gen_sampling *s = &r->gen.sampling;
    if (s->penalty_last_n == GEN_PENALTY_GENERATED)
        s->penalty_last_n = s->repeat_last_n;
}

/* Beams: vLLM's use_beam_search takes n of them; what HF calls num_beams is beam_width here. */
int api_sampling_finish(struct api_request *r, struct err *err)
{
    struct gen_request *g = &r->gen;
    if (!r->use_beam_search && g->sampling.beam_width == 0)
        return 0;
    if (g->sampling.beam_width == 0)
        g->sampling.beam_width = g->n;
    if (g->n > g->sampling.beam_width || g->n > GEN_BEAMS_MAX)
        return err_set_param(err, ERR_INVALID, "n",
                             "'n' (%lld) may be at most 'beam_width' (%lld) with beam search, and "
                             "that %d",
                             (long long)g->n, (long long)g->sampling.beam_width, GEN_BEAMS_MAX);
    return 0;
}
