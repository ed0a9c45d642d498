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

int api_take_bias(const char *name, const json_t *value, void *into, struct err *err)
{
    struct gen_sampling *s = &((struct api_request *)into)->gen.sampling;
    if (!json_is_object(value))
        return api_wrong_type(name, "an object of token ids and numbers", value, err);
    size_t n = json_object_size(value);
    if (n > GEN_BIAS_MAX)
        return err_set_param(err, ERR_INVALID, name, "'%s' may hold at most %d tokens, not %zu",
                             name, GEN_BIAS_MAX, n);
    if (n == 0)
        return 0;
    s->bias = mem_zero(n, sizeof *s->bias);
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
    {
        int64_t id;
        if (!str_to_i64(str_z(key), &id) || id < 0 || id > INT32_MAX)
            return err_set_param(err, ERR_INVALID, name, "'%s': '%.40s' is not a token id", name,
                                 key);
        double bias = json_number_value(item);
        if (!json_is_number(item) || !(bias >= -100 && bias <= 100))
            return err_set_param(err, ERR_INVALID, name,
                                 "'%s': the bias of token %s must be a number from -100 to 100",
                                 name, key);
        s->bias[s->n_bias].token = (int32_t)id;
        s->bias[s->n_bias++].bias = (float)bias;
    }
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
    {"top_k", API_INT, API_HONOURED, -1, API_TOKEN_MAX, AT(gen.sampling.top_k)},
    {"min_p", API_NUM, API_HONOURED, 0, 1, AT(gen.sampling.min_p)},
    {"typical_p", API_NUM, API_HONOURED, 0, 1, .above_min = true, AT(gen.sampling.typical_p)},
    {"repeat_penalty", API_NUM, API_HONOURED, 0, 10, .above_min = true,
     AT(gen.sampling.repeat_penalty)},
    {"repeat_last_n", API_INT, API_HONOURED, -1, API_TOKEN_MAX, AT(gen.sampling.repeat_last_n)},
    {"presence_penalty", API_NUM, API_HONOURED, -2, 2, AT(gen.sampling.presence_penalty)},
    {"frequency_penalty", API_NUM, API_HONOURED, -2, 2, AT(gen.sampling.frequency_penalty)},
    {"seed", API_ANY, API_HONOURED, .take = api_take_seed},
    {"stop", API_ANY, API_HONOURED, .take = api_take_stop},
};

int api_sampling_defaults(const json_t *params, struct api_request *r, struct err *err)
{
    int code = 0;
    for (size_t i = 0; i < ARRAY_LEN(default_fields) && code == 0; i++) {
        const char *name = default_fields[i].name;
        json_t *value = json_object_get(params, name);
        json_t *one = value == NULL ? NULL : json_pack("{s:O}", name, value);
        if (one != NULL)
            code = api_fields_read(&default_fields[i], 1, one, "", r, err);
        json_decref(one);
    }
    if (code != 0)
        err_wrap(err, "with the model's own default parameters");
    return code;
}

/*
 * A request that says nothing of sampling leaves it to the server: full-width sampling, OpenAI's
 * default, makes small models babble. A request that sets any of these is sampled exactly as it
 * says.
 */
static bool tells_sampling(const json_t *obj)
{
    static const char *const told[] = {"temperature", "top_p", "top_k", "min_p", "typical_p"};
    for (size_t i = 0; i < ARRAY_LEN(told); i++) {
        const json_t *v = json_object_get(obj, told[i]);
        if (v != NULL && !json_is_null(v))
            return true;
    }
    return false;
}

int api_sampling_begin(const json_t *body, const json_t *defaults, struct api_request *r,
                       struct err *err)
{
    if (!tells_sampling(body) && !tells_sampling(defaults)) {
        r->gen.sampling.temperature = DEFAULT_TEMPERATURE;
        r->gen.sampling.min_p = DEFAULT_MIN_P;
    }
    return api_sampling_defaults(defaults, r, err);
}
