/*
 * batches: runs what is not over, a few lines at a time, in the places that interactive requests
 * leave free; after a restart it goes on where it was. Loop thread; the database's side is
 * batch_store.h.
 *
 * Oldest batch first. A line that fails for no fault of its own (its worker died, its model is not
 * to be had) is run again; one that had a worker LINE_STRIKES_MAX times and got no answer is taken
 * for the cause, and fails. A full disk stops all batches until there is room: the results that are
 * there wait in memory, no more than run at once.
 */
#ifndef HEARTH_GATEWAY_BATCHES_H
#define HEARTH_GATEWAY_BATCHES_H

#include "gateway/batch_store.h"

#define LINE_STRIKES_MAX 3

struct batches;

/* s->state is there. Looks for what a former server left. */
struct batches *batches_new(struct server *s);
void batches_add(struct batches *b, const struct batch_head *head); /* one that is in the store */
void batches_cancelled(struct batches *b, int64_t seq);             /* it is, in the store */
void batches_stop(struct batches *b); /* no news and no work from now on */
void batches_free(struct batches *b); /* after state_close */
void batches_write_metrics(const struct batches *b, struct buf *out); /* NULL: nothing */

#endif
