/*
 * gen_sampling: see the header. The worker trusts nobody: every range is checked here again.
 */
#include "ipc/gen_sampling.h"
#include "base/mem.h"
#include "ipc/field.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct field sampling_fields[] = {
    FIELD(gen_sampling, temperature, FIELD_F64, 0, 100),
    FIELD(gen_sampling, dynatemp_range, FIELD_F64, 0, 100),
    FIELD(gen_sampling, dynatemp_exponent, FIELD_F64, DBL_MIN, 100),
    FIELD(gen_sampling, top_p, FIELD_F64, DBL_MIN, 1),
    FIELD(gen_sampling, top_k, FIELD_I64, 0, INT32_MAX),
    FIELD(gen_sampling, min_p, FIELD_F64, 0, 1),
    FIELD(gen_sampling, typical_p, FIELD_F64, DBL_MIN, 1),
    FIELD(gen_sampling, top_n_sigma, FIELD_F64, 0, 1000),
    FIELD(gen_sampling, xtc_probability, FIELD_F64, 0, 1),
    FIELD(gen_sampling, xtc_threshold, FIELD_F64, 0, 1),
    FIELD(gen_sampling, min_keep, FIELD_I64, 0, INT32_MAX),
    FIELD(gen_sampling, repeat_penalty, FIELD_F64, 1e-3, 100),
    FIELD(gen_sampling, repeat_last_n, FIELD_I64, -1, INT32_MAX),
    FIELD(gen_sampling, presence_penalty, FIELD_F64, -2, 2),
    FIELD(gen_sampling, frequency_penalty, FIELD_F64, -2, 2),
    FIELD(gen_sampling, penalty_last_n, FIELD_I64, GEN_PENALTY_GENERATED, INT32_MAX),
    FIELD(gen_sampling, dry_multiplier, FIELD_F64, 0, 100),
    FIELD(gen_sampling, dry_base, FIELD_F64, 1, 100),
    FIELD(gen_sampling, dry_allowed_length, FIELD_I64, 1, INT32_MAX),
    FIELD(gen_sampling, dry_last_n, FIELD_I64, -1, INT32_MAX),
    FIELD(gen_sampling, mirostat, FIELD_I64, 0, 2),
    FIELD(gen_sampling, mirostat_tau, FIELD_F64, 0, 100),
    FIELD(gen_sampling, mirostat_eta, FIELD_F64, 0, 1),
    FIELD(gen_sampling, samplers, FIELD_CHARS, 0, 0),
    FIELD(gen_sampling, min_tokens, FIELD_I64, 0, INT32_MAX),
    FIELD(gen_sampling, beam_width, FIELD_I64, 0, GEN_BEAMS_MAX),
    FIELD(gen_sampling, length_penalty, FIELD_F64, -100, 100),
    FIELD(gen_sampling, post_probs, FIELD_BOOL, 0, 0),
    FIELD(gen_sampling, seed, FIELD_BITS, 0, 0),
    FIELD_SKIP("bias"),
    FIELD_SKIP("bias_text"),
    FIELD_SKIP("banned"),
    FIELD_SKIP("dry_breakers"),
};

void gen_sampling_init(struct gen_sampling *s)
{
    *s = (struct gen_sampling){
        .temperature = 1,
        .dynatemp_exponent = 1,
        .top_p = 1,
        .typical_p = 1,
        .xtc_threshold = 0.1,
        .repeat_penalty = 1,
        .repeat_last_n = 64,
        .penalty_last_n = GEN_PENALTY_GENERATED,
        .dry_base = 1.75,
        .dry_allowed_length = 2,
        .dry_last_n = -1,
        .mirostat_tau = 5,
        .mirostat_eta = 0.1,
        .samplers = GEN_SAMPLERS,
        .length_penalty = 1,
    };
}

void gen_sampling_release(struct gen_sampling *s)
{
    free(s->bias);
    json_decref(s->bias_text);
    json_decref(s->banned);
    json_decref(s->dry_breakers);
    gen_sampling_init(s);
}

bool gen_samplers_valid(struct str letters)
{
    if (letters.len >= sizeof(GEN_SAMPLERS))
        return false;
    for (size_t i = 0; i < letters.len; i++)
        if (letters.ptr[i] == '\0' || !strchr(GEN_SAMPLERS, letters.ptr[i]) ||
            memchr(letters.ptr, letters.ptr[i], i))
            return false;
    return true;
}

/* Sets obj[key] when there is one; false when memory is short. */
static bool put_array(json_t *obj, const char *key, json_t *array)
{
    return array == NULL || json_object_set(obj, key, array) == 0;
}

json_t *gen_sampling_to_json(const struct gen_sampling *s)
{
    json_t *obj = fields_write(sampling_fields, ARRAY_LEN(sampling_fields), s);
    json_t *bias = json_array();
    for (size_t i = 0; i < s->n_bias; i++) {
        json_t *pair = json_pack("[I,f]", (json_int_t)s->bias[i].token, (double)s->bias[i].bias);
        json_array_append_new(bias, pair);
    }
    bool ok = json_array_size(bias) == s->n_bias;
    ok = json_object_set_new(obj, "bias", bias) == 0 && ok;
    ok = ok && put_array(obj, "bias_text", s->bias_text) && put_array(obj, "banned", s->banned);
    if (!ok || !put_array(obj, "dry_breakers", s->dry_breakers)) {
        json_decref(obj);
        return NULL;
    }
    return obj;
}

static int read_bias(const json_t *sampling, struct gen_sampling *s, struct err *err)
{
    const json_t *bias = json_object_get(sampling, "bias");
    if (!bias || json_is_null(bias))
        return 0;
    size_t n = json_array_size(bias);
    if (!json_is_array(bias) || n > GEN_BIAS_MAX)
        return err_set_param(err, ERR_INVALID, "logit_bias", "logit_bias takes at most %d tokens",
                             GEN_BIAS_MAX);
    if (n == 0)
        return 0;
    s->bias = mem_try_array(n, sizeof(*s->bias));
    if (!s->bias)
        return err_set(err, ERR_NOMEM, "no memory for logit_bias");
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(bias, i);
        const json_t *id = json_array_get(pair, 0), *value = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || !json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX || !json_is_number(value) ||
            fabs(json_number_value(value)) > 1e6)
            return err_set_param(err, ERR_INVALID, "logit_bias",
                                 "logit_bias maps token ids to numbers");
        s->bias[i].token = (int32_t)json_integer_value(id);
        s->bias[i].bias = (float)json_number_value(value);
    }
    s->n_bias = n;
    return 0;
}

static int read_bias_text(const json_t *sampling, struct gen_sampling *s, struct err *err)
{
    json_t *array = json_object_get(sampling, "bias_text");
    size_t n = json_array_size(array);
    bool ok = !array || (json_is_array(array) && n <= GEN_BIAS_MAX);
    for (size_t i = 0; ok && i < n; i++) {
        const json_t *pair = json_array_get(array, i), *value = json_array_get(pair, 1);
        ok = json_array_size(pair) == 2 && json_str(json_array_get(pair, 0)).len > 0 &&
             json_is_number(value) && fabs(json_number_value(value)) <= 1e6;
    }
    if (!ok)
        return err_set_param(err, ERR_INVALID, "logit_bias", "logit_bias maps texts to numbers");
    s->bias_text = json_incref(array);
    return 0;
}

/* An array of at most n_max strings of 1 to len_max bytes, or nothing. */
static int read_strings(const json_t *sampling, const char *key, size_t n_max, size_t len_max,
                        json_t **ret, struct err *err)
{
    json_t *array = json_object_get(sampling, key);
    bool ok = !array || (json_is_array(array) && json_array_size(array) <= n_max);
    for (size_t i = 0; ok && i < json_array_size(array); i++) {
        struct str text = json_str(json_array_get(array, i));
        ok = text.len > 0 && text.len <= len_max;
    }
    if (!ok)
        return err_set_param(err, ERR_INVALID, key,
                             "%s takes at most %zu strings of 1 to %zu bytes", key, n_max, len_max);
    *ret = json_incref(array);
    return 0;
}

int gen_sampling_from_json(const json_t *obj, struct gen_sampling *s, struct err *err)
{
    int rc = fields_read(sampling_fields, ARRAY_LEN(sampling_fields), obj, s, err);
    if (rc == 0 && !gen_samplers_valid(str_z(s->samplers)))
        rc = err_set_param(err, ERR_INVALID, "samplers",
                           "samplers takes each letter of " GEN_SAMPLERS " at most once");
    rc = rc != 0 ? rc : read_bias(obj, s, err);
    rc = rc != 0 ? rc : read_bias_text(obj, s, err);
    if (rc == 0)
        rc = read_strings(obj, "banned", GEN_BANNED_MAX, GEN_BANNED_BYTES_MAX, &s->banned, err);
    if (rc == 0)
        rc = read_strings(obj, "dry_breakers", GEN_BREAKERS_MAX, GEN_BREAKER_BYTES_MAX,
                          &s->dry_breakers, err);
    return rc;
}
