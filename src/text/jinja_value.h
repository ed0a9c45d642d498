/*
 * jinja_value: the values that templates compute with, and the state of one rendering.
 *
 * Everything a rendering makes lives in its arena and dies with it. Strings are UTF-8, always
 * valid (the template and jansson are checked), and never change; joining to the end of the newest
 * string of a capacity block extends that block in place, so building a text piece by piece costs
 * its length, not its square. Integers have 64 bits; where Python would go past them the operation
 * fails. Lists and dicts never change once a template can see them (the sandbox that chat
 * templates are written for forbids it too).
 *
 * Every function that can fail returns false with the run's error set; the caller only passes it
 * on.
 */
#ifndef HEARTH_TEXT_JINJA_VALUE_H
#define HEARTH_TEXT_JINJA_VALUE_H

#include "base/arena.h"
#include "text/jinja.h"

struct jnode;
struct jrun;
struct jargs;
struct jval;

enum jkind {
    J_MISSING, /* an argument that was not given; never seen by a template */
    J_UNDEFINED,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STR,
    J_LIST,
    J_TUPLE,
    J_DICT,
    J_RANGE,
    J_VIEW, /* dict.keys(), .values(), .items() */
    J_ITER, /* a generator or iterator: can be walked once, has no length */
    J_NAMESPACE,
    J_MACRO,
    J_FUNC, /* a builtin, possibly bound to a value: "x".upper */
    J_LOOP,
    J_CYCLER,
    J_JOINER,
};

typedef bool (*jbuiltin)(struct jrun *r, struct jval self, const struct jargs *args,
                         struct jval *ret);

struct jval {
    uint8_t kind;
    uint8_t markup; /* J_STR: came from |safe or |escape; joining escapes the other side */
    union {
        bool b;
        int64_t i;
        double f;
        struct jstr *s;
        struct jlist *l; /* list, tuple, view, iter */
        struct jdict *d; /* dict, namespace */
        struct jrange *range;
        struct jfunc *fn;
        struct jmacro *macro;
        struct jloop *loop;
        struct jcycler *cycler;
        struct jundef *undef; /* may be NULL */
    };
};

#define CHARS_UNKNOWN SIZE_MAX

struct jblock { /* bytes that strings point into; [0, used) never changes */
    size_t used, cap;
    char data[];
};

struct jstr {
    const char *ptr;
    size_t len;
    size_t n_chars;       /* code points, or CHARS_UNKNOWN (never in a compiled template) */
    struct jblock *block; /* where it can grow, or NULL */
};

enum jview { VIEW_NONE, VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS, TUPLE_GROUP };

struct jlist {
    struct jval *item;
    size_t n, cap;
    size_t pos;      /* J_ITER: what was taken already */
    enum jview view; /* J_VIEW: which; TUPLE_GROUP: has .grouper and .list */
};

struct jpair {
    struct jval key, value;
    uint64_t hash;
};

struct jdict { /* in order of insertion */
    struct jpair *pair;
    size_t n, cap;
    uint32_t *index; /* open addressing over pair numbers + 1; NULL while small */
    size_t index_mask;
};

struct jrange {
    int64_t start, stop, step;
    size_t n;
};

struct jfunc {
    const char *name;
    jbuiltin call;
    struct jval self; /* J_MISSING for a plain function */
};

struct jundef {        /* why a value is undefined, for the error text */
    const char *owner; /* type name of the object that lacks it, or NULL for a variable */
    struct str name;
    const char *text; /* says it all when set */
};

struct jcycler {
    struct jlist *items; /* NULL for a joiner */
    size_t pos;
    struct jval sep;
};

struct jscope;

struct jmacro {
    const struct jnode *node;
    struct jscope *closure;
    bool is_caller;
};

struct jloop {
    const struct jnode *node; /* the For, for loop(...) */
    struct jscope *closure;   /* where the loop stands */
    struct jlist *items;
    size_t index0;
    int64_t depth0;
    struct jval last_changed; /* J_MISSING before the first call */
};

struct jkwarg {
    struct str name;
    struct jval value;
};

struct jargs {
    struct jval *pos;
    size_t n_pos;
    struct jkwarg *kw;
    size_t n_kw;
};

struct jsink { /* where output goes */
    struct jblock *block;
};

struct jrun {
    const struct jinja *tmpl;
    struct jinja_limits limits;
    struct arena arena;
    struct err *err;
    int fail_code; /* 0 or ERR_* once something failed */
    uint32_t line;
    int depth;
    uint64_t steps;
    struct jsink *out;
    struct jscope *scope;
    struct jdict *vars;
    struct jval filter_input; /* of the filter block (or block set) that is being closed */
    struct jstr *ascii[128];  /* one-character strings, made when first needed */
};

/* --- failing and limits (jinja_value.c) --- */
bool jfail(struct jrun *r, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
bool jfail_limit(struct jrun *r, const char *what, uint64_t max) __attribute__((cold));
bool jfail_undefined(struct jrun *r, struct jval v) __attribute__((cold));
bool jstep(struct jrun *r, uint64_t cost);
void *jalloc(struct jrun *r, size_t bytes);
void *jalloc_array(struct jrun *r, size_t n, size_t bytes_each);
bool jenter(struct jrun *r); /* one level deeper; pair with r->depth-- when true */

/* --- values --- */
static inline struct jval jv_none(void)
{
    return (struct jval){.kind = J_NONE};
}
static inline struct jval jv_bool(bool b)
{
    return (struct jval){.kind = J_BOOL, .b = b};
}
static inline struct jval jv_int(int64_t i)
{
    return (struct jval){.kind = J_INT, .i = i};
}
static inline struct jval jv_float(double f)
{
    return (struct jval){.kind = J_FLOAT, .f = f};
}
static inline struct jval jv_undefined(void)
{
    return (struct jval){.kind = J_UNDEFINED};
}
static inline struct jval jv_list(struct jlist *l)
{
    return (struct jval){.kind = J_LIST, .l = l};
}
static inline bool jv_is_number(struct jval v)
{
    return v.kind == J_BOOL || v.kind == J_INT || v.kind == J_FLOAT;
}
static inline bool jv_is_integral(struct jval v)
{
    return v.kind == J_BOOL || v.kind == J_INT;
}
static inline int64_t jv_i64(struct jval v) /* bool or int */
{
    return v.kind == J_BOOL ? v.b : v.i;
}
static inline double jv_f64(struct jval v) /* number */
{
    return v.kind == J_FLOAT ? v.f : (double)jv_i64(v);
}
static inline struct str jv_text(struct jval v) /* J_STR */
{
    return (struct str){v.s->ptr, v.s->len};
}

const char *jtype_name(struct jval v); /* as Python's type(v).__name__ */
bool jundefined(struct jrun *r, const char *owner, struct str name, struct jval *ret);
bool jundefined_text(struct jrun *r, const char *text, struct jval *ret);
bool jtruth(struct jval v); /* never fails: every kind has a truth value */
/* 0/1 through *ret; == never fails but for the limits. */
bool jequal(struct jrun *r, struct jval a, struct jval b, bool *ret);
/* Ordering as Python's `<`; fails for types that do not compare. */
bool jless(struct jrun *r, struct jval a, struct jval b, bool *ret);
bool jcompare(struct jrun *r, struct jval a, struct jval b, const char *op, int *ret);
bool jcontains(struct jrun *r, struct jval container, struct jval item, bool *ret);
bool jsort(struct jrun *r, struct jval *items, struct jval *keys, size_t n, bool reverse);

/* --- strings (jinja_value.c) --- */
bool jstr_new(struct jrun *r, struct str text, struct jval *ret);  /* copies */
bool jstr_view(struct jrun *r, struct str text, struct jval *ret); /* text outlives the run */
bool jstr_slice(struct jrun *r, struct jval s, size_t from, size_t len, struct jval *ret);
bool jstr_concat(struct jrun *r, struct jval a, struct jval b, struct jval *ret);
size_t jstr_chars(struct jrun *r, struct jstr *s);
/* Code point number i, and byte offset of code point number i. */
bool jstr_char_at(struct jrun *r, struct jval s, size_t i, struct jval *ret);
size_t jstr_offset(const struct jstr *s, size_t i_char);
bool jsink_add(struct jrun *r, struct jsink *sink, struct str text);
bool jsink_char(struct jrun *r, struct jsink *sink, char c);
bool jsink_z(struct jrun *r, struct jsink *sink, const char *z);
bool jsink_string(struct jrun *r, struct jsink *sink, struct jval *ret); /* what was written */

/* --- lists, dicts, walking --- */
struct jlist *jlist_new(struct jrun *r, size_t cap);
bool jlist_push(struct jrun *r, struct jlist *l, struct jval v);
struct jdict *jdict_new(struct jrun *r, size_t cap);
bool jdict_set(struct jrun *r, struct jdict *d, struct jval key, struct jval value);
bool jdict_find(struct jrun *r, struct jdict *d, struct jval key, struct jpair **ret); /* or NULL */
struct jval *jdict_get_str(struct jrun *r, struct jdict *d, struct str key);           /* or NULL */
bool jtuple2(struct jrun *r, struct jval a, struct jval b, struct jval *ret);
/* The items of anything that Python can iterate (an iterator is used up). Fails if it cannot. The
 * list may be the value's own: read only. */
bool jitems(struct jrun *r, struct jval v, struct jlist **ret);
bool jiterable(struct jval v);
bool jlength(struct jrun *r, struct jval v, size_t *ret); /* len(); fails as Python does */
struct jval jrange_at(const struct jrange *g, size_t i);
bool jfrom_json(struct jrun *r, const json_t *j, struct jval *ret);

/* --- text forms (jinja_print.c): as Python's str(), repr() and json.dumps() --- */
bool jprint_str(struct jrun *r, struct jsink *sink, struct jval v);
bool jprint_repr(struct jrun *r, struct jsink *sink, struct jval v);
bool jto_str(struct jrun *r, struct jval v, struct jval *ret);
size_t jformat_float(double f, char out[32]); /* Python's repr(float) */
struct jjson_style {
    bool ensure_ascii, sort_keys;
    bool has_indent;
    struct str indent, item_sep, key_sep;
};
bool jprint_json(struct jrun *r, struct jsink *sink, struct jval v,
                 const struct jjson_style *style);

#endif
