/*
 * intake: a thread beside the loop that parses, renders and tokenizes requests, one after the
 * other.
 *
 * 128k tokens take 70 to 210 ms of a processor's time; on the loop's thread the text of all
 * running streams would wait for that. Requests come out in the order they went in, as answers that
 * are ready to begin or as errors to send.
 *
 * Made before the process is locked in (it starts a thread). All functions are for the loop's
 * thread.
 */
#ifndef HEARTH_WORKER_INTAKE_H
#define HEARTH_WORKER_INTAKE_H

#include "worker/answer.h"

#include <jansson.h>

struct intake;

/* What became of one `generate` frame. */
struct intake_result {
    struct answer *answer; /* the taker's; NULL: send `error` instead */
    struct gen_error error;
    bool is_cancelled; /* meanwhile; the answer is whole all the same */
};

/* model: borrowed, read only. */
int intake_new(const struct loaded *model, struct intake **ret, struct err *err)
    __attribute__((warn_unused_result));
/* Waits for the request at hand; drops the others. */
void intake_free(struct intake *in);
/* Takes the only reference of *frame and leaves NULL: counts of references are not for two threads.
 */
void intake_put(struct intake *in, json_t **frame, uint64_t id);
/* True if the request is here; its result will say so. */
bool intake_cancel(struct intake *in, uint64_t id);
/* Requests that were put and not taken. */
int intake_n(const struct intake *in);
/* Readable when results may be there. */
int intake_fd(const struct intake *in);
/* The oldest result; false when there is none yet. */
bool intake_take(struct intake *in, struct intake_result *ret);

#endif
