/*
 * json_mend: see the header. A state machine: commas and colons are written when what they announce
 * begins, so that none is ever too many.
 */
#include "text/json_mend.h"

#include <stdio.h>
#include <string.h>

#define WORD_MAX (1u << 20)

enum {
    AT_START,  /* nothing came yet */
    AT_KEY,    /* in an object, before a key or its end */
    AT_COLON,  /* after a key */
    AT_VALUE,  /* after a colon */
    AT_ITEM,   /* in an array, before a value or its end */
    IN_STRING, /* or in a key */
    IN_WORD,   /* or in a key without quotes */
    IS_OVER,
};

void json_mend_init(struct json_mend *m)
{
    *m = (struct json_mend){.state = AT_START};
    buf_init(&m->word, WORD_MAX);
}

void json_mend_release(struct json_mend *m)
{
    buf_release(&m->word);
}

void json_mend_clear(struct json_mend *m)
{
    struct buf word = m->word;
    buf_clear(&word);
    *m = (struct json_mend){.state = AT_START, .word = word};
}

bool json_mend_is_over(const struct json_mend *m)
{
    return m->state == IS_OVER;
}

bool json_mend_in_string(const struct json_mend *m)
{
    return m->state == IN_STRING;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool in_object(const struct json_mend *m)
{
    return m->depth > 0 && m->bracket[m->depth - 1] == '{';
}

/* ---- what ends and what begins ---- */

/* A value is complete. */
static void after_value(struct json_mend *m)
{
    m->state = m->depth == 0 ? IS_OVER : in_object(m) ? AT_KEY : AT_ITEM;
}

/* A key, or a value in an array, begins. */
static void begin_item(struct json_mend *m, struct buf *out)
{
    if (m->depth == 0 || m->state == AT_VALUE)
        return;
    if (m->has_item[m->depth - 1])
        buf_add_char(out, ',');
    m->has_item[m->depth - 1] = true;
}

static void open_bracket(struct json_mend *m, char c, struct buf *out)
{
    if (m->depth == JSON_MEND_DEPTH) { /* nobody reads as deep as that */
        buf_add_z(out, "null");
        after_value(m);
        json_mend_finish(m, out);
        return;
    }
    buf_add_char(out, c);
    m->bracket[m->depth] = c;
    m->has_item[m->depth++] = false;
    m->state = c == '{' ? AT_KEY : AT_ITEM;
}

static void pop(struct json_mend *m, struct buf *out)
{
    buf_add_char(out, m->bracket[--m->depth] == '{' ? '}' : ']');
    after_value(m);
}

/* Closes up to the bracket that c belongs to; one that none is open for is left out. */
static void close_bracket(struct json_mend *m, char c, struct buf *out)
{
    char opens = c == '}' ? '{' : '[';
    int at = m->depth;
    while (at > 0 && m->bracket[at - 1] != opens)
        at--;
    while (at > 0 && m->depth >= at)
        pop(m, out);
}

/* ---- strings ---- */

static void begin_string(struct json_mend *m, char quote, bool is_key, struct buf *out)
{
    begin_item(m, out);
    buf_add_char(out, '"');
    m->quote = quote;
    m->is_key = is_key;
    m->n_escape = 0;
    m->high = 0;
    m->state = IN_STRING;
}

static void drop_high(struct json_mend *m, struct buf *out)
{
    if (m->high != 0)
        buf_add_z(out, "\\ufffd"); /* half a pair is no character */
    m->high = 0;
}

static void end_string(struct json_mend *m, struct buf *out)
{
    drop_high(m, out);
    buf_add_char(out, '"');
    if (m->is_key)
        m->state = AT_COLON;
    else
        after_value(m);
}

static void add_plain(char c, struct buf *out)
{
    static const char *const named[] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};
    unsigned char u = (unsigned char)c;
    if (c == '"' || c == '\\') {
        buf_add_char(out, '\\');
        buf_add_char(out, c);
    } else if (u >= 0x20) {
        buf_add_char(out, c);
    } else if (u < sizeof named / sizeof named[0] && named[u] != NULL) {
        buf_add_z(out, named[u]);
    } else {
        buf_printf(out, "\\u%04x", u);
    }
}

static void add_unit(struct json_mend *m, uint32_t unit, struct buf *out)
{
    if (m->high != 0 && unit >= 0xdc00 && unit < 0xe000) {
        buf_printf(out, "\\u%04x\\u%04x", (unsigned)m->high, (unsigned)unit);
        m->high = 0;
        return;
    }
    drop_high(m, out);
    if (unit >= 0xd800 && unit < 0xdc00)
        m->high = unit;
    else if (unit >= 0xdc00 && unit < 0xe000)
        buf_add_z(out, "\\ufffd");
    else
        buf_printf(out, "\\u%04x", (unsigned)unit);
}

/* One more byte of an escape; the whole of it was taken when n_escape is 0 again. */
static void push_escape(struct json_mend *m, char c, struct buf *out)
{
    char kind = m->n_escape > 1 ? m->escape[1] : c;
    int n_hex = kind == 'u' ? 4 : kind == 'x' ? 2 : 0;
    m->escape[m->n_escape++] = c;
    if (m->n_escape == 2 && n_hex > 0)
        return;
    bool hex = m->n_escape > 2 && ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f'));
    if (n_hex > 0 && hex && m->n_escape < 2 + n_hex)
        return;
    int n = m->n_escape;
    m->n_escape = 0;
    m->escape[n] = '\0';
    if (n_hex > 0 && hex) {
        unsigned unit = 0;
        sscanf(m->escape + 2, "%x", &unit);
        add_unit(m, unit, out);
        return;
    }
    drop_high(m, out);
    if (n_hex > 0) { /* not what it began as: as it stands */
        for (int i = 0; i + 1 < n; i++)
            add_plain(m->escape[i], out);
        json_mend_push(m, c, out);
    } else if (strchr("\"\\/bfnrt", c) != NULL && c != '\0') {
        buf_add_char(out, '\\');
        buf_add_char(out, c);
    } else if (c == '\'') {
        buf_add_char(out, c);
    } else if (c != '\n') { /* Python's continued line is nothing */
        add_plain('\\', out);
        add_plain(c, out);
    }
}

static void push_string(struct json_mend *m, char c, struct buf *out)
{
    if (m->n_escape > 0) {
        push_escape(m, c, out);
    } else if (c == m->quote) {
        end_string(m, out);
    } else if (c == '\\' && m->quote != JSON_MEND_QUOTE) {
        m->escape[m->n_escape++] = c;
    } else {
        drop_high(m, out);
        add_plain(c, out);
    }
}

/* ---- words and numbers ---- */

/* "-12.5e3" as JSON has it. */
static bool is_number(const char *s)
{
    s += *s == '-';
    if (*s == '0')
        s++;
    else if (*s >= '1' && *s <= '9')
        s += strspn(s, "0123456789");
    else
        return false;
    if (*s == '.') {
        size_t n = strspn(s + 1, "0123456789");
        if (n == 0)
            return false;
        s += 1 + n;
    }
    if (*s == 'e' || *s == 'E') {
        s += 1 + (s[1] == '+' || s[1] == '-');
        size_t n = strspn(s, "0123456789");
        if (n == 0)
            return false;
        s += n;
    }
    return *s == '\0';
}

static bool add_literal(const char *word, struct buf *out)
{
    static const char *const table[][2] = {
        {"true", "true"},     {"false", "false"},    {"null", "null"},      {"True", "true"},
        {"False", "false"},   {"None", "null"},      {"NaN", "null"},       {"nan", "null"},
        {"Infinity", "null"}, {"-Infinity", "null"}, {"undefined", "null"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(word, table[i][0]) == 0)
            return buf_add_z(out, table[i][1]);
    return false;
}

/* +1, .5, 5. and 007 are numbers to those who write them. */
static bool add_odd_number(const char *word, struct buf *out)
{
    char fixed[64];
    bool minus = word[0] == '-';
    word += minus || word[0] == '+';
    if (word[strspn(word, "0123456789.")] != '\0' || strlen(word) > 40)
        return false;
    while (word[0] == '0' && word[1] >= '0' && word[1] <= '9')
        word++;
    size_t n = strlen(word);
    snprintf(fixed, sizeof fixed, "%s%s%s%s", minus ? "-" : "", word[0] == '.' ? "0" : "", word,
             n > 0 && word[n - 1] == '.' ? "0" : "");
    return is_number(fixed) && buf_add_z(out, fixed);
}

static void end_word(struct json_mend *m, struct buf *out)
{
    struct str word = str_trim(buf_str(&m->word));
    m->word.ptr[(size_t)(word.ptr - m->word.ptr) + word.len] = '\0';
    if (m->is_key ||
        !(add_literal(word.ptr, out) || (is_number(word.ptr) && buf_add_str(out, word)) ||
          add_odd_number(word.ptr, out))) {
        buf_add_char(out, '"');
        for (size_t i = 0; i < word.len; i++)
            add_plain(word.ptr[i], out);
        buf_add_char(out, '"');
    }
    buf_clear(&m->word);
    if (m->is_key)
        m->state = AT_COLON;
    else
        after_value(m);
}

static void begin_word(struct json_mend *m, char c, bool is_key, struct buf *out)
{
    begin_item(m, out);
    buf_clear(&m->word);
    buf_add_char(&m->word, c);
    m->is_key = is_key;
    m->state = IN_WORD;
}

static bool ends_word(const struct json_mend *m, char c)
{
    if (c == ',' || c == '}' || c == ']' || c == '\n')
        return true;
    return m->is_key && (c == ':' || c == '=');
}

/* ---- bytes ---- */

static void push_value(struct json_mend *m, char c, struct buf *out)
{
    if (c == '{' || c == '[') {
        begin_item(m, out);
        open_bracket(m, c, out);
    } else if (c == '"' || c == '\'' || c == JSON_MEND_QUOTE) {
        begin_string(m, c, false, out);
    } else {
        begin_word(m, c, false, out);
    }
}

/* Nothing where a value belongs. */
static void miss_value(struct json_mend *m, struct buf *out)
{
    buf_add_z(out, m->state == AT_COLON ? ":null" : "null");
    after_value(m);
}

static void push_between(struct json_mend *m, char c, struct buf *out)
{
    bool closes = c == '}' || c == ']';
    if (is_space(c))
        return;
    if ((m->state == AT_COLON || m->state == AT_VALUE) && (closes || c == ','))
        miss_value(m, out);
    if (closes)
        close_bracket(m, c, out);
    else if (m->state == AT_COLON && (c == ':' || c == '=')) {
        buf_add_char(out, ':');
        m->state = AT_VALUE;
    } else if (m->state == AT_COLON) { /* forgotten */
        buf_add_char(out, ':');
        m->state = AT_VALUE;
        push_value(m, c, out);
    } else if (c == ',' || c == ':' || c == ';') {
        return;
    } else if (m->state != AT_KEY) {
        push_value(m, c, out);
    } else if (c == '"' || c == '\'' || c == JSON_MEND_QUOTE) {
        begin_string(m, c, true, out);
    } else if (c != '{' && c != '[') {
        begin_word(m, c, true, out);
    }
}

bool json_mend_push(struct json_mend *m, char c, struct buf *out)
{
    if (m->state == IS_OVER)
        return false;
    if (m->state == IN_STRING) {
        push_string(m, c, out);
    } else if (m->state == IN_WORD && !ends_word(m, c)) {
        buf_add_char(&m->word, c);
    } else {
        if (m->state == IN_WORD)
            end_word(m, out);
        if (m->state == IS_OVER)
            return false;
        push_between(m, c, out);
    }
    return true;
}

void json_mend_finish(struct json_mend *m, struct buf *out)
{
    if (m->state == IS_OVER)
        return;
    if (m->state == AT_START && m->depth == 0)
        buf_add_z(out, "{}");
    if (m->state == IN_STRING && m->n_escape > 1) {
        for (int i = 0; i < m->n_escape; i++)
            add_plain(m->escape[i], out);
    }
    if (m->state == IN_STRING)
        end_string(m, out);
    if (m->state == IN_WORD)
        end_word(m, out);
    if (m->state == AT_COLON || m->state == AT_VALUE)
        miss_value(m, out);
    while (m->depth > 0)
        pop(m, out);
    m->state = IS_OVER;
}
