/*
 * progress: one line on standard error that shows how far a long step is: a bar with rate and time
 * left on a terminal, plain lines (at a change of step, and every ten seconds) elsewhere.
 */
#ifndef HEARTH_CLI_PROGRESS_H
#define HEARTH_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_RATE_POINTS 16

struct progress {
    bool quiet, terminal, open; /* open: a bar stands on the current line */
    char status[96];
    int64_t done, total;
    int64_t shown_ms;                       /* when the line was last written */
    int64_t at_ms[PROGRESS_RATE_POINTS];    /* a ring of points in time, */
    int64_t at_bytes[PROGRESS_RATE_POINTS]; /* and the bytes done then */
    int n_points;
};

void progress_init(struct progress *p, bool quiet);
/* total 0: not known, or a step without bytes. */
void progress_show(struct progress *p, const char *status, int64_t done, int64_t total);
void progress_end(struct progress *p); /* finishes the line */

/* "93.8 MB", in powers of 1000 as downloads are counted. */
void progress_size(int64_t bytes, char ret[24]);
/* "3 hours ago", from milliseconds since 1970. */
void progress_age(int64_t since_ms, char ret[40]);

#endif
