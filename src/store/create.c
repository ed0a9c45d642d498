/*
 * create: a model of the library made of another one or of blobs, with texts of its own. See
 * store.h. Knows nothing of what is inside a model file; who calls it has looked.
 */
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void store_size_word(int64_t n_params, char ret[16])
{
    if (n_params <= 0)
        ret[0] = '\0';
    else if (n_params >= 1000000000)
        snprintf(ret, 16, "%.1fB", (double)n_params / 1e9);
    else
        snprintf(ret, 16, "%.2fM", (double)n_params / 1e6);
}

static void step(const struct store_create *in, const char *status)
{
    if (in->step != NULL)
        in->step(in->step_ctx, status);
}

/* ---- layers ---- */

static void drop_layers(struct manifest *m, const char *media_type)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_layer; i++)
        if (strcmp(m->layer[i].media_type, media_type) != 0)
            m->layer[n++] = m->layer[i];
    m->n_layer = n;
}

static int replace_text(struct store *s, const struct store_create *in, struct manifest *m,
                        const char *media_type, const char *what, const char *text, struct err *err)
{
    char status[64];
    if (text == NULL)
        return 0;
    drop_layers(m, media_type);
    if (text[0] == '\0')
        return 0; /* takes away what `from` has */
    snprintf(status, sizeof status, "creating %s layer", what);
    step(in, status);
    return library_add_text(s, m, media_type, text, err);
}

/* The other model's parameters under the new ones: *ret owned. */
static int merge_params(const char *old, const char *new, char **ret, struct err *err)
{
    json_t *all = old == NULL ? json_object() : json_parse(str_z(old), 8, err);
    json_t *more = json_parse(str_z(new), 8, err);
    struct buf text;
    buf_init(&text, 1 << 20);
    int rc = json_is_object(all) && json_is_object(more)
                 ? 0
                 : err_set_param(err, ERR_INVALID, "parameters",
                                 "'parameters' must be an object of names and values");
    if (rc == 0 && (json_object_update(all, more) != 0 || !json_write(all, &text)))
        rc = err_set_param(err, ERR_LIMIT, "parameters", "'parameters' is too large");
    if (rc == 0)
        *ret = buf_steal(&text);
    buf_release(&text);
    json_decref(all);
    json_decref(more);
    return rc;
}

static int add_texts(struct store *s, const struct store_create *in, const char *old_params,
                     struct manifest *m, struct err *err)
{
    char *params = NULL;
    int rc = replace_text(s, in, m, MEDIA_TEMPLATE, "template", in->template_text, err);
    if (rc == 0)
        rc = replace_text(s, in, m, MEDIA_SYSTEM, "system", in->system_text, err);
    for (int i = 0; rc == 0 && i < in->n_license; i++) {
        step(in, "creating license layer");
        rc = library_add_text(s, m, MEDIA_LICENSE, in->license[i], err);
    }
    if (rc == 0 && in->params_json != NULL)
        rc = merge_params(old_params, in->params_json, &params, err);
    if (rc == 0)
        rc = replace_text(s, in, m, MEDIA_PARAMS, "parameters", params, err);
    if (rc == 0)
        rc = replace_text(s, in, m, MEDIA_MESSAGES, "messages", in->messages_json, err);
    free(params);
    return rc;
}

/* ---- the config ---- */

static int add_config(struct store *s, const struct store_create *in,
                      const struct store_model *base, struct manifest *m, struct err *err)
{
    struct buf text;
    json_t *ids = json_array();
    const char *family = in->family != NULL ? in->family : base->family;
    const char *size_word = in->size_word != NULL ? in->size_word : base->size_word;
    const char *file_type = in->file_type != NULL ? in->file_type : base->file_type;
    for (size_t i = 0; i < m->n_layer; i++)
        json_array_append_new(ids, json_string(m->layer[i].digest));
    json_t *config =
        json_pack("{s:s, s:s, s:[s], s:s, s:s, s:s, s:s, s:{s:s, s:o}}", "model_format", "gguf",
                  "model_family", family, "model_families", family, "model_type", size_word,
                  "file_type", file_type, "architecture", "amd64", "os", "linux", "rootfs", "type",
                  "layers", "diff_ids", ids);
    buf_init(&text, 1 << 20);
    m->config = (struct manifest_layer){0};
    int rc = config == NULL || !json_write(config, &text)
                 ? err_set(err, ERR_LIMIT, "the model's config would be too large")
                 : library_add_text(s, m, MEDIA_CONFIG, text.ptr, err);
    json_decref(config);
    buf_release(&text);
    return rc;
}

/* ---- the whole ---- */

static int add_files(struct store *s, const struct store_create *in, struct manifest *m,
                     struct err *err)
{
    char status[DIGEST_TEXT_LEN + 32];
    for (int i = 0; i < in->n_digest; i++) {
        char *path = blob_path(store_blobs_dir(s), in->digest[i]);
        int64_t bytes = fs_size(path);
        free(path);
        if (bytes < 0)
            return err_set_param(err, ERR_INVALID, "files",
                                 "the blob %s is not here: send it first (POST /api/blobs/%s)",
                                 in->digest[i], in->digest[i]);
        snprintf(status, sizeof status, "using existing layer %s", in->digest[i]);
        step(in, status);
        int rc = manifest_add(m, MEDIA_MODEL, in->digest[i], bytes, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int add_base(struct store *s, const struct store_create *in, struct manifest *m,
                    struct store_model *ret_base, struct err *err)
{
    struct model_name name;
    bool there = false;
    if (in->from == NULL)
        return add_files(s, in, m, err);
    int rc =
        store_find(s, in->from, ret_base, err); /* says why not, and how it is really written */
    if (rc == 0)
        rc = model_name_parse(ret_base->name, &name, err);
    if (rc == 0)
        rc = store_manifest(s, &name, m, &there, err);
    if (rc == 0 && !there)
        rc = err_set_param(err, ERR_NOT_FOUND, "from", "model '%s' not found", in->from);
    if (rc == 0 && in->n_digest > 0) {
        drop_layers(m, MEDIA_MODEL);
        rc = add_files(s, in, m, err);
    }
    for (size_t i = 0; rc == 0 && in->n_digest == 0 && i < m->n_layer; i++) {
        char status[DIGEST_TEXT_LEN + 32];
        snprintf(status, sizeof status, "using existing layer %s", m->layer[i].digest);
        step(in, status);
    }
    return rc;
}

static int create_held(struct store *s, const struct store_create *in,
                       const struct model_name *name, struct manifest *ret_before, struct err *err)
{
    struct manifest m = {0};
    struct store_model base = {0};
    struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX);
    int rc = add_base(s, in, &m, &base, err);
    if (rc == 0)
        rc = add_texts(s, in, base.params_json, &m, err);
    if (rc == 0)
        rc = add_config(s, in, &base, &m, err);
    step(in, "writing manifest");
    if (rc == 0 && !manifest_write(&m, &text))
        rc = err_set(err, ERR_LIMIT, "the manifest of %s would be too large", name->model);
    if (rc == 0)
        rc = store_put_manifest(s, name, buf_str(&text), ret_before, err);
    buf_release(&text);
    manifest_release(&m);
    store_model_release(&base);
    return rc;
}

static int create(struct store *s, const struct store_create *in, struct manifest *before,
                  struct err *err)
{
    struct model_name name;
    int hold, rc = 0;
    if (model_source_of(in->name) != SOURCE_NAME)
        return err_set_param(err, ERR_INVALID, "model", "'%s' is not a model name", in->name);
    if (in->from == NULL && in->n_digest == 0)
        return err_set_param(
            err, ERR_INVALID, "from",
            "neither 'from' nor 'files' was given: a model is made of another one, "
            "or of files");
    if (in->template_text != NULL && store_template_is_go(str_z(in->template_text)))
        return err_set_param(err, ERR_UNSUPPORTED, "template",
                             "'template' is in Go's template language; Hearth takes Jinja, which "
                             "most models carry in their own file: leave it out, or write it in "
                             "Jinja");
    rc = model_name_parse(in->name, &name, err);
    if (rc == 0)
        rc = store_hold(s, &hold, err);
    if (rc != 0)
        return rc;
    rc = create_held(s, in, &name, before, err);
    store_unhold(hold);
    return rc;
}

int store_create(struct store *s, const struct store_create *in, struct err *err)
{
    struct manifest before = {0};
    int rc = create(s, in, &before, err);
    if (in->hold > 0)
        store_unhold(in->hold);
    if (before.n_layer > 0)
        store_sweep(s, &before);
    manifest_release(&before);
    return rc;
}
