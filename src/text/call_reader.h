/*
 * call_reader: tool calls out of JSON: {"name": ..., "arguments": {...}}, an array of those, or
 * {"function": {...}} around them, with the keys that models use.
 *
 * Reads what json_mend writes (valid, no white space between parts), a byte at a time, and hands on
 * the name as soon as it is known and the arguments as they come. Arguments that are a string of
 * JSON are taken out of it.
 */
#ifndef HEARTH_TEXT_CALL_READER_H
#define HEARTH_TEXT_CALL_READER_H

#include "base/json.h"
#include "text/json_mend.h"

struct call_sink {
    void *ctx;
    bool (*begin)(void *ctx, struct str name); /* false: this is no tool */
    void (*args)(void *ctx, struct str text);
};

struct call_reader {
    struct call_sink sink;
    int depth;
    int level; /* depth of the members of a call; 0: not known yet */
    int wraps; /* levels of {"function": ...} that we are in */
    bool in_string, is_escaped, is_key, has_text; /* of the string at hand */
    int role;                                     /* enum of the .c: what the value at hand is */
    bool began, has_args, in_value;
    struct buf text;        /* a key or a name */
    struct buf early;       /* arguments that came before the name */
    struct json_mend inner; /* of arguments inside a string */
    struct buf inner_text;
    char unit[12];
    int n_unit;
    int n_calls;
    bool failed;        /* what it read is no call */
    bool first_decides; /* set after a clear: an object whose first name is not one of
                           call_reader_first_names is no call */
};

void call_reader_init(struct call_reader *r, const struct call_sink *sink);
void call_reader_release(struct call_reader *r);
void call_reader_clear(struct call_reader *r);
void call_reader_push(struct call_reader *r, struct str text);
/* A new array of strings; NULL: no memory. */
json_t *call_reader_first_names(void);

#endif
