/*
 * responses: see responses.h. Owns the routes, and what a call needs of the store before and after.
 */
#include "gateway/responses.h"

#include "api/conversation.h"
#include "api/responses.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/conversations.h"
#include "gateway/response_runs.h"
#include "gateway/response_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A call of POST /v1/responses from its body to its end. */
struct creation {
    struct server *server;
    struct call *call;         /* that waits for the row; NULL: none does */
    struct api_answer *answer; /* of that call */
    bool over;                 /* the call is gone */
    bool saving;               /* the state thread has the row */
    bool store;
    bool writes; /* there is something to write at the end: the row, items of a conversation */
    bool counts; /* it only asks for the tokens of its prompt */
    struct response_row row;
    struct err err;
    json_t *body; /* owned, until it is handed on */
};

static void creation_free(struct creation *c)
{
    conversations_unlock(c->server, c->row.id);
    response_row_release(&c->row);
    json_decref(c->body);
    free(c);
}

/* ---- the row ---- */

static void save_work(struct state *state, void *ctx)
{
    struct creation *c = ctx;
    (void)!response_store_save(state_db(state), &c->row, c->store, &c->err);
}

/* Its client would go on without this turn, and not know. */
static void fail_turn(struct creation *c, struct call *call)
{
    struct err err = {0};
    err_set_param(&err, c->err.code, "conversation",
                  "the answer could not be written into the conversation '%.64s': %.200s",
                  c->row.conversation, c->err.text);
    completions_fail(call, &err);
}

static void on_saved(void *ctx)
{
    struct creation *c = ctx;
    struct call *call = c->call;
    c->saving = false;
    c->call = NULL;
    if (c->err.code != 0)
        log_warn("response %s is not stored: %s", c->row.id, c->err.text);
    if (c->err.code != 0 && call != NULL)
        responses_answer_set_stored(c->answer, false);
    if (c->over)
        creation_free(c);
    else if (call != NULL && c->err.code != 0 && c->row.conversation[0] != '\0')
        fail_turn(c, call);
    else if (call != NULL)
        completions_go_on(call);
}

/* False: the object is not to be had, or nothing is stored. */
static bool save(struct creation *c, struct api_answer *a)
{
    struct server *s = c->server;
    if (!c->writes || c->saving || s->state == NULL || !a->endpoint->whole(a, &c->row.object))
        return false;
    snprintf(c->row.model, sizeof c->row.model, "%s", a->model);
    snprintf(c->row.status, sizeof c->row.status, "%s", responses_answer_status(a));
    c->row.created_s = a->created_ms / 1000;
    c->writes = false; /* once */
    c->saving = true;
    state_post(s->state, save_work, on_saved, c);
    return true;
}

static bool on_complete(void *ctx, struct call *call, struct api_answer *a)
{
    struct creation *c = ctx;
    bool saving = save(c, a);
    if (!saving)
        responses_answer_set_stored(a, false);
    c->call = saving ? call : NULL;
    c->answer = a;
    return saving;
}

/* A client that has seen the id may ask for it, whatever became of the call. */
static void on_over(void *ctx, struct api_answer *a)
{
    struct creation *c = ctx;
    c->over = true;
    c->call = NULL;
    if (a != NULL && c->writes && responses_answer_begun(a)) {
        if (strcmp(responses_answer_status(a), "in_progress") == 0)
            responses_answer_stop(a, NULL);
        (void)!save(c, a);
    }
    if (!c->saving)
        creation_free(c);
}

/* ---- before the call ---- */

static void start_call(struct creation *c, struct exchange *x)
{
    json_t *body = c->body;
    c->body = NULL;
    if (c->counts) {
        counting_serve_body(c->server, x, &openai_responses, body, "response.input_tokens");
        json_decref(body);
        creation_free(c);
        return;
    }
    if (json_is_true(json_object_get(body, "background"))) {
        response_runs_create(c->server, x, &c->row, body);
        creation_free(c);
        return;
    }
    completions_serve_body(
        c->server, x, &openai_responses, body,
        &(struct call_keeper){.ctx = c, .id = c->row.id, .complete = on_complete, .over = on_over});
}

static void refuse(struct creation *c, struct exchange *x, const struct err *err)
{
    reply_error(x, err, NULL);
    creation_free(c);
}

/* The items of this turn as they are stored, and all of them as they are computed. */
static int set_input(struct creation *c, const json_t *own, json_t *all, struct err *err)
{
    if (!json_write(own, &c->row.input))
        return err_set(err, ERR_LIMIT, "the input is too large to be stored");
    return json_object_set(c->body, "input", all) == 0
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory for the request");
}

static void after_history(struct inquiry *q)
{
    struct creation *c = q->ctx;
    struct exchange *x = q->x;
    if (x == NULL) {
        creation_free(c);
        return;
    }
    const json_t *own = json_object_get(q->body, "new");
    json_t *all = json_object_get(q->body, "all");
    int code = q->err.code;
    c->row.conversation_upto = q->seq;
    if (code == 0 && json_array_size(all) == 0)
        code = err_set_param(&q->err, ERR_INVALID, "input",
                             "'input' is empty, and so is the conversation");
    if (code == 0)
        code =
            responses_items_check_calls(all, json_array_size(all) - json_array_size(own), &q->err);
    if (code == 0)
        (void)!set_input(c, own, all, &q->err);
    q->x = NULL;
    if (q->err.code != 0)
        refuse(c, x, &q->err);
    else
        start_call(c, x);
}

/* By way of the store: what came before, what is referred to. */
static void fetch_history(struct creation *c, struct exchange *x, json_t *items)
{
    struct inquiry *q = inquiry_new(c->server, x, response_store_history);
    if (q == NULL) {
        json_decref(items);
        creation_free(c);
        return;
    }
    snprintf(q->id, sizeof q->id, "%s", c->row.previous);
    q->body = json_pack("{s:o}", "new", items);
    if (c->row.conversation[0] != '\0')
        json_object_set_new(q->body, "conversation", json_string(c->row.conversation));
    q->ctx = c;
    q->then = after_history;
    inquiry_start(q);
}

static bool has_reference(const json_t *items)
{
    size_t i;
    json_t *item;
    struct str id;
    json_array_foreach(items, i, item)
    {
        if (responses_item_is_reference(item, &id))
            return true;
    }
    return false;
}

/* What cannot be had without the state folder is refused; what was not asked for is left. */
static int check_state(struct creation *c, bool referring, struct err *err)
{
    struct server *s = c->server;
    const char *needs = json_is_true(json_object_get(c->body, "store"))        ? "store"
                        : json_is_true(json_object_get(c->body, "background")) ? "background"
                        : c->row.previous[0] != '\0'     ? "previous_response_id"
                        : c->row.conversation[0] != '\0' ? "conversation"
                        : referring                      ? "input"
                                                         : NULL;
    if (s->state != NULL && !s->stopping)
        return 0;
    if (needs != NULL)
        return err_set_param(err, ERR_UNSUPPORTED, needs,
                             "'%s' needs stored responses, and they are off: %s", needs,
                             s->state_err.text[0] == '\0' ? "the server was started with "
                                                            "--state off"
                                                          : s->state_err.text);
    return json_object_set_new(c->body, "store", json_false()) == 0
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory for the request");
}

/* A call that is put together of several turns is checked alone first: errors name its own places.
 */
static int check_alone(const struct creation *c, struct err *err)
{
    struct api_request r;
    int code = openai_responses.parse(c->body, NULL, &r, err);
    if (code == 0)
        api_request_release(&r);
    return code;
}

/* An id of ours, if there is such a member; else what parse will say. */
static bool read_id(struct str id, char *ret)
{
    if (id.len == 0 || id.len >= ID_MAX || memchr(id.ptr, '\0', id.len) != NULL)
        return false;
    memcpy(ret, id.ptr, id.len);
    ret[id.len] = '\0';
    return true;
}

static int read_previous(struct creation *c, struct err *err)
{
    const json_t *v = json_object_get(c->body, "previous_response_id");
    if (!json_is_string(v) || read_id(json_str(v), c->row.previous))
        return 0;
    return err_set_param(err, API_ERR_NO_PREVIOUS, "previous_response_id",
                         "Previous response with id '%.64s' not found.", json_string_value(v));
}

/* In a conversation nothing new need be said. */
static int read_conversation(struct creation *c, struct err *err)
{
    struct str id = conversation_id_of(json_object_get(c->body, "conversation"));
    const json_t *input = json_object_get(c->body, "input");
    if (id.len == 0)
        return 0;
    if (!read_id(id, c->row.conversation))
        return err_set_param(err, ERR_NOT_FOUND, "conversation",
                             "Conversation with id '%.64s' not found.", id.ptr);
    if ((input == NULL || json_is_null(input)) &&
        json_object_set_new(c->body, "input", json_array()) != 0)
        return err_set(err, ERR_NOMEM, "out of memory for the request");
    return 0;
}

/* What needs no state goes on however much waits for it. */
static int check_busy(const struct creation *c, bool history, struct err *err)
{
    const struct server *s = c->server;
    if (s->state == NULL || !(history || (c->store && !c->counts)) || !state_is_busy(s->state))
        return 0;
    return err_set(err, ERR_BUSY, "too many requests for stored responses at once; try again");
}

static int prepare(struct creation *c, json_t **ret_items, bool *ret_history, struct err *err)
{
    int code = read_previous(c, err);
    if (code == 0)
        code = read_conversation(c, err);
    const json_t *input = json_object_get(c->body, "input");
    bool referring = has_reference(input);
    *ret_history = c->row.previous[0] != '\0' || c->row.conversation[0] != '\0' || referring;
    if (code == 0)
        code = check_state(c, referring, err);
    if (code == 0 && *ret_history)
        code = check_alone(c, err);
    if (code != 0)
        return code;
    c->store = !json_is_false(json_object_get(c->body, "store"));
    c->writes = c->store || c->row.conversation[0] != '\0';
    code = check_busy(c, *ret_history, err);
    bool locks = c->row.conversation[0] != '\0' && !c->counts;
    if (code == 0 && locks)
        code = conversations_check_free(c->server, c->row.owner, c->row.conversation, err);
    if (code == 0 && locks)
        code = conversations_lock(c->server, c->row.owner, c->row.conversation, c->row.id, err);
    if (code != 0)
        return code;
    *ret_items = responses_items_normal(input, c->row.id, err);
    return *ret_items == NULL ? err->code : 0;
}

static void create(struct server *s, struct exchange *x, bool counts)
{
    struct err err = {0};
    struct creation *c = mem_zero(1, sizeof *c);
    json_t *items = NULL;
    bool history = false;
    c->server = s;
    c->counts = counts;
    response_row_init(&c->row);
    inquiry_new_id("resp_", c->row.id);
    snprintf(c->row.owner, sizeof c->row.owner, "%s", exchange_owner(x));
    c->body = json_parse(exchange_body(x), JSON_DEPTH_MAX, &err);
    exchange_drop_body(x);
    if (c->body == NULL || (json_is_object(c->body) && prepare(c, &items, &history, &err) != 0)) {
        refuse(c, x, &err);
        return;
    }
    if (history) {
        fetch_history(c, x, items);
        return;
    }
    const json_t *input = json_object_get(c->body, "input");
    /* What is no input at all parse says. */
    int code = json_is_string(input) || json_is_array(input) ? set_input(c, items, items, &err) : 0;
    json_decref(items);
    if (code != 0)
        refuse(c, x, &err);
    else
        start_call(c, x);
}

void responses_create(struct server *s, struct exchange *x)
{
    create(s, x, false);
}

void responses_count(struct server *s, struct exchange *x)
{
    create(s, x, true);
}

/* ---- stored ones ---- */

static void serve_stored(struct server *s, struct exchange *x, const char *id,
                         void (*work)(struct state *state, struct inquiry *q))
{
    struct inquiry *q = inquiry_new(s, x, work);
    if (q == NULL)
        return;
    strcpy(q->id, id);
    if (work == response_store_items && !inquiry_read_page(q, 20, 100))
        return;
    inquiry_start(q);
}

/* From a stream that is over; it is all here, so it is no stream. */
static void after_events(struct inquiry *q)
{
    if (q->x == NULL || q->err.code != 0)
        return;
    exchange_reply(q->x, 200, "text/event-stream", response_events_from(buf_str(&q->text), q->seq));
    q->x = NULL;
}

static void serve_stream(struct server *s, struct exchange *x, const char *id)
{
    struct err err = {0};
    const char *after = exchange_query(x, "starting_after");
    int64_t last = -1;
    if (after != NULL && (!str_to_i64(str_z(after), &last) || last < 0 || last > INT32_MAX)) {
        err_set_param(&err, ERR_INVALID, "starting_after",
                      "'starting_after' must be the sequence_number of an event");
        reply_error(x, &err, NULL);
        return;
    }
    if (response_runs_watch(s->runs, x, id, last + 1))
        return;
    struct inquiry *q = inquiry_new(s, x, response_store_events);
    if (q == NULL)
        return;
    strcpy(q->id, id);
    q->seq = last + 1;
    q->then = after_events;
    inquiry_start(q);
}

static void serve_get(struct server *s, struct exchange *x, const char *id)
{
    const char *stream = exchange_query(x, "stream");
    if (stream != NULL && strcmp(stream, "true") == 0 && exchange_method(x) == HTTP_GET)
        serve_stream(s, x, id);
    else if (!response_runs_get(s->runs, x, id))
        serve_stored(s, x, id, response_store_get);
}

void responses_one(struct server *s, struct exchange *x)
{
    char id[ID_MAX];
    const char *what;
    struct err err = {0};
    enum http_method method = exchange_method(x);
    bool ok = inquiry_path_id(exchange_path(x), "/v1/responses/", id, &what);
    bool get = method == HTTP_GET || method == HTTP_HEAD;
    if (ok && get && what[0] == '\0') {
        serve_get(s, x, id);
    } else if (ok && get && strcmp(what, "input_items") == 0) {
        serve_stored(s, x, id, response_store_items);
    } else if (ok && method == HTTP_POST && strcmp(what, "cancel") == 0) {
        (void)response_runs_cancel(s->runs, exchange_owner(x), id);
        serve_stored(s, x, id, response_store_cancel);
    } else if (ok && method == HTTP_DELETE && what[0] == '\0') {
        (void)response_runs_cancel(s->runs, exchange_owner(x), id);
        serve_stored(s, x, id, response_store_delete);
    } else {
        err_set(&err, ERR_NOT_FOUND, "there is nothing at %.200s", exchange_path(x));
        reply_error(x, &err, NULL);
    }
}
