/*
 * jinja_utf8: code points of valid UTF-8, and the classes and case mappings of Python's str.
 */
#ifndef HEARTH_TEXT_JINJA_UTF8_H
#define HEARTH_TEXT_JINJA_UTF8_H

#include "base/str.h"

/* Bytes of the code point that starts with this byte. */
static inline size_t u8_len(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}
bool u8_valid(struct str s);
size_t u8_count(struct str s);                     /* code points; s is valid */
uint32_t u8_get(const char *p, size_t *ret_bytes); /* p is at a code point */
size_t u8_put(uint32_t cp, char out[4]);
size_t u8_prev(struct str s, size_t at); /* start of the code point that ends at `at` > 0 */

bool u_is_space(uint32_t cp);    /* str.isspace, str.strip */
bool u_is_line_end(uint32_t cp); /* str.splitlines */
bool u_is_alpha(uint32_t cp);    /* str.isalpha */
bool u_is_decimal(uint32_t cp);  /* str.isdecimal */
bool u_is_digit(uint32_t cp);    /* str.isdigit */
bool u_is_numeric(uint32_t cp);  /* str.isnumeric */
bool u_is_alnum(uint32_t cp);    /* str.isalnum */
bool u_is_word(uint32_t cp);     /* \w */
bool u_is_upper(uint32_t cp);    /* str.isupper counts it */
bool u_is_lower(uint32_t cp);    /* str.islower counts it */
bool u_is_title(uint32_t cp);    /* category Lt */
bool u_is_cased(uint32_t cp);
bool u_is_printable(uint32_t cp); /* repr shows it as it is */
bool u_is_id_start(uint32_t cp);
bool u_is_id_continue(uint32_t cp);

#define U_CASE_MAX 3 /* code points that one can become */
size_t u_to_upper(uint32_t cp, uint32_t out[U_CASE_MAX]);
size_t u_to_lower(uint32_t cp, uint32_t out[U_CASE_MAX]); /* final sigma is the caller's */
size_t u_to_title(uint32_t cp, uint32_t out[U_CASE_MAX]);
bool u_is_case_ignorable(uint32_t cp);

#endif
