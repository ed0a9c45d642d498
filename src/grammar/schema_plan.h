/*
 * schema_plan: inside of schema.c. A schema becomes a plan first (what may stand where, with
 * everything combined that applies to one value), then a grammar.
 *
 *   location   one schema of the document (or one made of it, by negation), numbered
 *   goal       a set of locations that one value must satisfy together; sets are interned, so that
 *              recursion ends
 *   conj       a goal after $ref, allOf, anyOf, oneOf, not, if and dependencies were followed: the
 *              locations whose own keywords hold; a goal has one for each way to choose branches
 *   shape      what a conj says of each type
 *
 * Everything lives in the plan's arena and ends with it. Functions return 0 or a negative ERR_*
 * with plan->err set; every loop that a client can lengthen counts against plan->n_steps.
 */
#ifndef HEARTH_GRAMMAR_SCHEMA_PLAN_H
#define HEARTH_GRAMMAR_SCHEMA_PLAN_H

#include "base/arena.h"
#include "grammar/lang.h"
#include "grammar/schema.h"
#include "grammar/schema_text.h"

#define SCHEMA_GOALS_MAX  16384
#define SCHEMA_SHAPES_MAX 256 /* ways to choose branches, of one goal */
#define SCHEMA_STEPS_MAX  4000000
#define SCHEMA_DEPTH_MAX  128  /* of schemas followed in place, and of questions within questions */
#define SCHEMA_ITEMS_MAX  1024 /* of prefixItems */
#define PLAN_LANGS_MAX    32
#define SCHEMA_BYTES_MAX  ((size_t)96 << 20)

enum { /* a number is an integer or a fraction, so that "not integer" can be said */
       TYPE_NULL = 1,
       TYPE_BOOL = 2,
       TYPE_INTEGER = 4,
       TYPE_FRACTION = 8,
       TYPE_NUMBER = 12,
       TYPE_STRING = 16,
       TYPE_ARRAY = 32,
       TYPE_OBJECT = 64,
       TYPE_ANY = 127
};

struct ids {
    int *id;
    int n, cap;
};

struct location {
    const json_t *json;
    const char *place; /* "#/properties/a" */
    bool made;         /* by negation: may have the keywords of our own, SCHEMA_FORBID ... */
    int opposite;      /* 1 + the location that says "not" of this one, once it was needed */
    struct ids *negated;
};
/* Keywords of schemas that negation makes; a client's schema cannot have them. */
#define SCHEMA_FORBID      "\001forbid"      /* values */
#define SCHEMA_NOT_PATTERN "\001not_pattern" /* one pattern */

struct why { /* why there is no value */
    const char *place, *text;
    bool meant; /* `false` or `not`: said so by the client, no mistake */
};

struct number_bounds {
    const json_t *low, *high; /* NULL: none */
    bool low_open, high_open;
    int64_t multiple; /* 0: none; in units of the last of ... */
    int n_decimal;    /* ... so many decimals; if any, it ends in no zero */
};

struct pattern {
    struct str text;
    const char *place;
    bool is_not;
};

struct string_bounds {
    int64_t min, max; /* max < 0: none */
    struct pattern *pattern;
    int n_pattern;
    const struct schema_format **format;
    int n_format;
};

struct member {
    struct str key;
    bool is_required;
    bool is_banned; /* by propertyNames */
    struct ids goal;
    int node;
};

struct member_class { /* members whose names are not given */
    const struct lang *keys;
    bool is_implied; /* nothing says that there may be such members, nor that there may not */
    struct ids goal;
    int node;
};

struct object_bounds {
    struct member *member;
    int n_member;
    struct member_class *other;
    int n_other;
    const char *place; /* of the sizes */
    int64_t min, max;  /* max < 0: none */
};

struct array_bounds {
    struct ids *item; /* of the first positions */
    int n_item;
    struct ids rest;
    int64_t min, max; /* max < 0: none */
    bool is_unique;
    const json_t **value; /* of unique items: all that an item can be */
    int n_value;
    int *item_node;
    int rest_node;
    int contains; /* id; negative: none, as for the ends of the numbers below */
    const char *contains_place;
    int64_t contains_min, contains_max;
    int *with_node, *without_node; /* [n_item + 1] items that are, and are not, what it says */
};

struct shape {
    unsigned types;
    bool is_fixed; /* one of the values, all of which fit the rest */
    const json_t **value;
    int n_value;
    const json_t **forbid;
    int n_forbid;
    struct number_bounds number;
    struct string_bounds string;
    const struct lang *lang; /* of the string, where one pattern does not say it all */
    struct object_bounds object;
    struct array_bounds array;
    struct shape *next;
};

struct node {        /* a goal that the grammar needs */
    struct ids goal; /* in the order found */
    int *key;        /* sorted */
    struct shape *shapes, *last;
    int n_shapes;
    bool is_productive;
    struct why why;
    gexpr rule; /* GEXPR_NONE until needed */
    struct node *next_todo;
};
#define GEXPR_NONE INT32_MIN

struct plan {
    struct arena arena;
    const json_t *root;
    const struct schema_options *o;
    const char *param;
    struct err *err;
    struct location *location;
    int n_location;
    size_t cap_location;
    int *location_table; /* by address */
    size_t n_location_table;
    struct node **node;
    int n_node;
    size_t cap_node;
    int *node_table;
    json_t *made;      /* array: owns what negation made */
    struct node *todo; /* rules without a body */
    struct known_lang {
        struct str pattern;
        const struct lang *lang;
    } known[PLAN_LANGS_MAX]; /* the last patterns that became automata */
    unsigned n_known;
    uint64_t n_steps, n_begun; /* it began with so many, which others have taken */
    int depth;
    struct why why; /* of the last shape that had no value */
    struct grammar_builder *b;
    gexpr space, string_char, string, any_key, any, any_object, any_array;
    const struct schema_frame *frame; /* of the outermost object; NULL: it is written whole */
    const struct lang *raw;           /* texts without quotation marks; once it was needed */
};

/* schema_tools.c */
void *plan_alloc(struct plan *p, size_t n, size_t each);  /* NULL with p->err: ERR_LIMIT */
int plan_step(struct plan *p);                            /* ERR_LIMIT after too many */
int plan_charge(struct plan *p, const struct lang *made); /* the steps that an automaton costs */
struct lang_work plan_work(struct plan *p);               /* for products, which charge their own */
int plan_fail(struct plan *p, int code, const char *place, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
const char *plan_place(struct plan *p, const char *place, const char *keyword, const char *key);
const char *plan_place_i(struct plan *p, const char *place, const char *keyword, int i);
int plan_locate(struct plan *p, const json_t *json, const char *place, bool made); /* id or < 0 */
int ids_add(struct plan *p, struct ids *ids, int id);                              /* as a set */
bool ids_have(const struct ids *ids, int id);
int plan_number(struct plan *p, const json_t *schema, const char *place, const char *key,
                int64_t *ret, bool *ret_found); /* a size: 0 or more, an integer */
unsigned plan_type_of(const json_t *value);
bool plan_equal(const json_t *a, const json_t *b);  /* as JSON Schema has it: 1 is 1.0 */
int plan_compare(const json_t *a, const json_t *b); /* numbers */

/* schema_set.c: values without doubles, found by their hash; none at first. */
struct value_set {
    struct value_slot *slot; /* [n_slot] */
    size_t n, n_slot;
};
int value_set_add(struct plan *p, struct value_set *s, const json_t *v); /* 1: new, 0: known */
int value_set_has(struct plan *p, const struct value_set *s, const json_t *v); /* 1, 0 */
void value_set_release(struct value_set *s);

/* schema_expand.c: `sink` for every conj of the ids, together with those of base (followed
 * already, may be NULL). A sink returns 0, or 1 to stop, or an error; so does the function. */
typedef int (*conj_sink)(struct plan *p, const struct ids *conj, void *context);
int plan_expand(struct plan *p, const struct ids *base, const struct ids *ids, conj_sink sink,
                void *context);
int plan_resolve(struct plan *p, struct str ref, const char *place); /* id or < 0 */

/* schema_negate.c: schemas of which at least one holds exactly where the location's does not.
 * ERR_UNSUPPORTED where that cannot be said. The second is one schema of the same meaning. */
int plan_negate(struct plan *p, int id, struct ids *ret);
int plan_opposite(struct plan *p, int id);
int plan_made(struct plan *p, json_t *owned, const char *place); /* id or < 0 */

/* schema_shape.c. 1: no value can satisfy it (p->why says why), 0: *ret. */
int plan_shape(struct plan *p, const struct ids *conj, struct shape *ret);
int plan_types(struct plan *p, const struct ids *conj, unsigned *ret); /* by type, const, enum */
/* 1 when it is certain that nothing satisfies the conj; 0 when not; or an error. */
int plan_conj_empty(struct plan *p, const struct ids *conj, int depth);
int plan_goal_empty(struct plan *p, const struct ids *base, const struct ids *goal, int depth);

/* schema_object.c, schema_array.c, schema_string.c: parts of a shape; 1: the type is impossible */
int plan_object(struct plan *p, const struct ids *conj, struct object_bounds *ret);
int plan_array(struct plan *p, const struct ids *conj, struct array_bounds *ret);
int plan_string(struct plan *p, const struct ids *conj, struct shape *ret);
int plan_pattern_lang(struct plan *p, struct str pattern, const char *place,
                      const struct lang **ret);
int plan_string_lang(struct plan *p, const struct shape *s, const struct lang **ret);

/* schema_value.c. 1: the value satisfies the goal, 0: not; or an error. */
int plan_accepts(struct plan *p, const struct ids *goal, const json_t *value);
int plan_shape_accepts(struct plan *p, const struct shape *s, const json_t *value);
int plan_rest_accepts(struct plan *p, const struct shape *s, const json_t *value); /* one of its */
/* All values of a goal, without doubles, when they are few: 1 and the list; 0 when not. */
int plan_values(struct plan *p, const struct ids *goal, int max, const json_t ***ret, int *ret_n);

/* schema_node.c */
int plan_node(struct plan *p, const struct ids *goal); /* index or < 0 */
int plan_all(struct plan *p, int root);                /* all nodes that root needs */
bool object_productive(const struct plan *p, const struct object_bounds *o);
bool array_productive(const struct plan *p, const struct array_bounds *a);

/* schema_number.c: GEXPR_NONE when there is no such number; b NULL: only the question. */
gexpr schema_number_expr(struct grammar_builder *b, const struct number_bounds *n, unsigned types);
bool schema_number_ok(const struct number_bounds *n); /* bounds that can be enforced exactly */
/* |v| is *ret_digits in units of the last of *ret_n decimals; false: it has too many digits. */
bool schema_number_decimal(const json_t *v, int64_t *ret_digits, int *ret_n);
bool schema_number_is_multiple(const json_t *v, const struct number_bounds *n); /* with n_decimal */

/* schema_emit.c */
#define EMIT_TEXT_MAX ((size_t)4 << 20)
int plan_emit(struct plan *p, int root, gexpr *ret);
void plan_emit_common(struct plan *p);
gexpr emit_node(struct plan *p, int index);
gexpr emit_value(struct plan *p, const json_t *value);
gexpr emit_pair(struct plan *p, gexpr key, gexpr value);
gexpr emit_member(struct plan *p, struct str key, gexpr value);
gexpr emit_comma(struct plan *p);
gexpr emit_brackets(struct plan *p, const char *open, const char *close, gexpr inside,
                    bool may_be_empty);
gexpr emit_opt(struct plan *p, gexpr e);
gexpr emit_seq2(struct plan *p, gexpr a, gexpr b);

/* schema_contains.c */
#define CONTAINS_PLACES_MAX 4096 /* items times those that are counted */
int plan_contains(struct plan *p, const struct location *at, struct array_bounds *a);
int plan_contains_end(struct plan *p, struct array_bounds *a); /* 1: impossible */
int plan_contains_nodes(struct plan *p, struct array_bounds *a);
int plan_contains_accepts(struct plan *p, const struct array_bounds *a, const json_t *value);
bool contains_productive(const struct plan *p, const struct array_bounds *a);
gexpr emit_contains(struct plan *p, const struct array_bounds *a);

/* schema_parts.c */
gexpr emit_object(struct plan *p, const struct object_bounds *o);
gexpr emit_framed(struct plan *p, const struct object_bounds *o); /* its members in the frame */
gexpr emit_array(struct plan *p, const struct array_bounds *a);

#endif
