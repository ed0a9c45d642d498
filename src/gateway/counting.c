/*
 * counting: how many tokens a prompt has: parsed as a request of its endpoint would be, rendered
 * and tokenized by the model's worker, and nothing computed. See server.h.
 */
#include "gateway/server.h"

#include "base/mem.h"
#include "gateway/generation.h"

#include <inttypes.h>

static void on_counted(struct server *s, struct exchange *x, void *ctx, const json_t *frame,
                       const struct err *err)
{
    const char *object = ctx;
    struct err bad = *err;
    int64_t n = -1;
    struct buf out;
    (void)s;
    if (bad.code == 0 && json_get_i64(frame, "n", 0, INT32_MAX, &n, &bad) == 0 && n < 0)
        err_set(&bad, ERR_INTERNAL, "the worker did not say how many tokens there are");
    if (bad.code != 0) {
        reply_error(x, &bad, NULL);
        return;
    }
    buf_init(&out, 256);
    buf_add_char(&out, '{');
    if (object != NULL)
        buf_printf(&out, "\"object\":\"%s\",", object);
    buf_printf(&out, "\"input_tokens\":%" PRId64 "}", n);
    exchange_reply(x, 200, "application/json", buf_str(&out));
    buf_release(&out);
}

/* *ret_frame: what to ask the worker. */
static int question(struct api_request *r, json_t **ret_frame, struct err *err)
{
    json_t *request = api_request_frame(r, 0, 0);
    json_t *frame = json_pack("{s:s, s:b, s:o}", "t", "tokenize", "count", 1, "request", request);
    *ret_frame = frame;
    return frame != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory for the request");
}

static int count(struct server *s, struct exchange *x, const struct api_endpoint *endpoint,
                 const json_t *body, const char *object, struct err *err)
{
    struct api_request r;
    struct slot *slot = NULL;
    json_t *frame = NULL;
    char model[GENERATION_MODEL_MAX];
    int code = endpoint->parse(body, NULL, &r, err);
    if (code != 0)
        return code;
    code = generation_model(s, &r, model, err);
    if (code == 0)
        code = ask_begin(s, x, err);
    if (code == 0)
        code = models_find(&s->models, model, false, &slot, err);
    if (code == 0)
        code = generation_messages(&r, slot, err);
    if (code == 0)
        code = question(&r, &frame, err);
    api_request_release(&r);
    if (code == 0)
        ask_worker_frame(s, x, slot, frame, on_counted, (void *)object, NULL);
    return code;
}

void counting_serve_body(struct server *s, struct exchange *x, const struct api_endpoint *endpoint,
                         const json_t *body, const char *object)
{
    struct err err = {0};
    if (count(s, x, endpoint, body, object, &err) != 0)
        reply_error(x, &err, NULL);
}

void counting_serve(struct server *s, struct exchange *x, const struct api_endpoint *endpoint,
                    const char *object)
{
    struct err err = {0};
    json_t *body = json_parse(exchange_body(x), JSON_DEPTH_MAX, &err);
    if (body == NULL)
        reply_error(x, &err, NULL);
    else
        counting_serve_body(s, x, endpoint, body, object);
    json_decref(body);
}
