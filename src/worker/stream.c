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
    free(s->held);
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
    if (s->n_stop == 0 || !find_stop(s, 0, &at, &i))
        return false;
    s->i_stop = i;
    buf_truncate(&s->text, at);
    while (s->n_held > 0 && s->held[s->n_held - 1].end > at)
        token_release(&s->held[--s->n_held].token);
    return true;
}

static void settle(struct stream *s)
{
    for (size_t i = s->n_held; i-- > 0 && s->held[i].end == SIZE_MAX;)
        s->held[i].end = s->text.len;
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
    s->held[s->n_held++] = (struct stream_token){*token, SIZE_MAX};
    *token = (struct gen_token){0};
    if (!detokenizer_push(&s->detok, id, &s->text))
        return err_set(err, ERR_NOMEM, "no memory for the answer's text");
    if (s->detok.n_pending == 0)
        settle(s);
    *ret_stopped = cut_at_stop(s);
    return 0;
}

int stream_finish(struct stream *s, struct err *err)
{
    if (s->i_stop >= 0)
        return 0;
    if (!detokenizer_flush(&s->detok, &s->text))
        return err_set(err, ERR_NOMEM, "no memory for the answer's text");
    settle(s);
    cut_at_stop(s);
    return 0;
}

bool stream_take(struct stream *s, bool all, struct gen_delta *ret)
{
    size_t n_text = s->text.len - (all || s->i_stop >= 0 ? 0 : maybe_stop(s)), n = 0;
    while (n < s->n_held && s->held[n].end <= n_text)
        n++;
    if (n_text == 0 && n == 0)
        return false;
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
