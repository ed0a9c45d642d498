/*
 * anthropic_routes: the routes of Anthropic's dialect, and /v1/models as its clients know it.
 */
#include "gateway/server.h"

#include "api/anthropic.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BODY_MAX      (16u << 20)
#define LIMIT_DEFAULT 20
#define LIMIT_MAX     1000

void anthropic_serve_messages(struct server *s, struct exchange *x)
{
    completions_serve(s, x, &anthropic_messages);
}

void anthropic_serve_count(struct server *s, struct exchange *x)
{
    counting_serve(s, x, &anthropic_count, NULL);
}

/* ---- models ---- */

struct listed {
    const char *name;
    int64_t modified_ms;
};

static void write_model(const struct server *s, const struct listed *m, struct buf *out)
{
    char when[40] = "1970-01-01T00:00:00Z";
    time_t seconds = (time_t)(m->modified_ms / 1000);
    struct tm tm;
    const struct slot *slot = s->models.slots;
    while (slot != NULL && strcmp(slot->name, m->name) != 0)
        slot = slot->next;
    if (gmtime_r(&seconds, &tm) != NULL)
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_add_z(out, "{\"type\":\"model\",\"id\":");
    json_write_string(str_z(m->name), out);
    buf_add_z(out, ",\"display_name\":");
    json_write_string(str_z(m->name), out);
    buf_printf(out, ",\"created_at\":\"%s\",\"lifecycle\":\"active\"", when);
    if (slot != NULL && slot->ready.n_ctx > 0)
        buf_printf(out, ",\"max_input_tokens\":%" PRId64 ",\"max_tokens\":%" PRId64,
                   slot->ready.n_ctx, slot->ready.n_ctx);
    buf_add_char(out, '}');
}

static int read_limit(const struct exchange *x, int64_t *ret, struct err *err)
{
    const char *text = exchange_query(x, "limit");
    *ret = LIMIT_DEFAULT;
    if (text == NULL || (str_to_i64(str_z(text), ret) && *ret >= 1 && *ret <= LIMIT_MAX))
        return 0;
    return err_set_param(err, ERR_INVALID, "limit", "'limit' must be a number from 1 to %d",
                         LIMIT_MAX);
}

/* Where the model of this id stands; `none` when no id is given; an id that is not there is told.
 */
static int find_id(const struct listed *m, int64_t n, const char *param, const char *id,
                   int64_t none, int64_t *ret, struct err *err)
{
    *ret = none;
    for (int64_t i = 0; id != NULL && i < n; i++) {
        if (strcmp(m[i].name, id) == 0) {
            *ret = i;
            return 0;
        }
    }
    return id == NULL
               ? 0
               : err_set_param(err, ERR_INVALID, param, "'%s' names no model: '%.200s'", param, id);
}

/* Of n models those from *ret_from to before *ret_to, as the query asks. */
static int page_of(const struct exchange *x, const struct listed *m, int64_t n, int64_t *ret_from,
                   int64_t *ret_to, struct err *err)
{
    const char *after = exchange_query(x, "after_id"), *before = exchange_query(x, "before_id");
    int64_t limit, from, to;
    int code = read_limit(x, &limit, err);
    code = code != 0 ? code : find_id(m, n, "after_id", after, -1, &from, err);
    code = code != 0 ? code : find_id(m, n, "before_id", before, n, &to, err);
    if (code != 0)
        return code;
    from++;
    if (from > to)
        from = to;
    if (to - from > limit && before != NULL && after == NULL)
        from = to - limit; /* the page that ends there */
    else if (to - from > limit)
        to = from + limit;
    *ret_from = from;
    *ret_to = to;
    return 0;
}

static void write_id(const char *key, const char *id, struct buf *out)
{
    buf_printf(out, ",\"%s\":", key);
    if (id == NULL)
        buf_add_z(out, "null");
    else
        json_write_string(str_z(id), out);
}

static int write_page(const struct server *s, const struct exchange *x, const struct listed *m,
                      int64_t n, struct buf *out, struct err *err)
{
    int64_t from = 0, to = 0;
    int code = page_of(x, m, n, &from, &to, err);
    if (code != 0)
        return code;
    bool backwards = exchange_query(x, "before_id") != NULL;
    buf_add_z(out, "{\"data\":[");
    for (int64_t i = from; i < to; i++) {
        if (i > from)
            buf_add_char(out, ',');
        write_model(s, &m[i], out);
    }
    buf_printf(out, "],\"has_more\":%s", (backwards ? from > 0 : to < n) ? "true" : "false");
    write_id("first_id", from < to ? m[from].name : NULL, out);
    write_id("last_id", from < to ? m[to - 1].name : NULL, out);
    buf_add_char(out, '}');
    return out->overflow ? err_set(err, ERR_INTERNAL, "the answer is too long") : 0;
}

void anthropic_list_models(struct server *s, struct exchange *x)
{
    struct err err = {0};
    struct store_model *list = NULL;
    struct buf out;
    int n_list = 0, n = 0;
    if (store_list(s->models.store, &list, &n_list, &err) != 0) {
        reply_error(x, &err, NULL);
        return;
    }
    struct listed *m = mem_zero((size_t)n_list + 1, sizeof *m);
    const struct slot *extra = inventory_path_slot(s);
    if (extra != NULL)
        m[n++] = (struct listed){extra->name, extra->modified_ms};
    for (int i = 0; i < n_list; i++)
        m[n++] = (struct listed){list[i].name, list[i].modified_ms};
    buf_init(&out, BODY_MAX);
    if (write_page(s, x, m, n, &out, &err) != 0)
        reply_error(x, &err, NULL);
    else
        exchange_reply(x, 200, "application/json", buf_str(&out));
    buf_release(&out);
    free(m);
    store_list_free(list, n_list);
}

void anthropic_show_model(struct server *s, struct exchange *x)
{
    struct err err = {0};
    struct store_model found = {0};
    struct listed m = {0};
    struct buf out;
    const char *name = exchange_path(x) + strlen("/v1/models/");
    const struct slot *extra = inventory_path_slot(s);
    if (extra != NULL && strcmp(extra->name, name) == 0)
        m = (struct listed){extra->name, extra->modified_ms};
    else if (model_source_of(name) == SOURCE_NAME &&
             store_find(s->models.store, name, &found, &err) == 0)
        m = (struct listed){found.name, found.modified_ms};
    if (m.name == NULL) {
        if (err.code == 0 || err.code == ERR_INVALID)
            err_set(&err, ERR_NOT_FOUND, "there is no model '%.200s'", name);
        reply_error(x, &err, NULL);
        return;
    }
    buf_init(&out, BODY_MAX);
    write_model(s, &m, &out);
    exchange_reply(x, 200, "application/json", buf_str(&out));
    buf_release(&out);
    store_model_release(&found);
}
