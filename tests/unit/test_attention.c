/*
 * attention of several sequences that share blocks: the bits are those of each sequence alone,
 * whatever they share, and what they share is read once.
 *
 * Models are small and random; so are all keys and values in the slab, which no prefill has to
 * make. Two sequences never write the same block, as the engine sees to.
 */
#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/attention.h"

#include "gguf_maker.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define N_LAYER  2
#define N_EMBD   64
#define HEAD_DIM 16
#define N_VOCAB  48
#define N_CTX    2048
#define N_BATCH  160
#define SEQ_MAX  20
#define TABLE    (N_CTX / KV_BLOCK_LEN)
#define N_BLOCKS ((SEQ_MAX + 1) * TABLE)

/* ---- random numbers ---- */

static uint64_t drawn;

static double uniform(void)
{
    return rng_uniform(4, 0, drawn++);
}

static int between(int low, int high)
{
    return low + (int)(uniform() * (high - low + 1));
}

static float real(void)
{
    return (float)(uniform() - 0.5);
}

/* ---- a model and its slab ---- */

struct shape {
    const char *arch;
    int n_head, n_head_kv;
    int window; /* of every other layer; 0: none */
    float cap;
};

static const struct shape shapes[] = {
    {"llama", 8, 2, 0, 0},     {"llama", 4, 4, 0, 0},   {"llama", 6, 1, 0, 0},
    {"gemma2", 8, 2, 300, 20}, {"gemma2", 4, 1, 40, 0}, {"gemma2", 12, 4, 700, 50},
};

struct fixture {
    struct gguf *g;
    uint8_t *bytes;
    struct pool *pool;
    struct model *m;
    struct kv_slab kv;
};

static void add_random(struct maker *m, const char *name, int n_in, int n_out)
{
    maker_tensor(m, name, DTYPE_F32, (uint64_t)n_in, (uint64_t)n_out);
    size_t at = m->data.len - (size_t)n_in * (size_t)n_out * sizeof(float);
    for (int i = 0; i < n_in * n_out; i++) {
        float v = real();
        memcpy(m->data.ptr + at + (size_t)i * sizeof(v), &v, sizeof(v));
    }
}

static void add_u32(struct maker *m, const char *arch, const char *key, int v)
{
    char name[96];
    snprintf(name, sizeof(name), "%s.%s", arch, key);
    maker_u32(m, name, (uint32_t)v);
}

static void add_f32(struct maker *m, const char *arch, const char *key, float v)
{
    char name[96];
    snprintf(name, sizeof(name), "%s.%s", arch, key);
    maker_key(m, name, GGUF_F32);
    buf_add(&m->kvs, &v, sizeof(v));
}

static struct gguf *make(const struct shape *s, uint8_t **ret_bytes)
{
    const int n_q = s->n_head * HEAD_DIM, n_kv = s->n_head_kv * HEAD_DIM;
    const struct {
        const char *name;
        int n_in, n_out;
    } layer[] = {
        {"attn_norm", N_EMBD, 1},     {"attn_q", N_EMBD, n_q},
        {"attn_k", N_EMBD, n_kv},     {"attn_v", N_EMBD, n_kv},
        {"attn_output", n_q, N_EMBD}, {"ffn_norm", N_EMBD, 1},
        {"ffn_gate", N_EMBD, N_EMBD}, {"ffn_up", N_EMBD, N_EMBD},
        {"ffn_down", N_EMBD, N_EMBD}, {"post_attention_norm", N_EMBD, 1},
        {"post_ffw_norm", N_EMBD, 1},
    };
    struct maker m;
    maker_init(&m);
    maker_str(&m, "general.architecture", s->arch);
    add_u32(&m, s->arch, "block_count", N_LAYER);
    add_u32(&m, s->arch, "embedding_length", N_EMBD);
    add_u32(&m, s->arch, "attention.head_count", s->n_head);
    add_u32(&m, s->arch, "attention.head_count_kv", s->n_head_kv);
    add_u32(&m, s->arch, "attention.key_length", HEAD_DIM);
    add_u32(&m, s->arch, "feed_forward_length", N_EMBD);
    add_u32(&m, s->arch, "context_length", N_CTX);
    add_u32(&m, s->arch, "attention.sliding_window", s->window);
    add_f32(&m, s->arch, "attention.layer_norm_rms_epsilon", 1e-5f);
    add_f32(&m, s->arch, "attn_logit_softcapping", s->cap);
    add_random(&m, "token_embd.weight", N_EMBD, N_VOCAB);
    add_random(&m, "output_norm.weight", N_EMBD, 1);
    for (int i = 0; i < N_LAYER; i++)
        for (size_t j = 0; j < ARRAY_LEN(layer); j++) {
            char name[64];
            snprintf(name, sizeof(name), "blk.%d.%s.weight", i, layer[j].name);
            add_random(&m, name, layer[j].n_in, layer[j].n_out);
        }
    size_t len;
    struct gguf *g = NULL;
    struct err err = {0};
    *ret_bytes = maker_finish(&m, &len);
    if (gguf_open_memory(*ret_bytes, len, &g, &err) != 0)
        fail_msg("%s", err.text);
    return g;
}

/* Random keys and values at every position of every block. */
static void fill_slab(struct fixture *f)
{
    const struct model *m = f->m;
    size_t block = m->info.kv_block_bytes, head = m->layer_bytes / (size_t)m->h.n_head_kv;
    f->kv = (struct kv_slab){mem_try_aligned(block * N_BLOCKS), N_BLOCKS};
    assert_non_null(f->kv.base);
    float pool[997];
    for (int i = 0; i < 997; i++)
        pool[i] = 3 * real();
    int at = 0;
    for (uint32_t b = 0; b < N_BLOCKS; b++)
        for (size_t h = 0; h < block / head; h++)
            for (int i = 0; i < KV_BLOCK_LEN; i++) {
                at = (at + 31) % (997 - 2 * HEAD_DIM);
                kv_store(m->kv_type, f->kv.base + b * block + h * head, i, pool + at, HEAD_DIM,
                         pool + at + HEAD_DIM, HEAD_DIM);
            }
}

static void open_fixture(struct fixture *f, const struct shape *s, const struct kernels *k,
                         enum kv_type type, int n_threads)
{
    struct err err = {0};
    *f = (struct fixture){0};
    f->g = make(s, &f->bytes);
    assert_int_equal(pool_new(n_threads, &f->pool, &err), 0);
    struct model_opts o = {.kernels = k,
                           .pool = f->pool,
                           .kv_type = type,
                           .n_batch_max = N_BATCH,
                           .n_out_max = N_BATCH,
                           .n_ctx_max = N_CTX};
    if (model_new(f->g, &o, &f->m, &err) != 0)
        fail_msg("%s: %s", s->arch, err.text);
    fill_slab(f);
}

static void close_fixture(struct fixture *f)
{
    model_free(f->m);
    pool_free(f->pool);
    gguf_free(f->g);
    free(f->bytes);
    mem_free_aligned(f->kv.base);
}

/* ---- batches ---- */

/* Sequence i owns blocks [i * TABLE, ...), in a shuffled order, but for those it shares. */
struct scene {
    int n_seq, n_token;
    uint32_t table[SEQ_MAX][TABLE];
    struct batch_seq seq[SEQ_MAX];
    int32_t token[N_BATCH], row[N_BATCH];
};

static void add_seq(struct scene *s, int n_shared, const uint32_t *with, int pos0, int n)
{
    int i = s->n_seq++;
    for (int j = 0; j < TABLE; j++)
        s->table[i][j] = j < n_shared ? with[j] : (uint32_t)(i * TABLE + (j * 13 + 5 * i) % TABLE);
    s->seq[i] = (struct batch_seq){s->table[i], pos0, n, s->n_token};
    for (int j = 0; j < n; j++) {
        s->row[s->n_token] = s->n_token;
        s->token[s->n_token++] = between(0, N_VOCAB - 1);
    }
}

/* Most decode, some take a chunk; most share a beginning with one before, whole pieces or not.
 * `inside`: the second is still within what the others have of the first. */
static void random_scene(struct scene *s, bool inside)
{
    *s = (struct scene){0};
    int n_seq = between(2, SEQ_MAX);
    add_seq(s, 0, NULL, between(N_CTX / 2, N_CTX - 40), between(1, 20));
    for (int i = 1; i < n_seq; i++) {
        int with = between(0, 3) == 0 ? between(0, i - 1) : 0;
        int most = s->seq[with].pos0 / KV_BLOCK_LEN; /* blocks that it does not write any more */
        int n_shared = most == 0 || between(0, 4) == 0 ? 0 : between(1, most);
        if (between(0, 1) == 0)
            n_shared = n_shared / 8 * 8;
        int n = between(0, 3) > 0 ? 1 : between(2, 24);
        n = n < N_BATCH - s->n_token - (n_seq - i) ? n : 1;
        int pos0 = between(n_shared * KV_BLOCK_LEN, N_CTX - n);
        if (between(0, 1) == 0 && pos0 > n_shared * KV_BLOCK_LEN + 100)
            pos0 = n_shared * KV_BLOCK_LEN + between(0, 100);
        pos0 = pos0 < N_CTX - n ? pos0 : N_CTX - n;
        if (inside && i == 1) { /* writes into blocks of the first, whose rows are far behind */
            n_shared = most;
            pos0 = between(0, most * KV_BLOCK_LEN - n);
        }
        add_seq(s, n_shared, s->table[with], pos0, n);
    }
}

/* Bits of all rows' logits. */
static void forward(struct fixture *f, const struct scene *s, float *ret)
{
    struct batch b = {s->token, s->n_token, s->seq, s->n_seq, s->row, s->n_token};
    model_forward(f->m, &f->kv, &b, ret);
}

static void check_scene(struct fixture *f, const struct scene *s, const char *what)
{
    static float all[N_BATCH * N_VOCAB], alone[N_BATCH * N_VOCAB];
    forward(f, s, all);
    for (int i = 0; i < s->n_seq; i++) {
        struct batch_seq seq = s->seq[i];
        seq.i_token = 0;
        struct batch b = {
            s->token + s->seq[i].i_token, seq.n_tokens, &seq, 1, s->row, seq.n_tokens};
        model_forward(f->m, &f->kv, &b, alone);
        const float *mine = all + (size_t)s->seq[i].i_token * N_VOCAB;
        assert_true(isfinite(alone[0]));
        if (memcmp(mine, alone, (size_t)seq.n_tokens * N_VOCAB * sizeof(float)) != 0)
            fail_msg("%s: sequence %d of %d (%d tokens at %d) has other logits alone", what, i,
                     s->n_seq, seq.n_tokens, seq.pos0);
    }
}

static void test_same_bits_as_alone(void **state)
{
    static struct scene s;
    enum cpu_level best = cpu_level_detect();
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(shapes) * KV_TYPES; i++) {
        const struct shape *shape = &shapes[i / KV_TYPES];
        for (int n_threads = 1; n_threads <= 4; n_threads++) {
            struct fixture f;
            char what[96];
            snprintf(what, sizeof(what), "%s, %d heads of %d, %s, %d threads", shape->arch,
                     shape->n_head, shape->n_head_kv, kv_type_name((enum kv_type)(i % KV_TYPES)),
                     n_threads);
            open_fixture(&f, shape, kernels_get(best), (enum kv_type)(i % KV_TYPES), n_threads);
            for (int round = 0; round < 5; round++) {
                random_scene(&s, round % 2 == 1);
                check_scene(&f, &s, what);
            }
            close_fixture(&f);
        }
    }
}

static void test_same_bits_in_plain_c(void **state)
{
    static struct scene s;
    struct fixture f;
    (void)state;
    open_fixture(&f, &shapes[3], kernels_get(CPU_GENERIC), KV_F16, 2);
    s = (struct scene){0};
    add_seq(&s, 0, NULL, 700, 1);
    add_seq(&s, 16, s.table[0], 520, 2);
    add_seq(&s, 21, s.table[0], 800, 1);
    add_seq(&s, 8, s.table[0], 256, 3);
    check_scene(&f, &s, "generic");
    close_fixture(&f);
}

/* ---- what is read ---- */

static int64_t n_read; /* positions, in all calls */
static void (*real_attend)(const struct attend_args *a);

static void count_attend(const struct attend_args *a)
{
    int from = INT32_MAX, to = 0;
    for (int i = 0; i < a->n_q; i++) {
        from = a->from[i] < from ? a->from[i] : from;
        to = a->to[i] > to ? a->to[i] : to;
    }
    n_read += to - from;
    real_attend(a);
}

static int64_t read_by(struct fixture *f, const struct scene *s)
{
    static float logits[N_BATCH * N_VOCAB];
    n_read = 0;
    forward(f, s, logits);
    return n_read / (N_LAYER * f->m->h.n_head_kv);
}

/* A batch of sequences with 1024 positions in common reads them once, as often as they are more
 * rows than a call takes; what each has alone as ever; and other sequences' blocks not less. */
static void test_shared_blocks_are_read_once(void **state)
{
    static struct scene s;
    struct fixture f;
    struct kernels k = *kernels_get(cpu_level_detect());
    (void)state;
    real_attend = k.attend;
    k.attend = count_attend;
    open_fixture(&f, &shapes[0], &k, KV_F16, 1);
    s = (struct scene){0};
    for (int i = 0; i < 6; i++)
        add_seq(&s, i == 0 ? 0 : 32, s.table[0], 1024 + 10 * i, 1);
    assert_int_equal(read_by(&f, &s), 1024 + 6 + 10 * (5 * 6 / 2));
    s = (struct scene){0};
    for (int i = 0; i < 20; i++) /* 6 positions of 4 heads are a tile's 24 rows */
        add_seq(&s, i == 0 ? 0 : 32, s.table[0], 1024, 1);
    assert_int_equal(read_by(&f, &s), 4 * 1024 + 20);
    s = (struct scene){0};
    for (int i = 0; i < 6; i++) /* three share 1024, the others 512 of them */
        add_seq(&s, i == 0 ? 0 : i % 2 == 0 ? 32 : 16, s.table[0], 1024, 1);
    assert_int_equal(read_by(&f, &s), 512 + (512 + 3) + 3 * 513);
    s = (struct scene){0};
    for (int i = 0; i < 8; i++) /* less than a piece */
        add_seq(&s, i == 0 ? 0 : 7, s.table[0], 1024, 1);
    assert_int_equal(read_by(&f, &s), 8 * 1025);
    close_fixture(&f);
}

/* The scratch that model_scratch_bytes counts is what a model has: more rows than one of its tiles
 * holds, all shared, on several threads (under ASan a row too many would show). */
static void test_full_batch(void **state)
{
    static struct scene s;
    struct fixture f;
    (void)state;
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        open_fixture(&f, &shapes[2], kernels_get(cpu_level_detect()), KV_Q8_0, n_threads);
        s = (struct scene){0};
        for (int i = 0; i < SEQ_MAX; i++)
            add_seq(&s, i == 0 ? 0 : 48, s.table[0], 1536, N_BATCH / SEQ_MAX);
        assert_int_equal(s.n_token, N_BATCH);
        check_scene(&f, &s, "full batch");
        close_fixture(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits_as_alone),
        cmocka_unit_test(test_same_bits_in_plain_c),
        cmocka_unit_test(test_shared_blocks_are_read_once),
        cmocka_unit_test(test_full_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
