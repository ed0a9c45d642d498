/*
 * stacks: where a text stands in an automaton: one stack of states for each way it can be read.
 *
 * A frame is the top of a stack; below it are its parents, the states to return to. Frames are
 * numbers in one growing array, shared by stacks that begin alike. A head is the top frame as it
 * was after the last byte; before the next one stacks_reach makes all calls and returns that can
 * be made without a byte. Bounded: heads, frames, depth; what passes a bound is dropped, which
 * allows less, never more, and sets is_limited.
 */
#ifndef HEARTH_GRAMMAR_STACKS_H
#define HEARTH_GRAMMAR_STACKS_H

#include "grammar/automaton.h"

#define HEADS_MAX       128
#define REACH_MAX       256 /* frames that are looked at between two bytes */
#define STACK_DEPTH_MAX 512
#define FRAMES_MAX      (1u << 20)

#define FRAME_NONE 0u /* below the first frame of a text */
#define FRAME_BASE 1u /* below a frame whose callers are not known (mask_cache.h) */

struct frame {
    uint32_t parent, state;
    int32_t count; /* of a counted state: how often its body was read */
    uint32_t depth;
    uint64_t hash;
};

struct heads {
    uint32_t n;
    uint32_t at[HEADS_MAX];
};

struct reach_special {
    uint32_t special; /* its number in the grammar */
    uint32_t head;    /* after its token */
};
#define REACH_SPECIALS_MAX 32

/* What can be done next. */
struct reach {
    uint32_t n, n_special;
    uint32_t at[HEADS_MAX]; /* frames that read a byte */
    struct reach_special special[REACH_SPECIALS_MAX];
    bool ends; /* the text may end */
    bool pops; /* it returns to FRAME_BASE */
};

struct stacks {
    const struct grammar *g; /* borrowed */
    const int32_t *token_of; /* [g->n_special] or -1; borrowed */
    struct frame *frame;     /* [n_frame], two of them FRAME_NONE and FRAME_BASE */
    size_t n_frame, cap_frame;
    bool is_limited;          /* something was dropped */
    uint32_t deepest;         /* depth of any frame since this was set to 0 */
    uint64_t work;            /* frames that were looked at, for bounds and tests */
    uint32_t todo[REACH_MAX]; /* within stacks_reach */
};

/* False: no memory. */
bool stacks_init(struct stacks *s, const struct grammar *g, const int32_t *token_of);
void stacks_release(struct stacks *s);
/* The number of a frame; FRAME_NONE: it was dropped. */
uint32_t stacks_push(struct stacks *s, uint32_t parent, uint32_t state, int32_t count);
void stacks_reach(struct stacks *s, const struct heads *heads, struct reach *ret);
/* The heads after a byte; n = 0: it may not come. */
void stacks_step(struct stacks *s, const struct reach *reach, uint8_t byte, struct heads *ret);
/* Are they the same stack? */
bool stacks_same(const struct stacks *s, uint32_t a, uint32_t b);
bool stacks_add_head(struct stacks *s, struct heads *heads, uint32_t frame);
/* Keeps only the frames that the lists' heads stand on. */
void stacks_compact(struct stacks *s, struct heads *const *list, size_t n);

#endif
