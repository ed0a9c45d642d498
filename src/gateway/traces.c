/*
 * traces: see traces.h. Owns the list and both forms in which a trace is shown.
 */
#include "gateway/traces.h"

#include "api/errors.h"
#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the list ---- */

static void drop_prompt(struct traces *r, struct trace *one)
{
    free(one->prompt);
    one->prompt = NULL;
    r->prompt_bytes -= one->prompt_bytes;
    one->prompt_bytes = 0;
}

static void remove_trace(struct traces *r, struct trace *one)
{
    drop_prompt(r, one);
    *(one->prev == NULL ? &r->newest : &one->prev->next) = one->next;
    *(one->next == NULL ? &r->oldest : &one->next->prev) = one->prev;
    r->n_done -= one->over;
    free(one);
}

void traces_release(struct traces *r)
{
    while (r->newest != NULL)
        remove_trace(r, r->newest);
}

struct trace *traces_open(struct traces *r, const char *id, const struct caller *who,
                          const char *route, int64_t received_ns)
{
    struct trace *one = mem_zero(1, sizeof *one);
    one->who = *who;
    one->route = route;
    one->received_ns = received_ns;
    one->received_wall_ms = clock_wall_ms() - (clock_ns() - received_ns) / 1000000;
    snprintf(one->id, sizeof one->id, "%s", id);
    one->next = r->newest;
    *(r->newest == NULL ? &r->oldest : &r->newest->prev) = one;
    r->newest = one;
    return one;
}

void traces_keep_prompt(struct traces *r, struct trace *one, const json_t *frame)
{
    struct buf text;
    if (!r->keep_prompts || one->prompt != NULL)
        return;
    buf_init(&text, PROMPTS_BYTES_MAX);
    if (!json_write(frame, &text)) {
        buf_release(&text);
        return;
    }
    size_t bytes = text.len;
    for (struct trace *old = r->oldest; old != NULL; old = old->prev)
        if (old->prompt != NULL && r->prompt_bytes + bytes > PROMPTS_BYTES_MAX)
            drop_prompt(r, old);
    one->prompt = buf_steal(&text);
    buf_release(&text);
    one->prompt_bytes = bytes;
    r->prompt_bytes += bytes;
}

/* The oldest that is over goes; those in progress stay, there are as many as connections. */
static void make_room(struct traces *r)
{
    struct trace *one = r->oldest;
    while (r->n_done > TRACES_DONE_MAX && one != NULL) {
        struct trace *newer = one->prev;
        if (one->over)
            remove_trace(r, one);
        one = newer;
    }
}

void traces_close(struct traces *r, struct trace *one, int status)
{
    one->status = status;
    one->over = true;
    one->end_ns = clock_ns();
    if (one->gone)
        one->state = TRACE_CANCELLED;
    else if (one->err_code != 0 || status >= 400)
        one->state = TRACE_FAILED;
    else
        one->state = TRACE_DONE;
    r->n_done++;
    make_room(r);
}

bool trace_is_of(const struct trace *one, const struct caller *who)
{
    return one->who.tenant == who->tenant && one->who.salt == who->salt;
}

struct trace *traces_find(const struct traces *r, const char *id, const struct caller *who)
{
    struct trace *one = r->newest;
    while (one != NULL && (strcmp(one->id, id) != 0 || !trace_is_of(one, who)))
        one = one->next;
    return one;
}

/* ---- what happens ---- */

static void set_first(int64_t *at_ns)
{
    if (*at_ns == 0)
        *at_ns = clock_ns();
}

void trace_accepted(struct trace *one, int64_t n_prompt)
{
    set_first(&one->accepted_ns);
    one->n_prompt += n_prompt;
}

void trace_started(struct trace *one, int64_t n_cached)
{
    set_first(&one->started_ns);
    one->n_cached += n_cached;
    if (one->state == TRACE_QUEUED)
        one->state = TRACE_PREFILL;
}

void trace_text(struct trace *one, int64_t n_tokens)
{
    set_first(&one->first_ns);
    one->last_ns = clock_ns();
    one->n_completion += n_tokens;
    one->state = TRACE_DECODE;
}

void trace_end(struct trace *one, const char *reason)
{
    if (one->finish_reason[0] == '\0')
        snprintf(one->finish_reason, sizeof one->finish_reason, "%s", reason);
}

void trace_times(struct trace *one, double queue_ms, double prefill_ms, double decode_ms)
{
    one->queue_ms += queue_ms;
    one->prefill_ms += prefill_ms;
    one->decode_ms += decode_ms;
}

void trace_failed(struct trace *one, const struct err *err)
{
    one->err_code = err->code;
    snprintf(one->err_text, sizeof one->err_text, "%.*s", (int)sizeof one->err_text - 1, err->text);
}

void trace_restarted(struct trace *one)
{
    one->restarts++;
    one->state = TRACE_QUEUED;
}

/* ---- showing it ---- */

const char *trace_state_word(enum trace_state state)
{
    static const char *const words[] = {"queued", "prefill", "decode",
                                        "done",   "failed",  "cancelled"};
    return words[state];
}

static void write_text(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, "\"%s\":", key);
    if (text[0] == '\0')
        buf_add_z(out, "null");
    else
        json_write_string(str_z(text), out);
}

static void write_wall(struct buf *out, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[32] = "";
    if (gmtime_r(&seconds, &tm) != NULL)
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(out, "\"%s.%03dZ\"", text, (int)(wall_ms % 1000));
}

static double since(const struct trace *one, int64_t at_ns)
{
    return (double)(at_ns - one->received_ns) * 1e-6;
}

/* Milliseconds after the request was received, or null. */
static void write_moment(struct buf *out, const struct trace *one, const char *key, int64_t at_ns)
{
    if (at_ns == 0)
        buf_printf(out, ",\"%s\":null", key);
    else
        buf_printf(out, ",\"%s\":%.3f", key, since(one, at_ns));
}

static void write_counts(struct buf *out, const struct trace *one)
{
    buf_printf(out,
               "\"prompt_tokens\":%" PRId64 ",\"cached_tokens\":%" PRId64
               ",\"completion_tokens\":%" PRId64,
               one->n_prompt, one->n_cached, one->n_completion);
}

static void write_worker_times(struct buf *out, const struct trace *one)
{
    buf_printf(out, ",\"queue_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f", one->queue_ms,
               one->prefill_ms, one->decode_ms);
    write_moment(out, one, "ttft_ms", one->first_ns);
}

void trace_write(const struct trace *one, int64_t position, struct buf *out)
{
    buf_printf(out, "{\"id\":\"%s\",\"object\":\"request\",\"state\":\"%s\",", one->id,
               trace_state_word(one->state));
    write_text(out, "model", one->model);
    buf_add_char(out, ',');
    write_text(out, "key", one->who.name);
    buf_printf(out, ",\"route\":\"%s\",\"status\":", one->route);
    if (one->status == 0)
        buf_add_z(out, "null");
    else
        buf_printf(out, "%d", one->status);
    buf_add_z(out, ",\"received_at\":");
    write_wall(out, one->received_wall_ms);
    buf_add_z(out, ",\"queue_position\":");
    if (one->state != TRACE_QUEUED || position < 0)
        buf_add_z(out, "null");
    else
        buf_printf(out, "%" PRId64, position);
    buf_add_z(out, ",\"timeline_ms\":{\"received\":0");
    write_moment(out, one, "accepted", one->accepted_ns);
    write_moment(out, one, "started", one->started_ns);
    write_moment(out, one, "first_token", one->first_ns);
    write_moment(out, one, "last_token", one->last_ns);
    write_moment(out, one, "end", one->end_ns);
    buf_add_z(out, "},\"usage\":{");
    write_counts(out, one);
    buf_add_char(out, '}');
    write_worker_times(out, one);
    /* Where the prompt left what was cached: the first token that had to be computed. */
    buf_add_z(out, ",\"cache\":{\"left_at\":");
    if (one->started_ns == 0)
        buf_add_z(out, "null");
    else
        buf_printf(out, "%" PRId64, one->n_cached);
    buf_printf(out, ",\"volatile_removed\":%" PRId64, one->n_volatile);
    buf_printf(out, "},\"restarts\":%d,\"client_gone\":%s,", one->restarts,
               one->gone ? "true" : "false");
    write_text(out, "finish_reason", one->finish_reason);
    buf_add_z(out, ",\"error\":");
    if (one->err_code == 0) {
        buf_add_z(out, "null");
        return;
    }
    buf_printf(out, "{\"code\":\"%s\",\"message\":", api_error_word(one->err_code));
    json_write_string(str_z(one->err_text), out);
    buf_add_char(out, '}');
}

/* No error's text: it may quote what the client sent. */
void trace_write_line(const struct trace *one, struct buf *out)
{
    buf_add_z(out, "{\"time\":");
    write_wall(out, one->received_wall_ms);
    buf_printf(out, ",\"id\":\"%s\",", one->id);
    write_text(out, "key", one->who.name);
    buf_add_char(out, ',');
    write_text(out, "model", one->model);
    buf_printf(out, ",\"route\":\"%s\",\"status\":%d,\"ms\":%.3f,", one->route, one->status,
               since(one, one->end_ns));
    write_counts(out, one);
    write_worker_times(out, one);
    buf_add_char(out, ',');
    write_text(out, "finish_reason", one->finish_reason);
    buf_add_char(out, ',');
    write_text(out, "error", one->err_code == 0 ? "" : api_error_word(one->err_code));
    buf_printf(out, ",\"client_gone\":%s}", one->gone ? "true" : "false");
}
