/*
 * fields: see fields.h. Knows JSON and tables, no endpoint.
 */
#include "api/fields.h"

#include "base/args.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *kind_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

int api_wrong_type(const char *name, const char *must_be, const json_t *value, struct err *err)
{
    return err_set_param(err, ERR_INVALID, name, "'%s' must be %s, not %s", name, must_be,
                         kind_name(value));
}

static int out_of_range(const struct api_field *f, const char *name, double got, struct err *err)
{
    const char *from = f->above_min ? "greater than" : "at least";
    return err_set_param(err, ERR_INVALID, name,
                         "'%s' must be %s %.15g and at most %.15g, not %.15g", name, from, f->min,
                         f->max, got);
}

static int read_number(const struct api_field *f, const char *name, const json_t *value, void *into,
                       struct err *err)
{
    if (!json_is_number(value))
        return api_wrong_type(name, f->kind == API_INT ? "an integer" : "a number", value, err);
    double number = json_number_value(value);
    if (!isfinite(number) || number < f->min || number > f->max ||
        (f->above_min && number == f->min))
        return out_of_range(f, name, number, err);
    if (f->kind == API_NUM) {
        *(double *)into = number;
        return 0;
    }
    if (json_is_integer(value)) {
        *(int64_t *)into = json_integer_value(value);
        return 0;
    }
    if (number != floor(number) || fabs(number) > 9007199254740992.0)
        return err_set_param(err, ERR_INVALID, name, "'%s' must be an integer, not %.15g", name,
                             number);
    *(int64_t *)into = (int64_t)number;
    return 0;
}

static int read_plain(const struct api_field *f, const char *name, const json_t *value, void *into,
                      struct err *err)
{
    switch (f->kind) {
    case API_BOOL:
        if (!json_is_boolean(value))
            return api_wrong_type(name, "a boolean", value, err);
        *(bool *)into = json_is_true(value);
        return 0;
    case API_INT:
    case API_NUM:
        return read_number(f, name, value, into, err);
    case API_STR:
        if (!json_is_string(value))
            return api_wrong_type(name, "a string", value, err);
        *(struct str *)into = json_str(value);
        return 0;
    case API_ANY:
        break;
    }
    return 0;
}

static int read_one(const struct api_field *f, const char *name, const json_t *value, void *into,
                    struct err *err)
{
    if (f->use == API_REFUSED) {
        if (f->take != NULL && f->take(name, value, into, NULL) == 0)
            return 0;
        return err_set_param(err, ERR_UNSUPPORTED, name, "'%s' is not supported: %s", name,
                             f->note);
    }
    if (f->take != NULL)
        return f->take(name, value, into, err);
    if (f->use == API_NO_EFFECT) {
        union {
            bool flag;
            int64_t integer;
            double number;
            struct str text;
        } unused;
        return read_plain(f, name, value, &unused, err);
    }
    return read_plain(f, name, value, (char *)into + f->offset, err);
}

static int unknown(const struct api_field *field, size_t n, const char *key, const char *name,
                   struct err *err)
{
    const char *names[96];
    int n_names = 0;
    for (size_t i = 0; i < n && n_names < 96; i++)
        if (field[i].use == API_HONOURED)
            names[n_names++] = field[i].name;
    const char *near = args_nearest(key, names, n_names);
    if (near != NULL)
        return err_set_param(err, ERR_INVALID, name, "unknown parameter '%s'; did you mean '%s'?",
                             name, near);
    return err_set_param(err, ERR_INVALID, name, "unknown parameter '%s'", name);
}

int api_fields_read(const struct api_field *field, size_t n, const json_t *obj, const char *where,
                    void *into, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)obj, key, value)
    {
        char name[128];
        snprintf(name, sizeof name, "%s%s", where, key);
        size_t i = 0;
        while (i < n && strcmp(field[i].name, key) != 0)
            i++;
        if (json_is_null(value) && i < n)
            continue;
        int code =
            i < n ? read_one(&field[i], name, value, into, err) : unknown(field, n, key, name, err);
        if (code != 0)
            return code;
    }
    return 0;
}

int api_check_token_ids(const char *name, const json_t *ids, struct err *err)
{
    size_t n = json_array_size(ids);
    if (n == 0)
        return err_set_param(err, ERR_INVALID, name, "'%s' may not hold an empty list of token ids",
                             name);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX)
            return err_set_param(err, ERR_INVALID, name,
                                 "'%s': item %zu of a list of token ids is not a token id", name,
                                 i);
    }
    return 0;
}
