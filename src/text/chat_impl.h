/*
 * chat_impl: what chat.c and chat_probe.c share.
 */
#ifndef HEARTH_TEXT_CHAT_IMPL_H
#define HEARTH_TEXT_CHAT_IMPL_H

#include "text/chat.h"

#include <jansson.h>

struct chat_caps {           /* found by trying */
    bool system;             /* a system message comes out */
    bool tools;              /* a tool's name comes out */
    bool calls;              /* a tool call comes out */
    bool parts_only;         /* content must be a list of parts */
    bool arguments_as_text;  /* a tool call's arguments must be a JSON string */
    bool tools_must_be_list; /* absent tools must be [] and not none */
    bool null_content_fails; /* a tool call must have a content, at least "" */
    bool think_switch;       /* enable_thinking or thinking change the prompt's end */
};

struct chat {
    struct jinja *tmpl;
    char *bos, *eos;
    bool fallback;
    struct chat_caps caps;
    struct dialect dialect;
    char *markers[2]; /* of a dialect found by trying; owned */
};

/* Puts tools and calls in words, for templates that have no place for them: changes vars. */
int chat_fold_tools(json_t *vars, struct err *err) __attribute__((warn_unused_result));
/* Gives calls and results the ids and names that templates ask for: changes messages. */
int chat_name_calls(const struct chat *c, json_t *messages, struct err *err)
    __attribute__((warn_unused_result));
/* Fills c->dialect. */
void chat_find_dialect(struct chat *c, struct str source);

/* Renders vars as they are, with what every template may rely on added to them. */
int chat_render_raw(const struct chat *c, json_t *vars, struct buf *out, struct err *err)
    __attribute__((warn_unused_result));
/* Fills c->caps. An error when the template cannot even write a lone user message. */
int chat_probe(struct chat *c, struct err *err) __attribute__((warn_unused_result));

#endif
