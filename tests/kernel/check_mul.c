/*
 * check_mul: products of weights and activations.
 *
 * Every level must give generic's bits (what is not finite is equal), for any number of rows and
 * columns, any split and any mix of columns. Generic itself is held against double precision over
 * dequantize_row: 1e-5 of sum(max |w| of the block * |x|).
 */
#include "check.h"

#include "kernels/act.h"

#include <math.h>
#include <string.h>

/* Sizes in blocks of the type (elements for the float types). */
static const int sizes_block[] = {1, 2, 3, 5, 8, 18, 33, 129};
static const int sizes_super[] = {1, 2, 3, 8, 17};
static const int sizes_float[] = {1, 7, 8, 9, 31, 100, 576, 2049};
static const int cols[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 17};
/* Columns with all, few and no residuals, side by side. */
static const float residual[] = {0, 1.5f, INFINITY};
static const int rows[] = {1, 2, 3, 4, 5, 15, 16, 17, 33};

#define LEN(a)   (int)(sizeof(a) / sizeof((a)[0]))
#define ROWS_MAX 33
#define COLS_MAX 17

/* One problem: weights, activations as the kernel takes them, and the two results. */
struct problem {
    const struct kernels *k;
    enum dtype t;
    int n_k;
    bool a8;
    size_t w_stride, x_stride;
    struct check_buf w, xf, x, y, want;
};

static int size_of(enum dtype t, int i)
{
    int elems = dtype_info(t)->block_elems;
    if (elems == 1)
        return i < LEN(sizes_float) ? sizes_float[i] : 0;
    if (elems == 32)
        return i < LEN(sizes_block) ? sizes_block[i] * 32 : 0;
    return i < LEN(sizes_super) ? sizes_super[i] * elems : 0;
}

static void problem_init(struct problem *p, const struct kernels *k, enum dtype t, int n_k,
                         enum fill fw, enum fill fx)
{
    const struct dtype_info *info = dtype_info(t);
    *p = (struct problem){.k = k, .t = t, .n_k = n_k, .a8 = k->mul_takes_a8[t]};
    size_t n_blocks = (size_t)(n_k / info->block_elems);
    p->w_stride = n_blocks * (size_t)info->block_bytes;
    p->x_stride = p->a8 ? act_bytes(n_k) : (size_t)n_k * 4;
    p->w = check_buf_new(p->w_stride * ROWS_MAX);
    p->xf = check_buf_new((size_t)n_k * COLS_MAX * 4);
    p->x = check_buf_new(p->x_stride * COLS_MAX);
    p->y = check_buf_new(ROWS_MAX * COLS_MAX * 4);
    p->want = check_buf_new(ROWS_MAX * COLS_MAX * 4);
    fill_blocks(t, p->w.ptr, n_blocks * ROWS_MAX, fw);
    for (int c = 0; c < COLS_MAX; c++) {
        float *col = (float *)p->xf.ptr + (size_t)c * (size_t)n_k;
        void *x = (char *)p->x.ptr + (size_t)c * p->x_stride;
        fill_floats(col, (size_t)n_k, fx);
        if (p->a8)
            k->quantize_a8(col, x, n_k, residual[c % 3]);
        else
            memcpy(x, col, (size_t)n_k * 4);
    }
}

static void problem_release(struct problem *p)
{
    check_buf_free(&p->w);
    check_buf_free(&p->xf);
    check_buf_free(&p->x);
    check_buf_free(&p->y);
    check_buf_free(&p->want);
}

/* want[c][r] for all rows and columns. */
static void want_all(struct problem *p, const struct kernels *k)
{
    k->mul[p->t](p->want.ptr, ROWS_MAX, p->w.ptr, p->w_stride, ROWS_MAX, p->x.ptr, p->x_stride,
                 COLS_MAX, p->n_k);
}

/* Computes rows [r0, r0 + n_rows) x columns [c0, c0 + n_cols) and compares with want. */
static void try_part(struct problem *p, int r0, int n_rows, int c0, int n_cols, const char *what)
{
    float *y = p->y.ptr;
    const float *want = p->want.ptr;
    check_canary(&p->y);
    p->k->mul[p->t](y + r0, ROWS_MAX, (char *)p->w.ptr + (size_t)r0 * p->w_stride, p->w_stride,
                    n_rows, (char *)p->x.ptr + (size_t)c0 * p->x_stride, p->x_stride, n_cols,
                    p->n_k);
    check_n_done++;
    for (int c = 0; c < COLS_MAX; c++) {
        for (int r = 0; r < ROWS_MAX; r++) {
            bool inside = r >= r0 && r < r0 + n_rows && c < n_cols;
            if (!inside && check_is_canary(y[c * ROWS_MAX + r]))
                continue;
            if (!inside || !check_same(y[c * ROWS_MAX + r], want[(c0 + c) * ROWS_MAX + r])) {
                check_fail("%s %s %s n_k=%d rows %d+%d cols %d+%d: [%d][%d] is %.9g, not %.9g%s",
                           cpu_level_name(p->k->level), dtype_name(p->t), what, p->n_k, r0, n_rows,
                           c0, n_cols, c0 + c, r, (double)y[c * ROWS_MAX + r],
                           inside ? (double)want[(c0 + c) * ROWS_MAX + r] : 0.0,
                           inside ? "" : " (written outside)");
                return;
            }
        }
    }
}

static void try_shapes(struct problem *p, bool all, const char *what)
{
    for (int i = 0; i < LEN(cols); i++)
        for (int j = 0; j < LEN(rows); j++)
            if (all || (i + j) % 7 == 0)
                try_part(p, 0, rows[j], 0, cols[i], what);
}

void check_mul(const struct kernels *k)
{
    const struct kernels *generic = kernels_get(CPU_GENERIC);
    for (int t = 0; t < DTYPE_END; t++) {
        if (!dtype_info((uint32_t)t) || !generic->mul[t])
            continue;
        if (!k->mul[t] || k->mul_takes_a8[t] != generic->mul_takes_a8[t]) {
            check_fail("%s %s: missing", cpu_level_name(k->level), dtype_name((enum dtype)t));
            continue;
        }
        int n_k;
        for (int i = 0; (n_k = size_of((enum dtype)t, i)) > 0; i++) {
            for (int f = 0; f < FILL_KINDS * FILL_KINDS; f++) {
                enum fill fw = (enum fill)(f / FILL_KINDS), fx = (enum fill)(f % FILL_KINDS);
                struct problem p;
                char what[32] = "";
                if (check_quick && f > 0 && (fw != fx || n_k > 600))
                    continue;
                strcat(strcat(strcat(what, fill_name(fw)), "/"), fill_name(fx));
                problem_init(&p, k, (enum dtype)t, n_k, fw, fx);
                want_all(&p, generic);
                try_shapes(&p, f == 0 && n_k <= (check_quick ? 256 : 1024), what);
                problem_release(&p);
            }
        }
    }
}

/* Random splits of rows and columns give the bits of the whole. */
void check_mul_determinism(const struct kernels *k)
{
    for (int t = 0; t < DTYPE_END; t++) {
        if (!dtype_info((uint32_t)t) || !k->mul[t])
            continue;
        int n_k;
        for (int i = 0; (n_k = size_of((enum dtype)t, i)) > 0; i++) {
            struct problem p;
            problem_init(&p, k, (enum dtype)t, n_k, FILL_SANE, FILL_SANE);
            want_all(&p, k);
            for (int round = 0; round < (check_quick ? 3 : 12); round++) {
                int r0 = check_int(0, ROWS_MAX - 1), c0 = check_int(0, COLS_MAX - 1);
                try_part(&p, r0, check_int(1, ROWS_MAX - r0), c0, check_int(1, COLS_MAX - c0),
                         "split");
            }
            problem_release(&p);
        }
    }
}

/* The activations that a column stands for: the quantized ones, in double precision. */
static void activation_values(const struct problem *p, int c, double *x)
{
    const struct act a = act_at((const char *)p->x.ptr + (size_t)c * p->x_stride, p->n_k);
    const float *xf = (const float *)p->xf.ptr + (size_t)c * (size_t)p->n_k;
    for (int i = 0; i < p->n_k; i++) {
        if (!p->a8) {
            x[i] = (double)xf[i];
            continue;
        }
        const int b = i / 32;
        const double step = (double)(act_has(&a, b) ? a.e[b] : a.d[b]);
        x[i] = (double)a.d[b] * (double)a.q[i] + (double)a.e[b] * (double)a.r[i];
        /* Half a step, and what rounding the scale may add. */
        if (fabs(x[i] - (double)xf[i]) > 0.5001 * step)
            check_fail("quantize_a8: %g became %g, step %g", (double)xf[i], x[i], step);
    }
}

static void compare_double(struct problem *p, double *x, float *w)
{
    const float *y = p->want.ptr;
    for (int c = 0; c < COLS_MAX; c++) {
        activation_values(p, c, x);
        for (int r = 0; r < ROWS_MAX; r++) {
            dequantize_row(p->t, (char *)p->w.ptr + (size_t)r * p->w_stride, w, (size_t)p->n_k);
            double sum = 0, bound = 1e-30;
            for (int k0 = 0; k0 < p->n_k; k0 += 256) {
                double max_w = 0, sum_x = 0;
                for (int i = k0; i < k0 + 256 && i < p->n_k; i++) {
                    sum += (double)w[i] * x[i];
                    max_w = fmax(max_w, fabs((double)w[i]));
                    sum_x += fabs(x[i]);
                }
                bound += 1e-5 * max_w * sum_x;
            }
            check_n_done++;
            double got = (double)y[c * ROWS_MAX + r];
            if (!(fabs(got - sum) <= bound)) {
                check_fail("generic %s n_k=%d [%d][%d]: %.9g, in double %.9g (bound %.3g)",
                           dtype_name(p->t), p->n_k, c, r, got, sum, bound);
                return;
            }
        }
    }
}

void check_mul_generic(void)
{
    const struct kernels *k = kernels_get(CPU_GENERIC);
    static double x[8192];
    static float w[8192];
    for (int t = 0; t < DTYPE_END; t++) {
        if (!dtype_info((uint32_t)t) || !k->mul[t])
            continue;
        int n_k;
        for (int i = 0; (n_k = size_of((enum dtype)t, i)) > 0; i++) {
            for (int f = 0; f < 3; f++) {
                struct problem p;
                if (check_quick && n_k > 600)
                    continue;
                problem_init(&p, k, (enum dtype)t, n_k, (enum fill)f, FILL_SANE);
                want_all(&p, k);
                compare_double(&p, x, w);
                problem_release(&p);
            }
        }
    }
}
