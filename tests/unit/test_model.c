/*
 * test_model: what model_describe and model_new refuse, and with which name; the memory plan.
 * What a model computes is tested against a reference in tests/golden.
 */
#include "base/mem.h"
#include "model/arch.h"
#include "model/model.h"
#include "model/rope.h"

#include "gguf_maker.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* One lie about an otherwise sound little model: `name` left out, or with another value. */
struct lie {
    const char *name;
    enum { ABSENT, INTEGER, REAL, TEXT, SHAPE, TYPE } what;
    double number; /* or the rows of a tensor, or its type */
    const char *text;
};

static bool lied(struct maker *m, const char *key, const struct lie *lie)
{
    if (lie == NULL || strcmp(lie->name, key) != 0)
        return false;
    if (lie->what == INTEGER)
        maker_u32(m, key, (uint32_t)lie->number);
    if (lie->what == TEXT)
        maker_str(m, key, lie->text);
    if (lie->what == REAL) {
        float v = (float)lie->number;
        maker_key(m, key, GGUF_F32);
        buf_add(&m->kvs, &v, sizeof(v));
    }
    return true;
}

static void add_keys(struct maker *m, const struct lie *lie)
{
    static const struct {
        const char *key;
        uint32_t value;
    } ints[] = {
        {"llama.block_count", 2},          {"llama.embedding_length", 32},
        {"llama.attention.head_count", 4}, {"llama.attention.head_count_kv", 2},
        {"llama.feed_forward_length", 64}, {"llama.context_length", 128},
    };
    if (!lied(m, "general.architecture", lie))
        maker_str(m, "general.architecture", "llama");
    for (size_t i = 0; i < ARRAY_LEN(ints); i++)
        if (!lied(m, ints[i].key, lie))
            maker_u32(m, ints[i].key, ints[i].value);
    if (!lied(m, "llama.attention.layer_norm_rms_epsilon", lie)) {
        maker_key(m, "llama.attention.layer_norm_rms_epsilon", GGUF_F32);
        buf_add(&m->kvs, &(float){1e-5f}, 4);
    }
    static const char *const others[] = {
        "llama.rope.freq_base",         "llama.rope.dimension_count",   "llama.rope.scaling.type",
        "llama.rope.scaling.factor",    "llama.attention.key_length",   "llama.expert_count",
        "llama.pooling_type",           "llama.attention.causal",       "general.name",
        "llama.attention.value_length", "llama.final_logit_softcapping"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        lied(m, others[i], lie);
}

static void add_tensor(struct maker *m, const char *name, int n_in, int n_out,
                       const struct lie *lie)
{
    enum dtype type = DTYPE_F32;
    if (lie != NULL && strcmp(lie->name, name) == 0) {
        if (lie->what == ABSENT)
            return;
        if (lie->what == SHAPE)
            n_out = (int)lie->number;
        if (lie->what == TYPE)
            type = (enum dtype)(int)lie->number;
    }
    maker_tensor(m, name, type, (uint64_t)n_in, (uint64_t)n_out);
}

static struct gguf *make(const struct lie *lie, uint8_t **ret_bytes)
{
    static const struct {
        const char *name;
        int n_in, n_out;
    } layer[] = {
        {"attn_norm", 32, 1}, {"attn_q", 32, 32},      {"attn_k", 32, 16},
        {"attn_v", 32, 16},   {"attn_output", 32, 32}, {"ffn_norm", 32, 1},
        {"ffn_gate", 32, 64}, {"ffn_up", 32, 64},      {"ffn_down", 64, 32},
    };
    struct maker m;
    maker_init(&m);
    add_keys(&m, lie);
    add_tensor(&m, "token_embd.weight", 32, 40, lie);
    add_tensor(&m, "output_norm.weight", 32, 1, lie);
    for (int i = 0; i < 2; i++)
        for (size_t j = 0; j < ARRAY_LEN(layer); j++) {
            char name[64];
            snprintf(name, sizeof(name), "blk.%d.%s.weight", i, layer[j].name);
            add_tensor(&m, name, layer[j].n_in, layer[j].n_out, lie);
        }
    size_t len;
    *ret_bytes = maker_finish(&m, &len);
    struct gguf *g = NULL;
    struct err err = {0};
    if (gguf_open_memory(*ret_bytes, len, &g, &err) != 0)
        fail_msg("%s: %s", lie == NULL ? "sound" : lie->name, err.text);
    return g;
}

static struct model_opts options(struct pool *pool)
{
    return (struct model_opts){.kernels = kernels_get(CPU_GENERIC),
                               .pool = pool,
                               .n_batch_max = 8,
                               .n_out_max = 8,
                               .n_ctx_max = 64};
}

static void test_sound(void **state)
{
    uint8_t *bytes;
    struct gguf *g = make(NULL, &bytes);
    struct pool *pool;
    struct model *m;
    struct model_info info;
    struct err err = {0};
    uint64_t scratch = 0;
    (void)state;
    assert_int_equal(pool_new(2, &pool, &err), 0);
    struct model_opts o = options(pool);
    assert_int_equal(model_describe(g, KV_F16, &info, &err), 0);
    assert_string_equal(info.arch, "llama");
    assert_string_equal(info.file_type, "F32");
    assert_int_equal(info.head_dim, 8);
    assert_int_equal(info.n_vocab, 40);
    /* Keys of 8 dims; values of 8, padded to 16. */
    assert_int_equal(info.kv_block_bytes, 2 * KV_BLOCK_LEN * 2 * (8 + 16) * 2);
    assert_int_equal(info.n_params, 40 * 32 + 32 + 2 * (64 + 2 * 32 * 32 + 2 * 512 + 3 * 2048));
    assert_int_equal(model_scratch_bytes(g, &o, &scratch, &err), 0);
    assert_true(scratch > 0 && scratch < 1 << 20);
    assert_int_equal(model_new(g, &o, &m, &err), 0);
    assert_int_equal(model_info(m)->n_params, info.n_params);
    model_free(m);
    model_free(NULL);
    pool_free(pool);
    gguf_free(g);
    free(bytes);
}

static void test_bad_options(void **state)
{
    uint8_t *bytes;
    struct gguf *g = make(NULL, &bytes);
    struct pool *pool;
    struct model *m;
    struct err err = {0};
    (void)state;
    assert_int_equal(pool_new(1, &pool, &err), 0);
    static const int bad[][3] = {{0, 1, 64}, {8, 9, 64},  {8, 0, 64},
                                 {8, 8, 0},  {8, 8, 129}, {1 << 20, 8, 64}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct model_opts o = options(pool);
        o.n_batch_max = bad[i][0];
        o.n_out_max = bad[i][1];
        o.n_ctx_max = bad[i][2];
        assert_int_equal(model_new(g, &o, &m, &err), ERR_INVALID);
    }
    pool_free(pool);
    gguf_free(g);
    free(bytes);
}

static void test_lies(void **state)
{
    static const struct {
        struct lie lie;
        int code;
        const char *param; /* NULL: the lie's own name */
    } cases[] = {
        {{"general.architecture", ABSENT, 0, NULL}, ERR_CORRUPT, NULL},
        {{"general.architecture", TEXT, 0, "mamba"}, ERR_UNSUPPORTED, NULL},
        {{"general.architecture", INTEGER, 3, NULL}, ERR_CORRUPT, NULL},
        {{"llama.block_count", ABSENT, 0, NULL}, ERR_CORRUPT, NULL},
        {{"llama.block_count", INTEGER, 0, NULL}, ERR_CORRUPT, NULL},
        {{"llama.block_count", INTEGER, 3, NULL}, ERR_CORRUPT, "blk.2.attn_norm.weight"},
        {{"llama.block_count", INTEGER, 4e9, NULL}, ERR_CORRUPT, NULL},
        {{"llama.block_count", TEXT, 0, "2"}, ERR_CORRUPT, NULL},
        {{"llama.embedding_length", INTEGER, 0, NULL}, ERR_CORRUPT, NULL},
        {{"llama.embedding_length", INTEGER, 64, NULL}, ERR_CORRUPT, "token_embd.weight"},
        {{"llama.attention.head_count", INTEGER, 0, NULL}, ERR_CORRUPT, NULL},
        {{"llama.attention.head_count", INTEGER, 3, NULL},
         ERR_CORRUPT,
         "llama.attention.head_count_kv"},
        {{"llama.attention.head_count_kv", INTEGER, 3, NULL}, ERR_CORRUPT, NULL},
        {{"llama.attention.head_count_kv", INTEGER, 0, NULL}, ERR_CORRUPT, NULL},
        {{"llama.attention.key_length", INTEGER, 7, NULL}, ERR_CORRUPT, NULL},
        {{"llama.attention.key_length", INTEGER, 1 << 20, NULL}, ERR_CORRUPT, NULL},
        {{"llama.attention.value_length", INTEGER, 16, NULL}, ERR_UNSUPPORTED, NULL},
        {{"llama.feed_forward_length", INTEGER, 4e9, NULL}, ERR_CORRUPT, NULL},
        {{"llama.feed_forward_length", INTEGER, 32, NULL}, ERR_CORRUPT, "blk.0.ffn_gate.weight"},
        {{"llama.context_length", INTEGER, 0, NULL}, ERR_CORRUPT, NULL},
        {{"llama.attention.layer_norm_rms_epsilon", ABSENT, 0, NULL}, ERR_CORRUPT, NULL},
        {{"llama.attention.layer_norm_rms_epsilon", REAL, -1e-3, NULL}, ERR_CORRUPT, NULL},
        {{"llama.attention.layer_norm_rms_epsilon", REAL, NAN, NULL}, ERR_CORRUPT, NULL},
        {{"llama.rope.freq_base", REAL, 0.0, NULL}, ERR_CORRUPT, NULL},
        {{"llama.rope.freq_base", REAL, INFINITY, NULL}, ERR_CORRUPT, NULL},
        {{"llama.rope.dimension_count", INTEGER, 10, NULL}, ERR_CORRUPT, NULL},
        {{"llama.rope.dimension_count", INTEGER, 5, NULL}, ERR_CORRUPT, NULL},
        {{"llama.rope.scaling.type", TEXT, 0, "spiral"}, ERR_UNSUPPORTED, NULL},
        {{"llama.rope.scaling.type", TEXT, 0, "longrope"},
         ERR_CORRUPT,
         "rope_factors_short.weight"},
        {{"llama.rope.scaling.factor", REAL, -2.0, NULL}, ERR_CORRUPT, NULL},
        {{"llama.pooling_type", INTEGER, 5, NULL}, ERR_CORRUPT, NULL},
        {{"llama.pooling_type", INTEGER, 4, NULL}, ERR_UNSUPPORTED, NULL},
        {{"llama.pooling_type", TEXT, 0, "mean"}, ERR_CORRUPT, NULL},
        {{"llama.attention.causal", INTEGER, 0, NULL}, ERR_CORRUPT, NULL},
        {{"llama.expert_count", INTEGER, 8, NULL}, ERR_UNSUPPORTED, NULL},
        {{"llama.final_logit_softcapping", REAL, -1.0, NULL}, ERR_CORRUPT, NULL},
        {{"token_embd.weight", ABSENT, 0, NULL}, ERR_CORRUPT, NULL},
        {{"token_embd.weight", TYPE, DTYPE_I32, NULL}, ERR_UNSUPPORTED, NULL},
        {{"output_norm.weight", ABSENT, 0, NULL}, ERR_CORRUPT, NULL},
        {{"output_norm.weight", SHAPE, 2, NULL}, ERR_CORRUPT, NULL},
        {{"blk.1.attn_k.weight", ABSENT, 0, NULL}, ERR_CORRUPT, NULL},
        {{"blk.1.attn_v.weight", SHAPE, 32, NULL}, ERR_CORRUPT, NULL},
        {{"blk.0.attn_norm.weight", TYPE, DTYPE_I16, NULL}, ERR_UNSUPPORTED, NULL},
        {{"blk.0.ffn_down.weight", SHAPE, 31, NULL}, ERR_CORRUPT, NULL},
        {{"blk.0.ffn_gate.weight", ABSENT, 0, NULL}, ERR_CORRUPT, "blk.0.ffn_up.weight"},
    };
    struct pool *pool;
    struct err err = {0};
    (void)state;
    assert_int_equal(pool_new(1, &pool, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct lie *lie = &cases[i].lie;
        uint8_t *bytes;
        struct gguf *g = make(lie, &bytes);
        struct model_opts o = options(pool);
        struct model *m = NULL;
        err_clear(&err);
        int rc = model_new(g, &o, &m, &err);
        const char *param = cases[i].param == NULL ? lie->name : cases[i].param;
        if (rc != cases[i].code || strcmp(err.param, param) != 0 || strstr(err.text, param) == NULL)
            fail_msg("case %zu (%s): code %d, param '%s', text '%s'", i, lie->name, rc, err.param,
                     err.text);
        gguf_free(g);
        free(bytes);
    }
    pool_free(pool);
}

/* More tokens than rows of embeddings would let a prompt index past them. */
static void test_vocabulary_longer_than_embeddings(void **state)
{
    struct maker m;
    struct model_info info;
    struct gguf *g;
    struct err err = {0};
    size_t len;
    (void)state;
    maker_init(&m);
    add_keys(&m, NULL);
    maker_array(&m, "tokenizer.ggml.tokens", GGUF_STR, 41);
    for (int i = 0; i < 41; i++)
        put_str(&m.kvs, "x");
    maker_tensor(&m, "token_embd.weight", DTYPE_F32, 32, 40);
    uint8_t *bytes = maker_finish(&m, &len);
    assert_int_equal(gguf_open_memory(bytes, len, &g, &err), 0);
    assert_int_equal(model_describe(g, KV_F16, &info, &err), ERR_CORRUPT);
    assert_string_equal(err.param, "tokenizer.ggml.tokens");
    gguf_free(g);
    free(bytes);
}

/* A name that is no UTF-8 made every frame that carried it fail. */
static void test_odd_name(void **state)
{
    struct lie lie = {"general.name", TEXT, 0, "a\x1b[1m\xff\xc3\xa9\xe2\x82"};
    uint8_t *bytes;
    struct model_info info;
    struct err err = {0};
    (void)state;
    struct gguf *g = make(&lie, &bytes);
    assert_int_equal(model_describe(g, KV_F16, &info, &err), 0);
    assert_string_equal(info.name, "a?[1m?\xc3\xa9??");
    gguf_free(g);
    free(bytes);
    char longer[200];
    memset(longer, 'x', 126);
    strcpy(longer + 126, "\xc3\xa9y");
    lie.text = longer;
    g = make(&lie, &bytes);
    assert_int_equal(model_describe(g, KV_F16, &info, &err), 0);
    assert_int_equal(strlen(info.name), 126);
    gguf_free(g);
    free(bytes);
}

static void test_rope(void **state)
{
    static struct hparams h;
    static struct rope plain, yarn;
    static const struct arch arch = {.name = "test"};
    float at[64], moved[64];
    (void)state;
    h = (struct hparams){.arch = &arch,
                         .n_rot = 64,
                         .rope_base = 10000.0,
                         .rope_base_local = 10000.0,
                         .rope_factor = 1.0,
                         .rope_n_ctx_orig = 4096,
                         .rope_attn_factor = 1.0,
                         .yarn_beta_fast = 32.0,
                         .yarn_beta_slow = 1.0};
    rope_init(&plain, &h, false, NULL);
    rope_angles(&plain, 7, at);
    assert_float_equal(at[0], cosf(7.0f), 1e-6f);
    assert_float_equal(at[3], sinf(7.0f * powf(10000.0f, -2.0f / 64.0f)), 1e-6f);
    h.rope_kind = ROPE_YARN;
    h.rope_factor = 4.0;
    rope_init(&yarn, &h, false, NULL);
    assert_true(yarn.freq[0] == plain.freq[0]);
    assert_float_equal((float)yarn.freq[31] * 4.0f, (float)plain.freq[31], 1e-9f);
    assert_float_equal((float)yarn.magnitude, 1.0f + 0.1f * logf(4.0f), 1e-6f);
    rope_angles(&yarn, 7, moved);
    assert_float_equal(moved[0] * moved[0] + moved[1] * moved[1],
                       (float)(yarn.magnitude * yarn.magnitude), 1e-5f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),    cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_lies),     cmocka_unit_test(test_vocabulary_longer_than_embeddings),
        cmocka_unit_test(test_odd_name), cmocka_unit_test(test_rope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
