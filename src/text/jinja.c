/*
 * jinja: compiling a template and rendering it; see jinja.h.
 *
 * Order of the work: jinja_lex (text to tokens), jinja_parse (tokens to nodes), jinja_exec and
 * jinja_eval (nodes to text). Values: jinja_value.
 */
#include "text/jinja.h"

#include "base/mem.h"
#include "text/jinja_eval.h"
#include "text/jinja_utf8.h"

#include <stdlib.h>
#include <string.h>

struct jinja_limits jinja_limits_default(void)
{
    return (struct jinja_limits){
        .steps_max = 50000000,
        .depth_max = 400,
        .out_bytes_max = (size_t)64 << 20,
        .memory_bytes_max = (size_t)512 << 20,
    };
}

/* Line ends become "\n", and one at the very end is dropped, as Jinja does. */
static struct str normalize(struct arena *arena, struct str source)
{
    char *out = arena_alloc(arena, source.len + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < source.len; i++) {
        char c = source.ptr[i];
        if (c == '\r') {
            c = '\n';
            i += i + 1 < source.len && source.ptr[i + 1] == '\n';
        }
        out[n++] = c;
    }
    if (n && out[n - 1] == '\n')
        n--;
    return (struct str){out, n};
}

int jinja_compile(struct str source, struct jinja **ret, struct err *err)
{
    struct jtokens tokens;
    int rc;
    if (source.len > JINJA_SOURCE_MAX)
        return err_set(err, ERR_LIMIT, "the template has %zu bytes; at most %zu are allowed",
                       source.len, JINJA_SOURCE_MAX);
    if (!u8_valid(source))
        return err_set(err, ERR_SYNTAX, "the template is not valid UTF-8");
    struct jinja *t = mem_zero(1, sizeof(*t));
    arena_init(&t->arena, JINJA_COMPILE_MAX);
    struct str text = normalize(&t->arena, source);
    rc = text.ptr ? jinja_lex(&t->arena, text, &tokens, err)
                  : err_set(err, ERR_NOMEM, "no memory to compile the template");
    if (rc == 0)
        rc = jinja_parse(t, &tokens, err);
    if (rc) {
        jinja_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

void jinja_free(struct jinja *t)
{
    if (!t)
        return;
    arena_release(&t->arena);
    free(t);
}

static bool render(struct jrun *r, const json_t *vars, struct buf *out)
{
    struct jval v, text;
    struct jsink sink = {0};
    if (!json_is_object(vars))
        return jfail(r, "the template's variables must be a JSON object");
    if (!jfrom_json(r, vars, &v))
        return false;
    r->vars = v.d;
    r->out = &sink;
    if (!jexec_template(r, r->tmpl->body) || !jsink_string(r, &sink, &text))
        return false;
    if (!buf_add_str(out, jv_text(text)))
        return jfail_limit(r, "bytes of output", out->max);
    return true;
}

int jinja_render(const struct jinja *t, const json_t *vars, const struct jinja_limits *limits,
                 struct buf *out, struct err *err)
{
    struct jrun r = {.tmpl = t, .limits = *limits, .err = err, .line = 1};
    arena_init(&r.arena, limits->memory_bytes_max);
    render(&r, vars, out);
    arena_release(&r.arena);
    return r.fail_code;
}
