/*
 * pull_registry: the registry protocol (Docker's distribution API, version 2, as Ollama and Hugging
 * Face speak it): a manifest by name, then its blobs by digest. Anonymous tokens are fetched where
 * the registry asks for them.
 */
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/puller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_BYTES_MAX (64 * 1024)
#define URL_MAX         4096

struct registry {
    struct puller *p;
    const struct model_name *from;
    char base[512];    /* "https://host" */
    char *token;       /* what the registry's token service gave, or NULL */
    const char *given; /* a token of the user's own for this host, or NULL */
};

static int base_url(struct registry *r, struct err *err)
{
    const char *mirror = r->p->o->registry;
    const char *hf = getenv("HF_ENDPOINT");
    int n;
    if (strcmp(r->from->host, "hf.co") == 0) {
        const char *token = getenv("HF_TOKEN");
        r->given = token != NULL && token[0] != '\0' ? token : NULL;
        n = snprintf(r->base, sizeof(r->base), "%s",
                     hf != NULL && hf[0] != '\0' ? hf : "https://hf.co");
    } else if (mirror != NULL && strcmp(r->from->host, MODEL_NAME_HOST) == 0) {
        n = snprintf(r->base, sizeof(r->base), "%s", mirror);
    } else {
        char plain[512];
        n = snprintf(plain, sizeof(plain), "http://%s", r->from->host);
        bool http = r->p->o->insecure || fetch_url_allowed(plain, false, NULL);
        n = snprintf(r->base, sizeof(r->base), "%s://%s", http ? "http" : "https", r->from->host);
    }
    if (n < 0 || n >= (int)sizeof(r->base))
        return err_set(err, ERR_INVALID, "the registry's address is too long");
    while (n > 0 && r->base[n - 1] == '/')
        r->base[--n] = '\0';
    return fetch_url_allowed(r->base, r->p->o->insecure, err) ? 0 : ERR_INVALID;
}

/* The value of name="..." in a WWW-Authenticate header. */
static bool challenge_part(const char *header, const char *name, char *ret, size_t size)
{
    char look[32];
    snprintf(look, sizeof(look), "%s=\"", name);
    const char *at = strcasestr(header, look);
    if (at == NULL)
        return false;
    at += strlen(look);
    size_t len = strcspn(at, "\"");
    if (len >= size || at[len] != '"')
        return false;
    memcpy(ret, at, len);
    ret[len] = '\0';
    return true;
}

static void add_escaped(struct buf *url, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            strchr("-_.~", c) != NULL)
            buf_add_char(url, (char)c);
        else
            buf_printf(url, "%%%02X", c);
    }
}

static int parse_token(struct registry *r, struct str text, struct err *err)
{
    json_t *top = json_parse(text, 8, err);
    struct str token = json_str(json_object_get(top, "token"));
    if (token.len == 0)
        token = json_str(json_object_get(top, "access_token"));
    bool ok = token.len > 0;
    for (size_t i = 0; i < token.len; i++)
        ok = ok && token.ptr[i] > ' ' && token.ptr[i] < 127; /* it goes into a header */
    if (ok) {
        free(r->token);
        r->token = str_dup(token);
    }
    json_decref(top);
    return ok ? 0 : err_set(err, ERR_CORRUPT, "the registry's token service gave no token");
}

static int fetch_token(struct registry *r, const char *challenge, struct err *err)
{
    char realm[1024], value[1024];
    if (strncasecmp(challenge, "bearer ", 7) != 0 ||
        !challenge_part(challenge, "realm", realm, sizeof(realm)))
        return fetch_status_error(401, r->base, err);
    struct buf url;
    buf_init(&url, URL_MAX);
    buf_add_z(&url, realm);
    char join = strchr(realm, '?') == NULL ? '?' : '&';
    static const char *const part[] = {"service", "scope"};
    for (size_t i = 0; i < ARRAY_LEN(part); i++) {
        if (!challenge_part(challenge, part[i], value, sizeof(value)))
            continue;
        buf_printf(&url, "%c%s=", join, part[i]);
        add_escaped(&url, value);
        join = '&';
    }
    struct fetch_reply reply = {0};
    buf_init(&reply.text, TOKEN_BYTES_MAX);
    struct fetch_request rq = {.url = url.ptr};
    int rc = url.overflow ? err_set(err, ERR_INVALID, "the token service's address is too long")
                          : fetch_text(&r->p->fetch, &rq, &reply, err);
    if (rc == 0 && reply.status != 200)
        rc = fetch_status_error(reply.status, r->base, err);
    if (rc == 0)
        rc = parse_token(r, buf_str(&reply.text), err);
    buf_release(&reply.text);
    buf_release(&url);
    return rc;
}

static const char *bearer(const struct registry *r)
{
    return r->token != NULL ? r->token : r->given;
}

static int fetch_manifest(struct registry *r, struct buf *out, struct err *err)
{
    char url[URL_MAX];
    snprintf(url, sizeof(url), "%s/v2/%s/%s/manifests/%s", r->base, r->from->space, r->from->model,
             r->from->tag);
    struct fetch_reply reply = {0};
    buf_init(&reply.text, MANIFEST_BYTES_MAX);
    int rc = 0;
    for (int i = 0; i < 2; i++) {
        struct fetch_request rq = {.url = url, .accept = MEDIA_MANIFEST, .bearer = bearer(r)};
        rc = fetch_text(&r->p->fetch, &rq, &reply, err);
        if (rc != 0 || reply.status != 401 || reply.authenticate[0] == '\0' || i > 0)
            break;
        rc = fetch_token(r, reply.authenticate, err);
        if (rc != 0)
            break;
    }
    if (rc == 0 && reply.status == 404) {
        char text[MODEL_NAME_TEXT_MAX];
        model_name_text(r->from, text);
        rc = err_set_param(err, ERR_NOT_FOUND, "model", "there is no model '%s' at %s", text,
                           r->base);
    } else if (rc == 0 && reply.status != 200) {
        rc = fetch_status_error(reply.status, url, err);
    }
    if (rc == 0 && !buf_add_str(out, buf_str(&reply.text)))
        rc = err_set(err, ERR_LIMIT, "the manifest is too large");
    buf_release(&reply.text);
    return rc;
}

/* Tokens expire during long pulls, so a blob may be refused once for want of a new one. */
static int fetch_layer_bytes(struct registry *r, const char *url,
                             const struct manifest_layer *layer, struct blob_writer *w,
                             struct err *err)
{
    for (int i = 0;; i++) {
        struct fetch_request rq = {.url = url, .bearer = bearer(r)};
        int rc = fetch_blob(&r->p->fetch, &rq, layer->size, true, w, err);
        if (rc != ERR_DENIED || i > 0)
            return rc;
        struct buf manifest;
        buf_init(&manifest, MANIFEST_BYTES_MAX);
        free(r->token);
        r->token = NULL;
        struct err ignored = {0};
        int again = fetch_manifest(r, &manifest, &ignored);
        buf_release(&manifest);
        if (again != 0 || r->token == NULL)
            return rc;
    }
}

static int fetch_layer(struct registry *r, const struct manifest_layer *layer, struct err *err)
{
    const char *dir = store_blobs_dir(r->p->s);
    if (layer->digest[0] == '\0' || blob_exists(dir, layer->digest, layer->size))
        return 0;
    char url[URL_MAX];
    snprintf(url, sizeof(url), "%s/v2/%s/%s/blobs/%s", r->base, r->from->space, r->from->model,
             layer->digest);
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
            return rc == ERR_CORRUPT ? err_wrap(err, "%s sends wrong bytes", r->base) : rc;
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

static int pull_blobs(struct registry *r, const struct manifest *m, struct err *err)
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
    struct registry r = {.p = p, .from = from};
    int rc = base_url(&r, err);
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
    free(r.token);
    return rc;
}
