/*
 * frame: cuts a byte stream into frames and back.
 *
 * Knows nothing of what a frame means beyond "an object with a string t". The length is checked
 * as soon as its four bytes are there, so a hostile length costs no memory.
 */
#include "ipc/frame.h"

#include <string.h>

/* Writes the length before the text that begins at `at`; takes all back if ok is false. */
static bool finish(struct buf *out, size_t at, bool ok)
{
    size_t n = ok ? out->len - at - FRAME_HEAD_BYTES : 0;
    if (!ok || n > FRAME_BYTES_MAX) {
        buf_truncate(out, at);
        return false;
    }
    for (int i = 0; i < FRAME_HEAD_BYTES; i++)
        out->ptr[at + (size_t)i] = (char)(uint8_t)(n >> (8 * i));
    return true;
}

bool frame_append(const json_t *message, struct buf *out)
{
    size_t at = out->len;
    char head[FRAME_HEAD_BYTES] = {0};
    if (!buf_add(out, head, sizeof(head)))
        return false;
    return finish(out, at, json_is_object(message) && json_write(message, out));
}

bool frame_append_text(struct str json, struct buf *out)
{
    size_t at = out->len;
    char head[FRAME_HEAD_BYTES] = {0};
    if (!buf_add(out, head, sizeof(head)))
        return false;
    return finish(out, at, buf_add_str(out, json));
}

void frame_reader_init(struct frame_reader *r)
{
    buf_init(&r->in, FRAME_HEAD_BYTES + FRAME_BYTES_MAX + FRAME_FEED_MAX);
    r->consumed = r->n_bytes = 0;
}

void frame_reader_release(struct frame_reader *r)
{
    buf_release(&r->in);
    r->consumed = 0;
}

bool frame_reader_feed(struct frame_reader *r, const void *bytes, size_t n)
{
    if (n > FRAME_FEED_MAX)
        return false;
    if (r->consumed > 0) {
        buf_consume(&r->in, r->consumed);
        r->consumed = 0;
    }
    return buf_add(&r->in, bytes, n);
}

/* A rare huge frame must not keep its memory for the life of the connection. */
static void give_back_memory(struct frame_reader *r)
{
    const size_t n_bytes = r->n_bytes; /* of the frame that is being handed out */
    if (r->consumed == r->in.len && r->in.cap > FRAME_FEED_MAX) {
        frame_reader_release(r);
        frame_reader_init(r);
        r->n_bytes = n_bytes;
    }
}

int frame_reader_next_text(struct frame_reader *r, struct str *ret, struct err *err)
{
    size_t have = r->in.len - r->consumed;
    if (have < FRAME_HEAD_BYTES)
        return 0;
    const uint8_t *head = (const uint8_t *)r->in.ptr + r->consumed;
    uint32_t n = (uint32_t)head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 |
                 (uint32_t)head[3] << 24;
    if (n > FRAME_BYTES_MAX)
        return err_set(err, ERR_TOO_LARGE, "frame of %u bytes; the limit is %u", n,
                       FRAME_BYTES_MAX);
    if (have - FRAME_HEAD_BYTES < n)
        return 0;
    *ret = (struct str){(const char *)head + FRAME_HEAD_BYTES, n};
    r->consumed += FRAME_HEAD_BYTES + n;
    r->n_bytes = n;
    return 1;
}

int frame_reader_next(struct frame_reader *r, json_t **ret, struct err *err)
{
    struct str text;
    int got = frame_reader_next_text(r, &text, err);
    if (got != 1)
        return got;
    json_t *value = json_parse(text, FRAME_DEPTH_MAX, err);
    give_back_memory(r);
    if (!value)
        return err_wrap(err, "frame");
    if (!json_is_string(json_object_get(value, "t"))) {
        json_decref(value);
        return err_set(err, ERR_SYNTAX, "frame is not an object with a string \"t\"");
    }
    *ret = value;
    return 1;
}
