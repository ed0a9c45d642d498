/*
 * jinja: an interpreter for the Jinja2 that chat templates use. Untrusted templates.
 *
 * Renders as Jinja2's sandboxed environment does with trim_blocks and lstrip_blocks and the
 * globals that Hugging Face transformers adds (raise_exception, strftime_now, tojson with
 * ensure_ascii off, {% generation %}). A template is compiled once and rendered many times; a
 * compiled template is read-only and may be shared by threads.
 *
 * Known differences from Jinja2: integers end at 64 bits (an error says so); \N{...}, include,
 * import, extends, block, autoescape and the filters pprint, random, striptags, urlize, wordwrap
 * are refused; what Python prints with an address prints as <kind>. A name that the caller gives
 * and that the template sets later at the same level is seen, before that, by loops and macros
 * here; Jinja2 takes it for undefined there.
 *
 * Limits (struct jinja_limits) hold for each rendering: steps, depth, bytes of output, bytes of
 * memory. Errors name the line: "line 12: ...".
 */
#ifndef HEARTH_TEXT_JINJA_H
#define HEARTH_TEXT_JINJA_H

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>

struct jinja;

struct jinja_limits {
    uint64_t steps_max;
    int depth_max;
    size_t out_bytes_max;
    size_t memory_bytes_max;
    int64_t now_unix; /* for strftime_now; 0 = the clock */
};
struct jinja_limits jinja_limits_default(void);

/* ERR_SYNTAX with the line. source is copied. */
int jinja_compile(struct str source, struct jinja **ret, struct err *err)
    __attribute__((warn_unused_result));
void jinja_free(struct jinja *t);
/*
 * vars: a JSON object, the template's variables (borrowed). Appends to out.
 * ERR_INVALID: the template raised an exception or an operation failed (line and reason);
 * ERR_LIMIT: a limit was hit.
 */
int jinja_render(const struct jinja *t, const json_t *vars, const struct jinja_limits *limits,
                 struct buf *out, struct err *err) __attribute__((warn_unused_result));

#endif
