/*
 * response_format: what an answer must look like, in the words of OpenAI and of local servers, into
 * gen.constraint (gen_request.h says its forms). All `take` functions are api_field.take; `into` is
 * a struct api_request. A second form in one request is refused.
 */
#ifndef HEARTH_API_RESPONSE_FORMAT_H
#define HEARTH_API_RESPONSE_FORMAT_H

#include "api/request.h"

/* Any JSON object; what a schema (an object or a boolean) allows. `name`: the client's parameter.
 */
int api_form_json(struct api_request *r, const char *name, struct err *err)
    __attribute__((warn_unused_result));
int api_form_schema(struct api_request *r, const char *name, const json_t *schema, bool strict,
                    struct err *err) __attribute__((warn_unused_result));

/* {"type": "text" | "json_object" | "json_schema", "json_schema"?: {name, schema, strict}}, and
 * llama-server's "schema" beside the type. */
int api_take_response_format(const char *name, const json_t *value, void *into, struct err *err);
int api_take_schema(const char *name, const json_t *value, void *into, struct err *err);
int api_take_gbnf(const char *name, const json_t *value, void *into, struct err *err);
int api_take_regex(const char *name, const json_t *value, void *into, struct err *err);
int api_take_choice(const char *name, const json_t *value, void *into, struct err *err);
/* vLLM's {"json" | "json_object" | "regex" | "choice" | "grammar": ...} */
int api_take_structured(const char *name, const json_t *value, void *into, struct err *err);

#endif
