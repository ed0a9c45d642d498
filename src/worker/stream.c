/*
 * stream: see the header. Text before text.ptr[0] has been handed out; offsets of held tokens are
 * relative to it.
 */
#include "worker/stream.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define HELD_TEXT_MAX   (16u << 20)
#define HELD_TOKENS_MAX (1u << 20)

void stream_init(struct stream *s, const struct tokenizer *t, char *const *stop, int n_stop,
                 bool at_start)
{
    *s = (struct stream){.stop = stop, .n_stop = n_stop, .i_stop = -1};
    detokenizer_init(&s->detok, t, at_start);
    buf_init(&s->text, HELD_TEXT_MAX);
    buf_init(&s->raw, HELD_TEXT_MAX);
}

static void token_release(struct gen_token *t)
{
    struct gen_delta d = {.tokens = mem_alloc(sizeof(*t)), .n_tokens = 1};
    d.tokens[0] = *t;
    gen_delta_release(&d);
    *t = (struct gen_token){0};
}

void stream_release(struct stream *s)
{
    for (size_t i = 0; i < s->n_held; i++)
        token_release(&s->held[i].token);
    for (size_t i = 0; i < s->n_piece; i++)
        free(s->piece[i].name);
    free(s->piece);
    free(s->held);
    answer_parser_free(s->parser);
    buf_release(&s->raw);
    buf_release(&s->text);
    *s = (struct stream){.i_stop = -1};
}

/* The earliest stop string in text[from..]; among those at one place the first in the list. */
static bool find_stop(const struct stream *s, size_t from, size_t *ret_at, int *ret_i)
{
    struct str text = str_from(buf_str(&s->text), from);
    bool found = false;
    for (int i = 0; i < s->n_stop; i++) {
        ptrdiff_t at = str_find(text, str_z(s->stop[i]));
        if (at >= 0 && (!found || from + (size_t)at < *ret_at)) {
            *ret_at = from + (size_t)at;
            *ret_i = i;
            found = true;
        }
    }
    return found;
}

/* Length of the longest end of the text that is a true beginning of a stop string. */
static size_t maybe_stop(const struct stream *s)
{
    size_t longest = 0;
    for (int i = 0; i < s->n_stop; i++) {
        size_t n = strlen(s->stop[i]) - 1;
        n = n < s->text.len ? n : s->text.len;
        for (; n > longest; n--) {
            if (memcmp(s->text.ptr + s->text.len - n, s->stop[i], n) == 0) {
                longest = n;
                break;
            }
        }
    }
    return longest;
}

/* Cuts at a stop string that the newest text completes; false when there is none. */
static bool cut_at_stop(struct stream *s)
{
    size_t at = 0;
    int i = 0;
    size_t from = s->n_piece > 1 ? s->piece[s->n_piece - 2].end : 0;
    if (s->n_stop == 0 || !find_stop(s, from, &at, &i))
        return false;
    s->i_stop = i;
    buf_truncate(&s->text, at);
    if (s->n_piece > 0)
        s->piece[s->n_piece - 1].end = at;
    while (s->n_held > 0 && s->held[s->n_held - 1].end > at)
        token_release(&s->held[--s->n_held].token);
    return true;
}

static void settle(struct stream *s)
{
    for (size_t i = s->n_held; i-- > 0 && s->held[i].end == SIZE_MAX;)
        s->held[i].end = s->text.len;
}

/* ---- channels ---- */

static struct stream_piece *add_piece(struct stream *s, int channel)
{
    void *array = s->piece;
    if (!mem_grow(&array, &s->cap_piece, s->n_piece + 1, HELD_TOKENS_MAX, sizeof(*s->piece)))
        return NULL;
    s->piece = array;
    s->piece[s->n_piece] = (struct stream_piece){.channel = channel, .end = s->text.len};
    s->is_split = s->is_split || channel != GEN_CONTENT;
    return &s->piece[s->n_piece++];
}

static void take_text(void *ctx, enum answer_channel channel, struct str text)
{
    static const int channels[] = {[ANSWER_CONTENT] = GEN_CONTENT,
                                   [ANSWER_THOUGHT] = GEN_REASONING,
                                   [ANSWER_CALL] = GEN_TOOL_CALL};
    struct stream *s = ctx;
    struct stream_piece *last = s->n_piece > 0 ? &s->piece[s->n_piece - 1] : NULL;
    if (s->i_stop >= 0 || s->is_over)
        return;
    if (last == NULL || last->channel != channels[channel])
        last = add_piece(s, channels[channel]);
    if (last == NULL || !buf_add_str(&s->text, text))
        return; /* stream_push sees the overflow */
    last->end = s->text.len;
    if (channel == ANSWER_CONTENT)
        cut_at_stop(s);
}

static void take_call(void *ctx, struct str name)
{
    struct stream *s = ctx;
    if (s->i_stop >= 0 || s->is_over)
        return;
    if (s->one_call && s->n_calls > 0) {
        s->is_over = true;
        return;
    }
    struct stream_piece *piece = add_piece(s, GEN_TOOL_CALL);
    if (piece != NULL)
        piece->name = str_dup(name);
    s->n_calls++;
}

void stream_parse(struct stream *s, const struct answer_options *o, bool one_call,
                  struct str prefix)
{
    s->dialect = o->dialect;
    s->one_call = one_call;
    s->parser = answer_parser_new(o, &(struct answer_sink){s, take_text, take_call});
    s->detok.at_start = s->detok.at_start && prefix.len == 0;
    answer_parser_push(s->parser, prefix);
    s->n_raw = prefix.len;
}

/* Tokens whose text the parser has handed on or left out belong to what came last. */
static void settle_parsed(struct stream *s, bool all)
{
    uint64_t done = s->n_raw - (all ? 0 : answer_parser_held(s->parser));
    for (size_t i = 0; i < s->n_held; i++)
        if (s->held[i].end == SIZE_MAX && (all || s->held[i].raw_end <= done))
            s->held[i].end = s->text.len;
}

static void parse_raw(struct stream *s)
{
    s->n_reasoning += answer_parser_in_thought(s->parser);
    s->n_raw += s->raw.len;
    if (s->detok.n_pending == 0)
        for (size_t i = s->n_held; i-- > 0 && s->held[i].raw_end == UINT64_MAX;)
            s->held[i].raw_end = s->n_raw;
    answer_parser_push(s->parser, buf_str(&s->raw));
    buf_clear(&s->raw);
    settle_parsed(s, false);
}

/* ---- tokens ---- */

static int push_parsed(struct stream *s, int32_t id, bool *ret_stopped, struct err *err)
{
    const struct tokenizer *t = s->detok.tokenizer;
    s->detok.special =
        tokenizer_is_control(t, id) && dialect_shows(s->dialect, tokenizer_token_text(t, id));
    if (!detokenizer_push(&s->detok, id, &s->raw))
        return err_set(err, ERR_NOMEM, "no memory for the answer's text");
    parse_raw(s);
    if (s->text.overflow)
        return err_set(err, ERR_NOMEM, "no memory for the answer's text");
    *ret_stopped = s->i_stop >= 0 || s->is_over;
    return 0;
}

int stream_push(struct stream *s, struct gen_token *token, bool *ret_stopped, struct err *err)
{
    void *array = s->held;
    int32_t id = token->id;
    if (!mem_grow(&array, &s->cap_held, s->n_held + 1, HELD_TOKENS_MAX, sizeof(*s->held))) {
        token_release(token);
        return err_set(err, ERR_NOMEM, "no memory for the answer's tokens");
    }
    s->held = array;
    s->held[s->n_held++] = (struct stream_token){*token, SIZE_MAX, UINT64_MAX};
    *token = (struct gen_token){0};
    if (s->parser)
        return push_parsed(s, id, ret_stopped, err);
    if (!detokenizer_push(&s->detok, id, &s->text))
        return err_set(err, ERR_NOMEM, "no memory for the answer's text");
    if (s->detok.n_pending == 0)
        settle(s);
    *ret_stopped = cut_at_stop(s);
    return 0;
}

int stream_finish(struct stream *s, bool is_cut, struct err *err)
{
    if (s->i_stop >= 0 || s->is_over)
        return 0;
    if (!detokenizer_flush(&s->detok, s->parser ? &s->raw : &s->text))
        return err_set(err, ERR_NOMEM, "no memory for the answer's text");
    if (s->parser) {
        answer_parser_push(s->parser, buf_str(&s->raw));
        answer_parser_finish(s->parser, is_cut);
        buf_clear(&s->raw);
        settle_parsed(s, true);
        return 0;
    }
    settle(s);
    cut_at_stop(s);
    return 0;
}

/* The first n bytes of text, and the tokens that they complete. */
static bool take(struct stream *s, size_t n_text, struct gen_delta *ret)
{
    size_t n = 0;
    while (n < s->n_held && s->held[n].end <= n_text)
        n++;
    ret->text = str_dup(str_sub(buf_str(&s->text), 0, n_text));
    ret->text_len = n_text;
    ret->tokens = mem_try_array(n ? n : 1, sizeof(*ret->tokens));
    if (!ret->text || !ret->tokens) {
        free(ret->text);
        free(ret->tokens);
        return false;
    }
    ret->n_tokens = n;
    for (size_t i = 0; i < n; i++)
        ret->tokens[i] = s->held[i].token;
    memmove(s->held, s->held + n, (s->n_held - n) * sizeof(*s->held));
    s->n_held -= n;
    for (size_t i = 0; i < s->n_held; i++)
        if (s->held[i].end != SIZE_MAX)
            s->held[i].end -= n_text;
    buf_consume(&s->text, n_text);
    return true;
}

static void drop_piece(struct stream *s)
{
    free(s->piece[0].name);
    memmove(s->piece, s->piece + 1, (s->n_piece - 1) * sizeof(*s->piece));
    s->n_piece--;
}

/* The first piece, as far as it cannot be the beginning of a stop string. */
static bool take_piece(struct stream *s, bool all, struct gen_delta *ret)
{
    struct stream_piece *p = s->piece;
    bool may_stop = s->n_piece == 1 && p->channel == GEN_CONTENT && !all && s->i_stop < 0;
    size_t n_text = p->end - (may_stop ? maybe_stop(s) : 0);
    bool has_tokens = s->n_held > 0 && s->held[0].end <= n_text;
    if (n_text == 0 && !p->name && !(has_tokens && p->channel == GEN_CONTENT))
        return false;
    if (!take(s, n_text, ret))
        return false;
    ret->channel = p->channel;
    ret->name = p->name;
    p->name = NULL;
    s->n_taken += ret->name != NULL;
    ret->call = p->channel == GEN_TOOL_CALL ? s->n_taken - 1 : 0;
    for (size_t i = 0; i < s->n_piece; i++)
        s->piece[i].end -= n_text;
    if (p->end == 0)
        drop_piece(s);
    return true;
}

bool stream_take(struct stream *s, bool all, struct gen_delta *ret)
{
    all = all || s->i_stop >= 0 || s->is_over;
    if (s->parser) {
        while (s->n_piece > 1 && s->piece[0].end == 0 && !s->piece[0].name)
            drop_piece(s);
        if (s->n_piece > 0)
            return take_piece(s, all, ret);
        /* markers alone say nothing, but a plain answer's tokens are all handed out */
        return all && !s->is_split && s->n_held > 0 && take(s, 0, ret);
    }
    size_t n_text = s->text.len - (all ? 0 : maybe_stop(s));
    bool has_tokens = s->n_held > 0 && s->held[0].end <= n_text;
    return (n_text > 0 || has_tokens) && take(s, n_text, ret);
}
