/*
 * batch_store: batches in the database, a step at a time. State thread only.
 *
 * A batch's life: validating -> in_progress -> finalizing -> completed | expired; validating ->
 * failed; validating or in_progress -> cancelling -> cancelled. Each step is one transaction, so
 * that the server may be killed between any two instructions and goes on with the step it was in:
 *
 *   scan      checks lines of the input from where it stopped, and writes where they are
 *   save      a line's result, its counts and what it used (ledger.h), once: the first result
 *             stands
 *   finish    writes results, in the order of the input, into files that get their names and rows
 *             when they are whole; then lines are forgotten
 *
 * Results stay in the database until the batch is over: the files cannot be half or doubled.
 */
#ifndef HEARTH_GATEWAY_BATCH_STORE_H
#define HEARTH_GATEWAY_BATCH_STORE_H

#include "gateway/files.h"
#include "gateway/ledger.h"

#define BATCH_LINES_MAX  50000
#define BATCH_ERRORS_MAX 100 /* told of one input */
#define BATCH_ACTIVE_MAX 64  /* of one key */
#define BATCH_FETCH_MAX  16

/* The endpoint of Anthropic's batches (message_batch_store.h); all others are OpenAI's. */
#define BATCH_MESSAGES_PATH "/v1/messages"

enum batch_status {
    BATCH_VALIDATING,
    BATCH_IN_PROGRESS,
    BATCH_FINALIZING,
    BATCH_CANCELLING,
    BATCH_OVER, /* completed, failed, expired, cancelled */
};

struct batch_head {
    int64_t seq, expires_s;
    int64_t total, n_done; /* lines; those with a result, when this was read */
    char id[ID_MAX], owner[OWNER_MAX], endpoint[32], input_file[ID_MAX];
    enum batch_status status;
};

/* For the batch of the inquiry's owner and id: its object into q->out. */
void batch_store_create(struct state *state, struct inquiry *q); /* of q->body; sets q->seq */
void batch_store_get(struct state *state, struct inquiry *q);    /* q->text: why it is paused */
void batch_store_list(struct state *state, struct inquiry *q);
void batch_store_cancel(struct state *state, struct inquiry *q); /* q->seq: it was not over yet */

/* What its lines are requests of; NULL: none that is known. */
const struct api_endpoint *batch_endpoint(const char *path);
/* ERR_LIMIT: the owner has as many that are not over as one may have. */
int batch_store_check_active(sqlite3 *db, const char *owner, struct err *err)
    __attribute__((warn_unused_result));

/* Those that are not over, oldest first: a heap array, owned by the caller. */
int batch_store_load(struct state *state, struct batch_head **ret, size_t *ret_n, struct err *err)
    __attribute__((warn_unused_result));
int batch_store_head(sqlite3 *db, int64_t seq, struct batch_head *ret, struct err *err)
    __attribute__((warn_unused_result));

/* Checks about a megabyte of the input. h->status is what the batch is afterwards. */
int batch_store_scan(struct state *state, struct batch_head *h, int64_t line_bytes_max,
                     struct err *err) __attribute__((warn_unused_result));

struct batch_item {
    int64_t line; /* in the file, or of the requests, from 1 */
    char *text;   /* heap: the whole line */
    size_t n_text;
};
/* Lines without a result after `line`: at least one, if there is one. ret: BATCH_FETCH_MAX. */
int batch_store_fetch(struct state *state, const struct batch_head *h, int64_t line,
                      struct batch_item *ret, int *ret_n, struct err *err)
    __attribute__((warn_unused_result));

struct batch_result {
    int64_t seq, line;
    bool failed;
    struct buf text; /* the line of the output */
    const char *owner;
    char
        *model; /* that computed it; NULL: none did, nothing is counted. Heap; its owner frees it */
    struct ledger_use use;
};
int batch_store_save(sqlite3 *db, const struct batch_result *r, struct err *err)
    __attribute__((warn_unused_result));

/* From in_progress (or validating) to finalizing; h->status is what it is afterwards. */
int batch_store_close(sqlite3 *db, struct batch_head *h, bool expired, struct err *err)
    __attribute__((warn_unused_result));

/* The files of a batch that is finalizing or cancelling. */
struct batch_finish {
    struct file_row file[2]; /* output, errors */
    int fd[2];
    int64_t line; /* the last one written */
    bool open;
};
/* Some megabytes of it. h->status becomes BATCH_OVER with the last step. After an error begin
 * again: f is as new. keep_s: of the files, if the batch does not say; 0: until deleted. */
int batch_store_finish(struct state *state, struct batch_head *h, struct batch_finish *f,
                       int64_t keep_s, struct err *err) __attribute__((warn_unused_result));
void batch_finish_drop(struct state *state, struct batch_finish *f); /* what was not finished */

#endif
