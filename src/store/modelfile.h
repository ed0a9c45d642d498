/*
 * modelfile: Ollama's Modelfile: what a model is made of, as text.
 *
 *     # a comment
 *     FROM ./model.gguf            a file beside it, or a model's name; may repeat for parts
 *     PARAMETER temperature 0.7    PARAMETER stop "..." may repeat
 *     SYSTEM """..."""             also TEMPLATE, LICENSE (may repeat), MESSAGE role text, REQUIRES
 *
 * A value is the rest of the line, or stands in "..." or """...""", which may span lines. Words are
 * recognised in any case. ADAPTER, DRAFT, RENDERER and PARSER are refused by name. Source: Ollama's
 * parser/parser.go. Pure: touches no file.
 */
#ifndef HEARTH_STORE_MODELFILE_H
#define HEARTH_STORE_MODELFILE_H

#include "base/err.h"
#include "base/json.h"

#define MODELFILE_BYTES_MAX (16u << 20)
#define MODELFILE_LIST_MAX  512

struct modelfile {
    char **from; /* [n_from], at least one */
    int n_from;
    char *template_text, *system_text; /* or NULL */
    char **license;                    /* [n_license] */
    int n_license;
    json_t *parameters; /* object */
    json_t *messages;   /* array of {role, content} */
};

/* ERR_SYNTAX with "(line N)". UTF-8, with or without a byte order mark. */
int modelfile_parse(struct str text, struct modelfile *ret, struct err *err)
    __attribute__((warn_unused_result));
void modelfile_release(struct modelfile *m);

#endif
