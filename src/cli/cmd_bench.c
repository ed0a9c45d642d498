/*
 * cmd_bench: `hearth bench`: how fast a model runs here, and how near to what the machine allows.
 *
 * Owns: the options, the order of samples, what is written where. Ctrl-C ends the measuring, not
 * the program: what is there is shown.
 */
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/open_gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPORT_MAX ((size_t)64 << 20)

static volatile sig_atomic_t stop;

static void on_interrupt(int signal)
{
    (void)signal;
    stop = 1;
}

/* The second Ctrl-C ends the program at once. */
static void catch_interrupt(void)
{
    struct sigaction a = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
}

/* ---- progress ---- */

static double seconds_left(const struct bench *b)
{
    double left = 0;
    for (int i = 0; i < b->n_cell; i++)
        if (b->cell[i].skipped[0] == '\0')
            left += b->cell[i].estimate_s * (b->o.n_reps - b->cell[i].n_sample);
    return left;
}

/* i_round 0: warm-up. A line that is written over on a terminal; elsewhere one a round. */
static void show(const struct bench *b, int i_round, const struct bench_cell *c, bool first)
{
    char name[128], what[64];
    bool terminal = isatty(STDERR_FILENO) == 1;
    if (!terminal && !first)
        return;
    bench_cell_name(b, c, name, sizeof(name));
    if (i_round == 0)
        snprintf(what, sizeof(what), "warm-up");
    else
        snprintf(what, sizeof(what), "round %d of %d, %.0f s left", i_round, b->o.n_reps,
                 seconds_left(b));
    if (terminal)
        fprintf(stderr, "\r%s: %s\033[K", what, name);
    else
        fprintf(stderr, "%s\n", what);
    fflush(stderr);
}

static void end_progress(void)
{
    if (isatty(STDERR_FILENO) == 1)
        fprintf(stderr, "\r\033[K");
}

/* ---- measuring ---- */

static void warm_up(struct bench *b)
{
    bool first = true;
    for (int i = 0; i < b->n_cell && !stop; i++) {
        if (b->cell[i].skipped[0] != '\0')
            continue;
        show(b, 0, &b->cell[i], first);
        bench_warm(b, &b->cell[i]);
        first = false;
    }
}

/* One sample of every cell. Every other round goes backwards, so that no cell always follows the
 * same one. */
static void one_round(struct bench *b, int i_round)
{
    bool first = true;
    b->one_thread_macs_per_s[b->n_round] = limits_multiply(NULL, b->level, 15000000);
    b->n_round++;
    for (int k = 0; k < b->n_cell && !stop; k++) {
        struct bench_cell *c = &b->cell[i_round % 2 == 0 ? b->n_cell - 1 - k : k];
        if (c->skipped[0] != '\0')
            continue;
        show(b, i_round, c, first);
        if (bench_measure(b, c, &c->sample[c->n_sample]))
            c->n_sample++;
        first = false;
    }
}

/* ---- for scripts ---- */

static void answer_line(struct bench *b, int i)
{
    struct bench_cell *c = &b->cell[i];
    struct bench_sample s;
    if (c->skipped[0] != '\0') {
        printf("{\"cell\": %d, \"left_out\": true}\n", i);
        return;
    }
    if (!bench_measure(b, c, &s))
        return;
    printf("{\"cell\": %d, \"seconds\": %.9g, \"tokens\": %.0f, \"bytes\": %.17g, "
           "\"multiply_adds\": %.17g, \"read_bytes_per_s\": %.9g, \"multiply_adds_per_s\": %.9g}\n",
           i, s.seconds, c->n_tokens, c->n_bytes, c->n_macs, s.read_bytes_per_s, s.macs_per_s);
}

/* Says what there is to measure, then takes one sample for every number on standard input: so a
 * script can put other programs' samples between ours. */
static void answer_script(struct bench *b)
{
    char line[64];
    for (int i = 0; i < b->n_cell; i++) {
        char name[128];
        bench_cell_name(b, &b->cell[i], name, sizeof(name));
        printf("{\"cell\": %d, \"name\": \"%s\", \"left_out\": \"%s\"}\n", i, name,
               b->cell[i].skipped);
    }
    printf(
        "{\"ready\": true, \"level\": \"%s\", \"activations\": \"%s\", \"weight_bytes\": %llu}\n",
        cpu_level_name(b->level), activations_name(b->info.activations),
        (unsigned long long)b->info.weight_bytes);
    fflush(stdout);
    while (!stop && fgets(line, sizeof(line), stdin) != NULL) {
        char *end;
        long i = strtol(line, &end, 10);
        if (end == line || i < 0 || i >= b->n_cell)
            printf("{\"error\": \"give the number of a cell\"}\n");
        else
            answer_line(b, (int)i);
        fflush(stdout);
    }
}

/* ---- results ---- */

static int write_file(const char *path, const struct buf *text, struct err *err)
{
    if (strcmp(path, "-") == 0) {
        fwrite(text->ptr, 1, text->len, stdout);
        return 0;
    }
    return fs_write_atomic(path, buf_str(text), 0644, err);
}

static int write_json(const struct bench *b, const char *model, const char *path, struct err *err)
{
    struct buf out;
    buf_init(&out, REPORT_MAX);
    int rc = bench_write_json(b, model, stop != 0, &out);
    rc = rc != 0 ? err_set(err, rc, "no memory for the JSON report") : write_file(path, &out, err);
    buf_release(&out);
    return rc;
}

static int write_svg(const struct bench *b, const char *model, const char *path, struct err *err)
{
    struct buf out;
    buf_init(&out, REPORT_MAX);
    bench_write_svg(b, model, &out);
    int rc = out.overflow ? err_set(err, ERR_NOMEM, "no memory for the plot")
                          : write_file(path, &out, err);
    buf_release(&out);
    return rc;
}

struct outputs {
    const char *json, *svg;
    bool ask;
};

static int run(struct bench *b, const char *model, const struct outputs *to)
{
    struct err err = {0};
    int rc = 0;
    warm_up(b);
    if (to->ask) {
        answer_script(b);
        return cli_done();
    }
    for (int i = 1; i <= b->o.n_reps && !stop; i++)
        one_round(b, i);
    end_progress();
    if (to->json == NULL || strcmp(to->json, "-") != 0)
        bench_print(b, model);
    if (to->json != NULL)
        rc = write_json(b, model, to->json, &err);
    if (rc == 0 && to->svg != NULL)
        rc = write_svg(b, model, to->svg, &err);
    return rc == 0 ? cli_done() : cli_fail(&err);
}

/* ---- options ---- */

static int list_of(const char *text, const char *name, int min, int max, struct numbers *ret,
                   struct err *err)
{
    if (strcmp(text, "none") == 0) {
        *ret = (struct numbers){.n = 0};
        return 0;
    }
    return numbers_parse(text, name, min, max, ret, err);
}

struct words {
    const char *prompt, *depth, *batch, *threads;
};

static int read_options(const struct words *w, struct bench_opts *o, struct err *err)
{
    int rc;
    o->threads = (struct numbers){{cpu_threads_default()}, 1};
    if ((rc = list_of(w->prompt, "prompt", 1, 1 << 20, &o->prompt, err)) != 0 ||
        (rc = list_of(w->batch, "batch", 1, 1024, &o->batch, err)) != 0 ||
        (rc = numbers_parse(w->depth, "depth", 0, 1 << 22, &o->depth, err)) != 0)
        return rc;
    if (w->threads != NULL)
        rc = numbers_parse(w->threads, "threads", 1, POOL_THREADS_MAX, &o->threads, err);
    if (rc == 0 && o->prompt.n + o->batch.n == 0)
        rc = err_set(err, ERR_INVALID, "--prompt none --batch none: nothing is left to measure");
    return rc;
}

static int open_and_run(const char *model, const struct bench_opts *o, const struct outputs *to)
{
    struct err err = {0};
    struct gguf *g;
    struct bench *b = mem_zero(1, sizeof(*b));
    struct store_model found = {0};
    int rc = cli_gguf_open(model, &g, &found, &err);
    if (rc == 0) {
        catch_interrupt();
        rc = bench_open(b, g, found.path, found.n_path, o, &stop, &err);
        rc = rc == 0 ? run(b, model, to) : cli_fail(&err);
        bench_close(b);
    } else {
        rc = cli_fail(&err);
    }
    store_model_release(&found);
    free(b);
    return rc;
}

int cmd_bench(int argc, char **argv)
{
    struct words w = {"128,512,2048", "0,4096,16384", "1,2,4,8,16,32", NULL};
    struct bench_opts o = {.n_reps = 5, .n_chunk = 256};
    struct outputs to = {0};
    int kv_type = KV_F16;
    const struct arg_option option[] = {
        {"prompt", 'p', ARG_STR, "N,N...", "lengths of a prefill, or none (128,512,2048)",
         &w.prompt, .flag_only = true},
        {"batch", 'b', ARG_STR, "N,N...", "sequences that decode together, or none (1,2,4,8,16,32)",
         &w.batch, .flag_only = true},
        {"depth", 'd', ARG_STR, "N,N...", "tokens that are there before (0,4k,16k)", &w.depth,
         .flag_only = true},
        {"shared", 0, ARG_INT, "N",
         "first tokens of a depth that all sequences share, as a cached prefix (0)", &o.n_shared, 0,
         1 << 22, .flag_only = true},
        {"threads", 't', ARG_STR, "N,N...", "numbers of threads (one per physical core)",
         &w.threads, .flag_only = true},
        {"reps", 'r', ARG_INT, "N", "rounds: samples of each measurement (5)", &o.n_reps, 1,
         BENCH_REPS_MAX, .flag_only = true},
        {"steps", 's', ARG_INT, "N", "steps in a sample of decode (as many as take a second)",
         &o.n_steps, 1, 4096, .flag_only = true},
        {"chunk", 0, ARG_INT, "N", "tokens of a prefill in one forward call (256)", &o.n_chunk, 1,
         8192, .flag_only = true},
        {"kv-type", 0, ARG_WORD, KV_TYPE_WORDS, "of keys and values (f16)", &kv_type,
         .flag_only = true},
        {"activations", 0, ARG_WORD, ACTIVATIONS_WORDS,
         "precision of products' inputs; auto: fast for models that are not small", &o.activations,
         .flag_only = true},
        {"json", 0, ARG_STR, "FILE", "write all figures as JSON; - for standard output", &to.json,
         .flag_only = true},
        {"svg", 0, ARG_STR, "FILE", "draw them; - for standard output", &to.svg, .flag_only = true},
        {"ask", 0, ARG_BOOL, NULL,
         "for scripts: take a sample for each number of a measurement on standard input", &to.ask,
         .flag_only = true},
    };
    const struct args_spec spec = {
        .command = "bench",
        .usage = "MODEL",
        .summary = "Measure how fast a model runs here, and how near to what the machine allows",
        .details = "Every figure is a median with its range over rounds; a round measures "
                   "everything once. Beside it\nstand the bytes that had to be read and the "
                   "multiply-adds that had to be done, and what part they are\nof what this "
                   "machine could do in the same moments. Ctrl-C shows what is there.",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 1,
        .n_word_max = 1,
    };
    struct args args;
    struct err err = {0};
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    o.kv_type = (enum kv_type)kv_type;
    if (read_options(&w, &o, &err) == 0 && to.json != NULL && to.svg != NULL &&
        strcmp(to.json, "-") == 0 && strcmp(to.svg, "-") == 0)
        err_set(&err, ERR_INVALID, "--json - and --svg - would write into each other");
    if (err.code != 0) {
        cli_fail(&err);
        code = CLI_USAGE;
    } else {
        code = open_and_run(args.word[0], &o, &to);
    }
    args_release(&args);
    return code;
}
