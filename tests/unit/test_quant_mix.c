/*
 * quant_mix: the types of tensors in files that were made with llama.cpp (published ones, as their
 * own headers have them).
 */
#include "base/mem.h"
#include "model/quant_mix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct quant_model llama8b = {.n_layer = 32, .n_head = 32, .n_head_kv = 8};
static const struct quant_model gemma270m = {
    .n_layer = 18, .n_head = 4, .n_head_kv = 1, .tied = true};
static const struct quant_model llama70b = {
    .n_layer = 80, .n_head = 64, .n_head_kv = 8, .is_70b = true};
static const struct quant_model mixtral = {
    .n_layer = 32, .n_head = 32, .n_head_kv = 8, .n_expert = 8};

static enum dtype type_of(const char *mix, const struct quant_model *m, const char *name,
                          uint64_t n_in)
{
    struct quant_tensor t = {.name = name, .layer = -1, .n_dims = 2, .n_in = n_in};
    sscanf(name, "blk.%d.", &t.layer);
    if (strstr(name, "_exps") != NULL)
        t.n_dims = 3;
    if (strstr(name, "norm") != NULL || strstr(name, "bias") != NULL)
        t.n_dims = 1;
    const struct quant_mix *found = quant_mix_find(mix);
    assert_non_null(found);
    return quant_mix_type(found, false, m, &t);
}

#define IS(mix, model, name, n_in, type)                                                           \
    assert_string_equal(dtype_name(type_of(mix, model, name, n_in)), type)

static void test_llama_8b(void **state)
{
    (void)state;
    IS("Q4_K_M", &llama8b, "token_embd.weight", 4096, "Q4_K");
    IS("Q4_K_M", &llama8b, "output.weight", 4096, "Q6_K");
    IS("Q4_K_M", &llama8b, "blk.0.attn_norm.weight", 4096, "F32");
    IS("Q4_K_M", &llama8b, "blk.3.attn_v.weight", 4096, "Q6_K");
    IS("Q4_K_M", &llama8b, "blk.4.attn_v.weight", 4096, "Q4_K");
    IS("Q4_K_M", &llama8b, "blk.6.attn_v.weight", 4096, "Q6_K");
    IS("Q4_K_M", &llama8b, "blk.28.ffn_down.weight", 14336, "Q6_K");
    IS("Q4_K_M", &llama8b, "blk.5.ffn_down.weight", 14336, "Q4_K");
    IS("Q4_K_M", &llama8b, "blk.0.ffn_up.weight", 4096, "Q4_K");
    IS("Q4_K_S", &llama8b, "blk.3.attn_v.weight", 4096, "Q5_K");
    IS("Q4_K_S", &llama8b, "blk.4.ffn_down.weight", 14336, "Q4_K");
    IS("Q5_K_M", &llama8b, "blk.0.attn_v.weight", 4096, "Q6_K");
    IS("Q3_K_M", &llama8b, "blk.1.attn_v.weight", 4096, "Q5_K");
    IS("Q3_K_M", &llama8b, "blk.2.attn_v.weight", 4096, "Q4_K");
    IS("Q3_K_M", &llama8b, "blk.2.attn_output.weight", 4096, "Q4_K");
    IS("Q3_K_M", &llama8b, "blk.1.ffn_down.weight", 14336, "Q5_K");
    IS("Q3_K_L", &llama8b, "blk.9.ffn_down.weight", 14336, "Q5_K");
    IS("Q2_K", &llama8b, "blk.9.attn_v.weight", 4096, "Q4_K");
    IS("Q2_K", &llama8b, "blk.9.ffn_down.weight", 14336, "Q3_K");
    IS("Q2_K", &llama8b, "blk.9.attn_q.weight", 4096, "Q2_K");
    IS("IQ4_XS", &llama8b, "blk.9.attn_v.weight", 4096, "Q5_K");
    IS("IQ4_XS", &llama8b, "blk.3.ffn_down.weight", 14336, "Q5_K");
    IS("IQ2_M", &llama8b, "blk.3.attn_output.weight", 4096, "IQ3_S");
    IS("IQ1_S", &llama8b, "blk.3.attn_output.weight", 4096, "IQ2_XXS");
    IS("IQ1_S", &llama8b, "token_embd.weight", 4096, "Q2_K");
    IS("IQ1_S", &llama8b, "output.weight", 4096, "Q5_K");
    IS("Q8_0", &llama8b, "output.weight", 4096, "Q8_0");
    IS("F16", &llama8b, "output.weight", 4096, "F16");
    IS("Q6_K", &llama8b, "blk.0.ffn_down.weight", 14336, "Q6_K");
}

/* As in the published gemma-3-270m Q4_K_M: 640 columns have no blocks of 256. */
static void test_columns_that_blocks_do_not_divide(void **state)
{
    (void)state;
    static const int more[] = {0, 1, 4, 7, 10, 13, 15, 16, 17};
    bool is_more[18] = {false};
    char name[64];
    for (size_t i = 0; i < ARRAY_LEN(more); i++)
        is_more[more[i]] = true;
    for (int i = 0; i < 18; i++) {
        snprintf(name, sizeof(name), "blk.%d.attn_v.weight", i);
        IS("Q4_K_M", &gemma270m, name, 640, is_more[i] ? "Q8_0" : "Q5_0");
        snprintf(name, sizeof(name), "blk.%d.ffn_down.weight", i);
        IS("Q4_K_M", &gemma270m, name, 2048, is_more[i] ? "Q6_K" : "Q4_K");
    }
    IS("Q4_K_M", &gemma270m, "token_embd.weight", 640, "Q8_0");
    IS("Q4_K_M", &gemma270m, "blk.0.attn_q.weight", 640, "Q5_0");
    IS("Q4_K_M", &gemma270m, "blk.0.attn_output.weight", 1024, "Q4_K");
    IS("Q5_K_M", &gemma270m, "blk.0.attn_q.weight", 640, "Q5_1");
    IS("Q2_K", &gemma270m, "blk.0.attn_q.weight", 640, "Q4_0");
    IS("IQ4_XS", &gemma270m, "blk.0.attn_q.weight", 640, "IQ4_NL");
    IS("Q4_K_M", &gemma270m, "blk.0.attn_q.weight", 650, "F16");
}

static void test_other_models(void **state)
{
    (void)state;
    IS("Q4_K_M", &llama70b, "blk.40.attn_v.weight", 8192, "Q5_K");
    IS("Q4_K_M", &llama70b, "blk.0.attn_v.weight", 8192, "Q6_K");
    IS("Q4_K_M", &mixtral, "blk.9.attn_v.weight", 4096, "Q8_0");
    IS("Q4_K_M", &mixtral, "blk.9.attn_k.weight", 4096, "Q8_0");
    IS("Q4_K_M", &mixtral, "blk.9.attn_output.weight", 4096, "Q5_K");
    IS("Q4_K_M", &mixtral, "blk.9.ffn_gate_inp.weight", 4096, "F32");
    IS("Q4_K_M", &mixtral, "blk.0.ffn_down_exps.weight", 14336, "Q6_K");
    IS("MXFP4_MOE", &mixtral, "blk.0.ffn_down_exps.weight", 14336, "MXFP4");
    IS("MXFP4_MOE", &mixtral, "blk.0.attn_q.weight", 4096, "Q8_0");
    IS("MXFP4", &llama8b, "blk.0.attn_q.weight", 4096, "MXFP4");
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(quant_mix_find("q4_k")->name, "Q4_K_M");
    assert_string_equal(quant_mix_find("iq2_xxs")->name, "IQ2_XXS");
    assert_null(quant_mix_find("Q9"));
    for (int i = 0; i < quant_mix_count(); i++)
        assert_ptr_equal(quant_mix_find(quant_mix_at(i)->name), quant_mix_at(i));
    const struct quant_tensor t = {.name = "output.weight", .layer = -1, .n_dims = 2, .n_in = 4096};
    assert_int_equal(quant_mix_type(quant_mix_find("Q4_K_M"), true, &llama8b, &t), DTYPE_Q4_K);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_8b),
        cmocka_unit_test(test_columns_that_blocks_do_not_divide),
        cmocka_unit_test(test_other_models),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
