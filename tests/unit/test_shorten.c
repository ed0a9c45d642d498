/*
 * shorten: which messages of a conversation go, held against the rule written down word by word,
 * and that conversations of many results take no longer than others.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "worker/shorten.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static json_t *messages_of(const char *text)
{
    char *copy = str_dup(str_z(text));
    for (char *c = copy; *c; c++)
        if (*c == '\'')
            *c = '"';
    json_t *json = json_parse(str_z(copy), JSON_DEPTH_MAX, NULL);
    assert_non_null(json);
    free(copy);
    return json;
}

/* Messages as letters: their contents. */
static void assert_left(const struct shortening *s, size_t n, const char *want)
{
    char got[64] = "";
    json_t *kept = shortening_without(s, n);
    assert_non_null(kept);
    assert_true(json_array_size(kept) < sizeof(got));
    for (size_t i = 0; i < json_array_size(kept); i++)
        got[i] = json_str(json_object_get(json_array_get(kept, i), "content")).ptr[0];
    json_decref(kept);
    assert_string_equal(got, want);
}

static void test_results_go_with_their_calls(void **state)
{
    (void)state;
    json_t *m =
        messages_of("[{'role':'system','content':'s'},{'role':'user','content':'a'},"
                    "{'role':'assistant','content':'b','tool_calls':[{'id':'1'},{'id':'2'}]}"
                    ",{'role':'tool','content':'c','tool_call_id':'2'},"
                    "{'role':'user','content':'d'},"
                    "{'role':'assistant','content':'e','tool_calls':[{'id':'3'}]},"
                    "{'role':'tool','content':'f','tool_call_id':'1'},"
                    "{'role':'tool','content':'g','tool_call_id':'x'},"
                    "{'role':'user','content':'h'},"
                    "{'role':'assistant','content':'i','tool_calls':[{'id':'3'}]},"
                    "{'role':'tool','content':'j'},"
                    "{'role':'tool','content':'k','tool_call_id':'3'}]");
    struct shortening s;
    assert_true(shortening_init(&s, m));
    assert_int_equal(s.tail, 9);
    assert_int_equal(s.n_may_go, 8);
    assert_left(&s, 0, "sabcdefghijk");
    assert_left(&s, 1, "sbcdefghijk");
    assert_left(&s, 2, "sdeghijk"); /* with both results of the call */
    assert_left(&s, 4, "seghijk");
    assert_left(&s, 5, "shijk"); /* 'g' is of no call: it goes with the one before it */
    assert_left(&s, 100, "sijk");
    shortening_release(&s);
    json_decref(m);
    m = json_array();
    assert_true(shortening_init(&s, m));
    assert_int_equal(s.n_may_go, 0);
    assert_left(&s, 1, "");
    shortening_release(&s);
    json_decref(m);
}

/* ---- random conversations ---- */

static bool is_result(const json_t *message)
{
    return str_eq_z(json_str(json_object_get(message, "role")), "tool");
}

static bool has_call(const json_t *message, struct str id)
{
    size_t i;
    json_t *call;
    json_array_foreach(json_object_get(message, "tool_calls"), i, call)
    {
        if (id.len > 0 && str_eq(json_str(json_object_get(call, "id")), id))
            return true;
    }
    return false;
}

/* By the id the last one before it, else the one before all results here. */
static size_t call_of(const json_t *messages, size_t i)
{
    struct str id = json_str(json_object_get(json_array_get(messages, i), "tool_call_id"));
    for (size_t k = i; k-- > 0;)
        if (has_call(json_array_get(messages, k), id))
            return k;
    while (i > 0 && is_result(json_array_get(messages, i)))
        i--;
    return i;
}

static size_t draw(uint64_t *n_drawn, size_t below)
{
    return (size_t)(rng_uniform(5, 1, (*n_drawn)++) * (double)below);
}

static json_t *random_message(uint64_t *n_drawn)
{
    static const char *const role[] = {"system", "user", "assistant", "tool", "tool", "tool"};
    static const char *const id[] = {"", "1", "2", "3", "4"};
    size_t who = draw(n_drawn, ARRAY_LEN(role));
    json_t *m = json_pack("{s:s, s:s}", "role", role[who], "content", "x");
    if (who >= 3 && draw(n_drawn, 5) > 0)
        json_object_set_new(m, "tool_call_id", json_string(id[draw(n_drawn, ARRAY_LEN(id))]));
    if (draw(n_drawn, 3) > 0)
        return m;
    json_t *calls = json_array();
    for (size_t i = draw(n_drawn, 4); i > 0; i--)
        json_array_append_new(calls, json_pack("{s:s}", "id", id[draw(n_drawn, ARRAY_LEN(id))]));
    json_object_set_new(m, "tool_calls", calls);
    return m;
}

static void test_random_conversations(void **state)
{
    (void)state;
    uint64_t n_drawn = 0;
    for (int round = 0; round < 2000; round++) {
        struct shortening s;
        json_t *messages = json_array();
        for (size_t n = 1 + draw(&n_drawn, 12); n > 0; n--)
            json_array_append_new(messages, random_message(&n_drawn));
        assert_true(shortening_init(&s, messages));
        size_t n = json_array_size(messages), tail = n - 1;
        for (size_t i = 0; i < n; i++) {
            const json_t *m = json_array_get(messages, i);
            assert_int_equal(s.call_at[i], is_result(m) ? call_of(messages, i) : i);
        }
        for (size_t k = n; k-- > tail;)
            tail = s.call_at[k] < tail ? s.call_at[k] : tail;
        assert_int_equal(s.tail, tail);
        shortening_release(&s);
        json_decref(messages);
    }
}

/* For each result all messages before it were read, with all of their calls: hours. */
static void test_many_results(void **state)
{
    (void)state;
    enum { N = 16384 };
    json_t *messages = json_array(), *calls = json_array();
    struct shortening s;
    for (int i = 0; i < N; i++)
        json_array_append_new(calls, json_pack("{s:s}", "id", "known"));
    json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "user", "tool_calls", calls));
    for (int i = 0; i < N; i++)
        json_array_append_new(messages,
                              json_pack("{s:s, s:s}", "role", "tool", "tool_call_id", "unknown"));
    json_array_append_new(messages, json_pack("{s:s}", "role", "user"));
    clock_t before = clock();
    assert_true(shortening_init(&s, messages));
    assert_int_equal(s.n_may_go, N + 1);
    json_t *kept = shortening_without(&s, 1);
    assert_int_equal(json_array_size(kept), 1);
    assert_true((clock() - before) / CLOCKS_PER_SEC < 10);
    json_decref(kept);
    shortening_release(&s);
    json_decref(messages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results_go_with_their_calls),
        cmocka_unit_test(test_random_conversations),
        cmocka_unit_test(test_many_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
