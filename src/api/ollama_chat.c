/*
 * ollama_chat: POST /api/chat.
 */
#include "api/ollama_request.h"
#include "api/sampling.h"
#include "base/mem.h"

#include <stddef.h>

static int take_messages(const char *name, const json_t *v, void *into, struct err *err)
{
    struct ollama_reading *g = into;
    g->r.messages = ollama_messages_read(name, v, err);
    if (g->r.messages == NULL)
        return err != NULL ? err->code : ERR_INVALID;
    return 0;
}

static const struct api_field fields[] = {
    OLLAMA_SHARED_FIELDS,
    {"messages", API_ANY, API_HONOURED, .take = take_messages, .sub = ollama_message_fields,
     .n_sub = OLLAMA_N_MESSAGE},
    {"tools", API_ANY, API_HONOURED, .take = ollama_take_tools},
};

static int read_body(const json_t *body, struct ollama_reading *g, struct err *err)
{
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    int code = api_fields_read(fields, ARRAY_LEN(fields), body, "", g, err);
    if (code == 0 && json_array_size(g->r.messages) == 0) {
        /* loads the model, which the gateway does; whoever comes here otherwise has no prompt */
        json_decref(g->r.messages);
        g->r.messages = NULL;
    }
    return code == 0 ? ollama_reading_finish(g, err) : code;
}

static int parse(const json_t *body, const json_t *defaults, struct api_request *ret,
                 struct err *err)
{
    struct ollama_reading g;
    int code = ollama_reading_init(&g, &ollama_chat, defaults, err);
    if (code == 0)
        code = read_body(body, &g, err);
    return ollama_reading_end(&g, code, ret);
}

const struct api_endpoint ollama_chat = {
    .path = "/api/chat",
    .is_chat = true,
    .fields = fields,
    .n_fields = ARRAY_LEN(fields),
    .parse = parse,
    OLLAMA_ANSWERS,
};
