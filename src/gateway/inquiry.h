/*
 * inquiry: a request whose answer is in the database: from the loop to the state thread and back.
 *
 *     struct inquiry *q = inquiry_new(s, x, work);     NULL: it was answered with an error
 *     q->... = what the work needs to know
 *     inquiry_start(q);
 *
 * work runs on the state thread: it fills q->out with the body, or q->err. Then, on the loop,
 * q->then (if any) runs and the exchange is answered, unless its client left.
 */
#ifndef HEARTH_GATEWAY_INQUIRY_H
#define HEARTH_GATEWAY_INQUIRY_H

#include "gateway/server.h"
#include "gateway/state.h"

#define OWNER_MAX 128
#define ID_MAX    64

struct inquiry {
    struct server *server;
    struct exchange *x; /* NULL: the client left */
    void (*work)(struct state *state, struct inquiry *q);
    void (*then)(struct inquiry *q); /* may answer itself: it sets x to NULL then */
    char owner[OWNER_MAX];           /* whose key it is: others' files and batches are not there */
    char id[ID_MAX];
    char after[ID_MAX]; /* paging */
    char purpose[32];
    int64_t limit;
    bool ascending;
    json_t *body; /* owned */
    void *ctx;    /* of `then` */
    int fd;       /* -1 */
    int64_t bytes, seq;
    struct buf text; /* more of the work's own */
    struct buf out;
    struct err err;
};

/* Whose exchange it is: the name of its key, "" without keys. */
const char *exchange_owner(const struct exchange *x);
/* True when state is there; else answers why it is not. */
bool inquiry_has_state(struct server *s, struct exchange *x);
struct inquiry *inquiry_new(struct server *s, struct exchange *x,
                            void (*work)(struct state *state, struct inquiry *q));
void inquiry_start(struct inquiry *q);
void inquiry_free(struct inquiry *q);
/* limit, after, order of a list; false: answered with an error and freed. */
bool inquiry_read_page(struct inquiry *q, int64_t limit_default, int64_t limit_max);
/* The id in "/v1/files/ID" or "/v1/files/ID/what"; *ret_what is "" or "what". False: not one. */
bool inquiry_path_id(const char *path, const char *prefix, char ret_id[ID_MAX],
                     const char **ret_what);
/* "file-..." or "batch_...": prefix and 24 random digits. */
void inquiry_new_id(const char *prefix, char ret_id[ID_MAX]);

#endif
