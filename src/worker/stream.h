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
#include "text/answer_parser.h"
#include "text/tokenizer.h"

/* What came of the text that was not handed out yet: one after the other. */
struct stream_piece {
    int channel; /* enum gen_channel */
    char *name;  /* owned: a call begins here; else NULL */
    size_t end;  /* in text: where it ends */
};

struct stream {
    struct detokenizer detok;
    char *const *stop; /* [n_stop]; borrowed */
    int n_stop;
    struct buf text;           /* not handed out yet */
    struct stream_token *held; /* [n_held]; not handed out yet; owned */
    size_t n_held, cap_held;
    int i_stop; /* which stop string was met; -1 */
    /* An answer that is split into channels (stream_parse): */
    struct answer_parser *parser; /* owned; NULL: all is content */
    const struct dialect *dialect;
    struct buf raw;             /* of the last token: the text with its markers */
    uint64_t n_raw;             /* bytes of that so far */
    struct stream_piece *piece; /* [n_piece]; owned */
    size_t n_piece, cap_piece;
    int64_t n_calls;     /* that came; the last one is handed out at the earliest with a piece */
    int64_t n_taken;     /* calls whose beginning was handed out */
    int64_t n_reasoning; /* tokens of thoughts */
    bool one_call;       /* a second call ends the answer */
    bool is_over;        /* by that */
    bool is_split;       /* something that is no content came */
};

struct stream_token {
    struct gen_token token; /* owned */
    size_t end;             /* it is complete when text[0, end) is; SIZE_MAX: not known yet */
    uint64_t raw_end;       /* the same in what the parser gets; UINT64_MAX */
};

/* at_start: the text begins the sequence (SentencePiece drops its first space). */
void stream_init(struct stream *s, const struct tokenizer *t, char *const *stop, int n_stop,
                 bool at_start);
/* From now on the answer is split into channels; stop strings hold for content. `prefix`: how the
 * answer begins that the prompt has begun already (may be empty). */
void stream_parse(struct stream *s, const struct answer_options *o, bool one_call,
                  struct str prefix);
void stream_release(struct stream *s);
/* Takes token, even on failure. True in *ret_stopped when the answer is over: a stop string is
 * complete, or the one call there may be. Then nothing may be pushed any more. */
int stream_push(struct stream *s, struct gen_token *token, bool *ret_stopped, struct err *err)
    __attribute__((warn_unused_result));
/* No more tokens come: what is pending becomes final. is_cut: as answer_parser_finish. */
int stream_finish(struct stream *s, bool is_cut, struct err *err)
    __attribute__((warn_unused_result));
/* Moves what may be sent next into the delta (all but id and index; owned by it). False: nothing
 * more yet. */
bool stream_take(struct stream *s, bool all, struct gen_delta *ret)
    __attribute__((warn_unused_result));

#endif
