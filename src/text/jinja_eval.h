/*
 * jinja_eval: walking the tree, and what builtins need of it.
 */
#ifndef HEARTH_TEXT_JINJA_EVAL_H
#define HEARTH_TEXT_JINJA_EVAL_H

#include "text/jinja_ast.h"

struct jvar {
    const struct jname *name;
    struct jval value;
};

struct jscope { /* variables of one block, innermost first by `parent` */
    struct jscope *parent;
    struct jvar *var;
    uint32_t n, cap;
    bool captured; /* a macro may still look into it: not to be used again */
};

/* --- expressions (jinja_eval.c) --- */
bool jeval(struct jrun *r, const struct jnode *n, struct jval *ret);
bool jcall(struct jrun *r, struct jval callee, const struct jargs *args, struct jval *ret);
bool jeval_call(struct jrun *r, const struct jnode *n, const struct jkwarg *extra,
                struct jval *ret);

/* --- statements (jinja_exec.c) --- */
bool jexec_template(struct jrun *r, const struct jnode *body);
bool jmacro_call(struct jrun *r, const struct jmacro *m, const struct jargs *args,
                 struct jval *ret);
bool jloop_call(struct jrun *r, const struct jloop *loop, const struct jargs *args,
                struct jval *ret);

/* --- operators (jinja_ops.c); op is a token kind --- */
bool jbinary(struct jrun *r, int op, struct jval a, struct jval b, struct jval *ret);
bool jnegate(struct jrun *r, struct jval v, bool negative, struct jval *ret);
bool jgetattr(struct jrun *r, struct jval obj, struct str name, struct jval *ret);
/* The attribute alone, never an item; undefined when there is none. */
bool jattr_only(struct jrun *r, struct jval obj, struct str name, struct jval *ret);
bool jgetitem(struct jrun *r, struct jval obj, struct jval key, struct jval *ret);
/* start, stop, step: J_NONE or J_MISSING when not given. */
bool jslice(struct jrun *r, struct jval obj, const struct jval bound[3], struct jval *ret);
bool jescape(struct jrun *r, struct jval v, struct jval *ret); /* & < > ' " as HTML entities */

/* --- methods (jinja_method.c): bound functions, or J_MISSING in *ret --- */
bool jmethod_find(struct jrun *r, struct jval obj, struct str name, struct jval *ret);
bool jbind(struct jrun *r, const struct jfunc *fn, struct jval self, struct jval *ret);
bool jformat_percent(struct jrun *r, struct jval format, struct jval values, struct jval *ret);
bool jformat_braces(struct jrun *r, struct jval format, const struct jargs *args, struct jval *ret);

/*
 * Puts arguments into out[] by the names in `params` ("width first blank"); what is not given is
 * J_MISSING. Fails for too many, unknown or twice given ones, or when one of the first n_required
 * is missing.
 */
bool jargs_bind(struct jrun *r, const char *fn, const struct jargs *args, const char *params,
                size_t n_required, struct jval *out);
/* An argument as a number (a default when it is missing); fails for other types. */
bool jarg_int(struct jrun *r, struct jval v, int64_t missing, int64_t *ret);
bool jarg_str(struct jrun *r, struct jval v, struct str missing, struct str *ret);

#endif
