/*
 * token_text: see the header. No allocation after banned_new.
 */
#include "engine/token_text.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX ((size_t)1 << 30)

/* ---- the vocabulary ---- */

static int compare(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static int by_bytes(const void *a, const void *b, void *ctx)
{
    const struct token_text *t = ctx;
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    int c = compare(token_text_of(t, x), token_text_of(t, y));
    return c != 0 ? c : (x > y) - (x < y);
}

int token_text_new(int n_vocab, bool (*piece)(void *ctx, int32_t id, struct buf *out), void *ctx,
                   struct token_text **ret, struct err *err)
{
    struct token_text *t = mem_zero(1, sizeof(*t));
    struct buf bytes;
    buf_init(&bytes, TEXT_BYTES_MAX);
    t->n_vocab = n_vocab;
    t->offset = mem_try_array((size_t)n_vocab + 1, sizeof(*t->offset));
    t->sorted = mem_try_array((size_t)n_vocab + 1, sizeof(*t->sorted));
    bool ok = t->offset && t->sorted;
    for (int32_t id = 0; ok && id < n_vocab; id++) {
        t->offset[id] = bytes.len;
        t->sorted[id] = id;
        ok = piece(ctx, id, &bytes);
    }
    ok = ok && buf_add_char(&bytes, '\0');
    if (!ok) {
        buf_release(&bytes);
        token_text_free(t);
        return err_set(err, ERR_NOMEM, "no memory for the texts of %d tokens", n_vocab);
    }
    t->offset[n_vocab] = bytes.len - 1;
    t->bytes = buf_steal(&bytes);
    qsort_r(t->sorted, (size_t)n_vocab, sizeof(*t->sorted), by_bytes, t);
    *ret = t;
    return 0;
}

void token_text_free(struct token_text *t)
{
    if (!t)
        return;
    free(t->offset);
    free(t->sorted);
    free(t->bytes);
    free(t);
}

/* The first of the sorted tokens that, cut to prefix's length, is >= prefix, or > it. */
static int bound(const struct token_text *t, struct str prefix, bool after)
{
    int low = 0, high = t->n_vocab;
    while (low < high) {
        int mid = low + (high - low) / 2;
        int c = compare(str_sub(token_text_of(t, t->sorted[mid]), 0, prefix.len), prefix);
        if (c < 0 || (after && c == 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int token_text_range(const struct token_text *t, struct str prefix, int *ret_from)
{
    *ret_from = bound(t, prefix, false);
    return bound(t, prefix, true);
}

/* ---- banned strings ---- */

static bool holds_one(const struct banned *b, struct str text)
{
    for (int i = 0; i < b->n; i++)
        if (text.len >= b->needle[i].len && str_find(text, b->needle[i]) >= 0)
            return true;
    return false;
}

static bool find_always(struct banned *b)
{
    for (int32_t id = 0; id < b->text->n_vocab; id++) {
        if (!holds_one(b, token_text_of(b->text, id)))
            continue;
        void *array = b->always;
        if (!mem_grow(&array, &b->cap_always, b->n_always + 1, (size_t)b->text->n_vocab,
                      sizeof(*b->always)))
            return false;
        b->always = array;
        b->always[b->n_always++] = id;
    }
    return true;
}

int banned_new(const struct token_text *t, const struct str *needle, int n, struct banned **ret,
               struct err *err)
{
    struct banned *b = mem_zero(1, sizeof(*b));
    b->text = t;
    b->n = n;
    b->needle = mem_try_array((size_t)n + 1, sizeof(*b->needle));
    for (int i = 0; b->needle && i < n; i++) {
        b->needle[i] = needle[i];
        b->len_max = needle[i].len > b->len_max ? needle[i].len : b->len_max;
    }
    if (!b->needle || !find_always(b)) {
        banned_free(b);
        return err_set(err, ERR_NOMEM, "no memory for banned strings");
    }
    *ret = b;
    return 0;
}

void banned_free(struct banned *b)
{
    if (!b)
        return;
    free(b->needle);
    free(b->always);
    free(b);
}

/* The last bytes of the text, at most max, at the end of buffer[max]. */
static struct str tail_of(const struct token_text *t, const int32_t *token, int n, char *buffer,
                          size_t max)
{
    size_t at = max;
    while (n > 0 && at > 0) {
        struct str text = token_text_of(t, token[--n]);
        size_t len = text.len < at ? text.len : at;
        if (len > 0)
            memcpy(buffer + at - len, text.ptr + text.len - len, len);
        at -= len;
    }
    return (struct str){buffer + at, max - at};
}

static void ban_range(const struct token_text *t, struct str rest, float *row)
{
    int from, to = token_text_range(t, rest, &from);
    for (int i = from; i < to; i++)
        row[t->sorted[i]] = -INFINITY;
}

void banned_apply(const struct banned *b, const int32_t *token, int n, float *row)
{
    char buffer[BANNED_BYTES_MAX];
    for (size_t i = 0; i < b->n_always; i++)
        row[b->always[i]] = -INFINITY;
    if (b->len_max < 2)
        return;
    struct str tail = tail_of(b->text, token, n, buffer, b->len_max - 1);
    for (int i = 0; i < b->n; i++) {
        struct str needle = b->needle[i];
        for (size_t k = 1; k < needle.len && k <= tail.len; k++)
            if (memcmp(tail.ptr + tail.len - k, needle.ptr, k) == 0)
                ban_range(b->text, str_from(needle, k), row);
    }
}
