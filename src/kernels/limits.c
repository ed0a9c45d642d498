/*
 * limits: see limits.h.
 *
 * Both measurements hand out work in pieces, as the kernels do: on a shared machine the threads are
 * unequal, and a limit that waited for the slowest would be none.
 */
#include "kernels/limits.h"

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/limits_loops.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BUFFER_LEAST ((size_t)256 << 20)
#define BUFFER_MOST  ((size_t)2 << 30)
#define PIECE        ((size_t)1 << 20)
#define LOOP_ROUNDS  20000 /* some tens of microseconds between looks at the clock */

/* ---- reading ---- */

static size_t last_level_bytes(void)
{
    long l3 = -1, l2 = -1;
#ifdef _SC_LEVEL3_CACHE_SIZE
    l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    long most = l3 > l2 ? l3 : l2;
    return most > 0 ? (size_t)most : 0;
}

struct reading {
    const struct limits_buffer *b;
    size_t n_piece;
    int64_t deadline_ns;
    _Atomic size_t next;
    _Atomic uint64_t n_bytes;
    _Atomic uint64_t sum; /* of all words: keeps the compiler from leaving the reads out */
};

typedef uint64_t words __attribute__((vector_size(32)));

static uint64_t read_piece(const uint8_t *p, size_t bytes)
{
    const words *w = (const void *)p;
    words a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i + 4 <= bytes / sizeof(*w); i += 4) {
        __builtin_prefetch(w + i + 64);
        __builtin_prefetch(w + i + 66);
        a += w[i];
        b += w[i + 1];
        c += w[i + 2];
        d += w[i + 3];
    }
    a += b + c + d;
    return a[0] + a[1] + a[2] + a[3];
}

/* One item a thread; each takes pieces until the time is over and the first pass is done. */
static void read_item(void *ctx, int i_item, int i_thread)
{
    struct reading *r = ctx;
    uint64_t sum = 0, n = 0;
    (void)i_item;
    (void)i_thread;
    for (;;) {
        size_t i = atomic_fetch_add(&r->next, 1);
        if (i >= r->n_piece && clock_ns() >= r->deadline_ns)
            break;
        sum += read_piece((const uint8_t *)r->b->base + i % r->n_piece * PIECE, PIECE);
        n += PIECE;
    }
    atomic_fetch_add(&r->sum, sum);
    atomic_fetch_add(&r->n_bytes, n);
}

double limits_read(struct pool *p, const struct limits_buffer *b, int64_t for_ns)
{
    int64_t start = clock_ns();
    struct reading r = {.b = b, .n_piece = b->bytes / PIECE, .deadline_ns = start + for_ns};
    pool_run(p, read_item, &r, pool_n_threads(p));
    int64_t ns = clock_ns() - start;
    return (double)r.n_bytes * 1e9 / (double)(ns > 0 ? ns : 1);
}

static void fill_item(void *ctx, int i_item, int i_thread)
{
    struct limits_buffer *b = ctx;
    (void)i_thread;
    memset((uint8_t *)b->base + (size_t)i_item * PIECE, i_item | 1, PIECE);
}

int limits_buffer_new(struct pool *p, size_t bytes, struct limits_buffer *ret, struct err *err)
{
    if (bytes == 0) {
        bytes = 4 * last_level_bytes();
        bytes = bytes < BUFFER_LEAST ? BUFFER_LEAST : bytes;
        bytes = bytes > BUFFER_MOST ? BUFFER_MOST : bytes;
    }
    bytes = (bytes + PIECE - 1) / PIECE * PIECE;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return err_set(err, ERR_NOMEM, "no %zu bytes of memory to measure reading with", bytes);
    madvise(base, bytes, MADV_HUGEPAGE);
    struct limits_buffer b = {base, bytes};
    pool_run(p, fill_item, &b, (int)(bytes / PIECE));
    *ret = b;
    return 0;
}

void limits_buffer_free(struct limits_buffer *b)
{
    if (b->base != NULL)
        munmap(b->base, b->bytes);
    *b = (struct limits_buffer){0};
}

/* ---- multiplying ---- */

/* What the compiler makes of a plain dot product for any processor of this architecture. */
static int64_t loop_generic(int64_t n)
{
    enum { N = 1024 }; /* stays in the first-level cache */
    static const int8_t a[N] = {1, -2, 3}, b[N] = {4, 5, -6};
    const int8_t *x = a, *y = b;
    int32_t sum = 0;
    n = n / 16 + 1;
    for (int64_t i = 0; i < n; i++) {
        __asm__ volatile("" : "+r"(x), "+r"(y) : : "memory");
        for (int k = 0; k < N; k++)
            sum += x[k] * y[k];
    }
    __asm__ volatile("" : : "r"(sum));
    return n * N;
}

static const struct limits_loop *loop_of(enum cpu_level level)
{
    static const struct limits_loop generic = {"generic", "C", loop_generic};
    const char *name = cpu_level_name(level);
    for (const struct limits_loop *l = limits_loops_native; l->level != NULL; l++)
        if (strcmp(l->level, name) == 0)
            return l;
    return &generic;
}

struct multiplying {
    limits_loop_fn fn;
    int64_t deadline_ns;
    _Atomic int64_t n_macs;
};

/* One item a thread; who comes late, or takes a second one, finds the time over: one round, so that
 * a busy machine is slow and not without a figure. */
static void multiply_item(void *ctx, int i_item, int i_thread)
{
    struct multiplying *m = ctx;
    int64_t n = 0;
    (void)i_item;
    (void)i_thread;
    do {
        n += m->fn(LOOP_ROUNDS);
    } while (clock_ns() < m->deadline_ns);
    atomic_fetch_add(&m->n_macs, n);
}

double limits_multiply(struct pool *p, enum cpu_level level, int64_t for_ns)
{
    int64_t start = clock_ns();
    struct multiplying m = {.fn = loop_of(level)->fn, .deadline_ns = start + for_ns};
    if (p == NULL)
        multiply_item(&m, 0, 0);
    else
        pool_run(p, multiply_item, &m, pool_n_threads(p));
    int64_t ns = clock_ns() - start;
    return (double)m.n_macs * 1e9 / (double)(ns > 0 ? ns : 1);
}

const char *limits_instruction(enum cpu_level level)
{
    return loop_of(level)->instruction;
}

#if !defined(__x86_64__) && !defined(__aarch64__)
const struct limits_loop limits_loops_native[] = {{NULL, NULL, NULL}};
#endif
