/*
 * response_format: see the header. Reads forms; what they mean is the worker's to compile.
 */
#include "api/response_format.h"

#include "api/fields.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdio.h>

#define CHOICES_MAX 4096

/* Takes form, perhaps NULL for lack of memory. */
static int set(struct api_request *r, const char *name, json_t *form, struct err *err)
{
    if (form == NULL || json_object_set_new(form, "param", json_string(name)) != 0) {
        json_decref(form);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    if (r->gen.constraint != NULL) {
        json_decref(form);
        return err_set_param(err, ERR_INVALID, name,
                             "'%s': the answer's form is given twice; give one of them", name);
    }
    r->gen.constraint = form;
    return 0;
}

int api_form_json(struct api_request *r, const char *name, struct err *err)
{
    return set(r, name, json_pack("{s:s}", "type", "json"), err);
}

int api_form_schema(struct api_request *r, const char *name, const json_t *schema, bool strict,
                    struct err *err)
{
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return api_wrong_type(name, "an object: a JSON schema", schema, err);
    return set(r, name,
               json_pack("{s:s, s:O, s:b}", "type", "schema", "schema", schema, "strict", strict),
               err);
}

int api_take_schema(const char *name, const json_t *value, void *into, struct err *err)
{
    return api_form_schema(into, name, value, false, err);
}

static int take_string(const char *name, const char *type, const char *key, const json_t *value,
                       struct api_request *r, struct err *err)
{
    if (!json_is_string(value))
        return api_wrong_type(name, "a string", value, err);
    if (json_string_length(value) == 0)
        return 0; /* how some clients write "none" */
    return set(r, name, json_pack("{s:s, s:O}", "type", type, key, value), err);
}

int api_take_gbnf(const char *name, const json_t *value, void *into, struct err *err)
{
    return take_string(name, "gbnf", "grammar", value, into, err);
}

int api_take_regex(const char *name, const json_t *value, void *into, struct err *err)
{
    return take_string(name, "regex", "pattern", value, into, err);
}

int api_take_choice(const char *name, const json_t *value, void *into, struct err *err)
{
    size_t n = json_array_size(value);
    if (!json_is_array(value))
        return api_wrong_type(name, "an array of strings", value, err);
    if (n == 0 || n > CHOICES_MAX)
        return err_set_param(err, ERR_INVALID, name, "'%s' must hold 1 to %d strings, not %zu",
                             name, CHOICES_MAX, n);
    for (size_t i = 0; i < n; i++)
        if (!json_is_string(json_array_get(value, i)))
            return api_wrong_type(name, "an array of strings", json_array_get(value, i), err);
    return set(into, name, json_pack("{s:s, s:O}", "type", "choice", "choices", value), err);
}

static int take_any_json(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_boolean(value))
        return api_wrong_type(name, "a boolean", value, err);
    return json_is_true(value) ? api_form_json(into, name, err) : 0;
}

int api_take_structured(const char *name, const json_t *value, void *into, struct err *err)
{
    static const struct api_field table[] = {
        {"json", API_ANY, API_HONOURED, .take = api_take_schema},
        {"json_object", API_ANY, API_HONOURED, .take = take_any_json},
        {"regex", API_ANY, API_HONOURED, .take = api_take_regex},
        {"choice", API_ANY, API_HONOURED, .take = api_take_choice},
        {"grammar", API_ANY, API_HONOURED, .take = api_take_gbnf},
    };
    char where[64];
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    snprintf(where, sizeof where, "%s.", name);
    return api_fields_read(table, ARRAY_LEN(table), value, where, into, err);
}

/* ---- response_format ---- */

struct schema_read {
    struct str name, description;
    bool strict;
};

static int take_json_schema(const char *name, const json_t *value, struct api_request *r,
                            struct err *err)
{
    static const struct api_field table[] = {
        {"name", API_STR, API_NO_EFFECT},
        {"description", API_STR, API_NO_EFFECT},
        {"strict", API_BOOL, API_HONOURED, .offset = offsetof(struct schema_read, strict)},
        {"schema", API_ANY, API_NO_EFFECT},
    };
    struct schema_read read = {0};
    char where[256];
    if (value == NULL || json_is_null(value))
        return err_set_param(err, ERR_INVALID, name, "'%s' is missing", name);
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    snprintf(where, sizeof where, "%s.", name);
    int code = api_fields_read(table, ARRAY_LEN(table), value, where, &read, err);
    if (code != 0)
        return code;
    const json_t *schema = json_object_get(value, "schema");
    snprintf(where, sizeof where, "%s.schema", name);
    if (schema == NULL || json_is_null(schema))
        return api_form_json(r, name, err); /* OpenAI: without a schema any object will do */
    return api_form_schema(r, where, schema, read.strict, err);
}

int api_take_response_format(const char *name, const json_t *value, void *into, struct err *err)
{
    static const struct api_field table[] = {
        {"type", API_STR, API_NO_EFFECT},
        {"json_schema", API_ANY, API_NO_EFFECT},
        {"schema", API_ANY, API_NO_EFFECT},
    };
    char where[192];
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    snprintf(where, sizeof where, "%s.", name);
    int code = api_fields_read(table, ARRAY_LEN(table), value, where, into, err);
    if (code != 0)
        return code;
    struct str type = json_str(json_object_get(value, "type"));
    const json_t *nested = json_object_get(value, "json_schema");
    const json_t *schema = json_object_get(value, "schema");
    bool plain = schema == NULL || json_is_null(schema);
    if (str_eq_z(type, "text"))
        return 0;
    if (str_eq_z(type, "json_object") && plain)
        return api_form_json(into, name, err);
    snprintf(where, sizeof where, "%s.schema", name);
    if ((str_eq_z(type, "json_object") || str_eq_z(type, "json_schema")) && !plain)
        return api_form_schema(into, where, schema, false, err);
    snprintf(where, sizeof where, "%s.json_schema", name);
    if (str_eq_z(type, "json_schema"))
        return take_json_schema(where, nested, into, err);
    snprintf(where, sizeof where, "%s.type", name);
    return err_set_param(err, ERR_INVALID, where, "'%s' must be text, json_object or json_schema",
                         where);
}
