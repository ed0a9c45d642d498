/*
 * product: the matrix products of one phase of a step, cut into items (private to src/model).
 *
 * All products of a phase take the same input. An item is some rows of one product for some
 * columns (tokens); it owns the results it writes and finishes them: bias, soft cap, and gate * up.
 */
#ifndef HEARTH_MODEL_PRODUCT_H
#define HEARTH_MODEL_PRODUCT_H

#include "kernels/pool.h"
#include "model/weights.h"

#define PRODUCTS_MAX 3

/* The largest item: each weight is read and unpacked once for so many tokens. A kernel goes through
 * some hundred elements of all columns for 16 rows at a time: those and the results stay in a
 * second-level cache. */
#define PRODUCT_ROWS_MAX 64
#define PRODUCT_COLS_MAX 256
/* Floats of scratch per thread: an item's results of gate and of w. */
#define PRODUCT_TILE ((size_t)2 * PRODUCT_ROWS_MAX * PRODUCT_COLS_MAX)

/*
 * y = x * w^T (+ bias): [n, w.n_out], soft-capped if cap > 0. With a gate, of the same shape:
 * y = act(x * gate^T) * (x * w^T). gelu: y = the exact GELU of it, without a gate.
 */
struct product {
    const struct matrix *w, *gate;
    float *y;
    float cap;
    bool gelu;
};

/* What the products of a phase take. */
struct product_input {
    const float *x;     /* [n, n_in] for weights that are multiplied as floats */
    const uint8_t *act; /* [n] columns: the same quantized */
    int n;
};

struct product_phase {
    const struct kernels *k;
    bool gelu;   /* act: else SiLU */
    float *tile; /* [threads, PRODUCT_TILE] */
    struct product_input in;
    struct product product[PRODUCTS_MAX];
    int rows, cols; /* of an item */
    int n_row_item; /* row items of all products together */
};

/* Runs them; k, gelu and tile are set. n_product <= PRODUCTS_MAX, in.n >= 0. */
void product_run(struct product_phase *p, struct pool *pool, struct product_input in,
                 const struct product *product, int n_product);

#endif
