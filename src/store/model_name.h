/*
 * model_name: how models are called, and nothing else: no file is touched here.
 *
 *     [host/][namespace/]model[:tag]     "llama3.1:8b", "hf.co/OWNER/REPO:Q4_K_M"
 *
 * Missing parts: host registry.ollama.ai, namespace library, tag latest. "huggingface.co" is the
 * same host as "hf.co". Parts hold letters, digits and "-_.", begin with a letter, a digit or "_",
 * and have length limits: a valid name can never leave the library's folder. Case is kept.
 */
#ifndef HEARTH_STORE_MODEL_NAME_H
#define HEARTH_STORE_MODEL_NAME_H

#include "base/err.h"
#include "base/str.h"

#define MODEL_NAME_HOST_MAX 350
#define MODEL_NAME_PART_MAX 80
#define MODEL_NAME_TEXT_MAX 640 /* of model_name_text and model_name_path, with the NUL */

#define MODEL_NAME_HOST  "registry.ollama.ai"
#define MODEL_NAME_SPACE "library"
#define MODEL_NAME_TAG   "latest"

struct model_name {
    char host[MODEL_NAME_HOST_MAX + 1];
    char space[MODEL_NAME_PART_MAX + 1];
    char model[MODEL_NAME_PART_MAX + 1];
    char tag[MODEL_NAME_PART_MAX + 1];
};

/* What a person typed where a model is asked for. */
enum model_source {
    SOURCE_NAME,   /* a name in the library or in a registry */
    SOURCE_PATH,   /* "./x.gguf", "/x", "~/x", or anything that ends in .gguf */
    SOURCE_URL,    /* "https://..." */
    SOURCE_PYTHON, /* "pypi:package" or "pypi:package==1.2.3" */
};
enum model_source model_source_of(const char *text);

/* ERR_INVALID says which part is wrong. */
int model_name_parse(const char *text, struct model_name *ret, struct err *err)
    __attribute__((warn_unused_result));
/* As people write it: without the parts that are the default; the tag is always there. */
void model_name_text(const struct model_name *n, char ret[MODEL_NAME_TEXT_MAX]);
/* "host/namespace/model/tag", the manifest's place below manifests/. */
void model_name_path(const struct model_name *n, char ret[MODEL_NAME_TEXT_MAX]);
bool model_name_eq_nocase(const struct model_name *a, const struct model_name *b);
/* "Some Model.Q4_K_M.gguf" -> "some-model:q4_k_m" style: a valid name for a file, for imports. */
int model_name_of_file(const char *path, struct model_name *ret, struct err *err)
    __attribute__((warn_unused_result));

#endif
