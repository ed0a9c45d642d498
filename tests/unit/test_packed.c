/*
 * packed: weights packed in memory, into a file and from it are the same; a file that is damaged in
 * any byte, short, of another model or half written is never used and never harms.
 */
#include "base/check.h"
#include "base/fs.h"
#include "base/mem.h"
#include "model/pack_file.h"
#include "model/packed.h"

#include "gguf_maker.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define N_LAYER 2
#define N_EMBD  256
#define N_FF    256
#define N_VOCAB 200
#define TAME    100 /* a salt: every scale is a number, so that logits are */

static char root[] = "/tmp/test_packed.XXXXXX";

/* A model whose heads are small enough that the views of a fused attn_qkv begin within a panel. */
struct fixture {
    struct gguf *g;
    struct pool *pool;
    struct hparams h;
    struct weights w;
    struct model_opts o;
};

static void real(struct maker *m, const char *key, float v)
{
    maker_key(m, key, GGUF_F32);
    buf_add(&m->kvs, &v, sizeof(v));
}

static void quantized(struct maker *m, const char *name, enum dtype type, int n_out, int n_in,
                      uint8_t salt)
{
    size_t at = m->data.len;
    maker_tensor(m, name, type, (uint64_t)n_in, (uint64_t)n_out);
    for (size_t i = at; i < m->data.len; i++) {
        unsigned byte = (unsigned char)m->data.ptr[i] * 31u + (unsigned)(i >> 8) + salt;
        m->data.ptr[i] = (char)(salt == TAME ? byte & 0x2f : byte);
    }
}

static void write_model(const char *path, uint8_t salt)
{
    static const enum dtype types[] = {DTYPE_Q4_K, DTYPE_Q8_0, DTYPE_Q6_K, DTYPE_Q4_1, DTYPE_F16};
    struct maker m;
    maker_init(&m);
    maker_str(&m, "general.architecture", "phi3");
    maker_u32(&m, "phi3.block_count", N_LAYER);
    maker_u32(&m, "phi3.embedding_length", N_EMBD);
    maker_u32(&m, "phi3.attention.head_count", 32);
    maker_u32(&m, "phi3.attention.head_count_kv", 1);
    maker_u32(&m, "phi3.feed_forward_length", N_FF);
    maker_u32(&m, "phi3.context_length", 128);
    maker_u32(&m, "phi3.rope.dimension_count", 8);
    real(&m, "phi3.attention.layer_norm_rms_epsilon", 1e-5f);
    quantized(&m, "token_embd.weight", DTYPE_Q6_K, N_VOCAB, N_EMBD, salt);
    quantized(&m, "output_norm.weight", DTYPE_F32, 1, N_EMBD, salt);
    for (int i = 0; i < N_LAYER; i++) {
        const struct {
            const char *name;
            int n_out, n_in;
        } all[] = {{"attn_qkv", N_EMBD + 2 * 8, N_EMBD},
                   {"attn_output", N_EMBD, N_EMBD},
                   {"ffn_up", 2 * N_FF, N_EMBD},
                   {"ffn_down", N_EMBD, N_FF}};
        char name[64];
        for (size_t j = 0; j < ARRAY_LEN(all); j++) {
            snprintf(name, sizeof(name), "blk.%d.%s.weight", i, all[j].name);
            quantized(&m, name, types[(j + 3 * (size_t)i) % ARRAY_LEN(types)], all[j].n_out,
                      all[j].n_in, salt);
        }
        snprintf(name, sizeof(name), "blk.%d.attn_norm.weight", i);
        quantized(&m, name, DTYPE_F32, 1, N_EMBD, salt);
        snprintf(name, sizeof(name), "blk.%d.ffn_norm.weight", i);
        quantized(&m, name, DTYPE_F32, 1, N_EMBD, salt);
    }
    size_t len;
    uint8_t *bytes = maker_finish(&m, &len);
    assert_int_equal(fs_write_atomic(path, (struct str){(char *)bytes, len}, 0644, NULL), 0);
    free(bytes);
}

static void open_fixture(struct fixture *f, uint8_t salt)
{
    struct err err = {0};
    char *path = fs_join(root, "model.gguf");
    *f = (struct fixture){0};
    write_model(path, salt);
    if (gguf_open(path, &f->g, &err) != 0 || hparams_read(f->g, &f->h, &err) != 0 ||
        pool_new(3, &f->pool, &err) != 0)
        fail_msg("%s", err.text);
    f->o = (struct model_opts){.kernels = kernels_get(CPU_GENERIC),
                               .pool = f->pool,
                               .n_batch_max = 1,
                               .n_out_max = 1,
                               .n_ctx_max = 64};
    if (weights_load(f->g, &f->h, f->o.kernels, 64, &f->w, &err) != 0)
        fail_msg("%s", err.text);
    free(path);
}

static void close_fixture(struct fixture *f)
{
    weights_release(&f->w);
    pool_free(f->pool);
    gguf_free(f->g);
}

static int load(struct fixture *f, int fd_in, int fd_out, struct packed *ret)
{
    struct err err = {0};
    struct pack_files files = {.fd_in = fd_in, .fd_out = fd_out};
    memset(files.key, 'k', sizeof(files.key));
    f->o.pack = &files;
    int rc = packed_load(f->g, &f->w, N_LAYER, &f->o, ret, &err);
    f->o.pack = NULL;
    if (rc != 0)
        fail_msg("%s", err.text);
    return rc;
}

/* Every row of the panels is the file's own row. */
static void check_matrix(const struct matrix *m)
{
    uint8_t row[1024];
    if (!pack_has(m->type)) {
        assert_null(m->panels);
        return;
    }
    assert_int_equal((uintptr_t)m->panels % 64, 0);
    assert_true(m->stride <= sizeof(row));
    for (int r = 0; r < m->n_out; r++) {
        pack_unpack_row(m->type, row, m->panels + r / PACK_ROWS * m->panel_bytes, r % PACK_ROWS,
                        m->n_in);
        assert_memory_equal(row, m->data + (size_t)r * m->stride, m->stride);
    }
}

static void check_all(const struct fixture *f)
{
    for (int i = 0; i < N_LAYER; i++) {
        const struct layer *l = &f->w.layer[i];
        check_matrix(&l->q);
        check_matrix(&l->k);
        check_matrix(&l->v);
        check_matrix(&l->attn_output);
        check_matrix(&l->gate);
        check_matrix(&l->up);
        check_matrix(&l->down);
    }
    check_matrix(&f->w.output);
    assert_null(f->w.embd.panels);
}

static int temporary(const char *name)
{
    char *path = fs_join(root, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    free(path);
    return fd;
}

/* Loads with fd as the earlier start's file; true when it was taken. What is loaded is right. */
static bool is_taken(struct fixture *f, int fd)
{
    struct packed p;
    load(f, fd, -1, &p);
    bool taken = p.report.from == PACK_MAPPED;
    assert_true(taken || p.report.from == PACK_MEMORY);
    assert_int_equal(taken, p.report.note[0] == '\0');
    check_all(f);
    packed_release(&p);
    return taken;
}

static void make_good(struct fixture *f, int fd)
{
    struct packed p;
    load(f, -1, fd, &p);
    assert_int_equal(p.report.from, PACK_WRITTEN);
    assert_string_equal(p.report.note, "");
    check_all(f);
    packed_release(&p);
}

static void test_three_ways(void **state)
{
    struct fixture f;
    struct packed p;
    (void)state;
    open_fixture(&f, 1);
    load(&f, -1, -1, &p);
    assert_int_equal(p.report.from, PACK_MEMORY);
    check_all(&f);
    uint64_t bytes = p.report.bytes;
    packed_release(&p);
    int fd = temporary("good");
    make_good(&f, fd);
    load(&f, fd, -1, &p);
    assert_int_equal(p.report.from, PACK_MAPPED);
    assert_int_equal(p.report.bytes, bytes);
    check_all(&f);
    packed_release(&p);
    close(fd);
    close_fixture(&f);
}

/* A bad file is made again in the other one. */
static void test_bad_is_replaced(void **state)
{
    struct fixture f;
    struct packed p;
    (void)state;
    open_fixture(&f, 1);
    int bad = temporary("bad"), out = temporary("out");
    assert_int_equal(write(bad, "HEARTHPK is no header", 21), 21);
    load(&f, bad, out, &p);
    assert_int_equal(p.report.from, PACK_WRITTEN);
    assert_non_null(strstr(p.report.note, "is not used"));
    check_all(&f);
    packed_release(&p);
    assert_true(is_taken(&f, out));
    close(bad);
    close(out);
    close_fixture(&f);
}

static void flip(int fd, off_t at, uint8_t bits)
{
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= bits;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void test_every_byte_counts(void **state)
{
    struct fixture f;
    struct stat st;
    (void)state;
    open_fixture(&f, 1);
    int fd = temporary("flip");
    make_good(&f, fd);
    assert_int_equal(fstat(fd, &st), 0);
    /* All of the header and its table, the padding sparsely, then spots of the panels. */
    off_t step = 1;
    for (off_t at = 0; at < st.st_size; at += step) {
        uint8_t bits = (uint8_t)(1u << (at * 7 % 8));
        flip(fd, at, bits);
        if (is_taken(&f, fd))
            fail_msg("a flipped bit at %lld was not noticed", (long long)at);
        flip(fd, at, bits);
        step = at < 112 + 96 * 16 ? 1 : at < 4096 ? 97 : 9973;
    }
    assert_true(is_taken(&f, fd));
    close(fd);
    close_fixture(&f);
}

static void test_sizes(void **state)
{
    struct fixture f;
    struct stat st;
    (void)state;
    open_fixture(&f, 1);
    int fd = temporary("sizes");
    make_good(&f, fd);
    assert_int_equal(fstat(fd, &st), 0);
    const off_t sizes[] = {0,
                           1,
                           7,
                           8,
                           111,
                           112,
                           113,
                           200,
                           4095,
                           4096,
                           4097,
                           8192,
                           5000,
                           st.st_size / 2,
                           st.st_size - 1,
                           st.st_size + 1,
                           st.st_size + 4096};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        make_good(&f, fd);
        assert_int_equal(ftruncate(fd, sizes[i]), 0);
        assert_false(is_taken(&f, fd));
        assert_int_equal(ftruncate(fd, 0), 0);
    }
    close(fd);
    int pipe_end[2];
    assert_int_equal(pipe(pipe_end), 0);
    assert_false(is_taken(&f, pipe_end[0]));
    close(pipe_end[0]);
    close(pipe_end[1]);
    close_fixture(&f);
}

/* A header may be consistent with itself and lie: the hash is no secret. */
static void test_hostile_header(void **state)
{
    struct fixture f;
    (void)state;
    open_fixture(&f, 1);
    int fd = temporary("hostile");
    make_good(&f, fd);
    uint8_t head[4096];
    static const struct {
        size_t at, n;
        uint64_t value;
    } lies[] = {{8, 4, 2},                     /* layout */
                {12, 4, 9},                    /* format */
                {16, 8, 64},                   /* head_bytes */
                {16, 8, UINT64_MAX},           /* head_bytes */
                {24, 8, UINT64_MAX},           /* file_bytes */
                {32, 4, UINT32_MAX},           /* n_entries */
                {32, 4, 0},                    /* n_entries */
                {40, 1, 'x'},                  /* key */
                {112, 1, 'x'},                 /* a name */
                {112 + 56, 4, 300},            /* a type */
                {112 + 56, 4, DTYPE_F32},      /* another */
                {112 + 60, 4, 0},              /* rows */
                {112 + 60, 4, UINT32_MAX},     /* rows */
                {112 + 64, 4, 1},              /* columns */
                {112 + 72, 8, 0},              /* an offset */
                {112 + 72, 8, UINT64_MAX - 1}, /* an offset */
                {112 + 80, 8, UINT64_MAX},     /* bytes */
                {112 + 88, 8, 0}};             /* a hash */
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        make_good(&f, fd);
        assert_int_equal(pread(fd, head, sizeof(head), 0), (ssize_t)sizeof(head));
        memcpy(head + lies[i].at, &lies[i].value, lies[i].n);
        memset(head + 104, 0, 8);
        uint64_t hash = pack_hash(head, sizeof(head));
        memcpy(head + 104, &hash, 8);
        assert_int_equal(pwrite(fd, head, sizeof(head), 0), (ssize_t)sizeof(head));
        if (is_taken(&f, fd))
            fail_msg("lie %zu was believed", i);
    }
    close(fd);
    close_fixture(&f);
}

/* Same shapes, same key, other weights: hashes alone would not tell. */
static void test_other_weights(void **state)
{
    struct fixture f, other;
    (void)state;
    open_fixture(&f, 1);
    int fd = temporary("first");
    make_good(&f, fd);
    close_fixture(&f);
    open_fixture(&other, 2);
    assert_false(is_taken(&other, fd));
    close(fd);
    close_fixture(&other);
}

/* ---- no room, no right, no end ---- */

static void wants_memory(struct fixture *f, int fd_out, const char *why)
{
    struct packed p;
    load(f, -1, fd_out, &p);
    assert_int_equal(p.report.from, PACK_MEMORY);
    if (strstr(p.report.note, why) == NULL)
        fail_msg("note '%s' does not say '%s'", p.report.note, why);
    check_all(f);
    packed_release(&p);
}

static void test_cannot_write(void **state)
{
    struct fixture f;
    struct rlimit before, small;
    (void)state;
    open_fixture(&f, 1);
    int fd = temporary("full");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    wants_memory(&f, fd, "File too large");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    close(fd);
    char *path = fs_join(root, "full");
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    wants_memory(&f, fd, "Bad file descriptor");
    close(fd);
    free(path);
    close_fixture(&f);
}

static void test_full_disk(void **state)
{
    struct fixture f;
    char options[] = "size=256k", *path = fs_join(root, "tmpfs");
    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    /* Needs the right to mount, which tests have in containers and CI as root. */
    char command[256];
    snprintf(command, sizeof(command), "mount -t tmpfs -o %s none %s 2>/dev/null", options, path);
    if (system(command) != 0) {
        free(path);
        skip();
    }
    open_fixture(&f, 1);
    int fd = temporary("tmpfs/out");
    wants_memory(&f, fd, "No space left");
    close(fd);
    snprintf(command, sizeof(command), "umount %s", path);
    assert_int_equal(system(command), 0);
    free(path);
    close_fixture(&f);
}

static void die_half_way(void *ctx, const char *stage, double fraction)
{
    (void)ctx;
    if (strcmp(stage, "pack") == 0 && fraction > 0.5)
        raise(SIGKILL);
}

/* A writer that is killed leaves a file of full size that nobody takes. */
static void test_crash(void **state)
{
    struct fixture f;
    struct stat st;
    (void)state;
    int fd = temporary("crash"), status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct packed p;
        open_fixture(&f, 1);
        f.o.progress = die_half_way;
        load(&f, -1, fd, &p);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(fstat(fd, &st) == 0 && st.st_size > 4096);
    open_fixture(&f, 1);
    assert_false(is_taken(&f, fd));
    close(fd);
    close_fixture(&f);
}

/* ---- logits ---- */

/* The same bits whichever way, and at a level that multiplies from the file, too. */
static void test_logits(void **state)
{
    struct fixture f;
    struct err err = {0};
    float logits[3][N_VOCAB];
    (void)state;
    open_fixture(&f, TAME);
    int fd = temporary("logits");
    make_good(&f, fd);
    struct pack_files mapped = {.fd_in = fd, .fd_out = -1};
    memset(mapped.key, 'k', sizeof(mapped.key));
    const struct pack_files *ways[] = {NULL, &mapped, NULL};
    struct kernels plain = *f.o.kernels; /* without a packed form of anything */
    memset(plain.mul_packed, 0, sizeof(plain.mul_packed));
    for (int i = 0; i < 3; i++) {
        struct model *m;
        struct model_opts o = f.o;
        o.pack = ways[i];
        o.kernels = i == 2 ? &plain : f.o.kernels;
        if (model_new(f.g, &o, &m, &err) != 0)
            fail_msg("%s", err.text);
        static const enum pack_from from[] = {PACK_MEMORY, PACK_MAPPED, PACK_NOTHING};
        assert_int_equal(model_pack_report(m)->from, from[i]);
        struct kv_slab kv = {mem_try_aligned((size_t)model_info(m)->kv_block_bytes), 1};
        assert_non_null(kv.base);
        model_forward(
            m, &kv,
            &(struct batch){.token = (const int32_t[]){7},
                            .n_tokens = 1,
                            .seq = &(struct batch_seq){.block = (uint32_t[]){0}, .n_tokens = 1},
                            .n_seq = 1,
                            .out_row = (const int32_t[]){0},
                            .n_out = 1},
            logits[i]);
        mem_free_aligned(kv.base);
        model_free(m);
    }
    for (int i = 0; i < N_VOCAB; i++)
        assert_true(isfinite(logits[0][i]) && logits[0][i] != 0.0f);
    assert_memory_equal(logits[0], logits[1], sizeof(logits[0]));
    assert_memory_equal(logits[0], logits[2], sizeof(logits[0]));
    close(fd);
    close_fixture(&f);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(root) == NULL;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_ways),
        cmocka_unit_test(test_bad_is_replaced),
        cmocka_unit_test(test_every_byte_counts),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_hostile_header),
        cmocka_unit_test(test_other_weights),
        cmocka_unit_test(test_cannot_write),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_crash),
        cmocka_unit_test(test_logits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
