/*
 * unicode: see unicode.h.
 *
 * Invariant: everything here is O(n) or O(n log n); runs of combining marks, which utf8proc's own
 * reordering sorts in quadratic time, are sorted here.
 */
#include "text/unicode.h"

#include "base/mem.h"
#include "text/unicode_tables.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define FLAT_END       0x20000u /* below: one lookup; above (rare): a search in the ranges */
#define CODEPOINTS_MAX ((size_t)1 << 30)

static uint16_t flat[FLAT_END];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_flat(void)
{
    for (size_t i = 0; i < unicode_n_ranges; i++) {
        uint32_t end = i + 1 < unicode_n_ranges ? unicode_ranges[i + 1].first : FLAT_END;
        for (uint32_t c = unicode_ranges[i].first; c < end && c < FLAT_END; c++)
            flat[c] = unicode_ranges[i].flags;
    }
}

void unicode_init(void)
{
    pthread_once(&once, fill_flat);
}

unsigned unicode_flags(uint32_t cp)
{
    if (cp < FLAT_END)
        return flat[cp];
    if (cp >= UNICODE_BAD)
        return UC_SYMBOL | UC_B_DROP;
    size_t lo = 0, hi = unicode_n_ranges; /* the last row with first <= cp is in [lo, hi) */
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (unicode_ranges[mid].first <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return unicode_ranges[lo].flags;
}

uint32_t unicode_lower(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
    size_t lo = 0, hi = unicode_n_lowers;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct unicode_lower *r = &unicode_lowers[mid];
        if (cp < r->first)
            hi = mid;
        else if (cp > r->last)
            lo = mid + 1;
        else
            return (cp - r->first) % r->step == 0 ? (uint32_t)((int32_t)cp + r->delta) : cp;
    }
    return cp;
}

bool unicode_is_cjk(uint32_t cp)
{
    /* 0x2B920 where Unicode has 0x2B820: a slip in the reference that every BERT shares. */
    return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) ||
           (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B73F) ||
           (cp >= 0x2B740 && cp <= 0x2B81F) || (cp >= 0x2B920 && cp <= 0x2CEAF) ||
           (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x2F800 && cp <= 0x2FA1F);
}

/* The range of the second byte that a lead byte allows (Unicode, table 3-7). */
static bool second_ok(uint8_t lead, uint8_t b)
{
    switch (lead) {
    case 0xE0:
        return b >= 0xA0 && b <= 0xBF;
    case 0xED:
        return b >= 0x80 && b <= 0x9F;
    case 0xF0:
        return b >= 0x90 && b <= 0xBF;
    case 0xF4:
        return b >= 0x80 && b <= 0x8F;
    default:
        return (b & 0xC0) == 0x80;
    }
}

static size_t lead_len(uint8_t b)
{
    if (b < 0x80)
        return 1;
    if (b >= 0xC2 && b <= 0xDF)
        return 2;
    if (b >= 0xE0 && b <= 0xEF)
        return 3;
    return b >= 0xF0 && b <= 0xF4 ? 4 : 0;
}

int unicode_prefix(const uint8_t *s, size_t len)
{
    size_t need = lead_len(s[0]);
    if (need == 0)
        return -1;
    for (size_t i = 1; i < need; i++) {
        if (i >= len)
            return 0;
        if (i == 1 ? !second_ok(s[0], s[1]) : (s[i] & 0xC0) != 0x80)
            return -(int)i;
    }
    return (int)need;
}

size_t unicode_decode(const uint8_t *s, size_t len, uint32_t *ret_cp)
{
    if (s[0] < 0x80) {
        *ret_cp = s[0];
        return 1;
    }
    int n = unicode_prefix(s, len);
    if (n <= 0) {
        *ret_cp = UNICODE_BAD;
        return 1;
    }
    uint32_t cp = s[0] & (0xFFu >> (n + 1));
    for (int i = 1; i < n; i++)
        cp = cp << 6 | (s[i] & 0x3F);
    *ret_cp = cp;
    return (size_t)n;
}

size_t unicode_encode(uint32_t cp, uint8_t ret[4])
{
    if (cp < 0x80) {
        ret[0] = (uint8_t)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        ret[i] = (uint8_t)(0x80 | (cp & 0x3F));
        cp >>= 6;
    }
    ret[0] = (uint8_t)((0xF00u >> n) | cp);
    return n;
}

void codepoints_release(struct codepoints *a)
{
    free(a->cp);
    *a = (struct codepoints){0};
}

bool codepoints_push(struct codepoints *a, uint32_t cp)
{
    if (a->len == a->cap) {
        void *p = a->cp;
        if (!mem_grow(&p, &a->cap, a->len + 1, CODEPOINTS_MAX, sizeof(*a->cp)))
            return false;
        a->cp = p;
    }
    a->cp[a->len++] = cp;
    return true;
}

static unsigned combining_class(uint32_t cp)
{
    if (cp < 0x300 || cp >= UNICODE_BAD || (unicode_flags(cp) & UC_NORM_UNKNOWN))
        return 0;
    int ccc = utf8proc_get_property((utf8proc_int32_t)cp)->combining_class;
    return (unsigned)ccc;
}

/* Sorts the marks in [from, to) by combining class, keeping equals in order: a counting sort, so
 * that no run of marks is slow. tmp has room for to - from. */
static void sort_marks(uint32_t *cp, size_t from, size_t to, uint32_t *tmp)
{
    size_t start[257] = {0};
    for (size_t i = from; i < to; i++)
        start[combining_class(cp[i]) + 1]++;
    for (size_t c = 1; c < 257; c++)
        start[c] += start[c - 1];
    for (size_t i = from; i < to; i++)
        tmp[start[combining_class(cp[i])]++] = cp[i];
    memcpy(cp + from, tmp, (to - from) * sizeof(*cp));
}

/* Few marks: insertion, without the 257 counters. */
static void sort_few_marks(uint32_t *cp, size_t from, size_t to)
{
    for (size_t i = from + 1; i < to; i++) {
        uint32_t c = cp[i];
        size_t j = i;
        for (; j > from && combining_class(cp[j - 1]) > combining_class(c); j--)
            cp[j] = cp[j - 1];
        cp[j] = c;
    }
}

static bool reorder(struct codepoints *a)
{
    uint32_t *tmp = NULL;
    for (size_t i = 0; i < a->len;) {
        if (combining_class(a->cp[i]) == 0) {
            i++;
            continue;
        }
        size_t end = i + 1;
        while (end < a->len && combining_class(a->cp[end]) != 0)
            end++;
        if (end - i <= 16) {
            sort_few_marks(a->cp, i, end);
        } else {
            if (!tmp && !(tmp = mem_try_array(a->len, sizeof(*tmp))))
                return false;
            sort_marks(a->cp, i, end, tmp);
        }
        i = end;
    }
    free(tmp);
    return true;
}

bool unicode_nfd(struct codepoints *a)
{
    struct codepoints out = {0};
    for (size_t i = 0; i < a->len; i++) {
        uint32_t cp = a->cp[i];
        utf8proc_int32_t part[8]; /* the longest canonical decomposition has 4 */
        utf8proc_ssize_t n = 1;
        part[0] = (utf8proc_int32_t)cp;
        if (cp >= 0xC0 && cp < UNICODE_BAD && !(unicode_flags(cp) & UC_NORM_UNKNOWN))
            n = utf8proc_decompose_char((utf8proc_int32_t)cp, part, 8,
                                        UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, NULL);
        if (n < 1 || n > 8) { /* never for a valid code point */
            part[0] = (utf8proc_int32_t)cp;
            n = 1;
        }
        for (utf8proc_ssize_t k = 0; k < n; k++) {
            if (!codepoints_push(&out, (uint32_t)part[k])) {
                codepoints_release(&out);
                return false;
            }
        }
    }
    codepoints_release(a);
    *a = out;
    return reorder(a);
}

/* One stretch of text between characters that nothing composes with. */
static bool nfc_flush(struct codepoints *a, struct buf *out)
{
    if (a->len == 0)
        return true;
    if (!unicode_nfd(a))
        return false;
    utf8proc_ssize_t n = utf8proc_normalize_utf32(
        (utf8proc_int32_t *)a->cp, (utf8proc_ssize_t)a->len, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    if (n < 0)
        return false;
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        uint8_t b[4];
        if (!buf_add(out, b, unicode_encode(a->cp[i], b)))
            return false;
    }
    a->len = 0;
    return true;
}

bool unicode_nfc(struct str text, struct buf *out)
{
    const uint8_t *s = (const uint8_t *)text.ptr;
    struct codepoints a = {0};
    bool ok = true;
    size_t pos = 0;
    while (ok && pos < text.len) {
        size_t plain = pos; /* ASCII before ASCII is its own normal form */
        while (plain < text.len && s[plain] < 0x80)
            plain++;
        if (plain > pos && plain < text.len)
            plain--;
        if (plain > pos) {
            ok = nfc_flush(&a, out) && buf_add(out, s + pos, plain - pos);
            pos = plain;
            continue;
        }
        uint32_t cp;
        size_t n = unicode_decode(s + pos, text.len - pos, &cp);
        if (cp == UNICODE_BAD || (unicode_flags(cp) & UC_NORM_UNKNOWN))
            ok = nfc_flush(&a, out) && buf_add(out, s + pos, n);
        else
            ok = codepoints_push(&a, cp);
        pos += n;
    }
    ok = ok && nfc_flush(&a, out);
    codepoints_release(&a);
    return ok;
}
