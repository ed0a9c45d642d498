/*
 * volatile: see volatile.h. Linear in the length of the system texts.
 */
#include "api/volatile.h"

#include "base/buf.h"

#define BILLING        STR("x-anthropic-billing-header:")
#define BUDGET_OPEN    STR("<total_tokens>")
#define BUDGET_CLOSE   STR(" tokens left</total_tokens>")
#define TEXT_BYTES_MAX (64u << 20)
#define DIGITS_MAX     20

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Bytes of the header's line at the head of text, its end with it; 0: there is none. */
static size_t billing_len(struct str text)
{
    if (!str_starts(text, BILLING))
        return 0;
    ptrdiff_t end = str_chr(text, '\n');
    struct str line = str_sub(text, 0, end < 0 ? text.len : (size_t)end);
    ptrdiff_t at = str_find(line, STR("cch="));
    size_t i = at < 0 ? line.len : (size_t)at + 4, first = i;
    while (i < line.len && is_hex(line.ptr[i]))
        i++;
    if (i == first || i >= line.len || line.ptr[i] != ';')
        return 0;
    return end < 0 ? text.len : (size_t)end + 1;
}

/* Bytes of a marker at the head of text; 0: none. */
static size_t budget_len(struct str text)
{
    size_t i = BUDGET_OPEN.len, first = i;
    if (!str_starts(text, BUDGET_OPEN))
        return 0;
    while (i < text.len && i < first + DIGITS_MAX && text.ptr[i] >= '0' && text.ptr[i] <= '9')
        i++;
    if (i == first || !str_starts(str_from(text, i), BUDGET_CLOSE))
        return 0;
    return i + BUDGET_CLOSE.len;
}

static void clean(struct str text, bool first, struct buf *out, struct api_volatile *ret)
{
    size_t billing = first ? billing_len(text) : 0;
    ptrdiff_t at;
    ret->n_billing += billing > 0;
    text = str_from(text, billing);
    while ((at = str_find(text, BUDGET_OPEN)) >= 0) {
        struct str rest = str_from(text, (size_t)at);
        size_t n = budget_len(rest);
        buf_add_str(out, str_sub(text, 0, (size_t)at));
        if (n == 0) {
            n = BUDGET_OPEN.len;
            buf_add_str(out, BUDGET_OPEN);
        } else {
            ret->n_budget++;
        }
        text = str_from(rest, n);
    }
    buf_add_str(out, text);
}

/* *ret_empty: nothing but white space is left of a text that held something to take out. */
static int clean_member(json_t *owner, const char *key, bool first, struct api_volatile *ret,
                        bool *ret_empty, struct err *err)
{
    struct str text = json_str(json_object_get(owner, key));
    struct api_volatile found = {0};
    struct buf out;
    int code = 0;
    *ret_empty = false;
    if (!(first && str_starts(text, BILLING)) && str_find(text, BUDGET_OPEN) < 0)
        return 0;
    buf_init(&out, TEXT_BYTES_MAX);
    clean(text, first, &out, &found);
    *ret_empty = found.n_billing + found.n_budget > 0 && str_trim(buf_str(&out)).len == 0;
    if (out.overflow ||
        json_object_set_new(owner, key, json_stringn(out.ptr != NULL ? out.ptr : "", out.len)) != 0)
        code = err_set(err, ERR_NOMEM, "out of memory for the messages");
    buf_release(&out);
    ret->n_billing += found.n_billing;
    ret->n_budget += found.n_budget;
    return code;
}

static int clean_message(json_t *message, bool first, struct api_volatile *ret, bool *ret_empty,
                         struct err *err)
{
    json_t *parts = json_object_get(message, "content");
    int code = 0;
    if (json_is_string(parts))
        return clean_member(message, "content", first, ret, ret_empty, err);
    *ret_empty = false;
    for (size_t i = 0; i < json_array_size(parts) && code == 0;) {
        bool empty = false;
        code = clean_member(json_array_get(parts, i), "text", first && i == 0, ret, &empty, err);
        if (empty)
            json_array_remove(parts, i);
        else
            i++;
        *ret_empty = empty && json_array_size(parts) == 0;
    }
    return code;
}

int api_volatile_remove(json_t *messages, struct api_volatile *ret, struct err *err)
{
    bool first = true;
    int code = 0;
    for (size_t i = 0; i < json_array_size(messages) && code == 0;) {
        bool empty = false;
        json_t *message = json_array_get(messages, i);
        struct str role = json_str(json_object_get(message, "role"));
        if (str_eq_z(role, "system")) {
            code = clean_message(message, first, ret, &empty, err);
            first = false;
        }
        if (empty && json_array_size(messages) > 1)
            json_array_remove(messages, i);
        else
            i++;
    }
    return code;
}
