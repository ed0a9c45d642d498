/*
 * cmd_eval: measures a model: perplexity of a text, and raw logits for tests.
 *
 * `eval perplexity` cuts and scores as llama.cpp's perplexity tool does, so that figures compare:
 * the text's tokens (with a beginning-of-sequence token where the model adds one) are cut into
 * windows of n_ctx; each window's first token is replaced by that token where there is one; the
 * tokens at positions n_ctx / 2 + 1 and later are scored, given those before them in the window.
 */
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/eval_model.h"
#include "text/tokenizer.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_SEQ_MAX 64

/* How a model is opened, for every command here. */
/* clang-format off: it takes the rows apart */
#define MODEL_OPTIONS(o)                                                                           \
    {"kv-type",        0, ARG_WORD, KV_TYPE_WORDS, "of keys and values (f16)", &(o).kv_type,       \
     .flag_only = true},                                                                           \
        {"threads",                                                                                \
         0,                                                                                        \
         ARG_INT,                                                                                  \
         "N",                                                                                      \
         "threads (one per physical core)",                                                        \
         &(o).n_threads,                                                                           \
         0,                                                                                        \
         POOL_THREADS_MAX,                                                                         \
         .flag_only = true},                                                                       \
    {                                                                                              \
        "activations", 0, ARG_WORD, ACTIVATIONS_WORDS, "precision of products' inputs",            \
            &(o).activations, .flag_only = true                                                    \
    }
/* clang-format on */

/* Token ids of several sequences, read from text like "1 2 3; 4 5". */
struct id_list {
    int32_t *id;
    size_t n, cap;
    size_t begin[N_SEQ_MAX + 1];
    int n_seq;
};

static int id_list_parse(const char *text, struct id_list *ret, struct err *err)
{
    struct id_list l = {.n_seq = 1};
    const char *p = text;
    for (;;) {
        while (isspace((unsigned char)*p) || *p == ',')
            p++;
        if (*p == ';') {
            if (l.n_seq == N_SEQ_MAX)
                goto too_many;
            l.begin[l.n_seq++] = l.n;
            p++;
            continue;
        }
        if (*p == '\0')
            break;
        char *end;
        long id = strtol(p, &end, 10);
        if (end == p || id < 0 || id > INT32_MAX) {
            free(l.id);
            return err_set(err, ERR_INVALID, "no token id: '%.20s'", p);
        }
        if (!mem_grow((void **)&l.id, &l.cap, l.n + 1, 1 << 24, sizeof(*l.id)))
            goto too_many;
        l.id[l.n++] = (int32_t)id;
        p = end;
    }
    l.begin[l.n_seq] = l.n;
    *ret = l;
    return 0;
too_many:
    free(l.id);
    return err_set(err, ERR_LIMIT, "at most %d sequences and %d tokens", N_SEQ_MAX, 1 << 24);
}

static int id_list_check(const struct id_list *l, int n_vocab, struct err *err)
{
    for (int i = 0; i < l->n_seq; i++)
        if (l->begin[i] == l->begin[i + 1])
            return err_set(err, ERR_INVALID, "sequence %d has no tokens", i + 1);
    for (size_t i = 0; i < l->n; i++)
        if (l->id[i] >= n_vocab)
            return err_set(err, ERR_INVALID, "token %d is not in the vocabulary of %d tokens",
                           (int)l->id[i], n_vocab);
    return 0;
}

/* Runs all sequences side by side, n_chunk tokens of each a call, and writes every token's logits
 * in the order of the calls: chunk by chunk, within it sequence by sequence. */
static int logits_write(struct eval_model *m, const struct id_list *l)
{
    int batch_max = l->n_seq * m->n_chunk;
    int32_t *token = mem_zero((size_t)batch_max, sizeof(*token));
    int32_t *out_row = mem_zero((size_t)batch_max, sizeof(*out_row));
    size_t row_bytes = (size_t)m->info->n_vocab * sizeof(float);
    bool more = true;
    for (int pos = 0; more && !ferror(stdout); pos += m->n_chunk) {
        struct batch_seq seq[N_SEQ_MAX];
        struct batch b = {.token = token, .seq = seq, .out_row = out_row};
        more = false;
        for (int i = 0; i < l->n_seq; i++) {
            size_t left = l->begin[i + 1] - l->begin[i];
            if (left <= (size_t)pos)
                continue;
            left -= (size_t)pos;
            int n = left < (size_t)m->n_chunk ? (int)left : m->n_chunk;
            more = more || left > (size_t)n;
            seq[b.n_seq++] = (struct batch_seq){eval_blocks(m, i), pos, n, b.n_tokens};
            memcpy(token + b.n_tokens, l->id + l->begin[i] + pos, (size_t)n * sizeof(*token));
            b.n_tokens += n;
        }
        for (b.n_out = 0; b.n_out < b.n_tokens; b.n_out++)
            out_row[b.n_out] = b.n_out;
        model_forward(m->model, &m->kv, &b, m->logits);
        fwrite(m->logits, row_bytes, (size_t)b.n_out, stdout);
    }
    free(token);
    free(out_row);
    return cli_done();
}

static int eval_logits(int argc, char **argv)
{
    const char *tokens = NULL;
    struct eval_opts o = {.n_chunk = 64, .kv_type = KV_F16, .activations = ACTIVATIONS_AUTO};
    const struct arg_option option[] = {
        {"tokens", 't', ARG_STR, "IDS", "token ids: \"1 2 3\"; several sequences: \"1 2; 3 4\"",
         &tokens, .flag_only = true},
        {"chunk", 0, ARG_INT, "N", "tokens of a sequence in one call (64)", &o.n_chunk, 1, 4096,
         .flag_only = true},
        {"ctx", 0, ARG_INT, "N", "context the model is opened with (the longest sequence)",
         &o.n_ctx, 0, INT32_MAX, .flag_only = true},
        MODEL_OPTIONS(o),
    };
    const struct args_spec spec = {
        .command = "eval logits",
        .usage = "MODEL --tokens IDS",
        .summary = "Write every token's logits as raw float32 (native order) to standard output",
        .details = "Rows come chunk by chunk, within a chunk sequence by sequence.",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 1,
        .n_word_max = 1,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    struct err err = {0};
    struct id_list l = {0};
    struct eval_model m = {0};
    int rc = id_list_parse(tokens == NULL ? "" : tokens, &l, &err);
    o.n_seq = l.n_seq;
    size_t longest = (size_t)o.n_ctx;
    for (int i = 0; i < l.n_seq; i++)
        if (l.begin[i + 1] - l.begin[i] > longest)
            longest = l.begin[i + 1] - l.begin[i];
    o.n_ctx = (int)longest;
    if (rc == 0)
        rc = eval_model_open(&m, args.word[0], &o, &err);
    if (rc == 0)
        rc = id_list_check(&l, m.info->n_vocab, &err);
    code = rc == 0 ? logits_write(&m, &l) : cli_fail(&err);
    eval_model_close(&m);
    free(l.id);
    args_release(&args);
    return code;
}

#define TEXT_MAX ((size_t)256 << 20)

/* What `eval perplexity` was asked and what it has found so far. */
struct perplexity {
    struct eval_model m;
    struct tokenizer *tokenizer;
    struct tokens ids;
    int n_ctx;
    int n_windows;
    bool json;
    double nll, nll2; /* sums of -log p and of its square */
    int64_t n_scored;
};

/* log of the softmax of row at id, in double */
static double log_probability(const float *row, int n, int32_t id)
{
    float max = row[0];
    for (int i = 1; i < n; i++)
        max = row[i] > max ? row[i] : max;
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += (double)expf(row[i] - max);
    return (double)row[id] - (double)max - log(sum);
}

static void score(struct perplexity *p, int window, int pos, const float *row)
{
    int32_t id = p->ids.id[(size_t)window * (size_t)p->n_ctx + (size_t)pos];
    double logprob = log_probability(row, p->m.info->n_vocab, id);
    if (p->json)
        printf("%s\n  {\"window\": %d, \"pos\": %d, \"id\": %d, \"logprob\": %.7g}",
               p->n_scored > 0 ? "," : "", window, pos, (int)id, logprob);
    p->nll -= logprob;
    p->nll2 += logprob * logprob;
    p->n_scored++;
}

static void run_window(struct perplexity *p, int window, int32_t *out_row)
{
    struct eval_model *m = &p->m;
    int32_t *token = p->ids.id + (size_t)window * (size_t)p->n_ctx;
    int32_t kept = token[0];
    int first = p->n_ctx / 2;
    if (tokenizer_adds_bos(p->tokenizer))
        token[0] = tokenizer_bos(p->tokenizer);
    for (int pos = 0; pos < p->n_ctx - 1; pos += m->n_chunk) {
        int left = p->n_ctx - pos;
        int n = left < m->n_chunk ? left : m->n_chunk;
        struct batch_seq seq = {eval_blocks(m, 0), pos, n, 0};
        struct batch b = {token + pos, n, &seq, 1, out_row, 0};
        /* The last position's prediction lies in the next window. */
        for (int i = first > pos ? first - pos : 0; i < n && pos + i < p->n_ctx - 1; i++)
            out_row[b.n_out++] = i;
        model_forward(m->model, &m->kv, &b, m->logits);
        for (int i = 0; i < b.n_out; i++)
            score(p, window, pos + out_row[i] + 1,
                  m->logits + (size_t)i * (size_t)m->info->n_vocab);
    }
    token[0] = kept;
}

static double perplexity_error(const struct perplexity *p, double mean)
{
    double var = p->nll2 / (double)p->n_scored - mean * mean;
    if (p->n_scored < 2 || var <= 0.0)
        return 0.0;
    return sqrt(var / (double)(p->n_scored - 1)) * exp(mean);
}

static int perplexity_run(struct perplexity *p)
{
    int32_t *out_row = mem_zero((size_t)p->m.n_chunk, sizeof(*out_row));
    int64_t start = clock_ms();
    if (p->json)
        printf("{\"tokens\": [");
    for (int i = 0; i < p->n_windows && !ferror(stdout); i++) {
        run_window(p, i, out_row);
        int64_t ms = clock_ms() - start;
        fprintf(stderr, "window %d of %d: perplexity %.4f, %.1f tokens/s\n", i + 1, p->n_windows,
                exp(p->nll / (double)p->n_scored),
                1000.0 * (i + 1) * p->n_ctx / (double)(ms > 0 ? ms : 1));
    }
    free(out_row);
    double mean = p->nll / (double)p->n_scored;
    double error = perplexity_error(p, mean);
    if (p->json)
        printf("\n],\n\"n_ctx\": %d, \"n_windows\": %d, \"n_tokens\": %lld, \"mean_logprob\": "
               "%.9g, \"perplexity\": %.9g, \"perplexity_error\": %.4g}\n",
               p->n_ctx, p->n_windows, (long long)p->n_scored, -mean, exp(mean), error);
    else
        printf("perplexity %.4f +/- %.4f (%lld tokens of %d windows of %d)\n", exp(mean), error,
               (long long)p->n_scored, p->n_windows, p->n_ctx);
    return cli_done();
}

static int read_tokens(struct perplexity *p, const char *path, struct err *err)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    tokens_init(&p->ids, TEXT_MAX);
    int rc = fs_read(path, &text, err);
    if (rc == 0)
        rc = tokenizer_encode(p->tokenizer, buf_str(&text), TOKENIZE_BOS_EOS, &p->ids, err);
    buf_release(&text);
    if (rc != 0)
        return rc;
    if (p->ids.len < (size_t)p->n_ctx)
        return err_set(err, ERR_INVALID,
                       "%s has %zu tokens; a window takes %d: give a longer text or a smaller "
                       "--ctx",
                       path, p->ids.len, p->n_ctx);
    size_t n = p->ids.len / (size_t)p->n_ctx;
    p->n_windows = n > INT32_MAX ? INT32_MAX : (int)n;
    return 0;
}

static int perplexity_open(struct perplexity *p, char **word, const struct eval_opts *o,
                           struct err *err)
{
    int rc = eval_model_open(&p->m, word[0], o, err);
    if (rc != 0 || (rc = tokenizer_new(p->m.gguf, &p->tokenizer, err)) != 0)
        return rc;
    if (tokenizer_adds_bos(p->tokenizer) &&
        (tokenizer_bos(p->tokenizer) < 0 || tokenizer_bos(p->tokenizer) >= p->m.info->n_vocab))
        return err_set(err, ERR_CORRUPT,
                       "the tokenizer adds a first token, but names none (or one outside of the "
                       "vocabulary)");
    return read_tokens(p, word[1], err);
}

static int eval_perplexity(int argc, char **argv)
{
    struct perplexity p = {.n_ctx = 512};
    struct eval_opts o = {
        .n_seq = 1, .n_chunk = 128, .kv_type = KV_F16, .activations = ACTIVATIONS_AUTO};
    const struct arg_option option[] = {
        {"ctx", 'c', ARG_INT, "N", "tokens in a window (512)", &p.n_ctx, 4, INT32_MAX,
         .flag_only = true},
        {"json", 0, ARG_BOOL, NULL, "one JSON object with every scored token's log probability",
         &p.json, .flag_only = true},
        MODEL_OPTIONS(o),
    };
    const struct args_spec spec = {
        .command = "eval perplexity",
        .usage = "MODEL TEXTFILE",
        .summary = "Say how well a model predicts a text: the exponential of its mean surprise",
        .details = "The text is cut into windows of N tokens; the second half of each is scored, "
                   "given\nwhat stands before it in the window, as llama.cpp's perplexity tool "
                   "does.",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 2,
        .n_word_max = 2,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    struct err err = {0};
    o.n_ctx = p.n_ctx;
    int rc = perplexity_open(&p, args.word, &o, &err);
    code = rc == 0 ? perplexity_run(&p) : cli_fail(&err);
    tokens_release(&p.ids);
    tokenizer_free(p.tokenizer);
    eval_model_close(&p.m);
    args_release(&args);
    return code;
}

int cmd_eval(int argc, char **argv)
{
    static const struct {
        const char *name;
        const char *help;
        int (*run)(int argc, char **argv);
    } what[] = {
        {"perplexity", "how well it predicts a text", eval_perplexity},
        {"logits", "the logits of given token ids, for tests", eval_logits},
    };
    const char *word = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < ARRAY_LEN(what); i++)
        if (strcmp(word, what[i].name) == 0)
            return what[i].run(argc - 1, argv + 1);
    bool help = strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
    FILE *out = help ? stdout : stderr;
    fprintf(out, "Usage: hearth eval WHAT MODEL [OPTION]...\n\n");
    for (size_t i = 0; i < ARRAY_LEN(what); i++)
        fprintf(out, "  %-12s %s\n", what[i].name, what[i].help);
    fprintf(out, "\n'hearth eval WHAT --help' says more.\n");
    return help ? cli_done() : CLI_USAGE;
}
