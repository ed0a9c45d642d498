/*
 * tool_param: see the header. What is not plain to see is JSON.
 */
#include "text/tool_param.h"

#define DEPTH_MAX 8 /* of schemas within one another */

/* MAY_WORD: one of the texts would be read as null where null may be, too. */
enum { MAY_TEXT = 1, MAY_NULL = 2, MAY_OTHER = 4, MAY_WORD = 8 };

static int types_of(const json_t *root, const json_t *schema, int depth);

bool tool_param_is_null(struct str text)
{
    text = str_trim(text);
    return str_eq_z(text, "None") || str_eq_z(text, "null");
}

static int type_bit(const json_t *type)
{
    struct str name = json_str(type);
    return str_eq_z(name, "string") ? MAY_TEXT : str_eq_z(name, "null") ? MAY_NULL : MAY_OTHER;
}

static int value_bits(const json_t *value)
{
    if (!json_is_string(value))
        return json_is_null(value) ? MAY_NULL : MAY_OTHER;
    return tool_param_is_null(json_str(value)) ? MAY_TEXT | MAY_WORD : MAY_TEXT;
}

/* All that an array's members say together. */
static int types_of_list(const json_t *root, const json_t *list, int depth)
{
    int types = json_array_size(list) == 0 ? MAY_OTHER : 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        types |= types_of(root, json_array_get(list, i), depth);
    return types;
}

/* "#/$defs/a" */
static const json_t *find_ref(const json_t *root, struct str ref)
{
    static const char *const homes[] = {"$defs", "definitions"};
    for (int i = 0; i < 2; i++) {
        struct str home = str_z(homes[i]);
        if (!str_starts(ref, STR("#/")) || !str_starts(str_from(ref, 2), home) ||
            ref.len <= home.len + 3 || ref.ptr[home.len + 2] != '/')
            continue;
        struct str name = str_from(ref, home.len + 3);
        return json_object_getn(json_object_get(root, homes[i]), name.ptr, name.len);
    }
    return NULL;
}

/* Of "type"; 0: it says nothing. */
static int types_of_type(const json_t *type)
{
    int types = json_is_string(type) ? type_bit(type) : 0;
    for (size_t i = 0; i < json_array_size(type); i++)
        types |= type_bit(json_array_get(type, i));
    return types;
}

/* Of the values that are given, as far as they are of these types (0: of any); 0: none is. */
static int types_of_values(const json_t *schema, int types)
{
    const json_t *list = json_object_get(schema, "enum"), *one = json_object_get(schema, "const");
    int all = 0, bits = one ? value_bits(one) : 0;
    if (one)
        return types == 0 || (types & bits) ? bits : 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        bits = value_bits(json_array_get(list, i));
        all |= types == 0 || (types & bits) ? bits : 0;
    }
    return all;
}

/* More than its types says what it may be. */
static bool has_more(const json_t *schema)
{
    static const char *const keys[] = {"$ref", "allOf", "anyOf", "oneOf", "not", "if"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (json_object_get(schema, keys[i]))
            return true;
    return false;
}

static int types_of(const json_t *root, const json_t *schema, int depth)
{
    const json_t *list;
    if (!json_is_object(schema) || depth > DEPTH_MAX)
        return MAY_OTHER;
    int types = types_of_type(json_object_get(schema, "type"));
    int values = types_of_values(schema, types);
    if (values != 0)
        return values;
    if (types == (MAY_TEXT | MAY_NULL) && has_more(schema))
        return MAY_OTHER; /* perhaps not null after all */
    if (types != 0)
        return types;
    if (json_object_get(schema, "$ref"))
        return types_of(root, find_ref(root, json_str(json_object_get(schema, "$ref"))), depth + 1);
    if ((list = json_object_get(schema, "anyOf")) || (list = json_object_get(schema, "oneOf")))
        return types_of_list(root, list, depth + 1);
    list = json_object_get(schema, "allOf");
    return json_array_size(list) == 1 ? types_of(root, json_array_get(list, 0), depth + 1)
                                      : MAY_OTHER;
}

enum tool_param tool_param_kind(const json_t *parameters, struct str key)
{
    const json_t *all = json_object_get(parameters, "properties");
    const json_t *one = key.len > 0 ? json_object_getn(all, key.ptr, key.len) : NULL;
    if (!one && !json_object_get(parameters, "patternProperties"))
        one = json_object_get(parameters, "additionalProperties");
    int types = types_of(parameters, one, 0);
    return (types & ~MAY_WORD) == MAY_TEXT  ? TOOL_PARAM_TEXT
           : types == (MAY_TEXT | MAY_NULL) ? TOOL_PARAM_TEXT_OR_NULL
                                            : TOOL_PARAM_JSON;
}
