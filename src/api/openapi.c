/*
 * openapi: the contract as an OpenAPI 3.1 document. Written seldom, so it is built as JSON values.
 * Source: spec.openapis.org/oas/v3.1.0.
 */
#include "api/contract.h"

#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 8 /* of tables within tables */

static const char *use_word(enum api_use use)
{
    static const char *const word[] = {
        [API_HONOURED] = "honoured", [API_NO_EFFECT] = "no effect", [API_REFUSED] = "refused"};
    return word[use];
}

static json_t *fields_schema(const struct api_field *field, int n, int depth);

/* Of a value that is not null. */
static json_t *type_of(const struct api_field *f, int depth)
{
    static const char *const word[] = {[API_BOOL] = "boolean",
                                       [API_INT] = "integer",
                                       [API_NUM] = "number",
                                       [API_STR] = "string",
                                       [API_ANY] = ""};
    json_t *schema = json_object();
    if (f->kind != API_ANY) {
        json_object_set_new(schema, "type", json_pack("[s,s]", word[f->kind], "null"));
    } else if (f->sub != NULL && depth < DEPTH_MAX) {
        json_decref(schema);
        return fields_schema(f->sub, f->n_sub, depth + 1);
    } else if (f->shape != NULL) {
        json_decref(schema);
        return json_parse(str_z(f->shape), JSON_DEPTH_MAX, NULL);
    }
    if ((f->kind == API_INT || f->kind == API_NUM) && f->max > f->min) {
        json_object_set_new(schema, f->above_min ? "exclusiveMinimum" : "minimum",
                            json_real(f->min));
        json_object_set_new(schema, "maximum", json_real(f->max));
    }
    return schema;
}

static json_t *field_schema(const struct api_field *f, int depth)
{
    json_t *schema = type_of(f, depth);
    json_object_set_new(schema, "x-hearth-use", json_string(use_word(f->use)));
    if (f->note != NULL)
        json_object_set_new(schema, "description", json_string(f->note));
    return schema;
}

static json_t *fields_schema(const struct api_field *field, int n, int depth)
{
    json_t *members = json_object();
    for (int i = 0; i < n; i++)
        json_object_set_new(members, field[i].name, field_schema(&field[i], depth));
    return json_pack("{s:s, s:o, s:b}", "type", "object", "properties", members,
                     "additionalProperties", 0);
}

static json_t *content(const char *type, json_t *schema)
{
    return json_pack("{s:{s:o}}", type, "schema", schema);
}

static json_t *body_of(const struct api_operation *o)
{
    json_t *schema = NULL;
    const char *type = o->body;
    if (o->endpoint != NULL)
        schema = fields_schema(o->endpoint->fields, o->endpoint->n_fields, 0);
    else if (o->form != NULL)
        schema = fields_schema(o->form->field, o->form->n, 0);
    if (schema != NULL && type == NULL)
        type = "application/json";
    if (type == NULL)
        return NULL;
    return json_pack("{s:b, s:o}", "required", 1, "content",
                     content(type, schema == NULL ? json_object() : schema));
}

static json_t *answers_of(const struct api_operation *o)
{
    const char *type = o->answer == NULL ? "application/json" : o->answer;
    json_t *good =
        json_pack("{s:s, s:o}", "description", "done", "content", content(type, json_object()));
    if (o->endpoint != NULL)
        json_object_set_new(json_object_get(good, "content"), o->endpoint->stream_type,
                            json_pack("{s:{}}", "schema"));
    return json_pack("{s:o, s:{s:s}}", "200", good, "default", "description",
                     "an error, in the words of this API");
}

/* {"id"} of a path, as parameters. */
static json_t *parameters_of(const char *path)
{
    json_t *list = json_array();
    for (const char *at = strchr(path, '{'); at != NULL; at = strchr(at + 1, '{')) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at + 1, "}"), at + 1);
        json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:{s:s}}", "name", name, "in",
                                              "path", "required", 1, "schema", "type", "string"));
    }
    return list;
}

static json_t *operation_of(const struct api_operation *o)
{
    json_t *made = json_pack("{s:[s], s:s, s:o}", "tags", o->group, "summary", o->summary,
                             "responses", answers_of(o));
    json_t *parameters = parameters_of(o->path), *body = body_of(o);
    if (json_array_size(parameters) > 0)
        json_object_set(made, "parameters", parameters);
    json_decref(parameters);
    if (body != NULL)
        json_object_set_new(made, "requestBody", body);
    if (o->open)
        json_object_set_new(made, "security", json_array());
    return made;
}

static json_t *paths(void)
{
    int n;
    const struct api_operation *o = api_operations(&n);
    json_t *all = json_object();
    for (int i = 0; i < n; i++) {
        json_t *path = json_object_get(all, o[i].path);
        if (path == NULL) {
            json_object_set_new(all, o[i].path, json_object());
            path = json_object_get(all, o[i].path);
        }
        json_object_set_new(path, o[i].method, operation_of(&o[i]));
    }
    return all;
}

bool api_openapi_write(const char *version, struct buf *out)
{
    json_t *document = json_pack(
        "{s:s, s:{s:s, s:s, s:s}, s:[{s:[]}, {}], s:{s:{s:{s:s, s:s}}}, s:o}", "openapi", "3.1.0",
        "info", "title", "Hearth", "version", version, "description",
        "A local LLM server: the APIs of OpenAI, Ollama, Anthropic and llama-server on the models "
        "of this machine.",
        "security", "key", "components", "securitySchemes", "key", "type", "http", "scheme",
        "bearer", "paths", paths());
    bool ok = document != NULL && json_write(document, out);
    json_decref(document);
    return ok;
}
