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

#define FRAME_BYTES_MAX  (64u << 20)
#define FRAME_HEAD_BYTES 4
#define FRAME_FEED_MAX   (1u << 20) /* the most bytes one frame_reader_feed takes */
/* A client's JSON of the greatest depth travels inside a frame, one or two levels down. */
#define FRAME_DEPTH_MAX (JSON_DEPTH_MAX + 4)

/* Appends one frame (length and text) to out. False when out is full or the frame too large; out
 * is as before then, but for its `overflow`. */
bool frame_append(const json_t *message, struct buf *out) __attribute__((warn_unused_result));
/* The same of a message that is text already: one JSON object, which is not looked at. */
bool frame_append_text(struct str json, struct buf *out) __attribute__((warn_unused_result));

/*
 * Reassembles frames from a byte stream. After each feed, call frame_reader_next until it returns
 * 0: then at most one unfinished frame is held, and memory stays below FRAME_BYTES_MAX + 2 MiB.
 */
struct frame_reader {
    struct buf in;
    size_t consumed; /* bytes at the front of `in` that were handed out already */
    size_t n_bytes;  /* of the frame that was handed out last */
};
void frame_reader_init(struct frame_reader *r);
void frame_reader_release(struct frame_reader *r);
/* n <= FRAME_FEED_MAX. False: out of memory, or frames were left unread. */
bool frame_reader_feed(struct frame_reader *r, const void *bytes, size_t n)
    __attribute__((warn_unused_result));
/* 1 and the text of a frame, as it came, until the next call with this reader; 0, negative: as
 * below. */
int frame_reader_next_text(struct frame_reader *r, struct str *ret, struct err *err)
    __attribute__((warn_unused_result));
/* 1 and a new reference in *ret; 0: no whole frame yet; negative ERR_*: the stream is broken. */
int frame_reader_next(struct frame_reader *r, json_t **ret, struct err *err)
    __attribute__((warn_unused_result));

#endif
