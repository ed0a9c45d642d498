/*
 * field: the loops behind the tables. Knows no struct by name.
 */
#include "ipc/field.h"

#include <math.h>
#include <string.h>

static json_t *field_write(const struct field *f, const char *at)
{
    int64_t i64;
    double f64;
    switch (f->kind) {
    case FIELD_I64:
    case FIELD_BITS:
        memcpy(&i64, at, sizeof(i64));
        return json_integer(i64);
    case FIELD_F64:
        memcpy(&f64, at, sizeof(f64));
        return isfinite(f64) ? json_real(f64) : json_null();
    case FIELD_BOOL:
        return json_boolean(*(const bool *)at);
    case FIELD_CHARS:
        return json_stringn(at, strnlen(at, f->size));
    case FIELD_OTHER:
        break;
    }
    return NULL;
}

json_t *fields_write(const struct field *f, size_t n, const void *from)
{
    json_t *obj = json_object();
    for (size_t i = 0; obj && i < n; i++) {
        if (f[i].kind == FIELD_OTHER)
            continue;
        json_t *value = field_write(&f[i], (const char *)from + f[i].offset);
        if (json_object_set_new(obj, f[i].name, value) != 0) {
            json_decref(obj);
            return NULL;
        }
    }
    return obj;
}

static int chars_read(const struct field *f, const json_t *obj, char *at, struct err *err)
{
    struct str s = {at, strnlen(at, f->size)};
    int rc = json_get_str(obj, f->name, &s, err);
    if (rc != 0 || s.ptr == at)
        return rc;
    if (s.len >= f->size || memchr(s.ptr, 0, s.len))
        return err_set_param(err, ERR_INVALID, f->name, "%s is longer than %zu bytes", f->name,
                             f->size - 1);
    memcpy(at, s.ptr, s.len);
    at[s.len] = 0;
    return 0;
}

static int field_read(const struct field *f, const json_t *obj, char *at, struct err *err)
{
    int rc = 0;
    int64_t i64;
    double f64;
    switch (f->kind) {
    case FIELD_I64:
        memcpy(&i64, at, sizeof(i64));
        rc = json_get_i64(obj, f->name, (int64_t)f->min, (int64_t)f->max, &i64, err);
        memcpy(at, &i64, sizeof(i64));
        break;
    case FIELD_BITS:
        memcpy(&i64, at, sizeof(i64));
        rc = json_get_i64(obj, f->name, INT64_MIN, INT64_MAX, &i64, err);
        memcpy(at, &i64, sizeof(i64));
        break;
    case FIELD_F64:
        memcpy(&f64, at, sizeof(f64));
        rc = json_get_f64(obj, f->name, f->min, f->max, &f64, err);
        memcpy(at, &f64, sizeof(f64));
        break;
    case FIELD_BOOL:
        rc = json_get_bool(obj, f->name, (bool *)at, err);
        break;
    case FIELD_CHARS:
        rc = chars_read(f, obj, at, err);
        break;
    case FIELD_OTHER:
        break;
    }
    return rc;
}

static bool name_known(const struct field *f, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(f[i].name, name) == 0)
            return true;
    return strcmp(name, "t") == 0;
}

int fields_read(const struct field *f, size_t n, const json_t *obj, void *into, struct err *err)
{
    if (!json_is_object(obj))
        return err_set(err, ERR_INVALID, "expected an object");
    const char *name;
    json_t *value;
    json_object_foreach(
        (json_t *)obj, name,
        value) if (!name_known(f, n, name)) return err_set_param(err, ERR_INVALID, name,
                                                                 "unknown field %.64s", name);
    for (size_t i = 0; i < n; i++) {
        int rc = field_read(&f[i], obj, (char *)into + f[i].offset, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}
