/*
 * multipart: see multipart.h. Owns one automaton over the bytes.
 *
 * The delimiter is CR LF "--" boundary, and a boundary holds no CR: so when a match breaks off,
 * the bytes matched so far are content, and only the byte at hand may begin another match.
 */
#include "gateway/multipart.h"

#include "base/mem.h"

#include <string.h>

enum state {
    IN_BYTES, /* of a part; before the first part: of the opening delimiter */
    AFTER,    /* a delimiter: CR LF or -- follow */
    AFTER_CR,
    AFTER_DASH,
    IN_HEAD,
    TAIL, /* after the closing delimiter */
};

/* ---- header values ---- */

static bool is_token(char c)
{
    return c > ' ' && c < 127 && strchr("()<>@,;:\\\"/[]?=", c) == NULL;
}

/* Takes `name=value` or `name="value"` after a semicolon off *rest; the value without its quotes
 * and backslashes goes to `value`. False: *rest is empty, or it is no parameter (*ret_bad). */
static bool take_parameter(struct str *rest, struct str *ret_name, char *value, size_t size,
                           size_t *ret_len, bool *ret_bad)
{
    struct str s = str_trim(*rest);
    size_t i = 1, n = 0;
    *ret_bad = s.len > 0;
    if (s.len == 0 || s.ptr[0] != ';')
        return false;
    while (i < s.len && (s.ptr[i] == ' ' || s.ptr[i] == '\t'))
        i++;
    size_t start = i;
    while (i < s.len && (is_token(s.ptr[i])))
        i++;
    *ret_name = str_sub(s, start, i - start);
    if (i == start || i >= s.len || s.ptr[i++] != '=')
        return false;
    bool quoted = i < s.len && s.ptr[i] == '"';
    for (i += quoted; i < s.len && (quoted ? s.ptr[i] != '"' : is_token(s.ptr[i])); i++) {
        if (quoted && s.ptr[i] == '\\' && i + 1 < s.len &&
            (s.ptr[i + 1] == '"' || s.ptr[i + 1] == '\\'))
            i++;
        if (n >= size)
            return false;
        value[n++] = s.ptr[i];
    }
    if (quoted && (i >= s.len || s.ptr[i++] != '"'))
        return false;
    *ret_len = n;
    *ret_bad = false;
    *rest = str_from(s, i);
    return true;
}

static bool is_boundary_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("'()+_,-./:=? ", c) != NULL);
}

int multipart_init(struct multipart *m, struct str content_type,
                   const struct multipart_handler *handler, struct err *err)
{
    ptrdiff_t semicolon = str_chr(content_type, ';');
    struct str type = semicolon < 0 ? content_type : str_sub(content_type, 0, (size_t)semicolon);
    struct str rest = semicolon < 0 ? STR("") : str_from(content_type, (size_t)semicolon);
    struct str name;
    char value[MULTIPART_BOUNDARY_MAX + 1];
    size_t n = 0, n_boundary = 0;
    bool bad;
    if (!str_eq_nocase(str_trim(type), STR("multipart/form-data")))
        return err_set(err, ERR_INVALID, "the Content-Type must be multipart/form-data");
    *m = (struct multipart){.handler = *handler, .state = IN_BYTES, .n_matched = 2};
    memcpy(m->delimiter, "\r\n--", 4);
    while (take_parameter(&rest, &name, value, sizeof value, &n, &bad))
        if (str_eq_nocase(name, STR("boundary")) && n_boundary == 0) {
            memcpy(m->delimiter + 4, value, n);
            n_boundary = n;
        }
    bool ok = !bad && n_boundary > 0 && n_boundary <= MULTIPART_BOUNDARY_MAX &&
              m->delimiter[3 + n_boundary] != ' ';
    for (size_t i = 0; ok && i < n_boundary; i++)
        ok = is_boundary_char(m->delimiter[4 + i]);
    if (!ok)
        return err_set(err, ERR_INVALID,
                       "the Content-Type multipart/form-data has no valid boundary");
    m->n_delimiter = 4 + n_boundary;
    return 0;
}

/* ---- a part's head ---- */

static int read_disposition(struct multipart *m, struct str value, struct err *err)
{
    ptrdiff_t semicolon = str_chr(value, ';');
    struct str type = semicolon < 0 ? value : str_sub(value, 0, (size_t)semicolon);
    struct str rest = semicolon < 0 ? STR("") : str_from(value, (size_t)semicolon);
    struct str key, name = {0}, filename = {0};
    char text[2][512];
    char other[512];
    size_t n = 0;
    bool bad = false;
    if (!str_eq_nocase(str_trim(type), STR("form-data")))
        return err_set(err, ERR_INVALID, "a part of the form is no form-data");
    while (take_parameter(&rest, &key, other, sizeof other, &n, &bad)) {
        struct str *to = str_eq_nocase(key, STR("name"))       ? &name
                         : str_eq_nocase(key, STR("filename")) ? &filename
                                                               : NULL;
        if (to == NULL)
            continue;
        if (to->ptr != NULL)
            return err_set(err, ERR_INVALID, "a part of the form is named twice");
        char *at = text[to == &filename];
        memcpy(at, other, n);
        *to = (struct str){at, n};
    }
    if (bad || name.ptr == NULL || name.len == 0)
        return err_set(err, ERR_INVALID, "a part of the form has no readable name");
    return m->handler.on_part(m->handler.ctx, name, filename, err);
}

static int end_head(struct multipart *m, struct err *err)
{
    struct str rest = {m->head, m->n_head}, line, found = {0};
    m->state = IN_BYTES;
    m->n_matched = 0;
    if (++m->n_parts > MULTIPART_PARTS_MAX)
        return err_set(err, ERR_LIMIT, "the form has more than %d parts", MULTIPART_PARTS_MAX);
    while (str_split(&rest, '\n', &line)) {
        line = str_trim(line);
        ptrdiff_t colon = str_chr(line, ':');
        if (line.len == 0)
            continue;
        if (colon <= 0)
            return err_set(err, ERR_INVALID, "a part of the form has a broken header");
        if (!str_eq_nocase(str_sub(line, 0, (size_t)colon), STR("Content-Disposition")))
            continue;
        if (found.ptr != NULL)
            return err_set(err, ERR_INVALID, "a part of the form is named twice");
        found = str_from(line, (size_t)colon + 1);
    }
    if (found.ptr == NULL)
        return err_set(err, ERR_INVALID, "a part of the form has no Content-Disposition");
    return read_disposition(m, found, err);
}

static int take_head(struct multipart *m, char c, struct err *err)
{
    if (m->n_head == sizeof m->head)
        return err_set(err, ERR_LIMIT, "the head of a part is larger than %d bytes",
                       MULTIPART_HEAD_MAX);
    m->head[m->n_head++] = c;
    size_t n = m->n_head;
    bool ends = c == '\n' && ((n == 2 && m->head[0] == '\r') ||
                              (n >= 4 && memcmp(m->head + n - 4, "\r\n\r\n", 4) == 0));
    return ends ? end_head(m, err) : 0;
}

/* ---- a part's bytes ---- */

static int emit(struct multipart *m, const char *ptr, size_t len, struct err *err)
{
    if (len == 0)
        return 0;
    if (m->n_parts == 0)
        return err_set(err, ERR_INVALID, "the form does not begin with its boundary");
    return m->handler.on_bytes(m->handler.ctx, (struct str){ptr, len}, err);
}

static int end_part(struct multipart *m, struct err *err)
{
    m->state = AFTER;
    m->n_matched = 0;
    m->n_head = 0;
    return m->n_parts == 0 ? 0 : m->handler.on_part_end(m->handler.ctx, err);
}

/* Takes bytes up to a delimiter's end, or all; *i is moved on. */
static int take_bytes(struct multipart *m, struct str bytes, size_t *i, struct err *err)
{
    size_t start = *i; /* of content not handed on yet; the match at hand is not part of it */
    int code = 0;
    while (code == 0 && *i < bytes.len) {
        char c = bytes.ptr[*i];
        if (c == m->delimiter[m->n_matched]) {
            if (m->n_matched == 0)
                code = emit(m, bytes.ptr + start, *i - start, err);
            ++*i;
            if (code == 0 && ++m->n_matched == m->n_delimiter)
                return end_part(m, err);
            start = *i;
        } else if (m->n_matched > 0) { /* it was content; the byte at hand is looked at again */
            size_t n = m->n_matched;
            m->n_matched = 0;
            start = *i;
            code = emit(m, m->delimiter, n, err);
        } else {
            const char *cr = memchr(bytes.ptr + *i, '\r', bytes.len - *i);
            *i = cr == NULL ? bytes.len : (size_t)(cr - bytes.ptr);
        }
    }
    if (code == 0 && m->n_matched == 0)
        code = emit(m, bytes.ptr + start, *i - start, err);
    return code;
}

static int take_after(struct multipart *m, char c, struct err *err)
{
    bool first = m->state == AFTER;
    if (first && c == '\r')
        m->state = AFTER_CR;
    else if (first && c == '-' && m->n_parts > 0)
        m->state = AFTER_DASH;
    else if (m->state == AFTER_CR && c == '\n')
        m->state = IN_HEAD;
    else if (m->state == AFTER_DASH && c == '-')
        m->state = TAIL;
    else
        return err_set(err, ERR_INVALID, "the form is broken after a boundary");
    return 0;
}

static int take_tail(struct multipart *m, char c, struct err *err)
{
    static const char end[] = "\r\n";
    if (m->n_tail >= 2 || c != end[m->n_tail++])
        return err_set(err, ERR_INVALID, "the form goes on after its closing boundary");
    return 0;
}

int multipart_feed(struct multipart *m, struct str bytes, struct err *err)
{
    int code = 0;
    size_t i = 0;
    while (code == 0 && i < bytes.len) {
        if (m->state == IN_BYTES)
            code = take_bytes(m, bytes, &i, err);
        else if (m->state == IN_HEAD)
            code = take_head(m, bytes.ptr[i++], err);
        else if (m->state == TAIL)
            code = take_tail(m, bytes.ptr[i++], err);
        else
            code = take_after(m, bytes.ptr[i++], err);
    }
    return code;
}

int multipart_end(struct multipart *m, struct err *err)
{
    if (m->state == TAIL)
        return 0;
    return err_set(err, ERR_INVALID, "the form ends before its closing boundary");
}
