/*
 * char_set: a growing list of ranges of characters, for the front ends that read classes.
 */
#ifndef HEARTH_GRAMMAR_CHAR_SET_H
#define HEARTH_GRAMMAR_CHAR_SET_H

#include "grammar/grammar.h"

#define CHAR_MAX_CODE 0x10ffffu
#define CHAR_SET_MAX  4096 /* ranges of one class */

struct char_set {
    struct grammar_range *r;
    size_t n, cap;
    bool overflow; /* one that had no room was added */
};

void char_set_add(struct char_set *s, uint32_t from, uint32_t to);
void char_set_add_all(struct char_set *s, const struct grammar_range *r, size_t n);
/* Turns it into what it was not; sorts it. */
void char_set_invert(struct char_set *s);
void char_set_release(struct char_set *s);

#endif
