/*
 * cmd_eval: measures a model: perplexity of a text, and raw logits for tests.
 *
 * `eval perplexity` cuts and scores as llama.cpp's perplexity tool does, so that figures compare:
 * the text's tokens (with a beginning-of-sequence token where the model adds one) are cut into
 * windows of n_ctx; each window's first token is replaced by that token where there is one; the
 * tokens at positions n_ctx / 2 + 1 and later are scored, given those before them in the window.
 */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/eval_model.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_SEQ_MAX 64

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
    int n_threads = 0;
    int n_chunk = 64;
    int n_ctx = 0;
    const struct arg_option option[] = {
        {"tokens", 't', ARG_STR, "IDS", "token ids: \"1 2 3\"; several sequences: \"1 2; 3 4\"",
         &tokens, .flag_only = true},
        {"chunk", 0, ARG_INT, "N", "tokens of a sequence in one call (64)", &n_chunk, 1, 4096,
         .flag_only = true},
        {"ctx", 0, ARG_INT, "N", "context the model is opened with (the longest sequence)", &n_ctx,
         0, INT32_MAX, .flag_only = true},
        {"threads", 0, ARG_INT, "N", "threads (one per physical core)", &n_threads, 0, 512,
         .flag_only = true},
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
    struct gguf *g = NULL;
    int rc = id_list_parse(tokens == NULL ? "" : tokens, &l, &err);
    struct eval_opts o = {.n_seq = l.n_seq, .n_chunk = n_chunk, .n_threads = n_threads};
    size_t longest = (size_t)n_ctx;
    for (int i = 0; i < l.n_seq; i++)
        if (l.begin[i + 1] - l.begin[i] > longest)
            longest = l.begin[i + 1] - l.begin[i];
    o.n_ctx = (int)longest;
    if (rc == 0)
        rc = eval_gguf_open(args.word[0], &g, &err);
    if (rc == 0)
        rc = eval_model_open(&m, g, &o, &err);
    if (rc == 0)
        rc = id_list_check(&l, m.info->n_vocab, &err);
    code = rc == 0 ? logits_write(&m, &l) : cli_fail(&err);
    eval_model_close(&m);
    free(l.id);
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
