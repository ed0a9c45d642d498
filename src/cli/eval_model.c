/*
 * eval_model: see eval_model.h.
 */
#include "cli/eval_model.h"

#include "base/mem.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PARTS_MAX 4096

/* A library's blobs carry digests for names, so split files are opened by descriptor. */
static int open_parts(const struct store_model *found, struct gguf **ret, struct err *err)
{
    if (found->n_path == 1)
        return gguf_open(found->path[0], ret, err);
    if (found->n_path > PARTS_MAX)
        return err_set(err, ERR_LIMIT, "the model has %d parts; at most %d are read", found->n_path,
                       PARTS_MAX);
    int *fd = mem_alloc((size_t)found->n_path * sizeof(*fd));
    int rc = 0;
    int n = 0;
    for (; rc == 0 && n < found->n_path; n++)
        if ((fd[n] = open(found->path[n], O_RDONLY | O_CLOEXEC)) < 0)
            rc = err_set_errno(err, errno, "cannot open %s", found->path[n]);
    if (rc == 0)
        rc = gguf_open_fds(fd, n, ret, err);
    for (int i = 0; i < n; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    free(fd);
    return rc;
}

int eval_gguf_open(const char *name, struct gguf **ret, struct err *err)
{
    if (model_source_of(name) == SOURCE_PATH && name[0] != '~')
        return gguf_open(name, ret, err);
    struct store *store;
    struct store_model found = {0};
    int rc = store_open(NULL, &store, err);
    if (rc != 0)
        return rc;
    rc = store_find(store, name, &found, err);
    store_close(store);
    if (rc != 0)
        return rc;
    rc = open_parts(&found, ret, err);
    store_model_release(&found);
    return rc;
}

static int allocate(struct eval_model *m, const struct eval_opts *o, struct err *err)
{
    m->blocks_per_seq = (o->n_ctx + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
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

int eval_model_open(struct eval_model *m, struct gguf *g, const struct eval_opts *o,
                    struct err *err)
{
    enum cpu_level level;
    *m = (struct eval_model){.gguf = g, .n_chunk = o->n_chunk};
    int rc = cpu_level_choose(&level, err);
    if (rc != 0 || (rc = pool_new(o->n_threads > 0 ? o->n_threads : cpu_threads_default(), &m->pool,
                                  err)) != 0)
        return rc;
    struct model_opts opts = {.kernels = kernels_get(level),
                              .pool = m->pool,
                              .n_batch_max = o->n_seq * o->n_chunk,
                              .n_out_max = o->n_seq * o->n_chunk,
                              .n_ctx_max = o->n_ctx};
    if ((rc = model_new(g, &opts, &m->model, err)) != 0)
        return rc;
    m->info = model_info(m->model);
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
