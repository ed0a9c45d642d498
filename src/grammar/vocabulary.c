/*
 * vocabulary: see the header and matcher.h.
 */
#include "grammar/vocabulary.h"
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX (1u << 30)

struct str vocabulary_bytes_of(const struct vocabulary *v, int32_t token)
{
    return (struct str){v->byte + v->at[token], v->at[token + 1] - v->at[token]};
}

int32_t vocabulary_find_control(const struct vocabulary *v, const char *name)
{
    for (size_t i = 0; i < v->n_control; i++)
        if (str_eq_z(vocabulary_bytes_of(v, v->control[i]), name))
            return v->control[i];
    return -1;
}

static int cmp_tokens(const void *x, const void *y, void *ctx)
{
    int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    int order = str_cmp(vocabulary_bytes_of(ctx, a), vocabulary_bytes_of(ctx, b));
    return order != 0 ? order : a < b ? -1 : a > b;
}

/* Copies what the tokens are. Returns how many bytes the trie has at most, or -1. */
static int64_t copy_tokens(struct vocabulary *v, const struct vocabulary_token *token, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        if (!size_add(total, token[i].bytes.len, &total) || total > BYTES_MAX)
            return -1;
    v->n = n;
    v->byte = mem_try_array(total + 1, 1);
    v->at = mem_try_array(n + 1, sizeof(*v->at));
    v->flags = mem_try_array(n, 1);
    v->same = mem_try_array(n, sizeof(*v->same));
    v->end = mem_try_array(n, sizeof(*v->end));
    v->control = mem_try_array(n, sizeof(*v->control));
    if (!v->byte || !v->at || !v->flags || !v->same || !v->end || !v->control)
        return -1;
    for (size_t i = 0; i < n; i++) {
        v->flags[i] =
            (token[i].is_control ? TOKEN_IS_CONTROL : 0) | (token[i].is_end ? TOKEN_IS_END : 0);
        v->same[i] = -1;
        v->at[i + 1] = v->at[i] + (uint32_t)token[i].bytes.len;
        if (token[i].bytes.len > 0)
            memcpy(v->byte + v->at[i], token[i].bytes.ptr, token[i].bytes.len);
        if (token[i].is_end)
            v->end[v->n_end++] = (int32_t)i;
        if (token[i].is_control)
            v->control[v->n_control++] = (int32_t)i;
    }
    return (int64_t)total;
}

/* Nodes for one token, of which the first `shared` bytes are those of the last; path[d] is the last
 * token's node at depth d. */
static void insert(struct vocabulary *v, int32_t token, size_t shared, uint32_t *path)
{
    struct str s = vocabulary_bytes_of(v, token);
    for (size_t d = shared; d < s.len; d++) {
        path[d + 1] = (uint32_t)v->n_node;
        v->node[v->n_node++] =
            (struct trie_node){.token = -1, .depth = (uint16_t)(d + 1), .byte = (uint8_t)s.ptr[d]};
    }
    struct trie_node *node = &v->node[path[s.len]];
    v->same[token] = node->token;
    node->has_same = node->token >= 0;
    node->token = token;
    v->len_max = (int)s.len > v->len_max ? (int)s.len : v->len_max;
}

static void set_ends(struct vocabulary *v)
{
    uint32_t open[VOCABULARY_TOKEN_BYTES_MAX + 1];
    int depth = 0;
    open[0] = 0;
    for (uint32_t i = 1; i < v->n_node; i++) {
        for (; depth >= v->node[i].depth; depth--)
            v->node[open[depth]].end = i;
        open[++depth] = i;
    }
    for (; depth >= 0; depth--)
        v->node[open[depth]].end = (uint32_t)v->n_node;
}

static bool make_trie(struct vocabulary *v, size_t n_bytes)
{
    int32_t *order = mem_try_array(v->n, sizeof(*order));
    v->node = mem_try_array(n_bytes + 1, sizeof(*v->node));
    if (!order || !v->node) {
        free(order);
        return false;
    }
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++) {
        size_t len = v->at[i + 1] - v->at[i];
        if (len > 0 && len <= VOCABULARY_TOKEN_BYTES_MAX && v->flags[i] == 0)
            order[n++] = (int32_t)i;
    }
    qsort_r(order, n, sizeof(*order), cmp_tokens, v);
    uint32_t path[VOCABULARY_TOKEN_BYTES_MAX + 1] = {0};
    struct str last = {"", 0};
    v->node[v->n_node++].token = -1;
    for (size_t i = 0; i < n; i++) {
        struct str s = vocabulary_bytes_of(v, order[i]);
        size_t shared = 0;
        while (shared < s.len && shared < last.len && s.ptr[shared] == last.ptr[shared])
            shared++;
        insert(v, order[i], shared, path);
        last = s;
    }
    free(order);
    set_ends(v);
    struct trie_node *node = realloc(v->node, v->n_node * sizeof(*node));
    v->node = node ? node : v->node;
    return true;
}

int vocabulary_new(const struct vocabulary_token *token, size_t n, struct vocabulary **ret,
                   struct err *err)
{
    static atomic_uint_fast64_t next_id = 1;
    struct vocabulary *v = mem_zero(1, sizeof(*v));
    v->id = atomic_fetch_add(&next_id, 1);
    int64_t n_bytes = n <= INT32_MAX ? copy_tokens(v, token, n) : -1;
    if (n_bytes < 0 || !make_trie(v, (size_t)n_bytes)) {
        vocabulary_free(v);
        return err_set(err, ERR_NOMEM, "no memory for the tokens of a vocabulary");
    }
    *ret = v;
    return 0;
}

void vocabulary_free(struct vocabulary *v)
{
    if (!v)
        return;
    free(v->byte);
    free(v->at);
    free(v->flags);
    free(v->same);
    free(v->node);
    free(v->end);
    free(v->control);
    free(v);
}

uint64_t vocabulary_bytes(const struct vocabulary *v)
{
    return sizeof(*v) + v->at[v->n] + v->n * (4 * sizeof(uint32_t) + 1) +
           v->n_node * sizeof(*v->node);
}
