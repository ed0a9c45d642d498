/*
 * bench_report: the figures of `hearth bench` as a table for people and as JSON.
 */
#include "base/json.h"
#include "base/mem.h"
#include "cli/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

static double value_of(const struct bench_cell *c, const struct bench_sample *s,
                       enum bench_figure f)
{
    switch (f) {
    case FIGURE_TOKENS:
        return c->n_tokens / s->seconds;
    case FIGURE_BYTES:
        return c->n_bytes / s->seconds;
    case FIGURE_MACS:
        return c->n_macs / s->seconds;
    case FIGURE_OF_READ:
        return c->n_bytes / s->seconds / s->read_bytes_per_s;
    case FIGURE_OF_MACS:
        return c->n_macs / s->seconds / s->macs_per_s;
    case FIGURE_LIMIT_READ:
        return s->read_bytes_per_s;
    case FIGURE_LIMIT_MACS:
        return s->macs_per_s;
    case FIGURE_LIMIT_TOKENS:
        return c->n_tokens * smaller(s->read_bytes_per_s / c->n_bytes, s->macs_per_s / c->n_macs);
    }
    return 0;
}

struct spread bench_spread(const struct bench_cell *c, enum bench_figure f)
{
    double x[BENCH_REPS_MAX];
    for (int i = 0; i < c->n_sample; i++)
        x[i] = value_of(c, &c->sample[i], f);
    return spread_of(x, c->n_sample);
}

struct spread bench_limit(const struct bench *b, int i_threads, enum bench_figure f)
{
    size_t n = 0;
    double *x = mem_zero((size_t)b->n_cell * (size_t)b->o.n_reps, sizeof(*x));
    for (int i = 0; i < b->n_cell; i++)
        for (int j = 0; b->cell[i].i_threads == i_threads && j < b->cell[i].n_sample; j++)
            x[n++] = value_of(&b->cell[i], &b->cell[i].sample[j], f);
    struct spread s = spread_of(x, (int)n);
    free(x);
    return s;
}

/* ---- the table ---- */

static void print_limits(const struct bench *b)
{
    for (int t = 0; t < b->o.threads.n; t++) {
        struct spread r = bench_limit(b, t, FIGURE_LIMIT_READ);
        struct spread m = bench_limit(b, t, FIGURE_LIMIT_MACS);
        printf("%d thread%s here: read %.1f GB/s (%.1f..%.1f), %.0f G multiply-adds/s "
               "(%.0f..%.0f)\n",
               b->o.threads.v[t], b->o.threads.v[t] == 1 ? "" : "s", r.median * 1e-9, r.min * 1e-9,
               r.max * 1e-9, m.median * 1e-9, m.min * 1e-9, m.max * 1e-9);
    }
    struct spread one = spread_of(b->one_thread_macs_per_s, b->n_round);
    printf("1 thread alone: %.0f G multiply-adds/s (%.0f..%.0f), %s\n\n", one.median * 1e-9,
           one.min * 1e-9, one.max * 1e-9, limits_instruction(b->level));
}

static void print_cell(const struct bench *b, const struct bench_cell *c, int width)
{
    char name[128], range[48];
    struct spread t = bench_spread(c, FIGURE_TOKENS);
    bench_cell_name(b, c, name, sizeof(name));
    snprintf(range, sizeof(range), "%.1f..%.1f", t.min, t.max);
    printf("%-*s %9.1f  %-17s %9.1f %8.1f %9.0f %8.1f\n", width, name, t.median, range,
           bench_spread(c, FIGURE_BYTES).median * 1e-9,
           bench_spread(c, FIGURE_OF_READ).median * 100, bench_spread(c, FIGURE_MACS).median * 1e-9,
           bench_spread(c, FIGURE_OF_MACS).median * 100);
}

static int name_width(const struct bench *b)
{
    char name[128];
    int width = 12;
    for (int i = 0; i < b->n_cell; i++) {
        bench_cell_name(b, &b->cell[i], name, sizeof(name));
        width = (int)strlen(name) > width ? (int)strlen(name) : width;
    }
    return width;
}

void bench_print(const struct bench *b, const char *model)
{
    int width = name_width(b);
    printf("%s: %s %s, %.2f GB of weights\n", model,
           b->info.name[0] != '\0' ? b->info.name : b->info.arch, b->info.file_type,
           (double)b->info.weight_bytes * 1e-9);
    printf("%s, %s activations, %s keys and values; medians of %d round%s\n",
           cpu_level_name(b->level), activations_name(b->info.activations),
           kv_type_name(b->o.kv_type), b->n_round, b->n_round == 1 ? "" : "s");
    print_limits(b);
    printf("%-*s %9s  %-17s %9s %8s %9s %8s\n", width, "", "tokens/s", "(min..max)", "GB/s", "% of",
           "G mult-", "% of");
    printf("%-*s %9s  %-17s %9s %8s %9s %8s\n", width, "", "", "", "to read", "limit", "adds/s",
           "limit");
    for (int i = 0; i < b->n_cell; i++)
        if (b->cell[i].n_sample > 0)
            print_cell(b, &b->cell[i], width);
    for (int i = 0; i < b->n_cell; i++) {
        char name[128];
        bench_cell_name(b, &b->cell[i], name, sizeof(name));
        if (b->cell[i].skipped[0] != '\0')
            printf("%-*s  left out: %s\n", width, name, b->cell[i].skipped);
    }
}

/* ---- JSON ---- */

static json_t *spread_json(struct spread s)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f}", "median", s.median, "min", s.min, "q1", s.q1,
                     "q3", s.q3, "max", s.max);
}

static json_t *cell_json(const struct bench *b, const struct bench_cell *c)
{
    json_t *o =
        json_pack("{s:s, s:i, s:i}", "test", c->kind == BENCH_PREFILL ? "prefill" : "decode",
                  "depth", c->depth, "threads", b->o.threads.v[c->i_threads]);
    if (c->kind == BENCH_PREFILL)
        json_object_set_new(o, "prompt", json_integer(c->n_prompt));
    else
        json_object_set_new(o, "batch", json_integer(c->batch));
    if (c->batch > 1)
        json_object_set_new(o, "shared",
                            json_integer((json_int_t)bench_shared_blocks(b, c) * KV_BLOCK_LEN));
    if (c->skipped[0] != '\0') {
        json_object_set_new(o, "why", json_string(c->skipped));
        return o;
    }
    static const struct {
        const char *name;
        enum bench_figure f;
    } figure[] = {{"tokens_per_s", FIGURE_TOKENS},
                  {"read_bytes_per_s", FIGURE_BYTES},
                  {"multiply_adds_per_s", FIGURE_MACS},
                  {"of_read_limit", FIGURE_OF_READ},
                  {"of_multiply_add_limit", FIGURE_OF_MACS}};
    json_t *seconds = json_array();
    for (int i = 0; i < c->n_sample; i++)
        json_array_append_new(seconds, json_real(c->sample[i].seconds));
    json_object_set_new(o, "tokens", json_integer((json_int_t)c->n_tokens));
    json_object_set_new(o, "bytes", json_real(c->n_bytes));
    json_object_set_new(o, "multiply_adds", json_real(c->n_macs));
    json_object_set_new(o, "seconds", seconds);
    for (size_t i = 0; i < ARRAY_LEN(figure); i++)
        json_object_set_new(o, figure[i].name, spread_json(bench_spread(c, figure[i].f)));
    return o;
}

static json_t *limits_json(const struct bench *b)
{
    json_t *list = json_array();
    for (int t = 0; t < b->o.threads.n; t++)
        json_array_append_new(list, json_pack("{s:i, s:o, s:o}", "threads", b->o.threads.v[t],
                                              "read_bytes_per_s",
                                              spread_json(bench_limit(b, t, FIGURE_LIMIT_READ)),
                                              "multiply_adds_per_s",
                                              spread_json(bench_limit(b, t, FIGURE_LIMIT_MACS))));
    return list;
}

int bench_write_json(const struct bench *b, const char *model, bool interrupted, struct buf *out)
{
    json_t *results = json_array(), *skipped = json_array();
    for (int i = 0; i < b->n_cell; i++)
        if (b->cell[i].skipped[0] != '\0')
            json_array_append_new(skipped, cell_json(b, &b->cell[i]));
        else if (b->cell[i].n_sample > 0)
            json_array_append_new(results, cell_json(b, &b->cell[i]));
    json_t *about = json_object();
    const char *text[][2] = {{"path", model},
                             {"name", b->info.name},
                             {"arch", b->info.arch},
                             {"type", b->info.file_type},
                             {"kv_type", kv_type_name(b->o.kv_type)}};
    for (size_t i = 0; i < ARRAY_LEN(text); i++) {
        json_t *s = json_string(text[i][1]); /* NULL when it is not UTF-8 */
        json_object_set_new(about, text[i][0], s != NULL ? s : json_string("?"));
    }
    json_object_set_new(about, "activations", json_string(activations_name(b->info.activations)));
    json_object_set_new(about, "kv_type", json_string(kv_type_name(b->o.kv_type)));
    json_object_set_new(about, "parameters", json_integer((json_int_t)b->info.n_params));
    json_object_set_new(about, "weight_bytes", json_integer((json_int_t)b->info.weight_bytes));
    json_t *o =
        json_pack("{s:s, s:o, s:s, s:s, s:b, s:i, s:o, s:o, s:o, s:o}", "hearth", HEARTH_VERSION,
                  "model", about, "level", cpu_level_name(b->level), "instruction",
                  limits_instruction(b->level), "interrupted", interrupted, "rounds", b->n_round,
                  "limits", limits_json(b), "one_thread_multiply_adds_per_s",
                  spread_json(spread_of(b->one_thread_macs_per_s, b->n_round)), "results", results,
                  "skipped", skipped);
    bool ok = o != NULL && json_write(o, out) && buf_add_char(out, '\n');
    json_decref(o);
    return ok ? 0 : ERR_NOMEM;
}
