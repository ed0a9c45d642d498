/*
 * contract: every operation of this server with every field it takes, from the tables that validate
 * requests. /openapi.json is written from it, and docs/api.md from that.
 */
#ifndef HEARTH_API_CONTRACT_H
#define HEARTH_API_CONTRACT_H

#include "api/fields.h"
#include "api/request.h"

struct api_operation {
    const char *method; /* "post" */
    const char *path;   /* "/v1/models/{id}" */
    const char *group;  /* whose API it is: "OpenAI" */
    const char *summary;
    const struct api_endpoint *endpoint; /* its fields; or: */
    const struct api_form *form;         /* NULL: no JSON body */
    const char *body;                    /* Content-Type of a body that is no JSON; or NULL */
    const char *answer;                  /* Content-Type; NULL: application/json */
    bool open;                           /* answered without a key */
};

/* In the order of the documentation. */
const struct api_operation *api_operations(int *ret_n);
/* The OpenAPI 3.1 document. What a field's use is stands in x-hearth-use ("honoured", "no effect",
 * "refused") and why in its description. False past out->max. */
bool api_openapi_write(const char *version, struct buf *out);

#endif
