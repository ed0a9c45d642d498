/*
 * shorten: a conversation without its oldest messages.
 *
 * System messages stay, and so do the last message and the calls whose results stand there; the
 * result of a call goes with the call.
 *
 *     struct shortening s;
 *     if (shortening_init(&s, messages))
 *         for (size_t n = 1; n <= s.n_may_go; n++)
 *             ... shortening_without(&s, n) ...
 *     shortening_release(&s);
 *
 * Time is the conversation's length, for each of them.
 */
#ifndef HEARTH_WORKER_SHORTEN_H
#define HEARTH_WORKER_SHORTEN_H

#include "base/json.h"

struct shortening {
    const json_t *messages; /* borrowed */
    size_t *call_at; /* the message with the call of which this one is a result; else itself */
    size_t tail;     /* from here on all stay */
    size_t n_may_go; /* messages before the tail */
};

/* messages: an array. False: no memory; to be released all the same. */
bool shortening_init(struct shortening *s, const json_t *messages)
    __attribute__((warn_unused_result));
void shortening_release(struct shortening *s);
/* The messages without the n oldest that may go, and without the results of those; NULL: no
 * memory. */
json_t *shortening_without(const struct shortening *s, size_t n)
    __attribute__((warn_unused_result));

#endif
