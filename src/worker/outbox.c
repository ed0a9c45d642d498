/*
 * outbox: see the header. Knows frames, not what they mean.
 */
#include "worker/outbox.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define BYTES_MAX     (2u * FRAME_BYTES_MAX)
#define FLUSH_WAIT_MS 5000

void outbox_init(struct outbox *o, int fd)
{
    *o = (struct outbox){.fd = fd};
    buf_init(&o->bytes, BYTES_MAX);
}

void outbox_release(struct outbox *o)
{
    buf_release(&o->bytes);
}

bool outbox_put(struct outbox *o, json_t *message)
{
    bool ok = message && frame_append(message, &o->bytes);
    o->bytes.overflow = false;
    json_decref(message);
    return ok;
}

void outbox_flush(struct outbox *o)
{
    while (!o->is_broken && o->sent < o->bytes.len) {
        ssize_t n = write(o->fd, o->bytes.ptr + o->sent, o->bytes.len - o->sent);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            o->is_broken = errno != EAGAIN && errno != EWOULDBLOCK;
            break;
        }
        o->sent += (size_t)n;
    }
    if (o->sent == o->bytes.len) {
        bool large = o->bytes.cap > OUTBOX_FULL;
        buf_clear(&o->bytes);
        o->sent = 0;
        if (large) { /* one huge answer must not be paid for ever after */
            buf_release(&o->bytes);
            buf_init(&o->bytes, BYTES_MAX);
        }
    } else if (o->sent > OUTBOX_FULL / 2) {
        buf_consume(&o->bytes, o->sent);
        o->sent = 0;
    }
}

void outbox_flush_all(struct outbox *o)
{
    outbox_flush(o);
    while (!outbox_is_empty(o)) {
        struct pollfd p = {.fd = o->fd, .events = POLLOUT};
        if (poll(&p, 1, FLUSH_WAIT_MS) <= 0)
            return;
        outbox_flush(o);
    }
}

bool outbox_is_empty(const struct outbox *o)
{
    return o->is_broken || o->sent == o->bytes.len;
}

bool outbox_is_full(const struct outbox *o)
{
    return o->bytes.len - o->sent > OUTBOX_FULL;
}
