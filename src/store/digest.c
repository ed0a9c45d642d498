/*
 * digest: see digest.h.
 */
#include "store/digest.h"

#include "base/check.h"
#include "base/mem.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (1 << 20)

void digest_init(struct digest *d)
{
    gnutls_hash_hd_t hash;
    CHECK(gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) == 0);
    d->hash = hash;
}

void digest_add(struct digest *d, const void *data, size_t len)
{
    CHECK(gnutls_hash(d->hash, data, len) == 0);
}

void digest_finish(struct digest *d, char ret[DIGEST_TEXT_LEN + 1])
{
    unsigned char raw[32];
    gnutls_hash_deinit(d->hash, raw);
    d->hash = NULL;
    memcpy(ret, "sha256:", 7);
    for (size_t i = 0; i < sizeof(raw); i++) {
        ret[7 + 2 * i] = "0123456789abcdef"[raw[i] >> 4];
        ret[8 + 2 * i] = "0123456789abcdef"[raw[i] & 15];
    }
    ret[DIGEST_TEXT_LEN] = '\0';
}

void digest_release(struct digest *d)
{
    if (d->hash != NULL)
        gnutls_hash_deinit(d->hash, NULL);
    d->hash = NULL;
}

bool digest_valid(struct str text)
{
    if (text.len != DIGEST_TEXT_LEN || !str_starts(text, STR("sha256:")))
        return false;
    for (size_t i = 7; i < text.len; i++) {
        char c = text.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

void digest_bytes(const void *data, size_t len, char ret[DIGEST_TEXT_LEN + 1])
{
    struct digest d;
    digest_init(&d);
    digest_add(&d, data, len);
    digest_finish(&d, ret);
}

int digest_fd(int fd, const char *name_for_err, char ret[DIGEST_TEXT_LEN + 1], struct err *err)
{
    struct digest d;
    digest_init(&d);
    char *chunk = mem_alloc(READ_BYTES);
    int rc = 0;
    for (;;) {
        ssize_t n = read(fd, chunk, READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = err_set_errno(err, errno, "cannot read %s", name_for_err);
        if (n <= 0)
            break;
        digest_add(&d, chunk, (size_t)n);
    }
    free(chunk);
    if (rc != 0)
        digest_release(&d);
    else
        digest_finish(&d, ret);
    return rc;
}
