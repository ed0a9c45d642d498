/*
 * tokenizer: the public functions of tokenizer.h but for those of detok.c.
 *
 * Owns the life of a tokenizer and the order of work on a text: special tokens are cut out first,
 * what lies between goes to the vocabulary's own kind of encoder.
 */
#include "text/tokenizer.h"

#include "base/mem.h"
#include "text/tokenizer_impl.h"

#include <stdlib.h>

void tokens_init(struct tokens *t, size_t max)
{
    *t = (struct tokens){.max = max};
}

void tokens_release(struct tokens *t)
{
    free(t->id);
    *t = (struct tokens){.max = t->max};
}

bool tokens_push(struct tokens *t, token_id id)
{
    if (t->len == t->cap) {
        void *p = t->id;
        if (!mem_grow(&p, &t->cap, t->len + 1, t->max, sizeof(*t->id)))
            return false;
        t->id = p;
    }
    t->id[t->len++] = id;
    return true;
}

int tokenizer_new(const struct gguf *g, struct tokenizer **ret, struct err *err)
{
    struct tokenizer *t = mem_zero(1, sizeof(*t));
    int rc = vocab_load(t, g, err);
    if (rc == 0)
        rc = special_load(t, g, err);
    if (rc != 0) {
        tokenizer_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    pretok_free(t->pretok);
    pairmap_release(&t->merges);
    trie_release(&t->special);
    trie_release(&t->words);
    charsmap_release(&t->charsmap);
    free(t->text);
    free(t->token);
    free(t->score);
    free(t->ids);
    free(t);
}

int encoder_push(struct encoder *e, token_id id)
{
    if (tokens_push(e->out, id))
        return 0;
    if (e->out->len >= e->out->max)
        return err_set(e->err, ERR_LIMIT, "the text has more than %zu tokens", e->out->max);
    return encoder_nomem(e);
}

int encoder_nomem(struct encoder *e)
{
    return err_set(e->err, ERR_NOMEM, "out of memory while tokenizing");
}

static int encode_fragment(struct encoder *e, struct str text)
{
    if (text.len == 0)
        return 0;
    switch (e->t->kind) {
    case KIND_BPE:
        return encode_bpe(e, text);
    case KIND_SPM:
        return encode_spm(e, text);
    case KIND_WORDPIECE:
        return encode_wordpiece(e, text);
    case KIND_UNIGRAM:
        return encode_unigram(e, text);
    }
    return 0;
}

static int encode_text(struct encoder *e, struct str text, bool control)
{
    size_t pos = 0, from, to;
    token_id id;
    int rc = 0;
    while (rc == 0 && special_next(e->t, text, pos, control, &from, &to, &id)) {
        rc = encode_fragment(e, str_sub(text, pos, from - pos));
        if (rc == 0)
            rc = encoder_push(e, id);
        pos = to;
    }
    return rc == 0 ? encode_fragment(e, str_from(text, pos)) : rc;
}

int tokenizer_encode(const struct tokenizer *t, struct str text, unsigned flags, struct tokens *out,
                     struct err *err)
{
    if (text.len > TEXT_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "a text of %zu bytes; at most %zu can be tokenized",
                       text.len, TEXT_BYTES_MAX);
    struct encoder e = {.t = t, .out = out, .err = err};
    size_t before = out->len;
    bool around = (flags & TOKENIZE_BOS_EOS) != 0;
    int rc = 0;
    buf_init(&e.text,
             TEXT_BYTES_MAX * 3 + 16); /* a table of rules (unigram) could make more: refused */
    if (around && t->add_bos)
        rc = encoder_push(&e, t->front);
    if (rc == 0)
        rc = encode_text(&e, text, (flags & TOKENIZE_SPECIAL) != 0);
    if (rc == 0 && around && t->add_eos)
        rc = encoder_push(&e, t->back);
    if (rc != 0)
        out->len = before;
    merger_free(e.m);
    buf_release(&e.text);
    return rc;
}

static uint64_t trie_bytes(const struct trie *t)
{
    return t->edges.n_slots * sizeof(*t->edges.slot) + t->cap * sizeof(*t->node);
}

uint64_t tokenizer_bytes(const struct tokenizer *t)
{
    const struct token none = {0}, *last = t->n_vocab > 0 ? &t->token[t->n_vocab - 1] : &none;
    return sizeof(*t) + last->offset + last->len +
           t->n_vocab * (sizeof(*t->token) + (t->score != NULL ? sizeof(*t->score) : 0)) +
           t->n_ids * sizeof(*t->ids) + t->merges.n_slots * sizeof(*t->merges.slot) +
           trie_bytes(&t->special) + trie_bytes(&t->words) +
           t->charsmap.n_unit * sizeof(*t->charsmap.unit) + t->charsmap.n_text;
}

size_t tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->n_vocab;
}

bool tokenizer_fim(const struct tokenizer *t, struct fim_tokens *ret)
{
    *ret = (struct fim_tokens){t->fim_prefix, t->fim_suffix, t->fim_middle};
    return ret->prefix != TOKEN_NONE && ret->suffix != TOKEN_NONE && ret->middle != TOKEN_NONE;
}

token_id tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

token_id tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

token_id tokenizer_pair_sep(const struct tokenizer *t)
{
    bool both = t->kind == KIND_UNIGRAM && t->add_bos && t->add_eos && t->add_sep;
    return !both ? TOKEN_NONE : t->sep != TOKEN_NONE ? t->sep : t->back;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->add_bos;
}

static bool in_range(const struct tokenizer *t, token_id id)
{
    return id >= 0 && (size_t)id < t->n_vocab;
}

bool tokenizer_is_eog(const struct tokenizer *t, token_id id)
{
    return in_range(t, id) && (t->token[id].flags & TOKEN_EOG);
}

bool tokenizer_is_control(const struct tokenizer *t, token_id id)
{
    return in_range(t, id) && t->token[id].type == TYPE_CONTROL;
}

struct str tokenizer_token_text(const struct tokenizer *t, token_id id)
{
    return in_range(t, id) ? vocab_text(t, id) : STR("");
}

token_id tokenizer_find(const struct tokenizer *t, struct str text)
{
    return vocab_find(t, text);
}
