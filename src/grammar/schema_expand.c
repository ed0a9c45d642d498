/*
 * schema_expand: follows $ref, allOf, anyOf, oneOf, not, if and dependencies until only keywords
 * about the value itself are left, once for every way to choose branches.
 */
#include "grammar/schema_plan.h"

#include <stdlib.h>
#include <string.h>

#define CHOICES_MAX 64

struct link { /* who sent us here, in place: a circle would never end */
    int id;
    const struct link *up;
};

struct todo {
    int id;
    const struct link *link;
    const struct todo *next;
};

enum choice_kind { CHOOSE_ANY, CHOOSE_ONE, CHOOSE_SETS };

struct choice {
    enum choice_kind kind;
    int id; /* of the schema whose keyword it is */
    const struct link *link;
    struct ids *set; /* branches; each is several schemas together */
    int n_set;
    const struct choice *next;
};

struct path { /* one way, as far as it was followed; copied where it divides */
    struct ids conj;
    const struct todo *todo;
    const struct choice *choice;
    int n_choice;
};

struct walk {
    struct plan *p;
    conj_sink sink;
    void *context;
    int n_found;
};

static int follow(struct walk *w, struct path *path);

/* ---- references ---- */

static bool unescape(struct str part, struct buf *out)
{
    buf_clear(out);
    for (size_t i = 0; i < part.len; i++) {
        char c = part.ptr[i];
        if (c == '%' && i + 2 < part.len) {
            char hex[3] = {part.ptr[i + 1], part.ptr[i + 2], 0}, *end;
            long code = strtol(hex, &end, 16);
            if (end != hex + 2)
                return false;
            c = (char)code;
            i += 2;
        }
        buf_add_char(out, c);
    }
    for (size_t i = 0; i + 1 < out->len; i++)
        if (out->ptr[i] == '~' && (out->ptr[i + 1] == '0' || out->ptr[i + 1] == '1')) {
            out->ptr[i] = out->ptr[i + 1] == '0' ? '~' : '/';
            memmove(out->ptr + i + 1, out->ptr + i + 2, out->len - i - 2);
            buf_truncate(out, out->len - 1);
        }
    return !out->overflow;
}

static const json_t *step_into(const json_t *at, struct str part)
{
    int64_t i;
    struct buf key;
    const json_t *found = NULL;
    buf_init(&key, 4096);
    if (unescape(part, &key)) {
        if (json_is_array(at) && str_to_i64(buf_str(&key), &i) && i >= 0)
            found = json_array_get(at, (size_t)i);
        else if (json_is_object(at))
            found = json_object_getn(at, key.ptr ? key.ptr : "", key.len);
    }
    buf_release(&key);
    return found;
}

int plan_resolve(struct plan *p, struct str ref, const char *place)
{
    if (ref.len == 0 || ref.ptr[0] != '#' || (ref.len > 1 && ref.ptr[1] != '/'))
        return plan_fail(p, ERR_UNSUPPORTED, place,
                         "\"%.*s\" is not in this schema; only \"#\" and \"#/...\" are followed",
                         (int)(ref.len > 100 ? 100 : ref.len), ref.ptr);
    const json_t *at = p->root;
    struct str rest = str_from(ref, 2), part;
    if (ref.len < 2)
        rest.ptr = NULL;
    while (at && rest.ptr && str_split(&rest, '/', &part))
        at = step_into(at, part);
    if (!at)
        return plan_fail(p, ERR_INVALID, place, "there is no \"%.*s\" in the schema",
                         (int)(ref.len > 100 ? 100 : ref.len), ref.ptr);
    char *text = arena_dup(&p->arena, ref);
    return text ? plan_locate(p, at, text, false) : ERR_LIMIT;
}

/* ---- what a schema sends us to ---- */

static int add_todo(struct walk *w, struct path *path, int id, const struct link *link)
{
    struct todo *t = id < 0 ? NULL : plan_alloc(w->p, 1, sizeof(*t));
    if (!t)
        return id < 0 ? id : ERR_LIMIT;
    *t = (struct todo){id, link, path->todo};
    path->todo = t;
    return 0;
}

static int add_choice(struct walk *w, struct path *path, const struct choice *c)
{
    struct choice *copy = plan_alloc(w->p, 1, sizeof(*copy));
    if (!copy)
        return ERR_LIMIT;
    *copy = *c;
    copy->next = path->choice;
    path->choice = copy;
    if (++path->n_choice > CHOICES_MAX)
        return plan_fail(w->p, ERR_LIMIT, w->p->location[c->id].place,
                         "more than %d anyOf, oneOf, if and dependencies hold for one value",
                         CHOICES_MAX);
    return 0;
}

/* The schemas of a list, each as a branch. */
static int list_branches(struct plan *p, int id, const char *keyword, struct ids **ret, int *ret_n)
{
    const struct location at = p->location[id];
    const json_t *list = json_object_get(at.json, keyword);
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n == 0)
        return plan_fail(p, ERR_INVALID, at.place, "%s must be a list of schemas", keyword);
    *ret = plan_alloc(p, n, sizeof(**ret));
    if (!*ret)
        return ERR_LIMIT;
    *ret_n = (int)n;
    for (size_t i = 0; i < n; i++) {
        const char *place = plan_place_i(p, at.place, keyword, (int)i);
        int rc = ids_add(p, &(*ret)[i], plan_locate(p, json_array_get(list, i), place, false));
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int follow_all(struct walk *w, struct path *path, int id, const struct link *link)
{
    struct ids *branch = NULL;
    int n = 0;
    int rc = list_branches(w->p, id, "allOf", &branch, &n);
    for (int i = n - 1; rc == 0 && i >= 0; i--)
        rc = add_todo(w, path, branch[i].id[0], link);
    return rc;
}

static int follow_choice(struct walk *w, struct path *path, int id, const char *keyword,
                         const struct link *link)
{
    struct choice c = {.kind = keyword[0] == 'o' ? CHOOSE_ONE : CHOOSE_ANY, .id = id, .link = link};
    int rc = list_branches(w->p, id, keyword, &c.set, &c.n_set);
    return rc != 0 ? rc : add_choice(w, path, &c);
}

static int follow_ref(struct walk *w, struct path *path, int id, const struct link *link)
{
    struct plan *p = w->p;
    const json_t *ref = json_object_get(p->location[id].json, "$ref");
    if (!json_is_string(ref))
        return plan_fail(p, ERR_INVALID, p->location[id].place, "$ref must be a string");
    return add_todo(w, path, plan_resolve(p, json_str(ref), p->location[id].place), link);
}

static int follow_not(struct walk *w, struct path *path, int id, const struct link *link)
{
    struct plan *p = w->p;
    const struct location at = p->location[id];
    const char *place = plan_place(p, at.place, "not", NULL);
    int inner = plan_locate(p, json_object_get(at.json, "not"), place, false);
    struct ids branches = {0};
    int rc = inner < 0 ? inner : plan_negate(p, inner, &branches);
    if (rc != 0)
        return rc;
    if (branches.n == 1)
        return add_todo(w, path, branches.id[0], link);
    struct choice c = {.kind = CHOOSE_SETS, .id = id, .link = link, .n_set = branches.n};
    c.set = plan_alloc(p, (size_t)branches.n, sizeof(*c.set));
    for (int i = 0; c.set && i < branches.n && rc == 0; i++)
        rc = ids_add(p, &c.set[i], branches.id[i]);
    return !c.set ? ERR_LIMIT : rc != 0 ? rc : add_choice(w, path, &c);
}

/* A choice between two sets of up to two schemas each; ids below 0 are errors, NO_ID is none. */
#define NO_ID INT32_MAX

static int add_either(struct walk *w, struct path *path, int owner, const struct link *link,
                      const int set[2][2])
{
    struct choice c = {.kind = CHOOSE_SETS, .id = owner, .link = link, .n_set = 2};
    c.set = plan_alloc(w->p, 2, sizeof(*c.set));
    if (!c.set)
        return ERR_LIMIT;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            int rc = set[i][k] == NO_ID ? 0 : ids_add(w->p, &c.set[i], set[i][k]);
            if (rc != 0)
                return rc;
        }
    return add_choice(w, path, &c);
}

static int part_of(struct plan *p, int id, const char *keyword)
{
    const struct location at = p->location[id];
    const json_t *part = json_object_get(at.json, keyword);
    return part ? plan_locate(p, part, plan_place(p, at.place, keyword, NULL), false) : NO_ID;
}

static int follow_if(struct walk *w, struct path *path, int id, const struct link *link)
{
    struct plan *p = w->p;
    int condition = part_of(p, id, "if"), yes = part_of(p, id, "then"), no = part_of(p, id, "else");
    if (yes == NO_ID && no == NO_ID)
        return 0;
    if (condition < 0)
        return condition;
    int set[2][2] = {{condition, yes}, {plan_opposite(p, condition), no}};
    return add_either(w, path, id, link, (const int(*)[2])set);
}

/* Of one member: without it, or with it and what it asks for. */
static int follow_dependency(struct walk *w, struct path *path, int id, const struct link *link,
                             const char *keyword, const char *key, const json_t *needs)
{
    struct plan *p = w->p;
    const char *place = plan_place(p, p->location[id].place, keyword, key);
    int without = plan_made(p, json_pack("{s:{s:b}}", "properties", key, 0), place), with, more;
    if (json_is_array(needs)) {
        json_t *required = json_copy((json_t *)(uintptr_t)needs);
        if (required)
            json_array_append_new(required, json_string(key));
        with = plan_made(p, json_pack("{s:o}", "required", required), place);
        more = NO_ID;
    } else {
        with = plan_made(p, json_pack("{s:[s]}", "required", key), place);
        more = plan_locate(p, needs, place, false);
    }
    int set[2][2] = {{without, NO_ID}, {with, more}};
    return add_either(w, path, id, link, (const int(*)[2])set);
}

static int follow_dependencies(struct walk *w, struct path *path, int id, const struct link *link,
                               const char *keyword)
{
    const struct location at = w->p->location[id];
    json_t *all = json_object_get(at.json, keyword), *needs;
    const char *key;
    if (!json_is_object(all))
        return plan_fail(w->p, ERR_INVALID, at.place, "%s must be an object", keyword);
    json_object_foreach(all, key, needs)
    {
        int rc = follow_dependency(w, path, id, link, keyword, key, needs);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int follow_keyword(struct walk *w, struct path *path, int id, const struct link *link,
                          const char *key)
{
    if (strcmp(key, "$ref") == 0)
        return follow_ref(w, path, id, link);
    if (strcmp(key, "allOf") == 0)
        return follow_all(w, path, id, link);
    if (strcmp(key, "anyOf") == 0 || strcmp(key, "oneOf") == 0)
        return follow_choice(w, path, id, key, link);
    if (strcmp(key, "not") == 0)
        return follow_not(w, path, id, link);
    if (strcmp(key, "if") == 0)
        return follow_if(w, path, id, link);
    if (strcmp(key, "dependentRequired") == 0 || strcmp(key, "dependentSchemas") == 0 ||
        strcmp(key, "dependencies") == 0)
        return follow_dependencies(w, path, id, link, key);
    return 0;
}

/* 1: the schema is false. */
static int follow_schema(struct walk *w, struct path *path, const struct todo *t)
{
    struct plan *p = w->p;
    const struct location at = p->location[t->id];
    const char *key;
    json_t *value;
    for (const struct link *l = t->link; l; l = l->up)
        if (l->id == t->id)
            return plan_fail(p, ERR_INVALID, at.place,
                             "the schema leads back to itself without a value between");
    if (json_is_true(at.json) || ids_have(&path->conj, t->id))
        return 0;
    if (json_is_false(at.json)) {
        p->why = (struct why){at.place, "is false", true};
        return 1;
    }
    if (!json_is_object(at.json))
        return plan_fail(p, ERR_INVALID, at.place, "a schema must be an object or a boolean");
    int rc = ids_add(p, &path->conj, t->id);
    struct link *link = plan_alloc(p, 1, sizeof(*link));
    if (rc != 0 || !link)
        return ERR_LIMIT;
    *link = (struct link){t->id, t->link};
    json_object_foreach((json_t *)(uintptr_t)at.json, key, value)
    {
        rc = follow_keyword(w, path, t->id, link, key);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- choices ---- */

static int copy_path(struct plan *p, const struct path *from, struct path *ret)
{
    *ret = *from;
    ret->conj = (struct ids){0};
    for (int i = 0; i < from->conj.n; i++) {
        int rc = ids_add(p, &ret->conj, from->conj.id[i]);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Of branches a and b: 1 when nothing satisfies both, in this place. What cannot be told counts
 * as no: the question's own errors are not the client's. */
static int apart(struct walk *w, const struct path *path, int a, int b)
{
    struct plan *p = w->p;
    struct err *err = p->err, ours = {0};
    struct ids both = {0};
    struct why why = p->why;
    if (ids_add(p, &both, a) != 0 || ids_add(p, &both, b) != 0)
        return ERR_LIMIT;
    p->err = &ours;
    int rc = plan_goal_empty(p, &path->conj, &both, 0);
    p->err = err;
    p->why = why;
    if (p->n_steps > SCHEMA_STEPS_MAX)
        return plan_step(p);
    return rc == 1;
}

/* oneOf: where two branches may both hold, each is taken without the other. */
static int separate(struct walk *w, const struct path *path, const struct choice *c,
                    struct ids *sets)
{
    struct plan *p = w->p;
    for (int i = 0; i < c->n_set; i++)
        for (int k = i + 1; k < c->n_set; k++) {
            int a = c->set[i].id[0], b = c->set[k].id[0], rc = a == b ? 0 : apart(w, path, a, b);
            if (rc == 1)
                continue;
            if (rc < 0)
                return rc;
            int pair[2][2] = {{i, b}, {k, a}};
            for (int n = 0; n < 2; n++) {
                rc = ids_add(p, &sets[pair[n][0]], plan_opposite(p, pair[n][1]));
                struct ids branches = {0};
                if (rc == 0)
                    rc = plan_negate(p, pair[n][1], &branches);
                if (rc == ERR_UNSUPPORTED)
                    return plan_fail(p, rc, p->location[c->id].place,
                                     "branches %d and %d of oneOf may both hold, which cannot be "
                                     "ruled out while writing; tell them apart by type, by a "
                                     "required member with const, or use anyOf",
                                     i, k);
                if (rc != 0)
                    return rc;
            }
        }
    return 0;
}

static int choose(struct walk *w, const struct path *path)
{
    struct plan *p = w->p;
    const struct choice *c = path->choice;
    struct ids *sets = plan_alloc(p, (size_t)c->n_set, sizeof(*sets));
    if (!sets)
        return ERR_LIMIT;
    for (int i = 0; i < c->n_set; i++)
        for (int k = 0; k < c->set[i].n; k++) {
            int rc = ids_add(p, &sets[i], c->set[i].id[k]);
            if (rc != 0)
                return rc;
        }
    int rc = c->kind == CHOOSE_ONE ? separate(w, path, c, sets) : 0;
    if (c->n_set == 0) /* not of what always holds */
        p->why = (struct why){p->location[c->id].place, "nothing is left by \"not\"", true};
    for (int i = 0; rc == 0 && i < c->n_set; i++) {
        struct path branch;
        rc = copy_path(p, path, &branch);
        branch.choice = c->next;
        branch.n_choice--;
        for (int k = sets[i].n - 1; rc == 0 && k >= 0; k--)
            rc = add_todo(w, &branch, sets[i].id[k], c->link);
        if (rc == 0)
            rc = follow(w, &branch);
    }
    return rc;
}

/* 0 also where the path ends in nothing: other paths go on. */
static int follow(struct walk *w, struct path *path)
{
    struct plan *p = w->p;
    int rc = plan_step(p);
    while (rc == 0 && path->todo) {
        const struct todo *t = path->todo;
        path->todo = t->next;
        rc = follow_schema(w, path, t);
        if (rc == 0)
            rc = plan_step(p);
    }
    unsigned types = TYPE_ANY;
    if (rc == 0 && path->choice)
        rc = plan_types(p, &path->conj, &types);
    if (rc != 0 || types == 0)
        return rc == 1 ? 0 : rc;
    if (++p->depth > SCHEMA_DEPTH_MAX)
        rc = err_set_param(p->err, ERR_LIMIT, p->param, "the schema is nested too deeply");
    else
        rc = path->choice ? choose(w, path) : w->sink(p, &path->conj, w->context);
    p->depth--;
    return rc;
}

int plan_expand(struct plan *p, const struct ids *base, const struct ids *ids, conj_sink sink,
                void *context)
{
    struct walk w = {.p = p, .sink = sink, .context = context};
    struct path path = {0};
    for (int i = 0; base && i < base->n; i++) {
        int rc = ids_add(p, &path.conj, base->id[i]);
        if (rc != 0)
            return rc;
    }
    for (int i = ids->n - 1; i >= 0; i--) {
        int rc = add_todo(&w, &path, ids->id[i], NULL);
        if (rc != 0)
            return rc;
    }
    return follow(&w, &path);
}
