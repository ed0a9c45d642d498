/*
 * response_store: responses in the database. State thread only.
 *
 * A row is one turn: its own input items and its object, with the output items. What a turn was
 * computed from is found by going back along `previous`. A response belongs to the key that asked
 * for it and is not there for others. One that is deleted is gone, and turns after it cannot go on
 * from it: an error says which link is missing.
 */
#ifndef HEARTH_GATEWAY_RESPONSE_STORE_H
#define HEARTH_GATEWAY_RESPONSE_STORE_H

#include "gateway/inquiry.h"

#define RESPONSES_KEPT_MAX    10000              /* of one key; the oldest go */
#define RESPONSES_BYTES_MAX   (INT64_C(4) << 30) /* likewise */
#define RESPONSES_CHAIN_MAX   4096               /* turns of one conversation */
#define RESPONSES_HISTORY_MAX (16u << 20)        /* bytes of them */

/* One to write. The buffers are owned. */
struct response_row {
    char id[ID_MAX], owner[OWNER_MAX];
    char previous[ID_MAX];     /* "": it is the first turn */
    char conversation[ID_MAX]; /* that it runs in; "": none */
    int64_t conversation_upto; /* its last item before this turn */
    char model[512];
    char status[16];
    bool background;
    int64_t priority, created_s;
    struct buf input; /* items of this turn: an array */
    struct buf object;
    struct buf body;   /* the request, while it is not over; empty: none */
    struct buf events; /* once it is over; empty: none */
};

void response_row_init(struct response_row *r);
void response_row_release(struct response_row *r);

/*
 * A row. With one of these that is over and of use ("completed", "incomplete") the items of its
 * turn are added to its conversation, in the same transaction. `row` false: nothing but that.
 */
int response_store_save(sqlite3 *db, const struct response_row *r, bool row, struct err *err)
    __attribute__((warn_unused_result));
int response_store_insert(sqlite3 *db, const struct response_row *r, struct err *err)
    __attribute__((warn_unused_result));

/* A server begins with one that waits. */
int response_store_begin(sqlite3 *db, const char *id, struct err *err)
    __attribute__((warn_unused_result));
/* One that is over: its status, object and events; its body is dropped; its conversation as
 * above. */
int response_store_finish(sqlite3 *db, const struct response_row *r, struct err *err)
    __attribute__((warn_unused_result));
/* The next one after *seq that is not over, oldest first: 1, with its body, *seq and *ret_n_starts;
 * 0: there is none. */
int response_store_next(sqlite3 *db, int64_t *seq, struct response_row *ret, int64_t *ret_n_starts,
                        struct err *err) __attribute__((warn_unused_result));

/*
 * The conversation before a request, and what its references name. q->id: the response to go on
 * from, or ""; q->body: {"new": [items], "conversation": "id" or nothing}, where references are
 * replaced; it gets "all": the items of earlier turns and the new ones. q->seq: the conversation's
 * last item before them.
 */
void response_store_history(struct state *state, struct inquiry *q);

/* For the response of the inquiry's owner and id, into q->out. */
void response_store_get(struct state *state, struct inquiry *q);
/* Of one that runs in no server's memory: its object if it was cancelled, else why it cannot be. */
void response_store_cancel(struct state *state, struct inquiry *q);
/* Its stream, into q->text. */
void response_store_events(struct state *state, struct inquiry *q);
void response_store_delete(struct state *state, struct inquiry *q);
void response_store_items(struct state *state, struct inquiry *q); /* a page of its input */

/* Forgets what is older than keep_s (0: nothing is) and not part of a younger conversation, and
 * what is too much of one key: some rows. True: there is more to do. */
bool response_store_expire(sqlite3 *db, int64_t now_s, int64_t keep_s);

#endif
