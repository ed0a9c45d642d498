/*
 * fuzz_model: opens bytes as a GGUF file, describes and loads the model in it, and runs two tokens
 * when it is small. What the file says must be refused or computed, whatever the numbers are.
 */
#include "base/mem.h"
#include "model/model.h"

#include <stdlib.h>

#define SMALL ((uint64_t)1 << 20) /* multiplications per token */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* As engine/embedder does. */
static void embed(struct model *m, const struct kv_slab *kv, const struct batch *b)
{
    const struct model_info *info = model_info(m);
    double *sum = mem_try_array((size_t)info->n_embd, sizeof(*sum));
    float *out = mem_try_array((size_t)model_pooled_len(m), sizeof(*out));
    const float *row = model_hidden(m, kv, b);
    if (sum != NULL && out != NULL) {
        model_pool_begin(m, sum);
        model_pool_add(m, row, 1, sum);
        model_pool_mean(m, sum, 1, out);
        model_pool_row(m, row, out);
    }
    free(sum);
    free(out);
}

static void run(struct model *m)
{
    const struct model_info *info = model_info(m);
    struct kv_slab kv = {mem_try_aligned(info->kv_block_bytes), 1};
    float *logits = mem_try_array((size_t)info->n_vocab, sizeof(float));
    const int32_t token[] = {0, info->n_vocab - 1};
    const uint32_t block = 0;
    const int32_t out_row = 1;
    struct batch_seq seq = {&block, 0, 2, 0};
    struct batch b = {token, 2, &seq, 1, &out_row, 1};
    if (info->is_encoder || (kv.base != NULL && info->pooling != POOLING_NONE))
        embed(m, &kv, &b);
    else if (kv.base != NULL && logits != NULL)
        model_forward(m, &kv, &b, logits);
    mem_free_aligned(kv.base);
    free(logits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct pool *pool;
    struct gguf *g;
    struct err err;
    struct model_info info;
    struct model *m;
    uint64_t scratch = 0;
    if (pool == NULL && pool_new(1, &pool, &err) != 0)
        abort();
    if (gguf_open_memory(data, len, &g, &err) != 0)
        return 0;
    struct model_opts o = {.kernels = kernels_get(cpu_level_detect()),
                           .pool = pool,
                           .kv_type = len > 0 ? (enum kv_type)(data[len - 1] % KV_TYPES) : KV_F16,
                           .n_batch_max = 2,
                           .n_out_max = 1,
                           .n_ctx_max = 2};
    if (model_describe(g, o.kv_type, &info, &err) == 0 && info.n_ctx_train >= 2 &&
        model_scratch_bytes(g, &o, &scratch, &err) == 0 && scratch < (uint64_t)64 << 20 &&
        model_new(g, &o, &m, &err) == 0) {
        if (info.n_params < SMALL && info.n_layer < 64 && info.kv_block_bytes < (uint64_t)64 << 20)
            run(m);
        model_free(m);
    }
    gguf_free(g);
    return 0;
}
