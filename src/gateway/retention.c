/*
 * retention: see retention.h.
 */
#include "gateway/retention.h"

#include "base/log.h"
#include "gateway/batch_store.h"
#include "gateway/conversation_store.h"
#include "gateway/files.h"
#include "gateway/response_store.h"

#include <inttypes.h>

#define OVER_SQL  "status IN ('completed', 'failed', 'expired', 'cancelled')"
#define ENDED_SQL "coalesce(completed_s, failed_s, expired_s, cancelled_s, created_s)"

/* Files that have no time of their own get one: from now on it can be read in them. */
static void date_files(sqlite3 *db, struct retention *r)
{
    if (r->keep_s == 0 || db_run(db, NULL,
                                 "UPDATE files SET expires_s = ? WHERE seq IN"
                                 " (SELECT seq FROM files WHERE expires_s IS NULL LIMIT ?)",
                                 "ii", r->now_s + r->keep_s, (int64_t)RETENTION_STEP_ROWS) != 0)
        return;
    int n = sqlite3_changes(db);
    if (n > 0)
        log_info("files: %d that had no end are kept for %" PRId64 " s from now", n, r->keep_s);
    r->more = r->more || n == RETENTION_STEP_ROWS;
}

static void expire_files(struct state *state, struct retention *r)
{
    int n = 0;
    while (n < RETENTION_STEP_FILES && files_expire_one(state, r->now_s))
        n++;
    r->more = r->more || n == RETENTION_STEP_FILES;
}

static void forget_old(sqlite3 *db, struct retention *r)
{
    if (r->keep_s == 0 ||
        db_run(db, NULL,
               "DELETE FROM batches WHERE seq IN (SELECT seq FROM batches WHERE " OVER_SQL
               " AND " ENDED_SQL " <= ? AND NOT EXISTS (SELECT 1 FROM files WHERE files.id IN"
               " (batches.output_file, batches.error_file)) ORDER BY seq LIMIT ?)",
               "ii", r->now_s - r->keep_s, (int64_t)RETENTION_STEP_ROWS) != 0)
        return;
    r->more = r->more || sqlite3_changes(db) == RETENTION_STEP_ROWS;
}

/* The oldest of one key that has too many. */
static void forget_many(sqlite3 *db, struct retention *r)
{
    char owner[OWNER_MAX];
    sqlite3_stmt *q = db_query(db, NULL,
                               "SELECT owner, count(*) - ?1 FROM batches WHERE " OVER_SQL
                               " GROUP BY owner HAVING count(*) > ?1 LIMIT 1",
                               "i", (int64_t)BATCHES_KEPT_MAX);
    bool found = q != NULL && db_next(q, NULL) > 0;
    int64_t n = found ? sqlite3_column_int64(q, 1) : 0;
    snprintf(owner, sizeof owner, "%s", found ? db_text(q, 0) : "");
    sqlite3_finalize(q);
    if (!found)
        return;
    n = n < RETENTION_STEP_ROWS ? n : RETENTION_STEP_ROWS;
    if (db_run(db, NULL,
               "DELETE FROM batches WHERE seq IN (SELECT seq FROM batches WHERE owner = ? AND"
               " " OVER_SQL " ORDER BY seq LIMIT ?)",
               "si", owner, n) == 0)
        r->more = true; /* of another key, perhaps */
}

void retention_step(struct state *state, struct retention *r)
{
    sqlite3 *db = state_db(state);
    r->more = false;
    date_files(db, r);
    expire_files(state, r);
    forget_old(db, r);
    forget_many(db, r);
    r->more = response_store_expire(db, r->now_s, r->responses_keep_s) || r->more;
    r->more = conversation_store_expire(db, r->now_s, r->responses_keep_s) || r->more;
    r->n_files = r->file_bytes = r->n_over = 0;
    (void)!db_number(db, NULL, &r->n_files, "SELECT count(*) FROM files", "");
    (void)!db_number(db, NULL, &r->file_bytes, "SELECT sum(bytes) FROM files", "");
    (void)!db_number(db, NULL, &r->n_over, "SELECT count(*) FROM batches WHERE " OVER_SQL, "");
}
