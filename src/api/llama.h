/*
 * llama: the native endpoints of llama-server, /completion and /infill, as its clients know them.
 *
 * Source: llama.cpp's tools/server/README.md. One prompt and one choice a call. Prompts hold
 * control tokens where they spell them. The tables in llama_request.c are the contract.
 */
#ifndef HEARTH_API_LLAMA_H
#define HEARTH_API_LLAMA_H

#include "api/fields.h"
#include "api/request.h"

extern const struct api_endpoint llama_completion;
/* What stands between input_prefix and input_suffix, by a model that is trained for it. */
extern const struct api_endpoint llama_infill;

/* The settings of a request as its answers and /props show them; appends an object. */
bool llama_settings_write(const struct gen_request *g, bool stream, struct buf *out);
/* A request as it is when nothing is said; to be released by api_request_release. */
void llama_request_init(struct api_request *r, const struct api_endpoint *endpoint);

/* ---- small questions ---- */

extern const struct api_form llama_tokenize_form, llama_detokenize_form;

struct llama_tokenize {
    struct str model, content; /* borrow from the body */
    bool add_special, parse_special, with_pieces;
};
int llama_tokenize_parse(const json_t *body, struct llama_tokenize *ret, struct err *err)
    __attribute__((warn_unused_result));
/* tokens, pieces: of the worker's answer; pieces NULL: ids alone. */
bool llama_tokenize_write(const json_t *tokens, const json_t *pieces, struct buf *out);

struct llama_detokenize {
    struct str model;
    const json_t *tokens; /* an array of token ids */
};
int llama_detokenize_parse(const json_t *body, struct llama_detokenize *ret, struct err *err)
    __attribute__((warn_unused_result));

#endif
