/*
 * import: local files become a model of the library, and the parts of a split file are found by
 * their names. Knows nothing of what is inside.
 */
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPLIT_TAIL_LEN 20 /* "-00001-of-00003.gguf" */
#define SPLIT_MAX      1024

void store_paths_free(char **path, int n)
{
    for (int i = 0; i < n; i++)
        free(path[i]);
    free(path);
}

static bool split_numbers(struct str tail, int64_t *ret_at, int64_t *ret_n)
{
    if (tail.ptr[0] != '-' || !str_eq_z(str_sub(tail, 6, 4), "-of-") ||
        !str_eq_nocase(str_from(tail, 15), STR(".gguf")))
        return false;
    for (int i = 1; i < 15; i++)
        if ((i < 6 || i >= 10) && (tail.ptr[i] < '0' || tail.ptr[i] > '9'))
            return false;
    return str_to_i64(str_sub(tail, 1, 5), ret_at) && str_to_i64(str_sub(tail, 10, 5), ret_n);
}

int store_split_paths(const char *path, char ***ret, int *ret_n, struct err *err)
{
    struct str whole = str_z(path);
    int64_t at = 1, n = 1;
    bool split = whole.len > SPLIT_TAIL_LEN &&
                 split_numbers(str_from(whole, whole.len - SPLIT_TAIL_LEN), &at, &n);
    if (split && (n < 1 || n > SPLIT_MAX))
        return err_set(err, ERR_LIMIT, "%s: %lld parts; 1 to %d are possible", path, (long long)n,
                       SPLIT_MAX);
    if (split && at != 1)
        return err_set(err, ERR_INVALID, "%s is part %lld of %lld; name the first one", path,
                       (long long)at, (long long)n);
    char **list = mem_zero((size_t)n + 1, sizeof(char *));
    if (!split) {
        list[0] = str_dup(whole);
    } else {
        struct str stem = str_sub(whole, 0, whole.len - SPLIT_TAIL_LEN);
        struct str ending = str_from(whole, whole.len - 5);
        size_t room = whole.len + 16;
        for (int i = 0; i < (int)n; i++) {
            list[i] = mem_alloc(room);
            snprintf(list[i], room, "%.*s-%05d-of-%05d%.*s", STR_ARG(stem), i + 1, (int)n,
                     STR_ARG(ending));
        }
    }
    *ret = list;
    *ret_n = (int)n;
    return 0;
}

int library_add_text(struct store *s, struct manifest *m, const char *media_type, const char *text,
                     struct err *err)
{
    if (text == NULL)
        return 0;
    char digest[DIGEST_TEXT_LEN + 1];
    int rc = blob_write(s->blobs, str_z(text), digest, err);
    if (rc != 0)
        return rc;
    return manifest_add(m, media_type, digest, (int64_t)strlen(text), err);
}

int library_add_config(struct store *s, struct manifest *m, struct err *err)
{
    struct buf config;
    buf_init(&config, 1 << 20);
    buf_add_z(&config,
              "{\"model_format\":\"gguf\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\","
              "\"diff_ids\":[");
    for (size_t i = 0; i < m->n_layer; i++)
        buf_printf(&config, "%s\"%s\"", i > 0 ? "," : "", m->layer[i].digest);
    buf_add_z(&config, "]}}");
    int rc = config.overflow ? err_set(err, ERR_LIMIT, "too many layers")
                             : library_add_text(s, m, MEDIA_CONFIG, config.ptr, err);
    buf_release(&config);
    return rc;
}

static int add_files(struct store *s, const struct store_import *in, struct manifest *m,
                     struct err *err)
{
    for (int i = 0; i < in->n_path; i++) {
        char digest[DIGEST_TEXT_LEN + 1];
        int64_t bytes;
        int rc = blob_import(s->blobs, in->path[i], in->n_path == 1 ? in->digest : NULL, digest,
                             &bytes, err);
        if (rc == 0)
            rc = manifest_add(m, MEDIA_MODEL, digest, bytes, err);
        if (rc != 0)
            return rc;
    }
    return library_add_config(s, m, err);
}

static int import_held(struct store *s, const struct store_import *in,
                       const struct model_name *name, struct manifest *ret_before, struct err *err)
{
    struct manifest m = {0};
    struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX);
    int rc = add_files(s, in, &m, err);
    if (rc == 0)
        rc = library_add_text(s, &m, MEDIA_TEMPLATE, in->template_text, err);
    if (rc == 0)
        rc = library_add_text(s, &m, MEDIA_SYSTEM, in->system_text, err);
    if (rc == 0)
        rc = library_add_text(s, &m, MEDIA_PARAMS, in->params_json, err);
    if (rc == 0)
        rc = library_add_text(s, &m, MEDIA_LICENSE, in->license_text, err);
    if (rc == 0 && !manifest_write(&m, &text))
        rc = err_set(err, ERR_LIMIT, "the manifest of %s would be too large", name->model);
    if (rc == 0)
        rc = store_put_manifest(s, name, buf_str(&text), ret_before, err);
    buf_release(&text);
    manifest_release(&m);
    return rc;
}

int store_import(struct store *s, const struct store_import *in, char *ret_name, struct err *err)
{
    struct model_name name;
    if (in->n_path < 1)
        return err_set(err, ERR_INVALID, "no file to import");
    int rc = in->name != NULL ? model_name_parse(in->name, &name, err)
                              : model_name_of_file(in->path[0], &name, err);
    if (rc != 0)
        return rc;
    int hold;
    rc = store_hold(s, &hold, err);
    if (rc != 0)
        return rc;
    struct manifest before = {0};
    rc = import_held(s, in, &name, &before, err);
    store_unhold(hold);
    if (before.n_layer > 0)
        store_sweep(s, &before);
    manifest_release(&before);
    if (rc == 0 && ret_name != NULL)
        model_name_text(&name, ret_name);
    return rc;
}
