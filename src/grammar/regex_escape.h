/*
 * regex_escape: the parts of a regular expression that are one character: escapes and classes.
 */
#ifndef HEARTH_GRAMMAR_REGEX_ESCAPE_H
#define HEARTH_GRAMMAR_REGEX_ESCAPE_H

#include "grammar/char_set.h"

struct regex_text {
    struct str pattern;
    size_t at;
    const char *param;
    struct err *err; /* never NULL */
};

/* Sets *err with the place; false. */
bool regex_fail(struct regex_text *t, size_t at, int code, const char *what);
/* The character at t->at, which is moved past it. */
bool regex_read_char(struct regex_text *t, uint32_t *ret);
/* Behind a backslash: a character, or a set (\d, ...), is added. */
bool regex_read_escape(struct regex_text *t, bool in_class, struct char_set *set, bool *ret_is_set,
                       uint32_t *ret_code);
/* Behind the opening bracket. */
bool regex_read_class(struct regex_text *t, struct char_set *set);

#endif
