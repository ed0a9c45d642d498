/*
 * ipc: frames and messages survive the wire; hostile bytes are refused without a crash.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "ipc/frame.h"
#include "ipc/message.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Sends a message through frame_append and frame_reader, in pieces of n_piece bytes. */
static json_t *wire(json_t *message, size_t n_piece)
{
    assert_non_null(message);
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_true(frame_append(message, &out));
    json_decref(message);
    struct frame_reader r;
    frame_reader_init(&r);
    json_t *got = NULL;
    struct err err;
    for (size_t at = 0; at < out.len; at += n_piece) {
        assert_null(got);
        size_t n = out.len - at < n_piece ? out.len - at : n_piece;
        assert_true(frame_reader_feed(&r, out.ptr + at, n));
        assert_in_range(frame_reader_next(&r, &got, &err), 0, 1);
    }
    assert_non_null(got);
    json_t *more = NULL;
    assert_int_equal(frame_reader_next(&r, &more, &err), 0);
    frame_reader_release(&r);
    buf_release(&out);
    return got;
}

static void test_frame_pieces(void **state)
{
    (void)state;
    for (size_t n = 1; n < 40; n++) {
        json_t *got = wire(json_pack("{s:s,s:[i,i]}", "t", "x", "a", 1, 2), n);
        assert_true(message_is(got, "x"));
        json_decref(got);
    }
}

static void test_frame_many_in_one_feed(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 20);
    for (int i = 0; i < 100; i++) {
        json_t *m = json_pack("{s:s,s:i}", "t", "cancel", "id", i);
        assert_true(frame_append(m, &out));
        json_decref(m);
    }
    struct frame_reader r;
    frame_reader_init(&r);
    assert_true(frame_reader_feed(&r, out.ptr, out.len));
    struct err err;
    for (uint64_t i = 0; i < 100; i++) {
        json_t *m;
        uint64_t id;
        assert_int_equal(frame_reader_next(&r, &m, &err), 1);
        assert_int_equal(message_id(m, &id, &err), 0);
        assert_int_equal(id, i);
        json_decref(m);
    }
    frame_reader_release(&r);
    buf_release(&out);
}

static int feed_raw(const char *text, size_t n, uint32_t claimed)
{
    struct frame_reader r;
    frame_reader_init(&r);
    uint8_t head[4] = {(uint8_t)claimed, (uint8_t)(claimed >> 8), (uint8_t)(claimed >> 16),
                       (uint8_t)(claimed >> 24)};
    struct err err;
    json_t *m = NULL;
    assert_true(frame_reader_feed(&r, head, 4));
    assert_true(frame_reader_feed(&r, text, n));
    int rc = frame_reader_next(&r, &m, &err);
    if (rc == 1)
        json_decref(m);
    frame_reader_release(&r);
    return rc;
}

static void test_frame_hostile(void **state)
{
    (void)state;
    assert_int_equal(feed_raw("{\"t\":\"a\"}", 9, 9), 1);
    assert_int_equal(feed_raw("{\"t\":\"a\"}", 9, 10), 0);
    assert_true(feed_raw("{\"t\":\"a\"}", 9, 8) < 0);
    assert_true(feed_raw("", 0, 0) < 0);
    assert_true(feed_raw("", 0, FRAME_BYTES_MAX + 1) < 0);
    assert_true(feed_raw("", 0, UINT32_MAX) < 0);
    assert_int_equal(feed_raw("", 0, FRAME_BYTES_MAX), 0);
    assert_true(feed_raw("[1]", 3, 3) < 0);
    assert_true(feed_raw("{\"t\":1}", 7, 7) < 0);
    assert_true(feed_raw("{\"t\":\"\xff\"}", 9, 9) < 0);
    assert_true(feed_raw("null", 4, 4) < 0);
    /* deeper than any client's JSON may be */
    char deep[4000];
    memset(deep, '[', sizeof(deep));
    assert_true(feed_raw(deep, sizeof(deep), sizeof(deep)) < 0);
    struct frame_reader r;
    frame_reader_init(&r);
    char *big = calloc(1, FRAME_FEED_MAX + 1);
    assert_false(frame_reader_feed(&r, big, FRAME_FEED_MAX + 1));
    free(big);
    frame_reader_release(&r);
}

static void test_frame_random_bytes(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        uint8_t bytes[64];
        for (size_t i = 0; i < sizeof(bytes); i++) {
            uint32_t w[4];
            rng_philox(seed, 1, i, w);
            bytes[i] = (uint8_t)w[0];
        }
        bytes[1] = bytes[2] = bytes[3] = 0;
        struct frame_reader r;
        frame_reader_init(&r);
        struct err err;
        json_t *m;
        assert_true(frame_reader_feed(&r, bytes, sizeof(bytes)));
        while (frame_reader_next(&r, &m, &err) == 1)
            json_decref(m);
        frame_reader_release(&r);
    }
}

static void test_frame_append_refuses(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 8);
    json_t *m = json_pack("{s:s}", "t", "longer than eight bytes");
    assert_false(frame_append(m, &out));
    assert_int_equal(out.len, 0);
    assert_false(frame_append_text(STR("{\"t\":\"text\"}"), &out));
    assert_int_equal(out.len, 0);
    json_decref(m);
    buf_release(&out);
}

static void fill_request(struct gen_request *r)
{
    gen_request_init(r);
    r->id = 7;
    r->kind = GEN_TEXT;
    r->text = malloc(4);
    memcpy(r->text, "a\0b", 4);
    r->text_len = 3;
    r->max_tokens = 12;
    r->n = 3;
    r->stop[r->n_stop++] = strdup("\n\n");
    r->stop[r->n_stop++] = strdup("</s>");
    r->logprobs = r->echo = r->ignore_eos = true;
    r->top_logprobs = 5;
    struct gen_sampling *s = &r->sampling;
    s->temperature = 0.1;
    s->top_p = 0.9;
    s->top_k = 40;
    s->min_p = 0.05;
    s->typical_p = 0.5;
    s->repeat_penalty = 1.1;
    s->repeat_last_n = -1;
    s->presence_penalty = -2;
    s->frequency_penalty = 2;
    s->penalty_last_n = 7;
    s->dry_multiplier = 0.8;
    s->mirostat = 2;
    s->mirostat_tau = 0.1;
    s->beam_width = 4;
    s->post_probs = true;
    s->seed = UINT64_MAX - 3;
    s->n_bias = 2;
    strcpy(s->samplers, "tkx");
    s->banned = json_pack("[s,s]", "a b", "\xc3\xa9");
    s->bias_text = json_pack("[[s,f]]", " yes", -3.5);
    s->dry_breakers = json_array();
    r->sampling.bias = calloc(2, sizeof(*r->sampling.bias));
    r->sampling.bias[0] = (struct gen_bias){5, -100};
    r->sampling.bias[1] = (struct gen_bias){6, 0.1f};
}

static void test_request_round_trip(void **state)
{
    (void)state;
    struct gen_request a, b;
    fill_request(&a);
    struct err err;
    json_t *m = wire(gen_request_to_json(&a), 7);
    assert_int_equal(gen_request_from_json(m, &b, &err), 0);
    json_decref(m);
    assert_int_equal(b.id, 7);
    assert_int_equal(b.kind, GEN_TEXT);
    assert_int_equal(b.text_len, 3);
    assert_memory_equal(b.text, "a\0b", 3);
    assert_int_equal(b.n, 3);
    assert_int_equal(b.n_stop, 2);
    assert_string_equal(b.stop[0], "\n\n");
    assert_true(b.logprobs && b.echo && b.ignore_eos);
    assert_int_equal(b.top_logprobs, 5);
    assert_true(b.sampling.temperature == a.sampling.temperature);
    assert_true(b.sampling.typical_p == a.sampling.typical_p);
    assert_int_equal(b.sampling.repeat_last_n, -1);
    assert_true(b.sampling.seed == UINT64_MAX - 3);
    assert_int_equal(b.sampling.n_bias, 2);
    assert_true(b.sampling.bias[1].bias == 0.1f);
    assert_int_equal(b.sampling.penalty_last_n, 7);
    assert_true(b.sampling.mirostat_tau == 0.1 && b.sampling.mirostat == 2);
    assert_true(b.sampling.dry_multiplier == 0.8 && b.sampling.post_probs);
    assert_int_equal(b.sampling.beam_width, 4);
    assert_string_equal(b.sampling.samplers, "tkx");
    assert_true(json_equal(b.sampling.banned, a.sampling.banned));
    assert_true(json_equal(b.sampling.bias_text, a.sampling.bias_text));
    assert_int_equal(json_array_size(b.sampling.dry_breakers), 0);
    gen_request_release(&b);
    free(a.text);
    a.text = NULL;
    a.kind = GEN_TOKENS;
    a.tokens = calloc(3, sizeof(int32_t));
    a.tokens[2] = INT32_MAX;
    a.n_tokens = 3;
    m = wire(gen_request_to_json(&a), 1000);
    assert_int_equal(gen_request_from_json(m, &b, &err), 0);
    assert_int_equal(b.n_tokens, 3);
    assert_int_equal(b.tokens[2], INT32_MAX);
    json_decref(m);
    gen_request_release(&b);
    gen_request_release(&a);
}

static void test_resume_round_trip(void **state)
{
    (void)state;
    struct gen_request a, b;
    struct err err;
    fill_request(&a);
    a.priority = GEN_BATCH;
    a.tenant = INT32_MAX; /* a key may have any number that its file takes */
    a.salt = UINT64_MAX;
    a.resume = (struct gen_resume){.n_ctx = 4096, .n_prompt = 7, .prompt_hash = UINT64_MAX - 1};
    a.resume.prior = calloc(3, sizeof(*a.resume.prior));
    a.resume.prior[0].tokens = calloc(2, sizeof(int32_t));
    a.resume.prior[0].tokens[1] = INT32_MAX;
    a.resume.prior[0].n_tokens = 2;
    a.resume.prior[0].text_len = 11;
    a.resume.prior[1].ended = true;
    a.resume.prior[1].n_completion = 9;
    a.resume.prior[1].n_foretold = 4;
    a.prediction = strdup("what \xc3\xa9 comes");
    a.prediction_len = strlen(a.prediction);
    a.truncate = true;
    a.n_ctx_min = 4096;
    json_t *m = wire(gen_request_to_json(&a), 1000);
    assert_int_equal(gen_request_from_json(m, &b, &err), 0);
    json_decref(m);
    assert_int_equal(b.priority, GEN_BATCH);
    assert_int_equal(b.tenant, INT32_MAX);
    assert_true(b.salt == UINT64_MAX);
    assert_int_equal(b.resume.n_ctx, 4096);
    assert_true(b.resume.prompt_hash == UINT64_MAX - 1);
    assert_int_equal(b.resume.prior[0].n_tokens, 2);
    assert_int_equal(b.resume.prior[0].tokens[1], INT32_MAX);
    assert_int_equal(b.resume.prior[0].text_len, 11);
    assert_true(b.resume.prior[1].ended && !b.resume.prior[0].ended);
    assert_int_equal(b.resume.prior[1].n_completion, 9);
    assert_int_equal(b.resume.prior[1].n_foretold, 4);
    assert_string_equal(b.prediction, a.prediction);
    assert_int_equal(b.prediction_len, a.prediction_len);
    assert_true(b.truncate && b.n_ctx_min == 4096);
    assert_int_equal(b.resume.prior[2].n_tokens, 0);
    gen_request_release(&b);
    gen_request_release(&a);
    gen_request_init(&a);
    assert_null(json_object_get(m = gen_request_to_json(&a), "resume"));
    json_decref(m);
}

static void test_priority_words(void **state)
{
    (void)state;
    int64_t value = 0;
    for (int64_t i = 0; i < GEN_N_PRIORITIES; i++) {
        assert_true(gen_priority_of_word(str_z(gen_priority_word(i)), &value));
        assert_int_equal(value, i);
    }
    assert_true(gen_priority_of_word(STR("BackGround"), &value));
    assert_int_equal(value, GEN_BACKGROUND);
    assert_false(gen_priority_of_word(STR("urgent"), &value));
    assert_false(gen_priority_of_word(STR(""), &value));
    assert_null(gen_priority_word(GEN_N_PRIORITIES));
    assert_null(gen_priority_word(-1));
}

/* Each case: a frame that must be refused, and the parameter that the error must name. */
static void test_request_refused(void **state)
{
    (void)state;
    static const struct {
        const char *frame, *param;
    } cases[] = {
        {"{'t':'generate','kind':'text','text':'a'}", "id"},
        {"{'t':'generate','id':-1,'kind':'text','text':'a'}", "id"},
        {"{'t':'generate','id':1,'kind':'song','text':'a'}", "kind"},
        {"{'t':'generate','id':1,'kind':'chat','chat':[]}", "chat"},
        {"{'t':'generate','id':1,'kind':'tokens','tokens':[1,-1]}", "tokens"},
        {"{'t':'generate','id':1,'kind':'tokens','tokens':[1,2147483648]}", "tokens"},
        {"{'t':'generate','id':1,'kind':'tokens','tokens':['a']}", "tokens"},
        {"{'t':'generate','id':1,'kind':'text','text':3}", "text"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','wat':1}", "wat"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','n':0}", "n"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','n':65}", "n"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','max_tokens':-2}", "max_tokens"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','stop':['']}", "stop"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','stop':'x'}", "stop"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','top_logprobs':21}", "top_logprobs"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':3}", ""},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'top_p':0}}", "top_p"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'top_p':1.1}}", "top_p"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'min_p':-0.1}}", "min_p"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'temperature':-1}}",
         "temperature"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'repeat_penalty':0}}",
         "repeat_penalty"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'bias':[[1]]}}",
         "logit_bias"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'bias':[[-1,1]]}}",
         "logit_bias"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'bias':7}}", "logit_bias"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'bias_text':[['',1]]}}",
         "logit_bias"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'samplers':'kk'}}",
         "samplers"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'samplers':'q'}}",
         "samplers"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'banned':['']}}", "banned"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'beam_width':11}}",
         "beam_width"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','sampling':{'mirostat':3}}", "mirostat"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','priority':4}", "priority"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','priority':'batch'}", "priority"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','tenant':2147483648}", "tenant"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','tenant':-1}", "tenant"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','resume':3}", ""},
        {"{'t':'generate','id':1,'kind':'text','text':'a','resume':{'n_ctx':1,'prior':[{}]}}",
         "resume"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','resume':{'n_ctx':0}}", "n_ctx"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','resume':{'n_ctx':1,'n_prompt':1}}",
         "prior"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','n':2,"
         "'resume':{'n_ctx':1,'n_prompt':1,'prior':[{'tokens':[]}]}}",
         "prior"},
        {"{'t':'generate','id':1,'kind':'text','text':'a',"
         "'resume':{'n_ctx':1,'n_prompt':1,'prior':[{'tokens':[1,-1]}]}}",
         "tokens"},
        {"{'t':'generate','id':1,'kind':'text','text':'a','n':2,'resume':{'n_ctx':1,'n_prompt':1,"
         "'prior':[{'tokens':[1]},{'tokens':[],'text_len':-1}]}}",
         "text_len"},
        {"{'t':'generate','id':1,'kind':'text','text':'a',"
         "'resume':{'n_ctx':1,'n_prompt':1,'prior':[{'wat':1}]}}",
         "wat"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[512];
        size_t n = strlen(cases[i].frame);
        for (size_t k = 0; k <= n; k++)
            text[k] = cases[i].frame[k] == '\'' ? '"' : cases[i].frame[k];
        struct err err = {0};
        json_t *m = json_parse((struct str){text, n}, FRAME_DEPTH_MAX, &err);
        assert_non_null(m);
        struct gen_request r;
        assert_int_equal(gen_request_from_json(m, &r, &err), ERR_INVALID);
        assert_string_equal(err.param, cases[i].param);
        json_decref(m);
    }
}

static void test_delta_round_trip(void **state)
{
    (void)state;
    char half[] = {(char)0xe2, (char)0x82, 0, 'a'};
    struct gen_top top = {9, -0.25f, half, sizeof(half)};
    struct gen_token tokens[2] = {
        {.id = 4, .logprob = NAN, .bytes = half, .n_bytes = 1, .top = &top, .n_top = 1},
        {.id = 5},
    };
    char text[] = "h\xc3\xa9";
    struct gen_delta a = {.id = 3,
                          .index = 1,
                          .channel = GEN_TOOL_CALL,
                          .call = 2,
                          .name = text,
                          .text = text,
                          .text_len = 3,
                          .tokens = tokens,
                          .n_tokens = 2},
                     b;
    json_t *m = wire(gen_delta_to_json(&a), 64);
    struct err err;
    assert_int_equal(gen_delta_from_json(m, &b, &err), 0);
    json_decref(m);
    assert_int_equal(b.id, 3);
    assert_int_equal(b.index, 1);
    assert_int_equal(b.text_len, 3);
    assert_memory_equal(b.text, text, 3);
    assert_int_equal(b.n_tokens, 2);
    assert_true(isnan(b.tokens[0].logprob));
    assert_int_equal(b.tokens[0].n_bytes, 1);
    assert_int_equal(b.tokens[0].n_top, 1);
    assert_int_equal(b.tokens[0].top[0].n_bytes, 4);
    assert_memory_equal(b.tokens[0].top[0].bytes, half, 4);
    assert_true(b.tokens[0].top[0].logprob == -0.25f);
    assert_int_equal(b.tokens[1].id, 5);
    assert_null(b.tokens[1].bytes);
    gen_delta_release(&b);
}

/* mirostat's state travels to the last bit, with log probabilities and without. */
static void test_delta_with_state(void **state)
{
    (void)state;
    static const double mu[] = {9.999999999999998, -1e-7, 0, 3.25};
    for (size_t i = 0; i < 2 * ARRAY_LEN(mu); i++) {
        struct gen_token token = {.id = 4, .logprob = -1, .has_mu = true, .mu = mu[i / 2]};
        char bytes[] = "x";
        token.bytes = i % 2 ? bytes : NULL;
        token.n_bytes = i % 2;
        struct gen_delta a = {.id = 1, .tokens = &token, .n_tokens = 1}, b;
        struct err err;
        json_t *m = wire(gen_delta_to_json(&a), 3);
        assert_int_equal(gen_delta_from_json(m, &b, &err), 0);
        json_decref(m);
        assert_true(b.tokens[0].has_mu && b.tokens[0].mu == mu[i / 2]);
        assert_int_equal(b.tokens[0].bytes != NULL, i % 2);
        gen_delta_release(&b);
    }
}

static void test_delta_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{\"t\":\"delta\",\"tokens\":[3]}",
        "{\"t\":\"delta\",\"tokens\":[[]]}",
        "{\"t\":\"delta\",\"tokens\":[[1,null]]}",
        "{\"t\":\"delta\",\"tokens\":[[1,2,3]]}",
        "{\"t\":\"delta\",\"tokens\":[[1,null,\"\\u0100\",[]]]}",
        "{\"t\":\"delta\",\"tokens\":[[1,null,\"\",[], []]]}",
        "{\"t\":\"delta\",\"tokens\":[[1,null,\"\",[[\"a\",0,\"\"]]]]}",
        "{\"t\":\"delta\",\"text\":5}",
        "{\"t\":\"delta\",\"index\":-1}",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        struct gen_delta d;
        json_t *m = json_parse(str_z(cases[i]), FRAME_DEPTH_MAX, &err);
        assert_non_null(m);
        assert_true(gen_delta_from_json(m, &d, &err) < 0);
        json_decref(m);
    }
}

static void test_events_round_trip(void **state)
{
    (void)state;
    struct err err;
    struct gen_end end = {4, 2, GEN_TOOL_CALLS, strdup("x"), 17, 5, 8}, end2;
    json_t *m = wire(gen_end_to_json(&end), 64);
    assert_int_equal(gen_end_from_json(m, &end2, &err), 0);
    json_decref(m);
    assert_int_equal(end2.reason, GEN_TOOL_CALLS);
    assert_string_equal(end2.stop, "x");
    assert_int_equal(end2.n_completion, 17);
    assert_int_equal(end2.n_foretold, 8);
    gen_end_release(&end);
    gen_end_release(&end2);

    struct gen_accepted accepted = {8, 9, UINT64_MAX}, accepted2;
    m = wire(gen_accepted_to_json(&accepted), 64);
    assert_int_equal(gen_accepted_from_json(m, &accepted2, &err), 0);
    json_decref(m);
    assert_int_equal(accepted2.n_prompt, 9);
    assert_true(accepted2.prompt_hash == UINT64_MAX);

    struct gen_done done = {1, 2, 3, 4, 9, 5, 6, 0.5, 1.5, 2.5}, done2;
    m = wire(gen_done_to_json(&done), 64);
    assert_int_equal(gen_done_from_json(m, &done2, &err), 0);
    json_decref(m);
    assert_int_equal(done2.n_completion, 4);
    assert_int_equal(done2.n_foretold, 5);
    assert_int_equal(done2.n_not_met, 6);
    assert_true(done2.decode_ms == 2.5);

    struct gen_error e = {.id = 5, .n_prompt = 100, .n_ctx = 50}, e2;
    err_set_param(&e.err, ERR_CONTEXT_LENGTH, "messages", "bad \xff byte");
    m = wire(gen_error_to_json(&e), 64);
    assert_int_equal(gen_error_from_json(m, &e2, &err), 0);
    json_decref(m);
    assert_int_equal(e2.err.code, ERR_CONTEXT_LENGTH);
    assert_string_equal(e2.err.param, "messages");
    assert_string_equal(e2.err.text, "bad ? byte");
    assert_int_equal(e2.n_ctx, 50);

    struct worker_ready r = {.arch = "llama", .n_params = 134000000, .sandboxed = true}, r2;
    m = wire(worker_ready_to_json(&r), 64);
    assert_int_equal(worker_ready_from_json(m, &r2, &err), 0);
    assert_string_equal(r2.arch, "llama");
    assert_true(r2.sandboxed);
    assert_int_equal(r2.n_params, 134000000);
    json_object_set_new(m, "n_ctx", json_integer((json_int_t)INT32_MAX + 1)); /* held as int */
    assert_true(worker_ready_from_json(m, &r2, &err) < 0);
    json_object_set_new(m, "n_ctx", json_integer(512));
    json_object_set_new(m, "arch", json_string("a name that is longer than the field takes"));
    assert_true(worker_ready_from_json(m, &r2, &err) < 0);
    json_decref(m);

    struct worker_stats s = {.steps = 3, .decode_s = 0.25}, s2;
    m = wire(worker_stats_to_json(&s), 64);
    assert_int_equal(worker_stats_from_json(m, &s2, &err), 0);
    assert_int_equal(s2.steps, 3);
    json_object_set_new(m, "new", json_integer(1));
    assert_true(worker_stats_from_json(m, &s2, &err) < 0);
    json_decref(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_pieces),         cmocka_unit_test(test_frame_many_in_one_feed),
        cmocka_unit_test(test_frame_hostile),        cmocka_unit_test(test_frame_random_bytes),
        cmocka_unit_test(test_frame_append_refuses), cmocka_unit_test(test_request_round_trip),
        cmocka_unit_test(test_request_refused),      cmocka_unit_test(test_delta_round_trip),
        cmocka_unit_test(test_delta_with_state),     cmocka_unit_test(test_delta_refused),
        cmocka_unit_test(test_events_round_trip),    cmocka_unit_test(test_resume_round_trip),
        cmocka_unit_test(test_priority_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
