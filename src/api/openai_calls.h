/*
 * openai_calls: the tool calls of one choice, from a worker's fragments to OpenAI's shapes: a
 * stream's `delta` and the whole answer's `message` members, each with the key before it.
 */
#ifndef HEARTH_API_OPENAI_CALLS_H
#define HEARTH_API_OPENAI_CALLS_H

#include "api/request.h"

enum openai_call_shape {
    OPENAI_CALL_FUNCTION,   /* tool_calls, "function": {name, arguments} */
    OPENAI_CALL_CUSTOM,     /* tool_calls, "custom": {name, input}: comes when it is whole */
    OPENAI_CALL_DEPRECATED, /* function_call: {name, arguments} */
};

struct openai_calls {
    struct buf text; /* whole: the inside of "tool_calls", but for what closes the last one */
    struct buf args; /* of a custom call that is not whole yet */
    enum openai_call_shape shape; /* of the last one */
    int64_t n;                    /* calls that began */
    bool open;                    /* the last one is not closed */
};

void openai_calls_init(struct openai_calls *c, size_t bytes_max);
void openai_calls_release(struct openai_calls *c);
/* own: api_request.own, or NULL. */
enum openai_call_shape openai_call_shape(const json_t *own, const char *name);
/*
 * Takes one delta of GEN_TOOL_CALL. A stream: appends to `delta` the member to send, if anything is
 * ("tool_calls":[...]). Whole (delta NULL): gathers. False: memory, or a fragment without a call.
 */
bool openai_calls_add(struct openai_calls *c, const struct api_answer *a, const json_t *own,
                      int i_choice, const struct gen_delta *d, struct buf *delta);
/* No more comes of the last call: what was held back of it. */
bool openai_calls_close(struct openai_calls *c, struct buf *delta);
/* Whole, after the close: ,"tool_calls":[...] or nothing. */
bool openai_calls_write(const struct openai_calls *c, struct buf *out);

#endif
