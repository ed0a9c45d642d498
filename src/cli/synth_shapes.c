/*
 * synth_shapes: see synth_shapes.h. The table; nothing else.
 */
#include "cli/synth_shapes.h"

#include "base/mem.h"
#include "base/str.h"

/* meta-llama/Llama-3.1-*, Llama-3.2-* config.json; the factor is rope_scaling.factor. */
#define LLAMA3(vocab_tied, factor)                                                                 \
    .arch = "llama", .n_vocab = 128256, .n_ctx = 131072, .rope_base = 500000.0, .norm_eps = 1e-5,  \
    .tied = (vocab_tied), .llama3_factor = (factor)
/* Qwen/Qwen2.5-*-Instruct config.json. */
#define QWEN25(vocab, vocab_tied)                                                                  \
    .arch = "qwen2", .n_vocab = (vocab), .n_ctx = 32768, .rope_base = 1000000.0, .norm_eps = 1e-6, \
    .tied = (vocab_tied), .qkv_bias = true
/* google/gemma-3-*-it config.json (text_config). */
#define GEMMA3(ctx, span, factor)                                                                  \
    .arch = "gemma3", .n_vocab = 262144, .n_ctx = (ctx), .rope_base = 1000000.0, .norm_eps = 1e-6, \
    .tied = true, .window = (span), .linear_factor = (factor)
#define SIZES(layers, embd, heads, heads_kv, dim, ff)                                              \
    .n_layer = (layers), .n_embd = (embd), .n_head = (heads), .n_head_kv = (heads_kv),             \
    .head_dim = (dim), .n_ff = (ff)

static const struct synth_shape shapes[] = {
    {"llama-3.1-8b", "Llama 3.1 8B", SIZES(32, 4096, 32, 8, 128, 14336), LLAMA3(false, 8.0)},
    {"llama-3.1-70b", "Llama 3.1 70B", SIZES(80, 8192, 64, 8, 128, 28672), LLAMA3(false, 8.0),
     .is_70b = true},
    {"llama-3.2-1b", "Llama 3.2 1B", SIZES(16, 2048, 32, 8, 64, 8192), LLAMA3(true, 32.0)},
    {"llama-3.2-3b", "Llama 3.2 3B", SIZES(28, 3072, 24, 8, 128, 8192), LLAMA3(true, 32.0)},
    {"qwen2.5-0.5b", "Qwen 2.5 0.5B", SIZES(24, 896, 14, 2, 64, 4864), QWEN25(151936, true)},
    {"qwen2.5-1.5b", "Qwen 2.5 1.5B", SIZES(28, 1536, 12, 2, 128, 8960), QWEN25(151936, true)},
    {"qwen2.5-3b", "Qwen 2.5 3B", SIZES(36, 2048, 16, 2, 128, 11008), QWEN25(151936, true)},
    {"qwen2.5-7b", "Qwen 2.5 7B", SIZES(28, 3584, 28, 4, 128, 18944), QWEN25(152064, false)},
    {"qwen2.5-14b", "Qwen 2.5 14B", SIZES(48, 5120, 40, 8, 128, 13824), QWEN25(152064, false)},
    {"qwen2.5-32b", "Qwen 2.5 32B", SIZES(64, 5120, 40, 8, 128, 27648), QWEN25(152064, false)},
    {"qwen2.5-72b", "Qwen 2.5 72B", SIZES(80, 8192, 64, 8, 128, 29568), QWEN25(152064, false),
     .is_70b = true},
    /* mistralai/Mistral-7B-Instruct-v0.3: no sliding window since v0.2. */
    {"mistral-7b", "Mistral 7B v0.3", "llama", SIZES(32, 4096, 32, 8, 128, 14336), .n_vocab = 32768,
     .n_ctx = 32768, .rope_base = 1000000.0, .norm_eps = 1e-5},
    {"gemma-3-270m", "Gemma 3 270M", SIZES(18, 640, 4, 1, 256, 2048), GEMMA3(32768, 512, 0.0)},
    {"gemma-3-1b", "Gemma 3 1B", SIZES(26, 1152, 4, 1, 256, 6912), GEMMA3(32768, 512, 0.0)},
    {"gemma-3-4b", "Gemma 3 4B", SIZES(34, 2560, 8, 4, 256, 10240), GEMMA3(131072, 1024, 8.0)},
    {"gemma-3-12b", "Gemma 3 12B", SIZES(48, 3840, 16, 8, 256, 15360), GEMMA3(131072, 1024, 8.0)},
    {"gemma-3-27b", "Gemma 3 27B", SIZES(62, 5376, 32, 16, 128, 21504), GEMMA3(131072, 1024, 8.0)},
    /* mistralai/Mixtral-8x7B-Instruct-v0.1. */
    {"mixtral-8x7b", "Mixtral 8x7B", "llama", SIZES(32, 4096, 32, 8, 128, 14336), .n_vocab = 32000,
     .n_ctx = 32768, .rope_base = 1000000.0, .norm_eps = 1e-5, .n_expert = 8, .n_expert_used = 2,
     .n_ff_expert = 14336},
    /* deepseek-ai/DeepSeek-V2-Lite. Keys and values of a head are made from the latent vector, so
     * the file names one key head of n_lora_kv + n_rot. */
    {"deepseek-v2-lite", "DeepSeek V2 Lite", "deepseek2", SIZES(27, 2048, 16, 1, 576, 10944),
     .n_vocab = 102400, .n_ctx = 163840, .rope_base = 10000.0, .norm_eps = 1e-6,
     .yarn_factor = 40.0, .n_expert = 64, .n_expert_used = 6, .n_expert_shared = 2,
     .n_ff_expert = 1408, .n_layer_dense = 1, .n_lora_kv = 512, .n_rot = 64, .head_dim_nope = 128,
     .head_dim_v = 128},
};

int synth_shape_count(void)
{
    return (int)ARRAY_LEN(shapes);
}

const struct synth_shape *synth_shape_at(int i)
{
    return &shapes[i];
}

const struct synth_shape *synth_shape_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        if (str_eq_nocase(str_z(name), str_z(shapes[i].name)))
            return &shapes[i];
    return NULL;
}
