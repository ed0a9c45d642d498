/*
 * response_store: see response_store.h.
 */
#include "gateway/response_store.h"

#include "api/openai_batch.h"
#include "api/responses.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/conversation_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXPIRE_ROWS 100
#define OBJECT_MAX  (512u << 20)

void response_row_init(struct response_row *r)
{
    *r = (struct response_row){0};
    buf_init(&r->input, OBJECT_MAX);
    buf_init(&r->object, OBJECT_MAX);
    buf_init(&r->body, OBJECT_MAX);
    buf_init(&r->events, OBJECT_MAX);
}

void response_row_release(struct response_row *r)
{
    buf_release(&r->input);
    buf_release(&r->object);
    buf_release(&r->body);
    buf_release(&r->events);
}

static int64_t row_bytes(const struct response_row *r)
{
    return (int64_t)(r->input.len + r->object.len + r->body.len + r->events.len);
}

static const char *or_null(const struct buf *b)
{
    return b->len == 0 ? NULL : b->ptr;
}

int response_store_insert(sqlite3 *db, const struct response_row *r, struct err *err)
{
    if (r->input.overflow || r->object.overflow || r->body.overflow)
        return err_set(err, ERR_LIMIT, "the response is too large to be stored");
    return db_run(db, err,
                  "INSERT INTO responses (id, owner, previous, model, status, background, priority,"
                  " created_s, input, object, body, events, bytes, conversation, conversation_upto)"
                  " VALUES (?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), ?)",
                  "sssssiiibbssisi", r->id, r->owner, r->previous, r->model, r->status,
                  (int64_t)r->background, r->priority, r->created_s, buf_str(&r->input),
                  buf_str(&r->object), or_null(&r->body), or_null(&r->events), row_bytes(r),
                  r->conversation, r->conversation_upto);
}

/* The items of a turn that came to something, at the end of its conversation. */
static int add_turn(sqlite3 *db, const struct response_row *r, struct err *err)
{
    if (r->conversation[0] == '\0' ||
        (strcmp(r->status, "completed") != 0 && strcmp(r->status, "incomplete") != 0))
        return 0;
    json_t *input = json_parse(buf_str(&r->input), JSON_DEPTH_MAX + 8, NULL);
    json_t *object = json_parse(buf_str(&r->object), JSON_DEPTH_MAX + 8, NULL);
    int code = input == NULL || object == NULL
                   ? err_set(err, ERR_INTERNAL, "the items of '%.64s' cannot be read", r->id)
                   : conversation_store_append(db, r->owner, r->conversation, input, err);
    if (code == 0)
        code = conversation_store_append(db, r->owner, r->conversation,
                                         json_object_get(object, "output"), err);
    json_decref(input);
    json_decref(object);
    return code;
}

int response_store_save(sqlite3 *db, const struct response_row *r, bool row, struct err *err)
{
    int code = db_begin(db, err);
    if (code == 0 && row)
        code = response_store_insert(db, r, err);
    if (code == 0)
        code = add_turn(db, r, err);
    return db_end(db, code, err);
}

int response_store_begin(sqlite3 *db, const char *id, struct err *err)
{
    return db_run(db, err,
                  "UPDATE responses SET status = 'in_progress', n_starts = n_starts + 1"
                  " WHERE id = ? AND body IS NOT NULL",
                  "s", id);
}

static int finish(sqlite3 *db, const struct response_row *r, bool turn, struct err *err)
{
    int code = db_begin(db, err);
    if (code == 0)
        code = db_run(db, err,
                      "UPDATE responses SET status = ?, model = ?, object = ?, events = ?,"
                      " body = NULL, bytes = ? WHERE id = ?",
                      "ssbsis", r->status, r->model, buf_str(&r->object), or_null(&r->events),
                      (int64_t)(r->input.len + r->object.len + r->events.len), r->id);
    if (code == 0 && turn)
        code = add_turn(db, r, err);
    return db_end(db, code, err);
}

int response_store_finish(sqlite3 *db, const struct response_row *r, struct err *err)
{
    struct err why = {0};
    int code = finish(db, r, true, &why);
    if (code == ERR_INVALID || code == ERR_LIMIT || code == ERR_INTERNAL) {
        log_warn("response %s is not in its conversation: %s", r->id, why.text);
        err_clear(&why);
        code = finish(db, r, false, &why); /* what will not go later either: the rest is kept */
    }
    if (code != 0 && err != NULL)
        *err = why;
    return code;
}

int response_store_next(sqlite3 *db, int64_t *seq, struct response_row *ret, int64_t *ret_n_starts,
                        struct err *err)
{
    struct err why = {0};
    sqlite3_stmt *q =
        db_query(db, &why,
                 "SELECT seq, id, owner, model, priority, created_s, n_starts, object,"
                 " body, previous, input, conversation, conversation_upto FROM responses WHERE "
                 "body IS NOT NULL AND"
                 " seq > ? ORDER BY seq LIMIT 1",
                 "i", *seq);
    int code = q == NULL ? why.code : db_next(q, &why);
    if (code > 0) {
        *seq = sqlite3_column_int64(q, 0);
        snprintf(ret->id, sizeof ret->id, "%s", db_text(q, 1));
        snprintf(ret->owner, sizeof ret->owner, "%s", db_text(q, 2));
        snprintf(ret->model, sizeof ret->model, "%s", db_text(q, 3));
        snprintf(ret->previous, sizeof ret->previous, "%s", db_text(q, 9));
        snprintf(ret->conversation, sizeof ret->conversation, "%s", db_text(q, 11));
        ret->conversation_upto = sqlite3_column_int64(q, 12);
        ret->priority = sqlite3_column_int64(q, 4);
        ret->created_s = sqlite3_column_int64(q, 5);
        ret->background = true;
        *ret_n_starts = sqlite3_column_int64(q, 6);
        buf_add_str(&ret->object, db_str(q, 7));
        buf_add_str(&ret->body, db_str(q, 8));
        buf_add_str(&ret->input, db_str(q, 10));
    }
    sqlite3_finalize(q);
    if (code < 0 && err != NULL)
        *err = why;
    return code;
}

/* ---- conversations ---- */

/* A turn as it was read. */
struct turn {
    char previous[ID_MAX], conversation[ID_MAX], status[16];
    int64_t conversation_upto;
    json_t *input, *object; /* owned */
    size_t bytes;
};

static void turn_release(struct turn *t)
{
    json_decref(t->input);
    json_decref(t->object);
    *t = (struct turn){0};
}

static void read_turn(sqlite3_stmt *q, struct turn *t)
{
    *t = (struct turn){0};
    snprintf(t->previous, sizeof t->previous, "%s", db_text(q, 0));
    snprintf(t->status, sizeof t->status, "%s", db_text(q, 1));
    snprintf(t->conversation, sizeof t->conversation, "%s", db_text(q, 4));
    t->conversation_upto = sqlite3_column_int64(q, 5);
    struct str input = db_str(q, 2), object = db_str(q, 3);
    t->bytes = input.len + object.len;
    t->input = json_parse(input, JSON_DEPTH_MAX + 8, NULL);
    t->object = json_parse(object, JSON_DEPTH_MAX + 8, NULL);
}

/* 1, or 0 when the owner has none of this id. */
static int find_turn(sqlite3 *db, const char *owner, const char *id, struct turn *ret,
                     struct err *err)
{
    struct err why = {0};
    sqlite3_stmt *q = db_query(db, &why,
                               "SELECT previous, status, input, object, conversation,"
                               " conversation_upto FROM responses"
                               " WHERE id = ? AND owner = ?",
                               "ss", id, owner);
    int code = q == NULL ? why.code : db_next(q, &why);
    if (code > 0)
        read_turn(q, ret);
    sqlite3_finalize(q);
    if (code > 0 && (ret->input == NULL || ret->object == NULL)) {
        turn_release(ret);
        code = err_set(&why, ERR_CORRUPT, "the stored response '%.64s' cannot be read", id);
    }
    if (code < 0 && err != NULL)
        *err = why;
    return code;
}

/* Puts a turn's items before what is there: input, then output. */
static int prepend_turn(json_t *list, const struct turn *t, struct err *err)
{
    const json_t *part[] = {t->input, json_object_get(t->object, "output")};
    size_t at = 0;
    for (size_t k = 0; k < ARRAY_LEN(part); k++)
        for (size_t i = 0; i < json_array_size(part[k]); i++)
            if (json_array_insert(list, at++, json_array_get(part[k], i)) != 0)
                return err_set(err, ERR_NOMEM, "out of memory for the conversation");
    if (json_array_size(list) > RESPONSES_ITEMS_MAX)
        return err_set_param(err, ERR_LIMIT, "previous_response_id",
                             "the conversation has more than %d items", RESPONSES_ITEMS_MAX);
    return 0;
}

/* What the conversation had before a turn that ran in it. */
static int prepend_conversation(sqlite3 *db, const char *owner, const struct turn *t, json_t *list,
                                struct err *err)
{
    int64_t last;
    if (t->conversation[0] == '\0')
        return 0;
    int code = conversation_store_prepend(db, owner, t->conversation, t->conversation_upto,
                                          "previous_response_id", list, &last, err);
    if (code == ERR_NOT_FOUND)
        code = err_set_param(err, API_ERR_NO_PREVIOUS, "previous_response_id",
                             "the conversation '%.64s' that it ran in is not there any more",
                             t->conversation);
    return code;
}

static int no_previous(const char *first, const char *id, struct err *err)
{
    if (strcmp(first, id) == 0)
        return err_set_param(err, API_ERR_NO_PREVIOUS, "previous_response_id",
                             "Previous response with id '%s' not found.", id);
    return err_set_param(err, API_ERR_NO_PREVIOUS, "previous_response_id",
                         "the conversation of '%s' has lost its turn '%s': it was deleted", first,
                         id);
}

/* The turns up to `first`, in order, before what the list has. */
static int prepend_chain(sqlite3 *db, const char *owner, const char *first, json_t *list,
                         struct err *err)
{
    char id[ID_MAX];
    size_t bytes = 0;
    int code = 0;
    snprintf(id, sizeof id, "%s", first);
    for (int n = 0; code == 0 && id[0] != '\0'; n++) {
        struct turn t = {0};
        code = find_turn(db, owner, id, &t, err);
        if (code == 0)
            return no_previous(first, id, err);
        if (code < 0)
            return code;
        code = 0;
        bytes += t.bytes;
        if (strcmp(t.status, "queued") == 0 || strcmp(t.status, "in_progress") == 0)
            code = err_set_param(err, ERR_INVALID, "previous_response_id",
                                 "the response '%s' is %s: only from one that is over can a "
                                 "conversation go on",
                                 id, t.status);
        else if (n >= RESPONSES_CHAIN_MAX || bytes > RESPONSES_HISTORY_MAX)
            code = err_set_param(err, ERR_LIMIT, "previous_response_id",
                                 "the conversation is too long: %d turns, %zu bytes", n + 1, bytes);
        else
            code = prepend_turn(list, &t, err);
        if (code == 0)
            code = prepend_conversation(db, owner, &t, list, err);
        memcpy(id, t.previous, sizeof id);
        turn_release(&t);
    }
    return code;
}

static json_t *find_item(const struct turn *t, struct str id)
{
    const json_t *part[] = {t->input, json_object_get(t->object, "output")};
    for (size_t k = 0; k < ARRAY_LEN(part); k++)
        for (size_t i = 0; i < json_array_size(part[k]); i++) {
            json_t *item = json_array_get(part[k], i);
            if (str_eq(json_str(json_object_get(item, "id")), id))
                return item;
        }
    return NULL;
}

/* What an item_reference names, into its place. */
static int resolve(sqlite3 *db, const char *owner, json_t *items, size_t i, struct err *err)
{
    struct str id;
    char response[ID_MAX], param[48];
    struct turn t = {0};
    if (!responses_item_is_reference(json_array_get(items, i), &id))
        return 0;
    int code = 0;
    if (responses_id_of_item(id, response, sizeof response))
        code = find_turn(db, owner, response, &t, err);
    if (code < 0)
        return code;
    json_t *item = json_incref(find_item(&t, id));
    if (item == NULL)
        item = conversation_store_find(db, owner, id);
    snprintf(param, sizeof param, "input[%zu].id", i);
    if (item == NULL)
        code = err_set_param(err, ERR_NOT_FOUND, param, "Item with id '%.64s' not found.",
                             id.len == 0 ? "" : id.ptr);
    else
        code = json_array_set(items, i, item) == 0
                   ? 0
                   : err_set(err, ERR_NOMEM, "out of memory for the conversation");
    json_decref(item);
    turn_release(&t);
    return code;
}

static int history_of(sqlite3 *db, struct inquiry *q, const json_t *items, json_t *all)
{
    const char *id = json_string_value(json_object_get(q->body, "conversation"));
    if (q->id[0] != '\0')
        return prepend_chain(db, q->owner, q->id, all, &q->err);
    if (id == NULL)
        return 0;
    int code = conversation_store_open(db, q->owner, id, items, &q->err);
    return code != 0 ? code
                     : conversation_store_prepend(db, q->owner, id, INT64_MAX, "conversation", all,
                                                  &q->seq, &q->err);
}

void response_store_history(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    json_t *items = json_object_get(q->body, "new");
    int code = 0;
    for (size_t i = 0; i < json_array_size(items) && code == 0; i++)
        code = resolve(db, q->owner, items, i, &q->err);
    if (code != 0)
        return;
    json_t *all = json_copy(items);
    if (all == NULL || json_object_set_new(q->body, "all", all) != 0)
        code = err_set(&q->err, ERR_NOMEM, "out of memory for the conversation");
    if (code == 0)
        (void)!history_of(db, q, items, all);
}

/* ---- what clients ask for ---- */

static int not_found(struct inquiry *q)
{
    return err_set(&q->err, ERR_NOT_FOUND, "Response with id '%s' not found.", q->id);
}

void response_store_get(struct state *state, struct inquiry *q)
{
    sqlite3_stmt *row =
        db_query(state_db(state), &q->err,
                 "SELECT object FROM responses WHERE id = ? AND owner = ?", "ss", q->id, q->owner);
    int code = row == NULL ? q->err.code : db_next(row, &q->err);
    if (code > 0)
        buf_add_str(&q->out, db_str(row, 0));
    else if (code == 0)
        (void)not_found(q);
    sqlite3_finalize(row);
}

void response_store_cancel(struct state *state, struct inquiry *q)
{
    sqlite3_stmt *row =
        db_query(state_db(state), &q->err,
                 "SELECT object, status, background, body IS NOT NULL FROM responses"
                 " WHERE id = ? AND owner = ?",
                 "ss", q->id, q->owner);
    int code = row == NULL ? q->err.code : db_next(row, &q->err);
    if (code == 0)
        (void)not_found(q);
    else if (code > 0 && sqlite3_column_int64(row, 2) == 0)
        err_set(&q->err, ERR_INVALID,
                "Cannot cancel a synchronous response: only those that were created with "
                "'background' can be cancelled.");
    else if (code > 0 && strcmp(db_text(row, 1), "cancelled") != 0 &&
             sqlite3_column_int64(row, 3) == 0)
        err_set(&q->err, ERR_INVALID, "Cannot cancel a response that is %s.", db_text(row, 1));
    else if (code > 0)
        buf_add_str(&q->out, db_str(row, 0));
    sqlite3_finalize(row);
}

void response_store_events(struct state *state, struct inquiry *q)
{
    sqlite3_stmt *row =
        db_query(state_db(state), &q->err,
                 "SELECT events FROM responses WHERE id = ? AND owner = ?", "ss", q->id, q->owner);
    int code = row == NULL ? q->err.code : db_next(row, &q->err);
    if (code == 0)
        (void)not_found(q);
    else if (code > 0 && db_str(row, 0).len == 0)
        err_set_param(&q->err, ERR_INVALID, "stream",
                      "the stream of '%s' is not kept: only those of responses that were created "
                      "with 'background' are",
                      q->id);
    else if (code > 0 && !buf_add_str(&q->text, db_str(row, 0)))
        err_set_param(&q->err, ERR_LIMIT, "stream", "the stream of '%s' is too large", q->id);
    sqlite3_finalize(row);
}

void response_store_delete(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    int code = db_run(db, &q->err, "DELETE FROM responses WHERE id = ? AND owner = ?", "ss", q->id,
                      q->owner);
    if (code == 0 && sqlite3_changes(db) == 0)
        code = not_found(q);
    if (code == 0)
        buf_printf(&q->out, "{\"id\":\"%s\",\"object\":\"response\",\"deleted\":true}", q->id);
}

/* The place from which a page goes on. */
static int page_start(struct inquiry *q, const json_t *items, size_t *ret)
{
    size_t n = json_array_size(items);
    *ret = q->ascending ? 0 : n;
    if (q->after[0] == '\0')
        return 0;
    for (size_t i = 0; i < n; i++)
        if (str_eq_z(json_str(json_object_get(json_array_get(items, i), "id")), q->after)) {
            *ret = q->ascending ? i + 1 : i;
            return 0;
        }
    return err_set_param(&q->err, ERR_NOT_FOUND, "after", "there is no item '%s'", q->after);
}

/* *start counts upwards from the first item, or downwards from behind the last one. */
static void write_page(struct inquiry *q, const json_t *items, size_t start)
{
    size_t n = json_array_size(items), left = q->ascending ? n - start : start;
    size_t n_page = left < (size_t)q->limit ? left : (size_t)q->limit;
    const char *first = NULL, *last = NULL;
    openai_list_begin(&q->out);
    for (size_t k = 0; k < n_page; k++) {
        const json_t *item = json_array_get(items, q->ascending ? start + k : start - 1 - k);
        last = json_string_value(json_object_get(item, "id"));
        first = k == 0 ? last : first;
        if (k > 0)
            buf_add_char(&q->out, ',');
        json_write(item, &q->out);
    }
    openai_list_end(first, last, n_page < left, &q->out);
}

void response_store_items(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    struct turn t = {0};
    size_t start;
    int code = find_turn(db, q->owner, q->id, &t, &q->err);
    if (code == 0)
        code = not_found(q);
    if (code < 0)
        return;
    code = prepend_chain(db, q->owner, t.previous, t.input, &q->err);
    if (code == 0)
        code = prepend_conversation(db, q->owner, &t, t.input, &q->err);
    if (code == API_ERR_NO_PREVIOUS && t.conversation[0] != '\0') { /* its own items are there */
        err_clear(&q->err);
        code = 0;
    }
    if (code == 0)
        code = page_start(q, t.input, &start);
    if (code == 0)
        write_page(q, t.input, start);
    turn_release(&t);
}

/* ---- forgetting ---- */

/* A turn that a younger one goes on from stays as long as that one. */
#define FREE_SQL                                                                                   \
    "body IS NULL AND NOT EXISTS"                                                                  \
    " (SELECT 1 FROM responses AS later WHERE later.previous = responses.id)"

static bool expire_old(sqlite3 *db, int64_t before_s)
{
    return db_run(db, NULL,
                  "DELETE FROM responses WHERE seq IN (SELECT seq FROM responses WHERE"
                  " created_s <= ? AND " FREE_SQL " ORDER BY seq LIMIT ?)",
                  "ii", before_s, (int64_t)EXPIRE_ROWS) == 0 &&
           sqlite3_changes(db) > 0;
}

/* The oldest of one key that has too many or too much, whatever goes on from them. */
static bool expire_many(sqlite3 *db)
{
    char owner[OWNER_MAX];
    sqlite3_stmt *q = db_query(db, NULL,
                               "SELECT owner, count(*) - ?1 FROM responses GROUP BY owner"
                               " HAVING count(*) > ?1 OR sum(bytes) > ?2 LIMIT 1",
                               "ii", (int64_t)RESPONSES_KEPT_MAX, RESPONSES_BYTES_MAX);
    bool found = q != NULL && db_next(q, NULL) > 0;
    int64_t n = found ? sqlite3_column_int64(q, 1) : 0;
    snprintf(owner, sizeof owner, "%s", found ? db_text(q, 0) : "");
    sqlite3_finalize(q);
    n = n < 1 ? 1 : n > EXPIRE_ROWS ? EXPIRE_ROWS : n;
    return found &&
           db_run(db, NULL,
                  "DELETE FROM responses WHERE seq IN (SELECT seq FROM responses WHERE owner = ?"
                  " AND body IS NULL ORDER BY seq LIMIT ?)",
                  "si", owner, n) == 0 &&
           sqlite3_changes(db) > 0;
}

bool response_store_expire(sqlite3 *db, int64_t now_s, int64_t keep_s)
{
    bool more = keep_s > 0 && expire_old(db, now_s - keep_s);
    return expire_many(db) || more;
}
