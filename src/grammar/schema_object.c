/*
 * schema_object: the members of an object: those with names in the schema, in its order, and the
 * others, in classes that different schemas hold for.
 */
#include "grammar/schema_plan.h"

#include <stdio.h>

#define PATTERNS_MAX     16
#define CLASSES_MAX      64
#define LISTED_NAMES_MAX 256

struct name_pattern {
    int owner; /* the location whose patternProperties it is in */
    int id;    /* the schema of such members */
    struct str text;
    const struct lang *lang;
};

struct reader {
    struct plan *p;
    const struct ids *conj;
    struct object_bounds *o;
    json_t *index; /* name to its number in o->member */
    struct name_pattern pattern[PATTERNS_MAX];
    int n_pattern;
    struct ids names; /* propertyNames */
    bool is_closed;   /* nothing speaks of members without a name */
};

static const char *place_of(const struct reader *r)
{
    return r->conj->n > 0 ? r->p->location[r->conj->id[0]].place : "#";
}

static const json_t *other_schema(const struct location *at)
{
    const json_t *other = json_object_get(at->json, "additionalProperties");
    return other ? other : json_object_get(at->json, "unevaluatedProperties");
}

static int locate_other(struct plan *p, const struct location *at)
{
    bool is_additional = json_object_get(at->json, "additionalProperties") != NULL;
    const char *key = is_additional ? "additionalProperties" : "unevaluatedProperties";
    return plan_locate(p, other_schema(at), plan_place(p, at->place, key, NULL), at->made);
}

/* ---- names ---- */

static int add_member(struct reader *r, struct str key, bool is_required)
{
    struct object_bounds *o = r->o;
    json_t *known = json_object_getn(r->index, key.ptr, key.len);
    if (known) {
        struct member *m = &o->member[json_integer_value(known)];
        m->is_required = m->is_required || is_required;
        return 0;
    }
    if (!r->index ||
        json_object_setn_new(r->index, key.ptr, key.len, json_integer(o->n_member)) != 0)
        return ERR_LIMIT;
    o->member[o->n_member++] = (struct member){.key = key, .is_required = is_required};
    return plan_step(r->p);
}

static int count_names(struct reader *r, size_t *ret)
{
    *ret = LISTED_NAMES_MAX;
    for (int i = 0; i < r->conj->n; i++) {
        const struct location at = r->p->location[r->conj->id[i]];
        const json_t *properties = json_object_get(at.json, "properties");
        const json_t *required = json_object_get(at.json, "required"), *one;
        size_t k;
        if (properties && !json_is_object(properties))
            return plan_fail(r->p, ERR_INVALID, at.place, "properties must be an object");
        if (required && !json_is_array(required))
            return plan_fail(r->p, ERR_INVALID, at.place, "required must be a list of names");
        json_array_foreach(required, k, one)
        {
            if (!json_is_string(one))
                return plan_fail(r->p, ERR_INVALID, at.place, "required must be a list of names");
        }
        *ret += json_object_size(properties) + json_array_size(required);
    }
    return 0;
}

static int read_names(struct reader *r)
{
    size_t n, len, k;
    const char *key;
    json_t *value;
    int rc = count_names(r, &n);
    if (rc != 0)
        return rc;
    r->o->member = plan_alloc(r->p, n, sizeof(*r->o->member));
    if (!r->o->member)
        return ERR_LIMIT;
    for (int i = 0; rc == 0 && i < r->conj->n; i++) {
        json_t *properties = json_object_get(r->p->location[r->conj->id[i]].json, "properties");
        json_object_keylen_foreach(properties, key, len, value)
        {
            rc = rc != 0 ? rc : add_member(r, (struct str){key, len}, false);
        }
    }
    for (int i = 0; rc == 0 && i < r->conj->n; i++) {
        const json_t *required = json_object_get(r->p->location[r->conj->id[i]].json, "required");
        json_array_foreach(required, k, value)
        {
            rc = rc != 0 ? rc : add_member(r, json_str(value), true);
        }
    }
    return rc;
}

/* ---- patterns of names ---- */

static int read_patterns(struct reader *r)
{
    const char *key;
    json_t *value;
    for (int i = 0; i < r->conj->n; i++) {
        int id = r->conj->id[i];
        const struct location at = r->p->location[id];
        json_t *all = json_object_get(at.json, "patternProperties");
        if (all && !json_is_object(all))
            return plan_fail(r->p, ERR_INVALID, at.place, "patternProperties must be an object");
        json_object_foreach(all, key, value)
        {
            const char *place = plan_place(r->p, at.place, "patternProperties", key);
            if (r->n_pattern == PATTERNS_MAX)
                return plan_fail(r->p, ERR_LIMIT, at.place,
                                 "more than %d patternProperties hold for one object",
                                 PATTERNS_MAX);
            struct name_pattern *x = &r->pattern[r->n_pattern++];
            *x = (struct name_pattern){.owner = id, .text = str_z(key)};
            for (int k = 0; k + 1 < r->n_pattern && !x->lang; k++)
                if (str_eq(r->pattern[k].text, x->text))
                    x->lang = r->pattern[k].lang;
            int rc = x->lang ? 0 : plan_pattern_lang(r->p, x->text, place, &x->lang);
            x->id = rc != 0 ? rc : plan_locate(r->p, value, place, at.made);
            if (x->id < 0)
                return x->id;
        }
    }
    return 0;
}

/* What a named member must be: all that speaks of its name. */
static int member_goal(struct reader *r, struct member *m)
{
    struct plan *p = r->p;
    int rc = 0;
    for (int i = 0; rc == 0 && i < r->conj->n; i++) {
        int id = r->conj->id[i];
        const struct location at = p->location[id];
        const json_t *properties = json_object_get(at.json, "properties");
        const json_t *own = json_object_getn(properties, m->key.ptr, m->key.len);
        bool is_known = own != NULL;
        if (own)
            rc = ids_add(
                p, &m->goal,
                plan_locate(p, own, plan_place(p, at.place, "properties", m->key.ptr), at.made));
        for (int k = 0; rc == 0 && k < r->n_pattern; k++)
            if (r->pattern[k].owner == id && lang_accepts(r->pattern[k].lang, m->key)) {
                is_known = true;
                rc = ids_add(p, &m->goal, r->pattern[k].id);
            }
        if (rc == 0 && !is_known && other_schema(&at))
            rc = ids_add(p, &m->goal, locate_other(p, &at));
    }
    if (rc == 0 && r->names.n > 0) {
        json_t *name = json_stringn(m->key.ptr, m->key.len);
        rc = name ? plan_accepts(p, &r->names, name) : ERR_LIMIT;
        json_decref(name);
        m->is_banned = rc == 0;
        rc = rc < 0 ? rc : 0;
    }
    return rc;
}

/* ---- the other members ---- */

struct name_langs {
    const struct lang *lang;
    bool any;
};

static int name_lang(struct plan *p, const struct ids *conj, void *context)
{
    struct name_langs *n = context;
    struct shape s;
    const struct lang *l = NULL;
    int rc = plan_shape(p, conj, &s);
    if (rc != 0 || !(s.types & TYPE_STRING))
        return rc < 0 ? rc : 0;
    if (s.is_fixed) {
        struct str *word = plan_alloc(p, (size_t)s.n_value, sizeof(*word));
        size_t n_word = 0;
        for (int i = 0; word && i < s.n_value; i++)
            if (json_is_string(s.value[i]))
                word[n_word++] = json_str(s.value[i]);
        rc = word ? lang_words(&p->arena, word, n_word, &l) : ERR_LIMIT;
    } else {
        rc = s.lang ? 0 : plan_string_lang(p, &s, &l);
        l = s.lang ? s.lang : l;
    }
    if (rc == 0)
        rc = lang_or(plan_work(p), n->lang, l, &n->lang);
    return rc;
}

static int limit(struct reader *r, int rc)
{
    return rc == 0 ? plan_charge(r->p, NULL)
                   : plan_fail(r->p, rc, place_of(r),
                               "the names of the other members are too many or too long to be "
                               "told apart");
}

/* Names that are not in the schema and that propertyNames allows; NULL: there are none. */
static int other_names(struct reader *r, const struct lang **ret)
{
    struct plan *p = r->p;
    const struct lang *known = NULL;
    struct str *word = plan_alloc(p, (size_t)r->o->n_member, sizeof(*word));
    struct name_langs names = {0};
    if (!word)
        return ERR_LIMIT;
    for (int i = 0; i < r->o->n_member; i++)
        word[i] = r->o->member[i].key;
    int rc = r->names.n > 0 ? plan_expand(p, NULL, &r->names, name_lang, &names)
                            : limit(r, lang_length(&p->arena, 0, -1, &names.lang));
    if (rc == 0)
        rc = limit(r, lang_words(&p->arena, word, (size_t)r->o->n_member, &known));
    return rc != 0 ? rc : limit(r, lang_minus(plan_work(p), names.lang, known, ret));
}

/* The schemas for names that match these patterns (bits) and no others. */
static int class_goal(struct reader *r, unsigned matched, struct member_class *c)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < r->conj->n; i++) {
        const struct location at = r->p->location[r->conj->id[i]];
        bool is_known = false;
        for (int k = 0; rc == 0 && k < r->n_pattern; k++)
            if (r->pattern[k].owner == r->conj->id[i] && (matched & 1u << k)) {
                is_known = true;
                rc = ids_add(r->p, &c->goal, r->pattern[k].id);
            }
        if (rc == 0 && !is_known && other_schema(&at))
            rc = ids_add(r->p, &c->goal, locate_other(r->p, &at));
    }
    for (int i = 0; rc == 0 && i < c->goal.n; i++)
        if (json_is_false(r->p->location[c->goal.id[i]].json))
            c->keys = NULL;
    return rc;
}

static int split_classes(struct reader *r, const struct lang *names)
{
    struct plan *p = r->p;
    struct member_class *c = plan_alloc(p, CLASSES_MAX, sizeof(*c));
    unsigned *matched = plan_alloc(p, CLASSES_MAX, sizeof(*matched));
    int n = 1, rc = 0;
    if (!c || !matched)
        return ERR_LIMIT;
    c[0].keys = names;
    for (int k = 0; rc == 0 && k < r->n_pattern; k++)
        for (int i = n - 1; rc == 0 && i >= 0; i--) {
            const struct lang *in, *out;
            rc = limit(r, lang_and(plan_work(p), c[i].keys, r->pattern[k].lang, &in));
            if (rc != 0 || !in)
                continue;
            rc = limit(r, lang_minus(plan_work(p), c[i].keys, r->pattern[k].lang, &out));
            if (rc == 0 && out && n == CLASSES_MAX)
                rc = limit(r, ERR_LIMIT);
            if (rc != 0)
                continue;
            if (out) {
                c[n].keys = out;
                matched[n++] = matched[i];
            }
            c[i].keys = in;
            matched[i] |= 1u << k;
        }
    for (int i = 0; rc == 0 && i < n; i++) {
        rc = class_goal(r, matched[i], &c[i]);
        c[i].is_implied = matched[i] == 0 && r->is_closed;
        if (rc == 0 && c[i].keys)
            c[r->o->n_other++] = c[i];
    }
    r->o->other = c;
    return rc;
}

/* propertyNames with a list of names makes members of them. */
static int name_listed(struct reader *r)
{
    const json_t **value;
    int n, rc = r->names.n > 0 ? plan_values(r->p, &r->names, LISTED_NAMES_MAX, &value, &n) : 0;
    if (rc != 1)
        return rc;
    rc = 0;
    for (int i = 0; rc == 0 && i < n; i++)
        if (json_is_string(value[i]))
            rc = add_member(r, json_str(value[i]), false);
    return rc;
}

static int read_others(struct reader *r)
{
    bool has_names = false, has_others = false, may = true;
    int rc = 0;
    for (int i = 0; rc == 0 && i < r->conj->n; i++) {
        const struct location at = r->p->location[r->conj->id[i]];
        const json_t *names = json_object_get(at.json, "propertyNames");
        const json_t *other = other_schema(&at);
        has_names = has_names || json_object_get(at.json, "patternProperties") ||
                    (!at.made && json_object_size(json_object_get(at.json, "properties")) > 0);
        has_others = has_others || other;
        may = may && !(json_is_false(other) && !json_object_get(at.json, "patternProperties"));
        if (names)
            rc = ids_add(r->p, &r->names,
                         plan_locate(r->p, names, plan_place(r->p, at.place, "propertyNames", NULL),
                                     at.made));
    }
    r->is_closed = has_names && !has_others;
    if (rc == 0 && may)
        rc = name_listed(r);
    if (rc != 0 || !may)
        return rc;
    const struct lang *names;
    rc = other_names(r, &names);
    return rc != 0 || !names ? rc : split_classes(r, names);
}

/* ---- the whole ---- */

static int read_sizes(struct reader *r)
{
    for (int i = 0; i < r->conj->n; i++) {
        const struct location at = r->p->location[r->conj->id[i]];
        int64_t n = 0;
        bool found;
        int rc = plan_number(r->p, at.json, at.place, "minProperties", &n, &found);
        if (rc != 0)
            return rc;
        if (n > r->o->min) {
            r->o->min = n;
            r->o->place = at.place;
        }
        rc = plan_number(r->p, at.json, at.place, "maxProperties", &n, &found);
        if (rc != 0)
            return rc;
        if (found && (r->o->max < 0 || n < r->o->max))
            r->o->max = n;
    }
    return 0;
}

static int check_members(struct reader *r)
{
    struct plan *p = r->p;
    const char *place = place_of(r);
    int64_t n_required = 0;
    for (int i = 0; i < r->o->n_member; i++) {
        const struct member *m = &r->o->member[i];
        n_required += m->is_required;
        bool is_false = m->is_banned;
        for (int k = 0; k < m->goal.n; k++)
            is_false = is_false || json_is_false(p->location[m->goal.id[k]].json);
        if (!is_false || !m->is_required)
            continue;
        char *text = plan_alloc(p, 200, 1);
        if (!text)
            return ERR_LIMIT;
        snprintf(text, 200, "the member \"%.*s\" is required, but not allowed",
                 (int)(m->key.len > 100 ? 100 : m->key.len), m->key.ptr);
        p->why = (struct why){place, text, false};
        return 1;
    }
    if (r->o->max < 0 || (r->o->min <= r->o->max && n_required <= r->o->max))
        return 0;
    p->why = (struct why){place, "more members are required than maxProperties allows", false};
    return 1;
}

int plan_object(struct plan *p, const struct ids *conj, struct object_bounds *ret)
{
    struct reader r = {.p = p, .conj = conj, .o = ret, .index = json_object()};
    *ret = (struct object_bounds){.max = -1, .place = "#"};
    int rc = read_sizes(&r);
    if (rc == 0)
        rc = read_names(&r);
    if (rc == 0)
        rc = read_patterns(&r);
    if (rc == 0)
        rc = read_others(&r);
    for (int i = 0; rc == 0 && i < ret->n_member; i++)
        rc = member_goal(&r, &ret->member[i]);
    json_decref(r.index);
    return rc != 0 ? rc : check_members(&r);
}
