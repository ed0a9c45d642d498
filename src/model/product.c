/*
 * product: see the header. Owns the shapes of items; knows nothing of layers.
 */
#include "model/product.h"

#include "kernels/pack.h"

/* Bytes of float columns that stay in a second-level cache while an item's rows sweep over them;
 * the kernels of packed weights see to that themselves. */
#define FLOAT_BYTES (256 << 10)
#define FLOAT_COLS  12 /* a multiple of the kernels' tiles */
/* The last item of a thread is this part of its time, if others have none left. */
#define ITEMS_PER_THREAD 8

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static void multiply_floats(const struct product_phase *p, const struct matrix *w, int r0,
                            int n_row, int c0, int n_col, float *y, size_t y_stride)
{
    size_t x_stride = (size_t)w->n_in * sizeof(float);
    int step = FLOAT_COLS * (int)(FLOAT_BYTES / (x_stride * FLOAT_COLS) + 1);
    for (int c = 0; c < n_col; c += step)
        p->k->mul[w->type](y + (size_t)c * y_stride, y_stride, w->data + (size_t)r0 * w->stride,
                           w->stride, n_row, p->in.x + (size_t)(c0 + c) * (size_t)w->n_in, x_stride,
                           min_int(step, n_col - c), w->n_in);
}

/* Rows [r0, r0 + n_row) of w times columns [c0, c0 + n_col). */
static void multiply(const struct product_phase *p, const struct matrix *w, int r0, int n_row,
                     int c0, int n_col, float *y, size_t y_stride)
{
    size_t x_stride = act_bytes(w->n_in / 32 * 32);
    const uint8_t *x = p->in.act + (size_t)c0 * x_stride;
    if (!p->k->mul_takes_a8[w->type])
        multiply_floats(p, w, r0, n_row, c0, n_col, y, y_stride);
    else if (w->panels != NULL)
        p->k->mul_packed[w->type](y, y_stride,
                                  w->panels + (size_t)(r0 / PACK_ROWS) * w->panel_bytes, n_row, x,
                                  x_stride, n_col, w->n_in);
    else
        p->k->mul[w->type](y, y_stride, w->data + (size_t)r0 * w->stride, w->stride, n_row, x,
                           x_stride, n_col, w->n_in);
    for (int c = 0; w->bias != NULL && c < n_col; c++)
        p->k->add(y + (size_t)c * y_stride, w->bias + r0, n_row);
}

static void product_item(void *ctx, int i_item, int i_thread)
{
    const struct product_phase *p = ctx;
    int c0 = i_item / p->n_row_item * p->cols;
    int i_row = i_item % p->n_row_item;
    const struct product *f = p->product;
    for (int n; i_row >= (n = (f->w->n_out + p->rows - 1) / p->rows); f++)
        i_row -= n;
    int r0 = i_row * p->rows;
    int n_row = min_int(p->rows, f->w->n_out - r0);
    int n_col = min_int(p->cols, p->in.n - c0);
    size_t y_stride = (size_t)f->w->n_out;
    float *y = f->y + (size_t)c0 * y_stride + r0;
    if (f->gate == NULL) {
        multiply(p, f->w, r0, n_row, c0, n_col, y, y_stride);
    } else {
        float *gate = p->tile + (size_t)i_thread * PRODUCT_TILE,
              *up = gate + (size_t)n_col * p->rows;
        multiply(p, f->gate, r0, n_row, c0, n_col, gate, (size_t)p->rows);
        multiply(p, f->w, r0, n_row, c0, n_col, up, (size_t)p->rows);
        void (*act)(float *, const float *, const float *, int) =
            p->gelu ? p->k->gelu_mul : p->k->silu_mul;
        for (int c = 0; c < n_col; c++)
            act(y + (size_t)c * y_stride, gate + (size_t)c * p->rows, up + (size_t)c * p->rows,
                n_row);
    }
    for (int c = 0; f->gelu && c < n_col; c++)
        p->k->gelu_erf(y + (size_t)c * y_stride, n_row);
    for (int c = 0; f->cap > 0.0f && c < n_col; c++)
        p->k->softcap(y + (size_t)c * y_stride, f->cap, n_row);
}

/* Rows of an item: many, since a sweep over the columns serves all of them, but items enough that
 * unequal threads end together. */
static int rows_of_item(const struct product *product, int n_product, int n_col_item, int n_threads)
{
    int n_out = 0;
    for (int i = 0; i < n_product; i++)
        n_out += product[i].w->n_out;
    int rows = PRODUCT_ROWS_MAX;
    while (rows > PACK_ROWS && n_out / rows * n_col_item < ITEMS_PER_THREAD * n_threads)
        rows /= 2;
    return rows;
}

void product_run(struct product_phase *p, struct pool *pool, struct product_input in,
                 const struct product *product, int n_product)
{
    if (in.n == 0)
        return;
    int n_col_item = (in.n + PRODUCT_COLS_MAX - 1) / PRODUCT_COLS_MAX;
    p->in = in;
    p->cols = (in.n + n_col_item - 1) / n_col_item;
    p->rows = rows_of_item(product, n_product, n_col_item, pool_n_threads(pool));
    p->n_row_item = 0;
    for (int i = 0; i < n_product; i++) {
        p->product[i] = product[i];
        p->n_row_item += (product[i].w->n_out + p->rows - 1) / p->rows;
    }
    pool_run(pool, product_item, p, p->n_row_item * n_col_item);
}
