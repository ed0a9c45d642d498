/*
 * pretok_scan: see pretok_scan.h. The tests hold each scanner against its pattern.
 */
#include "text/pretok_scan.h"

#include "text/unicode.h"

#include <utf8proc.h>

#define CP_END 0xFFFFFFFFu

/* One character of a piece. len is 0 past the end. */
struct ch {
    uint32_t cp;
    unsigned flags;
    size_t len;
};

static struct ch at(struct piece p, size_t pos)
{
    struct ch c = {CP_END, 0, 0};
    if (pos < p.len) {
        c.len = unicode_decode(p.s + pos, p.len - pos, &c.cp);
        c.flags = unicode_flags(c.cp);
    }
    return c;
}

static bool is_newline(struct ch c)
{
    return c.cp == '\r' || c.cp == '\n';
}

/* The end of the run of characters with any of these flags, at most n_max of them (0: all). */
static size_t run_end(struct piece p, size_t pos, unsigned flags, unsigned n_max)
{
    for (unsigned n = 0; n_max == 0 || n < n_max; n++) {
        struct ch c = at(p, pos);
        if (!(c.flags & flags))
            break;
        pos += c.len;
    }
    return pos;
}

/* [^\s...]+ : the end of the run of characters that have none of these flags. */
static size_t other_end(struct piece p, size_t pos, unsigned flags)
{
    for (struct ch c = at(p, pos); c.len && !(c.flags & flags); c = at(p, pos))
        pos += c.len;
    return pos;
}

/* Folds the letters of the contractions; U+017F is an s to a caseless pattern. */
static uint32_t fold(uint32_t cp, bool caseless)
{
    if (!caseless)
        return cp;
    if (cp == 0x17F)
        return 's';
    return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
}

/* 's 't 're 've 'm 'll 'd at pos: where it ends, or pos. */
static size_t contraction_end(struct piece p, size_t pos, bool caseless)
{
    if (pos >= p.len || p.s[pos] != '\'')
        return pos;
    struct ch a = at(p, pos + 1);
    size_t end = pos + 1 + a.len;
    uint32_t x = fold(a.cp, caseless);
    if (x == 's' || x == 't' || x == 'm' || x == 'd')
        return end;
    struct ch b = at(p, end);
    uint32_t y = fold(b.cp, caseless);
    if (((x == 'r' || x == 'v') && y == 'e') || (x == 'l' && y == 'l'))
        return end + b.len;
    return pos;
}

/* \s+(?!\S)|\s+ : white space, but its last character goes with the word that follows. */
static size_t space_end(struct piece p, size_t pos)
{
    size_t last = pos, end = pos;
    for (struct ch c = at(p, end); c.flags & UC_SPACE; c = at(p, end)) {
        last = end;
        end += c.len;
    }
    return end < p.len && last > pos ? last : end;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t space_or_line_end(struct piece p, size_t pos)
{
    size_t last = pos, end = pos, line = pos;
    for (struct ch c = at(p, end); c.flags & UC_SPACE; c = at(p, end)) {
        last = end;
        end += c.len;
        if (is_newline(c))
            line = end;
    }
    if (line > pos)
        return line;
    return end < p.len && last > pos ? last : end;
}

static size_t gpt2_end(struct piece p, size_t pos)
{
    size_t end = contraction_end(p, pos, false);
    if (end > pos)
        return end;
    size_t body = pos + (p.s[pos] == ' ');
    struct ch c = at(p, body);
    if (c.flags & UC_LETTER)
        return run_end(p, body, UC_LETTER, 0);
    if (c.flags & UC_NUMBER)
        return run_end(p, body, UC_NUMBER, 0);
    if (c.len && !(c.flags & UC_SPACE))
        return other_end(p, body, UC_SPACE | UC_LETTER | UC_NUMBER);
    return space_end(p, pos);
}

/* [\r\n]* or [\r\n/]* after punctuation */
static size_t tail_end(const struct stage *st, struct piece p, size_t pos)
{
    while (!st->no_tail && pos < p.len &&
           (p.s[pos] == '\r' || p.s[pos] == '\n' || (st->tail_slash && p.s[pos] == '/')))
        pos++;
    return pos;
}

/* What the Llama 3 and the GPT-4o family share after their words:
 * \p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t rest_end(const struct stage *st, struct piece p, size_t pos, struct ch c,
                       unsigned letters)
{
    if (c.flags & UC_NUMBER)
        return run_end(p, pos, UC_NUMBER, st->n_digits_max);
    size_t body = pos + (c.cp == ' ');
    size_t end = other_end(p, body, UC_SPACE | UC_NUMBER | letters);
    if (end > body)
        return tail_end(st, p, end);
    return space_or_line_end(p, pos);
}

static size_t word_end(const struct stage *st, struct piece p, size_t pos)
{
    if (st->contractions) {
        size_t end = contraction_end(p, pos, true);
        if (end > pos)
            return end;
    }
    unsigned letters = UC_LETTER | (st->marks ? UC_MARK : 0u);
    struct ch c = at(p, pos);
    size_t body = pos;
    if (!(c.flags & (UC_NUMBER | letters)) && !is_newline(c))
        body += c.len; /* one leading character of another kind */
    size_t end = run_end(p, body, letters, 0);
    if (end > body)
        return end;
    return rest_end(st, p, pos, c, letters);
}

/* [upper]*[lower]+ from pos; pos if it does not match. */
static size_t upper_lower_end(struct piece p, size_t pos)
{
    size_t upper = pos, both_end = pos;
    for (struct ch c = at(p, upper); c.flags & UC_UPPER; c = at(p, upper)) {
        upper += c.len;
        if (c.flags & UC_LOWER)
            both_end = upper; /* giving back what follows, a lower-case part ends here */
    }
    size_t end = run_end(p, upper, UC_LOWER, 0);
    return end > upper ? end : both_end;
}

static size_t cased_word_end(struct piece p, size_t pos, size_t body)
{
    size_t end = upper_lower_end(p, body);
    if (end == body && body > pos) {
        end = upper_lower_end(p, pos); /* the leading character may be part of the word: a mark */
        body = end > pos ? pos : body;
    }
    if (end > body)
        return end;
    end = run_end(p, body, UC_UPPER, 0); /* [upper]+[lower]* where no lower-case part follows */
    if (end == body)
        end = run_end(p, pos, UC_UPPER, 0);
    return end > body || body == pos ? end : pos;
}

static size_t cased_end(const struct stage *st, struct piece p, size_t pos)
{
    struct ch c = at(p, pos);
    size_t body = pos;
    if (!(c.flags & (UC_NUMBER | UC_LETTER)) && !is_newline(c))
        body += c.len;
    size_t end = cased_word_end(p, pos, body);
    if (end > pos)
        return st->contractions ? contraction_end(p, end, true) : end;
    return rest_end(st, p, pos, c, UC_LETTER);
}

static bool is_ascii_punct(uint32_t cp)
{
    return (cp >= '!' && cp <= '/') || (cp >= ':' && cp <= '@') || (cp >= '[' && cp <= '`') ||
           (cp >= '{' && cp <= '~');
}

static bool is_ascii_letter(uint8_t b)
{
    return (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z');
}

/* Not every character is matched: pos where nothing is. */
static size_t deepseek3_end(struct piece p, size_t pos)
{
    const unsigned word = UC_LETTER | UC_MARK, punct = UC_PUNCT | UC_SYMBOL;
    struct ch c = at(p, pos);
    if (is_ascii_punct(c.cp)) {
        size_t end = pos + 1;
        while (end < p.len && is_ascii_letter(p.s[end]))
            end++;
        if (end > pos + 1)
            return end;
    }
    size_t body = pos;
    if (!(c.flags & (word | punct)) && !is_newline(c))
        body += c.len;
    size_t end = run_end(p, body, word, 0);
    if (end > body)
        return end;
    body = pos + (c.cp == ' ');
    end = run_end(p, body, punct, 0);
    if (end > body) {
        while (end < p.len && (p.s[end] == '\r' || p.s[end] == '\n'))
            end++;
        return end;
    }
    return space_or_line_end(p, pos);
}

static bool in_run(const struct stage *st, struct ch c)
{
    if (c.flags & st->run_flags)
        return true;
    unsigned lo = 0, hi = st->n_range;
    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        if (c.cp < st->range[mid].first)
            hi = mid;
        else if (c.cp > st->range[mid].last)
            lo = mid + 1;
        else
            return true;
    }
    return false;
}

static bool find_run(const struct stage *st, struct piece p, size_t pos, struct match *ret)
{
    while (pos < p.len) {
        struct ch c = at(p, pos);
        size_t body = pos;
        if (st->lead_space && (c.flags & UC_SPACE) && in_run(st, at(p, pos + c.len)))
            body += c.len;
        size_t end = body;
        unsigned n = 0;
        for (struct ch d = at(p, end); in_run(st, d); d = at(p, end)) {
            end += d.len;
            if (++n == st->n_digits_max)
                break;
        }
        if (n > 0 && n >= st->n_min) {
            *ret = (struct match){pos, end};
            return true;
        }
        pos = n > 0 ? end : pos + c.len;
    }
    return false;
}

/* The character that ends at `end`: its start. */
static size_t char_before(struct piece p, size_t end, struct ch *ret)
{
    size_t from = end - 1;
    while (from > 0 && end - from < 4 && (p.s[from] & 0xC0) == 0x80)
        from--;
    *ret = at((struct piece){p.s, end}, from);
    if (from + ret->len != end) { /* stray bytes */
        from = end - 1;
        *ret = (struct ch){UNICODE_BAD, UC_SYMBOL, 1};
    }
    return from;
}

static bool find_tail(struct piece p, size_t pos, struct match *ret)
{
    size_t from = p.len;
    while (from > pos) {
        struct ch c;
        size_t prev = char_before(p, from, &c);
        if (!(c.flags & UC_SPACE) || prev < pos)
            break;
        from = prev;
    }
    *ret = (struct match){from, p.len};
    return from < p.len;
}

static bool is_digit(const struct stage *st, struct ch c)
{
    if (!(c.flags & UC_NUMBER))
        return false;
    return (st->group_flags & GROUP_ALL_NUMBERS) || (c.cp >= '0' && c.cp <= '9') ||
           utf8proc_category((utf8proc_int32_t)c.cp) == UTF8PROC_CATEGORY_ND;
}

static bool find_group(const struct stage *st, struct piece p, size_t pos, struct match *ret)
{
    while (pos < p.len) {
        size_t end = pos, n = 0, three = pos;
        struct ch c = at(p, pos), before = {CP_END, 0, 0};
        if (pos > 0)
            char_before(p, pos, &before);
        if (is_digit(st, c) && is_digit(st, before)) { /* inside a run whose groups are known */
            for (size_t k = 0; k < 3; k++)
                three += at(p, three).len;
            *ret = (struct match){pos, three};
            return true;
        }
        for (; is_digit(st, c); c = at(p, end)) {
            end += c.len;
            n++;
        }
        bool boundary = !(c.flags & (UC_LETTER | UC_NUMBER | UC_MARK)) && c.cp != '_';
        if (n > 0 && (boundary || !(st->group_flags & GROUP_BOUNDARY))) {
            for (size_t k = n % 3 ? n % 3 : 3; k > 0; k--)
                three += at(p, three).len;
            *ret = (struct match){pos, three};
            return true;
        }
        pos = end + (n ? 0 : c.len);
    }
    return false;
}

static size_t lines_end(struct piece p, size_t pos)
{
    bool newline = p.s[pos] == '\n';
    while (pos < p.len && (p.s[pos] == '\n') == newline)
        pos++;
    return pos;
}

bool stage_find(const struct stage *st, struct piece p, size_t pos, struct match *ret)
{
    switch (st->kind) {
    case SCAN_RUN:
        return find_run(st, p, pos, ret);
    case SCAN_TAIL:
        return find_tail(p, pos, ret);
    case SCAN_GROUPS:
        return find_group(st, p, pos, ret);
    default:
        break;
    }
    while (pos < p.len) {
        size_t end = st->kind == SCAN_GPT2        ? gpt2_end(p, pos)
                     : st->kind == SCAN_WORD      ? word_end(st, p, pos)
                     : st->kind == SCAN_CASED     ? cased_end(st, p, pos)
                     : st->kind == SCAN_DEEPSEEK3 ? deepseek3_end(p, pos)
                                                  : lines_end(p, pos);
        if (end > pos) {
            *ret = (struct match){pos, end};
            return true;
        }
        pos += at(p, pos).len;
    }
    return false;
}
