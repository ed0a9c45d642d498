/*
 * tokenizer_impl: what the files behind tokenizer.h share. Private to src/text.
 *
 *   tokenizer_vocab.c    reads and checks the metadata; texts, types, lookup, merges
 *   tokenizer_special.c  finds special tokens in text
 *   tokenizer_merge.c    byte-level BPE, raw BPE and SentencePiece: pairs merged best first
 *   tokenizer_wordpiece.c
 *   tokenizer_unigram.c  SentencePiece's unigram model, with charsmap.c
 *   tokenizer.c          the public functions
 *   detok.c              ids to bytes
 */
#ifndef HEARTH_TEXT_TOKENIZER_IMPL_H
#define HEARTH_TEXT_TOKENIZER_IMPL_H

#include "text/charsmap.h"
#include "text/pretok.h"
#include "text/tokenizer.h"

#define VOCAB_N_MAX       (1u << 24) /* tokens; ids fit in 31 bits with room */
#define TOKEN_BYTES_MAX   65535u     /* of one token's text */
#define SPECIAL_BYTES_MAX 1024u      /* of one special token's text: bounds the search at a place */
#define UNIGRAM_BYTES_MAX 256u       /* of a unigram model's piece: all that begin at each place */
#define TEXT_BYTES_MAX    ((size_t)1 << 28) /* of one text: symbols take 28 bytes each */

enum tokenizer_kind { KIND_BPE, KIND_SPM, KIND_WORDPIECE, KIND_UNIGRAM };

/* tokenizer.ggml.token_type */
enum token_type {
    TYPE_UNDEFINED,
    TYPE_NORMAL,
    TYPE_UNKNOWN,
    TYPE_CONTROL,
    TYPE_USER,
    TYPE_UNUSED,
    TYPE_BYTE,
};

enum token_flag {
    TOKEN_EOG = 1,    /* ends generation */
    TOKEN_RSTRIP = 2, /* white space after it belongs to it */
};

struct token {
    uint32_t offset; /* of its text in vocab.text */
    uint16_t len;
    uint8_t type;  /* enum token_type */
    uint8_t flags; /* enum token_flag */
};

/* Open-addressing map of a 64-bit key to two words; see pairmap_* in tokenizer_vocab.c. */
struct pair_slot {
    uint64_t key; /* UINT64_MAX: empty */
    uint32_t a, b;
};
struct pairmap {
    struct pair_slot *slot;
    size_t n, n_slots; /* n_slots is a power of two, or 0 */
    uint64_t seed;
};
void pairmap_release(struct pairmap *m);
/* False: out of memory. An existing key keeps its value. */
bool pairmap_add(struct pairmap *m, uint64_t key, uint32_t a, uint32_t b);
const struct pair_slot *pairmap_find(const struct pairmap *m, uint64_t key);

/* A trie over token texts. Node 0 is the root. */
struct trie_node {
    token_id any;  /* the token that ends here, or TOKEN_NONE */
    token_id user; /* the same if it is user-defined */
};
struct trie {
    struct pairmap edges; /* node << 8 | byte: to node */
    struct trie_node *node;
    size_t n_nodes, cap;
    bool first[256]; /* bytes that some text begins with */
};
void trie_release(struct trie *t);
bool trie_add(struct trie *t, struct str text, token_id id, bool user);
/* The node after `node` by byte b; 0 when there is none. */
uint32_t trie_step(const struct trie *t, uint32_t node, uint8_t b);

struct id_slot {
    uint32_t id1; /* id + 1; 0: empty */
    uint32_t tag; /* high half of the hash */
};

struct tokenizer {
    enum tokenizer_kind kind;
    bool byte_level; /* KIND_BPE over bytes written as GPT-2's characters */
    bool add_space_prefix;
    bool add_bos, add_eos;
    bool lowercase, strip_accents; /* KIND_WORDPIECE */
    struct pretok *pretok;         /* KIND_BPE */
    bool remove_spaces;            /* KIND_UNIGRAM: those around a text, and but one in it */
    bool add_sep;                  /* KIND_UNIGRAM: a separator between the texts of a pair */
    struct charsmap charsmap;      /* KIND_UNIGRAM: perhaps empty */
    float score_min, score_max;    /* KIND_UNIGRAM: of normal tokens */

    char *text; /* all tokens' texts, one after the other */
    struct token *token;
    float *score; /* [n_vocab], KIND_SPM and KIND_UNIGRAM; else NULL */
    size_t n_vocab;
    size_t token_bytes_max;
    struct id_slot *ids; /* text to id */
    size_t n_ids;        /* slots, a power of two */
    uint64_t seed;       /* of the hashes, so that no file can choose its collisions */

    struct pairmap merges; /* left << 32 | right: rank, merged id */
    struct trie special;   /* control, unknown and user-defined tokens */
    struct trie words;     /* KIND_WORDPIECE, KIND_UNIGRAM: the pieces */
    uint32_t word_start;   /* the node of U+2581 in `words`, 0 when there is none */
    token_id byte_id[256]; /* the token of a byte, or TOKEN_NONE */

    token_id fim_prefix, fim_suffix, fim_middle; /* or TOKEN_NONE */
    token_id sep;                                /* or TOKEN_NONE */
    token_id bos, eos, unk, front, back; /* front and back: what BOS and EOS put around a text */
};

/* tokenizer_vocab.c */
int vocab_load(struct tokenizer *t, const struct gguf *g, struct err *err)
    __attribute__((warn_unused_result));
/* Any token by its text. */
token_id vocab_find(const struct tokenizer *t, struct str text);
/* Only tokens that ordinary text may become: not control, unknown or byte tokens. */
token_id vocab_find_plain(const struct tokenizer *t, struct str text);
struct str vocab_text(const struct tokenizer *t, token_id id); /* id is in range */
/* GPT-2's character for a byte, and back (-1 if it is none). */
uint32_t byte_to_char(uint8_t b);
int char_to_byte(uint32_t cp);

/* tokenizer_special.c */
int special_load(struct tokenizer *t, const struct gguf *g, struct err *err)
    __attribute__((warn_unused_result));
/* The first special token at or after pos, the longest there. False if there is none. */
bool special_next(const struct tokenizer *t, struct str text, size_t pos, bool control,
                  size_t *ret_from, size_t *ret_to, token_id *ret_id);

/* Encoding one text. */
struct merger;
struct encoder {
    const struct tokenizer *t;
    struct tokens *out;
    struct err *err;
    struct merger *m; /* scratch of tokenizer_merge.c, made on demand */
    struct buf text;  /* scratch: a normalized fragment */
};
int encoder_push(struct encoder *e, token_id id); /* 0, ERR_LIMIT */
int encoder_nomem(struct encoder *e);             /* ERR_NOMEM with its text */
/* One fragment of ordinary text each. */
int encode_bpe(struct encoder *e, struct str text);
int encode_spm(struct encoder *e, struct str text);
int encode_wordpiece(struct encoder *e, struct str text);
int encode_unigram(struct encoder *e, struct str text);
void merger_free(struct merger *m);

#endif
