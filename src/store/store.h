/*
 * store: the model library on disk, in Ollama's layout: manifests/<host>/<namespace>/<model>/<tag>
 * (JSON) and blobs/sha256-<hex>. An Ollama library can be used in place. Knows nothing of what is
 * inside a model file.
 *
 * Names: store/model_name.h; a path to a .gguf file stands for itself and is used in place.
 * A server that takes names from clients refuses paths first: model_source_of(name) != SOURCE_NAME.
 *
 * Several processes may use one library. Blobs and manifests appear whole or not at all. Who adds
 * blobs holds the library shared (store_hold) until its manifest is written; who removes blobs
 * needs it alone, and puts the removal off when it cannot have that.
 * Thread-safe: all functions, on one struct store (it does not change once open).
 */
#ifndef HEARTH_STORE_STORE_H
#define HEARTH_STORE_STORE_H

#include "base/err.h"
#include "base/str.h"
#include "store/manifest.h"
#include "store/model_name.h"

#include <stdint.h>

struct store;

struct store_model {
    char *name;   /* as people write it: "smollm2:135m" */
    char *digest; /* "sha256:..." of the manifest; "" for a plain file */
    char **path;  /* [n_path] the model file's parts, in order */
    int n_path;
    int64_t bytes;       /* of the model's files */
    int64_t modified_ms; /* since 1970 */
    /* The texts are NULL where there is none, and in what store_list returns. */
    char *template_text; /* a Jinja template layer; Ollama's own, in Go's language, are left out */
    char *system_text;   /* the system layer */
    char *params_json;   /* the params layer: a JSON object */
    char *license_text;
    char *messages_json; /* the messages layer: a JSON array, said before every conversation */
    /* Of the config blob, "" where it says nothing; in lists, too. */
    char family[32], size_word[16], file_type[32]; /* "llama", "8.0B", "Q4_K_M" */
};
void store_model_release(struct store_model *m);

/* dir NULL: HEARTH_MODELS, else ~/.hearth/models. Created when missing. */
int store_open(const char *dir, struct store **ret, struct err *err)
    __attribute__((warn_unused_result));
void store_close(struct store *s);
const char *store_dir(const struct store *s);
const char *store_blobs_dir(const struct store *s);

/* Resolves a name or a path. ERR_NOT_FOUND says how to get it, ERR_CORRUPT what is damaged. */
int store_find(struct store *s, const char *name, struct store_model *ret, struct err *err)
    __attribute__((warn_unused_result));
/* All models, sorted by name; heap array of n. Damaged manifests are left out. */
int store_list(struct store *s, struct store_model **ret, int *ret_n, struct err *err)
    __attribute__((warn_unused_result));
void store_list_free(struct store_model *list, int n);
/* Removes the name, then its blobs that no other name needs. */
int store_remove(struct store *s, const char *name, struct err *err)
    __attribute__((warn_unused_result));
/* A second name for the same blobs. */
int store_copy(struct store *s, const char *from, const char *to, struct err *err)
    __attribute__((warn_unused_result));

struct store_import {
    const char *name;        /* NULL: made of the first file's name */
    const char *const *path; /* [n_path] the model file's parts, in order */
    int n_path;
    const char *digest;        /* of the only part, when it is known; else NULL */
    const char *template_text; /* Jinja; NULL: the model file's own */
    const char *system_text, *params_json, *license_text; /* or NULL */
};
/* Files become blobs (store/blob.h says how) and get a name. ret_name: at least
 * MODEL_NAME_TEXT_MAX bytes, or NULL. */
int store_import(struct store *s, const struct store_import *in, char *ret_name, struct err *err)
    __attribute__((warn_unused_result));
/*
 * A model made of another one, or of blobs that are here, with texts of its own. What `from` has
 * and the others do not say stays; params are merged, licenses are added.
 */
struct store_create {
    const char *name;
    const char *from; /* a name in the library, or NULL */
    /* [n_digest] the model's files, in order; with `from`, in place of those it has. */
    const char *const *digest;
    int n_digest;
    const char *template_text, *system_text, *params_json, *messages_json; /* or NULL */
    const char *const *license;                                            /* [n_license] */
    int n_license;
    const char *family, *size_word, *file_type;  /* for the config; or NULL */
    void (*step)(void *ctx, const char *status); /* or NULL */
    void *step_ctx;
    int hold; /* of store_hold, taken over: with it nothing could be swept; 0: none */
};
/* ERR_UNSUPPORTED with param "template": it is in Go's template language, not in Jinja. */
int store_create(struct store *s, const struct store_create *in, struct err *err)
    __attribute__((warn_unused_result));
/* Ollama's templates are in the language of Go's text/template, which is not Jinja. */
bool store_template_is_go(struct str text);
/* "8.0B", "134.52M": how a number of parameters is written. */
void store_size_word(int64_t n_params, char ret[16]);
/* "x-00001-of-00003.gguf" -> the three paths; any other path -> itself. By names alone. */
int store_split_paths(const char *path, char ***ret, int *ret_n, struct err *err)
    __attribute__((warn_unused_result));
void store_paths_free(char **path, int n);

/* ---- for who adds or removes blobs: pull, import ---- */

/* Keeps blobs from being removed until store_unhold(*ret_hold). */
int store_hold(struct store *s, int *ret_hold, struct err *err) __attribute__((warn_unused_result));
void store_unhold(int hold);
/* The manifest's bytes under this name; *ret_there says whether there is one. */
int store_manifest(struct store *s, const struct model_name *name, struct manifest *ret,
                   bool *ret_there, struct err *err) __attribute__((warn_unused_result));
/*
 * Writes the manifest; all its blobs must be there. ret_before gets the one it replaces (empty when
 * there was none): sweep it once nothing is held any more, then release it.
 */
int store_put_manifest(struct store *s, const struct model_name *name, struct str text,
                       struct manifest *ret_before, struct err *err)
    __attribute__((warn_unused_result));
/*
 * Removes those of the digests that no manifest names, and what has lain unnamed or partial for a
 * week. Does nothing while somebody holds the library or a manifest cannot be read. freed may be
 * NULL.
 */
void store_sweep(struct store *s, const struct manifest *freed);

#endif
