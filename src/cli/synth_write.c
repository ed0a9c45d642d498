/*
 * synth_write: see synth_write.h.
 *
 * A tensor is cut into chunks of CHUNK_ELEMS elements; a chunk is one item of work, one stream of
 * random numbers, one write. Its random numbers are named by the seed, the tensor's name and the
 * chunk's number: threads take items as they come, and a model with fewer layers has the same
 * weights in those it has.
 */
#include "cli/synth_write.h"

#include "base/check.h"
#include "base/mem.h"
#include "tensor/random_blocks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK_ELEMS    ((uint64_t)1 << 20) /* a multiple of every block; 4 MiB at most */
#define ONES_DEVIATION (1.0 / 32)
#define POLL_NS        30000000 /* how often progress is shown */

struct work {
    const struct synth_plan *plan;
    struct gguf_out *out;
    const volatile sig_atomic_t *stop;
    struct random_blocks *source; /* [n_source], each different */
    double *deviation;            /* [n_source] */
    size_t n_source;
    size_t *source_of;     /* [n_tensor] */
    uint64_t *first_chunk; /* [n_tensor + 1] */
    atomic_uint_least64_t next_chunk, n_bytes;
    atomic_int n_running;
    atomic_bool failed;
    pthread_mutex_t lock; /* of err */
    struct err err;
};

static uint64_t n_elems(const struct synth_tensor *t)
{
    return t->dim[0] * t->dim[1] * t->dim[2];
}

/* FNV-1a (Fowler, Noll, Vo). */
static uint64_t name_hash(const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *name != '\0'; name++)
        h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return h;
}

/* ---- one chunk ---- */

static void fill(const struct work *w, size_t i_tensor, uint64_t chunk, uint8_t *buf, uint64_t n)
{
    const struct synth_tensor *t = &w->plan->tensor[i_tensor];
    if (t->fill == SYNTH_ROPE) {
        CHECK(chunk == 0);
        synth_rope_factors(&w->plan->shape, (float *)(void *)buf);
        return;
    }
    int block = dtype_info((uint32_t)t->type)->block_elems;
    random_blocks_fill(&w->source[w->source_of[i_tensor]], w->plan->seed, name_hash(t->name), chunk,
                       buf, (size_t)n / (size_t)block);
    float *x = (float *)(void *)buf;
    for (uint64_t i = 0; t->fill == SYNTH_ONES && i < n; i++)
        x[i] += 1.0f;
}

static size_t tensor_of(const struct work *w, uint64_t chunk)
{
    size_t low = 0, high = w->plan->n_tensor; /* first_chunk[low] <= chunk < first_chunk[high] */
    while (high - low > 1) {
        size_t mid = (low + high) / 2;
        if (w->first_chunk[mid] <= chunk)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static int write_chunk(struct work *w, uint64_t i_chunk, uint8_t *buf, struct err *err)
{
    size_t i = tensor_of(w, i_chunk);
    const struct synth_tensor *t = &w->plan->tensor[i];
    uint64_t chunk = i_chunk - w->first_chunk[i], from = chunk * CHUNK_ELEMS;
    uint64_t n = n_elems(t) - from, at, bytes;
    n = n < CHUNK_ELEMS ? n : CHUNK_ELEMS;
    CHECK(dtype_row_bytes(t->type, from, &at) && dtype_row_bytes(t->type, n, &bytes));
    fill(w, i, chunk, buf, n);
    int rc = gguf_out_write(w->out, i, at, buf, (size_t)bytes, err);
    if (rc == 0)
        atomic_fetch_add(&w->n_bytes, bytes);
    return rc;
}

static void fail(struct work *w, const struct err *err)
{
    pthread_mutex_lock(&w->lock);
    if (!atomic_exchange(&w->failed, true))
        w->err = *err;
    pthread_mutex_unlock(&w->lock);
}

static void *run(void *arg)
{
    struct work *w = arg;
    uint64_t n_chunks = w->first_chunk[w->plan->n_tensor];
    struct err err = {0};
    uint8_t *buf = mem_try_aligned(CHUNK_ELEMS * sizeof(float));
    if (buf == NULL) {
        err_set(&err, ERR_NOMEM, "no memory to draw weights in");
        fail(w, &err);
    }
    while (buf != NULL && !atomic_load(&w->failed) && *w->stop == 0) {
        uint64_t chunk = atomic_fetch_add(&w->next_chunk, 1);
        if (chunk >= n_chunks)
            break;
        if (write_chunk(w, chunk, buf, &err) != 0)
            fail(w, &err);
    }
    mem_free_aligned(buf);
    atomic_fetch_sub(&w->n_running, 1);
    return NULL;
}

/* ---- all of them ---- */

static bool find_source(struct work *w, enum dtype type, double deviation, size_t *ret)
{
    for (size_t i = 0; i < w->n_source; i++)
        if (w->source[i].type == type && w->deviation[i] == deviation) {
            *ret = i;
            return true;
        }
    return false;
}

static int prepare(struct work *w, struct err *err)
{
    const struct synth_plan *p = w->plan;
    w->first_chunk = mem_try_array(p->n_tensor + 1, sizeof(*w->first_chunk));
    w->source_of = mem_try_array(p->n_tensor, sizeof(*w->source_of));
    w->deviation = mem_try_array(p->n_tensor, sizeof(*w->deviation));
    size_t cap = 0;
    if (w->first_chunk == NULL || w->source_of == NULL || w->deviation == NULL)
        return err_set(err, ERR_NOMEM, "no memory for %zu tensors", p->n_tensor);
    for (size_t i = 0; i < p->n_tensor; i++) {
        const struct synth_tensor *t = &p->tensor[i];
        double deviation = t->fill == SYNTH_ONES ? ONES_DEVIATION : t->deviation;
        w->first_chunk[i + 1] = w->first_chunk[i] + (n_elems(t) + CHUNK_ELEMS - 1) / CHUNK_ELEMS;
        if (find_source(w, t->type, deviation, &w->source_of[i]))
            continue;
        if (!mem_grow((void **)&w->source, &cap, w->n_source + 1, p->n_tensor, sizeof(*w->source)))
            return err_set(err, ERR_NOMEM, "no memory for %zu tensors", p->n_tensor);
        CHECK(random_blocks_init(&w->source[w->n_source], t->type, deviation));
        w->deviation[w->n_source] = deviation;
        w->source_of[i] = w->n_source++;
    }
    return 0;
}

static int run_threads(struct work *w, int n_threads, struct progress *progress, struct err *err)
{
    pthread_t *thread = mem_zero((size_t)n_threads, sizeof(*thread));
    int64_t total = synth_plan_bytes(w->plan);
    int n = 0;
    for (; n < n_threads; n++) {
        atomic_fetch_add(&w->n_running, 1);
        if (pthread_create(&thread[n], NULL, run, w) != 0) {
            atomic_fetch_sub(&w->n_running, 1);
            break;
        }
    }
    while (n > 0 && atomic_load(&w->n_running) > 0) {
        progress_show(progress, "writing", (int64_t)atomic_load(&w->n_bytes), total);
        nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
    }
    for (int i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    free(thread);
    if (n == 0)
        return err_set(err, ERR_NOMEM, "no thread could be started");
    if (!atomic_load(&w->failed) && *w->stop == 0)
        progress_show(progress, "writing", total, total);
    progress_end(progress);
    return 0;
}

int synth_write(const struct synth_plan *p, struct gguf_out *out, int n_threads,
                const volatile sig_atomic_t *stop, struct progress *progress, struct err *err)
{
    struct work w = {.plan = p, .out = out, .stop = stop};
    pthread_mutex_init(&w.lock, NULL);
    int rc = prepare(&w, err);
    if (rc == 0)
        rc = run_threads(&w, n_threads, progress, err);
    if (rc == 0 && *stop != 0) {
        rc = err_set(err, ERR_CANCELLED, "interrupted: nothing was left behind");
    } else if (rc == 0 && atomic_load(&w.failed)) {
        rc = w.err.code;
        if (err != NULL)
            *err = w.err;
    }
    pthread_mutex_destroy(&w.lock);
    free(w.first_chunk);
    free(w.source_of);
    free(w.deviation);
    free(w.source);
    return rc;
}
