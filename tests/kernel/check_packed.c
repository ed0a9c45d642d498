/*
 * check_packed: products of panels against generic's products of the file's layout, bit for bit.
 *
 * Any number of rows and of columns (1 to 40), lengths that are no multiple of a kernel's chunk,
 * columns with all, few and no residuals alone and side by side; 41 to 300 columns. Then random
 * cuts: a column's bits are the same alone and among others, a row's the same in any call.
 */
#include "check.h"

#include "kernels/pack.h"

#include <math.h>
#include <string.h>

#define ROWS_MAX 51 /* three panels and three rows */
#define COLS_MAX 40
#define PANELS   ((ROWS_MAX + 15) / 16)

/* In units of 32 or of 256 elements. */
static const int sizes_32[] = {1, 2, 5, 15, 16, 17, 33, 49, 130};
static const int sizes_256[] = {1, 2, 3, 5, 17};
static const int rows[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 48, ROWS_MAX};
static const float residual[] = {0, 2, INFINITY};

#define LEN(a) (int)(sizeof(a) / sizeof((a)[0]))

struct problem {
    const struct kernels *k;
    enum dtype t;
    int n_k;
    size_t x_stride, y_stride, panel_bytes;
    struct check_buf w, panels, x, y, want;
    const char *what;
};

static int size_of(enum dtype t, int i)
{
    if (pack_unit_elems(t) == 32)
        return i < LEN(sizes_32) ? sizes_32[i] * 32 : 0;
    return i < LEN(sizes_256) ? sizes_256[i] * 256 : 0;
}

/* above < 0: another one for each column. */
static void fill_columns(struct problem *p, enum fill f, float above)
{
    struct check_buf col = check_buf_new((size_t)p->n_k * 4);
    for (int c = 0; c < COLS_MAX; c++) {
        fill_floats(col.ptr, (size_t)p->n_k, f);
        p->k->quantize_a8(col.ptr, (char *)p->x.ptr + (size_t)c * p->x_stride, p->n_k,
                          above < 0 ? residual[check_int(0, 2)] : above);
    }
    check_buf_free(&col);
}

static void problem_init(struct problem *p, const struct kernels *k, enum dtype t, int n_k,
                         enum fill fw, enum fill fx, float above)
{
    const size_t n_blocks = (size_t)(n_k / pack_unit_elems(t));
    const size_t w_stride = n_blocks * (size_t)dtype_info((uint32_t)t)->block_bytes;
    *p = (struct problem){.k = k, .t = t, .n_k = n_k, .what = fill_name(fw)};
    p->x_stride = act_bytes(n_k);
    p->y_stride = ROWS_MAX + (size_t)check_int(0, 3);
    p->panel_bytes = pack_panel_bytes(t, n_k);
    p->w = check_buf_new(w_stride * ROWS_MAX);
    p->panels = check_buf_new(pack_bytes(t, ROWS_MAX, n_k));
    p->x = check_buf_new(p->x_stride * COLS_MAX);
    p->y = check_buf_new(p->y_stride * COLS_MAX * 4);
    p->want = check_buf_new(p->y_stride * COLS_MAX * 4);
    fill_blocks(t, p->w.ptr, n_blocks * ROWS_MAX, fw);
    for (int i = 0; i < PANELS; i++)
        pack_panel(t, (char *)p->panels.ptr + (size_t)i * p->panel_bytes,
                   (char *)p->w.ptr + (size_t)(16 * i) * w_stride, w_stride,
                   ROWS_MAX - 16 * i < 16 ? ROWS_MAX - 16 * i : 16, n_k);
    fill_columns(p, fx, above);
    kernels_get(CPU_GENERIC)
        ->mul[t](p->want.ptr, p->y_stride, p->w.ptr, w_stride, ROWS_MAX, p->x.ptr, p->x_stride,
                 COLS_MAX, n_k);
}

static void problem_release(struct problem *p)
{
    check_buf_free(&p->w);
    check_buf_free(&p->panels);
    check_buf_free(&p->x);
    check_buf_free(&p->y);
    check_buf_free(&p->want);
}

/* Rows [16 * panel, + n_rows), columns [c0, + n_cols). */
static void try_part(struct problem *p, int panel, int n_rows, int c0, int n_cols)
{
    float *y = p->y.ptr;
    const float *want = p->want.ptr;
    const int r0 = 16 * panel;
    check_canary(&p->y);
    p->k->mul_packed[p->t](
        y + r0, p->y_stride, (char *)p->panels.ptr + (size_t)panel * p->panel_bytes, n_rows,
        (char *)p->x.ptr + (size_t)c0 * p->x_stride, p->x_stride, n_cols, p->n_k);
    check_n_done++;
    for (int c = 0; c < COLS_MAX; c++) {
        for (int r = 0; r < (int)p->y_stride; r++) {
            const float got = y[(size_t)c * p->y_stride + (size_t)r];
            const bool inside = r >= r0 && r < r0 + n_rows && c < n_cols;
            if (!inside && check_is_canary(got))
                continue;
            const float right = inside ? want[(size_t)(c0 + c) * p->y_stride + (size_t)r] : 0;
            if (inside && check_same(got, right))
                continue;
            check_fail("%s packed %s %s n_k=%d rows %d+%d cols %d+%d: [%d][%d] is %.9g, not %.9g%s",
                       cpu_level_name(p->k->level), dtype_name(p->t), p->what, p->n_k, r0, n_rows,
                       c0, n_cols, c0 + c, r, (double)got, (double)right,
                       inside ? "" : " (written outside)");
            return;
        }
    }
}

/* Every count of columns with every count of rows, or a few of them. */
static void try_shapes(struct problem *p, bool all)
{
    for (int n = 1; n <= COLS_MAX; n++)
        for (int j = 0; j < LEN(rows); j++)
            if (all ? (n + j) % 3 == 0 : (n * 5 + j) % 31 == 0)
                try_part(p, 0, rows[j], 0, n);
}

static void try_cuts(struct problem *p, int n)
{
    for (int i = 0; i < n; i++) {
        const int panel = check_int(0, PANELS - 1), c0 = check_int(0, COLS_MAX - 1);
        try_part(p, panel, check_int(1, ROWS_MAX - 16 * panel), c0, check_int(1, COLS_MAX - c0));
    }
    const int c = check_int(0, COLS_MAX - 1);
    try_part(p, 0, ROWS_MAX, c, 1);
}

static void check_type(const struct kernels *k, enum dtype t)
{
    int n_k;
    for (int i = 0; (n_k = size_of(t, i)) > 0; i++) {
        struct problem p;
        for (int f = 0; f < FILL_KINDS * FILL_KINDS; f++) {
            const enum fill fw = (enum fill)(f / FILL_KINDS), fx = (enum fill)(f % FILL_KINDS);
            /* Long rows: random, the greatest sums, anything at all. */
            if ((n_k > 1024 || check_quick) && fw != fx)
                continue;
            if (check_quick && f > 0 && n_k > 600)
                continue;
            problem_init(&p, k, t, n_k, fw, fx, -1);
            try_shapes(&p, f == 0 && n_k >= 512 && n_k <= 600 && !check_quick);
            try_cuts(&p, check_quick ? 2 : 6);
            problem_release(&p);
        }
        for (int a = 0; a < LEN(residual) && !(check_quick && n_k > 1300); a++) {
            problem_init(&p, k, t, n_k, FILL_SANE, FILL_SANE, residual[a]);
            try_shapes(&p, false);
            problem_release(&p);
        }
    }
}

/*
 * More columns than any kernel takes at once or unpacks in registers, and each remainder of the
 * widest tiles above that, with every residual.
 */
static const int wide[] = {41, 64, 65, 66, 67, 68, 69, 70, 71, 72, 129, 300};

static void check_wide(const struct kernels *k, enum dtype t)
{
    enum { N_COLS = 300, N_ROWS = 19, N_K = 1280 };
    const size_t w_stride =
        (size_t)(N_K / pack_unit_elems(t) * dtype_info((uint32_t)t)->block_bytes);
    const size_t panel = pack_panel_bytes(t, N_K), x_stride = act_bytes(N_K);
    struct check_buf w = check_buf_new(w_stride * N_ROWS), panels = check_buf_new(2 * panel);
    struct check_buf x = check_buf_new((x_stride * N_COLS + 63) / 64 * 64);
    struct check_buf y = check_buf_new(N_ROWS * N_COLS * 4), want = check_buf_new(y.size);
    fill_blocks(t, w.ptr, (size_t)(N_K / pack_unit_elems(t)) * N_ROWS, FILL_SANE);
    pack_panel(t, panels.ptr, w.ptr, w_stride, 16, N_K);
    pack_panel(t, (char *)panels.ptr + panel, (char *)w.ptr + 16 * w_stride, w_stride, N_ROWS - 16,
               N_K);
    for (int c = 0; c < N_COLS; c++) {
        float column[N_K];
        fill_floats(column, N_K, FILL_SANE);
        k->quantize_a8(column, (char *)x.ptr + (size_t)c * x_stride, N_K, residual[c % 3]);
    }
    kernels_get(CPU_GENERIC)
        ->mul[t](want.ptr, N_ROWS, w.ptr, w_stride, N_ROWS, x.ptr, x_stride, N_COLS, N_K);
    for (int i = 0; i < LEN(wide); i++) {
        memset(y.ptr, 0xa5, y.size);
        k->mul_packed[t](y.ptr, N_ROWS, panels.ptr, N_ROWS, x.ptr, x_stride, wide[i], N_K);
        check_n_done++;
        if (memcmp(y.ptr, want.ptr, (size_t)wide[i] * N_ROWS * sizeof(float)) != 0)
            check_fail("%s packed %s: %d columns differ", cpu_level_name(k->level), dtype_name(t),
                       wide[i]);
    }
    check_buf_free(&w);
    check_buf_free(&panels);
    check_buf_free(&x);
    check_buf_free(&y);
    check_buf_free(&want);
}

void check_packed(const struct kernels *k)
{
    for (int i = 0; i < DTYPE_END; i++) {
        const enum dtype t = (enum dtype)i;
        if (pack_has(t) != (k->mul_packed[t] != NULL))
            check_fail("%s packed %s: %s", cpu_level_name(k->level), dtype_name(t),
                       pack_has(t) ? "missing" : "a kernel without a layout");
        else if (pack_has(t)) {
            check_type(k, t);
            check_wide(k, t);
        }
    }
}
