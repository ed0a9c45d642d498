/*
 * conversations: /v1/conversations and what is below it, and which conversations a response runs
 * in. Loop thread only.
 *
 * One response at a time runs in a conversation, from before its history is read until its items
 * are written: it has the conversation's lock. Another one, and what would change the items, is
 * refused until then (conversation_locked). The locks are in memory: one server has the state
 * folder, and a background response takes its lock again when a server goes on with it.
 */
#ifndef HEARTH_GATEWAY_CONVERSATIONS_H
#define HEARTH_GATEWAY_CONVERSATIONS_H

#include "gateway/server.h"

/* POST /v1/conversations */
void conversations_create(struct server *s, struct exchange *x);
/* /v1/conversations/{id}, .../items, .../items/{id} */
void conversations_one(struct server *s, struct exchange *x);

/* May it be changed, or a response run in it? API_ERR_LOCKED, ERR_UNAVAILABLE: not yet. */
int conversations_check_free(const struct server *s, const char *owner, const char *id,
                             struct err *err) __attribute__((warn_unused_result));
/* For the response of that id. API_ERR_LOCKED: another one has it. */
int conversations_lock(struct server *s, const char *owner, const char *id, const char *response,
                       struct err *err) __attribute__((warn_unused_result));
void conversations_unlock(struct server *s, const char *response); /* if it has any */

#endif
