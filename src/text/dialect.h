/*
 * dialect: how one model writes that it thinks and that it calls tools.
 *
 * Found from the model's chat template: first by markers that only one family of models has, else
 * by rendering a conversation with a made-up call and looking how it is written; a template that
 * has no place for tools gets Hermes' way, which chat.h then explains to the model. docs/tools.md
 * lists the dialects.
 */
#ifndef HEARTH_TEXT_DIALECT_H
#define HEARTH_TEXT_DIALECT_H

#include "base/str.h"

enum dialect_body {                 /* what follows the marker that opens a call */
                    DIALECT_JSON,   /* {"name", "arguments"}, or an array of those */
                    DIALECT_NAMED,  /* the name, more markers, then the arguments as JSON */
                    DIALECT_TAGS,   /* <function=name><parameter=key>value</parameter></function> */
                    DIALECT_PAIRS,  /* name <arg_key>key</arg_key><arg_value>value</arg_value> */
                    DIALECT_PYTHON, /* [name(key=value, ...), ...] */
                    DIALECT_LINES,  /* name, a line's end, and then JSON, or the answer when it is
                                       "all" */
                    DIALECT_HARMONY, /* channels, each with a header */
};

#define DIALECT_MARKERS 4

struct dialect {
    const char *name; /* for people: "hermes" */
    enum dialect_body body;
    const char *open[DIALECT_MARKERS]; /* each begins a call, or a list of them; NULL: no more */
    const char *close;                 /* after it, if there is one */
    const char *quote;                 /* a marker that stands for a quotation mark; or NULL */
    const char *drop[DIALECT_MARKERS]; /* markers that say nothing: of lists, of answers */
    bool bare; /* a call may come without a marker, as the whole of the answer; its name decides */
    /* How a call is written when it is written well; before_name NULL: not known. */
    const char *begin, *before_name, *after_name, *after_args, *between, *end;
    /* Thinking; NULL: it does not, or not so. */
    const char *think_open, *think_close;
};

/* Fills *ret from a template's text; the strings are static. False when no family is known: ret
 * then says how it thinks, and no more. */
bool dialect_of_template(struct str source, struct dialect *ret);
/* Hermes' way. */
void dialect_fallback(struct dialect *ret);
/*
 * From a rendering of a call of the tool `name` with the argument `argument`, from where it differs
 * from one without a call. True when a pattern was seen; strings that are cut out of it are put
 * into store[0..1], owned by the caller.
 */
bool dialect_of_rendering(struct str rendered, struct str name, struct str argument,
                          struct dialect *ret, char *store[2]);
/* Whether a control token of this text says anything in the dialect. */
bool dialect_shows(const struct dialect *d, struct str token);

#endif
