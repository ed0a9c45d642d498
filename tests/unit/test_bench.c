/*
 * test_bench: the arithmetic, options and outputs of `hearth bench`. Speed itself is not tested.
 */
#include "base/json.h"
#include "base/mem.h"
#include "cli/bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* cmocka compares floats only. */
static void near(double a, double b)
{
    assert_true(fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b)));
}

static void spread_is_of_sorted_samples(void **state)
{
    (void)state;
    const double odd[] = {5, 1, 4, 2, 3};
    struct spread s = spread_of(odd, 5);
    near(s.min, 1);
    near(s.q1, 2);
    near(s.median, 3);
    near(s.q3, 4);
    near(s.max, 5);
    near(odd[0], 5); /* the caller's order stays */
    const double even[] = {4, 1, 3, 2};
    s = spread_of(even, 4);
    near(s.median, 2.5);
    near(s.q1, 1.75);
    s = spread_of(even, 1);
    near(s.min, 4);
    near(s.median, 4);
    near(s.max, 4);
    s = spread_of(NULL, 0);
    near(s.median, 0);
}

static void lists_of_numbers(void **state)
{
    (void)state;
    struct numbers l;
    struct err err = {0};
    assert_int_equal(numbers_parse("512", "prompt", 1, 4096, &l, &err), 0);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.v[0], 512);
    assert_int_equal(numbers_parse("0, 4k,16K", "depth", 0, 1 << 20, &l, &err), 0);
    assert_int_equal(l.n, 3);
    assert_int_equal(l.v[1], 4096);
    assert_int_equal(l.v[2], 16384);
    static const char *const wrong[] = {
        "",    "x",    "1,",      "1,,2",        "1,1",
        "4k5", "-1",   "5000",    "k",           "1 2",
        "1.5", "0x10", "1k,1024", "99999999999", "9223372036854775807k"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        err_clear(&err);
        l.n = -7;
        assert_int_equal(numbers_parse(wrong[i], "depth", 0, 4096, &l, &err), ERR_INVALID);
        assert_non_null(strstr(err.text, "--depth"));
        assert_int_equal(l.n, -7); /* outputs on success only */
    }
}

static void too_many_numbers_are_refused(void **state)
{
    (void)state;
    struct numbers l;
    struct err err = {0};
    char text[NUMBERS_MAX * 4 + 16] = "";
    for (int i = 0; i <= NUMBERS_MAX; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d", i > 0 ? "," : "", i);
    assert_int_equal(numbers_parse(text, "batch", 0, 4096, &l, &err), ERR_INVALID);
}

/* A bench of no model: 2 layers that see all, 1 with a window of 100. */
static void make(struct bench *b)
{
    *b = (struct bench){
        .o = {.prompt = {{128, 300}, 2},
              .depth = {{0, 1000}, 2},
              .batch = {{1, 4}, 2},
              .threads = {{2}, 1},
              .n_reps = 3,
              .n_chunk = 256,
              .n_steps = 10},
        .info = {.arch = "llama", .n_ctx_train = 1200, .kv_block_bytes = 32 * 30},
        .work = {.weight_bytes = 1e6,
                 .weight_macs = 2e6,
                 .output_bytes = 1e5,
                 .output_macs = 2e5,
                 .kv_bytes = {20, 10},
                 .attn_macs = {40, 20},
                 .window = 100},
        .n_round = 3,
    };
    b->one_thread_macs_per_s[0] = b->one_thread_macs_per_s[1] = b->one_thread_macs_per_s[2] = 1e9;
}

static void drop(struct bench *b)
{
    for (int i = 0; i < b->n_cell; i++)
        free(b->cell[i].sample);
    free(b->cell);
}

static void work_is_that_of_the_shape(void **state)
{
    (void)state;
    struct bench b;
    make(&b);
    struct bench_cell d = {
        .kind = BENCH_DECODE, .batch = 4, .depth = 150, .n_steps = 2, .n_repeat = 3};
    bench_cell_work(&b, &d);
    near(d.n_tokens, 4 * 2 * 3);
    /* 151 and 152 positions in full layers, 100 in the windowed one, for each sequence */
    double kv = 4 * (20 * (151 + 152) + 10 * 200);
    near(d.n_bytes, 3 * (2 * 1.1e6 + kv));
    near(d.n_macs, 3 * (8 * 2.2e6 + 4 * (40 * (151 + 152) + 20 * 200)));
    struct bench_cell p = {
        .kind = BENCH_PREFILL, .batch = 1, .n_prompt = 300, .n_steps = 1, .n_repeat = 1};
    bench_cell_work(&b, &p);
    near(p.n_tokens, 300);
    /* chunks of 256 and 44: the weights twice, the output once */
    near(p.n_bytes, 2e6 + 1e5 + 20 * (256 + 300) + 10 * 200);
    double seen = 300 * 301 / 2.0, local = 100 * 101 / 2.0 + 200 * 100;
    near(p.n_macs, 300 * 2e6 + 2e5 + 40 * seen + 20 * local);
}

/* The first 128 of 150 tokens are four blocks that all sequences have in common. */
static void shared_tokens_are_read_and_kept_once(void **state)
{
    (void)state;
    struct bench b;
    char name[128];
    make(&b);
    b.o.n_shared = 150;
    struct bench_cell d = {
        .kind = BENCH_DECODE, .batch = 4, .depth = 150, .n_steps = 2, .n_repeat = 1};
    assert_int_equal(bench_seq_blocks(&d), 5);
    assert_int_equal(bench_shared_blocks(&b, &d), 4);
    assert_int_equal(bench_cell_blocks(&b, &d), 4 + 4 * 1);
    bench_cell_name(&b, &d, name, sizeof(name));
    assert_string_equal(name, "decode x4 at depth 150, 128 shared");
    bench_cell_work(&b, &d);
    /* Of 151 and 152 positions 23 and 24 are its own; of the last 100 (from 51, 52 on) 77 and 76
     * are shared. */
    double kv = 20 * (2 * 128 + 4 * (23 + 24)) + 10 * ((77 + 4 * 23) + (76 + 4 * 24));
    near(d.n_bytes, 2 * 1.1e6 + kv);
    near(d.n_macs, 8 * 2.2e6 + 4 * (40 * (151 + 152) + 20 * 200));
    b.o.n_shared = 4096; /* not more than there is */
    assert_int_equal(bench_shared_blocks(&b, &d), 4);
    d.depth = 0;
    assert_int_equal(bench_shared_blocks(&b, &d), 0);
    bench_cell_name(&b, &d, name, sizeof(name));
    assert_string_equal(name, "decode x4");
}

static void plan_leaves_out_what_does_not_fit(void **state)
{
    (void)state;
    struct bench b;
    struct err err = {0};
    make(&b);
    /* 38 blocks of 960 bytes: one sequence of 1000 + 128 fits, four of 1010 do not; 1300 tokens
     * pass the model's context. */
    assert_int_equal(bench_plan(&b, 38 * 960, &err), 0);
    assert_int_equal(b.n_cell, 8);
    int n_left_out = 0;
    for (int i = 0; i < b.n_cell; i++) {
        const struct bench_cell *c = &b.cell[i];
        if (c->skipped[0] == '\0')
            continue;
        n_left_out++;
        assert_int_equal(c->depth, 1000);
        if (c->kind == BENCH_PREFILL) {
            assert_int_equal(c->n_prompt, 300);
            assert_non_null(strstr(c->skipped, "context"));
        } else {
            assert_int_equal(c->batch, 4);
            assert_non_null(strstr(c->skipped, "memory"));
        }
    }
    assert_int_equal(n_left_out, 2);
    drop(&b);
    make(&b);
    assert_int_equal(bench_plan(&b, 100, &err), ERR_LIMIT);
    drop(&b);
}

static void measured(struct bench *b)
{
    struct err err = {0};
    make(b);
    assert_int_equal(bench_plan(b, 38 * 960, &err), 0);
    for (int i = 0; i < b->n_cell; i++) {
        struct bench_cell *c = &b->cell[i];
        c->sample = mem_zero(3, sizeof(*c->sample));
        for (int j = 0; j < 3 && c->skipped[0] == '\0'; j++)
            c->sample[c->n_sample++] = (struct bench_sample){0.5 + 0.1 * j, 1e9, 1e12};
    }
}

static void fractions_are_of_the_limits(void **state)
{
    (void)state;
    struct bench b;
    measured(&b);
    const struct bench_cell *c = &b.cell[2]; /* decode x1 */
    assert_int_equal(c->kind, BENCH_DECODE);
    near(bench_spread(c, FIGURE_TOKENS).median, 10 / 0.6);
    near(bench_spread(c, FIGURE_TOKENS).max, 10 / 0.5);
    near(bench_spread(c, FIGURE_OF_READ).median, c->n_bytes / 0.6 / 1e9);
    near(bench_spread(c, FIGURE_OF_MACS).median, c->n_macs / 0.6 / 1e12);
    /* reading bounds it: 1.1 MB a token */
    double limit = bench_spread(c, FIGURE_LIMIT_TOKENS).median;
    assert_true(limit < 1e9 / 1.1e6 && limit > 0.99 * 1e9 / 1.1e6);
    near(bench_limit(&b, 0, FIGURE_LIMIT_READ).median, 1e9);
    drop(&b);
}

static void json_has_every_measurement(void **state)
{
    (void)state;
    struct bench b;
    struct err err = {0};
    struct buf out;
    measured(&b);
    buf_init(&out, 1 << 20);
    assert_int_equal(bench_write_json(&b, "a \"name\"\xff", true, &out), 0);
    json_t *o = json_parse(buf_str(&out), JSON_DEPTH_MAX, &err);
    assert_non_null(o);
    assert_int_equal(json_array_size(json_object_get(o, "results")), 6);
    assert_int_equal(json_array_size(json_object_get(o, "skipped")), 2);
    assert_true(json_is_true(json_object_get(o, "interrupted")));
    json_t *first = json_array_get(json_object_get(o, "results"), 0);
    assert_int_equal(json_array_size(json_object_get(first, "seconds")), 3);
    assert_true(json_is_real(json_object_get(json_object_get(first, "tokens_per_s"), "median")));
    json_decref(o);
    buf_release(&out);
    drop(&b);
}

/* Every tag closed in order, no stray markup in text: enough of XML for what we write. */
static void check_xml(struct str s)
{
    char open[16][16];
    int depth = 0, n_root = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '&')
            assert_true(str_starts(str_from(s, i), STR("&lt;")) ||
                        str_starts(str_from(s, i), STR("&gt;")) ||
                        str_starts(str_from(s, i), STR("&amp;")) ||
                        str_starts(str_from(s, i), STR("&quot;")));
        assert_true((unsigned char)s.ptr[i] < 0x80);
        if (s.ptr[i] != '<')
            continue;
        struct str rest = str_from(s, i + 1);
        ptrdiff_t end = str_chr(rest, '>');
        assert_true(end > 0);
        struct str tag = str_sub(rest, 0, (size_t)end);
        assert_int_equal(str_chr(tag, '<'), -1);
        int n_quote = 0;
        for (size_t k = 0; k < tag.len; k++)
            n_quote += tag.ptr[k] == '"';
        assert_int_equal(n_quote % 2, 0);
        struct str name = tag;
        if (tag.ptr[0] == '/') {
            assert_true(depth > 0);
            assert_true(str_eq_z(str_from(tag, 1), open[--depth]));
        } else if (tag.ptr[tag.len - 1] != '/') {
            assert_true(depth < 16);
            n_root += depth == 0;
            ptrdiff_t space = str_chr(tag, ' ');
            name = space > 0 ? str_sub(tag, 0, (size_t)space) : tag;
            snprintf(open[depth++], 16, "%.*s", STR_ARG(name));
        }
    }
    assert_int_equal(depth, 0);
    assert_int_equal(n_root, 1);
}

static void plot_is_well_formed(void **state)
{
    (void)state;
    struct bench b;
    struct buf out;
    measured(&b);
    buf_init(&out, 1 << 20);
    snprintf(b.info.name, sizeof(b.info.name), "<script>&\"\xc3\xa9\n");
    bench_write_svg(&b, "m", &out);
    assert_false(out.overflow);
    check_xml(buf_str(&out));
    assert_true(str_find(buf_str(&out), STR("<script")) < 0);
    assert_true(str_find(buf_str(&out), STR("nan")) < 0);
    assert_true(str_find(buf_str(&out), STR("inf")) < 0);
    assert_true(str_find(buf_str(&out), STR("Decode at a depth")) > 0);
    assert_true(str_find(buf_str(&out), STR("prefers-color-scheme:dark")) > 0);
    drop(&b);
    buf_release(&out);
}

static void reports_of_nothing(void **state)
{
    (void)state;
    struct bench b;
    struct buf out;
    struct err err = {0};
    make(&b); /* Ctrl-C came before the first sample */
    b.n_round = 0;
    assert_int_equal(bench_plan(&b, 1 << 20, &err), 0);
    buf_init(&out, 1 << 20);
    bench_write_svg(&b, "m", &out);
    check_xml(buf_str(&out));
    buf_clear(&out);
    assert_int_equal(bench_write_json(&b, "m", true, &out), 0);
    json_t *o = json_parse(buf_str(&out), JSON_DEPTH_MAX, &err);
    assert_int_equal(json_array_size(json_object_get(o, "results")), 0);
    json_decref(o);
    buf_release(&out);
    drop(&b);
}

static void limits_are_measured(void **state)
{
    (void)state;
    struct err err = {0};
    struct pool *p;
    struct limits_buffer b;
    assert_int_equal(pool_new(2, &p, &err), 0);
    assert_int_equal(limits_buffer_new(p, 3 << 20, &b, &err), 0);
    assert_int_equal(b.bytes, 3 << 20);
    assert_true(limits_read(p, &b, 1000) > 0);
    for (int level = CPU_GENERIC; level <= (int)cpu_level_detect(); level++) {
        bool has = level == CPU_GENERIC || level == (int)cpu_level_detect();
        assert_true(!has || limits_multiply(p, (enum cpu_level)level, 1000000) > 0);
        assert_true(!has || limits_multiply(NULL, (enum cpu_level)level, 1000000) > 0);
        assert_non_null(limits_instruction((enum cpu_level)level));
    }
    limits_buffer_free(&b);
    pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spread_is_of_sorted_samples),
        cmocka_unit_test(lists_of_numbers),
        cmocka_unit_test(too_many_numbers_are_refused),
        cmocka_unit_test(work_is_that_of_the_shape),
        cmocka_unit_test(shared_tokens_are_read_and_kept_once),
        cmocka_unit_test(plan_leaves_out_what_does_not_fit),
        cmocka_unit_test(fractions_are_of_the_limits),
        cmocka_unit_test(json_has_every_measurement),
        cmocka_unit_test(plot_is_well_formed),
        cmocka_unit_test(reports_of_nothing),
        cmocka_unit_test(limits_are_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
