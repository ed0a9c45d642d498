/*
 * panel_avx2: the tiles over bytes of a panel (panel_avx2.h).
 */
#include "kernels/x86/panel_avx2.h"

#include "kernels/x86/tile_avx2.h"

void panel_split_signs(struct panel *p, const struct panel_type *t, int n_blocks)
{
    for (int b = 0; b < n_blocks; b++)
        for (int h = 0; h < 2; h++) {
            __m256i sum = _mm256_setzero_si256();
            for (int i = 0; i < 8; i++) {
                uint8_t *q = p->q[8 * b + i][8 * h];
                const int16_t *scale = is_scaled(t->kind) ? p->s[b].scale[i / 4][8 * h] : k_ones;
                split_quad(&sum, q, p->sign[8 * b + i][8 * h], load256(q), scale);
            }
            _mm256_store_si256((__m256i *)&p->s[b].correct[8 * h], sum);
        }
}

typedef void (*tile_fn)(const struct panel *p, int n_blocks, const struct columns *x, bool first,
                        float *y, size_t y_stride);

/* X(name, kind, min, offset, widest tile) */
#define TILES(X)                                                                                   \
    X(u4_min, PANEL_U4, MIN_32, 0, 3)                                                              \
    X(u4_off8, PANEL_U4, MIN_NONE, 8, 4)                                                           \
    X(u4_off1, PANEL_U4, MIN_NONE, 1, 4)                                                           \
    X(u5_min, PANEL_U5, MIN_32, 0, 4)                                                              \
    X(u5_off16, PANEL_U5, MIN_NONE, 16, 4)                                                         \
    X(u5_off12, PANEL_U5, MIN_NONE, 12, 4)                                                         \
    X(u5s_min16, PANEL_U5S, MIN_16, 0, 3)                                                          \
    X(u5s_off4, PANEL_U5S, MIN_NONE, 4, 3)                                                         \
    X(u6s, PANEL_U6S, MIN_NONE, 32, 3)                                                             \
    X(s8, PANEL_S8, MIN_NONE, 0, 4)                                                                \
    X(s8s, PANEL_S8S, MIN_NONE, 0, 4)                                                              \
    X(s8s_min16, PANEL_S8S, MIN_16, 0, 4)

#define TILE(name, kind, min, offset, nc)                                                          \
    static __attribute__((noinline)) void tile_##name##_##nc(const struct panel *p, int n_blocks,  \
                                                             const struct columns *x, bool first,  \
                                                             float *y, size_t y_stride)            \
    {                                                                                              \
        const struct shape sh = {SOURCE_BYTES, kind, min, offset, 512, 0};                         \
        tile(sh, nc, p->q[0][0], p->s, n_blocks, x, first, y, y_stride);                           \
    }
#define X(name, kind, min, offset, widest)                                                         \
    TILE(name, kind, min, offset, 1)                                                               \
    TILE(name, kind, min, offset, 2)                                                               \
    TILE(name, kind, min, offset, 3)                                                               \
    TILE(name, kind, min, offset, 4)
TILES(X)
#undef X

static const struct {
    struct panel_type type;
    int widest;
    tile_fn fn[TILE_COLS + 1];
} tiles[] = {
#define X(name, kind, min, offset, widest)                                                         \
    {{kind, min, offset},                                                                          \
     widest,                                                                                       \
     {NULL, tile_##name##_1, tile_##name##_2, tile_##name##_3, tile_##name##_4}},
    TILES(X)
#undef X
};

void panel_mul(const struct panel_type *t, const struct panel *p, int n_blocks, int b0, bool first,
               float *y, size_t y_stride, const void *x, size_t x_stride, int n_cols, int n_k)
{
    size_t i = 0;
    while (tiles[i].type.kind != t->kind || tiles[i].type.min != t->min ||
           tiles[i].type.offset != t->offset)
        i++;
    for (int c = 0; c < n_cols;) {
        const int nc = tile_cols(n_cols - c, tiles[i].widest);
        const struct columns cols =
            columns_at((const uint8_t *)x + (size_t)c * x_stride, x_stride, nc, n_k, b0);
        tiles[i].fn[nc](p, n_blocks, &cols, first, y + (size_t)c * y_stride, y_stride);
        c += nc;
    }
}
