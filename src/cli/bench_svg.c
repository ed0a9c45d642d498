/*
 * bench_svg: the figures of `hearth bench` as a plot: tokens a second against the length of a
 * prefill, the number of sequences of a decode, and the depth; dashed, what this machine's read
 * bandwidth and multiply-adds allow.
 *
 * Owns: all of the drawing; the file stands alone (no fonts, no scripts) and follows the reader's
 * light or dark setting. Values stand at equal distances on the x axis, for they are powers.
 */
#include "base/buf.h"
#include "cli/bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PANEL_W    540
#define PANEL_H    330
#define HEAD_H     64
#define LEFT       64  /* of the axes within a panel */
#define RIGHT      124 /* room for the key */
#define TOP        34
#define BOTTOM     46
#define LINES_MAX  8
#define POINTS_MAX NUMBERS_MAX

struct point {
    int x;                         /* index on the axis */
    double value, min, max, limit; /* tokens a second */
};

struct line {
    char label[64];
    struct point point[POINTS_MAX];
    int n;
};

struct panel {
    const char *title, *x_title;
    struct numbers x;
    struct line line[LINES_MAX];
    int n_line;
    int left, top; /* of the plot area in the picture */
};

/* ---- text ---- */

static void add_escaped(struct buf *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        if (*p == '<')
            buf_add_z(out, "&lt;");
        else if (*p == '>')
            buf_add_z(out, "&gt;");
        else if (*p == '&')
            buf_add_z(out, "&amp;");
        else if (*p == '"')
            buf_add_z(out, "&quot;");
        else
            buf_add_char(out, *p < 0x20 || *p > 0x7e ? '?' : (char)*p);
}

static void text_at(struct buf *out, double x, double y, const char *css, const char *text)
{
    buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, css);
    add_escaped(out, text);
    buf_add_z(out, "</text>\n");
}

static void number_text(double v, char ret[32])
{
    if (v >= 10000)
        snprintf(ret, 32, "%gk", v / 1000);
    else
        snprintf(ret, 32, "%g", v);
}

static void count_text(int v, char ret[32])
{
    if (v >= 1024 && v % 1024 == 0)
        snprintf(ret, 32, "%dk", v / 1024);
    else
        snprintf(ret, 32, "%d", v);
}

/* ---- data ---- */

static struct point point_of(const struct bench_cell *c, int x)
{
    struct spread t = bench_spread(c, FIGURE_TOKENS);
    return (struct point){x, t.median, t.min, t.max, bench_spread(c, FIGURE_LIMIT_TOKENS).median};
}

/* The place of v among the numbers, or -1. */
static int place(const struct numbers *l, int v)
{
    for (int i = 0; i < l->n; i++)
        if (l->v[i] == v)
            return i;
    return -1;
}

static void add_point(struct panel *p, const char *label, struct point point)
{
    int i = 0;
    while (i < p->n_line && strcmp(p->line[i].label, label) != 0)
        i++;
    if (i == LINES_MAX)
        return; /* more lines than eyes can part; the table has them */
    struct line *l = &p->line[i];
    if (i == p->n_line) {
        *l = (struct line){.n = 0};
        snprintf(l->label, sizeof(l->label), "%s", label);
        p->n_line++;
    }
    if (l->n < POINTS_MAX)
        l->point[l->n++] = point;
}

/* "depth 4k", "x8", with the threads where they differ: ", 2 thr." */
static void label_of(const struct bench *b, const char *what, int v, int i_threads, char ret[64])
{
    char number[32], threads[32] = "";
    count_text(v, number);
    if (b->o.threads.n > 1)
        snprintf(threads, sizeof(threads), ", %d thr.", b->o.threads.v[i_threads]);
    snprintf(ret, 64, "%s%s%s", what, number, threads);
}

static void collect(const struct bench *b, struct panel *prefill, struct panel *batch,
                    struct panel *depth)
{
    for (int i = 0; i < b->n_cell; i++) {
        const struct bench_cell *c = &b->cell[i];
        char label[64];
        if (c->n_sample == 0)
            continue;
        label_of(b, "depth ", c->depth, c->i_threads, label);
        if (c->kind == BENCH_PREFILL) {
            add_point(prefill, label, point_of(c, place(&prefill->x, c->n_prompt)));
            continue;
        }
        add_point(batch, label, point_of(c, place(&batch->x, c->batch)));
        label_of(b, "x", c->batch, c->i_threads, label);
        add_point(depth, label, point_of(c, place(&depth->x, c->depth)));
    }
}

/* ---- drawing ---- */

/* 1, 2 or 5 times a power of ten, so that about five steps reach v. */
static double step_for(double v)
{
    double power = pow(10, floor(log10(v / 5)));
    double rest = v / 5 / power;
    return power * (rest <= 1 ? 1 : rest <= 2 ? 2 : rest <= 5 ? 5 : 10);
}

static double greatest_of(const struct panel *p)
{
    double most = 0;
    for (int i = 0; i < p->n_line; i++)
        for (int j = 0; j < p->line[i].n; j++)
            most = fmax(most, fmax(p->line[i].point[j].max, p->line[i].point[j].limit));
    return most > 0 && isfinite(most) ? most : 1;
}

static double x_at(const struct panel *p, int i)
{
    double width = PANEL_W - LEFT - RIGHT;
    return p->left + width * (i + 0.5) / p->x.n;
}

static double y_at(const struct panel *p, double value, double top)
{
    double height = PANEL_H - TOP - BOTTOM;
    return p->top + height * (1 - fmin(value / top, 1));
}

static double draw_axes(struct buf *out, const struct panel *p)
{
    double most = greatest_of(p), step = step_for(most), top = ceil(most / step) * step;
    double right = p->left + PANEL_W - LEFT - RIGHT, bottom = p->top + PANEL_H - TOP - BOTTOM;
    char text[32];
    text_at(out, p->left, p->top - 14, "title", p->title);
    for (double v = 0; v <= top * 1.0001; v += step) {
        double y = y_at(p, v, top);
        buf_printf(out, "<path class=\"%s\" d=\"M%d %.1fH%.1f\"/>\n", v > 0 ? "grid" : "axis",
                   p->left, y, right);
        number_text(v, text);
        text_at(out, p->left - 8, y + 4, "end", text);
    }
    for (int i = 0; i < p->x.n; i++) {
        count_text(p->x.v[i], text);
        text_at(out, x_at(p, i), bottom + 18, "mid", text);
    }
    text_at(out, (p->left + right) / 2, bottom + 36, "mid", p->x_title);
    buf_printf(out,
               "<text class=\"mid\" transform=\"translate(%d %.1f) rotate(-90)\">tokens/s"
               "</text>\n",
               p->left - 48, (p->top + bottom) / 2);
    return top;
}

static void draw_path(struct buf *out, const struct panel *p, const struct line *l, double top,
                      bool limit)
{
    buf_printf(out, "<path class=\"%s\" d=\"", limit ? "limit" : "line");
    for (int i = 0; i < l->n; i++)
        buf_printf(out, "%c%.1f %.1f", i == 0 ? 'M' : 'L', x_at(p, l->point[i].x),
                   y_at(p, limit ? l->point[i].limit : l->point[i].value, top));
    if (l->n == 1) /* one point alone is a short bar */
        buf_add_z(out, "m-12 0h24");
    buf_add_z(out, "\"/>\n");
}

static void draw_line(struct buf *out, const struct panel *p, int i_line, double top)
{
    const struct line *l = &p->line[i_line];
    buf_printf(out, "<g class=\"c%d\">\n", i_line);
    draw_path(out, p, l, top, true);
    draw_path(out, p, l, top, false);
    for (int i = 0; i < l->n; i++) {
        const struct point *q = &l->point[i];
        buf_printf(out,
                   "<path class=\"range\" d=\"M%.1f %.1fV%.1f\"/>"
                   "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>%.4g tokens/s, %.4g to %.4g; "
                   "the limit is %.4g</title></circle>\n",
                   x_at(p, q->x), y_at(p, q->min, top), y_at(p, q->max, top), x_at(p, q->x),
                   y_at(p, q->value, top), q->value, q->min, q->max, q->limit);
    }
    double x = p->left + PANEL_W - LEFT - RIGHT + 8, y = p->top + 12 + 15.0 * i_line;
    buf_printf(out, "<path class=\"line\" d=\"M%.1f %.1fh14\"/>\n</g>\n", x, y - 4);
    text_at(out, x + 20, y, "key", l->label);
}

static void draw_panel(struct buf *out, struct panel *p, int i_panel)
{
    p->left = LEFT + (i_panel % 2) * PANEL_W;
    p->top = HEAD_H + TOP + (i_panel / 2) * PANEL_H;
    double top = draw_axes(out, p);
    for (int i = 0; i < p->n_line; i++)
        draw_line(out, p, i, top);
}

static void draw_style(struct buf *out)
{
    static const char *const light[LINES_MAX] = {"#0b65c2", "#c2410b", "#15803d", "#7c3aed",
                                                 "#a16207", "#be185d", "#0e7490", "#4b5563"};
    static const char *const dark[LINES_MAX] = {"#6db1ff", "#ff9a62", "#6ddb8f", "#bda0ff",
                                                "#e5c04b", "#ff8fbc", "#5fd4ea", "#aab4c2"};
    buf_add_z(out, "<style>\n"
                   "svg{--ink:#1f2328;--soft:#59636e;--grid:#d8dee4;--paper:#ffffff}\n"
                   "text{font:12px system-ui,sans-serif;fill:var(--soft)}\n"
                   ".head{font-size:16px;font-weight:600;fill:var(--ink)}\n"
                   ".title{font-size:13px;font-weight:600;fill:var(--ink)}\n"
                   ".mid{text-anchor:middle}.end{text-anchor:end}.key{fill:var(--ink)}\n"
                   ".paper{fill:var(--paper)}path{fill:none}.grid{stroke:var(--grid)}\n"
                   ".axis{stroke:var(--soft)}.line{stroke:var(--c);stroke-width:2}\n"
                   ".limit{stroke:var(--c);stroke-width:1.2;stroke-dasharray:4 4;opacity:.8}\n"
                   ".range{stroke:var(--c);stroke-width:1.2}circle{fill:var(--c)}\n");
    for (int i = 0; i < LINES_MAX; i++)
        buf_printf(out, ".c%d{--c:%s}", i, light[i]);
    buf_add_z(out, "\n@media (prefers-color-scheme:dark){\n"
                   "svg{--ink:#f0f6fc;--soft:#9198a1;--grid:#30363d;--paper:#0d1117}\n");
    for (int i = 0; i < LINES_MAX; i++)
        buf_printf(out, ".c%d{--c:%s}", i, dark[i]);
    buf_add_z(out, "}\n</style>\n");
}

static void draw_head(struct buf *out, const struct bench *b, const char *model)
{
    char text[512];
    snprintf(text, sizeof(text), "%s %s", b->info.name[0] != '\0' ? b->info.name : model,
             b->info.file_type);
    text_at(out, 20, 28, "head", text);
    struct spread r = bench_limit(b, 0, FIGURE_LIMIT_READ);
    struct spread m = bench_limit(b, 0, FIGURE_LIMIT_MACS);
    snprintf(text, sizeof(text),
             "Hearth %s, %s, %d thread%s, median of %d, bars from least to most. Dashed: what "
             "%.1f GB/s of reading and %.0f G multiply-adds/s allow.",
             HEARTH_VERSION, cpu_level_name(b->level), b->o.threads.v[0],
             b->o.threads.v[0] == 1 ? "" : "s", b->n_round, r.median * 1e-9, m.median * 1e-9);
    text_at(out, 20, 48, "sub", text);
}

void bench_write_svg(const struct bench *b, const char *model, struct buf *out)
{
    struct panel panel[3] = {
        {.title = "Prefill", .x_title = "tokens in the prompt", .x = b->o.prompt},
        {.title = "Decode, all sequences together", .x_title = "sequences", .x = b->o.batch},
        {.title = "Decode at a depth", .x_title = "tokens before", .x = b->o.depth},
    };
    collect(b, &panel[0], &panel[1], &panel[2]);
    int n = 0;
    for (int i = 0; i < 3; i++)
        n += panel[i].n_line > 0 && (i < 2 || panel[i].x.n > 1);
    int width = 2 * PANEL_W + 20, height = HEAD_H + (n > 2 ? 2 : 1) * PANEL_H + 10;
    buf_printf(out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
               "height=\"%d\" role=\"img\" aria-label=\"Tokens per second of a model\">\n",
               width, height, width, height);
    draw_style(out);
    buf_printf(out, "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", width, height);
    draw_head(out, b, model);
    for (int i = 0, at = 0; i < 3; i++)
        if (panel[i].n_line > 0 && (i < 2 || panel[i].x.n > 1))
            draw_panel(out, &panel[i], at++);
    buf_add_z(out, "</svg>\n");
}
