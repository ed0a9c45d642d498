/*
 * sampling: the sampling parameters that dialects share, and a model's own defaults for them.
 */
#ifndef HEARTH_API_SAMPLING_H
#define HEARTH_API_SAMPLING_H

#include "api/fields.h"
#include "api/request.h"

#define API_TOKEN_MAX 2147483647.0

/* Stop strings: a string or an array of them, added to gen.stop. */
int api_take_stop(const char *name, const json_t *value, void *into, struct err *err);
/* {"token id": -100..100} into gen.sampling.bias. */
int api_take_bias(const char *name, const json_t *value, void *into, struct err *err);
int api_take_seed(const char *name, const json_t *value, void *into, struct err *err);
int api_take_keep_alive(const char *name, const json_t *value, void *into, struct err *err);

/* A model's own parameters (Ollama's names; others are not for a request) into a request that is
 * still to be read, so that what the client says comes over them. NULL: none. */
int api_sampling_defaults(const json_t *params, struct api_request *r, struct err *err)
    __attribute__((warn_unused_result));
/* The same, and what a server samples with when neither says anything of it. Before the body. */
int api_sampling_begin(const json_t *body, const json_t *defaults, struct api_request *r,
                       struct err *err) __attribute__((warn_unused_result));

#endif
