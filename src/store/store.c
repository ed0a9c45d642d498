/*
 * store: see store.h. Owns the folder, its manifests and the finding of models.
 * Invariant: a path below the folder is made only of a checked model_name or a checked digest.
 */
#include "store/store.h"

#include "base/check.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/library.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_LAYER_MAX (4 * 1024 * 1024)
#define CONFIG_MAX     (1 << 20)

void store_model_release(struct store_model *m)
{
    free(m->name);
    free(m->digest);
    store_paths_free(m->path, m->n_path);
    free(m->template_text);
    free(m->system_text);
    free(m->params_json);
    free(m->license_text);
    free(m->messages_json);
    *m = (struct store_model){0};
}

void store_list_free(struct store_model *list, int n)
{
    for (int i = 0; i < n; i++)
        store_model_release(&list[i]);
    free(list);
}

static char *default_dir(void)
{
    const char *env = getenv("HEARTH_MODELS");
    if (env != NULL && env[0] != '\0')
        return str_dup(str_z(env));
    char *home = fs_home();
    if (home == NULL)
        return NULL;
    char *ret = fs_join(home, ".hearth/models");
    free(home);
    return ret;
}

int store_open(const char *dir, struct store **ret, struct err *err)
{
    char *root = dir == NULL ? default_dir() : str_dup(str_z(dir));
    if (root == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "no home folder for the model library; set HEARTH_MODELS");
    struct store *s = mem_zero(1, sizeof(*s));
    s->dir = root;
    s->blobs = fs_join(root, "blobs");
    s->manifests = fs_join(root, "manifests");
    int rc = fs_mkdirs(s->blobs, 0755, err);
    if (rc == 0)
        rc = fs_mkdirs(s->manifests, 0755, err);
    if (rc != 0) {
        store_close(s);
        return err_wrap(err, "model library");
    }
    *ret = s;
    return 0;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    free(s->dir);
    free(s->blobs);
    free(s->manifests);
    free(s);
}

const char *store_dir(const struct store *s)
{
    return s->dir;
}

const char *store_blobs_dir(const struct store *s)
{
    return s->blobs;
}

/* ---- lock ---- */

int store_lock(struct store *s, int how, int *ret_fd, struct err *err)
{
    char *path = fs_join(s->dir, ".lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    int rc = 0;
    if (fd < 0)
        rc = err_set_errno(err, errno, "cannot open %s", path);
    while (rc == 0 && flock(fd, how) != 0)
        if (errno != EINTR)
            rc = errno == EWOULDBLOCK ? err_set(err, ERR_BUSY, "the library is in use")
                                      : err_set_errno(err, errno, "cannot lock %s", path);
    free(path);
    if (rc != 0 && fd >= 0)
        close(fd);
    if (rc == 0)
        *ret_fd = fd;
    return rc;
}

int store_hold(struct store *s, int *ret_hold, struct err *err)
{
    return store_lock(s, LOCK_SH, ret_hold, err);
}

void store_unhold(int hold)
{
    close(hold);
}

/* ---- manifests ---- */

static char *manifest_path(const struct store *s, const struct model_name *name)
{
    char below[MODEL_NAME_TEXT_MAX];
    model_name_path(name, below);
    return fs_join(s->manifests, below);
}

int store_read_manifest(const char *path, struct manifest *ret, char *ret_digest, struct err *err)
{
    struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX);
    int rc = fs_read(path, &text, err);
    if (rc == 0)
        rc = manifest_parse(buf_str(&text), ret, err);
    if (rc == 0 && ret_digest != NULL)
        digest_bytes(text.ptr, text.len, ret_digest);
    buf_release(&text);
    return rc;
}

int store_manifest(struct store *s, const struct model_name *name, struct manifest *ret,
                   bool *ret_there, struct err *err)
{
    char *path = manifest_path(s, name);
    int rc = store_read_manifest(path, ret, NULL, err);
    free(path);
    *ret_there = rc == 0;
    if (rc == ERR_NOT_FOUND) {
        err_clear(err);
        rc = 0;
    }
    return rc;
}

int store_manifest_text(struct store *s, const struct model_name *name, struct buf *out,
                        struct err *err)
{
    char *path = manifest_path(s, name);
    int rc = fs_read(path, out, err);
    free(path);
    return rc;
}

int store_put_manifest(struct store *s, const struct model_name *name, struct str text,
                       struct manifest *ret_before, struct err *err)
{
    struct manifest now, before = {0};
    int rc = manifest_parse(text, &now, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < now.n_layer; i++)
        if (!blob_exists(s->blobs, now.layer[i].digest, now.layer[i].size))
            rc = err_set(err, ERR_CORRUPT, "blob %s is missing or has another size than announced",
                         now.layer[i].digest);
    manifest_release(&now);
    if (rc != 0)
        return rc;
    char *path = manifest_path(s, name);
    if (store_read_manifest(path, &before, NULL, NULL) != 0)
        before = (struct manifest){0};
    char *dir = str_dup(str_sub(str_z(path), 0, (size_t)str_rchr(str_z(path), '/')));
    rc = fs_mkdirs(dir, 0755, err);
    free(dir);
    if (rc == 0)
        rc = fs_write_atomic(path, text, 0644, err);
    free(path);
    if (rc != 0)
        manifest_release(&before);
    else
        *ret_before = before;
    return rc;
}

/* The name as it is written in the library: exactly, else the only one that differs in case. */
static int resolve(struct store *s, const char *text, struct model_name *ret, struct err *err)
{
    struct model_name name;
    int rc = model_name_parse(text, &name, err);
    if (rc != 0)
        return rc;
    char *path = manifest_path(s, &name);
    bool there = fs_exists(path) && !fs_is_dir(path);
    free(path);
    if (there) {
        *ret = name;
        return 0;
    }
    struct model_name *all;
    size_t n;
    rc = store_names(s, &all, &n, err);
    if (rc != 0)
        return rc;
    rc = ERR_NOT_FOUND;
    for (size_t i = 0; i < n && rc != 0; i++) {
        if (!model_name_eq_nocase(&all[i], &name))
            continue;
        *ret = all[i];
        rc = 0;
    }
    free(all);
    if (rc != 0)
        err_set_param(err, rc, "model",
                      "model '%s' not found: it is not in the library; 'hearth pull %s' fetches "
                      "it, 'hearth list' shows what is there",
                      text, text);
    return rc;
}

/* ---- one model ---- */

bool store_template_is_go(struct str t)
{
    static const char *const word[] = {".",     "$",   "if .",   "if not .", "if or ", "if and ",
                                       "range", "end", "with .", "define",   "block",  "template"};
    if (str_find(t, STR("{%")) >= 0)
        return false;
    for (ptrdiff_t at; (at = str_find(t, STR("{{"))) >= 0;) {
        t = str_from(t, (size_t)at + 2);
        struct str inner = t;
        if (str_starts(inner, STR("-")))
            inner = str_from(inner, 1);
        inner = str_trim(inner);
        for (size_t i = 0; i < ARRAY_LEN(word); i++)
            if (str_starts(inner, str_z(word[i])))
                return true;
    }
    return false;
}

static int read_text_blob(struct store *s, const struct manifest_layer *layer, struct buf *out,
                          struct err *err)
{
    char *path = blob_path(s->blobs, layer->digest);
    int rc = fs_read(path, out, err);
    if (rc == 0) {
        char digest[DIGEST_TEXT_LEN + 1];
        digest_bytes(out->ptr, out->len, digest);
        if (strcmp(digest, layer->digest) != 0)
            rc = err_set(err, ERR_CORRUPT, "%s does not have the bytes its name promises", path);
        else if (out->len > 0 && memchr(out->ptr, '\0', out->len) != NULL)
            rc = err_set(err, ERR_CORRUPT, "%s is no text", path);
    }
    free(path);
    return rc;
}

static int read_text_layer(struct store *s, const struct manifest *m, const char *media_type,
                           char **ret, struct err *err)
{
    const struct manifest_layer *layer = manifest_find(m, media_type);
    if (layer == NULL)
        return 0;
    struct buf text;
    buf_init(&text, TEXT_LAYER_MAX);
    int rc = read_text_blob(s, layer, &text, err);
    if (rc == 0)
        *ret = buf_steal(&text);
    buf_release(&text);
    return rc;
}

/* A model may have several, its own and those of what it was made of: one below the other, as many
 * as there is room for. */
static int read_licenses(struct store *s, const struct manifest *m, char **ret, struct err *err)
{
    struct buf all, one;
    int rc = 0, n = 0;
    buf_init(&all, TEXT_LAYER_MAX);
    buf_init(&one, TEXT_LAYER_MAX);
    for (size_t i = 0; i < m->n_layer && rc == 0; i++) {
        if (strcmp(m->layer[i].media_type, MEDIA_LICENSE) != 0)
            continue;
        buf_clear(&one);
        rc = read_text_blob(s, &m->layer[i], &one, err);
        size_t before = all.len;
        if (rc == 0 && n++ > 0)
            buf_add_char(&all, '\n');
        if (rc == 0 && !buf_add_str(&all, buf_str(&one)))
            buf_truncate(&all, before);
        all.overflow = false;
    }
    if (rc == 0 && n > 0)
        *ret = buf_steal(&all);
    buf_release(&all);
    buf_release(&one);
    return rc;
}

static int read_texts(struct store *s, const struct manifest *m, struct store_model *ret,
                      struct err *err)
{
    int rc = read_text_layer(s, m, MEDIA_TEMPLATE, &ret->template_text, err);
    if (rc == 0 && ret->template_text != NULL && store_template_is_go(str_z(ret->template_text))) {
        free(ret->template_text);
        ret->template_text = NULL;
    }
    if (rc == 0)
        rc = read_text_layer(s, m, MEDIA_SYSTEM, &ret->system_text, err);
    if (rc == 0)
        rc = read_text_layer(s, m, MEDIA_PARAMS, &ret->params_json, err);
    if (rc == 0)
        rc = read_licenses(s, m, &ret->license_text, err);
    if (rc == 0)
        rc = read_text_layer(s, m, MEDIA_MESSAGES, &ret->messages_json, err);
    if (rc == 0 && ret->params_json != NULL) {
        json_t *params = json_parse(str_z(ret->params_json), 8, err);
        if (!json_is_object(params))
            rc = err_set(err, ERR_CORRUPT, "its parameters are not a JSON object");
        json_decref(params);
    }
    if (rc == 0 && ret->messages_json != NULL) {
        json_t *messages = json_parse(str_z(ret->messages_json), JSON_DEPTH_MAX, err);
        if (!json_is_array(messages))
            rc = err_set(err, ERR_CORRUPT, "its messages are not a JSON array");
        json_decref(messages);
    }
    return rc;
}

static void copy_word(const json_t *config, const char *key, char *ret, size_t size)
{
    struct str text = json_str(json_object_get(config, key));
    if (text.len < size && memchr(text.ptr, '\0', text.len) == NULL)
        memcpy(ret, text.ptr, text.len);
}

/* What the config blob says for lists. Nothing depends on it: what cannot be read is "". */
static void read_config(struct store *s, const struct manifest *m, struct store_model *ret)
{
    struct buf text;
    if (m->config.digest[0] == '\0')
        return;
    char *path = blob_path(s->blobs, m->config.digest);
    buf_init(&text, CONFIG_MAX);
    json_t *config = fs_read(path, &text, NULL) == 0 ? json_parse(buf_str(&text), 16, NULL) : NULL;
    copy_word(config, "model_family", ret->family, sizeof ret->family);
    copy_word(config, "model_type", ret->size_word, sizeof ret->size_word);
    copy_word(config, "file_type", ret->file_type, sizeof ret->file_type);
    json_decref(config);
    buf_release(&text);
    free(path);
}

static int model_files(struct store *s, const struct manifest *m, struct store_model *ret,
                       struct err *err)
{
    ret->path = mem_try_array(m->n_layer + 1, sizeof(char *));
    if (ret->path == NULL)
        return err_set(err, ERR_NOMEM, "no memory");
    for (size_t i = 0; i < m->n_layer; i++) {
        const struct manifest_layer *layer = &m->layer[i];
        if (strcmp(layer->media_type, MEDIA_MODEL) != 0)
            continue;
        if (!blob_exists(s->blobs, layer->digest, layer->size))
            return err_set(err, ERR_CORRUPT,
                           "its file sha256-%.12s... is missing or damaged; pull it again",
                           layer->digest + 7);
        ret->path[ret->n_path++] = blob_path(s->blobs, layer->digest);
    }
    if (ret->n_path == 0)
        return err_set(err, ERR_UNSUPPORTED, "it has no model file (a model of another kind)");
    ret->bytes = m->model_bytes;
    return 0;
}

int store_load(struct store *s, const struct model_name *name, bool texts, struct store_model *ret,
               struct err *err)
{
    struct store_model model = {0};
    struct manifest m;
    char digest[DIGEST_TEXT_LEN + 1], text[MODEL_NAME_TEXT_MAX];
    char *path = manifest_path(s, name);
    int rc = store_read_manifest(path, &m, digest, err);
    struct stat st;
    if (rc == 0 && stat(path, &st) == 0)
        model.modified_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    free(path);
    model_name_text(name, text);
    if (rc != 0)
        return err_wrap(err, "model '%s'", text);
    model.name = str_dup(str_z(text));
    model.digest = str_dup(str_z(digest));
    rc = model_files(s, &m, &model, err);
    read_config(s, &m, &model);
    if (rc == 0 && texts)
        rc = read_texts(s, &m, &model, err);
    manifest_release(&m);
    if (rc != 0) {
        store_model_release(&model);
        return err_wrap(err, "model '%s'", text);
    }
    *ret = model;
    return 0;
}

static int find_path(const char *typed, struct store_model *ret, struct err *err)
{
    struct store_model model = {0};
    char *full = NULL;
    if (typed[0] == '~' && typed[1] == '/') {
        char *home = fs_home();
        full = home == NULL ? NULL : fs_join(home, typed + 2);
        free(home);
    }
    const char *path = full == NULL ? typed : full;
    int rc = store_split_paths(path, &model.path, &model.n_path, err);
    for (int i = 0; rc == 0 && i < model.n_path; i++) {
        struct stat st;
        if (stat(model.path[i], &st) != 0)
            rc = errno == ENOENT ? err_set_param(err, ERR_NOT_FOUND, "model", "there is no file %s",
                                                 model.path[i])
                                 : err_set_errno(err, errno, "cannot read %s", model.path[i]);
        else if (!S_ISREG(st.st_mode))
            rc = err_set_param(err, ERR_INVALID, "model", "%s is not a file", model.path[i]);
        else if (access(model.path[i], R_OK) != 0)
            rc = err_set_errno(err, errno, "cannot read %s", model.path[i]);
        else {
            model.bytes += st.st_size;
            model.modified_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
        }
    }
    model.name = str_dup(str_z(typed));
    model.digest = str_dup(STR(""));
    free(full);
    if (rc != 0)
        store_model_release(&model);
    else
        *ret = model;
    return rc;
}

int store_find(struct store *s, const char *name, struct store_model *ret, struct err *err)
{
    enum model_source source = model_source_of(name);
    if (source == SOURCE_PATH)
        return find_path(name, ret, err);
    if (source != SOURCE_NAME)
        return err_set_param(err, ERR_INVALID, "model",
                             "'%s' must be fetched first: hearth pull %s", name, name);
    struct model_name found;
    int rc = resolve(s, name, &found, err);
    if (rc != 0)
        return rc;
    return store_load(s, &found, true, ret, err);
}

/* ---- names come and go ---- */

/* Folders of a removed name that are empty now go too. */
static void remove_empty_dirs(const struct store *s, char *path)
{
    size_t floor = strlen(s->manifests);
    for (;;) {
        char *slash = strrchr(path, '/');
        if (slash == NULL || (size_t)(slash - path) <= floor)
            return;
        *slash = '\0';
        if (rmdir(path) != 0)
            return;
    }
}

int store_remove(struct store *s, const char *name, struct err *err)
{
    if (model_source_of(name) != SOURCE_NAME)
        return err_set_param(err, ERR_INVALID, "model",
                             "'%s' is a file, not a name in the library; remove it by hand", name);
    struct model_name found;
    int rc = resolve(s, name, &found, err);
    if (rc != 0)
        return rc;
    char *path = manifest_path(s, &found);
    struct manifest m;
    bool readable = store_read_manifest(path, &m, NULL, NULL) == 0;
    if (unlink(path) != 0)
        rc = err_set_errno(err, errno, "cannot remove %s", path);
    else
        remove_empty_dirs(s, path);
    free(path);
    if (rc == 0)
        store_sweep(s, readable ? &m : NULL);
    if (readable)
        manifest_release(&m);
    return rc;
}

int store_copy(struct store *s, const char *from, const char *to, struct err *err)
{
    struct model_name source, target;
    int rc = resolve(s, from, &source, err);
    if (rc == 0 && model_source_of(to) != SOURCE_NAME)
        rc = err_set_param(err, ERR_INVALID, "destination", "'%s' is not a model name", to);
    if (rc == 0)
        rc = model_name_parse(to, &target, err);
    if (rc != 0)
        return rc;
    int hold;
    rc = store_hold(s, &hold, err);
    if (rc != 0)
        return rc;
    struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX);
    char *path = manifest_path(s, &source);
    rc = fs_read(path, &text, err);
    free(path);
    struct manifest before = {0};
    if (rc == 0)
        rc = store_put_manifest(s, &target, buf_str(&text), &before, err);
    buf_release(&text);
    store_unhold(hold);
    if (before.n_layer > 0)
        store_sweep(s, &before);
    manifest_release(&before);
    return rc;
}
