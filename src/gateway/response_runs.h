/*
 * response_runs: responses that run in the background: without a client, watched by as many as
 * want. Loop thread only.
 *
 * A run is in the database from before its client hears of it until it is over, and a server that
 * starts begins again with those that another one left: with the same seed, so with the same
 * answer. What has been begun RUN_STARTS_MAX times fails instead: perhaps it ended those servers.
 */
#ifndef HEARTH_GATEWAY_RESPONSE_RUNS_H
#define HEARTH_GATEWAY_RESPONSE_RUNS_H

#include "gateway/response_store.h"

#define RUNS_OF_KEY_MAX 256          /* that are not over */
#define RUNS_BYTES_MAX  (256u << 20) /* of their requests, of all keys together */
#define RUN_STARTS_MAX  3

struct response_runs;

struct response_runs *response_runs_new(struct server *s);
void response_runs_stop(struct response_runs *all); /* NULL is fine, here and below */
void response_runs_free(struct response_runs *all); /* after the state was closed */
/* Those of an earlier server are still being read. */
bool response_runs_loading(const struct response_runs *all);

/* A new one: answers the exchange when it is stored. row: what is there of it; both are taken. */
void response_runs_create(struct server *s, struct exchange *x, struct response_row *row,
                          json_t *body);

/* For the owner's run of this id; false: there is none that is not over. */
bool response_runs_get(struct response_runs *all, struct exchange *x, const char *id);
bool response_runs_watch(struct response_runs *all, struct exchange *x, const char *id,
                         int64_t from);
/* It ends as cancelled; that is posted to the state thread, and what is posted later sees it. */
bool response_runs_cancel(struct response_runs *all, const char *owner, const char *id);

void response_runs_write_metrics(const struct response_runs *all, struct buf *out);

#endif
