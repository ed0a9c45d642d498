/*
 * stream: from the tokens of one choice to text that may be sent.
 *
 * Holds back what may be the beginning of a stop string and what is half a character; cuts at the
 * first stop string, wherever the borders of tokens lie. Tokens are handed out with the text they
 * complete, never before it.
 */
#ifndef HEARTH_WORKER_STREAM_H
#define HEARTH_WORKER_STREAM_H

#include "ipc/message.h"
#include "text/tokenizer.h"

struct stream {
    struct detokenizer detok;
    char *const *stop; /* [n_stop]; borrowed */
    int n_stop;
    struct buf text;           /* not handed out yet */
    struct stream_token *held; /* [n_held]; not handed out yet; owned */
    size_t n_held, cap_held;
    int i_stop; /* which stop string was met; -1 */
};

struct stream_token {
    struct gen_token token; /* owned */
    size_t end;             /* it is complete when text[0, end) is; SIZE_MAX: not known yet */
};

/* at_start: the text begins the sequence (SentencePiece drops its first space). */
void stream_init(struct stream *s, const struct tokenizer *t, char *const *stop, int n_stop,
                 bool at_start);
void stream_release(struct stream *s);
/* Takes token, even on failure. True in *ret_stopped when a stop string is complete: then nothing
 * may be pushed any more. */
int stream_push(struct stream *s, struct gen_token *token, bool *ret_stopped, struct err *err)
    __attribute__((warn_unused_result));
/* No more tokens come: what is pending becomes final. */
int stream_finish(struct stream *s, struct err *err) __attribute__((warn_unused_result));
/* Moves what may be sent into the delta (text and tokens; owned by it). False: nothing yet. */
bool stream_take(struct stream *s, bool all, struct gen_delta *ret)
    __attribute__((warn_unused_result));

#endif
