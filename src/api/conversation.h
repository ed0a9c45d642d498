/*
 * conversation: OpenAI's Conversations API: bodies of /v1/conversations and what is below it, and
 * the objects that answer them. Pure: what is kept is the gateway's (conversation_store.h).
 *
 * Source: OpenAI's API reference (conversations) and the types of its Python client. Items are
 * those of responses.h.
 */
#ifndef HEARTH_API_CONVERSATION_H
#define HEARTH_API_CONVERSATION_H

#include "api/fields.h"

#define CONVERSATION_ITEMS_MAX   20 /* given at once */
#define CONVERSATION_ITEM_ID_MAX 63 /* bytes */

enum conversation_form { CONVERSATION_CREATE, CONVERSATION_UPDATE, CONVERSATION_ADD };
extern const struct api_form conversation_forms[];

struct conversation_body {
    json_t *items;          /* owned: as they are stored; NULL: none were given */
    const json_t *metadata; /* borrows; NULL: not given */
};
/* seed_id: "conv_..." or another id of random digits, of which those of items are made. *ret is
 * set on 0 only, and released by the caller then. */
int conversation_body_parse(enum conversation_form form, const json_t *body, const char *seed_id,
                            struct conversation_body *ret, struct err *err)
    __attribute__((warn_unused_result));
void conversation_body_release(struct conversation_body *b);

/* The member `conversation` of a request, "conv_..." or {"id": "conv_..."}: its id, borrowed;
 * empty: it is neither. */
struct str conversation_id_of(const json_t *value);

/* metadata: an object as JSON. */
bool conversation_write(const char *id, int64_t created_s, struct str metadata, struct buf *out);
bool conversation_deleted_write(const char *id, struct buf *out);

#endif
