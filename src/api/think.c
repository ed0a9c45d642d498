/*
 * think: see think.h. Knows no template: the worker says "off" and "on" in the model's own way.
 */
#include "api/think.h"

#include "api/fields.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct level {
    const char *word, *template_word;
};

/* "none" is not here: it is no thinking. */
static const struct level levels[] = {
    {"minimal", "low"}, {"low", "low"},    {"medium", "medium"},
    {"high", "high"},   {"xhigh", "high"}, {"max", "high"},
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

int api_take_effort(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    if (!json_is_string(value))
        return api_wrong_type(name, "a string", value, err);
    if (str_eq_z(json_str(value), "none")) {
        r->gen.think = GEN_THINK_OFF;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        if (!str_eq_z(json_str(value), levels[i].word))
            continue;
        free(r->effort);
        r->effort = str_dup(str_z(levels[i].template_word));
        r->gen.think = GEN_THINK_ON;
        return r->effort != NULL ? 0 : no_memory(err);
    }
    return err_set_param(err, ERR_INVALID, name,
                         "'%s' must be none, minimal, low, medium, high, xhigh or max, not '%.40s'",
                         name, json_string_value(value));
}

int api_take_think(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    if (json_is_string(value))
        return api_take_effort(name, value, into, err);
    if (!json_is_boolean(value))
        return api_wrong_type(name, "true, false or an effort", value, err);
    r->gen.think = json_is_true(value) ? GEN_THINK_ON : GEN_THINK_OFF;
    return 0;
}

int api_take_think_max(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    if (!json_is_integer(value))
        return api_wrong_type(name, "an integer", value, err);
    json_int_t n = json_integer_value(value);
    if (n < -1 || n > INT32_MAX)
        return err_set_param(err, ERR_INVALID, name,
                             "'%s' must be a number of tokens, or -1 for as many as it likes",
                             name);
    r->gen.think_max = n;
    if (n == 0)
        r->gen.think = GEN_THINK_OFF;
    return 0;
}

static int take_type(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    struct str type = json_str(value);
    if (str_eq_z(type, "enabled") || str_eq_z(type, "adaptive"))
        r->gen.think = GEN_THINK_ON;
    else if (str_eq_z(type, "disabled"))
        r->gen.think = GEN_THINK_OFF;
    else if (!str_eq_z(type, "auto"))
        return err_set_param(err, ERR_INVALID, name,
                             "'%s' must be enabled, adaptive, disabled or auto", name);
    return 0;
}

static int take_display(const char *name, const json_t *value, void *into, struct err *err)
{
    (void)into;
    if (!str_eq_z(json_str(value), "summarized") && !str_eq_z(json_str(value), "full"))
        return err_set_param(err, ERR_UNSUPPORTED, name,
                             "'%s': thinking is always shown as it is written", name);
    return 0;
}

int api_take_thinking(const char *name, const json_t *value, void *into, struct err *err)
{
    static const struct api_field table[] = {
        {"type", API_ANY, API_HONOURED, .take = take_type},
        {"budget_tokens", API_ANY, API_HONOURED, .take = api_take_think_max},
        {"display", API_ANY, API_NO_EFFECT, .take = take_display},
    };
    char where[64];
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    snprintf(where, sizeof where, "%s.", name);
    return api_fields_read(table, ARRAY_LEN(table), value, where, into, err);
}

static int only_false(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return json_is_false(v) ? 0 : ERR_UNSUPPORTED;
}

int api_take_reasoning(const char *name, const json_t *value, void *into, struct err *err)
{
    static const struct api_field table[] = {
        {"effort", API_ANY, API_HONOURED, .take = api_take_effort},
        {"max_tokens", API_ANY, API_HONOURED, .take = api_take_think_max},
        {"enabled", API_ANY, API_HONOURED, .take = api_take_think},
        {"exclude", API_ANY, API_REFUSED, .take = only_false,
         .note = "leave reasoning_content out of what you show"},
        {"summary", API_STR, API_NO_EFFECT},
        {"generate_summary", API_STR, API_NO_EFFECT},
    };
    char where[64];
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    snprintf(where, sizeof where, "%s.", name);
    return api_fields_read(table, ARRAY_LEN(table), value, where, into, err);
}
