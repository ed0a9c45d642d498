/*
 * synth_vocab: see synth_vocab.h. The given file is untrusted: the reader has checked its layout,
 * what the arrays say about each other is checked here.
 */
#include "cli/synth_vocab.h"

#include "base/check.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cli/open_gguf.h"
#include "model/arch.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define K_TOKENS "tokenizer.ggml.tokens"
#define K_SCORES "tokenizer.ggml.scores"
#define K_TYPES  "tokenizer.ggml.token_type"

enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_UNUSED = 5 };
#define UNUSED_SCORE (-10000.0f) /* never preferred by a merge */
#define UNUSED_BYTES 24          /* "[PAD1234567]" */
#define MARK_MAX     4           /* underscores that make the padding's names new */

int synth_vocab_tokens(const struct gguf *from, const char *name, int *ret, struct err *err)
{
    const struct gguf_kv *kv = gguf_find(from, K_TOKENS);
    if (kv == NULL || gguf_find(from, "tokenizer.ggml.model") == NULL)
        return err_set(err, ERR_NOT_FOUND, "%s holds no tokenizer: give another with --tokenizer",
                       name);
    if (kv->type != GGUF_ARR || kv->elem_type != GGUF_STR || kv->n == 0 || kv->n > N_VOCAB_MAX)
        return err_set_param(err, ERR_CORRUPT, K_TOKENS,
                             "%s: key " K_TOKENS " must be 1 to %d strings", name, N_VOCAB_MAX);
    *ret = (int)kv->n;
    return 0;
}

/* ---- unused tokens ---- */

/* What pads a vocabulary: n texts of names that no token has. */
struct padding {
    struct str *token; /* [n_vocab]: the given ones, then the unused ones */
    char *text;
};

static void padding_release(struct padding *p)
{
    free(p->token);
    free(p->text);
}

/* "[PAD", or with as many underscores as it takes for no token to begin so. */
static bool choose_mark(const struct str *token, int n, char ret[16])
{
    snprintf(ret, 16, "[PAD");
    for (int k = 0; k <= MARK_MAX; k++) {
        bool taken = false;
        for (int i = 0; !taken && i < n; i++)
            taken = str_starts(token[i], str_z(ret));
        if (!taken)
            return true;
        strcat(ret, "_");
    }
    return false;
}

static int padding_init(struct padding *ret, const struct str *token, int n, int n_vocab,
                        struct err *err)
{
    char mark[16];
    CHECK(n <= n_vocab);
    if (!choose_mark(token, n, mark))
        return err_set(err, ERR_UNSUPPORTED,
                       "the tokenizer has tokens that begin like those that would pad it ('%s'): "
                       "give another with --tokenizer",
                       mark);
    *ret = (struct padding){
        .token = mem_try_array((size_t)n_vocab, sizeof(*ret->token)),
        .text = mem_try_array((size_t)(n_vocab - n) + 1, UNUSED_BYTES),
    };
    if (ret->token == NULL || ret->text == NULL) {
        padding_release(ret);
        return err_set(err, ERR_NOMEM, "no memory for %d tokens", n_vocab);
    }
    memcpy(ret->token, token, (size_t)n * sizeof(*token));
    for (int i = n; i < n_vocab; i++) {
        char *text = ret->text + (size_t)(i - n) * UNUSED_BYTES;
        snprintf(text, UNUSED_BYTES, "%s%d]", mark, i);
        ret->token[i] = str_z(text);
    }
    return 0;
}

/* ---- another file's tokenizer ---- */

/* An array of a number per token, as f32 (scores) or i32 (types). */
static int copy_numbers(const struct gguf_kv *kv, int n_tokens, int n_vocab, bool scores,
                        struct gguf_writer *w, struct err *err)
{
    const char *name = scores ? K_SCORES : K_TYPES;
    if (kv->type != GGUF_ARR || kv->elem_type == GGUF_STR || kv->elem_type == GGUF_ARR ||
        kv->n != (uint64_t)n_tokens)
        return err_set_param(err, ERR_CORRUPT, name,
                             "the tokenizer's key %s must be a number for each of %d tokens", name,
                             n_tokens);
    union {
        int32_t i;
        float f;
    } *v = mem_try_array((size_t)n_vocab, sizeof(*v));
    if (v == NULL)
        return err_set(err, ERR_NOMEM, "no memory for %d tokens", n_vocab);
    for (int i = 0; i < n_vocab; i++) {
        if (scores)
            v[i].f = i < n_tokens ? (float)gguf_arr_f64(kv, (uint64_t)i) : UNUSED_SCORE;
        else
            v[i].i = i < n_tokens ? (int32_t)gguf_arr_i64(kv, (uint64_t)i) : TYPE_UNUSED;
    }
    gguf_put_array(w, name, scores ? GGUF_F32 : GGUF_I32, v, (uint64_t)n_vocab);
    free(v);
    return 0;
}

int synth_vocab_copy(const struct gguf *from, int n_vocab, struct gguf_writer *w, struct err *err)
{
    int n_tokens = 0;
    int rc = synth_vocab_tokens(from, "the tokenizer's file", &n_tokens, err);
    for (size_t i = 0; rc == 0 && i < gguf_n_kv(from); i++) {
        const struct gguf_kv *kv = gguf_kv_at(from, i);
        if (!str_starts(kv->key, STR("tokenizer."))) {
            continue;
        } else if (str_eq_z(kv->key, K_TOKENS)) {
            struct padding p;
            rc = padding_init(&p, kv->strings, n_tokens, n_vocab, err);
            if (rc != 0)
                break;
            gguf_put_strings(w, K_TOKENS, p.token, (uint64_t)n_vocab);
            padding_release(&p);
        } else if (str_eq_z(kv->key, K_SCORES) || str_eq_z(kv->key, K_TYPES)) {
            rc = copy_numbers(kv, n_tokens, n_vocab, str_eq_z(kv->key, K_SCORES), w, err);
        } else {
            gguf_put_kv(w, kv);
        }
    }
    return rc;
}

/* ---- the plain one ---- */

struct plain {
    struct str token[SYNTH_VOCAB_PLAIN];
    int32_t type[SYNTH_VOCAB_PLAIN];
    char byte_text[256][4];
    int n;
};

static void plain_add(struct plain *p, struct str text, int32_t type)
{
    CHECK(p->n < SYNTH_VOCAB_PLAIN);
    p->token[p->n] = text;
    p->type[p->n++] = type;
}

/* The bytes as byte-level BPE spells them: printable ones as themselves, others from U+0100 on. */
static void plain_bytes(struct plain *p)
{
    unsigned next = 256;
    for (unsigned b = 0; b < 256; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
        unsigned c = printable ? b : next++;
        char *text = p->byte_text[b];
        if (c < 128) {
            text[0] = (char)c;
        } else {
            text[0] = (char)(0xc0 | c >> 6);
            text[1] = (char)(0x80 | (c & 63));
        }
        plain_add(p, str_z(text), TYPE_NORMAL);
    }
}

static const char plain_template[] =
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

int synth_vocab_plain(int n_vocab, struct gguf_writer *w, struct err *err)
{
    static const struct {
        struct str merge, token;
    } merges[] = {
        {STR("h e"), STR("he")}, {STR("i n"), STR("in")}, {STR("e r"), STR("er")},
        {STR("a n"), STR("an")}, {STR("o n"), STR("on")}, {STR("r e"), STR("re")},
        {STR("e n"), STR("en")}, {STR("n d"), STR("nd")}, {STR("t he"), STR("the")},
    };
    struct plain *p = mem_zero(1, sizeof(*p));
    struct str merge[ARRAY_LEN(merges)];
    plain_bytes(p);
    for (size_t i = 0; i < ARRAY_LEN(merges); i++) {
        merge[i] = merges[i].merge;
        plain_add(p, merges[i].token, TYPE_NORMAL);
    }
    uint32_t bos = (uint32_t)p->n, eos = bos + 2;
    plain_add(p, STR("<|endoftext|>"), TYPE_CONTROL);
    plain_add(p, STR("<|im_start|>"), TYPE_CONTROL);
    plain_add(p, STR("<|im_end|>"), TYPE_CONTROL);
    CHECK(p->n == SYNTH_VOCAB_PLAIN);
    struct padding pad;
    int rc = padding_init(&pad, p->token, p->n, n_vocab, err);
    int32_t *type = rc == 0 ? mem_try_array((size_t)n_vocab, sizeof(*type)) : NULL;
    if (rc == 0 && type == NULL) {
        padding_release(&pad);
        rc = err_set(err, ERR_NOMEM, "no memory for %d tokens", n_vocab);
    }
    if (rc == 0) {
        for (int i = 0; i < n_vocab; i++)
            type[i] = i < p->n ? p->type[i] : TYPE_UNUSED;
        gguf_put_str(w, "tokenizer.ggml.model", STR("gpt2"));
        gguf_put_str(w, "tokenizer.ggml.pre", STR("gpt-2"));
        gguf_put_strings(w, K_TOKENS, pad.token, (uint64_t)n_vocab);
        gguf_put_array(w, K_TYPES, GGUF_I32, type, (uint64_t)n_vocab);
        gguf_put_strings(w, "tokenizer.ggml.merges", merge, ARRAY_LEN(merge));
        gguf_put_u32(w, "tokenizer.ggml.bos_token_id", bos);
        gguf_put_u32(w, "tokenizer.ggml.eos_token_id", eos);
        gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
        gguf_put_str(w, "tokenizer.chat_template", str_z(plain_template));
        padding_release(&pad);
    }
    free(type);
    free(p);
    return rc;
}

/* ---- the library ---- */

/* The library is looked at where it is; none is made for this. */
static struct store *library(void)
{
    const char *dir = getenv("HEARTH_MODELS");
    char *home = fs_home();
    char *usual = home != NULL ? fs_join(home, ".hearth/models") : NULL;
    if (dir == NULL || *dir == '\0')
        dir = usual;
    struct store *s = NULL;
    if (dir != NULL && fs_is_dir(dir) && store_open(dir, &s, NULL) != 0)
        s = NULL;
    free(home);
    free(usual);
    return s;
}

char *synth_vocab_in_library(int n_vocab)
{
    struct store *s = library();
    struct store_model *model = NULL;
    int n_model = 0, most = 0;
    char *ret = NULL;
    if (s == NULL || store_list(s, &model, &n_model, NULL) != 0) {
        if (s != NULL)
            store_close(s);
        return NULL;
    }
    for (int i = 0; i < n_model; i++) {
        struct gguf *g;
        int n = 0;
        if (cli_gguf_open(model[i].name, &g, NULL, NULL) != 0)
            continue;
        if (synth_vocab_tokens(g, "", &n, NULL) == 0 && n <= n_vocab && n > most) {
            most = n;
            free(ret);
            ret = str_dup(str_z(model[i].name));
        }
        gguf_free(g);
    }
    store_list_free(model, n_model);
    store_close(s);
    return ret;
}
