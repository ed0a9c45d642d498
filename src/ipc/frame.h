/*
 * frame: the byte layer between gateway and worker: a 4-byte little-endian length, then that many
 * bytes of compact JSON, an object with a string "t" (its type; ipc/message.h describes each).
 *
 * Each side bounds what it accepts (FRAME_BYTES_MAX). A frame that breaks a rule is fatal for the
 * connection, never for the gateway.
 */
#ifndef HEARTH_IPC_FRAME_H
#define HEARTH_IPC_FRAME_H

#include "base/buf.h"
#include "base/json.h"

#define FRAME_BYTES_MAX (64u << 20)

/* Appends one frame (length and text) to out. False when out is full or the frame too large. */
bool frame_append(const json_t *message, struct buf *out);

/* Reassembles frames from a byte stream. */
struct frame_reader {
    struct buf in;
    size_t consumed;
};
void frame_reader_init(struct frame_reader *r);
void frame_reader_release(struct frame_reader *r);
bool frame_reader_feed(struct frame_reader *r, const void *bytes, size_t n); /* false: over limit */
/* 1 and a new reference in *ret; 0: no whole frame yet; negative ERR_* : the stream is broken. */
int frame_reader_next(struct frame_reader *r, json_t **ret, struct err *err)
    __attribute__((warn_unused_result));

#endif
