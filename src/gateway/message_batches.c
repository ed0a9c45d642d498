/*
 * message_batches: the routes of Anthropic's Message Batches: /v1/messages/batches and what is
 * below it. batches.h runs them.
 */
#include "gateway/batches.h"

#include "api/anthropic_batch.h"
#include "base/clock.h"
#include "gateway/message_batch_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LIMIT_DEFAULT 20
#define LIMIT_MAX     1000

/* Links lead to where the client found us. */
static void set_base(struct inquiry *q)
{
    const char *host = exchange_header(q->x, "Host");
    const char *proto = exchange_header(q->x, "X-Forwarded-Proto");
    if (host != NULL && strlen(host) < 512)
        buf_printf(&q->text, "%s://%s",
                   proto != NULL && strcasecmp(proto, "https") == 0 ? "https" : "http", host);
}

static void after_create(struct inquiry *q)
{
    struct batch_head head = {.seq = q->seq, .status = BATCH_IN_PROGRESS, .total = q->bytes};
    if (q->err.code != 0 || q->seq == 0 || q->server->stopping)
        return;
    head.expires_s = clock_wall_ms() / 1000 + ANTHROPIC_BATCH_WINDOW_S;
    strcpy(head.id, q->id);
    strcpy(head.owner, q->owner);
    strcpy(head.endpoint, BATCH_MESSAGES_PATH);
    batches_add(q->server->batches, &head);
}

static void create(struct inquiry *q)
{
    q->body = json_parse(exchange_body(q->x), JSON_DEPTH_MAX, &q->err);
    exchange_drop_body(q->x);
    if (q->body == NULL) {
        reply_error(q->x, &q->err, NULL);
        inquiry_free(q);
        return;
    }
    inquiry_new_id("msgbatch_", q->id);
    q->then = after_create;
    inquiry_start(q);
}

static bool read_page(struct inquiry *q)
{
    const char *limit = exchange_query(q->x, "limit");
    const char *after = exchange_query(q->x, "after_id"),
               *before = exchange_query(q->x, "before_id");
    const char *from = after != NULL ? after : before;
    q->limit = LIMIT_DEFAULT;
    q->ascending = before != NULL;
    if (limit != NULL &&
        (!str_to_i64(str_z(limit), &q->limit) || q->limit < 1 || q->limit > LIMIT_MAX))
        err_set_param(&q->err, ERR_INVALID, "limit", "'limit' must be a number from 1 to %d",
                      LIMIT_MAX);
    else if (after != NULL && before != NULL)
        err_set_param(&q->err, ERR_INVALID, "before_id",
                      "'after_id' and 'before_id' cannot both be given");
    else if (from != NULL && (from[0] == '\0' || strlen(from) >= sizeof q->after))
        err_set_param(&q->err, ERR_INVALID, after != NULL ? "after_id" : "before_id",
                      "there is no message batch '%.100s'", from);
    if (q->err.code != 0) {
        reply_error(q->x, &q->err, NULL);
        inquiry_free(q);
        return false;
    }
    if (from != NULL)
        strcpy(q->after, from);
    return true;
}

void message_batches_collection(struct server *s, struct exchange *x)
{
    bool post = exchange_method(x) == HTTP_POST;
    struct inquiry *q = inquiry_new(s, x, post ? message_batch_create : message_batch_list);
    if (q == NULL)
        return;
    set_base(q);
    if (post)
        create(q);
    else if (read_page(q))
        inquiry_start(q);
}

static void after_cancel(struct inquiry *q)
{
    if (q->err.code == 0 && q->seq != 0)
        batches_cancelled(q->server->batches, q->seq);
}

static void after_results(struct inquiry *q)
{
    if (q->x == NULL || q->err.code != 0)
        return;
    exchange_reply_file(q->x, 200, "application/x-jsonl", q->fd, q->bytes);
    q->fd = -1;
    q->x = NULL;
}

static const struct action {
    enum http_method method;
    const char *what;
    void (*work)(struct state *state, struct inquiry *q);
    void (*then)(struct inquiry *q);
} actions[] = {
    {HTTP_GET, "", message_batch_get, NULL},
    {HTTP_DELETE, "", message_batch_delete, NULL},
    {HTTP_POST, "cancel", message_batch_cancel, after_cancel},
    {HTTP_GET, "results", message_batch_results, after_results},
};

void message_batches_one(struct server *s, struct exchange *x)
{
    char id[ID_MAX];
    const char *what;
    struct err err = {0};
    const struct action *a = NULL;
    enum http_method method = exchange_method(x);
    bool ok = inquiry_path_id(exchange_path(x), ANTHROPIC_BATCH_PATH "/", id, &what);
    for (size_t i = 0; ok && i < sizeof actions / sizeof actions[0]; i++)
        if (actions[i].method == (method == HTTP_HEAD ? HTTP_GET : method) &&
            strcmp(actions[i].what, what) == 0)
            a = &actions[i];
    if (a == NULL) {
        err_set(&err, ERR_NOT_FOUND, "there is nothing at %.200s", exchange_path(x));
        reply_error(x, &err, NULL);
        return;
    }
    struct inquiry *q = inquiry_new(s, x, a->work);
    if (q == NULL)
        return;
    set_base(q);
    strcpy(q->id, id);
    q->then = a->then;
    inquiry_start(q);
}
