/*
 * inquiry: see inquiry.h. Owns the inquiry from inquiry_new to its answer.
 */
#include "gateway/inquiry.h"

#include "base/mem.h"
#include "base/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUT_BYTES_MAX (64u << 20)

const char *exchange_owner(const struct exchange *x)
{
    return routes_visit(x)->caller.name;
}

bool inquiry_has_state(struct server *s, struct exchange *x)
{
    struct err err = {0};
    if (s->state != NULL && !s->stopping)
        return true;
    err_set(&err, ERR_UNAVAILABLE, "files, batches and stored responses are off: %s",
            s->state_err.text[0] == '\0' ? "the server was started with --state off"
                                         : s->state_err.text);
    reply_error(x, &err, NULL);
    return false;
}

static void on_gone(struct exchange *x, void *ctx)
{
    (void)x;
    struct inquiry *q = ctx;
    q->x = NULL;
}

struct inquiry *inquiry_new(struct server *s, struct exchange *x,
                            void (*work)(struct state *state, struct inquiry *q))
{
    struct err err = {0};
    if (!inquiry_has_state(s, x))
        return NULL;
    if (state_is_busy(s->state)) {
        err_set(&err, ERR_BUSY, "too many requests for files and batches at once; try again");
        exchange_add_header(x, "Retry-After", "1");
        reply_error(x, &err, NULL);
        return NULL;
    }
    struct inquiry *q = mem_zero(1, sizeof *q);
    *q = (struct inquiry){.server = s, .x = x, .work = work, .fd = -1};
    snprintf(q->owner, sizeof q->owner, "%s", exchange_owner(x));
    buf_init(&q->out, OUT_BYTES_MAX);
    buf_init(&q->text, OUT_BYTES_MAX);
    return q;
}

void inquiry_free(struct inquiry *q)
{
    if (q->fd >= 0)
        close(q->fd);
    json_decref(q->body);
    buf_release(&q->out);
    buf_release(&q->text);
    free(q);
}

static void run(struct state *state, void *ctx)
{
    struct inquiry *q = ctx;
    q->work(state, q);
    if (q->err.code == 0 && q->out.overflow)
        err_set(&q->err, ERR_LIMIT, "the answer is too large; ask for a smaller page");
}

static void answer(void *ctx)
{
    struct inquiry *q = ctx;
    if (q->then != NULL)
        q->then(q);
    if (q->x != NULL && q->err.code != 0)
        reply_error(q->x, &q->err, NULL);
    else if (q->x != NULL)
        exchange_reply(q->x, 200, "application/json", buf_str(&q->out));
    inquiry_free(q);
}

void inquiry_start(struct inquiry *q)
{
    exchange_on_gone(q->x, on_gone, q);
    state_post(q->server->state, run, answer, q);
}

bool inquiry_read_page(struct inquiry *q, int64_t limit_default, int64_t limit_max)
{
    const char *limit = exchange_query(q->x, "limit");
    const char *order = exchange_query(q->x, "order");
    const char *after = exchange_query(q->x, "after");
    q->limit = limit_default;
    if (limit != NULL &&
        (!str_to_i64(str_z(limit), &q->limit) || q->limit < 1 || q->limit > limit_max))
        err_set_param(&q->err, ERR_INVALID, "limit", "'limit' must be from 1 to %" PRId64,
                      limit_max);
    if (order != NULL && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0)
        err_set_param(&q->err, ERR_INVALID, "order", "'order' must be asc or desc");
    if (after != NULL && strlen(after) >= sizeof q->after)
        err_set_param(&q->err, ERR_NOT_FOUND, "after", "there is no such id to go on after");
    if (q->err.code != 0) {
        reply_error(q->x, &q->err, NULL);
        inquiry_free(q);
        return false;
    }
    q->ascending = order != NULL && strcmp(order, "asc") == 0;
    if (after != NULL)
        strcpy(q->after, after);
    return true;
}

bool inquiry_path_id(const char *path, const char *prefix, char ret_id[ID_MAX],
                     const char **ret_what)
{
    const char *id = path + strlen(prefix);
    size_t n = strcspn(id, "/");
    if (n == 0 || n >= ID_MAX)
        return false;
    memcpy(ret_id, id, n);
    ret_id[n] = '\0';
    *ret_what = id[n] == '/' ? id + n + 1 : "";
    return id[n] != '/' || id[n + 1] != '\0';
}

void inquiry_new_id(const char *prefix, char ret_id[ID_MAX])
{
    uint64_t word[2];
    rng_system(word, sizeof word);
    snprintf(ret_id, ID_MAX, "%s%016" PRIx64 "%08" PRIx32, prefix, word[0], (uint32_t)word[1]);
}
