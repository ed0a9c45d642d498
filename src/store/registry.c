/*
 * registry: see registry.h. Anonymous tokens are fetched where the registry asks for them.
 */
#include "store/registry.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_BYTES_MAX (64 * 1024)

int registry_open(struct registry *r, struct err *err)
{
    const char *mirror = r->mirror;
    const char *hf = getenv("HF_ENDPOINT");
    int n;
    if (strcmp(r->name->host, "hf.co") == 0) {
        const char *token = getenv("HF_TOKEN");
        r->given = token != NULL && token[0] != '\0' ? token : NULL;
        n = snprintf(r->base, sizeof(r->base), "%s",
                     hf != NULL && hf[0] != '\0' ? hf : "https://hf.co");
    } else if (mirror != NULL && strcmp(r->name->host, MODEL_NAME_HOST) == 0) {
        n = snprintf(r->base, sizeof(r->base), "%s", mirror);
    } else {
        char plain[512];
        n = snprintf(plain, sizeof(plain), "http://%s", r->name->host);
        bool http = r->insecure || fetch_url_allowed(plain, false, NULL);
        n = snprintf(r->base, sizeof(r->base), "%s://%s", http ? "http" : "https", r->name->host);
    }
    if (n < 0 || n >= (int)sizeof(r->base))
        return err_set(err, ERR_INVALID, "the registry's address is too long");
    while (n > 0 && r->base[n - 1] == '/')
        r->base[--n] = '\0';
    return fetch_url_allowed(r->base, r->insecure, err) ? 0 : ERR_INVALID;
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

void registry_escape(struct buf *url, const char *text)
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

int registry_authorize(struct registry *r, const char *challenge, struct err *err)
{
    char realm[1024], value[1024];
    if (strncasecmp(challenge, "bearer ", 7) != 0 ||
        !challenge_part(challenge, "realm", realm, sizeof(realm)))
        return fetch_status_error(401, r->base, err);
    struct buf url;
    buf_init(&url, REGISTRY_URL_MAX);
    buf_add_z(&url, realm);
    char join = strchr(realm, '?') == NULL ? '?' : '&';
    static const char *const part[] = {"service", "scope"};
    for (size_t i = 0; i < ARRAY_LEN(part); i++) {
        if (!challenge_part(challenge, part[i], value, sizeof(value)))
            continue;
        buf_printf(&url, "%c%s=", join, part[i]);
        registry_escape(&url, value);
        join = '&';
    }
    struct fetch_reply reply = {0};
    buf_init(&reply.text, TOKEN_BYTES_MAX);
    struct fetch_request rq = {.url = url.ptr};
    int rc = url.overflow ? err_set(err, ERR_INVALID, "the token service's address is too long")
                          : fetch_text(r->fetch, &rq, &reply, err);
    if (rc == 0 && reply.status != 200)
        rc = fetch_status_error(reply.status, r->base, err);
    if (rc == 0)
        rc = parse_token(r, buf_str(&reply.text), err);
    buf_release(&reply.text);
    buf_release(&url);
    return rc;
}

const char *registry_bearer(const struct registry *r)
{
    return r->token != NULL ? r->token : r->given;
}

void registry_release(struct registry *r)
{
    free(r->token);
    r->token = NULL;
}
