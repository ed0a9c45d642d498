/*
 * conversation_store: see conversation_store.h. Owns the tables `conversations` and
 * `conversation_items`.
 */
#include "gateway/conversation_store.h"

#include "api/conversation.h"
#include "api/openai_batch.h"
#include "api/responses.h"
#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXPIRE_ROWS    20
#define ITEM_BYTES_MAX (64u << 20)

#define USED_STEP_S 3600 /* that the time of the last use may be behind */

static int64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for the conversation");
}

static int not_found(const char *id, const char *param, struct err *err)
{
    return err_set_param(err, ERR_NOT_FOUND, param, "Conversation with id '%s' not found.", id);
}

/* The owner's conversation. ERR_NOT_FOUND. */
static int find_seq(sqlite3 *db, const char *owner, const char *id, const char *param,
                    int64_t *ret_seq, struct err *err)
{
    int64_t seq = 0;
    int code = db_number(db, err, &seq, "SELECT seq FROM conversations WHERE id = ? AND owner = ?",
                         "ss", id, owner);
    if (code == 0 && seq == 0)
        code = not_found(id, param, err);
    *ret_seq = seq;
    return code;
}

/* ---- items ---- */

static int insert_item(sqlite3 *db, int64_t seq, const json_t *item, int64_t *bytes,
                       struct err *err)
{
    struct buf text;
    struct str id = json_str(json_object_get(item, "id"));
    buf_init(&text, ITEM_BYTES_MAX);
    int code = json_write(item, &text)
                   ? db_run(db, err,
                            "INSERT INTO conversation_items (conversation, id, item)"
                            " VALUES (?, ?, ?)",
                            "ibb", seq, id, buf_str(&text))
                   : err_set(err, ERR_LIMIT, "an item is too large for a conversation");
    if (code == ERR_EXISTS)
        code = err_set(err, ERR_INVALID,
                       "Duplicate item found with id '%.64s': the conversation has it already; "
                       "remove it from your input.",
                       id.ptr);
    *bytes += (int64_t)text.len;
    buf_release(&text);
    return code;
}

static int insert_items(sqlite3 *db, int64_t seq, const json_t *items, struct err *err)
{
    int64_t bytes = 0;
    int code = 0;
    size_t n = json_array_size(items);
    for (size_t i = 0; i < n && code == 0; i++)
        code = insert_item(db, seq, json_array_get(items, i), &bytes, err);
    if (code == 0)
        code = db_run(db, err,
                      "UPDATE conversations SET bytes = bytes + ?, n_items = n_items + ?,"
                      " used_s = ? WHERE seq = ?",
                      "iiii", bytes, (int64_t)n, now_s(), seq);
    return code;
}

int conversation_store_append(sqlite3 *db, const char *owner, const char *id, const json_t *items,
                              struct err *err)
{
    int64_t seq;
    struct err why = {0};
    int code = find_seq(db, owner, id, "", &seq, &why);
    if (code == 0)
        code = insert_items(db, seq, items, &why);
    if (code == ERR_NOT_FOUND)
        return 0;
    if (code != 0 && err != NULL)
        *err = why;
    return code;
}

/* How many and how large they are, before they are read. */
static int check_size(sqlite3 *db, int64_t seq, const char *param, struct err *err)
{
    struct err why = {0};
    sqlite3_stmt *q =
        db_query(db, &why, "SELECT n_items, bytes FROM conversations WHERE seq = ?", "i", seq);
    int code = q == NULL ? why.code : db_next(q, &why);
    int64_t n = code > 0 ? sqlite3_column_int64(q, 0) : 0;
    int64_t bytes = code > 0 ? sqlite3_column_int64(q, 1) : 0;
    sqlite3_finalize(q);
    if (code >= 0 && (n > RESPONSES_ITEMS_MAX || bytes > (int64_t)CONVERSATION_BYTES_MAX))
        code = err_set_param(&why, ERR_LIMIT, param,
                             "the conversation is too long: %" PRId64 " items, %" PRId64 " bytes",
                             n, bytes);
    if (code < 0 && err != NULL)
        *err = why;
    return code < 0 ? code : 0;
}

static json_t *item_of(sqlite3_stmt *row, int column)
{
    return json_parse(db_str(row, column), JSON_DEPTH_MAX + 8, NULL);
}

int conversation_store_prepend(sqlite3 *db, const char *owner, const char *id, int64_t upto,
                               const char *param, json_t *list, int64_t *ret_last, struct err *err)
{
    struct err why = {0};
    int64_t seq;
    size_t at = 0, bytes = 0;
    int code = find_seq(db, owner, id, param, &seq, &why);
    if (code == 0 && upto == INT64_MAX)
        code = check_size(db, seq, param, &why);
    if (code == 0) /* not at each look: a write for a read */
        code = db_run(db, &why, "UPDATE conversations SET used_s = ? WHERE seq = ? AND used_s < ?",
                      "iii", now_s(), seq, now_s() - USED_STEP_S);
    sqlite3_stmt *rows = code != 0 ? NULL
                                   : db_query(db, &why,
                                              "SELECT seq, item FROM conversation_items WHERE"
                                              " conversation = ? AND seq <= ? ORDER BY seq",
                                              "ii", seq, upto);
    *ret_last = 0;
    while (rows != NULL && why.code == 0 && db_next(rows, &why) > 0) {
        json_t *item = item_of(rows, 1);
        bytes += db_str(rows, 1).len;
        *ret_last = sqlite3_column_int64(rows, 0);
        if (item == NULL)
            err_set(&why, ERR_CORRUPT, "an item of the conversation '%.64s' cannot be read", id);
        else if (json_array_insert_new(list, at++, item) != 0)
            (void)no_memory(&why);
        else if (bytes > CONVERSATION_BYTES_MAX)
            err_set_param(&why, ERR_LIMIT, param, "the conversation is too long: %zu bytes", bytes);
    }
    sqlite3_finalize(rows);
    if (why.code == 0 && json_array_size(list) > RESPONSES_ITEMS_MAX)
        err_set_param(&why, ERR_LIMIT, param, "the conversation has more than %d items",
                      RESPONSES_ITEMS_MAX);
    if (why.code != 0 && err != NULL)
        *err = why;
    return why.code;
}

/* Is an item of this id there, or twice among the new ones? */
static int check_new(sqlite3 *db, int64_t seq, const json_t *items, struct err *err)
{
    json_t *seen = json_object();
    int code = seen == NULL ? no_memory(err) : 0;
    for (size_t i = 0; i < json_array_size(items) && code == 0; i++) {
        struct str id = json_str(json_object_get(json_array_get(items, i), "id"));
        char param[48];
        int64_t n = 0;
        snprintf(param, sizeof param, "input[%zu].id", i);
        code = db_number(db, err, &n,
                         "SELECT count(*) FROM conversation_items WHERE conversation = ? AND id"
                         " = ?",
                         "ib", seq, id);
        if (code == 0 && id.len > CONVERSATION_ITEM_ID_MAX)
            code = err_set_param(err, ERR_INVALID, param, "'%s' is longer than %d bytes", param,
                                 CONVERSATION_ITEM_ID_MAX);
        else if (code == 0 && (n > 0 || json_object_getn(seen, id.ptr, id.len) != NULL))
            code = err_set_param(err, ERR_INVALID, param,
                                 "Duplicate item found with id '%.64s': the conversation has it "
                                 "already; remove it from your input.",
                                 id.ptr);
        else if (code == 0 && json_object_setn_new(seen, id.ptr, id.len, json_true()) != 0)
            code = no_memory(err);
    }
    json_decref(seen);
    return code;
}

int conversation_store_open(sqlite3 *db, const char *owner, const char *id, const json_t *items,
                            struct err *err)
{
    int64_t seq;
    int code = find_seq(db, owner, id, "conversation", &seq, err);
    if (code == 0)
        code = check_new(db, seq, items, err);
    return code == 0 ? db_run(db, err, "UPDATE conversations SET used_s = ? WHERE seq = ?", "ii",
                              now_s(), seq)
                     : code;
}

json_t *conversation_store_find(sqlite3 *db, const char *owner, struct str item_id)
{
    sqlite3_stmt *q = db_query(db, NULL,
                               "SELECT item FROM conversation_items AS i JOIN conversations AS c"
                               " ON c.seq = i.conversation WHERE i.id = ? AND c.owner = ? LIMIT 1",
                               "bs", item_id, owner);
    json_t *item = q != NULL && db_next(q, NULL) > 0 ? item_of(q, 0) : NULL;
    sqlite3_finalize(q);
    return item;
}

/* ---- what clients ask for ---- */

/* The object of q->id, which is there. */
static int write_one(sqlite3 *db, struct inquiry *q)
{
    sqlite3_stmt *row = db_query(
        db, &q->err, "SELECT created_s, metadata FROM conversations WHERE id = ? AND owner = ?",
        "ss", q->id, q->owner);
    int code = row == NULL ? q->err.code : db_next(row, &q->err);
    if (code > 0)
        conversation_write(q->id, sqlite3_column_int64(row, 0), db_str(row, 1), &q->out);
    else if (code == 0)
        code = not_found(q->id, "", &q->err);
    sqlite3_finalize(row);
    return code > 0 ? 0 : code;
}

static int write_metadata(const json_t *metadata, struct buf *text, struct err *err)
{
    buf_init(text, 128u << 10);
    return metadata == NULL || json_write(metadata, text)
               ? 0
               : err_set_param(err, ERR_INVALID, "metadata", "'metadata' is too large");
}

void conversation_store_create(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    struct conversation_body b;
    struct buf metadata;
    if (conversation_body_parse(CONVERSATION_CREATE, q->body, q->id, &b, &q->err) != 0)
        return;
    int code = write_metadata(b.metadata, &metadata, &q->err);
    if (code == 0)
        code = db_begin(db, &q->err);
    if (code == 0)
        code = db_run(db, &q->err,
                      "INSERT INTO conversations (id, owner, created_s, used_s, metadata)"
                      " VALUES (?, ?, ?, ?, ?)",
                      "ssiib", q->id, q->owner, now_s(), now_s(), buf_str(&metadata));
    if (code == 0)
        code = insert_items(db, sqlite3_last_insert_rowid(db), b.items, &q->err);
    if (code == 0)
        code = write_one(db, q);
    (void)!db_end(db, code, &q->err);
    buf_release(&metadata);
    conversation_body_release(&b);
}

void conversation_store_get(struct state *state, struct inquiry *q)
{
    (void)!write_one(state_db(state), q);
}

void conversation_store_update(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    struct conversation_body b;
    struct buf metadata;
    if (conversation_body_parse(CONVERSATION_UPDATE, q->body, q->id, &b, &q->err) != 0)
        return;
    int code = write_metadata(b.metadata, &metadata, &q->err);
    if (code == 0)
        code = db_run(db, &q->err,
                      "UPDATE conversations SET metadata = ?, used_s = ? WHERE id = ? AND"
                      " owner = ?",
                      "biss", buf_str(&metadata), now_s(), q->id, q->owner);
    if (code == 0)
        (void)!write_one(db, q);
    buf_release(&metadata);
    conversation_body_release(&b);
}

static int delete_one(sqlite3 *db, int64_t seq, struct err *err)
{
    int code = db_run(db, err, "DELETE FROM conversation_items WHERE conversation = ?", "i", seq);
    return code == 0 ? db_run(db, err, "DELETE FROM conversations WHERE seq = ?", "i", seq) : code;
}

void conversation_store_delete(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    int64_t seq;
    int code = db_begin(db, &q->err);
    if (code == 0)
        code = find_seq(db, q->owner, q->id, "", &seq, &q->err);
    if (code == 0)
        code = delete_one(db, seq, &q->err);
    if (db_end(db, code, &q->err) == 0)
        conversation_deleted_write(q->id, &q->out);
}

static void write_items(const json_t *items, struct buf *out)
{
    size_t n = json_array_size(items);
    const char *first = json_string_value(json_object_get(json_array_get(items, 0), "id"));
    const char *last = NULL;
    openai_list_begin(out);
    for (size_t i = 0; i < n; i++) {
        last = json_string_value(json_object_get(json_array_get(items, i), "id"));
        if (i > 0)
            buf_add_char(out, ',');
        json_write(json_array_get(items, i), out);
    }
    openai_list_end(first, last, false, out);
}

void conversation_store_add(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    struct conversation_body b;
    char digits[ID_MAX];
    int64_t seq;
    inquiry_new_id("conv_", digits);
    if (conversation_body_parse(CONVERSATION_ADD, q->body, digits, &b, &q->err) != 0)
        return;
    int code = db_begin(db, &q->err);
    if (code == 0)
        code = find_seq(db, q->owner, q->id, "", &seq, &q->err);
    if (code == 0)
        code = check_size(db, seq, "items", &q->err);
    if (code == 0)
        code = insert_items(db, seq, b.items, &q->err);
    if (code == ERR_INVALID)
        strcpy(q->err.param, "items");
    if (db_end(db, code, &q->err) == 0)
        write_items(b.items, &q->out);
    conversation_body_release(&b);
}

static int find_item(sqlite3 *db, struct inquiry *q, const char *id, const char *param, int64_t seq,
                     int64_t *ret, struct err *err)
{
    int64_t place = 0;
    int code = db_number(db, err, &place,
                         "SELECT seq FROM conversation_items WHERE conversation = ? AND id = ?",
                         "is", seq, id);
    if (code == 0 && place == 0)
        code = err_set_param(err, ERR_NOT_FOUND, param,
                             "Item with id '%s' not found in the conversation '%s'.", id, q->id);
    *ret = place;
    return code;
}

void conversation_store_list(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    int64_t seq, after = q->ascending ? 0 : INT64_MAX, n = 0;
    struct buf first, last;
    int code = find_seq(db, q->owner, q->id, "", &seq, &q->err);
    if (code == 0 && q->after[0] != '\0')
        code = find_item(db, q, q->after, "after", seq, &after, &q->err);
    if (code != 0)
        return;
    const char *sql = q->ascending
                          ? "SELECT id, item FROM conversation_items WHERE conversation = ? AND"
                            " seq > ? ORDER BY seq LIMIT ?"
                          : "SELECT id, item FROM conversation_items WHERE conversation = ? AND"
                            " seq < ? ORDER BY seq DESC LIMIT ?";
    sqlite3_stmt *rows = db_query(db, &q->err, sql, "iii", seq, after, q->limit + 1);
    buf_init(&first, ITEM_BYTES_MAX);
    buf_init(&last, ITEM_BYTES_MAX);
    openai_list_begin(&q->out);
    while (rows != NULL && db_next(rows, &q->err) > 0) {
        if (n++ == q->limit)
            break;
        buf_clear(&last);
        buf_add_z(&last, db_text(rows, 0));
        if (n == 1)
            buf_add_str(&first, buf_str(&last));
        else
            buf_add_char(&q->out, ',');
        buf_add_str(&q->out, db_str(rows, 1));
    }
    sqlite3_finalize(rows);
    openai_list_end(n > 0 ? first.ptr : NULL, n > 0 ? last.ptr : NULL, n > q->limit, &q->out);
    buf_release(&first);
    buf_release(&last);
}

void conversation_store_item(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    int64_t seq, place;
    int code = find_seq(db, q->owner, q->id, "", &seq, &q->err);
    if (code == 0)
        code = find_item(db, q, q->text.ptr, "", seq, &place, &q->err);
    if (code != 0)
        return;
    sqlite3_stmt *row =
        db_query(db, &q->err, "SELECT item FROM conversation_items WHERE seq = ?", "i", place);
    if (row != NULL && db_next(row, &q->err) > 0)
        buf_add_str(&q->out, db_str(row, 0));
    sqlite3_finalize(row);
}

void conversation_store_remove(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    int64_t seq, place;
    int code = db_begin(db, &q->err);
    if (code == 0)
        code = find_seq(db, q->owner, q->id, "", &seq, &q->err);
    if (code == 0)
        code = find_item(db, q, q->text.ptr, "", seq, &place, &q->err);
    if (code == 0)
        code = db_run(db, &q->err,
                      "UPDATE conversations SET n_items = n_items - 1, used_s = ?, bytes = bytes -"
                      " (SELECT length(CAST(item AS BLOB)) FROM conversation_items WHERE seq = ?)"
                      " WHERE seq = ?",
                      "iii", now_s(), place, seq);
    if (code == 0)
        code = db_run(db, &q->err, "DELETE FROM conversation_items WHERE seq = ?", "i", place);
    if (code == 0)
        code = write_one(db, q);
    (void)!db_end(db, code, &q->err);
}

/* ---- forgetting ---- */

/* The first column of each row, EXPIRE_ROWS at most, is one to delete. Takes q. */
static bool delete_each(sqlite3 *db, sqlite3_stmt *q)
{
    int64_t seq[EXPIRE_ROWS];
    int n = 0;
    while (q != NULL && n < EXPIRE_ROWS && db_next(q, NULL) > 0)
        seq[n++] = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    if (n == 0 || db_begin(db, NULL) != 0)
        return false;
    int code = 0;
    for (int i = 0; i < n && code == 0; i++)
        code = delete_one(db, seq[i], NULL);
    return db_end(db, code, NULL) == 0;
}

static bool expire_many(sqlite3 *db)
{
    char owner[OWNER_MAX];
    sqlite3_stmt *q = db_query(db, NULL,
                               "SELECT owner, count(*) - ?1 FROM conversations GROUP BY owner"
                               " HAVING count(*) > ?1 OR sum(bytes) > ?2 LIMIT 1",
                               "ii", (int64_t)CONVERSATIONS_KEPT_MAX, CONVERSATIONS_BYTES_MAX);
    bool found = q != NULL && db_next(q, NULL) > 0;
    int64_t n = found ? sqlite3_column_int64(q, 1) : 0;
    snprintf(owner, sizeof owner, "%s", found ? db_text(q, 0) : "");
    sqlite3_finalize(q);
    return found && delete_each(db, db_query(db, NULL,
                                             "SELECT seq FROM conversations WHERE owner = ?"
                                             " ORDER BY used_s, seq LIMIT ?",
                                             "si", owner, n < 1 ? (int64_t)1 : n));
}

bool conversation_store_expire(sqlite3 *db, int64_t now, int64_t keep_s)
{
    bool more =
        keep_s > 0 && delete_each(db, db_query(db, NULL,
                                               "SELECT seq FROM conversations WHERE used_s <= ?"
                                               " ORDER BY used_s LIMIT ?",
                                               "ii", now - keep_s, (int64_t)EXPIRE_ROWS));
    return expire_many(db) || more;
}
