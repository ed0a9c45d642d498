/*
 * jinja_lex: template text to tokens, with Jinja's rules for white space (trim_blocks and
 * lstrip_blocks on; "-" and "+" at a tag's edges).
 *
 * Owns: the token rules. Must not know: the grammar. Invariant: time is linear in the source.
 */
#include "base/mem.h"
#include "text/jinja_ast.h"
#include "text/jinja_utf8.h"

#include <stdlib.h>
#include <string.h>

#define NEST_MAX 1000 /* open brackets within one tag */

struct lex {
    struct arena *arena;
    struct str src;
    size_t pos;
    uint32_t line;
    bool line_starting; /* what was read last ended a line (or nothing was read yet) */
    struct jtokens *out;
    char nest[NEST_MAX];
    size_t n_nest;
    struct err *err;
};

static const char *const TOKEN_NAMES[] = {
    [T_EOF] = "end of template",
    [T_DATA] = "text",
    [T_BLOCK_BEGIN] = "'{%'",
    [T_BLOCK_END] = "'%}'",
    [T_VAR_BEGIN] = "'{{'",
    [T_VAR_END] = "'}}'",
    [T_NAME] = "a name",
    [T_STRING] = "a string",
    [T_INTEGER] = "an integer",
    [T_FLOAT] = "a float",
    [T_ADD] = "'+'",
    [T_SUB] = "'-'",
    [T_MUL] = "'*'",
    [T_DIV] = "'/'",
    [T_FLOORDIV] = "'//'",
    [T_MOD] = "'%'",
    [T_POW] = "'**'",
    [T_TILDE] = "'~'",
    [T_EQ] = "'=='",
    [T_NE] = "'!='",
    [T_LT] = "'<'",
    [T_LE] = "'<='",
    [T_GT] = "'>'",
    [T_GE] = "'>='",
    [T_ASSIGN] = "'='",
    [T_DOT] = "'.'",
    [T_COLON] = "':'",
    [T_PIPE] = "'|'",
    [T_COMMA] = "','",
    [T_SEMICOLON] = "';'",
    [T_LPAREN] = "'('",
    [T_RPAREN] = "')'",
    [T_LBRACKET] = "'['",
    [T_RBRACKET] = "']'",
    [T_LBRACE] = "'{'",
    [T_RBRACE] = "'}'",
};

const char *jtok_name(enum jtok_kind kind)
{
    return TOKEN_NAMES[kind];
}

static int lex_fail(struct lex *l, const char *what)
{
    return err_set(l->err, ERR_SYNTAX, "line %u: %s", l->line, what);
}

static int lex_nomem(struct lex *l)
{
    return err_set(l->err, ERR_LIMIT, "line %u: the template needs too much memory to compile",
                   l->line);
}

static struct jtok *push(struct lex *l, enum jtok_kind kind, struct str text)
{
    struct jtokens *o = l->out;
    if (o->n == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 256;
        struct jtok *fresh = arena_array(l->arena, cap, sizeof(*fresh));
        if (!fresh)
            return NULL;
        if (o->n)
            memcpy(fresh, o->tok, o->n * sizeof(*fresh));
        o->tok = fresh;
        o->cap = cap;
    }
    struct jtok *t = &o->tok[o->n++];
    *t = (struct jtok){.kind = (uint8_t)kind, .line = l->line, .text = text};
    return t;
}

static bool at(const struct lex *l, size_t pos, const char *z)
{
    size_t n = strlen(z);
    return pos <= l->src.len && l->src.len - pos >= n && memcmp(l->src.ptr + pos, z, n) == 0;
}

static char peek(const struct lex *l, size_t pos)
{
    return pos < l->src.len ? l->src.ptr[pos] : 0;
}

/* Moves to `to`, counting lines. */
static void advance(struct lex *l, size_t to)
{
    for (size_t i = l->pos; i < to; i++)
        l->line += l->src.ptr[i] == '\n';
    if (to > l->pos)
        l->line_starting = l->src.ptr[to - 1] == '\n';
    l->pos = to;
}

static size_t skip_space(const struct lex *l, size_t pos)
{
    while (pos < l->src.len) {
        size_t n;
        if (!u_is_space(u8_get(l->src.ptr + pos, &n)))
            break;
        pos += n;
    }
    return pos;
}

/* The text before a tag, as the tag's sign and lstrip_blocks leave it. */
static struct str strip_before(const struct lex *l, struct str text, char sign, bool is_variable)
{
    size_t end = text.len;
    while (end > 0) {
        size_t n, start = u8_prev(text, end);
        uint32_t cp = u8_get(text.ptr + start, &n);
        if (!u_is_space(cp) || (sign != '-' && cp == '\n'))
            break;
        end = start;
    }
    if (sign == '-')
        return str_sub(text, 0, end);
    if (sign == '+' || is_variable)
        return text;
    bool at_line_start = end == 0 ? l->line_starting : text.ptr[end - 1] == '\n';
    return at_line_start ? str_sub(text, 0, end) : text;
}

/* At a tag's end written as `close`: moves past it and the white space it swallows. */
static bool take_end(struct lex *l, const char *close, bool trims_newline)
{
    size_t p = l->pos, n = strlen(close);
    if (peek(l, p) == '-' && at(l, p + 1, close)) {
        advance(l, skip_space(l, p + 1 + n));
        return true;
    }
    if (trims_newline && peek(l, p) == '+' && at(l, p + 1, close)) {
        advance(l, p + 1 + n);
        return true;
    }
    if (!at(l, p, close))
        return false;
    p += n;
    if (trims_newline && peek(l, p) == '\n')
        p++;
    advance(l, p);
    return true;
}

static int lex_comment(struct lex *l)
{
    uint32_t line = l->line;
    for (;;) {
        ptrdiff_t i = str_find(str_from(l->src, l->pos), STR("#}"));
        if (i < 0) {
            l->line = line;
            return lex_fail(l, "a comment is not closed: '#}' is missing");
        }
        size_t end = l->pos + (size_t)i;
        if (end > l->pos && (peek(l, end - 1) == '-' || peek(l, end - 1) == '+'))
            end--;
        advance(l, end);
        if (take_end(l, "#}", true))
            return 0;
    }
}

/* After "{%": is this "raw" (or "endraw") and then the tag's end? Gives the position after name. */
static bool at_word_tag(const struct lex *l, size_t pos, const char *word, size_t *ret)
{
    pos = skip_space(l, pos);
    if (!at(l, pos, word))
        return false;
    pos = skip_space(l, pos + strlen(word));
    *ret = pos;
    return at(l, pos, "%}") || at(l, pos, "-%}");
}

static size_t after_sign(const struct lex *l, size_t pos, char *ret_sign)
{
    char c = peek(l, pos);
    *ret_sign = c == '-' || c == '+' ? c : 0;
    return *ret_sign ? pos + 1 : pos;
}

static int lex_raw(struct lex *l)
{
    uint32_t line = l->line;
    size_t start = l->pos;
    for (size_t p = start;; p++) {
        ptrdiff_t i = str_find(str_from(l->src, p), STR("{%"));
        if (i < 0) {
            l->line = line;
            return lex_fail(l, "a raw block is not closed: 'endraw' is missing");
        }
        p += (size_t)i;
        char sign;
        size_t end, name = after_sign(l, p + 2, &sign);
        if (!at_word_tag(l, name, "endraw", &end) && !(at(l, end = skip_space(l, name), "endraw") &&
                                                       at(l, end = skip_space(l, end + 6), "+%}")))
            continue;
        struct str text = strip_before(l, str_sub(l->src, start, p - start), sign, false);
        if (text.len && !push(l, T_DATA, text))
            return lex_nomem(l);
        advance(l, end);
        take_end(l, "%}", true);
        return 0;
    }
}

static bool is_digit_of(char c, int base)
{
    int d = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 99;
    return d < base;
}

/* Digits with single underscores between them, from `p`; the position after them. */
static size_t digits(const struct lex *l, size_t p, int base)
{
    if (!is_digit_of(peek(l, p), base))
        return p;
    while (is_digit_of(peek(l, p), base) ||
           (peek(l, p) == '_' && is_digit_of(peek(l, p + 1), base)))
        p++;
    return p;
}

static int push_integer(struct lex *l, size_t from, size_t to, int base)
{
    uint64_t v = 0;
    struct jtok *t = push(l, T_INTEGER, str_sub(l->src, l->pos, to - l->pos));
    if (!t)
        return lex_nomem(l);
    for (size_t p = from; p < to; p++) {
        char c = peek(l, p);
        if (c == '_')
            continue;
        uint64_t d = (uint64_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
        if (__builtin_mul_overflow(v, (uint64_t)base, &v) || __builtin_add_overflow(v, d, &v) ||
            v > INT64_MAX)
            return lex_fail(l, "an integer has more than 64 bits");
    }
    t->i = (int64_t)v;
    advance(l, to);
    return 0;
}

static int push_float(struct lex *l, size_t to)
{
    char text[512];
    size_t n = 0;
    for (size_t p = l->pos; p < to; p++) {
        if (peek(l, p) == '_')
            continue;
        if (n + 1 == sizeof(text))
            return lex_fail(l, "a number is too long");
        text[n++] = peek(l, p);
    }
    text[n] = 0;
    struct jtok *t = push(l, T_FLOAT, str_sub(l->src, l->pos, to - l->pos));
    if (!t)
        return lex_nomem(l);
    t->f = strtod(text, NULL);
    advance(l, to);
    return 0;
}

/* The end of a float that starts at p, or p if there is none. */
static size_t float_end(const struct lex *l, size_t p)
{
    if (p > 0 && peek(l, p - 1) == '.')
        return p;
    size_t q = digits(l, p, 10);
    if (q == p)
        return p;
    bool fraction = peek(l, q) == '.' && is_digit_of(peek(l, q + 1), 10);
    if (fraction)
        q = digits(l, q + 1, 10);
    if ((peek(l, q) | 32) == 'e') {
        size_t e = q + 1;
        if (peek(l, e) == '+' || peek(l, e) == '-')
            e++;
        size_t end = digits(l, e, 10);
        if (end > e)
            return end;
    }
    return fraction ? q : p;
}

static int lex_number(struct lex *l)
{
    size_t p = l->pos, end = float_end(l, p);
    if (end > p)
        return push_float(l, end);
    if (peek(l, p) == '0') {
        char x = (char)(peek(l, p + 1) | 32);
        int base = x == 'b' ? 2 : x == 'o' ? 8 : x == 'x' ? 16 : 0;
        size_t from = p + 2;
        if (base) {
            if (peek(l, from) == '_')
                from++;
            end = digits(l, from, base);
            if (end > from)
                return push_integer(l, from, end, base);
        }
        for (end = p + 1; peek(l, end) == '0' || (peek(l, end) == '_' && peek(l, end + 1) == '0');)
            end++;
        return push_integer(l, p, end, 10);
    }
    return push_integer(l, p, digits(l, p, 10), 10);
}

static int lex_name(struct lex *l)
{
    size_t p = l->pos, n;
    bool identifier = u_is_id_start(u8_get(l->src.ptr + p, &n));
    while (p < l->src.len) {
        uint32_t cp = u8_get(l->src.ptr + p, &n);
        if (!u_is_word(cp))
            break;
        identifier = identifier && (p == l->pos || u_is_id_continue(cp));
        p += n;
    }
    if (!identifier)
        return lex_fail(l, "a name has a character that names may not have");
    if (!push(l, T_NAME, str_sub(l->src, l->pos, p - l->pos)))
        return lex_nomem(l);
    advance(l, p);
    return 0;
}

/* Reads n hex digits (or up to 3 octal ones with base 8) at p. */
static size_t escape_digits(struct str s, size_t p, size_t n, int base, uint32_t *ret)
{
    size_t i = 0;
    *ret = 0;
    for (; i < n && p + i < s.len && is_digit_of(s.ptr[p + i], base); i++) {
        char c = s.ptr[p + i];
        *ret = *ret * (uint32_t)base + (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return i;
}

/* One escape; s.ptr[*p] is the character after the backslash. Python's rules. */
static int unescape(struct lex *l, struct str s, size_t *p, char *out, size_t *n)
{
    static const char FROM[] = "\\'\"abfnrtv", TO[] = "\\'\"\a\b\f\n\r\t\v";
    char c = s.ptr[*p];
    const char *hit = c ? strchr(FROM, c) : NULL;
    uint32_t cp = 0;
    size_t want = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (hit) {
        out[(*n)++] = TO[hit - FROM];
        ++*p;
        return 0;
    }
    if (c == '\n') {
        ++*p;
        return 0;
    }
    if (c == 'N')
        return lex_fail(l, "\\N{...} in a string is not supported: write the character itself");
    if (c >= '0' && c <= '7') {
        *p += escape_digits(s, *p, 3, 8, &cp);
    } else if (want) {
        if (escape_digits(s, *p + 1, want, 16, &cp) != want || cp > 0x10ffff)
            return lex_fail(l, "a string has a truncated or wrong \\x, \\u or \\U escape");
        *p += 1 + want;
    } else {
        out[(*n)++] = '\\'; /* unknown escapes stay as they are */
        return 0;
    }
    if (cp >= 0xd800 && cp <= 0xdfff)
        return lex_fail(l, "a string has half of a surrogate pair");
    *n += u8_put(cp, out + *n);
    return 0;
}

static int lex_string(struct lex *l)
{
    char quote = peek(l, l->pos);
    size_t from = l->pos + 1, p = from;
    bool plain = true;
    while (p < l->src.len && peek(l, p) != quote) {
        if (peek(l, p) == '\\') {
            plain = false;
            p++;
        }
        p++;
    }
    if (p >= l->src.len)
        return lex_fail(l, "a string is not closed");
    struct str raw = str_sub(l->src, from, p - from);
    if (!plain) {
        char *out = arena_alloc(l->arena, raw.len + 4);
        size_t n = 0;
        if (!out)
            return lex_nomem(l);
        for (size_t i = 0; i < raw.len;) {
            if (raw.ptr[i] != '\\') {
                out[n++] = raw.ptr[i++];
                continue;
            }
            i++;
            int rc = unescape(l, raw, &i, out, &n);
            if (rc)
                return rc;
        }
        raw = (struct str){out, n};
    }
    if (!push(l, T_STRING, raw))
        return lex_nomem(l);
    advance(l, p + 1);
    return 0;
}

static int lex_operator(struct lex *l)
{
    static const struct {
        const char text[3];
        uint8_t kind;
    } OPS[] = {{"//", T_FLOORDIV}, {"**", T_POW},     {"==", T_EQ},    {"!=", T_NE},
               {">=", T_GE},       {"<=", T_LE},      {"+", T_ADD},    {"-", T_SUB},
               {"/", T_DIV},       {"*", T_MUL},      {"%", T_MOD},    {"~", T_TILDE},
               {"[", T_LBRACKET},  {"]", T_RBRACKET}, {"(", T_LPAREN}, {")", T_RPAREN},
               {"{", T_LBRACE},    {"}", T_RBRACE},   {">", T_GT},     {"<", T_LT},
               {"=", T_ASSIGN},    {".", T_DOT},      {":", T_COLON},  {"|", T_PIPE},
               {",", T_COMMA},     {";", T_SEMICOLON}};
    for (size_t i = 0; i < ARRAY_LEN(OPS); i++) {
        if (!at(l, l->pos, OPS[i].text))
            continue;
        char c = OPS[i].text[0];
        if (c == '(' || c == '[' || c == '{') {
            if (l->n_nest == NEST_MAX)
                return lex_fail(l, "brackets are nested too deep");
            l->nest[l->n_nest++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if (c == ')' || c == ']' || c == '}') {
            if (l->n_nest == 0 || l->nest[l->n_nest - 1] != c)
                return lex_fail(l, "a closing bracket does not match");
            l->n_nest--;
        }
        if (!push(l, OPS[i].kind, str_sub(l->src, l->pos, strlen(OPS[i].text))))
            return lex_nomem(l);
        advance(l, l->pos + strlen(OPS[i].text));
        return 0;
    }
    return err_set(l->err, ERR_SYNTAX, "line %u: unexpected character '%.*s'", l->line,
                   (int)u8_len((unsigned char)peek(l, l->pos)), l->src.ptr + l->pos);
}

/* The inside of {% ... %} or {{ ... }}, up to and with its end. */
static int lex_tag(struct lex *l, bool is_variable)
{
    uint32_t line = l->line;
    l->n_nest = 0;
    while (l->pos < l->src.len) {
        uint32_t here = l->line;
        if (l->n_nest == 0 && take_end(l, is_variable ? "}}" : "%}", !is_variable)) {
            struct jtok *t = push(l, is_variable ? T_VAR_END : T_BLOCK_END, (struct str){0});
            if (t)
                t->line = here;
            return t ? 0 : lex_nomem(l);
        }
        size_t n, after = skip_space(l, l->pos);
        if (after > l->pos) {
            advance(l, after);
            continue;
        }
        uint32_t cp = u8_get(l->src.ptr + l->pos, &n);
        int rc = cp >= '0' && cp <= '9'     ? lex_number(l)
                 : u_is_word(cp)            ? lex_name(l)
                 : cp == '\'' || cp == '\"' ? lex_string(l)
                                            : lex_operator(l);
        if (rc)
            return rc;
    }
    l->line = line;
    return lex_fail(l, is_variable ? "'{{' is not closed by '}}'" : "'{%' is not closed by '%}'");
}

/* The next "{%", "{{" or "{#" at or after `from`. */
static size_t find_tag(const struct lex *l, size_t from)
{
    while (from < l->src.len) {
        const char *p = memchr(l->src.ptr + from, '{', l->src.len - from);
        if (!p)
            break;
        from = (size_t)(p - l->src.ptr);
        char c = peek(l, from + 1);
        if (c == '%' || c == '{' || c == '#')
            return from;
        from++;
    }
    return l->src.len;
}

static int lex_step(struct lex *l)
{
    size_t tag = find_tag(l, l->pos);
    struct str text = str_sub(l->src, l->pos, tag - l->pos);
    if (tag == l->src.len) {
        bool ok = !text.len || push(l, T_DATA, text);
        advance(l, tag);
        return ok ? 0 : lex_nomem(l);
    }
    char sign, kind = peek(l, tag + 1);
    size_t inside = after_sign(l, tag + 2, &sign), raw_end;
    text = strip_before(l, text, sign, kind == '{');
    if (text.len && !push(l, T_DATA, text))
        return lex_nomem(l);
    advance(l, inside);
    if (kind == '#')
        return lex_comment(l);
    if (kind == '%' && at_word_tag(l, inside, "raw", &raw_end)) {
        advance(l, raw_end);
        take_end(l, "%}", false);
        return lex_raw(l);
    }
    if (!push(l, kind == '%' ? T_BLOCK_BEGIN : T_VAR_BEGIN, (struct str){0}))
        return lex_nomem(l);
    return lex_tag(l, kind == '{');
}

int jinja_lex(struct arena *arena, struct str source, struct jtokens *ret, struct err *err)
{
    *ret = (struct jtokens){0};
    struct lex l = {
        .arena = arena, .src = source, .line = 1, .line_starting = true, .out = ret, .err = err};
    while (l.pos < source.len) {
        int rc = lex_step(&l);
        if (rc)
            return rc;
    }
    return push(&l, T_EOF, (struct str){0}) ? 0 : lex_nomem(&l);
}
