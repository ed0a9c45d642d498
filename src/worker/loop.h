/*
 * loop: the worker's second thread of control: socket on one side, engine on the other.
 *
 * Reads frames, admits; begins what the intake has tokenized; takes engine events, detokenizes,
 * sends. Returns when
 * the gateway closes the socket (0), after a drain (0), or when the stream breaks (1).
 */
#ifndef HEARTH_WORKER_LOOP_H
#define HEARTH_WORKER_LOOP_H

#include "worker/intake.h"
#include "worker/load.h"
#include "worker/outbox.h"

/* The engine is running; the loop stops it before it returns. */
int loop_run(struct loaded *model, struct intake *intake, struct outbox *out);

#endif
