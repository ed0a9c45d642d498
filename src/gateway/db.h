/*
 * db: the gateway's database: SQLite 3 in WAL mode, its schema, and short forms of its calls.
 *
 * One writer: the server's state thread (state.h), which has the connection to itself. Readers
 * (`hearth usage`) open the file on their own, read-only, while the server runs.
 *
 * Parameters are bound by letter: 's' const char * (NULL gives NULL), 'i' int64_t, 'd' double,
 * 'b' struct str (bytes as text). Errors say which file and what to do; a full disk is
 * ERR_UNAVAILABLE.
 */
#ifndef HEARTH_GATEWAY_DB_H
#define HEARTH_GATEWAY_DB_H

#include "base/err.h"
#include "base/str.h"

#include <sqlite3.h>

#define DB_NAME    "hearth.db"
#define DB_VERSION 4

/* Opens and, if need be, makes the database in the folder; checks that it is one of ours. */
int db_open(const char *dir, sqlite3 **ret, struct err *err) __attribute__((warn_unused_result));
/* Read-only; ERR_NOT_FOUND when no server has made one there. */
int db_open_reader(const char *dir, sqlite3 **ret, struct err *err)
    __attribute__((warn_unused_result));
void db_close(sqlite3 *db);

/* One statement that returns no rows. */
int db_run(sqlite3 *db, struct err *err, const char *sql, const char *letters, ...)
    __attribute__((warn_unused_result));
/* A statement for db_next; sqlite3_finalize it. NULL with err set. */
sqlite3_stmt *db_query(sqlite3 *db, struct err *err, const char *sql, const char *letters, ...)
    __attribute__((warn_unused_result));
/* 1: a row; 0: no more; negative: ERR_*. */
int db_next(sqlite3_stmt *q, struct err *err) __attribute__((warn_unused_result));
/* The first column of the first row; 0 rows leave *ret as it is. */
int db_number(sqlite3 *db, struct err *err, int64_t *ret, const char *sql, const char *letters, ...)
    __attribute__((warn_unused_result));
/* A text column; "" for NULL; valid until the next step. */
const char *db_text(sqlite3_stmt *q, int column);
struct str db_str(sqlite3_stmt *q, int column);

int db_begin(sqlite3 *db, struct err *err) __attribute__((warn_unused_result));
/* Commits when code is 0, else rolls back; returns the first of the two failures. */
int db_end(sqlite3 *db, int code, struct err *err) __attribute__((warn_unused_result));

#endif
