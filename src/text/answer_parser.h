/*
 * answer_parser: what a model writes, split into its answer, its thoughts and its tool calls, as it
 * comes.
 *
 * Takes the text with its markers, in pieces of any size: what comes out does not depend on how the
 * text is cut. Arguments of calls are JSON without white space, whatever the model wrote
 * (json_mend); what looks like a call and is none is given back as content; nothing is ever an
 * error. White space around thoughts and calls is left out.
 */
#ifndef HEARTH_TEXT_ANSWER_PARSER_H
#define HEARTH_TEXT_ANSWER_PARSER_H

#include "base/json.h"
#include "text/dialect.h"

enum answer_channel { ANSWER_CONTENT, ANSWER_THOUGHT, ANSWER_CALL };

struct answer_sink {
    void *ctx;
    void (*text)(void *ctx, enum answer_channel channel, struct str text);
    void (*call)(void *ctx, struct str name); /* one begins; its arguments come as ANSWER_CALL */
};

struct answer_options {
    const struct dialect *dialect; /* borrowed */
    const json_t *tools;           /* borrowed; OpenAI's shape; NULL: calls are not looked for */
    bool in_thought;               /* the prompt has opened the thoughts */
    bool must_call; /* a call is demanded: one that is cut off before it began is no content */
};

struct answer_parser;
struct answer_parser *answer_parser_new(const struct answer_options *o,
                                        const struct answer_sink *sink);
void answer_parser_free(struct answer_parser *p); /* NULL is fine */
void answer_parser_push(struct answer_parser *p, struct str text);
/* No more comes: what is held back comes out, calls are closed. is_cut: the model had not ended:
 * the arguments of a call that is not over stay as far as they came, and are no JSON, so that
 * nobody takes them for the whole. */
void answer_parser_finish(struct answer_parser *p, bool is_cut);
/* Bytes at the end of the text that are held back: they have not come out yet. */
size_t answer_parser_held(const struct answer_parser *p);
bool answer_parser_in_thought(const struct answer_parser *p);
int answer_parser_n_calls(const struct answer_parser *p);

/* Whether a prompt that ends like this has opened the thoughts. */
bool answer_prompt_thinks(const struct dialect *d, struct str prompt);

#endif
