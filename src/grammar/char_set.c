/*
 * char_set: see the header.
 */
#include "grammar/char_set.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void char_set_add(struct char_set *s, uint32_t from, uint32_t to)
{
    if (!mem_grow((void **)&s->r, &s->cap, s->n + 1, CHAR_SET_MAX, sizeof(*s->r))) {
        s->overflow = true;
        return;
    }
    s->r[s->n++] = (struct grammar_range){from, to};
}

void char_set_add_all(struct char_set *s, const struct grammar_range *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        char_set_add(s, r[i].from, r[i].to);
}

static int cmp_range(const void *x, const void *y)
{
    const struct grammar_range *a = x, *b = y;
    return a->from < b->from ? -1 : a->from > b->from;
}

void char_set_invert(struct char_set *s)
{
    struct char_set out = {.overflow = s->overflow};
    uint32_t next = 0;
    if (s->n > 0)
        qsort(s->r, s->n, sizeof(*s->r), cmp_range);
    for (size_t i = 0; i < s->n; i++) {
        if (s->r[i].from > next)
            char_set_add(&out, next, s->r[i].from - 1);
        next = s->r[i].to + 1 > next ? s->r[i].to + 1 : next;
    }
    if (next <= CHAR_MAX_CODE)
        char_set_add(&out, next, CHAR_MAX_CODE);
    char_set_release(s);
    *s = out;
}

void char_set_release(struct char_set *s)
{
    free(s->r);
    *s = (struct char_set){0};
}
