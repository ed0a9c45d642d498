/*
 * sampling: the one table of sampling parameters that dialects share, and a model's own defaults.
 *
 * API_SAMPLING_FIELDS is a list of rows for a table of struct api_field whose `into` is a struct
 * api_request; names are llama-server's, with vLLM's where it has another. A dialect adds rows of
 * its own for what it bounds otherwise: temperature, top_p, stop, n. One whose presence and
 * frequency penalties go over repeat_last_n, prompt included (Ollama, llama-server), calls
 * api_sampling_penalties_as_llama once all is read.
 */
#ifndef HEARTH_API_SAMPLING_H
#define HEARTH_API_SAMPLING_H

#include "api/fields.h"
#include "api/request.h"

#include <stddef.h>

#define API_TOKEN_MAX 2147483647.0

/* Stop strings: a string or an array of them, added to gen.stop. */
int api_take_stop(const char *name, const json_t *value, void *into, struct err *err);
/* logit_bias: {"token id or text": -100..100 or false}, or [[id or text, number or false], ...]. */
int api_take_bias(const char *name, const json_t *value, void *into, struct err *err);
int api_take_seed(const char *name, const json_t *value, void *into, struct err *err);
int api_take_keep_alive(const char *name, const json_t *value, void *into, struct err *err);
int api_take_samplers(const char *name, const json_t *value, void *into, struct err *err);
int api_take_banned(const char *name, const json_t *value, void *into, struct err *err);
int api_take_breakers(const char *name, const json_t *value, void *into, struct err *err);
int api_take_top_n_sigma(const char *name, const json_t *value, void *into, struct err *err);
int api_take_use_beam_search(const char *name, const json_t *value, void *into, struct err *err);

#define API_SAMPLING_AT(member) .offset = offsetof(struct api_request, gen.sampling.member)

/* clang-format off: rows of a table */
#define API_SAMPLING_FIELDS                                                                          \
    {"top_k", API_INT, API_HONOURED, -1, API_TOKEN_MAX, API_SAMPLING_AT(top_k)},                     \
        {"min_p", API_NUM, API_HONOURED, 0, 1, API_SAMPLING_AT(min_p)},                              \
        {"typical_p", API_NUM, API_HONOURED, 0, 1, .above_min = true, API_SAMPLING_AT(typical_p)},   \
        {"top_n_sigma", API_ANY, API_HONOURED, .take = api_take_top_n_sigma},                        \
        {"min_keep", API_INT, API_HONOURED, 0, API_TOKEN_MAX, API_SAMPLING_AT(min_keep)},            \
        {"xtc_probability", API_NUM, API_HONOURED, 0, 1, API_SAMPLING_AT(xtc_probability)},          \
        {"xtc_threshold", API_NUM, API_HONOURED, 0, 1, API_SAMPLING_AT(xtc_threshold)},              \
        {"dynatemp_range", API_NUM, API_HONOURED, 0, 100, API_SAMPLING_AT(dynatemp_range)},          \
        {"dynatemp_exponent",                                                                        \
         API_NUM,                                                                                    \
         API_HONOURED,                                                                               \
         0,                                                                                          \
         100,                                                                                        \
         .above_min = true,                                                                          \
         API_SAMPLING_AT(dynatemp_exponent)},                                                        \
        {"repeat_penalty",                                                                           \
         API_NUM,                                                                                    \
         API_HONOURED,                                                                               \
         0,                                                                                          \
         10,                                                                                         \
         .above_min = true,                                                                          \
         API_SAMPLING_AT(repeat_penalty)},                                                           \
        {"repetition_penalty",           API_NUM, API_HONOURED, 0, 10, .above_min = true,            \
         API_SAMPLING_AT(repeat_penalty)},                                                           \
        {"repeat_last_n", API_INT, API_HONOURED, -1, API_TOKEN_MAX, API_SAMPLING_AT(repeat_last_n)}, \
        {"presence_penalty", API_NUM, API_HONOURED, -2, 2, API_SAMPLING_AT(presence_penalty)},       \
        {"frequency_penalty", API_NUM, API_HONOURED, -2, 2, API_SAMPLING_AT(frequency_penalty)},     \
        {"penalty_last_n",      API_INT,       API_HONOURED,                                         \
         GEN_PENALTY_GENERATED, API_TOKEN_MAX, API_SAMPLING_AT(penalty_last_n)},                     \
        {"dry_multiplier", API_NUM, API_HONOURED, 0, 100, API_SAMPLING_AT(dry_multiplier)},          \
        {"dry_base", API_NUM, API_HONOURED, 1, 100, API_SAMPLING_AT(dry_base)},                      \
        {"dry_allowed_length", API_INT,                                                              \
         API_HONOURED,         1,                                                                    \
         API_TOKEN_MAX,        API_SAMPLING_AT(dry_allowed_length)},                                 \
        {"dry_penalty_last_n",       API_INT, API_HONOURED, -1, API_TOKEN_MAX,                       \
         API_SAMPLING_AT(dry_last_n)},                                                               \
        {"dry_sequence_breakers", API_ANY, API_HONOURED, .take = api_take_breakers},                 \
        {"mirostat", API_INT, API_HONOURED, 0, 2, API_SAMPLING_AT(mirostat)},                        \
        {"mirostat_tau", API_NUM, API_HONOURED, 0, 100, API_SAMPLING_AT(mirostat_tau)},              \
        {"mirostat_eta", API_NUM, API_HONOURED, 0, 1, API_SAMPLING_AT(mirostat_eta)},                \
        {"samplers", API_ANY, API_HONOURED, .take = api_take_samplers},                              \
        {"seed", API_ANY, API_HONOURED, .take = api_take_seed},                                      \
        {"logit_bias", API_ANY, API_HONOURED, .take = api_take_bias},                                \
        {"banned_strings", API_ANY, API_HONOURED, .take = api_take_banned},                          \
        {"bad_words", API_ANY, API_HONOURED, .take = api_take_banned},                               \
        {"ignore_eos", API_BOOL, API_HONOURED,                                                       \
         .offset = offsetof(struct api_request, gen.ignore_eos)},                                    \
        {"min_tokens", API_INT, API_HONOURED, 0, API_TOKEN_MAX, API_SAMPLING_AT(min_tokens)},        \
        {"use_beam_search", API_ANY, API_HONOURED, .take = api_take_use_beam_search},                \
        {"beam_width", API_INT, API_HONOURED, 1, GEN_BEAMS_MAX, API_SAMPLING_AT(beam_width)},        \
        {"length_penalty", API_NUM, API_HONOURED, -100, 100, API_SAMPLING_AT(length_penalty)},       \
    {                                                                                                \
        "post_sampling_probs", API_BOOL, API_HONOURED, API_SAMPLING_AT(post_probs)                   \
    }
/* clang-format on */

/* A model's own parameters (Ollama's names; others are not for a request) into a request that is
 * still to be read, so that what the client says comes over them. NULL: none. */
int api_sampling_defaults(const json_t *params, struct api_request *r, struct err *err)
    __attribute__((warn_unused_result));
/* The same, and what a server samples with when neither says anything of it. Before the body. */
int api_sampling_begin(const json_t *body, const json_t *defaults, struct api_request *r,
                       struct err *err) __attribute__((warn_unused_result));
/* Does obj (or NULL) say how tokens are to be drawn? Then nothing is assumed. */
bool api_sampling_is_told(const json_t *obj);
/* Presence and frequency penalties over repeat_last_n tokens, unless a window was given. */
void api_sampling_penalties_as_llama(struct api_request *r);
/* What holds between parameters; api_request_finish calls it. */
int api_sampling_finish(struct api_request *r, struct err *err) __attribute__((warn_unused_result));

#endif
