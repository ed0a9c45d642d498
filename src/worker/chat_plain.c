/*
 * chat_plain: stands in for text/chat in builds that do not have it yet (see meson.build): turns
 * marked as ChatML does, text content only. Goes when text/chat is there.
 */
#include "base/json.h"
#include "base/mem.h"
#include "text/chat.h"

#include <stdlib.h>

struct chat {
    bool is_fallback;
};

int chat_new(struct str source, struct str bos_token, struct str eos_token, struct chat **ret,
             struct err *err)
{
    (void)source, (void)bos_token, (void)eos_token, (void)err;
    *ret = mem_zero(1, sizeof(**ret));
    (*ret)->is_fallback = true;
    return 0;
}

void chat_free(struct chat *c)
{
    free(c);
}

bool chat_template_is_fallback(const struct chat *c)
{
    return c->is_fallback;
}

bool chat_supports_system(const struct chat *c)
{
    (void)c;
    return true;
}

bool chat_supports_tools(const struct chat *c)
{
    (void)c;
    return false;
}

int chat_render(const struct chat *c, const json_t *request, struct buf *out, struct err *err)
{
    (void)c;
    const json_t *messages = json_object_get(request, "messages");
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *one = json_array_get(messages, i);
        struct str role = json_str(json_object_get(one, "role"));
        struct str content = json_str(json_object_get(one, "content"));
        buf_printf(out, "<|im_start|>%.*s\n", STR_ARG(role));
        buf_add_str(out, content);
        buf_add_z(out, "<|im_end|>\n");
    }
    bool ok = buf_add_z(out, "<|im_start|>assistant\n");
    return ok ? 0 : err_set(err, ERR_LIMIT, "the prompt is too long");
}
