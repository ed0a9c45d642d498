/*
 * packed_tile_avx2: the tiles over packed quants, and their unpacking to bytes.
 *
 * Everything is expanded per type (packed_avx2.h) from tile_avx2.h.
 */
#include "kernels/pack.h"
#include "kernels/x86/packed_avx2.h"

/* How far ahead of the multiplication a panel is prefetched. One column goes as fast as the memory,
 * whose own looking ahead is then the best. */
#define AHEAD(nc) ((nc) == 1 ? 128 : 2048)

ALWAYS void bytes_of_block(enum source source, enum panel_kind kind, struct panel *p, int b,
                           const uint8_t *w)
{
    __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    UNROLL for (int i = 0; i < 8; i++)
    {
        const int t = quad_order(kind, i);
        UNROLL for (int h = 0; h < 2; h++)
        {
            const __m256i v = quad_of(source, w, t, h, NULL);
            uint8_t *to = p->q[8 * b + t][8 * h];
            const int16_t *scale = is_scaled(kind) ? p->s[b].scale[t / 4][8 * h] : k_ones;
            if (kind == PANEL_S8 || kind == PANEL_S8S)
                split_quad(&sum[h], to, p->sign[8 * b + t][8 * h], v, scale);
            else
                _mm256_store_si256((__m256i *)to, v);
        }
    }
    if (kind == PANEL_S8 || kind == PANEL_S8S) {
        _mm256_store_si256((__m256i *)&p->s[b].correct[0], sum[0]);
        _mm256_store_si256((__m256i *)&p->s[b].correct[8], sum[1]);
    }
}

ALWAYS void bytes_of_blocks(enum source source, enum panel_kind kind, size_t before, size_t step,
                            int unit_blocks, struct panel *p, const uint8_t *unit, int n_blocks,
                            size_t ahead)
{
    const size_t unit_bytes = unit_blocks == 1 ? step : before + 8 * step;
    for (int b = 0; b < n_blocks; b++) {
        const size_t i = (size_t)(b / unit_blocks), j = (size_t)(b % unit_blocks);
        const uint8_t *w = unit + i * unit_bytes + before + j * step;
        for (size_t k = 0; k < step; k += 64)
            _mm_prefetch((const char *)w + ahead + k, _MM_HINT_T1);
        bytes_of_block(source, kind, p, b, w);
    }
}

#define X(name, source, kind, min, offset, before, step, unit_blocks)                              \
    static void bytes_##name(struct panel *p, const uint8_t *unit, int n_blocks, size_t ahead)     \
    {                                                                                              \
        bytes_of_blocks(source, kind, before, step, unit_blocks, p, unit, n_blocks, ahead);        \
    }
PACKED_TYPES(X)
#undef X

#define TILE(name, source, kind, min, offset, before, step, nc)                                    \
    static __attribute__((noinline)) void tile_##name##_##nc(                                      \
        const uint8_t *unit, const struct panel_scales *s, int n_blocks, const struct columns *x,  \
        bool first, float *y, size_t y_stride)                                                     \
    {                                                                                              \
        const struct shape sh = {source, kind, min, offset, step, AHEAD(nc)};                      \
        tile(sh, nc, unit + (before), s, n_blocks, x, first, y, y_stride);                         \
    }
#define X(name, source, kind, min, offset, before, step, unit_blocks)                              \
    TILE(name, source, kind, min, offset, before, step, 1)                                         \
    TILE(name, source, kind, min, offset, before, step, 2)                                         \
    TILE(name, source, kind, min, offset, before, step, 3)                                         \
    TILE(name, source, kind, min, offset, before, step, 4)
PACKED_TYPES(X)
#undef X

/* Quants in one place become bytes at little cost: unpacking them twice is cheaper than storing
 * them for a few columns. */
#define FUSED_COLS(source)                                                                         \
    ((source) == SOURCE_NIB || (source) == SOURCE_TWO || (source) == SOURCE_BYTE ||                \
             (source) == SOURCE_IQ4                                                                \
         ? PACKED_FUSED                                                                            \
         : TILE_COLS)

#define X(name, source, kind, min, offset, before, step, n)                                        \
    const struct packed_type packed_##name = {                                                     \
        .panel = {kind, min, offset},                                                              \
        .unit_bytes = (n) == 1 ? (step) : (before) + 8 * (step),                                   \
        .unit_blocks = (n),                                                                        \
        .fused_cols = FUSED_COLS(source),                                                          \
        .scales = packed_scales_##name,                                                            \
        .bytes = bytes_##name,                                                                     \
        .tile = {NULL, tile_##name##_1, tile_##name##_2, tile_##name##_3, tile_##name##_4},        \
    };
PACKED_TYPES(X)
#undef X
