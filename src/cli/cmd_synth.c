/*
 * cmd_synth: a GGUF file with random weights in the true shape of a known model, to measure speed
 * with where the weights cannot be had.
 */
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/open_gguf.h"
#include "cli/synth_plan.h"
#include "cli/synth_vocab.h"
#include "cli/synth_write.h"
#include "model/arch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 64

struct synth {
    const char *type, *output, *tokenizer;
    int64_t seed;
    int n_layer, n_threads;
    bool pure, resize, force, list;
    struct synth_shape shape;
    const struct quant_mix *mix;
    struct gguf *vocab; /* NULL: the plain tokenizer */
    char *vocab_name;
};

/* ---- --list ---- */

static int64_t bytes_of(const struct synth_shape *s, const struct quant_mix *mix)
{
    struct synth_plan p;
    synth_plan_init(&p, s, mix, false, 0);
    int64_t n = synth_plan_bytes(&p);
    synth_plan_release(&p);
    return n;
}

static int64_t params_of(const struct synth_shape *s)
{
    struct synth_plan p;
    synth_plan_init(&p, s, quant_mix_at(0), false, 0);
    int64_t n = synth_plan_params(&p);
    synth_plan_release(&p);
    return n;
}

static void count_text(int64_t n, char ret[16])
{
    snprintf(ret, 16, n < 999500000 ? "%.0f M" : "%.2f G", (double)n / (n < 999500000 ? 1e6 : 1e9));
}

static void list_shapes(void)
{
    static const char *const type[] = {"Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "BF16"};
    printf("%-18s %8s", "SHAPE", "PARAMS");
    for (size_t i = 0; i < ARRAY_LEN(type); i++)
        printf(" %9s", type[i]);
    putchar('\n');
    for (int i = 0; i < synth_shape_count(); i++) {
        const struct synth_shape *s = synth_shape_at(i);
        char text[24];
        count_text(params_of(s), text);
        printf("%-18s %8s", s->name, text);
        for (size_t k = 0; k < ARRAY_LEN(type); k++) {
            progress_size(bytes_of(s, quant_mix_find(type[k])), text);
            printf(" %9s", text);
        }
        putchar('\n');
    }
    printf("\nTypes:");
    for (int i = 0, col = 6; i < quant_mix_count(); i++) {
        const char *name = quant_mix_at(i)->name;
        col += (int)strlen(name) + 1;
        if (col > 78) {
            printf("\n      ");
            col = 7 + (int)strlen(name);
        }
        printf(" %s", name);
    }
    printf("\n'hearth synth SHAPE --list' shows a shape's size in each.\n");
}

static void list_types(const struct synth_shape *s)
{
    int64_t n_params = params_of(s);
    printf("%s (%s), %lld parameters\n", s->name, s->title, (long long)n_params);
    for (int i = 0; i < quant_mix_count(); i++) {
        const struct quant_mix *mix = quant_mix_at(i);
        char text[24];
        int64_t bytes = bytes_of(s, mix);
        progress_size(bytes, text);
        printf("  %-10s %9s  %5.2f bits a weight\n", mix->name, text,
               8.0 * (double)bytes / (double)n_params);
    }
}

/* ---- what was asked for ---- */

static int find_shape(struct synth *y, const char *name, struct err *err)
{
    const struct synth_shape *s = synth_shape_find(name);
    if (s != NULL) {
        y->shape = *s;
        return 0;
    }
    const char **names = mem_zero((size_t)synth_shape_count(), sizeof(*names));
    for (int i = 0; i < synth_shape_count(); i++)
        names[i] = synth_shape_at(i)->name;
    const char *near = args_nearest(name, names, synth_shape_count());
    int rc = near != NULL
                 ? err_set(err, ERR_INVALID, "unknown shape '%s'; did you mean '%s'?", name, near)
                 : err_set(err, ERR_INVALID, "unknown shape '%s'; 'hearth synth --list' shows them",
                           name);
    free(names);
    return rc;
}

static int check_request(struct synth *y, struct err *err)
{
    if (y->type == NULL)
        return err_set(err, ERR_INVALID,
                       "--type is missing: Q4_K_M, for instance ('hearth synth "
                       "--list' shows all)");
    y->mix = quant_mix_find(y->type);
    if (y->mix == NULL)
        return err_set(err, ERR_INVALID, "unknown type '%s'; 'hearth synth --list' shows all",
                       y->type);
    if (y->output == NULL)
        return err_set(err, ERR_INVALID, "-o is missing: the file to write");
    if (!y->force && fs_exists(y->output))
        return err_set(err, ERR_EXISTS, "%s is there already; --force replaces it", y->output);
    if (fs_is_dir(y->output))
        return err_set(err, ERR_INVALID, "%s is a folder; -o takes the file's name", y->output);
    if (y->n_layer > N_LAYER_MAX)
        return err_set(err, ERR_INVALID, "at most %d layers", N_LAYER_MAX);
    if (y->n_layer > 0)
        y->shape.n_layer = y->n_layer;
    return 0;
}

static int find_vocab(struct synth *y, struct err *err)
{
    int n_tokens = 0;
    y->vocab_name = y->tokenizer != NULL ? str_dup(str_z(y->tokenizer))
                                         : synth_vocab_in_library(y->shape.n_vocab);
    if (y->vocab_name == NULL) {
        if (y->resize)
            y->shape.n_vocab = SYNTH_VOCAB_PLAIN;
        return 0;
    }
    int rc = cli_gguf_open(y->vocab_name, &y->vocab, NULL, err);
    if (rc == 0)
        rc = synth_vocab_tokens(y->vocab, y->vocab_name, &n_tokens, err);
    if (rc != 0)
        return rc;
    if (y->resize)
        y->shape.n_vocab = n_tokens;
    else if (n_tokens > y->shape.n_vocab)
        return err_set(err, ERR_INVALID,
                       "the tokenizer of %s has %d tokens, %s only %d: give another, or "
                       "--resize-vocab to change the shape",
                       y->vocab_name, n_tokens, y->shape.name, y->shape.n_vocab);
    return 0;
}

/* ---- the file ---- */

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    stopped = number;
}

static void catch_signals(void)
{
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&a.sa_mask);
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        sigaction(numbers[i], &a, NULL);
}

static int threads(const struct synth *y)
{
    long n = y->n_threads > 0 ? y->n_threads : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : (int)n;
}

static int write_file(const struct synth *y, const struct synth_plan *p,
                      const struct gguf_writer *w, struct err *err)
{
    struct gguf_out *out;
    struct progress progress;
    progress_init(&progress, false);
    catch_signals();
    int rc = gguf_out_open(w, y->output, &out, err);
    if (rc != 0)
        return rc;
    rc = synth_write(p, out, threads(y), &stopped, &progress, err);
    if (rc == 0) {
        progress_show(&progress, "waiting for the disk", 0, 0);
        rc = gguf_out_sync(out, err);
        progress_end(&progress);
    }
    if (rc == 0 && stopped != 0)
        rc = err_set(err, ERR_CANCELLED, "interrupted: nothing was left behind");
    if (rc == 0)
        return gguf_out_commit(out, y->force, err);
    gguf_out_abort(out);
    return rc;
}

static int make(const struct synth *y, struct err *err)
{
    int64_t start_ms = clock_ms();
    struct synth_plan p;
    synth_plan_init(&p, &y->shape, y->mix, y->pure, (uint64_t)y->seed);
    struct gguf_writer *w = gguf_writer_new();
    synth_plan_describe(&p, w);
    int rc = y->vocab != NULL ? synth_vocab_copy(y->vocab, y->shape.n_vocab, w, err)
                              : synth_vocab_plain(y->shape.n_vocab, w, err);
    if (rc == 0)
        rc = gguf_writer_layout(w, err);
    if (rc == 0)
        rc = write_file(y, &p, w, err);
    if (rc == 0) {
        char size[24], count[24];
        progress_size((int64_t)gguf_writer_file_bytes(w), size);
        count_text(synth_plan_params(&p), count);
        printf("%s: %s %s, %d layers, %s parameters, %s, tokenizer %s, seed %lld, %.1f s\n",
               y->output, y->shape.title, y->mix->name, y->shape.n_layer, count, size,
               y->vocab_name != NULL ? y->vocab_name : "made here", (long long)y->seed,
               (double)(clock_ms() - start_ms) * 1e-3);
    }
    gguf_writer_free(w);
    synth_plan_release(&p);
    return rc;
}

static int synth(struct synth *y, const struct args *a)
{
    struct err err = {0};
    int rc = a->n_word > 0 ? find_shape(y, a->word[0], &err) : 0;
    if (rc == 0 && y->list) {
        if (a->n_word > 0)
            list_types(&y->shape);
        else
            list_shapes();
        return cli_done();
    }
    if (rc == 0 && a->n_word == 0)
        rc = err_set(&err, ERR_INVALID, "a shape is missing; 'hearth synth --list' shows them");
    if (rc == 0)
        rc = check_request(y, &err);
    if (rc == 0)
        rc = find_vocab(y, &err);
    if (rc == 0)
        rc = make(y, &err);
    return rc == 0 ? cli_done() : cli_fail(&err);
}

int cmd_synth(int argc, char **argv)
{
    struct synth y = {.seed = 1};
    const struct arg_option option[] = {
        {"type", 't', ARG_STR, "TYPE", "type of the weights: Q4_K_M, Q8_0, BF16 ...", &y.type,
         .flag_only = true},
        {"output", 'o', ARG_STR, "FILE", "the file to write", &y.output, .flag_only = true},
        {"tokenizer", 0, ARG_STR, "MODEL", "whose tokenizer to take (the library's that fits best)",
         &y.tokenizer, .flag_only = true},
        {"seed", 0, ARG_I64, "N", "another seed, other weights (1)", &y.seed, 0, INT64_MAX,
         .flag_only = true},
        {"layers", 0, ARG_INT, "N", "so many layers instead of the shape's", &y.n_layer, 1,
         N_LAYER_MAX, .flag_only = true},
        {"pure", 0, ARG_BOOL, NULL, "every matrix in TYPE, not llama.cpp's mixture", &y.pure,
         .flag_only = true},
        {"resize-vocab", 0, ARG_BOOL, NULL, "as many tokens as the tokenizer has", &y.resize,
         .flag_only = true},
        {"force", 'f', ARG_BOOL, NULL, "replace the file if it is there", &y.force,
         .flag_only = true},
        {"threads", 0, ARG_INT, "N", "threads (one per processor)", &y.n_threads, 0, THREADS_MAX,
         .flag_only = true},
        {"list", 'l', ARG_BOOL, NULL, "list the shapes, or the types of one", &y.list,
         .flag_only = true},
    };
    const struct args_spec spec = {
        .command = "synth",
        .usage = "SHAPE --type TYPE -o FILE",
        .summary = "Write a GGUF file with random weights in the shape of a known model",
        .details = "For measuring speed: the file has the true tensors and types of a model whose\n"
                   "weights need not be there. What it says is noise. Tokens that the tokenizer\n"
                   "lacks are filled up with unused ones.",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_max = 1,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    code = synth(&y, &args);
    gguf_free(y.vocab);
    free(y.vocab_name);
    args_release(&args);
    return code;
}
