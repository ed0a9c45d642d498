/*
 * json: jansson with limits on size and depth, and typed getters whose errors name the field.
 *
 * Getters: a missing field (or null) leaves *ret as it is and returns 0; a field of the wrong type
 * or outside [min, max] is ERR_INVALID with err->param = the field's name.
 */
#ifndef HEARTH_BASE_JSON_H
#define HEARTH_BASE_JSON_H

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>

#define JSON_DEPTH_MAX 64

/* A new reference, or NULL with ERR_SYNTAX / ERR_LIMIT and the position in the text. Duplicate
 * keys are refused; NUL inside strings is allowed. Any JSON value may stand at the top. */
json_t *json_parse(struct str text, int depth_max, struct err *err)
    __attribute__((warn_unused_result));
/* Compact text appended to out; false past out->max. Key order is kept. */
bool json_write(const json_t *value, struct buf *out);
/* Appends s as a JSON string with quotes; bytes that are not UTF-8 become U+FFFD. */
bool json_write_string(struct str s, struct buf *out);

int json_get_bool(const json_t *obj, const char *key, bool *ret, struct err *err);
int json_get_i64(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *ret,
                 struct err *err);
int json_get_f64(const json_t *obj, const char *key, double min, double max, double *ret,
                 struct err *err); /* integers are accepted */
int json_get_str(const json_t *obj, const char *key, struct str *ret,
                 struct err *err);         /* borrows */
struct str json_str(const json_t *string); /* borrows; empty when not a string */

#endif
