/*
 * rate: see rate.h.
 */
#include "gateway/rate.h"

#define SPACING_MS (RATE_WINDOW_MS / (RATE_POINTS - 2))

void rate_add(struct rate *r, int64_t now_ms, int64_t value)
{
    uint64_t last = r->n == 0 ? 0 : (r->n - 1) % RATE_POINTS;
    if (r->n > 0 && value < r->point[last].value)
        r->n = 0; /* another process: its counter began anew */
    /* The last point moves on while it is close to the one before. */
    if (r->n >= 2 && now_ms - r->point[(r->n - 2) % RATE_POINTS].ms < SPACING_MS)
        r->n--;
    r->point[r->n % RATE_POINTS].ms = now_ms;
    r->point[r->n % RATE_POINTS].value = value;
    r->n++;
}

double rate_now(const struct rate *r, int64_t now_ms)
{
    int64_t from_ms = now_ms - RATE_WINDOW_MS;
    uint64_t n = r->n < RATE_POINTS ? r->n : RATE_POINTS, i = r->n - n;
    if (n == 0)
        return 0;
    while (i + 1 < r->n && r->point[(i + 1) % RATE_POINTS].ms <= from_ms)
        i++;
    int64_t start_ms = r->point[i % RATE_POINTS].ms;
    double first = (double)r->point[i % RATE_POINTS].value;
    const double last = (double)r->point[(r->n - 1) % RATE_POINTS].value;
    if (start_ms < from_ms && i + 1 < r->n) { /* the window begins between two points */
        double share =
            (double)(from_ms - start_ms) / (double)(r->point[(i + 1) % RATE_POINTS].ms - start_ms);
        first += share * ((double)r->point[(i + 1) % RATE_POINTS].value - first);
        start_ms = from_ms;
    }
    int64_t span_ms = now_ms - (start_ms > from_ms ? start_ms : from_ms);
    return span_ms <= 0 ? 0 : (last - first) * 1e3 / (double)(span_ms < 1000 ? 1000 : span_ms);
}
