/*
 * vocabulary: the inside of struct vocabulary (matcher.h): its tokens as a trie in preorder.
 */
#ifndef HEARTH_GRAMMAR_VOCABULARY_H
#define HEARTH_GRAMMAR_VOCABULARY_H

#include "grammar/matcher.h"

/* Longer ones are never part of a text with a grammar. */
#define VOCABULARY_TOKEN_BYTES_MAX 256

struct trie_node {
    uint32_t end;  /* what hangs below node i are the nodes (i, end) */
    int32_t token; /* the first token that ends here, or -1 */
    uint16_t depth;
    uint8_t byte;  /* that leads here */
    bool has_same; /* other tokens end here, too */
};

struct vocabulary {
    uint64_t id; /* no two in a process have the same */
    size_t n;
    char *byte;             /* of all tokens */
    uint32_t *at;           /* [n + 1] token i is byte[at[i], at[i + 1]) */
    uint8_t *flags;         /* [n] */
    int32_t *same;          /* [n] the next token of the same bytes, or -1 */
    struct trie_node *node; /* [n_node]; node 0 is the root */
    size_t n_node;
    int32_t *end, *control; /* tokens */
    size_t n_end, n_control;
    int len_max; /* bytes of the longest in the trie */
};

enum { TOKEN_IS_CONTROL = 1, TOKEN_IS_END = 2 };

struct str vocabulary_bytes_of(const struct vocabulary *v, int32_t token);
int32_t vocabulary_find_control(const struct vocabulary *v, const char *name); /* -1: none */

static inline void mask_set(uint32_t *mask, int32_t token)
{
    mask[token / 32] |= 1u << (token % 32);
}

#endif
