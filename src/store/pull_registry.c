/*
 * pull_registry: the registry protocol (registry.h): a manifest by name, then its blobs by digest.
 */
#include "base/fs.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/puller.h"
#include "store/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pulling {
    struct registry reg;
    struct puller *p;
};

static int fetch_manifest(struct pulling *r, struct buf *out, struct err *err)
{
    char url[REGISTRY_URL_MAX];
    snprintf(url, sizeof(url), "%s/v2/%s/%s/manifests/%s", r->reg.base, r->reg.name->space,
             r->reg.name->model, r->reg.name->tag);
    struct fetch_reply reply = {0};
    buf_init(&reply.text, MANIFEST_BYTES_MAX);
    int rc = 0;
    for (int i = 0; i < 2; i++) {
        struct fetch_request rq = {
            .url = url, .accept = MEDIA_MANIFEST, .bearer = registry_bearer(&r->reg)};
        rc = fetch_text(&r->p->fetch, &rq, &reply, err);
        if (rc != 0 || reply.status != 401 || reply.authenticate[0] == '\0' || i > 0)
            break;
        rc = registry_authorize(&r->reg, reply.authenticate, err);
        if (rc != 0)
            break;
    }
    if (rc == 0 && reply.status == 404) {
        char text[MODEL_NAME_TEXT_MAX];
        model_name_text(r->reg.name, text);
        rc = err_set_param(err, ERR_NOT_FOUND, "model", "there is no model '%s' at %s", text,
                           r->reg.base);
    } else if (rc == 0 && reply.status != 200) {
        rc = fetch_status_error(reply.status, url, err);
    }
    if (rc == 0 && !buf_add_str(out, buf_str(&reply.text)))
        rc = err_set(err, ERR_LIMIT, "the manifest is too large");
    buf_release(&reply.text);
    return rc;
}

/* Tokens expire during long pulls, so a blob may be refused once for want of a new one. */
static int fetch_layer_bytes(struct pulling *r, const char *url, const struct manifest_layer *layer,
                             struct blob_writer *w, struct err *err)
{
    for (int i = 0;; i++) {
        struct fetch_request rq = {.url = url, .bearer = registry_bearer(&r->reg)};
        int rc = fetch_blob(&r->p->fetch, &rq, layer->size, true, w, err);
        if (rc != ERR_DENIED || i > 0)
            return rc;
        struct buf manifest;
        buf_init(&manifest, MANIFEST_BYTES_MAX);
        free(r->reg.token);
        r->reg.token = NULL;
        struct err ignored = {0};
        int again = fetch_manifest(r, &manifest, &ignored);
        buf_release(&manifest);
        if (again != 0 || r->reg.token == NULL)
            return rc;
    }
}

static int fetch_layer(struct pulling *r, const struct manifest_layer *layer, struct err *err)
{
    const char *dir = store_blobs_dir(r->p->s);
    if (layer->digest[0] == '\0' || blob_exists(dir, layer->digest, layer->size))
        return 0;
    char url[REGISTRY_URL_MAX];
    snprintf(url, sizeof(url), "%s/v2/%s/%s/blobs/%s", r->reg.base, r->reg.name->space,
             r->reg.name->model, layer->digest);
    for (int i = 0;; i++) {
        struct blob_writer w;
        int rc = blob_writer_open(&w, dir, layer->digest, err);
        if (rc != 0)
            return rc;
        bool resumed = w.bytes > 0;
        puller_blob(r->p, layer->digest, NULL, layer->size);
        puller_bytes(r->p, w.bytes);
        rc = fetch_layer_bytes(r, url, layer, &w, err);
        if (rc != 0) {
            blob_writer_release(&w);
            return rc;
        }
        char got[DIGEST_TEXT_LEN + 1];
        rc = blob_writer_commit(&w, layer->digest, got, err);
        if (rc != ERR_CORRUPT || !resumed || i > 0)
            return rc == ERR_CORRUPT ? err_wrap(err, "%s sends wrong bytes", r->reg.base) : rc;
        err_clear(err); /* the earlier run's bytes were bad: once more from the beginning */
    }
}

static int64_t bytes_missing(const struct puller *p, const struct manifest *m)
{
    const char *dir = store_blobs_dir(p->s);
    int64_t ret = 0;
    for (size_t i = 0; i < m->n_layer; i++) {
        if (blob_exists(dir, m->layer[i].digest, m->layer[i].size))
            continue;
        ret += m->layer[i].size;
        char *path = blob_partial_path(dir, m->layer[i].digest);
        int64_t there = fs_size(path);
        if (there > 0 && there <= m->layer[i].size)
            ret -= there;
        free(path);
    }
    return ret;
}

static int pull_blobs(struct pulling *r, const struct manifest *m, struct err *err)
{
    if (manifest_find(m, MEDIA_MODEL) == NULL)
        return err_set(err, ERR_UNSUPPORTED,
                       "the manifest names no GGUF file; Hearth cannot run it");
    int rc = puller_check_disk(r->p, bytes_missing(r->p, m), err);
    for (size_t i = 0; rc == 0 && i < m->n_layer; i++)
        rc = fetch_layer(r, &m->layer[i], err);
    if (rc == 0)
        rc = fetch_layer(r, &m->config, err);
    return rc;
}

int pull_from_registry(struct puller *p, const struct model_name *from, struct err *err)
{
    struct pulling r = {.p = p,
                        .reg = {.fetch = &p->fetch,
                                .name = from,
                                .mirror = p->o->registry,
                                .insecure = p->o->insecure}};
    int rc = registry_open(&r.reg, err);
    if (rc != 0)
        return rc;
    struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX);
    struct manifest m;
    puller_step(p, "pulling manifest");
    rc = fetch_manifest(&r, &text, err);
    if (rc == 0)
        rc = manifest_parse(buf_str(&text), &m, err);
    if (rc == 0) {
        rc = pull_blobs(&r, &m, err);
        manifest_release(&m);
    }
    if (rc == 0) {
        puller_step(p, "writing manifest");
        rc = store_put_manifest(p->s, &p->name, buf_str(&text), &p->before, err);
    }
    buf_release(&text);
    registry_release(&r.reg);
    return rc;
}
