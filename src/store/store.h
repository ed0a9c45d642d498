/*
 * store: the model library on disk, in Ollama's layout: manifests/<host>/<namespace>/<model>/<tag>
 * (JSON) and blobs/sha256-<hex>. An Ollama library can be used in place. Knows nothing of what is
 * inside a model file.
 *
 * Names: "llama3.1:8b", "hf.co/OWNER/REPO:Q4_K_M", or a path to a .gguf file (used in place, not
 * copied). Blobs are written under a partial name and renamed only when their digest was checked.
 */
#ifndef HEARTH_STORE_STORE_H
#define HEARTH_STORE_STORE_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

struct store;

struct store_model {
    char *name;   /* as people write it: "smollm2:135m" */
    char *digest; /* "sha256:..." of the manifest; "" for a plain file */
    char **path;  /* [n_path] the model file's parts, in order */
    int n_path;
    int64_t bytes;       /* of the model's files */
    int64_t modified_ms; /* since 1970 */
    char *template_text; /* the manifest's template layer, or NULL */
    char *system_text;   /* the manifest's system layer, or NULL */
    char *params_json;   /* the manifest's params layer, or NULL */
};
void store_model_release(struct store_model *m);

/* dir NULL: HEARTH_MODELS, else ~/.hearth/models. Created when missing. */
int store_open(const char *dir, struct store **ret, struct err *err)
    __attribute__((warn_unused_result));
void store_close(struct store *s);
const char *store_dir(const struct store *s);

/* Resolves a name or a path. ERR_NOT_FOUND says which names are there (or how to pull). */
int store_find(struct store *s, const char *name, struct store_model *ret, struct err *err)
    __attribute__((warn_unused_result));
/* All models, sorted by name; heap array of n. */
int store_list(struct store *s, struct store_model **ret, int *ret_n, struct err *err)
    __attribute__((warn_unused_result));
void store_list_free(struct store_model *list, int n);
/* Removes the name, then every blob that no manifest names any more. */
int store_remove(struct store *s, const char *name, struct err *err)
    __attribute__((warn_unused_result));

#endif
