/*
 * records: what happened to each request: those in progress and the last RECORDS_DONE_MAX.
 *
 * A record belongs to one HTTP exchange that generates (or tried to) and outlives it here. It holds
 * counts and times, no text; the prompt only with keep_prompts, and then within PROMPTS_BYTES_MAX
 * of all of them together: the oldest prompt goes first. A request with several prompts or choices
 * has one record: its first times, its sums, the last end. Loop thread only.
 */
#ifndef HEARTH_GATEWAY_RECORDS_H
#define HEARTH_GATEWAY_RECORDS_H

#include "base/buf.h"
#include "base/json.h"
#include "gateway/callers.h"

#define RECORDS_DONE_MAX  1000
#define PROMPTS_BYTES_MAX (64 << 20)

enum record_state {
    RECORD_QUEUED, /* in the gateway or the worker, or its model is being loaded */
    RECORD_PREFILL,
    RECORD_DECODE,
    RECORD_DONE,
    RECORD_FAILED,    /* answered with an error */
    RECORD_CANCELLED, /* the client left */
};

struct record {
    struct record *prev, *next; /* newest first */
    char id[40];                /* of the exchange: x-request-id */
    struct caller who;
    const char *route; /* a constant of the table of routes */
    char model[512];   /* as the library writes it; "" before it was found */
    enum record_state state;
    bool over, gone; /* gone: the client left before its answer's end */
    int status;
    uint64_t job_id; /* of the first prompt; 0: none */
    int64_t received_wall_ms;
    /* clock_ns; 0 = not yet */
    int64_t received_ns, accepted_ns, started_ns, first_ns, last_ns, end_ns;
    int64_t n_prompt, n_cached, n_completion;
    double queue_ms, prefill_ms, decode_ms; /* the worker's own, once it is done */
    int restarts;                           /* of its worker, while it ran */
    char finish_reason[16];
    int err_code;
    char err_text[240];
    json_t *prompt; /* the `generate` frame, or NULL */
    size_t prompt_bytes;
};

struct records {
    struct record *newest, *oldest;
    int n_done;
    bool keep_prompts;
    size_t prompt_bytes;
};

void records_release(struct records *r);
struct record *records_open(struct records *r, const char *id, const struct caller *who,
                            const char *route, int64_t received_ns);
/* Holds on to the frame, if prompts are kept; bytes: about how much it is. */
void records_keep_prompt(struct records *r, struct record *one, json_t *frame, size_t bytes);
/* The exchange is over. The record stays for a while; do not touch it again. */
void records_close(struct records *r, struct record *one, int status);
/* Of the caller's own; NULL: no such (any more). */
struct record *records_find(const struct records *r, const char *id, uint32_t tenant);

void record_accepted(struct record *one, int64_t n_prompt);
void record_started(struct record *one, int64_t n_cached);
void record_text(struct record *one, int64_t n_tokens);
void record_end(struct record *one, const char *reason); /* of one choice; the first is kept */
void record_times(struct record *one, double queue_ms, double prefill_ms, double decode_ms);
void record_failed(struct record *one, const struct err *err);
/* Its worker died and it goes on in the next one. */
void record_restarted(struct record *one);

const char *record_state_word(enum record_state state);
/* As `GET /v1/requests` shows it, without the closing brace. position < 0: not known. */
void record_write(const struct record *one, int64_t position, struct buf *out);
/* As the request log has it: one line of JSON. */
void record_write_line(const struct record *one, struct buf *out);

#endif
