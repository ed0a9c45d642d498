/*
 * room: whether one more model has room in memory, and if not, who makes it. Arithmetic only: it
 * sees numbers and gives one step; models.c takes it, and asks again when something has changed.
 *
 * The rules:
 * - a model with running requests is never unloaded;
 * - of idle ones that go first whose bytes are the cheapest to bring back (seconds of loading per
 *   byte), and among equals the one used longest ago. What stays unused ages: `keep` of a model is
 *   its cost plus the keep of the last one that went (GreedyDual; Young, "On-line caching as cache
 *   size varies", 1991), so that an expensive model does not stay for ever;
 * - a model that is in use has a turn of at least twice the time that its loading took, so that
 *   machines with too little memory work more than they load;
 * - after its turn a busy model yields when another has waited: it finishes what runs, what waits
 *   for it waits on, and it comes back after the other's turn. So nobody starves;
 * - nothing is unloaded before it is sure that this will do.
 */
#ifndef HEARTH_GATEWAY_ROOM_H
#define HEARTH_GATEWAY_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#define ROOM_PATIENCE_MS 1000 /* a busy model may become idle by itself */

enum room_state {
    ROOM_LOADING, /* bytes: all that it was allowed; what it takes is known when it is ready */
    ROOM_IDLE,    /* no request, or none that runs while it yields */
    ROOM_BUSY,
    ROOM_LEAVING,
};

struct room_model {
    enum room_state state;
    int64_t bytes;
    int64_t ready_ms, idle_ms; /* since it became ready, since its last request ended */
    int64_t load_ms;           /* how long its loading took */
    double keep;
    bool yielding; /* was told to */
};

enum room_step {
    ROOM_GO,
    ROOM_WAIT,  /* for one that loads, leaves, yields, or has its turn */
    ROOM_EVICT, /* *ret_i, now */
    ROOM_YIELD, /* *ret_i */
    ROOM_NEVER, /* it is larger than the budget */
};

/* waited_ms: of the model that wants in. */
enum room_step room_plan(const struct room_model *model, int n, int64_t budget, int64_t need,
                         int64_t waited_ms, int *ret_i);
/* Seconds per GiB to bring a model back, in powers of two: loads take never twice the same time. */
double room_cost(int64_t load_ms, int64_t bytes);
int64_t room_turn_ms(int64_t load_ms);

#endif
