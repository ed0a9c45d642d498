/*
 * generation: what a call over HTTP (completions.c) and a line of a batch (batch_call.c) do alike
 * between a parsed request and its answer, so that a line answers as the call would. Loop thread
 * only.
 */
#ifndef HEARTH_GATEWAY_GENERATION_H
#define HEARTH_GATEWAY_GENERATION_H

#include "api/request.h"
#include "gateway/server.h"

#define GENERATION_MODEL_MAX 512

/* The model's name as models_find takes it: the request's, else the one named at start. */
int generation_model(const struct server *s, const struct api_request *r,
                     char ret[GENERATION_MODEL_MAX], struct err *err)
    __attribute__((warn_unused_result));
/* A request may not ask for more answers than slot_units_max: ERR_LIMIT with what makes it so. */
int generation_check_units(const struct api_request *r, const struct slot *slot, bool others,
                           struct err *err) __attribute__((warn_unused_result));
/*
 * What the model's own layers add: its parameters, where the client gave none (body is read again
 * into *r), and its system text; what is volatile of the client's own is taken out. Then an empty
 * answer with a new id; owned by the caller.
 */
int generation_prepare(const json_t *body, struct api_request *r, const struct slot *slot,
                       struct api_answer **ret_answer, struct err *err)
    __attribute__((warn_unused_result));

/* The second half of it, for who needs no answer: a conversation as the worker is to have it. */
int generation_messages(struct api_request *r, const struct slot *slot, struct err *err)
    __attribute__((warn_unused_result));

/* The worker's error as the client is told it. */
struct err generation_error(const struct gen_error *e, const struct api_endpoint *endpoint,
                            struct api_counts *ret_counts);
/* The answer grew beyond its bound. */
struct err generation_error_full(void);

#endif
