/*
 * check_ops: norms, activations, rotation, quantization of activations, conversion to half.
 *
 * Against generic: exact for quantize_a8, add, scale, rope and f32_to_f16; else in units in the
 * last place of the greatest magnitude that the formula handles, stated beside each check. A row of
 * any length gives each element the value it has in a longer row. Outputs lie before guard pages.
 */
#include "check.h"

#include "kernels/act.h"

#include <math.h>
#include <string.h>

static const int sizes[] = {1, 2, 7, 8, 9, 15, 16, 31, 32, 33, 64, 100, 576, 1000};

#define LEN(a) (int)(sizeof(a) / sizeof((a)[0]))
#define N_MAX  1000

static const struct kernels *k, *g;

static double ulp(double v)
{
    double a = fabs(v);
    return a < 0x1p-126 ? 0x1p-149 : ldexp(1, ilogb(a) - 23);
}

static void near(const char *what, const float *got, const float *want, int n, double ulps)
{
    check_n_done++;
    for (int i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], 4) == 0 || (isnan(got[i]) && isnan(want[i])))
            continue;
        if (fabs((double)got[i] - (double)want[i]) <= ulps * ulp((double)want[i]))
            continue;
        check_fail("%s %s n=%d [%d]: %.9g, not %.9g", cpu_level_name(k->level), what, n, i,
                   (double)got[i], (double)want[i]);
        return;
    }
}

/* Copies at the end of guarded pages: x, w, b read, y written. */
static struct check_buf bx, bw, bb, by, bz;

static void new_bufs(int n)
{
    bx = check_buf_new((size_t)n * 4);
    bw = check_buf_new((size_t)n * 4);
    bb = check_buf_new((size_t)n * 4);
    by = check_buf_new((size_t)n * 4);
    bz = check_buf_new((size_t)n * 4);
    fill_floats(bx.ptr, (size_t)n, FILL_SANE);
    fill_floats(bw.ptr, (size_t)n, FILL_SANE);
    fill_floats(bb.ptr, (size_t)n, FILL_SANE);
}

static void free_bufs(void)
{
    check_buf_free(&bx);
    check_buf_free(&bw);
    check_buf_free(&bb);
    check_buf_free(&by);
    check_buf_free(&bz);
}

static void check_norms(int n)
{
    k->rms_norm(by.ptr, bx.ptr, bw.ptr, n, 1e-5f);
    g->rms_norm(bz.ptr, bx.ptr, bw.ptr, n, 1e-5f);
    near("rms_norm", by.ptr, bz.ptr, n, 2); /* the inverse root may round the other way */
    memcpy(by.ptr, bx.ptr, (size_t)n * 4);
    k->rms_norm(by.ptr, by.ptr, bw.ptr, n, 1e-5f);
    near("rms_norm in place", by.ptr, bz.ptr, n, 2);
    k->layer_norm(by.ptr, bx.ptr, bw.ptr, n % 2 ? bb.ptr : NULL, n, 1e-5f);
    g->layer_norm(bz.ptr, bx.ptr, bw.ptr, n % 2 ? bb.ptr : NULL, n, 1e-5f);
    near("layer_norm", by.ptr, bz.ptr, n, 2);
}

static void check_plain(int n)
{
    memcpy(by.ptr, bw.ptr, (size_t)n * 4);
    memcpy(bz.ptr, bw.ptr, (size_t)n * 4);
    k->add(by.ptr, bx.ptr, n);
    g->add(bz.ptr, bx.ptr, n);
    near("add", by.ptr, bz.ptr, n, 0);
    k->scale(by.ptr, 1.7f, n);
    g->scale(bz.ptr, 1.7f, n);
    near("scale", by.ptr, bz.ptr, n, 0);
}

/* Values over the whole range in which the functions do anything, and past it. */
static void spread(float *x, int n)
{
    for (int i = 0; i < n; i++) {
        float v = check_uniform(-1, 1);
        x[i] = i % 3 == 0 ? 100 * v : i % 3 == 1 ? 10 * v : v * v * v * 0.5f;
    }
}

static void check_gated(int n)
{
    spread(bx.ptr, n);
    for (int i = 0; i < n; i++)
        ((float *)bw.ptr)[i] = 1; /* the gate alone */
    float *want = bz.ptr;
    const float *x = bx.ptr;
    k->silu_mul(by.ptr, bx.ptr, bw.ptr, n);
    for (int i = 0; i < n; i++)
        want[i] = (float)((double)x[i] / (1 + exp(-(double)x[i])));
    for (int i = 0; i < n; i++) /* e^-x counts as 2.4e38 from x = -88.37 down */
        if (x[i] < -88.3f)
            want[i] = ((float *)by.ptr)[i];
    near("silu", by.ptr, want, n, k->level == CPU_GENERIC ? 4 : 4);
    k->gelu_mul(by.ptr, bx.ptr, bw.ptr, n);
    const float *y = by.ptr;
    check_n_done++;
    for (int i = 0; i < n; i++) {
        double v = (double)x[i];
        double exact = v / (1 + exp(-2 * 0.79788456080286535588 * v * (1 + 0.044715 * v * v)));
        /* relative to x: for x << 0 generic loses digits in 1 + tanh */
        if (!(fabs((double)y[i] - exact) <= 3e-7 * fabs(v)))
            check_fail("%s gelu(%.9g) = %.9g, not %.9g", cpu_level_name(k->level), v, (double)y[i],
                       exact);
    }
}

/* Of the exact one. Abramowitz and Stegun's polynomial is within 1.5e-7 of erfc. */
static void check_gelu_erf(int n)
{
    spread(bx.ptr, n);
    const float *x = bx.ptr;
    float *y = by.ptr;
    memcpy(y, x, (size_t)n * sizeof(*y));
    k->gelu_erf(y, n);
    check_n_done++;
    for (int i = 0; i < n; i++) {
        double v = (double)x[i], exact = 0.5 * v * erfc(-0.70710678118654752440 * v);
        if (!(fabs((double)y[i] - exact) <= 3e-7 * fabs(v) || !isfinite(v)))
            check_fail("%s gelu_erf(%.9g) = %.9g, not %.9g", cpu_level_name(k->level), v,
                       (double)y[i], exact);
    }
}

static void check_softcap(int n)
{
    spread(bx.ptr, n);
    memcpy(by.ptr, bx.ptr, (size_t)n * 4);
    k->softcap(by.ptr, 30, n);
    for (int i = 0; i < n; i++)
        ((float *)bz.ptr)[i] = (float)(30 * tanh((double)((float *)bx.ptr)[i] / 30));
    near("softcap", by.ptr, bz.ptr, n, 5);
}

static void check_f16(int n)
{
    static const float special[] = {0,       -0.0f,    INFINITY, -INFINITY, 65504, 65519.9f,
                                    65520.f, 6.1e-5f,  6e-8f,    2.9e-8f,   1e-9f, 1.00048828125f,
                                    1e30f,   -70000.f, 3.1e-5f,  5.96e-8f};
    fill_floats(bx.ptr, (size_t)n, FILL_SANE);
    for (int i = 0; i < n && i < LEN(special); i++)
        ((float *)bx.ptr)[i] = special[i];
    struct check_buf a = check_buf_new((size_t)n * 2), b = check_buf_new((size_t)n * 2);
    k->f32_to_f16(a.ptr, bx.ptr, n);
    g->f32_to_f16(b.ptr, bx.ptr, n);
    check_n_done++;
    if (memcmp(a.ptr, b.ptr, (size_t)n * 2) != 0)
        check_fail("%s f32_to_f16 n=%d differs", cpu_level_name(k->level), n);
    float nan = NAN;
    uint16_t h;
    k->f32_to_f16(&h, &nan, 1);
    if (!isnan(f16_to_f32(h)))
        check_fail("%s f32_to_f16(NaN) is %x", cpu_level_name(k->level), h);
    check_buf_free(&a);
    check_buf_free(&b);
}

static void check_rope(void)
{
    static const int dims[][2] = {{64, 64},   {128, 128}, {80, 32}, {96, 96},
                                  {256, 256}, {100, 100}, {20, 6},  {2, 2}};
    for (int i = 0; i < LEN(dims) * 2; i++) {
        int dim = dims[i / 2][0], rot = dims[i / 2][1], n_head = 3;
        size_t n = (size_t)(dim * n_head);
        struct check_buf x = check_buf_new(n * 4), y = check_buf_new(n * 4);
        struct check_buf cs = check_buf_new((size_t)rot * 4);
        fill_floats(x.ptr, n, FILL_SANE);
        fill_floats(cs.ptr, (size_t)rot, FILL_SANE);
        memcpy(y.ptr, x.ptr, n * 4);
        k->rope(x.ptr, cs.ptr, n_head, dim, rot, i % 2);
        g->rope(y.ptr, cs.ptr, n_head, dim, rot, i % 2);
        near("rope", x.ptr, y.ptr, (int)n, 0);
        check_buf_free(&x);
        check_buf_free(&y);
        check_buf_free(&cs);
    }
}

/* Which blocks have a residual, and that the others have none of its parts. */
static void check_residuals(const float *x, const void *q, int n, float above)
{
    const struct act a = act_at(q, n);
    double sum2 = 0, n_finite = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int b = 0; b < n / 32; b++) {
            double max = 0;
            for (int i = 32 * b; i < 32 * b + 32; i++)
                max = isfinite(x[i]) && max >= 0 ? fmax(max, fabs((double)x[i])) : -1;
            if (pass == 0) {
                sum2 += max >= 0 ? max * max : 0;
                n_finite += max >= 0;
                continue;
            }
            bool over = max >= 0 && max * max * n_finite > (double)above * (double)above * sum2;
            bool zero = a.e[b] == 0.0f && a.g[2 * b] == 0 && a.g[2 * b + 1] == 0;
            for (int i = 32 * b; i < 32 * b + 32; i++)
                zero = zero && a.r[i] == 0;
            if (act_has(&a, b) ? !over || zero || !(a.e[b] > 0) : !zero)
                check_fail("%s quantize_a8 n=%d above %g: the residual of block %d is wrong",
                           cpu_level_name(k->level), n, (double)above, b);
            if (isnan(a.d[b]) != (max < 0))
                check_fail("quantize_a8 n=%d: block %d has scale %g", n, b, (double)a.d[b]);
        }
}

static void check_quantize(void)
{
    for (int f = 0; f < 200; f++) {
        static const float choice[] = {0, 2, INFINITY, 1, 0.5f};
        const float above = choice[f / FILL_KINDS % LEN(choice)];
        int n = 32 * check_int(1, 80);
        struct check_buf x = check_buf_new((size_t)n * 4);
        struct check_buf a = check_buf_new(act_bytes(n)), b = check_buf_new(act_bytes(n));
        fill_floats(x.ptr, (size_t)n, (enum fill)(f % FILL_KINDS));
        memset(a.ptr, 0x55, a.size);
        memset(b.ptr, 0xaa, b.size);
        k->quantize_a8(x.ptr, a.ptr, n, above);
        g->quantize_a8(x.ptr, b.ptr, n, above);
        check_n_done++;
        check_residuals(x.ptr, b.ptr, n, above);
        /* NaN scales may differ in bits that mean nothing. */
        float *sa = (float *)act_at(a.ptr, n).d, *sb = (float *)act_at(b.ptr, n).d;
        for (int i = 0; i < n / 32 * 5; i++)
            if (isnan(sa[i]) && isnan(sb[i]))
                sa[i] = sb[i] = 0;
        if (memcmp(a.ptr, b.ptr, a.size) != 0)
            check_fail("%s quantize_a8 %s n=%d above %g differs", cpu_level_name(k->level),
                       fill_name((enum fill)(f % FILL_KINDS)), n, (double)above);
        check_buf_free(&x);
        check_buf_free(&a);
        check_buf_free(&b);
    }
}

/* An element's value does not depend on the length of the row it is in. */
static void check_lengths(void)
{
    static float x[N_MAX], up[N_MAX], all[N_MAX], part[N_MAX];
    spread(x, N_MAX);
    fill_floats(up, N_MAX, FILL_SANE);
    for (int n = 1; n < 40; n++) {
        k->silu_mul(all, x, up, N_MAX);
        k->silu_mul(part, x, up, n);
        near("silu_mul of a shorter row", part, all, n, 0);
        memcpy(all, x, sizeof x);
        memcpy(part, x, sizeof x);
        k->gelu_erf(all, N_MAX);
        k->gelu_erf(part, n);
        near("gelu_erf of a shorter row", part, all, n, 0);
        k->gelu_mul(all, x, up, N_MAX);
        k->gelu_mul(part, x, up, n);
        near("gelu_mul of a shorter row", part, all, n, 0);
        memcpy(all, x, sizeof x);
        memcpy(part, x, sizeof x);
        k->softcap(all, 20, N_MAX);
        k->softcap(part, 20, n);
        near("softcap of a shorter row", part, all, n, 0);
    }
}

void check_ops(const struct kernels *kernels)
{
    k = kernels;
    g = kernels_get(CPU_GENERIC);
    for (int round = 0; round < (check_quick ? 3 : 20); round++) {
        for (int i = 0; i < LEN(sizes); i++) {
            new_bufs(sizes[i]);
            check_norms(sizes[i]);
            check_plain(sizes[i]);
            check_gated(sizes[i]);
            check_gelu_erf(sizes[i]);
            check_softcap(sizes[i]);
            check_f16(sizes[i]);
            free_bufs();
        }
    }
    check_rope();
    check_quantize();
    check_lengths();
}
