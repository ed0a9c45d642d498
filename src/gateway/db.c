/*
 * db: see db.h. Owns the schema and the words for what SQLite reports.
 *
 * synchronous is FULL: what was answered to a client survives a power cut, not only a crash.
 */
#include "gateway/db.h"

#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUSY_MS 2000 /* a reader that opens the file holds it for moments */

/*
 * usage: one row per day (UTC), key, model and class of priority.
 * files: what clients uploaded and what batches made; the bytes are in files/<id>.
 * batches: `ending` is what the batch becomes once its files are made; scan_* is how far its input
 * was checked; usage is summed over its lines.
 * lines: of batches that are not over: where each is in the input file; its result once it has one.
 */
static const char schema_1[] =
    "CREATE TABLE usage ("
    " day TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, class TEXT NOT NULL,"
    " requests INTEGER NOT NULL, prompt INTEGER NOT NULL, cached INTEGER NOT NULL,"
    " completion INTEGER NOT NULL, engine_s REAL NOT NULL,"
    " PRIMARY KEY (day, key, model, class)) WITHOUT ROWID;"
    "CREATE TABLE files ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,"
    " filename TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL,"
    " created_s INTEGER NOT NULL, expires_s INTEGER);"
    "CREATE INDEX files_owner ON files (owner, seq);"
    "CREATE TABLE batches ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,"
    " endpoint TEXT NOT NULL, window TEXT NOT NULL, input_file TEXT NOT NULL,"
    " output_file TEXT, error_file TEXT, output_ttl_s INTEGER, metadata TEXT, model TEXT,"
    " status TEXT NOT NULL, ending TEXT, errors TEXT,"
    " created_s INTEGER NOT NULL, expires_s INTEGER NOT NULL, in_progress_s INTEGER,"
    " finalizing_s INTEGER, completed_s INTEGER, failed_s INTEGER, expired_s INTEGER,"
    " cancelling_s INTEGER, cancelled_s INTEGER,"
    " scan_offset INTEGER NOT NULL DEFAULT 0, scan_line INTEGER NOT NULL DEFAULT 0,"
    " scan_errors INTEGER NOT NULL DEFAULT 0,"
    " total INTEGER NOT NULL DEFAULT 0, completed INTEGER NOT NULL DEFAULT 0,"
    " failed INTEGER NOT NULL DEFAULT 0, prompt INTEGER NOT NULL DEFAULT 0,"
    " cached INTEGER NOT NULL DEFAULT 0, completion INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX batches_owner ON batches (owner, seq);"
    "CREATE INDEX batches_input ON batches (input_file);"
    "CREATE TABLE lines ("
    " batch INTEGER NOT NULL, line INTEGER NOT NULL, custom_id TEXT NOT NULL,"
    " offset INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " state INTEGER NOT NULL DEFAULT 0, result TEXT," /* state: enum line_state */
    " PRIMARY KEY (batch, line)) WITHOUT ROWID;"
    "CREATE UNIQUE INDEX lines_custom_id ON lines (batch, custom_id);"
    "CREATE INDEX lines_state ON lines (batch, state, line);"
    "PRAGMA user_version = 1;";

/*
 * responses: `input` is the items of its own turn, `previous` the turn before; `object` is what
 * clients see. Until one that runs without a client is over, `body` is its whole request; after
 * that `events` is its stream. n_starts: how often a server began with it.
 */
static const char schema_2[] =
    "CREATE TABLE responses ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,"
    " previous TEXT, model TEXT NOT NULL, status TEXT NOT NULL, background INTEGER NOT NULL,"
    " priority INTEGER NOT NULL, created_s INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " n_starts INTEGER NOT NULL DEFAULT 0," /* what may be large comes last */
    " input TEXT NOT NULL, object TEXT NOT NULL, body TEXT, events TEXT);"
    "CREATE INDEX responses_owner ON responses (owner, seq);"
    "CREATE INDEX responses_previous ON responses (previous);"
    "CREATE INDEX responses_open ON responses (seq) WHERE body IS NOT NULL;"
    "PRAGMA user_version = 2;";

/*
 * conversations: bytes and n_items are of its items, which are in the order of their seq.
 * responses.conversation is the id of the one that it ran in, and conversation_upto the place of
 * the last item that was there before it.
 */
static const char schema_3[] =
    "CREATE TABLE conversations ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,"
    " created_s INTEGER NOT NULL, used_s INTEGER NOT NULL,"
    " n_items INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, metadata TEXT);"
    "CREATE INDEX conversations_owner ON conversations (owner, used_s);"
    "CREATE INDEX conversations_used ON conversations (used_s);"
    "CREATE TABLE conversation_items ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, conversation INTEGER NOT NULL, id TEXT NOT NULL,"
    " item TEXT NOT NULL);"
    "CREATE INDEX conversation_items_order ON conversation_items (conversation, seq);"
    "CREATE UNIQUE INDEX conversation_items_id ON conversation_items (id, conversation);"
    "ALTER TABLE responses ADD COLUMN conversation TEXT;"
    "ALTER TABLE responses ADD COLUMN conversation_upto INTEGER;"
    "PRAGMA user_version = 3;";

/* lines.body: the line itself, of a batch that has no input file. */
static const char schema_4[] = "ALTER TABLE lines ADD COLUMN body TEXT;"
                               "PRAGMA user_version = 4;";

/* [i] takes a database from version i to i + 1. */
static const char *const schemas[DB_VERSION] = {schema_1, schema_2, schema_3, schema_4};

/* ---- errors ---- */

static int fail(sqlite3 *db, struct err *err)
{
    int code = sqlite3_errcode(db);
    const char *file = sqlite3_db_filename(db, "main");
    const char *what = sqlite3_errmsg(db);
    file = file == NULL ? DB_NAME : file;
    switch (code & 0xff) {
    case SQLITE_FULL:
        return err_set(err, ERR_UNAVAILABLE, "%.200s cannot grow: the disk is full", file);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return err_set(err, ERR_CORRUPT,
                       "the database %.200s is damaged (%.80s): move it away, or name another "
                       "folder with --state-dir",
                       file, what);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_BUSY, "the database %.200s is locked by another program", file);
    case SQLITE_NOMEM:
        return err_set(err, ERR_NOMEM, "out of memory for the database");
    case SQLITE_CONSTRAINT:
        return err_set(err, ERR_EXISTS, "%.200s", what);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return err_set(err, ERR_IO, "the database %.200s cannot be written (%.80s)", file, what);
    case SQLITE_IOERR:
        if (sqlite3_system_errno(db) == ENOSPC || sqlite3_system_errno(db) == EDQUOT)
            return err_set(err, ERR_UNAVAILABLE, "%.200s cannot grow: the disk is full", file);
        return err_set(err, ERR_IO, "the database %.200s cannot be read or written (%.80s)", file,
                       what);
    default:
        return err_set(err, ERR_INTERNAL, "the database %.200s: %.200s", file, what);
    }
}

/* ---- statements ---- */

static int bind(sqlite3_stmt *q, const char *letters, va_list ap)
{
    int rc = SQLITE_OK;
    for (int i = 1; letters[i - 1] != '\0' && rc == SQLITE_OK; i++) {
        const char *z;
        struct str s;
        switch (letters[i - 1]) {
        case 's':
            z = va_arg(ap, const char *);
            rc = z == NULL ? sqlite3_bind_null(q, i)
                           : sqlite3_bind_text(q, i, z, -1, SQLITE_TRANSIENT);
            break;
        case 'i':
            rc = sqlite3_bind_int64(q, i, va_arg(ap, int64_t));
            break;
        case 'd':
            rc = sqlite3_bind_double(q, i, va_arg(ap, double));
            break;
        default:
            s = va_arg(ap, struct str);
            rc = sqlite3_bind_text64(q, i, s.ptr == NULL ? "" : s.ptr, s.len, SQLITE_TRANSIENT,
                                     SQLITE_UTF8);
            break;
        }
    }
    return rc;
}

static sqlite3_stmt *prepare(sqlite3 *db, struct err *err, const char *sql, const char *letters,
                             va_list ap)
{
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK ||
        bind(q, letters, ap) != SQLITE_OK) {
        (void)fail(db, err);
        sqlite3_finalize(q);
        return NULL;
    }
    return q;
}

sqlite3_stmt *db_query(sqlite3 *db, struct err *err, const char *sql, const char *letters, ...)
{
    va_list ap;
    va_start(ap, letters);
    sqlite3_stmt *q = prepare(db, err, sql, letters, ap);
    va_end(ap);
    return q;
}

int db_next(sqlite3_stmt *q, struct err *err)
{
    int rc = sqlite3_step(q);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : fail(sqlite3_db_handle(q), err);
}

int db_run(sqlite3 *db, struct err *err, const char *sql, const char *letters, ...)
{
    struct err why = {0};
    va_list ap;
    va_start(ap, letters);
    sqlite3_stmt *q = prepare(db, &why, sql, letters, ap);
    va_end(ap);
    int code = q == NULL ? why.code : db_next(q, &why);
    sqlite3_finalize(q);
    if (code < 0 && err != NULL)
        *err = why;
    return code < 0 ? code : 0;
}

int db_number(sqlite3 *db, struct err *err, int64_t *ret, const char *sql, const char *letters, ...)
{
    struct err why = {0};
    va_list ap;
    va_start(ap, letters);
    sqlite3_stmt *q = prepare(db, &why, sql, letters, ap);
    va_end(ap);
    int code = q == NULL ? why.code : db_next(q, &why);
    if (code > 0)
        *ret = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    if (code < 0 && err != NULL)
        *err = why;
    return code < 0 ? code : 0;
}

const char *db_text(sqlite3_stmt *q, int column)
{
    const char *text = (const char *)sqlite3_column_text(q, column);
    return text == NULL ? "" : text;
}

struct str db_str(sqlite3_stmt *q, int column)
{
    const char *text = db_text(q, column);
    return (struct str){text, (size_t)sqlite3_column_bytes(q, column)};
}

int db_begin(sqlite3 *db, struct err *err)
{
    return db_run(db, err, "BEGIN IMMEDIATE", "");
}

int db_end(sqlite3 *db, int code, struct err *err)
{
    if (code == 0)
        code = db_run(db, err, "COMMIT", "");
    if (code != 0 && sqlite3_get_autocommit(db) == 0)
        (void)!db_run(db, NULL, "ROLLBACK", "");
    if (code == ERR_UNAVAILABLE) /* what the log holds already may make room for what comes */
        sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return code;
}

/* ---- open ---- */

/* SQLite gives its own files (-wal, -shm) the database's mode. */
static int make_file(const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set_errno(err, errno, "the database %.300s cannot be opened", path);
    close(fd);
    return 0;
}

static int check_version(sqlite3 *db, bool make, struct err *err)
{
    int64_t version = 0, n_tables = 0;
    int code = db_number(db, err, &version, "PRAGMA user_version", "");
    if (code == 0)
        code = db_number(db, err, &n_tables, "SELECT count(*) FROM sqlite_master", "");
    if (code != 0 || version == DB_VERSION)
        return code;
    if (version > 0 && version < DB_VERSION && !make)
        return 0; /* what readers look at has been there since the first */
    const char *file = sqlite3_db_filename(db, "main");
    if (version > DB_VERSION)
        return err_set(err, ERR_UNSUPPORTED,
                       "the database %.200s was made by a newer Hearth (its version %lld, ours "
                       "%d): run that one, or name another folder with --state-dir",
                       file, (long long)version, DB_VERSION);
    if (version < 0 || (version == 0 && n_tables > 0) || !make)
        return err_set(err, ERR_CORRUPT, "the database %.200s is not one of Hearth's", file);
    code = db_begin(db, err);
    for (; code == 0 && version < DB_VERSION; version++)
        if (sqlite3_exec(db, schemas[version], NULL, NULL, NULL) != SQLITE_OK)
            code = fail(db, err);
    return db_end(db, code, err);
}

int db_open(const char *dir, sqlite3 **ret, struct err *err)
{
    char *path = fs_join(dir, DB_NAME);
    sqlite3 *db = NULL;
    int code = make_file(path, err);
    if (code == 0 &&
        sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        code =
            db == NULL ? err_set(err, ERR_NOMEM, "out of memory for the database") : fail(db, err);
    free(path);
    if (code == 0) {
        sqlite3_busy_timeout(db, BUSY_MS);
        if (sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;", NULL, NULL,
                         NULL) != SQLITE_OK)
            code = fail(db, err);
    }
    if (code == 0)
        code = check_version(db, true, err);
    if (code != 0) {
        db_close(db);
        return code;
    }
    *ret = db;
    return 0;
}

int db_open_reader(const char *dir, sqlite3 **ret, struct err *err)
{
    char *path = fs_join(dir, DB_NAME);
    sqlite3 *db = NULL;
    int code = 0;
    if (!fs_exists(path))
        code = err_set(err, ERR_NOT_FOUND,
                       "there is no %.300s: no server has kept a ledger there (see --state-dir)",
                       path);
    else if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) !=
             SQLITE_OK)
        code =
            db == NULL ? err_set(err, ERR_NOMEM, "out of memory for the database") : fail(db, err);
    free(path);
    if (code == 0) {
        sqlite3_busy_timeout(db, BUSY_MS);
        code = check_version(db, false, err);
    }
    if (code != 0) {
        db_close(db);
        return code;
    }
    *ret = db;
    return 0;
}

void db_close(sqlite3 *db)
{
    sqlite3_close(db);
}
