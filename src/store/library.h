/*
 * library: what store.c, sweep.c and import.c share about the folder. Not for other rooms.
 */
#ifndef HEARTH_STORE_LIBRARY_H
#define HEARTH_STORE_LIBRARY_H

#include "store/store.h"

struct store {
    char *dir;
    char *blobs;     /* dir/blobs */
    char *manifests; /* dir/manifests */
};

#define STORE_NAMES_MAX 100000

/* how: LOCK_SH, LOCK_EX, with LOCK_NB for ERR_BUSY instead of waiting. */
int store_lock(struct store *s, int how, int *ret_fd, struct err *err)
    __attribute__((warn_unused_result));
/* Every valid name below manifests/, sorted by its text; heap array. */
int store_names(struct store *s, struct model_name **ret, size_t *ret_n, struct err *err)
    __attribute__((warn_unused_result));
/* Appends the manifest's bytes. ERR_NOT_FOUND. */
int store_manifest_text(struct store *s, const struct model_name *name, struct buf *out,
                        struct err *err) __attribute__((warn_unused_result));
/* ret_digest: DIGEST_TEXT_LEN + 1 bytes, or NULL. */
int store_read_manifest(const char *path, struct manifest *ret, char *ret_digest, struct err *err)
    __attribute__((warn_unused_result));
int store_load(struct store *s, const struct model_name *name, bool texts, struct store_model *ret,
               struct err *err) __attribute__((warn_unused_result));
/* Layers of a manifest in the making: a text (NULL: none), and the config of the layers so far. */
int library_add_text(struct store *s, struct manifest *m, const char *media_type, const char *text,
                     struct err *err) __attribute__((warn_unused_result));
int library_add_config(struct store *s, struct manifest *m, struct err *err)
    __attribute__((warn_unused_result));

#endif
