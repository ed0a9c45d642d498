/*
 * chat: from messages to the prompt's text, through the model's own template.
 *
 * chat_new compiles the template and tries it at load (a user turn; system and user; content as
 * text or as parts; tools and tool calls), so that a broken template is found when the model loads,
 * and so that requests can be given the form that this template understands. A template that
 * refuses something by raising an exception (two user turns in a row, a system message) is not
 * broken; one that does not compile, or fails on a lone user message, or leaves that message out,
 * is.
 *
 * A model without a template gets a plain one: ChatML when its end token is <|im_end|>, else
 *     <bos>SYSTEM\n\nUser: ...\nAssistant: ...\nUser: ...\nAssistant:
 *
 * A chat is read-only after it is made; any number of threads may render with it.
 */
#ifndef HEARTH_TEXT_CHAT_H
#define HEARTH_TEXT_CHAT_H

#include "text/dialect.h"
#include "text/jinja.h"
#include "text/tokenizer.h"

struct chat;

/* source may be empty (no template in the file). bos/eos token texts become template variables. */
int chat_new(struct str source, struct str bos_token, struct str eos_token, struct chat **ret,
             struct err *err) __attribute__((warn_unused_result));
void chat_free(struct chat *c);
bool chat_template_is_fallback(const struct chat *c);
bool chat_supports_system(const struct chat *c); /* found by trying */
bool chat_supports_tools(const struct chat *c);  /* in its own way; else in words (chat_render) */
/* How the model writes thoughts and calls. */
const struct dialect *chat_dialect(const struct chat *c);

/*
 * request: {"messages": [...], "tools": [...]?, "add_generation_prompt": bool?, ...more variables}.
 * Messages as OpenAI writes them. Before they go to the template:
 * - text parts of a content are joined, unless the template takes parts only (then a text becomes
 *   a part); parts that are no text are ERR_UNSUPPORTED;
 * - a missing or null content becomes "" where the template cannot do without;
 * - tool_calls[].function.arguments becomes an object, or a JSON string, as the template wants it;
 * - where the template knows no system messages, their text goes before the first user message;
 * - with continue_final_message the last message, an assistant's, is left open: what comes out ends
 *   with its content, for the model to go on with (add_generation_prompt says nothing then);
 * - where the template has no place for tools, they are described in the system message, calls are
 *   written as text, and results are the user's;
 * - results get the name of the tool they are of; ids get the form that the template insists on;
 * - bos_token, eos_token, tools and documents are defined (the last two as none) when absent.
 * The request itself is not changed. Appends the rendered prompt, which holds the BOS token where
 * the template writes it: do not add another. ERR_INVALID with the template's own message.
 */
int chat_render(const struct chat *c, const json_t *request, struct buf *out, struct err *err)
    __attribute__((warn_unused_result));

enum chat_think { CHAT_THINK_DEFAULT, CHAT_THINK_OFF, CHAT_THINK_ON };
/*
 * Sets the template's switches in `request` (enable_thinking, thinking), where it does not set them
 * itself. chat_think_end then makes "off" hold whatever the template does with them: it ends
 * thoughts at the end of a rendered prompt, before they begin.
 */
bool chat_think_begin(const struct chat *c, enum chat_think think, json_t *request);
bool chat_think_end(const struct chat *c, enum chat_think think, const json_t *request,
                    struct buf *prompt);

#endif
