/*
 * manifest: what a name stands for, as JSON: a list of blobs with media types. The format is the
 * Docker image manifest, version 2, with Ollama's media types for the layers. Untrusted bytes: a
 * manifest comes from a registry or lies in a folder that others may write.
 *
 * After a successful parse every digest is well-formed and every size lies in [0, 2^46].
 */
#ifndef HEARTH_STORE_MANIFEST_H
#define HEARTH_STORE_MANIFEST_H

#include "base/buf.h"
#include "base/err.h"
#include "store/digest.h"

#include <stdint.h>

#define MANIFEST_BYTES_MAX  (4 * 1024 * 1024)
#define MANIFEST_LAYERS_MAX 8192
#define MANIFEST_SIZE_MAX   (INT64_C(1) << 46)

#define MEDIA_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_CONFIG   "application/vnd.docker.container.image.v1+json"
#define MEDIA_MODEL    "application/vnd.ollama.image.model"
#define MEDIA_TEMPLATE "application/vnd.ollama.image.template"
#define MEDIA_SYSTEM   "application/vnd.ollama.image.system"
#define MEDIA_PARAMS   "application/vnd.ollama.image.params"
#define MEDIA_LICENSE  "application/vnd.ollama.image.license"
#define MEDIA_MESSAGES "application/vnd.ollama.image.messages"

struct manifest_layer {
    char media_type[128];
    char digest[DIGEST_TEXT_LEN + 1];
    int64_t size;
};

struct manifest {
    struct manifest_layer config; /* digest "" when there is none */
    struct manifest_layer *layer; /* [n_layer] */
    size_t n_layer, cap_layer;
    int64_t model_bytes; /* of the model layers */
    int64_t total_bytes; /* of everything */
};

/* ERR_SYNTAX, ERR_CORRUPT, ERR_LIMIT. */
int manifest_parse(struct str text, struct manifest *ret, struct err *err)
    __attribute__((warn_unused_result));
void manifest_release(struct manifest *m);
int manifest_add(struct manifest *m, const char *media_type, const char *digest, int64_t size,
                 struct err *err) __attribute__((warn_unused_result));
bool manifest_write(const struct manifest *m, struct buf *out);
/* The first layer of this type, or NULL. */
const struct manifest_layer *manifest_find(const struct manifest *m, const char *media_type);
bool manifest_names(const struct manifest *m, const char *digest); /* layer or config */

#endif
