/*
 * tool_args: see the header.
 */
#include "worker/tool_args.h"

#include "base/mem.h"
#include "grammar/schema.h"
#include "text/tool_param.h"

#include <string.h>

/* ---- what dialects spell ---- */

/* Length of the marker that text begins with ("<tool_call>", "[ARGS]"); 0: none. */
static size_t marker_len(struct str text)
{
    char close = text.ptr[0] == '<' ? '>' : text.ptr[0] == '[' ? ']' : '\0';
    ptrdiff_t end = close ? str_chr(text, close) : -1;
    for (ptrdiff_t i = 1; i < end; i++)
        if (strchr(" \n\"{", text.ptr[i]) != NULL)
            return 0;
    return end > 1 ? (size_t)end + 1 : 0;
}

gexpr tool_spelled(struct grammar_builder *b, const char *z)
{
    struct str text = str_z(z);
    gexpr part[16];
    size_t n = 0;
    while (text.len > 0 && n < ARRAY_LEN(part) - 1) {
        size_t len = marker_len(text);
        bool is_marker = len > 0;
        while (!is_marker && len < text.len && (len == 0 || marker_len(str_from(text, len)) == 0))
            len++;
        part[n++] = is_marker ? grammar_special(b, str_sub(text, 0, len))
                              : grammar_literal(b, str_sub(text, 0, len));
        text = str_from(text, len);
    }
    if (text.len > 0)
        part[n++] = grammar_literal(b, text);
    return grammar_seq(b, part, n);
}

/* ---- arguments ---- */

static bool is_raw(const void *parameters, struct str key)
{
    return tool_param_kind(parameters, key) != TOOL_PARAM_JSON;
}

/* False: the dialect writes an object, not its members. */
static bool frame_of(struct grammar_builder *b, const struct dialect *d, struct schema_frame *ret)
{
    gexpr empty = grammar_empty(b), comma = grammar_literal(b, STR(","));
    switch (d->body) {
    case DIALECT_PYTHON: {
        const gexpr gap[] = {comma, grammar_repeat(b, grammar_literal(b, STR(" ")), 0, 1)};
        *ret = (struct schema_frame){.before_key = empty,
                                     .after_key = grammar_literal(b, STR("=")),
                                     .after_value = empty,
                                     .between = grammar_seq(b, gap, 2)};
        return true;
    }
    case DIALECT_TAGS:
        *ret = (struct schema_frame){.before_key = tool_spelled(b, "<parameter="),
                                     .after_key = tool_spelled(b, ">\n"),
                                     .after_value = tool_spelled(b, "\n</parameter>\n"),
                                     .between = empty,
                                     .key_stop = STR(">\n"),
                                     .raw_end = {"</parameter>", "<parameter=", "</function>"},
                                     .is_raw = is_raw};
        return true;
    case DIALECT_PAIRS:
        *ret = (struct schema_frame){.before_key = tool_spelled(b, "<arg_key>"),
                                     .after_key = tool_spelled(b, "</arg_key>\n<arg_value>"),
                                     .after_value = tool_spelled(b, "</arg_value>\n"),
                                     .between = empty,
                                     .key_stop = STR("<\n"),
                                     .raw_end = {"</arg_value>", "<arg_key>"},
                                     .is_raw = is_raw};
        return true;
    default:
        return false;
    }
}

static struct schema_options options_of(const struct dialect *d)
{
    struct schema_options o = {0};
    if (d->quote != NULL) {
        o.syntax = SCHEMA_QUOTED;
        o.quote = str_z(d->quote);
        o.compact = true;
    } else if (d->body == DIALECT_PYTHON) {
        o.syntax = SCHEMA_PYTHON;
    }
    /* markers that the reader takes for one wherever they stand */
    o.after_less = d->body == DIALECT_TAGS      ? STR("/p")
                   : d->body == DIALECT_PAIRS   ? STR("/a")
                   : d->body == DIALECT_HARMONY ? STR("|")
                                                : STR("");
    return o;
}

gexpr tool_args_expr(struct grammar_builder *b, const struct dialect *d, const json_t *function,
                     uint64_t *steps, struct err *err)
{
    const json_t *parameters = json_object_get(function, "parameters");
    struct schema_options o = options_of(d);
    struct schema_frame frame;
    bool is_framed = frame_of(b, d, &frame);
    o.steps = steps;
    o.strict = json_is_true(json_object_get(function, "strict"));
    frame.ctx = parameters;
    return schema_members(b, parameters, &o, is_framed ? &frame : NULL, "tools", err);
}

gexpr tool_args_any(struct grammar_builder *b, const struct dialect *d)
{
    const struct schema_options o = options_of(d);
    struct schema_frame frame;
    return frame_of(b, d, &frame) ? schema_any_members(b, &o, &frame) : schema_any_object(b, &o);
}
