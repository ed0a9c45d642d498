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

int generation_model(const struct server *s, const struct api_request *r,
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

int generation_check_units(const struct api_request *r, const struct slot *slot, bool others,
                           struct err *err)
{
    int64_t n = r->gen.n * r->n_prompt, most = slot_units_max(slot, others);
    if (n <= most)
        return 0;
    return err_set_param(err, ERR_LIMIT, r->gen.n > 1 ? "n" : "prompt",
                         "%d prompts with %" PRId64 " choices each are %" PRId64
                         " answers, and one "
                         "request may ask for at most %" PRId64 " here%s: send several requests",
                         r->n_prompt, r->gen.n, n, most,
                         others ? " (two thirds of the queue: the rest is for other keys)" : "");
}

static int add_defaults(const json_t *body, struct api_request *r, const struct slot *slot,
                        struct err *err)
{
    const struct api_endpoint *endpoint = r->endpoint;
    if (slot->params_json == NULL)
        return 0;
    json_t *params = json_parse(str_z(slot->params_json), JSON_DEPTH_MAX, NULL);
    api_request_release(r);
    api_request_init(r, endpoint);
    int code = endpoint->parse(body, params, r, err);
    json_decref(params);
    return code;
}

/* What the model's maker put before every conversation. */
static bool add_messages(struct api_request *r, const struct slot *slot)
{
    if (slot->messages_json == NULL || !r->endpoint->is_chat)
        return true;
    json_t *messages = json_parse(str_z(slot->messages_json), JSON_DEPTH_MAX, NULL);
    bool ok = api_request_prepend(r, messages);
    json_decref(messages);
    return ok;
}

int generation_messages(struct api_request *r, const struct slot *slot, struct err *err)
{
    if (!slot->models->opts->keep_volatile && r->messages != NULL) {
        int code = api_volatile_remove(r->messages, &r->removed, err);
        if (code != 0)
            return code;
        slot->models->metrics->volatile_billing += (uint64_t)r->removed.n_billing;
        slot->models->metrics->volatile_budget += (uint64_t)r->removed.n_budget;
    }
    return add_messages(r, slot) && api_request_default_system(r, slot->system_text)
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory for the request");
}

int generation_prepare(const json_t *body, struct api_request *r, const struct slot *slot,
                       struct api_answer **ret_answer, struct err *err)
{
    char id[64];
    uint64_t word[2];
    int code = add_defaults(body, r, slot, err);
    if (code != 0)
        return code;
    code = generation_messages(r, slot, err);
    if (code != 0)
        return code;
    rng_system(word, sizeof word);
    snprintf(id, sizeof id, "%s%016" PRIx64 "%08" PRIx32, r->endpoint->id_prefix, word[0],
             (uint32_t)word[1]);
    *ret_answer = api_answer_new(r, id, clock_wall_ms(), slot->name);
    return *ret_answer == NULL ? err_set(err, ERR_NOMEM, "out of memory for the answer") : 0;
}

struct err generation_error(const struct gen_error *e, const struct api_endpoint *endpoint,
                            struct api_counts *ret_counts)
{
    struct err err = e->err;
    *ret_counts = (struct api_counts){e->n_prompt, e->n_ctx};
    if (err.code == ERR_CONTEXT_LENGTH && err.param[0] == '\0')
        strcpy(err.param, endpoint->is_chat ? "messages" : "prompt");
    return err;
}

struct err generation_error_full(void)
{
    struct err err = {0};
    err_set(&err, ERR_LIMIT, "the answer grew beyond what the server holds for one request");
    return err;
}
