/*
 * outbox: frames on their way to the gateway.
 *
 * Bounded: when more than OUTBOX_FULL bytes wait, the loop takes no new work (outbox_is_full), so
 * a gateway that does not read stops the worker instead of growing it.
 */
#ifndef HEARTH_WORKER_OUTBOX_H
#define HEARTH_WORKER_OUTBOX_H

#include "ipc/frame.h"

#define OUTBOX_FULL (4u << 20)

struct outbox {
    int fd; /* borrowed; not blocking */
    struct buf bytes;
    size_t sent;    /* of bytes */
    bool is_broken; /* the socket failed */
};

void outbox_init(struct outbox *o, int fd);
void outbox_release(struct outbox *o);
/* Takes message. False when it cannot be sent: NULL, too large, no memory. */
bool outbox_put(struct outbox *o, json_t *message);
void outbox_flush(struct outbox *o);     /* as much as the socket takes now */
void outbox_flush_all(struct outbox *o); /* waits; for the time before and after the loop */
bool outbox_is_empty(const struct outbox *o);
bool outbox_is_full(const struct outbox *o);

#endif
