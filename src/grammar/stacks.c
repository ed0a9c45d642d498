/*
 * stacks: see the header.
 */
#include "grammar/stacks.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

bool stacks_init(struct stacks *s, const struct grammar *g, const int32_t *token_of)
{
    *s = (struct stacks){.g = g, .token_of = token_of};
    if (!mem_grow((void **)&s->frame, &s->cap_frame, 64, FRAMES_MAX, sizeof(*s->frame)))
        return false;
    s->frame[FRAME_NONE] = (struct frame){.state = STATE_NONE};
    s->frame[FRAME_BASE] = (struct frame){.state = STATE_NONE, .hash = 1};
    s->n_frame = 2;
    return true;
}

void stacks_release(struct stacks *s)
{
    free(s->frame);
    s->frame = NULL;
}

uint32_t stacks_push(struct stacks *s, uint32_t parent, uint32_t state, int32_t count)
{
    struct frame f = {parent, state, count, s->frame[parent].depth + 1, 0};
    bool is_full = s->n_frame == s->cap_frame;
    if (f.depth > STACK_DEPTH_MAX ||
        (is_full && !mem_grow((void **)&s->frame, &s->cap_frame, s->n_frame + 1, FRAMES_MAX,
                              sizeof(*s->frame)))) {
        s->is_limited = true;
        return FRAME_NONE;
    }
    s->deepest = f.depth > s->deepest ? f.depth : s->deepest;
    f.hash = (s->frame[parent].hash ^ state) * 0x9e3779b97f4a7c15u;
    f.hash = (f.hash ^ f.hash >> 29 ^ (uint32_t)count) * 0xbf58476d1ce4e5b9u;
    s->frame[s->n_frame] = f;
    return (uint32_t)s->n_frame++;
}

/* Hashes only save the comparison. */
bool stacks_same(const struct stacks *s, uint32_t a, uint32_t b)
{
    while (a != b) {
        const struct frame *x = &s->frame[a], *y = &s->frame[b];
        if (x->hash != y->hash || x->state != y->state || x->count != y->count ||
            x->depth != y->depth || x->state == STATE_NONE)
            return false;
        a = x->parent;
        b = y->parent;
    }
    return true;
}

bool stacks_add_head(struct stacks *s, struct heads *h, uint32_t frame)
{
    for (uint32_t i = 0; i < h->n; i++)
        if (stacks_same(s, h->at[i], frame))
            return true;
    if (h->n == HEADS_MAX) {
        s->is_limited = true;
        return false;
    }
    h->at[h->n++] = frame;
    return true;
}

/* ---- between two bytes ---- */

static uint32_t visit(struct stacks *s, uint32_t n, uint32_t frame)
{
    if (frame == FRAME_NONE)
        return n;
    s->work += n;
    for (uint32_t i = 0; i < n; i++)
        if (stacks_same(s, s->todo[i], frame))
            return n;
    if (n == REACH_MAX) {
        s->is_limited = true;
        return n;
    }
    s->todo[n] = frame;
    return n + 1;
}

static uint32_t pop(struct stacks *s, uint32_t n, uint32_t parent, struct reach *ret)
{
    ret->ends = ret->ends || parent == FRAME_NONE;
    ret->pops = ret->pops || parent == FRAME_BASE;
    return parent == FRAME_BASE ? n : visit(s, n, parent);
}

/* The frame that a call leaves behind. A call that is the last of its caller leaves none: so
 * rules that end in themselves need no stack. */
static bool leave(struct stacks *s, const struct frame *f, uint32_t ret, int32_t count,
                  uint32_t *frame)
{
    *frame = f->parent;
    if (s->g->state[ret].flags & STATE_IS_END)
        return true;
    *frame = stacks_push(s, f->parent, ret, count);
    return *frame != FRAME_NONE;
}

static uint32_t count_on(struct stacks *s, uint32_t n, const struct frame *f, struct reach *ret)
{
    const struct state *st = &s->g->state[f->state];
    if (f->count >= st->min)
        n = pop(s, n, f->parent, ret);
    if (st->n_call == 0 || (st->max >= 0 && f->count >= st->max))
        return n;
    int32_t next = f->count + 1;
    if (st->max < 0 && next > st->min)
        next = st->min;
    uint32_t left = f->parent, start = s->g->call[st->call].start;
    if (next != st->max) {
        left = stacks_push(s, f->parent, f->state, next);
        if (left == FRAME_NONE)
            return n;
    }
    return visit(s, n, stacks_push(s, left, start, 0));
}

static void add_special(struct stacks *s, const struct frame *f, const struct call_edge *c,
                        struct reach *ret)
{
    uint32_t frame;
    bool is_last = s->g->state[c->ret].flags & STATE_IS_END && f->parent != FRAME_NONE &&
                   f->parent != FRAME_BASE;
    frame = is_last ? f->parent : stacks_push(s, f->parent, c->ret, 0);
    if (frame == FRAME_NONE || ret->n_special == REACH_SPECIALS_MAX) {
        s->is_limited = true;
        return;
    }
    ret->special[ret->n_special++] = (struct reach_special){c->special, frame};
}

static uint32_t call_all(struct stacks *s, uint32_t n, const struct frame *f, struct reach *ret)
{
    const struct state *st = &s->g->state[f->state];
    for (uint32_t i = 0; i < st->n_call; i++) {
        const struct call_edge *c = &s->g->call[st->call + i];
        uint32_t left;
        if (c->start == STATE_NONE)
            n = visit(s, n, stacks_push(s, f->parent, c->ret, 0));
        else if (c->special != STATE_NONE && s->token_of[c->special] >= 0)
            add_special(s, f, c, ret);
        else if (leave(s, f, c->ret, 0, &left))
            n = visit(s, n, stacks_push(s, left, c->start, 0));
    }
    return n;
}

void stacks_reach(struct stacks *s, const struct heads *heads, struct reach *ret)
{
    ret->n = ret->n_special = 0;
    ret->ends = ret->pops = false;
    uint32_t n = heads->n;
    if (n == 1 && heads->at[0] > FRAME_BASE &&
        s->g->state[s->frame[heads->at[0]].state].flags & STATE_IS_PLAIN) {
        ret->n = 1;
        ret->at[0] = heads->at[0];
        return;
    }
    memcpy(s->todo, heads->at, n * sizeof(*s->todo));
    for (uint32_t i = 0; i < n; i++) {
        s->work++;
        if (s->todo[i] == FRAME_BASE) {
            ret->pops = true;
            continue;
        }
        const struct frame f = s->frame[s->todo[i]];
        const struct state *st = &s->g->state[f.state];
        if (st->n_edge > 0 && ret->n < HEADS_MAX)
            ret->at[ret->n++] = s->todo[i];
        else if (st->n_edge > 0)
            s->is_limited = true;
        if (st->flags & STATE_COUNTS) {
            n = count_on(s, n, &f, ret);
            continue;
        }
        n = call_all(s, n, &f, ret);
        if (st->flags & STATE_ACCEPTS)
            n = pop(s, n, f.parent, ret);
    }
}

/* ---- one byte ---- */

static void enter(struct stacks *s, uint32_t parent, uint32_t state, struct heads *ret)
{
    bool is_end = s->g->state[state].flags & STATE_IS_END && parent != FRAME_NONE;
    uint32_t frame = is_end ? parent : stacks_push(s, parent, state, 0);
    if (frame != FRAME_NONE)
        stacks_add_head(s, ret, frame);
}

void stacks_step(struct stacks *s, const struct reach *reach, uint8_t byte, struct heads *ret)
{
    const struct grammar *g = s->g;
    ret->n = 0;
    s->work += reach->n;
    for (uint32_t i = 0; i < reach->n; i++) {
        const struct frame *f = &s->frame[reach->at[i]];
        const struct state *st = &g->state[f->state];
        uint32_t parent = f->parent;
        if (st->row != STATE_NONE) {
            uint32_t target = g->row[st->row][byte];
            if (target != STATE_NONE)
                enter(s, parent, target, ret);
            continue;
        }
        const struct byte_edge *e = &g->edge[st->edge];
        for (uint32_t k = 0; k < st->n_edge; k++)
            if (e[k].from <= byte && byte <= e[k].to)
                enter(s, parent, e[k].target, ret);
    }
}

/* ---- memory ---- */

void stacks_compact(struct stacks *s, struct heads *const *list, size_t n)
{
    uint32_t *to = mem_try_array(s->n_frame, sizeof(*to)); /* 0: nobody stands on it */
    if (!to)
        return;
    to[FRAME_NONE] = to[FRAME_BASE] = 1;
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < list[i]->n; k++)
            for (uint32_t f = list[i]->at[k]; to[f] == 0; f = s->frame[f].parent)
                to[f] = 1;
    uint32_t kept = 2;
    to[FRAME_NONE] = FRAME_NONE;
    for (uint32_t f = 2; f < s->n_frame; f++) {
        if (to[f] == 0)
            continue;
        s->frame[kept] = s->frame[f];
        s->frame[kept].parent = to[s->frame[f].parent]; /* parents come before their children */
        to[f] = kept++;
    }
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < list[i]->n; k++)
            list[i]->at[k] = to[list[i]->at[k]];
    s->n_frame = kept;
    free(to);
}
