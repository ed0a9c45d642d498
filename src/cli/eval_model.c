/*
 * eval_model: see eval_model.h.
 */
#include "cli/eval_model.h"

#include "base/mem.h"
#include "cli/open_gguf.h"

#include <stdlib.h>

static int allocate(struct eval_model *m, const struct eval_opts *o, struct err *err)
{
    m->blocks_per_seq = o->n_ctx / KV_BLOCK_LEN + (o->n_ctx % KV_BLOCK_LEN != 0);
    size_t n_block;
    size_t bytes;
    size_t n_logits;
    if (!size_mul((size_t)m->blocks_per_seq, (size_t)o->n_seq, &n_block) || n_block > UINT32_MAX ||
        !size_mul(n_block, m->info->kv_block_bytes, &bytes) ||
        !size_mul((size_t)o->n_seq * (size_t)o->n_chunk, (size_t)m->info->n_vocab, &n_logits))
        return err_set(err, ERR_LIMIT, "%d sequences of %d tokens do not fit", o->n_seq, o->n_ctx);
    m->kv.n_blocks = (uint32_t)n_block;
    m->kv.base = mem_try_aligned(bytes);
    m->block = mem_try_array(n_block, sizeof(*m->block));
    m->logits = mem_try_array(n_logits, sizeof(*m->logits));
    if (m->kv.base == NULL || m->block == NULL || m->logits == NULL)
        return err_set(err, ERR_NOMEM,
                       "no memory for %d sequences of %d tokens (%zu bytes of keys and values, %zu "
                       "of logits)",
                       o->n_seq, o->n_ctx, bytes, n_logits * sizeof(float));
    for (uint32_t i = 0; i < m->kv.n_blocks; i++)
        m->block[i] = i;
    return 0;
}

int eval_model_open(struct eval_model *m, const char *name, const struct eval_opts *o,
                    struct err *err)
{
    enum cpu_level level;
    *m = (struct eval_model){.n_chunk = o->n_chunk};
    int rc = cli_gguf_open(name, &m->gguf, NULL, err);
    if (rc != 0 || (rc = cpu_level_choose(&level, err)) != 0 ||
        (rc = pool_new(o->n_threads > 0 ? o->n_threads : cpu_threads_default(), &m->pool, err)) !=
            0)
        return rc;
    struct model_opts opts = {.kernels = kernels_get(level),
                              .pool = m->pool,
                              .kv_type = (enum kv_type)o->kv_type,
                              .n_batch_max = o->n_seq * o->n_chunk,
                              .n_out_max = o->n_seq * o->n_chunk,
                              .n_ctx_max = o->n_ctx,
                              .activations = (enum activations)o->activations};
    if ((rc = model_new(m->gguf, &opts, &m->model, err)) != 0)
        return rc;
    m->info = model_info(m->model);
    if ((rc = model_check_generates(m->info, err)) != 0)
        return rc;
    return allocate(m, o, err);
}

void eval_model_close(struct eval_model *m)
{
    model_free(m->model);
    pool_free(m->pool);
    gguf_free(m->gguf);
    mem_free_aligned(m->kv.base);
    free(m->block);
    free(m->logits);
    *m = (struct eval_model){0};
}

const uint32_t *eval_blocks(const struct eval_model *m, int i_seq)
{
    return m->block + (size_t)i_seq * (size_t)m->blocks_per_seq;
}
