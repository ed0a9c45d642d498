/*
 * mul_avx2: products of quantized weights: fills panels of 16 rows and multiplies them.
 *
 * Owns how the blocks of each type are read into a panel with AVX2. Types without a fill of their
 * own go through the unpackers of unpack.h.
 */
#include "kernels/unpack.h"
#include "kernels/x86/avx2.h"
#include "kernels/x86/panel_avx2.h"
#include "tensor/blocks.h"

#include <immintrin.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))

/*
 * Fills blocks [0, n_blocks) of the panel from block b0 (of 32) of each row. Sixteen rows at once
 * are more streams than the processor follows by itself, so meanwhile as many bytes as are used are
 * prefetched, in the order of addresses, from `ahead` on: the next sixteen rows (they need not be
 * mapped).
 */
typedef void (*fill_fn)(struct panel *p, const uint8_t *const row[PANEL_ROWS], int b0, int n_blocks,
                        uintptr_t ahead);

struct file_type {
    fill_fn fill;
    struct panel_type panel;
};

/* An 8 x 8 matrix of dwords, rows to columns. */
ALWAYS void transpose8(const __m256i v[8], __m256i ret[8])
{
    __m256i a[8], c[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        c[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        c[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        c[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        c[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int t = 0; t < 4; t++) {
        ret[t] = _mm256_permute2x128_si256(c[t], c[t + 4], 0x20);
        ret[t + 4] = _mm256_permute2x128_si256(c[t], c[t + 4], 0x31);
    }
}

/* 8 rows of 32 elements become 8 registers of 4 elements of each row. */
ALWAYS void transpose_store(struct panel *p, int b, int half, const __m256i v[8])
{
    __m256i t[8];
    transpose8(v, t);
    for (int i = 0; i < 8; i++)
        _mm256_store_si256((__m256i *)p->q[8 * b + i][8 * half], t[i]);
}

ALWAYS uint16_t load_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* The half float at `at` of 8 rows. */
ALWAYS __m256 halves(const uint8_t *const row[8], size_t at)
{
    __m128i v = _mm_cvtsi32_si128(load_u16(row[0] + at));
    v = _mm_insert_epi16(v, load_u16(row[1] + at), 1);
    v = _mm_insert_epi16(v, load_u16(row[2] + at), 2);
    v = _mm_insert_epi16(v, load_u16(row[3] + at), 3);
    v = _mm_insert_epi16(v, load_u16(row[4] + at), 4);
    v = _mm_insert_epi16(v, load_u16(row[5] + at), 5);
    v = _mm_insert_epi16(v, load_u16(row[6] + at), 6);
    v = _mm_insert_epi16(v, load_u16(row[7] + at), 7);
    return _mm256_cvtph_ps(v);
}

/* Prefetches part i of n of what stands in the place of the 16 blocks at `at` (fill_fn). */
ALWAYS void prefetch_ahead(uintptr_t ahead, size_t at, size_t block_bytes, size_t i, size_t n)
{
    const size_t bytes = block_bytes * PANEL_ROWS / n;
    const uintptr_t from = ahead + at * PANEL_ROWS + i * bytes;
    for (size_t j = 0; j < bytes; j += 64)
        __builtin_prefetch((const void *)(from + j));
}

/* ---- 32 elements of one row as bytes ---- */

ALWAYS __m256i nibbles16(const uint8_t *qs)
{
    const __m128i v = _mm_loadu_si128((const __m128i *)qs);
    const __m256i both = _mm256_set_m128i(_mm_srli_epi16(v, 4), v);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* Bit i of the 32 becomes 0x10 in byte i. */
ALWAYS __m256i fifth_bits(const uint8_t *qh)
{
    int32_t bits;
    memcpy(&bits, qh, 4);
    const __m256i spread = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202,
                                             0x0101010101010101, 0x0000000000000000);
    const __m256i select = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i v =
        _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread), select);
    return _mm256_and_si256(_mm256_cmpeq_epi8(v, select), _mm256_set1_epi8(16));
}

ALWAYS __m256i quants_q4_0(const uint8_t *block)
{
    return nibbles16(block + offsetof(struct block_q4_0, qs));
}

ALWAYS __m256i quants_q4_1(const uint8_t *block)
{
    return nibbles16(block + offsetof(struct block_q4_1, qs));
}

ALWAYS __m256i quants_q5_0(const uint8_t *block)
{
    return _mm256_or_si256(nibbles16(block + offsetof(struct block_q5_0, qs)),
                           fifth_bits(block + offsetof(struct block_q5_0, qh)));
}

ALWAYS __m256i quants_q5_1(const uint8_t *block)
{
    return _mm256_or_si256(nibbles16(block + offsetof(struct block_q5_1, qs)),
                           fifth_bits(block + offsetof(struct block_q5_1, qh)));
}

ALWAYS __m256i quants_q8_0(const uint8_t *block)
{
    return _mm256_loadu_si256((const __m256i *)(block + offsetof(struct block_q8_0, qs)));
}

ALWAYS __m256i quants_iq4_nl(const uint8_t *block)
{
    const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)iq4_value));
    return _mm256_shuffle_epi8(table, nibbles16(block + offsetof(struct block_iq4_nl, qs)));
}

/* ---- fills for types of 32 elements ---- */

#define FILL_32(name, has_min)                                                                     \
    static void fill_##name(struct panel *p, const uint8_t *const row[PANEL_ROWS], int b0,         \
                            int n_blocks, uintptr_t ahead)                                         \
    {                                                                                              \
        for (int b = 0; b < n_blocks; b++) {                                                       \
            const size_t at = (size_t)(b0 + b) * sizeof(struct block_##name);                      \
            prefetch_ahead(ahead, at, sizeof(struct block_##name), 0, 1);                          \
            for (int half = 0; half < 2; half++) {                                                 \
                const uint8_t *const *r = row + 8 * half;                                          \
                __m256i v[8];                                                                      \
                for (int i = 0; i < 8; i++) {                                                      \
                    v[i] = quants_##name(r[i] + at);                                               \
                }                                                                                  \
                transpose_store(p, b, half, v);                                                    \
                _mm256_store_ps(p->s[b].d + 8 * half, halves(r, at));                              \
                if (has_min)                                                                       \
                    _mm256_store_ps(p->s[b].m[0] + 8 * half, halves(r, at + 2));                   \
            }                                                                                      \
        }                                                                                          \
    }
FILL_32(q4_0, false)
FILL_32(q4_1, true)
FILL_32(q5_0, false)
FILL_32(q5_1, true)
FILL_32(q8_0, false)
FILL_32(iq4_nl, false)

/* ---- fills for types of 256 elements, 8 rows at a time ---- */

/* The 6-bit scales and minima of q4_k and q5_k of one row, as 8 + 8 bytes (block_scale_min_k). */
ALWAYS __m128i scales_minima(const uint8_t *scales)
{
    uint32_t u[3];
    memcpy(u, scales, 12);
    const uint32_t six = 0x3f3f3f3f, four = 0x0f0f0f0f, two = 0x03030303;
    return _mm_setr_epi32((int)(u[0] & six), (int)((u[2] & four) | (u[0] >> 6 & two) << 4),
                          (int)(u[1] & six), (int)((u[2] >> 4 & four) | (u[1] >> 6 & two) << 4));
}

/* d * scale and -(dmin * min) of 8 groups of 8 rows; `at`: where the blocks start in the rows. */
ALWAYS void fill_scales_k(struct panel *p, int b, int half, const uint8_t *const row[8], size_t at)
{
    _Static_assert(offsetof(struct block_q4_k, scales) == offsetof(struct block_q5_k, scales) &&
                       offsetof(struct block_q4_k, d) == offsetof(struct block_q5_k, d),
                   "q4_k and q5_k begin alike");
    __m256i d[8], m[8], t[8];
    const __m256 all_d = halves(row, at + offsetof(struct block_q4_k, d));
    const __m256 all_min = halves(row, at + offsetof(struct block_q4_k, dmin));
    _Alignas(32) float row_d[8], row_min[8];
    _mm256_store_ps(row_d, all_d);
    _mm256_store_ps(row_min, _mm256_xor_ps(all_min, _mm256_set1_ps(-0.0f)));
    for (int i = 0; i < 8; i++) {
        const __m128i bytes = scales_minima(row[i] + at + offsetof(struct block_q4_k, scales));
        const __m256 s = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
        const __m256 n = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)));
        d[i] = _mm256_castps_si256(_mm256_mul_ps(_mm256_set1_ps(row_d[i]), s));
        m[i] = _mm256_castps_si256(_mm256_mul_ps(_mm256_set1_ps(row_min[i]), n));
    }
    transpose8(d, t);
    for (int g = 0; g < 8; g++)
        _mm256_store_si256((__m256i *)(p->s[b + g].d + 8 * half), t[g]);
    transpose8(m, t);
    for (int g = 0; g < 8; g++)
        _mm256_store_si256((__m256i *)(p->s[b + g].m[0] + 8 * half), t[g]);
}

ALWAYS __m256i load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Groups 2c and 2c + 1 of 8 rows of q4_k, or of q5_k when has_fifth. */
ALWAYS void fill_quants_k(struct panel *p, int b, int half, const uint8_t *const row[8], size_t at,
                          int c, bool has_fifth)
{
    const size_t qs = has_fifth ? offsetof(struct block_q5_k, qs) : offsetof(struct block_q4_k, qs);
    const __m256i four = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16);
    __m256i low[8], high[8];
    for (int i = 0; i < 8; i++) {
        const __m256i v = load32(row[i] + at + qs + 32 * (size_t)c);
        low[i] = _mm256_and_si256(v, four);
        high[i] = _mm256_and_si256(_mm256_srli_epi16(v, 4), four);
        if (has_fifth) {
            const __m256i qh = load32(row[i] + at + offsetof(struct block_q5_k, qh));
            const __m256i bit0 = _mm256_set1_epi8((char)(1 << 2 * c));
            const __m256i bit1 = _mm256_set1_epi8((char)(2 << 2 * c));
            const __m256i on0 = _mm256_cmpeq_epi8(_mm256_and_si256(qh, bit0), bit0);
            const __m256i on1 = _mm256_cmpeq_epi8(_mm256_and_si256(qh, bit1), bit1);
            low[i] = _mm256_or_si256(low[i], _mm256_and_si256(on0, fifth));
            high[i] = _mm256_or_si256(high[i], _mm256_and_si256(on1, fifth));
        }
    }
    transpose_store(p, b + 2 * c, half, low);
    transpose_store(p, b + 2 * c + 1, half, high);
}

#define FILL_K(name, has_fifth)                                                                    \
    static void fill_##name(struct panel *p, const uint8_t *const row[PANEL_ROWS], int b0,         \
                            int n_blocks, uintptr_t ahead)                                         \
    {                                                                                              \
        for (int b = 0; b < n_blocks; b += 8) {                                                    \
            const size_t bytes = sizeof(struct block_##name);                                      \
            const size_t at = (size_t)((b0 + b) / 8) * bytes;                                      \
            for (int half = 0; half < 2; half++) {                                                 \
                fill_scales_k(p, b, half, row + 8 * half, at);                                     \
                for (int c = 0; c < 4; c++) {                                                      \
                    prefetch_ahead(ahead, at, bytes, (size_t)(4 * half + c), 8);                   \
                    fill_quants_k(p, b, half, row + 8 * half, at, c, has_fifth);                   \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
FILL_K(q4_k, false)
FILL_K(q5_k, true)

/* The 16 scales of 8 rows of q6_k: each twice for the products, times -32 for the offset. */
ALWAYS void fill_scales_q6_k(struct panel *p, int b, int half, const uint8_t *const row[8],
                             size_t at)
{
    const __m256i first = _mm256_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13, 0, 1,
                                           0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13);
    const __m256i second = _mm256_add_epi8(first, _mm256_set1_epi8(2));
    const __m256 d = halves(row, at + offsetof(struct block_q6_k, d));
    __m256i v[8], t[8];
    for (int i = 0; i < 8; i++) {
        const uint8_t *s = row[i] + at + offsetof(struct block_q6_k, scales);
        v[i] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)s));
    }
    transpose8(v, t);
    for (int g = 0; g < 8; g++) {
        const __m256i minus32 =
            _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_slli_epi16(t[g], 5));
        _mm256_store_ps(p->s[b + g].d + 8 * half, d);
        _mm256_store_si256((__m256i *)p->s[b + g].scale[0][8 * half],
                           _mm256_shuffle_epi8(t[g], first));
        _mm256_store_si256((__m256i *)p->s[b + g].scale[1][8 * half],
                           _mm256_shuffle_epi8(t[g], second));
        _mm256_store_si256((__m256i *)p->s[b + g].offset[8 * half], minus32);
    }
}

/* Groups of 32 elements j and j + 2 of the n-th 128 of 8 rows: they share bytes of ql. */
ALWAYS void fill_quants_q6_k(struct panel *p, int b, int half, const uint8_t *const row[8],
                             size_t at, int n, int j)
{
    const __m256i four = _mm256_set1_epi8(15), upper = _mm256_set1_epi8(0x30);
    __m256i low[8], high[8];
    for (int i = 0; i < 8; i++) {
        const uint8_t *block = row[i] + at;
        const __m256i ql = load32(block + offsetof(struct block_q6_k, ql) + 64 * n + 32 * j);
        const __m256i qh = load32(block + offsetof(struct block_q6_k, qh) + 32 * n);
        const __m256i h0 = j == 0 ? _mm256_slli_epi16(qh, 4) : _mm256_slli_epi16(qh, 2);
        const __m256i h2 = j == 0 ? qh : _mm256_srli_epi16(qh, 2);
        low[i] = _mm256_or_si256(_mm256_and_si256(ql, four), _mm256_and_si256(h0, upper));
        high[i] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(ql, 4), four),
                                  _mm256_and_si256(h2, upper));
    }
    transpose_store(p, b + 4 * n + j, half, low);
    transpose_store(p, b + 4 * n + j + 2, half, high);
}

static void fill_q6_k(struct panel *p, const uint8_t *const row[PANEL_ROWS], int b0, int n_blocks,
                      uintptr_t ahead)
{
    for (int b = 0; b < n_blocks; b += 8) {
        const size_t at = (size_t)((b0 + b) / 8) * sizeof(struct block_q6_k);
        for (int half = 0; half < 2; half++) {
            fill_scales_q6_k(p, b, half, row + 8 * half, at);
            for (int n = 0; n < 2; n++) {
                const size_t part = (size_t)(4 * half + 2 * n);
                prefetch_ahead(ahead, at, sizeof(struct block_q6_k), part, 8);
                fill_quants_q6_k(p, b, half, row + 8 * half, at, n, 0);
                prefetch_ahead(ahead, at, sizeof(struct block_q6_k), part + 1, 8);
                fill_quants_q6_k(p, b, half, row + 8 * half, at, n, 1);
            }
        }
    }
}

/* ---- fills through the unpackers ---- */

ALWAYS void fill_unpacked(enum dtype t, int block_elems, size_t block_bytes, struct panel *p,
                          const uint8_t *const row[PANEL_ROWS], int b0, int n_blocks,
                          uintptr_t ahead)
{
    const k_unpack_fn unpack = k_unpackers_avx2[t].fn;
    const int n_group = block_elems / 32;
    for (int b = 0; b < n_blocks; b++) {
        const size_t at = (size_t)((b0 + b) / n_group) * block_bytes;
        const int i_group = (b0 + b) % n_group;
        prefetch_ahead(ahead, at, block_bytes, (size_t)i_group, (size_t)n_group);
        for (int half = 0; half < 2; half++) {
            __m256i v[8];
            for (int i = 0; i < 8; i++) {
                struct unpacked u;
                const int r = 8 * half + i;
                unpack(row[r] + at, i_group, &u);
                v[i] = _mm256_loadu_si256((const __m256i *)u.q);
                p->s[b].d[r] = u.d;
                for (int h = 0; h < 2; h++) {
                    p->s[b].m[h][r] = u.m[h];
                    p->s[b].scale[h][r][0] = p->s[b].scale[h][r][1] = (int16_t)u.scale[h];
                }
            }
            transpose_store(p, b, half, v);
        }
    }
}

#define UNPACKED(name, dtype)                                                                      \
    static void fill_##name(struct panel *p, const uint8_t *const row[PANEL_ROWS], int b0,         \
                            int n_blocks, uintptr_t ahead)                                         \
    {                                                                                              \
        fill_unpacked(dtype, 256, sizeof(struct block_##name), p, row, b0, n_blocks, ahead);       \
    }
#define UNPACKED_32(name, dtype)                                                                   \
    static void fill_##name(struct panel *p, const uint8_t *const row[PANEL_ROWS], int b0,         \
                            int n_blocks, uintptr_t ahead)                                         \
    {                                                                                              \
        fill_unpacked(dtype, 32, sizeof(struct block_##name), p, row, b0, n_blocks, ahead);        \
    }
UNPACKED(q2_k, DTYPE_Q2_K)
UNPACKED(q3_k, DTYPE_Q3_K)
UNPACKED(iq2_xxs, DTYPE_IQ2_XXS)
UNPACKED(iq2_xs, DTYPE_IQ2_XS)
UNPACKED(iq2_s, DTYPE_IQ2_S)
UNPACKED(iq3_xxs, DTYPE_IQ3_XXS)
UNPACKED(iq3_s, DTYPE_IQ3_S)
UNPACKED(iq1_s, DTYPE_IQ1_S)
UNPACKED(iq1_m, DTYPE_IQ1_M)
UNPACKED(iq4_xs, DTYPE_IQ4_XS)
UNPACKED(tq1_0, DTYPE_TQ1_0)
UNPACKED(tq2_0, DTYPE_TQ2_0)
UNPACKED_32(mxfp4, DTYPE_MXFP4)

/* ---- the product ---- */

/* Rows past the last repeat it: they cost nothing to think about and are not stored. */
static void row_pointers(const uint8_t *row[PANEL_ROWS], const void *w, size_t w_stride, int n_rows)
{
    for (int i = 0; i < PANEL_ROWS; i++)
        row[i] = (const uint8_t *)w + (size_t)(i < n_rows ? i : n_rows - 1) * w_stride;
}

static void mul_panel_rows(const struct file_type *t, struct panel *p, float *y, size_t y_stride,
                           const uint8_t *const row[PANEL_ROWS], size_t w_stride, const void *x,
                           size_t x_stride, int n_cols, int n_k)
{
    const uintptr_t ahead = (uintptr_t)row[0] + w_stride * PANEL_ROWS;
    for (int b0 = 0; b0 < n_k / 32; b0 += PANEL_BLOCKS) {
        const int left = n_k / 32 - b0;
        const int n_blocks = left < PANEL_BLOCKS ? left : PANEL_BLOCKS;
        t->fill(p, row, b0, n_blocks, ahead);
        if (t->panel.kind == PANEL_S8 || t->panel.kind == PANEL_S8S)
            panel_split_signs(p, &t->panel, n_blocks);
        panel_mul(&t->panel, p, n_blocks, b0, b0 == 0, y, y_stride, x, x_stride, n_cols, n_k);
    }
}

static void mul_panels(const struct file_type *t, K_MUL_ARGS)
{
    struct panel p;
    const uint8_t *row[PANEL_ROWS];
    int r = 0;
    for (; r + PANEL_ROWS <= n_rows; r += PANEL_ROWS) {
        row_pointers(row, (const uint8_t *)w + (size_t)r * w_stride, w_stride, PANEL_ROWS);
        mul_panel_rows(t, &p, y + r, y_stride, row, w_stride, x, x_stride, n_cols, n_k);
    }
    if (r == n_rows)
        return;
    row_pointers(row, (const uint8_t *)w + (size_t)r * w_stride, w_stride, n_rows - r);
    for (int c = 0; c < n_cols;) { /* through a whole tile, of which some rows are kept */
        float tmp[24][PANEL_ROWS];
        int nc = n_cols - c < 24 ? n_cols - c : 24;
        mul_panel_rows(t, &p, tmp[0], PANEL_ROWS, row, w_stride,
                       (const uint8_t *)x + (size_t)c * x_stride, x_stride, nc, n_k);
        for (int i = 0; i < nc; i++)
            memcpy(y + (size_t)(c + i) * y_stride + r, tmp[i], (size_t)(n_rows - r) * 4);
        c += nc;
    }
}

#define MUL(name, ...)                                                                             \
    void k_mul_##name##_avx2(K_MUL_ARGS)                                                           \
    {                                                                                              \
        static const struct file_type type = {fill_##name, {__VA_ARGS__}};                         \
        mul_panels(&type, y, y_stride, w, w_stride, n_rows, x, x_stride, n_cols, n_k);             \
    }
MUL(q4_0, PANEL_U4, MIN_NONE, 8)
MUL(q4_1, PANEL_U4, MIN_32, 0)
MUL(q5_0, PANEL_U5, MIN_NONE, 16)
MUL(q5_1, PANEL_U5, MIN_32, 0)
MUL(q8_0, PANEL_S8, MIN_NONE, 0)
MUL(q2_k, PANEL_S8S, MIN_16, 0)
MUL(q3_k, PANEL_S8S, MIN_NONE, 0)
MUL(q4_k, PANEL_U4, MIN_32, 0)
MUL(q5_k, PANEL_U5, MIN_32, 0)
MUL(q6_k, PANEL_U6S, MIN_NONE, 32)
MUL(iq2_xxs, PANEL_S8S, MIN_NONE, 0)
MUL(iq2_xs, PANEL_S8S, MIN_NONE, 0)
MUL(iq2_s, PANEL_S8S, MIN_NONE, 0)
MUL(iq3_xxs, PANEL_S8S, MIN_NONE, 0)
MUL(iq3_s, PANEL_S8S, MIN_NONE, 0)
MUL(iq1_s, PANEL_S8S, MIN_NONE, 0)
MUL(iq1_m, PANEL_S8S, MIN_NONE, 0)
MUL(iq4_nl, PANEL_S8, MIN_NONE, 0)
MUL(iq4_xs, PANEL_S8S, MIN_NONE, 0)
MUL(tq1_0, PANEL_S8, MIN_NONE, 0)
MUL(tq2_0, PANEL_S8, MIN_NONE, 0)
MUL(mxfp4, PANEL_S8, MIN_NONE, 0)
