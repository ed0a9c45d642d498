/*
 * traces: what happened to each request: those in progress and the last TRACES_DONE_MAX.
 *
 * A trace belongs to one HTTP exchange that generates (or tried to) and outlives it here. It holds
 * counts and times, no text; the prompt only with keep_prompts, and then within PROMPTS_BYTES_MAX
 * of all of them together: the oldest prompt goes first. A request with several prompts or choices
 * has one trace: its first times, its sums, the last end. Loop thread only.
 */
#ifndef HEARTH_GATEWAY_TRACES_H
#define HEARTH_GATEWAY_TRACES_H

#include "base/buf.h"
#include "base/json.h"
#include "gateway/callers.h"

#define TRACES_DONE_MAX   1000
#define PROMPTS_BYTES_MAX (64 << 20)

enum trace_state {
    TRACE_QUEUED, /* in the gateway or the worker, or its model is being loaded */
    TRACE_PREFILL,
    TRACE_DECODE,
    TRACE_DONE,
    TRACE_FAILED,    /* answered with an error */
    TRACE_CANCELLED, /* the client left */
};

struct trace {
    struct trace *prev, *next; /* newest first */
    char id[40];               /* of the exchange: x-request-id */
    struct caller who;
    const char *route; /* a constant of the table of routes */
    char model[512];   /* as the library writes it; "" before it was found */
    enum trace_state state;
    bool over, gone; /* gone: the client left before its answer's end */
    int status;
    uint64_t job_id; /* of the first prompt; 0: none */
    int64_t received_wall_ms;
    /* clock_ns; 0 = not yet */
    int64_t received_ns, accepted_ns, started_ns, first_ns, last_ns, end_ns;
    int64_t n_prompt, n_cached, n_completion;
    double queue_ms, prefill_ms, decode_ms; /* the worker's own, once it is done */
    int64_t n_volatile;                     /* taken out of its prompt: api/volatile.h */
    int restarts;                           /* of its worker, while it ran */
    char finish_reason[16];
    int err_code;
    char err_text[240];
    char *prompt; /* the `generate` frame as text (parsed it may be 20 times as large), or NULL */
    size_t prompt_bytes;
};

struct traces {
    struct trace *newest, *oldest;
    int n_done;
    bool keep_prompts;
    size_t prompt_bytes;
};

void traces_release(struct traces *r);
struct trace *traces_open(struct traces *r, const char *id, const struct caller *who,
                          const char *route, int64_t received_ns);
/* Keeps a copy of the frame, if prompts are kept. */
void traces_keep_prompt(struct traces *r, struct trace *one, const json_t *frame);
/* The exchange is over. The trace stays for a while; do not touch it again. */
void traces_close(struct traces *r, struct trace *one, int status);
/* Was it the caller's key? Numbers of tenants begin anew with a new file of keys; salts do not. */
bool trace_is_of(const struct trace *one, const struct caller *who);
/* Of the caller's own; NULL: no such (any more). */
struct trace *traces_find(const struct traces *r, const char *id, const struct caller *who);

void trace_accepted(struct trace *one, int64_t n_prompt);
void trace_started(struct trace *one, int64_t n_cached);
void trace_text(struct trace *one, int64_t n_tokens);
void trace_end(struct trace *one, const char *reason); /* of one choice; the first is kept */
void trace_times(struct trace *one, double queue_ms, double prefill_ms, double decode_ms);
void trace_failed(struct trace *one, const struct err *err);
/* Its worker died and it goes on in the next one. */
void trace_restarted(struct trace *one);

const char *trace_state_word(enum trace_state state);
/* As `GET /v1/requests` shows it, without the closing brace. position < 0: not known. */
void trace_write(const struct trace *one, int64_t position, struct buf *out);
/* As the request log has it: one line of JSON. */
void trace_write_line(const struct trace *one, struct buf *out);

#endif
