/*
 * chat: from messages to the prompt's text, through the model's own template.
 *
 * chat_new compiles the template and probes it at load (a user turn; system + user; content as
 * parts or text; tools if the template speaks of them), so that a broken template is found when the
 * model loads. A model without a template gets a documented plain one (chat_template_is_fallback
 * says so).
 */
#ifndef HEARTH_TEXT_CHAT_H
#define HEARTH_TEXT_CHAT_H

#include "text/jinja.h"
#include "text/tokenizer.h"

struct chat;

/* source may be empty (no template in the file). bos/eos token texts become template variables. */
int chat_new(struct str source, struct str bos_token, struct str eos_token, struct chat **ret,
             struct err *err) __attribute__((warn_unused_result));
void chat_free(struct chat *c);
bool chat_template_is_fallback(const struct chat *c);
bool chat_supports_system(const struct chat *c); /* found by probing */
bool chat_supports_tools(const struct chat *c);

/*
 * request: {"messages": [...], "tools": [...]?, "add_generation_prompt": bool?, ...more variables}.
 * Messages as OpenAI writes them; content parts of type text are joined when the template wants
 * text. tool_calls[].function.arguments given as a JSON string is parsed into an object for the
 * template. Appends the rendered prompt. ERR_INVALID with the template's own message.
 */
int chat_render(const struct chat *c, const json_t *request, struct buf *out, struct err *err)
    __attribute__((warn_unused_result));

#endif
