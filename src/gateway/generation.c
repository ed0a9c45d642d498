/*
 * generation: see generation.h.
 */
#include "gateway/generation.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int generation_model(const struct server *s, const struct openai_request *r,
                     char ret[GENERATION_MODEL_MAX], struct err *err)
{
    struct str name = r->model;
    if (name.len == 0)
        name = str_z(s->startup_name);
    if (name.len == 0)
        return err_set_param(err, ERR_INVALID, "model", "'model' is missing");
    if (name.len >= GENERATION_MODEL_MAX || memchr(name.ptr, '\0', name.len) != NULL)
        return err_set_param(err, ERR_NOT_FOUND, "model", "there is no model of such a name");
    memcpy(ret, name.ptr, name.len);
    ret[name.len] = '\0';
    return 0;
}

static int add_defaults(json_t *body, struct openai_request *r, const struct slot *slot,
                        struct err *err)
{
    static const char *const keys[] = {
        "temperature",       "top_p",          "top_k",         "min_p",
        "typical_p",         "repeat_penalty", "repeat_last_n", "presence_penalty",
        "frequency_penalty", "seed",           "stop"};
    bool changed = false;
    if (slot->params_json == NULL)
        return 0;
    json_t *params = json_parse(str_z(slot->params_json), JSON_DEPTH_MAX, NULL);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        json_t *value = json_object_get(params, keys[i]);
        json_t *given = json_object_get(body, keys[i]);
        if (value != NULL && (given == NULL || json_is_null(given)))
            changed = json_object_set(body, keys[i], value) == 0 || changed;
    }
    json_decref(params);
    if (!changed)
        return 0;
    enum openai_kind kind = r->kind;
    openai_request_release(r);
    *r = (struct openai_request){.kind = kind};
    int code = openai_request_parse(kind, body, r, err);
    if (code != 0)
        err_wrap(err, "with the model's own default parameters");
    return code;
}

int generation_prepare(json_t *body, struct openai_request *r, const struct slot *slot,
                       struct openai_answer *ret_answer, bool *ret_answer_ready, struct err *err)
{
    char id[48];
    uint64_t word[2];
    int code = add_defaults(body, r, slot, err);
    if (code != 0)
        return code;
    if (!openai_request_default_system(r, slot->system_text))
        return err_set(err, ERR_NOMEM, "out of memory for the request");
    rng_system(word, sizeof word);
    snprintf(id, sizeof id, "%s-%016" PRIx64 "%08" PRIx32,
             r->kind == OPENAI_CHAT ? "chatcmpl" : "cmpl", word[0], (uint32_t)word[1]);
    *ret_answer_ready = true;
    if (!openai_answer_init(ret_answer, r, id, clock_wall_ms() / 1000, slot->name))
        return err_set(err, ERR_NOMEM, "out of memory for the answer");
    return 0;
}

const char *generation_reason(enum gen_reason reason)
{
    static const char *const word[] = {[GEN_STOP] = "stop", [GEN_LENGTH] = "length"};
    return word[reason];
}

struct err generation_error(const struct gen_error *e, enum openai_kind kind,
                            struct api_counts *ret_counts)
{
    struct err err = e->err;
    *ret_counts = (struct api_counts){e->n_prompt, e->n_ctx};
    if (err.code == ERR_CONTEXT_LENGTH && err.param[0] == '\0')
        strcpy(err.param, kind == OPENAI_CHAT ? "messages" : "prompt");
    return err;
}

struct err generation_error_full(void)
{
    struct err err = {0};
    err_set(&err, ERR_LIMIT, "the answer grew beyond what the server holds for one request");
    return err;
}
