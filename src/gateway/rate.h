/*
 * rate: how fast a counter grew in the last ten seconds. The counter is told of now and then.
 */
#ifndef HEARTH_GATEWAY_RATE_H
#define HEARTH_GATEWAY_RATE_H

#include <stdint.h>

#define RATE_WINDOW_MS 10000
#define RATE_POINTS    32

struct rate {
    struct {
        int64_t ms, value;
    } point[RATE_POINTS]; /* a ring */
    uint64_t n;
};

/* At most a point per RATE_WINDOW_MS / (RATE_POINTS - 2) is kept: later ones replace the last. */
void rate_add(struct rate *r, int64_t now_ms, int64_t value);
/* Per second; 0 when nothing was told for as long as the window. */
double rate_now(const struct rate *r, int64_t now_ms);

#endif
