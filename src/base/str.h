/*
 * str: a borrowed view of bytes (not NUL-terminated, not owned).
 *
 * A struct str is passed by value and never outlives what it points into. Bytes are not
 * assumed to be UTF-8. All functions are pure and safe on any thread.
 */
#ifndef HEARTH_BASE_STR_H
#define HEARTH_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    const char *ptr;
    size_t len;
};

#define STR(lit)                                                                                   \
    (struct str)                                                                                   \
    {                                                                                              \
        "" lit, sizeof(lit) - 1                                                                    \
    }
/* For printf: "%.*s" with STR_ARG(s). */
#define STR_ARG(s) (int)((s).len > INT32_MAX ? INT32_MAX : (s).len), (s).ptr

struct str str_z(const char *z); /* of a NUL-terminated string; NULL gives the empty view */
struct str str_sub(struct str s, size_t from, size_t len); /* clamped to s */
struct str str_from(struct str s, size_t from);            /* s[from..], clamped */
bool str_eq(struct str a, struct str b);
bool str_eq_z(struct str a, const char *z);
bool str_eq_nocase(struct str a, struct str b); /* ASCII only */
int str_cmp(struct str a, struct str b);        /* bytewise, shorter first */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
/* Index of the first byte or substring, or -1. */
ptrdiff_t str_chr(struct str s, char c);
ptrdiff_t str_rchr(struct str s, char c);
ptrdiff_t str_find(struct str s, struct str needle);
struct str str_trim(struct str s); /* ASCII white space at both ends */
/*
 * Cuts the part before `sep` off *rest into *ret_part. False when *rest is exhausted
 * (rest->ptr == NULL). An empty input yields one empty part.
 */
bool str_split(struct str *rest, char sep, struct str *ret_part);
/* Whole-string numbers, base 10, optional sign where it applies; false on anything else. */
bool str_to_i64(struct str s, int64_t *ret_value);
bool str_to_u64(struct str s, uint64_t *ret_value);
bool str_to_f64(struct str s, double *ret_value); /* finite values only */
char *str_dup(struct str s);                      /* heap, NUL-terminated; owned */

#endif
