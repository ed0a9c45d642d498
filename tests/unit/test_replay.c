/*
 * replay: the frame that goes on is one that the worker's reader takes, and says what came; what a
 * worker must not say is refused.
 */
#include "base/mem.h"
#include "gateway/replay.h"
#include "ipc/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void make(struct replay *r, int64_t n)
{
    struct gen_request g;
    gen_request_init(&g);
    g.id = 12;
    g.kind = GEN_TEXT;
    g.text = str_dup(STR("a prompt with \" and }"));
    g.text_len = strlen(g.text);
    g.n = n;
    json_t *frame = gen_request_to_json(&g);
    replay_init(r, frame, n);
    assert_non_null(r->frame);
    json_decref(frame);
    gen_request_release(&g);
}

/* What a worker would read. */
static struct gen_request sent(const struct replay *r)
{
    struct gen_request g;
    struct err err = {0};
    struct buf text;
    buf_init(&text, FRAME_BYTES_MAX);
    assert_true(replay_write(r, &text));
    json_t *frame = json_parse(buf_str(&text), FRAME_DEPTH_MAX, &err);
    assert_non_null(frame);
    assert_int_equal(gen_request_from_json(frame, &g, &err), 0);
    assert_string_equal(g.text, "a prompt with \" and }");
    json_decref(frame);
    buf_release(&text);
    return g;
}

static int delta(struct replay *r, int64_t index, const char *text, int32_t first, size_t n)
{
    struct gen_token token[8] = {0};
    for (size_t i = 0; i < n; i++)
        token[i].id = first + (int32_t)i;
    const struct gen_delta d = {.id = 12,
                                .index = index,
                                .text = (char *)text,
                                .text_len = strlen(text),
                                .tokens = token,
                                .n_tokens = n};
    return replay_delta(r, &d, NULL);
}

static void test_it_says_what_came(void **state)
{
    (void)state;
    struct replay r;
    make(&r, 3);
    struct gen_request g = sent(&r);
    assert_null(g.resume.prior); /* not accepted: as new */
    gen_request_release(&g);
    replay_accepted(&r, &(struct gen_accepted){12, 5, UINT64_MAX}, 640);
    replay_accepted(&r, &(struct gen_accepted){12, 6, 1}, 320); /* a later worker's word */
    assert_int_equal(delta(&r, 0, "hello", 100, 2), 0);
    assert_int_equal(delta(&r, 2, "x", 7, 0), 0);
    for (int i = 0; i < 50; i++)
        assert_int_equal(delta(&r, 0, "ab", 200, 1), 0);
    assert_int_equal(delta(&r, 1, "gone", 1, 4), 0);
    assert_int_equal(
        replay_end(&r, &(struct gen_end){.id = 12, .index = 1, .n_completion = 33}, NULL), 0);
    g = sent(&r);
    assert_int_equal(g.resume.n_ctx, 640);
    assert_int_equal(g.resume.n_prompt, 5);
    assert_true(g.resume.prompt_hash == UINT64_MAX);
    assert_int_equal(g.resume.prior[0].n_tokens, 52);
    assert_int_equal(g.resume.prior[0].tokens[1], 101);
    assert_int_equal(g.resume.prior[0].text_len, 105);
    assert_true(g.resume.prior[1].ended);
    assert_int_equal(g.resume.prior[1].n_completion, 33);
    assert_int_equal(g.resume.prior[1].n_tokens, 0);
    assert_int_equal(g.resume.prior[2].text_len, 1);
    assert_false(g.resume.prior[2].ended);
    gen_request_release(&g);
    replay_release(&r);
}

static void test_what_must_not_be_said(void **state)
{
    (void)state;
    struct replay r;
    make(&r, 2);
    assert_int_equal(delta(&r, 0, "early", 1, 1), ERR_INVALID);
    replay_accepted(&r, &(struct gen_accepted){12, 5, 1}, 64);
    assert_int_equal(delta(&r, 2, "", 1, 1), ERR_INVALID);
    assert_int_equal(delta(&r, -1, "", 1, 1), ERR_INVALID);
    const struct gen_end end = {.id = 12, .index = 1};
    assert_int_equal(replay_end(&r, &end, NULL), 0);
    assert_int_equal(replay_end(&r, &end, NULL), ERR_INVALID); /* twice */
    assert_int_equal(delta(&r, 1, "late", 1, 1), ERR_INVALID);
    replay_release(&r);
}

/* The state after the last token that came, to the last bit; none after a token without. */
static void test_the_state_is_kept(void **state)
{
    (void)state;
    struct replay r;
    make(&r, 1);
    replay_accepted(&r, &(struct gen_accepted){12, 5, 1}, 64);
    struct gen_token token[2] = {{.id = 1, .has_mu = true, .mu = 8},
                                 {.id = 2, .has_mu = true, .mu = 5.0000000000000009}};
    struct gen_delta d = {.id = 12, .tokens = token, .n_tokens = 2};
    assert_int_equal(replay_delta(&r, &d, NULL), 0);
    struct gen_request g = sent(&r);
    assert_true(g.resume.prior[0].has_mu && g.resume.prior[0].mu == 5.0000000000000009);
    gen_request_release(&g);
    d.n_tokens = 0;
    token[1].mu = -3;
    assert_int_equal(replay_delta(&r, &d, NULL), 0);
    g = sent(&r);
    assert_true(g.resume.prior[0].mu == 5.0000000000000009);
    gen_request_release(&g);
    d.n_tokens = 2;
    assert_int_equal(replay_delta(&r, &d, NULL), 0);
    g = sent(&r);
    assert_true(g.resume.prior[0].has_mu && g.resume.prior[0].mu == -3);
    gen_request_release(&g);
    replay_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_says_what_came),
        cmocka_unit_test(test_what_must_not_be_said),
        cmocka_unit_test(test_the_state_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
