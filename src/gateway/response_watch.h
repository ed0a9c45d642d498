/*
 * response_watch: the events of a response that runs, and the exchanges that watch them: each reads
 * at its own pace, from where it wants. Loop thread only.
 *
 * The log is kept until its owner drops it, so that who lost a connection may go on where it was.
 * Events are numbered from 0, as their sequence_number says.
 */
#ifndef HEARTH_GATEWAY_RESPONSE_WATCH_H
#define HEARTH_GATEWAY_RESPONSE_WATCH_H

#include "gateway/server.h"

#define RESPONSE_EVENTS_MAX (64u << 20) /* bytes of one log */

struct watcher;

struct response_watch {
    struct buf text;
    size_t *end; /* [n]: where each event ends; owned */
    size_t n, cap;
    size_t n_shown; /* of them, what watchers may see */
    bool over;      /* nothing comes after what is shown */
    struct watcher *watchers;
};

void response_watch_init(struct response_watch *w);
/* Watchers' streams end as they are. */
void response_watch_release(struct response_watch *w);
/* Whole events. False: the log is full. */
bool response_watch_add(struct response_watch *w, struct str events)
    __attribute__((warn_unused_result));
/* Shows what was added. over: and the streams end after it. */
void response_watch_show(struct response_watch *w, bool over);
/* Begins a stream with the events from number `from` on. */
void response_watch_join(struct response_watch *w, struct exchange *x, int64_t from);
/* Goes on with those that were behind, keeps silent ones open: some times a second. */
void response_watch_tick(struct response_watch *w);

/* The events of a whole stream from number `from` on; borrows. */
struct str response_events_from(struct str stream, int64_t from);

#endif
