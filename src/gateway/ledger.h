/*
 * ledger: who used how much of which model, kept over restarts.
 *
 * A finished generation is added to a sum in memory; the sums go into the database (table usage)
 * LEDGER_COMMIT_MS after the first of them, and when the server ends. So a crash of the server
 * loses that second at most. Days are UTC. Loop thread only, but for ledger_write and ledger_read.
 */
#ifndef HEARTH_GATEWAY_LEDGER_H
#define HEARTH_GATEWAY_LEDGER_H

#include "gateway/state.h"

#define LEDGER_COMMIT_MS  1000
#define LEDGER_GROUPS_MAX 4096 /* sums that wait for the disk; more are counted as lost */

struct ledger;

struct ledger_use {
    int64_t requests, prompt_tokens, cached_tokens, completion_tokens;
    double engine_s; /* from a request's first step to its last; those of one step each count it */
};

/* state may be NULL: then nothing is kept. */
struct ledger *ledger_new(struct state *state, uv_loop_t *loop);
void ledger_free(struct ledger *l); /* before state_close: posts what is left */
/* key_name: "" for none. class: "interactive", "batch". */
void ledger_add(struct ledger *l, const char *key_name, const char *model, const char *class_name,
                const struct ledger_use *use);
/* The same at a given time (milliseconds since 1970): which day it is. */
void ledger_add_at(struct ledger *l, int64_t wall_ms, const char *key_name, const char *model,
                   const char *class_name, const struct ledger_use *use);

/*
 * The same at once, on the state thread, for what has a transaction of its own: a line of a batch
 * counts in the one that keeps its result, so once, whenever the server is killed.
 */
int ledger_write(sqlite3 *db, int64_t wall_ms, const char *key_name, const char *model,
                 const char *class_name, const struct ledger_use *use, struct err *err)
    __attribute__((warn_unused_result));

/* ---- reading, for the command line ---- */
enum ledger_by { LEDGER_DAY, LEDGER_KEY, LEDGER_MODEL };
struct ledger_row {
    const char *name; /* of the day, key or model */
    struct ledger_use use;
};
/* Rows in the order of their names. since, until: "2026-01-31" or NULL, both included. */
int ledger_read(sqlite3 *db, enum ledger_by by, const char *since, const char *until,
                void (*row)(void *ctx, const struct ledger_row *row), void *ctx, struct err *err)
    __attribute__((warn_unused_result));
bool ledger_is_day(const char *text); /* a date of the calendar, as "2026-01-31" */

#endif
