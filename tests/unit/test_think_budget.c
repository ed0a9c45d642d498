/*
 * test_think_budget: which tokens a budget forces: a function of the tokens before, and of nothing
 * else.
 */
#include "engine/think_budget.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PROMPT 2
#define OPEN   40
#define CLOSE  41

static struct think_budget *budget(bool is_open)
{
    const struct think_budget what = {.n_max = 5,
                                      .is_open = is_open,
                                      .open = {{OPEN}, 1},
                                      .close = {{CLOSE}, 1},
                                      .force = {{7, CLOSE, 8}, 3}};
    struct think_budget *b;
    struct err err;
    assert_int_equal(think_budget_new(&what, 100, &b, &err), 0);
    return b;
}

/* The token that must come at `next`; -1: any. */
static int forced(const struct think_budget *b, const int32_t *token, int next)
{
    const uint32_t *mask = think_budget_mask(b, token, PROMPT, next);
    int found = -1;
    for (int i = 0; mask && i < 100; i++)
        if (mask[i / 32] >> (i % 32) & 1) {
            assert_int_equal(found, -1); /* one alone */
            found = i;
        }
    return found;
}

static void test_forced(void **state)
{
    (void)state;
    static const int want[] = {-1, -1, -1, -1, -1, 7, CLOSE, 8, -1, -1};
    int32_t token[PROMPT + 10] = {1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3};
    struct think_budget *b = budget(true);
    for (int k = 0; k < 10; k++)
        assert_int_equal(forced(b, token, PROMPT + k), want[k]);
    token[PROMPT + 4] = CLOSE; /* in time */
    for (int k = 0; k < 10; k++)
        assert_int_equal(forced(b, token, PROMPT + k), -1);
    think_budget_free(b);
}

static void test_opened_by_the_model(void **state)
{
    (void)state;
    int32_t token[PROMPT + 10] = {OPEN, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3};
    struct think_budget *b = budget(false);
    assert_int_equal(forced(b, token, PROMPT + 5),
                     -1); /* it does not think; the prompt's is not its */
    token[PROMPT] = OPEN;
    assert_int_equal(forced(b, token, PROMPT + 4), -1);
    assert_int_equal(forced(b, token, PROMPT + 5), 7);
    assert_int_equal(forced(b, token, PROMPT + 6), CLOSE);
    think_budget_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forced),
        cmocka_unit_test(test_opened_by_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
