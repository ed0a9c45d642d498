/*
 * cmd_tokenize: text to token ids and back, with the tokenizer of a model or of a GGUF file.
 *
 * Standard input is one text, or with -0 many, each ended by a NUL. One line of ids per text.
 * With --decode the other way: a line of ids gives a text, ended as the input would be.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/open_gguf.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX  ((size_t)1 << 31)
#define TOKENS_MAX ((size_t)1 << 30)

struct options {
    bool many, special, bos, decode;
};

static int open_tokenizer(const char *name, struct tokenizer **ret, struct err *err)
{
    struct gguf *g;
    int rc = cli_gguf_open(name, &g, NULL, err);
    if (rc != 0)
        return rc;
    rc = tokenizer_new(g, ret, err);
    gguf_free(g);
    return rc == 0 ? 0 : err_wrap(err, "%s", name);
}

static void write_out(struct buf *out)
{
    fwrite(out->ptr, 1, out->len, stdout);
    buf_clear(out);
}

static int encode_one(const struct tokenizer *t, const struct options *o, struct str text,
                      struct tokens *ids, struct err *err)
{
    unsigned flags = (o->special ? TOKENIZE_SPECIAL : 0u) | (o->bos ? TOKENIZE_BOS_EOS : 0u);
    struct buf line;
    buf_init(&line, SIZE_MAX / 2);
    ids->len = 0;
    int rc = tokenizer_encode(t, text, flags, ids, err);
    for (size_t i = 0; i < ids->len && rc == 0; i++) {
        char number[16];
        int n = snprintf(number, sizeof(number), i ? " %d" : "%d", ids->id[i]);
        if (!buf_add(&line, number, (size_t)n))
            rc = err_set(err, ERR_NOMEM, "out of memory");
    }
    if (rc == 0) {
        if (line.len > 0)
            write_out(&line);
        putchar('\n');
    }
    buf_release(&line);
    return rc;
}

static int decode_one(const struct tokenizer *t, const struct options *o, struct str line,
                      struct err *err)
{
    struct detokenizer d;
    struct buf out;
    struct str part;
    bool ok = true;
    detokenizer_init(&d, t, true);
    d.special = o->special;
    buf_init(&out, SIZE_MAX / 2);
    while (ok && str_split(&line, ' ', &part)) {
        int64_t id;
        if (part.len == 0)
            continue;
        if (!str_to_i64(part, &id) || id < 0 || (uint64_t)id >= tokenizer_n_vocab(t)) {
            buf_release(&out);
            return err_set(err, ERR_INVALID, "'%.*s' is no token id; they go from 0 to %zu",
                           STR_ARG(str_sub(part, 0, 32)), tokenizer_n_vocab(t) - 1);
        }
        ok = detokenizer_push(&d, (token_id)id, &out);
    }
    ok = ok && detokenizer_flush(&d, &out) && buf_add_char(&out, o->many ? '\0' : '\n');
    if (ok)
        write_out(&out);
    buf_release(&out);
    return ok ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

static int run(const struct tokenizer *t, const struct options *o, struct str in, struct err *err)
{
    struct tokens ids;
    int rc = 0;
    tokens_init(&ids, TOKENS_MAX);
    char end = o->decode ? '\n' : '\0';
    if (!o->decode && !o->many) {
        rc = encode_one(t, o, in, &ids, err);
        in.len = 0;
    }
    while (rc == 0 && in.len > 0) {
        ptrdiff_t at = str_chr(in, end);
        struct str one = at < 0 ? in : str_sub(in, 0, (size_t)at);
        rc = o->decode ? decode_one(t, o, one, err) : encode_one(t, o, one, &ids, err);
        in = str_from(in, at < 0 ? in.len : (size_t)at + 1);
    }
    tokens_release(&ids);
    return rc;
}

int cmd_tokenize(int argc, char **argv)
{
    struct options o = {.bos = true};
    const struct arg_option option[] = {
        {"null", '0', ARG_BOOL, NULL, "many texts, each ended by a NUL", &o.many, 0, 0, true},
        {"special", 's', ARG_BOOL, NULL, "text may spell special tokens", &o.special, 0, 0, true},
        {"bos", 0, ARG_BOOL, NULL, "add BOS and EOS as the model wants (default)", &o.bos, 0, 0,
         true},
        {"decode", 'd', ARG_BOOL, NULL, "ids to text, a text per line", &o.decode, 0, 0, true},
    };
    const struct args_spec spec = {
        .command = "tokenize",
        .usage = "MODEL|FILE.gguf",
        .summary = "Turn standard input into token ids, a line per text",
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
    struct tokenizer *t = NULL;
    struct buf in;
    buf_init(&in, INPUT_MAX);
    int rc = open_tokenizer(args.word[0], &t, &err);
    if (rc == 0)
        rc = input_read(&in, NULL, &err);
    if (rc == 0)
        rc = run(t, &o, buf_str(&in), &err);
    buf_release(&in);
    tokenizer_free(t);
    args_release(&args);
    if (rc != 0) {
        fflush(stdout);
        return cli_fail(&err);
    }
    return cli_done();
}
