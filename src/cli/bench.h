/*
 * bench: speed of one model on this machine, beside what the machine allows (`hearth bench`).
 *
 * A measurement (a cell) is a prefill of a length at a depth, or a decode of some sequences
 * together at a depth, with a number of threads. A round takes one sample of every cell; rounds
 * follow one another, so that a noisy neighbour hits all cells alike. Right after every sample the
 * machine's limits are measured for a moment with the same threads; a fraction is that of a sample
 * and its own limits.
 *
 * Depths are filled, before anything is measured, with the keys and values of a real prefill of the
 * first tokens, copied over and over: attention takes the same time whatever they hold, but they
 * lie in memory of their own, as they would; but for the first `n_shared`, which sequences that
 * decode together have in common, as if the prefix cache had given it to them. The user's own files
 * only: no sandbox stands between.
 */
#ifndef HEARTH_CLI_BENCH_H
#define HEARTH_CLI_BENCH_H

#include "base/buf.h"
#include "cli/bench_stats.h"
#include "kernels/limits.h"
#include "model/model.h"
#include "store/pack_cache.h"

#include <signal.h>

#define BENCH_REPS_MAX 1000

enum bench_kind { BENCH_PREFILL, BENCH_DECODE };

struct bench_opts {
    struct numbers prompt, depth, batch, threads;
    enum kv_type kv_type; /* how keys and values are stored */
    enum activations activations;
    int n_reps;
    int n_shared; /* of a depth: the same blocks in all sequences */
    int n_chunk;  /* tokens of a prefill in one forward call */
    int n_steps;  /* steps in a sample of decode; 0: as many as take about a second */
};

struct bench_sample {
    double seconds;
    double read_bytes_per_s, macs_per_s; /* the limits, measured right after */
};

struct bench_cell {
    enum bench_kind kind;
    int n_prompt; /* of a prefill */
    int batch;    /* sequences of a decode */
    int depth;    /* tokens that each sequence has before */
    int i_threads;
    int n_steps;  /* of a decode, in a sample */
    int n_repeat; /* how often a sample does it all, so that it lasts */
    /* Of one sample: tokens, bytes that must be read from memory, multiply-adds. */
    double n_tokens, n_bytes, n_macs;
    double estimate_s;           /* how long a sample takes, from the last one */
    char skipped[160];           /* why it is left out; "" when it is measured */
    struct bench_sample *sample; /* [n_reps] */
    int n_sample;
};

/* What a step costs by the model's shape, whatever the kernels do. */
struct bench_work {
    double weight_bytes, weight_macs; /* of a token through all matrices but the output */
    double output_bytes, output_macs;
    double kv_bytes[2];  /* of one position, in layers that see all, and in those with a window */
    double attn_macs[2]; /* of one query and one position, likewise */
    int window;          /* 0: none */
};

/* One open model for each number of threads, and what they share. */
struct bench {
    struct bench_opts o;
    struct gguf *gguf;
    struct model_info info;
    struct bench_work work;
    enum cpu_level level;
    struct pool *pool[NUMBERS_MAX];
    struct model *model[NUMBERS_MAX];
    struct pack_cache *cache; /* of packed weights; NULL: they are packed in memory */
    struct pack_lease lease[NUMBERS_MAX];
    int n_lease;
    struct kv_slab kv;
    size_t kv_mapped;
    struct limits_buffer buffer;
    struct bench_cell *cell;
    int n_cell;
    int32_t *token;   /* [n_batch_max] */
    uint32_t *block;  /* the tables of the sequences of a cell, one after the other */
    int32_t *out_row; /* [n_out_max] */
    struct batch_seq *seq;
    float *logits;
    const volatile sig_atomic_t *stop;            /* not zero: come to an end */
    double one_thread_macs_per_s[BENCH_REPS_MAX]; /* of each round begun */
    int n_round;
};

/* ---- bench_plan.c ---- */

/* What is to be measured, and what not and why: every combination in b->o, in the order of a table.
 * Needs b->gguf and b->info; memory: bytes that keys and values may take. */
int bench_plan(struct bench *b, uint64_t memory, struct err *err)
    __attribute__((warn_unused_result));
int bench_work_of(const struct gguf *g, const struct model_info *info, struct bench_work *ret,
                  struct err *err) __attribute__((warn_unused_result));
/* Sets n_tokens, n_bytes and n_macs from n_steps and n_repeat. */
void bench_cell_work(const struct bench *b, struct bench_cell *c);
/* Positions that each sequence of the cell needs. */
int bench_cell_len(const struct bench_cell *c);
/* Blocks of one sequence, how many of them are those of the first sequence, and of all together. */
uint64_t bench_seq_blocks(const struct bench_cell *c);
uint64_t bench_shared_blocks(const struct bench *b, const struct bench_cell *c);
uint64_t bench_cell_blocks(const struct bench *b, const struct bench_cell *c);
/* "decode 8, depth 4096, 2 threads" */
void bench_cell_name(const struct bench *b, const struct bench_cell *c, char *ret, size_t size);

/* ---- bench_run.c ---- */

/* Opens models, plans and fills the depths. Takes g over, whatever comes back; path: its n_path
 * files. Packed weights come from the cache folder, and go there, as they do for a server. Close
 * after failure, too. ERR_CANCELLED when *stop was set. */
int bench_open(struct bench *b, struct gguf *g, char *const *path, int n_path,
               const struct bench_opts *o, const volatile sig_atomic_t *stop, struct err *err)
    __attribute__((warn_unused_result));
void bench_close(struct bench *b);
/* A short run of the cell that is not counted; chooses how long a sample is. */
void bench_warm(struct bench *b, struct bench_cell *c);
/* False when *stop was set meanwhile. */
bool bench_measure(struct bench *b, const struct bench_cell *c, struct bench_sample *ret);

/* ---- bench_report.c, bench_svg.c ---- */

enum bench_figure {
    FIGURE_TOKENS,       /* tokens a second */
    FIGURE_BYTES,        /* bytes a second that had to be read */
    FIGURE_MACS,         /* multiply-adds a second */
    FIGURE_OF_READ,      /* FIGURE_BYTES over what the machine reads */
    FIGURE_OF_MACS,      /* FIGURE_MACS over what the machine multiplies */
    FIGURE_LIMIT_READ,   /* what the machine reads, beside this cell */
    FIGURE_LIMIT_MACS,   /* what it multiplies */
    FIGURE_LIMIT_TOKENS, /* tokens a second that the nearer limit allows */
};

struct spread bench_spread(const struct bench_cell *c, enum bench_figure f);
/* Over all cells with these threads. FIGURE_LIMIT_READ or FIGURE_LIMIT_MACS. */
struct spread bench_limit(const struct bench *b, int i_threads, enum bench_figure f);
void bench_print(const struct bench *b, const char *model);
int bench_write_json(const struct bench *b, const char *model, bool interrupted, struct buf *out);
void bench_write_svg(const struct bench *b, const char *model, struct buf *out);

#endif
