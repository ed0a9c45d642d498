/*
 * response_watch: see response_watch.h. A watcher is written to while it is less than BEHIND_MAX
 * behind; the rest follows with a later tick.
 */
#include "gateway/response_watch.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define BEHIND_MAX (64u << 10)
#define PING_MS    15000

struct watcher {
    struct watcher *next;
    struct response_watch *watch;
    struct exchange *x;
    size_t i_next; /* event */
};

void response_watch_init(struct response_watch *w)
{
    *w = (struct response_watch){0};
    buf_init(&w->text, RESPONSE_EVENTS_MAX);
}

static void unlink_watcher(struct watcher *v)
{
    struct watcher **at = &v->watch->watchers;
    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
    free(v);
}

void response_watch_release(struct response_watch *w)
{
    while (w->watchers != NULL) {
        exchange_end(w->watchers->x);
        unlink_watcher(w->watchers);
    }
    buf_release(&w->text);
    free(w->end);
}

bool response_watch_add(struct response_watch *w, struct str events)
{
    size_t at = w->text.len;
    if (!buf_add_str(&w->text, events))
        return false;
    while (at < w->text.len) {
        ptrdiff_t n = str_find(str_from(buf_str(&w->text), at), STR("\n\n"));
        if (n < 0 || !mem_grow((void **)&w->end, &w->cap, w->n + 1, SIZE_MAX / sizeof *w->end,
                               sizeof *w->end))
            return false;
        at += (size_t)n + 2;
        w->end[w->n++] = at;
    }
    return true;
}

/* False: it is gone. */
static bool pump(struct watcher *v)
{
    const struct response_watch *w = v->watch;
    while (v->i_next < w->n_shown && exchange_behind(v->x) < BEHIND_MAX) {
        size_t from = v->i_next == 0 ? 0 : w->end[v->i_next - 1];
        struct str event = str_sub(buf_str(&w->text), from, w->end[v->i_next] - from);
        v->i_next++;
        if (!exchange_write(v->x, event)) {
            unlink_watcher(v);
            return false;
        }
    }
    if (w->over && v->i_next >= w->n_shown) {
        exchange_end(v->x);
        unlink_watcher(v);
        return false;
    }
    return true;
}

static void pump_all(struct response_watch *w)
{
    struct watcher *next;
    for (struct watcher *v = w->watchers; v != NULL; v = next) {
        next = v->next;
        (void)pump(v);
    }
}

void response_watch_show(struct response_watch *w, bool over)
{
    w->n_shown = w->n;
    w->over = over;
    pump_all(w);
}

static void on_gone(struct exchange *x, void *ctx)
{
    (void)x;
    unlink_watcher(ctx);
}

void response_watch_join(struct response_watch *w, struct exchange *x, int64_t from)
{
    struct watcher *v = mem_zero(1, sizeof *v);
    *v = (struct watcher){.next = w->watchers, .watch = w, .x = x, .i_next = (size_t)from};
    w->watchers = v;
    exchange_on_gone(x, on_gone, v);
    exchange_add_header(x, "Cache-Control", "no-cache");
    exchange_add_header(x, "X-Accel-Buffering", "no");
    exchange_begin(x, 200, "text/event-stream");
    (void)pump(v);
}

void response_watch_tick(struct response_watch *w)
{
    struct watcher *next;
    for (struct watcher *v = w->watchers; v != NULL; v = next) {
        next = v->next;
        if (pump(v) && exchange_idle_ms(v->x) >= PING_MS &&
            !exchange_write(v->x, STR(": still working\n\n")))
            unlink_watcher(v);
    }
}

struct str response_events_from(struct str stream, int64_t from)
{
    for (int64_t i = 0; i < from && stream.len > 0; i++) {
        ptrdiff_t n = str_find(stream, STR("\n\n"));
        stream = str_from(stream, n < 0 ? stream.len : (size_t)n + 2);
    }
    return stream;
}
