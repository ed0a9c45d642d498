/*
 * utf8_step: well-formed UTF-8 as a table of states (Unicode 15, table 3-7). State 0 stands between
 * characters.
 */
#ifndef HEARTH_GRAMMAR_UTF8_STEP_H
#define HEARTH_GRAMMAR_UTF8_STEP_H

#include "base/str.h"

#define UTF8_STATES 8

int utf8_step(int state, uint8_t byte); /* the next state; -1: not well-formed */
bool utf8_is_whole(struct str s);       /* well-formed, and ends between characters */
#define UTF8_LEN_MAX 4
/* The character that s begins with, and how many bytes it has; 0: it is not well-formed. */
int utf8_get(struct str s, uint32_t *ret);
int utf8_put(uint32_t code, uint8_t ret[UTF8_LEN_MAX]); /* how many bytes; code <= 0x10ffff */

#endif
