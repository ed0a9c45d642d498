/*
 * jinja_str: string operations that methods and filters share.
 */
#ifndef HEARTH_TEXT_JINJA_STR_H
#define HEARTH_TEXT_JINJA_STR_H

#include "text/jinja_eval.h"

enum jcase { CASE_LOWER, CASE_UPPER, CASE_TITLE, CASE_CAPITALIZE, CASE_SWAP, CASE_FOLD };
bool jstr_case(struct jrun *r, struct str text, enum jcase how, struct jsink *sink);
enum jstrip { STRIP_LEFT = 1, STRIP_RIGHT = 2, STRIP_BOTH = 3 };
/* chars: a string of the characters to strip, or J_NONE / J_MISSING for white space. */
bool jstr_strip(struct jrun *r, struct jval s, struct jval chars, enum jstrip sides,
                struct jval *ret);
bool jstr_replace(struct jrun *r, struct jval s, struct str from, struct str to, int64_t count,
                  struct jval *ret);
bool jstr_splitlines(struct jrun *r, struct jval s, bool keep_ends, struct jlist **ret);
enum jpad { PAD_LEFT, PAD_RIGHT, PAD_CENTER }; /* where the filling goes */
bool jstr_pad(struct jrun *r, struct jval s, int64_t width, struct str fill, enum jpad where,
              struct jval *ret);
typedef bool (*jcp_test)(uint32_t cp);
bool jstr_all(struct str s, jcp_test test);  /* not empty, and every code point passes */
bool jstr_is_case(struct str s, bool upper); /* str.isupper, str.islower */

#endif
