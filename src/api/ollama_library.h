/*
 * ollama_library: the bodies of the routes of Ollama's API that are about models and not about
 * text: show, create, copy, delete, pull, push; and what /api/show answers.
 *
 * Source: ollama/ollama api/types.go as of August 2026; the tables in the .c are the contract.
 * Views borrow from the body.
 */
#ifndef HEARTH_API_OLLAMA_LIBRARY_H
#define HEARTH_API_OLLAMA_LIBRARY_H

#include "api/fields.h"
#include "base/buf.h"

enum ollama_call {
    OLLAMA_SHOW,
    OLLAMA_CREATE,
    OLLAMA_COPY,
    OLLAMA_DELETE,
    OLLAMA_PULL,
    OLLAMA_PUSH,
};

#define OLLAMA_FILES_MAX 512
#define OLLAMA_TEXT_MAX  (4u << 20)

struct ollama_library_request {
    struct str model, name; /* `name` is the old spelling; .model has either after reading */
    struct str source, destination;
    struct str system, template, from;
    bool system_given, template_given;
    bool stream, insecure, verbose;
    const json_t *files;      /* {file name: digest}, at least one; or NULL */
    const json_t *parameters; /* checked: names and values that requests may have as options */
    json_t *messages;         /* as templates take them; owned */
    const json_t *license;    /* a string or an array of them, or NULL */
    const char *quantize;     /* as ollama_quantization_find has it, or NULL */
};

extern const struct api_form ollama_forms[]; /* by enum ollama_call: the fields of each */

/* Names have no NUL inside and are not empty after it. */
int ollama_library_read(enum ollama_call call, const json_t *body,
                        struct ollama_library_request *ret, struct err *err)
    __attribute__((warn_unused_result));
void ollama_library_release(struct ollama_library_request *r);

/* "q4_k_m" -> "Q4_K_M": the types that models can be made of here (model/quantize_model.h); NULL:
 * it is none. */
const char *ollama_quantization_find(struct str name);

/* What /api/show puts together. Texts may be NULL. */
struct ollama_shown {
    const char *name;
    int64_t modified_ms;
    const char *template_text, *system_text, *license_text, *params_json, *messages_json;
    const json_t *inspected; /* the worker's frame of that name */
    bool verbose;
};
bool ollama_write_show(const struct ollama_shown *s, struct buf *out);
/* The same as a Modelfile. */
bool ollama_write_modelfile(const struct ollama_shown *s, struct buf *out);

#endif
