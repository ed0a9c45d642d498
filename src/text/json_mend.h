/*
 * json_mend: JSON as models write it into JSON, a byte at a time.
 *
 * Whatever comes in, what came out so far and what json_mend_finish adds is one valid JSON value,
 * without white space between its parts. Mended are: missing and trailing commas, quotes of Python,
 * keys and words without quotes, True, False, None, NaN, line ends inside strings, escapes that
 * JSON does not know, odd numbers, brackets that do not match, and an end that comes too early. The
 * same text gives the same bytes however it is cut.
 *
 * Quotes are " and ' and JSON_MEND_QUOTE, for dialects that have a marker for it (the text between
 * two of those knows no escapes).
 */
#ifndef HEARTH_TEXT_JSON_MEND_H
#define HEARTH_TEXT_JSON_MEND_H

#include "base/buf.h"

#define JSON_MEND_DEPTH 60
#define JSON_MEND_QUOTE '\x01'

struct json_mend {
    uint8_t state;                  /* enum of the .c */
    uint8_t depth;                  /* of open brackets */
    char bracket[JSON_MEND_DEPTH];  /* '{' or '[' */
    bool has_item[JSON_MEND_DEPTH]; /* a comma comes before the next one */
    bool is_key;                    /* the string or word at hand is one */
    char quote;                     /* of the string at hand */
    uint8_t n_escape;               /* bytes of the escape at hand */
    char escape[8];
    uint32_t high;   /* half of a pair of surrogates, not written yet; 0 */
    struct buf word; /* without quotes, so far */
};

void json_mend_init(struct json_mend *m);
void json_mend_release(struct json_mend *m);
void json_mend_clear(struct json_mend *m); /* as after init */
/* Takes one byte; false: it is not part of the value any more, which is over. */
bool json_mend_push(struct json_mend *m, char c, struct buf *out);
/* Ends the value, whatever is missing; nothing at all becomes {}. */
void json_mend_finish(struct json_mend *m, struct buf *out);
bool json_mend_is_over(const struct json_mend *m);
bool json_mend_in_string(const struct json_mend *m);

#endif
