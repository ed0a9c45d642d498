/*
 * ollama_generate: POST /api/generate: a prompt through the model's template, or, with `raw` or
 * `suffix`, a text that is continued or filled in as it stands.
 */
#include "api/ollama_request.h"
#include "api/sampling.h"
#include "base/mem.h"

#include <stddef.h>
#include <string.h>

static int take_context(const char *name, const json_t *v, void *into, struct err *err)
{
    struct ollama_reading *g = into;
    if (!json_is_array(v))
        return api_wrong_type(name, "an array", v, err);
    if (json_array_size(v) == 0)
        return 0;
    g->history = ollama_context_read(v, err);
    return g->history != NULL ? 0 : err != NULL ? err->code : ERR_INVALID;
}

static const struct api_field fields[] = {
    OLLAMA_SHARED_FIELDS,
    {"prompt", API_STR, API_HONOURED, OLLAMA_AT(prompt)},
    {"suffix", API_STR, API_HONOURED, OLLAMA_AT(suffix)},
    {"system", API_STR, API_HONOURED, OLLAMA_AT(system)},
    {"raw", API_BOOL, API_HONOURED, OLLAMA_AT(raw)},
    {"context", API_ANY, API_HONOURED, .take = take_context},
    {"template", API_ANY, API_REFUSED, .take = ollama_take_template,
     .note = "templates belong to a model: make one with it (/api/create; Jinja, not Go's template "
             "language), or send the whole prompt with \"raw\": true"},
    {"images", API_ANY, API_REFUSED, .take = ollama_no_images, .note = "models here see no images"},
    {"width", API_ANY, API_REFUSED, .note = "models here make no images"},
    {"height", API_ANY, API_REFUSED, .note = "models here make no images"},
    {"steps", API_ANY, API_REFUSED, .note = "models here make no images"},
};

/* The text as it stands. */
static int finish_raw(struct ollama_reading *g, struct err *err)
{
    struct api_request *r = &g->r;
    r->gen.parse = false;
    r->gen.truncate = false;
    if (g->system.len > 0 || g->history != NULL)
        return err_set_param(err, ERR_INVALID, g->system.len > 0 ? "system" : "context",
                             "raw mode and 'suffix' do not support template, system, or context");
    if (g->suffix.len > 0) {
        r->gen.suffix = str_dup(g->suffix);
        r->gen.suffix_len = g->suffix.len;
    }
    r->prompts = json_pack("[s%]", g->prompt.ptr ? g->prompt.ptr : "", g->prompt.len);
    r->n_prompt = 1;
    return r->prompts == NULL ? err_set(err, ERR_NOMEM, "out of memory for the prompt") : 0;
}

static bool has_system(const json_t *messages)
{
    const json_t *first = json_array_get(messages, 0);
    return str_eq_z(json_str(json_object_get(first, "role")), "system");
}

static bool put_message(json_t *messages, size_t at, const char *role, struct str text)
{
    json_t *m =
        json_pack("{s:s, s:s%}", "role", role, "content", text.ptr ? text.ptr : "", text.len);
    return m != NULL && json_array_insert_new(messages, at, m) == 0;
}

/* What was said before, then the prompt. The answer's `context` is made of the same. */
static int finish_chat(struct ollama_reading *g, struct err *err)
{
    struct api_request *r = &g->r;
    r->messages = g->history == NULL ? json_array() : json_incref(g->history);
    if (g->system.len > 0 && has_system(r->messages))
        json_array_remove(r->messages, 0);
    bool ok = r->messages != NULL;
    if (g->system.len > 0)
        ok = ok && put_message(r->messages, 0, "system", g->system);
    ok = ok && put_message(r->messages, json_array_size(r->messages), "user", g->prompt);
    r->own = json_pack("{s:o}", "history", json_copy(r->messages));
    return ok && r->own != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory for the prompt");
}

static int read_body(const json_t *body, struct ollama_reading *g, struct err *err)
{
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    int code = api_fields_read(fields, ARRAY_LEN(fields), body, "", g, err);
    if (code != 0)
        return code;
    bool raw = g->raw || g->suffix.len > 0;
    if (raw)
        g->r.endpoint = &ollama_generate_raw;
    code = raw ? finish_raw(g, err) : finish_chat(g, err);
    return code == 0 ? ollama_reading_finish(g, err) : code;
}

static int parse(const json_t *body, const json_t *defaults, struct api_request *ret,
                 struct err *err)
{
    struct ollama_reading g;
    int code = ollama_reading_init(&g, &ollama_generate, defaults, err);
    if (code == 0)
        code = read_body(body, &g, err);
    return ollama_reading_end(&g, code, ret);
}

const struct api_endpoint ollama_generate = {
    .path = "/api/generate",
    .is_chat = true,
    .fields = fields,
    .n_fields = ARRAY_LEN(fields),
    .parse = parse,
    OLLAMA_ANSWERS,
};

const struct api_endpoint ollama_generate_raw = {
    .path = "/api/generate",
    .is_chat = false,
    .fields = fields,
    .n_fields = ARRAY_LEN(fields),
    .parse = parse,
    OLLAMA_ANSWERS,
};
