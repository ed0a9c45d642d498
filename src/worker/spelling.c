/*
 * spelling: see the header. Linear in the text but for a short search among the spellings.
 *
 * Invariant: a character U+100000 + i with i < n in a disguised string always stands for entry i.
 */
#include "worker/spelling.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 0xfffe /* characters of the plane */
#define PLANE_LEN   4      /* bytes of each in UTF-8 */

struct spellings {
    struct str *text; /* [n] sorted; owned bytes */
    size_t n;
    bool first[256]; /* bytes that some spelling begins with */
};

/* ---- spellings ---- */

static int by_bytes(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool is_unknown(struct str text)
{
    return str_eq_z(text, "<unk>") || str_eq_z(text, "[UNK]");
}

int spellings_new(const struct tokenizer *t, struct spellings **ret, struct err *err)
{
    struct spellings *s = mem_zero(1, sizeof(*s));
    size_t n_vocab = tokenizer_n_vocab(t), n = 0;
    for (size_t i = 0; i < n_vocab; i++)
        n += tokenizer_is_control(t, (token_id)i) ||
             is_unknown(tokenizer_token_text(t, (token_id)i));
    s->text = mem_try_array(n + 1, sizeof(*s->text));
    for (size_t i = 0; s->text && i < n_vocab; i++) {
        struct str text = tokenizer_token_text(t, (token_id)i);
        if (text.len == 0 || (!tokenizer_is_control(t, (token_id)i) && !is_unknown(text)))
            continue;
        char *copy = str_dup(text);
        if (!copy)
            break;
        s->text[s->n++] = (struct str){copy, text.len};
        s->first[(uint8_t)copy[0]] = true;
    }
    if (!s->text) {
        spellings_free(s);
        return err_set(err, ERR_NOMEM, "no memory for the control tokens");
    }
    qsort(s->text, s->n, sizeof(*s->text), by_bytes);
    *ret = s;
    return 0;
}

void spellings_free(struct spellings *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->text && i < s->n; i++)
        free((char *)s->text[i].ptr);
    free(s->text);
    free(s);
}

/* The first in [lo, hi) whose byte at `at` is >= byte; all share the bytes before. */
static size_t lower(const struct spellings *s, size_t lo, size_t hi, size_t at, int byte)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int b = at < s->text[mid].len ? (uint8_t)s->text[mid].ptr[at] : -1;
        if (b < byte)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

size_t spellings_match(const struct spellings *s, struct str text)
{
    if (text.len == 0 || !s->first[(uint8_t)text.ptr[0]])
        return 0;
    size_t lo = 0, hi = s->n, longest = 0;
    for (size_t at = 0; lo < hi; at++) {
        if (s->text[lo].len == at) /* the shortest of those with these bytes stands first */
            longest = at;
        if (at == text.len)
            break;
        int byte = (uint8_t)text.ptr[at];
        hi = lower(s, lo, hi, at, byte + 1);
        lo = lower(s, lo, hi, at, byte);
    }
    return longest;
}

/* ---- the plane ---- */

/* The index of the plane's character at the start of text, or -1. */
static int32_t plane_index(struct str text)
{
    if (text.len < PLANE_LEN || (uint8_t)text.ptr[0] != 0xf4 || (uint8_t)text.ptr[1] > 0x8f)
        return -1;
    int32_t i = ((uint8_t)text.ptr[1] & 0x0f) << 12 | ((uint8_t)text.ptr[2] & 0x3f) << 6 |
                ((uint8_t)text.ptr[3] & 0x3f);
    return i;
}

static bool plane_append(struct buf *out, size_t i)
{
    const char c[PLANE_LEN] = {(char)0xf4, (char)(0x80 | i >> 12), (char)(0x80 | (i >> 6 & 0x3f)),
                               (char)(0x80 | (i & 0x3f))};
    return buf_add(out, c, sizeof(c));
}

/* Length of what must be disguised at the start of text; 0: nothing. */
static size_t needs_disguise(const struct spellings *s, struct str text)
{
    if (plane_index(text) >= 0)
        return PLANE_LEN;
    return spellings_match(s, text);
}

static bool string_needs(const struct spellings *s, struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (needs_disguise(s, str_from(text, i)) > 0)
            return true;
    return false;
}

/* ---- disguise ---- */

void disguise_release(struct disguise *d)
{
    for (size_t i = 0; i < d->n; i++)
        free((char *)d->entry[i].text.ptr);
    free(d->entry);
    *d = (struct disguise){0};
}

static int entry_of(struct disguise *d, struct str text, size_t *ret, struct err *err)
{
    for (size_t i = d->n; i-- > 0 && d->n - i < 64;) { /* repetition is local */
        if (str_eq(d->entry[i].text, text)) {
            *ret = i;
            return 0;
        }
    }
    void *array = d->entry;
    if (d->n == ENTRIES_MAX)
        return err_set_param(err, ERR_LIMIT, "messages",
                             "the messages spell control tokens more than %d times", ENTRIES_MAX);
    char *copy = str_dup(text);
    if (!copy || !mem_grow(&array, &d->cap, d->n + 1, ENTRIES_MAX, sizeof(*d->entry))) {
        free(copy);
        return err_set(err, ERR_NOMEM, "no memory for the messages");
    }
    d->entry = array;
    d->entry[d->n].text = (struct str){copy, text.len};
    *ret = d->n++;
    return 0;
}

static int disguise_text(struct disguise *d, const struct spellings *s, struct str text,
                         struct buf *out, struct err *err)
{
    size_t from = 0;
    for (size_t i = 0; i < text.len;) {
        size_t n = needs_disguise(s, str_from(text, i));
        if (n == 0) {
            i++;
            continue;
        }
        size_t entry = 0;
        int rc = entry_of(d, str_sub(text, i, n), &entry, err);
        if (rc != 0)
            return rc;
        buf_add(out, text.ptr + from, i - from);
        plane_append(out, entry);
        i += n;
        from = i;
    }
    buf_add(out, text.ptr + from, text.len - from);
    return out->overflow ? err_set(err, ERR_NOMEM, "no memory for the messages") : 0;
}

static int disguise_string(struct disguise *d, const struct spellings *s, struct str text,
                           json_t **ret, struct err *err)
{
    struct buf out;
    buf_init(&out, text.len * PLANE_LEN + 1);
    int rc = disguise_text(d, s, text, &out, err);
    *ret = rc == 0 ? json_stringn(out.ptr ? out.ptr : "", out.len) : NULL;
    buf_release(&out);
    if (rc == 0 && !*ret)
        return err_set_param(err, ERR_INVALID, "messages", "a string is not UTF-8");
    return rc;
}

static int disguise_value(struct disguise *d, const struct spellings *s, json_t *value,
                          json_t **ret, struct err *err);

static int disguise_array(struct disguise *d, const struct spellings *s, json_t *value,
                          json_t **ret, struct err *err)
{
    json_t *array = json_array();
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_t *one = NULL;
        int rc = disguise_value(d, s, json_array_get(value, i), &one, err);
        if (rc == 0 && json_array_append_new(array, one) != 0)
            rc = err_set(err, ERR_NOMEM, "no memory for the messages");
        if (rc != 0) {
            json_decref(array);
            return rc;
        }
    }
    *ret = array;
    return 0;
}

static int set_disguised(struct disguise *d, const struct spellings *s, json_t *object,
                         const char *key, json_t *value, struct err *err)
{
    json_t *name = NULL, *one = NULL;
    int rc = disguise_string(d, s, str_z(key), &name, err);
    if (rc == 0)
        rc = disguise_value(d, s, value, &one, err);
    if (rc == 0 && json_object_set_new(object, json_string_value(name), one) != 0)
        rc = err_set(err, ERR_NOMEM, "no memory for the messages");
    json_decref(name);
    return rc;
}

/* Depth is bounded by the parser's limit (FRAME_DEPTH_MAX). */
static int disguise_value(struct disguise *d, const struct spellings *s, json_t *value,
                          json_t **ret, struct err *err)
{
    if (json_is_string(value))
        return disguise_string(d, s, json_str(value), ret, err);
    if (json_is_array(value))
        return disguise_array(d, s, value, ret, err);
    if (!json_is_object(value)) {
        *ret = json_incref(value);
        return 0;
    }
    json_t *object = json_object();
    const char *key;
    json_t *one;
    json_object_foreach(value, key, one)
    {
        int rc = set_disguised(d, s, object, key, one, err);
        if (rc != 0) {
            json_decref(object);
            return rc;
        }
    }
    *ret = object;
    return 0;
}

static bool value_needs(const struct spellings *s, const json_t *value)
{
    if (json_is_string(value))
        return string_needs(s, json_str(value));
    for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++)
        if (value_needs(s, json_array_get(value, i)))
            return true;
    const char *key;
    json_t *one;
    json_object_foreach((json_t *)value, key,
                        one) if (string_needs(s, str_z(key)) || value_needs(s, one)) return true;
    return false;
}

/* Replaces a call's arguments, a string of JSON, by the object. False when it stays as it is. */
static bool expand_call(json_t *call)
{
    json_t *function = json_object_get(call, "function");
    json_t *arguments = json_object_get(function, "arguments");
    if (!json_is_string(arguments))
        return false;
    json_t *parsed = json_parse(json_str(arguments), JSON_DEPTH_MAX, NULL);
    if (!json_is_object(parsed)) {
        json_decref(parsed);
        return false;
    }
    return json_object_set_new(function, "arguments", parsed) == 0;
}

static bool has_calls(const json_t *request)
{
    const json_t *messages = json_object_get(request, "messages");
    for (size_t i = 0; json_is_array(messages) && i < json_array_size(messages); i++)
        if (json_is_array(json_object_get(json_array_get(messages, i), "tool_calls")))
            return true;
    return false;
}

static json_t *expand_calls(json_t *request)
{
    if (!has_calls(request))
        return json_incref(request);
    json_t *copy = json_deep_copy(request);
    json_t *messages = json_object_get(copy, "messages");
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *calls = json_object_get(json_array_get(messages, i), "tool_calls");
        for (size_t k = 0; json_is_array(calls) && k < json_array_size(calls); k++)
            expand_call(json_array_get(calls, k));
    }
    return copy;
}

int disguise_request(struct disguise *d, const struct spellings *s, json_t *request, json_t **ret,
                     struct err *err)
{
    json_t *expanded = expand_calls(request);
    if (!expanded)
        return err_set(err, ERR_NOMEM, "no memory for the messages");
    if (!value_needs(s, expanded)) {
        *ret = expanded;
        return 0;
    }
    int rc = disguise_value(d, s, expanded, ret, err);
    json_decref(expanded);
    return rc;
}

/* ---- and back ---- */

int disguise_undo(const struct disguise *d, struct str text, struct buf *out, struct err *err)
{
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        int32_t entry = plane_index(str_from(text, i));
        if (entry < 0 || (size_t)entry >= d->n)
            continue;
        buf_add(out, text.ptr + from, i - from);
        buf_add_str(out, d->entry[entry].text);
        i += PLANE_LEN - 1;
        from = i + 1;
    }
    buf_add(out, text.ptr + from, text.len - from);
    return out->overflow ? err_set(err, ERR_NOMEM, "no memory for the prompt") : 0;
}

/* A stretch between two control tokens that holds disguised characters: plain text, all of it. */
static int encode_plain(const struct disguise *d, const struct tokenizer *t, struct str text,
                        struct tokens *out, struct err *err)
{
    struct buf plain;
    buf_init(&plain, SIZE_MAX / 2);
    int rc = disguise_undo(d, text, &plain, err);
    if (rc == 0)
        rc = tokenizer_encode(t, buf_str(&plain), 0, out, err);
    buf_release(&plain);
    return rc;
}

int disguise_encode(const struct disguise *d, const struct spellings *s, const struct tokenizer *t,
                    struct str rendered, struct tokens *out, struct err *err)
{
    if (d->n == 0)
        return tokenizer_encode(t, rendered, TOKENIZE_SPECIAL, out, err);
    size_t done = 0;    /* everything before is encoded */
    size_t stretch = 0; /* where the plain text after the last control token begins */
    bool disguised = false;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i <= rendered.len;) {
        struct str rest = str_from(rendered, i);
        size_t n = spellings_match(s, rest);
        if (n == 0 && i < rendered.len) {
            int32_t entry = plane_index(rest);
            disguised = disguised || (entry >= 0 && (size_t)entry < d->n);
            i++;
            continue;
        }
        if (disguised) {
            struct str before = str_sub(rendered, done, stretch - done);
            if (before.len > 0)
                rc = tokenizer_encode(t, before, TOKENIZE_SPECIAL, out, err);
            if (rc == 0)
                rc = encode_plain(d, t, str_sub(rendered, stretch, i - stretch), out, err);
            done = i;
            disguised = false;
        }
        if (i == rendered.len)
            break;
        i += n;
        stretch = i;
    }
    if (rc == 0 && done < rendered.len)
        rc = tokenizer_encode(t, str_from(rendered, done), TOKENIZE_SPECIAL, out, err);
    return rc;
}
