/*
 * memory_plan: what fits is planned to the byte, what does not is refused with the arithmetic.
 */
#include "worker/memory_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MIB     (1ull << 20)
#define RESERVE (64 * MIB)

static struct memory_wish wish(void)
{
    return (struct memory_wish){
        .budget_bytes = 1000 * MIB,
        .weight_bytes = 100 * MIB,
        .scratch_bytes = 36 * MIB,
        .block_bytes = MIB,
        .block_len = 32,
        .n_ctx_train = 4096,
        .n_seq = 4,
    };
}

static void test_all_fits(void **state)
{
    (void)state;
    struct memory_wish w = wish();
    struct memory_plan p;
    w.n_ctx = 1000; /* 32 blocks each */
    assert_int_equal(memory_plan(&w, &p, NULL), 0);
    assert_int_equal(p.n_ctx, 1000);
    assert_int_equal(p.n_blocks, 4 * 32);
    assert_int_equal(p.kv_bytes, 4 * 32 * MIB);
    assert_int_equal(p.total_bytes, 100 * MIB + 36 * MIB + RESERVE + 4 * 32 * MIB);
}

static void test_context_is_what_fits(void **state)
{
    (void)state;
    struct memory_wish w = wish();
    struct memory_plan p;
    assert_int_equal(memory_plan(&w, &p, NULL), 0); /* 800 blocks are left; 4 x 128 are wanted */
    assert_int_equal(p.n_ctx, 4096);
    assert_int_equal(p.n_blocks, 400); /* half of them */
    w.n_ctx = 4096;
    assert_int_equal(memory_plan(&w, &p, NULL), 0);
    assert_int_equal(p.n_blocks, 4 * 128); /* both numbers were named */
    w.n_seq = 8;
    assert_int_equal(memory_plan(&w, &p, NULL), 0);
    assert_int_equal(p.n_blocks, 800); /* all that fits */
    w = wish();
    w.budget_bytes = (100 + 36 + 64 + 50) * MIB;
    assert_int_equal(memory_plan(&w, &p, NULL), 0);
    assert_int_equal(p.n_ctx, 50 * 32);
    assert_int_equal(p.n_blocks, 50); /* one whole context comes first */
    assert_true(p.total_bytes <= w.budget_bytes);
}

/* A draft model has weights, and a block beside each block. */
static void test_a_draft_model_is_counted(void **state)
{
    (void)state;
    struct memory_wish w = wish();
    struct memory_plan p;
    struct err err;
    w.draft_weight_bytes = 20 * MIB;
    w.draft_block_bytes = MIB / 4;
    w.n_ctx = 1000;
    assert_int_equal(memory_plan(&w, &p, NULL), 0);
    assert_int_equal(p.n_blocks, 4 * 32);
    assert_int_equal(p.kv_bytes, 4 * 32 * MIB);
    assert_int_equal(p.draft_kv_bytes, 32 * MIB);
    assert_int_equal(p.total_bytes, (100 + 20 + 36 + 4 * 32 + 32) * MIB + RESERVE);
    w.budget_bytes = (100 + 20 + 36 + 64 + 39) * MIB; /* 40 are needed */
    assert_int_equal(memory_plan(&w, &p, &err), ERR_NOMEM);
    assert_non_null(strstr(err.text, "260.0 MiB = weights 100.0 MiB + the draft model's 20.0 MiB + "
                                     "keys and values of both for a context of 1000 tokens 40.0 MiB"
                                     " + working memory 100.0 MiB, but 259.0 MiB"));
    w.budget_bytes += MIB;
    assert_int_equal(memory_plan(&w, &p, NULL), 0);
}

/* Several users of a model with a huge trained context: one may use it all, the others share. */
static void test_long_contexts_are_shared(void **state)
{
    (void)state;
    struct memory_wish w = wish();
    struct memory_plan p;
    w.n_ctx_train = 131072;
    w.budget_bytes = 100000 * MIB;
    assert_int_equal(memory_plan(&w, &p, NULL), 0);
    assert_int_equal(p.n_ctx, 131072);
    assert_int_equal(p.n_blocks, 4096 + 3 * 256);
    w.n_seq = 1;
    assert_int_equal(memory_plan(&w, &p, NULL), 0);
    assert_int_equal(p.n_blocks, 4096);
}

static void test_kv_bytes_are_obeyed(void **state)
{
    (void)state;
    struct memory_wish w = wish();
    struct memory_plan p;
    w.kv_bytes = 20 * MIB + 5;
    assert_int_equal(memory_plan(&w, &p, NULL), 0);
    assert_int_equal(p.n_blocks, 20);
    assert_int_equal(p.n_ctx, 640);
    w.n_ctx = 641;
    assert_int_equal(memory_plan(&w, &p, NULL), ERR_NOMEM);
    w.n_ctx = 640;
    assert_int_equal(memory_plan(&w, &p, NULL), 0);
    w.kv_bytes = 900 * MIB; /* more than is there */
    assert_int_equal(memory_plan(&w, &p, NULL), ERR_NOMEM);
}

static void test_refusals_show_the_arithmetic(void **state)
{
    (void)state;
    struct memory_wish w = wish();
    struct memory_plan p = {.n_ctx = 77};
    struct err err = {0};
    w.budget_bytes = 50 * MIB;
    assert_int_equal(memory_plan(&w, &p, &err), ERR_NOMEM);
    assert_non_null(strstr(err.text, "needs 208.0 MiB = weights 100.0 MiB"));
    assert_non_null(strstr(err.text, "context of 256 tokens 8.0 MiB"));
    assert_non_null(strstr(err.text, "50.0 MiB are available"));
    w = wish();
    w.n_ctx = 4097;
    assert_int_equal(memory_plan(&w, &p, &err), ERR_INVALID);
    assert_string_equal(err.param, "ctx");
    assert_int_equal(p.n_ctx, 77);
}

/* Sizes that a hostile file may claim do not wrap around. */
static void test_absurd_sizes(void **state)
{
    (void)state;
    struct memory_plan p;
    struct memory_wish w = wish();
    w.weight_bytes = UINT64_MAX - 5;
    assert_int_equal(memory_plan(&w, &p, NULL), ERR_NOMEM);
    w = wish();
    w.scratch_bytes = UINT64_MAX - 5;
    assert_int_equal(memory_plan(&w, &p, NULL), ERR_NOMEM);
    w = wish();
    w.block_bytes = UINT64_MAX / 2;
    assert_int_equal(memory_plan(&w, &p, NULL), ERR_NOMEM);
    w = wish();
    w.n_ctx_train = INT32_MAX;
    assert_int_equal(memory_plan(&w, &p, NULL), 0);
    assert_true(p.total_bytes <= w.budget_bytes);
}

static void test_machine(void **state)
{
    (void)state;
    assert_true(memory_available() > 1 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_fits),
        cmocka_unit_test(test_context_is_what_fits),
        cmocka_unit_test(test_a_draft_model_is_counted),
        cmocka_unit_test(test_long_contexts_are_shared),
        cmocka_unit_test(test_kv_bytes_are_obeyed),
        cmocka_unit_test(test_refusals_show_the_arithmetic),
        cmocka_unit_test(test_absurd_sizes),
        cmocka_unit_test(test_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
