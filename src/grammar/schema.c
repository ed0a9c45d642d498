/*
 * schema: see the header; schema_plan.h says how the parts work together.
 */
#include "grammar/schema_syntax.h"

#include <stdlib.h>

/* What others have taken counts from where less is left for all than for one. */
static uint64_t steps_taken(const uint64_t *steps)
{
    const uint64_t spare = (uint64_t)(SCHEMA_SHARES - 1) * SCHEMA_STEPS_MAX;
    return steps && *steps > spare ? *steps - spare : 0;
}

static int plan_init(struct plan *p, struct grammar_builder *b, const struct schema_options *o,
                     const char *param, struct err *err)
{
    *p = (struct plan){.o = o, .param = param ? param : "", .err = err, .b = b};
    p->n_steps = p->n_begun = steps_taken(o->steps);
    arena_init(&p->arena, SCHEMA_BYTES_MAX);
    p->made = json_array();
    return p->made ? 0 : err_set_param(err, ERR_NOMEM, p->param, "no memory for a schema");
}

static void plan_release(struct plan *p)
{
    if (p->o->steps)
        *p->o->steps += p->n_steps - p->n_begun;
    arena_release(&p->arena);
    free(p->location);
    free(p->location_table);
    free(p->node);
    free(p->node_table);
    json_decref(p->made);
}

static int compile(struct plan *p, const json_t *schema, gexpr *ret)
{
    struct ids goal = {0};
    p->root = schema;
    int rc = plan_step(p); /* so that nothing is free */
    rc = rc != 0 ? rc : ids_add(p, &goal, plan_locate(p, schema, "#", false));
    if (rc == 0 && json_is_true(schema))
        goal.n = 0;
    int root = rc == 0 ? plan_node(p, &goal) : rc;
    rc = root < 0 ? root : plan_all(p, root);
    return rc != 0 ? rc : plan_emit(p, root, ret);
}

gexpr schema_members(struct grammar_builder *b, const json_t *schema,
                     const struct schema_options *o, const struct schema_frame *frame,
                     const char *param, struct err *err)
{
    struct plan p;
    struct err why = {0};
    gexpr e = -1;
    int rc = plan_init(&p, b, o, param, &why);
    p.frame = frame;
    if (rc == 0)
        rc = compile(&p, schema, &e);
    plan_release(&p);
    if (rc == 0 && e >= 0)
        return e;
    if (why.code == 0)
        err_set_param(&why, rc < 0 ? rc : ERR_LIMIT, p.param, "the schema is too large");
    if (err)
        *err = why;
    return grammar_fail(b, &why);
}

gexpr schema_expr(struct grammar_builder *b, const json_t *schema, const struct schema_options *o,
                  const char *param, struct err *err)
{
    return schema_members(b, schema, o, NULL, param, err);
}

static gexpr common(struct grammar_builder *b, const struct schema_options *o,
                    const struct schema_frame *frame, bool object)
{
    struct plan p;
    struct err err = {0};
    gexpr e = -1;
    if (plan_init(&p, b, o, "", &err) == 0) {
        p.frame = frame;
        plan_emit_common(&p);
        e = frame ? frame_any(&p) : object ? p.any_object : p.any;
    }
    plan_release(&p);
    return e;
}

gexpr schema_any_members(struct grammar_builder *b, const struct schema_options *o,
                         const struct schema_frame *frame)
{
    return common(b, o, frame, true);
}

gexpr schema_any_value(struct grammar_builder *b, const struct schema_options *o)
{
    return common(b, o, NULL, false);
}

gexpr schema_any_object(struct grammar_builder *b, const struct schema_options *o)
{
    return common(b, o, NULL, true);
}
