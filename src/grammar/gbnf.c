/*
 * gbnf: see the header. A descent over the text: rules are made when their name is first met, and
 * get their bodies where they are defined.
 */
#include "grammar/gbnf.h"
#include "base/buf.h"
#include "base/mem.h"
#include "grammar/char_set.h"
#include "grammar/expr.h"
#include "grammar/utf8_step.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX  (1u << 20)
#define RULES_MAX 65536
#define NEST_MAX  128
#define ITEMS_MAX 65536

struct rule {
    struct str name;
    gexpr expr;
    bool is_defined;
    size_t at; /* where it was met first */
};

struct items {
    gexpr *e;
    size_t n, cap;
};

struct parser {
    struct grammar_builder *b;
    struct str text;
    size_t at;
    const char *param;
    struct err *err;
    struct rule *rule; /* [n_rule] */
    uint32_t *slot;    /* [n_slot] rule + 1, by the name's hash */
    size_t n_rule, cap_rule, n_slot;
    int depth;
};

/* ---- errors ---- */

static gexpr fail_at(struct parser *p, size_t at, int code, const char *what)
{
    int line = 1, column = 1;
    for (size_t i = 0; i < at && i < p->text.len; i++) {
        bool is_tail = ((uint8_t)p->text.ptr[i] & 0xc0) == 0x80;
        column = p->text.ptr[i] == '\n' ? 1 : column + !is_tail;
        line += p->text.ptr[i] == '\n';
    }
    struct err err = {0};
    err_set_param(&err, code, p->param, "%s: line %d, column %d: %s", p->param, line, column, what);
    if (p->err)
        *p->err = err;
    return grammar_fail(p->b, &err);
}

static gexpr fail(struct parser *p, const char *what)
{
    return fail_at(p, p->at, ERR_INVALID, what);
}

static gexpr too_large(struct parser *p)
{
    return fail_at(p, p->at, ERR_LIMIT, "the grammar is too large");
}

/* ---- characters ---- */

static char peek(const struct parser *p)
{
    return p->at < p->text.len ? p->text.ptr[p->at] : '\0';
}

static bool is_over(const struct parser *p)
{
    return p->at >= p->text.len;
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static void skip_space(struct parser *p, bool lines_too)
{
    while (!is_over(p)) {
        char c = peek(p);
        if (c == '#')
            while (!is_over(p) && peek(p) != '\n')
                p->at++;
        else if (c == ' ' || c == '\t' || (lines_too && (c == '\n' || c == '\r')))
            p->at++;
        else
            return;
    }
}

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_hex(struct parser *p, int n, uint32_t *ret)
{
    uint32_t code = 0;
    for (int i = 0; i < n; i++) {
        int digit = hex_of(peek(p));
        if (digit < 0) {
            fail(p, "an escape of a character needs as many hexadecimal digits as it has");
            return false;
        }
        code = code * 16 + (uint32_t)digit;
        p->at++;
    }
    if (code > CHAR_MAX_CODE || (code >= 0xd800 && code < 0xe000)) {
        fail(p, "this escape is no character");
        return false;
    }
    *ret = code;
    return true;
}

static bool read_escape(struct parser *p, uint32_t *ret)
{
    static const char names[] = "nrt\"\\[]-^'";
    static const char values[] = "\n\r\t\"\\[]-^'";
    char c = peek(p);
    p->at++;
    if (c == 'x' || c == 'u' || c == 'U')
        return read_hex(p, c == 'x' ? 2 : c == 'u' ? 4 : 8, ret);
    const char *at = c ? strchr(names, c) : NULL;
    if (!at) {
        p->at--;
        fail(p, "this escape is not known");
        return false;
    }
    *ret = (uint8_t)values[at - names];
    return true;
}

/* One character of a literal or a class. */
static bool read_char(struct parser *p, uint32_t *ret)
{
    if (peek(p) == '\\') {
        p->at++;
        return read_escape(p, ret);
    }
    int n = utf8_get(str_from(p->text, p->at), ret);
    if (n == 0) {
        fail(p, "the text is not UTF-8");
        return false;
    }
    p->at += (size_t)n;
    return true;
}

/* ---- rules by name ---- */

static uint64_t hash_name(struct str s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (uint8_t)s.ptr[i]) * 0x100000001b3u;
    return h ^ h >> 31;
}

static bool grow_slots(struct parser *p)
{
    size_t n = p->n_slot ? p->n_slot * 2 : 64;
    uint32_t *slot = mem_try_array(n, sizeof(*slot));
    if (!slot)
        return false;
    for (size_t i = 0; i < p->n_rule; i++) {
        size_t at = hash_name(p->rule[i].name) & (n - 1);
        while (slot[at])
            at = (at + 1) & (n - 1);
        slot[at] = (uint32_t)i + 1;
    }
    free(p->slot);
    p->slot = slot;
    p->n_slot = n;
    return true;
}

/* The rule of a name, made if it is new; NULL: too many. */
static struct rule *find_rule(struct parser *p, struct str name, size_t met_at)
{
    if (p->n_slot < (p->n_rule + 1) * 2 && !grow_slots(p))
        return NULL;
    size_t at = hash_name(name) & (p->n_slot - 1);
    for (; p->slot[at]; at = (at + 1) & (p->n_slot - 1))
        if (str_eq(p->rule[p->slot[at] - 1].name, name))
            return &p->rule[p->slot[at] - 1];
    if (!mem_grow((void **)&p->rule, &p->cap_rule, p->n_rule + 1, RULES_MAX, sizeof(*p->rule)))
        return NULL;
    struct rule *r = &p->rule[p->n_rule++];
    *r = (struct rule){.name = name, .expr = grammar_rule(p->b), .at = met_at};
    p->slot[at] = (uint32_t)p->n_rule;
    return r;
}

static struct str read_name(struct parser *p)
{
    size_t from = p->at;
    while (!is_over(p) && is_name(peek(p)))
        p->at++;
    return str_sub(p->text, from, p->at - from);
}

/* ---- items ---- */

static gexpr read_alternatives(struct parser *p, bool is_nested);

static gexpr read_literal(struct parser *p)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    p->at++;
    while (!is_over(p) && peek(p) != '"') {
        uint32_t code;
        uint8_t bytes[UTF8_LEN_MAX];
        if (!read_char(p, &code)) {
            buf_release(&text);
            return -1;
        }
        buf_add(&text, bytes, (size_t)utf8_put(code, bytes));
    }
    gexpr e = -1;
    if (is_over(p))
        fail(p, "a text has no closing quote");
    else
        e = grammar_literal(p->b, buf_str(&text));
    p->at++;
    buf_release(&text);
    return e;
}

static bool read_class_items(struct parser *p, struct char_set *set)
{
    while (!is_over(p) && peek(p) != ']') {
        uint32_t from, to;
        if (!read_char(p, &from))
            return false;
        to = from;
        if (peek(p) == '-' && p->at + 1 < p->text.len && p->text.ptr[p->at + 1] != ']') {
            p->at++;
            if (!read_char(p, &to))
                return false;
        }
        if (to < from) {
            fail(p, "a range of characters ends before it begins");
            return false;
        }
        char_set_add(set, from, to);
    }
    if (is_over(p))
        fail(p, "a class of characters has no closing bracket");
    else if (set->overflow)
        too_large(p);
    return !is_over(p) && !set->overflow;
}

static gexpr read_class(struct parser *p)
{
    struct char_set set = {0};
    p->at++;
    bool negated = peek(p) == '^';
    p->at += negated;
    gexpr e = -1;
    if (read_class_items(p, &set))
        e = grammar_chars(p->b, set.r, set.n, negated);
    p->at++;
    char_set_release(&set);
    return e;
}

static gexpr read_group(struct parser *p)
{
    if (++p->depth > NEST_MAX)
        return fail_at(p, p->at, ERR_LIMIT, "groups are nested too deeply");
    p->at++;
    skip_space(p, true);
    gexpr e = read_alternatives(p, true);
    if (e < 0)
        return e;
    if (peek(p) != ')')
        return fail(p, "a group has no closing parenthesis");
    p->at++;
    p->depth--;
    return e;
}

/* <think>: the control token of that name. */
static gexpr read_token(struct parser *p)
{
    size_t from = p->at;
    if (p->at + 1 < p->text.len && p->text.ptr[p->at + 1] == '[')
        return fail_at(p, p->at, ERR_UNSUPPORTED,
                       "tokens by number are not supported; write the token's text");
    while (!is_over(p) && peek(p) != '>' && peek(p) != '\n')
        p->at++;
    if (peek(p) != '>')
        return fail(p, "the name of a token has no closing '>'");
    p->at++;
    return grammar_special(p->b, str_sub(p->text, from, p->at - from));
}

static gexpr read_reference(struct parser *p)
{
    size_t at = p->at;
    struct rule *r = find_rule(p, read_name(p), at);
    return r ? r->expr : too_large(p);
}

static gexpr read_item(struct parser *p)
{
    const struct grammar_range none = {0, 0};
    switch (peek(p)) {
    case '"':
        return read_literal(p);
    case '[':
        return read_class(p);
    case '(':
        return read_group(p);
    case '<':
        return read_token(p);
    case '.':
        p->at++;
        return grammar_chars(p->b, &none, 0, true);
    default:
        return read_reference(p);
    }
}

/* ---- repetitions ---- */

static bool read_number(struct parser *p, int64_t *ret)
{
    int64_t n = 0;
    if (peek(p) < '0' || peek(p) > '9') {
        fail(p, "a number is missing");
        return false;
    }
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++) {
        n = n * 10 + peek(p) - '0';
        if (n > GRAMMAR_REPEAT_MAX) {
            fail_at(p, p->at, ERR_LIMIT, "a repetition of more than 65536 times");
            return false;
        }
    }
    *ret = n;
    skip_space(p, false);
    return true;
}

/* {m}, {m,}, {m,n} */
static bool read_bounds(struct parser *p, int64_t *min, int64_t *max)
{
    p->at++;
    skip_space(p, false);
    if (!read_number(p, min))
        return false;
    *max = *min;
    if (peek(p) == ',') {
        p->at++;
        skip_space(p, false);
        *max = GRAMMAR_UNBOUNDED;
        if (peek(p) != '}' && !read_number(p, max))
            return false;
    }
    if (peek(p) != '}' || (*max >= 0 && *max < *min)) {
        fail(p, peek(p) != '}' ? "a repetition has no closing brace"
                               : "a repetition's greatest number is less than its least");
        return false;
    }
    p->at++;
    return true;
}

static gexpr read_repeated(struct parser *p, gexpr e)
{
    for (;;) {
        int64_t min = 0, max = GRAMMAR_UNBOUNDED;
        char c = peek(p);
        if (e < 0 || (c != '*' && c != '+' && c != '?' && c != '{'))
            return e;
        if (c == '{' && !read_bounds(p, &min, &max))
            return -1;
        if (c != '{')
            p->at++;
        min = c == '+' ? 1 : min;
        max = c == '?' ? 1 : max;
        e = grammar_repeat(p->b, e, min, max);
    }
}

/* ---- sequences and alternatives ---- */

static bool add_item(struct parser *p, struct items *list, gexpr e)
{
    if (e < 0)
        return false;
    if (!mem_grow((void **)&list->e, &list->cap, list->n + 1, ITEMS_MAX, sizeof(*list->e))) {
        too_large(p);
        return false;
    }
    list->e[list->n++] = e;
    return true;
}

static bool begins_item(const struct parser *p)
{
    char c = peek(p);
    return !is_over(p) && (is_name(c) || c == '"' || c == '[' || c == '(' || c == '.' || c == '<');
}

static gexpr read_sequence(struct parser *p, bool is_nested)
{
    struct items list = {0};
    bool ok = true;
    skip_space(p, is_nested);
    while (ok && begins_item(p)) {
        ok = add_item(p, &list, read_repeated(p, read_item(p)));
        skip_space(p, is_nested);
    }
    gexpr e = ok ? grammar_seq(p->b, list.e, list.n) : -1;
    free(list.e);
    return e;
}

/* Another alternative may stand on the next line. */
static bool has_more(struct parser *p, bool is_nested)
{
    size_t before = p->at;
    skip_space(p, true);
    if (peek(p) == '|') {
        p->at++;
        skip_space(p, true);
        return true;
    }
    if (!is_nested)
        p->at = before;
    return false;
}

static gexpr read_alternatives(struct parser *p, bool is_nested)
{
    struct items list = {0};
    bool ok;
    do
        ok = add_item(p, &list, read_sequence(p, is_nested));
    while (ok && has_more(p, is_nested));
    gexpr e = ok ? grammar_alt(p->b, list.e, list.n) : -1;
    free(list.e);
    return e;
}

static bool read_rule(struct parser *p)
{
    size_t at = p->at;
    struct str name = read_name(p);
    if (name.len == 0) {
        fail(p, "the name of a rule is missing");
        return false;
    }
    struct rule *r = find_rule(p, name, at);
    if (!r || r->is_defined) {
        if (r)
            fail_at(p, at, ERR_INVALID, "this rule is defined already");
        else
            too_large(p);
        return false;
    }
    r->is_defined = true;
    gexpr expr = r->expr;
    skip_space(p, false);
    if (!str_starts(str_from(p->text, p->at), STR("::="))) {
        fail(p, "'::=' is missing");
        return false;
    }
    p->at += 3;
    skip_space(p, true);
    gexpr body = read_alternatives(p, false);
    if (body < 0)
        return false;
    if (!is_over(p) && peek(p) != '\n' && peek(p) != '\r') {
        fail(p, "this cannot stand here");
        return false;
    }
    grammar_define(p->b, expr, body);
    return true;
}

static gexpr read_all(struct parser *p)
{
    skip_space(p, true);
    while (!is_over(p)) {
        if (!read_rule(p))
            return -1;
        skip_space(p, true);
    }
    for (size_t i = 0; i < p->n_rule; i++)
        if (!p->rule[i].is_defined)
            return fail_at(p, p->rule[i].at, ERR_INVALID, "this rule is defined nowhere");
    size_t n_before = p->n_rule;
    struct rule *root = find_rule(p, STR("root"), 0);
    if (!root)
        return too_large(p);
    return n_before == p->n_rule ? root->expr
                                 : fail_at(p, 0, ERR_INVALID, "there is no rule 'root'");
}

gexpr gbnf_expr(struct grammar_builder *b, struct str text, const char *param, struct err *err)
{
    struct parser p = {.b = b, .text = text, .param = param, .err = err};
    err_clear(err);
    gexpr e = text.len > TEXT_MAX ? too_large(&p) : read_all(&p);
    if (e < 0 && err && err->code == 0)
        *err = b->failed;
    free(p.rule);
    free(p.slot);
    return e;
}
