/*
 * gguf_value: owns the reading of metadata values: lookup, typed getters, conversion. Must not know
 * files. Values were bounds-checked when the file was parsed; here their types and ranges are.
 */
#include "format/gguf_file.h"

#include "base/mem.h"

#include <endian.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct gguf_label gguf_label(struct str s)
{
    struct gguf_label l;
    size_t n = 0;
    for (size_t i = 0; i < s.len && n < 80; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        l.z[n++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    if (s.len > n)
        memcpy(&l.z[n - 3], "...", 3);
    l.z[n] = 0;
    return l;
}

const char *gguf_type_name(enum gguf_type t)
{
    static const char *const names[] = {
        [GGUF_U8] = "u8",   [GGUF_I8] = "i8",   [GGUF_U16] = "u16", [GGUF_I16] = "i16",
        [GGUF_U32] = "u32", [GGUF_I32] = "i32", [GGUF_F32] = "f32", [GGUF_BOOL] = "bool",
        [GGUF_STR] = "str", [GGUF_ARR] = "arr", [GGUF_U64] = "u64", [GGUF_I64] = "i64",
        [GGUF_F64] = "f64",
    };
    return (size_t)t < ARRAY_LEN(names) ? names[t] : "?";
}

bool gguf_type_is_int(enum gguf_type t)
{
    switch (t) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_U16:
    case GGUF_I16:
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_U64:
    case GGUF_I64:
        return true;
    case GGUF_F32:
    case GGUF_BOOL:
    case GGUF_STR:
    case GGUF_ARR:
    case GGUF_F64:
        break;
    }
    return false;
}

/* ---- the index of keys ---- */

static int by_key(const void *a, const void *b, void *ctx)
{
    const struct gguf_kv *kv = ctx;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = str_cmp(kv[x].key, kv[y].key);
    return order != 0 ? order : (x > y) - (x < y);
}

int gguf_kv_list_index(struct gguf_kv_list *list, size_t *ret_twice, struct err *err)
{
    *ret_twice = SIZE_MAX;
    if (list->n == 0)
        return 0;
    list->by_key = mem_try_array(list->n, sizeof(*list->by_key));
    if (list->by_key == NULL)
        return err_set(err, ERR_NOMEM, "out of memory for the index of %zu keys", list->n);
    for (size_t i = 0; i < list->n; i++)
        list->by_key[i] = (uint32_t)i;
    qsort_r(list->by_key, list->n, sizeof(*list->by_key), by_key, list->kv);
    for (size_t i = 1; i < list->n; i++)
        if (str_eq(list->kv[list->by_key[i - 1]].key, list->kv[list->by_key[i]].key))
            *ret_twice = list->by_key[i];
    return 0;
}

const struct gguf_kv *gguf_kv_list_find(const struct gguf_kv_list *list, struct str key)
{
    size_t low = 0, high = list->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct gguf_kv *kv = &list->kv[list->by_key[mid]];
        int order = str_cmp(key, kv->key);
        if (order == 0)
            return kv;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

void gguf_kv_list_release(struct gguf_kv_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->kv[i].strings);
    free(list->kv);
    free(list->by_key);
    *list = (struct gguf_kv_list){0};
}

size_t gguf_n_kv(const struct gguf *g)
{
    return g->part[0].kvs.n;
}

const struct gguf_kv *gguf_kv_at(const struct gguf *g, size_t i)
{
    return &g->part[0].kvs.kv[i];
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
    return gguf_kv_list_find(&g->part[0].kvs, str_z(key));
}

/* ---- conversion ---- */

/* Element i of an integer or bool array as sign and magnitude: value = negative ? -m : m. */
static bool load_int(const struct gguf_kv *kv, uint64_t i, bool *ret_negative, uint64_t *ret_m)
{
    union {
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
    } v;
    int64_t s;
    *ret_negative = false;
    switch (kv->elem_type) {
    case GGUF_U8:
    case GGUF_BOOL:
        *ret_m = kv->data[i];
        return true;
    case GGUF_U16:
        memcpy(&v.u16, kv->data + 2 * i, 2);
        *ret_m = le16toh(v.u16);
        return true;
    case GGUF_U32:
        memcpy(&v.u32, kv->data + 4 * i, 4);
        *ret_m = le32toh(v.u32);
        return true;
    case GGUF_U64:
        memcpy(&v.u64, kv->data + 8 * i, 8);
        *ret_m = le64toh(v.u64);
        return true;
    case GGUF_I8:
        s = (int8_t)kv->data[i];
        break;
    case GGUF_I16:
        memcpy(&v.u16, kv->data + 2 * i, 2);
        s = (int16_t)le16toh(v.u16);
        break;
    case GGUF_I32:
        memcpy(&v.u32, kv->data + 4 * i, 4);
        s = (int32_t)le32toh(v.u32);
        break;
    case GGUF_I64:
        memcpy(&v.u64, kv->data + 8 * i, 8);
        s = (int64_t)le64toh(v.u64);
        break;
    default:
        return false;
    }
    *ret_negative = s < 0;
    *ret_m = s < 0 ? -(uint64_t)s : (uint64_t)s;
    return true;
}

static bool load_float(const struct gguf_kv *kv, uint64_t i, double *ret)
{
    union {
        uint32_t u32;
        uint64_t u64;
        float f32;
        double f64;
    } v;
    if (kv->elem_type == GGUF_F32) {
        memcpy(&v.u32, kv->data + 4 * i, 4);
        v.u32 = le32toh(v.u32);
        *ret = (double)v.f32;
        return true;
    }
    if (kv->elem_type == GGUF_F64) {
        memcpy(&v.u64, kv->data + 8 * i, 8);
        v.u64 = le64toh(v.u64);
        *ret = v.f64;
        return true;
    }
    return false;
}

int64_t gguf_arr_i64(const struct gguf_kv *kv, uint64_t i)
{
    bool negative;
    uint64_t m;
    double x;
    if (load_int(kv, i, &negative, &m)) {
        if (negative)
            return m > (uint64_t)INT64_MAX ? INT64_MIN : -(int64_t)m;
        return m > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)m;
    }
    if (!load_float(kv, i, &x) || isnan(x))
        return 0;
    if (x >= 0x1p63)
        return INT64_MAX;
    return x < -0x1p63 ? INT64_MIN : (int64_t)x;
}

double gguf_arr_f64(const struct gguf_kv *kv, uint64_t i)
{
    bool negative;
    uint64_t m;
    double x;
    if (load_int(kv, i, &negative, &m))
        return negative ? -(double)m : (double)m;
    return load_float(kv, i, &x) && !isnan(x) ? x : 0.0;
}

/* ---- getters ---- */

static int wrong_type(const struct gguf_kv *kv, const char *wanted, struct err *err)
{
    struct gguf_label key = gguf_label(kv->key);
    return err_set_param(err, ERR_CORRUPT, key.z, "key '%s' is of type %s%s, not %s", key.z,
                         kv->type == GGUF_ARR ? "array of " : "", gguf_type_name(kv->elem_type),
                         wanted);
}

int gguf_kv_u64(const struct gguf_kv *kv, uint64_t min, uint64_t max, uint64_t *ret,
                struct err *err)
{
    bool negative;
    uint64_t m;
    if (!gguf_type_is_int(kv->type) || !load_int(kv, 0, &negative, &m))
        return wrong_type(kv, "an integer", err);
    if (negative || m < min || m > max) {
        struct gguf_label key = gguf_label(kv->key);
        return err_set_param(err, ERR_CORRUPT, key.z,
                             "key '%s' is %s%" PRIu64 "; it must be from %" PRIu64 " to %" PRIu64,
                             key.z, negative ? "-" : "", m, min, max);
    }
    *ret = m;
    return 0;
}

int gguf_get_u64(const struct gguf *g, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
                 struct err *err)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    return kv != NULL ? gguf_kv_u64(kv, min, max, ret, err) : 0;
}

int gguf_get_f64(const struct gguf *g, const char *key, double *ret, struct err *err)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    double x;
    if (kv == NULL)
        return 0;
    if (kv->type == GGUF_ARR || !load_float(kv, 0, &x))
        return wrong_type(kv, "a float", err);
    if (!isfinite(x))
        return err_set_param(err, ERR_CORRUPT, key, "key '%s' is not a finite number", key);
    *ret = x;
    return 0;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *ret, struct err *err)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    if (kv == NULL)
        return 0;
    if (kv->type != GGUF_BOOL)
        return wrong_type(kv, "a bool", err);
    *ret = kv->data[0] != 0;
    return 0;
}

int gguf_get_str(const struct gguf *g, const char *key, struct str *ret, struct err *err)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    if (kv == NULL)
        return 0;
    if (kv->type != GGUF_STR)
        return wrong_type(kv, "a string", err);
    *ret = kv->strings[0];
    return 0;
}
