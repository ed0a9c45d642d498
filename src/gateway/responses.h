/*
 * responses: /v1/responses and what is below it: the calls that make responses, and the stored
 * ones. Loop thread only.
 *
 * A call with a client is one of completions.c whose answer is written to the database before its
 * end is told, so that who has the end may go on from it. One that runs in the background is a run
 * (response_runs.h).
 */
#ifndef HEARTH_GATEWAY_RESPONSES_H
#define HEARTH_GATEWAY_RESPONSES_H

#include "gateway/response_store.h"

/* POST /v1/responses */
void responses_create(struct server *s, struct exchange *x);
/* POST /v1/responses/input_tokens */
void responses_count(struct server *s, struct exchange *x);
/* /v1/responses/{id}, .../cancel, .../input_items */
void responses_one(struct server *s, struct exchange *x);

#endif
