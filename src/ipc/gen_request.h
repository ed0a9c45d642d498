/*
 * gen_request: what one generation is: the neutral form of every dialect's request, and its frame.
 * message.h has the frame types and who says what.
 */
#ifndef HEARTH_IPC_GEN_REQUEST_H
#define HEARTH_IPC_GEN_REQUEST_H

#include "ipc/gen_sampling.h"

enum gen_kind {
    GEN_CHAT,   /* `chat` holds the template's variables: messages, tools, ... */
    GEN_TEXT,   /* `text` is the prompt; special tokens in it are parsed */
    GEN_TOKENS, /* `tokens` is the prompt */
    GEN_EMBED,  /* vectors of `inputs`, each a string or an array of token ids */
    GEN_RERANK, /* scores of `inputs`, strings, for the query `text` */
};
/* GEN_EMBED, GEN_RERANK: n is 1, nothing is sampled. Deltas of the one choice hold, in order, a
 * line for each input: base64 of its little-endian floats (one float: a score), and a newline. So
 * all lines of a request have the same length, and what its client has says which inputs are done.
 */
#define GEN_INPUTS_MAX 4096

#define GEN_STOPS_MAX        16
#define GEN_STOP_BYTES_MAX   1024
#define GEN_N_MAX            64
#define GEN_TOP_LOGPROBS_MAX 20

enum gen_priority { /* who goes first; the least number */
                    GEN_INTERACTIVE,
                    GEN_AGENT,
                    GEN_BACKGROUND,
                    GEN_BATCH,
                    GEN_N_PRIORITIES,
};
/* "interactive", ...; NULL when out of range. */
const char *gen_priority_word(int64_t priority);
bool gen_priority_of_word(struct str word, int64_t *ret);

/* Which of its tools the model calls. */
enum gen_tool_choice {
    GEN_TOOLS_AUTO,     /* it may, or answers */
    GEN_TOOLS_NONE,     /* it answers */
    GEN_TOOLS_REQUIRED, /* it calls at least one, `tool_name` if that is given */
    GEN_TOOLS_N_CHOICES,
};

/* What a model that can think before it answers does. */
enum gen_think {
    GEN_THINK_DEFAULT, /* what its template does when nothing is said */
    GEN_THINK_OFF,
    GEN_THINK_ON,
    GEN_THINK_N,
};

#define GEN_TENANT_MAX INT32_MAX /* as many as the file of keys numbers */

/* What the client of a request that goes on has of one choice. */
struct gen_prior {
    int32_t *tokens; /* [n_tokens] of its deltas, an echo's included; owned */
    size_t n_tokens;
    int64_t text_len; /* bytes of its deltas' text */
    int64_t n_calls;  /* tool calls that its deltas began */
    bool ended;       /* its `end` arrived; tokens and text_len say nothing then */
    int64_t n_completion, n_reasoning, n_foretold; /* of that end */
    bool has_mu; /* mirostat's state after these tokens is known: */
    double mu;
};

/* A request that goes on: what it was when it was accepted first, and what came of it. */
struct gen_resume {
    struct gen_prior *prior; /* [request.n]; owned; NULL: a new request */
    int64_t n_ctx;           /* it ends where it would have ended */
    int64_t n_prompt;        /* the prompt must read the same: its tokens and their hash */
    uint64_t prompt_hash;
};

struct gen_request {
    uint64_t id;
    enum gen_kind kind;
    json_t *chat; /* GEN_CHAT; owned reference */
    char *text;   /* GEN_TEXT; owned; may hold NULs: text_len */
    size_t text_len;
    int32_t *tokens; /* GEN_TOKENS; owned */
    size_t n_tokens;
    char *suffix; /* GEN_TEXT: what follows the answer, which fills the gap; NULL: none; owned */
    size_t suffix_len;
    json_t *inputs;     /* array; owned reference */
    int64_t dimensions; /* embed: the first so many; 0: all */
    bool truncate;      /* inputs longer than the context are cut, and of a chat the oldest turns
                           left out; else they are refused */
    bool raw;           /* embed: vectors are not normalized */
    char *prediction;   /* what the answer may resemble: it comes faster then; NULL: none; owned */
    size_t prediction_len;
    /*
     * What the answer must look like; owned; NULL: like anything. One of
     *   {"type": "json"}                       any JSON object
     *   {"type": "schema", "schema": {...}}    JSON that the schema allows
     *   {"type": "regex", "pattern": "..."}    text that matches as a whole
     *   {"type": "gbnf", "grammar": "..."}     text of the rule `root`
     *   {"type": "choice", "choices": ["..."]} one of them
     * `param` is the client's name for it, for errors. `strict`: true with a schema refuses what
     * cannot be enforced; else it is left out. With reasoning it holds for what comes after it;
     * with tools, for an answer that calls none.
     */
    json_t *constraint;
    int64_t tool_choice; /* enum gen_tool_choice; chat.tools are the tools */
    char *tool_name;     /* the one to call; owned; NULL: any */
    bool one_tool_call;  /* no second call in parallel */
    bool parse;    /* chat: split the answer into channels (gen_delta); else it is all content */
    int64_t think; /* enum gen_think */
    int64_t think_max;  /* tokens of reasoning, then it is ended; -1: as many as it likes */
    int64_t n_ctx_min;  /* the context that the client counts on, as far as the model can have it:
                           with less than that the request is refused; 0: any */
    int64_t max_tokens; /* -1: until the model ends or the context is full (then "length") */
    int64_t n;          /* choices; choice i draws with seed + i */
    char *stop[GEN_STOPS_MAX]; /* owned; never empty strings */
    int n_stop;
    bool logprobs; /* report the chosen token's log probability, before sampling changes it */
    int64_t top_logprobs; /* [0, GEN_TOP_LOGPROBS_MAX] alternatives */
    bool echo;            /* completions: prompt text (and its log probabilities) come first */
    bool ignore_eos;
    int64_t priority; /* enum gen_priority */
    int64_t tenant;   /* [0, GEN_TENANT_MAX]: whose it is, for fair shares */
    uint64_t salt;    /* of cached prefixes: only requests with the same salt share them */
    struct gen_sampling sampling;
    struct gen_resume resume;
};

/* The defaults above; n = 1, max_tokens = think_max = -1. */
void gen_request_init(struct gen_request *r);
void gen_request_release(struct gen_request *r);
/* The `generate` frame; new reference; NULL when out of memory or text is not UTF-8. */
json_t *gen_request_to_json(const struct gen_request *r);
/* Checks every range again: the worker trusts nobody. ERR_INVALID with err->param. *ret is to be
 * released only after success. */
int gen_request_from_json(const json_t *frame, struct gen_request *ret, struct err *err)
    __attribute__((warn_unused_result));

#endif
