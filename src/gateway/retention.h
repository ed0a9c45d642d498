/*
 * retention: what the state folder forgets by itself: files and batches whose time has come. State
 * thread only.
 *
 * - A file goes at its `expires_at`, unless a batch that is not over needs it. A client may say
 * when that is; else it is keep_s after the file was made. A file without a time, which an older
 *   server or one without keep_s took, gets keep_s from the moment that it is seen.
 * - A batch that is over goes keep_s after its end, and not before its files.
 * - Of one key BATCHES_KEPT_MAX batches that are over are kept, the youngest.
 *
 * It is done in steps, each a few short transactions, so that nobody waits for long for the
 * database; a kill between two of them leaves nothing half done.
 */
#ifndef HEARTH_GATEWAY_RETENTION_H
#define HEARTH_GATEWAY_RETENTION_H

#include "gateway/state.h"

#define BATCHES_KEPT_MAX     2000
#define RETENTION_DEFAULT_S  (30 * 86400)
#define RETENTION_STEP_FILES 16 /* removed in one step */
#define RETENTION_STEP_ROWS  200

struct retention {
    int64_t keep_s;           /* 0: until deleted */
    int64_t responses_keep_s; /* likewise, of responses */
    int64_t now_s;
    bool more;                           /* there is more to do: step again */
    int64_t n_files, file_bytes, n_over; /* that are there afterwards; n_over: batches */
};
/* What fails, on a full disk, is left to a later call: more is false then. */
void retention_step(struct state *state, struct retention *r);

#endif
