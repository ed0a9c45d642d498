/*
 * room: see room.h. Pure.
 */
#include "gateway/room.h"

#include <math.h>

#define TURN_LEAST_MS  500
#define TURN_MOST_MS   30000
#define GRACE_LEAST_MS 50 /* between two requests of one client */
#define GRACE_MOST_MS  1000
#define LOAD_LEAST_S   1.0 /* below that all are alike */

static int64_t clamp(int64_t x, int64_t least, int64_t most)
{
    return x < least ? least : x > most ? most : x;
}

int64_t room_turn_ms(int64_t load_ms)
{
    return clamp(2 * load_ms, TURN_LEAST_MS, TURN_MOST_MS);
}

double room_cost(int64_t load_ms, int64_t bytes)
{
    double seconds = fmax((double)load_ms * 1e-3, LOAD_LEAST_S);
    double gib = fmax((double)bytes, 1) / (double)(1 << 30);
    return exp2(round(log2(seconds / gib)));
}

/* In its turn, and in use: the next request of a client comes soon after the last answer. */
static bool has_turn(const struct room_model *m)
{
    return m->ready_ms < room_turn_ms(m->load_ms) &&
           (m->state == ROOM_BUSY ||
            m->idle_ms < clamp(m->load_ms / 4, GRACE_LEAST_MS, GRACE_MOST_MS));
}

static bool may_go(const struct room_model *m)
{
    return m->state == ROOM_IDLE && (m->yielding || !has_turn(m));
}

static int cheapest(const struct room_model *model, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (may_go(&model[i]) &&
            (best < 0 || model[i].keep < model[best].keep ||
             (model[i].keep == model[best].keep && model[i].idle_ms > model[best].idle_ms)))
            best = i;
    return best;
}

/* The busy one that has had the longest turn. */
static int most_served(const struct room_model *model, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (model[i].state == ROOM_BUSY && !model[i].yielding && !has_turn(&model[i]) &&
            (best < 0 || model[i].ready_ms > model[best].ready_ms))
            best = i;
    return best;
}

enum room_step room_plan(const struct room_model *model, int n, int64_t budget, int64_t need,
                         int64_t waited_ms, int *ret_i)
{
    int64_t held = 0, leaving = 0, idle = 0, yielding = 0;
    for (int i = 0; i < n; i++) {
        held += model[i].bytes;
        if (model[i].state == ROOM_LEAVING)
            leaving += model[i].bytes;
        else if (may_go(&model[i]))
            idle += model[i].bytes;
        else if (model[i].yielding)
            yielding += model[i].bytes;
    }
    if (need > budget)
        return ROOM_NEVER;
    int64_t lack = need - (budget - held);
    if (lack <= 0)
        return ROOM_GO;
    if (lack <= leaving)
        return ROOM_WAIT;
    if (lack <= leaving + idle) {
        *ret_i = cheapest(model, n);
        return ROOM_EVICT;
    }
    if (lack <= leaving + idle + yielding || waited_ms < ROOM_PATIENCE_MS)
        return ROOM_WAIT;
    *ret_i = most_served(model, n);
    return *ret_i < 0 ? ROOM_WAIT : ROOM_YIELD;
}
