/*
 * json: see json.h. jansson bounds its own recursion at compile time (2048); json_parse refuses
 * deeper texts than asked for before jansson sees them.
 */
#include "base/json.h"

#include <inttypes.h>
#include <math.h>

/* Finds the deepest nesting without parsing: strings are skipped, brackets counted. */
static bool depth_within(struct str text, int depth_max)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > depth_max)
                return false;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return true;
}

json_t *json_parse(struct str text, int depth_max, struct err *err)
{
    json_error_t where;
    if (!depth_within(text, depth_max)) {
        err_set(err, ERR_LIMIT, "JSON is nested deeper than %d levels", depth_max);
        return NULL;
    }
    json_t *value = json_loadb(text.ptr ? text.ptr : "", text.len,
                               JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &where);
    if (!value)
        err_set(err, ERR_SYNTAX, "not valid JSON: %s (line %d, column %d)", where.text, where.line,
                where.column);
    return value;
}

static int write_chunk(const char *bytes, size_t len, void *out)
{
    return buf_add(out, bytes, len) ? 0 : -1;
}

bool json_write(const json_t *value, struct buf *out)
{
    return json_dump_callback(value, write_chunk, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0;
}

/* Length of the well-formed UTF-8 character at p (RFC 3629), or 0. */
static size_t utf8_char_len(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    bool bad = (p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
               (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F);
    return bad ? 0 : n;
}

static bool write_escaped(unsigned char c, struct buf *out)
{
    switch (c) {
    case '"':
        return buf_add_z(out, "\\\"");
    case '\\':
        return buf_add_z(out, "\\\\");
    case '\n':
        return buf_add_z(out, "\\n");
    case '\r':
        return buf_add_z(out, "\\r");
    case '\t':
        return buf_add_z(out, "\\t");
    default:
        return buf_printf(out, "\\u%04x", c);
    }
}

bool json_write_string(struct str s, struct buf *out)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    buf_add_char(out, '"');
    size_t i = 0;
    while (i < s.len && !out->overflow) {
        size_t plain = i;
        size_t n = 1;
        while (plain < s.len && p[plain] >= 0x20 && p[plain] != '"' && p[plain] != '\\' &&
               (n = utf8_char_len(p + plain, s.len - plain)) > 0)
            plain += n;
        buf_add(out, s.ptr + i, plain - i);
        i = plain;
        if (i >= s.len)
            break;
        if (p[i] >= 0x80)
            buf_add_z(out, "\xEF\xBF\xBD");
        else
            write_escaped(p[i], out);
        i++;
    }
    buf_add_char(out, '"');
    return !out->overflow;
}

static const json_t *field(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return v && !json_is_null(v) ? v : NULL;
}

int json_get_bool(const json_t *obj, const char *key, bool *ret, struct err *err)
{
    const json_t *v = field(obj, key);
    if (!v)
        return 0;
    if (!json_is_boolean(v))
        return err_set_param(err, ERR_INVALID, key, "'%s' must be true or false", key);
    *ret = json_is_true(v);
    return 0;
}

int json_get_i64(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *ret,
                 struct err *err)
{
    const json_t *v = field(obj, key);
    if (!v)
        return 0;
    if (!json_is_integer(v))
        return err_set_param(err, ERR_INVALID, key, "'%s' must be an integer", key);
    json_int_t n = json_integer_value(v);
    if (n < min || n > max)
        return err_set_param(err, ERR_INVALID, key,
                             "'%s' is %" JSON_INTEGER_FORMAT ", must be between %" PRId64
                             " and %" PRId64,
                             key, n, min, max);
    *ret = n;
    return 0;
}

int json_get_f64(const json_t *obj, const char *key, double min, double max, double *ret,
                 struct err *err)
{
    const json_t *v = field(obj, key);
    if (!v)
        return 0;
    if (!json_is_number(v))
        return err_set_param(err, ERR_INVALID, key, "'%s' must be a number", key);
    double n = json_number_value(v);
    if (!(n >= min && n <= max))
        return err_set_param(err, ERR_INVALID, key, "'%s' is %g, must be between %g and %g", key, n,
                             min, max);
    *ret = n;
    return 0;
}

int json_get_str(const json_t *obj, const char *key, struct str *ret, struct err *err)
{
    const json_t *v = field(obj, key);
    if (!v)
        return 0;
    if (!json_is_string(v))
        return err_set_param(err, ERR_INVALID, key, "'%s' must be a string", key);
    *ret = json_str(v);
    return 0;
}

struct str json_str(const json_t *string)
{
    if (!json_is_string(string))
        return STR("");
    return (struct str){json_string_value(string), json_string_length(string)};
}
