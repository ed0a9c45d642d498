/*
 * schema_node: the goals that the grammar needs, each once, and which of them can be satisfied by
 * something finite. What cannot is left out where it may be, and refused where it must be.
 */
#include "base/mem.h"
#include "grammar/schema_plan.h"

#include <stdlib.h>
#include <string.h>

#define SWEEPS_MAX 256
#define BLAME_MAX  16

static int cmp_int(const void *x, const void *y)
{
    int a = *(const int *)x, b = *(const int *)y;
    return a < b ? -1 : a > b;
}

static int add_node(struct plan *p, const struct ids *goal, int *key)
{
    struct node *n = plan_alloc(p, 1, sizeof(*n));
    if (!n)
        return ERR_LIMIT;
    if (!mem_grow((void **)&p->node, &p->cap_node, (size_t)p->n_node + 1, SCHEMA_GOALS_MAX,
                  sizeof(struct node *)))
        return err_set_param(p->err, ERR_LIMIT, p->param,
                             "the schema has more than %d parts once all of it is combined",
                             SCHEMA_GOALS_MAX);
    *n = (struct node){.key = key, .rule = GEXPR_NONE};
    for (int i = 0; i < goal->n; i++) {
        int rc = ids_add(p, &n->goal, goal->id[i]);
        if (rc != 0)
            return rc;
    }
    p->node[p->n_node] = n;
    return p->n_node++;
}

int plan_node(struct plan *p, const struct ids *goal)
{
    size_t n = (size_t)goal->n, mask = 4 * SCHEMA_GOALS_MAX - 1;
    int *key = plan_alloc(p, n, sizeof(int));
    uint64_t hash = n;
    if (!key)
        return ERR_LIMIT;
    if (!p->node_table)
        p->node_table = mem_try_array(mask + 1, sizeof(int));
    if (!p->node_table)
        return err_set_param(p->err, ERR_NOMEM, p->param, "no memory for the schema");
    if (n > 0)
        memcpy(key, goal->id, n * sizeof(int));
    qsort(key, n, sizeof(int), cmp_int);
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint64_t)key[i]) * 0x9e3779b97f4a7c15u;
    size_t at = (hash ^ hash >> 31) & mask;
    for (; p->node_table[at] != 0; at = (at + 1) & mask) {
        const struct node *known = p->node[p->node_table[at] - 1];
        if ((size_t)known->goal.n == n && (n == 0 || memcmp(known->key, key, n * sizeof(int)) == 0))
            return p->node_table[at] - 1;
    }
    int index = add_node(p, goal, key);
    if (index >= 0)
        p->node_table[at] = index + 1;
    return index;
}

/* ---- shapes of a node ---- */

static int link_object(struct plan *p, struct object_bounds *o)
{
    int rc = 0;
    for (int i = 0; i < o->n_member && rc >= 0; i++)
        rc = o->member[i].node = plan_node(p, &o->member[i].goal);
    for (int i = 0; i < o->n_other && rc >= 0; i++)
        rc = o->other[i].node = plan_node(p, &o->other[i].goal);
    return rc < 0 ? rc : 0;
}

static int link_array(struct plan *p, struct array_bounds *a)
{
    int rc = 0;
    if (a->value || a->max == 0) {
        a->n_item = 0;
        return 0;
    }
    int n = a->max >= 0 && a->max < a->n_item ? (int)a->max : a->n_item;
    a->item_node = plan_alloc(p, (size_t)a->n_item, sizeof(int));
    if (!a->item_node)
        return ERR_LIMIT;
    a->n_item = n;
    for (int i = 0; i < n && rc >= 0; i++)
        rc = a->item_node[i] = plan_node(p, &a->item[i]);
    a->rest_node = -1;
    if (rc >= 0 && (a->max < 0 || a->max > n))
        rc = a->rest_node = plan_node(p, &a->rest);
    return rc < 0 ? rc : plan_contains_nodes(p, a);
}

static int keep_shape(struct plan *p, const struct ids *conj, void *context)
{
    struct node *n = context;
    struct shape *s = plan_alloc(p, 1, sizeof(*s));
    if (!s)
        return ERR_LIMIT;
    int rc = plan_shape(p, conj, s);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    if (!s->is_fixed && (s->types & TYPE_OBJECT))
        rc = link_object(p, &s->object);
    if (rc == 0 && !s->is_fixed && (s->types & TYPE_ARRAY))
        rc = link_array(p, &s->array);
    if (rc != 0)
        return rc;
    if (++n->n_shapes > SCHEMA_SHAPES_MAX)
        return plan_fail(p, ERR_LIMIT, p->location[n->goal.id[0]].place,
                         "anyOf, oneOf and allOf combine to more than %d cases", SCHEMA_SHAPES_MAX);
    if (n->last)
        n->last->next = s;
    else
        n->shapes = s;
    n->last = s;
    return 0;
}

/* A goal of one schema that no value satisfies is most likely a mistake; `false` is none. */
static int read_node(struct plan *p, struct node *n)
{
    if (n->goal.n == 0) /* anything */
        return 0;
    p->why = (struct why){p->location[n->goal.id[0]].place, "nothing can satisfy it", true};
    int rc = plan_expand(p, NULL, &n->goal, keep_shape, n);
    if (rc != 0 || n->shapes)
        return rc;
    n->why = p->why;
    if (n->goal.n > 1 || n->why.meant)
        return 0;
    return plan_fail(p, ERR_INVALID, n->why.place, "%s", n->why.text);
}

/* ---- what can be satisfied ---- */

bool object_productive(const struct plan *p, const struct object_bounds *o)
{
    for (int i = 0; i < o->n_member; i++)
        if (o->member[i].is_required &&
            (o->member[i].is_banned || !p->node[o->member[i].node]->is_productive))
            return false;
    return true;
}

bool array_productive(const struct plan *p, const struct array_bounds *a)
{
    if (a->value || a->min == 0)
        return true;
    if (a->contains >= 0)
        return contains_productive(p, a);
    for (int i = 0; i < a->n_item && i < a->min; i++)
        if (!p->node[a->item_node[i]]->is_productive)
            return false;
    return a->min <= a->n_item || p->node[a->rest_node]->is_productive;
}

static bool node_productive(const struct plan *p, const struct node *n)
{
    if (n->goal.n == 0)
        return true;
    for (const struct shape *s = n->shapes; s; s = s->next)
        if (s->is_fixed || (s->types & ~(unsigned)(TYPE_OBJECT | TYPE_ARRAY)) ||
            ((s->types & TYPE_OBJECT) && object_productive(p, &s->object)) ||
            ((s->types & TYPE_ARRAY) && array_productive(p, &s->array)))
            return true;
    return false;
}

/* Children mostly come after their parents: backwards first, then the other way round. */
static int mark_productive(struct plan *p)
{
    bool changed = true;
    for (int sweep = 0; changed; sweep++) {
        changed = false;
        if (sweep == SWEEPS_MAX)
            return err_set_param(p->err, ERR_LIMIT, p->param, "the schema is too entangled");
        for (int i = 0; i < p->n_node; i++) {
            struct node *n = p->node[sweep % 2 ? i : p->n_node - 1 - i];
            if (!n->is_productive && node_productive(p, n))
                changed = n->is_productive = true;
            if (p->n_steps > SCHEMA_STEPS_MAX)
                return plan_step(p);
        }
    }
    return 0;
}

/* The first part of a shape that must be and cannot. */
static const struct node *blamed(const struct plan *p, const struct node *n)
{
    for (const struct shape *s = n->shapes; s; s = s->next) {
        for (int i = 0; (s->types & TYPE_OBJECT) && i < s->object.n_member; i++) {
            const struct member *m = &s->object.member[i];
            if (m->is_required && !p->node[m->node]->is_productive)
                return p->node[m->node];
        }
        for (int i = 0; (s->types & TYPE_ARRAY) && i < s->array.n_item; i++)
            if (!p->node[s->array.item_node[i]]->is_productive)
                return p->node[s->array.item_node[i]];
        if ((s->types & TYPE_ARRAY) && s->array.min > s->array.n_item)
            return p->node[s->array.rest_node];
    }
    return NULL;
}

static int refuse(struct plan *p, const struct node *n)
{
    for (int i = 0; i < BLAME_MAX && n->shapes; i++) {
        const struct node *next = blamed(p, n);
        if (!next)
            break;
        n = next;
    }
    if (!n->shapes)
        return plan_fail(p, ERR_INVALID, n->why.place ? n->why.place : "#",
                         "nothing can satisfy the schema: %s",
                         n->why.text ? n->why.text : "this part is impossible");
    return plan_fail(p, ERR_INVALID, p->location[n->goal.id[0]].place,
                     "nothing finite can satisfy it: it requires itself without an end");
}

int plan_all(struct plan *p, int root)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < p->n_node; i++)
        rc = read_node(p, p->node[i]);
    if (rc == 0)
        rc = mark_productive(p);
    if (rc == 0 && !p->node[root]->is_productive)
        rc = refuse(p, p->node[root]);
    return rc;
}
