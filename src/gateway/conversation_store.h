/*
 * conversation_store: conversations in the database: a row each, and their items in order. State
 * thread only.
 *
 * A conversation belongs to the key that made it and is not there for others. Its items are those
 * that clients put into it and those of the responses that ran in it, which are written in one
 * transaction with the response (response_store.h). Who may change it while a response runs in it
 * conversations.h says.
 */
#ifndef HEARTH_GATEWAY_CONVERSATION_STORE_H
#define HEARTH_GATEWAY_CONVERSATION_STORE_H

#include "gateway/inquiry.h"

#define CONVERSATIONS_KEPT_MAX  10000              /* of one key; those unused for longest go */
#define CONVERSATIONS_BYTES_MAX (INT64_C(4) << 30) /* likewise */
#define CONVERSATION_BYTES_MAX  (16u << 20)        /* of one's items, before a response */

/* What clients ask for, of the inquiry's owner and id: the answer into q->out. */
void conversation_store_create(struct state *state, struct inquiry *q); /* of q->body */
void conversation_store_get(struct state *state, struct inquiry *q);
void conversation_store_update(struct state *state, struct inquiry *q); /* of q->body */
void conversation_store_delete(struct state *state, struct inquiry *q);
void conversation_store_add(struct state *state, struct inquiry *q);    /* of q->body */
void conversation_store_list(struct state *state, struct inquiry *q);   /* a page of items */
void conversation_store_item(struct state *state, struct inquiry *q);   /* q->text: the item's id */
void conversation_store_remove(struct state *state, struct inquiry *q); /* likewise */

/*
 * Puts the items of the owner's conversation before what the list has, up to and with that of the
 * place `upto` (INT64_MAX: all), and says the place of the last one. param: what the client calls
 * it. ERR_NOT_FOUND, ERR_LIMIT.
 */
int conversation_store_prepend(sqlite3 *db, const char *owner, const char *id, int64_t upto,
                               const char *param, json_t *list, int64_t *ret_last, struct err *err)
    __attribute__((warn_unused_result));
/* It is used now; items with ids that it has already are refused. */
int conversation_store_open(sqlite3 *db, const char *owner, const char *id, const json_t *items,
                            struct err *err) __attribute__((warn_unused_result));
/* Items at its end; nothing, if it is gone. Part of the caller's transaction. */
int conversation_store_append(sqlite3 *db, const char *owner, const char *id, const json_t *items,
                              struct err *err) __attribute__((warn_unused_result));
/* An item of any of the owner's conversations: a new reference, or NULL. */
json_t *conversation_store_find(sqlite3 *db, const char *owner, struct str item_id);

/* Forgets those that were not used for keep_s (0: none is) and those that are too much of one key:
 * some of them. True: there is more to do. */
bool conversation_store_expire(sqlite3 *db, int64_t now_s, int64_t keep_s);

#endif
