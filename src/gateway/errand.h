/*
 * errand: work that blocks (a pull, a push, a change of the library) on a thread of its own, told
 * of line by line to the one client that asked for it.
 *
 * `stream`: lines of JSON as Ollama's clients read them, {"status": ...}, then success or an error
 * as the last line. Without it: one answer at the end. A client that leaves stops the work; so does
 * the server's end. Loop thread, but for what says otherwise.
 */
#ifndef HEARTH_GATEWAY_ERRAND_H
#define HEARTH_GATEWAY_ERRAND_H

#include "gateway/server.h"

#include <signal.h>

#define ERRANDS_MAX 8 /* at once */

struct errand;

struct errand_job {
    int (*run)(struct errand *e, void *ctx, struct err *err); /* on the thread; ERR_* */
    /* On the loop, when run is over and before ctx is freed; or NULL. */
    void (*then)(struct server *s, void *ctx, int code);
    void (*free_ctx)(void *ctx); /* or NULL */
    void *ctx;                   /* taken, whatever happens */
    bool stream;
    /* The answer at the end, where nothing is streamed: JSON, or "": an empty 200. Copied; NULL:
     * {"status": "success"}. */
    const char *answer;
};

/* Answers the exchange, now or later. */
void errand_start(struct server *s, struct exchange *x, const struct errand_job *job);
/* On the errand's thread. digest NULL, total 0: the line is not about bytes. */
void errand_tell(struct errand *e, const char *status, const char *digest, int64_t total,
                 int64_t completed);
const volatile sig_atomic_t *errand_stop(const struct errand *e);
/* The server ends: stops them all and waits for their threads. */
void errands_end(struct server *s);

#endif
