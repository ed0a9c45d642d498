/*
 * answer_parser_impl: what answer_parser.c (content and thoughts) and answer_calls.c (calls) share.
 */
#ifndef HEARTH_TEXT_ANSWER_PARSER_IMPL_H
#define HEARTH_TEXT_ANSWER_PARSER_IMPL_H

#include "text/answer_parser.h"
#include "text/call_reader.h"

enum answer_state {
    IN_CONTENT,
    IN_THOUGHT,
    IN_OPENED, /* after the marker of a call, before its first letter */
    IN_JSON,   /* calls as JSON */
    IN_NAME,   /* a name, before its arguments */
    IN_ARGS,   /* arguments as JSON */
    IN_PYTHON, /* between calls of Python */
    IN_PYTHON_ARGS,
    IN_TAGS,      /* between tags */
    IN_TAG_NAME,  /* the function's */
    IN_TAG_KEY,   /* a parameter's */
    IN_TAG_VALUE, /* its text */
    IN_AFTER,     /* after a call, before its closing marker */
    IN_LINE,      /* a recipient, up to the line's end */
    IN_HEADER,    /* harmony: of a channel */
    IN_CHANNEL,   /* harmony: content, thoughts or arguments */
};

struct answer_parser {
    const struct dialect *d;
    const json_t *tools;
    struct answer_sink sink;
    enum answer_state state;
    struct buf hold;  /* what may be a marker */
    struct buf space; /* white space that may be at an end */
    struct buf raw;   /* what may be a call; given back if it is none */
    struct buf head;  /* a name or a key at hand, a harmony header, a value */
    struct buf run;   /* ready to be handed on in one piece */
    enum answer_channel run_channel;
    struct buf json; /* what json_mend wrote last */
    struct json_mend mend;
    struct call_reader reader;
    enum answer_channel channel; /* IN_CHANNEL */
    bool trims;                  /* white space that comes next is left out */
    bool has_content;            /* something that is no white space came out */
    bool thought;                /* there were thoughts */
    bool call_open;              /* a call began whose arguments are not over */
    bool marked;                 /* the call at hand has a marker before it */
    bool must_call;              /* what is cut off began a call */
    bool has_param;              /* tags: not the first parameter */
    bool over;                   /* harmony: the arguments are complete */
    bool is_cut;                 /* at the end: what is not over stays as it is */
    struct str function;         /* tags: the name of the function at hand: in `called` */
    struct buf called;
    int n_calls;
};

/* Handing on. */
void answer_emit(struct answer_parser *p, enum answer_channel channel, struct str text);
void answer_content(struct answer_parser *p, char c); /* one byte of content or thought */
/* It was none: what was kept comes out as content. */
void answer_give_back(struct answer_parser *p);
bool answer_knows(const struct answer_parser *p, struct str name);
bool answer_begin_call(struct answer_parser *p, struct str name);
/* What is not a marker, in IN_CONTENT; may begin a call without a marker. */
void answer_plain(struct answer_parser *p, char c);

/* Index of the marker that hold is, or -1; *ret_maybe: hold is the beginning of one. */
int answer_match(const struct answer_parser *p, const char *const *marker, int n, bool *ret_maybe);
/* One byte in a state of calls. */
void answer_push_call(struct answer_parser *p, char c);
void answer_finish_call(struct answer_parser *p);
void answer_open_call(struct answer_parser *p, const char *marker);

bool answer_is_space(char c);

#endif
