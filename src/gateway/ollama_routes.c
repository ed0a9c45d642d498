/*
 * ollama_routes: POST /api/generate and /api/chat: what of them is a generation (completions.c
 * serves it), what loads or unloads a model, and what only wants to see its prompt.
 */
#include "gateway/server.h"

#include "api/ollama.h"
#include "api/ollama_request.h"
#include "base/mem.h"
#include "gateway/generation.h"

#include <stdlib.h>

#define BODY_MAX (64u << 20)

json_t *ollama_body(struct exchange *x, struct err *err)
{
    struct str text = exchange_body(x);
    if (str_trim(text).len == 0) {
        err_set(err, ERR_INVALID, "missing request body");
        return NULL;
    }
    json_t *body = json_parse(text, JSON_DEPTH_MAX, err);
    if (body != NULL && !json_is_object(body)) {
        err_set(err, ERR_INVALID, "the body must be a JSON object");
        json_decref(body);
        return NULL;
    }
    return body;
}

/* ---- loading and unloading ---- */

struct loading {
    const struct api_endpoint *endpoint;
    char *model; /* owned */
};

static void loading_free(void *ctx)
{
    struct loading *l = ctx;
    free(l->model);
    free(l);
}

static void reply_loaded(struct exchange *x, const struct api_endpoint *endpoint, struct str model,
                         const char *reason)
{
    struct buf out;
    buf_init(&out, BODY_MAX);
    ollama_write_loaded(endpoint, model, reason, &out);
    reply_json(x, 200, &out);
}

static void on_loaded(struct server *s, struct exchange *x, void *ctx, struct str text,
                      const struct err *err)
{
    const struct loading *l = ctx;
    (void)s, (void)text;
    if (err->code == 0)
        reply_loaded(x, l->endpoint, str_z(l->model), "load");
    else
        reply_error(x, err, NULL);
}

/* Answered when the model is there: the worker is asked for the tokens of no text. */
static int load(struct server *s, struct exchange *x, const struct api_endpoint *endpoint,
                const struct ollama_load *l, struct err *err)
{
    struct slot *slot;
    int code = ask_begin(s, x, err);
    if (code == 0)
        code = models_find(&s->models, l->model.ptr, false, &slot, err);
    if (code != 0)
        return code;
    if (routes_visit(x)->caller.admin)
        models_keep(&s->models, slot, l->keep_alive_given, l->keep_alive_ms);
    struct loading *ctx = mem_zero(1, sizeof *ctx);
    *ctx = (struct loading){endpoint, str_dup(l->model)};
    ask_worker(s, x, slot, json_pack("{s:s, s:s}", "t", "tokenize", "text", ""), on_loaded, ctx,
               loading_free);
    return 0;
}

static int unload(struct server *s, const struct caller *who, const struct ollama_load *l,
                  struct err *err)
{
    if (!who->admin)
        return err_set(err, ERR_DENIED,
                       "the key '%s' may not unload models: that takes a key made with 'hearth key "
                       "create NAME --admin'",
                       who->name);
    return models_unload(&s->models, l->model.ptr, err);
}

static int load_or_unload(struct server *s, struct exchange *x, const struct api_endpoint *endpoint,
                          const json_t *body, struct err *err)
{
    struct ollama_load l;
    int code = ollama_load_parse(endpoint, body, &l, err);
    if (code != 0)
        return code;
    if (!l.keep_alive_given || l.keep_alive_ms != 0)
        return load(s, x, endpoint, &l, err);
    code = unload(s, &routes_visit(x)->caller, &l, err);
    if (code == 0)
        reply_loaded(x, endpoint, l.model, "unload");
    return code;
}

/* ---- the prompt alone ---- */

struct rendering {
    struct api_request request;
    json_t *body; /* owned: the request borrows from it */
};

static void rendering_free(void *ctx)
{
    struct rendering *r = ctx;
    api_request_release(&r->request);
    json_decref(r->body);
    free(r);
}

static void on_rendered(struct server *s, struct exchange *x, void *ctx, struct str text,
                        const struct err *err)
{
    const struct rendering *r = ctx;
    struct buf out;
    (void)s;
    if (err->code != 0) {
        reply_error(x, err, NULL);
        return;
    }
    buf_init(&out, BODY_MAX);
    ollama_write_rendered(&r->request, text, &out);
    reply_json(x, 200, &out);
}

static int prepare(struct server *s, struct exchange *x, struct rendering *r,
                   const struct api_endpoint *endpoint, struct slot **ret, struct err *err)
{
    char model[GENERATION_MODEL_MAX];
    struct api_answer *answer = NULL;
    int code = endpoint->parse(r->body, NULL, &r->request, err);
    if (code == 0)
        code = generation_model(s, &r->request, model, err);
    if (code == 0)
        code = ask_begin(s, x, err);
    if (code == 0)
        code = models_find(&s->models, model, false, ret, err);
    if (code == 0)
        code = generation_prepare(r->body, &r->request, *ret, &answer, err);
    api_answer_free(answer);
    return code;
}

/* Takes body. */
static void render(struct server *s, struct exchange *x, const struct api_endpoint *endpoint,
                   json_t *body)
{
    struct err err = {0};
    struct slot *slot;
    struct rendering *r = mem_zero(1, sizeof *r);
    r->body = body;
    api_request_init(&r->request, endpoint);
    exchange_drop_body(x);
    if (prepare(s, x, r, endpoint, &slot, &err) != 0) {
        reply_error(x, &err, NULL);
        rendering_free(r);
    } else if (r->request.gen.chat == NULL) { /* as it stands */
        on_rendered(s, x, r, json_str(json_array_get(r->request.prompts, 0)), &err);
        rendering_free(r);
    } else {
        ask_worker(s, x, slot,
                   json_pack("{s:s, s:O}", "t", "render", "request", r->request.gen.chat),
                   on_rendered, r, rendering_free);
    }
}

/* ---- the routes ---- */

static void serve(struct server *s, struct exchange *x, const struct api_endpoint *endpoint)
{
    struct err err = {0};
    json_t *body = ollama_body(x, &err);
    if (body == NULL) {
        reply_error(x, &err, NULL);
    } else if (ollama_is_load(endpoint, body)) {
        if (load_or_unload(s, x, endpoint, body, &err) != 0)
            reply_error(x, &err, NULL);
        json_decref(body);
    } else if (json_is_true(json_object_get(body, "_debug_render_only"))) {
        render(s, x, endpoint, body);
    } else {
        completions_serve_body(s, x, endpoint, body, NULL);
    }
}

void ollama_serve_generate(struct server *s, struct exchange *x)
{
    serve(s, x, &ollama_generate);
}

void ollama_serve_chat(struct server *s, struct exchange *x)
{
    serve(s, x, &ollama_chat);
}
