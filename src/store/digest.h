/*
 * digest: SHA-256 as the library writes it, by GnuTLS.
 *
 * Text form: "sha256:" and 64 lower-case hexadecimal digits. File names use "sha256-".
 */
#ifndef HEARTH_STORE_DIGEST_H
#define HEARTH_STORE_DIGEST_H

#include "base/err.h"
#include "base/str.h"

#define DIGEST_TEXT_LEN 71 /* "sha256:" + 64 */

struct digest {
    void *hash; /* gnutls_hash_hd_t */
};

void digest_init(struct digest *d);
void digest_add(struct digest *d, const void *data, size_t len);
void digest_finish(struct digest *d, char ret[DIGEST_TEXT_LEN + 1]); /* and releases */
void digest_release(struct digest *d);                               /* without a result */

bool digest_valid(struct str text); /* "sha256:..." exactly */
/* Of len bytes in memory, and of an open file from its current offset to its end. */
void digest_bytes(const void *data, size_t len, char ret[DIGEST_TEXT_LEN + 1]);
int digest_fd(int fd, const char *name_for_err, char ret[DIGEST_TEXT_LEN + 1], struct err *err)
    __attribute__((warn_unused_result));

#endif
