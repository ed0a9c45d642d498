/*
 * message_batch_store: Anthropic's Message Batches in the database. State thread only.
 *
 * They are batches as those of batch_store.h, told apart by their endpoint: without an input file
 * (each line's text is in its row), and without a check of lines before they run (what is wrong
 * with a request is its result). Their results are one file.
 */
#ifndef HEARTH_GATEWAY_MESSAGE_BATCH_STORE_H
#define HEARTH_GATEWAY_MESSAGE_BATCH_STORE_H

#include "gateway/batch_store.h"

/*
 * For the batch of the inquiry's owner and id; q->text: the server's own URL, for links. The object
 * into q->out; create is of q->body and sets q->seq and q->bytes (the number of requests); cancel
 * sets q->seq when it is to be stopped.
 */
void message_batch_create(struct state *state, struct inquiry *q);
void message_batch_get(struct state *state, struct inquiry *q);
void message_batch_list(struct state *state, struct inquiry *q); /* q->ascending: those before */
void message_batch_cancel(struct state *state, struct inquiry *q);
void message_batch_delete(struct state *state, struct inquiry *q);
void message_batch_results(struct state *state, struct inquiry *q); /* q->fd, q->bytes */

#endif
