/*
 * state: the folder of what must outlive the server, and the one thread that writes its database.
 *
 *   <dir>/lock       held while a server runs: two would run the same batches
 *   <dir>/hearth.db  ledger, files, batches (db.h)
 *   <dir>/files/     the files' bytes, by id
 *   <dir>/tmp/       files that are being made; emptied at the start
 *
 * SQLite waits for the disk, so it is never called on the loop's thread: state_post hands work to
 * the state thread, in order; `done` runs on the loop afterwards. Who can be asked by clients
 * checks state_is_busy first and so bounds the queue; the rest is bounded by its owners.
 */
#ifndef HEARTH_GATEWAY_STATE_H
#define HEARTH_GATEWAY_STATE_H

#include "gateway/db.h"

#include <stdbool.h>
#include <uv.h>

struct state;

/* The folder: what was given, or $XDG_STATE_HOME/hearth, or ~/.local/state/hearth. Heap; owned. */
char *state_dir_of(const char *given, struct err *err);
/* ERR_BUSY when another server holds the folder. */
int state_open(const char *given_dir, uv_loop_t *loop, struct state **ret, struct err *err)
    __attribute__((warn_unused_result));
/* Finishes what was posted (`done` included, on the caller's thread), closes. NULL is fine. */
void state_close(struct state *s);

const char *state_files_dir(const struct state *s);
const char *state_tmp_dir(const struct state *s);
sqlite3 *state_db(const struct state *s); /* for the state thread; at the start for anyone */

/* done may be NULL. */
void state_post(struct state *s, void (*work)(struct state *s, void *ctx), void (*done)(void *ctx),
                void *ctx);
bool state_is_busy(struct state *s);

#endif
