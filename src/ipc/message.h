/*
 * message: every frame type between gateway and worker: one writer, one reader, described here.
 *
 * gateway -> worker
 *   generate    struct gen_request. The worker answers `accepted` or `error`. With `resume` the
 *               request goes on after the death of the worker that computed it first: what its
 *               client has already is not sent again
 *   cancel      {id}: stop it; the worker answers `error` (cancelled) or the `done` that was
 *               already on its way; nothing if it does not know the id (any more)
 *   tokenize    {id, text, special, bos, pieces, count}, or {id, request, pieces, count} with a
 *               `generate` frame, of its prompt  -> `tokens` {id, n, tokens:[...], pieces:[...]} or
 *               `error`. pieces: what each token is, byte b as the character U+00b; only if asked
 *               for; count: n alone
 *   detokenize  {id, tokens:[...]}               -> `text` {id, text} or `error`
 *   render      {id, request}: chat template only -> `text` {id, text} or `error`; {id, generate}
 *               with a `generate` frame: as the prompt of that would be
 *   describe    {id}: the model -> `described` {id, template, bos, eos, system, tools}: the source
 *               of its chat template, the texts of two tokens, what the template has a place for
 *   drain       {}: finish what is running, take nothing new, then exit 0.
 * The worker exits when the socket closes.
 *
 * worker -> gateway
 *   progress    {stage: "map"|"check"|"pack"|"load"|"warm", fraction}: while loading
 *   packed      {from: "nothing"|"mapped"|"written"|"memory", bytes, ms, note}: where the packed
 *               weights come from; once, before ready. written: the file that was handed in to be
 *               filled is whole, and its owner may sync it and give it its name. note: why it was
 *               not done in a better way, or ""
 *   ready       struct worker_ready: loaded; once
 *   failed      {code, message}: could not load; then exit 1
 *   inspected   {arch, file_type, n_params, n_ctx, n_embd, template, capabilities, metadata,
 *               tensors}: all that a worker with --inspect says, which loads nothing and ends; or
 *               `failed`. metadata: the file's keys, with the arrays as null unless all was asked
 *               for, as the tensors [{name, type, shape}]
 *   quantizing  {from, to, done, total}: of a worker with --quantize, which loads nothing and ends:
 *               types and bytes of the source
 *   quantized   {type}: the file that was handed in is whole; or `failed`
 *   accepted    struct gen_accepted: admitted to the queue, prompt tokenized and known to fit
 *   started     {id, n_cached, queue_ms}: first token of the prompt is being computed
 *   delta       struct gen_delta: text and tokens of one choice
 *   end         struct gen_end: one choice is complete
 *   done        struct gen_done: all choices complete; last frame of a request
 *   error       struct gen_error: the request failed; last frame of it
 *   stats       struct worker_stats: about once a second while requests are there or anything
 *               changes, and after each cancel. `steps` that stand still while requests are there
 *               are how a stalled engine is noticed; an idle worker is silent
 *
 * Ids are chosen by the gateway, unique per worker process. Frames of one request are in order; a
 * frame with an unknown type or field is a broken stream (both ends are one program). A missing
 * field has its default (zero, or as gen_request_init says).
 */
#ifndef HEARTH_IPC_MESSAGE_H
#define HEARTH_IPC_MESSAGE_H

#include "ipc/gen_request.h"

/* `generate` requests that a worker has at once. Another one is answered with `error` (busy), as
 * one is whose tokens find no room beside the others': the gateway keeps it until one is over. */
#define WORKER_REQUESTS_MAX 1024

/* True when frame's "t" is type. */
bool message_is(const json_t *frame, const char *type);
/* The "id" of a frame; ERR_INVALID when missing or negative. */
int message_id(const json_t *frame, uint64_t *ret, struct err *err)
    __attribute__((warn_unused_result));

/* A heap array of token ids from a JSON array (owned by the caller). ERR_INVALID, ERR_NOMEM. */
int message_tokens(const json_t *array, int32_t **ret, size_t *ret_n, struct err *err)
    __attribute__((warn_unused_result));

struct gen_accepted {
    uint64_t id;
    int64_t n_prompt;
    uint64_t prompt_hash; /* of the prompt's tokens, for gen_resume */
    int64_t n_dropped;    /* messages of the chat that were left out (gen_request.truncate) */
};
json_t *gen_accepted_to_json(const struct gen_accepted *a);
int gen_accepted_from_json(const json_t *frame, struct gen_accepted *ret, struct err *err)
    __attribute__((warn_unused_result));

struct gen_top {
    int32_t id;
    float logprob;
    char *bytes; /* owned; the token's bytes, perhaps half a character */
    size_t n_bytes;
};

struct gen_token {
    int32_t id;
    float logprob; /* NaN where there is none: the first token of an echoed prompt */
    char *bytes;   /* owned */
    size_t n_bytes;
    struct gen_top *top; /* [n_top], descending; owned */
    size_t n_top;
    bool has_mu; /* mirostat's state after it, so that another worker can go on */
    double mu;
};

/* What a piece of an answer is; message.h's request says `parse`. */
enum gen_channel {
    GEN_CONTENT,
    GEN_REASONING,
    GEN_TOOL_CALL, /* `name` begins call number `call`; text is a fragment of its arguments: JSON */
    GEN_N_CHANNELS,
};

struct gen_delta {
    uint64_t id;
    int64_t index;   /* choice */
    int64_t channel; /* enum gen_channel */
    int64_t call;    /* GEN_TOOL_CALL: which one, from 0; they come one after the other */
    char *name;      /* GEN_TOOL_CALL: it begins here, and this is the tool; else NULL; owned */
    char *text;      /* valid UTF-8, perhaps empty; owned */
    size_t text_len;
    struct gen_token *tokens; /* [n_tokens]: what the text was made of; owned. bytes, logprob and
                                 top only if log probabilities were asked for */
    size_t n_tokens;
};
void gen_delta_release(struct gen_delta *d);
json_t *gen_delta_to_json(const struct gen_delta *d);
int gen_delta_from_json(const json_t *frame, struct gen_delta *ret, struct err *err)
    __attribute__((warn_unused_result));

enum gen_reason { GEN_STOP, GEN_LENGTH, GEN_TOOL_CALLS, GEN_N_REASONS };
const char *gen_reason_word(enum gen_reason reason); /* "stop", "length", "tool_calls" */
struct gen_end {
    uint64_t id;
    int64_t index;
    enum gen_reason reason;
    char *stop; /* the stop string that was met; NULL if none; owned */
    int64_t n_completion;
    int64_t n_reasoning; /* of those, in GEN_REASONING */
    int64_t n_foretold;  /* tokens of the prediction that were met in it */
};
void gen_end_release(struct gen_end *e);
json_t *gen_end_to_json(const struct gen_end *e);
int gen_end_from_json(const json_t *frame, struct gen_end *ret, struct err *err)
    __attribute__((warn_unused_result));

struct gen_done {
    uint64_t id;
    int64_t n_prompt, n_cached, n_completion, n_reasoning;
    int64_t n_foretold, n_not_met; /* tokens of the prediction, for each choice: met in it or not */
    double queue_ms, prefill_ms, decode_ms;
};
json_t *gen_done_to_json(const struct gen_done *d);
int gen_done_from_json(const json_t *frame, struct gen_done *ret, struct err *err)
    __attribute__((warn_unused_result));

struct gen_error {
    uint64_t id;
    struct err err;          /* code, param, text */
    int64_t n_prompt, n_ctx; /* for ERR_CONTEXT_LENGTH, else 0 */
};
json_t *gen_error_to_json(const struct gen_error *e);
int gen_error_from_json(const json_t *frame, struct gen_error *ret, struct err *err)
    __attribute__((warn_unused_result));

struct worker_ready {
    char arch[32];
    char name[128];
    char file_type[32];
    char kernel[32];      /* "avx2" */
    char kv_type[16];     /* of keys and values: "f16" */
    char fingerprint[64]; /* system_fingerprint: names the kernel path and the version */
    int64_t n_params, n_ctx_train, n_ctx, n_vocab, n_threads, n_seq_max;
    int64_t weight_bytes, kv_bytes, scratch_bytes; /* the plan */
    bool has_template, sandboxed;
    bool embeds, ranks; /* it gives vectors, or scores of documents; else it generates */
    int64_t n_embd;     /* of its vectors */
    double load_ms;
};
json_t *worker_ready_to_json(const struct worker_ready *r);
int worker_ready_from_json(const json_t *frame, struct worker_ready *ret, struct err *err)
    __attribute__((warn_unused_result));

struct worker_stats {
    int64_t running, waiting;                                            /* sequences now */
    int64_t kv_blocks_used, kv_blocks;                                   /* now */
    int64_t steps, prompt_tokens, output_tokens, preemptions, cancelled; /* since start */
    int64_t drafted_tokens, accepted_tokens; /* guesses computed along, and those that held */
    int64_t draft_model_tokens, draft_model_accepted; /* those of a draft model among them */
    double prefill_s, decode_s;                       /* engine time since start */
    double draft_s;                                   /* of decode_s, of a draft model */
    int64_t guided_tokens; /* of answers that are held to a form, since start */
    double mask_wait_s;    /* that steps waited for what such tokens may be, since start */
    int64_t mask_bytes;    /* kept masks of all forms, now */
    int64_t cached_blocks; /* that the prefix cache finds now; those in use with them */
    int64_t cache_lookup_tokens, cached_tokens; /* prompt tokens looked up and found, since start */
    int64_t disk_hits, disk_tokens, disk_read_bytes, disk_written_bytes; /* since start */
    int64_t disk_blocks;                                                 /* now */
};
json_t *worker_stats_to_json(const struct worker_stats *s);
int worker_stats_from_json(const json_t *frame, struct worker_stats *ret, struct err *err)
    __attribute__((warn_unused_result));

#endif
