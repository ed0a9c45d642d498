/*
 * intake: two threads beside the loop that parse, render and tokenize requests, and answer
 * questions about texts.
 *
 * 128k tokens take 70 to 210 ms of a processor's time; on the loop's thread the text of all
 * running streams would wait for that, and on one thread all requests behind it. So there are two
 * lanes: frames larger than INTAKE_SMALL bytes go through one, all others through the other. Within
 * a lane requests come out in the order they went in, as answers that are ready to begin or as
 * errors to send; one that is cancelled before its turn is not looked at.
 *
 * Bounded: when INTAKE_READY_MAX results were not taken, the lanes wait.
 *
 * Made before the process is locked in (it starts threads). All functions are for the loop's
 * thread.
 */
#ifndef HEARTH_WORKER_INTAKE_H
#define HEARTH_WORKER_INTAKE_H

#include "worker/answer.h"

#include <jansson.h>

#define INTAKE_SMALL     (32u << 10) /* some 8k tokens: a few ms */
#define INTAKE_READY_MAX 16

struct intake;

/* What became of one frame: a `generate`, or a question (worker/question.h). */
struct intake_result {
    uint64_t id;
    json_t *reply;         /* of a question, the taker's; NULL with an error in its place */
    struct answer *answer; /* the taker's; NULL: send `error` instead */
    struct gen_error error;
    bool is_cancelled; /* there is no answer for this reason */
};

/* model: borrowed, read only. */
int intake_new(const struct loaded *model, struct intake **ret, struct err *err)
    __attribute__((warn_unused_result));
/* Waits for the requests at hand; drops the others. */
void intake_free(struct intake *in);
/* Takes the only reference of *frame and leaves NULL: counts of references are not for two threads.
 * n_bytes: of the frame. */
void intake_put(struct intake *in, json_t **frame, uint64_t id, size_t n_bytes);
/* True if the request is here; its result will say so. */
bool intake_cancel(struct intake *in, uint64_t id);
/* Requests that were put and not taken. */
int intake_n(const struct intake *in);
/* Readable when results may be there. */
int intake_fd(const struct intake *in);
/* The oldest result; false when there is none yet. */
bool intake_take(struct intake *in, struct intake_result *ret);

#endif
