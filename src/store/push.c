/*
 * push: see push.h. Source: the OCI distribution specification 1.1 (end-4a, end-5, end-6, end-7),
 * and what Ollama's own client sends.
 */
#include "store/push.h"

#include "base/fs.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/library.h"
#include "store/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES      (INT64_C(64) << 20) /* of one PATCH: what is sent again when it fails */
#define STALL_MS_DEFAULT 30000
#define REPLY_MAX        (64 * 1024)

struct pusher {
    struct store *s;
    const struct push_opts *o;
    struct fetch fetch;
    struct registry reg;
    struct push_event event;
    char status[64];
    int64_t sent; /* of the blob, in pieces that are done */
};

static void tell(struct pusher *p, const char *status)
{
    p->event = (struct push_event){.status = status};
    if (p->o->progress != NULL)
        p->o->progress(p->o->progress_arg, &p->event);
}

static void tell_blob(struct pusher *p, const struct manifest_layer *layer, int64_t done)
{
    snprintf(p->status, sizeof p->status, "pushing %.12s", layer->digest + 7);
    p->event = (struct push_event){
        .status = p->status, .digest = layer->digest, .total = layer->size, .done = done};
    if (p->o->progress != NULL)
        p->o->progress(p->o->progress_arg, &p->event);
}

static void on_sent(void *arg, int64_t n)
{
    struct pusher *p = arg;
    p->event.done = p->sent + n;
    if (p->o->progress != NULL)
        p->o->progress(p->o->progress_arg, &p->event);
}

/* ---- one request ---- */

/* A registry may send an upload to another host; our token is none of that one's business. */
static bool is_ours(const struct pusher *p, const char *url)
{
    size_t n = strlen(p->reg.base);
    return strncmp(url, p->reg.base, n) == 0 && (url[n] == '/' || url[n] == '\0');
}

/* With a token, once the registry asks for one. *ret_reply.text is left to the caller. */
static int ask(struct pusher *p, const char *url, const struct fetch_send *send,
               struct fetch_reply *reply, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < 2; i++) {
        bool ours = is_ours(p, url);
        struct fetch_request rq = {
            .url = url, .bearer = ours ? registry_bearer(&p->reg) : NULL, .send = send};
        rc = fetch_text(&p->fetch, &rq, reply, err);
        if (rc != 0 || reply->status != 401 || reply->authenticate[0] == '\0' || !ours || i > 0)
            break;
        rc = registry_authorize(&p->reg, reply->authenticate, err);
        if (rc != 0)
            break;
    }
    return rc;
}

static int refused(const struct pusher *p, const struct fetch_reply *reply, const char *what,
                   struct err *err)
{
    if (reply->status == 401 || reply->status == 403)
        return err_set(err, ERR_DENIED,
                       "%s refuses this (HTTP %ld): it wants an account's credentials, which are "
                       "not known here",
                       p->reg.base, reply->status);
    return err_set(err, ERR_IO, "%s does not take the %s: it answers with HTTP %ld", p->reg.base,
                   what, reply->status);
}

/* Where an upload goes on: a whole address, or a path of the same host. */
static int follow(const struct pusher *p, const struct fetch_reply *reply,
                  char url[REGISTRY_URL_MAX], struct err *err)
{
    const char *to = reply->location;
    if (to[0] == '\0')
        return 0; /* where it was */
    int n = snprintf(url, REGISTRY_URL_MAX, "%s%s", to[0] == '/' ? p->reg.base : "", to);
    if (n >= REGISTRY_URL_MAX || !fetch_url_allowed(url, p->o->insecure, err))
        return err_set(err, ERR_INVALID,
                       "%s sends the upload to an address that is not taken: %.80s", p->reg.base,
                       to);
    if (strncmp(p->reg.base, "https://", 8) == 0 && strncmp(url, "https://", 8) != 0)
        return err_set(err, ERR_DENIED, "%s sends the upload to an address that is not encrypted",
                       p->reg.base);
    return 0;
}

/* ---- blobs ---- */

static int is_there(struct pusher *p, const struct manifest_layer *layer, bool *ret,
                    struct err *err)
{
    const struct fetch_send head = {.method = "HEAD"};
    char url[REGISTRY_URL_MAX];
    struct fetch_reply reply = {0};
    const struct model_name *n = p->reg.name;
    snprintf(url, sizeof url, "%s/v2/%s/%s/blobs/%s", p->reg.base, n->space, n->model,
             layer->digest);
    buf_init(&reply.text, REPLY_MAX);
    int rc = ask(p, url, &head, &reply, err);
    buf_release(&reply.text);
    *ret = rc == 0 && reply.status == 200;
    return rc;
}

static int begin(struct pusher *p, char url[REGISTRY_URL_MAX], struct err *err)
{
    const struct fetch_send post = {.method = "POST"};
    struct fetch_reply reply = {0};
    const struct model_name *n = p->reg.name;
    snprintf(url, REGISTRY_URL_MAX, "%s/v2/%s/%s/blobs/uploads/", p->reg.base, n->space, n->model);
    buf_init(&reply.text, REPLY_MAX);
    int rc = ask(p, url, &post, &reply, err);
    if (rc == 0 && (reply.status / 100 != 2 || reply.location[0] == '\0'))
        rc = refused(p, &reply, "upload", err);
    if (rc == 0)
        rc = follow(p, &reply, url, err);
    buf_release(&reply.text);
    return rc;
}

static int send_piece(struct pusher *p, int fd, int64_t bytes, char url[REGISTRY_URL_MAX],
                      struct err *err)
{
    char range[64];
    struct fetch_reply reply = {0};
    snprintf(range, sizeof range, "%lld-%lld", (long long)p->sent,
             (long long)(p->sent + bytes - 1));
    const struct fetch_send patch = {.method = "PATCH",
                                     .range = range,
                                     .fd = fd,
                                     .from_file = true,
                                     .offset = p->sent,
                                     .bytes = bytes,
                                     .progress = on_sent,
                                     .progress_arg = p};
    buf_init(&reply.text, REPLY_MAX);
    int rc = ask(p, url, &patch, &reply, err);
    if (rc == 0 && reply.status / 100 != 2)
        rc = refused(p, &reply, "blob", err);
    if (rc == 0)
        rc = follow(p, &reply, url, err);
    buf_release(&reply.text);
    p->sent += rc == 0 ? bytes : 0;
    return rc;
}

static int end(struct pusher *p, const char *digest, const char *at, struct err *err)
{
    const struct fetch_send put = {.method = "PUT"};
    struct fetch_reply reply = {0};
    struct buf url;
    buf_init(&url, REGISTRY_URL_MAX);
    buf_printf(&url, "%s%cdigest=", at, strchr(at, '?') == NULL ? '?' : '&');
    registry_escape(&url, digest);
    buf_init(&reply.text, REPLY_MAX);
    int rc = url.overflow ? err_set(err, ERR_INVALID, "the upload's address is too long")
                          : ask(p, url.ptr, &put, &reply, err);
    if (rc == 0 && reply.status / 100 != 2)
        rc = refused(p, &reply, "blob", err);
    buf_release(&reply.text);
    buf_release(&url);
    return rc;
}

static int send_blob(struct pusher *p, const struct manifest_layer *layer, struct err *err)
{
    char url[REGISTRY_URL_MAX];
    char *path = blob_path(store_blobs_dir(p->s), layer->digest);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? err_set_errno(err, errno, "cannot read %s", path) : begin(p, url, err);
    p->sent = 0;
    while (rc == 0 && p->sent < layer->size) {
        int64_t left = layer->size - p->sent;
        rc = send_piece(p, fd, left < PIECE_BYTES ? left : PIECE_BYTES, url, err);
    }
    if (rc == 0)
        rc = end(p, layer->digest, url, err);
    if (fd >= 0)
        close(fd);
    free(path);
    return rc;
}

static int push_layer(struct pusher *p, const struct manifest_layer *layer, struct err *err)
{
    bool there = false;
    if (layer->digest[0] == '\0')
        return 0;
    tell_blob(p, layer, 0);
    int rc = is_there(p, layer, &there, err);
    if (rc == 0 && !there)
        rc = send_blob(p, layer, err);
    if (rc == 0)
        tell_blob(p, layer, layer->size);
    return rc;
}

/* ---- the manifest ---- */

static int push_manifest(struct pusher *p, struct str text, struct err *err)
{
    char url[REGISTRY_URL_MAX];
    const struct model_name *n = p->reg.name;
    const struct fetch_send put = {
        .method = "PUT", .type = MEDIA_MANIFEST, .text = text, .bytes = (int64_t)text.len};
    struct fetch_reply reply = {0};
    tell(p, "pushing manifest");
    snprintf(url, sizeof url, "%s/v2/%s/%s/manifests/%s", p->reg.base, n->space, n->model, n->tag);
    buf_init(&reply.text, REPLY_MAX);
    int rc = ask(p, url, &put, &reply, err);
    if (rc == 0 && reply.status / 100 != 2)
        rc = refused(p, &reply, "manifest", err);
    buf_release(&reply.text);
    return rc;
}

static int push_all(struct pusher *p, struct err *err)
{
    struct manifest m;
    struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX);
    tell(p, "retrieving manifest");
    int rc = store_manifest_text(p->s, p->reg.name, &text, err);
    if (rc == 0)
        rc = manifest_parse(buf_str(&text), &m, err);
    if (rc != 0) {
        buf_release(&text);
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < m.n_layer; i++)
        rc = push_layer(p, &m.layer[i], err);
    if (rc == 0)
        rc = push_layer(p, &m.config, err);
    if (rc == 0)
        rc = push_manifest(p, buf_str(&text), err);
    manifest_release(&m);
    buf_release(&text);
    return rc;
}

int push_run(struct store *s, const struct push_opts *o, struct err *err)
{
    struct model_name name;
    struct pusher p = {.s = s, .o = o};
    struct store_model found = {0};
    int hold;
    p.fetch = (struct fetch){.insecure = o->insecure,
                             .stall_ms = o->stall_ms > 0 ? o->stall_ms : STALL_MS_DEFAULT,
                             .stop = o->stop};
    p.reg = (struct registry){.fetch = &p.fetch, .name = &name, .insecure = o->insecure};
    int rc = store_find(s, o->name, &found, err);
    if (rc == 0)
        rc = model_name_parse(found.name, &name, err); /* as it is written in the library */
    store_model_release(&found);
    if (rc == 0)
        rc = fetch_init(&p.fetch, err);
    if (rc != 0)
        return rc;
    rc = registry_open(&p.reg, err);
    if (rc == 0)
        rc = store_hold(s, &hold, err); /* nothing of it goes meanwhile */
    if (rc == 0) {
        rc = push_all(&p, err);
        store_unhold(hold);
    }
    registry_release(&p.reg);
    fetch_release(&p.fetch);
    return rc;
}
