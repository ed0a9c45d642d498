/*
 * check_data: guarded buffers, repeatable random numbers, random blocks of every type.
 */
#include "check.h"

#include "base/check.h"
#include "base/rng.h"
#include "tensor/blocks.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct check_buf check_buf_new(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (size + page - 1) / page * page;
    struct check_buf b = {.size = size, .map_size = inner + 2 * page};
    b.map = mmap(NULL, b.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(b.map != MAP_FAILED);
    CHECK(mprotect(b.map, page, PROT_NONE) == 0);
    CHECK(mprotect((char *)b.map + page + inner, page, PROT_NONE) == 0);
    b.ptr = (char *)b.map + page + inner - size;
    return b;
}

void check_buf_free(struct check_buf *b)
{
    munmap(b->map, b->map_size);
}

#define CANARY 0x7fabcdefu /* a NaN with a mark */

static uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    return bits;
}

void check_canary(struct check_buf *b)
{
    uint32_t *p = b->ptr;
    for (size_t i = 0; i < b->size / 4; i++)
        p[i] = CANARY;
}

bool check_is_canary(float v)
{
    return bits_of(v) == CANARY;
}

/* Where a weight's scale is infinite, a residual of zeros beside a true one may make a NaN of an
 * infinite sum. */
bool check_same(float a, float b)
{
    return bits_of(a) == bits_of(b) ||
           (!isfinite(a) && !isfinite(b) && !check_is_canary(a) && !check_is_canary(b));
}

static uint64_t counter;

uint64_t check_u64(void)
{
    uint32_t w[4];
    rng_philox(20261122, 6, counter++, w);
    return (uint64_t)w[0] << 32 | w[1];
}

int check_int(int from, int to)
{
    return from + (int)(check_u64() % (uint64_t)(to - from + 1));
}

float check_uniform(float from, float to)
{
    return from + (to - from) * (float)(check_u64() >> 40) * 0x1p-24f;
}

float check_gauss(void)
{
    float sum = 0;
    uint64_t bits = check_u64();
    for (int i = 0; i < 4; i++)
        sum += (float)(bits >> (16 * i) & 0xffff) * 0x1p-16f - 0.5f;
    return sum * 1.7320508f;
}

const char *fill_name(enum fill f)
{
    static const char *const name[] = {"sane", "max", "zero", "wild"};
    return name[f];
}

static uint16_t sane_half(void)
{
    float v = ldexpf(check_uniform(0.5f, 1.0f), check_int(-9, -4));
    return f32_to_f16(check_u64() & 1 ? v : -v);
}

/* Offsets of the half floats of a block. */
struct half_fields {
    int n;
    size_t at[2];
};

static struct half_fields halves(enum dtype t)
{
    switch (t) {
    case DTYPE_Q4_1:
        return (struct half_fields){
            2, {offsetof(struct block_q4_1, d), offsetof(struct block_q4_1, m)}};
    case DTYPE_Q5_1:
        return (struct half_fields){
            2, {offsetof(struct block_q5_1, d), offsetof(struct block_q5_1, m)}};
    case DTYPE_Q2_K:
        return (struct half_fields){
            2, {offsetof(struct block_q2_k, d), offsetof(struct block_q2_k, dmin)}};
    case DTYPE_Q3_K:
        return (struct half_fields){1, {offsetof(struct block_q3_k, d)}};
    case DTYPE_Q4_K:
        return (struct half_fields){
            2, {offsetof(struct block_q4_k, d), offsetof(struct block_q4_k, dmin)}};
    case DTYPE_Q5_K:
        return (struct half_fields){
            2, {offsetof(struct block_q5_k, d), offsetof(struct block_q5_k, dmin)}};
    case DTYPE_Q6_K:
        return (struct half_fields){1, {offsetof(struct block_q6_k, d)}};
    case DTYPE_TQ1_0:
        return (struct half_fields){1, {offsetof(struct block_tq1_0, d)}};
    case DTYPE_TQ2_0:
        return (struct half_fields){1, {offsetof(struct block_tq2_0, d)}};
    case DTYPE_MXFP4:
    case DTYPE_IQ1_M:
        return (struct half_fields){0};
    default:
        return (struct half_fields){1, {0}};
    }
}

static void sane_scales(enum dtype t, uint8_t *block)
{
    struct half_fields f = halves(t);
    for (int i = 0; i < f.n; i++) {
        uint16_t h = sane_half();
        memcpy(block + f.at[i], &h, 2);
    }
    if (t == DTYPE_MXFP4)
        block[0] = (uint8_t)check_int(118, 130);
    if (t == DTYPE_IQ1_M) {
        struct block_iq1_m *b = (struct block_iq1_m *)block;
        uint16_t h = sane_half();
        for (int i = 0; i < 4; i++)
            b->scales[i] = (uint16_t)((b->scales[i] & 0x0fff) | (h >> 4 * i & 15) << 12);
    }
}

static void fill_float_weights(enum dtype t, uint8_t *dst, size_t n, enum fill f)
{
    for (size_t i = 0; i < n; i++) {
        float v = f == FILL_MAX ? 60000.0f : f == FILL_ZERO ? 0 : check_gauss();
        if (f == FILL_WILD && check_u64() % 8 == 0)
            v = check_u64() & 1 ? INFINITY : NAN;
        uint16_t h = t == DTYPE_F16 ? f32_to_f16(v) : f32_to_bf16(v);
        if (t == DTYPE_F32)
            memcpy(dst + 4 * i, &v, 4);
        else
            memcpy(dst + 2 * i, &h, 2);
    }
}

void fill_blocks(enum dtype t, void *dst, size_t n_blocks, enum fill f)
{
    const struct dtype_info *info = dtype_info(t);
    uint8_t *p = dst;
    if (info->block_elems == 1) {
        fill_float_weights(t, p, n_blocks, f);
        return;
    }
    for (size_t b = 0; b < n_blocks; b++, p += info->block_bytes) {
        for (int i = 0; i < info->block_bytes; i++)
            p[i] = f == FILL_MAX ? 0xff : f == FILL_ZERO ? 0 : (uint8_t)check_u64();
        if (f == FILL_SANE || f == FILL_MAX)
            sane_scales(t, p);
    }
}

void fill_floats(float *dst, size_t n, enum fill f)
{
    static const float wild[] = {1e30f, -1e30f, 1e-30f, 1e-42f, -0.0f, 3.0f, INFINITY, -INFINITY};
    float scale = check_uniform(0.01f, 10.0f);
    /* Most wild columns are wild in few places, so that the rest of the result can be compared. */
    uint64_t rarity = 1 + check_u64() % 200;
    for (size_t i = 0; i < n; i++) {
        dst[i] = scale * check_gauss();
        if (f == FILL_MAX)
            dst[i] = check_u64() & 1 ? scale : -scale;
        if (f == FILL_ZERO)
            dst[i] = 0;
        if (f == FILL_WILD && check_u64() % rarity == 0) {
            uint64_t pick = check_u64() % 9;
            dst[i] = pick < 8 ? wild[pick] : NAN;
        }
    }
}
