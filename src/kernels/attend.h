/*
 * attend: how keys and values are stored, and attention over them (the functions themselves are in
 * the table of a level, kernels.h).
 *
 * Storage. Positions come in blocks of KV_BLOCK_LEN. One block of one key head holds, 64-byte
 * aligned and one after the other:
 *   f16:  keys f16 [head_dim][32], values f16 [32][pad16(head_dim_v)]
 *   q8_0: keys int8 [head_dim][32], then their scales f16 [groups of 32 dims][32];
 *         values int8 [32][pad16(head_dim_v)], then their scales f16 [groups of 32 dims][32]
 *   q8_0 in fours (KV_Q8_0_QUADS, for levels with products of bytes): the same, but the keys int8
 *         [quads of 4 dims][32][4], the last quad filled up
 *   q4_0: keys two dims a byte [pairs of dims][32], the even dim in the low half, an even number of
 *         pairs, then their scales f16 [groups of 32 dims][32]; values [32][pad16(head_dim_v) / 2],
 *         of 16 dims the first eight in the low halves of eight bytes, then their scales as q8_0
 * Keys lie transposed, so both products (query with keys, weights with values) have the same form:
 * a row of numbers times rows of lanes, and no sum runs across lanes. A position writes its own
 * column and row only. What lies at positions not stored yet, and in the padding, may be anything.
 *
 * q8_0: per position and group of 32 dims d = f16(max|x| / 127), q = round(x / d), ties to even, at
 * most 127 in magnitude. A group with a value that is not finite gets a scale that is NaN.
 *
 * q4_0: q in -8..7, two's complement; d = f16(-m / 8), where m is the first value of the greatest
 * magnitude, with its sign: it becomes -8, and a value opposite and as great is cut to 7. 4 bits
 * are too few for groups in which a dim stands out, as in keys, so callers turn heads before they
 * store them (kv_rotate).
 */
#ifndef HEARTH_KERNELS_ATTEND_H
#define HEARTH_KERNELS_ATTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Positions per block of keys and values. */
#define KV_BLOCK_LEN 32
/* Positions whose softmax is formed as one piece; pieces begin at multiples of it. */
#define ATTEND_SPLIT 256
/* Query rows that share a pass over the keys, and at most so many share registers. */
#define ATTEND_ROWS      64
#define ATTEND_TILE_ROWS 12

enum kv_type {
    KV_F16,
    KV_Q8_0,
    KV_Q4_0,
    KV_TYPES,                 /* how many can be asked for */
    KV_Q8_0_QUADS = KV_TYPES, /* how some levels store q8_0 (kernels.kv_q8_0) */
};

#define KV_TYPE_WORDS "f16|q8_0|q4_0" /* their names, in order */
const char *kv_type_name(enum kv_type t);

/* Bytes of the keys, and of the values, of one head in one block; multiples of 64. */
size_t kv_key_bytes(enum kv_type t, int head_dim);
size_t kv_value_bytes(enum kv_type t, int head_dim_v);
/*
 * Turns one head so that no dim stands out within the 32 of a scale: an orthonormal Walsh-Hadamard
 * transform in place, over blocks of the greatest power of two that divides head_dim, at most
 * KV_ROTATE_MAX (96: three of 32; 80: five of 16; an odd number: nothing happens). It is its own
 * inverse. Products of two vectors stay what they are when both are turned, but for roundings; the
 * result of attention over turned values is turned back by the same call. The bits are the same at
 * every level. docs/numerics.md has what it buys, and why blocks are not larger.
 */
#define KV_ROTATE_MAX 32
void kv_rotate(float *x, int head_dim);
/* Whether keys (with the queries) and values of a type are to be turned. */
bool kv_is_rotated(enum kv_type t);
/* Stores one position (i of its block) of one head. kv: this head's keys, its values follow them.
 * The bits are the same at every level. */
void kv_store(enum kv_type t, uint8_t *kv, int i, const float *k, int head_dim, const float *v,
              int head_dim_v);

/*
 * Attention of n_q query rows over the keys and values of ONE key head of one sequence.
 *
 * The rows are usually (query heads sharing that head) x (query positions): more rows per call are
 * faster. Row i sees positions [from[i], to[i]); scores are scaled by `scale`, then soft-capped if
 * cap > 0. A row's result depends only on its q, its range and what is in it, bit for bit.
 *
 * The positions are cut at the multiples of ATTEND_SPLIT. Each piece gives a partial result: the
 * greatest score, the sum of the weights and the weighted sum of the values; partial results are
 * joined in ascending order. With part NULL that happens within the call (to > from), which writes
 * `out`. Else the pieces of a row are computed by several calls, whose ranges are cut at such
 * multiples (a row may then see nothing of a call: from >= to), and attend_join gives the same
 * bits.
 *
 * With `carry` the calls of a row go over its positions in ascending order, cut likewise, one after
 * the other: each joins its pieces to what the ones before it left there. attend_join of that one
 * partial result gives the same bits. Rows that see the same keys may so be taken together, however
 * many sequences they belong to, before each goes on over its own.
 */
struct attend_args {
    enum kv_type type;
    const uint8_t *kv;     /* this head's keys in block 0 of the slab; its values follow them */
    size_t block_bytes;    /* from a block of the slab to the next */
    const uint32_t *block; /* block[p / KV_BLOCK_LEN] holds position p */
    float *out;            /* row i at out + out_at[i]: float[head_dim_v] */
    const size_t *out_at;
    const float *q; /* row i at q + q_at[i]: float[head_dim] */
    const size_t *q_at;
    const int *from, *to; /* [n_q] */
    int n_q;
    int head_dim, head_dim_v;
    float scale, cap;
    /* Piece p of row i is written at part + (part_at[i] + p - piece0) * attend_part_len. */
    float *part;
    const size_t *part_at;
    int piece0;
    /* Else: row i's pieces so far are at carry + part_at[i] * attend_part_len, if
     * carried[part_at[i]], which the first of its pieces sets. NULL: neither. */
    float *carry;
    bool *carried;
    float *scratch; /* attend_scratch_bytes(head_dim, head_dim_v), 64-byte aligned; per thread */
};

/* Bytes of scratch of one attend call, whatever n_q. */
size_t attend_scratch_bytes(int head_dim, int head_dim_v);
/* Floats of one partial result: [pad16(head_dim_v)] values, then the greatest score and the sum. */
size_t attend_part_len(int head_dim_v);

#endif
