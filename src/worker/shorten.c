/*
 * shorten: see the header.
 */
#include "worker/shorten.h"

#include "base/mem.h"

#include <stdlib.h>

static bool is_system(const json_t *message)
{
    return str_eq_z(json_str(json_object_get(message, "role")), "system");
}

static bool is_result(const json_t *message)
{
    return str_eq_z(json_str(json_object_get(message, "role")), "tool");
}

/* seen: from an id to the last message so far that has a call of it. */
static bool note_calls(json_t *seen, const json_t *message, size_t at)
{
    size_t i;
    json_t *call;
    json_array_foreach(json_object_get(message, "tool_calls"), i, call)
    {
        struct str id = json_str(json_object_get(call, "id"));
        if (id.len > 0 &&
            json_object_setn_new_nocheck(seen, id.ptr, id.len, json_integer((json_int_t)at)) != 0)
            return false;
    }
    return true;
}

/* A result's call is found by its id, else it is the one before the results. */
static bool find_calls(struct shortening *s, json_t *seen)
{
    size_t before = 0;
    for (size_t i = 0; i < json_array_size(s->messages); i++) {
        const json_t *m = json_array_get(s->messages, i);
        struct str id = json_str(json_object_get(m, "tool_call_id"));
        before = is_result(m) ? before : i;
        const json_t *call =
            is_result(m) && id.len > 0 ? json_object_getn(seen, id.ptr, id.len) : NULL;
        s->call_at[i] = call ? (size_t)json_integer_value(call) : before;
        if (!note_calls(seen, m, i))
            return false;
    }
    return true;
}

/* The last message, and the calls whose results are there. */
static size_t tail_of(const struct shortening *s, size_t n)
{
    size_t first = n - 1;
    for (size_t k = first;; k--) {
        first = s->call_at[k] < first ? s->call_at[k] : first;
        if (k == first)
            return first;
    }
}

bool shortening_init(struct shortening *s, const json_t *messages)
{
    size_t n = json_array_size(messages);
    *s = (struct shortening){.messages = messages};
    if (n == 0)
        return true;
    s->call_at = mem_try_array(n, sizeof(*s->call_at));
    json_t *seen = json_object();
    bool ok = s->call_at && seen && find_calls(s, seen);
    json_decref(seen);
    if (!ok)
        return false;
    s->tail = tail_of(s, n);
    for (size_t i = 0; i < s->tail; i++)
        s->n_may_go += !is_system(json_array_get(messages, i));
    return true;
}

void shortening_release(struct shortening *s)
{
    free(s->call_at);
    *s = (struct shortening){0};
}

json_t *shortening_without(const struct shortening *s, size_t n)
{
    json_t *kept = json_array();
    bool *gone = mem_try_array(s->tail + 1, sizeof(*gone)); /* [tail] */
    bool ok = kept && gone;
    for (size_t i = 0; ok && i < json_array_size(s->messages); i++) {
        json_t *m = json_array_get(s->messages, i);
        bool may = i < s->tail && !is_system(m);
        size_t call = s->call_at[i];
        bool goes = may && (n > 0 || (call < i && gone[call]));
        if (goes && n > 0)
            n--;
        if (i < s->tail)
            gone[i] = goes;
        ok = goes || json_array_append(kept, m) == 0;
    }
    free(gone);
    if (!ok) {
        json_decref(kept);
        kept = NULL;
    }
    return kept;
}
