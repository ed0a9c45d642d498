/*
 * answer_parser: see the header. Content, thoughts and harmony's channels; calls are in
 * answer_calls.c. Every byte goes through answer_step, so that it does not matter how text is cut.
 */
#include "text/answer_parser_impl.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define HELD_MAX   (16u << 20)
#define HEADER_MAX 512 /* of a harmony channel; longer ones are none */
#define MARKERS    16

bool answer_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* ---- handing on ---- */

static void flush_run(struct answer_parser *p)
{
    if (p->run.len > 0)
        p->sink.text(p->sink.ctx, p->run_channel, buf_str(&p->run));
    buf_clear(&p->run);
}

void answer_emit(struct answer_parser *p, enum answer_channel channel, struct str text)
{
    if (text.len == 0)
        return;
    if (channel != p->run_channel)
        flush_run(p);
    p->run_channel = channel;
    buf_add_str(&p->run, text);
}

/* White space waits for what it stands before, where it may be left out. */
static bool keeps_space(const struct answer_parser *p)
{
    return p->tools != NULL || p->d->think_open != NULL || p->d->body == DIALECT_HARMONY;
}

void answer_content(struct answer_parser *p, char c)
{
    enum answer_channel channel = p->state == IN_THOUGHT   ? ANSWER_THOUGHT
                                  : p->state == IN_CHANNEL ? p->channel
                                                           : ANSWER_CONTENT;
    if (answer_is_space(c) && keeps_space(p)) {
        buf_add_char(&p->space, c);
        return;
    }
    if (!p->trims)
        answer_emit(p, channel, buf_str(&p->space));
    buf_clear(&p->space);
    p->trims = false;
    p->has_content = p->has_content || channel == ANSWER_CONTENT;
    answer_emit(p, channel, (struct str){&c, 1});
}

void answer_give_back(struct answer_parser *p)
{
    if (p->state == IN_TAGS)
        buf_clear(&p->hold); /* the end of raw */
    p->state = IN_CONTENT;
    for (size_t i = 0; i < p->raw.len; i++)
        answer_content(p, p->raw.ptr[i]);
    buf_clear(&p->raw);
    buf_clear(&p->head);
}

/* ---- markers ---- */

int answer_match(const struct answer_parser *p, const char *const *marker, int n, bool *ret_maybe)
{
    *ret_maybe = false;
    for (int i = 0; i < n; i++) {
        size_t len = marker[i] ? strlen(marker[i]) : 0;
        if (len < p->hold.len || len == 0 || memcmp(marker[i], p->hold.ptr, p->hold.len) != 0)
            continue;
        if (len == p->hold.len)
            return i;
        *ret_maybe = true;
    }
    return -1;
}

/* ---- content and thoughts ---- */

enum { MARK_THINK, MARK_OPEN, MARK_DROP = MARK_OPEN + DIALECT_MARKERS };

static void begin_thought(struct answer_parser *p)
{
    p->state = IN_THOUGHT;
    p->thought = p->trims = true;
    buf_clear(&p->space);
}

static void end_thought(struct answer_parser *p)
{
    p->state = IN_CONTENT;
    p->trims = true;
    buf_clear(&p->space);
}

static int content_markers(const struct answer_parser *p, const char *marker[MARKERS])
{
    for (int i = 0; i < DIALECT_MARKERS; i++) {
        marker[MARK_OPEN + i] = p->tools != NULL ? p->d->open[i] : NULL;
        marker[MARK_DROP + i] = p->d->drop[i];
    }
    marker[MARK_THINK] = p->has_content || p->n_calls > 0 ? NULL : p->d->think_open;
    return MARK_DROP + DIALECT_MARKERS;
}

/* hold is a marker, the beginning of one, or its first byte is plain. */
static void settle_content(struct answer_parser *p)
{
    const char *marker[MARKERS];
    bool maybe;
    int n = content_markers(p, marker);
    while (p->hold.len > 0 && p->state == IN_CONTENT) {
        int i = answer_match(p, marker, n, &maybe);
        if (i < 0 && maybe)
            return;
        if (i < 0) {
            char c = p->hold.ptr[0];
            buf_consume(&p->hold, 1);
            answer_plain(p, c);
            n = content_markers(p, marker);
            continue;
        }
        buf_clear(&p->hold);
        if (i == MARK_THINK)
            begin_thought(p);
        else if (i < MARK_DROP)
            answer_open_call(p, marker[i]);
    }
    /* what else was held belongs to what began */
    while (p->hold.len > 0 && p->state != IN_CONTENT) {
        char c = p->hold.ptr[0];
        buf_consume(&p->hold, 1);
        answer_push_call(p, c);
    }
}

static void settle_thought(struct answer_parser *p)
{
    const char *const marker[] = {p->d->think_close};
    bool maybe;
    while (p->hold.len > 0) {
        int i = answer_match(p, marker, 1, &maybe);
        if (i < 0 && maybe)
            return;
        if (i == 0) {
            buf_clear(&p->hold);
            end_thought(p);
            return;
        }
        char c = p->hold.ptr[0];
        buf_consume(&p->hold, 1);
        answer_content(p, c);
    }
}

/* ---- harmony ---- */

static const char *const harmony_ends[] = {"<|end|>", "<|return|>", "<|call|>", "<|start|>",
                                           "<|channel|>"};

/* The word after `key` in a header; empty when it is not there. */
static struct str word_after(struct str header, const char *key)
{
    ptrdiff_t at = str_find(header, str_z(key));
    if (at < 0)
        return STR("");
    struct str rest = str_from(header, (size_t)at + strlen(key));
    size_t n = 0;
    while (n < rest.len && !answer_is_space(rest.ptr[n]) && rest.ptr[n] != '<')
        n++;
    return str_sub(rest, 0, n);
}

static void read_header(struct answer_parser *p)
{
    struct str header = buf_str(&p->head);
    struct str to = word_after(header, "to="), channel = word_after(header, "<|channel|>");
    if (str_starts(to, STR("functions.")))
        to = str_from(to, 10);
    p->state = IN_CHANNEL;
    p->trims = p->over = false;
    buf_clear(&p->space);
    if (to.len > 0 && p->tools != NULL && answer_begin_call(p, to)) {
        p->channel = ANSWER_CALL;
        json_mend_clear(&p->mend);
    } else {
        p->channel = str_starts(channel, STR("analysis")) ? ANSWER_THOUGHT : ANSWER_CONTENT;
        p->thought = p->thought || p->channel == ANSWER_THOUGHT;
    }
    buf_clear(&p->head);
    buf_clear(&p->raw);
}

/* A model that does not keep to its format, or has not yet begun to. */
static bool is_header(struct str text)
{
    static const char *const starts[] = {
        "<|channel|>", "<|start|>", " to=", "to=", "<|message|>", "assistant"};
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        size_t n = strlen(starts[i]);
        n = n < text.len ? n : text.len;
        if (memcmp(starts[i], text.ptr, n) == 0)
            return true;
    }
    return false;
}

static void push_header(struct answer_parser *p, char c)
{
    if (p->head.len == 0 && answer_is_space(c) && c != ' ')
        return;
    buf_add_char(&p->raw, c);
    buf_add_char(&p->head, c);
    if (str_ends(buf_str(&p->head), STR("<|message|>")))
        read_header(p);
    else if (!is_header(buf_str(&p->head)) || p->head.len > HEADER_MAX)
        answer_give_back(p);
}

static void end_args(struct answer_parser *p)
{
    buf_clear(&p->json);
    if (!p->is_cut)
        json_mend_finish(&p->mend, &p->json);
    answer_emit(p, ANSWER_CALL, buf_str(&p->json));
    p->call_open = false;
}

static void end_channel(struct answer_parser *p, int i_end)
{
    if (p->channel == ANSWER_CALL && p->call_open)
        end_args(p);
    buf_clear(&p->space);
    p->state = IN_HEADER;
    buf_clear(&p->hold);
    buf_clear(&p->head);
    buf_clear(&p->raw);
    if (i_end >= 3) { /* it belongs to the next header */
        buf_add_z(&p->head, harmony_ends[i_end]);
        buf_add_z(&p->raw, harmony_ends[i_end]);
    }
}

static void settle_channel(struct answer_parser *p)
{
    bool maybe;
    while (p->hold.len > 0) {
        int i = answer_match(p, harmony_ends, (int)ARRAY_LEN(harmony_ends), &maybe);
        if (i < 0 && maybe)
            return;
        if (i >= 0) {
            end_channel(p, i);
            return;
        }
        char c = p->hold.ptr[0];
        buf_consume(&p->hold, 1);
        if (p->channel != ANSWER_CALL) {
            answer_content(p, c);
            continue;
        }
        buf_clear(&p->json);
        json_mend_push(&p->mend, c, &p->json);
        answer_emit(p, ANSWER_CALL, buf_str(&p->json));
    }
}

/* ---- life ---- */

static bool reader_begin(void *ctx, struct str name)
{
    struct answer_parser *p = ctx;
    if (!p->marked && !answer_knows(p, name))
        return false;
    if (!answer_begin_call(p, name))
        return false;
    buf_clear(&p->raw);
    return true;
}

static void reader_args(void *ctx, struct str text)
{
    answer_emit(ctx, ANSWER_CALL, text);
}

struct answer_parser *answer_parser_new(const struct answer_options *o,
                                        const struct answer_sink *sink)
{
    struct answer_parser *p = mem_zero(1, sizeof(*p));
    struct buf *const all[] = {&p->hold, &p->space, &p->raw,   &p->head,
                               &p->run,  &p->json,  &p->called};
    p->d = o->dialect;
    p->tools = o->tools;
    p->must_call = o->must_call;
    p->sink = *sink;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_init(all[i], HELD_MAX);
    json_mend_init(&p->mend);
    call_reader_init(&p->reader, &(struct call_sink){p, reader_begin, reader_args});
    p->state = p->d->body == DIALECT_HARMONY                     ? IN_HEADER
               : p->d->body == DIALECT_LINES && p->tools != NULL ? IN_LINE
                                                                 : IN_CONTENT;
    if (o->in_thought && p->d->think_close != NULL)
        begin_thought(p);
    return p;
}

void answer_parser_free(struct answer_parser *p)
{
    if (!p)
        return;
    struct buf *const all[] = {&p->hold, &p->space, &p->raw,   &p->head,
                               &p->run,  &p->json,  &p->called};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_release(all[i]);
    json_mend_release(&p->mend);
    call_reader_release(&p->reader);
    free(p);
}

static void step(struct answer_parser *p, char c)
{
    switch (p->state) {
    case IN_CONTENT:
        buf_add_char(&p->hold, c);
        settle_content(p);
        break;
    case IN_THOUGHT:
        buf_add_char(&p->hold, c);
        settle_thought(p);
        break;
    case IN_CHANNEL:
        buf_add_char(&p->hold, c);
        settle_channel(p);
        break;
    case IN_HEADER:
        push_header(p, c);
        break;
    default:
        answer_push_call(p, c);
    }
}

void answer_parser_push(struct answer_parser *p, struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        step(p, text.ptr[i]);
    flush_run(p);
}

/* What is held at the end is no marker; but after a call, or where one must come, it began one. */
static void release_hold(struct answer_parser *p)
{
    bool is_call = p->state == IN_CONTENT && (p->n_calls > 0 || p->must_call);
    for (size_t i = 0; i < p->hold.len && !is_call; i++)
        answer_content(p, p->hold.ptr[i]);
    p->trims = p->trims || (is_call && p->hold.len > 0);
    buf_clear(&p->hold);
}

void answer_parser_finish(struct answer_parser *p, bool is_cut)
{
    p->is_cut = is_cut;
    if (p->state == IN_CHANNEL && p->channel == ANSWER_CALL)
        end_channel(p, 0);
    else if (p->state == IN_HEADER)
        buf_clear(&p->head);
    else if (p->state != IN_CONTENT && p->state != IN_THOUGHT && p->state != IN_CHANNEL)
        answer_finish_call(p);
    if (p->state == IN_CONTENT || p->state == IN_THOUGHT || p->state == IN_CHANNEL)
        release_hold(p);
    if (p->state == IN_CONTENT && !p->trims && p->n_calls == 0 && !(p->thought && !p->has_content))
        answer_emit(p, ANSWER_CONTENT, buf_str(&p->space));
    buf_clear(&p->space);
    buf_clear(&p->hold); /* half a marker of a call */
    buf_clear(&p->raw);
    flush_run(p);
}

size_t answer_parser_held(const struct answer_parser *p)
{
    bool in_raw = p->state == IN_TAGS && p->raw.len > 0; /* hold is the end of raw there */
    return (in_raw ? 0 : p->hold.len) + p->space.len + p->raw.len;
}

bool answer_parser_in_thought(const struct answer_parser *p)
{
    return p->state == IN_THOUGHT || (p->state == IN_CHANNEL && p->channel == ANSWER_THOUGHT);
}

int answer_parser_n_calls(const struct answer_parser *p)
{
    return p->n_calls;
}

bool answer_prompt_thinks(const struct dialect *d, struct str prompt)
{
    if (d->think_open == NULL)
        return false;
    return str_ends(str_trim(prompt), str_z(d->think_open));
}
