/*
 * anthropic_batch: Anthropic's Message Batches: what creates one, its object, its results.
 *
 * Source: Anthropic's API reference (message batches) and the types of its Python client. Pure:
 * bytes in, bytes out.
 */
#ifndef HEARTH_API_ANTHROPIC_BATCH_H
#define HEARTH_API_ANTHROPIC_BATCH_H

#include "api/anthropic.h"
#include "api/fields.h"

#define ANTHROPIC_BATCH_REQUESTS_MAX 100000
#define ANTHROPIC_BATCH_WINDOW_S     86400
#define ANTHROPIC_BATCH_PATH         "/v1/messages/batches"

/* A request of a batch: as anthropic_messages, but for a stream. */
extern const struct api_endpoint anthropic_messages_line;

extern const struct api_form anthropic_batch_form;
/* The body's requests, checked but for what is in their `params`: that is the requests' own fault.
 * *ret borrows. */
int anthropic_batch_parse(const json_t *body, const json_t **ret, struct err *err)
    __attribute__((warn_unused_result));
/* One of them as a line of a batch: {"custom_id", "body"}. */
bool anthropic_batch_line_write(const json_t *request, struct buf *out);

struct anthropic_batch {
    const char *id, *status; /* the status of openai_batch.h */
    const char *base_url;    /* of this server, without a path; "": links are relative */
    bool has_results;
    int64_t created_s, expires_s, cancelling_s, ended_s; /* 0: not yet */
    int64_t total, completed, failed;
};
bool anthropic_batch_write(const struct anthropic_batch *b, struct buf *out);
bool anthropic_batch_deleted_write(const char *id, struct buf *out);
/* Pages: {"data": [ ... ], "has_more", "first_id", "last_id"}; ids "" when there is none. */
bool anthropic_list_begin(struct buf *out);
bool anthropic_list_end(const char *first_id, const char *last_id, bool has_more, struct buf *out);

/* Lines of the results; no newline. body: the message, or the error's object. */
bool anthropic_batch_answer_write(struct str custom_id, bool succeeded, struct str body,
                                  struct buf *out);
/* One that never ran: "canceled" or "expired". */
bool anthropic_batch_lost_write(struct str custom_id, const char *type, struct buf *out);

#endif
